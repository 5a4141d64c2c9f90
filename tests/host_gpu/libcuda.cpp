// A stand-in of NVIDIA's driver: its functions, on this machine's processor. Work is done by a thread for each stream.
//
// Stricter than a GPU: memory.h says how memory is guarded, strict.h how kernels are watched, settings.h what can be set.
// Codes and attributes as in `cuda.h` of CUDA 13.

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "memory.h"
#include "record.h"
#include "settings.h"
#include "strict.h"
#include "stream.h"

using namespace host_gpu;

namespace {

enum Code {
    success = 0,
    invalid_value = 1,
    out_of_memory = 2,
    not_initialized = 3,
    no_device = 100,
    invalid_device = 101,
    invalid_image = 200,
    invalid_context = 201,
    no_binary_for_gpu = 209,
    invalid_handle = 400,
    not_found = 500,
    not_ready = 600,
    capture_unsupported = 900,
    capture_invalidated = 901,
    illegal_state = 401,
    stream_capture_unjoined = 904,
};

std::atomic<bool> initialized{false};
thread_local Context* current = nullptr;
thread_local std::map<int, int> retained;  // primary contexts that this thread has taken and not given back, by device
thread_local Stream* capturing_here = nullptr;

// The numbers of the GPUs that CUDA_VISIBLE_DEVICES leaves, in its order: it ends at the first one that is not there, an identity may be
// cut short, and where one stands there twice there is none (CUDA programming guide, "CUDA environment variables").
std::vector<int> visible() {
    std::vector<int> all, left;
    for (int i = 0; i < number("DEVICES", 1); i++) all.push_back(i);
    const char* list = getenv("CUDA_VISIBLE_DEVICES");
    if (!list) return all;
    std::stringstream words(list);
    for (std::string word; std::getline(words, word, ',');) {
        bool is_identity = word.rfind("GPU-", 0) == 0 || word.rfind("MIG-", 0) == 0;
        auto is_meant = [&](int i) { return is_identity ? uuid_of(i).rfind(word, 0) == 0 : word == std::to_string(i); };
        auto found = std::find_if(all.begin(), all.end(), is_meant);
        if (found == all.end()) break;
        if (std::find(left.begin(), left.end(), *found) != left.end()) return {};
        left.push_back(*found);
    }
    return left;
}

struct Settings {
    std::vector<int> devices = visible();
    int first = devices.empty() ? 0 : devices[0];
    long long version = number("DRIVER_VERSION", 13000), hang = number("HANG_LAUNCH", 0);
    bool strict = number("STRICT", 0) != 0;
    std::string record = setting("RECORD", "");
    long long fail_at = 0;
    int fail_code = 0;
    Settings() { sscanf(setting_of_gpu("FAIL_LAUNCH", first, "").c_str(), "%lld:%d", &fail_at, &fail_code); }
};
const Settings& settings() {
    static const Settings* s = new Settings;
    return *s;
}

int entered() {
    if (!initialized) return not_initialized;
    if (!current) return invalid_context;
    return current->fault;
}
// Calls that a capture on this thread does not allow spoil it.
int outside_capture() {
    if (!capturing_here || capturing_here->capture_mode == 2) return success;
    capturing_here->capture_invalid = true;
    return capture_unsupported;
}

// Written when the process ends.
__attribute__((destructor)) void write_counts() {
    std::string path = setting("COUNT", "");
    if (path.empty()) return;
    const Counts& c = counts();
    if (FILE* file = fopen(path.c_str(), "a")) {
        fprintf(file, "{\"kernels\": %lld, \"products\": %lld, \"copies\": %lld, \"graphs\": %lld, \"waits\": %lld, \"allocations\": %lld}\n", c.kernels.load(), c.products.load(), c.copies.load(),
                c.graphs.load(), c.waits.load(), c.allocations.load());
        fclose(file);
    }
}

#define ENTER() \
    if (int code_ = entered()) return code_
#define OUTSIDE_CAPTURE() \
    if (int code_ = outside_capture()) return code_

bool device_exists(int device) { return device >= 0 && device < static_cast<int>(settings().devices.size()); }
// A setting of the GPU that this process sees under this number.
long long number_of(const char* name, int device, long long otherwise) {
    return number_of_gpu(name, settings().devices[static_cast<size_t>(device)], otherwise);
}

void add(Stream* stream, Work::Kind kind, std::function<Failure(Stream&)> run) {
    stream->add(std::make_shared<Work>(Work{kind, std::move(run)}));
}

Failure run_kernel(Stream& stream, const Function& function, std::vector<char>& values, Index grid, Index block, size_t shared) {
    long long nth = counts().kernels;
    std::string name = "kernel `" + std::string(function.kernel->name) + "`";
    if (nth == settings().fail_at) return {settings().fail_code, name + ": was told to fail"};
    if (nth == settings().hang)
        while (!stream.stopping()) usleep(10000);
    std::vector<void*> pointers;
    char* at = values.data();
    for (unsigned i = 0; i < function.kernel->count; i++, at += 16) pointers.push_back(at);
    std::lock_guard lock(function.library->running);
    Launch launch{function.library->module, function.kernel, pointers.data(), grid, block, shared};
    auto run = [&] { return settings().strict ? run_strictly(*stream.processor, launch) : run_once(*stream.processor, launch); };
    return settings().record.empty() ? run() : recorded(settings().record, launch, run);
}

const char* name_of(int code) {
    switch (code) {
        case 0: return "CUDA_SUCCESS";
        case 1: return "CUDA_ERROR_INVALID_VALUE";
        case 2: return "CUDA_ERROR_OUT_OF_MEMORY";
        case 3: return "CUDA_ERROR_NOT_INITIALIZED";
        case 4: return "CUDA_ERROR_DEINITIALIZED";
        case 34: return "CUDA_ERROR_STUB_LIBRARY";
        case 46: return "CUDA_ERROR_DEVICE_UNAVAILABLE";
        case 100: return "CUDA_ERROR_NO_DEVICE";
        case 101: return "CUDA_ERROR_INVALID_DEVICE";
        case 200: return "CUDA_ERROR_INVALID_IMAGE";
        case 201: return "CUDA_ERROR_INVALID_CONTEXT";
        case 209: return "CUDA_ERROR_NO_BINARY_FOR_GPU";
        case 214: return "CUDA_ERROR_ECC_UNCORRECTABLE";
        case 400: return "CUDA_ERROR_INVALID_HANDLE";
        case 401: return "CUDA_ERROR_ILLEGAL_STATE";
        case 500: return "CUDA_ERROR_NOT_FOUND";
        case 600: return "CUDA_ERROR_NOT_READY";
        case 700: return "CUDA_ERROR_ILLEGAL_ADDRESS";
        case 701: return "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES";
        case 702: return "CUDA_ERROR_LAUNCH_TIMEOUT";
        case 719: return "CUDA_ERROR_LAUNCH_FAILED";
        case 802: return "CUDA_ERROR_SYSTEM_NOT_READY";
        case 803: return "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH";
        case 900: return "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED";
        case 901: return "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED";
        case 904: return "CUDA_ERROR_STREAM_CAPTURE_UNJOINED";
        case 999: return "CUDA_ERROR_UNKNOWN";
        default: return nullptr;
    }
}

}  // namespace

