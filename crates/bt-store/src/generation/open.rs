//! Finds the newest generation that is sound, and says what had to be worked around.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::build::{WORDS, open_table};
use super::bytes::Bytes;
use super::layout::Kind;
use super::manifest::{self, Manifest};
use super::table::{FILES, Table};
use crate::collection::Header;
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::id::GenerationId;
use crate::scan::SharedScans;
use crate::words::Words;

/// Files up to this length are compared with their checksums whenever they are opened; longer ones by
/// `verify`, and by their heads and lengths on opening.
const CHECK_CONTENT_UP_TO: u64 = 1 << 20;

/// When the words are damaged, they are made again in memory for at most this many pictures.
const WORDS_IN_MEMORY_UP_TO: usize = 200_000;

/// A published generation, opened.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) manifest: Manifest,
    pub(crate) table: Table,
    graph: Option<Bytes>,
    words: Option<Words>,
    /// Stands in for damaged words, made when first asked for.
    words_again: OnceLock<Option<Words>>,
    scans: SharedScans,
    folder: PathBuf,
}

impl Generation {
    /// The graph over all rows, where there is a sound one.
    pub(crate) fn graph(&self) -> Option<Graph<'_>> {
        let body = self
            .manifest
            .build()
            .body(Kind::Graph, self.graph.as_deref()?);
        Graph::read(body.ok()?, self.table.rows()).ok()
    }

    /// The words of all rows, where there are any.
    pub(crate) fn words(&self) -> Option<&Words> {
        self.words.as_ref().or_else(|| {
            self.words_again
                .get_or_init(|| {
                    (self.table.rows() <= WORDS_IN_MEMORY_UP_TO)
                        .then(|| Words::in_memory(self.table.records()).ok())?
                })
                .as_ref()
        })
    }

    /// Lets scans of all rows share their passes.
    pub(crate) fn scans(&self) -> &SharedScans {
        &self.scans
    }

    /// Where the words lie, for messages.
    pub(crate) fn words_folder(&self) -> PathBuf {
        self.folder.join(WORDS)
    }
}

/// The newest generation that is sound and was made with this header, with what is wrong with newer ones
/// or with parts of it. `known` is used again when it is still the newest.
pub(crate) fn open(
    index: &Path,
    header: &Header,
    known: Option<&Arc<Generation>>,
) -> Result<(Option<Arc<Generation>>, Vec<String>)> {
    const TRIES: usize = 5;
    let mut tries = 0;
    loop {
        tries += 1;
        let before = current_id(index);
        let opened = open_once(index, header, known)?;
        // The files of a manifest that was replaced meanwhile may be gone already.
        if opened.1.is_empty() || current_id(index) == before || tries == TRIES {
            return Ok(opened);
        }
    }
}

/// The number of the current generation, if it can be read.
pub(crate) fn current_id(index: &Path) -> Option<GenerationId> {
    manifest::current(index)
        .ok()
        .flatten()
        .map(|manifest| manifest.id)
}

fn open_once(
    index: &Path,
    header: &Header,
    known: Option<&Arc<Generation>>,
) -> Result<(Option<Arc<Generation>>, Vec<String>)> {
    let mut warnings = Vec::new();
    let current = match manifest::current(index) {
        Ok(Some(manifest)) => Some(manifest),
        Ok(None) => {
            // None was published, or the file is lost: then a generation folder says so.
            if newest_complete(index, None)?.is_some() {
                let path = manifest::current_path(index);
                warnings.push(format!("`{}` is missing", path.display()));
            }
            None
        }
        Err(error @ (Error::Corrupt { .. } | Error::NewerFormat { .. })) => {
            warnings.push(error.to_string());
            None
        }
        Err(error) => return Err(error),
    };
    let was_current = current.is_some();
    let mut next = current;
    let mut damaged = !warnings.is_empty();
    let mut below = None;
    loop {
        let Some(manifest) = next else {
            if !damaged {
                return Ok((None, warnings));
            }
            match newest_complete(index, below)? {
                Some(manifest) => {
                    next = Some(manifest);
                    continue;
                }
                None => {
                    warnings.push(
                        "searching without a generation; `bt-index --compact` builds one".into(),
                    );
                    return Ok((None, warnings));
                }
            }
        };
        below = Some(manifest.id);
        if let Some(known) = known
            && known.manifest == manifest
            && known.is_whole()
        {
            return Ok((Some(Arc::clone(known)), warnings));
        }
        let id = manifest.id;
        match open_one(index, header, manifest, &mut warnings) {
            Ok(generation) => {
                if damaged {
                    let kind = if was_current {
                        "the one before"
                    } else {
                        "one that is complete"
                    };
                    warnings.push(format!("using generation {}, {kind}", id.0));
                }
                return Ok((Some(Arc::new(generation)), warnings));
            }
            Err(error @ (Error::Corrupt { .. } | Error::OtherModel { .. } | Error::Io(_))) => {
                warnings.push(error.to_string());
            }
            Err(error) => return Err(error),
        }
        damaged = true;
        next = None;
    }
}

