// Layer norm (Ba et al. 2016) and RMS norm (Zhang and Sennrich 2019) over rows, fused with the residual sum before them.

// One row by a warp, V neighbouring columns a lane at a time. Without a mean it is RMS norm.
template <int V>
__device__ __forceinline__ void norm_row(
    const float* x, const operand* delta, const unsigned* kept, float factor, const float* weight, const float* bias, float* x_out,
    operand* normed, float* mean, float* rstd, int width, float epsilon
) {
    const int first = lane() * V, step = 32 * V;
    const float* summed = delta ? x_out : x;
    float total = 0.0f;
    #pragma unroll 2
    for (int c = first; c < width; c += step) {
        Some<V> sum = load_some<V>(x + c);
        if (delta) {
            Some<V> more = load_some<V>(delta + c);
            for (int e = 0; e < V; e++) sum.at[e] = fmaf(more.at[e], mask(kept, c + e, factor), sum.at[e]);
            store_some(x_out + c, sum);
        }
        for (int e = 0; e < V; e++) total += sum.at[e];
    }
    float centre = mean ? warp_sum(total) / width : 0.0f;
    float square = 0.0f;
    #pragma unroll 2
    for (int c = first; c < width; c += step) {
        Some<V> row = load_some<V>(summed + c);
        for (int e = 0; e < V; e++) square = fmaf(row.at[e] - centre, row.at[e] - centre, square);
    }
    float over = 1.0f / sqrtf(warp_sum(square) / width + epsilon);
    #pragma unroll 2
    for (int c = first; c < width; c += step) {
        Some<V> row = load_some<V>(summed + c), w = load_some<V>(weight + c);
        for (int e = 0; e < V; e++) row.at[e] = (row.at[e] - centre) * over * w.at[e];
        if (bias) {
            Some<V> b = load_some<V>(bias + c);
            for (int e = 0; e < V; e++) row.at[e] += b.at[e];
        }
        store_some(normed + c, row);
    }
    if (lane() == 0) {
        if (mean) *mean = centre;
        *rstd = over;
    }
}

// The row that this warp has, if it has one.
template <int V>
__device__ __forceinline__ void norm_rows(
    const float* x, const operand* delta, const unsigned* bits, const Member* members, const float* weight, const float* bias,
    long long stride, float* x_out, operand* normed, float* mean, float* rstd, int rows, int width, float epsilon
) {
    int n = blockIdx.x * 4 + warp(), k = blockIdx.y;
    if (n >= rows) return;
    long long row = static_cast<long long>(k) * rows + n, start = row * width;
    norm_row<V>(
        x + start, delta ? delta + start : nullptr, mask_row(bits, row, width), members[k].dropout_factor, weight + k * stride,
        bias ? bias + k * stride : nullptr, x_out ? x_out + start : nullptr, normed + start, mean ? mean + row : nullptr, rstd + row,
        width, epsilon
    );
}

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
    if (width % 4 == 0) norm_rows<4>(x, delta, bits, members, weight, bias, stride, x_out, normed, mean, rstd, rows, width, epsilon);
    else norm_rows<1>(x, delta, bits, members, weight, bias, stride, x_out, normed, mean, rstd, rows, width, epsilon);
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
    if (width % 4 == 0) norm_rows<4>(x, delta, bits, members, weight, nullptr, stride, x_out, normed, nullptr, rstd, rows, width, epsilon);
    else norm_rows<1>(x, delta, bits, members, weight, nullptr, stride, x_out, normed, nullptr, rstd, rows, width, epsilon);
}

