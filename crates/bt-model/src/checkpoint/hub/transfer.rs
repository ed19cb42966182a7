//! Talking to the hub: listing a repository, asking for a file's checksum, downloading it with resume,
//! check and a bound on failures.

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fs_err as fs;
use ureq::http::{HeaderMap, Response, StatusCode, Uri};
use ureq::{Agent, Body};

use super::cache::{self, Local};
use super::part::{Announced, Part};
use super::settings::MAX_PAUSE;
use super::{Event, Hub, HubError};
use crate::checkpoint::known_names;
use crate::checkpoint::names::is_plain;
use crate::error::Result;

/// So much new data shows that a connection works, and the count of failures starts anew.
const GAIN: u64 = 1 << 20;
/// Less than this within [`SLOW_WINDOWS`] times the patience is as good as silence.
const SLOW_BYTES: u64 = 1 << 16;
const SLOW_WINDOWS: u32 = 4;

/// What a revision holds.
pub(super) struct Listing {
    pub(super) commit: String,
    pub(super) files: Vec<String>,
}

/// Why a try failed.
enum Failure {
    /// Worth another try, after the pause that the server asks for; so many bytes are here.
    Again {
        why: String,
        after: Option<Duration>,
        here: u64,
    },
    Final(crate::Error),
}

impl From<crate::Error> for Failure {
    fn from(error: crate::Error) -> Self {
        Self::Final(error)
    }
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        Self::Final(error.into())
    }
}

fn again(error: &dyn std::fmt::Display, here: u64) -> Failure {
    Failure::Again {
        why: error.to_string(),
        after: None,
        here,
    }
}

pub(super) struct Client<'a> {
    hub: &'a Hub,
    repo: &'a str,
    agent: Agent,
    /// Answers redirections instead of following them.
    asking: Agent,
}

impl<'a> Client<'a> {
    pub(super) fn new(hub: &'a Hub, repo: &'a str) -> Result<Self> {
        let mut tls = ureq::tls::TlsConfig::builder();
        if let Some(path) = &hub.certificates {
            tls = tls.root_certs(ureq::tls::RootCerts::from(certificates(path)?));
        }
        let tls = tls.build();
        let patience = Some(hub.patience);
        let agent = |redirects| -> Agent {
            Agent::config_builder()
                .tls_config(tls.clone())
                .proxy(hub.proxy.clone())
                .https_only(hub.endpoint.starts_with("https://"))
                .http_status_as_error(false)
                .max_redirects(redirects)
                .max_redirects_will_error(redirects > 0)
                .redirect_auth_headers(ureq::config::RedirectAuthHeaders::SameHost)
                .user_agent(concat!("bridgetower-search/", env!("CARGO_PKG_VERSION")))
                // Lengths and ranges are those of the file, not of a compressed form.
                .accept_encoding("identity")
                .timeout_resolve(patience)
                .timeout_connect(patience)
                .timeout_send_request(patience)
                .timeout_recv_response(patience)
                .timeout_per_read(patience)
                .build()
                .into()
        };
        Ok(Self {
            hub,
            repo,
            agent: agent(10),
            asking: agent(0),
        })
    }

    /// The commit that a revision means, and its files.
    pub(super) fn listing(&self, revision: &str) -> Result<Listing> {
        #[derive(serde::Deserialize)]
        struct Answer {
            sha: String,
            siblings: Vec<Sibling>,
        }
        #[derive(serde::Deserialize)]
        struct Sibling {
            rfilename: String,
        }
        let url = format!(
            "{}/api/models/{}/revision/{}",
            self.hub.endpoint,
            self.repo,
            revision.replace('/', "%2F")
        );
        let answer: Answer = self.persist(None, || {
            let mut response = self.get(&url, 0)?;
            self.check_status(&response, 0, &|code| match code {
                "RevisionNotFound" => {
                    let (repo, revision) = (self.repo.to_owned(), revision.to_owned());
                    HubError::NoSuchRevision { repo, revision }
                }
                _ => self.no_such_model(),
            })?;
            let text = response
                .body_mut()
                .with_config()
                .limit(16 << 20)
                .read_to_vec();
            let text = text.map_err(|error| again(&error, 0))?;
            serde_json::from_slice(&text)
                .map_err(|error| self.not_a_hub(format!("{url}: {error}")).into())
        })?;
        if !cache::is_commit(&answer.sha) {
            return Err(self.not_a_hub(format!("commit `{}`", answer.sha)).into());
        }
        Ok(Listing {
            commit: answer.sha,
            files: answer
                .siblings
                .into_iter()
                .map(|sibling| sibling.rfilename)
                .collect(),
        })
    }