impl Generation {
    /// Whether every file that the manifest lists is in use.
    fn is_whole(&self) -> bool {
        self.words.is_some() && (self.graph.is_some() || self.manifest.graph_rows == 0)
    }
}

/// The newest generation below a number that has a manifest of its own.
fn newest_complete(index: &Path, below: Option<GenerationId>) -> Result<Option<Manifest>> {
    for id in manifest::numbers(index)? {
        if below.is_some_and(|below| id >= below) {
            continue;
        }
        if let Ok(Some(manifest)) = Manifest::read(&manifest::path_of(index, id))
            && manifest.id == id
        {
            return Ok(Some(manifest));
        }
    }
    Ok(None)
}

fn open_one(
    index: &Path,
    header: &Header,
    manifest: Manifest,
    warnings: &mut Vec<String>,
) -> Result<Generation> {
    let folder = manifest::folder(index, manifest.id);
    if manifest.model != header.model.id || manifest.dim != header.dim {
        return Err(Error::OtherModel {
            path: folder,
            made_with: manifest.model.to_string(),
            asked: header.model.id.to_string(),
        });
    }
    for kind in FILES {
        check(&folder, &manifest, kind.file_name())?;
    }
    let table = open_table(&folder, &manifest.build())?;
    let mut or_warn = |error: Error, instead: &str| match error {
        error @ (Error::Corrupt { .. } | Error::Io(_)) => {
            warnings.push(format!("{error}; {instead}"));
            Ok(())
        }
        error => Err(error),
    };
    let graph = match open_graph(&folder, &manifest) {
        Ok(graph) => graph,
        Err(error) => {
            or_warn(error, "all rows are compared instead")?;
            None
        }
    };
    let words = match open_words(&folder, &manifest) {
        Ok(words) => Some(words),
        Err(error) => {
            let instead = if table.rows() <= WORDS_IN_MEMORY_UP_TO {
                "they are read from the records instead"
            } else {
                "only vectors are searched"
            };
            or_warn(error, instead)?;
            None
        }
    };
    Ok(Generation {
        manifest,
        table,
        graph,
        words,
        words_again: OnceLock::new(),
        scans: SharedScans::default(),
        folder,
    })
}

/// Compares a file with its entry in the manifest.
fn check(folder: &Path, manifest: &Manifest, name: &str) -> Result<()> {
    let damaged = |what: String| Error::Corrupt {
        path: folder.join(name),
        what,
    };
    let Some(listed) = manifest.file(name) else {
        return Err(damaged("the manifest does not list it".into()));
    };
    match listed.check(folder, listed.bytes <= CHECK_CONTENT_UP_TO)? {
        Some(what) => Err(damaged(what)),
        None => Ok(()),
    }
}

fn open_graph(folder: &Path, manifest: &Manifest) -> Result<Option<Bytes>> {
    if manifest.graph_rows == 0 {
        return Ok(None);
    }
    let name = Kind::Graph.file_name();
    check(folder, manifest, name)?;
    let path = folder.join(name);
    let bytes = Bytes::map(&path)?;
    let rows = usize::try_from(manifest.rows).unwrap_or(usize::MAX);
    let sound = manifest
        .build()
        .body(Kind::Graph, &bytes)
        .and_then(|body| Graph::read(body, rows).map(|_| ()));
    match sound {
        Ok(()) => Ok(Some(bytes)),
        Err(what) => Err(Error::Corrupt { path, what }),
    }
}

fn open_words(folder: &Path, manifest: &Manifest) -> Result<Words> {
    let inside = folder.join(WORDS);
    let mut files = Vec::new();
    for file in &manifest.files {
        if let Some(name) = file
            .name
            .strip_prefix(WORDS)
            .and_then(|name| name.strip_prefix('/'))
        {
            check(folder, manifest, &file.name)?;
            files.push(PathBuf::from(name));
        }
    }
    let rows = usize::try_from(manifest.rows).unwrap_or(usize::MAX);
    Words::open(&inside, files, rows).map_err(|what| Error::Corrupt { path: inside, what })
}
