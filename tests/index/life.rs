//! An album over time: unchanged, moved, copied, changed, deleted.

use std::fs::FileTimes;

use fs_err as fs;

use crate::assert_counts;
use crate::harness::TestEnv;

#[test]
fn a_second_run_opens_no_file() {
    let env = TestEnv::new();
    env.draw_album("album", 6);
    assert_counts(&env.report(&["album"]), &[("indexed", 6)]);
    // The same size and time, other bytes: who looks only at size and time does not notice.
    let path = env.path("album/00003.png");
    let metadata = fs::metadata(&path).unwrap();
    fs::write(&path, vec![b'x'; usize::try_from(metadata.len()).unwrap()]).unwrap();
    let times = FileTimes::new().set_modified(metadata.modified().unwrap());
    std::fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_times(times)
        .unwrap();
    assert_counts(&env.report(&["album"]), &[("unchanged", 6)]);
}

#[test]
fn a_touched_file_is_read_and_known_again() {
    let env = TestEnv::new();
    let path = env.draw("album/a.png", 1);
    assert_counts(&env.report(&["album"]), &[("indexed", 1)]);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    for _ in 0..2 {
        assert_counts(&env.report(&["album"]), &[("unchanged", 1)]);
    }
    assert_eq!(env.records().len(), 1);
}

#[test]
fn a_folder_that_is_moved_and_moved_back_is_never_embedded_again() {
    let env = TestEnv::new();
    env.draw_album("album/first", 5);
    assert_counts(&env.report(&["album"]), &[("indexed", 5)]);
    let before = env.records();
    for (from, to) in [
        ("album/first", "album/second"),
        ("album/second", "album/first"),
    ] {
        fs::rename(env.path(from), env.path(to)).unwrap();
        assert_counts(&env.report(&["album"]), &[("moved", 5)]);
        assert_eq!(env.record_at(&format!("{to}/00004.png")).locations.len(), 1);
        assert_counts(&env.report(&["album"]), &[("unchanged", 5)]);
    }
    assert_eq!(
        env.records(),
        before,
        "the same records, with the same vectors"
    );
}

#[test]
fn two_files_that_change_their_names_keep_their_vectors() {
    let env = TestEnv::new();
    let (a, b, aside) = (
        env.draw("album/a.png", 1),
        env.draw("album/b.png", 2),
        env.path("aside"),
    );
    assert_counts(&env.report(&["album"]), &[("indexed", 2)]);
    let (id_a, id_b) = (
        env.record_at("album/a.png").id,
        env.record_at("album/b.png").id,
    );
    fs::rename(&a, &aside).unwrap();
    fs::rename(&b, &a).unwrap();
    fs::rename(&aside, &b).unwrap();
    let report = env.report(&["album"]);
    assert_eq!(report["indexed"], 0, "{report}");
    assert_eq!(env.record_at("album/a.png").id, id_b);
    assert_eq!(env.record_at("album/b.png").id, id_a);
    assert_eq!(env.records().len(), 2);
}

#[test]
fn copies_share_one_record_and_one_vector() {
    let env = TestEnv::new();
    let original = env.draw("album/original.png", 1);
    for copy in ["album/copy.png", "album/another.png"] {
        fs::copy(&original, env.path(copy)).unwrap();
    }
    // Whichever comes first is embedded, the others join it while it is on its way.
    let report = env.report(&["album"]);
    assert_counts(&report, &[("indexed", 1), ("duplicates", 2)]);
    assert_eq!(report["pictures"], 1);
    assert_eq!(env.record_at("album/copy.png").locations.len(), 3);
    assert_counts(&env.report(&["album"]), &[("unchanged", 3)]);
    fs::remove_file(original).unwrap();
    assert_counts(
        &env.report(&["album", "--prune"]),
        &[("unchanged", 2), ("vanished", 1), ("pruned", 1)],
    );
    assert_eq!(env.record_at("album/copy.png").locations.len(), 2);
}

