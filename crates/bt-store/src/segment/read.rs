//! Reading segments: a snapshot of what is committed, without the writer's lock.

use std::path::Path;

use crate::error::Result;
use crate::segment::{Position, Stored};

/// The committed part of all segments at one moment. Files stay open, so a compaction that removes them
/// does not disturb a reader.
#[derive(Debug)]
pub(crate) struct Segments {}

impl Segments {
    /// Opens what is committed now.
    pub(crate) fn open(_index: &Path) -> Result<Self> {
        unimplemented!()
    }

    /// Behind the last commit.
    pub(crate) fn end(&self) -> Position {
        unimplemented!()
    }

    /// Whether these segments go on from a position: false when it lies in segments that a compaction
    /// replaced, or beyond the end. What was derived up to such a position is then no base for
    /// [`Self::changes_since`].
    pub(crate) fn continues(&self, _from: Position) -> bool {
        unimplemented!()
    }

    /// Every change after a position, in the order of commits (from the first one when the segments do
    /// not continue `from`).
    ///
    /// An item `Err(Error::Corrupt { .. })` names a damaged stretch of a file; the next item is the first
    /// sound change behind it. After any other error the iteration is over.
    pub(crate) fn changes_since(
        &self,
        _from: Position,
    ) -> impl Iterator<Item = Result<Stored>> + '_ {
        std::iter::empty()
    }
}