#define API extern "C" __attribute__((visibility("default"))) int

API cuInit(unsigned flags) {
    if (flags) return invalid_value;
    if (long long code = number("FAIL_INIT", 0)) return static_cast<int>(code);
    if (settings().devices.empty()) return no_device;
    initialized = true;
    return success;
}

API cuDriverGetVersion(int* version) {
    *version = static_cast<int>(settings().version);
    return success;
}

API cuGetErrorName(int code, const char** text) {
    *text = name_of(code);
    return *text ? success : invalid_value;
}

// For faults the text says what happened: a test that fails shows it.
API cuGetErrorString(int code, const char** text) {
    static thread_local std::string kept;
    const char* name = name_of(code);
    if (!name) return *text = nullptr, invalid_value;
    kept = name;
    if (current && current->fault == code) kept += ", " + current->what();
    *text = kept.c_str();
    return success;
}

API cuDeviceGetCount(int* count) {
    if (!initialized) return not_initialized;
    *count = static_cast<int>(settings().devices.size());
    return success;
}

API cuDeviceGet(int* device, int ordinal) {
    if (!initialized) return not_initialized;
    if (!device_exists(ordinal)) return invalid_device;
    *device = ordinal;
    return success;
}

API cuDeviceGetName(char* name, int length, int device) {
    if (!device_exists(device)) return invalid_device;
    snprintf(name, static_cast<size_t>(length), "%s", setting_of_gpu("NAME", settings().devices[static_cast<size_t>(device)], "Processor as a GPU").c_str());
    return success;
}

API cuDeviceGetUuid_v2(char* uuid, int device) {
    if (!device_exists(device)) return invalid_device;
    for (int i = 0; i < 16; i++) uuid[i] = static_cast<char>(16 * settings().devices[static_cast<size_t>(device)] + i);
    return success;
}

