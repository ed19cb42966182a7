//! Small copies for looking at; what a model sees is made by `bt-model`.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{PixelType, Resizer};
use image::RgbImage;

/// Quality of the JPEGs that are made for looking at: thumbnails, contact sheets, overlays.
pub const JPEG_QUALITY: u8 = 82;

/// A copy whose longer edge is at most `edge` pixels, aspect kept; a picture that is small enough is
/// copied as it is.
pub fn thumbnail(picture: &RgbImage, edge: u32) -> RgbImage {
    let (width, height) = picture.dimensions();
    let longer = width.max(height);
    if longer <= edge || edge == 0 {
        return picture.clone();
    }
    let scaled = |side: u32| {
        let rounded =
            (u64::from(side) * u64::from(edge) + u64::from(longer) / 2) / u64::from(longer);
        (rounded as u32).max(1)
    };
    let mut small = Image::new(scaled(width), scaled(height), PixelType::U8x3);
    let size = (small.width(), small.height());
    // Both calls fail only on buffers of the wrong length or type, which an `RgbImage` cannot have.
    if let Ok(source) = ImageRef::new(width, height, picture.as_raw(), PixelType::U8x3) {
        let _ = Resizer::new().resize(&source, &mut small, None);
    }
    RgbImage::from_raw(size.0, size.1, small.into_vec()).unwrap_or_else(|| picture.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thumbnail_keeps_the_aspect_and_is_never_larger() {
        let of = |width, height, edge| {
            thumbnail(
                &RgbImage::from_pixel(width, height, image::Rgb([9, 99, 199])),
                edge,
            )
        };
        for ((width, height, edge), size) in [
            ((400, 300, 100), (100, 75)),
            ((300, 400, 100), (75, 100)),
            ((50, 20, 100), (50, 20)),
            ((9000, 2, 100), (100, 1)),
            ((101, 101, 100), (100, 100)),
        ] {
            let small = of(width, height, edge);
            assert_eq!(small.dimensions(), size);
            assert!(small.pixels().all(|pixel| pixel.0 == [9, 99, 199]));
        }
    }
}
