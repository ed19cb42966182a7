//! Builds a generation from the segments: in a new folder, every file synced, nothing visible yet.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use fs_err::File;
use half::f16;

use super::bytes::Bytes;
use super::layout::{self, Build, Kind};
use super::manifest::{self, ListedFile, Manifest};
use super::table::{FILES, Table, TableWriter};
use crate::collection::Header;
use crate::error::{Error, Result};
use crate::graph::Built;
use crate::id::{ContentHash, GenerationId};
use crate::progress::Progress;
use crate::record::Record;
use crate::sealed;
use crate::segment::{Place, Position, Segments, Stored};
use crate::storage::{Disk, Storage};
use crate::words::Words;

/// Fewer rows get no graph: comparing all of them takes some ten milliseconds, finds everything, and costs
/// nothing to build (a graph takes minutes).
pub(crate) const GRAPH_FROM: u64 = 200_000;

/// Folder of tantivy's files.
pub(super) const WORDS: &str = "words";

/// Rows between two reports of progress.
const REPORT_EVERY: u64 = 1024;

/// A complete generation that is not current yet.
#[derive(Debug)]
#[must_use = "a generation that is not published is never read"]
pub(crate) struct Unpublished {
    pub(super) manifest: Manifest,
}

/// Where the newest frames of a picture are.
struct Live {
    put: Place,
    record: Place,
}

/// Builds everything from the committed part of the segments. Damaged records are left out; `verify`
/// lists them.
pub(crate) fn build(
    index: &Path,
    header: &Header,
    segments: &Segments,
    on: &mut dyn FnMut(Progress),
) -> Result<Unpublished> {
    build_with(index, header, segments, GRAPH_FROM, on)
}

/// [`build`] with another threshold for the graph.
pub(crate) fn build_with(
    index: &Path,
    header: &Header,
    segments: &Segments,
    graph_from: u64,
    on: &mut dyn FnMut(Progress),
) -> Result<Unpublished> {
    let newest = manifest::numbers(index)?.first().map_or(0, |id| id.0);
    let published = manifest::current(index)
        .ok()
        .flatten()
        .map_or(0, |current| current.id.0);
    let id = GenerationId(newest.max(published) + 1);
    let folder = manifest::folder(index, id);
    fs_err::create_dir_all(&folder)?;
    let built = write_all(index, id, header, segments, graph_from, on);
    if built.is_err() {
        // What is left would be collected as garbage later.
        let _ = fs_err::remove_dir_all(&folder);
    }
    built
}

fn write_all(
    index: &Path,
    id: GenerationId,
    header: &Header,
    segments: &Segments,
    graph_from: u64,
    on: &mut dyn FnMut(Progress),
) -> Result<Unpublished> {
    let folder = manifest::folder(index, id);
    let live = live_pictures(segments, on)?;
    let build = Build {
        generation: id.0,
        stamp: RandomState::new().hash_one(id.0),
        rows: live.len() as u64,
        dim: header.dim as u64,
    };
    let table = write_table(&folder, &build, segments, &live, on)?;
    let mut names: Vec<String> = FILES.map(|kind| kind.file_name().to_owned()).into();

    let mut graph_rows = 0;
    if build.rows >= graph_from && write_graph(&folder, &build, &table, on)? {
        graph_rows = build.rows;
        names.push(Kind::Graph.file_name().to_owned());
    }
    names.extend(write_words(&folder, &build, &table, on)?);

    let files = names
        .iter()
        .map(|name| ListedFile::of(&folder, name))
        .collect::<Result<_>>()?;
    let manifest = Manifest {
        id,
        layout: layout::FORMAT,
        stamp: build.stamp,
        model: header.model.id.clone(),
        dim: header.dim,
        rows: build.rows,
        covers: segments.end(),
        graph_rows,
        files,
    };
    sealed::write(&Disk, &manifest::path_of(index, id), &manifest)?;
    Disk.sync_folder(&manifest::generations(index))?;
    Disk.sync_folder(index)?;
    Ok(Unpublished { manifest })
}

/// Every picture that is in the index at the end of the segments, by id.
fn live_pictures(
    segments: &Segments,
    on: &mut dyn FnMut(Progress),
) -> Result<BTreeMap<ContentHash, Live>> {
    let mut live: BTreeMap<ContentHash, Live> = BTreeMap::new();
    for (frames, raw) in (0..).zip(segments.frames_since(Position::START)) {
        let stored = raw.and_then(|raw| Ok((raw.place, segments.decode(&raw)?)));
        let (place, stored) = match stored {
            Ok((place, Some(stored))) => (place, stored),
            Ok((_, None)) | Err(Error::Corrupt { .. }) => continue,
            Err(error) => return Err(error),
        };
        match stored {
            Stored::Put { record, .. } => {
                let now = Live {
                    put: place,
                    record: place,
                };
                live.insert(record.id, now);
            }
            Stored::Update(record) => {
                if let Some(live) = live.get_mut(&record.id) {
                    live.record = place;
                }
            }
            Stored::Remove(id) => {
                live.remove(&id);
            }
        }
        if frames % REPORT_EVERY == 0 {
            on(progress("segments", frames, frames));
        }
    }
    Ok(live)
}

