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

use crate::metrics;
use crate::state::AppState;

pub(crate) use connection::Guarded;
pub use limits::Limits;
pub(crate) use request::{request_id, within_request};

/// The router behind all guards. The order matters: what is further down in the code comes first when a
/// request arrives.
pub(crate) fn layer(router: Router, state: &AppState) -> Router {
    let limits = &state.options.limits;
    let bodies = Arc::new(bodies::Budget::new(limits));
    let rate = Arc::new(rate::Rate::new(limits));
    let most = usize::try_from(limits.body_bytes).unwrap_or(usize::MAX);
    router
        .layer(DefaultBodyLimit::max(most))
        .layer(RequestBodyTimeoutLayer::new(limits.stall_timeout))
        .layer(from_fn_with_state(bodies, bodies::within_budget))
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
