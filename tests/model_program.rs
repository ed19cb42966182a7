//! `bt-model` as a user runs it.

#![allow(clippy::unwrap_used)]

mod harness;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use harness::{Ran, TestEnv};
use serde_json::{Value, json};

const BT_MODEL: &str = env!("CARGO_BIN_EXE_bt-model");

fn golden(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(path)
        .to_string_lossy()
        .into_owned()
}

fn bt_model(env: &TestEnv, arguments: &[&str]) -> Ran {
    env.run(BT_MODEL, arguments)
}

#[test]
fn info_tells_what_a_model_is_and_what_it_lacks() {
    let env = TestEnv::new();
    let mini = bt_model(&env, &["info"]).expect(0);
    for part in [
        "mini",
        "ITC yes (192 values)",
        "128 x 128",
        "fingerprint",
        "model.safetensors",
    ] {
        assert!(mini.stdout.contains(part), "{part}: {mini}");
    }
    let info = bt_model(&env, &["info", &golden("sharded"), "--json"])
        .expect(0)
        .json();
    assert_eq!(info["parameters"]["total"], 110_270);
    assert_eq!(
        info["heads"],
        json!({ "itc": false, "itc_cross": false, "itm": true, "mlm": true })
    );
    assert!(
        info["warnings"]
            .as_array()
            .unwrap()
            .iter()
            .any(|text| text.as_str().unwrap().contains("no ITC heads"))
    );
    let plain = bt_model(&env, &["info", &golden("tiny"), "--json"])
        .expect(0)
        .json();
    assert_ne!(info["fingerprint"], plain["fingerprint"]);

    let nobody = bt_model(&env, &["info", "no-such-model"]).expect(2);
    assert!(
        nobody.stderr.contains("no-such-model") && nobody.stderr.contains("hint:"),
        "{nobody}"
    );
}

#[test]
fn features_prints_every_vector_and_the_match_probability() {
    let env = TestEnv::new();
    let picture = env.draw("box.png", 3);
    let picture = picture.to_str().unwrap();
    let all = bt_model(&env, &["features", picture, "a red box", "--json"])
        .expect(0)
        .json();
    let length = |name: &str| all[name].as_array().unwrap().len();
    assert_eq!(length("image_features"), 65);
    assert_eq!(
        (
            length("pooler_output"),
            length("text_embeds"),
            length("image_embeds")
        ),
        (384, 192, 192)
    );
    let probability = all["itm_probability"].as_f64().unwrap();
    let logit = |i: usize| all["itm_logits"][i].as_f64().unwrap();
    assert!((probability - 1.0 / (1.0 + (logit(0) - logit(1)).exp())).abs() < 1e-6);
    let short = bt_model(&env, &["features", picture, "a red box"]).expect(0);
    assert!(
        short
            .stdout
            .contains(&format!("match            {:.1} %", 100.0 * probability)),
        "{short}"
    );

    let text = env.write("notes.txt", "no picture");
    let refused = bt_model(&env, &["features", text.to_str().unwrap(), "x"]).expect(2);
    assert!(
        refused.stderr.contains("notes.txt") && refused.stderr.contains("not a picture"),
        "{refused}"
    );
    assert!(
        bt_model(&env, &["features", "gone.jpg", "x"])
            .expect(2)
            .stderr
            .contains("gone.jpg")
    );
}

#[test]
fn mask_fills_each_gap_with_the_likeliest_words() {
    let env = TestEnv::new();
    let ran = bt_model(&env, &["mask", "a <mask> on a <mask>", "-n", "3", "--json"])
        .expect(0)
        .json();
    let masks = ran["masks"].as_array().unwrap();
    assert_eq!(masks.len(), 2);
    for choices in masks {
        let probabilities: Vec<f64> = choices
            .as_array()
            .unwrap()
            .iter()
            .map(|choice| choice["probability"].as_f64().unwrap())
            .collect();
        assert_eq!(probabilities.len(), 3);
        assert!(
            probabilities.is_sorted_by(|a, b| a >= b),
            "{probabilities:?}"
        );
    }
    let picture = env.draw("a.png", 1);
    let with = [
        "mask",
        "a cat on a <mask>",
        "--image",
        picture.to_str().unwrap(),
        "-n",
        "2",
    ];
    assert_eq!(bt_model(&env, &with).expect(0).stdout.lines().count(), 2);
    assert!(
        bt_model(&env, &["mask", "a cat"])
            .expect(2)
            .stderr
            .contains("<mask>")
    );
}

