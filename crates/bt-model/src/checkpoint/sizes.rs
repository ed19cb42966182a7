//! config.json and preprocessor_config.json of a checkpoint that has neither, read off the shapes of its
//! tensors. What the tensors are called is settled before, in `lightning.rs`.

use std::collections::BTreeMap;

use candle_core::Tensor;
use serde_json::{Value, json};

use super::lightning::ConvertOptions;

/// config.json and preprocessor_config.json, read off the shapes.
pub(super) fn describe(
    tensors: &BTreeMap<String, Tensor>,
    options: &ConvertOptions,
) -> std::result::Result<(Value, Value), String> {
    let shape = |name: &str, rank: usize| -> std::result::Result<&[usize], String> {
        let found = tensors
            .get(name)
            .or_else(|| tensors.get(&format!("bridgetower.{name}")));
        let dims = found
            .ok_or_else(|| format!("it lacks the tensor that becomes `{name}`"))?
            .dims();
        if dims.len() == rank && dims.iter().all(|edge| *edge > 0) {
            Ok(dims)
        } else {
            Err(format!(
                "the tensor that becomes `{name}` has the shape {dims:?}"
            ))
        }
    };
    let layers = |stem: &str, last: &str| {
        (0_usize..)
            .take_while(|layer| tensors.contains_key(&format!("bridgetower.{stem}.{layer}.{last}")))
            .count()
    };
    let words = shape("text_model.embeddings.word_embeddings.weight", 2)?;
    let (vocab, hidden) = (words[0], words[1]);
    let positions = shape("text_model.embeddings.position_embeddings.weight", 2)?[0];
    let types = shape("text_model.embeddings.token_type_embeddings.weight", 2)?[0];
    if types != 1 {
        return Err(format!(
            "its text tower has {types} token types: that is BERT, and only RoBERTa is supported"
        ));
    }
    let text_layers = layers("text_model.encoder.layer", "output.dense.weight");
    let cross_layers = layers("cross_modal_text_layers", "output.dense.weight");
    let intermediate = shape("text_model.encoder.layer.0.intermediate.dense.weight", 2)?[0];
    let cross_intermediate = shape("cross_modal_text_layers.0.intermediate.dense.weight", 2)?[0];
    if cross_intermediate != intermediate {
        return Err(format!(
            "feed-forward layers are {intermediate} wide in the text tower and {cross_intermediate} in the cross-modal \
             layers; they must be equal"
        ));
    }
    let heads = options.heads.unwrap_or(hidden / 64);
    if heads == 0 || !hidden.is_multiple_of(heads) {
        return Err(format!(
            "its width {hidden} cannot be split into {heads} attention heads; say how many with `--heads`"
        ));
    }
    let patches = shape("vision_model.visual.embeddings.patch_embedding.weight", 4)?;
    let (vision_hidden, patch) = (patches[0], patches[3]);
    let places = shape(
        "vision_model.visual.embeddings.position_embedding.weight",
        2,
    )?[0];
    let vision_layers = layers("vision_model.visual.transformer.resblocks", "ln_1.weight");
    if vision_layers != text_layers {
        return Err(format!(
            "its picture tower has {vision_layers} blocks and its text tower {text_layers} layers: \
             the authors' bridges and transformers' would read different ones"
        ));
    }
    let grid = (places - 1).isqrt();
    if grid == 0 || grid * grid != places - 1 {
        return Err(format!(
            "its position table has {places} rows, which is not a square of patches and one"
        ));
    }
    let side = options.crop.unwrap_or(grid * patch);
    if side / patch != grid {
        return Err(format!(
            "its position table is for {grid} x {grid} patches of {patch} pixels, so the crop is {} and not {side}",
            grid * patch
        ));
    }
    let scaled = options.image_size.unwrap_or(side);
    if scaled < side {
        return Err(format!(
            "pictures scaled to {scaled} are smaller than the crop of {side}"
        ));
    }

    let has = |name: &str| tensors.contains_key(name);
    let mut config = json!({
        "architectures": [if has("itc_text_head.fc.weight") {
            "BridgeTowerForContrastiveLearning"
        } else if has("itm_score.fc.weight") {
            "BridgeTowerForImageAndTextRetrieval"
        } else {
            "BridgeTowerModel"
        }],
        "model_type": "bridgetower",
        "hidden_size": hidden,
        "num_hidden_layers": cross_layers,
        "num_attention_heads": heads,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
        "link_tower_type": "add",
        "share_cross_modal_transformer_layers": true,
        "share_link_tower_layers": false,
        "tie_word_embeddings": false,
        "text_config": {
            "vocab_size": vocab,
            "hidden_size": hidden,
            "num_hidden_layers": text_layers,
            "num_attention_heads": heads,
            "intermediate_size": intermediate,
            "hidden_act": "gelu",
            "max_position_embeddings": positions,
            "type_vocab_size": types,
            "layer_norm_eps": 1e-5,
            "bos_token_id": 0,
            "pad_token_id": 1,
            "eos_token_id": 2,
        },
        "vision_config": {
            "hidden_size": vision_hidden,
            "num_hidden_layers": vision_layers,
            "patch_size": patch,
            "image_size": side,
            "num_channels": 3,
            "layer_norm_eps": 1e-5,
            "remove_last_layer": false,
            "share_layernorm": true,
        },
    });
    if has("itc_text_head.fc.weight") {
        config["contrastive_hidden_size"] = json!(shape("itc_text_head.fc.weight", 2)?[0]);
        config["itc_image_from"] = json!("tower");
    }
    let preprocessor = json!({
        "image_processor_type": "BridgeTowerImageProcessor",
        "do_resize": true,
        "size": { "shortest_edge": scaled },
        // The authors scale the shortest edge exactly; a divisor would squeeze or frame what they do not.
        "size_divisor": 1,
        "resample": 3,
        "do_center_crop": true,
        "crop_size": { "shortest_edge": side },
        "do_rescale": true,
        "rescale_factor": 1.0 / 255.0,
        "do_normalize": true,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "do_pad": true,
    });
    Ok((config, preprocessor))
}