// The gradients of a group of rows in norm_backward; V neighbouring columns a thread, `blockDim.x / across` rows at a time.
template <int V>
__device__ __forceinline__ void norm_group_backward(
    const operand* dnormed, const float* x, const float* mean, const float* rstd, const float* w, const unsigned* bits, float factor,
    float* dx, operand* dy, float* weight_sums, float* bias_sums, float* dy_sums, float* shared, long long first, int count, int width,
    int group_rows, int accumulate
) {
    float* means = shared;  // of each row: of dnormed · weight, and of that times the normalised x
    float* parts = shared + 2 * group_rows;
    for (int r = warp(); r < count; r += blockDim.x / 32) {
        long long row = first + r;
        float centre = mean ? mean[row] : 0.0f, over = rstd[row], level = 0.0f, along = 0.0f;
        #pragma unroll 4
        for (int c = lane() * V; c < width; c += 32 * V) {
            Some<V> slope = load_some<V>(dnormed + row * width + c), weight = load_some<V>(w + c), value = load_some<V>(x + row * width + c);
            #pragma unroll
            for (int e = 0; e < V; e++) {
                float weighted = slope.at[e] * weight.at[e];
                level += weighted;
                along = fmaf(weighted, (value.at[e] - centre) * over, along);
            }
        }
        level = warp_sum(level);
        along = warp_sum(along);
        if (lane() == 0) {
            means[2 * r] = mean ? level / width : 0.0f;
            means[2 * r + 1] = along / width;
        }
    }
    __syncthreads();

    // Rows that a thread loads before it stores the first of them: the compiler may not move loads over stores.
    constexpr int BATCH = V == 1 ? 4 : 1;
    const int across = min(width / V, static_cast<int>(blockDim.x)), beside = blockDim.x / across;
    const int own = threadIdx.x / across, column = threadIdx.x % across * V;
    for (int begin = 0; begin < width; begin += across * V) {
        const int c = begin + column;
        const bool takes_part = own < beside && c < width;
        Some<V> of_weight = {}, of_bias = {}, of_dy = {};
        if (takes_part) {
            Some<V> weight = load_some<V>(w + c);
            for (int r = own; r < count; r += beside * BATCH) {
                Some<V> slopes[BATCH], values[BATCH], sums[BATCH] = {};
                #pragma unroll
                for (int i = 0; i < BATCH; i++) {
                    if (r + i * beside >= count) break;
                    long long place = (first + r + i * beside) * width + c;
                    slopes[i] = load_some<V>(dnormed + place);
                    values[i] = load_some<V>(x + place);
                    if (accumulate) sums[i] = load_some<V>(dx + place);
                }
                #pragma unroll
                for (int i = 0; i < BATCH; i++) {
                    int at = r + i * beside;
                    if (at >= count) break;
                    long long row = first + at;
                    float over = rstd[row], centre = mean ? mean[row] : 0.0f, level = means[2 * at], along = means[2 * at + 1];
                    const unsigned* kept = mask_row(bits, row, width);
                    Some<V> masked;
                    #pragma unroll
                    for (int e = 0; e < V; e++) {
                        float normalised = (values[i].at[e] - centre) * over;
                        of_weight.at[e] = fmaf(slopes[i].at[e], normalised, of_weight.at[e]);
                        of_bias.at[e] += slopes[i].at[e];
                        float slope = slopes[i].at[e] * weight.at[e] - level - normalised * along;
                        sums[i].at[e] = fmaf(over, slope, sums[i].at[e]);
                        masked.at[e] = sums[i].at[e] * mask(kept, c + e, factor);
                        of_dy.at[e] += masked.at[e];
                    }
                    store_some(dx + row * width + c, sums[i]);
                    if (dy) store_some(dy + row * width + c, masked);
                }
            }
        }
        // What the rows beside each other have summed, added in their order.
        const int all = beside * across * V;
        if (takes_part) {
            for (int e = 0; e < V; e++) {
                float* part = parts + (own * across * V + column + e);
                part[0] = of_weight.at[e];
                part[all] = of_bias.at[e];
                part[2 * all] = of_dy.at[e];
            }
        }
        __syncthreads();
        for (int i = threadIdx.x; i < 3 * across * V; i += blockDim.x) {
            int which = i / (across * V), at = i % (across * V);
            float* to = which == 0 ? weight_sums : which == 1 ? bias_sums : dy_sums;
            if (!to || begin + at >= width) continue;
            float sum = 0.0f;
            for (int row = 0; row < beside; row++) sum += parts[which * all + row * across * V + at];
            to[begin + at] = sum;
        }
        __syncthreads();
    }
}

