//! How fast the writer is with a hundred thousand pictures; a measurement, run by
//! `cargo test --release -p bt-store --test scale -- --ignored --nocapture`.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::time::Instant;

use bt_store::{About, Change, ContentHash, Header, Location, ModelId, ModelRef, Record, Writer};

const DIM: usize = 512;
const PICTURES: u64 = 100_000;
const BATCH: u64 = 64;

fn change(picture: u64) -> Change {
    let mut embedding: Vec<f32> = (0..DIM as u64)
        .map(|axis| ((picture * 7919 + axis * 104_729) % 1009) as f32 - 504.0)
        .collect();
    let length = embedding
        .iter()
        .map(|value| value * value)
        .sum::<f32>()
        .sqrt();
    for value in &mut embedding {
        *value /= length;
    }
    Change::Put {
        record: Record {
            id: ContentHash::of(&picture.to_le_bytes()),
            locations: vec![Location {
                path: PathBuf::from(format!(
                    "/photos/2024/{}/IMG_{picture:06}.jpg",
                    picture / 500
                )),
                size: 3_000_000 + picture,
                mtime_ns: 1_700_000_000_000_000_000,
            }],
            about: About {
                width: 4000,
                height: 3000,
                format: "jpeg".into(),
                taken: Some(1_700_000_000),
                camera: Some("NIKON CORPORATION NIKON D750".into()),
                captions: vec!["a cat asleep on a green couch".into()],
                ..About::default()
            },
        },
        embedding,
    }
}

#[test]
#[ignore = "a measurement"]
fn a_hundred_thousand_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let index = folder.path();
    let header = Header {
        model: ModelRef {
            spec: "mini".into(),
            fit: "reference".into(),
            id: ModelId("1".into()),
        },
        rerank: None,
        dim: DIM,
        aligned_with_text: true,
    };
    let mut writer = Writer::create_or_open(index, &header).unwrap();
    let mut spent = std::time::Duration::ZERO;
    for first in (0..PICTURES).step_by(BATCH as usize) {
        let batch: Vec<Change> = (first..PICTURES.min(first + BATCH)).map(change).collect();
        let start = Instant::now();
        writer.commit(&batch).unwrap();
        spent += start.elapsed();
    }
    println!("committed {PICTURES} in batches of {BATCH}: {spent:.2?}");
    println!("{:?}", writer.stats().unwrap());
    let paths: Vec<PathBuf> = writer
        .paths()
        .unwrap()
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    let start = Instant::now();
    let ids: Vec<ContentHash> = paths
        .iter()
        .map(|path| writer.at_path(path).unwrap().unwrap().0)
        .collect();
    println!("at_path: {:.2?} each", start.elapsed() / ids.len() as u32);
    let start = Instant::now();
    for id in &ids {
        writer.get(id).unwrap().unwrap();
    }
    println!("get: {:.2?} each", start.elapsed() / ids.len() as u32);
    let start = Instant::now();
    drop(writer);
    println!("close: {:.2?}", start.elapsed());
    let start = Instant::now();
    let mut writer = Writer::open(index).unwrap();
    println!("open, unchanged: {:.2?}", start.elapsed());
    let start = Instant::now();
    writer.publish(&mut |_| {}).unwrap();
    println!("publish: {:.2?}", start.elapsed());
    drop(writer);
    let start = Instant::now();
    let mut writer = Writer::open(index).unwrap();
    println!("open, published: {:.2?}", start.elapsed());
    let start = Instant::now();
    writer.publish(&mut |_| {}).unwrap();
    println!("publish again: {:.2?}", start.elapsed());
    drop(writer);
    fs_err::remove_dir_all(index.join("catalog")).unwrap();
    let start = Instant::now();
    let writer = Writer::open(index).unwrap();
    println!("open, catalog rebuilt: {:.2?}", start.elapsed());
    drop(writer);
    let start = Instant::now();
    assert_eq!(bt_store::verify(index).unwrap(), vec![]);
    println!("verify: {:.2?}", start.elapsed());
}
