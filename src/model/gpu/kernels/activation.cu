// The MLP's activations: both forms of GELU (Hendrycks and Gimpel 2016) and SwiGLU (Shazeer 2020), and their gradients.

// Rows that a thread loads before it stores the first of them.
constexpr int BATCH = 4;

// x Φ(x) and the slope there.
struct Gelu {
    static __device__ __forceinline__ float value(float x) { return 0.5f * x * (1.0f + erff(x * 0.70710678f)); }
    static __device__ __forceinline__ float slope(float x) {
        return 0.5f * (1.0f + erff(x * 0.70710678f)) + x * 0.39894228f * expf(-0.5f * x * x);
    }
};

// x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2 and the slope there.
struct GeluTanh {
    static __device__ __forceinline__ float inner(float x) { return tanhf(0.79788456f * x * (1.0f + 0.044715f * x * x)); }
    static __device__ __forceinline__ float value(float x) { return 0.5f * x * (1.0f + inner(x)); }
    static __device__ __forceinline__ float slope(float x) {
        float t = inner(x);
        return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * 0.79788456f * (1.0f + 3.0f * 0.044715f * x * x);
    }
};

// Four neighbouring elements a thread.
template <class Activation>
__device__ __forceinline__ void forward(const operand* x, operand* y, long long count) {
    long long i = (blockIdx.x * 256ll + threadIdx.x) * 4;
    if (i + 4 <= count) {
        Some<4> four = load_some<4>(x + i);
        for (int e = 0; e < 4; e++) four.at[e] = Activation::value(four.at[e]);
        store_some(y + i, four);
        return;
    }
    for (; i < count; i++) store(y + i, Activation::value(load(x + i)));
}

// A column of a group of rows a thread.
template <class Activation>
__device__ __forceinline__ void backward(const operand* x, operand* dy, float* sums, long long columns, int rows, int width, int group_rows) {
    int c = blockIdx.x * 256 + threadIdx.x, group = blockIdx.y, k = blockIdx.z;
    if (c >= width) return;
    int start = group * group_rows, count = min(group_rows, rows - start);
    long long first = (static_cast<long long>(k) * rows + start) * width + c;
    float sum = 0.0f;
    for (int r = 0; r < count; r += BATCH) {
        // Loads first: the compiler may not move them over the stores.
        float values[BATCH], slopes[BATCH];
        #pragma unroll
        for (int i = 0; i < BATCH; i++) {
            if (r + i >= count) break;
            values[i] = load(x + first + static_cast<long long>(r + i) * width);
            slopes[i] = load(dy + first + static_cast<long long>(r + i) * width);
        }
        #pragma unroll
        for (int i = 0; i < BATCH; i++) {
            if (r + i >= count) break;
            float slope = slopes[i] * Activation::slope(values[i]);
            store(dy + first + static_cast<long long>(r + i) * width, slope);
            sum += slope;
        }
    }
    if (sums) sums[(static_cast<long long>(k) * gridDim.y + group) * columns + c] = sum;
}

// y = x Φ(x).
//
// Launch: grid [ceil(count / 1024)], block 256.
extern "C" __global__ void gelu(
    const operand* x,         // [K, N, F]
    operand* y,               // [K, N, F], written
    long long count           // K · N · F
) {
    forward<Gelu>(x, y, count);
}

// y = x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2.
//
// Launch: grid [ceil(count / 1024)], block 256.
extern "C" __global__ void gelu_tanh(
    const operand* x,         // [K, N, F]
    operand* y,               // [K, N, F], written
    long long count           // K · N · F
) {
    forward<GeluTanh>(x, y, count);
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
    backward<Gelu>(x, dy, sums, columns, rows, width, group_rows);
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
    backward<GeluTanh>(x, dy, sums, columns, rows, width, group_rows);
}

// y = silu(gate) · up, where a row of x is [gate | up].
//
// Launch: grid [K · N], block 128.
extern "C" __global__ void swiglu(
    const operand* x,         // [K, N, 2 F]
    operand* y,               // [K, N, F], written
    int width                 // F
) {
    const operand* gates = x + blockIdx.x * 2ll * width;
    for (int c = threadIdx.x; c < width; c += blockDim.x) {
        float gate = load(gates + c), up = load(gates + width + c);
        store(y + static_cast<long long>(blockIdx.x) * width + c, gate / (1.0f + expf(-gate)) * up);
    }
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
    long long start = blockIdx.x * 2ll * width;
    for (int c = threadIdx.x; c < width; c += blockDim.x) {
        float gate = load(x + start + c), up = load(x + start + width + c);
        float slope = load(dy + static_cast<long long>(blockIdx.x) * width + c), sigmoid = 1.0f / (1.0f + expf(-gate));
        store(dx + start + c, slope * up * sigmoid * (1.0f + gate * (1.0f - sigmoid)));
        store(dx + start + width + c, slope * gate * sigmoid);
    }
}
