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
}
