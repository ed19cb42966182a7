//! A checkpoint that is ready for words and pictures: tokenizer, image processor, graph and calibration
//! as one value. The graph alone is in `model.rs`.

use std::collections::BTreeMap;

use candle_core::Tensor;
use image::RgbImage;
use rayon::prelude::*;

use crate::batches::{Batches, MOST_AT_ONCE};
use crate::cache;
use crate::calibration::Calibration;
use crate::checkpoint::{Checkpoint, Event};
use crate::error::{Error, Result};
use crate::exec::Exec;
use crate::heads::{Heads, normalise};
use crate::heat::{WordHeat, word_heat};
use crate::model::{BridgeTower, ImageStates, Need, TextStates, rows};
use crate::pixels::{Fit, ImageProcessor, Pixels, Window};
use crate::precision::Precision;
use crate::rerank_speed::RerankSpeed;
use crate::settle;
use crate::token_batch::TokenBatch;
use crate::tokenizer::{Tokenizer, Tokens};
use crate::transfer::Coming;

/// What a user says about a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelChoice {
    /// A name (`mini`, `large-itm-mlm-itc`, ...), a Hub id or a folder.
    pub spec: String,
    /// How pictures become squares.
    pub fit: Fit,
}

/// An embedded text.
#[derive(Clone, Debug, PartialEq)]
pub struct TextEmbedding {
    /// Unit length, [`Encoder::embedding_dim`] long.
    pub vector: Vec<f32>,
    /// Whether the text was longer than the model's limit and was cut.
    pub truncated: bool,
}

/// What the cross-modal layers read of one picture; independent of any text, so it can be kept. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PictureStates {
    pub(crate) states: std::sync::Arc<ImageStates>,
}

impl PictureStates {
    /// Bytes of memory that it holds.
    pub fn bytes(&self) -> usize {
        let tensors = self.states.bridges.iter().chain([&self.states.itc_input]);
        tensors
            .map(|tensor| tensor.elem_count() * tensor.dtype().size_in_bytes())
            .sum()
    }
}

/// Everything that the model says of one pair.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Features {
    /// Last cross-modal states of the text, a row a token: `[L][D]`.
    pub text_features: Vec<Vec<f32>>,
    /// Last cross-modal states of the picture, a row for the class token and each patch: `[P + 1][D]`.
    pub image_features: Vec<Vec<f32>>,
    /// Both first rows, pooled: `[2 D]`.
    pub pooler_output: Vec<f32>,
    /// ITC embedding of the text, with the head for it.
    pub text_embeds: Option<Vec<f32>>,
    /// ITC embedding of the picture, with the head for it.
    pub image_embeds: Option<Vec<f32>>,
    /// ITC embedding of the pair, with the head for it.
    pub cross_embeds: Option<Vec<f32>>,
    /// ITM logits of no match and match, with the head for them.
    pub itm_logits: Option<Vec<f32>>,
    /// Softmax of these at match.
    pub itm_probability: Option<f32>,
    /// Whether the text was longer than the model's limit and was cut.
    pub truncated: bool,
}

/// A word for a `<mask>`.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct MaskChoice {
    /// The token as text, with the space that it begins with.
    pub token: String,
    /// Its id.
    pub id: u32,
    /// Softmax over the vocabulary.
    pub probability: f32,
}

/// Pictures that are being embedded, beside what the caller does meanwhile. On the processor they are done.
#[derive(Debug)]
#[must_use = "the vectors are fetched by `finish`"]
pub struct Started {
    parts: Vec<Coming>,
}

impl Started {
    /// Waits for the vectors: one a picture, in order.
    ///
    /// # Errors
    /// What the device reports.
    pub fn finish(self) -> Result<Vec<Vec<f32>>> {
        let mut vectors = Vec::new();
        for part in self.parts {
            vectors.extend(part.rows()?);
        }
        Ok(vectors)
    }
}

