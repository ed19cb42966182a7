//! What a file is, by its first bytes; names and extensions play no part.

/// A format that is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// JPEG.
    Jpeg,
}

impl Format {
    /// Lower-case name, as `--type` and the index have it.
    pub fn name(self) -> &'static str {
        unimplemented!()
    }
    /// Media type.
    pub fn media_type(self) -> &'static str {
        unimplemented!()
    }
}

/// What the first bytes of a file show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A picture that [`crate::decode`] reads.
    Picture(Format),
    /// A picture of a format that is known by name only: HEIC, camera raw, ...
    Unsupported(&'static str),
    /// Something else.
    Other,
}

/// Tells by the first bytes; give at least [`HEAD_BYTES`] where the file has them.
pub fn identify(_head: &[u8]) -> Kind {
    unimplemented!()
}

/// How many bytes [`identify`] wants.
pub const HEAD_BYTES: usize = 512;
