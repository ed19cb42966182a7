//! kill -9 at any moment of a run, and what is found afterwards.
//!
//! The promise: what was committed is there, whole and with the right vector; nothing is half there; the
//! next run finishes the job and embeds nothing twice. The moments are chosen by fixed seeds, over the
//! whole length of a run: making the index, loading the model, committing, publishing.
#![allow(clippy::unwrap_used)]

mod harness;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use bt_store::{ContentHash, Record};
use harness::{BT_INDEX, Random, TestEnv, records};

const KILLS: u64 = 50;
/// After so many kills of one index its run is let through to the end, and a new index is begun.
const KILLS_AN_INDEX: u64 = 5;
/// Runs that end before they are killed do not count, but there must not be too many of them.
const MOST_RUNS: u64 = 4 * KILLS;
const PICTURES: u64 = 96;

/// What a run without a kill gives.
type Expected = BTreeMap<ContentHash, (Record, Vec<f32>)>;

fn expected(index: &Path) -> Expected {
    records(index)
        .into_iter()
        .map(|(record, vector)| (record.id, (record, vector)))
        .collect()
}

/// Vectors are kept as f16, which leaves their lengths right to about 1e-4 only: they are divided out.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter()
            .zip(b)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// How many records there are; every one must be as it would be without kills.
fn check(index: &Path, expected: &Expected, moment: &str) -> u64 {
    let found = records(index);
    for (record, vector) in &found {
        let Some((whole, right)) = expected.get(&record.id) else {
            panic!("{moment}: a picture that does not exist: {}", record.id);
        };
        assert_eq!(record, whole, "{moment}");
        // Another batch sums in another order, so the last bit of an f16 may differ, and no more.
        let own = cosine(vector, right);
        let nearest = expected
            .values()
            .map(|(_, other)| cosine(vector, other))
            .fold(-1.0, f64::max);
        assert!(
            own > 1.0 - 1e-6 && own >= nearest,
            "{moment}: {} has another vector: {own}",
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
    let mut length = start.elapsed();
    let expected = expected(&whole);
    assert_eq!(expected.len() as u64, PICTURES);

    let (mut kills, mut kills_here, mut partial, mut kept) = (0, 0, 0, 0);
    let mut index = env.path("index-0");
    for seed in 0..MOST_RUNS {
        // What is left to do is shorter than a whole run.
        let left = 0.3 + 0.7 * (PICTURES - kept) as f64 / PICTURES as f64;
        let mut random = Random(seed + 1);
        random.next();
        let after = length.mul_f64(left * f64::from(random.below(1000)) / 1000.0);
        let moment = format!("seed {seed}, killed after {after:?}");

        let mut running = env.start(BT_INDEX, &arguments(&index));
        std::thread::sleep(after);
        running.signal("KILL");
        let ended = running.0.wait().unwrap().code();
        assert!(matches!(ended, None | Some(0)), "{moment}: {ended:?}");
        let now = check(&index, &expected, &moment);
        assert!(
            now >= kept,
            "{moment}: {kept} pictures were committed, {now} are there"
        );
        partial += u64::from(now > 0 && now < PICTURES);
        kept = now;
        if ended.is_some() {
            // The first run was slower than they are now.
            length = length.mul_f64(0.8);
        }
        let hit = u64::from(ended.is_none());
        (kills, kills_here) = (kills + hit, kills_here + hit);

        if ended.is_some() || kills_here == KILLS_AN_INDEX || kills == KILLS {
            let report = env.run(BT_INDEX, &arguments(&index)).expect(0).json();
            assert_eq!(
                report["unchanged"], kept,
                "nothing is embedded twice: {report:#}"
            );
            assert_eq!(report["indexed"], PICTURES - kept, "{report:#}");
            assert_eq!(check(&index, &expected, "at the end"), PICTURES);
            env.run(BT_INDEX, &["--verify", "--index", index.to_str().unwrap()])
                .expect(0);
            index = env.path(format!("index-{}", seed + 1));
            (kills_here, kept) = (0, 0);
        }
        if kills == KILLS {
            eprintln!(
                "{KILLS} kills in {} runs, {partial} left a part of the album",
                seed + 1
            );
            return;
        }
    }
    panic!("only {kills} of {MOST_RUNS} runs were killed before their end");
}
