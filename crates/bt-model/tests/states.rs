//! States of a picture as bytes: how far they are from the exact ones, and that nothing else is taken for them.

#![allow(clippy::unwrap_used)]

use bt_model::{Encoder, Exec, Fit, ModelChoice, PictureStates};
use image::{Rgb, RgbImage};

fn mini() -> Encoder {
    let choice = ModelChoice {
        spec: "mini".to_owned(),
        fit: Fit::Reference,
    };
    Encoder::load(&choice, &Exec::cpu(), &mut |_| {}).unwrap()
}

#[test]
fn they_say_almost_the_same_and_the_same_again() {
    let mini = mini();
    let pictures: Vec<_> = (0..4u32)
        .map(|seed| {
            mini.prepare(&RgbImage::from_fn(200, 150, |x, y| {
                Rgb([(x * seed) as u8, (y * 3) as u8, (x * y * seed / 50) as u8])
            }))
        })
        .collect();
    let exact = mini
        .picture_states(&pictures.iter().collect::<Vec<_>>())
        .unwrap();
    let near: Vec<PictureStates> = exact
        .iter()
        .map(|states| {
            let bytes = states.to_bytes().unwrap().unwrap();
            let near = PictureStates::from_bytes(&bytes, &mini).unwrap().unwrap();
            assert_eq!(near.to_bytes().unwrap().unwrap(), bytes);
            near
        })
        .collect();
    let logits = |states: &[PictureStates]| {
        mini.match_logits("a cat on a couch", &states.iter().collect::<Vec<_>>())
            .unwrap()
    };
    for (exact, near) in logits(&exact).iter().zip(logits(&near)) {
        assert!(
            (exact - near).abs() < 0.01 * exact.abs().max(1.0),
            "{exact} {near}"
        );
    }
}

#[test]
fn damaged_bytes_are_none() {
    let mini = mini();
    let picture = mini.prepare(&RgbImage::new(64, 64));
    let states = mini.picture_states(&[&picture]).unwrap();
    let bytes = states[0].to_bytes().unwrap().unwrap();
    for at in [0, 9, 5000, bytes.len() - 1] {
        let mut broken = bytes.clone();
        broken[at] ^= 1;
        assert!(
            PictureStates::from_bytes(&broken, &mini).unwrap().is_none(),
            "byte {at}"
        );
    }
    for length in [0, 3, 12, bytes.len() - 1] {
        let part = &bytes[..length];
        assert!(
            PictureStates::from_bytes(part, &mini).unwrap().is_none(),
            "{length} bytes"
        );
    }
}
