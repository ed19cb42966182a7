//! What somebody wants to see, as data. Words and flags become a query in `parse.rs`; how it is
//! answered is decided in `plan.rs`.

use std::fmt;
use std::sync::Arc;

use bt_store::{ContentHash, Filter};
use image::RgbImage;
use serde::{Deserialize, Serialize};

/// Results on a page when nobody says otherwise.
pub const DEFAULT_N: usize = 10;
/// Candidates that are reranked when nobody says otherwise.
pub const DEFAULT_RERANK: usize = 20;
/// Most pictures that a text query looks at one by one, where a model leaves no other way.
pub const DEFAULT_LOOK_AT: usize = 500;

/// A query.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Query {
    /// What should be seen, in words.
    pub text: Option<String>,
    /// What it should look like.
    pub picture: Option<Example>,
    /// What should not be seen, in words.
    pub not: Vec<String>,
    /// Which pictures may be results at all.
    pub filter: Filter,
    /// Results on a page.
    pub n: usize,
    /// Results before this page.
    pub offset: usize,
    /// How many of the best candidates are reranked with the cross-modal layers; 0 for none.
    pub rerank: usize,
    /// Compare every vector, even where a graph would be faster.
    pub exact: bool,
    /// Results below this score are left out; `None` for the threshold that the model was calibrated
    /// with.
    pub min_score: Option<f32>,
    /// Leave nothing out.
    pub all: bool,
    /// Fold near-duplicates into one result.
    pub group: bool,
    /// Order of the results.
    pub sort: Sort,
    /// Most pictures that are looked at one by one, where a model leaves no other way.
    pub look_at: usize,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            text: None,
            picture: None,
            not: Vec::new(),
            filter: Filter::everything(),
            n: DEFAULT_N,
            offset: 0,
            rerank: DEFAULT_RERANK,
            exact: false,
            min_score: None,
            all: false,
            group: false,
            sort: Sort::Relevance,
            look_at: DEFAULT_LOOK_AT,
        }
    }
}

impl Query {
    /// A query by words, everything else as by default.
    pub fn of_text(text: impl Into<String>) -> Self {
        Self {
            text: Some(text.into()),
            ..Self::default()
        }
    }

    /// The text without surrounding space; `None` when there is nothing in it.
    pub fn words(&self) -> Option<&str> {
        self.text
            .as_deref()
            .map(str::trim)
            .filter(|text| !text.is_empty())
    }

    /// The negative texts that say something.
    pub fn negatives(&self) -> impl Iterator<Item = &str> {
        self.not
            .iter()
            .map(|text| text.trim())
            .filter(|text| !text.is_empty())
    }
}

/// A picture as a query.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Example {
    /// One that is in the index; it is not a result itself.
    Indexed(ContentHash),
    /// Any other. Pixels are not serialised.
    #[serde(skip)]
    Given(Given),
}

/// An upright picture from outside the index.
#[derive(Clone, PartialEq)]
pub struct Given(pub Arc<RgbImage>);

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Given({} x {})", self.0.width(), self.0.height())
    }
}

/// Order of results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// Best first.
    #[default]
    Relevance,
    /// Newest first by the camera's clock; pictures without a date last.
    Date,
}
