//! `index.json` at the top of an index folder: format version and what the index is made with.

use std::path::{Path, PathBuf};

use crate::collection::Header;
use crate::error::{Error, Result};
use crate::sealed;
use crate::segment::list;
use crate::storage::Storage;

/// The file in an index folder.
pub(crate) fn path(index: &Path) -> PathBuf {
    index.join("index.json")
}

/// What the index is made with. Where the file is missing or damaged, the segments say it too.
///
/// # Errors
/// `NoIndex` when the folder holds none, `NewerFormat`, `Corrupt`.
pub(crate) fn read_header(index: &Path) -> Result<Header> {
    let reason = match sealed::read(&path(index)) {
        Ok(Some(header)) => return Ok(header),
        Ok(None) => Error::NoIndex(index.to_owned()),
        Err(error @ Error::Corrupt { .. }) => error,
        Err(error) => return Err(error),
    };
    list::header_from_files(index)?.ok_or(reason)
}

/// What is wrong with the file, if anything.
pub(crate) fn check(index: &Path) -> Result<Option<Error>> {
    match sealed::read::<Header>(&path(index)) {
        Ok(Some(_)) => Ok(None),
        Ok(None) => Ok(Some(Error::Corrupt {
            path: path(index),
            what: "the file is missing".into(),
        })),
        Err(error @ Error::Corrupt { .. }) => Ok(Some(error)),
        Err(error) => Err(error),
    }
}

/// Makes the file, durably.
pub(crate) fn write_header(storage: &dyn Storage, index: &Path, header: &Header) -> Result<()> {
    sealed::write(storage, &path(index), header)
}
