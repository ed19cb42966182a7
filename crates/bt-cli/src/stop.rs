//! Ctrl-C: the first asks the program to finish what it holds, the second ends it.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::exit::Exit;

static STOP: AtomicBool = AtomicBool::new(false);

/// A flag that becomes true at the first Ctrl-C (or SIGTERM); the second one exits at once.
pub fn stop_on_ctrl_c() -> &'static AtomicBool {
    // A handler that is already there belongs to an earlier call and does the same.
    let _ = ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::SeqCst) {
            std::process::exit(Exit::Interrupted.code().into());
        }
    });
    &STOP
}
