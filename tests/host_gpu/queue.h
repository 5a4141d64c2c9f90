// What a stream of the stand-in of the driver shows to the stand-in of cublasLt: a CUstream points to a `Queue`.
#pragma once

#include <stddef.h>

#include <functional>
#include <string>

namespace host_gpu {

struct Queue {
    // Does this after all that was queued before, or records it while the stream captures. `work` returns what went wrong.
    virtual void enqueue(std::function<std::string()> work) = 0;
    // Whether so many bytes of device memory lie there.
    virtual bool reaches(const void* address, size_t bytes) = 0;
    // Writes a line of what was found to be wrong.
    virtual void complain(const std::string& text) = 0;

  protected:
    ~Queue() = default;
};

}  // namespace host_gpu
