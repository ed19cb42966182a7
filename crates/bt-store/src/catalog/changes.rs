//! What a change does to the catalog.

use std::collections::HashMap;

use super::guard::Broken;
use super::tables::{
    Entry, STATE, Seen, State, entry_bytes, entry_key, path_bytes, path_key, read_entry, read_path,
    state_bytes,
};
use crate::error::Result;
use crate::id::ContentHash;
use crate::path;
use crate::record::Record;
use crate::segment::format::FrameKind;
use crate::segment::{Place, Raw, Segments};

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
pub(super) struct Changes<'a> {
    db: &'a sled::Db,
    pub(super) state: State,
    entries: HashMap<ContentHash, Option<Entry>>,
    paths: HashMap<Vec<u8>, Option<Seen>>,
}

impl<'a> Changes<'a> {
    pub(super) fn new(db: &'a sled::Db, state: State) -> Self {
        Self {
            db,
            state,
            entries: HashMap::new(),
            paths: HashMap::new(),
        }
    }

    pub(super) fn step(&mut self, place: Place, step: Step) -> Result<(), Broken> {
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

    pub(super) fn into_batch(self) -> sled::Batch {
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
