//! Where a request comes from, as far as a browser tells: pages of other sites may not act through the
//! browser of somebody who may. And under which name the server is asked, so that a name of another site
//! that resolves to this machine (DNS rebinding) opens nothing.

use std::net::IpAddr;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, Uri, header};

/// Whether a browser sends this on behalf of a page of another site. What is no browser sends none of these
/// headers, and has no rights to borrow.
pub(crate) fn is_from_elsewhere(method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        let is_looked_at = is_safe(method) && text("sec-fetch-mode") == Some("navigate");
        // `none` is a person who typed the address.
        return !matches!(site, "same-origin" | "none") && !is_looked_at;
    }
    if is_safe(method) {
        return false;
    }
    match headers.get(header::ORIGIN) {
        None => false,
        Some(origin) => {
            let origin = origin
                .to_str()
                .ok()
                .and_then(|origin| origin.parse::<Uri>().ok());
            // `null` and what cannot be read is elsewhere.
            match (
                origin.as_ref().and_then(Uri::authority),
                asked_authority(uri, headers),
            ) {
                (Some(from), Some(to)) => !from.as_str().eq_ignore_ascii_case(to.as_str()),
                _ => true,
            }
        }
    }
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Under which name and port the server was asked: HTTP/2 has it in the address, HTTP/1.1 in a header.
fn asked_authority(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    if let Some(authority) = uri.authority() {
        return Some(authority.clone());
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok()?.parse().ok(),
        _ => None,
    }
}

/// Names under which an open server answers.
#[derive(Clone, Debug)]
pub(crate) struct Hosts(Vec<String>);

impl Hosts {
    /// `localhost`, addresses, and these.
    pub(crate) fn new(names: &[String]) -> Self {
        Self(names.iter().map(|name| plain(name)).collect())
    }

    /// Whether a request asks for one of them. An address always does: whoever rebinds a name to this
    /// machine has a name in the header, not an address.
    pub(crate) fn admit(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let Some(authority) = asked_authority(uri, headers) else {
            return false;
        };
        let host = plain(authority.host());
        let address = host.trim_start_matches('[').trim_end_matches(']');
        address.parse::<IpAddr>().is_ok()
            || host == "localhost"
            || host.ends_with(".localhost")
            || self.0.contains(&host)
    }
}

/// Without the dot that ends a full name, in lower case.
fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_page_of_another_site_is_told_apart() {
        let here = ("host", "127.0.0.1:7871");
        for (method, pairs, elsewhere) in [
            (Method::POST, vec![], false),
            (Method::POST, vec![("sec-fetch-site", "same-origin")], false),
            (Method::POST, vec![("sec-fetch-site", "none")], false),
            (Method::POST, vec![("sec-fetch-site", "same-site")], true),
            (Method::POST, vec![("sec-fetch-site", "cross-site")], true),
            (
                Method::POST,
                vec![("origin", "http://127.0.0.1:7871")],
                false,
            ),
            (Method::POST, vec![("origin", "http://127.0.0.1:80")], true),
            (Method::POST, vec![("origin", "https://evil.example")], true),
            (Method::POST, vec![("origin", "null")], true),
            (Method::DELETE, vec![("origin", "not an origin")], true),
            (Method::GET, vec![("origin", "https://evil.example")], false),
            (Method::GET, vec![("sec-fetch-site", "cross-site")], true),
        ] {
            let mut pairs = pairs;
            pairs.push(here);
            let uri = Uri::from_static("/v1/pictures");
            assert_eq!(
                is_from_elsewhere(&method, &uri, &headers(&pairs)),
                elsewhere,
                "{method} {pairs:?}"
            );
        }
        let followed = headers(&[
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
        ]);
        let uri = Uri::from_static("/");
        assert!(!is_from_elsewhere(&Method::GET, &uri, &followed));
        assert!(is_from_elsewhere(&Method::POST, &uri, &followed));
    }

    #[test]
    fn an_open_server_answers_to_its_own_names_only() {
        let hosts = Hosts::new(&["Photos.example.".into()]);
        for (host, admitted) in [
            ("127.0.0.1:7871", true),
            ("[::1]:7871", true),
            ("192.168.1.7", true),
            ("localhost:7871", true),
            ("LOCALHOST", true),
            ("localhost.", true),
            ("app.localhost:1", true),
            ("photos.example:7871", true),
            ("evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("localhost.evil.example", false),
            ("notlocalhost", false),
            ("", false),
        ] {
            let uri = Uri::from_static("/v1/search");
            let headers = headers(&[("host", host)]);
            assert_eq!(hosts.admit(&uri, &headers), admitted, "{host}");
        }
        let uri = Uri::from_static("http://evil.example/v1/search");
        assert!(!hosts.admit(&uri, &headers(&[("host", "localhost")])));
        let twice = headers(&[("host", "localhost"), ("host", "evil.example")]);
        assert!(!hosts.admit(&Uri::from_static("/"), &twice));
        assert!(!hosts.admit(&Uri::from_static("/"), &HeaderMap::new()));
    }
}
