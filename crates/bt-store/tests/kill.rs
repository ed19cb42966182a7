//! A real process writes, publishes and compacts, and is killed (SIGKILL) at fifty moments; after each,
//! what it had acknowledged is there with the right vectors, nothing is half there, and the next process
//! goes on.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use bt_store::{
    About, Change, Collection, ContentHash, Header, Location, ModelId, ModelRef, Reader, Record,
    Writer, verify,
};

const DIM: usize = 32;
const BATCH: u64 = 8;
const KILLS: u64 = 50;

fn header() -> Header {
    Header {
        model: ModelRef {
            spec: "mini".into(),
            fit: "reference".into(),
            id: ModelId("1".into()),
        },
        rerank: None,
        dim: DIM,
        aligned_with_text: true,
    }
}

fn id(picture: u64) -> ContentHash {
    ContentHash::of(&picture.to_le_bytes())
}

fn path(picture: u64) -> PathBuf {
    PathBuf::from(format!("/album/{picture}.jpg"))
}

/// A unit vector that tells which picture it belongs to: its two halves of bits.
fn embedding(picture: u64) -> Vec<f32> {
    let mut vector = vec![0.0; DIM];
    vector[(picture % 16) as usize] = 0.6;
    vector[16 + (picture / 16 % 16) as usize] = 0.8;
    vector
}

fn batch(number: u64) -> Vec<Change> {
    (number * BATCH..(number + 1) * BATCH)
        .map(|picture| Change::Put {
            record: Record {
                id: id(picture),
                locations: vec![Location {
                    path: path(picture),
                    size: picture,
                    mtime_ns: 1,
                }],
                about: About::default(),
            },
            embedding: embedding(picture),
        })
        .collect()
}

/// The process that is killed: commits batch after batch, and says so.
#[test]
fn writes_until_it_is_killed() {
    let Some(index) = std::env::var_os("BT_KILL_INDEX").map(PathBuf::from) else {
        return;
    };
    let number = |name| std::env::var(name).unwrap().parse::<u64>().unwrap();
    let (first, last) = (number("BT_KILL_FIRST"), number("BT_KILL_LAST"));
    let mut writer = Writer::create_or_open(&index, &header()).unwrap();
    for at in first..last {
        writer.commit(&batch(at)).unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "\ncommitted {at}").unwrap();
        out.flush().unwrap();
        drop(out);
        if at % 5 == 4 {
            writer.publish(&mut |_| {}).unwrap();
        }
        if at % 17 == 16 {
            writer.compact(&mut |_| {}).unwrap();
        }
    }
}

/// Runs the writing process; kills it some time after it says its first word, or lets it end. Returns
/// the last batch that it acknowledged.
fn write(index: &Path, first: u64, last: u64, kill_after: Option<Duration>) -> Option<u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writes_until_it_is_killed", "--nocapture"])
        .env("BT_KILL_INDEX", index)
        .env("BT_KILL_FIRST", first.to_string())
        .env("BT_KILL_LAST", last.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let reading = std::thread::spawn(move || {
        let mut acknowledged = None;
        for line in out.lines() {
            // Short lines reach a pipe whole or not at all.
            if let Some(number) = line.unwrap().strip_prefix("committed ") {
                acknowledged = number.parse().ok().or(acknowledged);
            }
        }
        acknowledged
    });
    match kill_after {
        Some(delay) => {
            std::thread::sleep(delay);
            child.kill().unwrap();
            child.wait().unwrap();
        }
        None => assert!(child.wait().unwrap().success()),
    }
    reading.join().unwrap()
}

/// How many batches are there, whole, one after the other; panics when anything is half there.
fn check(index: &Path, context: &str) -> u64 {
    let reader = Reader::open(index).unwrap();
    let count = reader.facts().pictures;
    assert_eq!(count % BATCH, 0, "{context}: a commit is half there");
    let ids: Vec<ContentHash> = (0..count).map(id).collect();
    let records = reader.fetch(&ids).unwrap();
    let vectors = reader.embeddings(&ids).unwrap();
    for (picture, (record, vector)) in (0..count).zip(records.into_iter().zip(vectors)) {
        let record = record.unwrap_or_else(|| panic!("{context}: picture {picture} is lost"));
        assert_eq!(record.locations[0].path, path(picture), "{context}");
        let vector = vector.unwrap();
        for (got, expected) in vector.iter().zip(embedding(picture)) {
            assert!(
                (got - expected).abs() < 1e-3,
                "{context}: picture {picture}"
            );
        }
    }
    count / BATCH
}

#[test]
fn fifty_kills_lose_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let index = folder.path().join("index");
    drop(Writer::create_or_open(&index, &header()).unwrap());
    let mut there = 0;
    for seed in 0..KILLS {
        // From before the first commit to in the middle of a few publications and compactions.
        let delay = Duration::from_micros(seed.wrapping_mul(0x9e37_79b9) % 120_000);
        let context = format!("kill {seed}, after {delay:?}");
        let acknowledged = write(&index, there, u64::MAX / BATCH - 1, Some(delay));
        let found = check(&index, &context);
        let least = acknowledged.map_or(there, |last| last + 1);
        assert!(
            found == least || found == least + 1,
            "{context}: {least} commits were acknowledged, {found} are there"
        );
        there = found;
        if seed % 10 == 9 {
            let writer = Writer::open(&index).unwrap();
            assert_eq!(writer.stats().unwrap().pictures, there * BATCH, "{context}");
            for picture in (0..there * BATCH).step_by(7) {
                let seen = writer.at_path(&path(picture)).unwrap();
                assert_eq!(seen.unwrap().0, id(picture), "{context}");
            }
            drop(writer);
            assert_eq!(verify(&index).unwrap(), vec![], "{context}");
        }
    }
    assert!(
        there > 20,
        "only {there} commits: the kills came too early to mean anything"
    );
    assert_eq!(write(&index, there, there + 3, None), Some(there + 2));
    assert_eq!(check(&index, "at the end"), there + 3);
    assert_eq!(verify(&index).unwrap(), vec![]);
}
