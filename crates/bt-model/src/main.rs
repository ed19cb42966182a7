//! `bt-model`: tells about checkpoints, converts them, teaches them heads. How it is asked is in `cli.rs`,
//! what it does and says in `commands.rs`.

use std::process::ExitCode;

mod cli;
mod commands;

/// Inference takes and frees large blocks all the time; the system's allocator gives each of them back
/// to the kernel, and the page faults cost a third of the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    bt_cli::run(commands::hint_of, || commands::run(&bt_cli::parse()))
}
