// What the stand-in pretends: each setting is an environment variable HOST_GPU_<NAME>, or a line `NAME=value` in the file
// `settings` beside the library, which the variable overrides.
//
//   STRICT=1             every kernel runs three times (strict.h)
//   DEVICES=n            number of GPUs (1)
//   MEMORY=bytes         memory of each (8 GiB)
//   BUSY=bytes           of it, taken by others
//   CAPABILITY=90        compute capability, 10 * major + minor
//   DRIVER_VERSION=13000 what cuDriverGetVersion says
//   NAME=text            what cuDeviceGetName says
//   FAIL_INIT=code       cuInit fails with this CUresult
//   FAIL_LAUNCH=n:code   the n-th kernel that runs (from 1) fails with this CUresult, and so does every call after it
//   HANG_LAUNCH=n        the n-th kernel never ends
//   DELAY_US=n           each piece of work waits so long before it begins
//   RECORD=folder        what kernels are given and what they make of it is written there (record.h)
//   COUNT=file           what was done is added up and written there when the process ends, a line of JSON
//   FAIL_COMPILE=1       NVRTC finds an error in every source
#pragma once

#include <string>

namespace host_gpu {

// The folder in which the library with this function lies.
std::string folder_of(const void* function);
std::string setting(const char* name, const char* otherwise);
long long number(const char* name, long long otherwise);

}  // namespace host_gpu
