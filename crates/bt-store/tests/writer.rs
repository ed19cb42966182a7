//! The writer's promises, seen from outside.
#![allow(clippy::unwrap_used)]

use fs_err as fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use bt_store::{
    About, Change, Collection, ContentHash, Error, Header, Kind, Location, ModelId, ModelRef,
    Reader, Record, Writer, verify,
};

const DIM: usize = 16;

fn header(model: &str) -> Header {
    Header {
        model: ModelRef {
            spec: model.into(),
            fit: "reference".into(),
            id: ModelId(format!("fingerprint of {model}")),
        },
        rerank: None,
        dim: DIM,
        aligned_with_text: true,
    }
}

fn location(path: &str) -> Location {
    Location {
        path: PathBuf::from(path),
        size: 10,
        mtime_ns: 20,
    }
}

fn record(content: &str, paths: &[&str]) -> Record {
    Record {
        id: ContentHash::of(content.as_bytes()),
        locations: paths.iter().map(|path| location(path)).collect(),
        about: About {
            width: 4,
            height: 3,
            format: "png".into(),
            ..About::default()
        },
    }
}

fn axis(axis: usize) -> Vec<f32> {
    let mut unit = vec![0.0; DIM];
    unit[axis] = 1.0;
    unit
}

fn put(content: &str, paths: &[&str], vector: usize) -> Change {
    Change::Put {
        record: record(content, paths),
        embedding: axis(vector),
    }
}

fn owner(writer: &Writer, path: &str) -> Option<ContentHash> {
    writer.at_path(Path::new(path)).unwrap().map(|(id, _)| id)
}

fn vector(index: &Path, content: &str) -> Option<Vec<f32>> {
    let id = ContentHash::of(content.as_bytes());
    let reader = Reader::open(index).unwrap();
    reader.embeddings(&[id]).unwrap().remove(0)
}

#[test]
fn an_index_is_made_filled_closed_and_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let index = folder.path().join("deep/index");
    let mut writer = Writer::create_or_open(&index, &header("mini")).unwrap();
    writer
        .commit(&[
            put("cat", &["/a/cat.png"], 1),
            put("dog", &["/a/dog.png"], 2),
        ])
        .unwrap();
    drop(writer);
    let writer = Writer::open(&index).unwrap();
    assert_eq!(*writer.header(), header("mini"));
    assert_eq!(writer.warnings(), &[] as &[String]);
    let cat = ContentHash::of(b"cat");
    assert_eq!(
        writer.at_path(Path::new("/a/cat.png")).unwrap(),
        Some((cat, location("/a/cat.png")))
    );
    assert_eq!(
        writer.get(&cat).unwrap(),
        Some(record("cat", &["/a/cat.png"]))
    );
    let paths: Vec<PathBuf> = writer
        .paths()
        .unwrap()
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    assert_eq!(
        paths,
        [PathBuf::from("/a/cat.png"), PathBuf::from("/a/dog.png")]
    );
    drop(writer);
    assert_eq!(vector(&index, "dog"), Some(axis(2)));
    assert_eq!(verify(&index).unwrap(), vec![]);
}

