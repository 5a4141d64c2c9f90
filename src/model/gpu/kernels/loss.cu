// Cross-entropy over a chunk of rows of logits (R rows from `first` on of each member's N), and the sum of losses.

// nll of each row's target in nats; logits become the gradient of loss_scale · Σ nll: (softmax − onehot) · loss_scale, and 0
// in padded columns and in rows of missing windows, whatever they hold; their nll is 0.
//
// Launch: grid [R, K], block 32 for V ≤ 256, 128 for V ≤ 4,096, else 512.
extern "C" __global__ void cross_entropy(
    operand* logits,          // [K, R, Vp], becomes the gradient
    const int* tokens,        // [K, W, L + 1]: the target of position t of a window is token t + 1
    const Member* members,    // [K]
    float* nll,               // [K, N], written for the rows of the chunk
    int first,                // first row of the chunk
    int rows,                 // N
    int length,               // L
    int vocabulary,           // V
    int padded                // Vp
) {
}

// nll of each row's target in nats; logits are left as they are, and all windows count.
//
// Launch: as `cross_entropy`.
extern "C" __global__ void nll_only(
    const operand* logits,    // [K, R, Vp]
    const int* tokens,        // [K, W, L + 1]
    float* nll,               // [K, N], written for the rows of the chunk
    int first,                // first row of the chunk
    int rows,                 // N
    int length,               // L
    int vocabulary,           // V
    int padded                // Vp
) {
}

// Sum of each member's nll in 64 bits; and counts the unit, whose slot is no longer needed.
//
// Launch: grid [K], block 1024.
extern "C" __global__ void loss_sum(
    const float* nll,         // [K, N]
    double* loss,             // [K]: the step's sum, added to, or written
    long long* units,         // one more
    int rows,                 // N
    int accumulate            // 1: add, 0: write
) {
}
