//! The command line of `bt-server`: flags to options.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bt_cli::{Exit, hinted};
use bt_model::{Precision, RerankSpeed};
use bt_server::{AuthOptions, Files, Limits, Named, Options, assist, log, serve};
use clap::{Parser, ValueEnum};

/// Serves indexes: a page to search on, and an API for programs
///
/// Open http://127.0.0.1:7871 in a browser. The API is described at /docs, and for programs at
/// /openapi.json. New pictures are found as soon as `bt-index` has committed them; nothing needs to be
/// restarted.
#[derive(Debug, Parser)]
#[command(name = "bt-server", version, max_term_width = 100)]
#[command(after_help = "`--help` says more, with examples.")]
#[command(after_long_help = EPILOGUE)]
pub(crate) struct Cli {
    /// `mcp` answers an assistant on standard input and output (Model Context Protocol) instead
    ///
    /// The assistant starts the program itself; no address is opened. While the server runs, the same tools
    /// are at /mcp.
    #[arg(value_name = "HOW", hide_possible_values = true)]
    how: Option<How>,

    /// Folder of an index, or NAME=FOLDER; may be given again
    ///
    /// Requests name one of several as `index`; the first is asked when they name none. Without NAME it is
    /// the folder's.
    #[arg(
        long = "index",
        value_name = "DIR",
        env = "BT_INDEX",
        default_value = "./index-data"
    )]
    #[arg(help_heading = "What to serve", hide_env_values = true)]
    indexes: Vec<String>,

    /// Folder that uploaded pictures are put into, or INDEX=FOLDER; without it uploads are refused
    ///
    /// Each index has a folder of its own; without INDEX it is that of the first one.
    #[arg(long = "album", value_name = "DIR", help_heading = "What to serve")]
    albums: Vec<String>,

    /// Where the first index's model is, if not where it was; refused unless it is the same
    #[arg(long, help_heading = "What to serve", hide_short_help = true)]
    model: Option<String>,

    /// Where requests are taken; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7871")]
    #[arg(help_heading = "Who may come in")]
    bind: SocketAddr,

    /// File with tokens: lines `read TOKEN` or `write TOKEN`
    ///
    /// BT_TOKEN in the environment is a token for everything. Without a token only this machine is served.
    #[arg(long, value_name = "FILE", help_heading = "Who may come in")]
    token_file: Option<PathBuf>,

    /// Serves anybody who reaches the address, without a token
    #[arg(long, help_heading = "Who may come in")]
    no_auth: bool,

    /// Another name that the server is reached by; may be given again
    ///
    /// Without a token, requests to other names than localhost and addresses are refused, so that no page
    /// of another site can search by a forged name.
    #[arg(long = "host", value_name = "NAME", help_heading = "Who may come in")]
    #[arg(hide_short_help = true)]
    hosts: Vec<String>,

    /// Certificate chain (PEM): serves TLS
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_key",
        help_heading = "Who may come in"
    )]
    tls_cert: Option<PathBuf>,

    /// Its private key (PEM)
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_cert",
        help_heading = "Who may come in"
    )]
    tls_key: Option<PathBuf>,

    /// Requests a second for each client [default: no bound on this machine, 200 for others
    /// and behind a proxy]
    #[arg(
        long,
        value_name = "N",
        help_heading = "Bounds",
        hide_short_help = true
    )]
    rate: Option<NonZeroU32>,

    /// Takes clients' addresses from X-Forwarded-For, for use behind a proxy
    #[arg(long, help_heading = "Bounds", hide_short_help = true)]
    trust_proxy: bool,

    /// Most megabytes of an uploaded picture
    #[arg(long, value_name = "MB", default_value_t = 64, help_heading = "Bounds")]
    #[arg(hide_short_help = true)]
    max_upload: u64,

    /// Most megapixels of a picture that is uploaded, searched with, or given to the model
    #[arg(
        long,
        value_name = "MP",
        default_value_t = 200,
        help_heading = "Bounds"
    )]
    #[arg(hide_short_help = true)]
    max_pixels: u64,

    /// Seconds that a search, or other work with the model, may take (anything else: 120, and the time of its upload)
    #[arg(long, value_name = "S", default_value_t = 30, help_heading = "Bounds")]
    deadline: u64,

    /// Requests that may wait; more are refused (429) until there is room
    #[arg(long, value_name = "N", default_value_t = 256, help_heading = "Bounds")]
    queue: usize,

    /// Seconds for which a server that is stopped only says that it is not ready, and goes on serving
    ///
    /// For load balancers: a little longer than the time between two of their looks at /readyz. A second signal ends
    /// it at once.
    #[arg(long, value_name = "S", default_value_t = 0, help_heading = "Bounds")]
    #[arg(hide_short_help = true)]
    linger_seconds: u64,

    /// Seconds that running requests get when the server is stopped
    #[arg(long, value_name = "S", default_value_t = 20, help_heading = "Bounds")]
    #[arg(hide_short_help = true)]
    drain_seconds: u64,

    /// Requests that are worked on at a time
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = bt_cli::at_least_one)]
    #[arg(help_heading = "How fast, and with what", hide_short_help = true)]
    workers: usize,

    /// Most texts or pictures that go through a model together
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = bt_cli::at_least_one)]
    #[arg(help_heading = "How fast, and with what")]
    max_batch: usize,

    /// Megabytes of memory for answers, vectors of texts and what the model made of pictures
    #[arg(long, value_name = "MB", default_value_t = 512)]
    #[arg(help_heading = "How fast, and with what")]
    cache: u64,

    /// Where the model runs: auto, cpu, cuda or metal (cuda:1 is the second)
    #[arg(long, env = "BT_DEVICE", default_value = "auto")]
    #[arg(help_heading = "How fast, and with what", hide_env_values = true)]
    device: String,

    /// With which numbers: auto, f32, bf16 or int8
    ///
    /// `f32` is exact, the others are faster and lose a little; `auto` takes the fastest that keeps the
    /// results. int8 is for the processor alone.
    #[arg(long, env = "BT_PRECISION", default_value_t = Precision::Auto)]
    #[arg(
        help_heading = "How fast, and with what",
        hide_env_values = true,
        hide_short_help = true
    )]
    precision: Precision,

    /// How much of a picture is read to score it: exact or fast
    ///
    /// `fast` reads the third of a picture that the words look at most, in about half of the time; scores move a
    /// little.
    #[arg(long, env = "BT_RERANK_SPEED", value_name = "SPEED", default_value_t = RerankSpeed::Exact)]
    #[arg(
        help_heading = "How fast, and with what",
        hide_env_values = true,
        hide_short_help = true
    )]
    rerank_speed: RerankSpeed,

    /// Threads [default: all cores]
    #[arg(long, value_name = "N", value_parser = bt_cli::at_least_one)]
    #[arg(help_heading = "How fast, and with what", hide_short_help = true)]
    threads: Option<usize>,

    /// Form of the log: text or json
    #[arg(
        long,
        value_name = "FORM",
        default_value = "text",
        hide_possible_values = true
    )]
    #[arg(help_heading = "What is told")]
    log_format: LogFormat,

    /// Logs what people look for
    #[arg(long, help_heading = "What is told", hide_short_help = true)]
    log_queries: bool,

    /// Logs warnings and errors only
    #[arg(short, long, help_heading = "What is told")]
    quiet: bool,
}

