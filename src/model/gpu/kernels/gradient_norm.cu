// Sums of squares of the gradients, in 64 bits, over pieces of 4,096; `prepare_update` adds the pieces.

// Launch: grid [ceil(P / 4,096), K], block 256.
extern "C" __global__ void gradient_squares(
    const float* gradients,   // [K, P]
    double* squares,          // [K, ceil(P / 4,096)], written
    long long stride          // P, a multiple of 64
) {
    int k = blockIdx.y;
    double sum = 0.0;
    for (int i = 0; i < 4; i++) {
        long long place = blockIdx.x * 4096ll + i * 1024 + threadIdx.x * 4;
        if (place >= stride) break;
        Some<4> four = load_some<4>(gradients + k * stride + place);
        for (int e = 0; e < 4; e++) sum = fma(static_cast<double>(four.at[e]), static_cast<double>(four.at[e]), sum);
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) squares[static_cast<long long>(k) * gridDim.x + blockIdx.x] = sum;
}
