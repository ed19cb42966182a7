//! The picture behind a record: its file, read where it still is, and only if it still holds the same
//! bytes.

use std::path::{Path, PathBuf};

use bt_picture::{Limits, Picture};
use bt_store::{ContentHash, Record};

use crate::error::{Error, PictureError, Result};

/// More pixels than any model here reads of a picture's shorter edge.
pub const ENOUGH_PIXELS: u32 = 1024;

/// A picture and where it was read.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The decoded picture.
    pub picture: Picture,
    /// The location that was read.
    pub path: PathBuf,
}

/// Decodes a record's picture from the first of its locations that can be read and has not changed.
/// `enough`: the shorter edge that is needed; `None` for full size.
///
/// # Errors
/// What is wrong with the first location; [`PictureError::Nowhere`] where none is known.
pub fn open(record: &Record, enough: Option<u32>) -> Result<Opened, PictureError> {
    let mut first_failure = None;
    for location in &record.locations {
        let attempt = read(&location.path).and_then(|bytes| {
            if ContentHash::of(&bytes) != record.id {
                return Err(PictureError::Changed(location.path.clone()));
            }
            Ok(bt_picture::decode(&bytes, &Limits::default(), enough)?)
        });
        match attempt {
            Ok(picture) => {
                return Ok(Opened {
                    picture,
                    path: location.path.clone(),
                });
            }
            Err(failure) => first_failure = first_failure.or(Some(failure)),
        }
    }
    Err(first_failure.unwrap_or(PictureError::Nowhere))
}

/// Reads the picture that a user shows as a query; it may be smaller than the file's, as long as models read no
/// more of it.
///
/// # Errors
/// [`Error::QueryPicture`], which names the file and says why it cannot be read.
pub fn open_query_picture(path: &Path) -> Result<Picture> {
    let attempt = read(path).and_then(|bytes| {
        let limits = Limits::default();
        Ok(bt_picture::decode(&bytes, &limits, Some(ENOUGH_PIXELS))?)
    });
    attempt.map_err(|source| Error::QueryPicture {
        path: path.to_owned(),
        source,
    })
}

fn read(path: &Path) -> Result<Vec<u8>, PictureError> {
    Ok(fs_err::read(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doubles::Memory;

    #[test]
    fn the_first_location_that_still_holds_the_picture_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::of_colours(folder.path(), &[("red.png", [255, 0, 0])]);
        let mut record = memory.pictures[0].0.clone();
        let (good, changed) = (
            record.locations[0].clone(),
            folder.path().join("changed.png"),
        );
        fs_err::write(&changed, "something else").unwrap();
        record.locations = [folder.path().join("gone.png"), changed]
            .into_iter()
            .map(|path| bt_store::Location {
                path,
                ..good.clone()
            })
            .collect();
        let error = open(&record, None).unwrap_err();
        assert!(error.to_string().contains("gone.png"), "{error}");
        record.locations.remove(0);
        let error = open(&record, None).unwrap_err();
        assert!(matches!(error, PictureError::Changed(_)), "{error}");
        record.locations.push(good.clone());
        assert_eq!(open(&record, None).unwrap().path, good.path);
        record.locations.clear();
        assert!(matches!(open(&record, None), Err(PictureError::Nowhere)));
    }

    #[test]
    fn a_query_picture_that_is_none_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        fs_err::write(&path, "no picture").unwrap();
        let error = open_query_picture(&path).unwrap_err();
        assert!(error.to_string().contains("notes.txt"), "{error}");
        assert_eq!(error.kind(), crate::error::Kind::Usage);
        let error = open_query_picture(&folder.path().join("none.jpg")).unwrap_err();
        assert_eq!(error.kind(), crate::error::Kind::NotFound);
    }
}
