// Clipping by the global norm (torch's `clip_grad_norm_`) and AdamW (Loshchilov and Hutter 2019, as torch computes it).

// Neither infinite nor not a number.
__device__ __forceinline__ bool is_finite(double x) { return x - x == 0.0; }

// The norm of each member's gradients, what they are multiplied by, and whether the member is dead: from the first step on
// whose loss or norm is not finite, until the host revives it.
//
// Launch: grid [K], block 256.
extern "C" __global__ void prepare_update(
    const double* squares,    // [K, pieces]
    const double* loss,       // [K]: the step's sum of nll
    const Member* members,    // [K]
    double* norm,             // [K], written
    float* clip,              // [K], written: min(1, limit / (norm + 1e-6)), or 1
    int* dead,                // [K], kept from step to step
    int pieces                // ceil(P / 4,096)
) {
    int k = blockIdx.x;
    double sum = 0.0;
    for (int i = threadIdx.x; i < pieces; i += blockDim.x) sum += squares[static_cast<long long>(k) * pieces + i];
    sum = block_sum(sum);
    if (threadIdx.x > 0) return;
    double length = sqrt(sum), limit = members[k].clip;
    norm[k] = length;
    clip[k] = limit < 0.0 ? 1.0f : static_cast<float>(fmin(limit / (length + 1e-6), 1.0));
    bool was_dead = dead[k] != 0 && members[k].revive == 0;
    dead[k] = was_dead || !is_finite(length) || !is_finite(loss[k]);
}

// One update in torch's order, as `optimize/flat.rs` makes it to the bit; nothing where the member is dead.
//
// Launch: grid [ceil(P / 1,024), K], block 256.
extern "C" __global__ void adamw(
    float* values,            // [K, P]
    const float* gradients,   // [K, P]
    float* first,             // [K, P]
    float* second,            // [K, P]
    bf16* weights,            // [K, P]: the values in bfloat16, written; or null
    const Member* members,    // [K]
    const float* clip,        // [K]
    const int* dead,          // [K]
    const int* decays,        // [P / 64]: 1 where these 64 elements decay, 0 where they do not
    long long stride          // P, a multiple of 64
) {
    int k = blockIdx.y;
    long long i = blockIdx.x * 1024ll + threadIdx.x * 4;
    if (dead[k] || i >= stride) return;
    const Member& member = members[k];
    float coefficient = clip[k], decay = decays[i / 64] ? member.decay : 1.0f;
    i += k * stride;
    Some<4> value = load_some<4>(values + i), gradient = load_some<4>(gradients + i);
    Some<4> m = load_some<4>(first + i), v = load_some<4>(second + i);
    for (int e = 0; e < 4; e++) {
        // Products that are added are fused by hand, so that compilers have no choice.
        float g = gradient.at[e] * coefficient;
        m.at[e] = fmaf(g, member.rest1, m.at[e] * member.beta1);
        v.at[e] = fmaf(g * g, member.rest2, v.at[e] * member.beta2);
        value.at[e] = fmaf(value.at[e], decay, -member.rate * m.at[e] / fmaf(sqrtf(v.at[e]), member.root, member.epsilon));
    }
    store_some(values + i, value);
    store_some(first + i, m);
    store_some(second + i, v);
    if (weights) store_some(weights + i, value);
}

// The values in bfloat16, after they have come from the host.
//
// Launch: grid [ceil(count / 1,024)], block 256.
extern "C" __global__ void round_weights(
    const float* values,      // [K, P]
    bf16* weights,            // [K, P], written
    long long count           // K · P
) {
    long long i = blockIdx.x * 1024ll + threadIdx.x * 4;
    if (i + 4 <= count) store_some(weights + i, load_some<4>(values + i));
}