const EPILOGUE: &str = "\
Examples:
  bt-server --index ./index-data
      http://127.0.0.1:7871, for this machine only (made by `bt-index samples`)
  curl '127.0.0.1:7871/v1/search?q=a+cat+on+a+couch&n=3'
      the same search as `bt-search \"a cat on a couch\"`
  bt-server mcp --index ./index-data
      tools for an assistant, which starts this command itself
  bt-server --index home=./home --index work=./work --bind 0.0.0.0:7871 --token-file tokens
      two indexes, for everybody who has a token

Exit codes:
  0 stopped by a signal, running requests ended   2 error

Every flag that takes a value may also stand in a settings file (BT_SETTINGS, else
~/.config/bridgetower/settings.toml); the environment wins over the file, flags over both.";

/// How requests come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum How {
    Mcp,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

/// What to do next about an error of the libraries.
pub(crate) fn hint_of(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(error) = error.downcast_ref::<bt_server::Error>() {
        return error.hint();
    }
    None
}

/// Does what the command line says.
pub(crate) fn run(cli: Cli) -> Result<Exit> {
    let format = match cli.log_format {
        LogFormat::Text => log::Format::Text,
        LogFormat::Json => log::Format::Json,
    };
    let colours = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    log::start(format, cli.quiet, colours);
    if let Some(threads) = cli.threads {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global()
            .context("cannot limit the threads")?;
    }
    let how = cli.how;
    let options = cli.options()?;
    let scheme = if options.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the threads")?;
    match how {
        Some(How::Mcp) => runtime.block_on(assist(options))?,
        None => runtime.block_on(serve(options, |address| match format {
            log::Format::Text => anstream::eprintln!("serving on {scheme}://{address}"),
            log::Format::Json => tracing::info!(url = format!("{scheme}://{address}"), "serving"),
        }))?,
    }
    // Work that nobody waits for any more does not hold the end up.
    runtime.shutdown_background();
    Ok(Exit::Done)
}

