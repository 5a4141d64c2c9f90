// Writes down what kernels are given and what they make of it, for a comparison with a GPU (scripts/check_gpu.py).
//
// A file for each of a kernel's first launches that differ in more than addresses, up to four: lines of text, then bytes.
//
//   kernel NAME grid GX GY GZ block BX BY BZ shared BYTES
//   memory BYTES                                       one for each allocation that arguments point into
//   pointer NAME KIND ELEMENT_BYTES MEMORY OFFSET      an argument; MEMORY -1: null
//   value NAME BYTES_IN_HEX
//   end                                                then each memory's bytes before the kernel, then each after it
#pragma once

#include <functional>

#include "fibers.h"

namespace host_gpu {

// Runs the kernel by `run`, with what is before and after it written to the folder.
Failure recorded(const std::string& folder, const Launch& launch, const std::function<Failure()>& run);

}  // namespace host_gpu