#[test]
fn a_picture_that_is_painted_over_replaces_the_old_one() {
    let env = TestEnv::new();
    env.draw_album("album", 3);
    env.report(&["album"]);
    let old = env.record_at("album/00002.png").id;
    env.draw("album/00002.png", 99);
    assert_counts(&env.report(&["album"]), &[("indexed", 1), ("unchanged", 2)]);
    assert_ne!(env.record_at("album/00002.png").id, old);
    assert_eq!(
        env.records().len(),
        3,
        "nobody finds the old picture any more"
    );
    fs::write(env.path("album/00002.png"), "no picture any more").unwrap();
    assert_counts(&env.report(&["album"]), &[("failed", 1), ("unchanged", 2)]);
    assert_eq!(env.records().len(), 2);
}

#[test]
fn what_is_gone_is_counted_and_dropped_only_when_asked_and_only_below_the_roots() {
    let env = TestEnv::new();
    env.draw("album/a.png", 1);
    env.draw("album/b.png", 2);
    env.draw("elsewhere/c.png", 3);
    assert_counts(&env.report(&["album", "elsewhere"]), &[("indexed", 3)]);
    fs::remove_file(env.path("album/b.png")).unwrap();
    fs::remove_dir_all(env.path("elsewhere")).unwrap();
    let report = env.report(&["album"]);
    assert_counts(&report, &[("unchanged", 1), ("vanished", 1)]);
    assert_eq!(report["pictures"], 3);
    let said = env.bt_index(&["album"]).expect(0).stdout;
    assert!(
        said.contains("Recorded files that are gone: 1; `--prune` drops them"),
        "{said}"
    );
    let report = env.report(&["album", "--prune"]);
    assert_counts(&report, &[("unchanged", 1), ("vanished", 1), ("pruned", 1)]);
    assert_eq!(report["pictures"], 2, "what lies elsewhere is left alone");
}

#[test]
fn pruning_a_disk_that_is_not_mounted_drops_nothing() {
    let env = TestEnv::new();
    env.draw("disk/album/a.png", 1);
    env.draw("home/b.png", 2);
    env.report(&["disk", "home"]);
    // Not mounted: an empty folder.
    fs::remove_dir_all(env.path("disk/album")).unwrap();
    let report = env.report(&["disk", "home", "--prune"]);
    assert_counts(
        &report,
        &[("unchanged", 1), ("vanished", 1), ("warnings", 1)],
    );
    // Not there at all: an error, and nothing happens to the other folder either.
    fs::remove_dir(env.path("disk")).unwrap();
    fs::remove_file(env.path("home/b.png")).unwrap();
    let ran = env.bt_index(&["disk", "home", "--prune"]).expect(2);
    assert!(ran.stderr.contains("there is nothing at `disk`"), "{ran}");
    assert_eq!(env.records().len(), 2);
}

#[test]
fn two_spellings_of_a_folder_are_one() {
    let env = TestEnv::new();
    env.draw("album/a.png", 1);
    env.draw("album/deep/b.png", 2);
    let absolute = env.path("album");
    let roots = [
        "./album/../album",
        "album/deep/",
        absolute.to_str().unwrap(),
    ];
    assert_counts(&env.report(&roots), &[("indexed", 2)]);
    assert_counts(&env.report(&["album"]), &[("unchanged", 2)]);
}

#[test]
fn the_index_inside_the_album_is_not_indexed() {
    let env = TestEnv::new();
    env.draw("a.png", 1);
    env.draw("index/README/b.png", 2);
    assert_counts(&env.report(&["."]), &[("indexed", 1)]);
    let ran = env.bt_index(&["index/README"]).expect(2);
    assert!(ran.stderr.contains("lies inside the index folder"), "{ran}");
}

#[test]
fn an_index_whose_catalog_is_deleted_knows_everything_still() {
    let env = TestEnv::new();
    env.draw_album("album", 4);
    env.report(&["album"]);
    let before = env.records();
    fs::remove_dir_all(env.path("index/catalog")).unwrap();
    assert_counts(&env.report(&["album"]), &[("unchanged", 4)]);
    assert_eq!(env.records(), before);
}
