//! Words that stand beside a picture, over time.

use fs_err as fs;

use crate::assert_counts;
use crate::harness::TestEnv;

#[test]
fn a_sidecar_that_comes_changes_and_goes_changes_the_record_alone() {
    let env = TestEnv::new();
    env.draw("album/a.png", 1);
    env.draw("album/b.png", 2);
    env.write("album/a.txt", "a cat on a couch");
    let report = env.report(&["album"]);
    assert_counts(&report, &[("indexed", 2), ("not_pictures", 1)]);
    assert_eq!(
        env.record_at("album/a.png").about.captions,
        ["a cat on a couch"]
    );

    env.write("album/a.txt", "a dog in a car");
    env.write(
        "album/b.json",
        r#"{"description": "a boat", "keywords": ["sea"]}"#,
    );
    let expected = [("redescribed", 2), ("not_pictures", 2)];
    assert_counts(&env.report(&["album"]), &expected);
    assert_eq!(
        env.record_at("album/a.png").about.captions,
        ["a dog in a car"]
    );
    let boat = env.record_at("album/b.png").about;
    assert_eq!(
        (boat.captions, boat.keywords),
        (vec!["a boat".into()], vec!["sea".into()])
    );
    assert_counts(
        &env.report(&["album"]),
        &[("unchanged", 2), ("not_pictures", 2)],
    );

    fs::remove_file(env.path("album/a.txt")).unwrap();
    let expected = [("redescribed", 1), ("unchanged", 1), ("not_pictures", 1)];
    assert_counts(&env.report(&["album"]), &expected);
    assert!(env.record_at("album/a.png").about.captions.is_empty());
}

#[test]
fn a_picture_moved_with_its_sidecar_keeps_its_caption() {
    let env = TestEnv::new();
    env.draw("album/old/a.png", 1);
    env.write("album/old/a.png.txt", "a cat on a couch");
    env.report(&["album"]);
    fs::rename(env.path("album/old"), env.path("album/new")).unwrap();
    assert_counts(
        &env.report(&["album"]),
        &[("moved", 1), ("not_pictures", 1)],
    );
    assert_eq!(
        env.record_at("album/new/a.png").about.captions,
        ["a cat on a couch"]
    );
    assert_counts(
        &env.report(&["album"]),
        &[("unchanged", 1), ("not_pictures", 1)],
    );
}

#[test]
fn copies_with_different_sidecars_carry_the_captions_of_both_and_settle() {
    let env = TestEnv::new();
    env.draw("album/a.png", 1);
    env.draw("album/b.png", 1);
    env.write("album/a.txt", "a cat");
    env.write("album/b.txt", "a couch");
    let expected = [("indexed", 1), ("duplicates", 1), ("not_pictures", 2)];
    assert_counts(&env.report(&["album"]), &expected);
    let mut captions = env.record_at("album/a.png").about.captions;
    captions.sort();
    assert_eq!(captions, ["a cat", "a couch"]);
    assert_counts(
        &env.report(&["album"]),
        &[("unchanged", 2), ("not_pictures", 2)],
    );
}

#[test]
fn a_sidecar_that_is_no_json_is_named_and_the_picture_is_indexed() {
    let env = TestEnv::new();
    env.draw("album/a.png", 1);
    env.write("album/a.json", "{");
    let report = env.report(&["album"]);
    assert_counts(
        &report,
        &[("indexed", 1), ("not_pictures", 1), ("warnings", 1)],
    );
    assert!(
        report["warnings"][0]["path"]
            .as_str()
            .unwrap()
            .ends_with("a.json"),
        "{report}"
    );
}