#[test]
fn duplicates_share_a_vector_and_a_path_belongs_to_one_picture() {
    let folder = tempfile::tempdir().unwrap();
    let index = folder.path();
    let mut writer = Writer::create_or_open(index, &header("mini")).unwrap();
    writer
        .commit(&[put("cat", &["/1", "/2", "/3"], 1)])
        .unwrap();
    assert_eq!(writer.stats().unwrap().locations, 3);
    // The file at /2 is overwritten by another picture, in the same commit as /3 by a third.
    writer
        .commit(&[put("dog", &["/2"], 2), put("owl", &["/3", "/3"], 3)])
        .unwrap();
    let cat = ContentHash::of(b"cat");
    assert_eq!(writer.get(&cat).unwrap(), Some(record("cat", &["/1"])));
    assert_eq!(owner(&writer, "/2"), Some(ContentHash::of(b"dog")));
    assert_eq!(owner(&writer, "/3"), Some(ContentHash::of(b"owl")));
    // And the last one, by an update: a picture without a place stays until it is removed.
    writer
        .commit(&[Change::Update(record("dog", &["/1", "/2"]))])
        .unwrap();
    assert_eq!(writer.get(&cat).unwrap(), Some(record("cat", &[])));
    assert_eq!(owner(&writer, "/1"), Some(ContentHash::of(b"dog")));
    writer
        .commit(&[Change::Remove(cat), Change::Remove(cat)])
        .unwrap();
    assert_eq!(writer.get(&cat).unwrap(), None);
    assert_eq!(writer.stats().unwrap().pictures, 2);
    drop(writer);
    // Readers hear the same story from the segments alone.
    let reader = Reader::open(index).unwrap();
    let ids = ["cat", "dog", "owl"].map(|content| ContentHash::of(content.as_bytes()));
    let records = reader.fetch(&ids).unwrap();
    assert_eq!(
        records,
        [
            None,
            Some(record("dog", &["/1", "/2"])),
            Some(record("owl", &["/3"]))
        ]
    );
    assert_eq!(vector(index, "dog"), Some(axis(2)));
    assert_eq!(verify(index).unwrap(), vec![]);
}

#[test]
fn a_moved_file_keeps_its_vector_and_moves_back() {
    let folder = tempfile::tempdir().unwrap();
    let index = folder.path();
    let mut writer = Writer::create_or_open(index, &header("mini")).unwrap();
    writer.commit(&[put("cat", &["/old/cat"], 5)]).unwrap();
    for place in ["/new/cat", "/old/cat", "/new/cat"] {
        writer
            .commit(&[Change::Update(record("cat", &[place]))])
            .unwrap();
        assert_eq!(owner(&writer, place), Some(ContentHash::of(b"cat")));
        assert_eq!(writer.paths().unwrap().len(), 1);
        assert_eq!(vector(index, "cat"), Some(axis(5)));
    }
}

#[test]
fn what_changes_nothing_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::create_or_open(folder.path(), &header("mini")).unwrap();
    writer.commit(&[put("cat", &["/1"], 1)]).unwrap();
    let before = writer.stats().unwrap();
    writer.commit(&[]).unwrap();
    writer
        .commit(&[Change::Update(record("cat", &["/1"]))])
        .unwrap();
    writer
        .commit(&[Change::Remove(ContentHash::of(b"nobody"))])
        .unwrap();
    assert_eq!(writer.stats().unwrap().truth_bytes, before.truth_bytes);
}

#[test]
fn a_change_that_cannot_be_stored_is_refused_whole_and_the_writer_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::create_or_open(folder.path(), &header("mini")).unwrap();
    let bad = |embedding: Vec<f32>| Change::Put {
        record: record("bad", &["/bad"]),
        embedding,
    };
    let mut nan = axis(0);
    nan[3] = f32::NAN;
    let mut infinite = axis(0);
    infinite[3] = f32::INFINITY;
    let mut long = axis(0);
    long[0] = 1.01;
    let mut huge = record("huge", &["/huge"]);
    huge.about.captions = vec!["x".repeat(17 << 20)];
    for change in [
        bad(vec![1.0]),
        bad(vec![]),
        bad(nan),
        bad(infinite),
        bad(long),
        bad(vec![0.0; DIM]),
        Change::Update(record("nobody", &["/nobody"])),
        Change::Put {
            record: huge,
            embedding: axis(1),
        },
    ] {
        let error = writer
            .commit(&[put("good", &["/good"], 1), change])
            .unwrap_err();
        assert_eq!(error.kind(), Kind::Usage, "{error}");
        assert_eq!(writer.stats().unwrap().pictures, 0);
        assert_eq!(owner(&writer, "/good"), None);
    }
    writer.commit(&[put("good", &["/good"], 1)]).unwrap();
    assert_eq!(writer.stats().unwrap().pictures, 1);
}

