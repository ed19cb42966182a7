//! `bt-eval` as a user runs it: the figures of the shipped model on the album, and the files that it refuses.

#![allow(clippy::unwrap_used)]

mod harness;

use std::path::{Path, PathBuf};

use bt_model::{Calibration, RankBy};
use harness::{Ran, TestEnv};
use serde_json::Value;

const BT_EVAL: &str = env!("CARGO_BIN_EXE_bt-eval");

fn repository(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(path)
        .to_string_lossy()
        .into_owned()
}

fn bt_eval(env: &TestEnv, arguments: &[&str]) -> Ran {
    env.run(
        BT_EVAL,
        &[&[repository("samples/samples.json").as_str()], arguments].concat(),
    )
}

/// Figures that were measured with the reference implementation when the model was made; another
/// models/mini has others. One caption of 120 is 0.8 points.
#[track_caller]
fn assert_recall(measured: &Value, expected: [f64; 3]) {
    for (name, expected) in ["at_1", "at_5", "at_10"].into_iter().zip(expected) {
        let got = measured[name].as_f64().unwrap();
        assert!(
            (got - expected).abs() <= 1.3,
            "{name}: {got}, expected {expected} of {measured}"
        );
    }
}

#[test]
fn the_shipped_model_finds_the_album_as_the_reference_implementation_does() {
    let env = TestEnv::new();
    let report = bt_eval(&env, &["--captions", "1", "--json"])
        .expect(0)
        .json();
    assert_eq!(
        (&report["pictures"], &report["captions"]),
        (&120.into(), &120.into())
    );
    let (images, texts) = (&report["text_to_image"], &report["image_to_text"]);
    assert_recall(&images["embedding"], [97.5, 100.0, 100.0]);
    assert_recall(&images["itm"], [98.3, 100.0, 100.0]);
    assert_recall(&images["itm_plus_itc"], [97.5, 100.0, 100.0]);
    assert_recall(&texts["embedding"], [97.5, 100.0, 100.0]);
    assert_recall(&texts["itm"], [96.7, 100.0, 100.0]);
    assert_recall(&texts["itm_plus_itc"], [98.3, 100.0, 100.0]);
    for auc in [&report["auc"]["itm"], &report["auc"]["embedding"]] {
        assert!(auc.as_f64().unwrap() > 0.99, "{auc}");
    }
}

#[test]
fn all_captions_by_embedding_alone_print_a_table() {
    let env = TestEnv::new();
    let report = bt_eval(&env, &["--rerank", "0", "--json"]).expect(0).json();
    assert_recall(&report["text_to_image"]["embedding"], [94.2, 99.0, 99.8]);
    assert_recall(&report["image_to_text"]["embedding"], [91.7, 99.2, 99.2]);
    assert!(report["text_to_image"].get("itm").is_none() && report.get("auc").is_none());

    let table = bt_eval(&env, &["--rerank", "0", "--pictures", "10"])
        .expect(0)
        .stdout;
    for part in [
        "10 pictures",
        "text to image",
        "image to text",
        "R@10",
        "embedding",
    ] {
        assert!(table.contains(part), "{part}: {table}");
    }
}

#[test]
fn the_papers_protocol_scores_the_candidates_of_both_directions() {
    let env = TestEnv::new();
    let arguments = [
        "--protocol",
        "paper",
        "--captions",
        "1",
        "--pictures",
        "20",
        "--json",
    ];
    let report = bt_eval(&env, &arguments).expect(0).json();
    assert_eq!(
        (&report["fit"], &report["rerank"]),
        (&"squeeze".into(), &128.into())
    );
    for direction in ["text_to_image", "image_to_text"] {
        // Nothing is beyond the first 128 of 20: what is measured is ITM alone, and it finds most.
        assert!(
            report[direction]["itm"]["at_5"].as_f64().unwrap() >= 60.0,
            "{report}"
        );
    }
}

