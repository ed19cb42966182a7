//! From a picture file of any kind to an upright RGB picture, and what the file says about itself.
//!
//! Everything here is safe on hostile bytes: limits are enforced before memory is taken, and a decoder
//! that panics is an error of that file. Fitting a picture to a model's square is `bt-model`'s.
//!
//! The panic hook is wrapped once, so that a decoder that panics is reported as the error that it is and
//! not on stderr as well; panics of anybody else go where they went before.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod blocks;
mod decode;
mod error;
mod kind;
mod metadata;
mod tiff_head;

pub use decode::{JPEG_QUALITY, Limits, Picture, decode, thumbnail};
pub use error::{Error, Result};
pub use kind::{Format, HEAD_BYTES, Kind, identify};
pub use metadata::{Metadata, camera_seconds, camera_time, metadata};