/// A loaded model. Shared between threads.
#[derive(Debug)]
pub struct Encoder {
    choice: ModelChoice,
    id: String,
    model: BridgeTower,
    tokenizer: Tokenizer,
    processor: ImageProcessor,
    calibration: Calibration,
    precision: Precision,
    arithmetic: String,
    rerank_speed: RerankSpeed,
    batches: Batches,
}

impl Encoder {
    /// Finds (or downloads) a checkpoint and loads it.
    ///
    /// # Errors
    /// See [`Checkpoint::find`] and [`Encoder::from_checkpoint`].
    pub fn load(choice: &ModelChoice, exec: &Exec, on: &mut dyn FnMut(Event)) -> Result<Self> {
        Self::from_checkpoint(&Checkpoint::find(&choice.spec, on)?, choice.fit, exec, on)
    }

    /// Loads a checkpoint that was found.
    ///
    /// # Errors
    /// A file that makes no sense, a graph that is not implemented, weights that do not fit it.
    pub fn from_checkpoint(
        checkpoint: &Checkpoint,
        fit: Fit,
        exec: &Exec,
        on: &mut dyn FnMut(Event),
    ) -> Result<Self> {
        settle::load(checkpoint, fit, exec, on)
    }

    /// The same in the precision that `exec` says, which is not `auto`.
    pub(crate) fn in_precision(
        checkpoint: &Checkpoint,
        fit: Fit,
        exec: &Exec,
        on: &mut dyn FnMut(Event),
    ) -> Result<Self> {
        let (id, model) = if exec.precision == Precision::Int8 {
            let id = checkpoint.identity(fit)?;
            let kept = cache::folder(&id)
                .map(|folder| folder.join(format!("{}.weights", exec.precision.format().name())));
            let model = BridgeTower::load_kept(checkpoint, exec, kept.as_deref(), on)?;
            (id, model)
        } else {
            // Hashing gigabytes and loading them take about as long; they go side by side.
            let (id, model) = std::thread::scope(|scope| {
                let id = scope.spawn(|| checkpoint.identity(fit));
                let model = BridgeTower::load(checkpoint, exec, on);
                let id = id.join();
                (
                    id.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                    model,
                )
            });
            (id?, model?)
        };
        let config = model.config();
        let bad = |file: &str, what: String| Error::BadFile {
            path: checkpoint.folder().join(file),
            what,
        };
        let processor = ImageProcessor::from_json(
            checkpoint.preprocessor_json().unwrap_or("{}").as_bytes(),
            config.vision.image_size,
            config.vision.patch_size,
            fit,
        )
        .map_err(|what| bad("preprocessor_config.json", what))?;
        let calibration = match checkpoint.calibration_json() {
            Some(text) => {
                Calibration::from_json(text).map_err(|what| bad("calibration.json", what))?
            }
            None => Calibration::default(),
        };
        Ok(Self {
            choice: ModelChoice {
                spec: checkpoint.name().to_owned(),
                fit,
            },
            id,
            tokenizer: Tokenizer::load(
                checkpoint,
                config.text.max_tokens(),
                config.text.vocab_size,
            )?,
            processor,
            calibration,
            precision: exec.precision,
            arithmetic: exec.arithmetic(),
            rerank_speed: exec.rerank_speed,
            batches: Batches::new(exec, config),
            model,
        })
    }

    /// What the user said.
    pub fn choice(&self) -> &ModelChoice {
        &self.choice
    }

    /// Fingerprint of configuration, weights, tokenizer, image processor and fit, as hexadecimal text.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The precision that it computes in: never `auto`.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// A name for how it computes: what was kept or measured of it does not hold under another name.
    pub fn arithmetic(&self) -> &str {
        &self.arithmetic
    }

    /// How much of a picture is read when pairs are scored.
    pub fn rerank_speed(&self) -> RerankSpeed {
        self.rerank_speed
    }

