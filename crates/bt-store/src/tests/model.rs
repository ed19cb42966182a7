//! Random commits, updates, moves, removals, compactions, reopenings and crashes against a plain map.

use std::sync::Arc;

use super::{Model, Random, assert_holds, compact, header, put, record};
use crate::record::Change;
use crate::storage::crash::{Crash, Luck};
use crate::verify::verify;
use crate::writer::Writer;

const PICTURES: u64 = 12;
const PATHS: u64 = 16;

/// A few changes that make sense after those before.
pub(super) fn some_changes(random: &mut Random, model: &Model) -> Vec<Change> {
    let mut after = model.clone();
    let mut changes = Vec::new();
    for _ in 0..=random.below(4) {
        let picture = random.below(PICTURES);
        let caption = random.below(1000);
        let paths: Vec<u64> = (0..random.below(4)).map(|_| random.below(PATHS)).collect();
        let mut unique = paths.clone();
        unique.sort_unstable();
        unique.dedup();
        let change = match random.below(5) {
            0 | 1 => put(picture, &unique, caption),
            2 | 3 if after.has(picture) => Change::Update(record(picture, &unique, caption)),
            2 | 3 => put(picture, &unique, caption),
            _ => Change::Remove(super::id(picture)),
        };
        after.apply(std::slice::from_ref(&change));
        changes.push(change);
    }
    changes
}

#[test]
fn any_history_of_commits_crashes_and_compactions_leaves_what_a_plain_map_holds() {
    let seed = std::env::var("BT_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    for seed in seed.map_or(1..25, |seed: u64| seed..seed + 1) {
        println!("BT_SEED={seed}");
        history(seed);
    }
}

fn history(seed: u64) {
    let folder = super::folder();
    let index = folder.path();
    let mut random = Random(seed);
    let crash = Crash::default();
    let open = || Writer::create_or_open_on(Arc::new(crash.clone()), index, &header(), 2_000);
    let mut writer = open().unwrap();
    let mut model = Model::default();
    for step in 0..60 {
        let context = format!("seed {seed}, step {step}");
        match random.below(12) {
            0 => {
                compact(&mut writer).unwrap();
                assert_holds(&writer, index, &model, &context);
            }
            1 => {
                drop(writer);
                assert_eq!(verify(index).unwrap(), vec![], "{context}");
                writer = open().unwrap();
                assert_holds(&writer, index, &model, &context);
            }
            2 => {
                // A power cut in the middle of the next commit or compaction.
                crash.fail_at(1 + random.below(8));
                let changes = some_changes(&mut random, &model);
                let failed = match random.below(3) {
                    0 => writer.careful(compact).is_err(),
                    _ => {
                        let mut after = model.clone();
                        after.apply(&changes);
                        let failed = writer.commit(&changes).is_err();
                        let luck = [Luck::None, Luck::Torn, Luck::All][random.below(3) as usize];
                        drop(writer);
                        crash.cut_power(luck);
                        crash.fail_at(u64::MAX / 2);
                        writer = open().unwrap();
                        // What failed may have reached the disk; what did not fail must have.
                        if !failed || super::truth(index).0 == after {
                            model = after;
                        }
                        assert_holds(&writer, index, &model, &context);
                        continue;
                    }
                };
                drop(writer);
                if failed {
                    crash.cut_power([Luck::None, Luck::Torn][random.below(2) as usize]);
                }
                crash.fail_at(u64::MAX / 2);
                writer = open().unwrap();
                assert_holds(&writer, index, &model, &context);
            }
            _ => {
                let changes = some_changes(&mut random, &model);
                writer.commit(&changes).unwrap();
                model.apply(&changes);
            }
        }
    }
    assert_holds(&writer, index, &model, &format!("seed {seed}, end"));
    drop(writer);
    assert_eq!(verify(index).unwrap(), vec![], "seed {seed}");
}
