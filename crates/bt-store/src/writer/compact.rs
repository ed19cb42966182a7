//! Rewriting the segments without what is superseded.
//!
//! 1. the live records are written and committed to segments of the next epoch, under other names;
//! 2. these get their names, the folder is synced;
//! 3. a generation is built from them, unpublished;
//! 4. the list `segments/current` is replaced: from here on they count, and the old ones do not;
//! 5. the generation is published, the catalog is built anew;
//! 6. the old files are removed (readers that have them open keep them).
//!
//! A crash before step 4 leaves the old segments, one after it the new ones; what is left over of the
//! others is removed when a writer opens the index.

use std::collections::HashMap;
use std::sync::PoisonError;

use crate::catalog::{Entry, Step, read_step};
use crate::error::{Error, Result};
use crate::id::ContentHash;
use crate::progress::Progress;
use crate::segment::append::{self, Appender, Batch};
use crate::segment::{Position, Raw, Segments};
use crate::writer::Writer;

/// A commit of a compaction has about this size.
const COMMIT_BYTES: usize = 4 << 20;

impl Writer {
    /// Compacts; `build` makes what is derived from the new segments, and what it returns is given back
    /// once they count.
    pub(crate) fn rewrite<T>(
        &mut self,
        on: &mut dyn FnMut(Progress),
        build: impl FnOnce(&Segments, &mut dyn FnMut(Progress)) -> Result<T>,
    ) -> Result<T> {
        let catalog = self.catalog.get_mut();
        let catalog = catalog.unwrap_or_else(PoisonError::into_inner);
        let live: HashMap<ContentHash, Entry> =
            catalog.entries(&self.segments)?.into_iter().collect();
        let mut aside = self.appender.aside()?;
        write_live(&mut aside, &self.segments, &live, on)?;
        aside.name()?;
        let segments = Segments::open_files(&self.index, &self.header, aside.list().clone())?;
        let built = build(&segments, on)?;
        aside.switch()?;
        self.appender = aside;
        self.segments = segments;
        Ok(built)
    }

    /// What follows the switch to other segments.
    pub(crate) fn follow_rewrite(&mut self) -> Result<()> {
        let catalog = self.catalog.get_mut();
        let catalog = catalog.unwrap_or_else(PoisonError::into_inner);
        catalog.renew(&self.segments)?;
        append::remove_leftovers(&*self.storage, &self.index, self.appender.list())
    }
}

fn write_live(
    aside: &mut Appender,
    segments: &Segments,
    live: &HashMap<ContentHash, Entry>,
    on: &mut dyn FnMut(Progress),
) -> Result<()> {
    let mut progress = Progress {
        stage: "segments",
        done: 0,
        total: live.len() as u64,
    };
    let mut batch = aside.batch()?;
    for raw in segments.frames_since(Position::START) {
        let raw = match raw {
            Ok(raw) => raw,
            Err(Error::Corrupt { .. }) => continue,
            Err(error) => return Err(error),
        };
        // A picture is written where its vector stands, with its newest record.
        let entry = match read_step(&raw, segments) {
            Ok(Some(Step::Put(record))) => live.get(&record.id),
            Ok(_) | Err(Error::Corrupt { .. }) => continue,
            Err(error) => return Err(error),
        };
        let Some(entry) = entry.filter(|entry| entry.put == raw.place) else {
            continue;
        };
        let newest = newest_record(&raw, entry, segments)?;
        batch.put(newest.as_deref().unwrap_or(&raw.record), &raw.embedding);
        progress.done += 1;
        if batch.len() >= COMMIT_BYTES {
            commit(aside, batch)?;
            on(progress);
            batch = aside.batch()?;
        }
    }
    on(progress);
    // Empty when there are no pictures: the mark carries the number of the commit on.
    commit(aside, batch)
}

fn commit(aside: &mut Appender, batch: Batch) -> Result<()> {
    let staged = aside.stage(batch)?;
    aside.commit(staged)
}

/// The JSON of a picture's newest record where it is not that of its `Put`; a damaged one leaves the
/// older one.
fn newest_record(put: &Raw, entry: &Entry, segments: &Segments) -> Result<Option<Vec<u8>>> {
    if entry.record == put.place {
        return Ok(None);
    }
    let newest = segments
        .frame(entry.record)
        .and_then(|raw| Ok((read_step(&raw, segments)?, raw)));
    match newest {
        Ok((Some(Step::Update(_)), raw)) => Ok(Some(raw.record)),
        Ok(_) | Err(Error::Corrupt { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
