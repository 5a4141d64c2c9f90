// A stand-in of NVRTC: compiles CUDA C for this machine's processor with the C++ compiler `c++` (or $CXX).
//
// A "cubin" is a shared library behind a header (module.h). What was compiled once is kept in the folder `compiled` beside
// this library. Products and sums are not contracted to fused ones, which an x86-64 of any age repeats to the bit; NVRTC
// contracts them. Headers of the system, which NVRTC has not, are not refused. Codes as in `nvrtc.h` of CUDA 13.

#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "module.h"
#include "settings.h"

extern char** environ;

namespace {

enum Code { success = 0, out_of_memory = 1, invalid_input = 3, invalid_program = 4, invalid_option = 5, compilation = 6 };

constexpr int architectures[] = {75, 80, 86, 87, 88, 89, 90, 100, 103, 110, 120, 121};

struct Program {
    std::string source, name, log, image;
};

std::string contents(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::stringstream all;
    all << file.rdbuf();
    return all.str();
}

void write_file(const std::string& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

// Runs a program; both its outputs go to a file. Its exit status, or -1.
int run(const std::vector<std::string>& words, const std::string& output) {
    std::vector<char*> arguments;
    for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 1, output.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_adddup2(&files, 1, 2);
    pid_t child;
    int failed = posix_spawnp(&child, arguments[0], &files, nullptr, arguments.data(), environ);
    posix_spawn_file_actions_destroy(&files);
    int status = 0;
    if (failed || waitpid(child, &status, 0) < 0 || !WIFEXITED(status)) return -1;
    return WEXITSTATUS(status);
}

bool is_word(char c) { return isalnum(static_cast<unsigned char>(c)) || c == '_'; }

// Reads the preprocessed source from some place on; line markers are white space.
struct Reader {
    const std::string& text;
    size_t at;

    void skip() {
        while (at < text.size()) {
            if (text[at] == '#' && (at == 0 || text[at - 1] == '\n')) at = text.find('\n', at);
            else if (isspace(static_cast<unsigned char>(text[at]))) at++;
            else return;
        }
    }
    std::string word() {
        skip();
        size_t begin = at;
        while (at < text.size() && is_word(text[at])) at++;
        return text.substr(begin, at - begin);
    }
    // What stands in the parentheses that begin here.
    std::string parentheses() {
        skip();
        std::string inside;
        int depth = 0;
        for (; at < text.size(); at++) {
            skip();
            char c = text[at];
            if (c == '(' && depth++ == 0) continue;
            if (c == ')' && --depth == 0) return at++, inside;
            inside += c;
            if (at + 1 < text.size() && isspace(static_cast<unsigned char>(text[at + 1]))) inside += ' ';
        }
        return inside;
    }
};

std::string trimmed(const std::string& text) {
    size_t begin = text.find_first_not_of(' '), end = text.find_last_not_of(' ');
    return begin == std::string::npos ? "" : text.substr(begin, end - begin + 1);
}

struct FoundKernel {
    std::string name, bounds = "0";
    std::vector<std::pair<std::string, std::string>> arguments;  // type and name
};

// The kernels that have C names. Others cannot be asked for by name.
std::vector<FoundKernel> kernels_in(const std::string& text) {
    const std::string mark = "__global__", c_names = "extern \"C\"";
    std::vector<FoundKernel> found;
    for (size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at + 1)) {
        size_t before = text.find_last_not_of(" \n", at ? at - 1 : 0);
        if (before == std::string::npos || before + 1 < c_names.size() || text.compare(before + 1 - c_names.size(), c_names.size(), c_names)) continue;
        Reader reader{text, at + mark.size()};
        FoundKernel kernel;
        for (;;) {
            kernel.name = reader.word();
            if (kernel.name == "__launch_bounds__") {
                std::string bounds = reader.parentheses();
                kernel.bounds = bounds.substr(0, bounds.find(','));
            } else if (kernel.name != "void") {
                break;
            }
        }
        std::stringstream arguments(reader.parentheses());
        reader.skip();
        if (reader.at >= text.size() || text[reader.at] != '{') continue;  // a declaration
        for (std::string argument; std::getline(arguments, argument, ',');) {
            argument = trimmed(argument);
            size_t name = argument.size();
            while (name && is_word(argument[name - 1])) name--;
            kernel.arguments.emplace_back(trimmed(argument.substr(0, name)), argument.substr(name));
        }
        found.push_back(kernel);
    }
    return found;
}

// The table by which the stand-in of the driver finds the kernels.
std::string table_of(const std::vector<FoundKernel>& kernels) {
    std::ostringstream out;
    out << "\n# 1 \"table of kernels\"\n"
           "extern \"C\" { extern char __bss_start[] __attribute__((visibility(\"hidden\"))); extern char _end[] __attribute__((visibility(\"hidden\")));\n"
           // Not between those two, where shared memory lies.
           "__attribute__((section(\".data.host_gpu_state\"))) host_gpu::State host_gpu_state = {}; }\n"
           "namespace host_gpu_table {\n";
    for (const FoundKernel& k : kernels) {
        out << "const host_gpu::Argument of_" << k.name << "[] = {";
        for (const auto& [type, name] : k.arguments) out << "host_gpu::Described<" << type << ">::as(\"" << name << "\"), ";
        out << "{}};\n";
    }
    out << "const host_gpu::Kernel kernels[] = {\n";
    for (const FoundKernel& k : kernels)
        out << "{\"" << k.name << "\", host_gpu::Trampoline<&::" << k.name << ">::run, of_" << k.name << ", " << k.arguments.size() << ", " << k.bounds << "},\n";
    out << "{}};\n}\n"
           "extern \"C\" { extern const host_gpu::Module host_gpu_module __attribute__((visibility(\"default\")));\n"
           "const host_gpu::Module host_gpu_module = {&host_gpu_state, __bss_start, _end, host_gpu_table::kernels, "
        << kernels.size() << "}; }\n";
    return out.str();
}

std::string hash_of(const std::string& text) {
    unsigned long long a = 0xcbf29ce484222325ull, b = 0x84222325cbf29ce4ull;
    for (unsigned char c : text) {
        a = (a ^ c) * 0x100000001b3ull;
        b = (b + c) * 0x9e3779b97f4a7c15ull ^ b >> 29;
    }
    char hex[40];
    snprintf(hex, sizeof hex, "%016llx%016llx", a, b);
    return hex;
}

// Compiles into `library`; the compiler's words otherwise.
bool compile(const Program& program, const std::vector<std::string>& defines, const std::string& library, std::string& log) {
    const char* named = getenv("CXX");
    const std::string compiler = named && *named ? named : "c++";
    const std::string folder = host_gpu::folder_of(reinterpret_cast<const void*>(&compile));
    const std::string source = library + ".cu", expanded = library + ".cpp", output = library + ".log";
    write_file(source, "# 1 \"" + program.name + "\"\n" + program.source);
    std::vector<std::string> words = {compiler, "-std=gnu++17", "-E", "-x", "c++", "-include", folder + "cuda_on_host.h", "-o", expanded};
    words.insert(words.end(), defines.begin(), defines.end());
    words.push_back(source);
    int status = run(words, output);
    std::vector<FoundKernel> kernels;
    if (status == 0) {
        std::string text = contents(expanded);
        kernels = kernels_in(text);
        write_file(expanded, text + table_of(kernels));
        status = run({compiler, "-std=gnu++17", "-O2", "-shared", "-fPIC", "-fvisibility=hidden", "-fno-strict-aliasing", "-fwrapv", "-ffp-contract=off", "-fsanitize=bounds,alignment", "-fsanitize-undefined-trap-on-error", "-Wno-attributes", "-Wno-unused", "-D__global__=", "-D__launch_bounds__(...)=", "-x", "c++", expanded, "-o", library, "-lm"},
                     output);
    }
    log = contents(output);
    if (status < 0) log = "the C++ compiler `" + compiler + "` cannot be run\n";
    for (const std::string& file : {source, expanded, output}) unlink(file.c_str());
    return status == 0;
}

// "90" of "--gpu-architecture=sm_90a"; 0: not one.
unsigned architecture_of(const std::string& value) {
    size_t digits = value.find('_');
    unsigned number = digits == std::string::npos ? 0 : static_cast<unsigned>(atoi(value.c_str() + digits + 1));
    for (int known : architectures)
        if (number == static_cast<unsigned>(known)) return number;
    return 0;
}

}  // namespace

