//! From the changes that a caller asks for to the frames that a commit is made of: checked, and with
//! what follows from them (a path that moves to another picture leaves the one that had it).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use crate::catalog::{Catalog, Step};
use crate::error::{Error, Result};
use crate::id::ContentHash;
use crate::path;
use crate::record::{Change, Record};
use crate::segment::append::Batch;
use crate::segment::format::{MAX_RECORD_BYTES, embedding_to_bytes};
use crate::segment::{Place, Segments};

/// How far from 1 an embedding's length may be.
const UNIT_TOLERANCE: f32 = 1e-3;

/// A commit that is being put together; sees the index as it will be after the changes so far.
pub(crate) struct Stage<'a> {
    catalog: &'a mut Catalog,
    segments: &'a Segments,
    dim: usize,
    batch: Batch,
    steps: Vec<(Place, Step)>,
    records: HashMap<ContentHash, Option<Record>>,
    owners: HashMap<PathBuf, Option<ContentHash>>,
}

impl<'a> Stage<'a> {
    pub(crate) fn new(
        catalog: &'a mut Catalog,
        segments: &'a Segments,
        dim: usize,
        batch: Batch,
    ) -> Self {
        Self {
            catalog,
            segments,
            dim,
            batch,
            steps: Vec::new(),
            records: HashMap::new(),
            owners: HashMap::new(),
        }
    }

    /// The frames, and what they say.
    pub(crate) fn finish(self) -> (Batch, Vec<(Place, Step)>) {
        (self.batch, self.steps)
    }

    /// Adds a change.
    pub(crate) fn add(&mut self, change: &Change) -> Result<()> {
        match change {
            Change::Put { record, embedding } => {
                check_embedding(&record.id, embedding, self.dim)?;
                let record = tidy(record);
                let json = encode(&record)?;
                self.claim(&record)?;
                let place = self.batch.put(&json, &embedding_to_bytes(embedding));
                self.steps.push((place, Step::Put(record.clone())));
                self.now(record)
            }
            Change::Update(record) => {
                let record = tidy(record);
                let json = encode(&record)?;
                match self.record(&record.id) {
                    Ok(Some(before)) if before == record => return Ok(()),
                    // A damaged record is replaced by the sound one.
                    Ok(Some(_)) | Err(Error::Corrupt { .. }) => {}
                    Ok(None) => {
                        return Err(Error::BadChange {
                            id: record.id,
                            what: "an update of a picture that is not in the index".into(),
                        });
                    }
                    Err(error) => return Err(error),
                }
                self.claim(&record)?;
                self.push_update(&json, record)
            }
            Change::Remove(id) => {
                let paths = match self.paths(id)? {
                    Some(paths) => paths,
                    None => return Ok(()),
                };
                for path in paths {
                    self.leave(id, path)?;
                }
                let place = self.batch.remove(*id);
                self.steps.push((place, Step::Remove(*id)));
                self.records.insert(*id, None);
                Ok(())
            }
        }
    }

    /// Takes a record's paths away from other pictures that have them.
    fn claim(&mut self, record: &Record) -> Result<()> {
        let mut losers: BTreeMap<ContentHash, HashSet<&Path>> = BTreeMap::new();
        for location in &record.locations {
            if let Some(owner) = self.owner(&location.path)?
                && owner != record.id
            {
                losers.entry(owner).or_default().insert(&location.path);
            }
        }
        for (id, lost) in losers {
            let mut loser = match self.record(&id) {
                Ok(Some(loser)) => loser,
                // A record that cannot be read gives nothing up: nobody reads it.
                Ok(None) | Err(Error::Corrupt { .. }) => continue,
                Err(error) => return Err(error),
            };
            loser
                .locations
                .retain(|location| !lost.contains(location.path.as_path()));
            let json = encode(&loser)?;
            self.push_update(&json, loser)?;
        }
        Ok(())
    }

    fn push_update(&mut self, json: &[u8], record: Record) -> Result<()> {
        let place = self.batch.update(json);
        self.steps.push((place, Step::Update(record.clone())));
        self.now(record)
    }

