//! Why a file gave no picture.

/// Result of reading a picture.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a file gave no picture. The caller adds the path.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are no picture of a kind that we know.
    #[error("not a picture of a known format")]
    NotAPicture,
    /// A format that we know by name and do not read.
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    /// Nothing of it decodes.
    #[error("cannot be decoded: {0}")]
    Broken(String),
    /// Larger than the limits allow.
    #[error("too large: {0}")]
    TooLarge(String),
}

impl Error {
    pub(crate) fn broken(cause: impl std::fmt::Display) -> Self {
        Self::Broken(cause.to_string())
    }
}

impl From<image::ImageError> for Error {
    fn from(error: image::ImageError) -> Self {
        match error {
            image::ImageError::Limits(error) => Self::TooLarge(error.to_string()),
            error => Self::broken(error),
        }
    }
}
