//! How far long work on an index is.

/// What publishing is doing, for a progress line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Which part: `vectors`, `graph`, `words`, ...
    pub stage: &'static str,
    /// Rows done.
    pub done: u64,
    /// Rows in all.
    pub total: u64,
}
