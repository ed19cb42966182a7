//! Checks every checksum, and that what is derived says what the truth says.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use crate::catalog::{self, Catalog, Entry, Seen, Step, read_step};
use crate::error::{Error, Result};
use crate::header;
use crate::id::ContentHash;
use crate::lock::Lock;
use crate::path;
use crate::segment::format::FrameKind;
use crate::segment::{Place, Position, Raw, Segments};

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// The file.
    #[serde(with = "crate::path")]
    pub path: PathBuf,
    /// What is wrong with it.
    pub what: String,
    /// False when a record is lost; true when it is only something that can be built anew.
    pub derived: bool,
}

impl Finding {
    fn new(error: Error, derived: bool) -> Result<Self> {
        match error {
            Error::Corrupt { path, what } => Ok(Self {
                path,
                what,
                derived,
            }),
            error => Err(error),
        }
    }
}

/// Reads everything; an empty list means that every byte is as written and derived equals truth.
///
/// # Errors
/// `Locked` while a writer has the index: only its catalog cannot be read meanwhile, but a check that
/// leaves something out is none.
pub fn verify(index: &Path) -> Result<Vec<Finding>> {
    header::read_header(index)?;
    let _lock = Lock::take(index)?;
    let mut findings = Vec::new();
    if let Some(error) = header::check(index)? {
        findings.push(Finding::new(error, true)?);
    }
    let segments = Segments::open(index)?;
    for warning in segments.warnings() {
        // Heads and list repeat what is known; a file that is missing is found again below.
        let (path, what) = match warning {
            Error::Corrupt { path, what } => (path.clone(), what.clone()),
            other => (index.to_owned(), other.to_string()),
        };
        findings.push(Finding {
            path,
            what,
            derived: true,
        });
    }
    let truth = check_segments(&segments, &mut findings)?;
    check_catalog(index, &segments, &truth, &mut findings)?;
    findings.extend(crate::generation::verify(index)?);
    Ok(findings)
}

/// What the segments say, replayed without the catalog's code.
#[derive(Default)]
struct Truth {
    entries: BTreeMap<ContentHash, Entry>,
    paths: BTreeMap<Vec<u8>, Seen>,
    frames: u64,
}

impl Truth {
    fn take_in(&mut self, place: Place, step: Step) {
        self.frames += 1;
        let (record, put) = match step {
            Step::Remove(id) => {
                if let Some(entry) = self.entries.remove(&id) {
                    self.give_up(id, &entry);
                }
                return;
            }
            Step::Put(record) => (record, Some(place)),
            Step::Update(record) => (record, None),
        };
        let before = self.entries.remove(&record.id);
        let Some(put) = put.or(before.as_ref().map(|entry| entry.put)) else {
            return;
        };
        if let Some(before) = before {
            self.give_up(record.id, &before);
        }
        let mut paths = Vec::new();
        for location in &record.locations {
            let key = path::to_key(&location.path);
            let value = (record.id, location.size, location.mtime_ns);
            self.paths.insert(key.clone(), value);
            paths.push(key);
        }
        let entry = Entry {
            put,
            record: place,
            paths,
        };
        self.entries.insert(record.id, entry);
    }

    fn give_up(&mut self, id: ContentHash, entry: &Entry) {
        for key in &entry.paths {
            if self.paths.get(key).is_some_and(|(owner, ..)| *owner == id) {
                self.paths.remove(key);
            }
        }
    }
}

