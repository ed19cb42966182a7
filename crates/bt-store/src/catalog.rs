//! Finding things fast: content hash to places in segments, path to picture. Derived from the segments.
//!
//! Kept in sled, whose 0.34 is known not to open after some kills and full disks. So nothing lives only
//! here: a catalog that fails in any way, or that does not agree with the segments about the last
//! commit, is set aside and built anew from them; one that lags takes in what it has missed. It is never
//! synced: that could only slow commits down.
//!
//! ```text
//! key                     value
//! 'h' content hash        place of the last put (segment, offset), place of the newest record, then
//!                         for each location: length of the path, path
//! 'p' path                content hash, size, modification time
//! 's'                     version, commit taken in (segment, offset, number, checksum), then the numbers
//!                         of pictures, locations, and frames in the segments
//! ```
//! Numbers are little-endian, of 8 bytes (version, checksum and lengths: 4).

use std::collections::HashMap;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::id::ContentHash;
use crate::path;
use crate::record::{Location, Record};
use crate::segment::format::FrameKind;
use crate::segment::{Committed, Place, Position, Raw, Segments};

const VERSION: u32 = 1;
const STATE: &[u8] = b"s";
/// sled's cache; above what a hundred thousand pictures need.
const CACHE_BYTES: u64 = 64 << 20;
/// How often, and how long each time, sled's threads are waited for.
const PATIENCE: u32 = 400;
const MOMENT: Duration = Duration::from_millis(5);
/// Frames taken in at once while catching up, at least.
const CATCH_UP_FRAMES: usize = 4096;

/// What the catalog has taken in, and what that adds up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// The last commit taken in; `None` before the first.
    pub(crate) committed: Option<Committed>,
    /// Pictures in the index.
    pub(crate) pictures: u64,
    /// Paths in the index.
    pub(crate) locations: u64,
    /// Records and removals in the segments, superseded ones included.
    pub(crate) frames: u64,
}

/// A picture's places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The frame with its vector.
    pub(crate) put: Place,
    /// The frame with its newest record.
    pub(crate) record: Place,
    /// Its paths, as keys.
    pub(crate) paths: Vec<Vec<u8>>,
}

/// What is known of a path: the picture seen there, the file's size and modification time.
pub(crate) type Seen = (ContentHash, u64, i64);

/// All of a catalog.
#[derive(Debug)]
pub(crate) struct Dump {
    /// By id.
    pub(crate) entries: Vec<(ContentHash, Entry)>,
    /// By path, as keys.
    pub(crate) paths: Vec<(Vec<u8>, Seen)>,
}

/// A change that stands in a segment.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A picture, with its vector at the same place.
    Put(Record),
    /// A newer record.
    Update(Record),
    /// A picture that is gone.
    Remove(ContentHash),
}

/// The catalog of one index, open for its writer.
#[derive(Debug)]
pub(crate) struct Catalog {
    index: PathBuf,
    /// `None` only while one is set aside and the next is not open yet.
    db: Option<sled::Db>,
    state: State,
}

/// Why sled's answer cannot be used.
#[derive(Debug)]
struct Broken {
    why: String,
    /// Set when the operating system refused something.
    io: Option<io::ErrorKind>,
}

impl Broken {
    fn new(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            io: None,
        }
    }

    /// The error of a catalog that cannot be built either.
    fn into_error(self, index: &Path) -> Error {
        let path = folder(index);
        match self.io {
            Some(kind) => Error::Io(io::Error::new(
                kind,
                format!(
                    "cannot write the catalog `{}`: {}",
                    path.display(),
                    self.why
                ),
            )),
            None => Error::Corrupt {
                path,
                what: format!("a new catalog could not be built: {}", self.why),
            },
        }
    }
}

impl From<sled::Error> for Broken {
    fn from(error: sled::Error) -> Self {
        let io = match &error {
            sled::Error::Io(cause) => Some(cause.kind()),
            _ => None,
        };
        Self {
            why: error.to_string(),
            io,
        }
    }
}

