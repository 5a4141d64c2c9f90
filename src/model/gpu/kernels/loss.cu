// Cross-entropy over a chunk of rows of logits (R rows from `first` on of each member's N), and the sum of losses.

// What a block finds in a row of logits: the largest, the sum of e^(logit − largest), and the NLL of the target.
struct Row {
    float peak, sum, nll;
};

__device__ __forceinline__ Row read_row(const operand* logits, int target, int vocabulary) {
    float aimed = load(logits + target), peak = -__int_as_float(0x7f800000), sum = 0.0f;
    for (int c = threadIdx.x * 4; c < vocabulary; c += blockDim.x * 4) {
        Some<4> four = load_some<4>(logits + c);
        for (int e = 0; e < 4; e++)
            if (c + e < vocabulary) peak = fmaxf(peak, four.at[e]);
    }
    peak = block_max(peak);
    for (int c = threadIdx.x * 4; c < vocabulary; c += blockDim.x * 4) {
        Some<4> four = load_some<4>(logits + c);
        for (int e = 0; e < 4; e++)
            if (c + e < vocabulary) sum += expf(four.at[e] - peak);
    }
    sum = block_sum(sum);
    return {peak, sum, logf(sum) - (aimed - peak)};
}

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
    int n = first + blockIdx.x, window = n / length, k = blockIdx.y;
    operand* row = logits + (static_cast<long long>(k) * gridDim.x + blockIdx.x) * padded;
    float* loss = nll + static_cast<long long>(k) * rows + n;
    if (window >= members[k].windows) {
        for (int c = threadIdx.x * 4; c < padded; c += blockDim.x * 4) store_some(row + c, Some<4>{});
        if (threadIdx.x == 0) *loss = 0.0f;
        return;
    }
    int target = tokens[(static_cast<long long>(k) * (rows / length) + window) * (length + 1) + n % length + 1];
    Row found = read_row(row, target, vocabulary);
    float scale = members[k].loss_scale, factor = scale / found.sum;
    for (int c = threadIdx.x * 4; c < padded; c += blockDim.x * 4) {
        Some<4> four = load_some<4>(row + c);
        for (int e = 0; e < 4; e++) {
            float slope = expf(four.at[e] - found.peak) * factor - (c + e == target ? scale : 0.0f);
            four.at[e] = c + e < vocabulary ? slope : 0.0f;
        }
        store_some(row + c, four);
    }
    if (threadIdx.x == 0) *loss = found.nll;
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
    int n = first + blockIdx.x, k = blockIdx.y;
    int target = tokens[(static_cast<long long>(k) * (rows / length) + n / length) * (length + 1) + n % length + 1];
    Row found = read_row(logits + (static_cast<long long>(k) * gridDim.x + blockIdx.x) * padded, target, vocabulary);
    if (threadIdx.x == 0) nll[static_cast<long long>(k) * rows + n] = found.nll;
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
    int k = blockIdx.x;
    double sum = 0.0;
    for (int n = threadIdx.x; n < rows; n += blockDim.x) sum += static_cast<double>(nll[static_cast<long long>(k) * rows + n]);
    sum = block_sum(sum);
    if (threadIdx.x > 0) return;
    loss[k] = accumulate ? loss[k] + sum : sum;
    if (k == 0) *units += 1;
}
