//! Checkpoints as people have them: without heads, without prefix, in other number formats, damaged, with
//! odd configurations. Each is made from the golden case `tiny` in a folder of its own.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bt_model::{
    BridgeTower, Checkpoint, Encoder, Error, Event, Exec, Fit, Heads, Kind, ModelChoice, Pixels,
    Probe, Result, Stage,
};
use candle_core::{D, DType, Device, Tensor};
use serde_json::{Value, json};
use tempfile::TempDir;

const TEXT: &str = "a cat on the red tree";
const NO_HEADS: Heads = Heads {
    itc: false,
    itc_cross: false,
    itm: false,
    mlm: false,
};

fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/tiny")
}

/// A copy of `tiny` that a test may change.
struct Folder {
    dir: TempDir,
    config: Value,
    tensors: HashMap<String, Tensor>,
}

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for file in ["preprocessor_config.json", "tokenizer.json"] {
            fs_err::copy(tiny().join(file), dir.path().join(file)).unwrap();
        }
        let config =
            serde_json::from_slice(&fs_err::read(tiny().join("config.json")).unwrap()).unwrap();
        let tensors =
            candle_core::safetensors::load(tiny().join("model.safetensors"), &Device::Cpu).unwrap();
        let tensors = tensors
            .into_iter()
            .map(|(name, x)| (name, x.to_dtype(DType::F32).unwrap()))
            .collect();
        Self {
            dir,
            config,
            tensors,
        }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    fn write(&self, file: &str, text: impl AsRef<[u8]>) {
        fs_err::write(self.path(file), text).unwrap();
    }

    fn without(mut self, beginnings: &[&str]) -> Self {
        self.tensors.retain(|name, _| {
            !beginnings
                .iter()
                .any(|beginning| name.starts_with(beginning))
        });
        self
    }

    fn without_heads(self) -> Self {
        self.without(&["itc_", "itm_", "mlm_", "logit_scale"])
    }

    fn save(&self) {
        self.write("config.json", self.config.to_string());
        candle_core::safetensors::save(&self.tensors, self.path("model.safetensors")).unwrap();
    }

    fn load(&self) -> Result<Encoder> {
        self.save();
        self.load_saved()
    }

    fn load_saved(&self) -> Result<Encoder> {
        load(&self.dir.path().display().to_string(), Fit::Reference)
    }
}

fn load(spec: &str, fit: Fit) -> Result<Encoder> {
    Encoder::load(
        &ModelChoice {
            spec: spec.to_owned(),
            fit,
        },
        &Exec::cpu(),
        &mut |_| {},
    )
}

