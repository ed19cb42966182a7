//! The model itself, for other programs: vectors of texts and pictures, matching, everything that it says of
//! a pair. Shapes are those of text-embeddings-inference where they fit; OpenAI's are in `openai.rs`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use bt_model::Pixels;
use bt_query::{Look, Scorer};
use bt_store::Collection;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::decoder::Decoder;
use crate::described;
use crate::engine::{Asker, Engine, Model, Snapshot, Ticket};
use crate::error::ApiError;
use crate::request::{self, ApiJson, ApiQuery, ImageBody, IndexParam, MOST_INPUTS, Shown, whole};
use crate::state::AppState;

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(embed))
        .routes(routes!(rerank))
        .routes(routes!(features))
}

/// A picture of one pixel, for the examples of the description.
const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/// What is embedded.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "inputs": ["a cat on a couch", { "image": PIXEL }] }))]
struct EmbedRequest {
    /// One, or several.
    inputs: Inputs,
    /// Whether a text that is longer than the model reads is cut; otherwise it is refused.
    truncate: Option<bool>,
    /// Where a text is cut.
    truncation_direction: Option<Cut>,
    /// Vectors are of unit length, so `true` says nothing new.
    normalize: Option<bool>,
    /// No model here has prompts.
    prompt_name: Option<String>,
    /// Numbers in a vector: as many as the model gives.
    #[serde(default, deserialize_with = "whole::or_null")]
    dimensions: Option<usize>,
}

impl EmbedRequest {
    /// Refuses what cannot be done, instead of leaving it out silently.
    fn check(&self, engine: &Engine) -> Result<(), ApiError> {
        if self.normalize == Some(false) {
            return Err(ApiError::bad_request(
                "`normalize` is false; vectors are of unit length, as the index compares them",
            )
            .hint("leave `normalize` out"));
        }
        if let Some(name) = &self.prompt_name {
            return Err(ApiError::bad_request(format!(
                "`prompt_name` is `{name}`; the model has no prompts"
            ))
            .hint("leave `prompt_name` out, and put what the prompt says into the texts"));
        }
        Cut::check(self.truncation_direction)?;
        as_many(self.dimensions, engine)
    }
}

/// Where a text that is too long is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
enum Cut {
    /// At its beginning.
    #[serde(alias = "left")]
    Left,
    /// At its end.
    #[serde(alias = "right")]
    Right,
}

impl Cut {
    fn check(cut: Option<Self>) -> Result<(), ApiError> {
        if cut == Some(Self::Left) {
            let what = "`truncation_direction` is `Left`; texts are cut at their end";
            return Err(ApiError::bad_request(what).hint("leave `truncation_direction` out"));
        }
        Ok(())
    }
}

/// Refuses another length of vectors than that of the model.
pub(super) fn as_many(dimensions: Option<usize>, engine: &Engine) -> Result<(), ApiError> {
    let ours = engine.header().dim;
    match dimensions {
        Some(asked) if asked != ours => Err(ApiError::bad_request(format!(
            "`dimensions` is {asked}; the model's vectors have {ours}"
        ))
        .hint("leave `dimensions` out")),
        _ => Ok(()),
    }
}

/// One input, or several. The list comes first: serde would take a list of one text for a picture, whose
/// only field is a text.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(untagged)]
enum Inputs {
    /// Several; at most 256.
    Many(Vec<Input>),
    /// One.
    One(Input),
}

/// A text, or a picture.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(untagged)]
enum Input {
    /// A text.
    Text(String),
    /// A picture.
    Picture(PictureInput),
}

/// A picture to embed.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PictureInput {
    /// Bytes of a picture file, in base64.
    #[schema(schema_with = described::picture_bytes)]
    image: String,
}

/// A text or the bytes of a picture, checked.
enum Ready {
    Text(String),
    Bytes(Vec<u8>),
}

