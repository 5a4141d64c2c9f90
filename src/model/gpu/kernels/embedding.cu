// Token and position embedding, and its gradient without atomics: the host sorts a unit's positions by token.

// x = wte[token] + wpe[position], times the dropout mask.
//
// Launch: grid [N, K], block 128.
extern "C" __global__ void embed(
    const float* wte,         // parameter [V, C]
    const float* wpe,         // parameter [context, C], or null
    long long stride,         // P
    const int* tokens,        // [K, W, L + 1]
    const unsigned* bits,     // [K, N, ceil(C / 32)] of the embedding's mask, or null
    const Member* members,    // [K]
    float* x,                 // [K, N, C], written
    int rows,                 // N
    int length,               // L
    int width                 // C
) {
}

// First stage of the gradient of wte: sums of the rows of mask · dx over pieces of at most 64 positions of one token.
//
// The members' numbers of pieces differ; blocks beyond them do nothing, and what lies there stays as it was.
// Launch: grid [pieces, K], block 128.
extern "C" __global__ void embedding_gradient_pieces(
    const float* dx,          // [K, N, C]
    const unsigned* bits,     // [K, N, ceil(C / 32)] of the embedding's mask, or null
    const Member* members,    // [K]
    const int* order,         // [K, N]: positions (0 to N − 1, only those of windows that are there need be named) sorted by token
    const int* piece_start,   // [K, pieces + 1]: piece i is order[piece_start[i] .. piece_start[i + 1]]
    const int* first_piece,   // [K, V + 1]: token v has the pieces first_piece[v] .. first_piece[v + 1]
    float* sums,              // [K, pieces, C], written
    int rows,                 // N
    int width,                // C
    int pieces,               // most pieces that a member can have: min(N, V + N / 64)
    int vocabulary            // V
) {
}

// Second stage: each token's pieces in order.
//
// Launch: grid [V, K], block 128.
extern "C" __global__ void embedding_gradient_sum(
    const float* sums,        // [K, pieces, C]
    const int* first_piece,   // [K, V + 1]
    float* gradient,          // of the parameter [V, C]: added to, or written (0 for tokens that do not occur)
    long long stride,         // P
    int width,                // C
    int pieces,               // as in the first stage
    int vocabulary,           // V
    int accumulate            // 1: add, 0: write
) {
}

// Gradient of wpe: mask · dx summed over the windows in order; 0 for positions from L on.
//
// Launch: grid [ceil(context · C / 256), K], block 256.
extern "C" __global__ void position_gradient(
    const float* dx,          // [K, N, C]
    const unsigned* bits,     // [K, N, ceil(C / 32)] of the embedding's mask, or null
    const Member* members,    // [K]
    float* gradient,          // of the parameter [context, C]: added to, or written
    long long stride,         // P
    int windows,              // W
    int length,               // L
    int width,                // C
    int context,              // positions that the parameter has
    int accumulate            // 1: add, 0: write
) {
}