    /// The graph.
    pub fn model(&self) -> &BridgeTower {
        &self.model
    }

    /// What the checkpoint can do.
    pub fn heads(&self) -> Heads {
        self.model.heads()
    }

    /// Length of a vector from [`Encoder::embed_pictures`].
    pub fn embedding_dim(&self) -> usize {
        self.model
            .itc_size()
            .unwrap_or(self.model.config().hidden_size)
    }

    /// Scores to probabilities.
    pub fn calibration(&self) -> &Calibration {
        &self.calibration
    }

    /// Edge in pixels of the square that the model sees.
    pub fn image_side(&self) -> usize {
        self.processor.side()
    }

    /// The shorter edge that a decoded picture needs at least, for scaled decoding.
    pub fn enough_pixels(&self) -> u32 {
        self.processor.enough_pixels()
    }

    /// Fits a picture to the model; cheap, meant for the decoding threads.
    pub fn prepare(&self, picture: &RgbImage) -> Pixels {
        self.processor.process(picture)
    }

    /// What the model sees of a picture of this size, in the picture's pixels.
    pub fn window(&self, width: u32, height: u32) -> Window {
        self.processor.window(width, height)
    }

    /// One unit-length vector a picture, in order. Without ITC heads: the pooled picture state with an
    /// empty text, which compares pictures with pictures only.
    ///
    /// # Errors
    /// `Usage` for pixels of another size than [`Encoder::image_side`]; `OutOfMemory` when not one picture fits beside
    /// the model; `Tensor` for what the device reports.
    pub fn embed_pictures(&self, pictures: &[&Pixels]) -> Result<Vec<Vec<f32>>> {
        self.start_pictures(pictures)?.finish()
    }

    /// Begins what [`Encoder::embed_pictures`] does: on a GPU, a caller that starts a batch before it finishes
    /// the one before keeps the GPU busy.
    ///
    /// # Errors
    /// As [`Encoder::embed_pictures`]; what the device reports later comes from [`Started::finish`].
    pub fn start_pictures(&self, pictures: &[&Pixels]) -> Result<Started> {
        let empty = if self.heads().itc {
            None
        } else {
            Some(self.text_states(&[""])?.0)
        };
        let mut parts = Vec::new();
        self.in_the_pool(|| {
            self.batches.each(pictures, |chunk| {
                let pixels = self.model.pixel_batch(chunk)?;
                let batch = match &empty {
                    None => self
                        .model
                        .itc_image(&self.model.image_itc_input(&pixels)?)?,
                    Some(empty) => {
                        let states = self.model.image_states(&pixels, &mut ())?;
                        let pooled = self.pooled(empty, &states)?;
                        let width = self.model.config().hidden_size;
                        normalise(&pooled.narrow(1, width, width)?)?
                    }
                };
                parts.push(self.model.download(&batch)?);
                Ok(())
            })
        })?;
        Ok(Started { parts })
    }

    /// The most pictures that go through together.
    pub fn pictures_at_once(&self) -> usize {
        self.batches.most()
    }

    /// One unit-length vector a text, in order.
    ///
    /// # Errors
    /// `NoHead` without an ITC head.
    pub fn embed_texts(&self, texts: &[&str]) -> Result<Vec<TextEmbedding>> {
        let inputs = self.text_itc_inputs(texts)?;
        let mut embeddings = Vec::with_capacity(texts.len());
        for (input, truncated) in inputs {
            for vector in rows(&self.model.itc_text(&input)?)? {
                embeddings.push(TextEmbedding { vector, truncated });
            }
        }
        Ok(embeddings)
    }

    /// A text and a picture as one query (the cross ITC head).
    ///
    /// # Errors
    /// `NoHead` without one.
    pub fn embed_pair(&self, text: &str, picture: &Pixels) -> Result<Vec<f32>> {
        let (text, _) = self.text_states(&[text])?;
        let image = self
            .model
            .image_states(&self.model.pixel_batch(&[picture])?, &mut ())?;
        only(rows(&self.model.itc_cross(&self.pooled(&text, &image)?)?)?)
    }

