//! A file a family of routes: request, handler and response together.

mod browse;
mod export;
mod operations;
mod pictures;
mod range;
mod search;
mod session;
mod upload;

use utoipa_axum::router::OpenApiRouter;

use crate::state::AppState;

/// Routes that ask for a right.
pub(crate) fn guarded() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .merge(search::routes())
        .merge(pictures::routes())
        .merge(browse::routes())
        .merge(export::routes())
        .merge(upload::routes())
        .merge(operations::guarded())
}

/// Routes that anybody may ask.
pub(crate) fn open() -> OpenApiRouter<AppState> {
    operations::open().merge(session::routes())
}
