// Attention of short windows and narrow heads (L ≤ 64, D ≤ 64) as one kernel each way, where several small launches would take
// longer than the work: what `split_heads`, the products, `causal_softmax` and `merge_heads` make together. Queries and keys
// are turned whenever they are read.
//
// A block has 16 warps. Each has four rows of queries, or of keys on their way back; its lanes stand for the elements of the
// other side, two a lane.

constexpr int LONGEST = 64;  // tokens of a window, and elements of a head
constexpr int WARPS = 16;
constexpr int ROWS = LONGEST / WARPS;

// What a block has of a head: two arrays [L, D], their rows one element apart so that lanes may read a column of 32 rows at
// once, and for each warp four rows of its own.
struct Shared {
    float *one, *other, *own;
    int pitch;

    __device__ __forceinline__ Shared(float* memory, int length, int head_width) {
        pitch = head_width | 1;
        own = memory + warp() * ROWS * LONGEST;
        one = memory + WARPS * ROWS * LONGEST;
        other = one + length * pitch;
    }
};

// For the rows of a warp's own, x, and lanes that stand for rows of an array: Σ over columns of x · array.
__device__ __forceinline__ void along_columns(float (&sums)[ROWS][2], const float* own, const float* array, int pitch, int rows, int columns) {
    const float* mine[2];
    for (int half = 0; half < 2; half++) mine[half] = array + min(lane() + 32 * half, rows - 1) * pitch;
    #pragma unroll
    for (int r = 0; r < ROWS; r++) sums[r][0] = sums[r][1] = 0.0f;
    #pragma unroll 4
    for (int c = 0; c < columns; c++) {
        float values[2] = {mine[0][c], mine[1][c]};
        #pragma unroll
        for (int r = 0; r < ROWS; r++) {
            float x = own[r * LONGEST + c];
            for (int half = 0; half < 2; half++) sums[r][half] = fmaf(x, values[half], sums[r][half]);
        }
    }
}

// For the rows of a warp's own, x, and lanes that stand for columns of an array: + Σ over its rows `from` to `to` of x · array.
__device__ __forceinline__ void along_rows(float (&sums)[ROWS][2], const float* own, const float* array, int pitch, int from, int to, int columns) {
    int mine[2];
    for (int half = 0; half < 2; half++) mine[half] = min(lane() + 32 * half, columns - 1);
    #pragma unroll 2
    for (int i = from; i < to; i++) {
        float values[2] = {array[i * pitch + mine[0]], array[i * pitch + mine[1]]};
        #pragma unroll
        for (int r = 0; r < ROWS; r++) {
            float x = own[r * LONGEST + i];
            for (int half = 0; half < 2; half++) sums[r][half] = fmaf(x, values[half], sums[r][half]);
        }
    }
}

// Which of a window's rows a warp has: four from here on, the last one again where there are no more.
__device__ __forceinline__ int row_of(int first, int r, int length) { return min(first + r, length - 1); }

// A head's rows [L, D], so many elements apart, into an array; turned where a table is given.
__device__ __forceinline__ void take_head(float* array, int pitch, const operand* from, long long apart, const float* angles, int length, int head_width) {
    #pragma unroll 1
    for (int i = threadIdx.x; i < length * head_width; i += blockDim.x) {
        int t = i / head_width, d = i % head_width;
        const operand* row = from + t * apart;
        array[t * pitch + d] = angles ? rounded(turned(row, angles + t * head_width, d, head_width, 1.0f)) : load(row + d);
    }
}