API cuDeviceTotalMem_v2(size_t* bytes, int device) {
    if (!device_exists(device)) return invalid_device;
    *bytes = static_cast<size_t>(number_of("MEMORY", device, 8ll << 30));
    return success;
}

API cuDeviceGetAttribute(int* value, int attribute, int device) {
    if (!device_exists(device)) return invalid_device;
    switch (attribute) {
        case 1: *value = 1024; break;            // MAX_THREADS_PER_BLOCK
        case 8: *value = 48 * 1024; break;       // MAX_SHARED_MEMORY_PER_BLOCK
        case 10: *value = 32; break;             // WARP_SIZE
        case 16: *value = 8; break;              // MULTIPROCESSOR_COUNT
        case 19: *value = 1; break;              // CAN_MAP_HOST_MEMORY
        case 39: *value = 2048; break;           // MAX_THREADS_PER_MULTIPROCESSOR
        case 41: *value = 1; break;              // UNIFIED_ADDRESSING
        case 75: *value = static_cast<int>(number_of("CAPABILITY", device, 90) / 10); break;
        case 76: *value = static_cast<int>(number_of("CAPABILITY", device, 90) % 10); break;
        case 81: *value = 228 * 1024; break;     // MAX_SHARED_MEMORY_PER_MULTIPROCESSOR
        case 97: *value = 227 * 1024; break;     // MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
        default: return invalid_value;
    }
    return success;
}

API cuDevicePrimaryCtxSetFlags_v2(int device, unsigned) { return device_exists(device) ? success : invalid_device; }

API cuDevicePrimaryCtxRetain(void** context, int device) {
    if (!initialized) return not_initialized;
    if (!device_exists(device)) return invalid_device;
    *context = new Context{device};  // kept until the process ends: other threads may still ask it for its fault
    retained[device] += 1;
    return success;
}

API cuDevicePrimaryCtxRelease_v2(int device) {
    if (!device_exists(device)) return invalid_device;
    // The primary context is one for all who retain it, and lives until the last of them releases it.
    retained[device] -= 1;
    if (retained[device] == 0 && current && current->device == device) current = nullptr;
    return success;
}

API cuCtxSetCurrent(void* context) {
    if (!initialized) return not_initialized;
    current = static_cast<Context*>(context);
    return success;
}

API cuCtxGetCurrent(void** context) {
    *context = current;
    return success;
}

API cuMemGetInfo_v2(size_t* free, size_t* total) {
    ENTER();
    long long memory = number_of("MEMORY", current->device, 8ll << 30);
    long long left = memory - number_of("BUSY", current->device, 0) - static_cast<long long>(Memory::get().used(current->device));
    *free = left > 0 ? static_cast<size_t>(left) : 0;
    *total = static_cast<size_t>(memory);
    return success;
}

API cuMemAlloc_v2(void** address, size_t bytes) {
    ENTER();
    OUTSIDE_CAPTURE();
    if (!bytes) return invalid_value;
    size_t free, total;
    cuMemGetInfo_v2(&free, &total);
    if (bytes > free) return out_of_memory;
    counts().allocations++;
    *address = Memory::get().allocate(bytes, current->device);
    return *address ? success : out_of_memory;
}

API cuMemFree_v2(void* address) {
    if (!initialized) return not_initialized;
    OUTSIDE_CAPTURE();
    return Memory::get().release(static_cast<char*>(address)) ? success : invalid_value;
}

API cuMemHostAlloc(void** host, size_t bytes, unsigned) {
    ENTER();
    OUTSIDE_CAPTURE();
    if (!bytes) return invalid_value;
    counts().allocations++;
    *host = Memory::get().allocate_pinned(bytes, current->device);
    return *host ? success : out_of_memory;
}

API cuMemHostGetDevicePointer_v2(void** address, void* host, unsigned) {
    ENTER();
    Allocation a;
    if (!Memory::get().find_host(host, 0, &a)) return invalid_value;
    *address = a.start + (static_cast<char*>(host) - a.host);
    return success;
}

API cuMemFreeHost(void* host) {
    if (!initialized) return not_initialized;
    OUTSIDE_CAPTURE();
    return Memory::get().release_pinned(static_cast<char*>(host)) ? success : invalid_value;
}

