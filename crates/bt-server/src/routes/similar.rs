//! Pictures like one of the index.

use axum::extract::{Path, State};
use axum::response::Response;
use bt_query::{Example, Query};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::described::{self, PictureId};
use crate::error::ApiError;
use crate::request::{
    self, ApiQuery, FilterBody, FilterParams, IndexParam, SearchRequest, query_string,
};
use crate::response::SearchResponse;
use crate::state::AppState;

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(similar))
}

/// One page of them.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
struct PageParams {
    /// Results on a page; 20 when it is left out.
    #[param(nullable = false, minimum = 1, maximum = 200)]
    n: Option<usize>,
    /// Next page: `next` of the page before.
    #[param(schema_with = described::cursor)]
    cursor: Option<String>,
    /// Least similarity.
    #[param(nullable = false, minimum = -1, maximum = 1)]
    min_score: Option<f32>,
    /// Compare every vector, even where a graph would be faster.
    exact: bool,
    /// Say where each place comes from, and how long each stage took.
    explain: bool,
    /// Fold near-duplicates into one result.
    group: bool,
}

impl PageParams {
    /// The same as a body.
    fn request(self, filter: FilterBody) -> SearchRequest {
        SearchRequest {
            n: self.n,
            cursor: self.cursor,
            min_score: self.min_score,
            exact: self.exact,
            group: self.group,
            filter,
            rerank: Some(0),
            ..SearchRequest::default()
        }
    }
}

/// Finds pictures like one of the index, which is no result itself
#[utoipa::path(
    get, path = "/v1/similar/{id}", tag = "search", operation_id = "similar",
    params(
        ("id" = PictureId, Path),
        PageParams, FilterParams, IndexParam
    ),
    responses((status = 200, description = "A page of results", body = SearchResponse))
)]
async fn similar(
    State(state): State<AppState>,
    Path(id): Path<String>,
    ApiQuery(page): ApiQuery<PageParams>,
    ApiQuery(filter): ApiQuery<FilterParams>,
    ApiQuery(IndexParam { index }): ApiQuery<IndexParam>,
) -> Result<Response, ApiError> {
    let engine = state.engine(index.as_deref())?;
    let explain = page.explain;
    let query = Query {
        picture: Some(Example::Indexed(request::id(&id)?)),
        ..page.request(filter.body()?).query()?
    };
    super::search::respond(engine, query, explain).await
}

/// Reads a query string as that of this route; for [`crate::parsers`].
pub(super) fn read(text: &str) {
    if let Ok(page) = query_string::<PageParams>(text) {
        let _ = page.request(FilterBody::default()).query();
    }
}