fn write_table(
    folder: &Path,
    build: &Build,
    segments: &Segments,
    live: &BTreeMap<ContentHash, Live>,
    on: &mut dyn FnMut(Progress),
) -> Result<Table> {
    let mut files = Vec::new();
    for kind in FILES {
        let file = File::create(folder.join(kind.file_name()))?;
        files.push(BufWriter::with_capacity(1 << 20, file));
    }
    let files = files
        .try_into()
        .map_err(|_| io::Error::other("as many files as kinds"))?;
    let mut writer = TableWriter::new(build, files)?;
    for (row, (id, live)) in (0..).zip(live) {
        let (record, embedding) = read_picture(segments, live)?;
        if record.id != *id {
            let what = format!("byte {} holds {}, not {id}", live.record.offset, record.id);
            return Err(segments.damaged(live.record, what));
        }
        writer.push(&record, &embedding)?;
        if row % REPORT_EVERY == 0 {
            on(progress("vectors", row, build.rows));
        }
    }
    for file in writer.finish()? {
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
    }
    on(progress("vectors", build.rows, build.rows));
    open_table(folder, build)
}

fn read_picture(segments: &Segments, live: &Live) -> Result<(Record, Vec<f16>)> {
    let unexpected = |place: Place| {
        segments.damaged(
            place,
            format!("byte {} holds another kind of change", place.offset),
        )
    };
    let Some(Stored::Put { record, embedding }) = segments.decode(&segments.frame(live.put)?)?
    else {
        return Err(unexpected(live.put));
    };
    if live.record == live.put {
        return Ok((record, embedding));
    }
    match segments.decode(&segments.frame(live.record)?)? {
        Some(Stored::Update(record)) => Ok((record, embedding)),
        _ => Err(unexpected(live.record)),
    }
}

/// Maps the files of a table and checks their heads and lengths.
pub(super) fn open_table(folder: &Path, build: &Build) -> Result<Table> {
    let mut files = Vec::new();
    for kind in FILES {
        files.push(Bytes::map(&folder.join(kind.file_name()))?);
    }
    let files = files
        .try_into()
        .map_err(|_| io::Error::other("as many files as kinds"))?;
    Table::new(build, files, folder).map_err(|(kind, what)| Error::Corrupt {
        path: folder.join(kind.file_name()),
        what,
    })
}

/// False when no graph could be built: its rows are then compared exactly.
fn write_graph(
    folder: &Path,
    build: &Build,
    table: &Table,
    on: &mut dyn FnMut(Progress),
) -> Result<bool> {
    let graph = Built::new(&table.matrix(), &mut |done| {
        on(progress("graph", done as u64, build.rows));
    });
    let Some(graph) = graph else {
        return Ok(false);
    };
    let mut file = BufWriter::new(File::create(folder.join(Kind::Graph.file_name()))?);
    file.write_all(&build.head(Kind::Graph))?;
    graph.write(&mut file)?;
    let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok(true)
}

/// Gives the names of the files that a manifest must list.
fn write_words(
    folder: &Path,
    build: &Build,
    table: &Table,
    on: &mut dyn FnMut(Progress),
) -> Result<Vec<String>> {
    let words = folder.join(WORDS);
    fs_err::create_dir(&words)?;
    let records = (0..).zip(table.records()).map(|(row, record)| {
        if row % REPORT_EVERY == 0 {
            on(progress("words", row, build.rows));
        }
        record
    });
    Words::build(&words, records)?;
    let mut names = Vec::new();
    for entry in fs_err::read_dir(&words)? {
        let entry = entry?;
        let name = entry.file_name();
        let path = entry.path();
        // Locks and lists of garbage are of use to those who write only.
        if name.to_string_lossy().starts_with('.') {
            fs_err::remove_file(&path)?;
            continue;
        }
        File::open(&path)?.sync_all()?;
        names.push(format!("{WORDS}/{}", name.to_string_lossy()));
    }
    names.sort();
    Disk.sync_folder(&words)?;
    on(progress("words", build.rows, build.rows));
    Ok(names)
}

fn progress(stage: &'static str, done: u64, total: u64) -> Progress {
    Progress { stage, done, total }
}
