//! A folder for what can be made again: small files and large ones, under a checkpoint's fingerprint. Losing it
//! costs time, never a result; a folder that cannot be written is as good as none.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The variable that names the folder.
const VARIABLE: &str = "BT_CACHE";

/// The folder of the model `id`: below $BT_CACHE, $XDG_CACHE_HOME/bridgetower or ~/.cache/bridgetower.
pub fn folder(id: &str) -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let root = match (set(VARIABLE), set("XDG_CACHE_HOME")) {
        (Some(folder), _) => PathBuf::from(folder),
        (None, Some(caches)) => Path::new(&caches).join("bridgetower"),
        (None, None) => std::env::home_dir()?.join(".cache").join("bridgetower"),
    };
    Some(root.join(id))
}

/// Where a file is written until it is whole: a name that nobody else uses, in this process or another.
pub(crate) fn part_of(path: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    path.with_extension(format!("{}-{number}.part", std::process::id()))
}

/// Puts a whole file there or nothing, whoever else does the same at the same time.
///
/// # Errors
/// The folder cannot be made, or the file cannot be written.
pub fn put(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs_err::create_dir_all(folder)?;
    let own = part_of(path);
    let written = fs_err::write(&own, bytes).and_then(|()| fs_err::rename(&own, path));
    if written.is_err() {
        let _ = fs_err::remove_file(&own);
    }
    written
}
