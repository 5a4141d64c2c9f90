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
    int n = blockIdx.x, k = blockIdx.y;
    long long row = static_cast<long long>(k) * rows + n;
    int window = n / length, position = n % length;
    int token = tokens[(static_cast<long long>(k) * (rows / length) + window) * (length + 1) + position];
    const float* of_token = wte + k * stride + static_cast<long long>(token) * width;
    const float* of_position = wpe ? wpe + k * stride + static_cast<long long>(position) * width : nullptr;
    const unsigned* kept = mask_row(bits, row, width);
    float factor = members[k].dropout_factor;
    for (int c = threadIdx.x; c < width; c += blockDim.x) {
        float sum = of_position ? of_token[c] + of_position[c] : of_token[c];
        x[row * width + c] = sum * mask(kept, c, factor);
    }
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
    int piece = blockIdx.x, k = blockIdx.y;
    if (piece >= first_piece[k * (vocabulary + 1ll) + vocabulary]) return;
    const int* starts = piece_start + k * (pieces + 1ll);
    const int* positions = order + static_cast<long long>(k) * rows;
    int start = starts[piece], end = starts[piece + 1];
    float factor = members[k].dropout_factor;
    for (int c = threadIdx.x; c < width; c += blockDim.x) {
        float sum = 0.0f;
        for (int i = start; i < end; i++) {
            long long row = static_cast<long long>(k) * rows + positions[i];
            sum += dx[row * width + c] * mask(mask_row(bits, row, width), c, factor);
        }
        sums[(static_cast<long long>(k) * pieces + piece) * width + c] = sum;
    }
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
    int token = blockIdx.x, k = blockIdx.y;
    const int* firsts = first_piece + k * (vocabulary + 1ll);
    int start = firsts[token], end = firsts[token + 1];
    if (accumulate && start == end) return;
    float* to = gradient + k * stride + static_cast<long long>(token) * width;
    for (int c = threadIdx.x; c < width; c += blockDim.x) {
        float sum = 0.0f;
        for (int i = start; i < end; i++) sum += sums[(static_cast<long long>(k) * pieces + i) * width + c];
        to[c] = accumulate ? to[c] + sum : sum;
    }
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
    long long i = blockIdx.x * 256ll + threadIdx.x;
    int k = blockIdx.y;
    if (i >= static_cast<long long>(context) * width) return;
    int position = static_cast<int>(i / width), c = static_cast<int>(i % width);
    float factor = members[k].dropout_factor, sum = 0.0f;
    if (position < length) {
        for (int window = 0; window < windows; window++) {
            long long row = (static_cast<long long>(k) * windows + window) * length + position;
            sum += dx[row * width + c] * mask(mask_row(bits, row, width), c, factor);
        }
    } else if (accumulate) {
        return;
    }
    float* to = gradient + k * stride + i;
    *to = accumulate ? *to + sum : sum;
}