/// The folder of an index's catalog.
pub(crate) fn folder(index: &Path) -> PathBuf {
    index.join("catalog")
}

impl Catalog {
    /// Opens the catalog and brings it to where the segments are. Says what it had to mend.
    pub(crate) fn open(index: &Path, segments: &Segments) -> Result<(Self, Option<String>)> {
        let mut catalog = Self {
            index: index.to_owned(),
            db: None,
            state: State::default(),
        };
        let there = folder(index).exists();
        let opened = catalog.open_db().and_then(|()| catalog.agrees(segments));
        let why = match opened {
            Ok(()) => match catalog.catch_up(segments) {
                Ok(()) => return Ok((catalog, None)),
                Err(Failure::Catalog(broken)) => broken.why,
                Err(Failure::Truth(error)) => return Err(error),
            },
            Err(broken) => broken.why,
        };
        catalog.rebuild(segments)?;
        let said = there.then(|| {
            format!(
                "the catalog in `{}` could not be used ({why}); it was built anew from the segments, and nothing is lost",
                folder(index).display()
            )
        });
        Ok((catalog, said))
    }

    /// Opens what is there for a check, without mending anything.
    pub(crate) fn inspect(index: &Path) -> Result<Self, String> {
        let mut catalog = Self {
            index: index.to_owned(),
            db: None,
            state: State::default(),
        };
        let opened = catalog.open_db();
        opened.map(|()| catalog).map_err(|broken| broken.why)
    }

    /// Everything in it, in order of keys.
    pub(crate) fn dump(&self) -> Result<Dump, String> {
        guarded(|| {
            let db = self.db()?;
            Ok(Dump {
                entries: all_entries(db)?,
                paths: all_paths(db)?,
            })
        })
        .map_err(|broken| broken.why)
    }

    /// Builds the catalog anew after all segments were replaced.
    pub(crate) fn renew(&mut self, segments: &Segments) -> Result<()> {
        self.close();
        fs_err::remove_dir_all(folder(&self.index))?;
        self.build(segments)
    }

    /// Sets the catalog aside and builds it anew from the segments.
    pub(crate) fn rebuild(&mut self, segments: &Segments) -> Result<()> {
        self.set_aside()?;
        self.build(segments)
    }

    fn build(&mut self, segments: &Segments) -> Result<()> {
        let broken = |broken: Broken| broken.into_error(&self.index);
        let mut fresh = Self {
            index: self.index.clone(),
            db: None,
            state: State::default(),
        };
        fresh.open_db().map_err(broken)?;
        fresh.catch_up(segments).map_err(|failure| match failure {
            Failure::Catalog(what) => broken(what),
            Failure::Truth(error) => error,
        })?;
        self.db = fresh.db.take();
        self.state = fresh.state;
        Ok(())
    }

    /// What has been taken in.
    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// The picture last seen at a path.
    pub(crate) fn at_path(
        &mut self,
        path: &Path,
        segments: &Segments,
    ) -> Result<Option<(ContentHash, Location)>> {
        let key = path::to_key(path);
        let found = self.ask(segments, |db| read_path(db, &key))?;
        Ok(found.map(|(id, size, mtime_ns)| {
            let location = Location {
                path: path.to_owned(),
                size,
                mtime_ns,
            };
            (id, location)
        }))
    }

    /// Where a picture's record and vector are.
    pub(crate) fn entry(&mut self, id: &ContentHash, segments: &Segments) -> Result<Option<Entry>> {
        self.ask(segments, |db| read_entry(db, id))
    }

    /// Every path in the order of its bytes, with its picture.
    pub(crate) fn paths(&mut self, segments: &Segments) -> Result<Vec<(PathBuf, ContentHash)>> {
        let paths = self.ask(segments, all_paths)?;
        Ok(paths
            .into_iter()
            .map(|(key, (id, ..))| (path::from_key(&key), id))
            .collect())
    }

