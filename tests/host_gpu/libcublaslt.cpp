// A stand-in of cublasLt: matrix products on this machine's processor, through the queue of a stream of the other stand-in.
//
// Sums run over k in order, in float32, a product rounded before it is added: a batch member has the same bits for any
// number of members. With TF32 allowed the operands are rounded to it, as a GPU may do. Stricter than the original: an
// algorithm serves only the shape and the alignment that it was asked for, the workspace is overwritten, and a matrix that
// does not lie in one allocation is refused. Codes and attributes as in `cublasLt.h` of CUDA 13.

#include <stdint.h>
#include <string.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "queue.h"

namespace {

enum Status { success = 0, not_initialized = 1, invalid_value = 7, not_supported = 15 };
enum Type : int { f32 = 0, bf16 = 14 };
enum Compute : int { compute_f32 = 68, compute_tf32 = 77 };
enum Epilogue : unsigned { plain = 1, with_bias = 4 };
// What every product takes of the workspace, and what a sum so long takes more for each product of a batch.
constexpr size_t workspace_needed = 4096, workspace_of_long_sum = 1 << 20, long_sum = 1024;

struct Description {
    int compute, scale, transpose_a = 0, transpose_b = 0, bias_type = -1;
    unsigned epilogue = plain;
    const char* bias = nullptr;
    int64_t bias_stride = 0;
};

struct Layout {
    int type;
    uint64_t rows, columns;
    int64_t leading;
    int batch = 1, order = 0;
    int64_t stride = 0;
};

struct Preference {
    uint64_t workspace = 0;
    uint32_t alignment[4] = {256, 256, 256, 256};
};

struct Algorithm {
    uint64_t shape;
    uint32_t alignment[4];
    uint64_t workspace_each;  // beside `workspace_needed`, for each product of a batch
    uint64_t unused[4];
};
static_assert(sizeof(Algorithm) == 64, "cublasLtMatmulAlgo_t");

struct Heuristic {
    Algorithm algorithm;
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
};

size_t size_of(int type) { return type == bf16 ? 2 : 4; }

float load(const char* at, int type) {
    float value;
    if (type == bf16) {
        uint16_t half;
        memcpy(&half, at, 2);
        uint32_t bits = static_cast<uint32_t>(half) << 16;
        memcpy(&value, &bits, 4);
    } else {
        memcpy(&value, at, 4);
    }
    return value;
}

void store(char* at, int type, float value) {
    if (type == bf16) {
        uint32_t bits;
        memcpy(&bits, &value, 4);
        bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
        uint16_t half = nan ? 0x7fff : static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
        memcpy(at, &half, 2);
    } else {
        memcpy(at, &value, 4);
    }
}

// To 10 bits of mantissa, ties away from zero, as `cvt.rna.tf32.f32`.
float rounded_to_tf32(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    if ((bits & 0x7f800000u) == 0x7f800000u) return value;
    bits = (bits + 0x1000u) & ~0x1fffu;
    memcpy(&value, &bits, 4);
    return value;
}

// Rows of a tile lie side by side in memory, so that a compiler makes vectors of them.
constexpr size_t tile_rows = 16, tile_columns = 4;

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
__attribute__((target_clones("avx2", "default")))
#endif
void multiply_tile(const float* a, const float* b, size_t k, float* sums) {
    float sum[tile_columns][tile_rows] = {};
    for (size_t p = 0; p < k; p++, a += tile_rows, b += tile_columns)
        for (size_t c = 0; c < tile_columns; c++)
            for (size_t r = 0; r < tile_rows; r++) sum[c][r] += a[r] * b[c];
    memcpy(sums, sum, sizeof sum);
}

// Tiles of `width` along the outer dimension, each [k][width], padded with zeros.
std::vector<float> packed(const char* from, int type, size_t outer, size_t k, size_t outer_step, size_t k_step, size_t width, bool tf32) {
    size_t tiles = (outer + width - 1) / width, bytes = size_of(type);
    std::vector<float> to(tiles * width * k);
    for (size_t i = 0; i < outer; i++) {
        float* at = to.data() + i / width * width * k + i % width;
        const char* source = from + i * outer_step * bytes;
        for (size_t p = 0; p < k; p++, at += width, source += k_step * bytes) {
            float value = load(source, type);
            *at = tf32 ? rounded_to_tf32(value) : value;
        }
    }
    return to;
}

struct Problem {
    Description description;
    Layout a, b, c, d;

    size_t m() const { return d.rows; }
    size_t n() const { return d.columns; }
    size_t k() const { return description.transpose_a ? a.rows : a.columns; }
    size_t workspace(const Algorithm& by) const { return workspace_needed + d.batch * by.workspace_each; }
    int bias_type() const { return description.bias_type < 0 ? d.type : description.bias_type; }

