//! Pillow's `Image.resize` on 8-bit RGB: the support widens when a picture shrinks, and the result between
//! the two passes is rounded to 8 bits. The arithmetic is `fast_image_resize`'s, within a level or two of
//! Pillow's.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;

/// Pillow's resampling filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resample {
    Nearest,
    Lanczos,
    Bilinear,
    Bicubic,
    Box,
    Hamming,
}

impl Resample {
    /// The filter that `resample` of preprocessor_config.json means (`PIL.Image.Resampling`).
    pub(crate) fn from_pillow(number: u64) -> Option<Self> {
        Some(match number {
            0 => Self::Nearest,
            1 => Self::Lanczos,
            2 => Self::Bilinear,
            3 => Self::Bicubic,
            4 => Self::Box,
            5 => Self::Hamming,
            _ => return None,
        })
    }

    fn algorithm(self) -> ResizeAlg {
        ResizeAlg::Convolution(match self {
            Self::Nearest => return ResizeAlg::Nearest,
            Self::Lanczos => FilterType::Lanczos3,
            Self::Bilinear => FilterType::Bilinear,
            // Pillow's bicubic has a = -0.5, which is Catmull and Rom's.
            Self::Bicubic => FilterType::CatmullRom,
            Self::Box => FilterType::Box,
            Self::Hamming => FilterType::Hamming,
        })
    }
}

/// Exactly `width` x `height`, whatever that does to the aspect. An empty picture gives a black one.
pub(crate) fn resize(picture: &RgbImage, width: u32, height: u32, filter: Resample) -> RgbImage {
    // Between the passes levels are rounded, so their order shows. The crate has one of its own.
    let between = if rows_first(picture.dimensions(), (width, height)) {
        (picture.width(), height)
    } else {
        (width, picture.height())
    };
    let first = pass(picture, between, filter);
    pass(first.as_ref().unwrap_or(picture), (width, height), filter)
        .or(first)
        .unwrap_or_else(|| picture.clone())
}

/// Pillow 13 reduces the height first where that takes off more than twice what the width loses; found by
/// comparing its results with those of either order, for some hundred sizes.
fn rows_first((width, height): (u32, u32), (new_width, new_height): (u32, u32)) -> bool {
    let less = |old: u32, new: u32| i64::from(old) - i64::from(new);
    new_height < height && less(height, new_height) > 2 * less(width, new_width)
}

/// `None` where there is nothing to do.
fn pass(picture: &RgbImage, (width, height): (u32, u32), filter: Resample) -> Option<RgbImage> {
    if picture.dimensions() == (width, height) {
        return None;
    }
    let mut out = Image::new(width, height, PixelType::U8x3);
    let options = ResizeOptions::new().resize_alg(filter.algorithm());
    // Both calls fail only on buffers of the wrong length or type, which an `RgbImage` cannot have.
    if let Ok(source) = ImageRef::new(
        picture.width(),
        picture.height(),
        picture.as_raw(),
        PixelType::U8x3,
    ) {
        let _ = Resizer::new().resize(&source, &mut out, &options);
    }
    RgbImage::from_raw(width, height, out.into_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            image::Rgb([
                (x * 37 % 256) as u8,
                (y * 59 % 256) as u8,
                ((x * y) % 256) as u8,
            ])
        })
    }

    #[test]
    fn bicubic_is_pillows_to_a_level() {
        // Image.fromarray(steps).resize((4, 3), Image.BICUBIC), Pillow 13.0.
        let got = resize(&steps(7, 5), 4, 3, Resample::Bicubic);
        for (got, expected) in got.as_raw().iter().zip(BICUBIC_4X3) {
            assert!(got.abs_diff(expected) <= 1, "{:?}", got);
        }
    }

    #[test]
    fn a_tall_picture_is_reduced_in_pillows_order() {
        // As above, of 6 x 40 to 4 x 6.
        let got = resize(&steps(6, 40), 4, 6, Resample::Bicubic);
        for (got, expected) in got.as_raw().iter().zip(TALL_4X6) {
            assert!(got.abs_diff(expected) <= 1, "{got}, expected {expected}");
        }
        assert!(rows_first((6, 40), (4, 6)));
        assert!(!rows_first((640, 480), (384, 288)));
        assert!(!rows_first((300, 300), (600, 305)));
    }

    #[test]
    fn the_same_size_is_the_same_picture() {
        let picture = steps(9, 4);
        assert_eq!(resize(&picture, 9, 4, Resample::Bicubic), picture);
    }

    #[test]
    fn every_filter_keeps_a_flat_colour() {
        let flat = RgbImage::from_pixel(31, 17, image::Rgb([10, 200, 77]));
        for number in 0..6 {
            let filter = Resample::from_pillow(number).unwrap();
            let out = resize(&flat, 8, 40, filter);
            assert_eq!(out.dimensions(), (8, 40));
            assert!(out.pixels().all(|p| p.0 == [10, 200, 77]), "{filter:?}");
        }
        assert_eq!(Resample::from_pillow(6), None);
    }

    const BICUBIC_4X3: [u8; 36] = [
        15, 21, 0, 77, 21, 1, 145, 21, 1, 207, 21, 2, 15, 118, 1, 77, 118, 4, 145, 118, 8, 207,
        118, 11, 15, 215, 2, 77, 215, 7, 145, 215, 15, 207, 215, 20,
    ];
    const TALL_4X6: [u8; 72] = [
        11, 116, 1, 63, 116, 5, 122, 116, 10, 174, 116, 14, 11, 132, 3, 63, 132, 16, 122, 132, 31,
        174, 132, 44, 11, 144, 5, 63, 144, 27, 122, 144, 53, 174, 144, 76, 11, 130, 7, 63, 130, 39,
        122, 130, 75, 174, 130, 107, 11, 141, 9, 63, 141, 51, 122, 141, 98, 174, 141, 140, 11, 135,
        10, 63, 135, 62, 122, 135, 118, 174, 135, 170,
    ];
}