    /// Every picture in the order of ids.
    pub(crate) fn entries(&mut self, segments: &Segments) -> Result<Vec<(ContentHash, Entry)>> {
        self.ask(segments, all_entries)
    }

    /// Takes in a commit that the segments hold already.
    pub(crate) fn apply(
        &mut self,
        committed: Committed,
        steps: Vec<(Place, Step)>,
        segments: &Segments,
    ) -> Result<()> {
        match self.take_in(committed, steps) {
            Ok(()) => Ok(()),
            // The segments have this commit too.
            Err(_) => self.rebuild(segments),
        }
    }

    /// Writes what is buffered, so that the next opening has little to catch up with.
    pub(crate) fn flush(&mut self, segments: &Segments) -> Result<()> {
        self.ask(segments, |db| {
            db.flush()?;
            Ok(())
        })
    }

    /// A question to sled; when it fails, the catalog is built anew and asked again.
    fn ask<T>(
        &mut self,
        segments: &Segments,
        question: impl Fn(&sled::Db) -> Result<T, Broken>,
    ) -> Result<T> {
        if let Ok(answer) = guarded(|| question(self.db()?)) {
            return Ok(answer);
        }
        self.rebuild(segments)?;
        guarded(|| question(self.db()?)).map_err(|broken| broken.into_error(&self.index))
    }

    fn db(&self) -> Result<&sled::Db, Broken> {
        self.db
            .as_ref()
            .ok_or_else(|| Broken::new("it is not open"))
    }

    fn open_db(&mut self) -> Result<(), Broken> {
        let folder = folder(&self.index);
        let (db, state) = guarded(|| {
            let db = open_sled(&folder)?;
            let state = match db.get(STATE)? {
                Some(value) => state_value(&value).ok_or_else(bad_value)?,
                None if db.is_empty() => State::default(),
                None => return Err(Broken::new("it does not say what it has taken in")),
            };
            Ok((db, state))
        })?;
        self.db = Some(db);
        self.state = state;
        Ok(())
    }

    /// Whether the last commit taken in is one that the segments have.
    fn agrees(&self, segments: &Segments) -> Result<(), Broken> {
        let Some(committed) = self.state.committed else {
            return Ok(());
        };
        match segments.committed_at(committed.end) {
            Ok(Some(found)) if found == committed => Ok(()),
            Ok(_) => Err(Broken::new(format!(
                "its last commit, {}, is not in the segments, whose last is {}",
                committed.sequence,
                segments.committed().sequence
            ))),
            Err(error) => Err(Broken::new(error.to_string())),
        }
    }

    /// Why the last commit taken in is not one that the segments have.
    pub(crate) fn disagrees(&self, segments: &Segments) -> Option<String> {
        self.agrees(segments).err().map(|broken| broken.why)
    }

    /// Takes in every commit that it has not seen.
    fn catch_up(&mut self, segments: &Segments) -> Result<(), Failure> {
        let target = segments.committed();
        if self.state.committed == Some(target) || target.sequence == 0 {
            return Ok(());
        }
        let from = self
            .state
            .committed
            .map_or(Position::START, |seen| seen.end);
        let mut steps = Vec::new();
        for raw in segments.frames_since(from) {
            let read = raw.and_then(|raw| {
                let step = read_step(&raw, segments)?;
                Ok((raw.place, step, raw.committed()))
            });
            let step = match read {
                Ok((place, Some(step), _)) => (place, step),
                Ok((_, None, seen)) => {
                    // A mark: what came before it is complete.
                    if let Some(committed) = seen
                        && steps.len() >= CATCH_UP_FRAMES
                    {
                        self.take_in(committed, std::mem::take(&mut steps))
                            .map_err(Failure::Catalog)?;
                    }
                    continue;
                }
                // Named by `verify`, and by whoever reads it; what follows is sound.
                Err(Error::Corrupt { .. }) => continue,
                Err(error) => return Err(Failure::Truth(error)),
            };
            steps.push(step);
        }
        self.take_in(target, steps).map_err(Failure::Catalog)
    }

