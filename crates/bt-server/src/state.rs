//! What all handlers share, and how the server was started.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bt_model::{Precision, RerankSpeed};

use crate::auth::{AuthOptions, Keys};
use crate::engine::Engine;
use crate::error::ApiError;
use crate::gallery::Gallery;
use crate::guard::Limits;
use crate::tls;

/// Shared by all handlers; cheap to clone.
#[derive(Clone)]
pub(crate) struct AppState(Arc<Shared>);

/// Behind [`AppState`].
pub(crate) struct Shared {
    /// How the server was started.
    pub(crate) options: Options,
    /// When.
    pub(crate) started: Instant,
    /// The engine of each index, by name.
    pub(crate) engines: BTreeMap<String, Arc<Engine>>,
    /// Name of the index that is asked when none is named.
    pub(crate) first: String,
    /// Tokens and sessions.
    pub(crate) keys: Keys,
    /// What pictures need to be shown.
    pub(crate) gallery: Gallery,
    /// Set when no new requests should come any more.
    pub(crate) draining: AtomicBool,
}

/// A folder, and the name of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// The folder.
    pub path: PathBuf,
}

/// How the server was started.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is served; the first is asked when a request names none.
    pub indexes: Vec<Named>,
    /// Where requests are taken.
    pub bind: SocketAddr,
    /// Where the model of the first index is, if not where it was.
    pub model: Option<String>,
    /// Where models run: `auto`, `cpu`, `cuda` or `metal`.
    pub device: String,
    /// With which numbers.
    pub precision: Precision,
    /// How much of a picture is read to score it.
    pub rerank_speed: RerankSpeed,
    /// Requests that are worked on at a time.
    pub workers: usize,
    /// Requests that may wait for one of them.
    pub queue: usize,
    /// Most texts or pictures that go through a model together.
    pub max_batch: usize,
    /// Time of a request.
    pub deadline: Duration,
    /// Bytes of memory for what is kept of answers, texts and pictures.
    pub cache_bytes: u64,
    /// How long requests are still taken when the server is about to stop and says that it is not ready.
    pub linger: Duration,
    /// Longest time that running requests get when the server stops.
    pub drain: Duration,
    /// Whether the log may say what people look for.
    pub log_queries: bool,
    /// Folders that uploads are put into, each with the name of its index; without one they are refused.
    pub albums: Vec<Named>,
    /// Who may come in.
    pub auth: AuthOptions,
    /// How much strangers may cost.
    pub limits: Limits,
    /// Certificate and key; without them there is no TLS.
    pub tls: Option<tls::Files>,
}

impl Options {
    /// Serving these indexes at this address, everything else as by default.
    pub fn new(indexes: Vec<Named>, bind: SocketAddr) -> Self {
        Self {
            indexes,
            bind,
            model: None,
            device: "auto".to_owned(),
            precision: Precision::Auto,
            rerank_speed: RerankSpeed::Exact,
            workers: 32,
            queue: 256,
            max_batch: 32,
            deadline: Duration::from_secs(30),
            cache_bytes: 512_000_000,
            linger: Duration::ZERO,
            drain: Duration::from_secs(20),
            log_queries: false,
            albums: Vec::new(),
            auth: AuthOptions::default(),
            limits: Limits::for_bind(bind, false),
            tls: None,
        }
    }
}

impl std::ops::Deref for AppState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl AppState {
    /// Everything that is there before the first request.
    pub(crate) fn new(
        options: Options,
        keys: Keys,
        gallery: Gallery,
        engines: Vec<Engine>,
    ) -> Self {
        let first = engines.first().map(|engine| engine.name().to_owned());
        Self(Arc::new(Shared {
            options,
            started: Instant::now(),
            first: first.unwrap_or_default(),
            engines: engines
                .into_iter()
                .map(|engine| (engine.name().to_owned(), Arc::new(engine)))
                .collect(),
            keys,
            gallery,
            draining: AtomicBool::new(false),
        }))
    }

    /// The engine of an index; of the first one when no name is given.
    pub(crate) fn engine(&self, index: Option<&str>) -> Result<&Arc<Engine>, ApiError> {
        let name = index.unwrap_or(&self.first);
        self.engines.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.engines.keys().map(String::as_str).collect();
            ApiError::not_found(format!("there is no index named `{name}`"))
                .hint(format!("served are: {}", names.join(", ")))
        })
    }

    /// Whether new requests are welcome.
    pub(crate) fn is_ready(&self) -> bool {
        !self.draining.load(Ordering::Relaxed)
    }
}
