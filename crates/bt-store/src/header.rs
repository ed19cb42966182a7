//! `index.json` at the top of an index folder: format version and what the index is made with.

use std::path::Path;

use crate::collection::Header;
use crate::error::Result;

/// What the index is made with.
///
/// # Errors
/// `NoIndex` when the folder holds none, `NewerFormat`, `Corrupt`.
pub(crate) fn read_header(_index: &Path) -> Result<Header> {
    unimplemented!()
}
