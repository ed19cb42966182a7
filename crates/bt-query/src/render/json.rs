//! The answer as one JSON document. The schema is these structures; fields are added, never changed in
//! meaning, while `schema` stays the same.

use std::path::Path;

use bt_store::{ContentHash, Record, Walk};
use serde::Serialize;

use crate::answer::{Answer, Found, Score, Why};
use crate::parse::camera_time;
use crate::plan::Plan;
use crate::query::{Example, Query};

/// Version of the schema.
pub const SCHEMA: u32 = 1;

/// The whole answer.
#[derive(Debug, Serialize)]
pub struct Document<'a> {
    /// Version of the schema.
    pub schema: u32,
    /// What was asked.
    pub query: Asked<'a>,
    /// One page of results, in order.
    pub results: Vec<Item<'a>>,
    /// Results on all pages, as far as the finders went.
    pub matched: usize,
    /// The best score of any candidate, kept or left out.
    pub best: Option<ScoreFields>,
    /// Pictures in the index.
    pub pictures: u64,
    /// Pictures that the filters allow.
    pub allowed: u64,
    /// Pictures that the cross-modal layers looked at.
    pub looked_at: usize,
    /// Milliseconds from the query to the answer, without loading the model and the index.
    pub took_ms: f64,
    /// What went differently than asked.
    pub warnings: &'a [String],
    /// What was done; with `--explain`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explain: Option<Course<'a>>,
}

/// What was asked.
#[derive(Debug, Serialize)]
pub struct Asked<'a> {
    /// The words.
    pub text: Option<&'a str>,
    /// The picture: its id when it is in the index, else `given`.
    pub picture: Option<String>,
    /// What should not be seen.
    pub not: Vec<&'a str>,
}

/// One result.
#[derive(Debug, Serialize)]
pub struct Item<'a> {
    /// Place among all results, from 1.
    pub rank: usize,
    /// How well it answers.
    #[serde(flatten)]
    pub score: ScoreFields,
    /// The picture.
    #[serde(flatten)]
    pub picture: Picture<'a>,
    /// Near-duplicates folded into this result; with `--group`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub folded: Vec<Picture<'a>>,
    /// Why its file could not be looked at again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_reranked: Option<&'a str>,
    /// Where its place comes from; with `--explain`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<&'a Why>,
}

/// A score; exactly one of the fields is there.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct ScoreFields {
    /// Probability that the picture shows what was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probability: Option<f32>,
    /// Cosine of the embeddings, where no probability is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub similarity: Option<f32>,
    /// BM25, where nothing else is known; 1000 more where the words are a whole file name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub words: Option<f32>,
}

impl From<Score> for ScoreFields {
    fn from(score: Score) -> Self {
        let mut fields = Self::default();
        match score {
            Score::Match(value) => fields.probability = Some(value),
            Score::Similarity(value) => fields.similarity = Some(value),
            Score::Words(value) => fields.words = Some(value),
        }
        fields
    }
}

/// A picture.
#[derive(Debug, Serialize)]
pub struct Picture<'a> {
    /// BLAKE3 of the file's bytes.
    pub id: ContentHash,
    /// The first known place; bytes that are not UTF-8 are replaced (`--paths -0` gives them as they are).
    pub path: Option<String>,
    /// Other places of the same bytes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub also_at: Vec<String>,
    /// Upright size in pixels.
    pub width: u32,
    /// Upright size in pixels.
    pub height: u32,
    /// `jpeg`, `png`, ...
    pub format: &'a str,
    /// Size of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Capture time by the camera's clock: `2024-07-03T12:00:00`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taken: Option<String>,
    /// Maker and model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub camera: Option<&'a str>,
    /// Lens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lens: Option<&'a str>,
    /// Degrees, north positive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latitude: Option<f64>,
    /// Degrees, east positive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longitude: Option<f64>,
    /// Descriptions, best first.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub captions: &'a [String],
    /// Keywords.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub keywords: &'a [String],
    /// What was wrong with a file of which only a part decoded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damaged: Option<&'a str>,
}

impl<'a> From<&'a Record> for Picture<'a> {
    fn from(record: &'a Record) -> Self {
        let about = &record.about;
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut paths = record.locations.iter().map(|location| text(&location.path));
        Self {
            id: record.id,
            path: paths.next(),
            also_at: paths.collect(),
            width: about.width,
            height: about.height,
            format: &about.format,
            bytes: record.locations.first().map(|location| location.size),
            taken: about
                .taken
                .and_then(camera_time)
                .map(|time| time.to_string()),
            camera: about.camera.as_deref(),
            lens: about.lens.as_deref(),
            latitude: about.gps.map(|(latitude, _)| latitude),
            longitude: about.gps.map(|(_, longitude)| longitude),
            captions: &about.captions,
            keywords: &about.keywords,
            damaged: about.damaged.as_deref(),
        }
    }
}

/// What was done.
#[derive(Debug, Serialize)]
pub struct Course<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// How vectors were looked for in the end.
    pub walk: Option<Walk>,
    /// Milliseconds of each stage, in order.
    pub stages: Vec<StageTime>,
}

/// Time of one stage.
#[derive(Debug, Serialize)]
pub struct StageTime {
    /// What was done.
    pub name: &'static str,
    /// How long it took.
    pub ms: f64,
}

/// The answer as a document.
pub fn document<'a>(answer: &'a Answer, query: &'a Query, explain: bool) -> Document<'a> {
    let item = |found: &'a Found| Item {
        rank: found.rank,
        score: found.score.into(),
        picture: (&found.record).into(),
        folded: found.folded.iter().map(Picture::from).collect(),
        not_reranked: found.why.not_reranked.as_deref(),
        why: explain.then_some(&found.why),
    };
    Document {
        schema: SCHEMA,
        query: Asked {
            text: query.words(),
            picture: query.picture.as_ref().map(|picture| match picture {
                Example::Indexed(id) => id.to_string(),
                Example::Given(_) => "given".to_owned(),
            }),
            not: query.negatives().collect(),
        },
        results: answer.results.iter().map(item).collect(),
        matched: answer.matched,
        best: answer.best.map(ScoreFields::from),
        pictures: answer.pictures,
        allowed: answer.allowed,
        looked_at: answer.looked_at,
        took_ms: answer.took().as_secs_f64() * 1e3,
        warnings: &answer.warnings,
        explain: explain.then(|| Course {
            plan: &answer.plan,
            walk: answer.walk,
            stages: answer
                .stages
                .iter()
                .map(|stage| StageTime {
                    name: stage.name,
                    ms: stage.took.as_secs_f64() * 1e3,
                })
                .collect(),
        }),
    }
}

/// The document as text, for reading by people too.
///
/// # Errors
/// None that is known: every value here can be written as JSON.
pub fn json(answer: &Answer, query: &Query, explain: bool) -> serde_json::Result<String> {
    serde_json::to_string_pretty(&document(answer, query, explain)).map(|text| text + "\n")
}
