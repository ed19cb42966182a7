//! How results are shown: JSON, paths, contact sheet, explanation, heat maps.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::BT_SEARCH;
use crate::{album, assert_well_formed};

#[test]
fn the_json_document_is_as_documented() {
    let env = album();
    let arguments = [
        "a cat on a couch",
        "--json",
        "-n",
        "1",
        "--explain",
        "--all",
        "--in",
        "album/home",
    ];
    let ran = env.bt_search(&arguments).expect(0);
    let document = ran.json();
    let album = env.path("album").display().to_string().replace('.', r"\.");
    insta::with_settings!({filters => vec![
        (album.as_str(), "[album]"),
        (r"-?\d+\.\d+(e-?\d+)?", "[number]"),
        (r#""rank": \d+"#, r#""rank": [rank]"#),
        (r#""says_it": \w+"#, r#""says_it": [bool]"#),
    ]}, {
        insta::assert_snapshot!("json", ran.stdout);
    });
    let path = document["results"][0]["path"].as_str().unwrap();
    assert!(
        Path::new(path).starts_with(env.path("album/home")),
        "{path}"
    );
    let none = env
        .bt_search(&["a cat", "--json", "--larger-than", "12MP"])
        .expect(1)
        .json();
    assert_eq!(none["results"], Value::Array(Vec::new()));
}

#[test]
fn paths_are_for_other_programs() {
    let env = album();
    let lines = env
        .bt_search(&["a cat on a couch", "--all", "--paths", "-n", "3"])
        .expect(0)
        .stdout;
    assert_eq!(lines.lines().count(), 3);
    assert!(
        lines.lines().all(|line| Path::new(line).is_file()),
        "{lines}"
    );
    let nul = env
        .bt_search(&["a cat on a couch", "--all", "-0", "-n", "3"])
        .expect(0)
        .stdout;
    assert_eq!(nul.replace('\0', "\n"), lines);
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    let env = album();
    let mut child = env
        .command(BT_SEARCH)
        .args(["an animal", "--all", "-n", "80"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn an_explanation_tells_every_stage() {
    let env = album();
    let ran = env.bt_search(&["a cat on a couch", "--explain"]).expect(0);
    for part in [
        "vector #",
        "fused #",
        "ITM ",
        "exact",
        "of at most 20 looked at",
        "time: embed ",
        " ms",
    ] {
        assert!(ran.stdout.contains(part), "{part}: {ran}");
    }
    let off = env
        .bt_search(&["a cat on a couch", "--explain", "--rerank", "0"])
        .expect(0);
    assert!(
        off.stdout.contains("not reranked") && !off.stdout.contains("ITM "),
        "{off}"
    );
}

#[test]
fn a_contact_sheet_is_one_well_formed_page() {
    let env = album();
    let ran = env
        .bt_search(&[
            "a cat on a couch",
            "--all",
            "-n",
            "3",
            "--html",
            "found.html",
            "--why",
        ])
        .expect(0);
    assert!(ran.stderr.contains("wrote found.html"), "{ran}");
    let page = fs_err::read_to_string(env.path("found.html")).unwrap();
    assert_well_formed(&page);
    assert_eq!(page.matches("<article ").count(), 3);
    // Each picture, with `cat` and with `couch`.
    assert_eq!(page.matches("src=\"data:image/jpeg;base64,").count(), 9);
    assert!(
        page.contains("alt=\"where \u{201c}couch\u{201d} was found in"),
        "alternative texts"
    );
    for outside in ["src=\"http", "<script", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(!env.path("why").exists(), "inside the page, not beside it");
}

#[test]
fn why_draws_each_word_over_the_picture() {
    let env = album();
    env.bt_search(&[
        "a cat on a couch",
        "-n",
        "1",
        "--in",
        "album/home",
        "--why=heat",
    ])
    .expect(0);
    let mut files: Vec<PathBuf> = fs_err::read_dir(env.path("heat"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let words: Vec<String> = files
        .iter()
        .map(|file| file.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    assert!(
        words[0].starts_with("01-IMG_00") && words[0].ends_with("-1-cat"),
        "{words:?}"
    );
    assert!(
        words[1].ends_with("-2-couch") && words.len() == 2,
        "{words:?}"
    );
    let best = env.bt_search(&[
        "a cat on a couch",
        "-n",
        "1",
        "--in",
        "album/home",
        "--paths",
    ]);
    let picture = image::open(best.stdout.trim_end()).unwrap();
    for file in &files {
        let drawn = image::open(file).unwrap();
        assert_eq!(
            (drawn.width(), drawn.height()),
            (picture.width(), picture.height())
        );
    }
    let ran = env.bt_search(&["--similar-to", "album/home/IMG_0012.jpg", "--why"]);
    assert_eq!(ran.code, Some(2), "{ran}");
}
