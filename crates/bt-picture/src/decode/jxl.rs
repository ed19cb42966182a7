//! The first frame of a JPEG XL, which `jxl-oxide` turns upright itself.

use jxl_oxide::color::ColourEncoding;
use jxl_oxide::{AllocTracker, EnumColourEncoding, JxlImage, PixelFormat, RenderingIntent};

use super::Decoded;
use super::limits::Limits;
use super::rgb;
use crate::error::{Error, Result};
use crate::kind::Format;

pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Decoded> {
    let mut picture = JxlImage::builder()
        .alloc_tracker(AllocTracker::with_limit(limits.in_memory()))
        .read(bytes)
        .map_err(Error::broken)?;
    let size = (picture.width(), picture.height());
    // Three planes of f32, twice, and the result.
    limits.check(size, 27, bytes, Format::JpegXl)?;

    // Wide gamut and HDR become sRGB; a picture that only an ICC profile describes stays as it is, as
    // pictures of the other formats do.
    let metadata = &picture.image_header().metadata;
    if metadata.xyb_encoded || matches!(metadata.colour_encoding, ColourEncoding::Enum(_)) {
        let srgb = if picture.pixel_format().is_grayscale() {
            EnumColourEncoding::gray_srgb(RenderingIntent::Relative)
        } else {
            EnumColourEncoding::srgb(RenderingIntent::Relative)
        };
        picture.request_color_encoding(srgb);
    }
    let a_pixel = match picture.pixel_format() {
        PixelFormat::Gray | PixelFormat::Graya => 1,
        PixelFormat::Rgb | PixelFormat::Rgba => 3,
        PixelFormat::Cmyk | PixelFormat::Cmyka => return Err(Error::Unsupported("CMYK JPEG XL")),
    };
    let (render, damage) = if picture.num_loaded_keyframes() > 0 {
        (picture.render_frame(0), None)
    } else {
        (
            picture.render_loading_frame(),
            Some("the file ends early".to_owned()),
        )
    };
    let render = render.map_err(Error::broken)?;
    let mut stream = render.stream_no_alpha();
    if (stream.width(), stream.height(), stream.channels() as usize) != (size.0, size.1, a_pixel) {
        return Err(Error::broken("its frame has another size than its header"));
    }
    let mut levels = vec![0_u8; size.0 as usize * size.1 as usize * a_pixel];
    stream.write_to_buffer(&mut levels);
    Decoded::rest(
        rgb::from_samples(size, &levels, a_pixel, |level| level)?,
        damage,
    )
}
