//! Who may work when: a bounded number of requests at a time, and a bounded queue before them. A client
//! that leaves while it waits drops its future, and with it its place.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::ApiError;

/// Shared by all engines of a server.
#[derive(Debug)]
pub(crate) struct Admission {
    /// Waiting and working.
    places: Arc<Semaphore>,
    /// Working.
    workers: Arc<Semaphore>,
    time: Duration,
}

/// A place among those that work; free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Entered {
    _place: Place,
    _worker: OwnedSemaphorePermit,
    _running: Counted,
}

/// A place among those that wait or work.
#[derive(Debug)]
struct Place(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

/// One more in a gauge, as long as it lives.
#[derive(Debug)]
struct Counted(&'static str);

impl Counted {
    fn new(gauge: &'static str) -> Self {
        metrics::gauge!(gauge).increment(1.0);
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::gauge!(self.0).decrement(1.0);
    }
}

impl Admission {
    /// So many work at a time, and so many may wait; each has this much time.
    pub(crate) fn new(workers: usize, queue: usize, time: Duration) -> Self {
        let most = Semaphore::MAX_PERMITS;
        Self {
            places: Arc::new(Semaphore::new(workers.saturating_add(queue).min(most))),
            workers: Arc::new(Semaphore::new(workers.min(most))),
            time,
        }
    }

    /// Until when a request that comes now may take.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.time
    }

    /// Waits for a worker.
    ///
    /// # Errors
    /// 429 at once when the queue is full; 504 when the deadline is over.
    pub(crate) async fn enter(&self, deadline: Instant) -> Result<Entered, ApiError> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            metrics::counter!("bt_refused_total").increment(1);
            return Err(ApiError::overloaded(
                "as many requests wait as --queue says",
                1,
            ));
        };
        let waiting = Counted::new("bt_queue_length");
        let since = Instant::now();
        let worker =
            tokio::time::timeout_at(deadline.into(), Arc::clone(&self.workers).acquire_owned())
                .await;
        drop(waiting);
        metrics::histogram!("bt_queue_seconds").record(since.elapsed());
        let worker = worker
            .map_err(|_| ApiError::too_late())?
            .map_err(ApiError::internal)?;
        Ok(Entered {
            _place: Place(place),
            _worker: worker,
            _running: Counted::new("bt_running"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_queue_refuses_and_one_who_leaves_frees_the_place() {
        let admission = Arc::new(Admission::new(1, 1, Duration::from_secs(60)));
        let working = admission.enter(admission.deadline()).await.unwrap();
        let waiting = tokio::spawn({
            let admission = Arc::clone(&admission);
            async move { admission.enter(admission.deadline()).await.map(drop) }
        });
        while admission.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let refused = admission.enter(admission.deadline()).await.unwrap_err();
        assert_eq!(refused.status(), axum::http::StatusCode::TOO_MANY_REQUESTS);
        waiting.abort();
        while admission.places.available_permits() == 0 {
            tokio::task::yield_now().await;
        }
        let late = admission.enter(Instant::now()).await.unwrap_err();
        assert_eq!(late.status(), axum::http::StatusCode::GATEWAY_TIMEOUT);
        drop(working);
        assert!(admission.enter(admission.deadline()).await.is_ok());
    }
}
