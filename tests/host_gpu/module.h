// What a kernel library built by the stand-in of NVRTC shows to the stand-in of the driver.
#pragma once

namespace host_gpu {

struct Index {
    unsigned x, y, z;
};

// What one thread of a block sees and calls. One for each loaded library: its kernels run one at a time.
// The lane functions take the source line, by which threads that wait at different places are told apart.
struct State {
    Index thread, block, block_size, grid_size;
    char* dynamic_shared;
    void (*barrier)(int line);
    // All lanes of `mask` meet; one of them calls `exchange` with what each brought (its own stack's memory).
    void (*meet)(unsigned mask, void (*exchange)(unsigned mask, void* const* brought), void* mine, int line);
};

struct Argument {
    const char* name;
    unsigned size;
    bool pointer;
    unsigned element;  // size of what a pointer points to
    char kind;         // of that: f float, d double, h two bytes, i any other
};

struct Kernel {
    const char* name;
    void (*run)(void** arguments);
    const Argument* arguments;
    unsigned count;
    unsigned most_threads;  // of __launch_bounds__; 0: not given
};

struct Module {
    State* state;
    char *shared_begin, *shared_end;  // all static shared memory lies between them
    const Kernel* kernels;
    unsigned count;
};

// Before the library's bytes in what stands for a cubin.
struct ImageHeader {
    char magic[8];
    unsigned long long size;
    unsigned architecture;  // 90 for sm_90 and sm_90a
    unsigned assembly;      // 1: stands for PTX, which newer GPUs take too
    // Of the stand-ins that made it, a hash of their sources: others may lay out a Module otherwise.
    unsigned long long build;
};
#ifndef HOST_GPU_BUILD
#define HOST_GPU_BUILD 0  // build.sh gives it
#endif
constexpr char image_magic[8] = {'H', 'O', 'S', 'T', 'G', 'P', 'U', '1'};

}  // namespace host_gpu
