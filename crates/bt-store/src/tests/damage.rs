//! Flipped and cut bytes in every kind of file: noticed, named, and the rest is still there.

use fs_err as fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Model, assert_holds, compact, header, id, put, truth};
use crate::error::Error;
use crate::record::Change;
use crate::segment::format::MARK_FRAME;
use crate::storage::Disk;
use crate::verify::verify;
use crate::writer::Writer;

fn writer(index: &Path) -> Writer {
    Writer::create_or_open_on(Arc::new(Disk), index, &header(), 1_500).unwrap()
}

/// An index of a few commits and segments.
fn sample(index: &Path) -> Model {
    let mut writer = writer(index);
    let mut model = Model::default();
    for number in 0..8 {
        let changes = [
            put(number, &[number, number + 100], number),
            put(50 + number, &[], 1),
        ];
        writer.commit(&changes).unwrap();
        model.apply(&changes);
    }
    let changes = [Change::Remove(id(50))];
    writer.commit(&changes).unwrap();
    model.apply(&changes);
    model
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

fn segments(index: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(index.join("segments"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "seg"))
        .collect();
    files.sort();
    files
}

#[test]
fn a_flipped_byte_in_a_segment_is_named_and_costs_at_most_one_record() {
    let folder = super::folder();
    let (origin, index) = (folder.path().join("origin"), folder.path().join("index"));
    let model = sample(&origin);
    let files = segments(&origin);
    assert!(files.len() > 2);
    for file in &files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let bytes = fs::read(file).unwrap();
        for at in (0..bytes.len()).step_by(41) {
            let context = format!("{name}, byte {at}");
            let _absent = fs::remove_dir_all(&index);
            copy(&origin, &index);
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            fs::write(index.join("segments").join(name), &flipped).unwrap();
            let findings = match verify(&index) {
                Ok(findings) => findings,
                // The version in the head: nothing can be said about a file of the future.
                Err(Error::NewerFormat { path, .. }) => {
                    assert!(path.ends_with(name), "{context}");
                    continue;
                }
                Err(error) => panic!("{context}: {error}"),
            };
            assert!(
                findings.iter().any(|finding| finding.path.ends_with(name)),
                "{context}: {findings:?}"
            );
            let (found, _) = truth(&index);
            assert!(found.len() + 1 >= model.len(), "{context}");
            // Compacting leaves the damage behind, and what is left is sound.
            if at % 123 == 0 {
                let mut writer = writer(&index);
                compact(&mut writer).unwrap();
                let (left, damage) = truth(&index);
                assert_eq!(damage, Vec::<String>::new(), "{context}");
                assert!(left.len() + 1 >= model.len(), "{context}");
                assert_holds(&writer, &index, &left, &context);
                drop(writer);
                assert_eq!(verify(&index).unwrap(), vec![], "{context}");
            }
        }
    }
}

#[test]
fn a_segment_cut_anywhere_keeps_every_commit_before_the_cut() {
    let folder = super::folder();
    let (origin, index) = (folder.path().join("origin"), folder.path().join("index"));
    sample(&origin);
    let files = segments(&origin);
    for file in &files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let bytes = fs::read(file).unwrap();
        for len in (0..bytes.len()).step_by(97) {
            let context = format!("{name} cut to {len} bytes");
            let _absent = fs::remove_dir_all(&index);
            copy(&origin, &index);
            fs::write(index.join("segments").join(name), &bytes[..len]).unwrap();
            let findings = verify(&index).unwrap();
            assert!(!findings.is_empty(), "{context}");
            let lost = findings.iter().any(|finding| !finding.derived);
            // A mark stands twice: without the second one nothing is lost.
            assert!(
                lost || bytes.len() - len <= 2 * MARK_FRAME,
                "{context}: {findings:?}"
            );
            let before = truth(&index).0;
            let mut writer = writer(&index);
            // Only the newest file is looked at on opening.
            let newest = Some(file) == files.last();
            assert!(!newest || lost != writer.warnings().is_empty(), "{context}");
            assert!(truth(&index).0 == before, "{context}");
            writer.commit(&[put(77, &[77], 7)]).unwrap();
            assert!(truth(&index).0.has(77), "{context}");
            drop(writer);
        }
    }
}

#[test]
fn a_segment_that_is_gone_is_named_and_the_others_are_read() {
    let folder = super::folder();
    let index = folder.path();
    let model = sample(index);
    let files = segments(index);
    fs::remove_file(&files[1]).unwrap();
    let findings = verify(index).unwrap();
    assert!(
        findings
            .iter()
            .any(|finding| finding.path == files[1] && !finding.derived),
        "{findings:?}"
    );
    let (found, damage) = truth(index);
    assert!(found.len() >= model.len() - 8 && found.len() < model.len());
    assert!(damage.iter().any(|said| said.contains("missing")));
    let mut writer = writer(index);
    writer.commit(&[put(77, &[77], 7)]).unwrap();
    compact(&mut writer).unwrap();
    drop(writer);
    assert_eq!(verify(index).unwrap(), vec![]);
}

#[test]
fn a_damaged_list_or_index_file_is_named_and_made_anew_from_the_segments() {
    let folder = super::folder();
    let (origin, index) = (folder.path().join("origin"), folder.path().join("index"));
    let model = sample(&origin);
    for name in ["segments/current", "index.json"] {
        let bytes = fs::read(origin.join(name)).unwrap();
        for at in (0..=bytes.len()).rev().step_by(5) {
            let context = format!("{name}, byte {at}");
            let _absent = fs::remove_dir_all(&index);
            copy(&origin, &index);
            let mut flipped = bytes.clone();
            match flipped.get_mut(at) {
                Some(byte) => *byte ^= 0x04,
                None => flipped.clear(),
            }
            fs::write(index.join(name), &flipped).unwrap();
            match verify(&index) {
                Ok(findings) => assert!(
                    findings
                        .iter()
                        .any(|finding| finding.path.ends_with(name) && finding.derived),
                    "{context}: {findings:?}"
                ),
                Err(Error::NewerFormat { path, .. }) => {
                    assert!(path.ends_with(name), "{context}");
                    continue;
                }
                Err(error) => panic!("{context}: {error}"),
            }
            let writer = writer(&index);
            assert!(
                writer.warnings().iter().any(|said| said.contains(name)),
                "{context}"
            );
            assert_holds(&writer, &index, &model, &context);
            drop(writer);
            assert_eq!(verify(&index).unwrap(), vec![], "{context}");
        }
    }
}
