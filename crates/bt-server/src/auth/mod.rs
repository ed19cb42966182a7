//! Who may do what: tokens that the operator gave out, sessions of the page that stand for them, and the
//! middleware that asks. Where requests may come from (other sites, other host names) is asked here too,
//! because it is a question of whose rights they borrow.

mod origin;
mod require;
mod sessions;
mod tokens;

use std::net::SocketAddr;
use std::path::PathBuf;

use axum::http::{HeaderMap, header};
use axum_extra::extract::cookie::CookieJar;

pub(crate) use origin::{Hosts, is_from_elsewhere};
pub(crate) use require::{refused_elsewhere, require, unauthorised};
pub(crate) use sessions::{LIFETIME, Sessions};
use tokens::Tokens;

/// What the operator said about who may come in.
#[derive(Clone, Default)]
pub struct AuthOptions {
    /// A file with tokens, one a line.
    pub token_file: Option<PathBuf>,
    /// One token for everything, as `BT_TOKEN` has it.
    pub token: Option<String>,
    /// Serve anybody, also on an address that others reach.
    pub no_auth: bool,
    /// Names beside `localhost` under which the server is reached, for the check of the Host header.
    pub hosts: Vec<String>,
}

impl std::fmt::Debug for AuthOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthOptions")
            .field("token_file", &self.token_file)
            .field("token", &self.token.as_ref().map(|_| "..."))
            .field("no_auth", &self.no_auth)
            .field("hosts", &self.hosts)
            .finish()
    }
}

/// Why the server does not start with these tokens.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused; its message names the file.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A line of the token file is none of those that are known. The token itself is never shown.
    #[error("{source_name}, line {line}: {what}")]
    BadToken {
        /// The file, or the variable.
        source_name: String,
        /// From 1.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A file without any token locks everybody out.
    #[error("`{}` holds no token", .0.display())]
    NoToken(PathBuf),
    /// Others would reach the pictures without a token.
    #[error("{0} can be reached by others, and no token is set")]
    OpenToOthers(SocketAddr),
}

impl Error {
    /// What to do next, where there is something to do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Io(_) => None,
            Self::BadToken { .. } | Self::NoToken(_) => Some(
                "a line is `read TOKEN`, `write TOKEN`, or a token alone, which may do everything; \
                 `openssl rand -hex 32` makes one",
            ),
            Self::OpenToOthers(_) => Some(
                "set one with --token-file or BT_TOKEN, listen on 127.0.0.1, or say --no-auth if \
                 everybody who reaches this address may see and search every picture",
            ),
        }
    }
}

/// What a caller may do; each right includes the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Right {
    /// See and search.
    Read,
    /// Upload and delete as well.
    Write,
}

impl Right {
    /// As the token file and the API write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// How a caller proved its right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Nothing is asked for.
    Nothing,
    /// A token in the Authorization header, which no other site can make a browser send.
    Bearer,
    /// A cookie, which a browser sends by itself.
    Cookie,
}

/// Why a caller is nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stranger {
    /// Neither token nor cookie.
    Nothing,
    /// A token or a cookie that is not, or no longer, known.
    Wrong,
}

/// Tokens, sessions and host names.
#[derive(Debug)]
pub(crate) struct Keys {
    tokens: Tokens,
    /// Sessions of the page.
    pub(crate) sessions: Sessions,
    /// Names that the Host header may have; `None` when any may be there.
    pub(crate) hosts: Option<Hosts>,
    /// Whether cookies travel by TLS only.
    pub(crate) secure: bool,
}

impl Keys {
    /// Reads what the operator gave.
    ///
    /// # Errors
    /// A token file that cannot be read or makes no sense; an address that others reach without a token.
    pub(crate) fn open(options: &AuthOptions, bind: SocketAddr, tls: bool) -> Result<Self, Error> {
        let mut tokens = Tokens::default();
        if let Some(file) = &options.token_file {
            tokens.read(file)?;
        }
        if let Some(token) = options.token.as_deref().filter(|token| !token.is_empty()) {
            tokens.add("BT_TOKEN", token)?;
        }
        if tokens.is_empty() && !bind.ip().is_loopback() && !options.no_auth {
            return Err(Error::OpenToOthers(bind));
        }
        // With a token a page of another site has nothing to gain from a forged name: it has no token,
        // and cookies belong to the name that they were given under.
        let hosts = tokens.is_empty().then(|| Hosts::new(&options.hosts));
        Ok(Self {
            tokens,
            sessions: Sessions::default(),
            hosts,
            secure: tls,
        })
    }

