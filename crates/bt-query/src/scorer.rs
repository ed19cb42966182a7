//! What is asked of models: the few calls that answering a query needs, and the models of an index (one
//! that does everything, or one that embeds and one that reranks) behind them.

use std::sync::Arc;

use bt_model::{
    Calibration, Encoder, Event, Exec, Heads, ModelChoice, PictureStates, Pixels, Platt, RankBy,
    TextEmbedding, Window, WordHeat,
};
use bt_store::{ContentHash, Header, ModelRef};
use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::kept::KeptStates;

/// What the loaded models can do; planning depends on this and on the index, nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abilities {
    /// Words and pictures become vectors that can be compared (ITC heads).
    pub itc: bool,
    /// Words and a picture together become one such vector (cross ITC head).
    pub itc_cross: bool,
    /// A probability that words and a picture match (ITM head).
    pub itm: bool,
}

/// A picture as the reranker takes it.
#[derive(Clone, Debug)]
pub enum Look {
    /// Decoded for this query.
    Fresh {
        /// Whose pixels they are, for a scorer that keeps what it makes of them.
        id: ContentHash,
        /// From [`Scorer::prepare`].
        pixels: Arc<Pixels>,
    },
    /// What the model made of it earlier, from [`Scorer::states`].
    Known(PictureStates),
}

/// The models behind a query. Shared between threads.
pub trait Scorer: Send + Sync {
    /// What can be asked.
    fn abilities(&self) -> Abilities;
    /// Scores to probabilities.
    fn calibration(&self) -> &Calibration;
    /// The vector of a text, and whether the model's limit cut it.
    ///
    /// # Errors
    /// A model without ITC heads ([`bt_model::Error::NoHead`]), and what the model reports.
    fn embed_text(&self, text: &str) -> Result<TextEmbedding>;
    /// The vector of a picture, as the index keeps it.
    ///
    /// # Errors
    /// What the model reports.
    fn embed_picture(&self, picture: &RgbImage) -> Result<Vec<f32>>;
    /// The vector of a text and a picture together.
    ///
    /// # Errors
    /// A model without a cross ITC head ([`bt_model::Error::NoHead`]), and what the model reports.
    fn embed_pair(&self, text: &str, picture: &RgbImage) -> Result<Vec<f32>>;
    /// The shorter edge that a decoded picture needs, for scaled decoding.
    fn enough_pixels(&self) -> u32;
    /// A picture as the reranker reads it; cheap, meant for the decoding threads.
    fn prepare(&self, picture: &RgbImage) -> Pixels;
    /// What is kept of a picture from an earlier query, so that its file need not be read again.
    fn states(&self, _id: ContentHash) -> Option<PictureStates> {
        None
    }
    /// ITM logit differences: for each text, one a picture, in order.
    ///
    /// # Errors
    /// A model without an ITM head ([`bt_model::Error::NoHead`]), and what the model reports.
    fn match_logits(&self, texts: &[&str], pictures: &[Look]) -> Result<Vec<Vec<f32>>>;
    /// Where the words of a text are in a picture.
    ///
    /// # Errors
    /// What the model reports.
    fn word_heat(&self, text: &str, picture: &Pixels) -> Result<Vec<WordHeat>>;
    /// What part of a picture of this size the reranker sees.
    fn window(&self, width: u32, height: u32) -> Window;
}

/// The models that an index was made for.
#[derive(Debug)]
pub struct Models {
    embedder: Arc<Encoder>,
    reranker: Option<Encoder>,
    calibration: Calibration,
    kept: Option<KeptStates>,
}

impl Models {
    /// One model that embeds and reranks, or two.
    ///
    /// # Errors
    /// `OtherModel` when a fingerprint is not the one in the index's header.
    pub fn new(header: &Header, embedder: Encoder, reranker: Option<Encoder>) -> Result<Self> {
        let same = |reference: &bt_store::ModelRef, encoder: &Encoder| {
            if reference.id.0 == encoder.id() {
                return Ok(());
            }
            Err(Error::OtherModel {
                spec: encoder.choice().spec.clone(),
                expected: reference.id.0.clone(),
                found: encoder.id().to_owned(),
            })
        };
        same(&header.model, &embedder)?;
        if let (Some(reference), Some(encoder)) = (&header.rerank, &reranker) {
            same(reference, encoder)?;
        }
        let calibration = match &reranker {
            None => embedder.calibration().clone(),
            Some(reranker) => of_a_pair(embedder.calibration(), reranker.calibration()),
        };
        Ok(Self {
            embedder: Arc::new(embedder),
            reranker,
            calibration,
            kept: None,
        })
    }

    /// What the reranker makes of pictures is kept for the next run of a program, in files of at most this many
    /// bytes together; 0 for none.
    pub fn keeping(mut self, most_bytes: u64) -> Self {
        self.kept = match most_bytes {
            0 => None,
            _ => KeptStates::of(self.matcher(), most_bytes),
        };
        self
    }

