// Stand-in of NVIDIA's management library: who uses how much of which GPU's memory, as the settings pretend (settings.h).
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <string>

#include "settings.h"

using namespace host_gpu;

namespace {

enum Code { success = 0, uninitialized = 1, invalid_argument = 2, not_found = 6, insufficient_size = 7, unknown = 999 };

bool initialized = false;

// Whether the settings have this function fail, and if not, whether the library was initialized: what to answer.
int refusal(const char* function) {
    if (setting("FAIL_NVML", "") == function) return unknown;
    return initialized ? success : uninitialized;
}

struct Memory {
    unsigned version;
    unsigned long long total, reserved, free, used;
};
struct Process {
    unsigned pid;
    unsigned long long bytes;
    unsigned gpu_instance, compute_instance;
};

// A handle is the GPU's number and 1.
int number_of(const void* handle) { return static_cast<int>(reinterpret_cast<long long>(handle)) - 1; }

// The process of a setting such as `4711:python`; false where there is none.
bool process(const std::string& text, unsigned* pid, std::string* name) {
    size_t colon = text.find(':');
    if (colon == std::string::npos) return false;
    *pid = static_cast<unsigned>(strtoul(text.c_str(), nullptr, 10));
    *name = text.substr(colon + 1);
    return true;
}

}  // namespace

#define API extern "C" __attribute__((visibility("default"))) int

API nvmlInit_v2() {
    if (setting("FAIL_NVML", "") == __func__) return unknown;
    initialized = true;
    return success;
}

API nvmlShutdown() {
    initialized = false;
    return success;
}

API nvmlDeviceGetHandleByUUID(const char* uuid, void** handle) {
    if (int code = refusal(__func__)) return code;
    for (long long i = 0; i < number("DEVICES", 1); i++)
        if (uuid_of(static_cast<int>(i)) == uuid) {
            *handle = reinterpret_cast<void*>(i + 1);
            return success;
        }
    return not_found;
}

API nvmlDeviceGetMemoryInfo_v2(void* handle, Memory* memory) {
    if (int code = refusal(__func__)) return code;
    if (memory->version != (sizeof(Memory) | 2u << 24)) return invalid_argument;
    int gpu = number_of(handle);
    memory->total = static_cast<unsigned long long>(number_of_gpu("MEMORY", gpu, 8ll << 30));
    memory->used = static_cast<unsigned long long>(number_of_gpu("BUSY", gpu, 0));
    memory->reserved = 0;
    memory->free = memory->total - memory->used;
    return success;
}

API nvmlDeviceGetComputeRunningProcesses_v3(void* handle, unsigned* count, Process* processes) {
    if (int code = refusal(__func__)) return code;
    int gpu = number_of(handle);
    unsigned pid, room = *count;
    std::string name;
    *count = process(setting_of_gpu("PROCESS", gpu, ""), &pid, &name) ? 1 : 0;
    if (room < *count) return insufficient_size;
    if (*count) processes[0] = {pid, static_cast<unsigned long long>(number_of_gpu("BUSY", gpu, 0)), ~0u, ~0u};
    return success;
}

API nvmlSystemGetProcessName(unsigned pid, char* text, unsigned length) {
    if (int code = refusal(__func__)) return code;
    for (long long i = 0; i < number("DEVICES", 1); i++) {
        unsigned known;
        std::string name;
        if (process(setting_of_gpu("PROCESS", static_cast<int>(i), ""), &known, &name) && known == pid) {
            snprintf(text, length, "/usr/bin/%s", name.c_str());
            return success;
        }
    }
    return not_found;
}
