#include "stream.h"

#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>

#include "memory.h"
#include "settings.h"

namespace host_gpu {

Counts& counts() {
    static Counts* all = new Counts;
    return *all;
}

void Context::fail(const Failure& failure) {
    fprintf(stderr, "host GPU: %s\n", failure.text.c_str());
    std::lock_guard lock(mutex_);
    if (fault) return;
    what_ = failure.text;
    fault = failure.code;
}

std::string Context::what() {
    std::lock_guard lock(mutex_);
    return what_;
}

Library::~Library() {
    if (handle) dlclose(handle);
    if (file >= 0) close(file);
}

Stream::Stream(Context* of) : context(of) {
    thread_ = std::thread([this] { work_off(); });
}

Stream::~Stream() {
    {
        std::lock_guard lock(mutex_);
        stop_ = true;
    }
    changed_.notify_all();
    thread_.join();
}

bool Stream::stopping() {
    std::lock_guard lock(mutex_);
    return stop_;
}

void Stream::add(std::shared_ptr<Work> work) {
    if (capturing) {
        captured.push_back(std::move(work));
        return;
    }
    {
        std::lock_guard lock(mutex_);
        queue_.push_back(std::move(work));
    }
    changed_.notify_all();
}

void Stream::enqueue(std::function<std::string()> work) {
    add(std::make_shared<Work>(Work{Work::Kind::Product, [work = std::move(work)](Stream&) {
        std::string wrong = work();
        return wrong.empty() ? Failure{} : Failure{illegal_address, wrong};
    }}));
}

bool Stream::reaches(const void* address, size_t bytes) { return Memory::get().reaches(address, bytes); }

void Stream::complain(const std::string& text) { fprintf(stderr, "host GPU: %s\n", text.c_str()); }

void Stream::wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return queue_.empty() && !busy_; });
}

bool Stream::idle() {
    std::lock_guard lock(mutex_);
    return queue_.empty() && !busy_;
}

void Stream::work_off() {
    processor = std::make_unique<Processor>();
    const long long delay = number("DELAY_US", 0);
    std::unique_lock lock(mutex_);
    for (;;) {
        changed_.wait(lock, [this] { return stop_ || !queue_.empty(); });
        if (queue_.empty()) break;  // what was queued is done before a stream ends
        std::shared_ptr<Work> work = std::move(queue_.front());
        queue_.pop_front();
        busy_ = true;
        lock.unlock();
        if (delay) usleep(static_cast<useconds_t>(delay));
        // After a fault nothing runs any more.
        if (!context->fault) {
            switch (work->kind) {
                case Work::Kind::Kernel: counts().kernels++; break;
                case Work::Kind::Product: counts().products++; break;
                case Work::Kind::Copy:
                case Work::Kind::Set: counts().copies++; break;
            }
            Failure failure = work->run(*this);
            if (failure.code) context->fail(failure);
        }
        work.reset();
        lock.lock();
        busy_ = false;
        changed_.notify_all();
    }
    processor.reset();
}

}  // namespace host_gpu
