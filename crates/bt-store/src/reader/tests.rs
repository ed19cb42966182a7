//! An index for the tests of readers, and the plain walk that they are compared with.

mod answers;
mod beside;
mod damage;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::*;
use crate::collection::ModelRef;
use crate::generation::{self, build_with};
use crate::id::ModelId;
use crate::record::{About, Change, Location};
use crate::scan::tests::{Random, clustered, unit};
use crate::verify::verify;
use crate::writer::Writer;

const DIM: usize = 24;

fn header() -> Header {
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

fn record(number: u64) -> Record {
    let folder = ["Lisbon", "pets", "2019"][number as usize % 3];
    Record {
        id: ContentHash::of(&number.to_le_bytes()),
        locations: vec![Location {
            path: format!("/photos/{folder}/IMG_{number}.jpg").into(),
            size: 1000 + number,
            mtime_ns: 0,
        }],
        about: About {
            width: 100,
            height: 100,
            format: "jpeg".into(),
            taken: Some(number as i64),
            captions: vec![format!("picture of thing{number} and more")],
            ..About::default()
        },
    }
}

fn put(number: u64) -> Change {
    Change::Put {
        record: record(number),
        embedding: Random(number + 1).unit(DIM),
    }
}

fn quiet() -> impl FnMut(crate::progress::Progress) {
    |_| ()
}

struct Index {
    folder: tempfile::TempDir,
    writer: Writer,
}

impl Index {
    fn new(pictures: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = Writer::create_or_open(folder.path(), &header()).unwrap();
        writer
            .commit(&(0..pictures).map(put).collect::<Vec<_>>())
            .unwrap();
        Self { folder, writer }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn publish(&mut self) -> GenerationId {
        self.writer.publish(&mut quiet()).unwrap()
    }

    fn open(&self) -> Reader {
        Reader::open(self.path()).unwrap()
    }

    fn generation(&self, id: GenerationId) -> PathBuf {
        self.path().join(format!("generations/{:06}", id.0))
    }
}

/// The reader must answer every kind of question as a plain walk through the records does.
fn assert_holds(reader: &Reader, pictures: &BTreeMap<ContentHash, (Record, Vec<f32>)>) {
    assert_eq!(reader.facts().pictures, pictures.len() as u64);
    let ids: Vec<ContentHash> = pictures.keys().copied().collect();
    let everything = Filter::everything();
    assert_eq!(reader.scan(&everything, None, usize::MAX).unwrap(), ids);
    let records = reader.fetch(&ids).unwrap();
    let vectors = reader.embeddings(&ids).unwrap();
    for ((record, vector), (found, found_vector)) in
        pictures.values().zip(records.iter().zip(&vectors))
    {
        assert_eq!(found.as_ref(), Some(record));
        let off = found_vector
            .as_ref()
            .unwrap()
            .iter()
            .zip(vector)
            .map(|(a, b)| (a - b).abs());
        assert!(off.fold(0.0, f32::max) < 1e-3);
    }
    let filters = [
        everything,
        Filter::InFolder("/photos/pets".into()),
        Filter::TakenFrom(40),
        Filter::All(vec![
            Filter::TakenBefore(90),
            Filter::Not(Box::new(Filter::InFolder("/photos/2019".into()))),
        ]),
        Filter::Any(vec![]),
    ];
    for filter in &filters {
        let allowed: Vec<&ContentHash> = pictures
            .iter()
            .filter(|(_, (record, _))| filter.allows(record))
            .map(|(id, _)| id)
            .collect();
        assert_eq!(reader.count(filter).unwrap(), allowed.len() as u64);
        assert!(
            reader
                .scan(filter, None, usize::MAX)
                .unwrap()
                .iter()
                .eq(allowed.iter().copied())
        );
        let mut random = Random(3);
        for n in [0, 1, 7, 1000] {
            let query = random.unit(DIM);
            let mut wanted: Vec<(f32, ContentHash)> = allowed
                .iter()
                .map(|id| {
                    let vector = &pictures[*id].1;
                    (vector.iter().zip(&query).map(|(a, b)| a * b).sum(), **id)
                })
                .collect();
            wanted.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            wanted.truncate(n);
            let found = reader
                .nearest(&query, filter, n, Walk::Graph { ef_search: 50 })
                .unwrap();
            assert_eq!(found.hits.len(), wanted.len());
            for (hit, (score, _)) in found.hits.iter().zip(&wanted) {
                assert!((hit.score - score).abs() < 2e-3);
                assert!(allowed.contains(&&hit.id));
            }
            let words = reader.by_words("thing and picture", filter, n).unwrap();
            assert_eq!(words.len(), wanted.len());
            assert!(words.iter().all(|hit| allowed.contains(&&hit.id)));
        }
    }
    for (id, (record, _)) in pictures.iter().take(20) {
        let prefix = &id.to_string()[..9];
        assert_eq!(
            reader.with_id_prefix(&prefix.to_uppercase(), 5).unwrap(),
            [*id]
        );
        let name = record.locations[0]
            .path
            .file_name()
            .unwrap()
            .to_string_lossy();
        assert_eq!(
            reader.by_words(&name, &Filter::everything(), 3).unwrap()[0].id,
            *id
        );
    }
}

fn apply(pictures: &mut BTreeMap<ContentHash, (Record, Vec<f32>)>, changes: &[Change]) {
    for change in changes {
        match change.clone() {
            Change::Put { record, embedding } => {
                pictures.insert(record.id, (record, embedding));
            }
            Change::Update(record) => {
                let id = record.id;
                pictures.get_mut(&id).unwrap().0 = record;
            }
            Change::Remove(id) => {
                pictures.remove(&id);
            }
        }
    }
}

fn updated(number: u64, caption: &str) -> Change {
    let mut record = record(number);
    record.about.captions.push(caption.into());
    record.about.taken = Some(41);
    Change::Update(record)
}

/// `verify` needs the lock.
fn verify_beside(index: &mut Index) -> Vec<crate::verify::Finding> {
    let path = index.path().to_owned();
    let other = tempfile::tempdir().unwrap();
    let spare = Writer::create_or_open(other.path(), &header()).unwrap();
    drop(std::mem::replace(&mut index.writer, spare));
    let findings = verify(&path).unwrap();
    index.writer = Writer::open(&path).unwrap();
    findings
}
