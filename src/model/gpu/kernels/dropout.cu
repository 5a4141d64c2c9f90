// Dropout masks as bits, from the same streams as on a CPU (`model/dropout.rs`): ChaCha with 8 rounds (Bernstein 2008), block
// counter of 64 bits from 0, stream 0; each row begins with a new number of 64 bits and takes 16 bits an element, the lowest
// first. Bit e of word i of a row is set if element 32 · i + e is kept; bits behind a row's last element are 0.

// Words of 32 elements that a block writes, at most.
constexpr int TILE = 512;

__device__ __forceinline__ void quarter_round(unsigned& a, unsigned& b, unsigned& c, unsigned& d) {
    a += b; d ^= a; d = __funnelshift_l(d, d, 16);
    c += d; b ^= c; b = __funnelshift_l(b, b, 12);
    a += b; d ^= a; d = __funnelshift_l(d, d, 8);
    c += d; b ^= c; b = __funnelshift_l(b, b, 7);
}

// Which of the 32 elements of a block of the stream are kept.
__device__ __forceinline__ unsigned kept(const unsigned* key, long long block, unsigned threshold) {
    unsigned start[16] = {0x61707865u, 0x3320646eu, 0x79622d32u, 0x6b206574u};  // "expand 32-byte k"
    #pragma unroll
    for (int i = 0; i < 8; i++) start[4 + i] = key[i];
    start[12] = static_cast<unsigned>(block);
    start[13] = static_cast<unsigned>(block >> 32);
    unsigned x[16];
    #pragma unroll
    for (int i = 0; i < 16; i++) x[i] = start[i];
    #pragma unroll
    for (int round = 0; round < 8; round += 2) {
        quarter_round(x[0], x[4], x[8], x[12]);
        quarter_round(x[1], x[5], x[9], x[13]);
        quarter_round(x[2], x[6], x[10], x[14]);
        quarter_round(x[3], x[7], x[11], x[15]);
        quarter_round(x[0], x[5], x[10], x[15]);
        quarter_round(x[1], x[6], x[11], x[12]);
        quarter_round(x[2], x[7], x[8], x[13]);
        quarter_round(x[3], x[4], x[9], x[14]);
    }
    unsigned bits = 0;
    #pragma unroll
    for (int i = 0; i < 16; i++) {
        unsigned word = x[i] + start[i];
        bits |= static_cast<unsigned>((word & 0xffffu) >= threshold) << 2 * i;
        bits |= static_cast<unsigned>(word >> 16 >= threshold) << (2 * i + 1);
    }
    return bits;
}

// Numbers of 64 bits that the rows before this one take: 4 elements each.
__device__ __forceinline__ long long numbers_before(long long row, int width, int causal) {
    // Σ ceil((i + 1) / 4) over the rows i before it.
    if (causal) return (row / 4 + 1) * (2 * (row / 4) + row % 4);
    return row * ((width + 3) / 4);
}

// Launch: grid [streams, tiles], block 128; tiles = ceil(T / (512 / words)) for words ≤ 512, else T · ceil(words / 512), where
// words = ceil(width / 32).
extern "C" __global__ void dropout_bits(
    const unsigned* keys,     // [streams, 8]: streams ordered [site, K, windows (and heads)]
    const Member* members,    // [K]
    unsigned* bits,           // [streams, T, ceil(width / 32)], written
    int streams_per_member,   // of one site: W, or W · H
    int member_count,         // K
    int rows,                 // T: rows of a stream (L)
    int width,                // elements of a row: C, or L
    int causal                // 1: row i has the elements 0 to i only
) {
    __shared__ unsigned drawn[TILE + 3];
    int stream = blockIdx.x, words = (width + 31) / 32;
    unsigned threshold = members[stream / streams_per_member % member_count].dropout_threshold;
    // This block's part: whole rows, or one row's words from `first_word` on.
    int chunks = (words + TILE - 1) / TILE, tile_rows = max(TILE / words, 1);
    int first_row = chunks == 1 ? blockIdx.y * tile_rows : blockIdx.y / chunks;
    int first_word = chunks == 1 ? 0 : blockIdx.y % chunks * TILE;
    int row_count = min(tile_rows, rows - first_row), word_count = min(words - first_word, TILE);
    // The numbers that it needs, and the blocks of 8 numbers in which they are.
    int last_row = first_row + row_count - 1;
    long long start = numbers_before(first_row, width, causal) + 8ll * first_word;
    long long end = min(numbers_before(last_row, width, causal) + 8ll * (first_word + word_count), numbers_before(last_row + 1, width, causal));
    long long first_block = start / 8;
    int block_count = static_cast<int>(max((end + 7) / 8 - first_block, 0ll));
    for (int i = threadIdx.x; i < block_count; i += blockDim.x) drawn[i] = kept(keys + stream * 8ll, first_block + i, threshold);
    __syncthreads();
    for (int i = threadIdx.x; i < row_count * word_count; i += blockDim.x) {
        int row = first_row + i / word_count, word = first_word + i % word_count;
        int elements = (causal ? row + 1 : width) - 32 * word;  // of the row from this word on
        unsigned found = 0;
        if (elements > 0) {
            long long number = numbers_before(row, width, causal) + 8ll * word;
            int at = static_cast<int>(number / 8 - first_block);
            // What lies behind the row's last element belongs to the next row, or was not drawn.
            found = __funnelshift_r(drawn[at], drawn[at + 1], 4 * static_cast<unsigned>(number % 8));
            if (elements < 32) found &= (1u << elements) - 1u;
        }
        bits[(static_cast<long long>(stream) * rows + row) * words + word] = found;
    }
}
