//! What becomes of a file, and of a run: plain data for progress, `--json` and tests alike.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bt_store::{ContentHash, GenerationId};
use serde::{Serialize, Serializer};

/// Something about one file that its owner should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileError {
    /// The file or folder.
    #[serde(serialize_with = "path_as_text")]
    pub path: PathBuf,
    /// What was wrong with it.
    pub reason: String,
}

impl FileError {
    pub(crate) fn new(path: impl Into<PathBuf>, reason: impl ToString) -> Self {
        Self {
            path: path.into(),
            reason: reason.to_string(),
        }
    }
}

impl std::fmt::Display for FileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.reason)
    }
}

/// A path that is no UTF-8 is written with replacement characters: JSON has no other text.
fn path_as_text<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

/// How a file ended; every file that is found ends as exactly one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Decoded, embedded and recorded.
    Indexed(ContentHash),
    /// As it was at the last visit.
    Unchanged,
    /// Its bytes are known from a place where they no longer are: nothing was embedded again.
    Moved(ContentHash),
    /// Its bytes are known from another place, too: both share one record.
    Duplicate(ContentHash),
    /// The picture is as it was, what stands beside it in sidecar files is not.
    Redescribed(ContentHash),
    /// It could not be read or decoded.
    Failed(String),
    /// A picture of a format that is known by name only.
    Unsupported(String),
    /// Something else than a picture.
    NotAPicture,
    /// It vanished between being found and being read.
    Gone,
}

/// What happens during a run, as it happens.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A file has come to its end.
    File {
        /// The file.
        path: &'a Path,
        /// How it ended.
        outcome: &'a Outcome,
        /// Files found so far.
        found: u64,
        /// Whether `found` is final.
        walked: bool,
    },
    /// Worth a line; the run goes on.
    Warning(&'a FileError),
    /// What the store found damaged on opening, and mended.
    Store(&'a str),
    /// So many changes have become durable.
    Committed(usize),
    /// What finding and loading the model is doing.
    Model(bt_model::Event),
    /// The derived files are being built.
    Publishing(bt_store::Progress),
    /// While watching: the index is true again; how the pass went.
    Settled(&'a Report),
}

/// How a run went.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Files found: the sum of `indexed`, `unchanged`, `moved`, `duplicates`, `redescribed`, `gone`,
    /// `not_pictures` and of the lengths of `failed` and `unsupported`, unless the run was interrupted.
    pub found: u64,
    /// Decoded, embedded and recorded.
    pub indexed: u64,
    /// As they were at the last visit.
    pub unchanged: u64,
    /// Known pictures in a new place, nothing embedded.
    pub moved: u64,
    /// Further copies of known pictures, nothing embedded.
    pub duplicates: u64,
    /// Known pictures with new captions beside them.
    pub redescribed: u64,
    /// Files that vanished while they were to be read.
    pub gone: u64,
    /// Files of other kinds.
    pub not_pictures: u64,
    /// Files (and folders) that could not be read or decoded.
    pub failed: Vec<FileError>,
    /// Pictures of formats that are not read; the reason names the format.
    pub unsupported: Vec<FileError>,
    /// Pictures that were indexed although a part of them did not decode.
    pub damaged: Vec<FileError>,
    /// Dangling links, loops and unreadable sidecar files, which were left out.
    pub warnings: Vec<FileError>,
    /// Recorded files below the folders walked that are not there any more.
    pub vanished: u64,
    /// Of these, how many were dropped from the index.
    pub pruned: u64,
    /// Whether the run was stopped before its end.
    pub interrupted: bool,
    /// Pictures in the index afterwards.
    pub pictures: u64,
    /// The generation that is current afterwards.
    pub generation: Option<GenerationId>,
    /// How long it took.
    #[serde(rename = "seconds", serialize_with = "as_seconds")]
    pub elapsed: Duration,
}

fn as_seconds<S: Serializer>(elapsed: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((elapsed.as_secs_f64() * 1000.0).round() / 1000.0)
}

impl Report {
    /// Files that came to an end.
    pub fn ended(&self) -> u64 {
        self.pictures_seen() + self.gone + self.not_pictures + self.failed.len() as u64
    }

    /// Files that are pictures, readable or not supported.
    pub fn pictures_seen(&self) -> u64 {
        self.indexed
            + self.unchanged
            + self.moved
            + self.duplicates
            + self.redescribed
            + self.unsupported.len() as u64
    }

    /// How many unsupported files there are of each format.
    pub fn unsupported_by_format(&self) -> BTreeMap<&str, usize> {
        let mut formats = BTreeMap::new();
        for file in &self.unsupported {
            *formats.entry(file.reason.as_str()).or_insert(0) += 1;
        }
        formats
    }

    pub(crate) fn count(&mut self, path: &Path, outcome: &Outcome) {
        match outcome {
            Outcome::Indexed(_) => self.indexed += 1,
            Outcome::Unchanged => self.unchanged += 1,
            Outcome::Moved(_) => self.moved += 1,
            Outcome::Duplicate(_) => self.duplicates += 1,
            Outcome::Redescribed(_) => self.redescribed += 1,
            Outcome::Failed(reason) => self.failed.push(FileError::new(path, reason)),
            Outcome::Unsupported(format) => self.unsupported.push(FileError::new(path, format)),
            Outcome::NotAPicture => self.not_pictures += 1,
            Outcome::Gone => self.gone += 1,
        }
    }
}
