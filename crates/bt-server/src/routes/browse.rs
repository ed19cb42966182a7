//! Looking through an index without a query: in order of date or path, and by what there is.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::catalogue::{Begin, Facets, Order};
use crate::error::ApiError;
use crate::pages::PageCursor;
use crate::request::{ApiQuery, DEFAULT_N, FilterParams, IndexParam, MOST_N, query_string, within};
use crate::response::PictureBody;
use crate::state::AppState;

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(browse))
        .routes(routes!(facets))
}

/// Which page in which order.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
struct BrowseParams {
    /// Newest first (undated last), or by path: folder after folder, by name in each.
    #[param(inline)]
    sort: Order,
    /// Pictures on a page; 20 when it is left out.
    #[param(nullable = false, minimum = 1, maximum = 200)]
    n: Option<usize>,
    /// Next page: `next` of the page before.
    #[param(nullable = false, pattern = "^[A-Za-z0-9_-]{48}$")]
    cursor: Option<String>,
    /// Begins at this picture, counted from 0, instead of where a page ended: to jump far ahead.
    #[param(nullable = false, maximum = 4_294_967_295i64)]
    at: Option<u32>,
}

impl BrowseParams {
    /// In which order, beginning where, and how many.
    fn page(&self) -> Result<(Order, Begin, usize), ApiError> {
        let n = within("n", self.n.unwrap_or(DEFAULT_N), 1, MOST_N)?;
        let begin = match (&self.cursor, self.at) {
            (None, at) => Begin::At(at.unwrap_or(0) as usize),
            (Some(text), None) => Begin::After(PageCursor::parse(text).ok_or_else(|| {
                ApiError::bad_request("`cursor` is none that a page has given")
                    .hint("take `next` of the page before, as it is")
            })?),
            (Some(_), Some(_)) => {
                return Err(ApiError::bad_request(
                    "a page begins at `cursor` or at `at`, not at both",
                ));
            }
        };
        Ok((self.sort, begin, n))
    }
}

/// One page.
#[derive(Debug, Serialize, ToSchema)]
struct BrowseResponse {
    /// The pictures, in order.
    results: Vec<PictureBody>,
    /// On all pages.
    total: usize,
    /// Cursor of the next page; null at the end.
    next: Option<String>,
}

/// Pictures in order, without a query
#[utoipa::path(
    get, path = "/v1/browse", tag = "pictures", operation_id = "browse",
    params(BrowseParams, FilterParams, IndexParam),
    responses((status = 200, description = "A page of pictures", body = BrowseResponse))
)]
async fn browse(
    State(state): State<AppState>,
    ApiQuery(params): ApiQuery<BrowseParams>,
    ApiQuery(filter): ApiQuery<FilterParams>,
    ApiQuery(IndexParam { index }): ApiQuery<IndexParam>,
) -> Result<axum::Json<BrowseResponse>, ApiError> {
    let engine = state.engine(index.as_deref())?;
    let (sort, begin, n) = params.page()?;
    let filter = filter.body()?.filter()?;
    let catalogue = state.gallery.catalogues.of(engine).await?;
    let work = move || catalogue.page(sort, &filter, begin, n);
    let page = state.gallery.work.run(work).await?;
    let picture = |record| PictureBody::of(record, engine.name());
    Ok(axum::Json(BrowseResponse {
        results: page.records.iter().map(picture).collect(),
        total: page.total,
        next: page.next.map(PageCursor::to_text),
    }))
}

/// Folders, months, cameras and types, with how many pictures there are of each
#[utoipa::path(
    get, path = "/v1/facets", tag = "pictures", operation_id = "facets",
    params(FilterParams, IndexParam),
    responses((status = 200, description = "What the filters leave", body = Facets))
)]
async fn facets(
    State(state): State<AppState>,
    ApiQuery(filter): ApiQuery<FilterParams>,
    ApiQuery(IndexParam { index }): ApiQuery<IndexParam>,
) -> Result<axum::Json<Facets>, ApiError> {
    let engine = state.engine(index.as_deref())?;
    let filter = filter.body()?.filter()?;
    let catalogue = state.gallery.catalogues.of(engine).await?;
    let facets = state
        .gallery
        .work
        .run(move || catalogue.facets(&filter))
        .await?;
    Ok(axum::Json((*facets).clone()))
}

/// Reads a query string as that of browsing; for [`crate::parsers`].
pub(super) fn read(text: &str) {
    if let Ok(params) = query_string::<BrowseParams>(text) {
        let _ = params.page();
    }
}
