//! Files that are not what they should be: named, counted, and never in the way of the others.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use fs_err as fs;
use serde_json::Value;

use crate::assert_counts;
use crate::harness::{BT_INDEX, Ran, TestEnv};

/// The reason that a report gives for a file, by its name.
fn reason(report: &Value, list: &str, name: &str) -> String {
    let files = report[list].as_array().unwrap();
    let is_it = |file: &&Value| file["path"].as_str().unwrap().ends_with(name);
    let file = files
        .iter()
        .find(is_it)
        .unwrap_or_else(|| panic!("no {name} in {list}: {report:#}"));
    file["reason"].as_str().unwrap().to_owned()
}

#[test]
fn broken_files_are_listed_each_with_its_reason_and_the_rest_is_indexed() {
    let env = TestEnv::new();
    env.draw("album/good.png", 1);
    let jpeg = fs::read(env.draw("album/good.jpg", 2)).unwrap();
    env.write("album/head-only.jpg", &jpeg[..24]);
    env.write("album/half.jpg", &jpeg[..jpeg.len() * 2 / 3]);
    env.write("album/empty.png", "");
    env.write("album/page.jpg", "<html>not found</html>");
    env.write("album/notes.txt", "no picture");
    env.write(
        "album/phone.heic",
        b"\0\0\0\x18ftypheic\0\0\0\0heicmif1rest",
    );
    env.write("album/named-wrong.txt", &jpeg);

    let ran = env.bt_index(&["album", "--json"]).expect(3);
    let report = ran.json();
    let expected = [
        ("indexed", 3),
        ("duplicates", 1),
        ("failed", 3),
        ("unsupported", 1),
        ("not_pictures", 1),
        ("damaged", 1),
    ];
    assert_counts(&report, &expected);
    assert!(reason(&report, "failed", "head-only.jpg").contains("cannot be decoded"));
    assert!(reason(&report, "failed", "empty.png").contains("is empty"));
    assert!(reason(&report, "failed", "page.jpg").contains("its name promises"));
    assert!(
        reason(&report, "unsupported", "phone.heic")
            .to_lowercase()
            .contains("hei")
    );
    reason(&report, "damaged", "half.jpg");
    assert!(env.record_at("album/half.jpg").about.damaged.is_some());

    let quiet = env.bt_index(&["album", "--quiet"]).expect(3);
    assert_eq!(quiet.stdout, "", "{quiet}");
    assert_eq!(quiet.stderr.lines().count(), 3, "{quiet}");
    assert!(
        quiet.stderr.contains("empty.png: the file is empty"),
        "{quiet}"
    );

    let ran = env.bt_index(&["album"]).expect(3);
    assert!(ran.stderr.contains("empty.png: the file is empty"), "{ran}");
    assert!(
        ran.stdout.contains("3 failed") && ran.stdout.contains("Not supported: 1"),
        "{ran}"
    );
}

#[test]
fn a_broken_file_at_any_place_of_a_batch_shifts_nothing() {
    let env = TestEnv::new();
    env.draw_album("album", 12);
    env.report(&["album", "--batch-size", "4"]);
    let by_path = || -> BTreeMap<PathBuf, Vec<f32>> {
        let records = env.records().into_iter();
        records
            .map(|(record, vector)| (record.locations[0].path.clone(), vector))
            .collect()
    };
    let expected = by_path();
    fs::remove_dir_all(env.index()).unwrap();
    let jpeg = fs::read(env.draw("whole.jpg", 50)).unwrap();
    for seed in 0..=12 {
        env.write(format!("album/{seed:05}-broken.jpg"), &jpeg[..20 + seed]);
    }
    let report = env.report(&["album", "--batch-size", "4"]);
    assert_counts(&report, &[("indexed", 12), ("failed", 13)]);
    let got = by_path();
    assert_eq!(got.len(), expected.len());
    for (path, vector) in expected {
        let cosine: f32 = vector.iter().zip(&got[&path]).map(|(a, b)| a * b).sum();
        assert!(cosine > 0.999, "{}: {cosine}", path.display());
    }
}

#[test]
fn copies_of_a_broken_file_fail_all_and_a_mended_one_is_indexed() {
    let env = TestEnv::new();
    let jpeg = fs::read(env.draw("whole.jpg", 1)).unwrap();
    for copy in 0..5 {
        env.write(format!("album/{copy}.jpg"), &jpeg[..24]);
    }
    assert_counts(&env.report(&["album"]), &[("failed", 5)]);
    env.write("album/3.jpg", &jpeg);
    assert_counts(&env.report(&["album"]), &[("failed", 4), ("indexed", 1)]);
}

#[test]
fn a_picture_with_too_many_pixels_is_refused_and_one_within_the_limit_is_not() {
    let env = TestEnv::new();
    env.draw("album/a.png", 1);
    assert_counts(
        &env.report(&["album", "--max-pixels", "6911"]),
        &[("failed", 1)],
    );
    assert_counts(
        &env.report(&["album", "--max-pixels", "6912"]),
        &[("indexed", 1)],
    );
}

