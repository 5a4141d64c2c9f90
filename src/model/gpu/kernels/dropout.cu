// Dropout masks as bits, from the same streams as on a CPU (`model/dropout.rs`): ChaCha with 8 rounds (Bernstein 2008), block
// counter of 64 bits from 0, stream 0; each row begins with a new number of 64 bits and takes 16 bits an element, the lowest
// first. Bit e of word i of a row is set if element 32 · i + e is kept; bits behind a row's last element are 0.

// Launch: grid [streams, tiles], block 128; tiles = ceil(T / (512 / words)) for words ≤ 512, else T · ceil(words / 512), where
// words = ceil(width / 32).
extern "C" __global__ void dropout_bits(
    const unsigned* keys,     // [streams, 8]: streams ordered [site, K, windows (and heads)]
    const Member* members,    // [K]
    unsigned* bits,           // [streams, T, ceil(width / 32)], written
    int streams_per_member,   // of one site: W, or W · H
    int member_count,         // K
    int rows,                 // T: rows of a stream (L)
    int width,                // elements of a row: C, or L
    int causal                // 1: row i has the elements 0 to i only
) {
}
