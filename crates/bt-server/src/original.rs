//! The file behind a record, for giving it out: found by the record alone, never by what a stranger says,
//! and only while it holds the bytes that were indexed.

use std::fs::Metadata;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use axum::http::StatusCode;
use bt_picture::{Format, HEAD_BYTES, Kind};
use bt_store::{ContentHash, Record};
use fs_err::File;
use moka::sync::Cache;

use crate::error::ApiError;

/// Files whose bytes were compared with their hash, and how they looked then.
const REMEMBERED: u64 = 100_000;
/// A larger file is given out, but not read into memory.
const MOST_IN_MEMORY: u64 = 1 << 30;

/// A file that holds a picture's bytes, open.
#[derive(Debug)]
pub(crate) struct Original {
    /// At its beginning.
    pub(crate) file: File,
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Bytes.
    pub(crate) len: u64,
    /// What it is, by its own bytes.
    pub(crate) format: Format,
}

/// Opens files, and remembers which of them have been read in whole and found to be what they should be.
#[derive(Debug)]
pub(crate) struct Originals {
    verified: Cache<ContentHash, Looks>,
}

/// What tells that a file has not been touched: the time of its last change cannot be set by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Looks {
    size: u64,
    file: (u64, u64),
    written: (i64, i64),
    changed: (i64, i64),
}

/// Why a place does not give the picture.
enum Miss {
    Io(io::Error),
    Elsewhere,
    Changed,
    NotAPicture,
}

impl Default for Originals {
    fn default() -> Self {
        Self {
            verified: Cache::new(REMEMBERED),
        }
    }
}

impl Originals {
    /// Opens the first place of a record that still holds it. Blocks.
    ///
    /// # Errors
    /// `not-found`, with the reason of the first place.
    pub(crate) fn open(&self, record: &Record) -> Result<Original, ApiError> {
        let mut first = None;
        for location in &record.locations {
            match self.open_at(record, &location.path, location.size) {
                Ok(original) => return Ok(original),
                Err(miss) => {
                    first.get_or_insert((miss, &location.path));
                }
            }
        }
        Err(match first {
            None => gone("no file with this picture is known any more".to_owned()),
            Some((miss, path)) => gone(miss.of(path)),
        })
    }

    fn open_at(&self, record: &Record, path: &Path, size: u64) -> Result<Original, Miss> {
        // A symbolic link on the way leads to a place that was indexed as well, or nowhere.
        let real = fs_err::canonicalize(path)?;
        if !record.locations.iter().any(|place| place.path == real) {
            return Err(Miss::Elsewhere);
        }
        // A pipe or a device would wait for ever when it is opened.
        if !fs_err::metadata(&real)?.is_file() {
            return Err(Miss::Changed);
        }
        let mut file = File::open(&real)?;
        let looks = Looks::of(&file.metadata()?);
        if looks.size != size {
            return Err(Miss::Changed);
        }
        // Whoever exchanged the file between these lines has put the same bytes there, or is found out.
        if self.verified.get(&record.id) != Some(looks) {
            if ContentHash::of_reader(&mut file)? != record.id {
                return Err(Miss::Changed);
            }
            file.rewind()?;
            if Looks::of(&file.metadata()?) != looks {
                return Err(Miss::Changed);
            }
            self.verified.insert(record.id, looks);
        }
        let mut head = Vec::with_capacity(HEAD_BYTES);
        (&mut file).take(HEAD_BYTES as u64).read_to_end(&mut head)?;
        file.rewind()?;
        match bt_picture::identify(&head) {
            Kind::Picture(format) => Ok(Original {
                file,
                path: real,
                len: looks.size,
                format,
            }),
            Kind::Unsupported(_) | Kind::Other => Err(Miss::NotAPicture),
        }
    }

    /// All bytes of a record's picture. Blocks.
    pub(crate) fn read(&self, record: &Record) -> Result<Vec<u8>, ApiError> {
        let mut original = self.open(record)?;
        if original.len > MOST_IN_MEMORY {
            return Err(ApiError::not_a_picture(format!(
                "the file has {} bytes",
                original.len
            )));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(original.len).unwrap_or(0));
        original
            .file
            .read_to_end(&mut bytes)
            .map_err(|cause| gone(cause.to_string()))?;
        Ok(bytes)
    }
}

