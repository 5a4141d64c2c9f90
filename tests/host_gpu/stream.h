// Contexts, streams and graphs of the stand-in of the driver.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "fibers.h"
#include "queue.h"

namespace host_gpu {

// What was done in this process: work of streams, calls to replay a graph, to wait for a stream, to allocate.
struct Counts {
    std::atomic<long long> kernels{0}, products{0}, copies{0}, graphs{0}, waits{0}, allocations{0};
};
Counts& counts();

// One for each cuDevicePrimaryCtxRetain, so that a fault stays with who made it.
class Context {
  public:
    explicit Context(int number) : device(number) {}
    void fail(const Failure& failure);
    // What happened, for cuGetErrorString; the first of several.
    std::string what();

    const int device;
    std::atomic<int> fault{0};

  private:
    std::mutex mutex_;
    std::string what_;
};

// A kernel library that was loaded, and is closed when nobody needs it any more.
struct Library {
    const Module* module = nullptr;
    void* handle = nullptr;
    int file = -1;
    std::mutex running;  // its threads' indexes and shared memory are variables of the library
    ~Library();
};

struct Function {
    std::shared_ptr<Library> library;
    const Kernel* kernel;
    int dynamic_shared_limit;
};

class Stream;

struct Work {
    enum class Kind { Kernel, Product, Copy, Set } kind;
    std::function<Failure(Stream&)> run;
};
using Graph = std::vector<std::shared_ptr<Work>>;

class Stream final : public Queue {
  public:
    explicit Stream(Context* context);
    ~Stream();

    void enqueue(std::function<std::string()> work) override;
    bool reaches(const void* address, size_t bytes) override;
    void complain(const std::string& text) override;

    // Queues or, while the stream captures, records.
    void add(std::shared_ptr<Work> work);
    void wait();
    bool idle();

    Context* const context;
    std::unique_ptr<Processor> processor;  // made on the stream's own thread

    std::atomic<bool> capturing{false};
    bool capture_invalid = false;
    int capture_mode = 0;
    Graph captured;

    bool stopping();

  private:
    void work_off();

    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<std::shared_ptr<Work>> queue_;
    bool busy_ = false, stop_ = false;
    std::thread thread_;
};

}  // namespace host_gpu
