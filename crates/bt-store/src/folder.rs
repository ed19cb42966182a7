//! Folders as the operating system has them: where a path leads, and how many bytes lie below.

use std::io;
use std::path::{Path, PathBuf};

/// A path as the index has them: absolute, and without links as far as it exists.
///
/// # Errors
/// The path is empty, or the current folder is gone.
pub fn resolved(path: &Path) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    for ancestor in absolute.ancestors() {
        if let Ok(canonical) = fs_err::canonicalize(ancestor) {
            return Ok(match absolute.strip_prefix(ancestor) {
                // Joining nothing would add a separator.
                Ok(rest) if !rest.as_os_str().is_empty() => canonical.join(rest),
                _ => canonical,
            });
        }
    }
    Ok(absolute)
}

/// Bytes of the files in a folder and below; what cannot be read counts nothing.
pub fn bytes_below(folder: &Path) -> u64 {
    let Ok(entries) = fs_err::read_dir(folder) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => bytes_below(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_as_far_as_a_path_exists() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap().join("real");
        fs_err::create_dir(&real).unwrap();
        fs_err::write(real.join("a"), "four").unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        // Compared as text: a separator at the end would not show otherwise.
        let text = |path: &Path| resolved(path).unwrap().into_os_string();
        assert_eq!(text(&link), real.as_os_str());
        assert_eq!(
            text(&link.join("new/index")),
            real.join("new/index").as_os_str()
        );
        assert!(resolved(Path::new("")).is_err());
        assert_eq!(bytes_below(&link), 4);
        assert_eq!(bytes_below(&real.join("none")), 0);
    }
}
