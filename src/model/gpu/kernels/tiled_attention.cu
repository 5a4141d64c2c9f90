// Attention in tiles, for bfloat16: scores and weights exist for 64 queries and 64 keys at a time, in registers (Dao et al. 2022,
// "FlashAttention"; Dao 2023, "FlashAttention-2"). The way back makes the weights again from the scores and the logarithm of each
// query's sum. Gradients of queries and of keys are two launches, each of which adds up in its own order: nothing is atomic.
//
// Compiled for one width of heads: HEAD_WIDTH, a multiple of 16 up to 128. A block is four warps; each has 16 rows of a tile. Products
// are mma.sync m16n8k16: A is 16 rows of 16, B is 16 rows of 8 columns, sums are float (PTX ISA, "Matrix Fragments for mma.m16n8k16").
// In a lane, `group` = lane / 4 and `pair` = 2 (lane % 4): of a sum of 16 × 8 it has columns `pair` and the next in rows `group`
// and `group` + 8.

#ifdef OPERAND_BF16

constexpr int D = HEAD_WIDTH, TILE = 64, WARPS = 4, THREADS = 32 * WARPS;
// Elements from a row in shared memory to the next: eight rows of eight elements lie in different banks.
constexpr int PITCH = D + 8;
// Columns of a tile that are in registers at once on the way back.
constexpr int PART = 32;
// Queries that are in shared memory at once where gradients of keys are made.
constexpr int QUERIES = D <= 64 ? 64 : 32;
// Blocks that a multiprocessor shall have room for: the most that keep all sums in registers.
#if __CUDA_ARCH__ >= 900
constexpr int BLOCKS = D <= 64 ? 3 : 2;
#else
constexpr int BLOCKS = D <= 32 ? 3 : 2;
#endif

#ifndef CUDA_ON_HOST
// d += a · b.
__device__ __forceinline__ void mma_bf16(float* d, const unsigned* a, const unsigned* b) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Four matrices of 8 × 8 elements from shared memory. Lane l says where row l % 8 of matrix l / 8 begins; of each matrix it gets
// columns `pair` and the next of row `group`.
__device__ __forceinline__ void load_matrices(unsigned* to, const bf16* row) {
    unsigned from = static_cast<unsigned>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
        : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(from) : "memory");
}

// The same, transposed: rows `pair` and the next of column `group`.
__device__ __forceinline__ void load_transposed(unsigned* to, const bf16* row) {
    unsigned from = static_cast<unsigned>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
        : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(from) : "memory");
}

// Copies into shared memory that go on while the thread works.
struct Copies {
    // 16 bytes, or zeros where there is nothing.
    __device__ __forceinline__ void start(bf16* to, const bf16* from, bool there) {
        unsigned shared = static_cast<unsigned>(__cvta_generic_to_shared(to));
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" :: "r"(shared), "l"(from), "r"(there ? 16 : 0) : "memory");
    }
    // Those started since the last call are one group.
    __device__ __forceinline__ void group() { asm volatile("cp.async.commit_group;" ::: "memory"); }
    // Waits until at most so many groups of this thread are under way.
    template <int LEFT>
    __device__ __forceinline__ void wait() { asm volatile("cp.async.wait_group %0;" :: "n"(LEFT) : "memory"); }
};
#endif

// ---- Places ---------------------------------------------------------------------------------------------------------------

// Where a block works: a tile of one head in one window.
struct Place {
    long long member;    // its member
    long long window;    // its window, counted over all members
    int head;            // a query head, or a key head
    int tile;
};

// `heads` of each window; with `last_first`, the last tiles come first: they have most to do.
__device__ __forceinline__ Place place_of_block(int windows, int heads, bool last_first) {
    int here = windows * heads, tiles = gridDim.x / here, tile = blockIdx.x / here, of_tile = blockIdx.x % here;
    long long member = blockIdx.y;
    return {member, member * windows + of_tile / heads, of_tile % heads, last_first ? tiles - 1 - tile : tile};
}

// `rows` rows of a head from `first` on, to shared memory; zeros behind the window's end.
__device__ __forceinline__ void start_rows(Copies& copies, bf16* to, const bf16* from, long long stride, int first, int rows, int length) {
    #pragma unroll
    for (int i = threadIdx.x; i < rows * (D / 8); i += THREADS) {
        int row = i / (D / 8), column = i % (D / 8) * 8;
        bool there = first + row < length;
        copies.start(to + row * PITCH + column, from + (there ? first + row : 0) * stride + column, there);
    }
}

