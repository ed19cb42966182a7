//! Numbers for operators, in Prometheus's form, and the middleware that counts requests. Where a number
//! arises, it is recorded; here is what it is called and how it is cut into buckets.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::guard;

/// Upper bounds of the buckets of everything that takes time, in seconds.
const SECONDS: [f64; 15] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
/// The same for batches.
const SIZES: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];

static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Makes what is recorded from now on count. A second call changes nothing.
pub(crate) fn install() {
    RECORDER.get_or_init(|| {
        let recorder = PrometheusBuilder::new()
            .set_buckets(&SECONDS)
            .and_then(|builder| {
                builder.set_buckets_for_metric(Matcher::Full("bt_batch_size".into()), &SIZES)
            })
            .and_then(PrometheusBuilder::install_recorder);
        match recorder {
            Ok(handle) => {
                describe();
                Some(handle)
            }
            Err(error) => {
                tracing::error!(%error, "there will be no metrics");
                None
            }
        }
    });
}

fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_histogram!(
        "bt_request_seconds",
        "Time of requests, by route and status"
    );
    describe_histogram!(
        "bt_search_seconds",
        "Time of searches from the question to the last result, streamed or not, by status"
    );
    describe_histogram!("bt_stage_seconds", "Time of the stages of searches");
    describe_histogram!("bt_queue_seconds", "Time that requests waited for a worker");
    describe_histogram!(
        "bt_batch_size",
        "Texts, pictures or questions that went through a model together"
    );
    describe_gauge!("bt_queue_length", "Requests that wait for a worker");
    describe_gauge!("bt_running", "Requests that are worked on");
    describe_gauge!("bt_index_pictures", "Pictures in an index");
    describe_gauge!(
        "bt_index_tail_rows",
        "Pictures that were committed after the newest generation"
    );
    describe_gauge!(
        "bt_index_generation",
        "Newest published generation; 0 for none"
    );
    describe_counter!(
        "bt_refused_total",
        "Requests refused because the queue was full"
    );
    describe_counter!(
        "bt_connections_refused_total",
        "Connections closed at once: too many in all, or of one client"
    );
    describe_counter!("bt_cache_hits_total", "What was found kept, by cache");
    describe_counter!("bt_cache_misses_total", "What was not found kept, by cache");
}

/// Everything that was recorded; `None` when nothing is.
pub(crate) fn render() -> Option<String> {
    RECORDER.get()?.as_ref().map(PrometheusHandle::render)
}

/// Empties the recorder's buffers now and then; never ends.
pub(crate) async fn keep_up() {
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        if let Some(Some(handle)) = RECORDER.get() {
            handle.run_upkeep();
        }
    }
}

/// In the answers that were counted.
#[derive(Clone, Copy)]
struct Counted;

/// Counts a request under its route, when its answer begins.
pub(crate) async fn count(request: Request, next: Next) -> Response {
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let method = guard::known_method(request.method());
    let started = Instant::now();
    let mut response = next.run(request).await;
    record(route, method, &response, started);
    response.extensions_mut().insert(Counted);
    response
}

/// Counts under no route what never came to one, or did not come back: what was refused before, took too long, or
/// failed unexpectedly.
pub(crate) async fn count_the_rest(request: Request, next: Next) -> Response {
    let method = guard::known_method(request.method());
    let started = Instant::now();
    let response = next.run(request).await;
    if response.extensions().get::<Counted>().is_none() {
        record("none".to_owned(), method, &response, started);
    }
    response
}

fn record(route: String, method: &'static str, response: &Response, started: Instant) {
    metrics::histogram!(
        "bt_request_seconds",
        "route" => route,
        "method" => method,
        "status" => response.status().as_str().to_owned()
    )
    .record(started.elapsed());
}
