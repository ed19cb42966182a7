//! Weights as files have them: number formats, heads, what is missing or surplus.

use super::*;

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
fn the_graph_alone_loads_without_a_tokenizer() {
    let folder = Folder::new();
    folder.save();
    fs_err::remove_file(folder.path("tokenizer.json")).unwrap();
    let checkpoint =
        Checkpoint::find(&folder.dir.path().display().to_string(), &mut |_| {}).unwrap();
    BridgeTower::load(&checkpoint, &Exec::cpu(), &mut |_| {}).unwrap();
}
