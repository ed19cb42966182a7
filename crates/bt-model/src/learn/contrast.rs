//! The ITC heads: a start in closed form, then InfoNCE in both directions with a learnt logit scale. How
//! strong the ridge is and how long to descend is chosen on pictures that neither learnt from.

use candle_core::{D, DType, Device, Tensor, Var};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};

use super::album::{Album, stack};
use super::rng::Random;
use super::start::{Affine, ItcHeads, Moments};
use super::{LearnEvent, LearnOptions, START_SCALE};
use crate::error::{Error, Result};

/// Strengths of the ridge that are tried, in multiples of the mean variance.
const RIDGES: [f64; 6] = [0.1, 0.3, 1.0, 3.0, 10.0, 30.0];

/// Taken when there are too few pictures to choose by.
const USUAL_RIDGE: f64 = 10.0;

/// With fewer validation pictures than this a choice among them is a throw of dice.
const FEWEST_TO_CHOOSE_BY: usize = 5;

/// More would not make the choice better.
const MOST_TO_CHOOSE_BY: usize = 256;

/// Epochs without an improvement until descending ends.
const PATIENCE: usize = 4;

/// A step changes a weight by about this share of the weights' root mean square.
const LEARNING_RATE: f64 = 0.005;

/// Pulls towards the start, not towards zero: what is decayed is the way from there.
const WEIGHT_DECAY: f64 = 0.1;

/// CLIP's bound: a larger scale makes the loss follow single pairs.
const LARGEST_SCALE: f64 = 4.605_170_2; // ln 100

/// Learns both heads from `train`, choosing by `validation`.
pub(super) fn learn(
    album: &Album,
    train: &[usize],
    validation: &[usize],
    size: usize,
    options: &LearnOptions,
    on: &mut dyn FnMut(LearnEvent),
) -> Result<ItcHeads> {
    let judges = &validation[..validation.len().min(MOST_TO_CHOOSE_BY)];
    let all = [train, validation].concat();
    if judges.len() < FEWEST_TO_CHOOSE_BY {
        return Moments::of(album, &all)?.heads(USUAL_RIDGE, size, options.seed);
    }
    let moments = Moments::of(album, train)?;
    let mut best: Option<(Verdict, f64, ItcHeads)> = None;
    for ridge in RIDGES {
        let heads = moments.heads(ridge, size, options.seed)?;
        let verdict = judge(album, judges, &heads)?;
        if best
            .as_ref()
            .is_none_or(|(known, ..)| verdict.loss < known.loss)
        {
            best = Some((verdict, ridge, heads));
        }
    }
    let (mut verdict, ridge, mut heads) = best.ok_or_else(|| {
        Error::Usage("the states of the towers are not finite numbers".to_owned())
    })?;
    heads.logit_scale = verdict.logit_scale;
    on(LearnEvent::Epoch {
        epoch: 0,
        loss: None,
        validation: verdict.loss,
    });

    let mut epochs = 0;
    descend(
        album,
        train,
        &heads,
        options.epochs,
        options,
        &mut |epoch, loss, heads| {
            let now = judge(album, judges, heads)?;
            on(LearnEvent::Epoch {
                epoch,
                loss: Some(loss),
                validation: now.loss,
            });
            if now.loss < verdict.loss {
                (verdict, epochs) = (now, epoch);
            }
            Ok(epoch < epochs + PATIENCE)
        },
    )?;
    // What was chosen on few pictures is then done with all of them.
    let mut heads = Moments::of(album, &all)?.heads(ridge, size, options.seed)?;
    heads.logit_scale = verdict.logit_scale;
    let mut heads = descend(album, &all, &heads, epochs, options, &mut |_, _, _| {
        Ok(true)
    })?;
    heads.logit_scale = verdict.logit_scale;
    Ok(heads)
}

/// How good heads are on pictures that they did not learn from.
struct Verdict {
    /// InfoNCE at the best logit scale.
    loss: f64,
    logit_scale: f64,
}

fn judge(album: &Album, pictures: &[usize], heads: &ItcHeads) -> Result<Verdict> {
    const MOST_ROUNDS: usize = 5;
    let images = heads.image.embed(&stack(&album.pictures, pictures)?)?;
    let rounds = pictures
        .iter()
        .map(|&picture| album.texts_of[picture].len())
        .max()
        .unwrap_or(1)
        .min(MOST_ROUNDS);
    let mut cosines = Vec::with_capacity(rounds);
    for round in 0..rounds {
        let texts: Vec<usize> = pictures
            .iter()
            .map(|&picture| album.texts_of[picture][round % album.texts_of[picture].len()])
            .collect();
        cosines.push(
            heads
                .text
                .embed(&stack(&album.texts, &texts)?)?
                .matmul(&images.t()?)?,
        );
    }
    let mut verdict = Verdict {
        loss: f64::INFINITY,
        logit_scale: START_SCALE,
    };
    for step in 0..=46 {
        let logit_scale = f64::from(step) / 10.0;
        let mut loss = 0.0;
        for cosines in &cosines {
            loss += f64::from(info_nce(&(cosines * logit_scale.exp())?)?.to_scalar::<f32>()?)
                / rounds as f64;
        }
        if loss < verdict.loss {
            verdict = Verdict { loss, logit_scale };
        }
    }
    Ok(verdict)
}

