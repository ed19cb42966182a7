//! What makes no sense, what is missing, and the help.

use std::path::Path;

use crate::harness::TestEnv;
use crate::{album, assert_refused};

#[test]
fn what_makes_no_sense_is_told_with_the_next_step() {
    let env = album();
    assert_refused(
        &env.bt_search(&[""; 0]),
        &["error: the query is empty", "hint:", "--image"],
    );
    assert_refused(&env.bt_search(&["  "]), &["the query is empty"]);
    let bad = |arguments: &[&str], words: &[&str]| {
        assert_refused(&env.bt_search(&[&["a cat"], arguments].concat()), words);
    };
    bad(
        &["--after", "yesterday"],
        &["--after", "`yesterday`", "2024-07"],
    );
    bad(&["--before", "2024-13"], &["--before", "`2024-13`"]);
    bad(&["--larger-than", "big"], &["--larger-than", "12MP"]);
    bad(&["--near", "here"], &["--near", "LAT,LON,KM"]);
    bad(&["--near", "-91,0,5"], &["latitude"]);
    bad(&["--type", "pdf"], &["--type", "`pdf`", "jpeg, "]);
    bad(&["--min-score", "7"], &["--min-score", "40%"]);
    bad(&["-n", "0"], &["-n"]);
    bad(&["--device", "abacus"], &["abacus"]);
    bad(&["--imge", "x"], &["--image"]);
    env.write("broken.jpg", "no picture at all");
    bad(
        &["--image", "broken.jpg"],
        &[
            "cannot read the query picture `broken.jpg`",
            "not a picture",
        ],
    );
    bad(
        &["--image", "none.jpg"],
        &["cannot read the query picture `none.jpg`"],
    );
}

#[test]
fn no_index_and_an_empty_index_are_told_apart() {
    let env = TestEnv::new();
    let none = env.bt_search(&["a cat"]);
    assert_refused(&none, &["there is no index in", "hint:", "bt-index"]);
    env.write("photos/notes.txt", "no picture");
    let _ = env.bt_index(&["photos"]);
    let empty = env.bt_search(&["a cat"]);
    assert_refused(&empty, &["hint:", "bt-index"]);
}

#[test]
fn another_model_than_the_indexs_is_refused() {
    let env = album();
    let other = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tiny");
    let ran = env.bt_search(&["a cat", "--model", other.to_str().unwrap()]);
    assert_eq!(ran.code, Some(2), "{ran}");
    assert!(ran.stderr.contains("error:"), "{ran}");
    env.bt_search(&["a cat on a couch", "--model", "mini"])
        .expect(0);
}

#[test]
fn the_help_teaches() {
    let env = TestEnv::new();
    let short = env.bt_search(&["-h"]).expect(0).stdout;
    assert!(short.lines().count() <= 60, "{short}");
    for group in [
        "What to find:",
        "Which pictures:",
        "How to show:",
        "How fast, and with what:",
    ] {
        assert!(short.contains(group), "{group}: {short}");
    }
    let long = env.bt_search(&["--help"]).expect(0).stdout;
    assert!(
        long.contains("Examples:") && long.contains("Exit codes:"),
        "{long}"
    );
    assert!(long.contains("BT_INDEX"), "{long}");
}