    /// Brings a file into the cache, unless its content is there, and returns its place in the snapshot.
    pub(super) fn download(
        &self,
        local: &Local<'_>,
        commit: &str,
        file: &str,
        on: &mut dyn FnMut(Event),
    ) -> Result<PathBuf> {
        let url = format!(
            "{}/{}/resolve/{commit}/{file}",
            self.hub.endpoint, self.repo
        );
        let announced = self.persist(None, || self.announced(&url, file))?;
        let blob = local.blob(&announced.etag);
        let lock = local.lock(&announced.etag, file, on)?;
        let size_on_disk = fs::metadata(&blob).ok().map(|found| found.len());
        if size_on_disk.is_none() || size_on_disk != announced.size.or(size_on_disk) {
            let mut part = Part::open(&blob, file, &announced)?;
            part.tell(on);
            self.persist(Some((file, &announced)), || {
                self.continue_file(&url, &mut part, on)
            })?;
            part.finish(&blob, self.repo, &announced)?;
        }
        drop(lock);
        local.link(commit, file, &announced.etag)
    }

    /// Checksum and size, from the hub itself: its redirection to a file server carries them.
    fn announced(&self, url: &str, file: &str) -> Result<Announced, Failure> {
        let mut url = url.to_owned();
        for _ in 0..5 {
            let mut request = self.asking.head(&url);
            if let Some(token) = &self.hub.token {
                request = request.header("authorization", format!("Bearer {}", token.0));
            }
            let response = request.call().map_err(|error| self.failed(error, 0))?;
            if !response.status().is_redirection() {
                self.check_status(&response, 0, &|_| self.lacks(file))?;
            } else if header(response.headers(), "x-linked-etag").is_none()
                && let Some(place) = header(response.headers(), "location")
                && place.starts_with('/')
            {
                // A renamed repository: the answer is elsewhere on the same hub.
                url = format!("{}{place}", origin(&url));
                continue;
            }
            let headers = response.headers();
            let etag = header(headers, "x-linked-etag").or_else(|| header(headers, "etag"));
            let etag = etag
                .unwrap_or_default()
                .trim_start_matches("W/")
                .trim_matches('"');
            if !is_plain(etag) {
                return Err(self.not_a_hub(format!("{url} has no usable ETag")).into());
            }
            // The length of a redirection is that of its own page.
            let own_length = if response.status().is_success() {
                "content-length"
            } else {
                ""
            };
            let size = header(headers, "x-linked-size").or_else(|| header(headers, own_length));
            return Ok(Announced {
                etag: etag.to_owned(),
                size: size.and_then(|text| text.parse().ok()),
            });
        }
        Err(self
            .not_a_hub(format!("{url} redirects in a circle"))
            .into())
    }

