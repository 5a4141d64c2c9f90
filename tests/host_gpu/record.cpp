#include "record.h"

#include <stdio.h>

#include <fstream>
#include <map>
#include <mutex>
#include <set>
#include <sstream>

#include "memory.h"

namespace host_gpu {

namespace {

constexpr int most_of_a_kernel = 4;

// Whether this launch is one of the few of its kernel that are kept; its number.
bool chosen(const Launch& launch, int& number) {
    static std::mutex mutex;
    static std::set<std::string> seen;
    static std::map<std::string, int> counts;
    std::ostringstream key;
    key << launch.kernel->name << ' ' << launch.grid.x << ' ' << launch.grid.y << ' ' << launch.grid.z;
    for (unsigned i = 0; i < launch.kernel->count; i++) {
        const Argument& argument = launch.kernel->arguments[i];
        if (argument.pointer) key << ' ' << (*static_cast<char**>(launch.arguments[i]) != nullptr);
        else key << ' ' << std::string(static_cast<char*>(launch.arguments[i]), argument.size);
    }
    std::lock_guard lock(mutex);
    if (counts[launch.kernel->name] >= most_of_a_kernel || !seen.insert(key.str()).second) return false;
    number = counts[launch.kernel->name]++;
    return true;
}

void append(std::ostream& out, const std::vector<Allocation>& memories) {
    for (const Allocation& a : memories) out.write(a.start, static_cast<std::streamsize>(a.size));
}

}  // namespace

Failure recorded(const std::string& folder, const Launch& launch, const std::function<Failure()>& run) {
    int number = 0;
    if (!chosen(launch, number)) return run();
    const Index g = launch.grid, b = launch.block;
    std::ostringstream header;
    header << "kernel " << launch.kernel->name << " grid " << g.x << ' ' << g.y << ' ' << g.z << " block " << b.x << ' ' << b.y << ' ' << b.z << " shared " << launch.shared_bytes << '\n';
    std::vector<Allocation> memories;
    std::ostringstream arguments;
    for (unsigned i = 0; i < launch.kernel->count; i++) {
        const Argument& argument = launch.kernel->arguments[i];
        if (!argument.pointer) {
            arguments << "value " << argument.name << ' ';
            char hex[3];
            for (unsigned byte = 0; byte < argument.size; byte++) {
                snprintf(hex, sizeof hex, "%02x", static_cast<unsigned char*>(launch.arguments[i])[byte]);
                arguments << hex;
            }
            arguments << '\n';
            continue;
        }
        char* pointer = *static_cast<char**>(launch.arguments[i]);
        Allocation a;
        long memory = -1;
        if (pointer && Memory::get().find(pointer, &a)) {
            for (size_t j = 0; j < memories.size(); j++)
                if (memories[j].start == a.start) memory = static_cast<long>(j);
            if (memory < 0) {
                memory = static_cast<long>(memories.size());
                memories.push_back(a);
                header << "memory " << a.size << '\n';
            }
        }
        arguments << "pointer " << argument.name << ' ' << argument.kind << ' ' << argument.element << ' ' << memory << ' ' << (memory < 0 ? 0 : pointer - a.start) << '\n';
    }
    std::ofstream out(folder + "/" + launch.kernel->name + "-" + std::to_string(number), std::ios::binary);
    out << header.str() << arguments.str() << "end\n";
    append(out, memories);
    Failure failure = run();
    append(out, memories);
    return failure;
}

}  // namespace host_gpu
