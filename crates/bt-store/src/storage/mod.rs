//! What the truth needs of a file system: append, sync, rename. Small, so that tests can stand in for
//! the disk: `crash` keeps only what was synced, and fails when told to.
//!
//! Reading is not here: it goes to the files directly.

use std::fmt::Debug;
use std::io;
use std::path::Path;

#[cfg(test)]
pub(crate) mod crash;
mod disk;

pub(crate) use disk::Disk;

/// A place to keep files.
pub(crate) trait Storage: Debug + Send + Sync {
    /// Makes a folder and what is missing above it, durably; one that is there already is no error.
    fn create_folder(&self, path: &Path) -> io::Result<()>;
    /// Makes an empty file, in the place of what had that name.
    fn create(&self, path: &Path) -> io::Result<Box<dyn Append>>;
    /// Opens a file to append to, cut to so many bytes.
    fn reopen(&self, path: &Path, len: u64) -> io::Result<Box<dyn Append>>;
    /// Gives a file another name, in the place of what had that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
}

/// A file that grows at its end.
pub(crate) trait Append: Debug + Send {
    /// Writes all bytes at the end.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes everything written so far durable.
    fn sync(&mut self) -> io::Result<()>;
}
