// CUDA C on this machine's processor: included before a kernel file, it gives a C++17 compiler the language's words.
//
// A source that is also compiled by NVRTC asks `#ifndef CUDA_ON_HOST` before it defines what this header defines for it:
//
//   DYNAMIC_SHARED(type, name)                   the block's dynamic shared memory
//   pack_bf16(low, high) -> unsigned             two floats rounded to nearest even, `low` in the lower half
//   mma_bf16(float d[4], const unsigned a[4], const unsigned b[2])   mma.sync m16n8k16 row.col, f32 += bf16 * bf16
//   load_matrices(unsigned to[4], row), load_transposed              ldmatrix x4, from where each lane's row begins
//   Copies                                                           cp.async of 16 bytes: nothing arrives before it is waited for
//   power_of_two(float)                                              ex2.approx
//
// Compiled as gnu++17. `__global__` and `__launch_bounds__` are left to the stand-in of NVRTC, which finds the kernels by them.
// Static shared arrays are plain statics of the library: the stand-in of the driver fills them with 0xFF before each block.
#pragma once
#define CUDA_ON_HOST 1

#include "module.h"

// Declared here and not included: a file with the C++ library's headers takes several times as long to compile.
typedef decltype(sizeof 0) size_t;
extern "C" {
void* memcpy(void* to, const void* from, size_t bytes) noexcept;
void* memset(void* to, int value, size_t bytes) noexcept;
int abs(int) noexcept;
}
#define HOST_GPU_FUNCTION1(name) \
    extern "C" double name(double) noexcept; \
    extern "C" float name##f(float) noexcept; \
    inline float name(float x) { return name##f(x); }
#define HOST_GPU_FUNCTION2(name) \
    extern "C" double name(double, double) noexcept; \
    extern "C" float name##f(float, float) noexcept; \
    inline float name(float x, float y) { return name##f(x, y); }
HOST_GPU_FUNCTION1(exp)
HOST_GPU_FUNCTION1(exp2)
HOST_GPU_FUNCTION1(expm1)
HOST_GPU_FUNCTION1(log)
HOST_GPU_FUNCTION1(log2)
HOST_GPU_FUNCTION1(log1p)
HOST_GPU_FUNCTION1(sqrt)
HOST_GPU_FUNCTION1(sin)
HOST_GPU_FUNCTION1(cos)
HOST_GPU_FUNCTION1(tanh)
HOST_GPU_FUNCTION1(erf)
HOST_GPU_FUNCTION1(erfc)
HOST_GPU_FUNCTION1(fabs)
HOST_GPU_FUNCTION1(floor)
HOST_GPU_FUNCTION1(ceil)
HOST_GPU_FUNCTION1(rint)
HOST_GPU_FUNCTION1(trunc)
HOST_GPU_FUNCTION2(pow)
HOST_GPU_FUNCTION2(fmin)
HOST_GPU_FUNCTION2(fmax)
HOST_GPU_FUNCTION2(copysign)
#undef HOST_GPU_FUNCTION1
#undef HOST_GPU_FUNCTION2
extern "C" double fma(double, double, double) noexcept;
extern "C" float fmaf(float, float, float) noexcept;
inline float fma(float x, float y, float z) { return fmaf(x, y, z); }
inline bool isfinite(double x) { return __builtin_isfinite(x); }
inline bool isfinite(float x) { return __builtin_isfinite(x); }
inline bool isnan(double x) { return __builtin_isnan(x); }
inline bool isnan(float x) { return __builtin_isnan(x); }
inline bool isinf(double x) { return __builtin_isinf(x); }
inline bool isinf(float x) { return __builtin_isinf(x); }

extern "C" __attribute__((visibility("hidden"))) host_gpu::State host_gpu_state;

#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static
#define __constant__ static const
#define __align__(bytes) alignas(bytes)
#define DYNAMIC_SHARED(type, name) type* name = reinterpret_cast<type*>(host_gpu_state.dynamic_shared)

#define threadIdx (host_gpu_state.thread)
#define blockIdx (host_gpu_state.block)
#define blockDim (host_gpu_state.block_size)
#define gridDim (host_gpu_state.grid_size)
constexpr int warpSize = 32;

#define __syncthreads() host_gpu_state.barrier(__LINE__)
#define __syncwarp(...) host_gpu::sync_warp(__LINE__, ##__VA_ARGS__)
#define __threadfence() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define __threadfence_block() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define __threadfence_system() __atomic_thread_fence(__ATOMIC_SEQ_CST)

// Vectors.
#define HOST_GPU_VECTOR2(name, type, bytes) \
    struct alignas(bytes) name { type x, y; }; \
    inline name make_##name(type x, type y) { return {x, y}; }
#define HOST_GPU_VECTOR4(name, type, bytes) \
    struct alignas(bytes) name { type x, y, z, w; }; \
    inline name make_##name(type x, type y, type z, type w) { return {x, y, z, w}; }
HOST_GPU_VECTOR2(float2, float, 8)
HOST_GPU_VECTOR2(double2, double, 16)
HOST_GPU_VECTOR2(int2, int, 8)
HOST_GPU_VECTOR2(uint2, unsigned, 8)
HOST_GPU_VECTOR2(ushort2, unsigned short, 4)
HOST_GPU_VECTOR4(float4, float, 16)
HOST_GPU_VECTOR4(int4, int, 16)
HOST_GPU_VECTOR4(uint4, unsigned, 16)
HOST_GPU_VECTOR4(ushort4, unsigned short, 8)
#undef HOST_GPU_VECTOR2
#undef HOST_GPU_VECTOR4

namespace host_gpu {

template <class To, class From>
inline To same_bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "sizes differ");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}

inline unsigned lane() {
    const State& s = host_gpu_state;
    return (s.thread.x + s.block_size.x * (s.thread.y + s.block_size.y * s.thread.z)) & 31u;
}

// What a lane brings to a shuffle: its value, the lane that it wants, and room for what it gets.
template <class T>
struct Shuffled {
    T value;
    unsigned source;
    T result;
    static void exchange(unsigned mask, void* const* brought) {
        for (unsigned i = 0; i < 32; i++) {
            if (!(mask >> i & 1)) continue;
            auto* mine = static_cast<Shuffled*>(brought[i]);
            // The value of a lane that takes no part is undefined on a GPU.
            if (mask >> mine->source & 1) mine->result = static_cast<Shuffled*>(brought[mine->source])->value;
            else memset(&mine->result, 0xff, sizeof(T));
        }
    }
};

template <class T>
inline T shuffle(unsigned mask, T value, unsigned source, int line) {
    Shuffled<T> mine{value, source, value};
    host_gpu_state.meet(mask, Shuffled<T>::exchange, &mine, line);
    return mine.result;
}
template <class T>
inline T shuffle_xor(int line, unsigned mask, T value, unsigned other, unsigned width = 32) {
    unsigned me = lane(), source = me ^ other;
    return shuffle(mask, value, (source & ~(width - 1)) > (me & ~(width - 1)) ? me : source, line);
}
template <class T>
inline T shuffle_down(int line, unsigned mask, T value, unsigned by, unsigned width = 32) {
    unsigned me = lane();
    return shuffle(mask, value, (me & (width - 1)) + by < width ? me + by : me, line);
}
template <class T>
inline T shuffle_up(int line, unsigned mask, T value, unsigned by, unsigned width = 32) {
    unsigned me = lane();
    return shuffle(mask, value, (me & (width - 1)) >= by ? me - by : me, line);
}
template <class T>
inline T shuffle_from(int line, unsigned mask, T value, unsigned source, unsigned width = 32) {
    return shuffle(mask, value, (lane() & ~(width - 1)) | (source & (width - 1)), line);
}

struct Vote {
    bool is;
    unsigned result;
    static void exchange(unsigned mask, void* const* brought) {
        unsigned votes = 0;
        for (unsigned i = 0; i < 32; i++)
            if (mask >> i & 1 && static_cast<Vote*>(brought[i])->is) votes |= 1u << i;
        for (unsigned i = 0; i < 32; i++)
            if (mask >> i & 1) static_cast<Vote*>(brought[i])->result = votes;
    }
};
inline unsigned vote(int line, unsigned mask, bool is) {
    Vote mine{is, 0};
    host_gpu_state.meet(mask, Vote::exchange, &mine, line);
    return mine.result;
}
inline void sync_warp(int line, unsigned mask = ~0u) { vote(line, mask, false); }

inline float float_of_bf16(unsigned word, bool high) {
    return same_bits<float>(high ? word & 0xffff0000u : word << 16);
}
inline unsigned bf16_of_float(float value) {
    unsigned bits = same_bits<unsigned>(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fffu;  // what cvt.rn.bf16 makes of any NaN
    return (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
}

// mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 by its table of fragments (PTX ISA, "Matrix Fragments for mma.m16n8k16").
struct Mma {
    float* d;
    const unsigned *a, *b;
    static void exchange(unsigned, void* const* brought) {
        auto at = [&](unsigned lane) { return static_cast<Mma*>(brought[lane]); };
        float left[16][16], right[16][8];
        for (unsigned lane = 0; lane < 32; lane++) {
            unsigned group = lane >> 2, pair = (lane & 3) * 2;
            for (unsigned i = 0; i < 8; i++)
                left[group + (i >> 1 & 1) * 8][pair + (i & 1) + (i >> 2) * 8] = float_of_bf16(at(lane)->a[i >> 1], i & 1);
            for (unsigned i = 0; i < 4; i++) right[pair + (i & 1) + (i >> 1) * 8][group] = float_of_bf16(at(lane)->b[i >> 1], i & 1);
        }
        for (unsigned lane = 0; lane < 32; lane++)
            for (unsigned i = 0; i < 4; i++) {
                unsigned row = (lane >> 2) + (i >> 1) * 8, column = (lane & 3) * 2 + (i & 1);
                float sum = 0;
                for (unsigned k = 0; k < 16; k++) sum += left[row][k] * right[k][column];
                at(lane)->d[i] += sum;
            }
    }
};

// ldmatrix.sync.aligned.m8n8.x4.b16: lane l says where row l % 8 of matrix l / 8 begins, and gets of each matrix two neighbours of
// row l / 4, or of column l / 4.
struct Matrices {
    const unsigned short* row;
    bool transposed;
    unsigned* to;
    static void exchange(unsigned, void* const* brought) {
        auto at = [&](unsigned lane) { return static_cast<Matrices*>(brought[lane]); };
        for (unsigned lane = 0; lane < 32; lane++)
            for (unsigned matrix = 0; matrix < 4; matrix++) {
                unsigned group = lane >> 2, pair = (lane & 3) * 2, both = 0;
                for (unsigned i = 0; i < 2; i++) {
                    bool turned = at(lane)->transposed;
                    unsigned row = turned ? pair + i : group, column = turned ? group : pair + i;
                    both |= static_cast<unsigned>(at(matrix * 8 + row)->row[column]) << 16 * i;
                }
                at(lane)->to[matrix] = both;
            }
    }
};

template <class T>
inline T atomic_add(T* at, T value) {
    T old = *at;  // one thread of a grid runs at a time
    *at = old + value;
    return old;
}

}  // namespace host_gpu

#define __shfl_sync(mask, value, ...) host_gpu::shuffle_from(__LINE__, mask, value, __VA_ARGS__)
#define __shfl_xor_sync(mask, value, ...) host_gpu::shuffle_xor(__LINE__, mask, value, __VA_ARGS__)
#define __shfl_down_sync(mask, value, ...) host_gpu::shuffle_down(__LINE__, mask, value, __VA_ARGS__)
#define __shfl_up_sync(mask, value, ...) host_gpu::shuffle_up(__LINE__, mask, value, __VA_ARGS__)
#define __ballot_sync(mask, predicate) host_gpu::vote(__LINE__, mask, predicate)
#define __any_sync(mask, predicate) (host_gpu::vote(__LINE__, mask, predicate) != 0)
#define __all_sync(mask, predicate) (host_gpu::vote(__LINE__, mask, !(predicate)) == 0)

inline unsigned pack_bf16(float low, float high) { return host_gpu::bf16_of_float(low) | host_gpu::bf16_of_float(high) << 16; }
#define mma_bf16(d, a, b) host_gpu::multiply_accumulate(__LINE__, d, a, b)
namespace host_gpu {
inline void multiply_accumulate(int line, float* d, const unsigned* a, const unsigned* b) {
    Mma mine{d, a, b};
    host_gpu_state.meet(~0u, Mma::exchange, &mine, line);
}
inline void gather_matrices(int line, unsigned* to, const void* row, bool transposed) {
    Matrices mine{static_cast<const unsigned short*>(row), transposed, to};
    host_gpu_state.meet(~0u, Matrices::exchange, &mine, line);
}
}  // namespace host_gpu
#define load_matrices(to, row) host_gpu::gather_matrices(__LINE__, to, row, false)
#define load_transposed(to, row) host_gpu::gather_matrices(__LINE__, to, row, true)
inline float power_of_two(float x) { return exp2f(x); }

// Copies under way lie on the thread's own stack. Until one is waited for, what it will write is no number.
class Copies {
    struct Copy {
        void* to;
        const void* from;
        unsigned group;
    } copies[64];
    unsigned first = 0, next = 0, groups = 0;

  public:
    void start(void* to, const void* from, bool there) {
        if (next - first == 64) __builtin_trap();
        memset(to, 0xff, 16);
        copies[next++ % 64] = {to, there ? from : nullptr, groups};
    }
    void group() { groups++; }
    template <int LEFT>
    void wait() {
        for (; first != next && copies[first % 64].group + LEFT < groups; first++) {
            const Copy& copy = copies[first % 64];
            if (copy.from) memcpy(copy.to, copy.from, 16);
            else memset(copy.to, 0, 16);
        }
    }
};

// Functions that CUDA C has and C++ has not, or has under std:: only.
inline int min(int a, int b) { return a < b ? a : b; }
inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
inline long long min(long long a, long long b) { return a < b ? a : b; }
inline unsigned long long min(unsigned long long a, unsigned long long b) { return a < b ? a : b; }
inline float min(float a, float b) { return fminf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline int max(int a, int b) { return a > b ? a : b; }
inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
inline long long max(long long a, long long b) { return a > b ? a : b; }
inline unsigned long long max(unsigned long long a, unsigned long long b) { return a > b ? a : b; }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double max(double a, double b) { return fmax(a, b); }

inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline float __expf_host(float x) { return expf(x); }
#define __expf(x) __expf_host(x)
inline float __fdividef(float a, float b) { return a / b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline float __fsqrt_rn(float a) { return sqrtf(a); }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
inline float __double2float_rn(double a) { return static_cast<float>(a); }

inline unsigned __float_as_uint(float x) { return host_gpu::same_bits<unsigned>(x); }
inline int __float_as_int(float x) { return host_gpu::same_bits<int>(x); }
inline float __uint_as_float(unsigned x) { return host_gpu::same_bits<float>(x); }
inline float __int_as_float(int x) { return host_gpu::same_bits<float>(x); }
inline long long __double_as_longlong(double x) { return host_gpu::same_bits<long long>(x); }
inline double __longlong_as_double(long long x) { return host_gpu::same_bits<double>(x); }
inline double __hiloint2double(int high, int low) {
    return host_gpu::same_bits<double>(static_cast<unsigned long long>(static_cast<unsigned>(high)) << 32 | static_cast<unsigned>(low));
}
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz(static_cast<unsigned>(x)) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>(static_cast<unsigned long long>(a) * b >> 32); }
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned by) {
    by &= 31;
    return by ? high << by | low >> (32 - by) : high;
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned by) {
    by &= 31;
    return by ? low >> by | high << (32 - by) : low;
}
template <class T>
inline T __ldg(const T* at) {
    return *at;
}
inline int atomicAdd(int* at, int value) { return host_gpu::atomic_add(at, value); }
inline unsigned atomicAdd(unsigned* at, unsigned value) { return host_gpu::atomic_add(at, value); }

namespace host_gpu {

template <size_t... I>
struct Indexes {};
template <size_t N, size_t... I>
struct Below : Below<N - 1, N - 1, I...> {};
template <size_t... I>
struct Below<0, I...> {
    static constexpr Indexes<I...> all{};
};

// Calls a kernel with arguments that are given by their addresses.
template <auto F>
struct Trampoline;
template <class... A, void (*F)(A...)>
struct Trampoline<F> {
    template <size_t... I>
    static void call([[maybe_unused]] void** arguments, Indexes<I...>) {
        F(*static_cast<A*>(arguments[I])...);
    }
    static void run(void** arguments) { call(arguments, Below<sizeof...(A)>::all); }
};

// What a type is as an argument of a kernel.
template <class T>
struct Described {
    static constexpr Argument as(const char* name) { return {name, sizeof(T), false, 0, 'i'}; }
};
template <>
struct Described<float> {
    static constexpr Argument as(const char* name) { return {name, sizeof(float), false, 0, 'f'}; }
};
template <class T>
struct Described<T*> {
    static constexpr Argument as(const char* name) { return {name, sizeof(T*), true, sizeof(T), sizeof(T) == 2 ? 'h' : 'i'}; }
};
template <>
struct Described<float*> {
    static constexpr Argument as(const char* name) { return {name, sizeof(float*), true, sizeof(float), 'f'}; }
};
template <>
struct Described<double*> {
    static constexpr Argument as(const char* name) { return {name, sizeof(double*), true, sizeof(double), 'd'}; }
};
template <>
struct Described<void*> {
    static constexpr Argument as(const char* name) { return {name, sizeof(void*), true, 1, 'i'}; }
};
template <>
struct Described<const float*> : Described<float*> {};
template <>
struct Described<const double*> : Described<double*> {};
template <>
struct Described<const void*> : Described<void*> {};
// `T* __restrict__` is another type to a template.
template <class T>
struct Described<T* __restrict__> : Described<T*> {};

}  // namespace host_gpu
