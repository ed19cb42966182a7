//! Vectors of texts in the shape of OpenAI's embeddings, for programs that know only these.

use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::inference::{as_many, bounded};
use crate::error::ApiError;
use crate::request::{ApiJson, ApiQuery, IndexParam, whole};
use crate::state::AppState;

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(embeddings))
}

/// What is embedded, as OpenAI's clients say it.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(example = json!({ "input": ["a cat on a couch", "a castle at night"] }))]
struct EmbeddingsRequest {
    /// One text, or several; at most 256.
    input: Texts,
    /// Any name: an index has one model.
    model: Option<String>,
    /// `float` (so it is when it is left out), or `base64` of little-endian 32-bit numbers.
    encoding_format: Option<Encoding>,
    /// Numbers in a vector: as many as the model gives.
    #[serde(default, deserialize_with = "whole::or_null")]
    dimensions: Option<usize>,
    /// Who asks; nothing is made of it.
    user: Option<String>,
}

/// One text, or several.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(untagged)]
enum Texts {
    /// One.
    One(String),
    /// Several; at most 256.
    Many(Vec<String>),
}

/// Form of a vector.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Encoding {
    /// A list of numbers.
    Float,
    /// Base64 of little-endian 32-bit numbers.
    Base64,
}

/// A list of vectors.
#[derive(Debug, Serialize, ToSchema)]
struct EmbeddingsResponse {
    /// `list`.
    object: &'static str,
    /// In the order asked.
    data: Vec<EmbeddingBody>,
    /// What made them.
    model: String,
    /// Tokens that were read.
    usage: Usage,
}

/// A vector and whose it is.
#[derive(Debug, Serialize, ToSchema)]
struct EmbeddingBody {
    /// `embedding`.
    object: &'static str,
    /// Place of the text.
    index: usize,
    /// Of unit length.
    embedding: Vector,
}

/// A vector in one of two forms.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum Vector {
    /// A list of numbers.
    Float(Vec<f32>),
    /// Base64 of little-endian 32-bit numbers.
    Base64(String),
}

/// Tokens that were read.
#[derive(Debug, Serialize, ToSchema)]
struct Usage {
    /// Of all texts.
    prompt_tokens: usize,
    /// The same.
    total_tokens: usize,
}

/// Vectors of texts, in the shape of OpenAI's embeddings
#[utoipa::path(
    post, path = "/v1/embeddings", tag = "inference", params(IndexParam), request_body = EmbeddingsRequest,
    responses((status = 200, description = "A vector a text", body = EmbeddingsResponse))
)]
async fn embeddings(
    State(state): State<AppState>,
    ApiQuery(IndexParam { index }): ApiQuery<IndexParam>,
    ApiJson(request): ApiJson<EmbeddingsRequest>,
) -> Result<Json<EmbeddingsResponse>, ApiError> {
    let texts = match request.input {
        Texts::One(text) => vec![text],
        Texts::Many(texts) => texts,
    };
    bounded(texts.len())?;
    let engine = state.engine(index.as_deref())?;
    as_many(request.dimensions, engine)?;
    let (embedded, tokens) = engine
        .ask_model(move |model, ticket| {
            let mut tokens = 0;
            for text in &texts {
                let (ids, _) = model
                    .models()
                    .embedder()
                    .token_ids(text)
                    .map_err(bt_query::Error::from)?;
                tokens += ids.len();
            }
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            Ok((model.texts(ticket, &texts)?, tokens))
        })
        .await?;
    let data = embedded.into_iter().enumerate().map(|(index, embedded)| {
        let embedding = match request.encoding_format.unwrap_or(Encoding::Float) {
            Encoding::Float => Vector::Float(embedded.vector),
            Encoding::Base64 => {
                let bytes: Vec<u8> = embedded
                    .vector
                    .iter()
                    .flat_map(|value| value.to_le_bytes())
                    .collect();
                Vector::Base64(STANDARD.encode(bytes))
            }
        };
        EmbeddingBody {
            object: "embedding",
            index,
            embedding,
        }
    });
    Ok(Json(EmbeddingsResponse {
        object: "list",
        data: data.collect(),
        model: engine.header().model.spec.clone(),
        usage: Usage {
            prompt_tokens: tokens,
            total_tokens: tokens,
        },
    }))
}

/// Reads a body as a request; for [`crate::parsers`].
pub(crate) fn read(bytes: &[u8]) {
    let _ = serde_json::from_slice::<EmbeddingsRequest>(bytes);
}
