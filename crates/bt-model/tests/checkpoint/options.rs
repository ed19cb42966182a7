//! Fields of config.json and of the image processor: what they change, what is refused, what has no effect.

use super::*;

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