// ---- Fragments ------------------------------------------------------------------------------------------------------------

// A: 16 rows from `rows` on, columns from `column` on.
__device__ __forceinline__ void load_left(unsigned* a, const bf16* rows, int column) {
    int part = lane() / 8, row = lane() % 8 + part % 2 * 8;
    load_matrices(a, rows + row * PITCH + column + part / 2 * 8);
}

// B, twice, of the transposed: the columns are 16 rows from `rows` on, its rows are columns from `column` on.
__device__ __forceinline__ void load_right_transposed(unsigned* b, const bf16* rows, int column) {
    int part = lane() / 8, row = lane() % 8 + part / 2 * 8;
    load_matrices(b, rows + row * PITCH + column + part % 2 * 8);
}

// B, twice: 16 rows from `rows` on, 16 columns from `column` on.
__device__ __forceinline__ void load_right(unsigned* b, const bf16* rows, int column) {
    int part = lane() / 8, row = lane() % 8 + part % 2 * 8;
    load_transposed(b, rows + row * PITCH + column + part / 2 * 8);
}

// sums [16, COLUMNS] = 16 rows · (COLUMNS other rows)ᵀ, over D; `left` are the rows' fragments.
template <int COLUMNS>
__device__ __forceinline__ void rows_by_rows(float (*sums)[4], const unsigned (*left)[4], const bf16* others) {
    #pragma unroll
    for (int j = 0; j < COLUMNS / 8; j++)
        for (int i = 0; i < 4; i++) sums[j][i] = 0.0f;
    #pragma unroll
    for (int x = 0; x < D / 16; x++) {
        #pragma unroll
        for (int n = 0; n < COLUMNS / 16; n++) {
            unsigned b[4];
            load_right_transposed(b, others + n * 16 * PITCH, x * 16);
            mma_bf16(sums[2 * n], left[x], b);
            mma_bf16(sums[2 * n + 1], left[x], b + 2);
        }
    }
}

// The same with the rows in shared memory.
template <int COLUMNS>
__device__ __forceinline__ void rows_by_rows(float (*sums)[4], const bf16* rows, const bf16* others) {
    #pragma unroll
    for (int j = 0; j < COLUMNS / 8; j++)
        for (int i = 0; i < 4; i++) sums[j][i] = 0.0f;
    #pragma unroll
    for (int x = 0; x < D / 16; x++) {
        unsigned a[4];
        load_left(a, rows, x * 16);
        #pragma unroll
        for (int n = 0; n < COLUMNS / 16; n++) {
            unsigned b[4];
            load_right_transposed(b, others + n * 16 * PITCH, x * 16);
            mma_bf16(sums[2 * n], a, b);
            mma_bf16(sums[2 * n + 1], a, b + 2);
        }
    }
}

// sums [16, D] += weights [16, INNER] · INNER rows. What a product leaves in a lane is what the next takes of its left side.
template <int INNER>
__device__ __forceinline__ void add_weighted(float (*sums)[4], const float (*weights)[4], const bf16* rows) {
    #pragma unroll
    for (int x = 0; x < INNER / 16; x++) {
        const float *low = weights[2 * x], *high = weights[2 * x + 1];
        unsigned a[4] = {pack_bf16(low[0], low[1]), pack_bf16(low[2], low[3]), pack_bf16(high[0], high[1]), pack_bf16(high[2], high[3])};
        #pragma unroll
        for (int n = 0; n < D / 16; n++) {
            unsigned b[4];
            load_right(b, rows + x * 16 * PITCH, n * 16);
            mma_bf16(sums[2 * n], a, b);
            mma_bf16(sums[2 * n + 1], a, b + 2);
        }
    }
}

// Writes 16 rows of sums, times a factor for each of a lane's two, to the rows of a head from `first` on.
__device__ __forceinline__ void store_rows(bf16* to, long long stride, const float (*sums)[4], int first, int length, float low, float high) {
    int group = lane() / 4, pair = lane() % 4 * 2;
    #pragma unroll
    for (int half = 0; half < 2; half++) {
        int row = first + group + half * 8;
        if (row >= length) continue;
        float factor = half ? high : low;
        #pragma unroll
        for (int j = 0; j < D / 8; j++) {
            unsigned both = pack_bf16(sums[j][2 * half] * factor, sums[j][2 * half + 1] * factor);
            *reinterpret_cast<unsigned*>(to + row * stride + j * 8 + pair) = both;
        }
    }
}