/// Vectors of texts and pictures, of unit length, in the order asked
#[utoipa::path(
    post, path = "/v1/embed", tag = "inference", params(IndexParam), request_body = EmbedRequest,
    responses((status = 200, description = "A vector an input", body = Vec<Vec<f32>>))
)]
async fn embed(
    State(state): State<AppState>,
    ApiQuery(IndexParam { index }): ApiQuery<IndexParam>,
    ApiJson(request): ApiJson<EmbedRequest>,
) -> Result<Json<Vec<Vec<f32>>>, ApiError> {
    let engine = state.engine(index.as_deref())?;
    request.check(engine)?;
    let truncate = request.truncate.unwrap_or(false);
    let inputs = match request.inputs {
        Inputs::One(input) => vec![input],
        Inputs::Many(inputs) => inputs,
    };
    bounded(inputs.len())?;
    let inputs: Vec<Ready> = inputs
        .into_iter()
        .map(|input| match input {
            Input::Text(text) => Ok(Ready::Text(text)),
            Input::Picture(picture) => request::from_base64(&picture.image).map(Ready::Bytes),
        })
        .collect::<Result<_, _>>()?;
    let decoder = Arc::clone(&state.gallery.decoder);
    let vectors = engine
        .ask_model(move |model, ticket| vectors(model, ticket, &decoder, &inputs, truncate))
        .await?;
    Ok(Json(vectors))
}

pub(super) fn bounded(inputs: usize) -> Result<(), ApiError> {
    request::within("number of inputs", inputs, 1, MOST_INPUTS).map(drop)
}

fn vectors(
    model: &Model,
    ticket: &Ticket,
    decoder: &Decoder,
    inputs: &[Ready],
    truncate: bool,
) -> Result<Vec<Vec<f32>>, ApiError> {
    let embedder = model.models().embedder();
    let pixels: Vec<Pixels> = inputs
        .iter()
        .filter_map(|input| match input {
            Ready::Bytes(bytes) => Some(bytes),
            Ready::Text(_) => None,
        })
        .map(|bytes| Ok(embedder.prepare(&decoder.given(bytes, ticket)?)))
        .collect::<Result<_, ApiError>>()?;
    let texts: Vec<&str> = inputs
        .iter()
        .filter_map(|input| match input {
            Ready::Text(text) => Some(text.as_str()),
            Ready::Bytes(_) => None,
        })
        .collect();
    let mut pictures = model.pictures(ticket, pixels)?.into_iter();
    let mut texts = model.texts(ticket, &texts)?.into_iter();
    let mut all = Vec::with_capacity(inputs.len());
    for (place, input) in inputs.iter().enumerate() {
        let vector = match input {
            Ready::Bytes(_) => pictures.next(),
            Ready::Text(_) => match texts.next() {
                Some(embedded) if embedded.truncated && !truncate => return Err(too_long(place)),
                embedded => embedded.map(|embedded| embedded.vector),
            },
        };
        all.push(vector.ok_or_else(|| ApiError::internal("an input without a vector"))?);
    }
    Ok(all)
}

/// A text that is not to be cut.
fn too_long(place: usize) -> ApiError {
    request::too_large(format!(
        "the text number {place} is longer than the model reads"
    ))
    .hint("`\"truncate\": true` cuts it")
}

/// A text with pictures, or a picture with texts.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(example = json!({ "query": "a cat on a couch", "images": [{ "base64": PIXEL }] }))]
struct RerankRequest {
    /// A text, matched with each of `images`.
    query: Option<String>,
    /// Pictures; at most 256.
    #[schema(min_items = 1, max_items = 256)]
    images: Option<Vec<ImageBody>>,
    /// A picture, matched with each of `texts`.
    query_image: Option<ImageBody>,
    /// Texts; at most 256.
    #[schema(min_items = 1, max_items = 256)]
    texts: Option<Vec<String>>,
    /// Scores that are sorted by instead of probabilities.
    raw_scores: Option<bool>,
    /// Whether each of `texts` stands beside its score.
    return_text: Option<bool>,
    /// Whether a text that is longer than the model reads is cut, as it is when this is left out; otherwise it is
    /// refused.
    truncate: Option<bool>,
    /// Where a text is cut.
    truncation_direction: Option<Cut>,
}

impl RerankRequest {
    /// Texts and pictures, of one of which there is one.
    fn pairs(self) -> Result<(Vec<String>, Vec<ImageBody>), ApiError> {
        match (self.query, self.images, self.query_image, self.texts) {
            (Some(_), Some(_), None, None) if self.return_text == Some(true) => Err(
                ApiError::bad_request("`return_text` is true; `images` have no texts")
                    .hint("leave `return_text` out: `index` says which picture it is"),
            ),
            (Some(query), Some(images), None, None) => Ok((vec![query], images)),
            (None, None, Some(image), Some(texts)) => Ok((texts, vec![image])),
            _ => Err(ApiError::bad_request(
                "give either `query` with `images`, or `query_image` with `texts`",
            )),
        }
    }
}

