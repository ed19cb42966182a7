//! Work that is done aside from a request's own task and still belongs to it: what it logs has the request's id.
//! How much of it there may be is each caller's business.

use tokio::task::JoinHandle;
use tracing::{Instrument as _, Span};

/// Runs something that blocks on a thread for such work.
pub(crate) fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let span = Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(work))
}

/// Runs something to its end, whether the client stays or not.
pub(crate) fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    tokio::spawn(work.in_current_span())
}
