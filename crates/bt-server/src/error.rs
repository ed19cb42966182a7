//! The one error of the API, and the only map from causes to status codes. Bodies are problem documents
//! (RFC 9457); details of our own failures stay in the log, under the request's id.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// What a handler answers when it does not answer.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    name: &'static str,
    title: &'static str,
    detail: String,
    hint: Option<String>,
    retry_after: Option<u64>,
}

/// The body.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Problem {
    /// `/problems/` and a stable name.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The same for every problem of this type.
    pub(crate) title: &'static str,
    /// HTTP status.
    pub(crate) status: u16,
    /// What happened this time.
    pub(crate) detail: String,
    /// What to do next.
    pub(crate) hint: String,
    /// Id of the request, which the server's log has, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) instance: Option<String>,
}

impl ApiError {
    /// Anything that has a status and a stable name.
    pub(crate) fn new(
        status: StatusCode,
        name: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            status,
            name,
            title,
            detail: detail.into(),
            hint: None,
            retry_after: None,
        }
    }

    /// What to do next, where more is known than [`usual_hint`] says.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The request makes no sense.
    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "bad-request",
            "The request makes no sense",
            detail,
        )
    }

    /// There is no such picture, index or page.
    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "It is not here", detail)
    }

    /// Too much is asked at once. `bound`: of what there is too much, and which flag says how much there may be, if one
    /// does.
    pub(crate) fn overloaded(bound: impl Into<String>, retry_after: u64) -> Self {
        let mut error = Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "overloaded",
            "Too much is asked at once",
            bound,
        );
        error.retry_after = Some(retry_after);
        error
    }

    /// The time that was given is over.
    pub(crate) fn too_late() -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "deadline",
            "It took too long",
            "the time that a request may take was over before there was an answer",
        )
    }

    /// What was sent is no picture that can be read.
    pub(crate) fn not_a_picture(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "not-a-picture",
            "It is no picture that can be read",
            detail,
        )
    }

    /// The status of the response.
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// The body of the response.
    pub(crate) fn problem(&self) -> Problem {
        Problem {
            kind: format!("/problems/{}", self.name),
            title: self.title,
            status: self.status.as_u16(),
            detail: self.detail.clone(),
            hint: self
                .hint
                .clone()
                .unwrap_or_else(|| usual_hint(self.name).to_owned()),
            instance: crate::guard::request_id(),
        }
    }

    /// Our own failure: the cause goes to the log only.
    pub(crate) fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!(%cause, "request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "The server failed",
            "the cause is in the server's log, under the id of this request",
        )
    }
}

/// What to do next about a problem of this name.
fn usual_hint(name: &str) -> &'static str {
    match name {
        "not-found" => "ids of pictures are in the results of a search; /docs lists the addresses",
        "not-a-picture" => "a JPEG, PNG or WebP copy of it will do",
        "too-large" => "send less at once",
        "too-slow" => "send the whole request without a pause",
        "method-not-allowed" => "the header `Allow` names what can be done",
        "not-acceptable" => "leave `Accept` out, or take a form that /docs names",
        "unsupported-media-type" => "/docs says in which form each request comes",
        "not-in-album" => {
            "delete the file where it lies; `bt-index --prune` drops it from the index"
        }
        "no-such-bytes" => "ask for bytes that it has, or for the whole file, without `Range`",
        "incompatible" => "/v1/indexes says what each index can do",
        "busy" => "ask again in a moment",
        "overloaded" => "ask again after the seconds in `Retry-After`",
        "deadline" => "ask for less (a smaller `rerank`), or again when the server is less busy",
        "internal" => "ask again; if it stays so, give the operator the id in `instance`",
        _ => "/docs says what each request takes",
    }
}

impl From<bt_query::Error> for ApiError {
    fn from(error: bt_query::Error) -> Self {
        use bt_query::{Error, Kind, PictureError};
        match &error {
            Error::Stopped(why) if *why == crate::engine::FAILED => return Self::internal(why),
            Error::Stopped(_) => return Self::too_late(),
            Error::QueryPicture {
                source: source @ PictureError::Decode(_),
                ..
            } => return Self::not_a_picture(source.to_string()),
            _ => {}
        }
        // The hints of the library speak of programs and their flags.
        let hint = match &error {
            Error::EmptyQuery => Some("say what to look for in `text`, or show it in `image`"),
            Error::OnlyNegative => Some("add what should be seen to what should not"),
            Error::EmptyIndex => Some("put pictures into the index with `bt-index`"),
            Error::NoSuchPicture(_) => Some("ids are in the results of a search"),
            Error::CannotReadWords { .. } => Some("search with a picture"),
            _ => None,
        };
        let answer = match error.kind() {
            Kind::Usage => Self::bad_request(error.to_string()),
            Kind::NotFound => Self::not_found(error.to_string()),
            Kind::Incompatible => Self::new(
                StatusCode::CONFLICT,
                "incompatible",
                "Model, index and question do not go together",
                error.to_string(),
            ),
            Kind::Busy => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "Somebody else holds it",
                error.to_string(),
            ),
            Kind::Corrupt | Kind::Io | Kind::Bug => return Self::internal(error),
        };
        match hint {
            Some(hint) => answer.hint(hint),
            None => answer,
        }
    }
}

impl From<bt_store::Error> for ApiError {
    fn from(error: bt_store::Error) -> Self {
        bt_query::Error::from(error).into()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(self.problem())).into_response();
        let headers = response.headers_mut();
        headers.insert(
            axum::http::header::CONTENT_TYPE,
            axum::http::HeaderValue::from_static("application/problem+json"),
        );
        if let Some(seconds) = self.retry_after {
            headers.insert(axum::http::header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_what_to_do_and_better_where_more_is_known() {
        let hint = |error: ApiError| error.problem().hint;
        assert!(hint(ApiError::overloaded("x", 1)).contains("Retry-After"));
        assert!(hint(ApiError::bad_request("x")).contains("/docs"));
        assert_eq!(hint(ApiError::bad_request("x").hint("y")), "y");
    }
}
