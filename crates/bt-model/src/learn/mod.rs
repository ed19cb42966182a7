//! Learning the heads that a checkpoint lacks from captioned pictures: the ITC heads, on frozen states of
//! the towers, and the ITM head, on pooled states of pairs. The body is never changed.
//!
//! `album.rs` keeps the states, `start.rs` and `contrast.rs` learn the ITC heads, `matching.rs` the ITM
//! head. Everything is drawn from one seed: the same album gives the same heads.

mod album;
mod contrast;
mod matching;
mod recall;
mod rng;
mod start;

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use image::RgbImage;
use serde::Serialize;
use serde_json::{Value, json};

use crate::captions::Captioned;
use crate::checkpoint::write::{NewCheckpoint, refuse_existing};
use crate::checkpoint::{Checkpoint, Event};
use crate::encoder::Encoder;
use crate::error::{Error, Result};
use crate::exec::Exec;
use crate::heads::normalise;
use crate::model::{BridgeTower, rows};
use crate::pixels::{Fit, Pixels};
use album::{Album, Parts, stack};
use matching::{ItmHead, Known};
use start::ItcHeads;

pub use recall::Recall;

/// ln(1 / 0.07): where CLIP and the public checkpoints start from.
const START_SCALE: f64 = 2.6592;

/// Pictures that go through the vision tower together.
const PICTURES_AT_ONCE: usize = 4;

/// The public checkpoint's length; more is not needed and costs in every index.
const LONGEST_EMBEDDING: usize = 512;

/// How to learn.
#[derive(Clone, Debug)]
pub struct LearnOptions {
    /// Length of the embeddings; what config.json says where absent, else the model's width, at most 512.
    pub size: Option<usize>,
    /// Share of the pictures that nothing is learnt from, where the file of captions does not say which.
    pub held_out: f64,
    /// Most times that all pictures are gone through.
    pub epochs: usize,
    /// Pictures that are contrasted with each other in one step.
    pub batch: usize,
    /// Everything random is drawn from it.
    pub seed: u64,
    /// How pictures become squares; an index has to use the same.
    pub fit: Fit,
}

impl Default for LearnOptions {
    fn default() -> Self {
        Self {
            size: None,
            held_out: 0.2,
            epochs: 40,
            batch: 256,
            seed: 0,
            fit: Fit::Reference,
        }
    }
}

/// What learning is doing.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum LearnEvent {
    /// Something about the checkpoint that is worth a line.
    Warning(String),
    /// Pictures that went through the towers with their captions.
    Embedded {
        /// So many.
        done: usize,
        /// Of so many.
        total: usize,
    },
    /// A picture that is left out.
    Skipped {
        /// Its file.
        picture: PathBuf,
        /// Why.
        reason: String,
    },
    /// All pictures were gone through once more; epoch 0 is the start in closed form.
    Epoch {
        /// Which time.
        epoch: usize,
        /// Mean InfoNCE on what is learnt from.
        loss: Option<f64>,
        /// InfoNCE on validation pictures at the best scale.
        validation: f64,
    },
    /// Pictures whose pairs went through the cross-modal layers.
    Matching {
        /// So many.
        done: usize,
        /// Of so many.
        total: usize,
    },
}

/// What was learnt, and how good it is on pictures that it was not learnt from.
#[derive(Clone, Debug, Serialize)]
pub struct Learnt {
    /// Names of the heads that were learnt.
    pub heads: Vec<&'static str>,
    /// Length of the embeddings.
    pub size: usize,
    /// Pictures learnt from, those that only chose how included.
    pub learnt_from: usize,
    /// Pictures measured on.
    pub held_out: usize,
    /// Captions to pictures, among the pictures held out.
    pub text_to_image: Option<Recall>,
    /// Pictures to captions, among those held out.
    pub image_to_text: Option<Recall>,
    /// How often the ITM head puts a held-out match above a mismatch.
    pub itm_auc: Option<f32>,
}

/// Gives the upright picture of a file, or says why there is none.
pub type ReadPicture<'a> = &'a mut dyn FnMut(&Path) -> std::result::Result<RgbImage, String>;

