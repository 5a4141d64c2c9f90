// Clipping by the global norm (torch's `clip_grad_norm_`) and AdamW (Loshchilov and Hutter 2019, as torch computes it).

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
}

// The values in bfloat16, after they have come from the host.
//
// Launch: grid [ceil(count / 1,024)], block 256.
extern "C" __global__ void round_weights(
    const float* values,      // [K, P]
    bf16* weights,            // [K, P], written
    long long count           // K · P
) {
}
