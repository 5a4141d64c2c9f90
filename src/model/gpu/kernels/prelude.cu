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

// ---- What the compiler for GPUs says in instructions; another one is told by a header of its own ------------------------

#ifndef CUDA_ON_HOST
#define DYNAMIC_SHARED(type, name) \
    extern __shared__ float4 dynamic_shared[]; \
    type* name = reinterpret_cast<type*>(dynamic_shared)

// Both rounded to the nearest bfloat16, ties to even; `low` in the lower half.
__device__ __forceinline__ unsigned pack_bf16(float low, float high) {
    unsigned packed;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
}

// 2^x, about; 0 for large negative x.
__device__ __forceinline__ float power_of_two(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
#endif

// ---- Elements, one and four at a time -----------------------------------------------------------------------------------

// `V` neighbouring elements in 32 bits.
template <int V>
struct Some {
    float at[V];
};

__device__ __forceinline__ float load(const float* from) { return *from; }
__device__ __forceinline__ float load(const bf16* from) { return __uint_as_float(static_cast<unsigned>(from->bits) << 16); }
__device__ __forceinline__ void store(float* to, float value) { *to = value; }
__device__ __forceinline__ void store(bf16* to, float value) { to->bits = static_cast<unsigned short>(pack_bf16(value, 0.0f)); }

// What is left of a value in an array of operands.
__device__ __forceinline__ float rounded(float value) {
    operand kept;
    store(&kept, value);
    return load(&kept);
}

// One element, or four that lie on a boundary of four.
template <int V, class T>
__device__ __forceinline__ Some<V> load_some(const T* from);
template <>
__device__ __forceinline__ Some<1> load_some<1>(const float* from) {
    return {{load(from)}};
}
template <>
__device__ __forceinline__ Some<1> load_some<1>(const bf16* from) {
    return {{load(from)}};
}
template <>
__device__ __forceinline__ Some<4> load_some<4>(const float* from) {
    float4 four = *reinterpret_cast<const float4*>(from);
    return {{four.x, four.y, four.z, four.w}};
}
template <>
__device__ __forceinline__ Some<4> load_some<4>(const bf16* from) {
    uint2 four = *reinterpret_cast<const uint2*>(from);
    return {{__uint_as_float(four.x << 16), __uint_as_float(four.x & 0xffff0000u), __uint_as_float(four.y << 16),
             __uint_as_float(four.y & 0xffff0000u)}};
}

__device__ __forceinline__ void store_some(float* to, Some<1> one) { store(to, one.at[0]); }
__device__ __forceinline__ void store_some(bf16* to, Some<1> one) { store(to, one.at[0]); }
__device__ __forceinline__ void store_some(float* to, Some<4> four) {
    *reinterpret_cast<float4*>(to) = make_float4(four.at[0], four.at[1], four.at[2], four.at[3]);
}
__device__ __forceinline__ void store_some(bf16* to, Some<4> four) {
    *reinterpret_cast<uint2*>(to) = make_uint2(pack_bf16(four.at[0], four.at[1]), pack_bf16(four.at[2], four.at[3]));
}

// ---- Rotary positions ---------------------------------------------------------------------------------------------------

// Element i of a head's D, turned by a row of the table, or back with `direction` −1.
template <class T>
__device__ __forceinline__ float turned(const T* head, const float* angles, int i, int head_width, float direction) {
    int half = head_width / 2;
    bool second = i >= half;
    float cos = angles[second ? i - half : i], sin = angles[second ? i : half + i] * direction;
    float other = load(head + (second ? i - half : half + i));
    return load(head + i) * cos + (second ? other : -other) * sin;
}

// ---- Dropout masks ------------------------------------------------------------------------------------------------------

// What a column of a row is multiplied by, given the row's bits; 1 where there are none.
__device__ __forceinline__ float mask(const unsigned* row, int column, float factor) {
    if (!row) return 1.0f;
    return row[column >> 5] >> (column & 31) & 1u ? factor : 0.0f;
}

// The bits of a row of so many elements, or null where there are none.
__device__ __forceinline__ const unsigned* mask_row(const unsigned* bits, long long row, int width) {
    return bits ? bits + row * ((width + 31) / 32) : nullptr;
}

// ---- Sums over a warp and a block ---------------------------------------------------------------------------------------

__device__ __forceinline__ int lane() { return static_cast<int>(threadIdx.x & 31u); }
__device__ __forceinline__ int warp() { return static_cast<int>(threadIdx.x >> 5); }

// The sum of a warp's values, in a tree, the same bits in all lanes.
template <class T>
__device__ __forceinline__ T warp_sum(T value) {
    for (int other = 16; other > 0; other >>= 1) value += __shfl_xor_sync(0xffffffffu, value, other);
    return value;
}

// The largest of a warp's values; what is not a number is passed over.
__device__ __forceinline__ float warp_max(float value) {
    for (int other = 16; other > 0; other >>= 1) value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, other));
    return value;
}

// The sum of a block's values, for all its threads; a whole number of warps, of which all take part.
template <class T>
__device__ __forceinline__ T block_sum(T value) {
    __shared__ T parts[32];
    value = warp_sum(value);
    if (blockDim.x == 32) return value;
    __syncthreads();  // the sum before may still be read
    if (lane() == 0) parts[warp()] = value;
    __syncthreads();
    return warp_sum(lane() < static_cast<int>(blockDim.x / 32) ? parts[lane()] : T(0));
}

// The same for the largest.
__device__ __forceinline__ float block_max(float value) {
    __shared__ float parts[32];
    value = warp_max(value);
    if (blockDim.x == 32) return value;
    __syncthreads();
    if (lane() == 0) parts[warp()] = value;
    __syncthreads();
    return warp_max(lane() < static_cast<int>(blockDim.x / 32) ? parts[lane()] : parts[0]);
}
