//! How much strangers may cost, in one place.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

/// Bounds on what requests may take. The defaults serve a household or a team on one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of a request's body, uploads excepted.
    pub body_bytes: u64,
    /// Most bytes of an uploaded picture.
    pub upload_bytes: u64,
    /// Most pixels of a picture that a request brings, to keep it or to ask with it.
    pub upload_pixels: u64,
    /// Most bytes of all bodies that are being read at one time.
    pub bodies_bytes: u64,
    /// Requests a second for each client; `None` for no bound.
    pub requests_per_second: Option<NonZeroU32>,
    /// Whether a proxy in front tells the client's address (`X-Forwarded-For`, its last entry).
    pub trust_proxy: bool,
    /// Most connections at one time.
    pub connections: usize,
    /// A client that takes longer to say what it wants is cut.
    pub header_timeout: Duration,
    /// A client that sends or takes nothing for so long, in the middle of a request or an answer, is cut.
    pub stall_timeout: Duration,
    /// A request whose answer has not begun by then gets none.
    pub request_timeout: Duration,
    /// Most pictures in one export.
    pub export_files: usize,
    /// Most bytes in one export.
    pub export_bytes: u64,
    /// Memory for thumbnails.
    pub thumbnail_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 48 << 20,
            upload_bytes: 64 << 20,
            upload_pixels: 200_000_000,
            bodies_bytes: 512 << 20,
            requests_per_second: None,
            trust_proxy: false,
            connections: 1024,
            header_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(20),
            request_timeout: Duration::from_secs(120),
            export_files: 2000,
            export_bytes: 8 << 30,
            thumbnail_bytes: 128 << 20,
        }
    }
}

/// Requests a second for each client where others can reach the server: a page full of thumbnails, twice.
const RATE_FOR_OTHERS: NonZeroU32 = NonZeroU32::new(200).unwrap();

impl Limits {
    /// The defaults for an address. Where only this machine can ask, and not for others as a proxy does, a
    /// client's rate has no bound.
    pub fn for_bind(bind: SocketAddr, trust_proxy: bool) -> Self {
        let for_others = trust_proxy || !bind.ip().is_loopback();
        Self {
            requests_per_second: for_others.then_some(RATE_FOR_OTHERS),
            trust_proxy,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_has_a_bound_where_others_can_ask() {
        for (bind, trust_proxy, bounded) in [
            ("127.0.0.1:7871", false, false),
            ("127.0.0.1:7871", true, true),
            ("[::1]:7871", false, false),
            ("0.0.0.0:7871", false, true),
        ] {
            let limits = Limits::for_bind(bind.parse().unwrap(), trust_proxy);
            let rate = limits.requests_per_second;
            assert_eq!(rate.is_some(), bounded, "{bind} {trust_proxy}");
        }
    }
}
