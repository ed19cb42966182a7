//! `bt-search`: finds pictures by words, by a picture, or by both. What it does is in the library; how it
//! is asked is in `cli.rs`, what it says in `show.rs`.

use std::process::ExitCode;

mod cli;
mod show;

/// Inference takes and frees large blocks all the time; the system's allocator gives each of them back
/// to the kernel, and the page faults cost a third of the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    bt_cli::run(cli::hint_of, || cli::run(&bt_cli::parse()))
}
