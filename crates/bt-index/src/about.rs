//! What a decoded picture and its metadata say, in the words of the store.

use bt_picture::{Metadata, Picture};
use bt_store::About;
use jiff::tz::TimeZone;

use crate::caption::Words;

/// Everything but captions and keywords, which sidecars have a say in.
pub(crate) fn about(picture: &Picture, metadata: &Metadata) -> About {
    About {
        width: picture.width,
        height: picture.height,
        format: picture.format.name().to_owned(),
        taken: metadata.taken.and_then(camera_seconds),
        camera: metadata.camera.clone(),
        lens: metadata.lens.clone(),
        gps: metadata.gps,
        damaged: picture.damaged.clone(),
        ..About::default()
    }
}

/// What the file itself says in words.
pub(crate) fn words(metadata: Metadata) -> Words {
    Words {
        captions: metadata.captions,
        keywords: metadata.keywords,
    }
}

/// The camera's clock has no zone: its reading is counted as if it were UTC.
fn camera_seconds(taken: jiff::civil::DateTime) -> Option<i64> {
    TimeZone::UTC
        .to_timestamp(taken)
        .ok()
        .map(|moment| moment.as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cameras_clock_is_counted_as_it_reads() {
        let reading = jiff::civil::date(1970, 1, 2).at(0, 0, 1, 500);
        assert_eq!(camera_seconds(reading), Some(86_401));
    }
}
