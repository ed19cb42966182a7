//! A file while it is coming: what is here already, its checksum, and what becomes of it at the end.

use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use fs_err as fs;
use fs_err::File;
use sha2::{Digest, Sha256};

use super::{Event, HubError};
use crate::error::Result;

/// What the hub says of a file before it is downloaded.
pub(super) struct Announced {
    pub(super) etag: String,
    pub(super) size: Option<u64>,
}

/// A file that is coming: its bytes so far and their checksum.
pub(super) struct Part<'a> {
    pub(super) name: &'a str,
    file: File,
    pub(super) len: u64,
    pub(super) total: Option<u64>,
    sum: Sha256,
}

impl<'a> Part<'a> {
    /// Goes on with what an earlier run, or Python, left.
    pub(super) fn open(blob: &Path, name: &'a str, announced: &Announced) -> Result<Self> {
        if let Some(folder) = blob.parent() {
            fs::create_dir_all(folder)?;
        }
        let path = incomplete(blob, &announced.etag);
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let mut sum = Sha256::new();
        let len = std::io::copy(&mut file, &mut sum)?;
        let mut part = Self {
            name,
            file,
            len,
            total: announced.size,
            sum,
        };
        if part.total.is_some_and(|total| len > total) {
            part.restart()?;
        }
        Ok(part)
    }

    pub(super) fn restart(&mut self) -> Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.len = 0;
        self.sum = Sha256::new();
        Ok(())
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes)?;
        self.sum.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    pub(super) fn tell(&self, on: &mut dyn FnMut(Event)) {
        on(Event::Download {
            file: self.name.to_owned(),
            done: self.len,
            total: self.total,
        });
    }

    /// Checks what came and gives it its name, or removes it.
    pub(super) fn finish(self, blob: &Path, repo: &str, announced: &Announced) -> Result<()> {
        let path = incomplete(blob, &announced.etag);
        let found: String = self
            .sum
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        // Large files are named by their SHA-256; the names of small ones are git's, so their size must do.
        let is_sum = announced.etag.len() == 64;
        let what = match self.total {
            Some(total) if total != self.len => {
                format!("{} bytes instead of {total}", self.len)
            }
            _ if is_sum && !announced.etag.eq_ignore_ascii_case(&found) => {
                format!("SHA-256 {found} instead of {}", announced.etag)
            }
            _ => {
                // Its name will be trusted from now on.
                self.file.sync_data()?;
                return Ok(fs::rename(path, blob)?);
            }
        };
        fs::remove_file(path)?;
        Err(HubError::WrongContent {
            repo: repo.to_owned(),
            file: self.name.to_owned(),
            what,
        }
        .into())
    }
}

fn incomplete(blob: &Path, etag: &str) -> PathBuf {
    blob.with_file_name(format!("{etag}.incomplete"))
}