#[cfg(unix)]
#[test]
fn links_that_lead_nowhere_or_back_are_warnings_and_links_are_followed_when_asked() {
    use std::os::unix::fs::symlink;
    let env = TestEnv::new();
    env.draw("album/a.png", 1);
    env.draw("elsewhere/b.png", 2);
    symlink(env.path("nowhere.png"), env.path("album/dangling.png")).unwrap();
    symlink(env.path("album"), env.path("album/loop")).unwrap();
    symlink(env.path("elsewhere"), env.path("album/link")).unwrap();
    let ran = env.bt_index(&["album", "--json"]).expect(0);
    assert_counts(&ran.json(), &[("indexed", 1), ("warnings", 1)]);
    let report = env.report(&["album", "--follow"]);
    assert_counts(
        &report,
        &[("indexed", 1), ("unchanged", 1), ("warnings", 2)],
    );
    env.record_at("album/link/b.png");
}

#[cfg(target_os = "linux")]
#[test]
fn a_name_that_is_no_utf8_is_as_good_as_any() {
    use std::os::unix::ffi::OsStrExt;
    let env = TestEnv::new();
    let name = PathBuf::from(std::ffi::OsStr::from_bytes(b"album/caf\xe9.png"));
    env.draw(&name, 1);
    env.write(
        PathBuf::from(std::ffi::OsStr::from_bytes(b"album/bad\xff.jpg")),
        "x",
    );
    assert_counts(&env.report(&["album"]), &[("indexed", 1), ("failed", 1)]);
    assert_counts(&env.report(&["album"]), &[("unchanged", 1), ("failed", 1)]);
    assert_eq!(env.records()[0].0.locations[0].path, env.path(name));
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_may_not_be_read_is_listed_and_nothing_in_it_is_dropped() {
    use std::os::unix::fs::PermissionsExt;
    let env = TestEnv::new();
    env.draw("album/open/a.png", 1);
    env.draw("album/closed/b.png", 2);
    env.report(&["album"]);
    let closed = env.path("album/closed");
    fs::set_permissions(&closed, PermissionsExt::from_mode(0o000)).unwrap();
    let mut command = Command::new(BT_INDEX);
    if fs::read_dir(&closed).is_ok() {
        // The superuser may read everything, unless that right is taken from him.
        command = Command::new("setpriv");
        let rights = "-dac_override,-dac_read_search";
        command.args(["--bounding-set", rights, "--inh-caps", rights, BT_INDEX]);
    }
    env.set_up(&mut command);
    let output = command.args(["album", "--prune", "--json"]).output();
    fs::set_permissions(&closed, PermissionsExt::from_mode(0o700)).unwrap();
    let ran: Ran = match output {
        Ok(output) => output.into(),
        Err(error) => {
            return eprintln!("skipped: run by the superuser, and without setpriv: {error}");
        }
    };
    let report = ran.expect(3).json();
    assert_counts(&report, &[("unchanged", 1), ("failed", 1)]);
    assert!(reason(&report, "failed", "closed").contains("cannot be read"));
    env.record_at("album/closed/b.png");
}

#[cfg(unix)]
#[test]
fn a_file_that_may_not_grow_ends_the_run_and_what_was_committed_is_kept() {
    let env = TestEnv::new();
    env.draw_album("album", 60);
    env.report(&["album/00001.png"]);
    // No file may grow beyond so many blocks of 512 bytes; the signal that comes with it is ignored, so
    // that writing fails instead.
    let limited = r#"trap "" XFSZ; ulimit -f 40; exec "$0" album"#;
    let mut command = Command::new("sh");
    env.set_up(&mut command);
    let ran: Ran = command
        .args(["-c", limited, BT_INDEX])
        .output()
        .unwrap()
        .into();
    let ran = ran.expect(2);
    assert!(
        ran.stderr.contains("error: ") && ran.stderr.contains("File too large"),
        "{ran}"
    );
    finishes_after(&env, &ran);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_ends_the_run_with_a_hint_and_what_was_committed_is_kept() {
    let env = TestEnv::new();
    env.draw_album("album", 60);
    fs::create_dir(env.path("disk")).unwrap();
    // A disk of our own, which goes with the process; what is on it is copied out before.
    let script = r#"
        mount -t tmpfs -o size=4m none disk || exit 99
        "$0" album/00001.png --index disk/index --quiet || exit 98
        dd if=/dev/zero of=disk/filler bs=1k 2>/dev/null
        truncate -s -24k disk/filler
        "$0" album --index disk/index
        code=$?
        cp -r disk/index index
        exit $code"#;
    let mut command = Command::new("unshare");
    env.set_up(&mut command);
    let rights = [
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        script,
        BT_INDEX,
    ];
    let ran: Ran = match command.args(rights).output() {
        Ok(output) => output.into(),
        Err(error) => return eprintln!("skipped: no unshare: {error}"),
    };
    if ran.code == Some(99) || ran.stderr.starts_with("unshare: ") {
        return eprintln!("skipped: this system lets nobody mount a disk: {ran}");
    }
    let ran = ran.expect(2);
    assert!(ran.stderr.contains("No space left on device"), "{ran}");
    assert!(ran.stderr.contains("hint: free some space"), "{ran}");
    finishes_after(&env, &ran);
}

/// After a run that could not write on, with room again.
#[track_caller]
fn finishes_after(env: &TestEnv, ran: &Ran) {
    let kept = env.records().len() as u64;
    assert!((1..60).contains(&kept), "{kept} pictures: {ran}");
    let report = env.report(&["album"]);
    assert_counts(&report, &[("indexed", 60 - kept), ("unchanged", kept)]);
    let ran = env.bt_index(&["--verify"]).expect(0);
    assert!(ran.stdout.contains("Every checksum is right"), "{ran}");
}
