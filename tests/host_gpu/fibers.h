// Runs the blocks of a kernel on one thread of this machine: a block's threads are fibers that switch where they wait.
#pragma once

#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>

#include <string>
#include <vector>

#include "module.h"

namespace host_gpu {

// A CUresult and what happened; code 0: nothing.
struct Failure {
    int code = 0;
    std::string text;
};

constexpr int illegal_address = 700, launch_failed = 719;

struct Launch {
    const Module* module;
    const Kernel* kernel;
    void** arguments;
    Index grid, block;
    size_t shared_bytes;
};

// What is told of a run while it goes on.
class Watcher {
  public:
    virtual ~Watcher() = default;
    // A write to memory that cannot be written: true where it can be now.
    virtual bool write_fault(char* address) = 0;
    // False stops the run.
    virtual bool block_ended(unsigned long long block) = 0;
};

class Processor {
  public:
    Processor();
    ~Processor();
    Processor(const Processor&) = delete;

    // All blocks, in order or the other way round: blocks, warps and lanes.
    Failure run(const Launch& launch, bool reversed, Watcher* watcher);

  private:
    enum class Wait : unsigned char { NotStarted, Ready, Barrier, Meeting, Ended };
    using Exchange = void (*)(unsigned mask, void* const* brought);
    struct Lane {
        void* stack_pointer;
        int fiber;
        Wait wait;
        int line;
        unsigned mask;
        Exchange exchange;
        void* brought;
    };

    static void barrier(int line);
    static void meet(unsigned mask, Exchange exchange, void* mine, int line);
    static void fiber_main();
    friend struct Signals;

    bool run_block();
    bool meet_warp(unsigned lane);
    bool end_of_sweep();
    void resume(unsigned lane);
    void enter(unsigned lane);
    void leave(unsigned lane);
    bool fail(const std::string& what);
    std::string place(unsigned lane) const;

    static thread_local Processor* current_;

    const Launch* launch_ = nullptr;
    State* state_ = nullptr;
    Watcher* watcher_ = nullptr;
    bool reversed_ = false;
    unsigned threads_ = 0, left_ = 0, running_ = 0;
    bool straight_ = true;  // no thread of this block has waited yet
    std::vector<Lane> lanes_;
    std::vector<unsigned> meeting_;  // of each warp: the lanes that wait for others
    std::vector<Index> indexes_;
    std::vector<int> free_fibers_;
    int fibers_ = 0;  // that were ever used
    char* stacks_ = nullptr;
    char *shared_ = nullptr, *shared_end_ = nullptr;
    void* scheduler_ = nullptr;
    Failure failure_;
    // Faults of a kernel come back to `run` through this.
    sigjmp_buf jump_;
    volatile bool in_kernel_ = false;
    int fault_signal_ = 0;
    char* fault_address_ = nullptr;
    void* signal_stack_ = nullptr;
};

}  // namespace host_gpu
