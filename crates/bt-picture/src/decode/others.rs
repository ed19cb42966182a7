//! The formats that need no care of their own, by the crate `image`.

use std::io::Cursor;

use image::{ImageDecoder, ImageFormat, ImageReader};

use super::Decoded;
use super::limits::Limits;
use super::rgb;
use crate::error::{Error, Result};
use crate::kind::Format;

pub(super) fn decode(bytes: &[u8], format: Format, limits: &Limits) -> Result<Decoded> {
    let name = match format {
        Format::WebP => ImageFormat::WebP,
        Format::Bmp => ImageFormat::Bmp,
        Format::Ico => ImageFormat::Ico,
        Format::Tga => ImageFormat::Tga,
        Format::Pnm => ImageFormat::Pnm,
        Format::Qoi => ImageFormat::Qoi,
        Format::Farbfeld => ImageFormat::Farbfeld,
        Format::Hdr => ImageFormat::Hdr,
        Format::Exr => ImageFormat::OpenExr,
        _ => return Err(Error::NotAPicture),
    };
    let mut reader = ImageReader::with_format(Cursor::new(bytes), name);
    reader.limits(limits.of_image());
    let mut decoder = reader.into_decoder()?;
    let bytes_a_pixel = u64::from(decoder.color_type().bytes_per_pixel());
    limits.check(decoder.dimensions(), 2 * bytes_a_pixel + 3, bytes, format)?;
    decoder.set_limits(limits.of_image())?;
    Ok(Decoded::whole(rgb::from_dynamic(
        image::DynamicImage::from_decoder(decoder)?,
    )?))
}
