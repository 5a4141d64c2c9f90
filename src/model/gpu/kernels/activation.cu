// The MLP's activations: both forms of GELU (Hendrycks and Gimpel 2016) and SwiGLU (Shazeer 2020), and their gradients.

// e^x, and 1 / x: as exact as a float is, or as what products read has digits for.
#ifdef OPERAND_BF16
__device__ __forceinline__ float exponential(float x) { return power_of_two(x * 1.44269504f); }
__device__ __forceinline__ float reciprocal(float x) { return __fdividef(1.0f, x); }
#else
__device__ __forceinline__ float exponential(float x) { return expf(x); }
__device__ __forceinline__ float reciprocal(float x) { return 1.0f / x; }
#endif

// x Φ(x) and the slope there.
struct Gelu {
#ifdef OPERAND_BF16
    // Φ(x), given e^(−x² / 2): to 1e-7 by a polynomial of the fifth degree (Abramowitz and Stegun 1964, 7.1.26).
    static __device__ __forceinline__ float below(float x, float bell) {
        float t = reciprocal(fmaf(0.3275911f * 0.70710678f, fabsf(x), 1.0f));
        float p = fmaf(t, fmaf(t, fmaf(t, fmaf(t, 1.061405429f, -1.453152027f), 1.421413741f), -0.284496736f), 0.254829592f);
        float tail = 0.5f * t * p * bell;
        return x < 0.0f ? tail : 1.0f - tail;
    }
    static __device__ __forceinline__ float value(float x) { return x * below(x, exponential(-0.5f * x * x)); }
    static __device__ __forceinline__ float slope(float x) {
        float bell = exponential(-0.5f * x * x);
        return fmaf(x * 0.39894228f, bell, below(x, bell));
    }
#else
    static __device__ __forceinline__ float value(float x) { return 0.5f * x * (1.0f + erff(x * 0.70710678f)); }
    static __device__ __forceinline__ float slope(float x) {
        return 0.5f * (1.0f + erff(x * 0.70710678f)) + x * 0.39894228f * expf(-0.5f * x * x);
    }
#endif
};

// x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2 and the slope there.
struct GeluTanh {
    static __device__ __forceinline__ float inner(float x) {
        float u = 0.79788456f * x * (1.0f + 0.044715f * x * x);
#ifdef OPERAND_BF16
        return 1.0f - 2.0f * reciprocal(1.0f + exponential(2.0f * fminf(u, 40.0f)));
#else
        return tanhf(u);
#endif
    }
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

// V neighbouring columns of a group of rows a thread.
template <class Activation, int V>
__device__ __forceinline__ void backward(const operand* x, operand* dy, float* sums, long long columns, int rows, int width, int group_rows) {
    // Rows that a thread loads before it stores the first of them: the compiler may not move loads over stores.
    constexpr int BATCH = 4;
    int c = (blockIdx.x * 64 + threadIdx.x) * V, group = blockIdx.y, k = blockIdx.z;
    if (c >= width) return;
    int start = group * group_rows, count = min(group_rows, rows - start);
    long long first = (static_cast<long long>(k) * rows + start) * width + c;
    Some<V> sum = {};
    for (int r = 0; r < count; r += BATCH) {
        Some<V> values[BATCH], slopes[BATCH];
        #pragma unroll
        for (int i = 0; i < BATCH; i++) {
            if (r + i >= count) break;
            values[i] = load_some<V>(x + first + static_cast<long long>(r + i) * width);
            slopes[i] = load_some<V>(dy + first + static_cast<long long>(r + i) * width);
        }
        #pragma unroll
        for (int i = 0; i < BATCH; i++) {
            if (r + i >= count) break;
            #pragma unroll
            for (int e = 0; e < V; e++) {
                slopes[i].at[e] *= Activation::slope(values[i].at[e]);
                sum.at[e] += slopes[i].at[e];
            }
            store_some(dy + first + static_cast<long long>(r + i) * width, slopes[i]);
        }
    }
    if (!sums) return;
    float* to = sums + (static_cast<long long>(k) * gridDim.y + group) * columns + c;
    for (int e = 0; e < V; e++) to[e] = sum.at[e];
}

template <class Activation>
__device__ __forceinline__ void backward(const operand* x, operand* dy, float* sums, long long columns, int rows, int width, int group_rows) {
    if (width % 4 == 0) backward<Activation, 4>(x, dy, sums, columns, rows, width, group_rows);
    else backward<Activation, 1>(x, dy, sums, columns, rows, width, group_rows);
}

// V neighbouring columns of gate and up at a time.
template <int V>
__device__ __forceinline__ void gated(const operand* gates, operand* y, int width) {
    for (int c = threadIdx.x * V; c < width; c += blockDim.x * V) {
        Some<V> gate = load_some<V>(gates + c), up = load_some<V>(gates + width + c);
        #pragma unroll
        for (int e = 0; e < V; e++) up.at[e] *= gate.at[e] * reciprocal(1.0f + exponential(-gate.at[e]));
        store_some(y + c, up);
    }
}

template <int V>
__device__ __forceinline__ void gated_backward(const operand* gates, const operand* dy, operand* dx, int width) {
    for (int c = threadIdx.x * V; c < width; c += blockDim.x * V) {
        Some<V> gate = load_some<V>(gates + c), up = load_some<V>(gates + width + c), slope = load_some<V>(dy + c);
        #pragma unroll
        for (int e = 0; e < V; e++) {
            float g = gate.at[e], sigmoid = reciprocal(1.0f + exponential(-g)), of_up = slope.at[e] * g * sigmoid;
            gate.at[e] = slope.at[e] * up.at[e] * sigmoid * (1.0f + g * (1.0f - sigmoid));
            up.at[e] = of_up;
        }
        store_some(dx + c, gate);
        store_some(dx + width + c, up);
    }
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
// Launch: grid [ceil(F / 256), groups, K] where F is a multiple of 4, [ceil(F / 64), groups, K] otherwise; block 64;
// groups = ceil(N / group_rows).
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
// Launch: grid [ceil(F / 256), groups, K] where F is a multiple of 4, [ceil(F / 64), groups, K] otherwise; block 64;
// groups = ceil(N / group_rows).
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
    operand* to = y + static_cast<long long>(blockIdx.x) * width;
    if (width % 4 == 0) gated<4>(gates, to, width);
    else gated<1>(gates, to, width);
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
    const operand* slopes = dy + static_cast<long long>(blockIdx.x) * width;
    if (width % 4 == 0) gated_backward<4>(x + start, slopes, dx + start, width);
    else gated_backward<1>(x + start, slopes, dx + start, width);
}
