#include "settings.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fstream>

namespace host_gpu {

std::string folder_of(const void* function) {
    Dl_info info;
    if (!dladdr(function, &info) || !info.dli_fname) return ".";
    std::string path = info.dli_fname;
    return path.substr(0, path.rfind('/') + 1);
}

std::string setting(const char* name, const char* otherwise) {
    if (const char* value = getenv((std::string("HOST_GPU_") + name).c_str())) return value;
    std::ifstream file(folder_of(reinterpret_cast<const void*>(&setting)) + "settings");
    std::string begin = std::string(name) + "=";
    for (std::string line; std::getline(file, line);)
        if (line.compare(0, begin.size(), begin) == 0) return line.substr(begin.size());
    return otherwise;
}

long long number(const char* name, long long otherwise) {
    std::string text = setting(name, "");
    return text.empty() ? otherwise : strtoll(text.c_str(), nullptr, 0);
}

std::string setting_of_gpu(const char* name, int gpu, const char* otherwise) {
    return setting((std::string(name) + "_" + std::to_string(gpu)).c_str(), setting(name, otherwise).c_str());
}

long long number_of_gpu(const char* name, int gpu, long long otherwise) {
    std::string text = setting_of_gpu(name, gpu, "");
    return text.empty() ? otherwise : strtoll(text.c_str(), nullptr, 0);
}

std::string uuid_of(int gpu) {
    // As the driver of this program tells them apart: by the name.
    char text[48];
    strcpy(text, setting_of_gpu("NAME", gpu, "").find("MIG") == std::string::npos ? "GPU-" : "MIG-");
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) strcat(text, "-");
        snprintf(text + strlen(text), 3, "%02x", (16 * gpu + i) & 255);
    }
    return text;
}

}  // namespace host_gpu
