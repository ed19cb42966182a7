//! PNG and the default picture of APNG, row by row, so that a file that ends early gives what it has.

use std::io::Cursor;

use png::{BitDepth, ColorType, DecodeOptions, Decoder, DecodingError, Transformations};

use super::Decoded;
use super::limits::Limits;
use super::rgb;
use crate::error::{Error, Result};
use crate::kind::Format;

pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Decoded> {
    match attempt(bytes, limits, DecodeOptions::default())? {
        Decoded {
            damaged: Some(damage),
            ..
        } => {
            // A wrong checksum stops a decoder that could go on; what it finds then is shown as damaged.
            let mut lenient = DecodeOptions::default();
            lenient.set_ignore_checksums(true);
            let Decoded { rgb, .. } = attempt(bytes, limits, lenient)?;
            Decoded::rest(rgb, Some(damage))
        }
        whole => Ok(whole),
    }
}

fn attempt(bytes: &[u8], limits: &Limits, options: DecodeOptions) -> Result<Decoded> {
    let mut decoder = Decoder::new_with_options(Cursor::new(bytes), options);
    decoder.set_limits(png::Limits {
        bytes: limits.in_memory(),
    });
    decoder.set_ignore_text_chunk(true);
    // Palettes and fewer than 8 bits become 8-bit samples, transparent colours become alpha.
    decoder.set_transformations(Transformations::EXPAND);
    let header = decoder.read_header_info().map_err(error)?;
    let (size, in_file) = ((header.width, header.height), header.color_type);
    let bytes_a_sample = if header.bit_depth == BitDepth::Sixteen {
        2
    } else {
        1
    };
    limits.check(size, 4 * bytes_a_sample + 3, bytes, Format::Png)?;

    let mut reader = decoder.read_info().map_err(error)?;
    let length = reader
        .output_buffer_size()
        .ok_or_else(|| Error::TooLarge("its rows".into()))?;
    let mut samples = vec![0; length];
    let damaged = reader
        .next_frame(&mut samples)
        .err()
        .map(|error| error.to_string());
    let (colour, depth) = reader.output_color_type();
    let a_pixel = colour.samples();
    let rgb = if depth == BitDepth::Sixteen {
        let words = samples.as_chunks().0;
        let level = if in_file == ColorType::Grayscale {
            rgb::clipped
        } else {
            rgb::high_byte
        };
        rgb::from_samples(size, words, a_pixel, |word| level(u16::from_be_bytes(word)))?
    } else if a_pixel == 3 {
        rgb::from_rgb(size, samples)?
    } else {
        rgb::from_samples(size, &samples, a_pixel, |level| level)?
    };
    Ok(Decoded {
        damaged,
        ..Decoded::whole(rgb)
    })
}

fn error(error: DecodingError) -> Error {
    match error {
        DecodingError::LimitsExceeded => Error::TooLarge(error.to_string()),
        error => Error::broken(error),
    }
}
