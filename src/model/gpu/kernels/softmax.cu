// Attention weights: causal softmax, its dropout, its gradient. A row of scores is one query; R = K · W · H · L rows.

// A query's row by a warp: the keys up to its own place count. V neighbouring keys a lane at a time.
template <int V>
__device__ __forceinline__ void softmax_row(operand* row, const unsigned* kept, float factor, operand* dropped, int query, int length, float scale) {
    const int first = lane() * V, step = 32 * V;
    float peak = -__int_as_float(0x7f800000);
    #pragma unroll 2
    for (int j = first; j <= query; j += step) {
        Some<V> scores = load_some<V>(row + j);
        for (int e = 0; e < V; e++)
            if (j + e <= query) peak = fmaxf(peak, scores.at[e]);
    }
    peak = warp_max(peak);
    float sum = 0.0f;
    #pragma unroll 2
    for (int j = first; j <= query; j += step) {
        Some<V> scores = load_some<V>(row + j);
        for (int e = 0; e < V; e++)
            if (j + e <= query) sum += expf((scores.at[e] - peak) * scale);
    }
    float over = 1.0f / warp_sum(sum);
    #pragma unroll 2
    for (int j = first; j < length; j += step) {
        Some<V> scores = load_some<V>(row + j), masked;
        for (int e = 0; e < V; e++) {
            float p = j + e <= query ? expf((scores.at[e] - peak) * scale) * over : 0.0f;
            scores.at[e] = p;
            masked.at[e] = dropped ? p * mask(kept, j + e, factor) : 0.0f;
        }
        store_some(row + j, scores);
        if (dropped) store_some(dropped + j, masked);
    }
}

template <int V>
__device__ __forceinline__ void dropout_row(const operand* row, const unsigned* kept, float factor, operand* dropped, int query, int length) {
    #pragma unroll 2
    for (int j = lane() * V; j < length; j += 32 * V) {
        Some<V> masked = load_some<V>(row + j);
        for (int e = 0; e < V; e++) masked.at[e] = j + e <= query ? masked.at[e] * mask(kept, j + e, factor) : 0.0f;
        store_some(dropped + j, masked);
    }
}

template <int V>
__device__ __forceinline__ void backward_row(const operand* row, const unsigned* kept, float factor, operand* dp, int query, int length, float scale) {
    const int first = lane() * V, step = 32 * V;
    float sum = 0.0f;
    #pragma unroll 2
    for (int j = first; j <= query; j += step) {
        Some<V> p = load_some<V>(row + j), slopes = load_some<V>(dp + j);
        for (int e = 0; e < V; e++)
            if (j + e <= query) sum = fmaf(p.at[e], slopes.at[e] * mask(kept, j + e, factor), sum);
    }
    sum = warp_sum(sum);
    #pragma unroll 2
    for (int j = first; j < length; j += step) {
        Some<V> p = load_some<V>(row + j), slopes = load_some<V>(dp + j);
        for (int e = 0; e < V; e++) {
            float slope = slopes.at[e] * mask(kept, j + e, factor) - sum;
            slopes.at[e] = j + e <= query ? scale * p.at[e] * slope : 0.0f;
        }
        store_some(dp + j, slopes);
    }
}

// p = softmax(scale · scores) over keys 0 to i for query i, in place, and 0 for the keys behind; where `dropped` is given,
// mask · p too.
//
// Launch: grid [ceil(R / 4)], block 128.
extern "C" __global__ void causal_softmax(
    operand* scores,          // [K, W, H, L, L], becomes p
    const unsigned* bits,     // [K, W, H, L, ceil(L / 32)] of the weights' mask, or null where dropped is null
    const Member* members,    // [K]
    operand* dropped,         // [K, W, H, L, L], written, or null
    long long rows,           // R
    long long member_rows,    // W · H · L
    int length,               // L
    float scale               // 1 / √D
) {
    long long row = blockIdx.x * 4ll + warp();
    if (row >= rows) return;
    const unsigned* kept = mask_row(bits, row, length);
    float factor = members[row / member_rows].dropout_factor;
    int query = static_cast<int>(row % length);
    if (length % 4 == 0) softmax_row<4>(scores + row * length, kept, factor, dropped ? dropped + row * length : nullptr, query, length, scale);
    else softmax_row<1>(scores + row * length, kept, factor, dropped ? dropped + row * length : nullptr, query, length, scale);
}

// dropped = mask · p, again for the way back.
//
// Launch: grid [ceil(R / 4)], block 128.
extern "C" __global__ void attention_dropout(
    const operand* p,         // [K, W, H, L, L]
    const unsigned* bits,     // [K, W, H, L, ceil(L / 32)]
    const Member* members,    // [K]
    operand* dropped,         // [K, W, H, L, L], written
    long long rows,           // R
    long long member_rows,    // W · H · L
    int length                // L
) {
    long long row = blockIdx.x * 4ll + warp();
    if (row >= rows) return;
    const unsigned* kept = mask_row(bits, row, length);
    float factor = members[row / member_rows].dropout_factor;
    int query = static_cast<int>(row % length);
    if (length % 4 == 0) dropout_row<4>(p + row * length, kept, factor, dropped + row * length, query, length);
    else dropout_row<1>(p + row * length, kept, factor, dropped + row * length, query, length);
}

// ds = scale · p · (mask · dp − Σ p · mask · dp), in place of dp, the gradient of what was multiplied with v; 0 behind the
// diagonal, whatever dp has there.
//
// Launch: grid [ceil(R / 4)], block 128.
extern "C" __global__ void softmax_backward(
    const operand* p,         // [K, W, H, L, L]
    const unsigned* bits,     // [K, W, H, L, ceil(L / 32)] of the weights' mask, or null
    const Member* members,    // [K]
    operand* dp,              // [K, W, H, L, L], becomes ds
    long long rows,           // R
    long long member_rows,    // W · H · L
    int length,               // L
    float scale               // 1 / √D
) {
    long long row = blockIdx.x * 4ll + warp();
    if (row >= rows) return;
    const unsigned* kept = mask_row(bits, row, length);
    float factor = members[row / member_rows].dropout_factor;
    int query = static_cast<int>(row % length);
    if (length % 4 == 0) backward_row<4>(p + row * length, kept, factor, dp + row * length, query, length, scale);
    else backward_row<1>(p + row * length, kept, factor, dp + row * length, query, length, scale);
}