// One head of one window: p, and what it mixes into the rows.
//
// Launch: grid [W · H, K], block 512, shared 4 · (4,096 + 2 L (D | 1)) bytes.
extern "C" __global__ void __launch_bounds__(512, 1) short_attention(
    const operand* qkv,       // [K, N, C + 2 · KV · D]: a row is [q of all heads | k | v]
    const float* angles,      // [L, D]: row t is [cos of D / 2 angles | sin of them]; or null
    const unsigned* bits,     // [K, W, H, L, ceil(L / 32)] of the weights' mask, or null
    const Member* members,    // [K]
    operand* p,               // [K, W, H, L, L], written: 0 behind the diagonal
    operand* merged,          // [K, N, C], written
    int length,               // L
    int heads,                // H
    int kv_heads,             // KV
    int head_width,           // D
    float scale               // 1 / √D
) {
    DYNAMIC_SHARED(float, memory);
    Shared shared(memory, length, head_width);
    int head = blockIdx.x % heads, kv_head = head / (heads / kv_heads);
    int width = heads * head_width, kv_width = kv_heads * head_width, all = width + 2 * kv_width;
    long long window = static_cast<long long>(blockIdx.y) * (gridDim.x / heads) + blockIdx.x / heads;
    const operand* rows = qkv + window * length * all;
    take_head(shared.one, shared.pitch, rows + width + kv_head * head_width, all, angles, length, head_width);
    take_head(shared.other, shared.pitch, rows + width + kv_width + kv_head * head_width, all, nullptr, length, head_width);
    __syncthreads();

    int first = warp() * ROWS;
    if (first >= length) return;
    long long place = window * heads + head;
    float factor = members[blockIdx.y].dropout_factor;
    #pragma unroll
    for (int r = 0; r < ROWS; r++) {
        int t = row_of(first, r, length);
        const operand* query = rows + static_cast<long long>(t) * all + head * head_width;
        #pragma unroll 1
        for (int d = lane(); d < head_width; d += 32)
            shared.own[r * LONGEST + d] = angles ? rounded(turned(query, angles + t * head_width, d, head_width, 1.0f)) : load(query + d);
    }
    __syncwarp();
    float weights[ROWS][2];
    along_columns(weights, shared.own, shared.one, shared.pitch, length, head_width);
    __syncwarp();  // the queries are read: their place is taken by the weights
    #pragma unroll
    for (int r = 0; r < ROWS; r++) {
        int t = row_of(first, r, length);
        float peak = -__int_as_float(0x7f800000);
        for (int half = 0; half < 2; half++)
            if (lane() + 32 * half <= t) peak = fmaxf(peak, weights[r][half]);
        peak = warp_max(peak);
        float sum = 0.0f;
        for (int half = 0; half < 2; half++) {
            weights[r][half] = lane() + 32 * half <= t ? expf((weights[r][half] - peak) * scale) : 0.0f;
            sum += weights[r][half];
        }
        float over = 1.0f / warp_sum(sum);
        const unsigned* kept = mask_row(bits, place * length + t, length);
        for (int half = 0; half < 2; half++) {
            int j = lane() + 32 * half;
            if (j >= length) continue;
            float weight = rounded(weights[r][half] * over);
            store(p + (place * length + t) * length + j, weight);
            shared.own[r * LONGEST + j] = weight * mask(kept, j, factor);
        }
    }
    __syncwarp();
    float mixed[ROWS][2] = {};
    along_rows(mixed, shared.own, shared.other, shared.pitch, 0, row_of(first, ROWS - 1, length) + 1, head_width);
    #pragma unroll
    for (int r = 0; r < ROWS; r++) {
        operand* row = merged + (window * length + row_of(first, r, length)) * width + head * head_width;
        for (int half = 0; half < 2; half++)
            if (lane() + 32 * half < head_width) store(row + lane() + 32 * half, mixed[r][half]);
    }
}

// A head's gradient of a row, turned back, from the warp's own row into one of dqkv.
__device__ __forceinline__ void store_turned_back(operand* to, float* own, const float (&sums)[2], const float* angles, int head_width) {
    __syncwarp();  // what stood there is read
    for (int half = 0; half < 2; half++)
        if (lane() + 32 * half < head_width) own[lane() + 32 * half] = sums[half];
    __syncwarp();
    #pragma unroll 1
    for (int d = lane(); d < head_width; d += 32)
        store(to + d, angles ? turned(own, angles, d, head_width, -1.0f) : own[d]);
}

