//! Handling sled 0.34 with care: its panics are failures like others, and it is waited for when it
//! closes.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::error::Error;

/// sled's cache; above what a hundred thousand pictures need.
const CACHE_BYTES: u64 = 64 << 20;
/// How often, and how long each time, sled's threads are waited for.
pub(super) const PATIENCE: u32 = 400;
pub(super) const MOMENT: Duration = Duration::from_millis(5);

/// Why sled's answer cannot be used.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) why: String,
    /// Set when the operating system refused something.
    io: Option<io::ErrorKind>,
}

impl Broken {
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            io: None,
        }
    }

    /// The error of a catalog that cannot be built either.
    pub(super) fn into_error(self, index: &Path) -> Error {
        let path = super::folder(index);
        match self.io {
            Some(kind) => Error::Io(io::Error::new(
                kind,
                format!(
                    "cannot write the catalog `{}`: {}",
                    path.display(),
                    self.why
                ),
            )),
            None => Error::Corrupt {
                path,
                what: format!("a new catalog could not be built: {}", self.why),
            },
        }
    }
}

impl From<sled::Error> for Broken {
    fn from(error: sled::Error) -> Self {
        let io = match &error {
            sled::Error::Io(cause) => Some(cause.kind()),
            _ => None,
        };
        Self {
            why: error.to_string(),
            io,
        }
    }
}

/// Opens sled. One that was closed a moment ago in this process may still hold its own lock; no other
/// process can, for the writer's lock is held.
pub(super) fn open_sled(folder: &Path) -> Result<sled::Db, Broken> {
    let mut tries = 0;
    loop {
        let opened = sled::Config::new()
            .path(folder)
            .cache_capacity(CACHE_BYTES)
            .mode(sled::Mode::HighThroughput)
            .flush_every_ms(None)
            .open();
        tries += 1;
        match opened {
            Err(error)
                if tries < PATIENCE && error.to_string().contains("could not acquire lock") =>
            {
                thread::sleep(MOMENT);
            }
            opened => return Ok(opened?),
        }
    }
}

/// Runs sled, whose panics on damaged files are failures like others.
pub(super) fn guarded<T>(run: impl FnOnce() -> Result<T, Broken>) -> Result<T, Broken> {
    panic::catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let said = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned()));
        Err(Broken::new(
            said.unwrap_or_else(|| "sled panicked".to_owned()),
        ))
    })
}