// The sum over the four lanes that have a row, or the largest; the same bits in all four.
__device__ __forceinline__ float row_sum(float value) {
    value += __shfl_xor_sync(0xffffffffu, value, 1);
    return value + __shfl_xor_sync(0xffffffffu, value, 2);
}
__device__ __forceinline__ float row_max(float value) {
    value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, 1));
    return fmaxf(value, __shfl_xor_sync(0xffffffffu, value, 2));
}

// A word of a query's mask.
__device__ __forceinline__ unsigned mask_word(const unsigned* bits, long long query, int word, int words, bool there) {
    return there && word < words ? bits[query * words + word] : 0u;
}

// ---- The kernels ----------------------------------------------------------------------------------------------------------

// What attention mixes, head by head, side by side in rows.
//
// Launch: grid [ceil(L / 64) · W · H, K], block 128, shared 4 · 64 · (D + 8) elements.
extern "C" __global__ void __launch_bounds__(128, BLOCKS) tiled_attention(
    const operand* qkv,       // [K, N, C + 2 · KV · D]: a row is [q of all heads | k | v]
    const unsigned* bits,     // [K, W, H, L, ceil(L / 32)] of the weights' mask, or null
    const Member* members,    // [K]
    operand* mixed,           // [K, N, C], written
    float* logs,              // [K, W, H, L], written: log2 of a query's sum of 2^(score · scale · log2 e)
    int windows,              // W
    int length,               // L
    int heads,                // H
    int kv_heads,             // KV
    float scale               // log2 e / √D
) {
    DYNAMIC_SHARED(bf16, shared);
    auto keys = [&](int stage) { return shared + stage * 2 * TILE * PITCH; };
    auto values = [&](int stage) { return keys(stage) + TILE * PITCH; };
    Place place = place_of_block(windows, heads, true);
    int kv_head = place.head / (heads / kv_heads), group = lane() / 4, pair = lane() % 4 * 2;
    long long width = heads * D, all = width + 2 * kv_heads * D, row = place.window * length;
    const bf16* q = qkv + row * all + place.head * D;
    const bf16* k = qkv + row * all + width + kv_head * D;
    const bf16* v = k + kv_heads * D;
    int first = place.tile * TILE + warp() * 16;

    Copies copies;
    // Queries first lie where the second tile of keys will.
    start_rows(copies, keys(1), q, all, place.tile * TILE, TILE, length);
    start_rows(copies, keys(0), k, all, 0, TILE, length);
    start_rows(copies, values(0), v, all, 0, TILE, length);
    copies.group();
    copies.wait<0>();
    __syncthreads();
    unsigned queries[D / 16][4];
    #pragma unroll
    for (int x = 0; x < D / 16; x++) load_left(queries[x], keys(1) + warp() * 16 * PITCH, x * 16);
    __syncthreads();

    float sums[D / 8][4], peak[2], total[2] = {0.0f, 0.0f};
    peak[0] = peak[1] = -__int_as_float(0x7f800000);
    #pragma unroll
    for (int j = 0; j < D / 8; j++)
        for (int i = 0; i < 4; i++) sums[j][i] = 0.0f;
    long long query = ((place.window * heads) + place.head) * length + first + group;
    int words = (length + 31) / 32;
    float kept = bits ? members[place.member].dropout_factor : 1.0f;

    for (int tile = 0; tile <= place.tile; tile++) {
        int stage = tile & 1;
        if (tile < place.tile) {
            start_rows(copies, keys(stage ^ 1), k, all, (tile + 1) * TILE, TILE, length);
            start_rows(copies, values(stage ^ 1), v, all, (tile + 1) * TILE, TILE, length);
        }
        copies.group();
        copies.wait<1>();
        __syncthreads();
        float weights[TILE / 8][4];
        rows_by_rows<TILE>(weights, queries, keys(stage));
        if (tile == place.tile) {
            #pragma unroll
            for (int j = 0; j < TILE / 8; j++)
                for (int i = 0; i < 4; i++)
                    if (j * 8 + pair + i % 2 > warp() * 16 + group + i / 2 * 8) weights[j][i] = -__int_as_float(0x7f800000);
        }
        float shift[2];
        #pragma unroll
        for (int half = 0; half < 2; half++) {
            float highest = peak[half];
            #pragma unroll
            for (int j = 0; j < TILE / 8; j++) highest = fmaxf(highest, fmaxf(weights[j][2 * half], weights[j][2 * half + 1]));
            highest = row_max(highest);
            float factor = power_of_two((peak[half] - highest) * scale);
            total[half] *= factor;
            peak[half] = highest;
            shift[half] = highest * scale;
            #pragma unroll
            for (int j = 0; j < D / 8; j++) {
                sums[j][2 * half] *= factor;
                sums[j][2 * half + 1] *= factor;
            }
        }
        #pragma unroll
        for (int j = 0; j < TILE / 8; j++)
            for (int i = 0; i < 4; i++) {
                weights[j][i] = power_of_two(fmaf(weights[j][i], scale, -shift[i / 2]));
                total[i / 2] += weights[j][i];
            }
        if (bits) {
            #pragma unroll
            for (int half = 0; half < 2; half++) {
                bool there = first + group + half * 8 < length;
                #pragma unroll
                for (int word = 0; word < 2; word++) {
                    unsigned mask = mask_word(bits, query + half * 8, tile * 2 + word, words, there) >> pair;
                    #pragma unroll
                    for (int j = 0; j < 4; j++)
                        for (int e = 0; e < 2; e++) weights[word * 4 + j][2 * half + e] *= mask >> (j * 8 + e) & 1u ? kept : 0.0f;
                }
            }
        }
        add_weighted<TILE>(sums, weights, values(stage));
        __syncthreads();
    }
    total[0] = row_sum(total[0]);
    total[1] = row_sum(total[1]);
    if (lane() % 4 == 0) {
        for (int half = 0; half < 2; half++)
            if (first + group + half * 8 < length) logs[query + half * 8] = fmaf(peak[half], scale, log2f(total[half]));
    }
    store_rows(mixed + row * width + place.head * D, width, sums, first, length, 1.0f / total[0], 1.0f / total[1]);
}

