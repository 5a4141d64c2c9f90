// What every kernel begins with. CUDA C without headers; this file stands before each of the others when they are compiled.
//
// Letters: K members, W windows of a unit, L tokens of a window, N = W·L rows, C width, H heads, KV key and value heads,
// D head width, F hidden width, V vocabulary, Vp vocabulary padded. All arrays are row-major with the member first.
// A pointer called "or null" may be 0. Parameters of one member lie P elements apart (`stride`) from those of the next;
// pointers to parameters and to their gradients are those of member 0.
//
// All sums are made in an order that follows from the shape alone, so results repeat to the bit, and a member's do not
// depend on how many others there are. Nothing is added atomically.

// ---- Element types ----------------------------------------------------------------------------------------------------

// What products read: 32 bits, or bfloat16 with -DOPERAND_BF16.
struct bf16 {
    unsigned short bits;
};
#ifdef OPERAND_BF16
typedef bf16 operand;
#else
typedef float operand;
#endif

// ---- Member table -----------------------------------------------------------------------------------------------------

// What may differ from member to member in a step: 16 words of 32 bits (`model/gpu/ring.rs` writes them).
struct Member {
    float decay;                // word 0: 1 − η λ, for parameters that decay
    float beta1;                // 1
    float rest1;                // 2: 1 − β1
    float beta2;                // 3
    float rest2;                // 4: 1 − β2
    float root;                 // 5: 1 / √(1 − β2^t)
    float rate;                 // 6: η / (1 − β1^t)
    float epsilon;              // 7
    double clip;                // 8 and 9: largest norm of the gradients; below 0: no clipping
    float loss_scale;           // 10: 1 / targets of the whole step
    int windows;                // 11: windows of this unit that count; those after them are missing
    unsigned dropout_threshold; // 12: an element is kept if its 16 bits are at least this
    float dropout_factor;       // 13: what a kept element is multiplied by
    int revive;                 // 14: not 0: the member is not dead before this step
    int unused;                 // 15
};
