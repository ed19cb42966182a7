//! The cache folder of the hub as `huggingface_hub` lays it out, so that Python's downloads are found
//! here and ours there:
//!
//! ```text
//! models--owner--name/refs/main             text: a commit
//! models--owner--name/blobs/ETAG            content; ETAG.incomplete while it is coming
//! models--owner--name/snapshots/COMMIT/FILE link to ../../blobs/ETAG
//! models--owner--name/.no_exist/COMMIT/FILE empty: the repository has no such file
//! .locks/models--owner--name/ETAG.lock      locked while ETAG is being downloaded
//! ```

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use fs_err as fs;
use fs_err::File;
use hf_hub::{Cache, CacheRepo, Repo, RepoType};

use super::{CONFIG, Event, PROCESSOR};
use crate::checkpoint::find_weights;
use crate::error::Result;

/// Folder of a repository inside the cache.
pub(super) fn folder_name(repo: &str) -> String {
    Repo::model(repo.to_owned()).folder_name()
}

/// One revision of one repository in the cache.
pub(super) struct Local<'a> {
    cache: &'a Path,
    repo: CacheRepo,
    folder: PathBuf,
    revision: &'a str,
}

impl<'a> Local<'a> {
    pub(super) fn new(cache: &'a Path, repo: &str, revision: &'a str) -> Self {
        let named = Repo::with_revision(repo.to_owned(), RepoType::Model, revision.to_owned());
        Self {
            folder: cache.join(named.folder_name()),
            repo: Cache::new(cache.to_owned()).repo(named),
            cache,
            revision,
        }
    }

    /// The folder of the newest snapshot that can be loaded. One without an image processor counts only
    /// where the hub is known to have none, or with `even_without_processor`.
    pub(super) fn snapshot(&self, even_without_processor: bool) -> Option<PathBuf> {
        let commit = fs::read_to_string(self.folder.join("refs").join(self.revision)).ok();
        // A commit given as the revision needs no name.
        let commit = commit.as_deref().unwrap_or(self.revision).trim();
        if !is_commit(commit) {
            return None;
        }
        let folder = self.repo.pointer_path(commit);
        let has = |file: &str| folder.join(file).is_file();
        let weights = matches!(find_weights(&folder), Ok(Some(_)));
        let tokenizer = has("tokenizer.json") || (has("vocab.json") && has("merges.txt"));
        let processor =
            even_without_processor || has(PROCESSOR) || self.absent(commit, PROCESSOR).is_file();
        (has(CONFIG) && weights && tokenizer && processor).then_some(folder)
    }

    pub(super) fn snapshot_folder(&self, commit: &str) -> PathBuf {
        self.repo.pointer_path(commit)
    }

    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.repo.blob_path(etag)
    }

    fn absent(&self, commit: &str, file: &str) -> PathBuf {
        self.folder.join(".no_exist").join(commit).join(file)
    }

    /// Notes that the repository has no such file, so that it is not asked for again.
    pub(super) fn note_absent(&self, commit: &str, file: &str) -> Result<()> {
        let path = self.absent(commit, file);
        create_parent(&path)?;
        Ok(fs::write(path, "")?)
    }

    /// Waits until no other process downloads this content. The lock goes with the file returned.
    pub(super) fn lock(&self, etag: &str, file: &str, on: &mut dyn FnMut(Event)) -> Result<File> {
        let folder = self.folder.file_name().unwrap_or_default();
        let path = self
            .cache
            .join(".locks")
            .join(folder)
            .join(format!("{etag}.lock"));
        create_parent(&path)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)?;
        if let Err(std::fs::TryLockError::WouldBlock) = lock.try_lock() {
            on(Event::Warning(format!(
                "another process is downloading `{file}`; waiting for it"
            )));
            lock.lock()?;
        }
        Ok(lock)
    }

    /// Shows a blob under its name in a snapshot; at once or not at all.
    pub(super) fn link(&self, commit: &str, file: &str, etag: &str) -> Result<PathBuf> {
        let path = self.repo.pointer_path(commit).join(file);
        if path.is_file() && same_file(&path, &self.blob(etag)) {
            return Ok(path);
        }
        create_parent(&path)?;
        let aside = aside(&path);
        link_or_copy(
            &Path::new("../../blobs").join(etag),
            &self.blob(etag),
            &aside,
        )?;
        fs::rename(&aside, &path)?;
        Ok(path)
    }

    /// Makes the revision mean this commit. Done last: who reads it finds all files there.
    pub(super) fn set_ref(&self, commit: &str) -> Result<()> {
        if self.revision == commit {
            return Ok(());
        }
        let path = self.folder.join("refs").join(self.revision);
        create_parent(&path)?;
        let aside = aside(&path);
        fs::write(&aside, commit)?;
        Ok(fs::rename(aside, path)?)
    }
}

/// Whether a text is the name of a commit.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn same_file(a: &Path, b: &Path) -> bool {
    match (fs::canonicalize(a), fs::canonicalize(b)) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

/// A name beside a file that nobody else has, to be renamed to it.
fn aside(path: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    path.with_file_name(format!(".{name}.{process}.{count}"))
}

fn create_parent(path: &Path) -> Result<()> {
    match path.parent() {
        Some(folder) => Ok(fs::create_dir_all(folder)?),
        None => Ok(()),
    }
}

#[cfg(unix)]
fn link_or_copy(relative: &Path, _blob: &Path, place: &Path) -> Result<()> {
    match fs::remove_file(place) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    Ok(fs_err::os::unix::fs::symlink(relative, place)?)
}

/// Links need a privilege on Windows; a hard link serves as well.
#[cfg(not(unix))]
fn link_or_copy(_relative: &Path, blob: &Path, place: &Path) -> Result<()> {
    fs::hard_link(blob, place).or_else(|_| fs::copy(blob, place).map(|_| ()))?;
    Ok(())
}