    /// Loads the models that an index was made with. `spec`: where the one that embeds is, if not where it
    /// was. `reranks`: whether another one that reranks is needed, too.
    ///
    /// # Errors
    /// Those of loading; `OtherModel` when it is not the same.
    pub fn load(
        header: &Header,
        spec: Option<&str>,
        reranks: bool,
        exec: &Exec,
        on: &mut dyn FnMut(Event),
    ) -> Result<Self> {
        let mut load = |reference: &ModelRef, spec: &str| -> Result<Encoder> {
            let choice = ModelChoice {
                spec: spec.to_owned(),
                fit: reference.fit.parse().map_err(bt_model::Error::Usage)?,
            };
            Ok(Encoder::load(&choice, exec, on)?)
        };
        let embedder = load(&header.model, spec.unwrap_or(&header.model.spec))?;
        let reranker = match &header.rerank {
            Some(reference) if reranks => Some(load(reference, &reference.spec)?),
            _ => None,
        };
        Self::new(header, embedder, reranker)
    }

    /// The model that embeds; it can be shared with an indexer.
    pub fn embedder(&self) -> &Arc<Encoder> {
        &self.embedder
    }

    /// The model that reranks.
    pub fn matcher(&self) -> &Encoder {
        self.reranker.as_ref().unwrap_or(&self.embedder)
    }

    /// The states of pictures, in order: those that are known, and those of all fresh ones made at once.
    ///
    /// # Errors
    /// Those of the model.
    pub fn states_of(&self, pictures: &[Look]) -> Result<Vec<PictureStates>> {
        let fresh: Vec<&Pixels> = pictures
            .iter()
            .filter_map(|look| match look {
                Look::Fresh { pixels, .. } => Some(&**pixels),
                Look::Known(_) => None,
            })
            .collect();
        let mut made = self.matcher().picture_states(&fresh)?.into_iter();
        pictures
            .iter()
            .filter_map(|look| match look {
                Look::Fresh { id, .. } => made.next().map(|states| {
                    Ok(match &self.kept {
                        Some(kept) => kept.put(*id, states, self.matcher()),
                        None => states,
                    })
                }),
                Look::Known(states) => Some(Ok(states.clone())),
            })
            .collect()
    }
}

/// Calibration of one model's embeddings with another's matching. A weight for the cosine was measured
/// for the reranker's own embeddings, so with another's the logits stand alone, and unscaled; so was how far
/// it lifts a candidate above them.
fn of_a_pair(embedder: &Calibration, reranker: &Calibration) -> Calibration {
    let embedding = embedder.embedding;
    match reranker.rank_by {
        RankBy::Itm => Calibration {
            embedding,
            lift: None,
            ..reranker.clone()
        },
        RankBy::ItmPlusItc { .. } => Calibration {
            embedding,
            rank_by: RankBy::Itm,
            rerank: Platt {
                slope: 1.0,
                intercept: 0.0,
            },
            ..Calibration::default()
        },
    }
}

impl Scorer for Models {
    fn abilities(&self) -> Abilities {
        let Heads { itc, itc_cross, .. } = self.embedder.heads();
        Abilities {
            itc,
            itc_cross,
            itm: self.matcher().heads().itm,
        }
    }

    fn calibration(&self) -> &Calibration {
        &self.calibration
    }

    fn embed_text(&self, text: &str) -> Result<TextEmbedding> {
        let embedded = self.embedder.embed_texts(&[text])?;
        embedded.into_iter().next().ok_or(Error::NoDirection)
    }

    fn embed_picture(&self, picture: &RgbImage) -> Result<Vec<f32>> {
        let pixels = self.embedder.prepare(picture);
        let vectors = self.embedder.embed_pictures(&[&pixels])?;
        vectors.into_iter().next().ok_or(Error::NoDirection)
    }

    fn embed_pair(&self, text: &str, picture: &RgbImage) -> Result<Vec<f32>> {
        let pixels = self.embedder.prepare(picture);
        Ok(self.embedder.embed_pair(text, &pixels)?)
    }

    fn enough_pixels(&self) -> u32 {
        self.matcher().enough_pixels()
    }

    fn prepare(&self, picture: &RgbImage) -> Pixels {
        self.matcher().prepare(picture)
    }

    fn states(&self, id: ContentHash) -> Option<PictureStates> {
        self.kept.as_ref()?.get(id, self.matcher())
    }

    fn match_logits(&self, texts: &[&str], pictures: &[Look]) -> Result<Vec<Vec<f32>>> {
        let states = self.states_of(pictures)?;
        let states: Vec<_> = states.iter().collect();
        texts
            .iter()
            .map(|text| Ok(self.matcher().match_logits(text, &states)?))
            .collect()
    }

    fn word_heat(&self, text: &str, picture: &Pixels) -> Result<Vec<WordHeat>> {
        let states = self.matcher().picture_states(&[picture])?;
        match states.first() {
            None => Ok(Vec::new()),
            Some(states) => Ok(self.matcher().word_heat(text, states)?),
        }
    }

    fn window(&self, width: u32, height: u32) -> Window {
        self.matcher().window(width, height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_of_one_models_embeddings_says_nothing_of_anothers() {
        let embedding = Some(Platt {
            slope: 9.0,
            intercept: -3.0,
        });
        let embedder = Calibration {
            embedding,
            lift: Some(2.0),
            ..Calibration::default()
        };
        let itc = RankBy::ItmPlusItc { itc_weight: 7.0 };
        for rank_by in [RankBy::Itm, itc] {
            let reranker = Calibration {
                rank_by,
                lift: Some(1.0),
                ..Calibration::default()
            };
            let both = of_a_pair(&embedder, &reranker);
            assert_eq!((both.rank_by, both.embedding), (RankBy::Itm, embedding));
            assert_eq!(both.lift, None, "{rank_by:?}");
        }
    }
}
