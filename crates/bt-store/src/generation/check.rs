//! Reads every byte that is derived and compares it with its checksum, and with the segments.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use half::f16;

use super::build::open_table;
use super::manifest::{self, Manifest};
use crate::error::{Error, Result};
use crate::id::ContentHash;
use crate::record::Record;
use crate::segment::{Position, Segments, Stored};
use crate::verify::Finding;

/// What is wrong with the published generations; nothing that is found means a loss.
pub(crate) fn verify(index: &Path) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut found = |path: PathBuf, what: String| {
        findings.push(Finding {
            path,
            what,
            derived: true,
        });
    };
    let path = manifest::current_path(index);
    let current = match manifest::current(index) {
        Ok(current) => current,
        Err(Error::Corrupt { path, what }) => {
            found(path, what);
            None
        }
        Err(error) => return Err(error),
    };
    let numbers = manifest::numbers(index)?;
    let complete = numbers
        .into_iter()
        .filter(|id| manifest::path_of(index, *id).exists());
    let mut any = false;
    for id in complete {
        any = true;
        match Manifest::read(&manifest::path_of(index, id)) {
            Ok(Some(own)) => {
                check_files(index, &own, &mut found)?;
                if current
                    .as_ref()
                    .is_some_and(|current| current.id == id && *current != own)
                {
                    let what = format!("it differs from `{}`", path.display());
                    found(manifest::path_of(index, id), what);
                }
            }
            Ok(None) => {}
            Err(Error::Corrupt { path, what }) => found(path, what),
            Err(error) => return Err(error),
        }
    }
    match current {
        Some(current) => {
            let folder = manifest::folder(index, current.id);
            match open_table(&folder, &current.build()) {
                Ok(_) => check_rows(index, &current, &mut found)?,
                Err(Error::Corrupt { path, what }) => found(path, what),
                // A missing file was named above.
                Err(Error::Io(_)) => {}
                Err(error) => return Err(error),
            }
        }
        None if any && !path.exists() => found(path, "the file is missing".into()),
        None => {}
    }
    Ok(findings)
}

fn check_files(
    index: &Path,
    manifest: &Manifest,
    found: &mut dyn FnMut(PathBuf, String),
) -> Result<()> {
    let folder = manifest::folder(index, manifest.id);
    for file in &manifest.files {
        if let Some(what) = file.check(&folder, true)? {
            found(folder.join(&file.name), what);
        }
    }
    Ok(())
}

/// Compares the rows with what the segments said when the generation was built.
fn check_rows(
    index: &Path,
    manifest: &Manifest,
    found: &mut dyn FnMut(PathBuf, String),
) -> Result<()> {
    let segments = Segments::open(index)?;
    if !segments.continues(manifest.covers) {
        // Made before a compaction: not used, and replaced by the next generation.
        return Ok(());
    }
    let folder = manifest::folder(index, manifest.id);
    let table = open_table(&folder, &manifest.build())?;
    let truth = pictures_until(&segments, manifest.covers)?;
    let mut differing = 0;
    for (id, digest) in &truth {
        let found = table.find(id).and_then(|row| {
            let record = table.record(row).ok()?;
            Digest::of(&record, table.vector(row)?).ok()
        });
        differing += usize::from(found.as_ref() != Some(digest));
    }
    let surplus = (0..table.rows())
        .filter_map(|row| table.id(row))
        .filter(|id| !truth.contains_key(id))
        .count();
    if differing + surplus > 0 {
        found(
            folder,
            format!(
                "it differs from the segments in {} pictures",
                differing + surplus
            ),
        );
    }
    Ok(())
}

/// What a picture's record and vector are compared by, so that not all of them are held in memory.
#[derive(PartialEq)]
struct Digest {
    record: blake3::Hash,
    embedding: blake3::Hash,
}

impl Digest {
    fn of(record: &Record, embedding: &[f16]) -> Result<Self> {
        Ok(Self {
            record: Self::of_record(record)?,
            embedding: blake3::hash(bytemuck::cast_slice(embedding)),
        })
    }

    fn of_record(record: &Record) -> Result<blake3::Hash> {
        let json = serde_json::to_vec(record).map_err(io::Error::from)?;
        Ok(blake3::hash(&json))
    }
}

/// Every picture that was in the index at a position.
fn pictures_until(segments: &Segments, end: Position) -> Result<BTreeMap<ContentHash, Digest>> {
    let mut pictures: BTreeMap<ContentHash, Digest> = BTreeMap::new();
    for raw in segments.frames_since(Position::START) {
        let raw = match raw {
            Ok(raw) => raw,
            Err(Error::Corrupt { .. }) => continue,
            Err(error) => return Err(error),
        };
        if (raw.place.segment, raw.place.offset) >= (end.segment, end.offset) {
            break;
        }
        match segments.decode(&raw) {
            Ok(Some(Stored::Put { record, embedding })) => {
                pictures.insert(record.id, Digest::of(&record, &embedding)?);
            }
            Ok(Some(Stored::Update(record))) => {
                if let Some(picture) = pictures.get_mut(&record.id) {
                    picture.record = Digest::of_record(&record)?;
                }
            }
            Ok(Some(Stored::Remove(id))) => {
                pictures.remove(&id);
            }
            Ok(None) | Err(Error::Corrupt { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(pictures)
}
