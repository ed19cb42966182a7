//! The middleware before everything that needs a right.

use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::{Proof, Right, Stranger, is_from_elsewhere};
use crate::error::ApiError;
use crate::state::AppState;

/// Lets a request pass whose caller may do what it asks.
pub(crate) async fn require(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Response {
    let (right, proof) = match state.keys.caller(request.headers()) {
        Ok(caller) => caller,
        Err(stranger) => return unauthorised(stranger),
    };
    // A page of another site cannot know a token, but a browser sends cookies, and reaches an open
    // server, for whoever asks it.
    if proof != Proof::Bearer
        && is_from_elsewhere(request.method(), request.uri(), request.headers())
    {
        return refused_elsewhere().into_response();
    }
    if right < needed(request.method(), request.uri().path()) {
        return ApiError::new(
            StatusCode::FORBIDDEN,
            "no-right",
            "This token may not do that",
            "uploading and deleting need a token with the right to write",
        )
        .hint("ask the operator for a line `write TOKEN` in the token file")
        .into_response();
    }
    next.run(request).await
}

/// Only pictures change. What is asked by POST because the question is long still only reads.
fn needed(method: &Method, path: &str) -> Right {
    let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    if !reads && path.starts_with("/v1/pictures") {
        Right::Write
    } else {
        Right::Read
    }
}

/// Nobody, told how to become somebody.
pub(crate) fn unauthorised(stranger: Stranger) -> Response {
    let (detail, challenge) = match stranger {
        Stranger::Nothing => ("a token is needed", "Bearer realm=\"bt-server\""),
        Stranger::Wrong => (
            "the token or the session is not known",
            "Bearer realm=\"bt-server\", error=\"invalid_token\"",
        ),
    };
    let mut response = ApiError::new(
        StatusCode::UNAUTHORIZED,
        "unauthorised",
        "Who asks is not known",
        detail,
    )
    .hint("send `Authorization: Bearer TOKEN`, or sign in on the page")
    .into_response();
    response.headers_mut().insert(
        header::WWW_AUTHENTICATE,
        HeaderValue::from_static(challenge),
    );
    response
}

/// A page of another site.
pub(crate) fn refused_elsewhere() -> ApiError {
    ApiError::new(
        StatusCode::FORBIDDEN,
        "cross-site",
        "Another site asks",
        "the browser says that a page of another site sends this request",
    )
    .hint("programs send a token in the Authorization header")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changing_pictures_needs_the_right_to_write() {
        for (method, path, right) in [
            (Method::GET, "/v1/pictures/0a", Right::Read),
            (Method::HEAD, "/v1/pictures/0a/file", Right::Read),
            (Method::POST, "/v1/pictures", Right::Write),
            (Method::DELETE, "/v1/pictures/0a", Right::Write),
            (Method::PUT, "/v1/pictures/0a", Right::Write),
            (Method::POST, "/v1/search", Right::Read),
            (Method::POST, "/v1/export", Right::Read),
            (Method::POST, "/mcp", Right::Read),
        ] {
            assert_eq!(needed(&method, path), right, "{method} {path}");
        }
    }
}
