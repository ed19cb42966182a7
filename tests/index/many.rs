//! Many files: a run over unchanged ones must cost next to nothing.
//!
//! `BT_TEST_FILES=100000 cargo test --release --test index many -- --nocapture` measures a large album.

use std::time::{Duration, Instant, UNIX_EPOCH};

use bt_store::{About, Change, ContentHash, Location, Record, Writer};
use fs_err as fs;

use crate::assert_counts;
use crate::harness::TestEnv;

#[test]
fn a_run_over_many_unchanged_files_takes_no_longer_than_looking_at_them() {
    let files = std::env::var("BT_TEST_FILES").map_or(5_000, |files| files.parse().unwrap());
    let env = TestEnv::new();
    env.draw("first.png", 1);
    env.report(&["first.png"]);
    // Recorded without a model, which would take hours for so many; the files are never opened.
    let mut writer = Writer::open(&env.index()).unwrap();
    let dim = writer.header().dim;
    let mut changes = Vec::new();
    for number in 0..files {
        let path = env.write(
            format!("album/{:03}/{number:06}.png", number / 1000),
            number.to_string(),
        );
        let metadata = fs::metadata(&path).unwrap();
        let since = metadata
            .modified()
            .unwrap()
            .duration_since(UNIX_EPOCH)
            .unwrap();
        let mtime_ns = i64::try_from(since.as_nanos()).unwrap();
        let location = Location {
            path,
            size: metadata.len(),
            mtime_ns,
        };
        let mut embedding = vec![0.0; dim];
        embedding[number % dim] = 1.0;
        let record = Record {
            id: ContentHash::of(&number.to_le_bytes()),
            locations: vec![location],
            about: About {
                width: 4,
                height: 4,
                format: "png".into(),
                ..About::default()
            },
        };
        changes.push(Change::Put { record, embedding });
        if changes.len() == 1000 || number + 1 == files {
            writer.commit(&changes).unwrap();
            changes.clear();
        }
    }
    writer.publish(&mut |_| {}).unwrap();
    drop(writer);

    let start = Instant::now();
    let report = env.report(&["album"]);
    let took = start.elapsed();
    assert_counts(&report, &[("unchanged", files as u64)]);
    eprintln!(
        "{files} unchanged files: {took:.2?} in all, {} s of it walking and asking",
        report["seconds"]
    );
    // Far above what it takes on an idle machine (0.1 ms a file), far below opening and hashing.
    let bound = Duration::from_secs(5) + Duration::from_micros(500) * u32::try_from(files).unwrap();
    assert!(took < bound, "{took:?}");
}