impl Cli {
    fn options(self) -> Result<Options> {
        let indexes = self.indexes.iter().map(|text| named(text));
        let indexes: Vec<Named> = indexes.collect::<Result<_>>()?;
        let first = indexes.first().map(|index| index.name.clone());
        let album = |text: &String| {
            let (name, path) = split(text)?;
            let name = name.or_else(|| first.clone()).unwrap_or_default();
            Ok(Named { name, path })
        };
        let albums = self.albums.iter().map(album).collect::<Result<_>>()?;
        let mut limits = Limits::for_bind(self.bind, self.trust_proxy);
        limits.upload_bytes = self.max_upload.saturating_mul(1_000_000);
        limits.upload_pixels = self.max_pixels.saturating_mul(1_000_000);
        limits.requests_per_second = self.rate.or(limits.requests_per_second);
        Ok(Options {
            albums,
            model: self.model,
            device: self.device,
            precision: self.precision,
            rerank_speed: self.rerank_speed,
            workers: self.workers,
            queue: self.queue,
            max_batch: self.max_batch,
            deadline: Duration::from_secs(self.deadline),
            cache_bytes: self.cache.saturating_mul(1_000_000),
            linger: Duration::from_secs(self.linger_seconds),
            drain: Duration::from_secs(self.drain_seconds),
            log_queries: self.log_queries,
            auth: AuthOptions {
                token_file: self.token_file,
                // Not a flag: other users see the flags of a running program.
                token: std::env::var("BT_TOKEN").ok(),
                no_auth: self.no_auth,
                hosts: self.hosts,
            },
            limits,
            tls: self
                .tls_cert
                .zip(self.tls_key)
                .map(|(cert, key)| Files { cert, key }),
            ..Options::new(indexes, self.bind)
        })
    }
}

/// An index: a name and a folder, or a folder that says the name.
fn named(text: &str) -> Result<Named> {
    let (name, path) = split(text)?;
    let name = name.unwrap_or_else(|| {
        let folder = path.file_name().unwrap_or_default().to_string_lossy();
        if is_name(&folder) {
            folder.into_owned()
        } else {
            "default".to_owned()
        }
    });
    Ok(Named { name, path })
}

/// `NAME=FOLDER`, or a folder alone; one that is there is a folder, whatever it is called.
fn split(text: &str) -> Result<(Option<String>, PathBuf)> {
    let Some((name, folder)) = text.split_once('=').filter(|_| !Path::new(text).exists()) else {
        return Ok((None, text.into()));
    };
    if !is_name(name) {
        return Err(hinted(
            format!("`{name}` is no name for an index"),
            "names have letters, digits, `-`, `_` and `.`",
        ));
    }
    Ok((Some(name.to_owned()), folder.into()))
}

fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !name.is_empty() && name.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_index_is_called_what_the_operator_or_its_folder_says() {
        let named = |text| named(text).map(|named| (named.name, named.path));
        assert_eq!(named("a=/x/b").unwrap(), ("a".into(), "/x/b".into()));
        assert_eq!(named("/x/b-1").unwrap(), ("b-1".into(), "/x/b-1".into()));
        assert_eq!(
            named("/x/b c").unwrap(),
            ("default".into(), "/x/b c".into())
        );
        assert!(named("a b=/x").is_err());
    }
}
