//! From raw scores to probabilities, as measured for one checkpoint and kept beside its weights
//! (calibration.json).

use serde::{Deserialize, Serialize};

/// What reranked candidates are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RankBy {
    /// The ITM logit difference alone.
    Itm,
    /// ITM logit difference plus `itc_weight` times the cosine of the embeddings.
    ItmPlusItc {
        /// Weight of the cosine; the checkpoint's exp(logit_scale) is the natural choice.
        itc_weight: f32,
    },
}

/// Platt scaling: probability = 1 / (1 + exp(-(slope x + intercept))).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Platt {
    /// Factor of the raw score.
    pub slope: f32,
    /// Added to it.
    pub intercept: f32,
}

impl Platt {
    /// Probability that the picture matches.
    pub fn probability(&self, raw: f32) -> f32 {
        1.0 / (1.0 + (-self.log_odds(raw)).exp())
    }

    /// The logarithm of its odds, which keeps apart what a probability near 0 or 1 does not.
    pub fn log_odds(&self, raw: f32) -> f32 {
        self.slope * raw + self.intercept
    }
}

/// The first candidates are reranked whatever their embeddings say ([`Calibration::lift`]).
pub const FIRST_LOOKED_AT: usize = 5;

/// What was measured for a checkpoint; [`Calibration::default`] where nothing was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// What reranking sorts by.
    pub rank_by: RankBy,
    /// Maps the reranking score to a probability.
    pub rerank: Platt,
    /// Maps the cosine of embeddings to a probability, for results that were not reranked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding: Option<Platt>,
    /// Results under this probability are "nothing here shows that".
    pub threshold: f32,
    /// By how much, in log odds, reranking lifts a candidate above the probability of its embedding: no more than
    /// this in 99 of 100 queries, the first few candidates aside ([`FIRST_LOOKED_AT`]). What could not become an
    /// answer even so need not be reranked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lift: Option<f32>,
    /// What it was measured on; empty when it was not.
    #[serde(default)]
    pub measured_on: String,
}

impl Default for Calibration {
    /// Unmeasured: the softmax of the two ITM logits as it is, and a threshold of a half.
    fn default() -> Self {
        Self {
            rank_by: RankBy::Itm,
            rerank: Platt {
                slope: 1.0,
                intercept: 0.0,
            },
            embedding: None,
            threshold: 0.5,
            lift: None,
            measured_on: String::new(),
        }
    }
}

impl Calibration {
    /// Reads a calibration.json.
    ///
    /// # Errors
    /// Says what makes no sense.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let this: Self =
            serde_json::from_str(text).map_err(|cause| format!("not a calibration: {cause}"))?;
        let itc_weight = match this.rank_by {
            RankBy::Itm => 0.0,
            RankBy::ItmPlusItc { itc_weight } => itc_weight,
        };
        let embedding = this.embedding.unwrap_or(this.rerank);
        let numbers = [
            itc_weight,
            this.rerank.slope,
            this.rerank.intercept,
            embedding.slope,
            embedding.intercept,
            this.lift.unwrap_or_default(),
        ];
        if !numbers.iter().all(|number| number.is_finite()) {
            return Err("a number in it is not finite".to_owned());
        }
        if !(0.0..=1.0).contains(&this.threshold) {
            return Err(format!(
                "`threshold` is {}; a probability is between 0 and 1",
                this.threshold
            ));
        }
        Ok(this)
    }

    /// Whether reranking could make a candidate behind the first few an answer, as far as its cosine and `lift` tell.
    pub fn could_answer(&self, cosine: f32, lift: f32) -> bool {
        let Some(embedding) = self.embedding else {
            return true;
        };
        let threshold = (self.threshold / (1.0 - self.threshold)).ln();
        embedding.log_odds(cosine) + lift >= threshold
    }

    /// The score that reranked candidates are sorted by.
    pub fn rank_score(&self, itm_logit_difference: f32, cosine: Option<f32>) -> f32 {
        match self.rank_by {
            RankBy::Itm => itm_logit_difference,
            RankBy::ItmPlusItc { itc_weight } => {
                itm_logit_difference + itc_weight * cosine.unwrap_or(0.0)
            }
        }
    }
}
