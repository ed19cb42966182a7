//! kill -9 at any moment of a run, and what is found afterwards.
//!
//! The promise: what was committed is there, whole and with the right vector; nothing is half there; the
//! next run finishes the job and embeds nothing twice. The moments are chosen by fixed seeds, over the
//! whole length of a run: making the index, loading the model, committing, publishing.
#![allow(clippy::unwrap_used)]

mod harness;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use bt_store::{ContentHash, Record};
use harness::{BT_INDEX, Random, TestEnv, records};

const KILLS: u64 = 50;
/// After so many kills of one index its run is let through to the end, and a new index is begun.
const KILLS_AN_INDEX: u64 = 5;
const PICTURES: u64 = 48;

/// What a run without a kill gives.
type Expected = BTreeMap<ContentHash, (Record, Vec<f32>)>;

fn expected(index: &Path) -> Expected {
    records(index)
        .into_iter()
        .map(|(record, vector)| (record.id, (record, vector)))
        .collect()
}

/// How many records there are; every one must be as it would be without kills.
fn check(index: &Path, expected: &Expected, moment: &str) -> u64 {
    let found = records(index);
    for (record, vector) in &found {
        let Some((whole, right)) = expected.get(&record.id) else {
            panic!("{moment}: a picture that does not exist: {}", record.id);
        };
        assert_eq!(record, whole, "{moment}");
        let cosine: f32 = vector.iter().zip(right).map(|(a, b)| a * b).sum();
        assert!(
            cosine > 0.9999,
            "{moment}: {} has another vector: {cosine}",
            record.id
        );
    }
    found.len() as u64
}

#[test]
fn whenever_a_run_is_killed_what_was_committed_is_right_and_the_next_run_finishes() {
    let env = TestEnv::new();
    env.draw_album("album", PICTURES);
    let arguments = |index: &Path| -> Vec<String> {
        let index = index.to_str().unwrap().to_owned();
        ["album", "--json", "--batch-size", "4", "--index", &index]
            .map(str::to_owned)
            .into()
    };
    let whole = env.path("whole");
    let start = Instant::now();
    env.run(BT_INDEX, &arguments(&whole)).expect(0);
    let length = start.elapsed();
    let expected = expected(&whole);
    assert_eq!(expected.len() as u64, PICTURES);

    let (mut kills_in_time, mut partial) = (0, 0);
    for first in (0..KILLS).step_by(KILLS_AN_INDEX as usize) {
        let index = env.path(format!("index-{first}"));
        let mut kept = 0;
        for seed in first..first + KILLS_AN_INDEX {
            let mut random = Random(seed + 1);
            random.next();
            let after = length.mul_f64(f64::from(random.below(1000)) / 1000.0);
            let moment = format!("seed {seed}, killed after {after:?}");
            let mut running = env.start(BT_INDEX, &arguments(&index));
            std::thread::sleep(after);
            running.signal("KILL");
            let status = running.0.wait().unwrap();
            kills_in_time += u64::from(status.code().is_none());
            let now = check(&index, &expected, &moment);
            assert!(
                now >= kept,
                "{moment}: {kept} pictures were committed, {now} are there"
            );
            partial += u64::from(now > 0 && now < PICTURES);
            kept = now;
        }
        let report = env.run(BT_INDEX, &arguments(&index)).expect(0).json();
        assert_eq!(
            report["unchanged"], kept,
            "nothing is embedded twice: {report:#}"
        );
        assert_eq!(report["indexed"], PICTURES - kept, "{report:#}");
        assert_eq!(check(&index, &expected, "at the end"), PICTURES);
        let index = index.to_str().unwrap();
        env.run(BT_INDEX, &["--verify", "--index", index]).expect(0);
    }
    eprintln!("{kills_in_time} of {KILLS} kills hit a run, {partial} left a part of the album");
    assert!(
        kills_in_time >= KILLS / 2,
        "the machine was so fast that {kills_in_time} kills hit"
    );
    assert!(length < Duration::from_secs(60), "a run takes {length:?}");
}
