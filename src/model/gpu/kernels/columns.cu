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
}