/// Cross-entropy of a square of logits against its diagonal, the mean of both directions.
fn info_nce(logits: &Tensor) -> Result<Tensor> {
    let count = logits.dim(0)?;
    let right = (logits * Tensor::eye(count, DType::F32, logits.device())?)?.sum_all()?;
    let rows = logits.log_sum_exp(D::Minus1)?.sum_all()?;
    let columns = logits.log_sum_exp(0)?.sum_all()?;
    Ok((((rows + columns)? / 2.0)? - right)?.affine(1.0 / count as f64, 0.0)?)
}

/// A weight as the way that it went from where it started.
struct Moving {
    start: Tensor,
    way: Var,
    unit: f64,
}

impl Moving {
    fn new(start: &Tensor, unit: f64) -> Result<Self> {
        Ok(Self {
            start: start.clone(),
            way: Var::zeros(start.shape(), DType::F32, &Device::Cpu)?,
            unit,
        })
    }

    fn now(&self) -> Result<Tensor> {
        Ok((&self.start + (self.way.as_tensor() * self.unit)?)?)
    }
}

struct MovingAffine {
    weight: Moving,
    bias: Moving,
}

impl MovingAffine {
    fn new(start: &Affine) -> Result<Self> {
        let size = start.weight.dim(0)? as f64;
        let mean_square = start.weight.sqr()?.mean_all()?.to_scalar::<f32>()?;
        Ok(Self {
            weight: Moving::new(&start.weight, f64::from(mean_square).sqrt())?,
            // Embeddings have a length of about 1 before they are normalised.
            bias: Moving::new(&start.bias, 1.0 / size.sqrt())?,
        })
    }

    fn now(&self) -> Result<Affine> {
        Ok(Affine {
            weight: self.weight.now()?,
            bias: self.bias.now()?,
        })
    }
}

/// AdamW for some epochs; `each` sees the epoch, its mean loss and the heads, and says whether to go on.
fn descend(
    album: &Album,
    pictures: &[usize],
    start: &ItcHeads,
    epochs: usize,
    options: &LearnOptions,
    each: &mut dyn FnMut(usize, f64, &ItcHeads) -> Result<bool>,
) -> Result<ItcHeads> {
    let (text, image) = (
        MovingAffine::new(&start.text)?,
        MovingAffine::new(&start.image)?,
    );
    let scale = Var::new(start.logit_scale as f32, &Device::Cpu)?;
    let decayed =
        [&text.weight, &text.bias, &image.weight, &image.bias].map(|moving| moving.way.clone());
    let settings = |weight_decay| ParamsAdamW {
        lr: LEARNING_RATE,
        weight_decay,
        ..ParamsAdamW::default()
    };
    let mut optimizer = AdamW::new(decayed.to_vec(), settings(WEIGHT_DECAY))?;
    let mut scale_optimizer = AdamW::new(vec![scale.clone()], settings(0.0))?;
    let now = || -> Result<ItcHeads> {
        Ok(ItcHeads {
            text: text.now()?,
            image: image.now()?,
            logit_scale: f64::from(scale.as_tensor().to_scalar::<f32>()?),
        })
    };
    let mut random = Random::new(options.seed);
    let mut order = pictures.to_vec();
    for epoch in 1..=epochs {
        random.shuffle(&mut order);
        let (mut sum, mut batches) = (0.0, 0);
        // A last batch of one picture has nothing to contrast it with.
        for batch in order
            .chunks(options.batch.max(2))
            .filter(|batch| batch.len() > 1)
        {
            let texts: Vec<usize> = batch
                .iter()
                .map(|&picture| {
                    album.texts_of[picture][random.below(album.texts_of[picture].len())]
                })
                .collect();
            let words = text.now()?.embed(&stack(&album.texts, &texts)?)?;
            let images = image.now()?.embed(&stack(&album.pictures, batch)?)?;
            let logits = words
                .matmul(&images.t()?)?
                .broadcast_mul(&scale.as_tensor().exp()?)?;
            let loss = info_nce(&logits)?;
            let gradients = loss.backward()?;
            optimizer.step(&gradients)?;
            scale_optimizer.step(&gradients)?;
            scale.set(&scale.as_tensor().clamp(0.0, LARGEST_SCALE)?)?;
            sum += f64::from(loss.to_scalar::<f32>()?);
            batches += 1;
        }
        if batches == 0 || !each(epoch, sum / f64::from(batches), &now()?)? {
            break;
        }
    }
    now()
}
