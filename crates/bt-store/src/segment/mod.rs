//! The truth on disk: append-only segment files of framed, checksummed changes.
//!
//! Bytes of a file are in `format`, which files count in `list`, reading in `read` and `scan`, appending
//! in `append`. What is derived from the truth (catalog, generations) is not here.

use half::f16;
use serde::{Deserialize, Serialize};

use crate::id::ContentHash;
use crate::record::Record;

pub(crate) mod append;
pub(crate) mod format;
pub(crate) mod list;
mod read;
mod scan;

pub(crate) use read::Segments;
pub(crate) use scan::Raw;

/// A point between two commits: everything before it, in the order of commits.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub(crate) struct Position {
    /// Number of the segment file; grows for ever, so that a later commit has a larger position.
    pub(crate) segment: u64,
    /// Bytes from the start of that file.
    pub(crate) offset: u64,
}

impl Position {
    /// Before the first commit.
    pub(crate) const START: Self = Self {
        segment: 0,
        offset: 0,
    };
}

/// Where a frame starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    /// Number of the segment file.
    pub(crate) segment: u64,
    /// Bytes from the start of that file.
    pub(crate) offset: u64,
}

/// The end of what is committed, and which commit it was: two indexes agree on this only when they have
/// the same history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    /// Behind the commit.
    pub(crate) end: Position,
    /// Number of the commit; 0 before the first.
    pub(crate) sequence: u64,
    /// Checksum of its batch.
    pub(crate) checksum: u32,
}

/// A change as it stands in a segment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Stored {
    /// A picture with its embedding; replaces what was known under the same id.
    Put {
        /// The picture.
        record: Record,
        /// Unit length up to the rounding of f16.
        embedding: Vec<f16>,
    },
    /// A newer record of a picture; its embedding is that of the last `Put`. Of no effect when the
    /// picture is unknown (its `Put` may be damaged).
    Update(Record),
    /// The picture is gone.
    Remove(ContentHash),
}
