//! What makes a generation: every file with its length and checksum, and what it was built from.
//!
//! A manifest lies beside the files it lists (`generations/000007/manifest.json`) and, for the current
//! generation, in `generations/current.json`: replacing that file is what publishes.

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::layout::{self, Build};
use crate::error::{Error, Result};
use crate::id::{GenerationId, ModelId};
use crate::sealed;
use crate::segment::Position;

/// What a generation consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// Its number.
    pub(crate) id: GenerationId,
    /// Version of the files' layouts.
    pub(crate) layout: u32,
    /// Random; in the head of every file as well.
    pub(crate) stamp: u64,
    /// Made the vectors.
    pub(crate) model: ModelId,
    /// Components of a vector.
    pub(crate) dim: usize,
    /// Pictures.
    pub(crate) rows: u64,
    /// Everything committed before this is in it.
    pub(crate) covers: Position,
    /// Rows in the graph; 0 when there is none.
    pub(crate) graph_rows: u64,
    /// All files, by name.
    pub(crate) files: Vec<ListedFile>,
}

/// A file of a generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListedFile {
    /// Below the generation's folder, with `/`.
    pub(crate) name: String,
    /// Length.
    pub(crate) bytes: u64,
    /// Of the content.
    pub(crate) blake3: String,
}

impl ListedFile {
    /// Measures a file.
    pub(crate) fn of(folder: &Path, name: &str) -> Result<Self> {
        let path = folder.join(name);
        Ok(Self {
            name: name.to_owned(),
            bytes: fs_err::metadata(&path)?.len(),
            blake3: content_hash(&path)?,
        })
    }

    /// What differs, if anything; the content is only read where `content` says so.
    pub(crate) fn check(&self, folder: &Path, content: bool) -> Result<Option<String>> {
        let path = folder.join(&self.name);
        let bytes = match fs_err::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Some("the file is missing".into()));
            }
            Err(error) => return Err(error.into()),
        };
        if bytes != self.bytes {
            return Ok(Some(format!(
                "it has {bytes} bytes, expected {}",
                self.bytes
            )));
        }
        if content {
            let found = content_hash(&path)?;
            if found != self.blake3 {
                return Ok(Some(format!(
                    "its checksum is {:.16}, expected {:.16}",
                    found, self.blake3
                )));
            }
        }
        Ok(None)
    }
}

fn content_hash(path: &Path) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(fs_err::File::open(path)?)?;
    Ok(hasher.finalize().to_hex().to_string())
}

impl Manifest {
    /// What the heads of the files say.
    pub(crate) fn build(&self) -> Build {
        Build {
            generation: self.id.0,
            stamp: self.stamp,
            rows: self.rows,
            dim: self.dim as u64,
        }
    }

    /// The entry of a file.
    pub(crate) fn file(&self, name: &str) -> Option<&ListedFile> {
        self.files.iter().find(|file| file.name == name)
    }

    /// Whether all files are there, each as long as it was.
    pub(crate) fn is_there(&self, index: &Path) -> Result<bool> {
        let folder = folder(index, self.id);
        for file in &self.files {
            if file.check(&folder, false)?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads a manifest; `None` when there is none.
    ///
    /// # Errors
    /// `Corrupt`, and `NewerFormat` for layouts of a later version.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>> {
        let manifest: Option<Self> = sealed::read(path)?;
        let Some(manifest) = manifest else {
            return Ok(None);
        };
        if manifest.layout > layout::FORMAT {
            return Err(Error::NewerFormat {
                path: path.to_owned(),
                found: manifest.layout,
                supported: layout::FORMAT,
            });
        }
        let outside = |file: &&ListedFile| {
            let mut parts = Path::new(&file.name).components();
            !parts.all(|part| matches!(part, Component::Normal(_)))
        };
        match manifest.files.iter().find(outside) {
            Some(file) => Err(Error::Corrupt {
                path: path.to_owned(),
                what: format!("it lists `{}`, which is not below its folder", file.name),
            }),
            None => Ok(Some(manifest)),
        }
    }
}

/// All generations.
pub(crate) fn generations(index: &Path) -> PathBuf {
    index.join("generations")
}

/// The folder of a generation.
pub(crate) fn folder(index: &Path, id: GenerationId) -> PathBuf {
    generations(index).join(format!("{:06}", id.0))
}

/// The manifest of the current generation.
pub(crate) fn current_path(index: &Path) -> PathBuf {
    generations(index).join("current.json")
}

/// The manifest beside the files of a generation.
pub(crate) fn path_of(index: &Path, id: GenerationId) -> PathBuf {
    folder(index, id).join("manifest.json")
}

/// The current generation, as its manifest says.
pub(crate) fn current(index: &Path) -> Result<Option<Manifest>> {
    Manifest::read(&current_path(index))
}

/// Numbers of all generation folders, newest first, whether complete or not.
pub(crate) fn numbers(index: &Path) -> Result<Vec<GenerationId>> {
    let entries = match fs_err::read_dir(generations(index)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        if let Some(number) = name.to_str().and_then(|name| name.parse().ok())
            && name.len() >= 6
        {
            numbers.push(GenerationId(number));
        }
    }
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Disk;

    fn manifest(name: &str) -> Manifest {
        Manifest {
            id: GenerationId(1),
            layout: layout::FORMAT,
            stamp: 7,
            model: ModelId("m".into()),
            dim: 8,
            rows: 0,
            covers: Position::START,
            graph_rows: 0,
            files: vec![ListedFile {
                name: name.into(),
                bytes: 0,
                blake3: String::new(),
            }],
        }
    }

    #[test]
    fn a_manifest_names_only_files_below_its_folder_and_of_a_known_layout() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manifest.json");
        let good = manifest("words/meta.json");
        sealed::write(&Disk, &path, &good).unwrap();
        assert_eq!(Manifest::read(&path).unwrap(), Some(good.clone()));
        for name in ["../ids", "/etc/passwd", "words/../../ids"] {
            sealed::write(&Disk, &path, &manifest(name)).unwrap();
            let error = Manifest::read(&path).unwrap_err();
            assert!(matches!(error, Error::Corrupt { .. }), "{error}");
        }
        let later = Manifest {
            layout: layout::FORMAT + 1,
            ..good
        };
        sealed::write(&Disk, &path, &later).unwrap();
        let error = Manifest::read(&path).unwrap_err();
        assert!(matches!(error, Error::NewerFormat { .. }), "{error}");
    }
}