API cuMemcpyHtoDAsync_v2(char* to, const char* from, size_t bytes, void* handle) {
    ENTER();
    auto* stream = static_cast<Stream*>(static_cast<Queue*>(handle));
    if (!stream) return invalid_handle;
    if (!stream->reaches(to, bytes)) return invalid_value;
    Allocation pinned;
    if (Memory::get().find_host(from, bytes, &pinned)) {
        add(stream, Work::Kind::Copy, [=](Stream&) { return memcpy(to, from, bytes), Failure{}; });
        return success;
    }
    // Other memory is read before the call returns.
    if (stream->capturing) return stream->capture_invalid = true, capture_unsupported;
    auto copy = std::make_shared<std::vector<char>>(from, from + bytes);
    add(stream, Work::Kind::Copy, [=](Stream&) { return memcpy(to, copy->data(), bytes), Failure{}; });
    return success;
}

API cuMemcpyDtoHAsync_v2(char* to, const char* from, size_t bytes, void* handle) {
    ENTER();
    auto* stream = static_cast<Stream*>(static_cast<Queue*>(handle));
    if (!stream) return invalid_handle;
    if (!stream->reaches(from, bytes)) return invalid_value;
    Allocation pinned;
    bool waits = !Memory::get().find_host(to, bytes, &pinned);
    if (waits && stream->capturing) return stream->capture_invalid = true, capture_unsupported;
    add(stream, Work::Kind::Copy, [=](Stream&) { return memcpy(to, from, bytes), Failure{}; });
    if (waits) stream->wait();
    return current->fault;
}

API cuMemsetD8Async(char* to, unsigned char value, size_t bytes, void* handle) {
    ENTER();
    auto* stream = static_cast<Stream*>(static_cast<Queue*>(handle));
    if (!stream) return invalid_handle;
    if (!stream->reaches(to, bytes)) return invalid_value;
    add(stream, Work::Kind::Set, [=](Stream&) { return memset(to, value, bytes), Failure{}; });
    return success;
}

API cuStreamCreate(void** handle, unsigned) {
    ENTER();
    *handle = static_cast<Queue*>(new Stream(current));
    return success;
}

API cuStreamDestroy_v2(void* handle) {
    if (!handle) return invalid_handle;
    delete static_cast<Stream*>(static_cast<Queue*>(handle));
    return success;
}

API cuStreamSynchronize(void* handle) {
    ENTER();
    auto* stream = static_cast<Stream*>(static_cast<Queue*>(handle));
    if (!stream) return invalid_handle;
    if (stream->capturing) return stream->capture_invalid = true, capture_unsupported;
    counts().waits++;
    stream->wait();
    return stream->context->fault;
}

API cuStreamQuery(void* handle) {
    ENTER();
    auto* stream = static_cast<Stream*>(static_cast<Queue*>(handle));
    if (!stream) return invalid_handle;
    if (stream->capturing) return stream->capture_invalid = true, capture_unsupported;
    bool idle = stream->idle();
    if (int fault = stream->context->fault) return fault;
    return idle ? success : not_ready;
}

API cuStreamBeginCapture_v2(void* handle, int mode) {
    ENTER();
    auto* stream = static_cast<Stream*>(static_cast<Queue*>(handle));
    if (!stream) return invalid_handle;
    if (stream->capturing) return illegal_state;
    stream->captured.clear();
    stream->capture_invalid = false;
    stream->capture_mode = mode;
    stream->capturing = true;
    capturing_here = stream;
    return success;
}

API cuStreamEndCapture(void* handle, void** graph) {
    ENTER();
    auto* stream = static_cast<Stream*>(static_cast<Queue*>(handle));
    if (!stream || !stream->capturing) return illegal_state;
    stream->capturing = false;
    capturing_here = nullptr;
    *graph = nullptr;
    if (stream->capture_invalid) return capture_invalidated;
    *graph = new Graph(std::move(stream->captured));
    stream->captured.clear();
    return success;
}

API cuGraphInstantiateWithFlags(void** executable, void* graph, unsigned long long) {
    ENTER();
    *executable = new Graph(*static_cast<Graph*>(graph));
    return success;
}

API cuGraphGetNodes(void* graph, void** nodes, size_t* count) {
    ENTER();
    const Graph& all = *static_cast<Graph*>(graph);
    for (size_t i = 0; nodes && i < *count && i < all.size(); i++) nodes[i] = all[i].get();
    *count = all.size();
    return success;
}

API cuGraphUpload(void*, void*) {
    ENTER();
    return success;
}

API cuGraphLaunch(void* executable, void* handle) {
    ENTER();
    auto* stream = static_cast<Stream*>(static_cast<Queue*>(handle));
    if (!stream) return invalid_handle;
    counts().graphs++;
    for (const auto& work : *static_cast<Graph*>(executable)) stream->add(work);
    return success;
}

