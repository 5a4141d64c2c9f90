// Runs a kernel three times from the same memory and says where the results differ:
//
// - each block alone, from the memory as it was before the kernel: what a block reads of another's, and what two blocks
//   write (to the byte), is found;
// - blocks, warps and lanes reversed: what depends on their order (a missing barrier, a race) is found;
// - in order: these results stay.
//
// Writes are noticed by the page: memory that the arguments point to is read-only until a page is first written.
// Pinned memory, in which the host may read and write meanwhile, is a private copy until the last run.
// What is not noticed: writes through pointers that are not arguments, and a write of the value that was there.
#pragma once

#include "fibers.h"

namespace host_gpu {

Failure run_once(Processor& processor, const Launch& launch);
Failure run_strictly(Processor& processor, const Launch& launch);

}  // namespace host_gpu