    /// Whether anybody may do anything.
    pub(crate) fn is_open(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The right that a token gives.
    pub(crate) fn right_of(&self, token: &str) -> Option<Right> {
        self.tokens.right_of(token)
    }

    /// Name of the session's cookie. The prefix makes browsers insist on TLS, this host and all paths.
    pub(crate) fn cookie_name(&self) -> &'static str {
        if self.secure {
            "__Host-bt_session"
        } else {
            "bt_session"
        }
    }

    /// Who asks, by the headers of a request.
    pub(crate) fn caller(&self, headers: &HeaderMap) -> Result<(Right, Proof), Stranger> {
        if self.is_open() {
            return Ok((Right::Write, Proof::Nothing));
        }
        if let Some(value) = headers.get(header::AUTHORIZATION) {
            return value
                .to_str()
                .ok()
                .and_then(bearer)
                .and_then(|token| self.right_of(token))
                .map(|right| (right, Proof::Bearer))
                .ok_or(Stranger::Wrong);
        }
        let jar = CookieJar::from_headers(headers);
        let Some(cookie) = jar.get(self.cookie_name()) else {
            return Err(Stranger::Nothing);
        };
        self.sessions
            .right_of(cookie.value())
            .map(|right| (right, Proof::Cookie))
            .ok_or(Stranger::Wrong)
    }
}

/// The token of `Bearer TOKEN`; the scheme's case does not matter.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim_matches(' '))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn keys(options: &AuthOptions, bind: &str) -> Result<Keys, Error> {
        Keys::open(options, bind.parse().unwrap(), false)
    }

    #[test]
    fn an_address_that_others_reach_needs_a_token_or_a_clear_word() {
        let nothing = AuthOptions::default();
        assert!(keys(&nothing, "127.0.0.1:7871").unwrap().is_open());
        assert!(keys(&nothing, "[::1]:7871").unwrap().is_open());
        for bind in ["0.0.0.0:7871", "192.168.1.7:80", "[::]:7871"] {
            let error = keys(&nothing, bind).unwrap_err();
            assert!(error.hint().unwrap().contains("--no-auth"), "{error}");
            let no_auth = AuthOptions {
                no_auth: true,
                ..AuthOptions::default()
            };
            assert!(keys(&no_auth, bind).unwrap().is_open());
            let token = AuthOptions {
                token: Some(TOKEN.into()),
                ..AuthOptions::default()
            };
            assert!(!keys(&token, bind).unwrap().is_open());
        }
        // An empty variable is as good as none.
        let empty = AuthOptions {
            token: Some(String::new()),
            ..AuthOptions::default()
        };
        assert!(keys(&empty, "0.0.0.0:7871").is_err());
    }

    #[test]
    fn a_caller_is_known_by_token_or_cookie_and_a_wrong_token_is_not_helped_by_a_cookie() {
        let options = AuthOptions {
            token: Some(TOKEN.into()),
            ..AuthOptions::default()
        };
        let keys = keys(&options, "0.0.0.0:1").unwrap();
        let mut headers = HeaderMap::new();
        assert_eq!(keys.caller(&headers), Err(Stranger::Nothing));
        let session = keys.sessions.open(Right::Read).unwrap();
        let cookie = format!("other=1; bt_session={session}");
        headers.insert(header::COOKIE, cookie.parse().unwrap());
        assert_eq!(keys.caller(&headers), Ok((Right::Read, Proof::Cookie)));
        for (value, expected) in [
            (format!("bearer {TOKEN}"), Ok((Right::Write, Proof::Bearer))),
            (
                format!("Bearer  {TOKEN} "),
                Ok((Right::Write, Proof::Bearer)),
            ),
            (format!("Bearer {TOKEN}0"), Err(Stranger::Wrong)),
            (format!("Basic {TOKEN}"), Err(Stranger::Wrong)),
            (TOKEN.to_owned(), Err(Stranger::Wrong)),
        ] {
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            assert_eq!(keys.caller(&headers), expected, "{value}");
        }
        let not_text = HeaderValue::from_bytes(b"Bearer \xff").unwrap();
        headers.insert(header::AUTHORIZATION, not_text);
        assert_eq!(keys.caller(&headers), Err(Stranger::Wrong));
    }

    #[test]
    fn debugging_output_shows_no_token() {
        let options = AuthOptions {
            token: Some(TOKEN.into()),
            ..AuthOptions::default()
        };
        let shown = format!("{options:?} {:?}", keys(&options, "0.0.0.0:1").unwrap());
        assert!(!shown.contains(TOKEN), "{shown}");
    }
}
