//! Heads that are learnt: a checkpoint stripped of them gets new ones, and those of `mini` find about what
//! its own find.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use bt_model::{
    Captioned, Checkpoint, Encoder, Exec, Fit, LearnEvent, LearnOptions, Learnt, ModelChoice,
    Pixels, read_captions,
};
use candle_core::{Device, Tensor};
use image::{Rgb, RgbImage};

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

const HEADS: [&str; 4] = ["itc_", "itm_score.", "mlm_score.", "logit_scale"];

/// A copy of a checkpoint without the tensors whose names begin so, in `folder`.
fn stripped(from: &str, folder: &Path, heads: &[&str]) -> Checkpoint {
    for file in ["config.json", "preprocessor_config.json", "tokenizer.json"] {
        fs_err::copy(root(from).join(file), folder.join(file)).unwrap();
    }
    let tensors =
        candle_core::safetensors::load(root(from).join("model.safetensors"), &Device::Cpu).unwrap();
    let rest: HashMap<String, Tensor> = tensors
        .into_iter()
        .filter(|(name, _)| !heads.iter().any(|head| name.starts_with(head)))
        .collect();
    candle_core::safetensors::save(&rest, folder.join("model.safetensors")).unwrap();
    Checkpoint::find(&folder.to_string_lossy(), &mut |_| {}).unwrap()
}

fn encoder(folder: &Path) -> Encoder {
    let choice = ModelChoice {
        spec: folder.to_string_lossy().into_owned(),
        fit: Fit::Reference,
    };
    Encoder::load(&choice, &Exec::cpu(), &mut |_| {}).unwrap()
}

/// Grounds and boxes of a few colours, each with two captions.
fn drawn_album() -> Vec<Captioned> {
    let colours = ["red", "blue"];
    let mut album = Vec::new();
    for ground in colours {
        for thing in ["cat", "dog", "box"] {
            for place in 0..3 {
                let captions = vec![
                    format!("a {thing} on the {ground} sky"),
                    format!("the {ground} {thing}"),
                ];
                album.push(Captioned {
                    picture: format!("{ground}-{thing}-{place}").into(),
                    captions,
                    ..Captioned::default()
                });
            }
        }
    }
    album
}

fn draw(name: &Path) -> Result<RgbImage, String> {
    let name = name.to_string_lossy();
    let ground = if name.starts_with("red") {
        Rgb([200, 20, 20])
    } else {
        Rgb([20, 20, 200])
    };
    let (thing, size) = match name.split('-').nth(1) {
        Some("cat") => (Rgb([250, 250, 250]), 10),
        Some("dog") => (Rgb([0, 0, 0]), 16),
        _ => (Rgb([20, 220, 20]), 22),
    };
    let place = 4 * name
        .split('-')
        .nth(2)
        .and_then(|place| place.parse::<u32>().ok())
        .ok_or("not drawn")?;
    let inside = |value: u32| (place..place + size).contains(&value);
    Ok(RgbImage::from_fn(40, 40, |x, y| {
        if inside(x) && inside(y) {
            thing
        } else {
            ground
        }
    }))
}

fn learn(base: &Checkpoint, album: &[Captioned], out: &Path) -> Learnt {
    let options = LearnOptions {
        epochs: 10,
        ..LearnOptions::default()
    };
    bt_model::learn_heads(
        base,
        album,
        &mut draw,
        out,
        &options,
        &Exec::cpu(),
        &mut |_| {},
    )
    .unwrap()
}

#[test]
fn a_body_without_any_head_learns_to_embed_and_to_rerank() {
    let folder = tempfile::tempdir().unwrap();
    let base_folder = folder.path().join("base");
    fs_err::create_dir(&base_folder).unwrap();
    let base = stripped("tests/golden/tiny", &base_folder, &HEADS);
    let out = folder.path().join("learnt");
    let learnt = learn(&base, &drawn_album(), &out);
    assert_eq!(learnt.heads, ["ITC", "ITM"]);
    assert_eq!(learnt.learnt_from + learnt.held_out, 18);
    assert_eq!(learnt.size, 32, "config.json says so");

    let model = encoder(&out);
    let picture = model.prepare(&draw(Path::new("red-cat-1")).unwrap());
    assert_eq!(model.embed_texts(&["a cat"]).unwrap()[0].vector.len(), 32);
    assert_eq!(model.embed_pictures(&[&picture]).unwrap()[0].len(), 32);
    let states = model.picture_states(&[&picture]).unwrap();
    assert!(model.match_logits("a cat", &[&states[0]]).unwrap()[0].is_finite());
    assert!(!out.join("calibration.json").exists());

    // The body is the base's, bit for bit and in its type; the whole is the same every time.
    let weights =
        candle_core::safetensors::load(out.join("model.safetensors"), &Device::Cpu).unwrap();
    let body = candle_core::safetensors::load(base_folder.join("model.safetensors"), &Device::Cpu)
        .unwrap();
    for (name, tensor) in &body {
        assert_eq!(weights[name].dtype(), tensor.dtype(), "{name}");
        let same = weights[name]
            .eq(tensor)
            .unwrap()
            .min_all()
            .unwrap()
            .to_scalar::<u8>()
            .unwrap();
        assert_eq!(same, 1, "{name}");
    }
    let again = folder.path().join("again");
    learn(&base, &drawn_album(), &again);
    let bytes = |folder: &Path| fs_err::read(folder.join("model.safetensors")).unwrap();
    assert_eq!(bytes(&out), bytes(&again));
}

