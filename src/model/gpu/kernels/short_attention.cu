// Attention of short windows in one launch each way: a block has one head of a window, and all that it reads more than once
// in shared memory. There are as many key as query heads, and D is even. The launches that this takes the place of cost more
// than their arithmetic where windows are short.

// A window's rows of one head, [L, D] with so many values from row to row, turned where a table is given.
__device__ __forceinline__ void take_head(const operand* from, long long stride, const float* angles, float* into, int row, int length, int head_width) {
    for (int e = threadIdx.x; e < length * head_width; e += blockDim.x) {
        int t = e / head_width, i = e % head_width;
        const operand* head = from + t * stride;
        into[t * row + i] = angles ? turned(head, angles + t * head_width, i, head_width, 1.0f) : load(head + i);
    }
}

// merged = (mask · softmax(scale · q kᵀ)) v; the softmax is kept for the way back, up to the diagonal.
//
// Launch: grid [W · H, K], block 256, shared 4 · (L · (2 D + 1) + 8 · (D + L)) bytes.
extern "C" __global__ void short_attention(
    const operand* qkv,       // [K, N, 3 C]: a row is [q of all heads | k | v]
    const float* angles,      // [L, D]: row t is [cos of D / 2 angles | sin of them]; or null
    const unsigned* bits,     // [K, W, H, L, ceil(L / 32)] of the weights' mask, or null
    const Member* members,    // [K]
    operand* p,               // [K, W, H, L, L], written for keys 0 to i of query i
    operand* merged,          // [K, N, C], written
    int length,               // L
    int heads,                // H
    int head_width,           // D
    float scale               // 1 / √D
) {
    DYNAMIC_SHARED(float, shared);
    const int warps = blockDim.x / 32, width = heads * head_width, padded = head_width + 1;
    const int window = blockIdx.x / heads, head = blockIdx.x % heads;
    const long long row = (static_cast<long long>(blockIdx.y) * (gridDim.x / heads) + window) * length;
    const long long square = (static_cast<long long>(blockIdx.y) * gridDim.x + blockIdx.x) * length;
    // A lane reads keys of its own, at a distance that no two lanes share a bank.
    float* k = shared;
    float* v = k + length * padded;
    float* query = v + length * head_width + warp() * (head_width + length);
    float* weights = query + head_width;
    const operand* from = qkv + row * 3 * width + head * head_width;
    take_head(from + width, 3 * width, angles, k, padded, length, head_width);
    take_head(from + 2 * width, 3 * width, nullptr, v, head_width, length, head_width);
    __syncthreads();
    const float factor = members[blockIdx.y].dropout_factor;
    for (int i = warp(); i < length; i += warps) {
        const operand* of_query = from + static_cast<long long>(i) * 3 * width;
        for (int d = lane(); d < head_width; d += 32)
            query[d] = angles ? turned(of_query, angles + i * head_width, d, head_width, 1.0f) : load(of_query + d);
        __syncwarp();
        float peak = -__int_as_float(0x7f800000);
        for (int j = lane(); j <= i; j += 32) {
            float score = 0.0f;
            for (int d = 0; d < head_width; d++) score = fmaf(query[d], k[j * padded + d], score);
            weights[j] = score;
            peak = fmaxf(peak, score);
        }
        peak = warp_max(peak);
        float sum = 0.0f;
        for (int j = lane(); j <= i; j += 32) {
            float weight = expf((weights[j] - peak) * scale);
            weights[j] = weight;
            sum += weight;
        }
        float over = 1.0f / warp_sum(sum);
        operand* kept = p + (square + i) * length;
        const unsigned* mask_bits = mask_row(bits, square + i, length);
        for (int j = lane(); j <= i; j += 32) {
            float weight = weights[j] * over;
            store(kept + j, weight);
            weights[j] = weight * mask(mask_bits, j, factor);
        }
        __syncwarp();
        for (int d = lane(); d < head_width; d += 32) {
            float mixed = 0.0f;
            for (int j = 0; j <= i; j++) mixed = fmaf(weights[j], v[j * head_width + d], mixed);
            store(merged + (row + i) * width + head * head_width + d, mixed);
        }
        __syncwarp();
    }
}

