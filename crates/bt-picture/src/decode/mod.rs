//! Bytes to an upright RGB picture.

use image::RgbImage;

use crate::error::Result;
use crate::kind::Format;

/// How much a picture may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most pixels.
    pub max_pixels: u64,
    /// Most bytes that decoding one picture may hold.
    pub max_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_pixels: 400_000_000, max_bytes: 2 << 30 }
    }
}

/// A decoded picture.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Upright, as Pillow's `convert("RGB")` would make it. When a smaller size was enough, it may be
    /// smaller than the file's, never smaller than asked.
    pub rgb: RgbImage,
    /// Upright size of the full picture.
    pub width: u32,
    /// Upright size of the full picture.
    pub height: u32,
    /// What it was.
    pub format: Format,
    /// Set when a part of the file did not decode: what was wrong.
    pub damaged: Option<String>,
}

/// Decodes a file's bytes. `enough`: the shorter edge that the caller needs; a decoder that can give a
/// smaller picture cheaply may use it. `None` for full size.
pub fn decode(_bytes: &[u8], _limits: &Limits, _enough: Option<u32>) -> Result<Picture> {
    unimplemented!()
}

/// A copy whose longer edge is at most `edge` pixels.
pub fn thumbnail(_picture: &RgbImage, _edge: u32) -> RgbImage {
    unimplemented!()
}