/// Pictures that differ, in the size that `encoder` reads.
fn pictures(encoder: &Encoder, count: usize) -> Vec<Pixels> {
    let side = encoder.image_side();
    let value = |p: usize, i: usize| {
        (((i * 31 + p * 17) % 97) as f32 / 48.0 - 1.0) * (1.0 + p as f32 / 10.0)
    };
    (0..count)
        .map(|p| Pixels {
            values: (0..3 * side * side).map(|i| value(p, i)).collect(),
            side,
        })
        .collect()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

fn length(vector: &[f32]) -> f32 {
    vector.iter().map(|x| x * x).sum::<f32>().sqrt()
}

#[test]
fn a_body_without_heads_and_without_prefix_embeds_pictures_and_says_three_ways_on() {
    let mut folder = Folder::new().without_heads();
    folder.tensors = folder
        .tensors
        .into_iter()
        .map(|(name, x)| (name.strip_prefix("bridgetower.").unwrap().to_owned(), x))
        .collect();
    let encoder = folder.load().unwrap();
    assert_eq!(encoder.heads(), NO_HEADS);
    let pixels = pictures(&encoder, 2);
    let vectors = encoder.embed_pictures(&[&pixels[0], &pixels[1]]).unwrap();
    assert_eq!(vectors[0].len(), encoder.embedding_dim());
    assert!((length(&vectors[0]) - 1.0).abs() < 1e-5);
    // The pooled picture state is what the complete model has as the second half of its pooler output.
    let pooled = load(&tiny().display().to_string(), Fit::Reference)
        .unwrap()
        .features("", &pixels[0])
        .unwrap()
        .pooler_output;
    let half = &pooled[pooled.len() / 2..];
    let expected: Vec<f32> = half.iter().map(|x| x / length(half)).collect();
    assert!(largest_difference(&vectors[0], &expected) < 1e-5);

    let error = encoder.embed_texts(&[TEXT]).unwrap_err();
    assert_eq!(error.kind(), Kind::Incompatible);
    let hint = error.hint().unwrap();
    for way in ["--rerank-model", "ITM head", "learn-heads"] {
        assert!(hint.contains(way), "{hint}");
    }
    let states = encoder.picture_states(&[&pixels[0]]).unwrap();
    for error in [
        encoder.match_logits(TEXT, &[&states[0]]).unwrap_err(),
        encoder.embed_pair(TEXT, &pixels[0]).unwrap_err(),
        encoder.fill_mask("a <mask>", None, 3).unwrap_err(),
    ] {
        assert!(matches!(error, Error::NoHead { .. }), "{error}");
        assert!(error.hint().is_some());
    }
}

/// The values of `tiny` are those of f16, so only bf16 loses something.
#[test]
fn f32_f16_and_bf16_files_give_the_same_as_far_as_they_hold_it() {
    let exact = load(&tiny().display().to_string(), Fit::Reference).unwrap();
    let pixels = pictures(&exact, 1);
    let expected = exact.features(TEXT, &pixels[0]).unwrap();
    for (dtype, least, most) in [
        (DType::F32, 0.0, 0.0),
        (DType::F16, 0.0, 0.0),
        (DType::BF16, 1e-6, 5e-2),
    ] {
        let mut folder = Folder::new();
        for tensor in folder.tensors.values_mut() {
            *tensor = tensor.to_dtype(dtype).unwrap();
        }
        let got = folder.load().unwrap().features(TEXT, &pixels[0]).unwrap();
        let off = largest_difference(&got.pooler_output, &expected.pooler_output);
        assert!(off >= least && off <= most, "{dtype:?}: {off}");
    }
}

#[test]
fn weights_that_do_not_fit_are_listed_all_at_once() {
    let mut folder = Folder::new();
    let body = |name: &str| format!("bridgetower.{name}");
    for name in [
        "cross_modal_text_pooler.dense.bias",
        "text_model.encoder.layer.2.output.dense.weight",
    ] {
        folder.tensors.remove(&body(name)).unwrap();
    }
    folder.tensors.insert(
        body("nobody.asked"),
        Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap(),
    );
    folder.tensors.insert(
        "rank_output.weight".into(),
        Tensor::zeros((1, 2), DType::F32, &Device::Cpu).unwrap(),
    );
    folder.tensors.insert(
        "itm_score.fc.bias".into(),
        Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap(),
    );
    folder.tensors.insert(
        body("token_type_embeddings.weight"),
        Tensor::zeros(64, DType::F32, &Device::Cpu).unwrap(),
    );
    let error = folder.load().unwrap_err();
    assert_eq!(error.kind(), Kind::Incompatible);
    let Error::Weights {
        missing,
        surplus,
        misshapen,
        ..
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!(missing.len(), 2, "{missing:?}");
    assert_eq!(
        surplus,
        &[body("nobody.asked"), "rank_output.weight".into()]
    );
    assert_eq!(misshapen.len(), 2, "{misshapen:?}");
    let text = error.to_string();
    for part in [
        "cross_modal_text_pooler.dense.bias",
        "layer.2.output.dense.weight",
        "[3] instead of [2]",
        "model.safetensors",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_head_of_which_a_part_is_missing_is_an_error_and_not_an_absent_head() {
    let error = Folder::new()
        .without(&["itc_image_head.fc.bias", "itm_score.fc.weight"])
        .load()
        .unwrap_err();
    let Error::Weights { missing, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(missing.len(), 2, "{missing:?}");
}

/// Trap: integer buffers, the text tower's pooler and `ln_separate` are in files, and nothing reads them.
#[test]
fn buffers_and_weights_that_nothing_reads_are_ignored() {
    let mut folder = Folder::new();
    folder.config["vision_config"]["share_layernorm"] = json!(false);
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    for (name, tensor) in [
        (
            "text_model.embeddings.position_ids",
            Tensor::zeros((1, 40), DType::I64, &Device::Cpu).unwrap(),
        ),
        (
            "text_model.embeddings.token_type_ids",
            Tensor::zeros((1, 40), DType::I64, &Device::Cpu).unwrap(),
        ),
        (
            "vision_model.visual.embeddings.position_ids",
            Tensor::zeros((1, 17), DType::I64, &Device::Cpu).unwrap(),
        ),
        ("text_model.pooler.dense.weight", zeros(&[64, 64])),
        ("vision_model.visual.ln_separate.0.weight", zeros(&[64])),
    ] {
        folder.tensors.insert(format!("bridgetower.{name}"), tensor);
    }
    let encoder = folder.load().unwrap();
    assert!(encoder.heads().itc && encoder.heads().mlm);
}

/// Trap: a decoder has its own matrix; only a file without one is tied to the word table.
#[test]
fn an_mlm_head_without_a_decoder_is_tied_to_the_word_table() {
    let words =
        Folder::new().tensors["bridgetower.text_model.embeddings.word_embeddings.weight"].clone();
    let mut copied = Folder::new();
    copied
        .tensors
        .insert("mlm_score.decoder.weight".into(), words);
    let tied = Folder::new().without(&["mlm_score.decoder"]);
    let fill = |folder: &Folder| {
        folder
            .load()
            .unwrap()
            .fill_mask("a cat on a <mask>", None, 5)
            .unwrap()
    };
    assert_eq!(fill(&tied), fill(&copied));
    assert_ne!(fill(&tied), fill(&Folder::new()));
}

#[test]
fn a_masked_word_gets_the_likeliest_tokens_in_order() {
    let encoder = load(&tiny().display().to_string(), Fit::Reference).unwrap();
    let pixels = pictures(&encoder, 1);
    let filled = encoder
        .fill_mask("<mask> cat on a <mask>", Some(&pixels[0]), 4)
        .unwrap();
    assert_eq!(filled.len(), 2);
    for choices in filled {
        assert_eq!(choices.len(), 4);
        assert!(
            choices
                .windows(2)
                .all(|pair| pair[0].probability >= pair[1].probability)
        );
    }
    assert_eq!(
        encoder.fill_mask("no gap", None, 1).unwrap_err().kind(),
        Kind::Usage
    );
}

/// Trap: the authors' image vector is taken from the tower; a field of config.json says which path a file takes.
#[test]
fn the_field_itc_image_from_chooses_what_the_image_head_reads() {
    struct Last(Option<Tensor>);
    impl Probe for Last {
        fn see(&mut self, stage: Stage, tensor: &Tensor) -> Result<()> {
            if let Stage::ImageHidden(3) = stage {
                self.0 = Some(tensor.clone());
            }
            Ok(())
        }
    }
    let bridge = Folder::new();
    let mut tower = Folder::new();
    tower.config["itc_image_from"] = json!("tower");
    let (bridge, tower) = (bridge.load().unwrap(), tower.load().unwrap());
    let pixels = pictures(&tower, 1);
    let got = tower.embed_pictures(&[&pixels[0]]).unwrap().remove(0);
    assert!(largest_difference(&got, &bridge.embed_pictures(&[&pixels[0]]).unwrap()[0]) > 0.01);

    let mut last = Last(None);
    tower
        .model()
        .image_states(
            &tower.model().pixel_batch(&[&pixels[0]]).unwrap(),
            &mut last,
        )
        .unwrap();
    let tensors = Folder::new().tensors;
    let get = |name: &str| tensors[name].clone();
    let x = last.0.unwrap().narrow(1, 0, 1).unwrap().squeeze(1).unwrap();
    let norm = |part: &str| get(&format!("bridgetower.vision_model.visual.ln_post.{part}"));
    let x = candle_nn::ops::layer_norm_slow(&x, &norm("weight"), &norm("bias"), 1e-5).unwrap();
    let y = x
        .matmul(&get("itc_image_head.fc.weight").t().unwrap())
        .unwrap();
    let y = y.broadcast_add(&get("itc_image_head.fc.bias")).unwrap();
    let y = y
        .broadcast_div(
            &y.sqr()
                .unwrap()
                .sum_keepdim(D::Minus1)
                .unwrap()
                .sqrt()
                .unwrap(),
        )
        .unwrap();
    assert!(largest_difference(&got, &y.to_vec2::<f32>().unwrap()[0]) < 1e-5);
}

/// Trap: the top-level `num_attention_heads` and `tie_word_embeddings` have no effect.
#[test]
fn fields_without_effect_have_none() {
    let mut folder = Folder::new();
    folder.config["num_attention_heads"] = json!(7);
    folder.config["vision_config"]["hidden_act"] = json!("relu");
    folder.config["vision_config"]["stop_gradient"] = json!(true);
    let (changed, plain) = (
        folder.load().unwrap(),
        load(&tiny().display().to_string(), Fit::Reference).unwrap(),
    );
    let pixels = pictures(&plain, 1);
    assert_eq!(
        changed.features(TEXT, &pixels[0]).unwrap(),
        plain.features(TEXT, &pixels[0]).unwrap()
    );
    assert_ne!(changed.id(), plain.id());
}

/// Trap: a configuration that the reference cannot run is refused by name, before any weight is read.
#[test]
fn shared_link_towers_are_refused_by_name() {
    let mut folder = Folder::new();
    folder.config["share_link_tower_layers"] = json!(true);
    let error = folder.load().unwrap_err();
    assert!(
        error.to_string().contains("share_link_tower_layers"),
        "{error}"
    );
    assert_eq!(error.kind(), Kind::Incompatible);
}

/// Trap: the public large checkpoints say a size and no crop; a crop that is not the model's size is an error.
#[test]
fn the_crop_follows_the_size_and_must_be_what_the_model_reads() {
    let folder = Folder::new();
    for good in [
        r#"{"size": 32, "max_text_len": 50}"#,
        r#"{"size": {"shortest_edge": 32}, "crop_size": null}"#,
        "{}",
    ] {
        folder.write("preprocessor_config.json", good);
        assert_eq!(folder.load().unwrap().image_side(), 32, "{good}");
    }
    folder.write("preprocessor_config.json", r#"{"size": 288}"#);
    let error = folder.load().unwrap_err();
    assert!(
        error.to_string().contains("preprocessor_config.json") && error.to_string().contains("288"),
        "{error}"
    );
    fs_err::remove_file(folder.path("preprocessor_config.json")).unwrap();
    assert_eq!(folder.load().unwrap().image_side(), 32);
}

/// Trap: there is no merges.txt on the Hub, so tokenizer.json is read; where only the two older files are, they are.
#[test]
fn vocabulary_and_merges_read_as_tokenizer_json_does() {
    let folder = Folder::new();
    let whole = folder.load().unwrap();
    let json: Value =
        serde_json::from_slice(&fs_err::read(folder.path("tokenizer.json")).unwrap()).unwrap();
    let mut vocab = json["model"]["vocab"].clone();
    for token in json["added_tokens"].as_array().unwrap() {
        vocab[token["content"].as_str().unwrap()] = token["id"].clone();
    }
    let pair = |pair: &Value| {
        format!(
            "{} {}\n",
            pair[0].as_str().unwrap(),
            pair[1].as_str().unwrap()
        )
    };
    let merges: String = json["model"]["merges"]
        .as_array()
        .unwrap()
        .iter()
        .map(pair)
        .collect();
    folder.write("vocab.json", vocab.to_string());
    folder.write("merges.txt", format!("#version: 0.2\n{merges}"));
    fs_err::remove_file(folder.path("tokenizer.json")).unwrap();
    let parts = folder.load().unwrap();
    for text in [
        TEXT,
        "",
        "the <mask> is in  the tree",
        "  on the rein",
        "<s>a</s>",
    ] {
        assert_eq!(
            parts.token_ids(text).unwrap(),
            whole.token_ids(text).unwrap(),
            "`{text}`"
        );
    }
    folder.write("merges.txt", "onlyone\n");
    assert!(
        folder
            .load()
            .unwrap_err()
            .to_string()
            .contains("merges.txt")
    );
    fs_err::remove_file(folder.path("merges.txt")).unwrap();
    let error = folder.load().unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(
        error
            .to_string()
            .contains("tokenizer.json (or vocab.json and merges.txt)"),
        "{error}"
    );
}

#[test]
fn a_long_text_is_cut_to_the_limit_and_keeps_its_last_token_whatever_tokenizer_json_says() {
    let folder = Folder::new();
    let mut json: Value =
        serde_json::from_slice(&fs_err::read(folder.path("tokenizer.json")).unwrap()).unwrap();
    json["truncation"] =
        json!({"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0});
    json["padding"] = json!({"strategy": {"Fixed": 30}, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 1, "pad_type_id": 0, "pad_token": "<pad>"});
    folder.write("tokenizer.json", json.to_string());
    let encoder = folder.load().unwrap();
    let (ids, truncated) = encoder.token_ids(TEXT).unwrap();
    assert!(ids.len() > 4 && !ids.contains(&1) && !truncated, "{ids:?}");
    let limit = encoder.model().config().text.max_tokens();
    for times in [40, 100_000] {
        let (ids, truncated) = encoder.token_ids(&"a cat ".repeat(times)).unwrap();
        assert_eq!(
            (ids.len(), ids[0], ids[limit - 1], truncated),
            (limit, 0, 2, true)
        );
    }
    let embeddings = encoder
        .embed_texts(&["a cat", &"a cat ".repeat(40)])
        .unwrap();
    assert_eq!(
        embeddings.iter().map(|e| e.truncated).collect::<Vec<_>>(),
        [false, true]
    );
}

#[test]
fn batches_of_any_size_give_what_each_picture_gives_alone() {
    let encoder = load(&tiny().display().to_string(), Fit::Reference).unwrap();
    let pixels = pictures(&encoder, 11);
    let all: Vec<&Pixels> = pixels.iter().collect();
    let (vectors, states) = (
        encoder.embed_pictures(&all).unwrap(),
        encoder.picture_states(&all).unwrap(),
    );
    let logits = encoder
        .match_logits(TEXT, &states.iter().collect::<Vec<_>>())
        .unwrap();
    assert_eq!((vectors.len(), states.len(), logits.len()), (11, 11, 11));
    for (i, picture) in all.iter().enumerate() {
        assert!(
            largest_difference(&encoder.embed_pictures(&[picture]).unwrap()[0], &vectors[i]) < 1e-5,
            "{i}"
        );
        let alone = encoder
            .match_logits(TEXT, &[&encoder.picture_states(&[picture]).unwrap()[0]])
            .unwrap()[0];
        assert!(
            (alone - logits[i]).abs() < 1e-4,
            "{i}: {alone} and {}",
            logits[i]
        );
    }
    assert!(
        encoder.embed_pictures(&[]).unwrap().is_empty()
            && encoder.match_logits(TEXT, &[]).unwrap().is_empty()
    );
    let wrong = Pixels {
        values: vec![0.0; 3 * 16 * 16],
        side: 16,
    };
    assert!(
        encoder
            .embed_pictures(&[&wrong])
            .unwrap_err()
            .to_string()
            .contains("16 x 16")
    );
}

#[test]
fn the_heat_of_a_word_is_its_share_of_attention_over_the_patches() {
    let encoder = load(&tiny().display().to_string(), Fit::Reference).unwrap();
    let states = encoder
        .picture_states(&[&pictures(&encoder, 1)[0]])
        .unwrap();
    let heat = encoder
        .word_heat("a cat, on the \"red\" tree!", &states[0])
        .unwrap();
    assert_eq!(
        heat.iter().map(|h| h.word.as_str()).collect::<Vec<_>>(),
        ["a", "cat", "on", "the", "red", "tree"]
    );
    for word in &heat {
        assert_eq!((word.grid, word.heat.len()), (4, 16));
        let sum: f32 = word.heat.iter().sum();
        assert!(
            word.heat.iter().all(|x| *x >= 0.0) && sum > 0.5 && sum <= 1.0 + 1e-5,
            "{word:?}"
        );
    }
    assert_ne!(heat[0].heat, heat[5].heat);
}

#[test]
fn the_fingerprint_follows_configuration_weights_tokenizer_image_settings_and_fit() {
    let plain = Folder::new();
    let id = plain.load().unwrap().id().to_owned();
    assert_eq!(
        Folder::new().load().unwrap().id(),
        id,
        "the same files elsewhere"
    );
    let spec = plain.dir.path().display().to_string();
    let mut ids = vec![id, load(&spec, Fit::Squeeze).unwrap().id().to_owned()];
    let mut config = Folder::new();
    config.config["layer_norm_eps"] = json!(1e-6);
    let mut weights = Folder::new();
    let name = "logit_scale";
    weights
        .tensors
        .insert(name.into(), Tensor::new(2.5f32, &Device::Cpu).unwrap());
    let tokenizer = Folder::new();
    let text = String::from_utf8(fs_err::read(tokenizer.path("tokenizer.json")).unwrap()).unwrap();
    tokenizer.write("tokenizer.json", text + "\n");
    let image = Folder::new();
    image.write("preprocessor_config.json", r#"{"size": 32}"#);
    ids.extend(
        [config, weights, tokenizer, image].map(|folder| folder.load().unwrap().id().to_owned()),
    );
    let distinct: std::collections::BTreeSet<&String> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len(), "{ids:?}");
}

#[test]
fn unknown_fields_are_warnings_and_everything_else_is_silent() {
    let mut folder = Folder::new();
    folder.config["sparkle"] = json!(1);
    folder.save();
    let mut events = Vec::new();
    let choice = ModelChoice {
        spec: folder.dir.path().display().to_string(),
        fit: Fit::Reference,
    };
    Encoder::load(&choice, &Exec::cpu(), &mut |event| events.push(event)).unwrap();
    assert!(
        matches!(&events[..], [Event::Warning(text)] if text.contains("`sparkle`")),
        "{events:?}"
    );
}

#[test]
fn a_checkpoint_that_is_not_there_or_not_whole_is_named() {
    let find = |spec: &str| Checkpoint::find(spec, &mut |_| {}).unwrap_err();
    let error = find("mimi");
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(
        error.to_string().contains("`mimi`") && error.hint().unwrap().contains("mini, base"),
        "{error}"
    );
    let folder = Folder::new();
    let spec = folder.dir.path().display().to_string();
    assert!(find(&spec).to_string().contains("has no config.json"));
    folder.write("config.json", folder.config.to_string());
    assert!(
        find(&spec)
            .to_string()
            .contains("has no model.safetensors or pytorch_model.bin")
    );
    folder.write(
        "model.safetensors.index.json",
        r#"{"weight_map": {"a": "../secret.safetensors"}}"#,
    );
    assert!(find(&spec).to_string().contains("../secret.safetensors"));
    folder.write(
        "model.safetensors.index.json",
        r#"{"weight_map": {"a": "one.safetensors"}}"#,
    );
    assert!(find(&spec).to_string().contains("one.safetensors"));
}

#[test]
fn damaged_files_are_errors_that_name_the_file() {
    let folder = Folder::new();
    folder.save();
    let whole = fs_err::read(folder.path("model.safetensors")).unwrap();
    for length in [0, 4, 8, 100, 5000, whole.len() / 2, whole.len() - 1] {
        folder.write("model.safetensors", &whole[..length]);
        let error = folder.load_saved().unwrap_err();
        assert!(
            error.to_string().contains("model.safetensors"),
            "{length}: {error}"
        );
    }
    let mut wild = whole.clone();
    wild[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    folder.write("model.safetensors", &wild);
    assert_eq!(folder.load_saved().unwrap_err().kind(), Kind::Corrupt);

    fs_err::remove_file(folder.path("model.safetensors")).unwrap();
    let pickle = fs_err::read(tiny().with_file_name("bin").join("pytorch_model.bin")).unwrap();
    for length in [0, 100, pickle.len() / 2, pickle.len() - 10] {
        folder.write("pytorch_model.bin", &pickle[..length]);
        let error = folder.load_saved().unwrap_err();
        assert!(
            error.to_string().contains("pytorch_model.bin"),
            "{length}: {error}"
        );
    }
    fs_err::remove_file(folder.path("pytorch_model.bin")).unwrap();
    folder.save();
    for (file, text) in [
        ("tokenizer.json", "{}"),
        ("calibration.json", "{\"threshold\": 0.5}"),
        ("preprocessor_config.json", "[]"),
        ("config.json", "\u{1}"),
    ] {
        let before = fs_err::read(folder.path(file)).ok();
        folder.write(file, text);
        let error = folder.load_saved().unwrap_err();
        assert!(error.to_string().contains(file), "{file}: {error}");
        match before {
            Some(bytes) => folder.write(file, bytes),
            None => fs_err::remove_file(folder.path(file)).unwrap(),
        }
    }
    folder.write("config.json", [0xff, 0xfe]);
    assert!(
        folder
            .load_saved()
            .unwrap_err()
            .to_string()
            .contains("not UTF-8")
    );
}

#[test]
fn a_tokenizer_of_another_model_is_refused() {
    let mut folder = Folder::new();
    let words = "bridgetower.text_model.embeddings.word_embeddings.weight";
    folder.config["text_config"]["vocab_size"] = json!(100);
    for name in [words, "mlm_score.decoder.weight", "mlm_score.bias"] {
        let cut = folder.tensors[name]
            .narrow(0, 0, 100)
            .unwrap()
            .contiguous()
            .unwrap();
        folder.tensors.insert(name.into(), cut);
    }
    let error = folder.load().unwrap_err();
    assert!(
        error.to_string().contains("the model knows 100 tokens"),
        "{error}"
    );
}

#[test]
fn the_graph_alone_loads_without_a_tokenizer() {
    let folder = Folder::new();
    folder.save();
    fs_err::remove_file(folder.path("tokenizer.json")).unwrap();
    let checkpoint =
        Checkpoint::find(&folder.dir.path().display().to_string(), &mut |_| {}).unwrap();
    BridgeTower::load(&checkpoint, &Exec::cpu(), &mut |_| {}).unwrap();
}
