//! The one writer: append, commit, publish.

use std::path::{Path, PathBuf};

use crate::collection::Header;
use crate::error::Result;
use crate::id::{ContentHash, GenerationId};
use crate::record::{Change, Location, Record};

/// What publishing is doing, for a progress line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Which part: `vectors`, `graph`, `words`, ...
    pub stage: &'static str,
    /// Rows done.
    pub done: u64,
    /// Rows in all.
    pub total: u64,
}

/// Sizes of an index.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Stats {
    /// Pictures that can be found.
    pub pictures: u64,
    /// Files that hold them (duplicates counted).
    pub locations: u64,
    /// Records in segments that later ones supersede.
    pub superseded: u64,
    /// Bytes of segments.
    pub truth_bytes: u64,
    /// Bytes of catalog and generations.
    pub derived_bytes: u64,
    /// Newest published generation.
    pub generation: Option<GenerationId>,
    /// Pictures committed after it.
    pub unpublished: u64,
}

/// Holds the writer's lock on an index folder.
#[derive(Debug)]
pub struct Writer {}

impl Writer {
    /// Opens the index, making it when the folder holds none.
    ///
    /// # Errors
    /// `OtherModel` when it was made with another header, `Locked` when another process writes.
    pub fn create_or_open(_index: &Path, _header: &Header) -> Result<Self> {
        unimplemented!()
    }
    /// Opens an index that exists.
    pub fn open(_index: &Path) -> Result<Self> {
        unimplemented!()
    }
    /// How the index was made.
    pub fn header(&self) -> &Header {
        unimplemented!()
    }
    /// Makes all changes durable, or none: when this returns `Ok`, they survive a power cut.
    pub fn commit(&mut self, _changes: &[Change]) -> Result<()> {
        unimplemented!()
    }
    /// Builds everything derived in a new generation and makes it current; returns the current one when
    /// nothing was committed since.
    pub fn publish(&mut self, _on: &mut dyn FnMut(Progress)) -> Result<GenerationId> {
        unimplemented!()
    }
    /// Rewrites the segments without superseded records, then publishes.
    pub fn compact(&mut self, _on: &mut dyn FnMut(Progress)) -> Result<GenerationId> {
        unimplemented!()
    }
    /// The picture that was last seen at a path.
    pub fn at_path(&self, _path: &Path) -> Result<Option<(ContentHash, Location)>> {
        unimplemented!()
    }
    /// A live record.
    pub fn get(&self, _id: &ContentHash) -> Result<Option<Record>> {
        unimplemented!()
    }
    /// Every known path, in order.
    pub fn paths(&self) -> Result<Vec<(PathBuf, ContentHash)>> {
        unimplemented!()
    }
    /// Sizes.
    pub fn stats(&self) -> Result<Stats> {
        unimplemented!()
    }
}
