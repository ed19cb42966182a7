//! Bodies are kept in memory while they are read, so all of them together have a bound, too.

use std::sync::Arc;

use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use super::Limits;
use crate::error::ApiError;

/// Unit of the budget.
const UNIT: u64 = 1024;

/// Memory for the bodies of all requests.
#[derive(Debug)]
pub(super) struct Budget {
    units: Semaphore,
    /// A body whose length nobody tells counts as the longest.
    longest: u64,
}

impl Budget {
    pub(super) fn new(limits: &Limits) -> Self {
        let longest = limits.body_bytes.max(limits.upload_bytes);
        let units = limits.bodies_bytes.max(longest).div_ceil(UNIT);
        let units = usize::try_from(units).unwrap_or(usize::MAX);
        Self {
            units: Semaphore::new(units.min(Semaphore::MAX_PERMITS)),
            longest,
        }
    }

    fn units_of(&self, body: &impl HttpBody) -> u32 {
        let bytes = body.size_hint().upper().unwrap_or(self.longest);
        // What is longer than the longest is refused before it is read that far.
        let units = bytes.min(self.longest).div_ceil(UNIT);
        u32::try_from(units).unwrap_or(u32::MAX)
    }
}

/// Lets a request pass for whose body there is room. The room is given back when the answer begins.
pub(super) async fn within_budget(
    State(budget): State<Arc<Budget>>,
    request: Request,
    next: Next,
) -> Response {
    match budget
        .units
        .try_acquire_many(budget.units_of(request.body()))
    {
        Ok(_room) => next.run(request).await,
        Err(_) => ApiError::overloaded(
            "the bodies that are being received fill the memory for them",
            1,
        )
        .into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn a_body_counts_by_its_length_and_an_unknown_one_as_the_longest() {
        let budget = Budget::new(&Limits {
            body_bytes: 10 << 10,
            upload_bytes: 20 << 10,
            bodies_bytes: 100 << 10,
            ..Limits::default()
        });
        assert_eq!(budget.units_of(&Body::empty()), 0);
        assert_eq!(budget.units_of(&Body::from("a")), 1);
        assert_eq!(budget.units_of(&Body::from(vec![0; 4096])), 4);
        assert_eq!(budget.units_of(&Body::from(vec![0; 1 << 20])), 20);
        let stream = futures_util::stream::empty::<Result<Vec<u8>, std::io::Error>>();
        assert_eq!(budget.units_of(&Body::from_stream(stream)), 20);
    }
}
