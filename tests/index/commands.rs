//! What the program is asked for besides indexing, and how it says things.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fs_err as fs;

use crate::assert_counts;
use crate::harness::TestEnv;

/// Every file below a folder with its bytes.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(contents(&path));
        } else {
            files.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    files
}

#[test]
fn a_dry_run_foresees_everything_and_writes_nothing() {
    let env = TestEnv::new();
    env.draw_album("album", 3);
    let report = env.report(&["album", "--dry-run"]);
    assert_counts(&report, &[("indexed", 3)]);
    assert!(!env.index().exists());

    env.report(&["album"]);
    fs::rename(env.path("album/00001.png"), env.path("album/moved.png")).unwrap();
    fs::copy(env.path("album/00002.png"), env.path("album/copy.png")).unwrap();
    env.write("album/00003.txt", "a caption");
    env.draw("album/new.png", 9);
    let before = contents(&env.path(""));
    let foreseen = env.report(&["album", "--dry-run"]);
    let expected = [
        ("indexed", 1),
        ("moved", 1),
        ("duplicates", 1),
        ("redescribed", 1),
        ("unchanged", 1),
        ("not_pictures", 1),
    ];
    let of_dry_run = [&expected[..], &[("vanished", 1)]].concat();
    assert_counts(&foreseen, &of_dry_run);
    assert_eq!(contents(&env.path("")), before);
    let said = env.bt_index(&["album", "--dry-run"]).expect(0).stdout;
    assert!(said.contains("Nothing was changed"), "{said}");
    assert_counts(&env.report(&["album"]), &expected);
}

