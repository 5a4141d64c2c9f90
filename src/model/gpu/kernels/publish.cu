// A step's results, into the ring in the host's memory.

// A slot of results is 1 + 3 K words of 64 bits: the sequence number, written last: the number of steps published with this one;
// then for each member: loss (sum of nll, a double), norm of the gradients (a double), dead (0 or 1).
//
// Launch: grid [1], block 128.
extern "C" __global__ void publish(
    const double* loss,       // [K]
    const double* norm,       // [K]
    const int* dead,          // [K]
    long long* steps,         // steps published so far: slot `steps % count` is written; one more
    long long* results,       // [count, 1 + 3 K] in pinned memory
    int count,                // slots of the ring
    int member_count          // K
) {
}