#[test]
fn a_converted_checkpoint_is_a_model_like_any_other() {
    let env = TestEnv::new();
    let made = bt_model(
        &env,
        &[
            "convert",
            &golden("lightning/model.ckpt"),
            "made",
            "--tokenizer",
            &golden("tiny"),
        ],
    );
    let made = made.expect(0);
    assert!(made.stdout.contains("bt-model info made"), "{made}");
    let info = bt_model(&env, &["info", "./made", "--json"])
        .expect(0)
        .json();
    assert_eq!(
        (&info["config"]["itc_image_from"], &info["warnings"]),
        (&json!("tower"), &json!([]))
    );
    let picture = env.draw("a.png", 1);
    let features = [
        "features",
        picture.to_str().unwrap(),
        "a cat",
        "--model",
        "./made",
        "--json",
    ];
    assert_eq!(
        bt_model(&env, &features).expect(0).json()["image_embeds"]
            .as_array()
            .unwrap()
            .len(),
        16
    );

    let without = bt_model(&env, &["convert", &golden("lightning/model.ckpt"), "bare"]).expect(0);
    assert!(without.stderr.contains("tokenizer is missing"), "{without}");
    let again = bt_model(&env, &["convert", &golden("lightning/model.ckpt"), "made"]).expect(2);
    assert!(again.stderr.contains("is there already"), "{again}");
    let hostile = bt_model(
        &env,
        &["convert", &golden("lightning/hostile.ckpt"), "owned"],
    )
    .expect(2);
    assert!(
        hostile.stderr.contains("`posix.system`") && !hostile.stdout.contains("was run"),
        "{hostile}"
    );
    assert!(!env.path("owned").exists());
}

/// `tiny` without its heads.
fn headless(env: &TestEnv) -> PathBuf {
    let folder = env.path("headless");
    fs_err::create_dir(&folder).unwrap();
    for file in ["config.json", "preprocessor_config.json", "tokenizer.json"] {
        fs_err::copy(Path::new(&golden("tiny")).join(file), folder.join(file)).unwrap();
    }
    let tensors =
        candle_core::safetensors::load(golden("tiny/model.safetensors"), &Device::Cpu).unwrap();
    let body: HashMap<String, Tensor> = tensors
        .into_iter()
        .filter(|(name, _)| name.starts_with("bridgetower."))
        .collect();
    candle_core::safetensors::save(&body, folder.join("model.safetensors")).unwrap();
    folder
}

#[test]
fn learn_heads_makes_a_headless_checkpoint_search_and_rerank() {
    let env = TestEnv::new();
    let base = headless(&env);
    let base = base.to_str().unwrap();
    env.draw_album("album", 20);
    env.write("album/broken.jpg", [0xff, 0xd8, 0xff, 0xe0]);
    let mut captions: serde_json::Map<String, Value> = (1..=20)
        .map(|i| {
            (
                format!("{i:05}.png"),
                json!({ "captions": [format!("a box on the sky {i}"), "a box"] }),
            )
        })
        .collect();
    captions.insert("broken.jpg".to_owned(), json!({ "captions": ["a cat"] }));
    env.write(
        "album/captions.json",
        serde_json::to_vec(&captions).unwrap(),
    );

    let learn = [
        "learn-heads",
        "album/captions.json",
        "--model",
        base,
        "--out",
        "learnt",
    ];
    let ran = bt_model(&env, &learn).expect(3);
    assert!(ran.stderr.contains("broken.jpg"), "{ran}");
    for part in [
        "learnt the ITC and ITM from 16 pictures; 4 held out, 1 left out",
        "R@10",
        "--model learnt",
    ] {
        assert!(ran.stdout.contains(part), "{part}: {ran}");
    }
    let info = bt_model(&env, &["info", "./learnt", "--json"])
        .expect(0)
        .json();
    assert_eq!(
        (&info["heads"]["itc"], &info["heads"]["itm"]),
        (&json!(true), &json!(true))
    );

    env.bt_index(&["album", "--model", "./learnt"]).expect(3);
    env.bt_search(&["a box on the sky 7", "--all"]).expect(0);

    let misplaced = [
        "learn-heads",
        "album/captions.json",
        "--images",
        ".",
        "--model",
        base,
        "--out",
        "other",
    ];
    let misplaced = bt_model(&env, &misplaced).expect(2);
    assert!(misplaced.stderr.contains("--images"), "{misplaced}");
    assert!(!env.path("other").exists());
}

#[test]
fn help_teaches_and_a_wrong_word_is_answered_with_the_right_one() {
    let env = TestEnv::new();
    let help = bt_model(&env, &["--help"]).expect(0);
    for part in ["Examples:", "Exit codes:", "learn-heads", "mini"] {
        assert!(help.stdout.contains(part), "{part}: {help}");
    }
    let typo = bt_model(&env, &["inffo"]).expect(2);
    assert!(typo.stderr.contains("info"), "{typo}");
    let learning = bt_model(&env, &["learn-heads", "--help"]).expect(0);
    assert!(learning.stdout.contains("Karpathy"), "{learning}");
}
