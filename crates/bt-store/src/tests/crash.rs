//! Every single operation on the disk fails once, and the power is cut there: what was acknowledged is
//! kept, and nothing is half there.

use std::sync::Arc;

use super::model::some_changes;
use super::{Model, Random, assert_holds, compact, header, put};
use crate::error::{Error, Result};
use crate::record::Change;
use crate::storage::crash::{Crash, Luck};
use crate::verify::verify;
use crate::writer::Writer;

/// Small, so that the script begins new segments.
const ROLL_BYTES: u64 = 1_500;

/// Twelve commits with a compaction among them; calls back after each that succeeded.
fn script(writer: &mut Writer, commits: &[Vec<Change>], done: &mut dyn FnMut(usize)) -> Result<()> {
    for (number, changes) in commits.iter().enumerate() {
        if number == 7 {
            writer.careful(compact)?;
        }
        writer.commit(changes)?;
        done(number + 1);
    }
    Ok(())
}

#[test]
fn whichever_operation_fails_a_prefix_of_commits_with_all_acknowledged_ones_is_left() {
    let mut random = Random(7);
    let mut states = vec![Model::default()];
    let mut commits = Vec::new();
    for _ in 0..12 {
        let mut model = states.last().unwrap().clone();
        let changes = some_changes(&mut random, &model);
        model.apply(&changes);
        states.push(model);
        commits.push(changes);
    }
    for luck in [Luck::None, Luck::Torn, Luck::All] {
        let mut n = 1;
        loop {
            let folder = super::folder();
            let index = &folder.path().join("index");
            let crash = Crash::default();
            crash.fail_at(n);
            let mut acknowledged = 0;
            let result =
                Writer::create_or_open_on(Arc::new(crash.clone()), index, &header(), ROLL_BYTES)
                    .and_then(|mut writer| {
                        let result =
                            script(&mut writer, &commits, &mut |number| acknowledged = number);
                        if let Err(error) = &result {
                            // The disk may be well again; the writer must not go on all the same.
                            assert!(!matches!(error, Error::Reopen { .. }));
                            let refused = writer.commit(&[put(1, &[1], 1)]);
                            assert!(matches!(refused, Err(Error::Reopen { .. })));
                            assert!(matches!(writer.stats(), Err(Error::Reopen { .. })));
                        }
                        result
                    });
            if result.is_ok() {
                assert!(n > 60, "only {n} operations: the script does too little");
                assert!(crash.operations() < n);
                break;
            }
            let context = format!("operation {n} failed, {luck:?} of the unsynced survived");
            crash.cut_power(luck);
            let mut writer = Writer::create_or_open(index, &header())
                .unwrap_or_else(|error| panic!("{context}: {error}"));
            let (found, _) = super::truth(index);
            let kept = (acknowledged..=acknowledged + 1)
                .find(|number| states.get(*number) == Some(&found))
                .unwrap_or_else(|| panic!("{context}: not commit {acknowledged} or the next"));
            assert_holds(&writer, index, &states[kept], &context);
            // And the next run goes on.
            for changes in &commits[kept..] {
                writer.commit(changes).unwrap();
            }
            assert_holds(&writer, index, &states[12], &context);
            drop(writer);
            assert_eq!(verify(index).unwrap(), vec![], "{context}");
            n += 1;
        }
    }
}

#[test]
fn a_full_disk_is_named_and_loses_nothing() {
    let folder = super::folder();
    let index = folder.path();
    let crash = Crash::default();
    let mut writer =
        Writer::create_or_open_on(Arc::new(crash.clone()), index, &header(), ROLL_BYTES).unwrap();
    writer.commit(&[put(1, &[1], 1)]).unwrap();
    crash.fail_at(1);
    let error = writer.commit(&[put(2, &[2], 2)]).unwrap_err();
    assert!(error.hint().unwrap().contains("free some space"), "{error}");
    let refused = writer.commit(&[put(3, &[3], 3)]).unwrap_err();
    assert!(matches!(refused, Error::Reopen { .. }));
    assert!(refused.hint().unwrap().contains("free space"));
    drop(writer);
    let mut writer = Writer::open(index).unwrap();
    let mut model = Model::default();
    model.apply(&[put(1, &[1], 1)]);
    assert_holds(&writer, index, &model, "after the disk was full");
    writer.commit(&[put(2, &[2], 2)]).unwrap();
}
