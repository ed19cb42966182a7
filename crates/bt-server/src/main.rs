//! `bt-server`: the engine behind HTTP. What it does is in the library; how it is started is in `cli.rs`.

use std::process::ExitCode;

mod cli;

/// Inference takes and frees large blocks all the time; the system's allocator gives each of them back
/// to the kernel, and the page faults cost a third of the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    bt_cli::run(cli::hint_of, || cli::run(bt_cli::parse()))
}
