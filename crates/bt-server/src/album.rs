//! The folder that uploads go into. A picture lies at `ab/abcd....jpg`, named by its content, so that the
//! same upload always has the same place, and nothing that a stranger says becomes a path.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bt_index::LONGEST_CAPTION;
use bt_picture::Format;
use bt_store::{ContentHash, Record};
use tempfile::NamedTempFile;
use tokio::sync::{Mutex, Semaphore};

/// Uploads that are received at one time.
pub(crate) const AT_ONCE: usize = 4;
/// What is written aside, before it has its name. Its dot keeps the indexer out.
const ASIDE: &str = ".incoming";
/// What is younger may be an upload that another process is receiving.
const LEFT_AFTER: Duration = Duration::from_secs(3600);

/// The folder.
#[derive(Debug)]
pub(crate) struct Album {
    /// Canonical, as the index has it.
    root: PathBuf,
    /// Held while the album and the index change together.
    pub(crate) turn: Mutex<()>,
    /// Permits for uploads.
    pub(crate) incoming: Arc<Semaphore>,
}

impl Album {
    /// Makes the folder if it is not there, and clears away what uploads that were cut off have left.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        fs_err::create_dir_all(folder)?;
        let root = fs_err::canonicalize(folder)?;
        let aside = root.join(ASIDE);
        fs_err::create_dir_all(&aside)?;
        let now = SystemTime::now();
        for entry in fs_err::read_dir(&aside)? {
            let path = entry?.path();
            match fs_err::metadata(&path).and_then(|file| file.modified()) {
                Ok(written)
                    if now
                        .duration_since(written)
                        .is_ok_and(|age| age > LEFT_AFTER) =>
                {
                    remove(&path)?;
                }
                // Young, or another process has finished with it in the meantime.
                _ => {}
            }
        }
        Ok(Self {
            root,
            turn: Mutex::new(()),
            incoming: Arc::new(Semaphore::new(AT_ONCE)),
        })
    }

    /// Where it is.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Puts a picture and its caption in, durably, and tells what changed. What is there already stays; a caption
    /// replaces an older one. Blocks.
    pub(crate) fn put(
        &self,
        bytes: &[u8],
        id: ContentHash,
        format: Format,
        caption: Option<&str>,
    ) -> io::Result<Put> {
        let name = id.to_string();
        let shard = self.root.join(&name[..2]);
        fs_err::create_dir_all(&shard)?;
        if fs_err::canonicalize(&shard)? != shard {
            let what = format!("`{}` leads out of the album", shard.display());
            return Err(io::Error::other(what));
        }
        let path = shard.join(format!("{name}.{}", format.endings()[0]));
        let mut put = Put {
            is_new: false,
            caption: None,
            path,
        };
        // The caption first, so that the picture is never seen without it.
        if let Some(caption) = caption.and_then(one_paragraph) {
            let beside = put.path.with_extension("txt");
            let before = fs_err::read(&beside).ok();
            self.write(&beside, caption.as_bytes())?;
            put.caption = Some(before);
        }
        if !holds(&put.path, id) {
            self.write(&put.path, bytes)?;
            put.is_new = true;
        }
        Ok(put)
    }

    /// Makes the album what it was before. Blocks.
    pub(crate) fn undo(&self, put: Put) -> io::Result<()> {
        let beside = put.path.with_extension("txt");
        match put.caption {
            None => {}
            Some(None) => remove(&beside)?,
            Some(Some(before)) => self.write(&beside, &before)?,
        }
        if put.is_new {
            remove(&put.path)?;
        }
        sync_folder(put.path.parent().unwrap_or(&self.root))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = aside(&self.root.join(ASIDE))?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| {
            let what = format!(
                "cannot put `{}` into its place: {}",
                path.display(),
                error.error
            );
            io::Error::new(error.error.kind(), what)
        })?;
        sync_folder(path.parent().unwrap_or(&self.root))
    }

    /// Whether one of two albums is, or is in, the other.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.root.starts_with(&other.root) || other.root.starts_with(&self.root)
    }

    /// The places of a picture that lie in the album.
    pub(crate) fn places(&self, record: &Record) -> Vec<PathBuf> {
        let paths = record.locations.iter().map(|location| &location.path);
        paths
            .filter(|path| path.starts_with(&self.root))
            .cloned()
            .collect()
    }

    /// Takes a file out, and the caption that an upload put beside it. Blocks.
    pub(crate) fn remove(&self, path: &Path, id: ContentHash) -> io::Result<()> {
        let folder = path.parent().unwrap_or(&self.root);
        let real = match fs_err::canonicalize(folder) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
            real => real?,
        };
        if real != folder || !real.starts_with(&self.root) {
            let what = format!("`{}` leads out of the album", path.display());
            return Err(io::Error::other(what));
        }
        remove(path)?;
        if path
            .file_stem()
            .is_some_and(|stem| *stem == *id.to_string())
        {
            remove(&path.with_extension("txt"))?;
        }
        sync_folder(folder)
    }
}

