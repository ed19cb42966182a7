//! From a picture file of any kind to an upright RGB picture, and what the file says about itself.
//!
//! Everything here is safe on hostile bytes: limits are enforced before memory is taken, and a decoder
//! that panics is an error of that file. Fitting a picture to a model's square is `bt-model`'s.

mod decode;
mod error;
mod kind;
mod metadata;

pub use decode::{Limits, Picture, decode, thumbnail};
pub use error::{Error, Result};
pub use kind::{Format, HEAD_BYTES, Kind, identify};
pub use metadata::{Metadata, metadata};
