#include "memory.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

namespace host_gpu {

namespace {

constexpr size_t page = 4096;
// Between two allocations: an index that is wrong by a whole dimension does not find another array.
constexpr size_t gap = 64ull << 20, address_space = 2ull << 40;
constexpr size_t alignment = 16;
constexpr unsigned char poison = 0xff;

size_t up(size_t value, size_t to) { return (value + to - 1) / to * to; }

}  // namespace

Memory& Memory::get() {
    static Memory* memory = new Memory;  // kernels may still run when the process ends
    return *memory;
}

char* Memory::reserve(size_t pages_size) {
    if (!next_) {
        void* space = mmap(nullptr, address_space, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (space == MAP_FAILED) return nullptr;
        madvise(space, address_space, MADV_DONTDUMP);  // or a core dump would look at all of it
        next_ = static_cast<char*>(space);
        end_ = next_ + address_space;
    }
    size_t takes = gap + up(pages_size, page);
    if (takes > static_cast<size_t>(end_ - next_)) return nullptr;
    char* pages = next_ + gap;
    next_ += takes;
    return pages;
}

char* Memory::allocate(size_t bytes, int device) {
    std::lock_guard lock(mutex_);
    Allocation a;
    a.pages_size = up(bytes, page);
    a.pages = reserve(a.pages_size);
    if (!a.pages || mprotect(a.pages, a.pages_size, PROT_READ | PROT_WRITE)) return nullptr;
    memset(a.pages, poison, a.pages_size);
    a.size = bytes;
    a.start = a.pages + a.pages_size - up(bytes, alignment);
    a.device = device;
    used_[device] += bytes;
    by_start_[a.start] = a;
    return a.start;
}

char* Memory::allocate_pinned(size_t bytes, int device) {
    std::lock_guard lock(mutex_);
    Allocation a;
    a.pages_size = up(bytes, page);
    a.pages = reserve(a.pages_size);
    a.file = memfd_create("pinned", MFD_CLOEXEC);
    if (!a.pages || a.file < 0 || ftruncate(a.file, static_cast<off_t>(a.pages_size))) return nullptr;
    void* device_side = mmap(a.pages, a.pages_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, a.file, 0);
    // The page behind is never given back to anybody else.
    a.host_pages = static_cast<char*>(mmap(nullptr, a.pages_size + page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    void* host_side = mmap(a.host_pages, a.pages_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, a.file, 0);
    if (device_side == MAP_FAILED || host_side == MAP_FAILED) return nullptr;
    memset(a.pages, poison, a.pages_size);
    a.size = bytes;
    size_t offset = a.pages_size - up(bytes, alignment);
    a.start = a.pages + offset;
    a.host = a.host_pages + offset;
    a.device = device;
    by_start_[a.start] = a;
    by_host_[a.host] = a;
    return a.host;
}

bool Memory::release(char* start) {
    std::lock_guard lock(mutex_);
    auto it = by_start_.find(start);
    if (it == by_start_.end() || it->second.freed || it->second.host) return false;
    Allocation& a = it->second;
    a.freed = true;
    used_[a.device] -= a.size;
    mmap(a.pages, a.pages_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    return true;
}

bool Memory::release_pinned(char* host) {
    std::lock_guard lock(mutex_);
    auto it = by_host_.find(host);
    if (it == by_host_.end()) return false;
    Allocation& a = by_start_[it->second.start];
    a.freed = true;
    mmap(a.pages, a.pages_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    mmap(a.host_pages, a.pages_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    close(a.file);
    by_host_.erase(it);
    return true;
}

bool Memory::find(const void* address, Allocation* found) {
    std::lock_guard lock(mutex_);
    auto it = by_start_.upper_bound(static_cast<char*>(const_cast<void*>(address)));
    if (it == by_start_.begin()) return false;
    --it;
    if (!it->second.holds(address, 0)) return false;
    *found = it->second;
    return true;
}

bool Memory::find_host(const void* address, size_t bytes, Allocation* found) {
    std::lock_guard lock(mutex_);
    auto at = static_cast<char*>(const_cast<void*>(address));
    auto it = by_host_.upper_bound(at);
    if (it == by_host_.begin()) return false;
    --it;
    const Allocation& a = it->second;
    if (at + bytes > a.host + a.size) return false;
    *found = a;
    return true;
}

bool Memory::reaches(const void* address, size_t bytes) {
    Allocation a;
    return find(address, &a) && !a.freed && a.holds(address, bytes);
}

bool Memory::overrun(const void* address) {
    Allocation a;
    if (!find(address, &a) || a.freed) return false;
    for (char* at = a.start + a.size; at < a.pages + a.pages_size; at++)
        if (static_cast<unsigned char>(*at) != poison) return true;
    return false;
}

std::string Memory::describe(const void* address) {
    auto at = static_cast<char*>(const_cast<void*>(address));
    std::lock_guard lock(mutex_);
    auto it = by_start_.upper_bound(at);
    const Allocation* best = nullptr;
    size_t distance = gap / 2;
    for (int i = 0; i < 2; i++) {
        if (it != by_start_.end()) {
            const Allocation& a = it->second;
            size_t d = at < a.start ? static_cast<size_t>(a.start - at) : at < a.start + a.size ? 0 : static_cast<size_t>(at - (a.start + a.size));
            if (d < distance) best = &a, distance = d;
        }
        if (it == by_start_.begin()) break;
        --it;
    }
    if (!best) return "no allocation lies near it";
    std::string which = "an allocation of " + std::to_string(best->size) + " bytes" + (best->freed ? " that was freed" : "");
    if (at < best->start) return std::to_string(best->start - at) + " bytes before " + which;
    if (at < best->start + best->size) return "byte " + std::to_string(at - best->start) + " of " + which;
    return std::to_string(at - (best->start + best->size)) + " bytes after " + which;
}

size_t Memory::used(int device) {
    std::lock_guard lock(mutex_);
    return used_[device];
}

}  // namespace host_gpu
