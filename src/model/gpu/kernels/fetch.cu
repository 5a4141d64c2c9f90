// A unit's slot, from the ring in the host's memory into this device's.
//
// Launch: grid [ceil(words / 1024)], block 256.
extern "C" __global__ void fetch_slot(
    const unsigned* slots,    // [count, words] in pinned memory, 16-byte aligned
    const long long* units,   // units done so far: slot `units % count` is read (`loss_sum` counts)
    int count,                // slots of the ring
    int words,                // 32-bit words of a slot, a multiple of 4
    unsigned* slot            // [words], written
) {
    long long i = blockIdx.x * 256ll + threadIdx.x;
    if (i * 4 >= words) return;
    const uint4* from = reinterpret_cast<const uint4*>(slots + *units % count * words);
    reinterpret_cast<uint4*>(slot)[i] = from[i];
}