    /// Applies steps and their commit as one: after a crash both are there or neither.
    fn take_in(&mut self, committed: Committed, steps: Vec<(Place, Step)>) -> Result<(), Broken> {
        let state = guarded(|| {
            let mut changes = Changes::new(self.db()?, self.state);
            for (place, step) in steps {
                changes.step(place, step)?;
            }
            changes.state.committed = Some(committed);
            let state = changes.state;
            self.db()?.apply_batch(changes.into_batch())?;
            Ok(state)
        })?;
        self.state = state;
        Ok(())
    }

    /// Gives the folder another name, in the place of one set aside before.
    fn set_aside(&mut self) -> Result<()> {
        self.close();
        let catalog = folder(&self.index);
        if !catalog.exists() {
            return Ok(());
        }
        let mut newest = 0;
        for entry in fs_err::read_dir(&self.index)? {
            let path = entry?.path();
            let number = path
                .file_name()
                .and_then(|name| name.to_str()?.strip_prefix("catalog.broken-")?.parse().ok());
            if let Some(number) = number {
                newest = newest.max(number);
                fs_err::remove_dir_all(&path)?;
            }
        }
        let aside = self
            .index
            .join(format!("catalog.broken-{}", newest + 1_u64));
        Ok(fs_err::rename(&catalog, aside)?)
    }

    /// Closes the catalog, whatever state it is in, and waits until its files are let go of: sled's
    /// threads end a little after it is dropped, and must not meet a new catalog at the same place.
    fn close(&mut self) {
        let Some(db) = self.db.take() else {
            return;
        };
        // A broken sled may panic once more while it closes; there is nothing to lose.
        let _closed = guarded(|| {
            drop(db);
            Ok(())
        });
        let Ok(file) = fs_err::File::open(folder(&self.index).join("db")) else {
            return;
        };
        for _ in 0..PATIENCE {
            if file.try_lock().is_ok() {
                return;
            }
            thread::sleep(MOMENT);
        }
    }
}

impl Drop for Catalog {
    fn drop(&mut self) {
        self.close();
    }
}

enum Failure {
    Catalog(Broken),
    Truth(Error),
}

/// A frame's change; `None` for a mark.
pub(crate) fn read_step(raw: &Raw, segments: &Segments) -> Result<Option<Step>> {
    Ok(match raw.kind {
        FrameKind::Put => Some(Step::Put(segments.record(raw)?)),
        FrameKind::Update => Some(Step::Update(segments.record(raw)?)),
        FrameKind::Remove => Some(Step::Remove(segments.removed(raw)?)),
        FrameKind::Mark => None,
    })
}

/// Changes to the catalog, each seeing those before it.
struct Changes<'a> {
    db: &'a sled::Db,
    state: State,
    entries: HashMap<ContentHash, Option<Entry>>,
    paths: HashMap<Vec<u8>, Option<Seen>>,
}

impl<'a> Changes<'a> {
    fn new(db: &'a sled::Db, state: State) -> Self {
        Self {
            db,
            state,
            entries: HashMap::new(),
            paths: HashMap::new(),
        }
    }

    fn step(&mut self, place: Place, step: Step) -> Result<(), Broken> {
        self.state.frames += 1;
        match step {
            Step::Put(record) => {
                let before = self.entry(&record.id)?;
                self.replace(before, record, place, place)
            }
            Step::Update(record) => match self.entry(&record.id)? {
                Some(before) => {
                    let put = before.put;
                    self.replace(Some(before), record, put, place)
                }
                // Its `Put` is damaged: a record without a vector is no picture.
                None => Ok(()),
            },
            Step::Remove(id) => {
                if let Some(before) = self.entry(&id)? {
                    self.leave(&id, &before)?;
                    self.state.pictures = self.state.pictures.saturating_sub(1);
                    self.entries.insert(id, None);
                }
                Ok(())
            }
        }
    }