#[test]
fn the_report_is_one_json_document() {
    let env = TestEnv::new();
    env.draw("album/a.png", 1);
    env.write("album/empty.jpg", "");
    let said = env.bt_index(&["album", "--json"]).expect(3).stdout;
    let root = env.path("").display().to_string();
    insta::with_settings!({filters => vec![
        (root.as_str(), "[TMP]/"),
        (r#""seconds": [0-9.]+"#, r#""seconds": [TIME]"#),
    ]}, {
        insta::assert_snapshot!(said, @r#"
        {
          "dry_run": false,
          "index": "[TMP]/index",
          "found": 2,
          "indexed": 1,
          "unchanged": 0,
          "moved": 0,
          "duplicates": 0,
          "redescribed": 0,
          "gone": 0,
          "not_pictures": 0,
          "failed": [
            {
              "path": "[TMP]/album/empty.jpg",
              "reason": "the file is empty"
            }
          ],
          "unsupported": [],
          "damaged": [],
          "warnings": [],
          "vanished": 0,
          "pruned": 0,
          "interrupted": false,
          "pictures": 1,
          "generation": 1,
          "seconds": [TIME]
        }
        "#);
    });
}

#[test]
fn the_summary_says_what_was_done_and_what_to_do_next() {
    let env = TestEnv::new();
    env.draw_album("album", 3);
    env.write("album/notes.txt", "x");
    let said = env.bt_index(&["album"]).expect(0).stdout;
    let root = env.path("").display().to_string();
    insta::with_settings!({filters => vec![
        (root.as_str(), "[TMP]/"),
        (r"\([0-9][^)]*\)", "([TIME])"),
    ]}, {
        insta::assert_snapshot!(said, @r#"
        Pictures: 3 new ([TIME])
        Other files passed over: 1
        The index in `[TMP]/index` holds 3 pictures.
        Next: bt-search "a cat on a couch" --index [TMP]/index
        "#);
    });
    let said = env.bt_index(&["album", "--quiet"]).expect(0);
    assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("", ""));
}

#[test]
fn a_folder_without_pictures_is_told_by_the_exit_code() {
    let env = TestEnv::new();
    env.write("album/notes.txt", "x");
    let said = env.bt_index(&["album"]).expect(1).stdout;
    assert!(said.starts_with("No pictures among 1 files."), "{said}");
    fs::create_dir(env.path("nothing")).unwrap();
    let said = env.bt_index(&["nothing"]).expect(1).stdout;
    assert!(said.starts_with("No files here."), "{said}");
}

#[test]
fn excluded_and_hidden_files_are_left_out() {
    let env = TestEnv::new();
    for (seed, name) in ["a.png", ".b.png", "skip/c.png", "deep/d.gif", "._a.png"]
        .into_iter()
        .enumerate()
    {
        env.draw(format!("album/{name}"), seed as u64);
    }
    let options = ["album", "--exclude", "skip/", "--exclude", "*.gif"];
    assert_counts(&env.report(&options), &[("indexed", 1)]);
    let report = env.report(&["album", "--hidden"]);
    assert_counts(&report, &[("indexed", 3), ("unchanged", 1)]);
    let ran = env.bt_index(&["album", "--exclude", "a[b"]).expect(2);
    assert!(ran.stderr.contains("`a[b` is not a pattern"), "{ran}");
}

#[test]
fn status_verify_and_compact_tell_about_the_index() {
    let env = TestEnv::new();
    for command in ["--status", "--verify", "--compact"] {
        let ran = env.bt_index(&[command]).expect(2);
        assert!(ran.stderr.contains("there is no index in"), "{ran}");
        assert!(ran.stderr.contains("hint: "), "{ran}");
    }
    env.draw_album("album", 5);
    env.report(&["album"]);
    for seed in 1..=5 {
        env.draw(format!("album/{seed:05}.png"), seed + 100);
    }
    assert_counts(&env.report(&["album"]), &[("indexed", 5)]);

    let said = env.bt_index(&["--status"]).expect(0).stdout;
    assert!(
        said.contains("pictures    5") && said.contains("model       mini"),
        "{said}"
    );
    let status = env.report(&["--status"]);
    assert_eq!(
        (&status["pictures"], &status["header"]["model"]["spec"]),
        (&5.into(), &"mini".into())
    );

    assert!(
        env.bt_index(&["--verify"])
            .expect(0)
            .stdout
            .contains("Every checksum is right")
    );
    let before = env.records();
    let said = env.bt_index(&["--compact"]).expect(0).stdout;
    assert!(said.starts_with("5 pictures, "), "{said}");
    assert_eq!(env.records(), before);
    assert_counts(&env.report(&["album"]), &[("unchanged", 5)]);
}

#[test]
fn verify_names_a_damaged_file_and_ends_with_an_error() {
    let env = TestEnv::new();
    env.draw_album("album", 3);
    env.report(&["album"]);
    let (segment, mut bytes) = contents(&env.path("index/segments"))
        .into_iter()
        .max_by_key(|(_, bytes)| bytes.len())
        .unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    fs::write(&segment, bytes).unwrap();
    let ran = env.bt_index(&["--verify"]).expect(2);
    let name = segment.file_name().unwrap().to_str().unwrap();
    assert!(ran.stdout.contains(name), "{ran}");
    assert!(
        ran.stderr.contains("damaged") && ran.stderr.contains("index the same folders again"),
        "{ran}"
    );
    // What the hint says helps.
    assert_counts(&env.report(&["album"]), &[("indexed", 1), ("unchanged", 2)]);
    env.bt_index(&["--compact"]).expect(0);
    env.bt_index(&["--verify"]).expect(0);
    assert_eq!(env.records().len(), 3);
}

#[test]
fn an_index_keeps_its_model_and_refuses_another() {
    let env = TestEnv::new();
    env.draw_album("album", 2);
    env.report(&["album", "--fit", "squeeze"]);
    env.draw("album/new.png", 9);
    assert_counts(&env.report(&["album"]), &[("indexed", 1), ("unchanged", 2)]);
    let ran = env.bt_index(&["album", "--fit", "patch"]).expect(2);
    assert!(ran.stderr.contains("was made with"), "{ran}");
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tiny");
    let ran = env
        .bt_index(&["album", "--model", tiny.to_str().unwrap()])
        .expect(2);
    assert!(
        ran.stderr.contains("was made with") && ran.stderr.contains("hint: "),
        "{ran}"
    );
    assert_eq!(env.records().len(), 3);
}

#[test]
fn the_short_help_fits_a_screen_and_the_long_one_has_examples() {
    let env = TestEnv::new();
    let short = env.bt_index(&["-h"]).expect(0).stdout;
    assert!(
        short.lines().count() <= 45,
        "{} lines",
        short.lines().count()
    );
    assert!(
        short.lines().all(|line| line.chars().count() <= 100),
        "{short}"
    );
    let long = env.bt_index(&["--help"]).expect(0).stdout;
    assert!(
        long.contains("bt-index samples\n") && long.contains("Exit codes:"),
        "{long}"
    );
    let ran = env.bt_index(&["album", "--exlude", "x"]).expect(2);
    assert!(
        ran.stderr.contains("--exclude"),
        "the nearest flag is offered: {ran}"
    );
    let ran = env.bt_index::<&str>(&[]).expect(2);
    assert!(ran.stderr.contains("PATH"), "{ran}");
}