    // What the shapes say, in words where they do not fit; then `status`.
    std::string wrong(Status& status) const {
        status = invalid_value;
        auto sizes = [](const Layout& x) { return std::to_string(x.rows) + " x " + std::to_string(x.columns); };
        uint64_t a_rows = description.transpose_a ? a.columns : a.rows, a_columns = description.transpose_a ? a.rows : a.columns;
        uint64_t b_rows = description.transpose_b ? b.columns : b.rows, b_columns = description.transpose_b ? b.rows : b.columns;
        if (a_rows != d.rows || b_columns != d.columns || a_columns != b_rows || c.rows != d.rows || c.columns != d.columns)
            return "sizes do not fit: A " + sizes(a) + ", B " + sizes(b) + ", C " + sizes(c) + ", D " + sizes(d);
        if (!d.rows || !d.columns || !a_columns) return "a size is 0";
        for (const Layout* x : {&a, &b, &c, &d}) {
            if (x->leading < static_cast<int64_t>(x->rows)) return "a leading dimension of " + std::to_string(x->leading) + " for " + sizes(*x);
            if (x->batch != d.batch || x->batch < 1) return "batch counts differ";
            if (x->order) return status = not_supported, "only column-major matrices are multiplied here";
        }
        if (d.batch > 1 && d.stride == 0) return "all of a batch write one matrix";
        status = not_supported;
        bool full = a.type == f32 && b.type == f32 && d.type == f32, half = a.type == bf16 && b.type == bf16 && (d.type == bf16 || d.type == f32);
        if (c.type != d.type || description.scale != f32 || !(full ? description.compute == compute_f32 || description.compute == compute_tf32 : half && description.compute == compute_f32))
            return "this combination of types is not supported";
        if (description.epilogue != plain && description.epilogue != with_bias) return "this epilogue is not supported";
        if (description.epilogue == with_bias && bias_type() != d.type && bias_type() != f32) return "this type of bias is not supported";
        status = success;
        return "";
    }

    // All but the batch count, which may be another for the same algorithm.
    uint64_t shape() const {
        uint64_t h = 1;
        auto mix = [&](uint64_t v) { h = (h ^ v) * 0x9e3779b97f4a7c15ull, h ^= h >> 32; };
        for (const Layout* x : {&a, &b, &c, &d}) {
            mix(static_cast<uint64_t>(x->type));
            mix(x->rows);
            mix(x->columns);
            mix(static_cast<uint64_t>(x->leading));
        }
        mix(static_cast<uint64_t>(description.compute));
        mix(static_cast<uint64_t>(description.transpose_a * 2 + description.transpose_b));
        mix(description.epilogue);
        return h;
    }

    void compute(float alpha, const char* pa, const char* pb, float beta, const char* pc, char* pd) const {
        for (int batch = 0; batch < d.batch; batch++) {
            auto at = [&](const char* p, const Layout& x) { return p + batch * x.stride * static_cast<int64_t>(size_of(x.type)); };
            const char *ma = at(pa, a), *mb = at(pb, b), *mc = at(pc, c);
            char* md = const_cast<char*>(at(pd, d));
            const char* bias = description.epilogue == with_bias ? description.bias + batch * description.bias_stride * static_cast<int64_t>(size_of(bias_type())) : nullptr;
            size_t la = static_cast<size_t>(a.leading), lb = static_cast<size_t>(b.leading);
            bool tf32 = description.compute == compute_tf32;
            auto left = packed(ma, a.type, m(), k(), description.transpose_a ? la : 1, description.transpose_a ? 1 : la, tile_rows, tf32);
            auto right = packed(mb, b.type, n(), k(), description.transpose_b ? 1 : lb, description.transpose_b ? lb : 1, tile_columns, tf32);
            float sums[tile_columns][tile_rows];
            for (size_t j = 0; j < n(); j += tile_columns)
                for (size_t i = 0; i < m(); i += tile_rows) {
                    multiply_tile(left.data() + i * k(), right.data() + j * k(), k(), &sums[0][0]);
                    for (size_t column = j; column < std::min(j + tile_columns, n()); column++)
                        for (size_t row = i; row < std::min(i + tile_rows, m()); row++) {
                            float value = alpha * sums[column - j][row - i];
                            if (beta != 0) value += beta * load(mc + (column * static_cast<size_t>(c.leading) + row) * size_of(c.type), c.type);
                            if (bias) value += load(bias + row * size_of(bias_type()), bias_type());
                            store(md + (column * static_cast<size_t>(d.leading) + row) * size_of(d.type), d.type, value);
                        }
                }
        }
    }
};

Problem problem(const void* description, const void* a, const void* b, const void* c, const void* d) {
    return {*static_cast<const Description*>(description), *static_cast<const Layout*>(a), *static_cast<const Layout*>(b), *static_cast<const Layout*>(c), *static_cast<const Layout*>(d)};
}

// From the first to the last byte of all matrices of a batch.
size_t bytes_of(const Layout& x) {
    int64_t last = (x.batch - 1) * x.stride + static_cast<int64_t>(x.columns - 1) * x.leading + static_cast<int64_t>(x.rows);
    return static_cast<size_t>(last) * size_of(x.type);
}

template <class T>
int set(T& to, const void* from, size_t bytes) {
    if (bytes != sizeof to) return invalid_value;
    memcpy(&to, from, bytes);
    return success;
}

}  // namespace

