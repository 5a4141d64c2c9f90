// Gradients of norms and biases: the columns' sums that other kernels made over groups of rows, added group by group.

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
