//! The ITM head: one linear layer on the pooled states of pairs, learnt from captions as matches, and as
//! mismatches from the texts of other pictures that the ITC heads take for the nearest, and some at random.

use std::path::PathBuf;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};

use super::album::stack;
use super::recall::dot;
use super::rng::Random;
use super::{LearnEvent, LearnOptions, ReadPicture};
use crate::encoder::Encoder;
use crate::error::{Error, Result};

/// Captions of a picture that are taken as matches.
const MATCHES: usize = 2;

/// Nearest wrong texts that a mismatch is drawn from, and how many are drawn.
const NEAREST: usize = 8;
const HARD: usize = 3;

/// Mismatches of any kind.
const RANDOM: usize = 1;

/// More pictures would take hours on a processor, and 2 D + 2 numbers need no more.
const MOST_PICTURES: usize = 1000;

/// Steps over all pairs at once.
const STEPS: usize = 300;

/// Between two looks at the validation pairs.
const STEPS_A_LOOK: usize = 10;

/// What is known of one album for choosing pairs: texts as written, and unit-length ITC embeddings.
pub(super) struct Known<'a> {
    pub(super) files: &'a [PathBuf],
    pub(super) texts: &'a [String],
    pub(super) texts_of: &'a [Vec<usize>],
    pub(super) text_embeddings: &'a [Vec<f32>],
    pub(super) picture_embeddings: &'a [Vec<f32>],
}

/// Pooled states of pairs, and whether they match.
#[derive(Default)]
pub(super) struct Pairs {
    states: Vec<Vec<f32>>,
    matches: Vec<bool>,
}

/// The head: weight [2, 2 D] and bias [2]; row 0 is zero, so that row 1 is the logit difference.
pub(super) struct ItmHead {
    pub(super) weight: Tensor,
    pub(super) bias: Tensor,
}

/// Pairs of the pictures, each picture read and run once; memory: one picture's states and 8 D bytes a pair.
pub(super) fn pairs(
    encoder: &Encoder,
    known: &Known<'_>,
    pictures: &[usize],
    read: ReadPicture<'_>,
    options: &LearnOptions,
    on: &mut dyn FnMut(LearnEvent),
) -> Result<Pairs> {
    let mut random = Random::new(options.seed ^ 0x17a9);
    let mut chosen = pictures.to_vec();
    random.shuffle(&mut chosen);
    chosen.truncate(MOST_PICTURES);
    let mut pairs = Pairs::default();
    for (done, &picture) in chosen.iter().enumerate() {
        let wrong = mismatches(known, pictures, picture, &mut random);
        let rgb = match read(&known.files[picture]) {
            Ok(rgb) => rgb,
            // It could be read a moment ago, so this is worth a word and no more.
            Err(reason) => {
                on(LearnEvent::Skipped {
                    picture: known.files[picture].clone(),
                    reason,
                });
                continue;
            }
        };
        let states = encoder.picture_states(&[&encoder.prepare(&rgb)])?;
        let states: Vec<_> = states.iter().collect();
        let right = known.texts_of[picture]
            .iter()
            .take(MATCHES)
            .map(|&text| (text, true));
        for (text, is_match) in right.chain(wrong.into_iter().map(|text| (text, false))) {
            pairs
                .states
                .extend(encoder.pooler_outputs(&known.texts[text], &states)?);
            pairs.matches.push(is_match);
        }
        on(LearnEvent::Matching {
            done: done + 1,
            total: chosen.len(),
        });
    }
    Ok(pairs)
}

