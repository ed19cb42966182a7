//! What a file is, by its bytes: its kind, its content hash, and whether it stood still while it was read.

use std::io::{self, Read, Seek};
use std::path::Path;
use std::time::Duration;

use bt_picture::{Format, HEAD_BYTES, Kind};
use bt_store::{ContentHash, Location};
use fs_err::File;

use crate::walk::stamp;

/// What reading a file gave.
#[derive(Debug)]
pub(crate) enum Content {
    /// A picture's bytes, their hash, and size and time at the moment of reading.
    Picture {
        bytes: Vec<u8>,
        id: ContentHash,
        location: Location,
    },
    /// A picture of a format known by name only.
    Unsupported(&'static str),
    /// Something else.
    NotAPicture,
    /// Not a picture, although its name promises one: why.
    Misnamed(String),
    /// A picture with more bytes than may be held.
    TooLarge(u64),
}

/// Endings that promise a picture, too, though of a kind that is not read.
const UNSUPPORTED: [&str; 3] = ["avif", "heic", "heif"];

/// What is said of a file that changes while it is read.
pub(crate) const BEING_WRITTEN: &str = "it is being written; the next run takes it";

/// How often a file that changes under the reader is read anew, and how long is waited before.
const TRIES: u32 = 3;
const WAIT: Duration = Duration::from_millis(50);

/// Reads a file of at most `max_bytes`. Of what is no picture, only the head is read.
///
/// # Errors
/// What the operating system says; `WouldBlock` when the file kept changing.
pub(crate) fn read(path: &Path, max_bytes: u64) -> io::Result<Content> {
    read_while(path, max_bytes, || ())
}

/// [`read`], with something that happens between the reading and the look whether the file stood still.
fn read_while(path: &Path, max_bytes: u64, meanwhile: impl Fn()) -> io::Result<Content> {
    let mut tries = 0;
    loop {
        match read_once(path, max_bytes, &meanwhile)? {
            Some(content) => return Ok(content),
            None if tries < TRIES => {
                tries += 1;
                std::thread::sleep(WAIT * tries);
            }
            None => {
                return Err(io::Error::new(io::ErrorKind::WouldBlock, BEING_WRITTEN));
            }
        }
    }
}

/// `None` when the file changed meanwhile.
fn read_once(path: &Path, max_bytes: u64, meanwhile: &impl Fn()) -> io::Result<Option<Content>> {
    let mut file = File::open(path)?;
    let (size, mtime_ns) = stamp(&file.metadata()?);
    let mut head = Vec::with_capacity(HEAD_BYTES);
    (&mut file).take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    match bt_picture::identify(&head) {
        Kind::Picture(_) => {}
        Kind::Unsupported(format) => return Ok(Some(Content::Unsupported(format))),
        Kind::Other => return Ok(Some(no_picture(path, head.is_empty()))),
    }
    if size > max_bytes {
        return Ok(Some(Content::TooLarge(size)));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    file.rewind()?;
    (&mut file).take(size + 1).read_to_end(&mut bytes)?;
    meanwhile();
    let still = stamp(&file.metadata()?) == (size, mtime_ns) && bytes.len() as u64 == size;
    Ok(still.then(|| {
        let id = ContentHash::of(&bytes);
        let path = path.to_owned();
        let location = Location {
            path,
            size,
            mtime_ns,
        };
        Content::Picture {
            bytes,
            id,
            location,
        }
    }))
}

fn no_picture(path: &Path, empty: bool) -> Content {
    match (promises_a_picture(path), empty) {
        (false, _) => Content::NotAPicture,
        (true, true) => Content::Misnamed("the file is empty".into()),
        (true, false) => Content::Misnamed("not a picture, although its name promises one".into()),
    }
}

fn promises_a_picture(path: &Path) -> bool {
    let Some(ending) = path.extension().and_then(|ending| ending.to_str()) else {
        return false;
    };
    let mut read = Format::ALL.iter().flat_map(|format| format.endings());
    let is_it = |known: &&str| known.eq_ignore_ascii_case(ending);
    read.any(is_it) || UNSUPPORTED.iter().any(is_it)
}

/// Whether a file is surely not there: a folder that may not be read, or a disk that does not answer,
/// is no proof.
pub(crate) fn is_gone(path: &Path) -> bool {
    match fs_err::metadata(path) {
        Ok(metadata) => !metadata.is_file(),
        Err(cause) => matches!(
            cause.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest head that the JPEG signature needs.
    const JPEG: &[u8] =
        b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00\xff\xd9";

    #[test]
    fn a_file_is_what_its_bytes_say() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            fs_err::write(&path, bytes).unwrap();
            read(&path, 1000).unwrap()
        };
        let picture = write("notes.txt", JPEG);
        assert!(matches!(picture, Content::Picture { id, .. } if id == ContentHash::of(JPEG)));
        assert!(matches!(write("a.txt", b"hello"), Content::NotAPicture));
        assert!(matches!(write("empty.txt", b""), Content::NotAPicture));
        assert!(matches!(write("a.JPG", b"<html>"), Content::Misnamed(_)));
        assert!(matches!(write("b.jpg", b""), Content::Misnamed(why) if why.contains("empty")));
        for ending in ["ppm", "ico", "hdr", "ff", "dib", "HEIC"] {
            let empty = write(&format!("scan.{ending}"), b"");
            assert!(matches!(empty, Content::Misnamed(_)), "{ending}: {empty:?}");
        }
        let large = [JPEG, &[0; 1000]].concat();
        assert!(matches!(write("c.jpg", &large), Content::TooLarge(size) if size > 1000));
    }

    #[test]
    fn a_file_that_keeps_changing_is_left_for_the_next_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jpg");
        fs_err::write(&path, JPEG).unwrap();
        let grow = || {
            let mut file = fs_err::OpenOptions::new().append(true).open(&path).unwrap();
            io::Write::write_all(&mut file, b"more").unwrap();
        };
        let error = read_while(&path, 1000, grow).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        // Once it stands still, it is read.
        assert!(matches!(
            read(&path, 1000).unwrap(),
            Content::Picture { .. }
        ));
    }

    #[test]
    fn only_a_missing_file_counts_as_gone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        fs_err::write(&file, "").unwrap();
        assert!(!is_gone(&file));
        assert!(is_gone(&folder.path().join("b")));
        assert!(is_gone(&file.join("below-a-file")));
        assert!(is_gone(folder.path()));
    }
}
