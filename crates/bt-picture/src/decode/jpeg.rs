//! JPEG by two decoders. `jpeg-decoder` has libjpeg's interpolation of chroma and can decode at a half, a
//! quarter or an eighth of the size, but gives nothing of a file with a fault. What it refuses, and files
//! that end early, are `zune-jpeg`'s, which keeps what there is; its chroma is a few levels off.

use std::borrow::Cow;

use jpeg_decoder::PixelFormat;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::Decoded;
use super::limits::Limits;
use super::rgb;
use crate::blocks;
use crate::error::{Error, Result};
use crate::kind::Format;

pub(super) fn decode(bytes: &[u8], limits: &Limits, enough: Option<u32>) -> Result<Decoded> {
    if let Some(length) = blocks::jpeg_is_cut(bytes) {
        // Without an end marker the decoder gives up on scans that it has read in part.
        let whole: Cow<'_, [u8]> = [bytes.get(..length).unwrap_or(bytes), &[0xff, 0xd9]]
            .concat()
            .into();
        return tolerant(&whole, limits, Some("the file ends early"));
    }
    match exact(bytes, limits, enough) {
        Err(Error::Broken(_)) => tolerant(bytes, limits, None),
        outcome => outcome,
    }
}

fn exact(bytes: &[u8], limits: &Limits, enough: Option<u32>) -> Result<Decoded> {
    let mut decoder = jpeg_decoder::Decoder::new(bytes);
    decoder.read_info().map_err(Error::broken)?;
    let info = decoder.info().ok_or_else(|| Error::broken("no header"))?;
    let full = (u32::from(info.width), u32::from(info.height));
    let scaled = match enough {
        Some(enough) => {
            let (width, height) = at_least(full, enough);
            let (width, height) = decoder.scale(width, height).map_err(Error::broken)?;
            (u32::from(width), u32::from(height))
        }
        None => full,
    };
    limits.check_bytes(
        full,
        held(info.pixel_format, full, scaled),
        bytes,
        Format::Jpeg,
    )?;
    let levels = decoder.decode().map_err(Error::broken)?;
    let info = decoder.info().ok_or_else(|| Error::broken("no header"))?;
    let size = (u32::from(info.width), u32::from(info.height));
    let rgb = match info.pixel_format {
        PixelFormat::L8 => rgb::from_samples(size, &levels, 1, |level| level),
        PixelFormat::L16 => {
            let words = levels.as_chunks().0;
            rgb::from_samples(size, words, 1, |word| {
                rgb::high_byte(u16::from_ne_bytes(word))
            })
        }
        PixelFormat::RGB24 => rgb::from_rgb(size, levels),
        // Inverted already, as Adobe's files and Pillow have it.
        PixelFormat::CMYK32 => from_four(size, &levels, rgb::from_cmyk),
    }?;
    Ok(Decoded {
        rgb,
        full: Some(full),
        damaged: None,
    })
}

/// Bytes at the peak: coefficients of the whole picture, which those in several scans keep, and of which the others
/// have as many as wait for a thread; planes, pixels and the result in the size that is made of them.
fn held(format: PixelFormat, full: (u32, u32), scaled: (u32, u32)) -> u64 {
    let pixels = |(width, height): (u32, u32)| u64::from(width) * u64::from(height);
    let samples = format.pixel_bytes() as u64;
    2 * samples * pixels(full) + (2 * samples + 3) * pixels(scaled)
}

/// Twice what the caller needs, so that his own filter still decides how the result looks.
fn at_least((width, height): (u32, u32), enough: u32) -> (u16, u16) {
    let shorter = u64::from(width.min(height)).max(1);
    let scaled = |edge: u32| {
        let wanted = (u64::from(edge) * 2 * u64::from(enough)).div_ceil(shorter);
        u16::try_from(wanted.min(u64::from(edge))).unwrap_or(u16::MAX)
    };
    (scaled(width), scaled(height))
}

fn tolerant(bytes: &[u8], limits: &Limits, damage: Option<&str>) -> Result<Decoded> {
    let options = DecoderOptions::default()
        .set_strict_mode(false)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX));
    let mut decoder = zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(Error::broken)?;
    let (Some(info), Some(input)) = (decoder.info(), decoder.input_colorspace()) else {
        return Err(Error::broken("no header"));
    };
    let size = (u32::from(info.width), u32::from(info.height));
    // Four components as they are in the file: of these the decoder makes something else than Pillow.
    let (samples, output) = match (info.components, input) {
        (1, _) => (1, ColorSpace::Luma),
        (3, _) => (3, ColorSpace::RGB),
        (4, ColorSpace::YCCK) => (4, ColorSpace::YCCK),
        (4, _) => (4, ColorSpace::CMYK),
        (number, _) => return Err(Error::Broken(format!("it has {number} components"))),
    };
    // Progressive files are held as coefficients of two bytes.
    let coefficients = if info.sof.is_sequential_dct() {
        0
    } else {
        2 * samples as u64
    };
    limits.check(size, samples as u64 + 3 + coefficients, bytes, Format::Jpeg)?;

    decoder.set_options(options.jpeg_set_out_colorspace(output));
    let mut levels = vec![GROUND; size.0 as usize * size.1 as usize * samples];
    let fault = decoder
        .decode_into(&mut levels)
        .err()
        .map(|error| error.to_string());
    let rgb = match output {
        ColorSpace::Luma => rgb::from_samples(size, &levels, 1, |level| level),
        ColorSpace::RGB => rgb::from_rgb(size, levels),
        ColorSpace::CMYK => from_four(size, &levels, |inverted| {
            rgb::from_cmyk(inverted.map(|ink| 255 - ink))
        }),
        // libjpeg makes ink of the three (255 - light), and Pillow inverts that as well.
        _ => from_four(size, &levels, |[y, cb, cr, black]| {
            let [red, green, blue] = rgb::from_ycc(y, cb, cr);
            rgb::from_cmyk([red, green, blue, 255 - black])
        }),
    }?;
    Decoded::rest(rgb, fault.or(damage.map(str::to_owned)))
}

/// What is not decoded stays grey, as the decoder leaves it too.
const GROUND: u8 = 128;

fn from_four(
    size: (u32, u32),
    levels: &[u8],
    to_rgb: impl Fn([u8; 4]) -> [u8; 3],
) -> Result<image::RgbImage> {
    rgb::from_rgb(
        size,
        levels
            .as_chunks()
            .0
            .iter()
            .flat_map(|pixel| to_rgb(*pixel))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What bt-index lets a picture of ordinary size take; one that asks for more is decoded alone.
    #[test]
    fn photographs_that_are_scaled_are_no_large_pictures() {
        const ORDINARY: u64 = 160 << 20;
        for full in [(4000, 3000), (6000, 4000)] {
            let scaled = at_least(full, 288);
            assert!(scaled.0 < 2000);
            // Decoding stops at an eighth at the earliest; a quarter is twice what is wanted or less.
            let quarter = (full.0 / 4, full.1 / 4);
            assert!(
                held(PixelFormat::RGB24, full, quarter) < ORDINARY,
                "{full:?}"
            );
        }
    }
}
