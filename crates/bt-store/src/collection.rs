//! The boundary: all that query planning, fusion, reranking and serving ask of a store.
//!
//! The embedded store ([`crate::Reader`]) is the first implementation; nothing above this trait opens a
//! file of the index.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::filter::Filter;
use crate::id::{ContentHash, GenerationId, ModelId};
use crate::record::Record;

/// A model as an index remembers it: enough to load it again, and to notice when it is another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelRef {
    /// What the user said: a name, a Hub id or a folder.
    pub spec: String,
    /// How pictures are fitted into the model's square: `reference`, `patch` or `squeeze`.
    pub fit: String,
    /// Fingerprint.
    pub id: ModelId,
}

/// What an index is made with; fixed when it is created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Embeds pictures and queries.
    pub model: ModelRef,
    /// Reranks, where that is another model than the one that embeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerank: Option<ModelRef>,
    /// Length of a vector.
    pub dim: usize,
    /// False when the vectors are pooled picture states of a checkpoint without ITC heads: pictures can
    /// be compared with pictures, but not with texts.
    pub aligned_with_text: bool,
}

/// What planning needs to know about a collection at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Facts {
    /// How the index was made.
    pub header: Header,
    /// Pictures that can be found.
    pub pictures: u64,
    /// Newest published generation, if any.
    pub generation: Option<GenerationId>,
    /// Rows that a graph over the generation covers; 0 when there is no graph.
    pub graph_rows: u64,
    /// Rows committed after the generation, which are scanned exactly beside it.
    pub tail_rows: u64,
    /// What the reader had to work around (a damaged file, an older generation), for the user to read.
    pub warnings: Vec<String>,
}

/// How nearest neighbours are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Walk {
    /// Every allowed row is compared: recall 1.
    Exact,
    /// The HNSW graph is walked, with this breadth; falls back to [`Walk::Exact`] where no graph serves or
    /// too few allowed rows were reached.
    Graph {
        /// Breadth of the search in the bottom layer.
        ef_search: usize,
    },
}

/// A picture found, with what the finder scored it by.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Hit {
    /// The picture.
    pub id: ContentHash,
    /// Cosine similarity for vectors; for words BM25, and 1000 more where the text is a whole file name. Larger is
    /// better.
    pub score: f32,
}

/// Hits, best first (ties by id), and which walk was taken in the end.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Neighbours {
    /// Best first; at most as many as asked, exactly `min(n, allowed)` of them.
    pub hits: Vec<Hit>,
    /// What was done, which may differ from what was asked.
    pub walk: Walk,
}

/// A set of pictures that can be searched: a snapshot, so that two calls see the same rows.
pub trait Collection: Send + Sync {
    /// Size, model, state.
    fn facts(&self) -> &Facts;

    /// How many pictures a filter allows (exact).
    ///
    /// # Errors
    /// `Corrupt` when a file that is read for it is damaged.
    fn count(&self, filter: &Filter) -> Result<u64>;

    /// The `n` allowed pictures whose embeddings have the largest cosine with `query`.
    ///
    /// # Errors
    /// `BadVector` when the query is of another length, has a value that is not a number, or is zero; `Corrupt` as
    /// for [`Collection::count`].
    fn nearest(&self, query: &[f32], filter: &Filter, n: usize, walk: Walk) -> Result<Neighbours>;

    /// The `n` allowed pictures whose words (file and folder names, captions, keywords, camera) match
    /// best by BM25, a whole file name before all. A picture with no word of the text is not a hit.
    ///
    /// # Errors
    /// `Corrupt` when a file that is read for it is damaged, the index of words among them.
    fn by_words(&self, text: &str, filter: &Filter, n: usize) -> Result<Vec<Hit>>;

    /// Records by id, in the order asked; `None` for one that is not in the snapshot.
    ///
    /// # Errors
    /// `Corrupt` when one of the records is damaged.
    fn fetch(&self, ids: &[ContentHash]) -> Result<Vec<Option<Record>>>;

    /// Embeddings by id, in the order asked; `None` for one that is not in the snapshot.
    ///
    /// # Errors
    /// What the store reports; the embedded one reads them without a failure.
    fn embeddings(&self, ids: &[ContentHash]) -> Result<Vec<Option<Vec<f32>>>>;

    /// Up to `n` allowed pictures in a stable order (by id), after a given one.
    ///
    /// # Errors
    /// As [`Collection::count`].
    fn scan(
        &self,
        filter: &Filter,
        after: Option<ContentHash>,
        n: usize,
    ) -> Result<Vec<ContentHash>>;

    /// Pictures whose id starts with these hexadecimal digits, at most `n`; none for what is no such digits.
    ///
    /// # Errors
    /// As [`Collection::count`].
    fn with_id_prefix(&self, prefix: &str, n: usize) -> Result<Vec<ContentHash>>;
}
