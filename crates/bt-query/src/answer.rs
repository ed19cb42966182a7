//! The answer to a query, as data: results with their reasons, what was done, and how long it took.

use std::path::Path;
use std::time::Duration;

use bt_store::{ContentHash, Record, Walk};
use serde::Serialize;

use crate::fuse::Ranked;
use crate::plan::Plan;

/// What a query found.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    /// One page, best first (or newest first).
    pub results: Vec<Found>,
    /// Results on all pages, as far as the finders went.
    pub matched: usize,
    /// The best score of any candidate, kept or left out.
    pub best: Option<Score>,
    /// Pictures in the index.
    pub pictures: u64,
    /// Pictures that the filter allows.
    pub allowed: u64,
    /// Pictures that the cross-modal layers looked at.
    pub looked_at: usize,
    /// Candidates that were not looked at because they could hardly have become answers.
    pub left_out: usize,
    /// How vectors were looked for in the end.
    pub walk: Option<Walk>,
    /// What was planned.
    pub plan: Plan,
    /// Time of each stage, in order.
    pub stages: Vec<Stage>,
    /// What went differently than asked, for the user to read.
    pub warnings: Vec<String>,
}

impl Answer {
    /// Time of all stages.
    pub fn took(&self) -> Duration {
        self.stages.iter().map(|stage| stage.took).sum()
    }
}

/// Time of one stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stage {
    /// What was done.
    pub name: &'static str,
    /// How long it took.
    pub took: Duration,
}

/// One result.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Found {
    /// Place among all results, from 1.
    pub rank: usize,
    /// The picture.
    pub record: Record,
    /// How well it answers.
    pub score: Score,
    /// Where this place comes from.
    pub why: Why,
    /// Near-duplicates that were folded into this result.
    pub folded: Vec<Record>,
}

impl Found {
    /// The first known place of the picture.
    pub fn path(&self) -> Option<&Path> {
        self.record
            .locations
            .first()
            .map(|location| location.path.as_path())
    }

    /// Identity of the picture.
    pub fn id(&self) -> ContentHash {
        self.record.id
    }
}

/// How well a result answers. Kinds are kept apart: a cosine is never shown as a probability.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Score {
    /// Probability that the picture shows what was asked.
    Match(f32),
    /// Cosine of the embeddings, where no probability is known.
    Similarity(f32),
    /// BM25 of the words, where nothing else is known; 1000 more where they are a whole file name.
    Words(f32),
}

impl Score {
    /// The number, whatever it is.
    pub fn value(self) -> f32 {
        match self {
            Self::Match(value) | Self::Similarity(value) | Self::Words(value) => value,
        }
    }
}

/// Where a result's place comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Why {
    /// Place by vector.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vector: Option<Ranked>,
    /// Place by words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub words: Option<Ranked>,
    /// Place after fusion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fused: Option<Ranked>,
    /// Cosine with the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cosine: Option<f32>,
    /// ITM logit difference (match minus no match) for the words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub itm_logit: Option<f32>,
    /// What reranked results are sorted by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rerank_score: Option<f64>,
    /// Probability of each thing that should not be seen.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not: Vec<f32>,
    /// The query is the exact name of the file.
    pub exact_name: bool,
    /// Name, captions or keywords hold all words of the query that tell something.
    pub says_it: bool,
    /// Why it could not be reranked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_reranked: Option<String>,
}