    /// Remembers a record as it will be.
    fn now(&mut self, record: Record) -> Result<()> {
        for path in self.paths(&record.id)?.unwrap_or_default() {
            self.leave(&record.id, path)?;
        }
        for location in &record.locations {
            self.owners.insert(location.path.clone(), Some(record.id));
        }
        self.records.insert(record.id, Some(record));
        Ok(())
    }

    fn leave(&mut self, id: &ContentHash, path: PathBuf) -> Result<()> {
        if self.owner(&path)? == Some(*id) {
            self.owners.insert(path, None);
        }
        Ok(())
    }

    fn owner(&mut self, path: &Path) -> Result<Option<ContentHash>> {
        match self.owners.get(path) {
            Some(owner) => Ok(*owner),
            None => Ok(self.catalog.at_path(path, self.segments)?.map(|(id, _)| id)),
        }
    }

    /// A picture's paths, known even when its record is damaged; `None` when there is no such picture.
    fn paths(&mut self, id: &ContentHash) -> Result<Option<Vec<PathBuf>>> {
        if let Some(record) = self.records.get(id) {
            return Ok(record.as_ref().map(|record| {
                let paths = record.locations.iter();
                paths.map(|location| location.path.clone()).collect()
            }));
        }
        let entry = self.catalog.entry(id, self.segments)?;
        Ok(entry.map(|entry| entry.paths.iter().map(|key| path::from_key(key)).collect()))
    }

    fn record(&mut self, id: &ContentHash) -> Result<Option<Record>> {
        match self.records.get(id) {
            Some(record) => Ok(record.clone()),
            None => read_record(self.catalog, self.segments, id),
        }
    }
}

/// The newest record of a picture.
pub(crate) fn read_record(
    catalog: &mut Catalog,
    segments: &Segments,
    id: &ContentHash,
) -> Result<Option<Record>> {
    let Some(entry) = catalog.entry(id, segments)? else {
        return Ok(None);
    };
    let record = segments.record(&segments.frame(entry.record)?)?;
    if record.id != *id {
        let what = format!("byte {} holds {}, not {id}", entry.record.offset, record.id);
        return Err(segments.damaged(entry.record, what));
    }
    Ok(Some(record))
}

/// A record as it is stored: each path once (the last one said), and degrees to seven decimals (a
/// centimetre; so many survive JSON exactly), none where one is not a number.
fn tidy(record: &Record) -> Record {
    let mut record = record.clone();
    let mut seen = HashSet::new();
    record.locations.reverse();
    record
        .locations
        .retain(|location| seen.insert(location.path.clone()));
    record.locations.reverse();
    record.about.gps = record
        .about
        .gps
        .filter(|(latitude, longitude)| latitude.is_finite() && longitude.is_finite())
        .map(|(latitude, longitude)| {
            let round = |degrees: f64| (degrees * 1e7).round() / 1e7;
            (round(latitude), round(longitude))
        });
    record
}

fn encode(record: &Record) -> Result<Vec<u8>> {
    let refused = |what: String| Error::BadChange {
        id: record.id,
        what,
    };
    let json = serde_json::to_vec(record).map_err(|error| refused(error.to_string()))?;
    if json.len() > MAX_RECORD_BYTES {
        return Err(refused(format!(
            "its description has {} bytes, at most {MAX_RECORD_BYTES} are kept",
            json.len()
        )));
    }
    Ok(json)
}

fn check_embedding(id: &ContentHash, embedding: &[f32], dim: usize) -> Result<()> {
    let bad = |what: String| Err(Error::BadVector(format!("that of {id} {what}")));
    if embedding.len() != dim {
        return bad(format!(
            "has {} values, the index has {dim}",
            embedding.len()
        ));
    }
    if embedding.iter().any(|value| !value.is_finite()) {
        return bad("has a value that is not a number".into());
    }
    let length = embedding
        .iter()
        .map(|value| value * value)
        .sum::<f32>()
        .sqrt();
    if (length - 1.0).abs() > UNIT_TOLERANCE {
        return bad(format!("has length {length}, expected 1"));
    }
    Ok(())
}
