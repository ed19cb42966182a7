//! Finding things fast: content hash to places in segments, path to picture. Derived from the segments.
//!
//! Kept in sled, whose 0.34 is known not to open after some kills and full disks. So nothing lives only
//! here: a catalog that fails in any way, or that does not agree with the segments about the last
//! commit, is set aside and built anew from them; one that lags takes in what it has missed. A commit
//! does not wait for it to reach the disk.
//!
//! Keys and values are in `tables`, what a change does to them in `changes`, how sled is handled in
//! `guard`.

use std::path::{Path, PathBuf};
use std::thread;

use crate::error::{Error, Result};
use crate::id::ContentHash;
use crate::path;
use crate::record::Location;
use crate::segment::{Committed, Place, Position, Segments};

mod changes;
mod guard;
mod tables;

use changes::Changes;
pub(crate) use changes::{Step, read_step};
use guard::{Broken, MOMENT, PATIENCE, guarded, open_sled};
pub(crate) use tables::{Dump, Entry, Seen, State};
use tables::{STATE, all_entries, all_paths, bad_value, read_entry, read_path, state_value};

/// Frames taken in at once while catching up, at least.
const CATCH_UP_FRAMES: usize = 4096;

/// The catalog of one index, open for its writer.
#[derive(Debug)]
pub(crate) struct Catalog {
    index: PathBuf,
    /// `None` only while one is set aside and the next is not open yet.
    db: Option<sled::Db>,
    state: State,
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
