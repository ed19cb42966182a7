//! The first page of a TIFF. Colour kinds that the crate `image` refuses (palettes, greys of 2 and 4
//! bits, YCbCr, floats) are made RGB here, as Pillow makes them.

use std::borrow::Cow;
use std::io::Cursor;

use image::RgbImage;
use tiff::decoder::{Decoder, DecodingResult};
use tiff::tags::Tag;
use tiff::{ColorType, TiffError};

use super::Decoded;
use super::limits::Limits;
use super::rgb;
use crate::error::{Error, Result};
use crate::kind::Format;
use crate::tiff_head;

pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Decoded> {
    let indexed = tiff_head::palette_as_grey(bytes).map(Cow::Owned);
    let has_palette = indexed.is_some();
    let bytes = indexed.unwrap_or(Cow::Borrowed(bytes));
    let mut decoder = Decoder::new(Cursor::new(&bytes[..])).map_err(error)?;
    let size = decoder.dimensions().map_err(error)?;
    let colour = match decoder.colortype().map_err(error)? {
        ColorType::Gray(bits @ (1 | 2 | 4 | 8)) if has_palette => ColorType::Palette(bits),
        colour => colour,
    };
    let samples = u64::from(colour.num_samples());
    let bytes_a_sample = u64::from(colour.bit_depth()).div_ceil(8);
    limits.check(size, 2 * samples * bytes_a_sample + 3, &bytes, Format::Tiff)?;
    let mut own = tiff::decoder::Limits::default();
    own.decoding_buffer_size = limits.in_memory();
    own.intermediate_buffer_size = limits.in_memory();
    decoder = decoder.with_limits(own);
    let palette = match colour {
        ColorType::Palette(_) => decoder.get_tag_u16_vec(Tag::ColorMap).map_err(error)?,
        _ => Vec::new(),
    };

    let mut data = DecodingResult::U8(Vec::new());
    let layout = decoder.read_image_to_buffer(&mut data).map_err(error)?;
    let samples = Samples {
        size,
        colour,
        palette,
        planes: layout.planes,
    };
    let rgb = match data {
        DecodingResult::U8(levels) => samples.rgb_of_bytes(levels),
        DecodingResult::U16(words) if samples.is_grey() => samples.rgb(&words, rgb::clipped),
        DecodingResult::U16(words) => samples.rgb(&words, rgb::high_byte),
        // Pillow takes numbers of other kinds as levels, and cuts them.
        DecodingResult::F32(values) => samples.rgb(&values, |value| value as u8),
        DecodingResult::F64(values) => samples.rgb(&values, |value| value as u8),
        DecodingResult::U32(values) => samples.rgb(&values, |value| value.min(255) as u8),
        DecodingResult::I16(values) => samples.rgb(&values, |value| value.clamp(0, 255) as u8),
        DecodingResult::I32(values) => samples.rgb(&values, |value| value.clamp(0, 255) as u8),
        _ => Err(Error::Broken(format!("its samples are {colour:?}"))),
    }?;
    Ok(Decoded::whole(rgb))
}

/// What the samples of a page are.
struct Samples {
    size: (u32, u32),
    colour: ColorType,
    palette: Vec<u16>,
    planes: usize,
}

impl Samples {
    fn is_grey(&self) -> bool {
        matches!(
            self.colour,
            ColorType::Gray(_) | ColorType::GrayA(_) | ColorType::Multiband { .. }
        )
    }

