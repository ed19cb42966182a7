//! Samples of any kind to 8-bit RGB, as Pillow's `convert("RGB")` does it: alpha is dropped and not
//! composited, grey is repeated, CMYK is multiplied out without a colour profile.

use image::{DynamicImage, RgbImage};

use crate::error::{Error, Result};

/// One, two (grey), three or more (colour) samples a pixel; those beyond the third are dropped.
pub(super) fn from_samples<T: Copy>(
    (width, height): (u32, u32),
    samples: &[T],
    a_pixel: usize,
    level: impl Fn(T) -> u8,
) -> Result<RgbImage> {
    let mut rgb = Vec::with_capacity(samples.len() / a_pixel.max(1) * 3);
    for pixel in samples.chunks_exact(a_pixel.max(1)) {
        match pixel {
            [red, green, blue, ..] => rgb.extend([level(*red), level(*green), level(*blue)]),
            [grey, ..] => rgb.extend([level(*grey); 3]),
            [] => {}
        }
    }
    from_rgb((width, height), rgb)
}

/// The picture of a buffer that a decoder filled.
pub(super) fn from_rgb((width, height): (u32, u32), rgb: Vec<u8>) -> Result<RgbImage> {
    RgbImage::from_raw(width, height, rgb)
        .ok_or_else(|| Error::broken("fewer pixels than its header says"))
}

/// Pillow takes the high byte of 16-bit colours.
pub(super) fn high_byte(sample: u16) -> u8 {
    (sample >> 8) as u8
}

/// But 16-bit greys are clipped, not scaled: what is above 255 is white.
pub(super) fn clipped(sample: u16) -> u8 {
    u8::try_from(sample).unwrap_or(u8::MAX)
}

/// Ink to light, where 255 is full ink.
pub(super) fn from_cmyk([cyan, magenta, yellow, black]: [u8; 4]) -> [u8; 3] {
    let light = u32::from(255 - black);
    [cyan, magenta, yellow].map(|ink| {
        let product = u32::from(ink) * light + 128;
        (light - (((product >> 8) + product) >> 8)) as u8
    })
}

/// JPEG's luma and chroma to light, in libjpeg's integer arithmetic.
pub(super) fn from_ycc(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
    let fixed = |value: f64| (value * 65536.0 + 0.5) as i32;
    let round = |value: i32| (value + 0x8000) >> 16;
    let red = y + round(fixed(1.402) * cr);
    let green = y + round(-fixed(0.344_14) * cb - fixed(0.714_14) * cr);
    let blue = y + round(fixed(1.772) * cb);
    [red, green, blue].map(|level| level.clamp(0, 255) as u8)
}

/// What the decoders of the crate `image` give. Values of float pictures are light, so they are cut to
/// 0..=1 and encoded as sRGB.
pub(super) fn from_dynamic(picture: DynamicImage) -> Result<RgbImage> {
    let size = (picture.width(), picture.height());
    // 16 bits are scaled with rounding, as Pillow's PNM does.
    let scaled = |sample: u16| ((u32::from(sample) + 128) / 257) as u8;
    match picture {
        DynamicImage::ImageRgb8(rgb) => Ok(rgb),
        DynamicImage::ImageLuma8(p) => from_samples(size, p.as_raw(), 1, |s| s),
        DynamicImage::ImageLumaA8(p) => from_samples(size, p.as_raw(), 2, |s| s),
        DynamicImage::ImageRgba8(p) => from_samples(size, p.as_raw(), 4, |s| s),
        DynamicImage::ImageLuma16(p) => from_samples(size, p.as_raw(), 1, scaled),
        DynamicImage::ImageLumaA16(p) => from_samples(size, p.as_raw(), 2, scaled),
        DynamicImage::ImageRgb16(p) => from_samples(size, p.as_raw(), 3, scaled),
        DynamicImage::ImageRgba16(p) => from_samples(size, p.as_raw(), 4, scaled),
        DynamicImage::ImageRgb32F(p) => from_samples(size, p.as_raw(), 3, from_light),
        DynamicImage::ImageRgba32F(p) => from_samples(size, p.as_raw(), 4, from_light),
        other => Err(Error::Broken(format!("its pixels are {:?}", other.color()))),
    }
}

/// Linear light to an sRGB level; NaN is black.
fn from_light(light: f32) -> u8 {
    let light = light.clamp(0.0, 1.0);
    let encoded = if light <= 0.003_130_8 {
        12.92 * light
    } else {
        1.055 * light.powf(1.0 / 2.4) - 0.055
    };
    (encoded * 255.0 + 0.5) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ink_is_multiplied_out_as_pillow_does() {
        // Image.new("CMYK", (1, 1), ink).convert("RGB").getpixel((0, 0)), Pillow 13.0.
        for (ink, rgb) in CMYK {
            assert_eq!(from_cmyk(ink), rgb);
        }
    }

    #[test]
    fn light_is_cut_and_encoded() {
        let levels = [f32::NAN, -1.0, 0.0, 0.002, 0.22, 1.0, 80.0, f32::INFINITY].map(from_light);
        assert_eq!(levels, [0, 0, 0, 7, 129, 255, 255, 255]);
    }

    const CMYK: [([u8; 4], [u8; 3]); 6] = [
        ([0, 0, 0, 0], [255, 255, 255]),
        ([255, 255, 255, 255], [0, 0, 0]),
        ([10, 100, 200, 30], [216, 137, 49]),
        ([77, 1, 254, 128], [89, 127, 0]),
        ([255, 0, 13, 0], [0, 255, 242]),
        ([3, 90, 180, 250], [5, 3, 1]),
    ];
}