#define API extern "C" __attribute__((visibility("default"))) int

extern "C" __attribute__((visibility("default"))) size_t cublasLtGetVersion() { return 130000; }

extern "C" __attribute__((visibility("default"))) const char* cublasLtGetStatusName(int status) {
    switch (status) {
        case success: return "CUBLAS_STATUS_SUCCESS";
        case not_initialized: return "CUBLAS_STATUS_NOT_INITIALIZED";
        case invalid_value: return "CUBLAS_STATUS_INVALID_VALUE";
        case not_supported: return "CUBLAS_STATUS_NOT_SUPPORTED";
        default: return "CUBLAS_STATUS unknown";
    }
}
extern "C" __attribute__((visibility("default"))) const char* cublasLtGetStatusString(int status) { return cublasLtGetStatusName(status); }

API cublasLtCreate(void** handle) {
    *handle = new int(0);
    return success;
}

API cublasLtDestroy(void* handle) {
    delete static_cast<int*>(handle);
    return success;
}

API cublasLtMatmulDescCreate(void** description, int compute, int scale) {
    *description = new Description{compute, scale};
    return success;
}

API cublasLtMatmulDescDestroy(void* description) {
    delete static_cast<Description*>(description);
    return success;
}

API cublasLtMatmulDescSetAttribute(void* handle, int attribute, const void* value, size_t bytes) {
    Description& d = *static_cast<Description*>(handle);
    switch (attribute) {
        case 0: return set(d.compute, value, bytes);
        case 1: return set(d.scale, value, bytes);
        case 2: return bytes == 4 && *static_cast<const int*>(value) == 0 ? success : not_supported;  // alpha and beta on the host
        case 3: return set(d.transpose_a, value, bytes);
        case 4: return set(d.transpose_b, value, bytes);
        case 7: return set(d.epilogue, value, bytes);
        case 8: return set(d.bias, value, bytes);
        case 10: return set(d.bias_stride, value, bytes);
        case 26: return set(d.bias_type, value, bytes);
        default: return invalid_value;
    }
}

API cublasLtMatrixLayoutCreate(void** layout, int type, uint64_t rows, uint64_t columns, int64_t leading) {
    *layout = new Layout{type, rows, columns, leading};
    return success;
}

API cublasLtMatrixLayoutDestroy(void* layout) {
    delete static_cast<Layout*>(layout);
    return success;
}

API cublasLtMatrixLayoutSetAttribute(void* handle, int attribute, const void* value, size_t bytes) {
    Layout& x = *static_cast<Layout*>(handle);
    switch (attribute) {
        case 0: return set(x.type, value, bytes);
        case 1: return set(x.order, value, bytes);
        case 2: return set(x.rows, value, bytes);
        case 3: return set(x.columns, value, bytes);
        case 4: return set(x.leading, value, bytes);
        case 5: return set(x.batch, value, bytes);
        case 6: return set(x.stride, value, bytes);
        default: return invalid_value;
    }
}

API cublasLtMatmulPreferenceCreate(void** preference) {
    *preference = new Preference;
    return success;
}

API cublasLtMatmulPreferenceDestroy(void* preference) {
    delete static_cast<Preference*>(preference);
    return success;
}

API cublasLtMatmulPreferenceSetAttribute(void* handle, int attribute, const void* value, size_t bytes) {
    Preference& p = *static_cast<Preference*>(handle);
    switch (attribute) {
        case 1: return set(p.workspace, value, bytes);
        case 0:    // SEARCH_MODE
        case 3:    // REDUCTION_SCHEME_MASK
        case 12:   // IMPL_MASK
            return success;
        case 5:
        case 6:
        case 7:
        case 8: return set(p.alignment[attribute - 5], value, bytes);
        default: return invalid_value;
    }
}

