//! Each request has an id, a line in the log, and an end.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument;

use crate::error::ApiError;

tokio::task_local! {
    static CURRENT: String;
}

const ID: HeaderName = HeaderName::from_static("x-request-id");
/// What is asked every few seconds, all day: a line for each would hide the others.
const WATCHED: [&str; 3] = ["/healthz", "/readyz", "/metrics"];
/// Longer ids of others are replaced.
const LONGEST: usize = 64;
/// So much of a path is logged: no path of ours is as long.
const LONGEST_PATH: usize = 256;
/// Bytes of a body that a client must send in a second, on average, to be waited for.
const LEAST_RATE: u64 = 64 << 10;

/// The id of the request that this task answers.
pub(crate) fn request_id() -> Option<String> {
    CURRENT.try_with(Clone::clone).ok()
}

/// Runs something that belongs to a request with this id, but is done after its task.
pub(crate) fn within_request<T>(id: Option<&String>, run: impl FnOnce() -> T) -> T {
    match id {
        Some(id) => CURRENT.sync_scope(id.clone(), run),
        None => run(),
    }
}

/// Gives the request its id (the one that a proxy gave, if any), and writes its line. The query is not
/// logged: it says what people look for.
pub(super) async fn with_id(request: Request, next: Next) -> Response {
    let id = request
        .headers()
        .get(ID)
        .and_then(|id| id.to_str().ok())
        .filter(|id| is_sound(id))
        .map_or_else(new_id, ToOwned::to_owned);
    let method = known_method(request.method());
    // A path is ASCII, so it can be cut anywhere.
    let path = request.uri().path();
    let path = path.get(..LONGEST_PATH).unwrap_or(path).to_owned();
    let asked_by_a_machine = WATCHED.contains(&&*path);
    let span = tracing::info_span!("request", %id, method, path);
    let answered = async {
        let started = Instant::now();
        let response = next.run(request).await;
        let (status, ms) = (response.status().as_u16(), started.elapsed().as_millis());
        if asked_by_a_machine && status < 400 {
            tracing::debug!(status, ms, "answered");
        } else {
            tracing::info!(status, ms, "answered");
        }
        response
    };
    let mut response = CURRENT.scope(id.clone(), answered.instrument(span)).await;
    if let Ok(id) = HeaderValue::try_from(id) {
        response.headers_mut().insert(ID, id);
    }
    response
}

fn is_sound(id: &str) -> bool {
    (1..=LONGEST).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// Different for each request of each run; no secret.
fn new_id() -> String {
    static RUN: OnceLock<RandomState> = OnceLock::new();
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut hasher = RUN.get_or_init(RandomState::new).build_hasher();
    hasher.write_u64(NEXT.fetch_add(1, Ordering::Relaxed));
    format!("{:016x}", hasher.finish())
}

/// A method's name, for logs and numbers: anything of any length can stand for a method, and no client may
/// choose what fills them.
pub(crate) fn known_method(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE",
    ];
    let mut known = KNOWN.into_iter();
    known
        .find(|known| *known == method.as_str())
        .unwrap_or("other")
}

/// A request whose answer does not begin in time gets none; what it was doing is given up. A long body has
/// the time that a slow line needs for it on top.
pub(super) async fn in_time(
    State(limit): State<Duration>,
    request: Request,
    next: Next,
) -> Response {
    let limit = limit + time_for_body(request.headers());
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::new(
            StatusCode::GATEWAY_TIMEOUT,
            "deadline",
            "It took too long",
            format!("there was no answer within {} seconds", limit.as_secs()),
        )
        .into_response(),
    }
}

fn time_for_body(headers: &HeaderMap) -> Duration {
    let bytes = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    Duration::from_secs(bytes.unwrap_or(0) / LEAST_RATE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_those_of_others_are_checked() {
        assert_ne!(new_id(), new_id());
        assert!(is_sound(&new_id()));
        for (id, sound) in [
            ("a-1_b.c", true),
            ("", false),
            ("a b", false),
            ("a\"", false),
        ] {
            assert_eq!(is_sound(id), sound, "{id}");
        }
        assert!(!is_sound(&"a".repeat(65)));
    }

    #[test]
    fn a_method_that_nobody_knows_has_no_name() {
        assert_eq!(known_method(&Method::PATCH), "PATCH");
        for unknown in [b"get".as_slice(), b"GETS", &[b'A'; 4096]] {
            let method = Method::from_bytes(unknown).unwrap();
            assert_eq!(known_method(&method), "other");
        }
    }

    #[test]
    fn a_long_body_may_take_longer() {
        let time = |length: &str| {
            let length = HeaderValue::from_str(length).unwrap();
            time_for_body(&HeaderMap::from_iter([(header::CONTENT_LENGTH, length)]))
        };
        assert_eq!(time("60000000"), Duration::from_secs(915));
        assert_eq!(time("100"), Duration::ZERO);
        assert_eq!(time("many"), Duration::ZERO);
    }
}
