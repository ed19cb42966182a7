//! From options to a server that runs: models and indexes loaded, the socket bound, signals heeded, running
//! requests ended.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bt_model::Exec;
use bt_store::{Header, Reader};
use tokio::task::JoinSet;

use crate::auth::Keys;
use crate::engine::{Admission, Engine, Model, Models};
use crate::gallery::Gallery;
use crate::state::{AppState, Named, Options};
use crate::{app, auth, mcp, metrics, tls};

/// Why the server does not start, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An index cannot be opened, or its model not be loaded.
    #[error("cannot serve the index `{}`", path.display())]
    Index {
        /// Its folder.
        path: PathBuf,
        /// Why.
        source: Box<bt_query::Error>,
    },
    /// Two indexes have one name, or there is none.
    #[error("{0}")]
    Usage(String),
    /// Tokens.
    #[error(transparent)]
    Auth(#[from] auth::Error),
    /// The address cannot be used.
    #[error("cannot take requests at {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Certificate(io::Error),
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Error {
    /// What to do next, where there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Index { source, .. } => source.hint(),
            Self::Auth(error) => error.hint().map(ToOwned::to_owned),
            Self::Bind { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                Some("another program has it; `--bind 127.0.0.1:0` takes a free port".to_owned())
            }
            Self::Bind { address, source } if source.kind() == io::ErrorKind::PermissionDenied => {
                let port = address.port();
                (port < 1024).then(|| format!("ports below 1024 are for root; take another than {port}, behind a proxy"))
            }
            Self::Certificate(_) => Some(
                "give the chain, the server's own certificate first, and its private key, each as PEM \
                 (\"-----BEGIN ...\") that this user may read"
                    .to_owned(),
            ),
            Self::Usage(_) | Self::Bind { .. } | Self::Io(_) => None,
        }
    }
}

/// Serves until SIGTERM or Ctrl-C, then lets running requests end. `on_start` is told the address as soon as
/// requests are taken.
///
/// # Errors
/// An index, model, token or address that cannot be used.
pub async fn serve(options: Options, on_start: impl FnOnce(SocketAddr)) -> Result<(), Error> {
    metrics::install();
    let mut signals = Signals::listen()?;
    let tls = match &options.tls {
        Some(files) => Some(tls::config(files).await.map_err(Error::Certificate)?),
        None => None,
    };
    let address = options.bind;
    let bind = |source| Error::Bind { address, source };
    let listener = TcpListener::bind(address).map_err(bind)?;
    listener.set_nonblocking(true).map_err(bind)?;
    let address = listener.local_addr().map_err(bind)?;

    let state = tokio::select! {
        state = open(options) => state?,
        () = signals.heard() => {
            tracing::info!("stopped while loading");
            return Ok(());
        }
    };
    let mut background = following(&state);
    background.spawn(metrics::keep_up());

    let handle = axum_server::Handle::<SocketAddr>::new();
    background.spawn(stop(signals, state.clone(), handle.clone()));
    on_start(address);
    tls::serve(
        listener,
        app::router(&state),
        &state.options.limits,
        tls,
        handle,
    )
    .await?;
    background.shutdown().await;
    tracing::info!("stopped");
    Ok(())
}

/// Answers an assistant on standard input and output until it closes them.
///
/// # Errors
/// An index or model that cannot be used; a first message that is none of the protocol.
pub async fn assist(options: Options) -> Result<(), Error> {
    let options = Options {
        // Nothing is uploaded here, and a server may be receiving something into the same folder.
        albums: Vec::new(),
        ..options
    };
    let state = open(options).await?;
    let mut background = following(&state);
    mcp::stdio(state).await?;
    background.shutdown().await;
    Ok(())
}

/// Tasks that keep the engines at the newest states of their indexes.
fn following(state: &AppState) -> JoinSet<()> {
    let engines = state.engines.values().map(Arc::clone);
    engines
        .map(|engine| async move { engine.follow().await })
        .collect()
}

/// Everything that handlers share. Models and indexes are loaded last: it takes long, and what is wrong with the rest
/// is told before.
async fn open(options: Options) -> Result<AppState, Error> {
    check_albums(&options)?;
    let keys = Keys::open(&options.auth, options.bind, options.tls.is_some())?;
    let gallery = Gallery::open(&options)?;
    let engines = {
        let options = options.clone();
        tokio::task::spawn_blocking(move || engines(&options))
            .await
            .map_err(io::Error::other)??
    };
    Ok(AppState::new(options, keys, gallery, engines))
}