#[test]
fn a_place_that_is_no_number_is_not_kept_and_degrees_survive_to_a_centimetre() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::create_or_open(folder.path(), &header("mini")).unwrap();
    for (given, kept) in [
        (Some((f64::NAN, 1.0)), None),
        (Some((1.0, f64::INFINITY)), None),
        (
            Some((47.376_886_123_456, -8.541_694)),
            Some((47.376_886_1, -8.541_694)),
        ),
    ] {
        let mut cat = record("cat", &["/1"]);
        cat.about.gps = given;
        writer
            .commit(&[Change::Put {
                record: cat,
                embedding: axis(1),
            }])
            .unwrap();
        let found = writer.get(&ContentHash::of(b"cat")).unwrap().unwrap();
        assert_eq!(found.about.gps, kept);
    }
}

#[cfg(unix)]
#[test]
fn a_file_name_in_any_encoding_is_found_again() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let index = folder.path();
    let path = PathBuf::from(OsStr::from_bytes(b"/photos/caf\xe9 \xff.jpg"));
    let mut cat = record("cat", &[]);
    cat.locations.push(Location {
        path: path.clone(),
        size: 1,
        mtime_ns: i64::MIN,
    });
    let mut writer = Writer::create_or_open(index, &header("mini")).unwrap();
    writer
        .commit(&[Change::Put {
            record: cat.clone(),
            embedding: axis(1),
        }])
        .unwrap();
    drop(writer);
    fs::remove_dir_all(index.join("catalog")).unwrap();
    let writer = Writer::open(index).unwrap();
    assert_eq!(writer.at_path(&path).unwrap().unwrap().0, cat.id);
    assert_eq!(writer.paths().unwrap(), [(path, cat.id)]);
    assert_eq!(writer.get(&cat.id).unwrap(), Some(cat));
}

#[test]
fn a_second_writer_hears_who_holds_the_index() {
    let folder = tempfile::tempdir().unwrap();
    let index = folder.path();
    let writer = Writer::create_or_open(index, &header("mini")).unwrap();
    for second in [
        Writer::open(index).map(drop),
        Writer::create_or_open(index, &header("mini")).map(drop),
        verify(index).map(drop),
    ] {
        match second.unwrap_err() {
            Error::Locked { pid, .. } => assert_eq!(pid, std::process::id()),
            error => panic!("{error}"),
        }
    }
    drop(writer);
    Writer::open(index).unwrap();
}

#[test]
fn no_index_and_another_model_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let index = folder.path();
    assert!(matches!(Writer::open(index), Err(Error::NoIndex(_))));
    assert!(matches!(verify(index), Err(Error::NoIndex(_))));
    assert_eq!(
        fs::read_dir(index).unwrap().count(),
        0,
        "nothing was left behind"
    );
    drop(Writer::create_or_open(index, &header("mini")).unwrap());
    let error = Writer::create_or_open(index, &header("large")).unwrap_err();
    assert_eq!(error.kind(), Kind::Incompatible);
    let said = error.to_string();
    assert!(
        said.contains("`mini`") && said.contains("`large`"),
        "{said}"
    );
    // The same model by another name is the same model.
    let mut renamed = header("mini");
    renamed.model.spec = "/models/mini".into();
    Writer::create_or_open(index, &renamed).unwrap();
}

#[test]
fn an_index_of_a_newer_format_is_refused_by_version_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let index = folder.path();
    drop(Writer::create_or_open(index, &header("mini")).unwrap());
    let file = index.join("index.json");
    let newer = fs::read_to_string(&file)
        .unwrap()
        .replace("\"format\": 1", "\"format\": 7");
    fs::write(&file, &newer).unwrap();
    for error in [
        Writer::open(index).unwrap_err(),
        Writer::create_or_open(index, &header("mini")).unwrap_err(),
        verify(index).unwrap_err(),
        Reader::open(index).map(drop).unwrap_err(),
    ] {
        match error {
            Error::NewerFormat {
                path,
                found: 7,
                supported: 1,
            } => assert_eq!(path, file),
            error => panic!("{error}"),
        }
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), newer);
}

