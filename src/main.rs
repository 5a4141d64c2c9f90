//! The `votive` program: see [`votive::cli`].

use std::process::ExitCode;

/// Training allocates and frees large buffers all the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    votive::cli::main()
}