/// Learns the ITC heads and the ITM head, each where `base` lacks it, and writes the new checkpoint `out`.
///
/// # Errors
/// `base` has both, `out` is in use, too few pictures can be read, or the model cannot be run.
pub fn learn_heads(
    base: &Checkpoint,
    captioned: &[Captioned],
    read: ReadPicture<'_>,
    out: &Path,
    options: &LearnOptions,
    exec: &Exec,
    on: &mut dyn FnMut(LearnEvent),
) -> Result<Learnt> {
    refuse_existing(out)?;
    if !(0.0..1.0).contains(&options.held_out) {
        return Err(Error::Usage(format!(
            "a share of {} cannot be held out; it must be from 0 to below 1",
            options.held_out
        )));
    }
    let encoder = Encoder::from_checkpoint(base, options.fit, exec, &mut |event| {
        if let Event::Warning(text) = event {
            on(LearnEvent::Warning(text));
        }
    })?;
    let has = encoder.heads();
    if has.itc && has.itm {
        return Err(Error::Usage(format!(
            "the model `{}` has ITC and ITM heads; there is nothing to learn",
            base.name()
        )));
    }

    let (read_ones, album, texts) = embed(&encoder, captioned, &mut *read, on)?;
    let parts = Parts::of(&read_ones, options.held_out, options.seed);
    if parts.train.len() < 2 {
        return Err(Error::Usage(format!(
            "{} pictures are too few to learn from",
            parts.train.len()
        )));
    }
    let learnt_from = [parts.train.as_slice(), parts.validation.as_slice()].concat();
    let mut learnt = Learnt {
        heads: Vec::new(),
        size: encoder.embedding_dim(),
        learnt_from: learnt_from.len(),
        held_out: parts.held_out.len(),
        text_to_image: None,
        image_to_text: None,
        itm_auc: None,
    };
    let mut new_tensors = Vec::new();
    let mut config: Value =
        serde_json::from_str(base.config_json()).map_err(|cause| Error::BadFile {
            path: base.folder().join("config.json"),
            what: cause.to_string(),
        })?;

    let (text_embeddings, picture_embeddings) = if has.itc {
        embeddings(
            &album,
            |texts| encoder.model().itc_text(texts),
            |pictures| encoder.model().itc_image(pictures),
        )?
    } else {
        let model = encoder.model().config();
        let usual = model
            .contrastive_size
            .unwrap_or(model.hidden_size.min(LONGEST_EMBEDDING));
        learnt.size = options.size.unwrap_or(usual);
        let heads = contrast::learn(
            &album,
            &parts.train,
            &parts.validation,
            learnt.size,
            options,
            on,
        )?;
        learnt.heads.push("ITC");
        config["contrastive_hidden_size"] = json!(learnt.size);
        config["logit_scale_init_value"] = json!(heads.logit_scale);
        config["architectures"] = json!(["BridgeTowerForContrastiveLearning"]);
        let embeddings = embeddings(
            &album,
            |texts| heads.text.embed(texts),
            |pictures| heads.image.embed(pictures),
        )?;
        new_tensors.extend(itc_tensors(heads)?);
        embeddings
    };
    if !parts.held_out.is_empty() {
        let (texts, owner) = album.owned_texts(&parts.held_out);
        let texts: Vec<Vec<f32>> = texts
            .iter()
            .map(|&text| text_embeddings[text].clone())
            .collect();
        let pictures: Vec<Vec<f32>> = parts
            .held_out
            .iter()
            .map(|&i| picture_embeddings[i].clone())
            .collect();
        let (words, back) = recall::both_ways(&texts, &pictures, &owner);
        (learnt.text_to_image, learnt.image_to_text) = (Some(words), Some(back));
    }
    if !has.itm {
        let files: Vec<PathBuf> = read_ones.iter().map(|one| one.picture.clone()).collect();
        let known = Known {
            files: &files,
            texts: &texts,
            texts_of: &album.texts_of,
            text_embeddings: &text_embeddings,
            picture_embeddings: &picture_embeddings,
        };
        let mut pairs =
            |part: &[usize]| matching::pairs(&encoder, &known, part, &mut *read, options, on);
        let (train, validation, held_out) = (
            pairs(&parts.train)?,
            pairs(&parts.validation)?,
            pairs(&parts.held_out)?,
        );
        let head = matching::learn(&train, &validation)?;
        learnt.itm_auc = if held_out.is_empty() {
            None
        } else {
            Some(held_out.auc(&head)?)
        };
        learnt.heads.push("ITM");
        new_tensors.extend(itm_tensors(head));
    }
    write(base, out, &config, new_tensors, exec)?;
    Ok(learnt)
}

