//! Tests of the writer that need a storage double or small segments; those of the public surface are in
//! the crate's `tests/`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use half::f16;

use crate::collection::{Header, ModelRef};
use crate::error::{Error, Result};
use crate::id::{ContentHash, ModelId};
use crate::record::{About, Change, Location, Record};
use crate::segment::{Position, Segments, Stored};
use crate::writer::Writer;

mod crash;
mod damage;
mod model;

pub(crate) const DIM: usize = 8;

/// A folder in memory where there is such a thing: what a power cut leaves is played by the double, so
/// the disk need not be waited for.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

pub(crate) fn header() -> Header {
    Header {
        model: ModelRef {
            spec: "mini".into(),
            fit: "reference".into(),
            id: ModelId("0011".into()),
        },
        rerank: None,
        dim: DIM,
        aligned_with_text: true,
    }
}

pub(crate) fn id(number: u64) -> ContentHash {
    ContentHash::of(&number.to_le_bytes())
}

/// A unit vector that belongs to a number.
pub(crate) fn embedding(number: u64) -> Vec<f32> {
    let raw: Vec<f32> = (0..DIM as u64)
        .map(|axis| (number.wrapping_mul(31) + axis * 7 + 1) as f32 % 97.0 + 1.0)
        .collect();
    let length = raw.iter().map(|value| value * value).sum::<f32>().sqrt();
    raw.iter().map(|value| value / length).collect()
}

pub(crate) fn record(picture: u64, paths: &[u64], caption: u64) -> Record {
    Record {
        id: id(picture),
        locations: paths
            .iter()
            .map(|path| Location {
                path: PathBuf::from(format!("/album/{path}.jpg")),
                size: picture * 1000 + caption,
                mtime_ns: -(caption as i64),
            })
            .collect(),
        about: About {
            width: 640,
            height: 480,
            format: "jpeg".into(),
            gps: Some((0.25 * picture as f64, caption as f64 / 8.0)),
            captions: vec![format!("caption {caption}")],
            ..About::default()
        },
    }
}

pub(crate) fn put(picture: u64, paths: &[u64], caption: u64) -> Change {
    Change::Put {
        record: record(picture, paths, caption),
        embedding: embedding(picture + caption),
    }
}

/// What an index should hold, by the rules of `Change`, written as plainly as can be.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Model(BTreeMap<ContentHash, (Record, Vec<f16>)>);

impl Model {
    pub(crate) fn apply(&mut self, changes: &[Change]) {
        for change in changes {
            let (record, vector) = match change {
                Change::Put { record, embedding } => (
                    record,
                    embedding.iter().map(|v| f16::from_f32(*v)).collect(),
                ),
                Change::Update(record) => (record, self.0[&record.id].1.clone()),
                Change::Remove(id) => {
                    self.0.remove(id);
                    continue;
                }
            };
            for (id, (other, _)) in &mut self.0 {
                if *id != record.id {
                    other.locations.retain(|location| {
                        record
                            .locations
                            .iter()
                            .all(|mine| mine.path != location.path)
                    });
                }
            }
            self.0.insert(record.id, (record.clone(), vector));
        }
    }

    pub(crate) fn has(&self, picture: u64) -> bool {
        self.0.contains_key(&id(picture))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// What the segments of an index say, and the damage met on the way.
pub(crate) fn truth(index: &Path) -> (Model, Vec<String>) {
    let segments = Segments::open(index).unwrap();
    let mut model = Model::default();
    let mut damage: Vec<String> = segments.warnings().iter().map(|w| w.to_string()).collect();
    for stored in segments.changes_since(Position::START) {
        match stored {
            Ok(Stored::Put { record, embedding }) => {
                model.0.insert(record.id, (record, embedding));
            }
            Ok(Stored::Update(record)) => {
                if let Some((known, _)) = model.0.get_mut(&record.id) {
                    *known = record;
                }
            }
            Ok(Stored::Remove(id)) => {
                model.0.remove(&id);
            }
            Err(error @ Error::Corrupt { .. }) => damage.push(error.to_string()),
            Err(error) => panic!("{error}"),
        }
    }
    (model, damage)
}

/// The writer's answers and the segments must both say what the model says.
pub(crate) fn assert_holds(writer: &Writer, index: &Path, model: &Model, context: &str) {
    let (found, damage) = truth(index);
    assert_eq!(damage, Vec::<String>::new(), "{context}");
    let differing: Vec<_> = (found
        .0
        .iter()
        .filter(|pair| model.0.get(pair.0) != Some(pair.1)))
    .chain(
        model
            .0
            .iter()
            .filter(|pair| found.0.get(pair.0) != Some(pair.1)),
    )
    .map(|(id, (record, _))| (id, &record.locations, &record.about.captions))
    .collect();
    assert!(
        differing.is_empty(),
        "{context}: truth and model differ in {differing:?}"
    );
    let mut expected = BTreeSet::new();
    for (id, (record, _)) in &model.0 {
        assert_eq!(writer.get(id).unwrap().as_ref(), Some(record), "{context}");
        for location in &record.locations {
            let seen = writer.at_path(&location.path).unwrap();
            assert_eq!(seen, Some((*id, location.clone())), "{context}");
            expected.insert((location.path.clone(), *id));
        }
    }
    let paths: BTreeSet<_> = writer.paths().unwrap().into_iter().collect();
    assert_eq!(paths, expected, "{context}");
    let stats = writer.stats().unwrap();
    assert_eq!(stats.pictures, model.len() as u64, "{context}");
    assert_eq!(stats.locations, expected.len() as u64, "{context}");
}

/// A small generator of pseudo-random numbers (SplitMix64), so that a seed replays a test.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// A compaction that derives nothing.
pub(crate) fn compact(writer: &mut Writer) -> Result<()> {
    writer.rewrite(&mut |_| {}, |_, _| Ok(()))?;
    writer.follow_rewrite()
}