#[test]
fn a_catalog_that_is_gone_or_of_another_history_is_built_anew() {
    let folder = tempfile::tempdir().unwrap();
    let index = folder.path();
    let catalog = index.join("catalog");
    let mut writer = Writer::create_or_open(index, &header("mini")).unwrap();
    writer.commit(&[put("cat", &["/cat"], 1)]).unwrap();
    drop(writer);
    let older = folder.path().join("older");
    fs::create_dir(&older).unwrap();
    copy(&catalog, &older);
    let mut writer = Writer::open(index).unwrap();
    writer.commit(&[put("dog", &["/dog"], 2)]).unwrap();
    drop(writer);

    // One that lags takes in what it has missed, in silence.
    fs::remove_dir_all(&catalog).unwrap();
    fs::rename(&older, &catalog).unwrap();
    assert_eq!(verify(index).unwrap(), vec![]);
    let writer = Writer::open(index).unwrap();
    assert_eq!(writer.warnings(), &[] as &[String]);
    assert!(owner(&writer, "/dog").is_some() && owner(&writer, "/cat").is_some());
    drop(writer);

    // One that is ahead, or of another index, is set aside; at most one is kept.
    for round in 1..=2 {
        let other = tempfile::tempdir().unwrap();
        let mut writer = Writer::create_or_open(other.path(), &header("mini")).unwrap();
        for number in 0..3 {
            let (name, path) = (format!("{round}{number}"), format!("/{number}"));
            writer.commit(&[put(&name, &[&path], 1)]).unwrap();
        }
        drop(writer);
        fs::remove_dir_all(&catalog).unwrap();
        fs::create_dir(&catalog).unwrap();
        copy(&other.path().join("catalog"), &catalog);
        assert!(!verify(index).unwrap().is_empty());
        let writer = Writer::open(index).unwrap();
        assert!(
            writer.warnings()[0].contains("built anew"),
            "{:?}",
            writer.warnings()
        );
        assert_eq!(owner(&writer, "/0"), None);
        assert!(owner(&writer, "/dog").is_some() && owner(&writer, "/cat").is_some());
        drop(writer);
        assert!(index.join(format!("catalog.broken-{round}")).is_dir());
    }
    assert!(!index.join("catalog.broken-1").exists());
}

#[test]
fn a_catalog_flipped_or_cut_anywhere_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (origin, index) = (folder.path().join("origin"), folder.path().join("index"));
    let mut writer = Writer::create_or_open(&origin, &header("mini")).unwrap();
    for number in 0..40 {
        let (name, path) = (number.to_string(), format!("/{number}"));
        writer
            .commit(&[put(&name, &[&path], number % DIM)])
            .unwrap();
    }
    drop(writer);
    // More by `BT_ROUNDS=2000`.
    let rounds = std::env::var("BT_ROUNDS").map_or(24, |rounds| rounds.parse().unwrap());
    let mut damage: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    for entry in files_below(&origin.join("catalog")) {
        let name = entry.strip_prefix(&origin).unwrap().to_owned();
        let bytes = fs::read(&entry).unwrap();
        // The written part is at the front; what follows are zeros.
        let written = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        for round in 0..rounds {
            let mut flipped = bytes.clone();
            if written > 0 {
                flipped[written * round / rounds] ^= 1 << (round % 8);
            }
            damage.push((name.clone(), flipped));
            damage.push((name.clone(), bytes[..written * round / rounds].to_vec()));
        }
    }
    assert!(damage.len() >= 48);
    for (number, (name, bytes)) in damage.iter().enumerate() {
        let _absent = fs::remove_dir_all(&index);
        copy(&origin, &index);
        fs::write(index.join(name), bytes).unwrap();
        // In a thread of its own: a catalog that hangs must not hang the test.
        let (done, waits) = mpsc::channel();
        let path = index.clone();
        std::thread::spawn(move || {
            let mut writer = Writer::open(&path).unwrap();
            for number in 0..40 {
                let id = owner(&writer, &format!("/{number}")).unwrap();
                assert_eq!(id, ContentHash::of(number.to_string().as_bytes()));
                assert!(writer.get(&id).unwrap().is_some());
            }
            assert_eq!(writer.stats().unwrap().pictures, 40);
            writer.commit(&[put("new", &["/new"], 3)]).unwrap();
            drop(writer);
            assert_eq!(verify(&path).unwrap(), vec![]);
            done.send(()).unwrap();
        });
        waits
            .recv_timeout(std::time::Duration::from_secs(60))
            .unwrap_or_else(|_| panic!("damage {number} of {}", name.display()));
    }
}

