//! `--device` and `--precision` of every program: what is refused, and what is told.

#![allow(clippy::unwrap_used)]

mod harness;

use harness::{BT_INDEX, BT_SEARCH, Ran, TestEnv, records, server::BT_SERVER};

const BT_EVAL: &str = env!("CARGO_BIN_EXE_bt-eval");
const BT_MODEL: &str = env!("CARGO_BIN_EXE_bt-model");

/// Each program with what it needs to come to its model: an album, an index of it, a picture.
fn each_program(env: &TestEnv, flags: &[&str]) -> Vec<Ran> {
    let pairs = concat!(env!("CARGO_MANIFEST_DIR"), "/samples/samples.json");
    [
        (BT_INDEX, vec!["album", "--index", "other"]),
        (BT_SEARCH, vec!["a cat"]),
        (BT_EVAL, vec![pairs, "--pictures", "2", "--captions", "1"]),
        (BT_MODEL, vec!["features", "album/0.png", "a cat"]),
        (BT_SERVER, vec!["--bind", "127.0.0.1:0"]),
    ]
    .into_iter()
    .map(|(program, arguments)| env.run(program, &[&arguments, flags].concat()))
    .collect()
}

fn album() -> TestEnv {
    let env = TestEnv::new();
    env.draw("album/0.png", 0);
    env.draw("album/1.png", 1);
    env.bt_index(&["album", "--device", "cpu"]).expect(0);
    env
}

#[test]
fn an_unknown_precision_is_answered_with_the_list() {
    for ran in each_program(&album(), &["--precision", "f64"]) {
        assert_eq!(ran.code, Some(2), "{ran}");
        for word in ["--precision", "`f64`", "auto, f32, bf16 or int8"] {
            assert!(ran.stderr.contains(word), "`{word}` is missing: {ran}");
        }
    }
}

#[test]
fn an_unknown_device_is_answered_with_the_list() {
    for ran in each_program(&album(), &["--device", "gpu"]) {
        assert_eq!(ran.code, Some(2), "{ran}");
        assert!(ran.stderr.contains("`gpu` is not a device"), "{ran}");
        assert!(ran.stderr.contains("auto, cpu, cuda"), "{ran}");
    }
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_device_of_another_build_says_how_to_build_it() {
    for ran in each_program(&album(), &["--device", "cuda"]) {
        assert_eq!(ran.code, Some(2), "{ran}");
        assert!(ran.stderr.contains("--features cuda"), "{ran}");
    }
}

#[test]
fn devices_that_share_the_work_lose_and_change_nothing() {
    let env = TestEnv::new();
    env.draw_album("album", 40);
    let indexed = |devices: &str| {
        let index = env.path(format!("by-{devices}"));
        let flags = ["--device", devices, "--batch-size", "3", "--index"];
        let arguments = [&["album"][..], &flags, &[index.to_str().unwrap()]].concat();
        env.bt_index(&arguments).expect(0);
        records(&index)
    };
    let (one, shared) = (indexed("cpu"), indexed("cpu,cpu,cpu"));
    assert_eq!(shared.len(), 40);
    for ((record, vector), (other, same)) in one.iter().zip(&shared) {
        assert_eq!(record.id, other.id);
        let off = vector.iter().zip(same).map(|(a, b)| (a - b).abs());
        assert!(off.fold(0f32, f32::max) < 2e-5);
    }
}

#[test]
fn auto_works_everywhere_and_says_at_most_in_one_line_why_it_is_no_gpu() {
    let env = album();
    let ran = env
        .bt_index(&["album", "--index", "auto", "--device", "auto"])
        .expect(0);
    let lines = ran.stderr.matches("no GPU is used: ").count();
    // A build for processors alone has nothing to explain, one for GPUs is told off once or has one.
    assert!(lines <= usize::from(cfg!(feature = "cuda")), "{ran}");
    let quiet = env.bt_search(&["a cat", "--all", "--device", "auto", "--quiet"]);
    assert_eq!(quiet.stderr, "", "{quiet}");
}

#[test]
fn settings_and_environment_name_the_precision_too() {
    let env = album();
    env.write("settings.toml", "precision = \"f16\"\n");
    let mut command = env.command(BT_SEARCH);
    command
        .args(["a cat"])
        .env("BT_SETTINGS", env.path("settings.toml"));
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("`f16`"));
    let mut command = env.command(BT_SEARCH);
    command.args(["a cat", "--all"]).env("BT_PRECISION", "f32");
    assert_eq!(command.output().unwrap().status.code(), Some(0));
}
