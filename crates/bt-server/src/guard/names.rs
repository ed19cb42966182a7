//! An open server answers under its own names only.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::error::ApiError;
use crate::state::AppState;

/// Lets a request pass whose Host is one of ours: a page of another site whose name resolves to this
/// machine would be of the same origin as the server.
pub(super) async fn by_a_known_name(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Response {
    match &state.keys.hosts {
        Some(hosts) if !hosts.admit(request.uri(), request.headers()) => ApiError::new(
            StatusCode::MISDIRECTED_REQUEST,
            "unknown-host",
            "The server is not known by this name",
            "without a token, only `localhost`, addresses and the names given with --host are served",
        )
        .hint("start the server with --host NAME, or with a token")
        .into_response(),
        _ => next.run(request).await,
    }
}
