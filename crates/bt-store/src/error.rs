//! What can go wrong in the store, sorted by whose fault it is, with the next step to take.

use std::io;
use std::path::PathBuf;

use crate::id::ContentHash;

/// Result of the store.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Whose fault an error is; exit codes and HTTP statuses depend on this alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The caller asked for something that makes no sense.
    Usage,
    /// It is not there.
    NotFound,
    /// Bytes on disk are not what was written.
    Corrupt,
    /// Made by another model or another version.
    Incompatible,
    /// Somebody else holds it.
    Busy,
    /// The operating system refused.
    Io,
}

/// An error of the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused; its message names the file.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// There is no index here.
    #[error("there is no index in `{}`", .0.display())]
    NoIndex(PathBuf),
    /// A file's bytes are not what was written.
    #[error("`{}` is damaged: {what}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Which part, and how it was noticed.
        what: String,
    },
    /// The index was made by a newer version of these programs.
    #[error("`{}` has format version {found}; this program reads up to {supported}", path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Version in the file.
        found: u32,
        /// Newest version that can be read.
        supported: u32,
    },
    /// The index was made with another model.
    #[error("the index in `{}` was made with {made_with}, not with {asked}", path.display())]
    OtherModel {
        /// The index.
        path: PathBuf,
        /// Model in the header.
        made_with: String,
        /// Model asked for.
        asked: String,
    },
    /// Another process writes into this index.
    #[error("another process (pid {pid}) is writing to the index in `{}`", path.display())]
    Locked {
        /// The index.
        path: PathBuf,
        /// Who holds it.
        pid: u32,
    },
    /// An earlier failure left the writer in doubt about what reached the disk.
    #[error("the index was closed after a failed write: {cause}")]
    Reopen {
        /// The first failure.
        cause: String,
    },
    /// A vector of the wrong length or with a value that is not a number.
    #[error("an embedding does not fit: {0}")]
    BadVector(String),
    /// A change that cannot be stored.
    #[error("the picture {id} cannot be stored: {what}")]
    BadChange {
        /// The picture.
        id: ContentHash,
        /// Why.
        what: String,
    },
    /// Full text index failed.
    #[error("the word index failed: {0}")]
    Words(#[from] tantivy::TantivyError),
}

impl Error {
    /// Whose fault it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Io(_) | Self::Words(_) => Kind::Io,
            Self::NoIndex(_) => Kind::NotFound,
            Self::Corrupt { .. } => Kind::Corrupt,
            Self::NewerFormat { .. } | Self::OtherModel { .. } => Kind::Incompatible,
            Self::Locked { .. } | Self::Reopen { .. } => Kind::Busy,
            Self::BadVector(_) | Self::BadChange { .. } => Kind::Usage,
        }
    }

    /// What to do next, where there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoIndex(path) => Some(format!(
                "`bt-index --index {} PHOTOS` makes one",
                path.display()
            )),
            Self::Corrupt { .. } => Some("`bt-index --verify` lists every damaged part; `bt-index --compact` builds what is derived anew".into()),
            Self::NewerFormat { .. } => Some("update these programs, or index the pictures into a new folder".into()),
            Self::OtherModel { path, made_with, .. } => Some(format!(
                "leave --model out to use {made_with}, or index the pictures into another folder than `{}`",
                path.display()
            )),
            Self::Locked { .. } => Some("wait for it to finish, or stop it; searching works meanwhile".into()),
            Self::Reopen { .. } => Some("free space or mend the disk, then run the same command again: everything committed is kept".into()),
            Self::Io(_) | Self::Words(_) if self.is_storage_full() => {
                Some("free some space, then run the same command again: everything committed is kept".into())
            }
            Self::Io(_) | Self::BadVector(_) | Self::BadChange { .. } | Self::Words(_) => None,
        }
    }

    /// Whether the disk, or what the user may have of it, is full.
    fn is_storage_full(&self) -> bool {
        use tantivy::TantivyError;
        use tantivy::directory::error::OpenWriteError;

        let cause = match self {
            Self::Io(cause) => cause,
            Self::Words(TantivyError::IoError(cause)) => cause.as_ref(),
            Self::Words(TantivyError::OpenWriteError(OpenWriteError::IoError {
                io_error, ..
            })) => io_error.as_ref(),
            _ => return false,
        };
        matches!(
            cause.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        )
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_full_disk_is_explained_whoever_meets_it() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let words = tantivy::TantivyError::IoError(Arc::new(full()));
        for error in [Error::Io(full()), Error::Words(words)] {
            assert!(
                error.hint().unwrap().contains("free some space"),
                "{error:?}"
            );
        }
        let other = io::Error::from(io::ErrorKind::PermissionDenied);
        assert_eq!(Error::Io(other).hint(), None);
    }
}