#define API extern "C" __attribute__((visibility("default"))) int

API nvrtcVersion(int* major, int* minor) {
    *major = 13;
    *minor = 0;
    return success;
}

extern "C" __attribute__((visibility("default"))) const char* nvrtcGetErrorString(int code) {
    switch (code) {
        case success: return "NVRTC_SUCCESS";
        case out_of_memory: return "NVRTC_ERROR_OUT_OF_MEMORY";
        case invalid_input: return "NVRTC_ERROR_INVALID_INPUT";
        case invalid_program: return "NVRTC_ERROR_INVALID_PROGRAM";
        case invalid_option: return "NVRTC_ERROR_INVALID_OPTION";
        case compilation: return "NVRTC_ERROR_COMPILATION";
        default: return "NVRTC_ERROR unknown";
    }
}

API nvrtcGetNumSupportedArchs(int* count) {
    *count = sizeof architectures / sizeof *architectures;
    return success;
}

API nvrtcGetSupportedArchs(int* all) {
    memcpy(all, architectures, sizeof architectures);
    return success;
}

API nvrtcCreateProgram(void** program, const char* source, const char* name, int headers, const char* const*, const char* const*) {
    if (!source || headers) return invalid_input;
    *program = new Program{source, name ? name : "default_program", "", ""};
    return success;
}

