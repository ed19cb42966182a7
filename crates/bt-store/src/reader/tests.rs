//! Readers beside a writer: what they find, what they do about damage, and that they never mix states.

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

#[test]
fn an_index_without_a_generation_is_searched_from_the_segments() {
    let index = Index::new(100);
    let mut pictures = BTreeMap::new();
    apply(&mut pictures, &(0..100).map(put).collect::<Vec<_>>());
    let reader = index.open();
    assert_eq!(reader.facts().generation, None);
    assert_eq!(reader.facts().tail_rows, 100);
    assert!(reader.facts().warnings.is_empty());
    assert_holds(&reader, &pictures);
    assert!(reader.newer().unwrap().is_none());
}

#[test]
fn an_empty_index_answers_with_nothing() {
    let mut index = Index::new(0);
    for _ in 0..2 {
        let reader = index.open();
        assert_holds(&reader, &BTreeMap::new());
        index.publish();
    }
}

#[test]
fn what_was_committed_after_a_generation_overrides_it() {
    let mut index = Index::new(150);
    let mut pictures = BTreeMap::new();
    apply(&mut pictures, &(0..150).map(put).collect::<Vec<_>>());
    let first = index.publish();
    let reader = index.open();
    assert_eq!(reader.facts().generation, Some(first));
    assert_eq!(reader.facts().tail_rows, 0);
    assert_holds(&reader, &pictures);

    let again = Change::Put {
        record: record(5),
        embedding: Random(999).unit(DIM),
    };
    let changes = [
        Change::Remove(record(0).id),
        updated(1, "a giraffe"),
        put(200),
        put(201),
        again,
        updated(2, "gone soon"),
        Change::Remove(record(2).id),
        updated(200, "a zebra"),
        Change::Remove(record(3).id),
        put(3),
    ];
    index.writer.commit(&changes).unwrap();
    let before = pictures.clone();
    apply(&mut pictures, &changes);
    let newer = reader.newer().unwrap().unwrap();
    assert_eq!(newer.facts().tail_rows, 5);
    assert_holds(&newer, &pictures);
    assert_holds(&reader, &before);
    let all = Filter::everything();
    assert_eq!(
        newer.by_words("giraffes", &all, 3).unwrap()[0].id,
        record(1).id
    );
    assert_eq!(
        newer.by_words("zebra", &all, 3).unwrap()[0].id,
        record(200).id
    );
    assert!(newer.newer().unwrap().is_none());

    let second = index.publish();
    assert!(second > first);
    let third = newer.newer().unwrap().unwrap();
    assert_eq!(third.facts().tail_rows, 0);
    assert_eq!(third.facts().generation, Some(second));
    assert_holds(&third, &pictures);
    assert_holds(&newer, &pictures);
    assert_eq!(verify_beside(&mut index), []);
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

#[test]
fn pages_follow_one_another_without_gap_or_overlap() {
    let mut index = Index::new(90);
    index.publish();
    index
        .writer
        .commit(&(90..130).map(put).collect::<Vec<_>>())
        .unwrap();
    let reader = index.open();
    let all = reader
        .scan(&Filter::everything(), None, usize::MAX)
        .unwrap();
    assert_eq!(all.len(), 130);
    let (mut paged, mut after) = (Vec::new(), None);
    loop {
        let page = reader.scan(&Filter::everything(), after, 7).unwrap();
        let Some(last) = page.last() else { break };
        after = Some(*last);
        paged.extend(page);
    }
    assert_eq!(paged, all);
    // After an id that is not there.
    let mut between = all[10];
    between.0[31] ^= 1;
    assert_eq!(
        reader
            .scan(&Filter::everything(), Some(between), 1)
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn a_prefix_that_is_no_number_finds_nothing() {
    let index = Index::new(20);
    let reader = index.open();
    for prefix in ["g", "0x", "é", &"0".repeat(65), " ", "-1"] {
        assert!(
            reader.with_id_prefix(prefix, 5).unwrap().is_empty(),
            "{prefix}"
        );
    }
    assert_eq!(reader.with_id_prefix("", 5).unwrap().len(), 5);
    assert_eq!(reader.with_id_prefix("", 50).unwrap().len(), 20);
}

#[test]
fn a_query_that_does_not_fit_is_the_callers_fault() {
    let index = Index::new(5);
    let reader = index.open();
    for query in [vec![1.0; DIM - 1], vec![f32::NAN; DIM], vec![0.0; DIM]] {
        let error = reader
            .nearest(&query, &Filter::everything(), 3, Walk::Exact)
            .unwrap_err();
        assert_eq!(error.kind(), crate::Kind::Usage);
    }
}

/// Every file of a generation, flipped at several places, cut at several lengths, emptied, removed: the
/// file is named, what can be answered is answered rightly, nothing panics.
#[test]
fn damage_of_any_derived_file_is_named_and_worked_around() {
    let mut index = Index::new(120);
    index.publish();
    let changes: Vec<Change> = (120..140).map(put).collect();
    index.writer.commit(&changes).unwrap();
    let current = index.publish();
    let mut pictures = BTreeMap::new();
    apply(&mut pictures, &(0..140).map(put).collect::<Vec<_>>());

    let folder = index.generation(current);
    let mut files: Vec<PathBuf> = Vec::new();
    for place in [
        folder.clone(),
        folder.join("words"),
        index.path().join("generations"),
    ] {
        let entries = fs_err::read_dir(place)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        files.extend(entries.filter(|path| path.is_file()));
    }
    assert!(files.len() >= 12);
    for file in &files {
        let sound = fs_err::read(file).unwrap();
        let len = sound.len();
        let mut damages: Vec<Option<Vec<u8>>> = vec![None, Some(Vec::new())];
        for at in [0, 9, len / 3, len / 2, len - 1] {
            let mut flipped = sound.clone();
            flipped[at] ^= 0x10;
            damages.push(Some(flipped));
            damages.push(Some(sound[..at].to_vec()));
        }
        damages.push(Some([sound.clone(), vec![7]].concat()));
        for damage in damages {
            match &damage {
                Some(bytes) => fs_err::write(file, bytes).unwrap(),
                None => fs_err::remove_file(file).unwrap(),
            }
            let reader = index.open();
            assert_holds(&reader, &pictures);
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            // The manifest beside the files is a spare one.
            let spare = file.ends_with("manifest.json");
            let named = reader
                .facts()
                .warnings
                .iter()
                .any(|warning| warning.contains(&name));
            // White space in JSON is no damage.
            let harmless = damage.as_ref().is_some_and(|bytes| {
                serde_json::from_slice::<serde_json::Value>(bytes).ok()
                    == serde_json::from_slice::<serde_json::Value>(&sound).ok()
            }) && name.ends_with(".json");
            assert!(
                named || spare || harmless,
                "{name}: {:?}",
                reader.facts().warnings
            );
            let findings = generation::verify(index.path()).unwrap();
            let told = findings
                .iter()
                .any(|finding| finding.path == *file && finding.derived);
            assert!(
                told || harmless || spare && damage.is_none(),
                "{name}: {findings:?}"
            );
            fs_err::write(file, &sound).unwrap();
        }
    }
    let reader = index.open();
    assert!(reader.facts().warnings.is_empty());
    assert_holds(&reader, &pictures);
}

#[test]
fn files_of_two_generations_are_never_mixed() {
    let mut index = Index::new(60);
    let first = index.publish();
    // The same pictures in another order of commits: every length is as before.
    index
        .writer
        .commit(&[updated(1, "x"), Change::Update(record(1))])
        .unwrap();
    let second = index.publish();
    let (first, second) = (index.generation(first), index.generation(second));
    let mut pictures = BTreeMap::new();
    apply(&mut pictures, &(0..60).map(put).collect::<Vec<_>>());
    for name in ["ids", "vectors", "codes", "records", "columns"] {
        let sound = fs_err::read(second.join(name)).unwrap();
        let other = fs_err::read(first.join(name)).unwrap();
        assert_eq!(sound.len(), other.len());
        fs_err::write(second.join(name), other).unwrap();
        let reader = index.open();
        let warnings = &reader.facts().warnings;
        assert!(
            warnings.iter().any(|warning| warning.contains(name)),
            "{warnings:?}"
        );
        assert_holds(&reader, &pictures);
        fs_err::write(second.join(name), sound).unwrap();
    }
}

#[test]
fn heads_tell_builds_apart_even_where_no_checksum_is_read() {
    use crate::generation::layout::{Build, Kind};
    let build = Build {
        generation: 3,
        stamp: 5,
        rows: 0,
        dim: 8,
    };
    let other = Build { stamp: 6, ..build };
    let error = build.body(Kind::Ids, &other.head(Kind::Ids)).unwrap_err();
    assert!(error.contains("another build"), "{error}");
    assert!(build.body(Kind::Ids, &build.head(Kind::Codes)).is_err());
    assert!(
        build
            .body(Kind::Ids, &build.head(Kind::Ids))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn both_generations_damaged_leave_the_segments() {
    let mut index = Index::new(30);
    let first = index.publish();
    index.writer.commit(&[put(30)]).unwrap();
    let second = index.publish();
    for id in [first, second] {
        fs_err::write(index.generation(id).join("vectors"), b"gone").unwrap();
    }
    let mut pictures = BTreeMap::new();
    apply(&mut pictures, &(0..31).map(put).collect::<Vec<_>>());
    let reader = index.open();
    assert!(reader.newer().unwrap().is_none());
    assert_eq!(reader.facts().generation, None);
    assert_eq!(
        reader.facts().warnings.len(),
        3,
        "{:?}",
        reader.facts().warnings
    );
    assert_holds(&reader, &pictures);
}

#[test]
fn any_history_reads_as_a_plain_map_does() {
    for seed in 0..4 {
        let mut random = Random(seed);
        let mut index = Index::new(0);
        let mut pictures = BTreeMap::new();
        let mut reader = index.open();
        for step in 0..25 {
            let mut changes: Vec<Change> = Vec::new();
            for _ in 0..random.below(8) {
                let number = random.below(40) as u64;
                let known = pictures.contains_key(&record(number).id);
                let change = match random.below(5) {
                    0 if known => Change::Remove(record(number).id),
                    1 | 2 if known => updated(number, &format!("word{step}")),
                    _ => put(number),
                };
                apply(&mut pictures, std::slice::from_ref(&change));
                changes.push(change);
            }
            index.writer.commit(&changes).unwrap();
            match random.below(6) {
                0 | 1 => drop(index.publish()),
                2 => drop(index.writer.compact(&mut quiet()).unwrap()),
                _ => {}
            }
            if let Some(newer) = reader.newer().unwrap() {
                reader = newer;
            }
            assert!(
                reader.facts().warnings.is_empty(),
                "seed {seed}, step {step}"
            );
            assert_holds(&reader, &pictures);
        }
        assert_eq!(verify_beside(&mut index), [], "seed {seed}");
    }
}

#[test]
fn all_that_is_derived_can_be_deleted() {
    let mut index = Index::new(30);
    index.publish();
    fs_err::remove_dir_all(index.path().join("generations")).unwrap();
    let mut pictures = BTreeMap::new();
    apply(&mut pictures, &(0..30).map(put).collect::<Vec<_>>());
    let reader = index.open();
    assert!(reader.facts().warnings.is_empty());
    assert_holds(&reader, &pictures);
    index.publish();
    assert_eq!(index.open().facts().tail_rows, 0);
}

#[test]
fn a_generation_that_lost_a_file_is_built_anew_by_the_next_run() {
    let mut index = Index::new(30);
    index.publish();
    let id = index.writer.stats().unwrap().generation.unwrap();
    for (lost, by) in [("vectors", 1), ("words", 2), ("ids", 3)] {
        let path = index
            .path()
            .join(format!("generations/{:06}/{lost}", id.0 + by - 1));
        if path.is_dir() {
            fs_err::remove_dir_all(path).unwrap();
        } else {
            fs_err::remove_file(path).unwrap();
        }
        let published = index.writer.publish_if_due(&mut quiet()).unwrap();
        assert_eq!(published.map(|id| id.0), Some(id.0 + by), "{lost}");
        assert!(index.open().facts().warnings.is_empty(), "{lost}");
        assert_eq!(index.writer.publish_if_due(&mut quiet()).unwrap(), None);
    }
    let mut pictures = BTreeMap::new();
    apply(&mut pictures, &(0..30).map(put).collect::<Vec<_>>());
    assert_holds(&index.open(), &pictures);
}

#[test]
fn a_compaction_takes_no_reader_by_surprise() {
    let mut index = Index::new(80);
    index.publish();
    index
        .writer
        .commit(&[Change::Remove(record(7).id), updated(8, "new words")])
        .unwrap();
    let mut pictures = BTreeMap::new();
    apply(&mut pictures, &(0..80).map(put).collect::<Vec<_>>());
    apply(
        &mut pictures,
        &[Change::Remove(record(7).id), updated(8, "new words")],
    );
    let old = index.open();
    index.writer.compact(&mut quiet()).unwrap();
    assert_holds(&old, &pictures);
    let new = old.newer().unwrap().unwrap();
    assert!(
        new.facts().warnings.is_empty(),
        "{:?}",
        new.facts().warnings
    );
    assert_holds(&new, &pictures);
    assert_eq!(verify_beside(&mut index), []);
}

#[test]
fn only_two_generations_are_kept_and_no_leftovers() {
    let mut index = Index::new(10);
    let leftover = index.path().join("generations/000001");
    fs_err::create_dir_all(leftover.join("words")).unwrap();
    fs_err::write(leftover.join("ids"), b"half").unwrap();
    let mut published = Vec::new();
    for number in 10..14 {
        index.writer.commit(&[put(number)]).unwrap();
        published.push(index.publish());
    }
    assert!(published.is_sorted() && published[0].0 > 1);
    let mut left: Vec<String> = fs_err::read_dir(index.path().join("generations"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    let mut wanted: Vec<String> = published[2..]
        .iter()
        .map(|id| format!("{:06}", id.0))
        .collect();
    wanted.push("current.json".into());
    assert_eq!(left, wanted);
}

/// Every snapshot must be one of the states that were committed, never a mixture.
#[test]
fn readers_beside_a_writer_see_whole_commits() {
    let mut index = Index::new(50);
    index.publish();
    let path = index.path().to_owned();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut reader = Reader::open(&path).unwrap();
                    let mut opened = 0;
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        // A commit replaces ten pictures by ten others.
                        assert_eq!(reader.facts().pictures, 50);
                        // Between the two steps of a compaction no generation fits the segments.
                        let warnings = &reader.facts().warnings;
                        let compacting = |warning: &String| warning.contains("were rewritten");
                        assert!(warnings.iter().all(compacting), "{warnings:?}");
                        let ids = reader.scan(&Filter::everything(), None, 100).unwrap();
                        assert_eq!(ids.len(), 50);
                        assert!(reader.fetch(&ids).unwrap().iter().all(Option::is_some));
                        let query = Random(opened).unit(DIM);
                        let found = reader
                            .nearest(&query, &Filter::everything(), 50, Walk::Exact)
                            .unwrap();
                        assert_eq!(found.hits.len(), 50);
                        assert_eq!(
                            reader
                                .by_words("picture", &Filter::everything(), 50)
                                .unwrap()
                                .len(),
                            50
                        );
                        if let Some(newer) = reader.newer().unwrap() {
                            reader = newer;
                            opened += 1;
                        }
                    }
                    opened
                })
            })
            .collect();
        for round in 0..12u64 {
            let changes: Vec<Change> = (round * 10..round * 10 + 10)
                .map(|number| Change::Remove(record(number).id))
                .chain((round * 10 + 50..round * 10 + 60).map(put))
                .collect();
            index.writer.commit(&changes).unwrap();
            match round % 4 {
                1 | 2 => drop(index.publish()),
                3 => drop(index.writer.compact(&mut quiet()).unwrap()),
                _ => {}
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        for reader in readers {
            assert!(reader.join().unwrap() > 0);
        }
    });
}

#[test]
fn a_graph_is_walked_when_asked_and_a_damaged_one_is_done_without() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::create_or_open(folder.path(), &header()).unwrap();
    let rows = 3000;
    let vectors = clustered(5, rows, DIM, 60);
    let changes: Vec<Change> = (0..)
        .zip(&vectors)
        .map(|(number, vector)| Change::Put {
            record: record(number),
            embedding: vector.clone(),
        })
        .collect();
    writer.commit(&changes).unwrap();
    let segments = Segments::open(folder.path()).unwrap();
    let built = build_with(folder.path(), &header(), &segments, 1000, &mut quiet()).unwrap();
    let id = generation::publish(folder.path(), built).unwrap();
    writer
        .commit(&[Change::Remove(record(0).id), put(5000)])
        .unwrap();

    let reader = Reader::open(folder.path()).unwrap();
    assert_eq!(reader.facts().graph_rows, rows as u64);
    let walk = Walk::Graph { ef_search: 64 };
    let all = Filter::everything();
    let mut random = Random(2);
    let (mut same, mut asked) = (0, 0);
    for vector in vectors.iter().step_by(60) {
        let noise = random.unit(DIM);
        let query = unit(
            vector
                .iter()
                .zip(&noise)
                .map(|(a, b)| a + 0.2 * b)
                .collect(),
        );
        let exact = reader.nearest(&query, &all, 10, Walk::Exact).unwrap();
        let found = reader.nearest(&query, &all, 10, walk).unwrap();
        assert_eq!((exact.walk, found.walk), (Walk::Exact, walk));
        assert_eq!(found.hits.len(), 10);
        same += found
            .hits
            .iter()
            .filter(|hit| exact.hits.contains(hit))
            .count();
        asked += 10;
    }
    assert!(same * 100 >= asked * 95, "{same} of {asked}");
    let removed = reader.nearest(&vectors[0], &all, rows, walk).unwrap();
    assert_eq!(removed.walk, Walk::Exact);
    assert_eq!(removed.hits.len(), rows);
    assert!(removed.hits.iter().all(|hit| hit.id != record(0).id));
    let few = Filter::TakenBefore(4);
    let found = reader.nearest(&vectors[9], &few, 10, walk).unwrap();
    assert_eq!((found.walk, found.hits.len()), (Walk::Exact, 3));

    let path = folder.path().join(format!("generations/{:06}/graph", id.0));
    let mut bytes = fs_err::read(&path).unwrap();
    bytes[70] ^= 1;
    fs_err::write(&path, bytes).unwrap();
    let reader = Reader::open(folder.path()).unwrap();
    assert_eq!(reader.facts().graph_rows, 0);
    assert!(
        reader.facts().warnings[0].contains("graph"),
        "{:?}",
        reader.facts().warnings
    );
    let found = reader.nearest(&vectors[9], &all, 10, walk).unwrap();
    assert_eq!((found.walk, found.hits.len()), (Walk::Exact, 10));
}

/// Prints figures; run with `--ignored --nocapture`. `ROWS` and `GRAPH=1` in the environment change what
/// is measured.
#[test]
#[ignore = "a measurement"]
fn times_of_a_large_index() {
    let rows: u64 = std::env::var("ROWS").map_or(200_000, |rows| rows.parse().unwrap());
    let graph_from = if std::env::var_os("GRAPH").is_some() {
        1
    } else {
        u64::MAX
    };
    let dim = 512;
    let header = Header { dim, ..header() };
    let folder = tempfile::tempdir().unwrap();
    let pool = clustered(1, 2000, dim, 50);
    let mut random = Random(9);
    let mut writer = Writer::create_or_open(folder.path(), &header).unwrap();
    fn timed<T>(what: &str, f: impl FnOnce() -> T) -> T {
        let start = std::time::Instant::now();
        let value = f();
        eprintln!("{what}: {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
        value
    }
    timed("commits", || {
        for start in (0..rows).step_by(2000) {
            let changes: Vec<Change> = (start..(start + 2000).min(rows))
                .map(|number| {
                    let (a, b) = (&pool[random.below(2000)], &pool[random.below(2000)]);
                    let mut record = record(number);
                    record.locations[0].path =
                        format!("/photos/{}/{}/IMG_{number}.jpg", number % 20, number % 700).into();
                    record.about.camera = Some(format!("Canon EOS {}", number % 30));
                    Change::Put {
                        record,
                        embedding: unit(a.iter().zip(b).map(|(a, b)| a + 0.5 * b).collect()),
                    }
                })
                .collect();
            writer.commit(&changes).unwrap();
        }
    });
    let tail = timed("open without a generation", || {
        Reader::open(folder.path()).unwrap()
    });
    let query = random.unit(dim);
    let all = Filter::everything();
    timed("words of the tail", || {
        tail.by_words("img 77", &all, 10).unwrap()
    });
    drop(tail);
    let segments = Segments::open(folder.path()).unwrap();
    let built = timed("build", || {
        build_with(folder.path(), &header, &segments, graph_from, &mut quiet()).unwrap()
    });
    generation::publish(folder.path(), built).unwrap();
    timed("verify of the generation", || {
        generation::verify(folder.path()).unwrap()
    });
    let mut bytes: Vec<(String, u64)> = Vec::new();
    for place in ["generations/000001", "generations/000001/words"] {
        for entry in fs_err::read_dir(folder.path().join(place)).unwrap() {
            let entry = entry.unwrap();
            bytes.push((
                entry.file_name().into_string().unwrap(),
                entry.metadata().unwrap().len() / rows,
            ));
        }
    }
    eprintln!("bytes a picture: {bytes:?}");
    for _ in 0..2 {
        let reader = timed("open", || Reader::open(folder.path()).unwrap());
        assert!(reader.facts().warnings.is_empty());
        timed("exact, first", || {
            reader.nearest(&query, &all, 20, Walk::Exact).unwrap()
        });
        timed("exact, again", || {
            reader.nearest(&query, &all, 20, Walk::Exact).unwrap()
        });
        for ef_search in [64, 128] {
            let walk = Walk::Graph { ef_search };
            timed("graph", || reader.nearest(&query, &all, 20, walk).unwrap());
        }
        let folder = Filter::InFolder("/photos/7".into());
        timed("count in a folder, first", || {
            reader.count(&folder).unwrap()
        });
        let two = Filter::All(vec![folder, Filter::Camera("eos 7".into())]);
        timed("count in a folder by camera", || {
            reader.count(&two).unwrap()
        });
        timed("exact, filtered", || {
            reader.nearest(&query, &two, 20, Walk::Exact).unwrap()
        });
        let date = Filter::All(vec![Filter::TakenFrom(5000), Filter::TakenBefore(100_000)]);
        timed("count by date", || reader.count(&date).unwrap());
        for text in ["thing777", "picture of a thing", "img", "IMG_777.jpg"] {
            timed(&format!("words `{text}`"), || {
                reader.by_words(text, &all, 50).unwrap()
            });
        }
        let ids = reader.scan(&all, None, 50).unwrap();
        timed("fetch 50", || reader.fetch(&ids).unwrap());
        timed("newer", || reader.newer().unwrap().is_none());
    }
}
