//! Signing in on the page: a token for a cookie that the page's scripts cannot read.

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum_extra::extract::cookie::{Cookie, CookieJar, SameSite};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::{LIFETIME, Proof, Stranger, is_from_elsewhere, refused_elsewhere, unauthorised};
use crate::error::ApiError;
use crate::request::ApiJson;
use crate::state::AppState;

/// Bytes of the one body that anybody may send.
const LONGEST_BODY: usize = 4 << 10;

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(look, sign_in, sign_out))
        .layer(DefaultBodyLimit::max(LONGEST_BODY))
}

/// Who the caller is.
#[derive(Debug, Serialize, ToSchema)]
struct SessionBody {
    /// Whether a token is needed at all.
    token_needed: bool,
    /// What the caller may do: `read`, `write`, or null when it is not known.
    right: Option<&'static str>,
    /// Whether there is an album that pictures can be uploaded to.
    uploads: bool,
    /// Whether there is a session that can be ended.
    signed_in: bool,
}

impl SessionBody {
    fn of(state: &AppState, headers: &HeaderMap) -> Self {
        let caller = state.keys.caller(headers).ok();
        Self {
            token_needed: !state.keys.is_open(),
            right: caller.map(|(right, _)| right.name()),
            uploads: !state.gallery.albums.is_empty(),
            signed_in: caller.is_some_and(|(_, proof)| proof == Proof::Cookie),
        }
    }
}

/// What the caller may do
#[utoipa::path(
    get, path = "/session", tag = "operations", operation_id = "get_session",
    responses((status = 200, description = "The caller's rights", body = SessionBody))
)]
async fn look(State(state): State<AppState>, headers: HeaderMap) -> axum::Json<SessionBody> {
    axum::Json(SessionBody::of(&state, &headers))
}

/// A token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SignIn {
    /// As the operator gave it out.
    token: String,
}

/// Gives a cookie for a token
#[utoipa::path(
    post, path = "/session", tag = "operations", operation_id = "sign_in",
    request_body = SignIn,
    responses(
        (status = 200, description = "The cookie is set", body = SessionBody),
        (status = 401, description = "The token is not known"),
    )
)]
async fn sign_in(
    State(state): State<AppState>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    ApiJson(SignIn { token }): ApiJson<SignIn>,
) -> Result<Response, ApiError> {
    if is_from_elsewhere(&method, &uri, &headers) {
        return Err(refused_elsewhere());
    }
    if state.keys.is_open() {
        return Ok(axum::Json(SessionBody::of(&state, &headers)).into_response());
    }
    let Some(right) = state.keys.right_of(token.trim()) else {
        return Ok(unauthorised(Stranger::Wrong));
    };
    let id = state
        .keys
        .sessions
        .open(right)
        .map_err(|_| ApiError::internal("the operating system gives no random numbers"))?;
    let cookie = Cookie::build((state.keys.cookie_name(), id))
        .path("/")
        .http_only(true)
        .same_site(SameSite::Strict)
        .secure(state.keys.secure || came_by_tls(&state, &headers))
        .build();
    let lifetime = LIFETIME.as_secs();
    let body = SessionBody {
        token_needed: true,
        right: Some(right.name()),
        uploads: !state.gallery.albums.is_empty(),
        signed_in: true,
    };
    let set = format!("{cookie}; Max-Age={lifetime}");
    Ok(([(header::SET_COOKIE, set)], axum::Json(body)).into_response())
}

/// Whether a trusted proxy in front says that the browser talks TLS with it.
fn came_by_tls(state: &AppState, headers: &HeaderMap) -> bool {
    let proto = headers
        .get("x-forwarded-proto")
        .and_then(|proto| proto.to_str().ok());
    state.options.limits.trust_proxy && proto == Some("https")
}

/// Ends the session
#[utoipa::path(
    delete, path = "/session", tag = "operations", operation_id = "sign_out",
    responses((status = 204, description = "There is no session any more"))
)]
async fn sign_out(State(state): State<AppState>, request: Request) -> Result<Response, ApiError> {
    let headers = request.headers();
    if is_from_elsewhere(request.method(), request.uri(), headers) {
        return Err(refused_elsewhere());
    }
    let name = state.keys.cookie_name();
    if let Some(cookie) = CookieJar::from_headers(headers).get(name) {
        state.keys.sessions.close(cookie.value());
    }
    let secure = if state.keys.secure { "; Secure" } else { "" };
    let gone = format!("{name}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0{secure}");
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, gone)]).into_response())
}

/// Reads a body as that of signing in; for [`crate::parsers`].
pub(crate) fn read(bytes: &[u8]) {
    let _ = serde_json::from_slice::<SignIn>(bytes);
}