#[test]
fn a_calibration_is_fitted_and_can_be_read_by_the_model() {
    let env = TestEnv::new();
    let out: PathBuf = env.path("calibration.json");
    let absent = repository("tests/eval/absent.txt");
    let arguments = [
        "--captions",
        "1",
        "--rerank",
        "5",
        "--absent",
        &absent,
        "--json",
        "--calibrate",
    ];
    let report = bt_eval(&env, &[&arguments[..], &[out.to_str().unwrap()]].concat())
        .expect(0)
        .json();
    let calibration = Calibration::from_json(&fs_err::read_to_string(&out).unwrap()).unwrap();
    assert!(calibration.rerank.slope > 0.0 && calibration.embedding.unwrap().slope > 0.0);
    assert!(
        calibration.measured_on.contains("120 pictures"),
        "{}",
        calibration.measured_on
    );
    let choices = report["choices"].as_array().unwrap();
    let first_places = |choice: &Value| choice["recall_at_1"].as_f64().unwrap();
    let best = choices.iter().map(first_places).fold(0.0, f64::max);
    let chosen = choices.iter().find(|choice| {
        let rank_by: RankBy = serde_json::from_value(choice["rank_by"].clone()).unwrap();
        rank_by == calibration.rank_by
    });
    assert!(
        first_places(chosen.unwrap()) > best - 1.0,
        "sorted by what ranks best: {report}"
    );
    // Better than a coin, which decides 100 of 200 right, on queries that nothing was fitted to.
    let rates = &report["rerank"];
    for kind in ["captions", "things"] {
        let share = |what: &str| rates[format!("{kind}_{what}")].as_f64().unwrap();
        assert!(
            share("answered") + share("nothing_found") > 120.0,
            "{kind}: {rates}"
        );
    }
}

#[test]
fn the_shipped_calibration_was_measured_on_pictures_kept_for_it() {
    let text = fs_err::read_to_string(repository("models/mini/calibration.json")).unwrap();
    let calibration = Calibration::from_json(&text).unwrap();
    assert!(
        calibration.measured_on.contains("500 held-out pictures"),
        "{}",
        calibration.measured_on
    );
    assert!(matches!(calibration.rank_by, RankBy::ItmPlusItc { itc_weight } if itc_weight > 0.0));
}

#[test]
fn what_cannot_be_measured_is_refused_by_name() {
    let env = TestEnv::new();
    let nothing = env.run(BT_EVAL, &["nowhere.json"]).expect(2);
    assert!(nothing.stderr.contains("nowhere.json"), "{nothing}");

    env.write("pairs.json", r#"{"a.jpg": 3}"#);
    let neither = env.run(BT_EVAL, &["pairs.json"]).expect(2);
    assert!(
        neither.stderr.contains("pairs.json") && neither.stderr.contains("Karpathy"),
        "{neither}"
    );

    env.write("pairs.json", r#"{"a.jpg": {"captions": ["a cat"]}}"#);
    let missing = env.run(BT_EVAL, &["pairs.json"]).expect(2);
    assert!(missing.stderr.contains("a.jpg"), "{missing}");

    env.write("a.jpg", "no picture");
    let broken = env.run(BT_EVAL, &["pairs.json"]).expect(2);
    assert!(
        broken.stderr.contains("a.jpg") && broken.stderr.contains("not a picture"),
        "{broken}"
    );
}

#[test]
fn a_karpathy_split_is_measured_by_its_split() {
    let env = TestEnv::new();
    env.draw("images/val2014/1.png", 1);
    env.draw("images/val2014/2.png", 2);
    env.write(
        "dataset_coco.json",
        r#"{"dataset": "coco", "images": [
            {"filename": "1.png", "filepath": "val2014", "split": "test", "sentences": [{"raw": "One."}, {"raw": "First."}]},
            {"filename": "2.png", "filepath": "val2014", "split": "test", "sentences": [{"raw": "Two."}]},
            {"filename": "3.png", "filepath": "val2014", "split": "val", "sentences": [{"raw": "Three."}]}]}"#,
    );
    let report = env
        .run(
            BT_EVAL,
            &["dataset_coco.json", "--images", "images", "--json"],
        )
        .expect(0)
        .json();
    assert_eq!(
        (&report["pictures"], &report["captions"]),
        (&2.into(), &3.into())
    );
    // Two pictures: every caption's own is among the first five.
    assert_eq!(report["text_to_image"]["itm"]["at_5"], 100.0);
}
