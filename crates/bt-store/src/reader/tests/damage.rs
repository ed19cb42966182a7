//! Derived files that are damaged, lost, or of another build.

use super::*;

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