API nvrtcDestroyProgram(void** program) {
    delete static_cast<Program*>(*program);
    *program = nullptr;
    return success;
}

API nvrtcCompileProgram(void* handle, int count, const char* const* options) {
    Program& program = *static_cast<Program*>(handle);
    std::vector<std::string> defines;
    unsigned architecture = 75;
    bool assembly = false;
    for (int i = 0; i < count; i++) {
        std::string option = options[i], value;
        size_t equals = option.find('=');
        if (equals != std::string::npos) value = option.substr(equals + 1);
        auto begins = [&](const char* with) { return option.compare(0, strlen(with), with) == 0; };
        if (begins("-D") || begins("-U")) {
            defines.push_back(option);
            if (option.size() == 2 && i + 1 < count) defines.push_back(options[++i]);
        } else if (begins("--define-macro=")) {
            defines.push_back("-D" + value);
        } else if (begins("--gpu-architecture=") || begins("-arch=")) {
            architecture = architecture_of(value);
            assembly = value.compare(0, 8, "compute_") == 0;
            if (!architecture) {
                program.log = "nvrtc: error: invalid value for --gpu-architecture (-arch)\n";
                return invalid_option;
            }
        } else if (!begins("--ptxas-options") && !begins("--std=") && !begins("-std=") && !begins("--fmad=") && !begins("--use_fast_math") && !begins("--extra-device-vectorization") &&
                   !begins("--maxrregcount=") && !begins("-default-device") && !begins("--device-as-default") && !begins("--generate-line-info") && !begins("-lineinfo") &&
                   !begins("--restrict") && !begins("-w") && !begins("--disable-warnings") && !begins("--diag-") && !begins("--split-compile") && !begins("--no-source-include") && !begins("--dopt")) {
            program.log = "nvrtc: error: unrecognized option " + option + " found\n";
            return invalid_option;
        }
    }
    if (host_gpu::number("FAIL_COMPILE", 0)) {
        program.log = program.name + "(1): error: was told to fail\n";
        return compilation;
    }

    std::string key = program.name + '\n' + program.source;
    for (const std::string& define : defines) key += '\n' + define;
    std::string folder = host_gpu::folder_of(reinterpret_cast<const void*>(&compile)) + "compiled/";
    mkdir(folder.c_str(), 0755);
    if (access(folder.c_str(), W_OK)) folder = "/tmp/";
    const std::string library = folder + hash_of(key) + ".so";
    // Programs that want the same at the same time: one compiles, the others wait.
    int lock = open((library + ".lock").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    flock(lock, LOCK_EX);
    if (access(library.c_str(), R_OK)) {
        static std::atomic<int> nth{0};
        std::string unfinished = library + "." + std::to_string(getpid()) + "." + std::to_string(nth++);
        bool good = compile(program, defines, unfinished, program.log);
        if (!good || rename(unfinished.c_str(), library.c_str())) {
            close(lock);
            return compilation;
        }
    }
    std::string bytes = contents(library);
    close(lock);
    host_gpu::ImageHeader header = {};
    memcpy(header.magic, host_gpu::image_magic, sizeof header.magic);
    header.size = bytes.size();
    header.architecture = architecture;
    header.build = HOST_GPU_BUILD;
    header.assembly = assembly;
    program.image.assign(reinterpret_cast<const char*>(&header), sizeof header);
    program.image += bytes;
    return success;
}

API nvrtcGetProgramLogSize(void* program, size_t* bytes) {
    *bytes = static_cast<Program*>(program)->log.size() + 1;
    return success;
}

API nvrtcGetProgramLog(void* program, char* log) {
    strcpy(log, static_cast<Program*>(program)->log.c_str());
    return success;
}

API nvrtcGetCUBINSize(void* program, size_t* bytes) {
    *bytes = static_cast<Program*>(program)->image.size();
    return *bytes ? success : invalid_program;
}

API nvrtcGetCUBIN(void* program, char* image) {
    const std::string& bytes = static_cast<Program*>(program)->image;
    memcpy(image, bytes.data(), bytes.size());
    return success;
}

// The driver compiles PTX itself; here it is the same image.
API nvrtcGetPTXSize(void* program, size_t* bytes) { return nvrtcGetCUBINSize(program, bytes); }

API nvrtcGetPTX(void* program, char* image) { return nvrtcGetCUBIN(program, image); }
