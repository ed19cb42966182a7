//! BridgeTower (Xu et al., AAAI 2023): a picture tower and a text tower joined by cross-modal layers,
//! with heads for contrastive embeddings (ITC), picture-text matching (ITM) and masked words (MLM).
//!
//! Most callers want [`Encoder`]: a checkpoint that is ready for words and pictures. The graph itself is
//! [`BridgeTower`]. Decoding files is `bt-picture`'s, storing vectors `bt-store`'s.

mod calibration;
mod checkpoint;
mod encoder;
mod error;
mod exec;
mod pixels;
mod resize;

pub use calibration::{Calibration, Platt, RankBy};
pub use checkpoint::{Checkpoint, Event};
pub use encoder::{Encoder, Heads, ModelChoice, PictureStates, TextEmbedding, WordHeat};
pub use error::{Error, Kind, Result};
pub use exec::Exec;
pub use pixels::{Fit, ImageProcessor, Pixels};
