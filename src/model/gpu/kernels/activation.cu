// The MLP's activations: both forms of GELU (Hendrycks and Gimpel 2016) and SwiGLU (Shazeer 2020), and their gradients.

// y = x Φ(x).
//
// Launch: grid [ceil(count / 1024)], block 256.
extern "C" __global__ void gelu(
    const operand* x,         // [K, N, F]
    operand* y,               // [K, N, F], written
    long long count           // K · N · F
) {
}

// y = x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2.
//
// Launch: grid [ceil(count / 1024)], block 256.
extern "C" __global__ void gelu_tanh(
    const operand* x,         // [K, N, F]
    operand* y,               // [K, N, F], written
    long long count           // K · N · F
) {
}

// dx = dy · slope of `gelu`, in place, and the columns' sums of dx over each group of rows.
//
// Launch: grid [ceil(F / 256), groups, K], block 256; groups = ceil(N / group_rows).
extern "C" __global__ void gelu_backward(
    const operand* x,         // [K, N, F]
    operand* dy,              // [K, N, F], becomes dx
    float* sums,              // F columns of the sums [K, groups, columns], or null
    long long columns,        // of the matrix of sums
    int rows,                 // N
    int width,                // F
    int group_rows            // rows of a group
) {
}

// The same for `gelu_tanh`.
//
// Launch: grid [ceil(F / 256), groups, K], block 256; groups = ceil(N / group_rows).
extern "C" __global__ void gelu_tanh_backward(
    const operand* x,         // [K, N, F]
    operand* dy,              // [K, N, F], becomes dx
    float* sums,              // F columns of the sums [K, groups, columns], or null
    long long columns,        // of the matrix of sums
    int rows,                 // N
    int width,                // F
    int group_rows            // rows of a group
) {
}

// y = silu(gate) · up, where a row of x is [gate | up].
//
// Launch: grid [K · N], block 128.
extern "C" __global__ void swiglu(
    const operand* x,         // [K, N, 2 F]
    operand* y,               // [K, N, F], written
    int width                 // F
) {
}

// dx = [dgate | dup].
//
// Launch: grid [K · N], block 128.
extern "C" __global__ void swiglu_backward(
    const operand* x,         // [K, N, 2 F]
    const operand* dy,        // [K, N, F]
    operand* dx,              // [K, N, 2 F], written
    int width                 // F
) {
}
