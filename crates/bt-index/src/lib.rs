//! From folders of pictures to committed records: walking, identifying, decoding, embedding, committing,
//! watching.
//!
//! [`IndexJob`] is what callers use: `run` indexes once, `watch` goes on, `forecast` only looks. Nothing
//! here prints; what happens is told by [`Event`]s, and how it went by a [`Report`].
//!
//! ```no_run
//! # fn main() -> bt_index::Result<()> {
//! use std::sync::atomic::AtomicBool;
//!
//! let job = bt_index::IndexJob {
//!     roots: vec!["photos".into()],
//!     index: "index-data".into(),
//!     ..Default::default()
//! };
//! let report = job.run(&AtomicBool::new(false), &mut |_event| {})?;
//! println!("{} new, {} unchanged", report.indexed, report.unchanged);
//! # Ok(())
//! # }
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod about;
mod budget;
mod caption;
mod commit;
mod error;
mod forecast;
mod identify;
mod job;
mod ledger;
mod model;
mod outcome;
mod pipeline;
mod prune;
mod walk;
mod watch;

pub use caption::LONGEST_CAPTION;
pub use error::{Error, Result};
pub use job::IndexJob;
pub use model::{DEFAULT_MODEL, ModelOptions};
pub use outcome::{Event, FileError, Outcome, Report};
pub use pipeline::Resources;
pub use walk::WalkOptions;