    /// One connection: from where the file ends to the end, or to a failure.
    fn continue_file(
        &self,
        url: &str,
        part: &mut Part<'_>,
        on: &mut dyn FnMut(Event),
    ) -> Result<(), Failure> {
        if part.total.is_some_and(|total| part.len == total) {
            return Ok(());
        }
        let response = self.get(url, part.len)?;
        match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let range = header(response.headers(), "content-range").unwrap_or_default();
                let start = range.trim_start_matches("bytes ").split('-').next();
                if start.and_then(|start| start.trim().parse().ok()) != Some(part.len) {
                    part.restart()?;
                    return Err(again(
                        &"the server sent another range than it was asked for",
                        0,
                    ));
                }
            }
            StatusCode::RANGE_NOT_SATISFIABLE => {
                part.restart()?;
                return Err(again(
                    &"the server does not have the rest of what is here",
                    0,
                ));
            }
            _ => {
                self.check_status(&response, part.len, &|_| self.lacks(part.name))?;
                // A server without ranges: from the start again.
                part.restart()?;
                let length = header(response.headers(), "content-length");
                part.total = part.total.or_else(|| length?.parse().ok());
            }
        }
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; 1 << 17];
        let window = self.hub.patience * SLOW_WINDOWS;
        let mut watched = (Instant::now(), part.len);
        loop {
            let read = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) => return Err(self.failed(ureq::Error::from(error), part.len)),
            };
            part.append(buffer.get(..read).unwrap_or_default())?;
            part.tell(on);
            if part.total.is_some_and(|total| part.len > total) {
                return Ok(()); // too much: `finish` finds it
            }
            if watched.0.elapsed() > window {
                if part.len - watched.1 < SLOW_BYTES {
                    return Err(again(&"the data comes too slowly", part.len));
                }
                watched = (Instant::now(), part.len);
            }
        }
        match part.total {
            Some(total) if part.len < total => {
                Err(again(&"the connection was closed before the end", part.len))
            }
            _ => Ok(()),
        }
    }

    fn get(&self, url: &str, start: u64) -> Result<Response<Body>, Failure> {
        let mut request = self.agent.get(url);
        if let Some(token) = &self.hub.token {
            request = request.header("authorization", format!("Bearer {}", token.0));
        }
        if start > 0 {
            request = request.header("range", format!("bytes={start}-"));
        }
        request.call().map_err(|error| self.failed(error, start))
    }

    /// Failures that time may heal are tried again; a wrong address or certificate stays wrong.
    fn failed(&self, error: ureq::Error, here: u64) -> Failure {
        match error {
            ureq::Error::Timeout(_) => again(&format!("silence for {:?}", self.hub.patience), here),
            // A certificate that is not trusted; how rustls says so through a socket.
            ureq::Error::Io(error) if here > 0 || error.kind() != ErrorKind::InvalidData => {
                again(&error, here)
            }
            ureq::Error::BadUri(_)
            | ureq::Error::Http(_)
            | ureq::Error::Io(_)
            | ureq::Error::InvalidProxyUrl
            | ureq::Error::RequireHttpsOnly(_)
            | ureq::Error::Rustls(_)
            | ureq::Error::Tls(_)
            | ureq::Error::TooManyRedirects => Failure::Final(
                HubError::Unreachable {
                    endpoint: self.hub.endpoint.clone(),
                    tries: 1,
                    why: error.to_string(),
                }
                .into(),
            ),
            error => again(&error, here),
        }
    }

    /// An error for an answer that is none; `absent` says what a 404 means here, given the hub's own code.
    fn check_status(
        &self,
        response: &Response<Body>,
        here: u64,
        absent: &dyn Fn(&str) -> HubError,
    ) -> Result<(), Failure> {
        let status = response.status();
        if status.is_success() || status.is_redirection() {
            return Ok(());
        }
        let (headers, repo) = (response.headers(), self.repo.to_owned());
        let endpoint = self.hub.endpoint.clone();
        let code = header(headers, "x-error-code").unwrap_or_default();
        let with_token = self.hub.token.is_some();
        Err(match status.as_u16() {
            404 => absent(code).into(),
            // Without a token, the public hub answers so for what does not exist, too.
            401 if code == "RepoNotFound" && !with_token => self.no_such_model().into(),
            401 | 403 => {
                let (status, gated) = (status.as_u16(), code == "GatedRepo");
                HubError::Refused {
                    repo,
                    endpoint,
                    status,
                    with_token,
                    gated,
                }
                .into()
            }
            408 | 429 | 500.. => {
                let after = header(headers, "retry-after").and_then(|text| text.parse().ok());
                Failure::Again {
                    why: format!("HTTP status {status}"),
                    after: after.map(Duration::from_secs),
                    here,
                }
            }
            _ => self.not_a_hub(format!("HTTP status {status}")).into(),
        })
    }

    fn no_such_model(&self) -> HubError {
        HubError::NoSuchModel {
            repo: self.repo.to_owned(),
            endpoint: self.hub.endpoint.clone(),
            near: near(self.repo),
        }
    }

    fn lacks(&self, file: &str) -> HubError {
        HubError::Lacks {
            repo: self.repo.to_owned(),
            what: file.to_owned(),
        }
    }

    fn not_a_hub(&self, what: String) -> HubError {
        HubError::NotAHub {
            endpoint: self.hub.endpoint.clone(),
            what,
        }
    }

    /// Tries until it works or until [`Hub::tries`] failures in a row brought nothing new.
    fn persist<T>(
        &self,
        file: Option<(&str, &Announced)>,
        mut attempt: impl FnMut() -> Result<T, Failure>,
    ) -> Result<T> {
        let (mut failures, mut best) = (0, 0);
        loop {
            let (why, after, here) = match attempt() {
                Ok(value) => return Ok(value),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Again { why, after, here }) => (why, after, here),
            };
            if here >= best + GAIN {
                failures = 0;
            }
            best = best.max(here);
            failures += 1;
            if failures >= self.hub.tries {
                return Err(match file {
                    Some((file, announced)) => HubError::BrokenOff {
                        repo: self.repo.to_owned(),
                        file: file.to_owned(),
                        done: here,
                        total: announced.size,
                        why,
                    },
                    None => HubError::Unreachable {
                        endpoint: self.hub.endpoint.clone(),
                        tries: failures,
                        why,
                    },
                }
                .into());
            }
            let doubled = self.hub.pause.saturating_mul(1 << (failures - 1).min(16));
            std::thread::sleep(after.unwrap_or(doubled).min(MAX_PAUSE));
        }
    }
}

/// Public names that a repository's name may have been meant to be.
fn near(repo: &str) -> Vec<String> {
    let name = repo.rsplit('/').next().unwrap_or_default().to_lowercase();
    let short = name.strip_prefix("bridgetower-").unwrap_or(&name);
    known_names()
        .into_iter()
        .filter(|known| strsim::normalized_levenshtein(known, short) >= 0.6)
        .map(str::to_owned)
        .collect()
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// Scheme and host of an address.
fn origin(url: &str) -> String {
    let uri: Uri = url.parse().unwrap_or_default();
    format!(
        "{}://{}",
        uri.scheme_str().unwrap_or("https"),
        uri.authority().map_or("", |a| a.as_str())
    )
}

fn certificates(path: &Path) -> Result<Vec<ureq::tls::Certificate<'static>>> {
    let pem = fs::read(path)?;
    let found: Vec<_> = ureq::tls::parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(ureq::tls::PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if found.is_empty() {
        let what = "there is no certificate in it (PEM)".to_owned();
        return Err(crate::Error::BadFile {
            path: path.to_owned(),
            what,
        });
    }
    Ok(found)
}
