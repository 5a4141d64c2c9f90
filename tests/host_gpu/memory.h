// The device's memory: each allocation ends where memory ends, is filled with 0xFF, and is never used again once it is freed.
#pragma once

#include <stddef.h>

#include <map>
#include <mutex>
#include <string>

namespace host_gpu {

struct Allocation {
    char* start = nullptr;
    size_t size = 0;
    char* pages = nullptr;  // what is mapped, in whole pages
    size_t pages_size = 0;
    // Of pinned memory: its file, and where the host sees it. The device sees the same pages at another address.
    int file = -1;
    char* host = nullptr;
    char* host_pages = nullptr;
    int device = 0;
    bool freed = false;

    bool holds(const void* address, size_t bytes) const {
        auto at = static_cast<const char*>(address);
        return at >= start && at <= start + size && bytes <= static_cast<size_t>(start + size - at);
    }
};

class Memory {
  public:
    static Memory& get();

    // Null where there is no room for it.
    char* allocate(size_t bytes, int device);
    char* allocate_pinned(size_t bytes, int device);
    bool release(char* start);
    bool release_pinned(char* host);

    // The allocation that holds this address (its end counts), or nothing.
    bool find(const void* address, Allocation* found);
    bool find_host(const void* address, size_t bytes, Allocation* found);
    bool reaches(const void* address, size_t bytes);
    // Whether something was written in the few bytes between an array's end and the next multiple of 16.
    bool overrun(const void* address);
    // What lies at an address, in words.
    std::string describe(const void* address);

    size_t used(int device);

  private:
    char* reserve(size_t pages_size);

    std::mutex mutex_;
    std::map<char*, Allocation> by_start_;
    std::map<char*, Allocation> by_host_;
    std::map<int, size_t> used_;
    char *next_ = nullptr, *end_ = nullptr;
};

}  // namespace host_gpu
