//! The one writer: append, commit, publish.
//!
//! What a commit does, step by step (a crash before step 4 is done leaves the index as it was, one after
//! it leaves the commit):
//!
//! 1. the frames of the batch are appended to the newest segment,
//! 2. and synced;
//! 3. the mark of the commit is appended,
//! 4. and synced: the commit is in the index;
//! 5. the catalog follows, unsynced, for it can be built from the segments.
//!
//! When a segment is full, a new one begins before step 1: its head is written and synced, its name is
//! synced, and the list `segments/current` is replaced. After any failure on the way the writer answers
//! [`Error::Reopen`] until it is opened again, for only the disk knows what reached it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::catalog::{self, Catalog};
use crate::collection::{Header, ModelRef};
use crate::dot::MAX_DIM;
use crate::error::{Error, Kind, Result};
use crate::folder::bytes_below;
use crate::generation;
use crate::header;
use crate::id::{ContentHash, GenerationId};
use crate::lock::Lock;
use crate::progress::Progress;
use crate::record::{Change, Location, Record};
use crate::segment::append::{self, Appender, ROLL_BYTES};
use crate::segment::format::FrameKind;
use crate::segment::{Position, Segments};
use crate::stage::{Stage, read_record};
use crate::storage::{Disk, Storage};

mod compact;

/// A generation is due when so many changes came after the last one, or a twentieth of the pictures,
/// whichever is more: until then they are searched exactly beside it.
const DUE_AFTER: u64 = 1_000;

/// Sizes of an index.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Stats {
    /// Pictures that can be found.
    pub pictures: u64,
    /// Files that hold them (duplicates counted).
    pub locations: u64,
    /// Records in segments that later ones supersede.
    pub superseded: u64,
    /// Bytes of segments.
    pub truth_bytes: u64,
    /// Bytes of catalog and generations.
    pub derived_bytes: u64,
    /// Newest published generation.
    pub generation: Option<GenerationId>,
    /// Changes committed after it.
    pub unpublished: u64,
}

/// Holds the writer's lock on an index folder.
#[derive(Debug)]
pub struct Writer {
    index: PathBuf,
    header: Header,
    storage: Arc<dyn Storage>,
    segments: Segments,
    appender: Appender,
    catalog: Mutex<Catalog>,
    /// Changes after the newest generation.
    unpublished: u64,
    failed: Option<String>,
    warnings: Vec<String>,
    /// Last, so that it is let go of when all else is closed.
    _lock: Lock,
}

impl Writer {
    /// Opens the index, making it when the folder holds none.
    ///
    /// # Errors
    /// `OtherModel` when it was made with another header, `Locked` when another process writes.
    pub fn create_or_open(index: &Path, header: &Header) -> Result<Self> {
        Self::create_or_open_on(Arc::new(Disk), index, header, ROLL_BYTES)
    }

    /// Opens an index that exists.
    ///
    /// # Errors
    /// `NoIndex`, `Locked` when another process writes, `NewerFormat`, and `Corrupt` when not even the segments can
    /// be read.
    pub fn open(index: &Path) -> Result<Self> {
        Self::open_on(Arc::new(Disk), index, ROLL_BYTES)
    }

    pub(crate) fn create_or_open_on(
        storage: Arc<dyn Storage>,
        index: &Path,
        header: &Header,
        roll_bytes: u64,
    ) -> Result<Self> {
        if header.dim == 0 || header.dim > MAX_DIM {
            return Err(Error::BadVector(format!(
                "{} values a vector, between 1 and {MAX_DIM} can be kept",
                header.dim
            )));
        }
        storage.create_folder(index)?;
        let lock = Lock::take(index)?;
        match header::read_header(index) {
            Ok(found) if same(&found, header) => {}
            Ok(found) => {
                return Err(Error::OtherModel {
                    path: index.to_owned(),
                    made_with: describe(&found, header),
                    asked: describe(header, &found),
                });
            }
            Err(Error::NoIndex(_)) => {
                Appender::create(&*storage, index, header)?;
                header::write_header(&*storage, index, header)?;
            }
            Err(error) => return Err(error),
        }
        Self::open_locked(storage, index, lock, roll_bytes)
    }

    fn open_on(storage: Arc<dyn Storage>, index: &Path, roll_bytes: u64) -> Result<Self> {
        // Before the lock, so that nothing is made in a folder that holds no index.
        header::read_header(index)?;
        let lock = Lock::take(index)?;
        Self::open_locked(storage, index, lock, roll_bytes)
    }