// Gradients of queries; and of each query Σ mixed · dmixed, which is Σ p · dp over its keys.
//
// Launch: grid [ceil(L / 64) · W · H, K], block 128, shared 4 · 64 · (D + 8) elements.
extern "C" __global__ void __launch_bounds__(128, BLOCKS) tiled_attention_queries(
    const operand* qkv,       // [K, N, C + 2 · KV · D]
    const unsigned* bits,     // [K, W, H, L, ceil(L / 32)] of the weights' mask, or null
    const Member* members,    // [K]
    const operand* mixed,     // [K, N, C]
    const operand* dmixed,    // [K, N, C]
    const float* logs,        // [K, W, H, L]
    float* dots,              // [K, W, H, L], written
    operand* dqkv,            // [K, N, C + 2 · KV · D], columns of q written
    int windows,              // W
    int length,               // L
    int heads,                // H
    int kv_heads,             // KV
    float scale               // log2 e / √D
) {
    DYNAMIC_SHARED(bf16, shared);
    auto keys = [&](int stage) { return shared + stage * 2 * TILE * PITCH; };
    auto values = [&](int stage) { return keys(stage) + TILE * PITCH; };
    Place place = place_of_block(windows, heads, true);
    int kv_head = place.head / (heads / kv_heads), group = lane() / 4, pair = lane() % 4 * 2;
    long long width = heads * D, all = width + 2 * kv_heads * D, row = place.window * length;
    const bf16* q = qkv + row * all + place.head * D;
    const bf16* k = qkv + row * all + width + kv_head * D;
    const bf16* v = k + kv_heads * D;
    const bf16* slopes = dmixed + row * width + place.head * D;
    int first = place.tile * TILE + warp() * 16;

    Copies copies;
    // Queries and what comes back to them first lie where the second tile of keys and values will.
    start_rows(copies, keys(1), q, all, place.tile * TILE, TILE, length);
    start_rows(copies, values(1), slopes, width, place.tile * TILE, TILE, length);
    start_rows(copies, keys(0), k, all, 0, TILE, length);
    start_rows(copies, values(0), v, all, 0, TILE, length);
    copies.group();
    copies.wait<0>();
    __syncthreads();
    unsigned queries[D / 16][4], back[D / 16][4];
    #pragma unroll
    for (int x = 0; x < D / 16; x++) {
        load_left(queries[x], keys(1) + warp() * 16 * PITCH, x * 16);
        load_left(back[x], values(1) + warp() * 16 * PITCH, x * 16);
    }
    // Two lanes for each of the warp's rows.
    float dot = 0.0f;
    int own = first + lane() / 2;
    long long query = (place.window * heads + place.head) * length;
    if (own < length) {
        const bf16* ours = mixed + (row + own) * width + place.head * D + lane() % 2 * (D / 2);
        const bf16* theirs = values(1) + (warp() * 16 + lane() / 2) * PITCH + lane() % 2 * (D / 2);
        #pragma unroll
        for (int i = 0; i < D / 2; i += 4) {
            Some<4> a = load_some<4>(ours + i), b = load_some<4>(theirs + i);
            for (int e = 0; e < 4; e++) dot = fmaf(a.at[e], b.at[e], dot);
        }
    }
    dot += __shfl_xor_sync(0xffffffffu, dot, 1);
    if (own < length && lane() % 2 == 0) dots[query + own] = dot;
    float weighted[2], log[2];
    #pragma unroll
    for (int half = 0; half < 2; half++) {
        weighted[half] = __shfl_sync(0xffffffffu, dot, 2 * (group + half * 8));
        int at = first + group + half * 8;
        log[half] = at < length ? logs[query + at] : 0.0f;
    }
    __syncthreads();

    float sums[D / 8][4];
    #pragma unroll
    for (int j = 0; j < D / 8; j++)
        for (int i = 0; i < 4; i++) sums[j][i] = 0.0f;
    int words = (length + 31) / 32;
    float kept = bits ? members[place.member].dropout_factor : 1.0f;

    for (int tile = 0; tile <= place.tile; tile++) {
        int stage = tile & 1;
        if (tile < place.tile) {
            start_rows(copies, keys(stage ^ 1), k, all, (tile + 1) * TILE, TILE, length);
            start_rows(copies, values(stage ^ 1), v, all, (tile + 1) * TILE, TILE, length);
        }
        copies.group();
        copies.wait<1>();
        __syncthreads();
        #pragma unroll 1
        for (int part = 0; part < TILE; part += PART) {
            float weights[PART / 8][4], gradients[PART / 8][4];
            rows_by_rows<PART>(weights, queries, keys(stage) + part * PITCH);
            rows_by_rows<PART>(gradients, back, values(stage) + part * PITCH);
            #pragma unroll
            for (int word = 0; word < PART / 32; word++) {
                unsigned mask[2] = {~0u, ~0u};
                if (bits) {
                    for (int half = 0; half < 2; half++) {
                        int at = first + group + half * 8;
                        mask[half] = mask_word(bits, query + at, tile * 2 + part / 32 + word, words, at < length) >> pair;
                    }
                }
                #pragma unroll
                for (int j = word * 4; j < word * 4 + 4; j++)
                    for (int i = 0; i < 4; i++) {
                        float p = power_of_two(fmaf(weights[j][i], scale, -log[i / 2]));
                        if (tile == place.tile && part + j * 8 + pair + i % 2 > warp() * 16 + group + i / 2 * 8) p = 0.0f;
                        float slope = mask[i / 2] >> (j % 4 * 8 + i % 2) & 1u ? gradients[j][i] * kept : 0.0f;
                        weights[j][i] = p * (slope - weighted[i / 2]);
                    }
            }
            add_weighted<PART>(sums, weights, keys(stage) + part * PITCH);
        }
        __syncthreads();
    }
    // 1 / √D of the scores.
    float factor = scale * 0.693147180559945309f;
    store_rows(dqkv + row * all + place.head * D, all, sums, first, length, factor, factor);
}

