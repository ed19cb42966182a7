//! What ends a run, sorted by whose fault it is, with the next step to take. What is wrong with a single
//! file never ends a run: that is [`crate::FileError`].

use std::io;
use std::path::PathBuf;

/// Result of indexing.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What ends a run. Everything committed before it is kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] bt_store::Error),
    /// The model failed.
    #[error(transparent)]
    Model(#[from] bt_model::Error),
    /// The operating system refused; its message names the file.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A folder or file that was asked for is not there.
    #[error("there is nothing at `{}`", .0.display())]
    MissingRoot(PathBuf),
    /// A folder that was asked for is the index, or lies in it.
    #[error("`{}` lies inside the index folder, which is never indexed", .0.display())]
    InsideIndex(PathBuf),
    /// A pattern of `exclude` makes no sense.
    #[error("`{glob}` is not a pattern: {why}")]
    BadGlob {
        /// As given.
        glob: String,
        /// What is wrong with it.
        why: String,
    },
    /// The checkpoint has changed since the index was made.
    #[error(
        "the model `{spec}` is not the one that the index was made with: its files have changed"
    )]
    ModelChanged {
        /// What the index calls it.
        spec: String,
    },
    /// A model that was asked to rerank cannot.
    #[error("the model `{0}` has no ITM head, so it cannot rerank")]
    CannotRerank(String),
    /// A stage of the pipeline ended without saying why.
    #[error("the {0} stage stopped unexpectedly")]
    StageDied(&'static str),
    /// The operating system does not tell about changes.
    #[error("the folders cannot be watched")]
    Watch(#[from] notify::Error),
}

impl Error {
    /// What to do next, where there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(cause) => cause.hint(),
            Self::Model(cause) => cause.hint(),
            Self::MissingRoot(_) => Some(
                "check the spelling, or mount the disk; nothing was changed in the index".into(),
            ),
            Self::InsideIndex(_) => Some("name a folder of pictures, or another --index".into()),
            Self::BadGlob { .. } => {
                Some("patterns are like those of .gitignore: `*.gif`, `thumbnails/`, `/2019/raw`".into())
            }
            Self::ModelChanged { .. } => Some(
                "put the old files back, or index the pictures into a new folder with --index".into(),
            ),
            Self::CannotRerank(_) => Some("`bt-model info MODEL` shows which heads a model has".into()),
            Self::StageDied(_) => {
                Some("this is a fault of the program; what was committed is kept, run it again".into())
            }
            Self::Watch(cause) => match cause.kind {
                notify::ErrorKind::MaxFilesWatch => Some(
                    "raise the limit: `sysctl fs.inotify.max_user_watches=1048576`, or run `bt-index` from a timer"
                        .into(),
                ),
                _ => Some("run `bt-index` from a timer instead".into()),
            },
            Self::Io(cause) => match cause.kind() {
                io::ErrorKind::PermissionDenied => Some(
                    "run it as a user who may read it, or leave it out; nothing was changed in the index".into(),
                ),
                _ => None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_may_not_be_read_is_no_dead_end() {
        let closed = Error::Io(io::ErrorKind::PermissionDenied.into());
        assert!(closed.hint().unwrap().contains("who may read it"));
    }
}