/// Texts of other pictures that say something else than the picture's own.
fn mismatches(
    known: &Known<'_>,
    pictures: &[usize],
    picture: usize,
    random: &mut Random,
) -> Vec<usize> {
    let own = &known.texts_of[picture];
    let says_the_same = |text: usize| own.iter().any(|&own| known.texts[own] == known.texts[text]);
    let others = || {
        let texts = pictures
            .iter()
            .filter(|other| **other != picture)
            .flat_map(|&other| &known.texts_of[other]);
        texts.copied().filter(|&text| !says_the_same(text))
    };
    let embedding = &known.picture_embeddings[picture];
    let mut ranked: Vec<(f32, usize)> = others()
        .map(|text| (dot(embedding, &known.text_embeddings[text]), text))
        .collect();
    ranked.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut nearest: Vec<usize> = ranked.iter().take(NEAREST).map(|(_, text)| *text).collect();
    random.shuffle(&mut nearest);
    nearest.truncate(HARD);
    for _ in 0..RANDOM {
        if let Some((_, text)) = ranked.get(random.below(ranked.len())) {
            nearest.push(*text);
        }
    }
    nearest
}

impl Pairs {
    pub(super) fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// States [n, 2 D], matches [n] and weights [n] that give both kinds the same say.
    fn tensors(&self) -> Result<(Tensor, Tensor, Tensor)> {
        let all: Vec<usize> = (0..self.states.len()).collect();
        let count = self.matches.iter().filter(|is_match| **is_match).count();
        let share = |n: usize| 0.5 / n.max(1) as f32;
        let (right, wrong) = (share(count), share(self.matches.len() - count));
        let labels: Vec<f32> = self
            .matches
            .iter()
            .map(|&is_match| f32::from(is_match))
            .collect();
        let weights: Vec<f32> = self
            .matches
            .iter()
            .map(|&is_match| if is_match { right } else { wrong })
            .collect();
        let n = labels.len();
        Ok((
            stack(&self.states, &all)?,
            Tensor::from_vec(labels, n, &Device::Cpu)?,
            Tensor::from_vec(weights, n, &Device::Cpu)?,
        ))
    }

    /// How often a match has a higher logit than a mismatch (area under the ROC curve).
    pub(super) fn auc(&self, head: &ItmHead) -> Result<f32> {
        let all: Vec<usize> = (0..self.states.len()).collect();
        let states = stack(&self.states, &all)?;
        let logits = states
            .matmul(&head.weight.t()?)?
            .broadcast_add(&head.bias)?
            .to_vec2::<f32>()?;
        let scores: Vec<f32> = logits.iter().map(|pair| pair[1] - pair[0]).collect();
        let of = |kind: bool| {
            scores
                .iter()
                .zip(&self.matches)
                .filter(move |(_, is_match)| **is_match == kind)
        };
        let (mut won, mut played) = (0.0_f64, 0.0_f64);
        for (right, _) in of(true) {
            for (wrong, _) in of(false) {
                played += 1.0;
                won += match right.total_cmp(wrong) {
                    std::cmp::Ordering::Greater => 1.0,
                    std::cmp::Ordering::Equal => 0.5,
                    std::cmp::Ordering::Less => 0.0,
                };
            }
        }
        Ok((won / played.max(1.0)) as f32)
    }
}