// Gradients of keys and values, from all queries that see them; after `tiled_attention_queries`.
//
// Launch: grid [ceil(L / 64) · W · KV, K], block 128, shared (2 · 64 + 4 · Q) · (D + 8) elements and 4 · Q floats, where Q is 64 for
// heads of up to 64 and 32 for wider ones.
extern "C" __global__ void __launch_bounds__(128, BLOCKS) tiled_attention_keys(
    const operand* qkv,       // [K, N, C + 2 · KV · D]
    const unsigned* bits,     // [K, W, H, L, ceil(L / 32)] of the weights' mask, or null
    const Member* members,    // [K]
    const operand* dmixed,    // [K, N, C]
    const float* logs,        // [K, W, H, L]
    const float* dots,        // [K, W, H, L]
    operand* dqkv,            // [K, N, C + 2 · KV · D], columns of k and v written
    int windows,              // W
    int length,               // L
    int heads,                // H
    int kv_heads,             // KV
    float scale               // log2 e / √D
) {
    DYNAMIC_SHARED(bf16, shared);
    bf16 *keys = shared, *values = shared + TILE * PITCH;
    auto queries = [&](int stage) { return shared + (2 * TILE + stage * 2 * QUERIES) * PITCH; };
    auto slopes = [&](int stage) { return queries(stage) + QUERIES * PITCH; };
    float* floats = reinterpret_cast<float*>(shared + (2 * TILE + 4 * QUERIES) * PITCH);
    Place place = place_of_block(windows, kv_heads, false);
    int sharing = heads / kv_heads, group = lane() / 4, pair = lane() % 4 * 2;
    long long width = heads * D, all = width + 2 * kv_heads * D, row = place.window * length;
    const bf16* q = qkv + row * all + place.head * sharing * D;
    const bf16* k = qkv + row * all + width + place.head * D;
    const bf16* back = dmixed + row * width + place.head * sharing * D;
    long long query = (place.window * heads + place.head * sharing) * length;
    // Parts of the queries that see this tile, of each head that shares these keys.
    int begin = place.tile * TILE, parts = (length - begin + QUERIES - 1) / QUERIES;

    Copies copies;
    auto start = [&](int number, int stage) {
        int head = number / parts, at = begin + number % parts * QUERIES;
        start_rows(copies, queries(stage), q + head * D, all, at, QUERIES, length);
        start_rows(copies, slopes(stage), back + head * D, width, at, QUERIES, length);
        for (int i = threadIdx.x; i < QUERIES; i += THREADS) {
            bool there = at + i < length;
            // Behind the window's end every weight is 2^−∞.
            floats[stage * 2 * QUERIES + i] = there ? logs[query + head * length + at + i] : __int_as_float(0x7f800000);
            floats[stage * 2 * QUERIES + QUERIES + i] = there ? dots[query + head * length + at + i] : 0.0f;
        }
    };
    start_rows(copies, keys, k, all, begin, TILE, length);
    start_rows(copies, values, k + kv_heads * D, all, begin, TILE, length);
    start(0, 0);
    copies.group();

    float dkeys[D / 8][4], dvalues[D / 8][4];
    #pragma unroll
    for (int j = 0; j < D / 8; j++)
        for (int i = 0; i < 4; i++) dkeys[j][i] = dvalues[j][i] = 0.0f;
    int words = (length + 31) / 32, word = (begin + warp() * 16) / 32, bit = warp() % 2 * 16 + group;
    float kept = bits ? members[place.member].dropout_factor : 1.0f;

    #pragma unroll 1
    for (int number = 0; number < sharing * parts; number++) {
        int stage = number & 1, head = number / parts, at = begin + number % parts * QUERIES;
        if (number + 1 < sharing * parts) start(number + 1, stage ^ 1);
        copies.group();
        copies.wait<1>();
        __syncthreads();
        const float *log = floats + stage * 2 * QUERIES, *dot = log + QUERIES;
        // A row is a key, a column a query.
        #pragma unroll 1
        for (int part = 0; part < QUERIES; part += PART) {
            float weights[PART / 8][4], gradients[PART / 8][4];
            rows_by_rows<PART>(weights, keys + warp() * 16 * PITCH, queries(stage) + part * PITCH);
            rows_by_rows<PART>(gradients, values + warp() * 16 * PITCH, slopes(stage) + part * PITCH);
            #pragma unroll
            for (int j = 0; j < PART / 8; j++) {
                #pragma unroll
                for (int e = 0; e < 2; e++) {
                    int column = part + j * 8 + pair + e;
                    unsigned mask = ~0u;
                    if (bits) mask = mask_word(bits, query + head * length + at + column, word, words, at + column < length) >> bit;
                    #pragma unroll
                    for (int half = 0; half < 2; half++) {
                        float p = power_of_two(fmaf(weights[j][2 * half + e], scale, -log[column]));
                        if (at + column < begin + warp() * 16 + group + half * 8) p = 0.0f;
                        float factor = mask >> (half * 8) & 1u ? kept : 0.0f;
                        weights[j][2 * half + e] = p * factor;
                        gradients[j][2 * half + e] = p * (gradients[j][2 * half + e] * factor - dot[column]);
                    }
                }
            }
            add_weighted<PART>(dvalues, weights, slopes(stage) + part * PITCH);
            add_weighted<PART>(dkeys, gradients, queries(stage) + part * PITCH);
        }
        __syncthreads();
    }
    float factor = scale * 0.693147180559945309f;
    bf16* to = dqkv + row * all + width + place.head * D;
    int first = begin + warp() * 16;
    store_rows(to, all, dkeys, first, length, factor, factor);
    store_rows(to + kv_heads * D, all, dvalues, first, length, 1.0f, 1.0f);
}

#endif
