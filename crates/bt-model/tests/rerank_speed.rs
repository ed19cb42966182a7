//! Scoring faster: what is left of a picture, and how far scores move.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use bt_model::{Encoder, Exec, Fit, ModelChoice, PictureStates, RerankSpeed};

fn mini(speed: RerankSpeed) -> Encoder {
    let choice = ModelChoice {
        spec: "mini".to_owned(),
        fit: Fit::Reference,
    };
    let exec = Exec::cpu().with_rerank_speed(speed);
    Encoder::load(&choice, &exec, &mut |_| {}).unwrap()
}

fn samples(encoder: &Encoder, names: &[&str]) -> Vec<PictureStates> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../samples");
    let pictures: Vec<_> = names
        .iter()
        .map(|name| encoder.prepare(&image::open(folder.join(name)).unwrap().to_rgb8()))
        .collect();
    encoder
        .picture_states(&pictures.iter().collect::<Vec<_>>())
        .unwrap()
}

#[test]
fn fast_scores_find_the_same_picture() {
    let (exact, fast) = (mini(RerankSpeed::Exact), mini(RerankSpeed::Fast));
    assert_eq!(fast.rerank_speed(), RerankSpeed::Fast);
    let states = samples(
        &exact,
        &[
            "home/IMG_0012.jpg",
            "pets/IMG_0081.webp",
            "pets/IMG_0082.jpg",
        ],
    );
    let states: Vec<_> = states.iter().collect();
    let first = |encoder: &Encoder| {
        let logits = encoder.match_logits("a cat on a couch", &states).unwrap();
        assert!(logits[0] > logits[1] && logits[0] > logits[2], "{logits:?}");
        logits[0]
    };
    let (exact, fast) = (first(&exact), first(&fast));
    assert!(
        (exact - fast).abs() < 2.0 && exact != fast,
        "{exact} {fast}"
    );
}
