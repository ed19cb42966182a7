//! What can go wrong with a query, sorted by whose fault it is, with the next step to take.

use std::path::PathBuf;

use bt_store::ContentHash;

/// Result of the query side.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Whose fault an error is; exit codes and HTTP statuses depend on this alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The caller asked for something that makes no sense.
    Usage,
    /// It is not there.
    NotFound,
    /// Bytes on disk make no sense.
    Corrupt,
    /// Model, index and question do not go together.
    Incompatible,
    /// Somebody else holds it.
    Busy,
    /// The operating system or the network refused.
    Io,
    /// Our own mistake.
    Bug,
}

/// An error of a query.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The value of a flag or field makes no sense.
    #[error("`{value}` is no value for {flag}: {why}")]
    BadValue {
        /// The flag or field, as the user writes it.
        flag: &'static str,
        /// What was given.
        value: String,
        /// What is expected.
        why: String,
    },
    /// Neither words nor a picture.
    #[error("the query is empty")]
    EmptyQuery,
    /// Nothing but what should not be seen.
    #[error("the query says only what should not be seen")]
    OnlyNegative,
    /// No picture in the index.
    #[error("the index is empty")]
    EmptyIndex,
    /// A picture that the query refers to is not in the index.
    #[error("no picture with the id `{0}` is in the index")]
    NoSuchPicture(String),
    /// A prefix that several ids start with.
    #[error("several pictures have an id that starts with `{0}`")]
    AmbiguousId(String),
    /// The vectors of this index cannot be compared with words, and nothing else can answer.
    #[error("the model `{model}` cannot search by words: it has neither an ITC nor an ITM head")]
    CannotReadWords {
        /// What the user calls the model.
        model: String,
    },
    /// The loaded model is not the one that made the vectors.
    #[error(
        "the index was made with another model than `{spec}`: that one has the fingerprint {expected:.12}, this one {found:.12}"
    )]
    OtherModel {
        /// What was loaded.
        spec: String,
        /// Fingerprint in the index.
        expected: String,
        /// Fingerprint of the loaded model.
        found: String,
    },
    /// The picture that the query shows cannot be read.
    #[error("cannot read the query picture `{}`", path.display())]
    QueryPicture {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PictureError,
    },
    /// A result's picture cannot be read any more.
    #[error("cannot read `{}` again", path.display())]
    ResultPicture {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PictureError,
    },
    /// A file that is read for measuring makes no sense.
    #[error("`{}`: {what}", path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A score is not a number.
    #[error("{stage} gave a score that is not a number for the picture {id}")]
    NotANumber {
        /// Where it arose.
        stage: &'static str,
        /// The picture.
        id: ContentHash,
    },
    /// The query's vector is not a number or has no direction.
    #[error("the query has no direction: its vector is zero or not a number")]
    NoDirection,
    /// A map of a word over a picture is not what the model promises.
    #[error("the model gave no sound map of the word `{word}`")]
    BadHeat {
        /// The word.
        word: String,
    },
    /// Nobody waits for the answer any more: who asked has left, or the time that was given is over.
    #[error("stopped: {0}")]
    Stopped(&'static str),
    /// The model failed.
    #[error(transparent)]
    Model(#[from] bt_model::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] bt_store::Error),
    /// A picture could not be encoded, or a file could not be written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A picture could not be drawn.
    #[error("cannot draw the picture")]
    Draw(#[from] image::ImageError),
}

/// Why a picture file gave no picture.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PictureError {
    /// The operating system refused; its message names the file.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// It is no picture that can be read.
    #[error(transparent)]
    Decode(#[from] bt_picture::Error),
    /// Every known place holds something else by now.
    #[error("`{}` has changed since it was indexed", .0.display())]
    Changed(PathBuf),
    /// No place of it is known any more.
    #[error("no file with this picture is known any more")]
    Nowhere,
}

impl Error {
    /// Whose fault it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::BadValue { .. }
            | Self::EmptyQuery
            | Self::OnlyNegative
            | Self::AmbiguousId(_) => Kind::Usage,
            Self::EmptyIndex | Self::NoSuchPicture(_) => Kind::NotFound,
            Self::CannotReadWords { .. } | Self::OtherModel { .. } => Kind::Incompatible,
            Self::QueryPicture { source, .. } | Self::ResultPicture { source, .. } => {
                match source {
                    PictureError::Io(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
                        Kind::NotFound
                    }
                    PictureError::Io(_) => Kind::Io,
                    _ => Kind::Usage,
                }
            }
            Self::BadFile { .. } => Kind::Corrupt,
            Self::NotANumber { .. } | Self::NoDirection | Self::BadHeat { .. } | Self::Draw(_) => {
                Kind::Bug
            }
            Self::Io(_) => Kind::Io,
            Self::Stopped(_) => Kind::Busy,
            Self::Model(cause) => match cause.kind() {
                bt_model::Kind::Usage => Kind::Usage,
                bt_model::Kind::NotFound => Kind::NotFound,
                bt_model::Kind::Corrupt => Kind::Corrupt,
                bt_model::Kind::Incompatible => Kind::Incompatible,
                bt_model::Kind::Io => Kind::Io,
                bt_model::Kind::Bug => Kind::Bug,
            },
            Self::Store(cause) => match cause.kind() {
                bt_store::Kind::Usage => Kind::Usage,
                bt_store::Kind::NotFound => Kind::NotFound,
                bt_store::Kind::Corrupt => Kind::Corrupt,
                bt_store::Kind::Incompatible => Kind::Incompatible,
                bt_store::Kind::Busy => Kind::Busy,
                bt_store::Kind::Io => Kind::Io,
            },
        }
    }

    /// What to do next, where there is something to do.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Model(cause) => return cause.hint(),
            Self::Store(cause) => return cause.hint(),
            Self::EmptyQuery => {
                "say what to look for, such as `bt-search \"a cat on a couch\"`, or show it with \
                 `--image FILE`"
            }
            Self::OnlyNegative => "add what should be seen: `bt-search \"a dog\" --not \"snow\"`",
            Self::EmptyIndex => "`bt-index PHOTOS` puts the pictures of a folder into it",
            Self::NoSuchPicture(_) => {
                "ids are in the output of `bt-search --json`; a picture that is not in the index is \
                 searched with `--image FILE`"
            }
            Self::AmbiguousId(_) => "give more digits of the id",
            Self::CannotReadWords { .. } => {
                "three ways on: search with a picture (`--image FILE`); index with a model that has \
                 these heads, and let this one rerank (`bt-index --model mini --rerank-model MODEL \
                 --index OTHER`); or teach it from captions (`bt-model learn-heads CAPTIONS.json \
                 --model MODEL`)"
            }
            Self::OtherModel { .. } => {
                "give the model that the index was made with (`--model`), or index the pictures anew \
                 into another folder (`bt-index --index OTHER`)"
            }
            Self::QueryPicture {
                source: PictureError::Decode(_),
                ..
            } => "a JPEG, PNG or WebP copy of it will do",
            Self::BadValue { .. }
            | Self::BadFile { .. }
            | Self::QueryPicture { .. }
            | Self::ResultPicture { .. }
            | Self::NotANumber { .. }
            | Self::NoDirection
            | Self::BadHeat { .. }
            | Self::Io(_)
            | Self::Stopped(_)
            | Self::Draw(_) => return None,
        };
        Some(hint.to_owned())
    }
}
