// Attention weights: causal softmax, its dropout, its gradient. A row of scores is one query; R = K · W · H · L rows.

// p = softmax(scale · scores) over keys 0 to i for query i, in place, and 0 for the keys behind; where `dropped` is given,
// mask · p too.
//
// Launch: grid [ceil(R / 4)], block 128.
extern "C" __global__ void causal_softmax(
    operand* scores,          // [K, W, H, L, L], becomes p
    const unsigned* bits,     // [K, W, H, L, ceil(L / 32)] of the weights' mask, or null where dropped is null
    const Member* members,    // [K]
    operand* dropped,         // [K, W, H, L, L], written, or null
    long long rows,           // R
    long long member_rows,    // W · H · L
    int length,               // L
    float scale               // 1 / √D
) {
}

// dropped = mask · p, again for the way back.
//
// Launch: grid [ceil(R / 4)], block 128.
extern "C" __global__ void attention_dropout(
    const operand* p,         // [K, W, H, L, L]
    const unsigned* bits,     // [K, W, H, L, ceil(L / 32)]
    const Member* members,    // [K]
    operand* dropped,         // [K, W, H, L, L], written
    long long rows,           // R
    long long member_rows,    // W · H · L
    int length                // L
) {
}

// ds = scale · p · (mask · dp − Σ p · mask · dp), in place of dp, the gradient of what was multiplied with v; 0 behind the
// diagonal, whatever dp has there.
//
// Launch: grid [ceil(R / 4)], block 128.
extern "C" __global__ void softmax_backward(
    const operand* p,         // [K, W, H, L, L]
    const unsigned* bits,     // [K, W, H, L, ceil(L / 32)] of the weights' mask, or null
    const Member* members,    // [K]
    operand* dp,              // [K, W, H, L, L], becomes ds
    long long rows,           // R
    long long member_rows,    // W · H · L
    int length,               // L
    float scale               // 1 / √D
) {
}
