//! Tokenizers as people have them, and what a loaded encoder makes of texts and batches.

use super::*;

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