API cuGraphDestroy(void* graph) {
    delete static_cast<Graph*>(graph);
    return success;
}

API cuGraphExecDestroy(void* executable) {
    delete static_cast<Graph*>(executable);
    return success;
}

namespace {

struct LoadedModule {
    std::shared_ptr<Library> library;
    std::vector<std::unique_ptr<Function>> functions;
};

}  // namespace

API cuModuleLoadData(void** module, const void* image) {
    ENTER();
    OUTSIDE_CAPTURE();
    ImageHeader header;
    memcpy(&header, image, sizeof header);
    if (memcmp(header.magic, image_magic, sizeof image_magic) || header.build != HOST_GPU_BUILD) return invalid_image;
    long long capability = number_of("CAPABILITY", current->device, 90);
    if ((!header.assembly && header.architecture / 10 != capability / 10) || header.architecture > capability) return no_binary_for_gpu;
    auto library = std::make_shared<Library>();
    library->file = memfd_create("kernels", MFD_CLOEXEC);
    const char* bytes = static_cast<const char*>(image) + sizeof header;
    for (size_t done = 0; done < header.size;) {
        ssize_t n = write(library->file, bytes + done, header.size - done);
        if (n <= 0) return out_of_memory;
        done += static_cast<size_t>(n);
    }
    // The file stays open: its number, by which libraries are told apart, is not given to another one meanwhile.
    library->handle = dlopen(("/proc/self/fd/" + std::to_string(library->file)).c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library->handle) {
        fprintf(stderr, "host GPU: %s\n", dlerror());
        return invalid_image;
    }
    library->module = static_cast<const Module*>(dlsym(library->handle, "host_gpu_module"));
    if (!library->module) return invalid_image;
    *module = new LoadedModule{library, {}};
    return success;
}

API cuModuleUnload(void* module) {
    delete static_cast<LoadedModule*>(module);
    return success;
}

API cuModuleGetFunction(void** function, void* handle, const char* name) {
    ENTER();
    auto* module = static_cast<LoadedModule*>(handle);
    const Module& table = *module->library->module;
    for (unsigned i = 0; i < table.count; i++) {
        if (strcmp(table.kernels[i].name, name)) continue;
        module->functions.push_back(std::make_unique<Function>(Function{module->library, &table.kernels[i], 48 * 1024}));
        *function = module->functions.back().get();
        return success;
    }
    return not_found;
}

API cuFuncGetAttribute(int* value, int attribute, void* handle) {
    ENTER();
    auto* function = static_cast<Function*>(handle);
    switch (attribute) {
        case 0: *value = function->kernel->most_threads ? static_cast<int>(function->kernel->most_threads) : 1024; break;
        case 3: *value = 0; break;   // LOCAL_SIZE_BYTES
        case 4: *value = 32; break;  // NUM_REGS
        case 8: *value = function->dynamic_shared_limit; break;
        default: return invalid_value;
    }
    return success;
}

API cuFuncSetAttribute(void* handle, int attribute, int value) {
    ENTER();
    if (attribute == 8) {  // MAX_DYNAMIC_SHARED_SIZE_BYTES
        if (value < 0 || value > 227 * 1024) return invalid_value;
        static_cast<Function*>(handle)->dynamic_shared_limit = value;
    }
    return success;
}

API cuLaunchKernel(void* handle, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, void* stream_handle, void** arguments, void** extra) {
    ENTER();
    auto* function = static_cast<Function*>(handle);
    auto* stream = static_cast<Stream*>(static_cast<Queue*>(stream_handle));
    if (!function || !stream) return invalid_handle;
    const Kernel& kernel = *function->kernel;
    unsigned long long threads = 1ull * bx * by * bz;
    if (extra || !gx || !gy || !gz || !threads || gx > 0x7fffffffu || gy > 65535 || gz > 65535 || threads > 1024 || bz > 64) return invalid_value;
    if (shared > static_cast<unsigned>(function->dynamic_shared_limit)) return invalid_value;
    if (kernel.most_threads && threads > kernel.most_threads) return 701;
    if (kernel.count && !arguments) return invalid_value;
    // Each argument in a place of 16 bytes.
    std::vector<char> values(16 * kernel.count);
    for (unsigned i = 0; i < kernel.count; i++) memcpy(&values[16 * i], arguments[i], kernel.arguments[i].size);
    add(stream, Work::Kind::Kernel, [f = *function, values, gx, gy, gz, bx, by, bz, shared](Stream& s) mutable {
        return run_kernel(s, f, values, {gx, gy, gz}, {bx, by, bz}, shared);
    });
    return success;
}
