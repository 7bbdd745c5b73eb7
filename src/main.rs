//! The process: its allocator and its exit code. Everything else is in the library.

use std::process::ExitCode;

/// Half the memory per notification in flight that the system's allocator needs, at the same speed
/// (docs/decisions/0006-allocator.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    pushrelay::cli::run()
}
