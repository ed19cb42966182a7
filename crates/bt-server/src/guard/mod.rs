//! What stands between strangers and the handlers: limits on size, time, number and rate, headers that tell
//! browsers to be careful, and the manners of failing. Rights are `auth`'s.

mod bodies;
mod connection;
mod failures;
mod headers;
mod limits;
mod names;
mod rate;
mod request;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::RequestBodyTimeoutLayer;
use utoipa_axum::router::OpenApiRouter;

use crate::metrics;
use crate::state::AppState;

pub(crate) use connection::Guarded;
pub use limits::Limits;
pub(crate) use rate::forwarded_for;
pub(crate) use request::{known_method, request_id, within_request};

/// Bodies that do not stop coming to be read.
pub(crate) fn with_patience(
    router: OpenApiRouter<AppState>,
    limits: &Limits,
) -> OpenApiRouter<AppState> {
    router.layer(RequestBodyTimeoutLayer::new(limits.stall_timeout))
}

/// The same, and room for all of them together. It belongs below the rights, so that strangers take none of it.
pub(crate) fn with_room_for_bodies(
    router: OpenApiRouter<AppState>,
    limits: &Limits,
) -> OpenApiRouter<AppState> {
    let bodies = Arc::new(bodies::Budget::new(limits));
    // The room is measured before patience wraps the body, whose length nobody could tell then.
    with_patience(router, limits).layer(from_fn_with_state(bodies, bodies::within_budget))
}

/// The router behind all guards. The order matters: what is further down in the code comes first when a
/// request arrives.
pub(crate) fn layer(router: Router, state: &AppState) -> Router {
    let limits = &state.options.limits;
    let rate = Arc::new(rate::Rate::new(limits));
    let most = usize::try_from(limits.body_bytes).unwrap_or(usize::MAX);
    router
        .layer(DefaultBodyLimit::max(most))
        .layer(from_fn_with_state(limits.request_timeout, request::in_time))
        .layer(from_fn_with_state(rate, rate::within_rate))
        .layer(from_fn_with_state(state.clone(), names::by_a_known_name))
        .layer(CatchPanicLayer::custom(failures::after_panic))
        .layer(from_fn(metrics::count_the_rest))
        .layer(from_fn(failures::as_problems))
        .layer(from_fn_with_state(
            state.options.tls.is_some(),
            headers::careful,
        ))
        .layer(from_fn(request::with_id))
}