// The same for rows of N · 128 columns, each by a warp that keeps it in registers: everything is read once.
template <int N>
__device__ __forceinline__ void norm_rows_backward(
    const operand* dnormed, const float* x, const float* mean, const float* rstd, const float* w, const unsigned* bits, float factor,
    float* dx, operand* dy, float* weight_sums, float* bias_sums, float* dy_sums, float* shared, long long first, int count,
    int accumulate
) {
    constexpr int WIDTH = 128 * N;
    const int own = lane() * 4, warps = blockDim.x / 32;
    Some<4> of_weight[N] = {}, of_bias[N] = {}, of_dy[N] = {};
    #pragma unroll 1
    for (int r = warp(); r < count; r += warps) {
        long long row = first + r, start = row * WIDTH + own;
        Some<4> slopes[N], values[N], sums[N] = {};
        #pragma unroll
        for (int i = 0; i < N; i++) {
            slopes[i] = load_some<4>(dnormed + start + 128 * i);
            values[i] = load_some<4>(x + start + 128 * i);
            if (accumulate) sums[i] = load_some<4>(dx + start + 128 * i);
        }
        float over = rstd[row], centre = mean ? mean[row] : 0.0f, level = 0.0f, along = 0.0f;
        #pragma unroll
        for (int i = 0; i < N; i++) {
            Some<4> weight = load_some<4>(w + own + 128 * i);
            #pragma unroll
            for (int e = 0; e < 4; e++) {
                float normalised = (values[i].at[e] - centre) * over;
                values[i].at[e] = normalised;
                of_weight[i].at[e] = fmaf(slopes[i].at[e], normalised, of_weight[i].at[e]);
                of_bias[i].at[e] += slopes[i].at[e];
                slopes[i].at[e] *= weight.at[e];
                level += slopes[i].at[e];
                along = fmaf(slopes[i].at[e], normalised, along);
            }
        }
        level = mean ? warp_sum(level) / WIDTH : 0.0f;
        along = warp_sum(along) / WIDTH;
        const unsigned* kept = mask_row(bits, row, WIDTH);
        #pragma unroll
        for (int i = 0; i < N; i++) {
            Some<4> masked;
            #pragma unroll
            for (int e = 0; e < 4; e++) {
                float slope = slopes[i].at[e] - level - values[i].at[e] * along;
                sums[i].at[e] = fmaf(over, slope, sums[i].at[e]);
                masked.at[e] = sums[i].at[e] * mask(kept, own + 128 * i + e, factor);
                of_dy[i].at[e] += masked.at[e];
            }
            store_some(dx + start + 128 * i, sums[i]);
            if (dy) store_some(dy + start + 128 * i, masked);
        }
    }
    // What the warps have summed, added in their order.
    #pragma unroll 1
    for (int which = 0; which < 3; which++) {
        float* to = which == 0 ? weight_sums : which == 1 ? bias_sums : dy_sums;
        if (!to) continue;
        #pragma unroll
        for (int i = 0; i < N; i++) store_some(shared + warp() * WIDTH + own + 128 * i, which == 0 ? of_weight[i] : which == 1 ? of_bias[i] : of_dy[i]);
        __syncthreads();
        for (int c = threadIdx.x; c < WIDTH; c += blockDim.x) {
            float sum = 0.0f;
            for (int other = 0; other < warps; other++) sum += shared[other * WIDTH + c];
            to[c] = sum;
        }
        __syncthreads();
    }
}

