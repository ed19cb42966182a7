//! What responses say. The fields are those of `bt-search --json` (docs/search-json.md), read from the same
//! structures, with what only a server knows: names of indexes, addresses of pictures, cursors.

use bt_query::Query;
use bt_query::render::json::{self, ScoreFields};
use bt_store::Record;
use serde::Serialize;
use utoipa::ToSchema;

use crate::engine::Searched;
use crate::request;

/// A page of results.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct SearchResponse {
    /// Version of the schema: fields are added under the same number, none changes its meaning.
    pub(crate) schema: u32,
    /// What was asked.
    pub(crate) query: AskedBody,
    /// Results, in order; none is an answer, too: nothing here shows that.
    pub(crate) results: Vec<ResultBody>,
    /// Results on all pages, as far as the finders went.
    pub(crate) matched: usize,
    /// The best score of any candidate, kept or left out: how near it came.
    pub(crate) best: Option<ScoreBody>,
    /// Pictures in the index.
    pub(crate) pictures: u64,
    /// Pictures that the filters allow.
    pub(crate) allowed: u64,
    /// Pictures that the cross-modal layers read together with the words.
    pub(crate) looked_at: usize,
    /// Milliseconds that the answer took when it was found.
    pub(crate) took_ms: f64,
    /// What went differently than asked.
    pub(crate) warnings: Vec<String>,
    /// What was done; with `explain`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub(crate) explain: Option<serde_json::Value>,
    /// Name of the index.
    pub(crate) index: String,
    /// Its newest published generation.
    pub(crate) generation: Option<u64>,
    /// Cursor of the next page; null on the last one.
    pub(crate) next: Option<String>,
}

/// What was asked.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct AskedBody {
    /// The words.
    pub(crate) text: Option<String>,
    /// The picture: its id when it is in the index, else `given`.
    pub(crate) picture: Option<String>,
    /// What should not be seen.
    pub(crate) not: Vec<String>,
}

/// A result.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ResultBody {
    /// Place among all results, from 1.
    pub(crate) rank: usize,
    /// How well it answers.
    #[serde(flatten)]
    pub(crate) score: ScoreBody,
    /// The picture.
    #[serde(flatten)]
    pub(crate) picture: PictureBody,
    /// Near-duplicates folded into this result; with `group`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(crate) folded: Vec<PictureBody>,
    /// Why its file could not be looked at again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) not_reranked: Option<String>,
    /// Where its place comes from; with `explain`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub(crate) why: Option<serde_json::Value>,
}

/// A score; exactly one of the fields is there.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(crate) struct ScoreBody {
    /// Probability that the picture shows what was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) probability: Option<f32>,
    /// Cosine of the embeddings, where no probability is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) similarity: Option<f32>,
    /// BM25, where nothing else is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) words: Option<f32>,
}

impl From<ScoreFields> for ScoreBody {
    fn from(score: ScoreFields) -> Self {
        Self {
            probability: score.probability,
            similarity: score.similarity,
            words: score.words,
        }
    }
}

/// A picture of an index.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct PictureBody {
    /// BLAKE3 of the file's bytes, 64 hexadecimal digits.
    pub(crate) id: String,
    /// The first known place; null when all have vanished.
    pub(crate) path: Option<String>,
    /// Other places of the same bytes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(crate) also_at: Vec<String>,
    /// Upright size in pixels.
    pub(crate) width: u32,
    /// Upright size in pixels.
    pub(crate) height: u32,
    /// `jpeg`, `png`, ...
    pub(crate) format: String,
    /// Size of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<u64>,
    /// Capture time by the camera's clock: `2024-07-03T12:00:00`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) taken: Option<String>,
    /// Maker and model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) camera: Option<String>,
    /// Lens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lens: Option<String>,
    /// Degrees, north positive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latitude: Option<f64>,
    /// Degrees, east positive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) longitude: Option<f64>,
    /// Descriptions, best first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(crate) captions: Vec<String>,
    /// Keywords.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(crate) keywords: Vec<String>,
    /// What was wrong with a file of which only a part decoded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) damaged: Option<String>,
    /// Name of the index.
    pub(crate) index: String,
    /// Address of a small picture, relative to the server; `&w=` says how large.
    pub(crate) thumbnail: String,
    /// Address of the file, relative to the server.
    pub(crate) file: String,
}

impl PictureBody {
    /// A record of the index with this name.
    pub(crate) fn of(record: &Record, index: &str) -> Self {
        Self::from_json(json::Picture::from(record), index)
    }

    fn from_json(picture: json::Picture<'_>, index: &str) -> Self {
        let owned = |text: Option<&str>| text.map(ToOwned::to_owned);
        let id = picture.id;
        // Names of indexes need no escaping.
        let address = |what: &str| format!("/v1/pictures/{id}/{what}?index={index}");
        Self {
            id: id.to_string(),
            path: picture.path,
            also_at: picture.also_at,
            width: picture.width,
            height: picture.height,
            format: picture.format.to_owned(),
            bytes: picture.bytes,
            taken: picture.taken,
            camera: owned(picture.camera),
            lens: owned(picture.lens),
            latitude: picture.latitude,
            longitude: picture.longitude,
            captions: picture.captions.to_vec(),
            keywords: picture.keywords.to_vec(),
            damaged: owned(picture.damaged),
            index: index.to_owned(),
            thumbnail: address("thumbnail"),
            file: address("file"),
        }
    }
}

impl SearchResponse {
    /// The page that a query found.
    pub(crate) fn of(searched: &Searched, query: &Query, explain: bool, index: &str) -> Self {
        let document = json::document(&searched.answer, query, explain);
        let end = query.offset + document.results.len();
        Self {
            schema: document.schema,
            query: AskedBody {
                text: document.query.text.map(ToOwned::to_owned),
                picture: document.query.picture,
                not: document
                    .query
                    .not
                    .iter()
                    .map(|&text| text.to_owned())
                    .collect(),
            },
            next: request::next(end, document.matched).filter(|_| !document.results.is_empty()),
            results: document
                .results
                .into_iter()
                .map(|item| ResultBody {
                    rank: item.rank,
                    score: item.score.into(),
                    picture: PictureBody::from_json(item.picture, index),
                    folded: item
                        .folded
                        .into_iter()
                        .map(|picture| PictureBody::from_json(picture, index))
                        .collect(),
                    not_reranked: item.not_reranked.map(ToOwned::to_owned),
                    // Plain structures of texts and numbers always have a JSON form.
                    why: item.why.and_then(|why| serde_json::to_value(why).ok()),
                })
                .collect(),
            matched: document.matched,
            best: document.best.map(ScoreBody::from),
            pictures: document.pictures,
            allowed: document.allowed,
            looked_at: document.looked_at,
            took_ms: document.took_ms,
            warnings: document.warnings.to_vec(),
            explain: document
                .explain
                .and_then(|course| serde_json::to_value(course).ok()),
            index: index.to_owned(),
            generation: searched.generation,
        }
    }
}
