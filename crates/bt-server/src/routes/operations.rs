//! State of the server, for operators and their tools.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bt_store::Collection;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::engine::Engine;
use crate::error::{ApiError, Problem};
use crate::state::AppState;
use crate::{app, metrics};

pub(crate) fn guarded() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(indexes))
        .routes(routes!(status))
        .routes(routes!(numbers))
}

pub(crate) fn open() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(healthz))
        .routes(routes!(readyz))
        .routes(routes!(openapi))
}

/// An index that is served.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct IndexBody {
    /// What requests call it.
    name: String,
    /// Pictures in it.
    pictures: u64,
    /// Newest published generation.
    generation: Option<u64>,
    /// Pictures that were committed after it.
    tail: u64,
    /// Length of a vector.
    dimensions: usize,
    /// The model that embeds.
    model: String,
    /// The model that reranks, where it is another one.
    rerank_model: Option<String>,
    /// Whether words can be compared with pictures.
    by_words: bool,
    /// Probability from which on a picture is a result.
    threshold: f32,
    /// What had to be worked around.
    warnings: Vec<String>,
}

impl IndexBody {
    /// What is known of an index now.
    pub(crate) fn of(engine: &Engine) -> Self {
        let snapshot = engine.snapshot();
        let facts = snapshot.reader.facts();
        let models = engine.model().models();
        let can = bt_query::Scorer::abilities(models);
        Self {
            name: engine.name().to_owned(),
            pictures: facts.pictures,
            generation: facts.generation.map(|id| id.0),
            tail: facts.tail_rows,
            dimensions: engine.header().dim,
            model: engine.header().model.spec.clone(),
            rerank_model: engine
                .header()
                .rerank
                .as_ref()
                .map(|model| model.spec.clone()),
            by_words: (can.itc && engine.header().aligned_with_text) || can.itm,
            threshold: bt_query::Scorer::calibration(models).threshold,
            warnings: facts.warnings.clone(),
        }
    }
}

/// All indexes; the first one is asked when a request names none
#[utoipa::path(
    get, path = "/v1/indexes", tag = "operations",
    responses((status = 200, description = "The indexes", body = [IndexBody]))
)]
async fn indexes(State(state): State<AppState>) -> Result<Json<Vec<IndexBody>>, ApiError> {
    let first = state.engine(None)?;
    let others = state
        .engines
        .values()
        .filter(|engine| engine.name() != first.name());
    Ok(Json(
        std::iter::once(first)
            .chain(others)
            .map(|engine| IndexBody::of(engine))
            .collect(),
    ))
}

/// What runs here.
#[derive(Debug, Serialize, ToSchema)]
struct StatusBody {
    /// Version of the program.
    version: &'static str,
    /// Whether new requests are welcome.
    ready: bool,
    /// Seconds since the start.
    uptime: u64,
    /// Whether pictures can be uploaded, into one index at least.
    uploads: bool,
    /// The indexes.
    indexes: Vec<IndexBody>,
}

/// What runs here
#[utoipa::path(
    get, path = "/v1/status", tag = "operations",
    responses((status = 200, description = "State of the server", body = StatusBody))
)]
async fn status(State(state): State<AppState>) -> Result<Json<StatusBody>, ApiError> {
    let (ready, uploads) = (state.is_ready(), !state.gallery.albums.is_empty());
    let uptime = state.started.elapsed().as_secs();
    let Json(indexes) = indexes(State(state)).await?;
    Ok(Json(StatusBody {
        version: env!("CARGO_PKG_VERSION"),
        ready,
        uptime,
        uploads,
        indexes,
    }))
}

/// The process lives
#[utoipa::path(
    get, path = "/healthz", tag = "operations",
    responses((status = 200, description = "It does", body = String, content_type = "text/plain"))
)]
async fn healthz() -> &'static str {
    "ok\n"
}

/// New requests are welcome
#[utoipa::path(
    get, path = "/readyz", tag = "operations",
    responses(
        (status = 200, description = "They are", body = String, content_type = "text/plain"),
        (
            status = 503, description = "The server is stopping (`/problems/stopping`)",
            body = Problem, content_type = "application/problem+json"
        )
    )
)]
async fn readyz(State(state): State<AppState>) -> Result<&'static str, ApiError> {
    if state.is_ready() {
        Ok("ready\n")
    } else {
        Err(ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "stopping",
            "The server is stopping",
            "requests that are there are answered; soon no more are taken",
        )
        .hint("ask another server, or this one again when it has been started anew"))
    }
}

/// Numbers for Prometheus
#[utoipa::path(
    get, path = "/metrics", tag = "operations",
    responses((status = 200, description = "Text form 0.0.4", body = String, content_type = "text/plain"))
)]
async fn numbers() -> Result<Response, ApiError> {
    let text = metrics::render()
        .ok_or_else(|| ApiError::internal("the recorder of metrics could not be installed"))?;
    let kind = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    Ok((kind, text).into_response())
}

/// This description
#[utoipa::path(
    get, path = "/openapi.json", tag = "operations",
    responses((status = 200, description = "OpenAPI 3.1", body = Object))
)]
async fn openapi(State(state): State<AppState>) -> Json<serde_json::Value> {
    Json(app::description(&state))
}