// Back through a norm: dx (+)= its gradient, then dy = mask · dx for what was added before the norm; and, over each group of
// rows, the columns' sums of the gradients of weight, bias and of what `dy` stands for: `column_sums` adds the groups.
//
// The sums are one matrix [K, groups, columns] for all norms and biases of the model; the pointers are to the first column
// that is meant, of member 0 and group 0. groups = ceil(N / group_rows).
// Launch: grid [groups, K], block any number of warps, shared 8 · group_rows + 48 · block bytes.
extern "C" __global__ void __launch_bounds__(384, 2) norm_backward(
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
    DYNAMIC_SHARED(float, shared);
    int k = blockIdx.y, group = blockIdx.x, start = group * group_rows, count = min(group_rows, rows - start);
    long long first = static_cast<long long>(k) * rows + start, sums = (static_cast<long long>(k) * gridDim.x + group) * columns;
    const float* w = weight + k * stride;
    float factor = members[k].dropout_factor;
    weight_sums += sums;
    if (bias_sums) bias_sums += sums;
    if (dy_sums) dy_sums += sums;
    if (width % 4 == 0)
        norm_group_backward<4>(dnormed, x, mean, rstd, w, bits, factor, dx, dy, weight_sums, bias_sums, dy_sums, shared, first, count, width, group_rows, accumulate);
    else
        norm_group_backward<1>(dnormed, x, mean, rstd, w, bits, factor, dx, dy, weight_sums, bias_sums, dy_sums, shared, first, count, width, group_rows, accumulate);
}

// The same where C is 128, 256, 384 or 512.
//
// Launch: grid [groups, K], block 128, shared 16 · C bytes.
extern "C" __global__ void __launch_bounds__(128, 4) norm_backward_rows(
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
    DYNAMIC_SHARED(float, shared);
    int k = blockIdx.y, group = blockIdx.x, start = group * group_rows, count = min(group_rows, rows - start);
    long long first = static_cast<long long>(k) * rows + start, sums = (static_cast<long long>(k) * gridDim.x + group) * columns;
    const float* w = weight + k * stride;
    float factor = members[k].dropout_factor;
    weight_sums += sums;
    if (bias_sums) bias_sums += sums;
    if (dy_sums) dy_sums += sums;
    switch (width / 128) {
        case 1: norm_rows_backward<1>(dnormed, x, mean, rstd, w, bits, factor, dx, dy, weight_sums, bias_sums, dy_sums, shared, first, count, accumulate); break;
        case 2: norm_rows_backward<2>(dnormed, x, mean, rstd, w, bits, factor, dx, dy, weight_sums, bias_sums, dy_sums, shared, first, count, accumulate); break;
        case 3: norm_rows_backward<3>(dnormed, x, mean, rstd, w, bits, factor, dx, dy, weight_sums, bias_sums, dy_sums, shared, first, count, accumulate); break;
        case 4: norm_rows_backward<4>(dnormed, x, mean, rstd, w, bits, factor, dx, dy, weight_sums, bias_sums, dy_sums, shared, first, count, accumulate); break;
    }
}

// The same where C is 640, 768, 896 or 1,024.
//
// Launch: grid [groups, K], block 128, shared 16 · C bytes.
extern "C" __global__ void __launch_bounds__(128, 2) norm_backward_wide_rows(
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
    DYNAMIC_SHARED(float, shared);
    int k = blockIdx.y, group = blockIdx.x, start = group * group_rows, count = min(group_rows, rows - start);
    long long first = static_cast<long long>(k) * rows + start, sums = (static_cast<long long>(k) * gridDim.x + group) * columns;
    const float* w = weight + k * stride;
    float factor = members[k].dropout_factor;
    weight_sums += sums;
    if (bias_sums) bias_sums += sums;
    if (dy_sums) dy_sums += sums;
    switch (width / 128) {
        case 5: norm_rows_backward<5>(dnormed, x, mean, rstd, w, bits, factor, dx, dy, weight_sums, bias_sums, dy_sums, shared, first, count, accumulate); break;
        case 6: norm_rows_backward<6>(dnormed, x, mean, rstd, w, bits, factor, dx, dy, weight_sums, bias_sums, dy_sums, shared, first, count, accumulate); break;
        case 7: norm_rows_backward<7>(dnormed, x, mean, rstd, w, bits, factor, dx, dy, weight_sums, bias_sums, dy_sums, shared, first, count, accumulate); break;
        case 8: norm_rows_backward<8>(dnormed, x, mean, rstd, w, bits, factor, dx, dy, weight_sums, bias_sums, dy_sums, shared, first, count, accumulate); break;
    }
}
