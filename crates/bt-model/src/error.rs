//! What can go wrong with a model, sorted by whose fault it is, with the next step to take.

use std::path::PathBuf;

/// Result of the model.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Whose fault an error is; exit codes and HTTP statuses depend on this alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The caller asked for something that makes no sense.
    Usage,
    /// It is not there.
    NotFound,
    /// A file's bytes make no sense.
    Corrupt,
    /// A checkpoint that this program cannot run, or that lacks the head asked for.
    Incompatible,
    /// The operating system or the network refused.
    Io,
    /// Our own mistake.
    Bug,
}

/// An error of the model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused; its message names the file.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A tensor operation failed.
    #[error("the model cannot be run")]
    Tensor(#[from] candle_core::Error),
    /// A file of the checkpoint makes no sense.
    #[error("`{}`: {what}", path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The checkpoint lacks a head.
    #[error("the model `{model}` has no {head} head, so it cannot {purpose}")]
    NoHead {
        /// Name of the model.
        model: String,
        /// `ITC`, `ITM`, `MLM` or `ITC cross`.
        head: &'static str,
        /// What was asked of it.
        purpose: &'static str,
    },
    /// The value of an argument makes no sense.
    #[error("{0}")]
    Usage(String),
}

impl Error {
    /// Whose fault it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Io(cause) if cause.kind() == std::io::ErrorKind::NotFound => Kind::NotFound,
            Self::Io(_) => Kind::Io,
            Self::Tensor(_) => Kind::Bug,
            Self::BadFile { .. } => Kind::Corrupt,
            Self::NoHead { .. } => Kind::Incompatible,
            Self::Usage(_) => Kind::Usage,
        }
    }

    /// What to do next, where there is something to do.
    pub fn hint(&self) -> Option<String> {
        None
    }
}
