#include "fibers.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include <atomic>
#include <mutex>

// Saves what a function may rely on across a call, keeps the stack pointer in *save and goes on with the one in `to`.
extern "C" void host_gpu_switch(void** save, void* to);

#if defined(__x86_64__)
asm(R"(
.text
.hidden host_gpu_switch
.globl host_gpu_switch
.type host_gpu_switch,@function
host_gpu_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size host_gpu_switch, .-host_gpu_switch
)");
namespace {
constexpr int saved_words = 6;
// The stack of a function that has just been called: its return address at 8 modulo 16.
void* fresh_stack(char* end, void (*entry)()) {
    void** at = reinterpret_cast<void**>(end) - 1;
    *at = nullptr;
    *--at = reinterpret_cast<void*>(entry);
    for (int i = 0; i < saved_words; i++) *--at = nullptr;
    return at;
}
}  // namespace
#elif defined(__aarch64__)
asm(R"(
.text
.hidden host_gpu_switch
.globl host_gpu_switch
.type host_gpu_switch,%function
host_gpu_switch:
    sub sp, sp, #160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
.size host_gpu_switch, .-host_gpu_switch
)");
namespace {
void* fresh_stack(char* end, void (*entry)()) {
    void** at = reinterpret_cast<void**>(end) - 20;
    memset(at, 0, 160);
    at[11] = reinterpret_cast<void*>(entry);  // x30
    return at;
}
}  // namespace
#else
#error "fibers are written for x86-64 and aarch64"
#endif

namespace host_gpu {

namespace {

constexpr unsigned most_threads = 1024;
constexpr size_t page = 4096, stack_bytes = 64 * 1024, shared_room = 256 * 1024;
constexpr unsigned char poison = 0xff;

std::string text_of(Index i) { return "(" + std::to_string(i.x) + ", " + std::to_string(i.y) + ", " + std::to_string(i.z) + ")"; }

}  // namespace

thread_local Processor* Processor::current_ = nullptr;

// Which processor's thread a signal is handled on, by the stack that it is handled on: a thread-local variable may not be there
// yet in a thread that has nothing to do with kernels, and making it is nothing for a signal handler.
struct SignalStacks {
    static constexpr size_t bytes = 64 * 1024;
    struct Entry {
        std::atomic<char*> stack;
        Processor* processor;
    };
    static inline Entry all[1024];