/// A score and whose it is.
#[derive(Debug, Serialize, ToSchema)]
struct Ranked {
    /// Place in the request.
    index: usize,
    /// Probability of a match, or the raw score.
    score: f32,
    /// The text, where `return_text` asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

/// How well pictures and texts match, best first
#[utoipa::path(
    post, path = "/v1/rerank", tag = "inference", params(IndexParam), request_body = RerankRequest,
    responses((status = 200, description = "All of them, best first", body = Vec<Ranked>))
)]
async fn rerank(
    State(state): State<AppState>,
    ApiQuery(IndexParam { index }): ApiQuery<IndexParam>,
    ApiJson(request): ApiJson<RerankRequest>,
) -> Result<Json<Vec<Ranked>>, ApiError> {
    let how = How {
        raw_scores: request.raw_scores.unwrap_or(false),
        return_text: request.return_text.unwrap_or(false),
        truncate: request.truncate.unwrap_or(true),
    };
    Cut::check(request.truncation_direction)?;
    let (texts, images) = request.pairs()?;
    bounded(texts.len())?;
    bounded(images.len())?;
    let shown: Vec<Shown> = images
        .iter()
        .map(ImageBody::shown)
        .collect::<Result<_, _>>()?;
    let engine = state.engine(index.as_deref())?;
    let decoder = Arc::clone(&state.gallery.decoder);
    let ranked = engine
        .run(move |snapshot, asker| ranked(&texts, &shown, &how, snapshot, asker, &decoder))
        .await?;
    Ok(Json(ranked))
}

/// How pairs are scored.
struct How {
    raw_scores: bool,
    return_text: bool,
    truncate: bool,
}

fn ranked(
    texts: &[String],
    shown: &[Shown],
    how: &How,
    snapshot: &Snapshot,
    scorer: &Asker,
    decoder: &Decoder,
) -> Result<Vec<Ranked>, ApiError> {
    let can = scorer.abilities();
    if !can.itm {
        return Err(ApiError::new(
            StatusCode::CONFLICT,
            "incompatible",
            "Model, index and question do not go together",
            "the model has no ITM head, which says how well a text and a picture match",
        ));
    }
    if !how.truncate {
        for (place, text) in texts.iter().enumerate() {
            if scorer.is_too_long(text)? {
                return Err(too_long(place));
            }
        }
    }
    let asked: Vec<&str> = texts.iter().map(String::as_str).collect();
    let (model, ticket) = (scorer.model(), scorer.ticket());
    let (mut looks, mut pictures) = (Vec::new(), Vec::new());
    let mut fresh = Vec::new();
    for shown in shown {
        let (look, vector) = looked_at(shown, snapshot, scorer, decoder)?;
        looks.push(look);
        pictures.push(match vector {
            Vector::Known(vector) => vector,
            Vector::Fresh(pixels) => {
                fresh.push((pictures.len(), pixels));
                None
            }
        });
    }
    let mut vectors = vec![None; texts.len()];
    if can.itc {
        let (places, pixels): (Vec<usize>, Vec<Pixels>) = fresh.into_iter().unzip();
        for (place, vector) in places.into_iter().zip(model.pictures(ticket, pixels)?) {
            pictures[place] = Some(vector);
        }
        for (vector, embedded) in vectors.iter_mut().zip(model.texts(ticket, &asked)?) {
            *vector = Some(embedded.vector);
        }
    }
    let logits = scorer.match_logits(&asked, &looks)?;
    let calibration = scorer.calibration();
    let mut ranked = Vec::with_capacity(texts.len() * looks.len());
    for ((row, vector), text) in logits.iter().zip(&vectors).zip(texts) {
        for (logit, picture) in row.iter().zip(&pictures) {
            let cosine = vector
                .as_ref()
                .zip(picture.as_ref())
                .map(|(text, picture)| text.iter().zip(picture).map(|(a, b)| a * b).sum());
            let score = calibration.rank_score(*logit, cosine);
            let score = if how.raw_scores {
                score
            } else {
                calibration.rerank.probability(score)
            };
            if !score.is_finite() {
                return Err(ApiError::internal("a score is not a number"));
            }
            ranked.push(Ranked {
                index: ranked.len(),
                score,
                text: how.return_text.then(|| text.clone()),
            });
        }
    }
    ranked.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.index.cmp(&b.index)));
    Ok(ranked)
}