/// Reads every frame, and compares each mark with the batch before it.
fn check_segments(segments: &Segments, findings: &mut Vec<Finding>) -> Result<Truth> {
    let mut truth = Truth::default();
    let mut frames_since_mark = 0;
    for raw in segments.frames_since(Position::START) {
        let raw = match raw {
            Ok(raw) => raw,
            Err(error) => {
                findings.push(Finding::new(error, false)?);
                continue;
            }
        };
        if raw.kind == FrameKind::Mark {
            if let Some(what) = check_mark(&raw, frames_since_mark, segments)? {
                findings.push(Finding::new(segments.damaged(raw.place, what), false)?);
            }
            frames_since_mark = 0;
            continue;
        }
        frames_since_mark += 1;
        // Decoded as readers do, so that what they would stumble over is found.
        match segments
            .decode(&raw)
            .and_then(|_| read_step(&raw, segments))
        {
            Ok(Some(step)) => truth.take_in(raw.place, step),
            Ok(None) => {}
            Err(error) => findings.push(Finding::new(error, false)?),
        }
    }
    if segments.torn_mark().is_some() {
        let end = segments.end();
        let place = Place {
            segment: end.segment,
            offset: end.offset,
        };
        let what = "one of the two marks of the last commit is missing or damaged".into();
        findings.push(Finding::new(segments.damaged(place, what), true)?);
    }
    Ok(truth)
}

/// What is wrong with the batch that a mark seals, if anything. The second copy of a mark follows no
/// frames, and says what the first one says.
fn check_mark(raw: &Raw, frames: u32, segments: &Segments) -> Result<Option<String>> {
    let Some(mark) = raw.mark() else {
        return Ok(Some(format!(
            "the mark at byte {} cannot be read",
            raw.place.offset
        )));
    };
    let batch = Place {
        segment: raw.place.segment,
        offset: mark.start,
    };
    let second = raw.place.offset != mark.start + mark.len;
    if second {
        return Ok(None);
    }
    let bytes = segments.stretch(batch, mark.len)?;
    if frames != mark.frames || crc32fast::hash(&bytes) != mark.checksum {
        return Ok(Some(format!(
            "commit {} at bytes {} to {} is not what was committed",
            mark.sequence,
            mark.start,
            mark.start + mark.len
        )));
    }
    Ok(None)
}

/// Compares the catalog with the truth. That it lags is no damage; that it is ahead means that the end
/// of the segments is lost.
fn check_catalog(
    index: &Path,
    segments: &Segments,
    truth: &Truth,
    findings: &mut Vec<Finding>,
) -> Result<()> {
    let folder = catalog::folder(index);
    let mut found = |what: String, derived: bool| {
        findings.push(Finding {
            path: folder.clone(),
            what,
            derived,
        });
    };
    if !folder.exists() {
        found(
            "the catalog is missing; the next run builds it".into(),
            true,
        );
        return Ok(());
    }
    let (catalog, dump) = match Catalog::inspect(index).and_then(|catalog| {
        let dump = catalog.dump()?;
        Ok((catalog, dump))
    }) {
        Ok(opened) => opened,
        Err(what) => {
            found(what, true);
            return Ok(());
        }
    };
    let state = catalog.state();
    let committed = segments.committed();
    if let Some(what) = catalog.disagrees(segments) {
        let ahead = state
            .committed
            .is_some_and(|seen| seen.sequence > committed.sequence);
        found(what, !ahead);
        return Ok(());
    }
    if state.committed.is_some_and(|seen| seen != committed) {
        // Behind: what it has missed is taken in by the next run.
        return Ok(());
    }
    let entries: HashMap<ContentHash, Entry> = dump.entries.into_iter().collect();
    let differing = truth
        .entries
        .iter()
        .filter(|(id, entry)| entries.get(*id) != Some(*entry))
        .count()
        + entries
            .keys()
            .filter(|id| !truth.entries.contains_key(*id))
            .count();
    if differing > 0 {
        found(
            format!("the catalog differs from the segments in {differing} pictures"),
            true,
        );
    }
    let paths: BTreeMap<Vec<u8>, Seen> = dump.paths.into_iter().collect();
    if paths != truth.paths {
        found(
            "the catalog differs from the segments in its paths".into(),
            true,
        );
    }
    let counts = (
        truth.entries.len() as u64,
        truth.paths.len() as u64,
        truth.frames,
    );
    if (state.pictures, state.locations, state.frames) != counts {
        found(
            "the catalog differs from the segments in its sums".into(),
            true,
        );
    }
    Ok(())
}