    static void add(char* stack, Processor* processor) {
        static std::mutex one;
        std::lock_guard lock(one);
        for (Entry& entry : all) {
            if (entry.stack.load()) continue;
            entry.processor = processor;
            entry.stack = stack;
            return;
        }
    }
    static void remove(char* stack) {
        for (Entry& entry : all)
            if (entry.stack.load() == stack) entry.stack = nullptr;
    }
    // `here` is on the stack of the signal.
    static Processor* at(char* here) {
        for (Entry& entry : all) {
            char* stack = entry.stack.load();
            if (stack && here >= stack && here < stack + bytes) return entry.processor;
        }
        return nullptr;
    }
};

// A fault in a kernel ends that kernel; any other goes where it went before.
struct Signals {
    static constexpr int all[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    static inline struct sigaction before[4];

    static void install() {
        for (int i = 0; i < 4; i++) {
            struct sigaction action = {};
            action.sa_sigaction = handle;
            action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
            sigaction(all[i], &action, &before[i]);
        }
    }

    static void handle(int signal, siginfo_t* info, void* context) {
        Processor* p = SignalStacks::at(static_cast<char*>(__builtin_frame_address(0)));
        char* address = static_cast<char*>(info->si_addr);
        if (p && p->in_kernel_) {
            if (signal == SIGSEGV && p->watcher_ && p->watcher_->write_fault(address)) return;
            p->in_kernel_ = false;
            p->fault_signal_ = signal;
            p->fault_address_ = address;
            siglongjmp(p->jump_, 1);
        }
        for (int i = 0; i < 4; i++) {
            if (all[i] != signal) continue;
            if (before[i].sa_flags & SA_SIGINFO) {
                before[i].sa_sigaction(signal, info, context);
            } else if (before[i].sa_handler != SIG_DFL && before[i].sa_handler != SIG_IGN) {
                before[i].sa_handler(signal);
            } else {
                sigaction(signal, &before[i], nullptr);  // the instruction is tried again, and the default action taken
            }
        }
    }
};

Processor::Processor() {
    static std::once_flag once;
    std::call_once(once, Signals::install);
    stacks_ = static_cast<char*>(mmap(nullptr, most_threads * stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    // Dynamic shared memory ends where memory ends.
    shared_ = static_cast<char*>(mmap(nullptr, shared_room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    shared_end_ = shared_ + shared_room;
    mprotect(shared_end_, page, PROT_NONE);
    lanes_.resize(most_threads);
    indexes_.resize(most_threads);
    stack_t stack = {};
    stack.ss_size = SignalStacks::bytes;
    stack.ss_sp = signal_stack_ = mmap(nullptr, stack.ss_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    sigaltstack(&stack, nullptr);
    SignalStacks::add(static_cast<char*>(signal_stack_), this);
    current_ = this;
}

Processor::~Processor() {
    current_ = nullptr;
    stack_t stack = {};
    stack.ss_flags = SS_DISABLE;
    sigaltstack(&stack, nullptr);
    SignalStacks::remove(static_cast<char*>(signal_stack_));
    munmap(signal_stack_, SignalStacks::bytes);
    munmap(stacks_, most_threads * stack_bytes);
    munmap(shared_, shared_room + page);
}

std::string Processor::place(unsigned lane) const {
    return "block " + text_of(state_->block) + ", thread " + text_of(indexes_[lane]);
}

bool Processor::fail(const std::string& what) {
    failure_ = {launch_failed, what};
    return false;
}

void Processor::enter(unsigned lane) {
    running_ = lane;
    state_->thread = indexes_[lane];
}

void Processor::resume(unsigned lane) {
    Lane& l = lanes_[lane];
    if (l.wait == Wait::NotStarted) {
        l.fiber = free_fibers_.back();
        free_fibers_.pop_back();
        // A page that cannot be used below each stack; one by one, since a process may not have very many such pieces.
        for (; fibers_ <= l.fiber; fibers_++) mprotect(stacks_ + fibers_ * stack_bytes, page, PROT_NONE);
        l.stack_pointer = fresh_stack(stacks_ + (l.fiber + 1) * stack_bytes, &fiber_main);
    }
    l.wait = Wait::Ready;
    enter(lane);
    host_gpu_switch(&scheduler_, l.stack_pointer);
    // Threads that ran without waiting shared one fiber: it is free when the last of them has ended.
    if (lanes_[running_].wait == Wait::Ended) free_fibers_.push_back(lanes_[running_].fiber);
}

void Processor::fiber_main() {
    Processor& p = *current_;
    for (;;) {
        p.launch_->kernel->run(p.launch_->arguments);
        Lane& ended = p.lanes_[p.running_];
        ended.wait = Wait::Ended;
        p.left_--;
        if (p.straight_ && p.left_) {
            unsigned next = p.reversed_ ? p.running_ - 1 : p.running_ + 1;
            p.lanes_[next].fiber = ended.fiber;
            p.lanes_[next].wait = Wait::Ready;
            p.enter(next);
        } else {
            host_gpu_switch(&ended.stack_pointer, p.scheduler_);
        }
    }
}

void Processor::leave(unsigned lane) {
    straight_ = false;
    host_gpu_switch(&lanes_[lane].stack_pointer, scheduler_);
}

void Processor::barrier(int line) {
    Processor& p = *current_;
    Lane& lane = p.lanes_[p.running_];
    lane.wait = Wait::Barrier;
    lane.line = line;
    p.leave(p.running_);
}

void Processor::meet(unsigned mask, Exchange exchange, void* mine, int line) {
    Processor& p = *current_;
    unsigned me = p.running_;
    Lane& lane = p.lanes_[me];
    lane.wait = Wait::Meeting;
    lane.mask = mask;
    lane.exchange = exchange;
    lane.brought = mine;
    lane.line = line;
    // The last one to come exchanges for all and goes on.
    if (p.meet_warp(me)) lane.wait = Wait::Ready;
    else p.leave(me);
}

// Whether all lanes of the mask are there: then they have what they want and can go on.
bool Processor::meet_warp(unsigned lane) {
    unsigned first = lane & ~31u, mask = lanes_[lane].mask, &meeting = meeting_[lane / 32];
    meeting |= 1u << (lane & 31);
    // Lanes that a block of fewer threads has not are asked for by a full mask all the same.
    unsigned all = threads_ - first >= 32 ? mask : mask & ((1u << (threads_ - first)) - 1);
    if ((meeting & all) != all) return false;
    void* brought[32] = {};
    for (unsigned i = 0; i < 32; i++) {
        if (!(all >> i & 1)) continue;
        const Lane& other = lanes_[first + i];
        // Lanes that wait elsewhere will be found never to go on.
        if (other.mask != mask || other.exchange != lanes_[lane].exchange || other.line != lanes_[lane].line) return false;
        brought[i] = other.brought;
    }
    lanes_[lane].exchange(all, brought);
    meeting &= ~all;
    for (unsigned i = 0; i < 32; i++)
        if (all >> i & 1) lanes_[first + i].wait = Wait::Ready;
    return true;
}

// Every thread has ended or waits: opens the barrier, or says why it cannot be opened.
bool Processor::end_of_sweep() {
    int waiting = -1, ended = -1;
    for (unsigned i = 0; i < threads_; i++) {
        const Lane& lane = lanes_[i];
        if (lane.wait == Wait::Meeting)
            return fail(place(i) + " waits in line " + std::to_string(lane.line) + " for lanes of its warp that never come");
        if (lane.wait == Wait::Ended) ended = static_cast<int>(i);
        if (lane.wait != Wait::Barrier) continue;
        if (waiting >= 0 && lanes_[waiting].line != lane.line)
            return fail("a barrier is not reached by all: " + place(waiting) + " waits in line " + std::to_string(lanes_[waiting].line) + ", " + place(i) + " in line " + std::to_string(lane.line));
        waiting = static_cast<int>(i);
    }
    if (ended >= 0)
        return fail("a barrier is not reached by all: " + place(waiting) + " waits in line " + std::to_string(lanes_[waiting].line) + ", " + place(ended) + " has ended");
    for (unsigned i = 0; i < threads_; i++) lanes_[i].wait = Wait::Ready;
    return true;
}

bool Processor::run_block() {
    free_fibers_.clear();
    for (unsigned i = threads_; i-- > 0;) free_fibers_.push_back(static_cast<int>(i));
    for (unsigned i = 0; i < threads_; i++) lanes_[i].wait = Wait::NotStarted;
    meeting_.assign((threads_ + 31) / 32, 0);
    left_ = threads_;
    straight_ = true;
    unsigned warps = (threads_ + 31) / 32;
    for (;;) {
        for (unsigned w = 0; w < warps; w++) {
            unsigned first = (reversed_ ? warps - 1 - w : w) * 32, end = first + 32 < threads_ ? first + 32 : threads_;
            for (bool again = true; again;) {
                again = false;
                for (unsigned i = first; i < end; i++) {
                    unsigned lane = reversed_ ? end - 1 - (i - first) : i;
                    if (lanes_[lane].wait != Wait::Ready && lanes_[lane].wait != Wait::NotStarted) continue;
                    resume(lane);
                    again = true;
                }
            }
        }
        if (left_ == 0) return true;
        if (!end_of_sweep()) return false;
    }
}

Failure Processor::run(const Launch& launch, bool reversed, Watcher* watcher) {
    launch_ = &launch;
    watcher_ = watcher;
    reversed_ = reversed;
    threads_ = launch.block.x * launch.block.y * launch.block.z;
    for (unsigned i = 0; i < threads_; i++)
        indexes_[i] = {i % launch.block.x, i / launch.block.x % launch.block.y, i / launch.block.x / launch.block.y};
    failure_ = {};
    state_ = launch.module->state;
    size_t room = (launch.shared_bytes + 15) & ~size_t{15};
    char* dynamic = shared_end_ - room;
    *state_ = {{}, {}, launch.block, launch.grid, dynamic, &barrier, &meet};
    unsigned long long blocks = 1ull * launch.grid.x * launch.grid.y * launch.grid.z;
    if (sigsetjmp(jump_, 1) == 0) {
        for (unsigned long long i = 0; i < blocks; i++) {
            unsigned long long block = reversed ? blocks - 1 - i : i;
            unsigned long long row = block / launch.grid.x;
            state_->block = {static_cast<unsigned>(block % launch.grid.x), static_cast<unsigned>(row % launch.grid.y), static_cast<unsigned>(row / launch.grid.y)};
            memset(launch.module->shared_begin, poison, static_cast<size_t>(launch.module->shared_end - launch.module->shared_begin));
            memset(dynamic, poison, room);
            in_kernel_ = true;
            bool good = run_block();
            in_kernel_ = false;
            if (!good) break;
            if (watcher && !watcher->block_ended(block)) break;
        }
    } else {
        const char* what = fault_signal_ == SIGFPE   ? "divides an integer by zero"
                           : fault_signal_ == SIGILL ? "reaches beyond the end of an array of known size"
                                                     : nullptr;
        char at[64];
        snprintf(at, sizeof at, "reaches for address %p", static_cast<void*>(fault_address_));
        failure_ = {illegal_address, place(running_) + " " + (what ? what : at)};
        if (fault_address_ >= shared_end_ && fault_address_ < shared_end_ + page) failure_.text += ", beyond its dynamic shared memory";
    }
    watcher_ = nullptr;
    return failure_;
}

}  // namespace host_gpu