    /// What reranking and explanation need of each picture, in order.
    ///
    /// # Errors
    /// As [`Encoder::embed_pictures`].
    pub fn picture_states(&self, pictures: &[&Pixels]) -> Result<Vec<PictureStates>> {
        let mut all = Vec::with_capacity(pictures.len());
        self.in_the_pool(|| {
            self.batches.each(pictures, |chunk| {
                let states = self
                    .model
                    .image_states(&self.model.pixel_batch(chunk)?, &mut ())?;
                let each = (0..chunk.len())
                    .map(|i| {
                        Ok(PictureStates {
                            states: std::sync::Arc::new(states.picture(i)?),
                        })
                    })
                    .collect::<Result<Vec<_>>>()?;
                all.extend(each);
                Ok(())
            })
        })?;
        Ok(all)
    }

    /// ITM logit difference (match minus no match) of one text with each picture, in order.
    ///
    /// # Errors
    /// `NoHead` without an ITM head.
    pub fn match_logits(&self, text: &str, pictures: &[&PictureStates]) -> Result<Vec<f32>> {
        Ok(self
            .itm_logits(text, pictures)?
            .into_iter()
            .map(|[no, yes]| yes - no)
            .collect())
    }

    /// ITM logits, no match and match, of one text with each picture, in order.
    ///
    /// # Errors
    /// `NoHead` without an ITM head.
    pub fn itm_logits(&self, text: &str, pictures: &[&PictureStates]) -> Result<Vec<[f32; 2]>> {
        let mut logits = Vec::with_capacity(pictures.len());
        self.for_each_pooled(text, pictures, self.rerank_speed, |pooled| {
            logits.extend(
                rows(&self.model.itm(pooled)?)?
                    .into_iter()
                    .map(|pair| [pair[0], pair[1]]),
            );
            Ok(())
        })?;
        Ok(logits)
    }

    /// Where the words of a text were found in a picture: the text's cross-attention over the patches,
    /// averaged over heads and cross layers, one map a word.
    ///
    /// # Errors
    /// `Usage` for states of another model; `Tensor` for what the device reports.
    pub fn word_heat(&self, text: &str, picture: &PictureStates) -> Result<Vec<WordHeat>> {
        word_heat(
            &self.model,
            &self.tokenizer.encode(text)?,
            text,
            &picture.states,
        )
    }
}

/// For learning heads and for showing what the model says.
impl Encoder {
    /// What the ITC text head reads of each text, in order: `[D]` each. Needs no head.
    ///
    /// # Errors
    /// `Tensor` for what the device reports.
    pub fn text_inputs(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        let mut all = Vec::with_capacity(texts.len());
        for (input, _) in self.text_itc_inputs(texts)? {
            all.extend(rows(&input)?);
        }
        Ok(all)
    }

    /// The pooled states of one text with each picture, in order: `[2 D]` each. Needs no head.
    ///
    /// # Errors
    /// `Usage` for states of another model; `OutOfMemory` when not one pair fits beside the model; `Tensor` for what
    /// the device reports.
    pub fn pooler_outputs(&self, text: &str, pictures: &[&PictureStates]) -> Result<Vec<Vec<f32>>> {
        let mut all = Vec::with_capacity(pictures.len());
        self.for_each_pooled(text, pictures, RerankSpeed::Exact, |pooled| {
            all.extend(rows(pooled)?);
            Ok(())
        })?;
        Ok(all)
    }

    /// Token ids of a text, first and last included, and whether it was cut to the model's limit.
    ///
    /// # Errors
    /// `Usage` for a text that the tokenizer cannot split.
    pub fn token_ids(&self, text: &str) -> Result<(Vec<u32>, bool)> {
        let tokens = self.tokenizer.encode(text)?;
        Ok((tokens.ids, tokens.truncated))
    }

