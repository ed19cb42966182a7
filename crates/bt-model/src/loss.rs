//! What a faster precision costs a model: measured against f32 on pictures and texts of our own. Which precision
//! is taken for it is `settle.rs`'s.

use std::fmt;

use image::{Rgb, RgbImage};
use serde::{Deserialize, Serialize};

use crate::encoder::Encoder;
use crate::error::Result;
use crate::pixels::Pixels;

/// How near results are to those of f32.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Loss {
    /// The least cosine between a picture's vector and the exact one.
    pub picture_cosine: f32,
    /// The same of texts; of a checkpoint without an ITC head, what such a head would read.
    pub text_cosine: f32,
    /// Of all two pictures and a text, the share that ITM puts into the same order; absent without an ITM head.
    pub itm_agreement: Option<f32>,
}

impl Loss {
    /// The least of both cosines.
    pub fn cosine(&self) -> f32 {
        self.picture_cosine.min(self.text_cosine)
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (pictures, texts) = (self.picture_cosine, self.text_cosine);
        write!(
            f,
            "cosine to f32 at least {pictures:.4} of pictures, {texts:.4} of texts"
        )?;
        match self.itm_agreement {
            Some(agreement) => write!(f, "; ITM orders {:.1} % alike", 100.0 * agreement),
            None => Ok(()),
        }
    }
}

const TEXTS: [&str; 6] = [
    "a cat",
    "a brown dog and a cat sleeping on the couch",
    "two red circles in front of a blue square",
    "people at a beach in the evening, seen from far away",
    "IMG_2041",
    "a street at night with yellow lights, wet from rain, and nobody there but a man with an umbrella",
];

/// What a load of a checkpoint makes of the pictures and texts.
pub(crate) struct Answers {
    pictures: Vec<Vec<f32>>,
    texts: Vec<Vec<f32>>,
    /// Of each text, a logit a picture; absent without an ITM head.
    itm: Option<Vec<Vec<f32>>>,
}

impl Answers {
    /// # Errors
    /// What running a model can meet.
    pub(crate) fn of(encoder: &Encoder) -> Result<Self> {
        let pictures: Vec<Pixels> = (0..12).map(|seed| encoder.prepare(&drawn(seed))).collect();
        let pictures: Vec<&Pixels> = pictures.iter().collect();
        let logits = || -> Result<Vec<Vec<f32>>> {
            let states = encoder.picture_states(&pictures)?;
            let states: Vec<_> = states.iter().collect();
            let of_text = |text| encoder.match_logits(text, &states);
            TEXTS.into_iter().map(of_text).collect()
        };
        Ok(Self {
            pictures: encoder.embed_pictures(&pictures)?,
            texts: encoder.text_inputs(&TEXTS)?,
            itm: encoder.heads().itm.then(logits).transpose()?,
        })
    }

    /// How near another load's answers are to these, which are exact.
    pub(crate) fn loss(&self, fast: &Self) -> Loss {
        let least = |exact: &[Vec<f32>], fast: &[Vec<f32>]| {
            let cosines = exact.iter().zip(fast).map(|(a, b)| cosine(a, b));
            cosines.fold(1f32, f32::min)
        };
        let itm = self.itm.as_ref().zip(fast.itm.as_ref());
        Loss {
            picture_cosine: least(&self.pictures, &fast.pictures),
            text_cosine: least(&self.texts, &fast.texts),
            itm_agreement: itm.map(|(exact, fast)| agreement(exact, fast)),
        }
    }
}

fn agreement(exact: &[Vec<f32>], fast: &[Vec<f32>]) -> f32 {
    let (mut same, mut all) = (0usize, 0usize);
    for (exact, fast) in exact.iter().zip(fast) {
        for i in 0..exact.len() {
            for j in 0..i {
                all += 1;
                same += usize::from((exact[i] > exact[j]) == (fast[i] > fast[j]));
            }
        }
    }
    same as f32 / all.max(1) as f32
}

/// NaN is the worst.
fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let cosine = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
    if cosine.is_nan() { -1.0 } else { cosine }
}

/// A disc and a box on a gradient, with grain: colours, edges, plain and busy places.
fn drawn(seed: u32) -> RgbImage {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut number = |below: u32| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state % below
    };
    let mut colour = || [number(256), number(256), number(256)];
    let (top, bottom, disc, square) = (colour(), colour(), colour(), colour());
    let (x0, y0, radius) = (60 + number(200), 60 + number(120), 20 + number(60));
    let (left, up, edge, grain) = (number(220), number(140), 30 + number(90), 1 + number(60));
    RgbImage::from_fn(320, 240, |x, y| {
        let noise =
            (x.wrapping_mul(7_919) ^ y.wrapping_mul(104_729)).wrapping_mul(2_654_435_761) >> 16;
        let inside = x.abs_diff(x0).pow(2) + y.abs_diff(y0).pow(2) < radius * radius;
        let boxed = (left..left + edge).contains(&x) && (up..up + edge).contains(&y);
        Rgb(std::array::from_fn(|c| {
            let value = if inside {
                disc[c]
            } else if boxed {
                square[c]
            } else {
                (top[c] * (240 - y) + bottom[c] * y) / 240
            };
            (value + noise % grain).min(255) as u8
        }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_differ() {
        let pictures: Vec<RgbImage> = (0..12).map(drawn).collect();
        for (i, a) in pictures.iter().enumerate() {
            assert!(pictures[..i].iter().all(|b| a != b));
        }
    }

    #[test]
    fn what_is_no_number_is_the_worst() {
        assert_eq!(cosine(&[f32::NAN, 1.0], &[1.0, 1.0]), -1.0);
        assert_eq!(cosine(&[0.0, 0.0], &[1.0, 1.0]), -1.0);
        assert!((cosine(&[3.0, 4.0], &[6.0, 8.0]) - 1.0).abs() < 1e-6);
    }
}
