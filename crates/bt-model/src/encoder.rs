//! A checkpoint that is ready for words and pictures: tokenizer, image processor, graph and calibration
//! as one value. The graph alone is in `model.rs`.

use image::RgbImage;

use crate::calibration::Calibration;
use crate::checkpoint::Event;
use crate::error::Result;
use crate::exec::Exec;
use crate::pixels::{Fit, Pixels};

/// What a user says about a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelChoice {
    /// A name (`mini`, `large-itm-mlm-itc`, ...), a Hub id or a folder.
    pub spec: String,
    /// How pictures become squares.
    pub fit: Fit,
}

/// Which heads a checkpoint has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Heads {
    /// Contrastive text and image embeddings.
    pub itc: bool,
    /// Contrastive embedding of a text and a picture together.
    pub itc_cross: bool,
    /// Picture-text matching.
    pub itm: bool,
    /// Masked words.
    pub mlm: bool,
}

/// An embedded text.
#[derive(Clone, Debug, PartialEq)]
pub struct TextEmbedding {
    /// Unit length, [`Encoder::embedding_dim`] long.
    pub vector: Vec<f32>,
    /// Whether the text was longer than the model's limit and was cut.
    pub truncated: bool,
}

/// What the cross-modal layers read of one picture; independent of any text, so it can be kept.
#[derive(Clone, Debug)]
pub struct PictureStates {}

/// Where in a picture one word of a text was found.
#[derive(Clone, Debug, PartialEq)]
pub struct WordHeat {
    /// The word as it stands in the text.
    pub word: String,
    /// Attention of the word's tokens over the patches, row-major, non-negative, summing to at most 1.
    pub heat: Vec<f32>,
    /// Patches in a row and in a column.
    pub grid: usize,
}

/// A loaded model. Shared between threads.
#[derive(Debug)]
pub struct Encoder {}

impl Encoder {
    /// Finds (or downloads) a checkpoint and loads it.
    pub fn load(_choice: &ModelChoice, _exec: &Exec, _on: &mut dyn FnMut(Event)) -> Result<Self> {
        unimplemented!()
    }
    /// What the user said.
    pub fn choice(&self) -> &ModelChoice {
        unimplemented!()
    }
    /// Fingerprint of configuration, weights, tokenizer, image processor and fit, as hexadecimal text.
    pub fn id(&self) -> &str {
        unimplemented!()
    }
    /// What the checkpoint can do.
    pub fn heads(&self) -> Heads {
        unimplemented!()
    }
    /// Length of a vector from [`Encoder::embed_pictures`].
    pub fn embedding_dim(&self) -> usize {
        unimplemented!()
    }
    /// Scores to probabilities.
    pub fn calibration(&self) -> &Calibration {
        unimplemented!()
    }
    /// Edge in pixels of the square that the model sees.
    pub fn image_side(&self) -> usize {
        unimplemented!()
    }
    /// The shorter edge that a decoded picture needs at least, for scaled decoding.
    pub fn enough_pixels(&self) -> u32 {
        unimplemented!()
    }
    /// Fits a picture to the model; cheap, meant for the decoding threads.
    pub fn prepare(&self, _picture: &RgbImage) -> Pixels {
        unimplemented!()
    }
    /// One unit-length vector a picture, in order. Without ITC heads: the pooled picture state with an
    /// empty text, which compares pictures with pictures only.
    pub fn embed_pictures(&self, _pictures: &[&Pixels]) -> Result<Vec<Vec<f32>>> {
        unimplemented!()
    }
    /// One unit-length vector a text, in order.
    ///
    /// # Errors
    /// `NoHead` without an ITC head.
    pub fn embed_texts(&self, _texts: &[&str]) -> Result<Vec<TextEmbedding>> {
        unimplemented!()
    }
    /// A text and a picture as one query (the cross ITC head).
    ///
    /// # Errors
    /// `NoHead` without one.
    pub fn embed_pair(&self, _text: &str, _picture: &Pixels) -> Result<Vec<f32>> {
        unimplemented!()
    }
    /// What reranking and explanation need of each picture, in order.
    pub fn picture_states(&self, _pictures: &[&Pixels]) -> Result<Vec<PictureStates>> {
        unimplemented!()
    }
    /// ITM logit difference (match minus no match) of one text with each picture, in order.
    ///
    /// # Errors
    /// `NoHead` without an ITM head.
    pub fn match_logits(&self, _text: &str, _pictures: &[&PictureStates]) -> Result<Vec<f32>> {
        unimplemented!()
    }
    /// Where the words of a text were found in a picture: the text's cross-attention over the patches,
    /// averaged over heads and cross layers, one map a word.
    pub fn word_heat(&self, _text: &str, _picture: &PictureStates) -> Result<Vec<WordHeat>> {
        unimplemented!()
    }
}
