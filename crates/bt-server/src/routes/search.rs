//! Searching: by a body, by a query string, by an upload, and step by step.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use axum::extract::{FromRequest, Multipart, Request, State};
use axum::http::{HeaderMap, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use bt_query::render::json::ScoreFields;
use bt_query::{Example, Given, Progress, Query};
use futures_util::stream::{self, StreamExt as _};
use tokio::sync::mpsc;
use tracing::Instrument as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::engine::{Engine, Searched, Step};
use crate::error::ApiError;
use crate::guard;
use crate::request::{
    self, ApiJson, ApiQuery, FilterParams, IndexParam, SearchParams, SearchRequest, Shown,
};
use crate::response::{ScoreBody, SearchResponse};
use crate::state::AppState;

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(by_query, by_body))
}

/// Steps that may wait for a client that reads slowly; more are left out.
const STEPS: usize = 64;

/// Finds pictures by words
///
/// With `Accept: text/event-stream` the answer comes in steps: `candidates` (by embedding alone, at once),
/// `progress` (`done` of `total` candidates were looked at; `judged`: the `id` and score of each that came to
/// these since the last step), and `results`, the final answer; or `problem`.
#[utoipa::path(
    get, path = "/v1/search", tag = "search", operation_id = "search_by_query",
    params(SearchParams, FilterParams, IndexParam),
    responses((status = 200, description = "A page of results", content(
        (SearchResponse = "application/json"), (String = "text/event-stream")
    )))
)]
async fn by_query(
    State(state): State<AppState>,
    headers: HeaderMap,
    ApiQuery(params): ApiQuery<SearchParams>,
    ApiQuery(filter): ApiQuery<FilterParams>,
    ApiQuery(IndexParam { index }): ApiQuery<IndexParam>,
) -> Result<Response, ApiError> {
    let request = params.request(filter.body()?, index);
    search(&state, request, None, wants_steps(&headers)).await
}

/// What an upload consists of.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "describes the form")]
struct SearchForm {
    /// A `SearchRequest` as JSON.
    request: Option<String>,
    /// A picture file.
    #[schema(value_type = Option<String>, format = Binary)]
    image: Option<Vec<u8>>,
}

/// Finds pictures by words, by a picture, or by both
///
/// A picture comes by its id, in base64, or as the part `image` of a form. With `Accept: text/event-stream`
/// the answer comes in steps: `candidates` (by embedding alone, at once), `progress` (`done` of `total`
/// candidates were looked at; `judged`: the `id` and score of each that came to these since the last step),
/// and `results`, the final answer; or `problem`.
#[utoipa::path(
    post, path = "/v1/search", tag = "search", operation_id = "search",
    request_body(content(
        (SearchRequest = "application/json"), (SearchForm = "multipart/form-data")
    )),
    responses((status = 200, description = "A page of results", content(
        (SearchResponse = "application/json"), (String = "text/event-stream")
    )))
)]
async fn by_body(State(state): State<AppState>, request: Request) -> Result<Response, ApiError> {
    let steps = wants_steps(request.headers());
    let is_form = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.starts_with("multipart/form-data"));
    let (request, upload) = if is_form {
        form(request, &state).await?
    } else {
        let ApiJson(request) = ApiJson::from_request(request, &state).await?;
        (request, None)
    };
    search(&state, request, upload, steps).await
}

/// The parts of the form.
pub(crate) async fn form<S: Send + Sync>(
    request: Request,
    state: &S,
) -> Result<(SearchRequest, Option<Vec<u8>>), ApiError> {
    let bad = |error: axum::extract::multipart::MultipartError| {
        if error.status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE {
            request::too_large(error.body_text())
        } else {
            ApiError::bad_request(error.body_text())
        }
    };
    let mut form = Multipart::from_request(request, state)
        .await
        .map_err(|error| ApiError::bad_request(error.body_text()))?;
    let (mut search, mut image) = (None, None);
    while let Some(field) = form.next_field().await.map_err(bad)? {
        match field.name().map(ToOwned::to_owned).as_deref() {
            Some("request") if search.is_none() => {
                let text = field.text().await.map_err(bad)?;
                search = Some(serde_json::from_str(&text).map_err(|error| {
                    ApiError::bad_request(format!("the part `request`: {error}"))
                })?);
            }
            Some("image") if image.is_none() => {
                image = Some(field.bytes().await.map_err(bad)?.to_vec());
            }
            name => {
                return Err(ApiError::bad_request(format!(
                    "the form has the part `{}`; expected are `request` and `image`, once each",
                    name.unwrap_or_default()
                )));
            }
        }
    }
    Ok((search.unwrap_or_default(), image))
}

fn wants_steps(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/event-stream"))
}