    /// Samples of a byte each, or several in a byte.
    fn rgb_of_bytes(&self, levels: Vec<u8>) -> Result<RgbImage> {
        match self.colour {
            ColorType::Palette(bits) => {
                let indices = self.unpacked(levels, bits);
                self.coloured(&indices, 1, |[index, ..]| {
                    let entries = self.palette.len() / 3;
                    // A table of 16-bit reds, then greens, then blues.
                    [0, 1, 2].map(|channel| {
                        let entry = self.palette.get(channel * entries + usize::from(index));
                        rgb::high_byte(entry.copied().unwrap_or(0))
                    })
                })
            }
            ColorType::Gray(bits @ (1 | 2 | 4)) => {
                let most = (1_u16 << bits) - 1;
                let levels = self.unpacked(levels, bits);
                self.rgb(&levels, |level| (u16::from(level) * 255 / most) as u8)
            }
            ColorType::CMYK(8) | ColorType::CMYKA(8) => {
                let a_pixel = usize::from(self.colour.num_samples());
                self.coloured(&levels, a_pixel, rgb::from_cmyk)
            }
            ColorType::YCbCr(8) => {
                self.coloured(&levels, 3, |[y, cb, cr, _]| rgb::from_ycc(y, cb, cr))
            }
            ColorType::Gray(8) | ColorType::GrayA(8) | ColorType::RGB(8) | ColorType::RGBA(8) => {
                self.rgb(&levels, |level| level)
            }
            ColorType::Multiband { bit_depth: 8, .. } => self.rgb(&levels, |level| level),
            other => Err(Error::Broken(format!("its colours are {other:?}"))),
        }
    }

    /// Grey or RGB, with whatever samples more.
    fn rgb<T: Copy>(&self, samples: &[T], level: impl Fn(T) -> u8) -> Result<RgbImage> {
        let a_pixel = usize::from(self.colour.num_samples());
        let matrix = self.interleaved(samples, a_pixel);
        if self.is_grey() {
            let greys: Vec<T> = matrix
                .chunks_exact(a_pixel.max(1))
                .map(|pixel| pixel[0])
                .collect();
            return rgb::from_samples(self.size, &greys, 1, level);
        }
        match self.colour {
            ColorType::RGB(_) | ColorType::RGBA(_) => {
                rgb::from_samples(self.size, &matrix, a_pixel, level)
            }
            other => Err(Error::Broken(format!("its colours are {other:?}"))),
        }
    }

    /// Colours that up to four samples make together.
    fn coloured(
        &self,
        samples: &[u8],
        a_pixel: usize,
        to_rgb: impl Fn([u8; 4]) -> [u8; 3],
    ) -> Result<RgbImage> {
        let matrix = self.interleaved(samples, a_pixel);
        let pixels = matrix.chunks_exact(a_pixel.max(1)).flat_map(|pixel| {
            let mut four = [0; 4];
            for (to, from) in four.iter_mut().zip(pixel) {
                *to = *from;
            }
            to_rgb(four)
        });
        rgb::from_rgb(self.size, pixels.collect())
    }

    /// Pixel by pixel, where the file has plane by plane.
    fn interleaved<'s, T: Copy>(&self, samples: &'s [T], a_pixel: usize) -> Cow<'s, [T]> {
        let pixels = self.size.0 as usize * self.size.1 as usize;
        if self.planes <= 1 || samples.len() < pixels * a_pixel {
            return Cow::Borrowed(samples);
        }
        (0..pixels * a_pixel)
            .map(|i| samples[i % a_pixel * pixels + i / a_pixel])
            .collect()
    }

    /// Samples of 1, 2 or 4 bits, whose rows begin on whole bytes.
    fn unpacked(&self, packed: Vec<u8>, bits: u8) -> Vec<u8> {
        if !matches!(bits, 1 | 2 | 4) {
            return packed;
        }
        let width = self.size.0 as usize;
        let a_byte = 8 / usize::from(bits);
        let mask = (1 << bits) - 1;
        packed
            .chunks_exact(width.div_ceil(a_byte).max(1))
            .flat_map(|row| {
                let sample = move |i: usize| {
                    row[i / a_byte] >> (8 - usize::from(bits) * (i % a_byte + 1)) & mask
                };
                (0..width).map(sample)
            })
            .collect()
    }
}

fn error(error: TiffError) -> Error {
    match error {
        TiffError::LimitsExceeded => Error::TooLarge(error.to_string()),
        error => Error::broken(error),
    }
}
