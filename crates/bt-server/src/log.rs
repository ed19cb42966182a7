//! The log: what is written, and in which form. Query texts are not in it unless the operator asks.

use tracing_subscriber::EnvFilter;

/// Form of the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line, for programs.
    Json,
}

/// Starts the log on standard error, which takes `colours` or not. What is written is in `RUST_LOG` (`info`
/// without it). A second call changes nothing.
pub fn start(format: Format, quiet: bool, colours: bool) {
    // What a library tells of its handshakes with assistants is of no use to an operator.
    let level = if quiet { "warn" } else { "info,rmcp=warn" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(std::io::stderr);
    // An earlier call has started it.
    let _ = match format {
        Format::Text => lines.with_target(false).try_init(),
        Format::Json => lines.json().flatten_event(true).try_init(),
    };
}