async fn search(
    state: &AppState,
    request: SearchRequest,
    upload: Option<Vec<u8>>,
    steps: bool,
) -> Result<Response, ApiError> {
    let engine = Arc::clone(state.engine(request.index.as_deref())?);
    let mut query = request.query()?;
    let shown = match (&request.image, upload) {
        (Some(_), Some(_)) => {
            return Err(ApiError::bad_request(
                "a picture comes either in the request or as the part `image`",
            ));
        }
        (Some(image), None) => Some(image.shown()?),
        (None, Some(bytes)) => Some(Shown::Bytes(bytes)),
        (None, None) => None,
    };
    match shown {
        None => {}
        Some(Shown::Indexed(id)) => query.picture = Some(Example::Indexed(id)),
        Some(Shown::Bytes(bytes)) => {
            let decoder = Arc::clone(&state.gallery.decoder);
            let rgb = engine.run(move |_, asker| decoder.given(&bytes, asker.ticket()));
            query.picture = Some(Example::Given(Given(Arc::new(rgb.await?))));
        }
    }
    if state.options.log_queries {
        tracing::info!(text = query.text, not = ?query.not, "query");
    }
    if steps {
        return in_steps(engine, query, request.explain).await;
    }
    respond(&engine, query, request.explain).await
}

/// Answers a query at once.
pub(super) async fn respond(
    engine: &Engine,
    query: Query,
    explain: bool,
) -> Result<Response, ApiError> {
    let searched = engine
        .search(query.clone(), engine.deadline(), None)
        .await?;
    let body = SearchResponse::of(&searched, &query, explain, engine.name());
    Ok(axum::Json(body).into_response())
}

/// Answers a query as a stream of events. The search belongs to the stream: a client that leaves ends it.
///
/// # Errors
/// What ends the search before its first step is an answer like any other, with a status.
async fn in_steps(engine: Arc<Engine>, query: Query, explain: bool) -> Result<Response, ApiError> {
    let (sender, steps) = mpsc::channel(STEPS);
    let asked = query.clone();
    let named = engine.name().to_owned();
    let page = move |searched: &Searched| SearchResponse::of(searched, &asked, explain, &named);
    let id = guard::request_id();
    let searching: Searching = Box::pin(
        async move {
            let deadline = engine.deadline();
            engine.search(query, deadline, Some(sender)).await
        }
        .in_current_span(),
    );
    let step = move |step: Step| match step {
        Step::Candidates(searched) => event("candidates", &page(&searched)),
        Step::Progress(progress) => event("progress", &ProgressBody::from(progress)),
        Step::End(Ok(searched)) => event("results", &page(&searched)),
        Step::End(Err(error)) => {
            let problem = guard::within_request(id.as_ref(), || error.problem());
            event("problem", &problem)
        }
    };
    let mut coming = Coming {
        searching: Some(searching),
        steps,
        last: VecDeque::new(),
    };
    let first = match coming.next().await {
        Some(Step::End(Err(error))) => return Err(error),
        first => first,
    };
    let further = stream::unfold(coming, |mut coming| async move {
        Some((coming.next().await?, coming))
    });
    let events = stream::iter(first).chain(further).map(step);
    Ok(Sse::new(events)
        .keep_alive(KeepAlive::default())
        .into_response())
}

/// How far the reranking is.
#[derive(serde::Serialize)]
struct ProgressBody {
    done: usize,
    total: usize,
    judged: Vec<JudgedBody>,
}

/// What a candidate's score will be.
#[derive(serde::Serialize)]
struct JudgedBody {
    id: String,
    #[serde(flatten)]
    score: ScoreBody,
}

impl From<Progress> for ProgressBody {
    fn from(progress: Progress) -> Self {
        let judged = progress.judged.into_iter().map(|(id, score)| JudgedBody {
            id: id.to_string(),
            score: ScoreFields::from(score).into(),
        });
        Self {
            done: progress.done,
            total: progress.total,
            judged: judged.collect(),
        }
    }
}

type Searching = Pin<Box<dyn Future<Output = Result<Searched, ApiError>> + Send>>;

/// Steps of a search, and its end.
struct Coming {
    searching: Option<Searching>,
    steps: mpsc::Receiver<Step>,
    last: VecDeque<Step>,
}

impl Coming {
    async fn next(&mut self) -> Option<Step> {
        let Some(searching) = &mut self.searching else {
            return self.last.pop_front();
        };
        tokio::select! {
            biased;
            Some(step) = self.steps.recv() => Some(step),
            outcome = searching => {
                self.searching = None;
                // What was told while the search came to its end comes before the end.
                while let Ok(step) = self.steps.try_recv() {
                    self.last.push_back(step);
                }
                self.last.push_back(Step::End(outcome));
                self.last.pop_front()
            }
        }
    }
}

fn event(name: &str, body: &impl serde::Serialize) -> Result<Event, axum::Error> {
    Event::default().event(name).json_data(body)
}