    fn replace(
        &mut self,
        before: Option<Entry>,
        record: Record,
        put: Place,
        newest: Place,
    ) -> Result<(), Broken> {
        match &before {
            Some(before) => self.leave(&record.id, before)?,
            None => self.state.pictures += 1,
        }
        let mut paths = Vec::with_capacity(record.locations.len());
        for location in record.locations {
            let key = path::to_key(&location.path);
            if self.owner(&key)?.is_none() {
                self.state.locations += 1;
            }
            let value = (record.id, location.size, location.mtime_ns);
            self.paths.insert(key.clone(), Some(value));
            paths.push(key);
        }
        let entry = Entry {
            put,
            record: newest,
            paths,
        };
        self.entries.insert(record.id, Some(entry));
        Ok(())
    }

    /// Gives up the paths of a picture that are still its own.
    fn leave(&mut self, id: &ContentHash, entry: &Entry) -> Result<(), Broken> {
        for key in &entry.paths {
            if self.owner(key)? == Some(*id) {
                self.state.locations = self.state.locations.saturating_sub(1);
                self.paths.insert(key.clone(), None);
            }
        }
        Ok(())
    }

    fn entry(&self, id: &ContentHash) -> Result<Option<Entry>, Broken> {
        match self.entries.get(id) {
            Some(entry) => Ok(entry.clone()),
            None => read_entry(self.db, id),
        }
    }

    fn owner(&self, key: &[u8]) -> Result<Option<ContentHash>, Broken> {
        let found = match self.paths.get(key) {
            Some(found) => *found,
            None => read_path(self.db, key)?,
        };
        Ok(found.map(|(id, ..)| id))
    }

    fn into_batch(self) -> sled::Batch {
        let mut batch = sled::Batch::default();
        for (id, entry) in self.entries {
            match entry {
                Some(entry) => batch.insert(entry_key(&id), entry_bytes(&entry)),
                None => batch.remove(entry_key(&id)),
            }
        }
        for (key, value) in self.paths {
            match value {
                Some(value) => batch.insert(path_key(&key), path_bytes(value)),
                None => batch.remove(path_key(&key)),
            }
        }
        batch.insert(STATE, state_bytes(self.state));
        batch
    }
}

/// Opens sled. One that was closed a moment ago in this process may still hold its own lock; no other
/// process can, for the writer's lock is held.
fn open_sled(folder: &Path) -> Result<sled::Db, Broken> {
    let mut tries = 0;
    loop {
        let opened = sled::Config::new()
            .path(folder)
            .cache_capacity(CACHE_BYTES)
            .mode(sled::Mode::HighThroughput)
            .flush_every_ms(None)
            .open();
        tries += 1;
        match opened {
            Err(error)
                if tries < PATIENCE && error.to_string().contains("could not acquire lock") =>
            {
                thread::sleep(MOMENT);
            }
            opened => return Ok(opened?),
        }
    }
}

/// Runs sled, whose panics on damaged files are failures like others.
fn guarded<T>(run: impl FnOnce() -> Result<T, Broken>) -> Result<T, Broken> {
    panic::catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let said = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned()));
        Err(Broken::new(
            said.unwrap_or_else(|| "sled panicked".to_owned()),
        ))
    })
}

fn bad_value() -> Broken {
    Broken::new("it holds a value that was never written")
}

fn all_entries(db: &sled::Db) -> Result<Vec<(ContentHash, Entry)>, Broken> {
    db.scan_prefix(b"h")
        .map(|pair| {
            let (key, value) = pair?;
            let id = key.get(1..).and_then(|id| id.try_into().ok());
            let id = ContentHash(id.ok_or_else(bad_value)?);
            Ok((id, entry_value(&value).ok_or_else(bad_value)?))
        })
        .collect()
}

