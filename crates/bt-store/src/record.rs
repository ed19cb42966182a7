//! What is kept of a picture, and the changes that a commit is made of. Bytes on disk are in `segment/`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::id::ContentHash;

/// One place where a picture's bytes were seen, with what tells cheaply whether the file has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    /// Absolute path; need not be UTF-8.
    #[serde(with = "crate::path")]
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
    /// Modification time, nanoseconds since 1970-01-01 UTC.
    pub mtime_ns: i64,
}

/// What the file says about itself, and what stands beside it in sidecars.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// Upright size in pixels.
    pub width: u32,
    /// Upright size in pixels.
    pub height: u32,
    /// Lower-case name of the format: `jpeg`, `png`, `webp`, ...
    pub format: String,
    /// Capture time by the camera's own clock, as seconds since 1970-01-01 of that clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken: Option<i64>,
    /// Maker and model, as one text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub camera: Option<String>,
    /// Lens model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lens: Option<String>,
    /// Latitude and longitude in degrees, north and east positive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gps: Option<(f64, f64)>,
    /// Descriptions from EXIF, XMP, IPTC and sidecar files, best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub captions: Vec<String>,
    /// Keywords from XMP and IPTC.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keywords: Vec<String>,
    /// Set when only a part of the file decoded: what was wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damaged: Option<String>,
    /// Stamp of the sidecar files that captions and keywords were read from (their names, sizes and
    /// times); absent when there were none. Tells cheaply that a sidecar came, changed or went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sidecars: Option<u64>,
}

/// A picture in the index, without its vector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Identity.
    pub id: ContentHash,
    /// Every known place of these bytes; empty when all have vanished.
    pub locations: Vec<Location>,
    /// What is known about it.
    pub about: About,
}

/// One step of a commit. All are idempotent: applying one twice leaves what applying it once leaves.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A picture with its unit-length embedding; replaces what was known under the same id.
    Put {
        /// The picture.
        record: Record,
        /// Unit length; as long as the index's dimension.
        embedding: Vec<f32>,
    },
    /// The same picture with other locations or another description; its embedding stays.
    Update(Record),
    /// The picture leaves the index.
    Remove(ContentHash),
}
