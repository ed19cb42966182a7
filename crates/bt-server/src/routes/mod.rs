//! A file a family of routes: request, handler and response together.

mod browse;
mod export;
mod inference;
mod openai;
mod operations;
mod pictures;
mod range;
mod search;
mod session;
mod similar;
mod upload;

use utoipa_axum::router::OpenApiRouter;

pub(crate) use export::Asked as AskedExport;
pub(crate) use operations::IndexBody;
pub(crate) use range::{Part, asked, has_it, part};
pub(crate) use search::form as read_search_form;
pub(crate) use session::read as read_sign_in;
pub(crate) use upload::read as read_form;

use crate::state::AppState;

/// Reads a body as each request to the model; for [`crate::parsers`].
pub(crate) fn read_inference(bytes: &[u8]) {
    inference::read(bytes);
    openai::read(bytes);
}

/// Reads a query string as that of each route but searching; for [`crate::parsers`].
pub(crate) fn read_query(text: &str) {
    browse::read(text);
    similar::read(text);
    pictures::read(text);
}

/// Routes that ask for a right.
pub(crate) fn guarded() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .merge(search::routes())
        .merge(similar::routes())
        .merge(inference::routes())
        .merge(openai::routes())
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
