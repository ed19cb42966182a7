//! `convert` on a checkpoint in the authors' own form: what the folder computes is what their code computes.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bt_model::{
    BridgeTower, Checkpoint, ConvertOptions, Exec, Fit, ItcImageFrom, ModelChoice, Need, TokenBatch,
};
use candle_core::{DType, Device, Tensor};

fn golden(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/golden")
        .join(file)
}

fn converted(options: &ConvertOptions) -> (tempfile::TempDir, PathBuf, bt_model::Converted) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("converted");
    let report = bt_model::convert(&golden("lightning/model.ckpt"), &out, options).unwrap();
    (folder, out, report)
}

fn load(folder: &Path) -> BridgeTower {
    let checkpoint = Checkpoint::find(&folder.to_string_lossy(), &mut |_| {}).unwrap();
    BridgeTower::load(&checkpoint, &Exec::cpu(), &mut |event| panic!("{event:?}")).unwrap()
}

fn assert_close(name: &str, got: &Tensor, expected: &HashMap<String, Tensor>) {
    let expected = &expected[name];
    assert_eq!(got.dims(), expected.dims(), "{name}");
    let most = (got - expected)
        .unwrap()
        .abs()
        .unwrap()
        .flatten_all()
        .unwrap()
        .max(0)
        .unwrap();
    let most = most.to_scalar::<f32>().unwrap();
    assert!(most <= 1e-4, "{name}: off by {most}");
}

#[test]
fn a_converted_checkpoint_computes_what_the_authors_code_computes() {
    let (_kept, folder, report) = converted(&ConvertOptions::default());
    let model = load(&folder);
    assert_eq!(model.config().itc_image_from, ItcImageFrom::Tower);
    assert!(report.parameters > 100_000);
    assert!(
        report
            .dropped
            .contains(&"vit_model.ln_final.weight".to_owned())
    );

    let expected =
        candle_core::safetensors::load(golden("lightning/converted.safetensors"), &Device::Cpu)
            .unwrap();
    let ids = expected["input_ids"]
        .to_dtype(DType::U32)
        .unwrap()
        .to_vec2::<u32>()
        .unwrap();
    let rows: Vec<Vec<u32>> = ids
        .into_iter()
        .map(|row| row.into_iter().filter(|id| *id != 1).collect())
        .collect();
    let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
    let tokens = TokenBatch::new(&rows, model.config(), model.device()).unwrap();
    let text = model.text_states(&tokens, &mut ()).unwrap();
    let image = model
        .image_states(&expected["pixel_values"], &mut ())
        .unwrap();
    let fused = model.fuse(&text, &image, Need::AllTokens, &mut ()).unwrap();
    let pooled = model.pooler_output(&fused).unwrap();
    assert_close(
        "text_embeds",
        &model.itc_text(text.itc_input()).unwrap(),
        &expected,
    );
    assert_close(
        "image_embeds",
        &model.itc_image(image.itc_input()).unwrap(),
        &expected,
    );
    assert_close("pooler_output", &pooled, &expected);
    assert_close("itm_logits", &model.itm(&pooled).unwrap(), &expected);
    assert_close("mlm_logits", &model.mlm(&fused.text).unwrap(), &expected);
    let scale = Tensor::new(model.logit_scale().unwrap(), &Device::Cpu).unwrap();
    assert_close("logit_scale", &scale, &expected);
}

#[test]
fn a_missing_tokenizer_is_told_and_a_given_one_makes_the_folder_whole() {
    let (_kept, _, report) = converted(&ConvertOptions::default());
    assert!(
        report.notes.iter().any(|note| note.contains("tokenizer")),
        "{:?}",
        report.notes
    );

    let tokenizer = Some(golden("tiny"));
    let (_kept, folder, report) = converted(&ConvertOptions {
        tokenizer,
        ..ConvertOptions::default()
    });
    assert_eq!(report.notes, [""; 0]);
    let choice = ModelChoice {
        spec: folder.to_string_lossy().into_owned(),
        fit: Fit::Reference,
    };
    let encoder = bt_model::Encoder::load(&choice, &Exec::cpu(), &mut |_| {}).unwrap();
    assert_eq!(encoder.embed_texts(&["a cat"]).unwrap()[0].vector.len(), 16);
}

#[test]
fn nothing_is_left_behind_when_it_fails() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let options = ConvertOptions {
        heads: Some(7),
        ..ConvertOptions::default()
    };
    assert!(bt_model::convert(&golden("lightning/model.ckpt"), &out, &options).is_err());
    assert!(
        bt_model::convert(
            &golden("lightning/hostile.ckpt"),
            &out,
            &ConvertOptions::default()
        )
        .is_err()
    );
    assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 0);

    fs_err::create_dir(&out).unwrap();
    fs_err::write(out.join("precious.txt"), "mine").unwrap();
    let error = bt_model::convert(
        &golden("lightning/model.ckpt"),
        &out,
        &ConvertOptions::default(),
    )
    .unwrap_err();
    assert!(error.to_string().contains("is there already"), "{error}");
    assert_eq!(
        fs_err::read_to_string(out.join("precious.txt")).unwrap(),
        "mine"
    );
}