    /// Everything that the model says of one pair.
    ///
    /// # Errors
    /// `Usage` for pixels of another size than [`Encoder::image_side`]; `Tensor` for what the device reports.
    pub fn features(&self, text: &str, picture: &Pixels) -> Result<Features> {
        let (text, truncated) = self.text_states(&[text])?;
        let image = self
            .model
            .image_states(&self.model.pixel_batch(&[picture])?, &mut ())?;
        let fused = self.model.fuse(&text, &image, Need::AllTokens, &mut ())?;
        let pooled = self.model.pooler_output(&fused)?;
        let heads = self.heads();
        let vector =
            |there: bool, tensor: &dyn Fn() -> Result<Tensor>| -> Result<Option<Vec<f32>>> {
                if there {
                    only(rows(&tensor()?)?).map(Some)
                } else {
                    Ok(None)
                }
            };
        let itm_logits = vector(heads.itm, &|| self.model.itm(&pooled))?;
        Ok(Features {
            text_features: rows(&fused.text.squeeze(0)?)?,
            image_features: rows(&fused.image.squeeze(0)?)?,
            text_embeds: vector(heads.itc, &|| self.model.itc_text(text.itc_input()))?,
            image_embeds: vector(heads.itc, &|| self.model.itc_image(image.itc_input()))?,
            cross_embeds: vector(heads.itc_cross, &|| self.model.itc_cross(&pooled))?,
            itm_probability: itm_logits
                .as_ref()
                .map(|pair| 1.0 / (1.0 + (pair[0] - pair[1]).exp())),
            itm_logits,
            pooler_output: only(rows(&pooled)?)?,
            truncated,
        })
    }

    /// The `n` likeliest tokens for each `<mask>` of a text, in order. Without a picture the model is shown a
    /// plain one of the mean colour.
    ///
    /// # Errors
    /// `NoHead` without an MLM head; a text without `<mask>`.
    pub fn fill_mask(
        &self,
        text: &str,
        picture: Option<&Pixels>,
        n: usize,
    ) -> Result<Vec<Vec<MaskChoice>>> {
        let tokens = self.tokenizer.encode(text)?;
        let masked: Vec<u32> = (0u32..)
            .zip(&tokens.ids)
            .filter(|(_, id)| self.tokenizer.mask() == Some(**id))
            .map(|(place, _)| place)
            .collect();
        if masked.is_empty() {
            return Err(Error::Usage(format!("`{text}` has no `<mask>` to fill in")));
        }
        let side = self.image_side();
        let plain = Pixels {
            values: vec![0.0; 3 * side * side],
            side,
        };
        let pixels = self.model.pixel_batch(&[picture.unwrap_or(&plain)])?;
        let text = self.model.text_states(&self.batch(&[tokens])?, &mut ())?;
        let image = self.model.image_states(&pixels, &mut ())?;
        let fused = self.model.fuse(&text, &image, Need::AllTokens, &mut ())?;
        let places = Tensor::new(masked, self.model.device())?;
        let logits = self
            .model
            .mlm(&fused.text.squeeze(0)?.index_select(&places, 0)?)?;
        let choices = rows(&candle_nn::ops::softmax_last_dim(&logits)?)?
            .into_iter()
            .map(|probabilities| {
                let mut ranked: Vec<(u32, f32)> = (0u32..).zip(probabilities).collect();
                ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
                ranked.truncate(n);
                ranked
                    .into_iter()
                    .map(|(id, probability)| MaskChoice {
                        token: self.tokenizer.decode(id),
                        id,
                        probability,
                    })
                    .collect()
            });
        Ok(choices.collect())
    }

