//! Small copies of pictures, and overlays that show where words were found: made when first asked for, kept
//! within a bound of memory.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use axum::http::StatusCode;
use bt_picture::{Error, Limits, Picture};
use bt_query::Scorer;
use bt_store::{ContentHash, Record};
use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use moka::sync::Cache;

use crate::error::ApiError;
use crate::original::Originals;
use crate::request::too_large;

/// Longer edges of thumbnails; what is asked is rounded up to one of them.
pub(crate) const EDGES: [u32; 4] = [160, 320, 640, 1024];
/// Longer edge of an overlay.
const OVERLAY_EDGE: u32 = 640;
const JPEG_QUALITY: u8 = 82;
/// What decoding a picture of ordinary size takes.
const ORDINARY: u64 = 160 << 20;
/// A picture that was indexed has no more.
const MOST_PIXELS: u64 = 400_000_000;
/// Memory for overlays.
const HEAT_BYTES: u64 = 32 << 20;
/// What an entry costs beside its bytes.
const ENTRY: usize = 256;

/// Thumbnails by picture and edge.
#[derive(Debug)]
pub(crate) struct Thumbnails {
    kept: Cache<(ContentHash, u32), Bytes>,
    /// Pictures that take much memory are decoded one at a time.
    large: Mutex<()>,
}

impl Thumbnails {
    /// Keeps at most so many bytes.
    pub(crate) fn new(most: u64) -> Self {
        Self {
            kept: Cache::builder()
                .max_capacity(most)
                .weigher(|_, jpeg: &Bytes| weight(jpeg.len()))
                .build(),
            large: Mutex::new(()),
        }
    }

    /// The thumbnail as JPEG. Who asks for one that is being made waits for it. Blocks.
    pub(crate) fn get(
        &self,
        originals: &Originals,
        record: &Record,
        edge: u32,
    ) -> Result<Bytes, ApiError> {
        if let Some(jpeg) = self.kept.get(&(record.id, edge)) {
            return Ok(jpeg);
        }
        let make = || {
            let picture = self.decode(&originals.read(record)?, edge, MOST_PIXELS)?;
            jpeg(&bt_picture::thumbnail(&picture.rgb, edge))
        };
        let entry = self.kept.try_get_with((record.id, edge), make);
        entry.map_err(Arc::unwrap_or_clone)
    }

    /// A picture of which `edge` pixels are enough. What needs more memory than the ordinary waits until
    /// it is alone with that.
    pub(crate) fn decode(
        &self,
        bytes: &[u8],
        edge: u32,
        max_pixels: u64,
    ) -> Result<Picture, ApiError> {
        let within = |max_bytes| {
            let limits = Limits {
                max_pixels,
                max_bytes,
            };
            bt_picture::decode(bytes, &limits, Some(edge))
        };
        match within(ORDINARY) {
            Err(Error::TooLarge(_)) => {
                let _alone = self.large.lock().unwrap_or_else(PoisonError::into_inner);
                within(Limits::default().max_bytes)
            }
            outcome => outcome,
        }
        .map_err(|cause| match cause {
            Error::TooLarge(_) => too_large(cause.to_string()),
            cause => ApiError::not_a_picture(cause.to_string()),
        })
    }
}

/// The words of a query, each with its overlay as JPEG.
pub(crate) type Overlays = Arc<Vec<(String, Bytes)>>;

/// Overlays by index, picture and text.
#[derive(Debug)]
pub(crate) struct HeatMaps(Cache<(String, ContentHash, String), Overlays>);

impl Default for HeatMaps {
    fn default() -> Self {
        let weigh = |_: &_, overlays: &Overlays| {
            weight(
                overlays
                    .iter()
                    .map(|(word, jpeg)| word.len() + jpeg.len())
                    .sum(),
            )
        };
        Self(
            Cache::builder()
                .max_capacity(HEAT_BYTES)
                .weigher(weigh)
                .build(),
        )
    }
}

impl HeatMaps {
    /// Those that are kept.
    pub(crate) fn kept(&self, index: &str, id: ContentHash, text: &str) -> Option<Overlays> {
        self.0.get(&(index.to_owned(), id, text.to_owned()))
    }

    /// Where the words of a text are in a picture. Who asks for what is being made waits for it. Blocks, and
    /// keeps the model busy.
    pub(crate) fn get(
        &self,
        index: &str,
        text: &str,
        record: &Record,
        scorer: &dyn Scorer,
        (originals, thumbnails): (&Originals, &Thumbnails),
    ) -> Result<Overlays, ApiError> {
        let make = || {
            let edge = OVERLAY_EDGE.max(scorer.enough_pixels());
            let picture = thumbnails.decode(&originals.read(record)?, edge, MOST_PIXELS)?;
            let overlays = bt_query::overlays(text, &picture.rgb, OVERLAY_EDGE, scorer)?;
            let drawn = overlays
                .into_iter()
                .map(|overlay| Ok((overlay.word, jpeg(&overlay.picture)?)));
            drawn.collect::<Result<Vec<_>, ApiError>>().map(Arc::new)
        };
        let key = (index.to_owned(), record.id, text.to_owned());
        loop {
            let mut own = false;
            let entry = self.0.try_get_with(key.clone(), || {
                own = true;
                make()
            });
            match entry.map_err(Arc::unwrap_or_clone) {
                // Who was making it has left or is out of time; those who waited for it are not.
                Err(error) if !own && error.status() == StatusCode::GATEWAY_TIMEOUT => {}
                outcome => return outcome,
            }
        }
    }
}

fn jpeg(picture: &RgbImage) -> Result<Bytes, ApiError> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY)
        .encode_image(picture)
        .map_err(ApiError::internal)?;
    Ok(bytes.into())
}

fn weight(bytes: usize) -> u32 {
    u32::try_from(bytes.saturating_add(ENTRY)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_that_takes_much_memory_is_decoded_nevertheless() {
        // 9000 x 9000 take 243 MB, which is more than the ordinary.
        let picture = RgbImage::from_fn(9000, 9000, |x, _| image::Rgb([(x % 251) as u8; 3]));
        let mut png = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut png, image::ImageFormat::Png).unwrap();
        let thumbnails = Thumbnails::new(1 << 20);
        let decoded = thumbnails
            .decode(&png.into_inner(), 160, MOST_PIXELS)
            .unwrap();
        assert_eq!((decoded.width, decoded.height), (9000, 9000));
    }

    #[test]
    fn what_is_kept_has_a_bound() {
        let thumbnails = Thumbnails::new(10 * 1024);
        for n in 0..100u8 {
            let bytes = Bytes::from(vec![n; 1024 - ENTRY]);
            thumbnails.kept.insert((ContentHash([n; 32]), 160), bytes);
            thumbnails.kept.run_pending_tasks();
            assert!(thumbnails.kept.weighted_size() <= 10 * 1024);
        }
    }
}
