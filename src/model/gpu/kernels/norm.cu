// Layer norm (Ba et al. 2016) and RMS norm (Zhang and Sennrich 2019) over rows, fused with the residual sum before them.

// x_out = x + mask · delta; normed = (x_out − mean) · rstd · weight + bias, where rstd = 1 / √(variance + epsilon).
//
// Launch: grid [ceil(N / 4), K], block 128.
extern "C" __global__ void layer_norm(
    const float* x,           // [K, N, C]
    const operand* delta,     // [K, N, C] what is added to the residual stream, or null
    const unsigned* bits,     // [K, N, ceil(C / 32)] of delta's mask, or null
    const Member* members,    // [K]
    const float* weight,      // parameter [C]
    const float* bias,        // parameter [C], or null
    long long stride,         // P
    float* x_out,             // [K, N, C], written; x itself, or null where delta is null
    operand* normed,          // [K, N, C], written
    float* mean,              // [K, N], written
    float* rstd,              // [K, N], written
    int rows,                 // N
    int width,                // C
    float epsilon
) {
}

// x_out = x + mask · delta; normed = x_out · rstd · weight, where rstd = 1 / √(mean of squares + epsilon).
//
// Launch: grid [ceil(N / 4), K], block 128.
extern "C" __global__ void rms_norm(
    const float* x,           // [K, N, C]
    const operand* delta,     // [K, N, C] what is added to the residual stream, or null
    const unsigned* bits,     // [K, N, ceil(C / 32)] of delta's mask, or null
    const Member* members,    // [K]
    const float* weight,      // parameter [C]
    long long stride,         // P
    float* x_out,             // [K, N, C], written; x itself, or null where delta is null
    operand* normed,          // [K, N, C], written
    float* rstd,              // [K, N], written
    int rows,                 // N
    int width,                // C
    float epsilon
) {
}

// Back through a norm: dx (+)= its gradient, then dy = mask · dx for what was added before the norm; and, over each group of
// rows, the columns' sums of the gradients of weight, bias and of what `dy` stands for: `column_sums` adds the groups.
//
// The sums are one matrix [K, groups, columns] for all norms and biases of the model; the pointers are to the first column
// that is meant, of member 0 and group 0. groups = ceil(N / group_rows).
// Launch: grid [groups, K], block 256, shared 8 · group_rows bytes.
extern "C" __global__ void norm_backward(
    const operand* dnormed,   // [K, N, C]
    const float* x,           // [K, N, C]: what was normed
    const float* mean,        // [K, N], or null: RMS norm
    const float* rstd,        // [K, N]
    const float* weight,      // parameter [C]
    long long stride,         // P
    const unsigned* bits,     // [K, N, ceil(C / 32)] of the mask of what was added before the norm, or null
    const Member* members,    // [K]
    float* dx,                // [K, N, C]: added to, or written
    operand* dy,              // [K, N, C], written, or null (where it would be dx itself)
    float* weight_sums,       // C columns of the sums: of dnormed · normalised x
    float* bias_sums,         // C columns: of dnormed; or null
    float* dy_sums,           // C columns: of mask · dx; or null
    long long columns,        // of the matrix of sums
    int rows,                 // N
    int width,                // C
    int group_rows,           // rows of a group
    int accumulate            // 1: dx is added to, 0: written
) {
}
