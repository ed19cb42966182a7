//! What is known already: the store's writer, and the pictures that are on their way into it, seen by
//! every stage.
//!
//! Two files with the same bytes may be read at the same moment. The first thread to claim a content
//! hash decodes the picture; the others only report a further place of it.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bt_store::{Change, ContentHash, Location, Record, Result, Writer};

/// Shared between the stages; only the commit stage writes.
#[derive(Debug)]
pub(crate) struct Ledger<'w> {
    writer: Mutex<&'w mut Writer>,
    claims: Mutex<Claims>,
}

#[derive(Debug, Default)]
struct Claims {
    on_their_way: HashSet<ContentHash>,
    failed: HashMap<ContentHash, String>,
}

/// Answer to a thread that holds a picture's bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Nobody else has it: decode it.
    Yours,
    /// It is recorded, or somebody else is at it.
    Known,
    /// The same bytes failed a moment ago, for this reason.
    Failed(String),
}

impl<'w> Ledger<'w> {
    pub(crate) fn new(writer: &'w mut Writer) -> Self {
        Self {
            writer: Mutex::new(writer),
            claims: Mutex::default(),
        }
    }

    /// Asks for a content hash.
    pub(crate) fn claim(&self, id: &ContentHash) -> Result<Claim> {
        let mut claims = self.claims();
        if claims.on_their_way.contains(id) {
            return Ok(Claim::Known);
        }
        if let Some(reason) = claims.failed.get(id) {
            return Ok(Claim::Failed(reason.clone()));
        }
        if known(&self.writer(), id)?.is_some() {
            return Ok(Claim::Known);
        }
        claims.on_their_way.insert(*id);
        Ok(Claim::Yours)
    }

    /// The picture that was last seen at a path, if size and time are still the same.
    pub(crate) fn unchanged(&self, found: &Location) -> Result<Option<Record>> {
        let writer = self.writer();
        match writer.at_path(&found.path)? {
            Some((id, location)) if location == *found => known(&writer, &id),
            _ => Ok(None),
        }
    }

    pub(crate) fn at_path(&self, path: &Path) -> Result<Option<ContentHash>> {
        Ok(self.writer().at_path(path)?.map(|(id, _)| id))
    }

    pub(crate) fn get(&self, id: &ContentHash) -> Result<Option<Record>> {
        known(&self.writer(), id)
    }

    /// Makes changes durable; from then on the store answers for these pictures.
    pub(crate) fn commit(&self, changes: &[Change]) -> Result<()> {
        self.writer().commit(changes)?;
        let mut claims = self.claims();
        for change in changes {
            if let Change::Put { record, .. } = change {
                claims.on_their_way.remove(&record.id);
            }
        }
        Ok(())
    }

    /// Gives a claim up for good.
    pub(crate) fn fail(&self, id: ContentHash, reason: &str) {
        let mut claims = self.claims();
        claims.on_their_way.remove(&id);
        claims.failed.insert(id, reason.to_owned());
    }

    /// Why a claim was given up, if it was.
    pub(crate) fn failure(&self, id: &ContentHash) -> Option<String> {
        self.claims().failed.get(id).cloned()
    }

    pub(crate) fn with_writer<T>(&self, action: impl FnOnce(&mut Writer) -> T) -> T {
        action(&mut self.writer())
    }

    /// A stage that panicked held the writer for reading only: what the lock guards is whole. (A failed
    /// commit is remembered by the writer itself.)
    fn writer(&self) -> MutexGuard<'_, &'w mut Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn claims(&self) -> MutexGuard<'_, Claims> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A record that cannot be read is as good as none: its picture is embedded anew, and the new record replaces it.
fn known(writer: &Writer, id: &ContentHash) -> Result<Option<Record>> {
    match writer.get(id) {
        Err(bt_store::Error::Corrupt { .. }) => Ok(None),
        known => known,
    }
}