API cublasLtMatmulAlgoGetHeuristic(void* handle, void* description, void* a, void* b, void* c, void* d, void* preference, int wanted, Heuristic* results, int* found) {
    *found = 0;
    if (!handle || wanted < 1) return invalid_value;
    Problem p = problem(description, a, b, c, d);
    Status status;
    if (!p.wrong(status).empty()) return status;
    const Preference& by = *static_cast<Preference*>(preference);
    results[0] = {};
    results[0].algorithm.shape = p.shape();
    memcpy(results[0].algorithm.alignment, by.alignment, sizeof by.alignment);
    if (by.workspace < workspace_needed) return not_supported;
    if (p.k() > long_sum && workspace_needed + p.d.batch * workspace_of_long_sum <= by.workspace) results[0].algorithm.workspace_each = workspace_of_long_sum;
    results[0].workspace = p.workspace(results[0].algorithm);
    results[0].waves = 1;
    *found = 1;
    return success;
}

API cublasLtMatmulAlgoCheck(void* handle, void* description, void* a, void* b, void* c, void* d, const Algorithm* algorithm, Heuristic* result) {
    if (!handle) return invalid_value;
    Problem p = problem(description, a, b, c, d);
    Status status;
    if (!p.wrong(status).empty()) return status;
    if (p.shape() != algorithm->shape) return not_supported;
    *result = {};
    result->algorithm = *algorithm;
    result->workspace = p.workspace(*algorithm);
    result->waves = 1;
    return success;
}

API cublasLtMatmul(void* handle, void* description, const float* alpha, const char* a, void* a_layout, const char* b, void* b_layout, const float* beta, const char* c, void* c_layout, char* d,
                   void* d_layout, const Algorithm* algorithm, char* workspace, size_t workspace_bytes, void* stream) {
    auto* queue = static_cast<host_gpu::Queue*>(stream);
    if (!handle || !queue) return invalid_value;
    Problem p = problem(description, a_layout, b_layout, c_layout, d_layout);
    Status status;
    std::string wrong = p.wrong(status);
    auto refuse = [&](const std::string& why) {
        queue->complain("product: " + why);
        return status == success ? invalid_value : status;
    };
    if (!wrong.empty()) return refuse(wrong);
    struct Operand {
        const char *name, *at;
        const Layout* layout;
    };
    std::vector<Operand> operands = {{"A", a, &p.a}, {"B", b, &p.b}, {"D", d, &p.d}};
    if (*beta != 0) operands.push_back({"C", c, &p.c});
    for (const Operand& o : operands)
        if (!queue->reaches(o.at, bytes_of(*o.layout)))
            return refuse("matrix " + std::string(o.name) + " of " + std::to_string(o.layout->batch) + " times " + std::to_string(o.layout->rows) + " x " + std::to_string(o.layout->columns) + " does not lie in one allocation");
    if (d == a || d == b) return refuse("the result lies where an operand lies");
    if (p.description.epilogue == with_bias) {
        int64_t last = (p.d.batch - 1) * p.description.bias_stride + static_cast<int64_t>(p.m());
        if (!queue->reaches(p.description.bias, static_cast<size_t>(last) * size_of(p.bias_type()))) return refuse("the bias does not lie in one allocation");
    }
    if (algorithm) {
        status = not_supported;
        if (algorithm->shape != p.shape()) return refuse("the algorithm was chosen for another shape");
        const char* const at[4] = {a, b, c, d};
        for (int i = 0; i < 4; i++)
            if (reinterpret_cast<uintptr_t>(at[i]) % std::max(1u, algorithm->alignment[i])) return refuse("matrix " + std::string(1, "ABCD"[i]) + " is not aligned as the algorithm was told");
        status = success;
        if (workspace_bytes < p.workspace(*algorithm)) return refuse("the workspace is smaller than the algorithm needs");
    }
    size_t used = algorithm ? p.workspace(*algorithm) : 0;
    if (used && !queue->reaches(workspace, workspace_bytes)) return refuse("the workspace does not lie in one allocation");
    queue->enqueue([=, alpha = *alpha, beta = *beta]() -> std::string {
        // What was freed meanwhile.
        for (const Operand& o : {Operand{"A", a, &p.a}, Operand{"B", b, &p.b}, Operand{"D", d, &p.d}})
            if (!queue->reaches(o.at, bytes_of(*o.layout))) return "product: matrix " + std::string(o.name) + " was freed before it was multiplied";
        if (used) memset(workspace, 0xff, used);
        p.compute(alpha, a, b, beta, c, d);
        return "";
    });
    return success;
}
