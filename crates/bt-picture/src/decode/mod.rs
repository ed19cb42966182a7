//! Bytes to an upright RGB picture. Each format that needs care of its own has a file here; what the
//! file says about itself is `metadata/`.

mod contained;
mod gif;
mod jpeg;
mod jxl;
mod limits;
mod others;
mod png;
mod rgb;
mod thumbnail;
mod tiff;

use image::{DynamicImage, RgbImage};

use crate::blocks;
use crate::error::{Error, Result};
use crate::kind::{Format, HEAD_BYTES, Kind, identify};

pub use limits::Limits;
pub use thumbnail::{JPEG_QUALITY, thumbnail};

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

/// Pixels as they lie in the file, not yet turned upright.
struct Decoded {
    rgb: RgbImage,
    /// Size of the picture, where `rgb` is smaller.
    full: Option<(u32, u32)>,
    damaged: Option<String>,
}

impl Decoded {
    fn whole(rgb: RgbImage) -> Self {
        Self {
            rgb,
            full: None,
            damaged: None,
        }
    }

    /// What a decoder left behind when it stopped with `damage`: a picture if anything was drawn on the
    /// even ground that it began with.
    fn rest(rgb: RgbImage, damage: Option<String>) -> Result<Self> {
        match damage {
            Some(damage) if is_even(&rgb) => Err(Error::Broken(damage)),
            damaged => Ok(Self {
                rgb,
                full: None,
                damaged,
            }),
        }
    }
}

fn is_even(rgb: &RgbImage) -> bool {
    let mut pixels = rgb.as_raw().chunks_exact(3);
    pixels
        .next()
        .is_none_or(|first| pixels.all(|pixel| pixel == first))
}

/// Decodes a file's bytes. `enough`: the shorter edge that the caller needs; a decoder that can give a
/// smaller picture cheaply may use it (JPEG does, and leaves at least twice as much). `None` for full size.
///
/// # Errors
/// Says why there is no picture. Never panics: a decoder that does is a broken file.
pub fn decode(bytes: &[u8], limits: &Limits, enough: Option<u32>) -> Result<Picture> {
    let format = match identify(bytes.get(..HEAD_BYTES).unwrap_or(bytes)) {
        Kind::Picture(format) => format,
        Kind::Unsupported(name) => return Err(Error::Unsupported(name)),
        Kind::Other => return Err(Error::NotAPicture),
    };
    contained::run(|| {
        let decoded = match format {
            Format::Jpeg => jpeg::decode(bytes, limits, enough),
            Format::Png => png::decode(bytes, limits),
            Format::Gif => gif::decode(bytes, limits),
            Format::Tiff => tiff::decode(bytes, limits),
            Format::JpegXl => jxl::decode(bytes, limits),
            _ => others::decode(bytes, format, limits),
        }?;
        let mut picture = DynamicImage::ImageRgb8(decoded.rgb);
        let (mut width, mut height) = decoded.full.unwrap_or((picture.width(), picture.height()));
        if let Some(orientation) = blocks::orientation(bytes, format) {
            picture.apply_orientation(orientation);
            if orientation.to_exif() >= 5 {
                (width, height) = (height, width);
            }
        }
        let rgb = picture.into_rgb8();
        Ok(Picture {
            rgb,
            width,
            height,
            format,
            damaged: decoded.damaged,
        })
    })
}