/// Runs the towers over all captioned pictures that can be read, and over their captions.
fn embed<'a>(
    encoder: &Encoder,
    captioned: &'a [Captioned],
    read: ReadPicture<'_>,
    on: &mut dyn FnMut(LearnEvent),
) -> Result<(Vec<&'a Captioned>, Album, Vec<String>)> {
    let (mut read_ones, mut album, mut texts) = (Vec::new(), Album::default(), Vec::new());
    let captioned: Vec<&Captioned> = captioned
        .iter()
        .filter(|one| !one.captions.is_empty())
        .collect();
    for chunk in captioned.chunks(PICTURES_AT_ONCE) {
        let mut pixels: Vec<Pixels> = Vec::with_capacity(chunk.len());
        for &one in chunk {
            match read(&one.picture) {
                Ok(rgb) => {
                    pixels.push(encoder.prepare(&rgb));
                    read_ones.push(one);
                }
                Err(reason) => on(LearnEvent::Skipped {
                    picture: one.picture.clone(),
                    reason,
                }),
            }
        }
        if !pixels.is_empty() {
            let batch: Vec<&Pixels> = pixels.iter().collect();
            album.pictures.extend(rows(
                &encoder
                    .model()
                    .image_itc_input(&encoder.model().pixel_batch(&batch)?)?,
            )?);
        }
        for one in &read_ones[album.texts_of.len()..] {
            let captions: Vec<&str> = one.captions.iter().map(String::as_str).collect();
            let first = album.texts.len();
            album.texts.extend(encoder.text_inputs(&captions)?);
            album.texts_of.push((first..album.texts.len()).collect());
            texts.extend(one.captions.iter().cloned());
        }
        on(LearnEvent::Embedded {
            done: album.pictures.len(),
            total: captioned.len(),
        });
    }
    Ok((read_ones, album, texts))
}

/// Unit-length embeddings of all texts and of all pictures.
#[expect(clippy::type_complexity, reason = "two lists of vectors")]
fn embeddings(
    album: &Album,
    of_texts: impl Fn(&Tensor) -> Result<Tensor>,
    of_pictures: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<(Vec<Vec<f32>>, Vec<Vec<f32>>)> {
    const AT_ONCE: usize = 1024;
    let all =
        |states: &[Vec<f32>], head: &dyn Fn(&Tensor) -> Result<Tensor>| -> Result<Vec<Vec<f32>>> {
            let places: Vec<usize> = (0..states.len()).collect();
            let mut vectors = Vec::with_capacity(states.len());
            for chunk in places.chunks(AT_ONCE) {
                vectors.extend(rows(&normalise(&head(&stack(states, chunk)?)?)?)?);
            }
            Ok(vectors)
        };
    Ok((
        all(&album.texts, &of_texts)?,
        all(&album.pictures, &of_pictures)?,
    ))
}

fn itc_tensors(heads: ItcHeads) -> Result<[(&'static str, Tensor); 5]> {
    Ok([
        ("itc_text_head.fc.weight", heads.text.weight),
        ("itc_text_head.fc.bias", heads.text.bias),
        ("itc_image_head.fc.weight", heads.image.weight),
        ("itc_image_head.fc.bias", heads.image.bias),
        (
            "logit_scale",
            Tensor::new(heads.logit_scale as f32, &Device::Cpu)?,
        ),
    ])
}

fn itm_tensors(head: ItmHead) -> [(&'static str, Tensor); 2] {
    [
        ("itm_score.fc.weight", head.weight),
        ("itm_score.fc.bias", head.bias),
    ]
}

/// All tensors of `base` as they are stored, and the new ones. A calibration of `base` was measured with
/// other heads, so it is not taken over.
fn write(
    base: &Checkpoint,
    out: &Path,
    config: &Value,
    new: Vec<(&'static str, Tensor)>,
    exec: &Exec,
) -> Result<()> {
    let weights = base.open_weights(&Exec::cpu())?;
    let mut tensors = std::collections::BTreeMap::new();
    for name in weights.shapes().keys() {
        let tensor = weights.stored(name)?;
        // Counters such as position_ids are kept in no new file.
        if matches!(tensor.dtype(), DType::F32 | DType::F16 | DType::BF16) {
            tensors.insert(name.clone(), tensor);
        }
    }
    tensors.extend(
        new.into_iter()
            .map(|(name, tensor)| (name.to_owned(), tensor)),
    );
    let preprocessor: Value = serde_json::from_str(base.preprocessor_json().unwrap_or("{}"))
        .map_err(|cause| Error::BadFile {
            path: base.folder().join("preprocessor_config.json"),
            what: cause.to_string(),
        })?;
    let checkpoint = NewCheckpoint {
        config,
        preprocessor: &preprocessor,
        tokenizer: Some(base.tokenizer_files()?),
        tensors: &tensors,
    };
    checkpoint.write(out, |folder| {
        let written = Checkpoint::open(folder, &folder.to_string_lossy())?;
        BridgeTower::load(&written, exec, &mut |_| {}).map(drop)
    })
}