fn all_paths(db: &sled::Db) -> Result<Vec<(Vec<u8>, Seen)>, Broken> {
    db.scan_prefix(b"p")
        .map(|pair| {
            let (key, value) = pair?;
            let path = key.get(1..).unwrap_or_default().to_vec();
            Ok((path, path_value(&value).ok_or_else(bad_value)?))
        })
        .collect()
}

fn read_entry(db: &sled::Db, id: &ContentHash) -> Result<Option<Entry>, Broken> {
    db.get(entry_key(id))?
        .map(|value| entry_value(&value).ok_or_else(bad_value))
        .transpose()
}

fn read_path(db: &sled::Db, key: &[u8]) -> Result<Option<Seen>, Broken> {
    db.get(path_key(key))?
        .map(|value| path_value(&value).ok_or_else(bad_value))
        .transpose()
}

fn entry_key(id: &ContentHash) -> Vec<u8> {
    [b"h", &id.0[..]].concat()
}

fn path_key(key: &[u8]) -> Vec<u8> {
    [b"p", key].concat()
}

fn entry_bytes(entry: &Entry) -> Vec<u8> {
    let mut bytes = Vec::new();
    for place in [entry.put, entry.record] {
        bytes.extend_from_slice(&place.segment.to_le_bytes());
        bytes.extend_from_slice(&place.offset.to_le_bytes());
    }
    for path in &entry.paths {
        bytes.extend_from_slice(&(path.len() as u32).to_le_bytes());
        bytes.extend_from_slice(path);
    }
    bytes
}

fn entry_value(bytes: &[u8]) -> Option<Entry> {
    let mut take = Take(bytes);
    let put = take.place()?;
    let record = take.place()?;
    let mut paths = Vec::new();
    while !take.0.is_empty() {
        let len = take.u32()? as usize;
        paths.push(take.bytes(len)?.to_vec());
    }
    Some(Entry { put, record, paths })
}

fn path_bytes((id, size, mtime_ns): Seen) -> Vec<u8> {
    [&id.0[..], &size.to_le_bytes(), &mtime_ns.to_le_bytes()].concat()
}

fn path_value(bytes: &[u8]) -> Option<Seen> {
    let mut take = Take(bytes);
    let id = take.bytes(32)?.try_into().ok()?;
    let size = take.u64()?;
    let mtime_ns = take.u64()?.cast_signed();
    take.0
        .is_empty()
        .then_some((ContentHash(id), size, mtime_ns))
}

fn state_bytes(state: State) -> Vec<u8> {
    let committed = state.committed.unwrap_or(Committed {
        end: Position::START,
        sequence: 0,
        checksum: 0,
    });
    let mut bytes = VERSION.to_le_bytes().to_vec();
    bytes.extend_from_slice(&committed.checksum.to_le_bytes());
    for number in [
        committed.end.segment,
        committed.end.offset,
        committed.sequence,
        state.pictures,
        state.locations,
        state.frames,
    ] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes
}

fn state_value(bytes: &[u8]) -> Option<State> {
    let mut take = Take(bytes);
    if take.u32()? != VERSION {
        return None;
    }
    let checksum = take.u32()?;
    let end = Position {
        segment: take.u64()?,
        offset: take.u64()?,
    };
    let committed = Committed {
        end,
        sequence: take.u64()?,
        checksum,
    };
    let state = State {
        committed: (committed.sequence > 0).then_some(committed),
        pictures: take.u64()?,
        locations: take.u64()?,
        frames: take.u64()?,
    };
    take.0.is_empty().then_some(state)
}

/// Reads fields off the front of a value.
struct Take<'a>(&'a [u8]);

impl<'a> Take<'a> {
    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.bytes(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.bytes(8)?.try_into().ok()?))
    }

    fn place(&mut self) -> Option<Place> {
        Some(Place {
            segment: self.u64()?,
            offset: self.u64()?,
        })
    }
}