// One head of keys and values of one window, with all heads of queries that look at it: dqkv from the gradient of what they
// mixed; and the columns' sums of dqkv over each window, as those of a group of rows: window w is group w, and groups behind the
// last window are left as they are.
//
// Launch: grid [W · KV, K], block 512, shared 4 · (4,096 + 2 L (D | 1) + L (L | 1)) bytes.
extern "C" __global__ void __launch_bounds__(512, 1) short_attention_backward(
    const operand* qkv,       // [K, N, C + 2 · KV · D]
    const float* angles,      // [L, D] as in `short_attention`, or null
    const operand* p,         // [K, W, H, L, L]
    const unsigned* bits,     // [K, W, H, L, ceil(L / 32)] of the weights' mask, or null
    const Member* members,    // [K]
    const operand* dmerged,   // [K, N, C]
    operand* dqkv,            // [K, N, C + 2 · KV · D], written; not qkv itself
    float* sums,              // C + 2 · KV · D columns of the sums [K, groups, columns], or null
    long long columns,        // of the matrix of sums
    int groups,               // of the matrix of sums, W at least
    int length,               // L
    int heads,                // H
    int kv_heads,             // KV
    int head_width,           // D
    float scale               // 1 / √D
) {
    DYNAMIC_SHARED(float, memory);
    Shared shared(memory, length, head_width);
    float* ds = shared.other + length * shared.pitch;  // [L, L | 1]: gradient of the scores
    int kv_head = blockIdx.x % kv_heads, sharing = heads / kv_heads;
    int width = heads * head_width, kv_width = kv_heads * head_width, all = width + 2 * kv_width;
    int own_window = blockIdx.x / kv_heads, first = warp() * ROWS;
    long long window = static_cast<long long>(blockIdx.y) * (gridDim.x / kv_heads) + own_window;
    const operand* rows = qkv + window * length * all;
    float factor = members[blockIdx.y].dropout_factor;
    float dkeys[ROWS][2] = {}, dvalues[ROWS][2] = {};
    for (int head = kv_head * sharing; head < (kv_head + 1) * sharing; head++) {
        long long place = window * heads + head;
        const operand* slopes = dmerged + window * length * width + head * head_width;
        __syncthreads();  // what the head before had there is read
        take_head(shared.one, shared.pitch, rows + width + kv_head * head_width, all, angles, length, head_width);
        take_head(shared.other, shared.pitch, rows + width + kv_width + kv_head * head_width, all, nullptr, length, head_width);
        __syncthreads();
        if (first < length) {
            #pragma unroll
            for (int r = 0; r < ROWS; r++)
                #pragma unroll 1
                for (int d = lane(); d < head_width; d += 32)
                    shared.own[r * LONGEST + d] = load(slopes + static_cast<long long>(row_of(first, r, length)) * width + d);
            __syncwarp();
            float scores[ROWS][2];
            along_columns(scores, shared.own, shared.other, shared.pitch, length, head_width);
            __syncwarp();
            #pragma unroll
            for (int r = 0; r < ROWS; r++) {
                int t = row_of(first, r, length);
                const operand* row = p + (place * length + t) * length;
                const unsigned* kept = mask_row(bits, place * length + t, length);
                float weights[2], sum = 0.0f;
                for (int half = 0; half < 2; half++) {
                    int j = lane() + 32 * half;
                    weights[half] = j <= t ? load(row + j) : 0.0f;
                    scores[r][half] = j <= t ? scores[r][half] * mask(kept, j, factor) : 0.0f;
                    sum = fmaf(weights[half], scores[r][half], sum);
                }
                sum = warp_sum(sum);
                for (int half = 0; half < 2; half++) {
                    int j = lane() + 32 * half;
                    if (j >= length) continue;
                    float slope = j <= t ? scale * weights[half] * (scores[r][half] - sum) : 0.0f;
                    ds[t * (length | 1) + j] = slope;
                    shared.own[r * LONGEST + j] = slope;
                }
            }
            __syncwarp();
            float dqueries[ROWS][2] = {};
            along_rows(dqueries, shared.own, shared.one, shared.pitch, 0, row_of(first, ROWS - 1, length) + 1, head_width);
            #pragma unroll
            for (int r = 0; r < ROWS; r++) {
                int t = row_of(first, r, length);
                operand* to = dqkv + (window * length + t) * all + head * head_width;
                store_turned_back(to, shared.own, dqueries[r], angles ? angles + t * head_width : nullptr, head_width);
            }
        }
        __syncthreads();
        take_head(shared.one, shared.pitch, rows + head * head_width, all, angles, length, head_width);
        take_head(shared.other, shared.pitch, slopes, width, nullptr, length, head_width);
        __syncthreads();
        if (first >= length) continue;
        // What this head's queries give to the keys and values of this warp's rows.
        #pragma unroll
        for (int r = 0; r < ROWS; r++)
            #pragma unroll 1
            for (int t = lane(); t < length; t += 32) shared.own[r * LONGEST + t] = ds[t * (length | 1) + row_of(first, r, length)];
        __syncwarp();
        along_rows(dkeys, shared.own, shared.one, shared.pitch, first, length, head_width);
        __syncwarp();
        #pragma unroll
        for (int r = 0; r < ROWS; r++) {
            int j = row_of(first, r, length);
            #pragma unroll 1
            for (int t = lane(); t < length; t += 32) {
                float weight = load(p + (place * length + t) * length + j);
                shared.own[r * LONGEST + t] = weight * mask(mask_row(bits, place * length + t, length), j, factor);
            }
        }
        __syncwarp();
        along_rows(dvalues, shared.own, shared.other, shared.pitch, first, length, head_width);
    }
    if (first < length) {
        #pragma unroll
        for (int r = 0; r < ROWS; r++) {
            int t = row_of(first, r, length);
            operand* to = dqkv + (window * length + t) * all + width + kv_head * head_width;
            store_turned_back(to, shared.own, dkeys[r], angles ? angles + t * head_width : nullptr, head_width);
            store_turned_back(to + kv_width, shared.own, dvalues[r], nullptr, head_width);
        }
    }
    if (!sums) return;
    __syncthreads();
    // The columns of this block: its heads of queries, then its keys and values.
    #pragma unroll 1
    for (int i = threadIdx.x; i < (sharing + 2) * head_width; i += blockDim.x) {
        int part = i / head_width;
        int head = part < sharing ? kv_head * sharing + part : heads + (part == sharing ? 0 : kv_heads) + kv_head;
        int column = head * head_width + i % head_width;
        float sum = 0.0f;
        #pragma unroll 4
        for (int t = 0; t < length; t++) sum += load(dqkv + (window * length + t) * all + column);
        sums[(static_cast<long long>(blockIdx.y) * groups + own_window) * columns + column] = sum;
    }
}