    /// States of texts as one batch, and whether any was cut.
    fn text_states(&self, texts: &[&str]) -> Result<(TextStates, bool)> {
        let tokens = texts
            .iter()
            .map(|text| self.tokenizer.encode(text))
            .collect::<Result<Vec<_>>>()?;
        let truncated = tokens.iter().any(|tokens| tokens.truncated);
        let states = self.in_the_pool(|| self.model.text_states(&self.batch(&tokens)?, &mut ()))?;
        Ok((states, truncated))
    }

    /// What the ITC text head reads of each text, in order, as [1, D], and whether the text was cut. Texts of
    /// one length go together, so that nothing is computed for padding.
    fn text_itc_inputs(&self, texts: &[&str]) -> Result<Vec<(Tensor, bool)>> {
        let mut by_length: BTreeMap<usize, Vec<(usize, Tokens)>> = BTreeMap::new();
        for (place, text) in texts.iter().enumerate() {
            let tokens = self.tokenizer.encode(text)?;
            by_length
                .entry(tokens.ids.len())
                .or_default()
                .push((place, tokens));
        }
        let mut inputs = Vec::with_capacity(texts.len());
        self.in_the_pool(|| -> Result<()> {
            for chunk in by_length
                .values()
                .flat_map(|group| group.chunks(MOST_AT_ONCE))
            {
                let rows: Vec<&[u32]> = chunk
                    .iter()
                    .map(|(_, tokens)| tokens.ids.as_slice())
                    .collect();
                let batch = TokenBatch::new(&rows, self.model.config(), self.model.device())?;
                let input = self.model.text_itc_input(&batch)?;
                for (i, (place, tokens)) in chunk.iter().enumerate() {
                    inputs.push((*place, (input.narrow(0, i, 1)?, tokens.truncated)));
                }
            }
            Ok(())
        })?;
        inputs.sort_by_key(|(place, _)| *place);
        Ok(inputs.into_iter().map(|(_, input)| input).collect())
    }

    fn batch(&self, tokens: &[Tokens]) -> Result<TokenBatch> {
        let rows: Vec<&[u32]> = tokens.iter().map(|tokens| tokens.ids.as_slice()).collect();
        TokenBatch::new(&rows, self.model.config(), self.model.device())
    }

    fn pooled(&self, text: &TextStates, image: &ImageStates) -> Result<Tensor> {
        self.model
            .pooler_output(&self.model.fuse(text, image, Need::FirstTokens, &mut ())?)
    }

    /// Gives `each` the pooled states [b, 2 D] of a text with the pictures, some at a time, in order.
    fn for_each_pooled(
        &self,
        text: &str,
        pictures: &[&PictureStates],
        speed: RerankSpeed,
        mut each: impl FnMut(&Tensor) -> Result<()> + Send,
    ) -> Result<()> {
        let (text, _) = self.text_states(&[text])?;
        let all = self.model.config().vision.tokens() - 1;
        let patches = speed.patches(all);
        self.in_the_pool(|| {
            self.batches.each(pictures, |chunk| {
                let states = if patches < all {
                    let left = chunk
                        .par_iter()
                        .map(|picture| self.model.most_looked_at(&text, &picture.states, patches))
                        .collect::<Result<Vec<_>>>()?;
                    ImageStates::stack(&left.iter().collect::<Vec<_>>())?
                } else {
                    let parts: Vec<&ImageStates> =
                        chunk.iter().map(|picture| &*picture.states).collect();
                    ImageStates::stack(&parts)?
                };
                each(&self.pooled(&text, &states)?)
            })
        })
    }

    /// Runs on a thread of the pool: from any other, each of the hundred operators of a picture would hand its
    /// work over and wait to be woken.
    fn in_the_pool<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        if self.model.device().is_cpu() {
            rayon::scope(|_| work())
        } else {
            work()
        }
    }
}

/// The only row of a batch of one.
fn only(rows: Vec<Vec<f32>>) -> Result<Vec<f32>> {
    rows.into_iter()
        .next()
        .ok_or_else(|| Error::Usage("an empty batch has no result".to_owned()))
}