/// Logistic regression on standardised states, stopped where the validation pairs are foretold best.
pub(super) fn learn(train: &Pairs, validation: &Pairs) -> Result<ItmHead> {
    if train.is_empty() {
        return Err(Error::Usage(
            "there is no pair of a picture and a text to learn the ITM head from".to_owned(),
        ));
    }
    let (states, labels, weights) = train.tensors()?;
    let mean = states.mean(0)?;
    let deviation = (states.broadcast_sub(&mean)?.sqr()?.mean(0)?.sqrt()? + 1e-4)?;
    let standard = |states: &Tensor| -> Result<Tensor> {
        Ok(states.broadcast_sub(&mean)?.broadcast_div(&deviation)?)
    };
    let judges = if validation.is_empty() {
        None
    } else {
        Some(validation.tensors()?)
    };

    let width = states.dim(1)?;
    let row = Var::zeros((width, 1), DType::F32, &Device::Cpu)?;
    let bias = Var::zeros(1, DType::F32, &Device::Cpu)?;
    let settings = ParamsAdamW {
        lr: 0.01,
        weight_decay: 0.1,
        ..ParamsAdamW::default()
    };
    let mut optimizer = AdamW::new(vec![row.clone(), bias.clone()], settings)?;
    let loss = |states: &Tensor, labels: &Tensor, weights: &Tensor| -> Result<Tensor> {
        let logits = states
            .matmul(row.as_tensor())?
            .broadcast_add(bias.as_tensor())?
            .squeeze(1)?;
        // log(1 + exp(x)) without overflow: max(x, 0) + log(1 + exp(-|x|)).
        let softplus = (logits.relu()? + (logits.abs()?.neg()?.exp()? + 1.0)?.log()?)?;
        Ok(((softplus - (logits * labels)?)? * weights)?.sum_all()?)
    };
    let standard_states = standard(&states)?;
    let mut best = (
        f32::INFINITY,
        row.as_tensor().copy()?,
        bias.as_tensor().copy()?,
    );
    for step in 1..=STEPS {
        optimizer.step(&loss(&standard_states, &labels, &weights)?.backward()?)?;
        if step % STEPS_A_LOOK == 0 {
            let now = match &judges {
                Some((states, labels, weights)) => {
                    loss(&standard(states)?, labels, weights)?.to_scalar::<f32>()?
                }
                None => -(step as f32), // nobody to judge by: the last
            };
            if now < best.0 {
                best = (now, row.as_tensor().copy()?, bias.as_tensor().copy()?);
            }
        }
    }
    let (_, row, bias) = best;
    // The standardisation goes into the layer: w (x - m) / s + b = (w / s) x + (b - (w / s) m).
    let row = row.squeeze(1)?.div(&deviation)?;
    let bias = (bias - (&row * &mean)?.sum_all()?.reshape(1)?)?;
    let zeros = Tensor::zeros((1, width), DType::F32, &Device::Cpu)?;
    Ok(ItmHead {
        weight: Tensor::cat(&[&zeros, &row.unsqueeze(0)?], 0)?,
        bias: Tensor::cat(&[&Tensor::zeros(1, DType::F32, &Device::Cpu)?, &bias], 0)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_kinds(count: usize, seed: u64) -> Pairs {
        let mut random = Random::new(seed);
        let mut pairs = Pairs::default();
        for i in 0..count {
            let is_match = i % 3 == 0;
            let shift = if is_match { 0.4 } else { -0.4 };
            pairs.states.push(
                (0..8)
                    .map(|k| (if k < 2 { shift } else { 5.0 } + 0.3 * random.normal()) as f32)
                    .collect(),
            );
            pairs.matches.push(is_match);
        }
        pairs
    }

    #[test]
    fn matches_are_told_from_mismatches_on_pairs_that_were_not_seen() {
        let head = learn(&two_kinds(300, 1), &two_kinds(60, 2)).unwrap();
        assert!(two_kinds(200, 3).auc(&head).unwrap() > 0.95);
        let alone = learn(&two_kinds(300, 1), &Pairs::default()).unwrap();
        assert!(two_kinds(200, 3).auc(&alone).unwrap() > 0.95);
    }

    #[test]
    fn a_text_that_says_the_same_is_no_mismatch() {
        let texts: Vec<String> = ["a dog", "a cat", "a dog", "a bird"]
            .map(str::to_owned)
            .into();
        let embeddings = vec![vec![1.0_f32, 0.0]; 4];
        let known = Known {
            files: &[],
            texts: &texts,
            texts_of: &[vec![0], vec![1], vec![2], vec![3]],
            text_embeddings: &embeddings,
            picture_embeddings: &embeddings,
        };
        let wrong = mismatches(&known, &[0, 1, 2, 3], 0, &mut Random::new(5));
        assert!(
            !wrong.is_empty() && wrong.iter().all(|text| [1, 3].contains(text)),
            "{wrong:?}"
        );
    }
}
