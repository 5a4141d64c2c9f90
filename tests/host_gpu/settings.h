// What the stand-in pretends: each setting is an environment variable HOST_GPU_<NAME>, or a line `NAME=value` in the file
// `settings` beside the library, which the variable overrides.
//
//   STRICT=1             every kernel runs three times (strict.h)
//   DEVICES=n            number of GPUs (1), of which CUDA_VISIBLE_DEVICES leaves some
//   MEMORY=bytes         memory of each (8 GiB)
//   BUSY=bytes           of it, taken by others
//   PROCESS=pid:name     who has taken that, for libnvidia-ml
//   CAPABILITY=90        compute capability, 10 * major + minor
//   DRIVER_VERSION=13000 what cuDriverGetVersion says
//   NAME=text            what cuDeviceGetName says; with MIG in it, it is a part of a GPU
//   FAIL_NVML=function   that function of libnvidia-ml fails
//   FAIL_INIT=code       cuInit fails with this CUresult
//   FAIL_LAUNCH=n:code   the n-th kernel that runs (from 1) fails with this CUresult, and so does every call after it
//   HANG_LAUNCH=n        the n-th kernel never ends
//   DELAY_US=n           each piece of work waits so long before it begins
//   RECORD=folder        what kernels are given and what they make of it is written there (record.h)
//   COUNT=file           what was done is added up and written there when the process ends, a line of JSON
//   FAIL_COMPILE=1       NVRTC finds an error in every source
//
// MEMORY, BUSY, PROCESS, CAPABILITY, NAME and FAIL_LAUNCH may be given for one GPU alone: NAME_1=text.
#pragma once

#include <string>

namespace host_gpu {

// The folder in which the library with this function lies.
std::string folder_of(const void* function);
std::string setting(const char* name, const char* otherwise);
long long number(const char* name, long long otherwise);
// The same for the GPU of this number.
std::string setting_of_gpu(const char* name, int gpu, const char* otherwise);
long long number_of_gpu(const char* name, int gpu, long long otherwise);
// The identity of the GPU of this number, as `nvidia-smi -L` writes it.
std::string uuid_of(int gpu);

}  // namespace host_gpu