#[cfg(test)]
mod tests {
    use super::super::lightning::tests::{golden_state, zeros};
    use super::super::lightning::translate;
    use super::*;

    #[test]
    fn sizes_are_read_off_the_shapes() {
        let tensors = translate(golden_state()).unwrap().tensors;
        let (config, preprocessor) = describe(&tensors, &ConvertOptions::default()).unwrap();
        assert_eq!(config["text_config"]["num_hidden_layers"], 2);
        assert_eq!(config["num_hidden_layers"], 2);
        assert_eq!(config["vision_config"]["image_size"], 32);
        assert_eq!(config["contrastive_hidden_size"], 16);
        assert_eq!(config["itc_image_from"], "tower");
        assert_eq!(preprocessor["crop_size"]["shortest_edge"], 32);
        let with = |change: fn(&mut ConvertOptions)| {
            let mut options = ConvertOptions::default();
            change(&mut options);
            describe(&tensors, &options)
        };
        assert_eq!(
            with(|options| options.heads = Some(4)).unwrap().0["num_attention_heads"],
            4
        );
        assert!(
            with(|options| options.heads = Some(5))
                .unwrap_err()
                .contains("--heads")
        );
        assert_eq!(
            with(|options| options.image_size = Some(40)).unwrap().1["size"]["shortest_edge"],
            40
        );
        assert!(
            with(|options| options.crop = Some(64))
                .unwrap_err()
                .contains("4 x 4 patches")
        );
    }

    #[test]
    fn bert_and_a_shortened_picture_tower_are_refused() {
        let mut tensors = translate(golden_state()).unwrap().tensors;
        tensors.retain(|name, _| !name.contains("resblocks.1."));
        assert!(
            describe(&tensors, &ConvertOptions::default())
                .unwrap_err()
                .contains("1 blocks")
        );
        tensors.insert(
            "bridgetower.text_model.embeddings.token_type_embeddings.weight".to_owned(),
            zeros(&[2, 64]),
        );
        assert!(
            describe(&tensors, &ConvertOptions::default())
                .unwrap_err()
                .contains("BERT")
        );
    }
}
