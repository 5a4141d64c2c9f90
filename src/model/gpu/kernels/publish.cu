// A step's results, into the ring in the host's memory.

// A slot of results is 1 + 3 K words of 64 bits: the sequence number, written last: the number of steps published with this one;
// then for each member: loss (sum of nll, a double), norm of the gradients (a double), dead (0 or 1).
//
// Launch: grid [1], block 128.
extern "C" __global__ void publish(
    const double* loss,       // [K]
    const double* norm,       // [K]
    const int* dead,          // [K]
    long long* steps,         // steps published so far: slot `steps % count` is written; one more
    long long* results,       // [count, 1 + 3 K] in pinned memory
    int count,                // slots of the ring
    int member_count          // K
) {
    long long* slot = results + *steps % count * (1 + 3ll * member_count);
    for (int k = threadIdx.x; k < member_count; k += blockDim.x) {
        slot[1 + 3 * k] = __double_as_longlong(loss[k]);
        slot[2 + 3 * k] = __double_as_longlong(norm[k]);
        slot[3 + 3 * k] = dead[k];
    }
    // The host may see the sequence number only after all that.
    __threadfence_system();
    __syncthreads();
    if (threadIdx.x > 0) return;
    *steps += 1;
    *static_cast<volatile long long*>(slot) = *steps;
}
