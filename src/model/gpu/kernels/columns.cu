// Gradients of norms and biases: columns' sums over groups of rows, which most kernels make of what they write, and the sums of these.

// The columns' sums of x over each group of rows.
//
// Launch: grid [ceil(width / 128), groups, K], block 128; groups = ceil(N / group_rows).
extern "C" __global__ void group_sums(
    const operand* x,         // [K, N, width]
    float* sums,              // `width` columns of the sums [K, groups, columns], written
    long long columns,        // of the matrix of sums
    int rows,                 // N
    int width,
    int group_rows            // rows of a group
) {
    int c = blockIdx.x * 128 + threadIdx.x, group = blockIdx.y;
    long long member = blockIdx.z;
    if (c >= width) return;
    int start = group * group_rows, end = min(start + group_rows, rows);
    float sum = 0.0f;
    #pragma unroll 8
    for (int n = start; n < end; n++) sum += load(x + (member * rows + n) * width + c);
    sums[(member * gridDim.y + group) * columns + c] = sum;
}

// Groups' sums, added group by group.
//
// Launch: grid [ceil(columns / 32), K], block 256.
extern "C" __global__ void column_sums(
    const float* sums,        // [K, groups, columns]
    const int* places,        // [columns]: the place in a member's gradients that a column belongs to
    float* gradients,         // [K, P]: at these places added to, or written
    long long stride,         // P
    int groups,
    int columns,
    int accumulate            // 1: add, 0: write
) {
    __shared__ float parts[8][32];
    int column = blockIdx.x * 32 + lane(), k = blockIdx.y;
    float sum = 0.0f;
    if (column < columns) {
        const float* from = sums + static_cast<long long>(k) * groups * columns + column;
        for (int group = warp(); group < groups; group += 8) sum += from[static_cast<long long>(group) * columns];
    }
    parts[warp()][lane()] = sum;
    __syncthreads();
    if (warp() > 0 || column >= columns) return;
    sum = 0.0f;
    for (int i = 0; i < 8; i++) sum += parts[i][lane()];
    float* to = gradients + k * stride + places[column];
    *to = accumulate ? *to + sum : sum;
}