impl Looks {
    #[cfg(unix)]
    fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self {
            size: metadata.len(),
            file: (metadata.dev(), metadata.ino()),
            written: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Without numbers of files, the time of writing has to do.
    #[cfg(not(unix))]
    fn of(metadata: &Metadata) -> Self {
        let written = metadata
            .modified()
            .ok()
            .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
            .unwrap_or_default();
        Self {
            size: metadata.len(),
            file: (0, 0),
            written: (
                i64::try_from(written.as_secs()).unwrap_or(0),
                i64::from(written.subsec_nanos()),
            ),
            changed: (0, 0),
        }
    }
}

impl From<io::Error> for Miss {
    fn from(cause: io::Error) -> Self {
        Self::Io(cause)
    }
}

impl Miss {
    fn of(self, path: &Path) -> String {
        let path = path.display();
        match self {
            Self::Io(cause) => cause.to_string(),
            Self::Elsewhere => format!("`{path}` leads to a place that is not in the index"),
            Self::Changed => format!("`{path}` has changed since it was indexed"),
            Self::NotAPicture => format!("`{path}` is no picture"),
        }
    }
}

/// The record is there, its file is not.
pub(crate) fn gone(detail: String) -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "file-gone",
        "The picture's file is not there any more",
        detail,
    )
    .hint("`bt-index` brings the index up to date")
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use bt_store::{About, Location};

    use super::*;

    const GIF: &[u8] = b"GIF89a\x01\0\x01\0\0\0\0;";

    fn record(bytes: &[u8], paths: &[&Path]) -> Record {
        Record {
            id: ContentHash::of(bytes),
            locations: paths
                .iter()
                .map(|path| Location {
                    path: (*path).to_owned(),
                    size: bytes.len() as u64,
                    mtime_ns: 0,
                })
                .collect(),
            about: About::default(),
        }
    }

    #[test]
    fn only_the_bytes_that_were_indexed_are_given_out() {
        let folder = tempfile::tempdir().unwrap();
        let album = folder.path().canonicalize().unwrap();
        let path = album.join("a.gif");
        fs_err::write(&path, GIF).unwrap();
        let originals = Originals::default();
        let of_file = record(GIF, &[&path]);
        let original = originals.open(&of_file).unwrap();
        assert_eq!(
            (original.len, original.format),
            (GIF.len() as u64, Format::Gif)
        );
        assert_eq!(originals.read(&of_file).unwrap(), GIF);

        // Of the same length, and written at the same second.
        let mut other = GIF.to_vec();
        other[6] = 2;
        fs_err::write(&path, &other).unwrap();
        let said = format!("{:?}", originals.open(&of_file).unwrap_err());
        assert!(said.contains("has changed"), "{said}");
        fs_err::remove_file(&path).unwrap();
        assert!(originals.open(&of_file).is_err());
        fs_err::create_dir(&path).unwrap();
        assert!(originals.open(&of_file).is_err());
    }

    #[test]
    fn a_link_is_followed_to_places_in_the_index_only() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().canonicalize().unwrap();
        let (outside, link, inside) = (
            top.join("outside.gif"),
            top.join("link.gif"),
            top.join("a.gif"),
        );
        fs_err::write(&outside, GIF).unwrap();
        symlink(&outside, &link).unwrap();
        let originals = Originals::default();
        // The very same bytes, but not where they were indexed.
        let said = format!("{:?}", originals.open(&record(GIF, &[&link])).unwrap_err());
        assert!(said.contains("not in the index"), "{said}");
        fs_err::write(&inside, GIF).unwrap();
        let original = originals.open(&record(GIF, &[&link, &inside])).unwrap();
        assert_eq!(original.path, inside);
    }

    #[test]
    fn what_is_no_raster_picture_is_not_given_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap().join("a.jpg");
        for bytes in [
            &b"<html><script>alert(1)</script></html>"[..],
            b"<svg xmlns='http://www.w3.org/2000/svg'></svg>",
        ] {
            fs_err::write(&path, bytes).unwrap();
            let said = format!("{:?}", Originals::default().open(&record(bytes, &[&path])));
            assert!(said.contains("is no picture"), "{said}");
        }
    }
}
