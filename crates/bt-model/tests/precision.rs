//! What bf16 and 8 bits cost `mini` on pictures of the album, and that losses and prepared weights are kept.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use bt_model::{Encoder, Event, Exec, Fit, ModelChoice, Pixels, Precision};

fn load(precision: Precision) -> (Encoder, Vec<Event>) {
    let choice = ModelChoice {
        spec: "mini".to_owned(),
        fit: Fit::Reference,
    };
    let exec = Exec::cpu().with_precision(precision).unwrap();
    let mut events = Vec::new();
    let encoder = Encoder::load(&choice, &exec, &mut |event| events.push(event)).unwrap();
    (encoder, events)
}

fn album(encoder: &Encoder) -> Vec<Pixels> {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../samples");
    let mut paths: Vec<PathBuf> = ["pets", "food", "home"]
        .iter()
        .flat_map(|folder| fs_err::read_dir(samples.join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "jpg"))
        .collect();
    paths.sort();
    let pictures: Vec<Pixels> = paths
        .iter()
        .map(|path| encoder.prepare(&image::open(path).unwrap().to_rgb8()))
        .collect();
    assert!(pictures.len() > 10, "{} pictures", pictures.len());
    pictures
}

fn least_cosine(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    let dot = |(a, b): (&Vec<f32>, &Vec<f32>)| a.iter().zip(b).map(|(a, b)| a * b).sum();
    a.iter().zip(b).map(dot).fold(1f32, f32::min)
}

#[test]
fn mini_loses_little_and_small_models_stay_exact() {
    let texts = [
        "a cat on a couch",
        "pizza",
        "two dogs beside a red car at night",
    ];
    let (exact, _) = load(Precision::F32);
    let pictures = album(&exact);
    let pictures: Vec<&Pixels> = pictures.iter().collect();
    let vectors = exact.embed_pictures(&pictures).unwrap();
    let words = exact.text_inputs(&texts).unwrap();
    let states = exact.picture_states(&pictures).unwrap();
    let logits = exact
        .match_logits(texts[0], &states.iter().collect::<Vec<_>>())
        .unwrap();
    let first = |logits: &[f32]| (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
    for precision in [Precision::Bf16, Precision::Int8] {
        let (fast, _) = load(precision);
        assert_eq!((fast.precision(), fast.id()), (precision, exact.id()));
        let cosine = least_cosine(&fast.embed_pictures(&pictures).unwrap(), &vectors);
        assert!(
            cosine > 0.995 && cosine < 1.0,
            "{precision}: pictures {cosine}"
        );
        let near = fast.text_inputs(&texts).unwrap();
        let cosine = near.iter().zip(&words).map(|(a, b)| {
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
            dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
        });
        for cosine in cosine {
            assert!(cosine > 0.995, "{precision}: texts {cosine}");
        }
        let states = fast.picture_states(&pictures).unwrap();
        let near = fast
            .match_logits(texts[0], &states.iter().collect::<Vec<_>>())
            .unwrap();
        assert_eq!(first(&near), first(&logits), "{precision}");
    }
    assert_eq!(load(Precision::Auto).0.precision(), Precision::F32);
}

/// A second load finds what the first has left: the loss is not measured again, results are the same.
#[test]
fn what_was_found_out_is_kept() {
    let (first, _) = load(Precision::Int8);
    let (second, events) = load(Precision::Int8);
    let measured = |event: &Event| matches!(event, Event::Loss { .. });
    assert!(!events.iter().any(measured), "{events:?}");
    let pictures = album(&first);
    let pictures: Vec<&Pixels> = pictures.iter().take(3).collect();
    assert_eq!(
        first.embed_pictures(&pictures).unwrap(),
        second.embed_pictures(&pictures).unwrap()
    );
    let folder =
        Path::new(&std::env::var("BT_CACHE").expect("cargo sets BT_CACHE")).join(first.id());
    // By the bits that this processor uses.
    let kept = ["int8.weights", "int7.weights"].map(|name| folder.join(name).is_file());
    assert!(kept.contains(&true), "{}", folder.display());
}
