//! JPEG by `zune-jpeg`, with two things done here: pictures of four components, whose inks the crate
//! inverts, and files that end early, of which what is there is kept.

use std::borrow::Cow;

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::Decoded;
use super::limits::Limits;
use super::rgb;
use crate::blocks;
use crate::error::{Error, Result};
use crate::kind::Format;

pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Decoded> {
    // Without an end marker the crate gives up on scans that it has read in part.
    let cut = blocks::jpeg_is_cut(bytes).and_then(|length| bytes.get(..length));
    let bytes = cut.map_or(Cow::Borrowed(bytes), |whole| {
        [whole, &[0xff, 0xd9]].concat().into()
    });
    let options = DecoderOptions::default()
        .set_strict_mode(false)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX));
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(&bytes[..]), options);
    decoder.decode_headers().map_err(Error::broken)?;
    let (Some(info), Some(input)) = (decoder.info(), decoder.input_colorspace()) else {
        return Err(Error::broken("no header"));
    };
    let size = (u32::from(info.width), u32::from(info.height));
    let colours = match (info.components, input) {
        (1, _) => Colours::Grey,
        (3, _) => Colours::Rgb,
        (4, ColorSpace::YCCK) => Colours::Ycck,
        (4, _) => Colours::Cmyk,
        (number, _) => return Err(Error::Broken(format!("it has {number} components"))),
    };
    // Progressive files are held as coefficients of two bytes.
    let coefficients = if info.sof.is_sequential_dct() {
        0
    } else {
        2 * u64::from(info.components)
    };
    let samples = colours.samples();
    limits.check(
        size,
        samples as u64 + 3 + coefficients,
        &bytes,
        Format::Jpeg,
    )?;

    decoder.set_options(options.jpeg_set_out_colorspace(colours.output()));
    let mut levels = vec![GROUND; size.0 as usize * size.1 as usize * samples];
    let damage = decoder
        .decode_into(&mut levels)
        .err()
        .map(|error| error.to_string());
    let damage = damage.or_else(|| cut.map(|_| "the file ends early".to_owned()));
    Decoded::rest(colours.to_rgb(size, levels)?, damage)
}

/// What is not decoded stays grey, as the crate leaves it too.
const GROUND: u8 = 128;

/// What the components are.
#[derive(Clone, Copy)]
enum Colours {
    Grey,
    Rgb,
    Cmyk,
    Ycck,
}

impl Colours {
    fn samples(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::Rgb => 3,
            Self::Cmyk | Self::Ycck => 4,
        }
    }

    /// What the crate is asked for; four components as they are in the file.
    fn output(self) -> ColorSpace {
        match self {
            Self::Grey => ColorSpace::Luma,
            Self::Rgb => ColorSpace::RGB,
            Self::Cmyk => ColorSpace::CMYK,
            Self::Ycck => ColorSpace::YCCK,
        }
    }

    /// Pillow takes every file of four components as Adobe writes it: 0 is full ink.
    fn to_rgb(self, size: (u32, u32), levels: Vec<u8>) -> Result<image::RgbImage> {
        let four = |to_rgb: fn([u8; 4]) -> [u8; 3]| {
            rgb::from_rgb(
                size,
                levels
                    .as_chunks()
                    .0
                    .iter()
                    .flat_map(|pixel| to_rgb(*pixel))
                    .collect(),
            )
        };
        match self {
            Self::Grey => rgb::from_samples(size, &levels, 1, |level| level),
            Self::Rgb => rgb::from_rgb(size, levels),
            Self::Cmyk => four(|inverted| rgb::from_cmyk(inverted.map(|ink| 255 - ink))),
            Self::Ycck => four(|[y, cb, cr, black]| {
                // libjpeg makes ink of the three (255 - light), and Pillow inverts that as well.
                let ink = from_ycc(y, cb, cr);
                rgb::from_cmyk([ink[0], ink[1], ink[2], 255 - black])
            }),
        }
    }
}

/// libjpeg's integer arithmetic.
pub(super) fn from_ycc(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
    let fixed = |value: f64| (value * 65536.0 + 0.5) as i32;
    let round = |value: i32| (value + 0x8000) >> 16;
    let red = y + round(fixed(1.402) * cr);
    let green = y + round(-fixed(0.344_14) * cb - fixed(0.714_14) * cr);
    let blue = y + round(fixed(1.772) * cb);
    [red, green, blue].map(|level| level.clamp(0, 255) as u8)
}