/// The vector of a picture, or what it is made of: all go through the model together.
enum Vector {
    Known(Option<Vec<f32>>),
    Fresh(Pixels),
}

/// A picture as the reranker takes it, and its vector.
fn looked_at(
    shown: &Shown,
    snapshot: &Snapshot,
    scorer: &Asker,
    decoder: &Decoder,
) -> Result<(Look, Vector), ApiError> {
    match shown {
        Shown::Bytes(bytes) => {
            let rgb = decoder.given(bytes, scorer.ticket())?;
            let look = Look::Fresh {
                id: bt_store::ContentHash::of(bytes),
                pixels: Arc::new(scorer.prepare(&rgb)),
            };
            let pixels = scorer.model().models().embedder().prepare(&rgb);
            Ok((look, Vector::Fresh(pixels)))
        }
        Shown::Indexed(id) => {
            let look = match scorer.states(*id) {
                Some(states) => Look::Known(states),
                None => Look::Fresh {
                    id: *id,
                    pixels: Arc::new(scorer.prepare(&indexed(*id, snapshot, scorer)?)),
                },
            };
            let vector = snapshot.reader.embeddings(&[*id])?.into_iter().next();
            Ok((look, Vector::Known(vector.flatten())))
        }
    }
}

/// The pixels of a picture of the index.
fn indexed(
    id: bt_store::ContentHash,
    snapshot: &Snapshot,
    scorer: &dyn Scorer,
) -> Result<image::RgbImage, ApiError> {
    let record = snapshot.reader.fetch(&[id])?.into_iter().next().flatten();
    let record = record.ok_or_else(|| bt_query::Error::NoSuchPicture(id.to_string()))?;
    let opened = bt_query::open(&record, Some(scorer.enough_pixels())).map_err(|error| {
        tracing::warn!(%id, %error, "a picture of the index cannot be read again");
        ApiError::not_found(format!(
            "the file of the picture {id} cannot be read any more"
        ))
    })?;
    Ok(opened.picture.rgb)
}

/// A text and a picture.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "text": "a cat on a couch", "image": { "base64": PIXEL } }))]
struct FeaturesRequest {
    /// The text.
    text: String,
    /// The picture.
    image: ImageBody,
}

/// Everything that the model says of a text and a picture
///
/// The same as `bt-model features --json`: last cross-modal states of both, pooled states, embeddings, ITM
/// logits and probability.
#[utoipa::path(
    post, path = "/v1/features", tag = "inference", params(IndexParam), request_body = FeaturesRequest,
    responses((status = 200, description = "States, vectors and logits", body = Object))
)]
async fn features(
    State(state): State<AppState>,
    ApiQuery(IndexParam { index }): ApiQuery<IndexParam>,
    ApiJson(request): ApiJson<FeaturesRequest>,
) -> Result<Json<bt_model::Features>, ApiError> {
    let shown = request.image.shown()?;
    let engine = Arc::clone(state.engine(index.as_deref())?);
    let decoder = Arc::clone(&state.gallery.decoder);
    let rgb = engine
        .run(move |snapshot, asker| match shown {
            Shown::Bytes(bytes) => decoder.given(&bytes, asker.ticket()),
            Shown::Indexed(id) => indexed(id, snapshot, asker),
        })
        .await?;
    let features = engine
        .ask_model(move |model, ticket| {
            let pixels = model.models().embedder().prepare(&rgb);
            Ok(model.call(ticket, move |models| {
                Ok(models.embedder().features(&request.text, &pixels)?)
            })?)
        })
        .await?;
    Ok(Json(features))
}

/// Reads a body as each request that there is here; for [`crate::parsers`].
pub(crate) fn read(bytes: &[u8]) {
    let _ = serde_json::from_slice::<EmbedRequest>(bytes);
    if let Ok(request) = serde_json::from_slice::<FeaturesRequest>(bytes) {
        let _ = request.image.shown();
    }
    let rerank = serde_json::from_slice::<RerankRequest>(bytes).ok();
    if let Some(Ok((_, images))) = rerank.map(RerankRequest::pairs) {
        for image in images {
            let _ = image.shown();
        }
    }
}