#[test]
fn only_the_missing_head_is_learnt_and_a_whole_checkpoint_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (base_folder, out) = (folder.path().join("base"), folder.path().join("learnt"));
    fs_err::create_dir(&base_folder).unwrap();
    let base = stripped("tests/golden/tiny", &base_folder, &["itm_score."]);
    assert_eq!(learn(&base, &drawn_album(), &out).heads, ["ITM"]);
    let text = |folder: &Path| encoder(folder).embed_texts(&["a cat"]).unwrap();
    assert_eq!(text(&out), text(&base_folder));

    let whole = Checkpoint::find(&out.to_string_lossy(), &mut |_| {}).unwrap();
    let other = folder.path().join("other");
    let options = LearnOptions::default();
    let error = bt_model::learn_heads(
        &whole,
        &drawn_album(),
        &mut draw,
        &other,
        &options,
        &Exec::cpu(),
        &mut |_| {},
    )
    .unwrap_err();
    assert!(error.to_string().contains("nothing to learn"), "{error}");
    assert!(!other.exists());
}

#[test]
fn pictures_that_cannot_be_read_are_left_out_wherever_they_stand() {
    let folder = tempfile::tempdir().unwrap();
    let (base_folder, out) = (folder.path().join("base"), folder.path().join("learnt"));
    fs_err::create_dir(&base_folder).unwrap();
    let base = stripped("tests/golden/tiny", &base_folder, &HEADS);
    let mut album = drawn_album();
    for place in [0, 3, 9, album.len()] {
        album.insert(
            place,
            Captioned {
                picture: "broken".into(),
                captions: vec!["x".to_owned()],
                ..Captioned::default()
            },
        );
    }
    let mut skipped = Vec::new();
    let options = LearnOptions {
        epochs: 2,
        ..LearnOptions::default()
    };
    let learnt = bt_model::learn_heads(
        &base,
        &album,
        &mut draw,
        &out,
        &options,
        &Exec::cpu(),
        &mut |event| {
            if let LearnEvent::Skipped { picture, reason } = event {
                skipped.push((picture, reason));
            }
        },
    )
    .unwrap();
    assert_eq!(
        skipped,
        vec![(PathBuf::from("broken"), "not drawn".to_owned()); 4]
    );
    assert_eq!(learnt.learnt_from + learnt.held_out, 18);

    let nothing = bt_model::learn_heads(
        &base,
        &album,
        &mut |_| Err("gone".to_owned()),
        &folder.path().join("other"),
        &options,
        &Exec::cpu(),
        &mut |_| {},
    );
    assert!(nothing.unwrap_err().to_string().contains("too few"));
}

/// R@10 of captions to pictures among `pictures`, in per cent.
fn recall_at_10(model: &Encoder, pictures: &[&Captioned]) -> f32 {
    let pixels: Vec<Pixels> = pictures
        .iter()
        .map(|one| model.prepare(&open(&one.picture).unwrap()))
        .collect();
    let pictures_embedded = model
        .embed_pictures(&pixels.iter().collect::<Vec<_>>())
        .unwrap();
    let (mut found, mut asked) = (0, 0);
    for (own, one) in pictures.iter().enumerate() {
        for caption in &one.captions {
            let text = &model.embed_texts(&[caption]).unwrap()[0].vector;
            let cosine =
                |picture: &Vec<f32>| text.iter().zip(picture).map(|(a, b)| a * b).sum::<f32>();
            let better = pictures_embedded
                .iter()
                .filter(|other| cosine(other) > cosine(&pictures_embedded[own]));
            found += usize::from(better.count() < 10);
            asked += 1;
        }
    }
    100.0 * found as f32 / asked as f32
}

fn open(path: &Path) -> Result<RgbImage, String> {
    image::open(path)
        .map(|picture| picture.to_rgb8())
        .map_err(|error| error.to_string())
}

#[test]
fn heads_learnt_for_mini_find_nine_tenths_of_what_its_own_find() {
    let folder = tempfile::tempdir().unwrap();
    let (base_folder, out) = (folder.path().join("base"), folder.path().join("learnt"));
    fs_err::create_dir(&base_folder).unwrap();
    let base = stripped("models/mini", &base_folder, &HEADS);
    let mut album = read_captions(&root("samples/samples.json"), None).unwrap();
    let ours: BTreeSet<PathBuf> = album
        .iter()
        .enumerate()
        .filter(|(i, _)| i % 3 == 0)
        .map(|(_, one)| one.picture.clone())
        .collect();
    for (i, one) in album.iter_mut().enumerate() {
        let split = if ours.contains(&one.picture) {
            "test"
        } else if i % 7 == 1 {
            "val"
        } else {
            "train"
        };
        one.split = Some(split.to_owned());
    }
    let options = LearnOptions::default();
    let learnt = bt_model::learn_heads(
        &base,
        &album,
        &mut open,
        &out,
        &options,
        &Exec::cpu(),
        &mut |_| {},
    )
    .unwrap();
    let held_out: Vec<&Captioned> = album
        .iter()
        .filter(|one| ours.contains(&one.picture))
        .collect();
    let own = recall_at_10(&encoder(&root("models/mini")), &held_out);
    let new = recall_at_10(&encoder(&out), &held_out);
    println!(
        "{} pictures held out: R@10 {new:.1}, its own heads {own:.1}; {learnt:?}",
        held_out.len()
    );
    assert!(new >= 0.9 * own, "{new} of {own}");
    assert!(
        (learnt.text_to_image.unwrap().at_10 - new).abs() < 2.0,
        "what is reported is what is found"
    );
    assert!(learnt.itm_auc.unwrap() > 0.7, "{learnt:?}");
}
