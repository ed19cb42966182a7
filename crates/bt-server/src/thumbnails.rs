//! Small copies of pictures, and overlays that show where words were found: made when first asked for, kept
//! within a bound of memory.

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::StatusCode;
use bt_picture::JPEG_QUALITY;
use bt_query::Scorer;
use bt_store::{ContentHash, Record};
use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use moka::sync::Cache;

use crate::decoder::Decoder;
use crate::error::ApiError;
use crate::original::Originals;

/// Longer edges of thumbnails; what is asked is rounded up to one of them.
pub(crate) const EDGES: [u32; 4] = [160, 320, 640, 1024];
/// Longer edge of an overlay.
const OVERLAY_EDGE: u32 = 640;
/// Memory for overlays.
const HEAT_BYTES: u64 = 32 << 20;
/// What an entry costs beside its bytes.
const ENTRY: usize = 256;

/// Thumbnails by picture and edge.
#[derive(Debug)]
pub(crate) struct Thumbnails {
    kept: Cache<(ContentHash, u32), Bytes>,
    decoder: Arc<Decoder>,
}

impl Thumbnails {
    /// Keeps at most so many bytes.
    pub(crate) fn new(most: u64, decoder: Arc<Decoder>) -> Self {
        Self {
            kept: Cache::builder()
                .max_capacity(most)
                .weigher(|_, jpeg: &Bytes| weight(jpeg.len()))
                .build(),
            decoder,
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
            let picture = self.decoder.indexed(&originals.read(record)?, edge)?;
            jpeg(&bt_picture::thumbnail(&picture.rgb, edge))
        };
        let entry = self.kept.try_get_with((record.id, edge), make);
        entry.map_err(Arc::unwrap_or_clone)
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
        (originals, decoder): (&Originals, &Decoder),
    ) -> Result<Overlays, ApiError> {
        let make = || {
            let edge = OVERLAY_EDGE.max(scorer.enough_pixels());
            let picture = decoder.indexed(&originals.read(record)?, edge)?;
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
    fn what_is_kept_has_a_bound() {
        let thumbnails = Thumbnails::new(10 * 1024, Arc::new(Decoder::new(1)));
        for n in 0..100u8 {
            let bytes = Bytes::from(vec![n; 1024 - ENTRY]);
            thumbnails.kept.insert((ContentHash([n; 32]), 160), bytes);
            thumbnails.kept.run_pending_tasks();
            assert!(thumbnails.kept.weighted_size() <= 10 * 1024);
        }
    }
}
