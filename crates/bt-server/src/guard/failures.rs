//! Every failure is a problem document, also those that come from the framework, and a panic.

use std::any::Any;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::error::ApiError;

/// A handler that panicked: the message goes to the log only.
pub(super) fn after_panic(cause: Box<dyn Any + Send + 'static>) -> Response {
    let said = cause
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| cause.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    ApiError::internal(format!("a handler panicked: {said}")).into_response()
}

/// Longest text that is taken over from the framework.
const LONGEST: usize = 8 << 10;

/// Turns the framework's own refusals (a body that is no JSON, a method that is not allowed, ...) into
/// problem documents.
pub(super) async fn as_problems(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let is_failure = status.is_client_error() || status.is_server_error();
    if !is_failure || !is_plain(response.headers()) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let text = to_bytes(body, LONGEST).await.unwrap_or_default();
    let detail = match String::from_utf8_lossy(&text).trim() {
        "" => status.canonical_reason().unwrap_or("refused").to_owned(),
        text => text.to_owned(),
    };
    let (name, title) = about(status);
    let problem = ApiError::new(status, name, title, detail).into_response();
    let (problem_parts, body): (_, Body) = problem.into_parts();
    // `Allow` and the like stay.
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.extend(problem_parts.headers);
    Response::from_parts(parts, body)
}

fn is_plain(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .is_none_or(|kind| kind.starts_with("text/plain"))
}

fn about(status: StatusCode) -> (&'static str, &'static str) {
    match status {
        StatusCode::NOT_FOUND => ("not-found", "It is not here"),
        StatusCode::METHOD_NOT_ALLOWED => (
            "method-not-allowed",
            "This cannot be done with that address",
        ),
        StatusCode::NOT_ACCEPTABLE => ("not-acceptable", "There is no such form of the answer"),
        StatusCode::REQUEST_TIMEOUT => ("too-slow", "The request came too slowly"),
        StatusCode::PAYLOAD_TOO_LARGE => ("too-large", "The request is too large"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => (
            "unsupported-media-type",
            "The request has a form that is not read",
        ),
        status if status.is_server_error() => ("internal", "The server failed"),
        _ => ("bad-request", "The request makes no sense"),
    }
}
