//! What a decoded picture and its metadata say, in the words of the store.

use bt_picture::{Metadata, Picture, camera_seconds};
use bt_store::About;

use crate::caption::Words;

/// Everything but captions and keywords, which sidecars have a say in.
pub(crate) fn about(picture: &Picture, metadata: &Metadata) -> About {
    About {
        width: picture.width,
        height: picture.height,
        format: picture.format.name().to_owned(),
        taken: metadata.taken.map(camera_seconds),
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
