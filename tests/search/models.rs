//! Models without heads, two models, texts beyond a limit.

use std::path::Path;

use crate::harness::TestEnv;
use crate::{album, assert_among_first, assert_refused, copy, names, samples};

/// The shipped model without the weights whose names begin like this, as a folder.
fn mini_without(env: &TestEnv, folder: &str, heads: &[&str]) -> String {
    let mini = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/mini");
    let folder = env.path(folder);
    copy(&mini, &folder);
    let file = folder.join("model.safetensors");
    let mut weights = candle_core::safetensors::load(&file, &candle_core::Device::Cpu).unwrap();
    let before = weights.len();
    weights.retain(|name, _| !heads.iter().any(|head| name.starts_with(head)));
    assert!(weights.len() < before);
    candle_core::safetensors::save(&weights, &file).unwrap();
    // What was measured with the heads says nothing without them.
    let _ = fs_err::remove_file(folder.join("calibration.json"));
    folder.to_str().unwrap().to_owned()
}

#[test]
fn a_model_without_itc_heads_compares_pictures_with_words_one_by_one() {
    let env = TestEnv::new();
    copy(&samples(), &env.path("album"));
    let model = mini_without(&env, "no-itc", &["itc_", "logit_scale"]);
    env.bt_index(&["album", "--quiet", "--model", &model])
        .expect(0);

    let ran = env.bt_search(&["a cat on a couch", "--all"]).expect(0);
    assert!(ran.stderr.contains("one by one, 121 of the 121"), "{ran}");
    let found = names(&env, &["a cat on a couch", "--all", "-n", "20"]);
    assert_among_first(&found, 20, "IMG_0012.jpg");
    let document = env
        .bt_search(&["a cat", "--all", "--json", "--look-at", "30"])
        .expect(0)
        .json();
    assert_eq!(document["looked_at"], 30);
    assert!(document["took_ms"].as_f64().unwrap() > 0.0);

    // Pictures are compared with pictures by their pooled states.
    let found = names(
        &env,
        &["--similar-to", "album/food/IMG_0015.jpg", "-n", "10"],
    );
    assert_eq!(found.len(), 10);
    let image = samples().join("food/IMG_0015.jpg");
    let found = names(&env, &["--image", image.to_str().unwrap(), "-n", "1"]);
    assert_eq!(found, ["IMG_0015.jpg"]);
}

#[test]
fn a_model_without_any_head_refuses_words_and_names_the_ways_on() {
    let env = TestEnv::new();
    copy(&samples().join("night"), &env.path("album"));
    let model = mini_without(&env, "no-heads", &["itc_", "logit_scale", "itm_", "mlm_"]);
    env.bt_index(&["album", "--quiet", "--model", &model])
        .expect(0);
    let ran = env.bt_search(&["a castle"]);
    assert_refused(
        &ran,
        &[
            "neither an ITC nor an ITM head",
            "--image",
            "--rerank-model",
            "learn-heads",
        ],
    );
    assert_eq!(
        names(&env, &["--similar-to", "album/IMG_0044.webp"]).len(),
        2
    );
}

#[test]
fn one_model_embeds_and_another_reranks() {
    let env = TestEnv::new();
    copy(&samples(), &env.path("album"));
    let reranker = mini_without(&env, "no-itc", &["itc_", "logit_scale"]);
    env.bt_index(&["album", "--quiet", "--rerank-model", &reranker])
        .expect(0);
    let ran = env
        .bt_search(&["a cat on a couch", "--all", "--explain"])
        .expect(0);
    assert!(
        ran.stdout.contains("vector #1") && ran.stdout.contains("ITM "),
        "{ran}"
    );
    // The words of the query and the picture of a pair: no vector of the reranker is asked for.
    let found = names(&env, &["a cat on a couch", "--all", "-n", "20"]);
    assert_among_first(&found, 20, "IMG_0012.jpg");
    // A reranker that has changed since is not used in silence.
    let file = env.path("no-itc/config.json");
    let config = fs_err::read_to_string(&file).unwrap();
    fs_err::write(&file, config.replace("1e-05", "1e-06")).unwrap();
    let ran = env.bt_search(&["a cat on a couch"]);
    assert_refused(&ran, &["another model than", "fingerprint"]);
}

#[test]
fn a_text_beyond_the_models_limit_is_cut_with_a_warning() {
    let env = album();
    let long = "a cat on a couch and ".repeat(60);
    let ran = env.bt_search(&[long.as_str(), "--all"]).expect(0);
    assert!(ran.stderr.contains("longer than the model reads"), "{ran}");
}
