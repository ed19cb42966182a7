//! A decoder that panics on a hostile file is an error of that file, and says nothing on stderr.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use crate::error::{Error, Result};

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Runs a decoder; its panic becomes [`Error::Broken`].
pub(super) fn run<T>(decoder: impl FnOnce() -> Result<T>) -> Result<T> {
    silence();
    let before = INSIDE.replace(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(decoder));
    INSIDE.set(before);
    outcome.unwrap_or_else(|cause| {
        let said = cause.downcast_ref::<String>().map(String::as_str);
        let said = said
            .or_else(|| cause.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        Err(Error::Broken(format!("the decoder gave up ({said})")))
    })
}

/// Panics of contained decoders are reported as errors; those of anybody else go to the hook that was
/// there before.
fn silence() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !INSIDE.get() {
                before(info);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_of_that_file() {
        let error = run::<()>(|| panic!("index {} out of range", 7)).unwrap_err();
        assert!(
            error.to_string().contains("index 7 out of range"),
            "{error}"
        );
        assert_eq!(run(|| Ok(3)).unwrap(), 3);
    }
}
