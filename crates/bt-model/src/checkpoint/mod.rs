//! A checkpoint as files: found by name, Hub id or folder; fingerprinted.

use crate::error::Result;

/// What finding a checkpoint is doing; programs show it, libraries never print.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Something worth a line, such as a field of config.json that is not known.
    Warning(String),
    /// Bytes of a file that is being downloaded.
    Download {
        /// Name of the file in the repository.
        file: String,
        /// Bytes there.
        done: u64,
        /// Bytes in all, when the server says so.
        total: Option<u64>,
    },
}

/// The files of one checkpoint.
#[derive(Debug)]
pub struct Checkpoint {}

impl Checkpoint {
    /// `mini` (in the program), a public name such as `large-itm-mlm-itc`, a Hub id, or a folder.
    pub fn find(_spec: &str, _on: &mut dyn FnMut(Event)) -> Result<Self> {
        unimplemented!()
    }
}