#[test]
fn publishing_is_done_when_due_and_not_twice() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::create_or_open(folder.path(), &header("mini")).unwrap();
    assert_eq!(
        writer.publish_if_due(&mut |_| {}).unwrap(),
        None,
        "nothing to publish"
    );
    writer.commit(&[put("cat", &["/cat"], 1)]).unwrap();
    let first = writer.publish_if_due(&mut |_| {}).unwrap().unwrap();
    assert_eq!(writer.publish(&mut |_| {}).unwrap(), first);
    writer.commit(&[put("dog", &["/dog"], 2)]).unwrap();
    assert_eq!(
        writer.publish_if_due(&mut |_| {}).unwrap(),
        None,
        "one picture is searched beside it"
    );
    assert_eq!(writer.stats().unwrap().unpublished, 1);
    let many: Vec<Change> = (0..1000)
        .map(|number| put(&format!("{number}"), &[&format!("/{number}")], number % DIM))
        .collect();
    writer.commit(&many).unwrap();
    drop(writer);
    let mut writer = Writer::open(folder.path()).unwrap();
    assert_eq!(writer.stats().unwrap().unpublished, 1001);
    let second = writer.publish_if_due(&mut |_| {}).unwrap().unwrap();
    assert!(second > first);
    assert_eq!(writer.stats().unwrap().unpublished, 0);
    let third = writer.compact(&mut |_| {}).unwrap();
    assert!(third > second);
    assert_eq!(writer.publish(&mut |_| {}).unwrap(), third);
}

#[test]
fn compacting_drops_what_is_superseded_and_keeps_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let index = folder.path();
    let mut writer = Writer::create_or_open(index, &header("mini")).unwrap();
    for round in 0..5 {
        let changes: Vec<Change> = (0..50)
            .map(|number| {
                put(
                    &format!("{number}"),
                    &[&format!("/{round}/{number}")],
                    number % DIM,
                )
            })
            .collect();
        writer.commit(&changes).unwrap();
    }
    writer
        .commit(&[Change::Remove(ContentHash::of(b"7"))])
        .unwrap();
    writer
        .commit(&[Change::Update(record("8", &["/moved/8"]))])
        .unwrap();
    let before = writer.stats().unwrap();
    assert_eq!((before.pictures, before.superseded), (49, 252 - 49));
    writer.compact(&mut |_| {}).unwrap();
    let after = writer.stats().unwrap();
    assert_eq!(
        (after.pictures, after.locations, after.superseded),
        (49, 49, 0)
    );
    assert!(after.truth_bytes < before.truth_bytes / 4);
    assert_eq!(owner(&writer, "/moved/8"), Some(ContentHash::of(b"8")));
    assert_eq!(owner(&writer, "/4/7"), None);
    assert_eq!(owner(&writer, "/4/9"), Some(ContentHash::of(b"9")));
    drop(writer);
    let writer = Writer::open(index).unwrap();
    assert_eq!(writer.warnings(), &[] as &[String]);
    assert_eq!(writer.stats().unwrap().pictures, 49);
    drop(writer);
    assert_eq!(vector(index, "8"), Some(axis(8)));
    assert_eq!(vector(index, "7"), None);
    assert_eq!(verify(index).unwrap(), vec![]);
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}