    fn open_locked(
        storage: Arc<dyn Storage>,
        index: &Path,
        lock: Lock,
        roll_bytes: u64,
    ) -> Result<Self> {
        let header = header::read_header(index)?;
        let mut segments = Segments::open(index)?;
        let mut warnings: Vec<String> = segments
            .warnings()
            .iter()
            .map(ToString::to_string)
            .collect();
        if let Some(damage) = header::check(index)? {
            warnings.push(damage.to_string());
            header::write_header(&*storage, index, &header)?;
        }
        segments.mend_list(&*storage)?;
        let appender =
            Appender::resume(Arc::clone(&storage), index, &header, &segments, roll_bytes)?;
        segments.follow(appender.list(), appender.committed())?;
        append::remove_leftovers(&*storage, index, appender.list())?;
        let (catalog, mended) = Catalog::open(index, &segments)?;
        warnings.extend(mended);
        let mut writer = Self {
            index: index.to_owned(),
            header,
            storage,
            segments,
            appender,
            catalog: Mutex::new(catalog),
            unpublished: 0,
            failed: None,
            warnings,
            _lock: lock,
        };
        writer.unpublished = writer.count_unpublished()?;
        Ok(writer)
    }

    /// How the index was made.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What was found damaged on opening and worked around, for the user to read.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Makes all changes durable, or none: when this returns `Ok`, they survive a power cut.
    ///
    /// A path belongs to one picture: one that a record names is taken away from the picture that had it.
    ///
    /// # Errors
    /// `BadVector` and `BadChange` when a change cannot be stored: then none of them is, and the writer
    /// goes on. After any other error it answers `Reopen` until it is opened again.
    pub fn commit(&mut self, changes: &[Change]) -> Result<()> {
        self.careful(|writer| {
            let batch = writer.appender.batch()?;
            let catalog = writer.catalog.get_mut();
            let catalog = catalog.unwrap_or_else(PoisonError::into_inner);
            let mut stage = Stage::new(catalog, &writer.segments, writer.header.dim, batch);
            for change in changes {
                stage.add(change)?;
            }
            let (batch, steps) = stage.finish();
            if batch.is_empty() {
                return Ok(());
            }
            let staged = writer.appender.stage(batch)?;
            writer.appender.commit(staged)?;
            let committed = writer.appender.committed();
            writer.segments.follow(writer.appender.list(), committed)?;
            writer.unpublished += steps.len() as u64;
            catalog.apply(committed, steps, &writer.segments)
        })
    }

    /// Builds everything derived in a new generation and makes it current; returns the current one when
    /// nothing was committed since.
    ///
    /// # Errors
    /// Those of reading the segments and of writing the new files. After any of them the writer answers `Reopen`
    /// until it is opened again; the generation before stays current.
    pub fn publish(&mut self, on: &mut dyn FnMut(Progress)) -> Result<GenerationId> {
        self.careful(|writer| {
            if let Some((id, covers)) = writer.generation()?
                && covers == writer.segments.end()
            {
                return Ok(id);
            }
            writer.build(on)
        })
    }

    /// Publishes when it is worth it: there is no generation yet, or more than a thousand changes and a
    /// twentieth of the pictures came after it.
    ///
    /// # Errors
    /// As [`Writer::publish`].
    pub fn publish_if_due(&mut self, on: &mut dyn FnMut(Progress)) -> Result<Option<GenerationId>> {
        self.careful(|writer| {
            let state = writer.catalog().state();
            let due = match writer.generation()? {
                None => state.pictures > 0,
                Some(_) => writer.unpublished > DUE_AFTER.max(state.pictures / 20),
            };
            due.then(|| writer.build(on)).transpose()
        })
    }

    /// Rewrites the segments without superseded records, then publishes. Records that are damaged stay
    /// behind: their pictures are indexed again by the next run.
    ///
    /// # Errors
    /// As [`Writer::publish`]; the old segments or the new ones count, whole.
    pub fn compact(&mut self, on: &mut dyn FnMut(Progress)) -> Result<GenerationId> {
        self.careful(|writer| {
            let index = writer.index.clone();
            let header = writer.header.clone();
            let built = writer.rewrite(on, |segments, on| {
                generation::build(&index, &header, segments, on)
            })?;
            let id = writer.make_current(built)?;
            writer.follow_rewrite()?;
            Ok(id)
        })
    }

    /// The picture that was last seen at a path.
    ///
    /// # Errors
    /// `Reopen` after an earlier failure; what is wrong when the catalog can neither be read nor built anew.
    pub fn at_path(&self, path: &Path) -> Result<Option<(ContentHash, Location)>> {
        self.usable()?;
        self.catalog().at_path(path, &self.segments)
    }

    /// A live record.
    ///
    /// # Errors
    /// `Corrupt` when the record is damaged; else as [`Writer::at_path`].
    pub fn get(&self, id: &ContentHash) -> Result<Option<Record>> {
        self.usable()?;
        read_record(&mut self.catalog(), &self.segments, id)
    }