// The gradients of q, k and v from that of `merged`; and the columns' sums of them over each window, as those of a group of
// rows: window w is group w, and the groups behind the last window are left as they are.
//
// Launch: grid [W · H, K], block 256, shared 4 · (L · (4 D + 1) + 2 · L · L) bytes.
extern "C" __global__ void short_attention_backward(
    const operand* qkv,       // [K, N, 3 C]
    const float* angles,      // [L, D] as in `short_attention`, or null
    const operand* p,         // [K, W, H, L, L] as `short_attention` has left it
    const unsigned* bits,     // [K, W, H, L, ceil(L / 32)] of the weights' mask, or null
    const Member* members,    // [K]
    const operand* dmerged,   // [K, N, C]
    operand* dqkv,            // [K, N, 3 C], written
    float* sums,              // 3 C columns of the sums [K, groups, columns], or null
    long long columns,        // of the matrix of sums
    int groups,               // of the matrix of sums, W at least
    int length,               // L
    int heads,                // H
    int head_width,           // D
    float scale               // 1 / √D
) {
    DYNAMIC_SHARED(float, shared);
    const int warps = blockDim.x / 32, width = heads * head_width, padded = head_width + 1;
    const int window = blockIdx.x / heads, head = blockIdx.x % heads;
    const long long row = (static_cast<long long>(blockIdx.y) * (gridDim.x / heads) + window) * length;
    const long long square = (static_cast<long long>(blockIdx.y) * gridDim.x + blockIdx.x) * length;
    float* v = shared;
    float* k = v + length * padded;
    float* q = k + length * head_width;
    float* slopes = q + length * head_width;
    float* dropped = slopes + length * head_width;
    float* ds = dropped + length * length;
    const operand* from = qkv + row * 3 * width + head * head_width;
    take_head(from, 3 * width, angles, q, head_width, length, head_width);
    take_head(from + width, 3 * width, angles, k, head_width, length, head_width);
    take_head(from + 2 * width, 3 * width, nullptr, v, padded, length, head_width);
    take_head(dmerged + row * width + head * head_width, width, nullptr, slopes, head_width, length, head_width);
    __syncthreads();
    const float factor = members[blockIdx.y].dropout_factor;
    for (int i = warp(); i < length; i += warps) {
        const operand* kept = p + (square + i) * length;
        const unsigned* mask_bits = mask_row(bits, square + i, length);
        float sum = 0.0f;
        for (int j = lane(); j <= i; j += 32) {
            float slope = 0.0f, weight = load(kept + j), share = mask(mask_bits, j, factor);
            for (int d = 0; d < head_width; d++) slope = fmaf(slopes[i * head_width + d], v[j * padded + d], slope);
            dropped[i * length + j] = weight * share;
            ds[i * length + j] = slope * share;
            sum = fmaf(weight, slope * share, sum);
        }
        sum = warp_sum(sum);
        for (int j = lane(); j <= i; j += 32) ds[i * length + j] = scale * load(kept + j) * (ds[i * length + j] - sum);
    }
    __syncthreads();
    // Two elements of a row that turn together: (a, b) of dq, dk and dv.
    const int half = head_width / 2;
    for (int e = threadIdx.x; e < length * half; e += blockDim.x) {
        int t = e / half, a = e % half, b = a + half;
        float qa = 0.0f, qb = 0.0f, ka = 0.0f, kb = 0.0f, va = 0.0f, vb = 0.0f;
        for (int j = 0; j <= t; j++) {
            float slope = ds[t * length + j];
            qa = fmaf(slope, k[j * head_width + a], qa);
            qb = fmaf(slope, k[j * head_width + b], qb);
        }
        for (int i = t; i < length; i++) {
            float slope = ds[i * length + t], weight = dropped[i * length + t];
            ka = fmaf(slope, q[i * head_width + a], ka);
            kb = fmaf(slope, q[i * head_width + b], kb);
            va = fmaf(weight, slopes[i * head_width + a], va);
            vb = fmaf(weight, slopes[i * head_width + b], vb);
        }
        operand* to = dqkv + (row + t) * 3 * width + head * head_width;
        float cos = angles ? angles[t * head_width + a] : 1.0f, sin = angles ? angles[t * head_width + b] : 0.0f;
        store(to + a, qa * cos + qb * sin);
        store(to + b, qb * cos - qa * sin);
        store(to + width + a, ka * cos + kb * sin);
        store(to + width + b, kb * cos - ka * sin);
        store(to + 2 * width + a, va);
        store(to + 2 * width + b, vb);
    }
    if (!sums) return;
    __syncthreads();
    for (int c = threadIdx.x; c < 3 * head_width; c += blockDim.x) {
        int column = c / head_width * width + head * head_width + c % head_width;
        float sum = 0.0f;
        #pragma unroll 4
        for (int t = 0; t < length; t++) sum += load(dqkv + (row + t) * 3 * width + column);
        sums[(static_cast<long long>(blockIdx.y) * groups + window) * columns + column] = sum;
    }
}
