#include "strict.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <memory>
#include <unordered_map>

#include "memory.h"

namespace host_gpu {

namespace {

constexpr size_t page = 4096;

// A page that some run has written: what was there, and what each run made of it.
struct Page {
    char original[page], alone[page], reversed[page];
    unsigned owner[page] = {};  // block + 1 that wrote the byte in the run of blocks alone
};

enum class Pass { Alone, Reversed, InOrder };

class Tracker : public Watcher {
  public:
    explicit Tracker(const Launch& launch);
    ~Tracker() override;

    void begin(Pass pass);
    void end();
    bool write_fault(char* address) override;
    bool block_ended(unsigned long long block) override;
    // The first element that two runs disagree on, in words; empty: none.
    std::string difference();
    const std::string& conflict() const { return conflict_; }

  private:
    struct Pinned {
        Allocation memory;
        std::vector<char> original, reversed;
    };

    void restore(char* at, const Page& p) {
        memcpy(at, p.original, page);
        mprotect(at, page, PROT_READ);
    }
    std::string element(const char* address) const;
    std::string values(const char* address, const char* one, const char* other) const;
    const Argument* argument_at(const char* address, const char** start) const;

    const Launch& launch_;
    std::vector<Allocation> device_;
    std::vector<Pinned> pinned_;
    std::unordered_map<char*, std::unique_ptr<Page>> pages_;
    std::vector<char*> dirty_;
    Pass pass_ = Pass::Alone;
    std::string conflict_;
};

Tracker::Tracker(const Launch& launch) : launch_(launch) {
    for (unsigned i = 0; i < launch.kernel->count; i++) {
        if (!launch.kernel->arguments[i].pointer) continue;
        Allocation a;
        if (!Memory::get().find(*static_cast<char**>(launch.arguments[i]), &a)) continue;
        bool known = false;
        for (const Allocation& other : device_) known |= other.start == a.start;
        for (const Pinned& other : pinned_) known |= other.memory.start == a.start;
        if (known) continue;
        if (a.host) pinned_.push_back({a, std::vector<char>(a.pages, a.pages + a.pages_size), {}});
        else device_.push_back(a);
    }
}

Tracker::~Tracker() {
    for (const Allocation& a : device_) mprotect(a.pages, a.pages_size, PROT_READ | PROT_WRITE);
    for (const Pinned& p : pinned_)
        mmap(p.memory.pages, p.memory.pages_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, p.memory.file, 0);
}

void Tracker::begin(Pass pass) {
    pass_ = pass;
    dirty_.clear();
    if (pass == Pass::Alone)
        for (const Allocation& a : device_) mprotect(a.pages, a.pages_size, PROT_READ);
    for (Pinned& p : pinned_) {
        const Allocation& a = p.memory;
        int kind = pass == Pass::InOrder ? MAP_SHARED : MAP_PRIVATE;
        mmap(a.pages, a.pages_size, PROT_READ | PROT_WRITE, kind | MAP_FIXED, a.file, 0);
        if (pass != Pass::InOrder) memcpy(a.pages, p.original.data(), a.pages_size);
    }
}

void Tracker::end() {
    if (pass_ == Pass::Reversed) {
        for (char* at : dirty_) {
            Page& p = *pages_[at];
            memcpy(p.reversed, at, page);
            restore(at, p);
        }
        for (Pinned& p : pinned_) p.reversed.assign(p.memory.pages, p.memory.pages + p.memory.pages_size);
    }
}

bool Tracker::write_fault(char* address) {
    char* at = address - reinterpret_cast<uintptr_t>(address) % page;
    bool ours = false;
    for (const Allocation& a : device_) ours |= at >= a.pages && at < a.pages + a.pages_size;
    if (!ours) return false;
    auto& p = pages_[at];
    // A page that can be written already does not fault: this one is met for the first time in this run.
    if (!p) {
        p = std::make_unique<Page>();
        memcpy(p->original, at, page);
        memcpy(p->alone, at, page);
        memcpy(p->reversed, at, page);
    }
    dirty_.push_back(at);
    return mprotect(at, page, PROT_READ | PROT_WRITE) == 0;
}

bool Tracker::block_ended(unsigned long long block) {
    if (pass_ != Pass::Alone) return true;
    unsigned mark = static_cast<unsigned>(block) + 1;
    for (char* at : dirty_) {
        Page& p = *pages_[at];
        for (size_t word = 0; word < page; word += 8) {
            if (memcmp(at + word, p.original + word, 8) == 0) continue;
            for (size_t i = word; i < word + 8; i++) {
                if (at[i] == p.original[i]) continue;
                if (p.owner[i] && p.owner[i] != mark && conflict_.empty())
                    conflict_ = "blocks " + std::to_string(p.owner[i] - 1) + " and " + std::to_string(block) + " (counted along x, y, z) both write " + element(at + i);
                p.owner[i] = mark;
                p.alone[i] = at[i];
            }
        }
        restore(at, p);
    }
    dirty_.clear();
    return conflict_.empty();
}

const Argument* Tracker::argument_at(const char* address, const char** start) const {
    const Argument* best = nullptr;
    for (unsigned i = 0; i < launch_.kernel->count; i++) {
        const Argument& argument = launch_.kernel->arguments[i];
        if (!argument.pointer) continue;
        const char* pointer = *static_cast<char**>(launch_.arguments[i]);
        Allocation a;
        if (pointer > address || !Memory::get().find(pointer, &a) || !a.holds(address, 0)) continue;
        if (best && pointer < *start) continue;
        best = &argument;
        *start = pointer;
    }
    return best;
}

std::string Tracker::element(const char* address) const {
    const char* start = nullptr;
    const Argument* argument = argument_at(address, &start);
    if (!argument) return Memory::get().describe(address);
    unsigned size = argument->element ? argument->element : 1;
    return "`" + std::string(argument->name) + "[" + std::to_string((address - start) / size) + "]`";
}

std::string Tracker::values(const char* address, const char* one, const char* other) const {
    const char* start = nullptr;
    const Argument* argument = argument_at(address, &start);
    char text[96] = "";
    if (argument && argument->kind == 'f') {
        auto back = (address - start) % 4;
        float a, b;
        memcpy(&a, one - back, 4);
        memcpy(&b, other - back, 4);
        snprintf(text, sizeof text, ": %.9g and %.9g", a, b);
    } else {
        snprintf(text, sizeof text, ": byte 0x%02x and 0x%02x", static_cast<unsigned char>(*one), static_cast<unsigned char>(*other));
    }
    return text;
}

std::string Tracker::difference() {
    char* first = nullptr;
    std::string what;
    for (auto& [at, p] : pages_) {
        if (first && at > first) continue;
        for (const char* run : {p->reversed, p->alone}) {
            if (memcmp(at, run, page) == 0) continue;
            size_t i = 0;
            while (at[i] == run[i]) i++;
            if (first && at + i >= first) continue;
            first = at + i;
            what = element(first) + (run == p->reversed ? " differs when blocks and threads run in the reverse order" : " differs when each block sees the memory as it was before the kernel")
                   + values(first, first, run + i);
        }
    }
    for (const Pinned& p : pinned_) {
        for (size_t i = 0; i < p.original.size() && what.empty(); i++) {
            const char* now = p.memory.pages + i;
            if (p.reversed[i] != p.original[i] && p.reversed[i] != *now)
                what = element(now) + " differs when blocks and threads run in the reverse order" + values(now, now, &p.reversed[i]);
        }
    }
    return what;
}

// Arguments that point nowhere, in words; empty: none.
std::string wild_argument(const Launch& launch) {
    for (unsigned i = 0; i < launch.kernel->count; i++) {
        const Argument& argument = launch.kernel->arguments[i];
        if (!argument.pointer) continue;
        char* pointer = *static_cast<char**>(launch.arguments[i]);
        Allocation a;
        if (pointer && (!Memory::get().find(pointer, &a) || a.freed))
            return "argument " + std::to_string(i) + " (`" + argument.name + "`) is no memory of the device: " + Memory::get().describe(pointer);
    }
    return "";
}

// An argument behind whose array something was written, in words; empty: none.
std::string overrun(const Launch& launch) {
    for (unsigned i = 0; i < launch.kernel->count; i++) {
        const Argument& argument = launch.kernel->arguments[i];
        if (argument.pointer && Memory::get().overrun(*static_cast<char**>(launch.arguments[i]))) return "writes behind the end of `" + std::string(argument.name) + "`";
    }
    return "";
}

Failure named(const Launch& launch, Failure failure) {
    if (failure.code == 0) return failure;
    size_t at = failure.text.find("address 0x");
    if (at != std::string::npos) {
        void* address = nullptr;
        sscanf(failure.text.c_str() + at, "address %p", &address);
        failure.text += ", " + Memory::get().describe(address);
    }
    failure.text = "kernel `" + std::string(launch.kernel->name) + "`: " + failure.text;
    return failure;
}

}  // namespace

Failure run_once(Processor& processor, const Launch& launch) {
    std::string wild = wild_argument(launch);
    if (!wild.empty()) return named(launch, {illegal_address, wild});
    Failure failure = processor.run(launch, false, nullptr);
    if (!failure.code) failure.text = overrun(launch);
    if (!failure.text.empty() && !failure.code) failure.code = illegal_address;
    return named(launch, failure);
}

Failure run_strictly(Processor& processor, const Launch& launch) {
    std::string wild = wild_argument(launch);
    if (!wild.empty()) return named(launch, {illegal_address, wild});
    Tracker tracker(launch);
    for (Pass pass : {Pass::Alone, Pass::Reversed, Pass::InOrder}) {
        tracker.begin(pass);
        Failure failure = processor.run(launch, pass == Pass::Reversed, &tracker);
        if (failure.code) return named(launch, failure);
        if (!tracker.conflict().empty()) return named(launch, {launch_failed, tracker.conflict()});
        tracker.end();
    }
    std::string behind = overrun(launch);
    if (!behind.empty()) return named(launch, {illegal_address, behind});
    std::string difference = tracker.difference();
    return difference.empty() ? Failure{} : named(launch, {launch_failed, difference});
}

}  // namespace host_gpu
