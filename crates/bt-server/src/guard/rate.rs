//! How many requests a client may send.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::Limits;
use crate::error::ApiError;

/// Clients that have been quiet are forgotten after so many requests of others.
const FORGET_AFTER: u32 = 4096;
/// A page asks for many thumbnails at once: so many seconds' worth may come together.
const BURST_SECONDS: u32 = 5;

/// Requests of each client.
pub(super) struct Rate {
    limiter: Option<DefaultKeyedRateLimiter<IpAddr>>,
    clock: DefaultClock,
    asked: AtomicU32,
    trust_proxy: bool,
}

impl Rate {
    pub(super) fn new(limits: &Limits) -> Self {
        let limiter = limits.requests_per_second.map(|rate| {
            let burst = rate.saturating_mul(BURST_SECONDS.try_into().unwrap_or(rate));
            RateLimiter::keyed(Quota::per_second(rate).allow_burst(burst))
        });
        Self {
            limiter,
            clock: DefaultClock::default(),
            asked: AtomicU32::new(0),
            trust_proxy: limits.trust_proxy,
        }
    }

    /// Seconds that a client has to wait, if any.
    fn wait(&self, client: IpAddr) -> Option<u64> {
        let limiter = self.limiter.as_ref()?;
        if self.asked.fetch_add(1, Ordering::Relaxed) % FORGET_AFTER == FORGET_AFTER - 1 {
            limiter.retain_recent();
        }
        let refusal = limiter.check_key(&client).err()?;
        Some(refusal.wait_time_from(self.clock.now()).as_secs() + 1)
    }

    fn client(&self, connection: SocketAddr, headers: &HeaderMap) -> IpAddr {
        let told = self.trust_proxy.then(|| forwarded_for(headers)).flatten();
        network(told.unwrap_or(connection.ip()))
    }
}

/// What the nearest proxy says about who asked it; what stands before it is the client's own word.
pub(crate) fn forwarded_for(headers: &HeaderMap) -> Option<IpAddr> {
    let value = headers.get_all("x-forwarded-for").iter().next_back()?;
    value.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
}

/// One household has a whole network of IPv6 addresses.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address => address,
    }
}

/// Lets a request pass whose client has not sent too many.
pub(super) async fn within_rate(
    State(rate): State<Arc<Rate>>,
    ConnectInfo(connection): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    match rate.wait(rate.client(connection, request.headers())) {
        Some(seconds) => too_often(seconds),
        None => next.run(request).await,
    }
}

fn too_often(seconds: u64) -> Response {
    let mut response = ApiError::new(
        StatusCode::TOO_MANY_REQUESTS,
        "too-often",
        "This client asks too often",
        "more requests came from this address than the server takes from one client",
    )
    .hint("ask again after the seconds in Retry-After; the operator sets the bound with --rate")
    .into_response();
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, seconds.into());
    response
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn rate(requests: u32, trust_proxy: bool) -> Rate {
        Rate::new(&Limits {
            requests_per_second: NonZeroU32::new(requests),
            trust_proxy,
            ..Limits::default()
        })
    }

    #[test]
    fn each_client_has_its_own_bound() {
        let rate = rate(1, false);
        let (a, b) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        for _ in 0..BURST_SECONDS {
            assert_eq!(rate.wait(a), None);
        }
        let wait = (0..5).filter_map(|_| rate.wait(a)).next();
        assert!(
            wait.is_some_and(|seconds| (1..=2).contains(&seconds)),
            "{wait:?}"
        );
        assert_eq!(rate.wait(b), None);
        assert_eq!(self::rate(0, false).wait(a), None);
    }

    #[test]
    fn a_client_is_told_by_its_connection_or_by_a_trusted_proxy() {
        let connection: SocketAddr = "[::ffff:10.0.0.9]:5".parse().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(
            "x-forwarded-for",
            "1.2.3.4, 2001:db8:1:2:3:4:5:6".parse().unwrap(),
        );
        let client = |trusted| rate(1, trusted).client(connection, &headers).to_string();
        assert_eq!(client(false), "10.0.0.9");
        assert_eq!(client(true), "2001:db8:1:2::");
        headers.insert("x-forwarded-for", "nobody".parse().unwrap());
        assert_eq!(
            rate(1, true).client(connection, &headers).to_string(),
            "10.0.0.9"
        );
    }
}
