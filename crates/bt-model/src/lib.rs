//! BridgeTower (Xu et al., AAAI 2023): a picture tower and a text tower joined by cross-modal layers,
//! with heads for contrastive embeddings (ITC), picture-text matching (ITM) and masked words (MLM).
//!
//! Most callers want [`Encoder`]: a checkpoint that is ready for words and pictures. The graph itself is
//! [`BridgeTower`]. Decoding files is `bt-picture`'s, storing vectors `bt-store`'s.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod batches;
pub mod cache;
mod calibration;
mod captions;
mod checkpoint;
mod config;
mod cross;
mod encoder;
mod error;
mod exec;
mod gpu;
mod heads;
mod heat;
mod kernels;
mod learn;
mod loss;
mod model;
mod ops;
mod pixels;
mod precision;
mod probe;
mod rerank_speed;
mod resize;
mod settle;
mod states;
mod token_batch;
mod tokenizer;
mod tower;
mod transfer;

pub use calibration::{Calibration, FIRST_LOOKED_AT, Platt, RankBy};
pub use captions::{Captioned, read_captions};
pub use checkpoint::{
    Checkpoint, ConvertOptions, Converted, Event, Hub, HubError, Info, InfoFile, Parameters, Token,
    convert,
};
pub use config::{Config, ItcImageFrom, Link, TextConfig, VisionConfig};
pub use encoder::{
    Encoder, Features, MaskChoice, ModelChoice, PictureStates, Started, TextEmbedding,
};
pub use error::{Error, Kind, Result};
pub use exec::Exec;
pub use heads::Heads;
pub use heat::WordHeat;
pub use kernels::Activation;
pub use learn::{LearnEvent, LearnOptions, Learnt, ReadPicture, Recall, learn_heads};
pub use loss::Loss;
pub use model::{BridgeTower, Fused, ImageStates, Need, TextStates};
pub use pixels::{Fit, ImageProcessor, Pixels, Window};
pub use precision::Precision;
pub use probe::{Probe, Stage};
pub use rerank_speed::RerankSpeed;
pub use token_batch::TokenBatch;

/// The vector instructions that products are made with here: `portable`, `neon`, `neon-dot`, `avx2`, `avx-vnni`,
/// `avx512`, `avx512-bf16` or `amx`; the environment variable BT_CPU names the most that may be used.
pub fn processor_level() -> &'static str {
    kernels::Level::best().name()
}
