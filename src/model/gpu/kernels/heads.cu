// Between rows of the residual stream and heads of attention, with rotary positions (Su et al. 2021) in the half-split form
// of Hugging Face: (a, b) → (a cos − b sin, b cos + a sin).

// qkv → q, k, v; where a table is given, q and k are turned.
//
// Launch: grid [N, K], block 128.
extern "C" __global__ void split_heads(
    const operand* qkv,       // [K, N, C + 2 · KV · D]: a row is [q of all heads | k | v]
    const float* angles,      // [L, D]: row t is [cos of D / 2 angles | sin of them]; or null
    operand* q,               // [K, W, H, L, D], written
    operand* k,               // [K, W, KV, L, D], written
    operand* v,               // [K, W, KV, L, D], written
    int rows,                 // N
    int length,               // L
    int heads,                // H
    int kv_heads,             // KV
    int head_width            // D
) {
    int n = blockIdx.x, window = n / length, t = n % length;
    long long member = blockIdx.y, row = member * rows + n, place = member * (rows / length) + window;
    int width = heads * head_width, kv_width = kv_heads * head_width, all = width + 2 * kv_width;
    const operand* from = qkv + row * all;
    for (int c = threadIdx.x; c < all; c += blockDim.x) {
        // Which of q, k and v, and the column in it.
        int part = c < width ? 0 : c < width + kv_width ? 1 : 2;
        int column = part == 0 ? c : part == 1 ? c - width : c - width - kv_width;
        int head = column / head_width, i = column % head_width;
        operand* to = part == 0 ? q : part == 1 ? k : v;
        long long there = ((place * (part == 0 ? heads : kv_heads) + head) * length + t) * head_width + i;
        bool turns = angles && part < 2;
        store(to + there, turns ? turned(from + c - i, angles + static_cast<long long>(t) * head_width, i, head_width, 1.0f) : load(from + c));
    }
}

// q and k turned where they lie, or back with `direction` −1.
//
// Launch: grid [N, K], block 128.
extern "C" __global__ void turn_rows(
    operand* qkv,             // [K, N, columns]: a row begins with the heads that are turned
    const float* angles,      // [L, D]: row t is [cos of D / 2 angles | sin of them]
    int rows,                 // N
    int length,               // L
    int columns,
    int heads,                // that are turned: H + KV
    int head_width,           // D
    float direction
) {
    int n = blockIdx.x, half = head_width / 2;
    const float* angle = angles + static_cast<long long>(n % length) * head_width;
    operand* row = qkv + (static_cast<long long>(blockIdx.y) * rows + n) * columns;
    for (int pair = threadIdx.x; pair < heads * half; pair += blockDim.x) {
        int i = pair % half;
        operand *first = row + pair / half * head_width + i, *second = first + half;
        float a = load(first), b = load(second), cos = angle[i], sin = angle[half + i] * direction;
        store(first, a * cos - b * sin);
        store(second, b * cos + a * sin);
    }
}

// dq, dk, dv → dqkv, turned back; and the columns' sums of dqkv over each group of rows.
//
// Launch: grid [ceil((H + 2 KV) · D / 128), groups, K], block 128; groups = ceil(N / group_rows).
extern "C" __global__ void split_heads_backward(
    const operand* dq,        // [K, W, H, L, D]
    const operand* dk,        // [K, W, KV, L, D]
    const operand* dv,        // [K, W, KV, L, D]
    const float* angles,      // [L, D] as in `split_heads`, or null
    operand* dqkv,            // [K, N, C + 2 · KV · D], written
    float* sums,              // C + 2 · KV · D columns of the sums [K, groups, columns], or null
    long long columns,        // of the matrix of sums
    int rows,                 // N
    int length,               // L
    int heads,                // H
    int kv_heads,             // KV
    int head_width,           // D
    int group_rows            // rows of a group
) {
    int c = blockIdx.x * 128 + threadIdx.x, group = blockIdx.y;
    long long member = blockIdx.z;
    int width = heads * head_width, kv_width = kv_heads * head_width, all = width + 2 * kv_width;
    if (c >= all) return;
    // Which of q, k and v, and the column in it.
    int part = c < width ? 0 : c < width + kv_width ? 1 : 2;
    int column = part == 0 ? c : part == 1 ? c - width : c - width - kv_width;
    int head = column / head_width, i = column % head_width, heads_there = part == 0 ? heads : kv_heads;
    const operand* from = part == 0 ? dq : part == 1 ? dk : dv;
    bool turns = angles && part < 2;
    int start = group * group_rows, end = min(start + group_rows, rows);
    float sum = 0.0f;
    #pragma unroll 4
    for (int n = start; n < end; n++) {
        long long place = member * (rows / length) + n / length;
        int t = n % length;
        const operand* there = from + ((place * heads_there + head) * length + t) * head_width;
        float slope = turns ? turned(there, angles + static_cast<long long>(t) * head_width, i, head_width, -1.0f) : load(there + i);
        store(dqkv + (member * rows + n) * all + c, slope);
        sum += slope;
    }
    if (sums) sums[(member * gridDim.y + group) * columns + c] = sum;
}

// What attention mixed in each head, side by side in rows.
//
// Launch: grid [N, K], block 128.
extern "C" __global__ void merge_heads(
    const operand* mixed,     // [K, W, H, L, D]
    operand* merged,          // [K, N, C], written
    int rows,                 // N
    int length,               // L
    int heads,                // H
    int head_width            // D
) {
    int n = blockIdx.x, width = heads * head_width;
    long long member = blockIdx.y, place = member * (rows / length) + n / length;
    for (int c = threadIdx.x; c < width; c += blockDim.x) {
        int head = c / head_width, i = c % head_width;
        merged[(member * rows + n) * width + c] = mixed[((place * heads + head) * length + n % length) * head_width + i];
    }
}

// The same the other way round, for its gradient.
//
// Launch: grid [N, K], block 128.
extern "C" __global__ void merge_heads_backward(
    const operand* dmerged,   // [K, N, C]
    operand* dmixed,          // [K, W, H, L, D], written
    int rows,                 // N
    int length,               // L
    int heads,                // H
    int head_width            // D
) {
    int n = blockIdx.x, width = heads * head_width;
    long long member = blockIdx.y, place = member * (rows / length) + n / length;
    for (int c = threadIdx.x; c < width; c += blockDim.x) {
        int head = c / head_width, i = c % head_width;
        dmixed[((place * heads + head) * length + n % length) * head_width + i] = dmerged[(member * rows + n) * width + c];
    }
}