/// An engine an index. Indexes of one model share it, and all share the workers.
fn engines(options: &Options) -> Result<Vec<Engine>, Error> {
    let admission = Arc::new(Admission::new(
        options.workers,
        options.queue,
        options.deadline,
    ));
    let mut models: Vec<(Header, Arc<Model>)> = Vec::new();
    let mut engines: Vec<Engine> = Vec::new();
    for (place, named) in options.indexes.iter().enumerate() {
        if engines.iter().any(|engine| engine.name() == named.name) {
            return Err(Error::Usage(format!(
                "two indexes are named `{}`",
                named.name
            )));
        }
        let refused = |source: bt_query::Error| Error::Index {
            path: named.path.clone(),
            source: Box::new(source),
        };
        let header = Reader::header(&named.path).map_err(|error| refused(error.into()))?;
        let known = models
            .iter()
            .find(|(other, _)| other.model.id == header.model.id && other.rerank == header.rerank);
        let model = match known {
            Some((_, model)) => Arc::clone(model),
            None => {
                let spec = options.model.as_deref().filter(|_| place == 0);
                let loaded = load(&header, spec, options).map_err(refused)?;
                // Half for what is kept of pictures, a 32nd for texts, for each model; a quarter for answers.
                let bytes = options.cache_bytes / 2;
                Arc::new(Model::start(loaded, options.max_batch, bytes)?)
            }
        };
        let results = options.cache_bytes / 4 / options.indexes.len() as u64;
        let engine = Engine::open(
            named.name.clone(),
            &named.path,
            Arc::clone(&model),
            Arc::clone(&admission),
            results,
        )
        .map_err(|error| refused(error.into()))?;
        engines.push(engine);
        models.push((header, model));
    }
    if engines.is_empty() {
        return Err(Error::Usage("there is no index to serve".to_owned()));
    }
    Ok(engines)
}

fn check_albums(options: &Options) -> Result<(), Error> {
    for (place, Named { name, path }) in options.albums.iter().enumerate() {
        if !options.indexes.iter().any(|index| index.name == *name) {
            return Err(Error::Usage(format!(
                "the album `{}` is for the index `{name}`, which is not served",
                path.display()
            )));
        }
        if options.albums[..place]
            .iter()
            .any(|other| other.name == *name)
        {
            return Err(Error::Usage(format!("the index `{name}` has two albums")));
        }
    }
    Ok(())
}

fn load(header: &Header, spec: Option<&str>, options: &Options) -> bt_query::Result<Models> {
    let exec = Exec::parse(&options.device)?
        .with_precision(options.precision)?
        .with_rerank_speed(options.rerank_speed);
    let spec_of = |spec: Option<&str>| spec.unwrap_or(&header.model.spec).to_owned();
    tracing::info!(model = spec_of(spec), device = exec.name(), "loading");
    Models::load(header, spec, true, &exec, &mut |event| match event {
        bt_model::Event::Warning(warning) => tracing::warn!("{warning}"),
        bt_model::Event::Download { file, done, total } if Some(done) == total => {
            tracing::info!(file, bytes = done, "downloaded");
        }
        event => {
            if let Some(line) = event.line() {
                tracing::info!("{line}");
            }
        }
    })
}

/// Waits for a signal; from then on the server is not ready, which a load balancer may be given time to see,
/// and running requests end.
async fn stop(mut signals: Signals, state: AppState, handle: axum_server::Handle<SocketAddr>) {
    signals.heard().await;
    state.draining.store(true, Ordering::Relaxed);
    let linger = state.options.linger;
    if !linger.is_zero() {
        tracing::info!(
            seconds = linger.as_secs(),
            "not ready any more; requests are still taken"
        );
        // A second signal is one of somebody who does not want to wait.
        let _ = tokio::time::timeout(linger, signals.heard()).await;
    }
    tracing::info!(
        seconds = state.options.drain.as_secs(),
        "stopping: running requests may end"
    );
    handle.graceful_shutdown(Some(state.options.drain));
}

/// SIGTERM and Ctrl-C, heard from the moment this is made: the first process of a container would
/// otherwise not hear them at all while a model is loaded.
#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn heard(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Ctrl-C.
#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self)
    }

    async fn heard(&mut self) {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::error!(%error, "signals cannot be heard");
            std::future::pending::<()>().await;
        }
    }
}