/// What an upload changed in the album.
#[derive(Debug)]
pub(crate) struct Put {
    /// Where the picture lies.
    pub(crate) path: PathBuf,
    /// Whether it did not lie there before.
    is_new: bool,
    /// If a caption was written: what it was before.
    caption: Option<Option<Vec<u8>>>,
}

/// A file without a name of its own yet, readable as the operator's other files are.
fn aside(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    #[cfg(unix)]
    builder.permissions(permissions);
    builder.tempfile_in(folder)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs_err::remove_file(path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// Whether a file is there and whole.
fn holds(path: &Path, id: ContentHash) -> bool {
    fs_err::File::open(path)
        .and_then(ContentHash::of_reader)
        .is_ok_and(|found| found == id)
}

/// A rename survives a power cut when its folder is synced.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    fs_err::File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

/// A sidecar's paragraphs are captions; this is one.
fn one_paragraph(text: &str) -> Option<String> {
    let text: String = text
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .take(LONGEST_CAPTION)
        .collect();
    let text = text.trim();
    (!text.is_empty()).then(|| format!("{text}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIF: &[u8] = b"GIF89a\x01\0\x01\0\0\0\0;";

    fn files(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs_err::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_same_upload_has_the_same_place_and_leaves_nothing_aside() {
        let folder = tempfile::tempdir().unwrap();
        let album = Album::open(&folder.path().join("new/album")).unwrap();
        let id = ContentHash::of(GIF);
        let put = |caption| album.put(GIF, id, Format::Gif, caption).unwrap().path;
        let path = put(None);
        assert_eq!(fs_err::read(&path).unwrap(), GIF);
        assert_eq!(put(Some(" a dot\n\nof\u{0} light ")), path);
        let caption = path.with_extension("txt");
        assert_eq!(
            fs_err::read_to_string(&caption).unwrap(),
            "a dot  of  light\n"
        );
        // One that was cut off is made whole.
        fs_err::write(&path, &GIF[..5]).unwrap();
        put(Some("  "));
        assert_eq!(fs_err::read(&path).unwrap(), GIF);
        assert!(files(&album.root().join(ASIDE)).is_empty());
        assert_eq!(files(path.parent().unwrap()).len(), 2);
        album.remove(&path, id).unwrap();
        album.remove(&path, id).unwrap();
        assert!(files(path.parent().unwrap()).is_empty());
    }

    #[test]
    fn an_upload_that_is_undone_leaves_what_was_there_before() {
        let folder = tempfile::tempdir().unwrap();
        let album = Album::open(folder.path()).unwrap();
        let id = ContentHash::of(GIF);
        let put = |caption| album.put(GIF, id, Format::Gif, caption).unwrap();
        let first = put(Some("a dot"));
        let (picture, caption) = (first.path.clone(), first.path.with_extension("txt"));
        album.undo(first).unwrap();
        assert!(!picture.exists() && !caption.exists());

        put(None);
        album.undo(put(None)).unwrap();
        assert_eq!(fs_err::read(&picture).unwrap(), GIF);
        album.undo(put(Some("a dot"))).unwrap();
        assert!(picture.exists() && !caption.exists());
        put(Some("a dot"));
        album.undo(put(Some("a blot"))).unwrap();
        assert_eq!(fs_err::read(&picture).unwrap(), GIF);
        assert_eq!(fs_err::read_to_string(&caption).unwrap(), "a dot\n");
    }

    #[test]
    fn what_was_cut_off_is_cleared_away_later_and_what_others_receive_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let album = Album::open(folder.path()).unwrap();
        let (left, coming) = (
            album.root().join(ASIDE).join("left"),
            album.root().join(ASIDE).join("coming"),
        );
        for path in [&left, &coming] {
            fs_err::write(path, "half a picture").unwrap();
        }
        let file = fs_err::File::options().write(true).open(&left).unwrap();
        let long_ago = SystemTime::now() - LEFT_AFTER - Duration::from_secs(1);
        file.into_file().set_modified(long_ago).unwrap();
        Album::open(folder.path()).unwrap();
        assert!(!left.exists() && coming.exists());
    }

    #[cfg(unix)]
    #[test]
    fn nothing_is_written_or_removed_through_a_link_out_of_the_album() {
        let folder = tempfile::tempdir().unwrap();
        let album = Album::open(&folder.path().join("album")).unwrap();
        let outside = folder.path().canonicalize().unwrap().join("outside");
        fs_err::create_dir(&outside).unwrap();
        let id = ContentHash::of(GIF);
        let shard = album.root().join(&id.to_string()[..2]);
        std::os::unix::fs::symlink(&outside, &shard).unwrap();
        assert!(album.put(GIF, id, Format::Gif, Some("x")).is_err());
        assert!(files(&outside).is_empty());
        let kept = outside.join("kept.gif");
        fs_err::write(&kept, GIF).unwrap();
        assert!(album.remove(&shard.join("kept.gif"), id).is_err());
        assert!(kept.exists());
    }
}