    /// Every known path, in order.
    ///
    /// # Errors
    /// As [`Writer::at_path`].
    pub fn paths(&self) -> Result<Vec<(PathBuf, ContentHash)>> {
        self.usable()?;
        self.catalog().paths(&self.segments)
    }

    /// Pictures that have no place any more, in the order of ids: what stood at their last one was found
    /// to be something else, and the run that found it did not come to its end.
    ///
    /// # Errors
    /// As [`Writer::at_path`].
    pub fn homeless(&self) -> Result<Vec<ContentHash>> {
        self.usable()?;
        let entries = self.catalog().entries(&self.segments)?;
        let homeless = entries
            .into_iter()
            .filter(|(_, entry)| entry.paths.is_empty());
        Ok(homeless.map(|(id, _)| id).collect())
    }

    /// Sizes.
    ///
    /// # Errors
    /// `Reopen` after an earlier failure; `Io` when the current generation cannot be looked at.
    pub fn stats(&self) -> Result<Stats> {
        self.usable()?;
        let state = self.catalog().state();
        Ok(Stats {
            pictures: state.pictures,
            locations: state.locations,
            superseded: state.frames.saturating_sub(state.pictures),
            truth_bytes: self.segments.bytes(),
            derived_bytes: bytes_below(&catalog::folder(&self.index))
                + bytes_below(&self.index.join("generations")),
            generation: self.generation()?.map(|(id, _)| id),
            unpublished: self.unpublished,
        })
    }

    /// Runs a step that writes; a failure that leaves the disk's state unknown closes the writer.
    pub(crate) fn careful<T>(&mut self, step: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.usable()?;
        let result = step(self);
        if let Err(error) = &result
            && error.kind() != Kind::Usage
        {
            self.failed = Some(error.to_string());
        }
        result
    }

    fn usable(&self) -> Result<()> {
        match &self.failed {
            None => Ok(()),
            Some(cause) => Err(Error::Reopen {
                cause: cause.clone(),
            }),
        }
    }

    fn catalog(&self) -> MutexGuard<'_, Catalog> {
        self.catalog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The current generation and what it covers; none when a file of it is lost or cut, or when it is of another
    /// history or layout, for it can be built anew.
    fn generation(&self) -> Result<Option<(GenerationId, Position)>> {
        match generation::current(&self.index) {
            Ok(Some(manifest)) => {
                let is_there =
                    self.segments.continues(manifest.covers) && manifest.is_there(&self.index)?;
                Ok(is_there.then_some((manifest.id, manifest.covers)))
            }
            Ok(None) | Err(Error::Corrupt { .. } | Error::NewerFormat { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn count_unpublished(&self) -> Result<u64> {
        let Some((_, covers)) = self.generation()? else {
            return Ok(self.catalog().state().frames);
        };
        let mut count = 0;
        for raw in self.segments.frames_since(covers) {
            match raw {
                Ok(raw) if raw.kind != FrameKind::Mark => count += 1,
                Ok(_) | Err(Error::Corrupt { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(count)
    }

    fn build(&mut self, on: &mut dyn FnMut(Progress)) -> Result<GenerationId> {
        let built = generation::build(&self.index, &self.header, &self.segments, on)?;
        let id = self.make_current(built)?;
        let catalog = self.catalog.get_mut();
        let catalog = catalog.unwrap_or_else(PoisonError::into_inner);
        catalog.flush(&self.segments)?;
        Ok(id)
    }

    fn make_current(&mut self, built: generation::Unpublished) -> Result<GenerationId> {
        let id = generation::publish(&self.index, built)?;
        self.unpublished = 0;
        generation::collect_garbage(&self.index)?;
        Ok(id)
    }
}

/// Whether two headers make comparable vectors; what the user calls a model does not matter.
fn same(one: &Header, other: &Header) -> bool {
    let ids = |header: &Header| {
        (
            header.model.id.clone(),
            header.rerank.as_ref().map(|model| model.id.clone()),
            header.dim,
            header.aligned_with_text,
        )
    };
    ids(one) == ids(other)
}

/// The models of a header in words that tell it from another one.
fn describe(header: &Header, other: &Header) -> String {
    let name = |model: &ModelRef, beside: &ModelRef| {
        if (&model.spec, &model.fit) != (&beside.spec, &beside.fit) {
            format!("`{}` (--fit {})", model.spec, model.fit)
        } else {
            format!("`{}` (fingerprint {})", model.spec, model.id)
        }
    };
    let embeds = name(&header.model, &other.model);
    match &header.rerank {
        Some(rerank) => format!("{embeds} and `{}` to rerank", rerank.spec),
        None => embeds,
    }
}
