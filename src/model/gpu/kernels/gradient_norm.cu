// Sums of squares of the gradients, in 64 bits, over pieces of 4,096; `prepare_update` adds the pieces.

// Launch: grid [ceil(P / 4,096), K], block 256.
extern "C" __global__ void gradient_squares(
    const float* gradients,   // [K, P]
    double* squares,          // [K, ceil(P / 4,096)], written
    long long stride          // P, a multiple of 64
) {
}
