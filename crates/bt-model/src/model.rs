//! The graph as one value: towers, bridges, cross-modal layers and heads, on batches of tokens and pixels.
//!
//! The halves that a caller can keep are types: [`TextStates`] do not depend on a picture, [`ImageStates`]
//! not on a text. Heads are functions of states. Texts and pictures themselves are `encoder.rs`'s.

use std::path::Path;

use candle_core::{DType, Device, Tensor};

use crate::checkpoint::{Checkpoint, Event, unused};
use crate::config::{Config, ItcImageFrom};
use crate::cross::{Bridges, CrossModal};
use crate::error::{Error, Result};
use crate::exec::Exec;
use crate::heads::{HeadSet, Heads, Pooler, first_row, normalise};
use crate::kernels::Level;
use crate::ops::Then;
use crate::pixels::Pixels;
use crate::probe::Probe;
use crate::token_batch::TokenBatch;
use crate::tower::text::TextTower;
use crate::tower::vision::VisionTower;
use crate::transfer::{Coming, Transfer};

pub use crate::tower::Need;

/// What the cross-modal layers and the ITC head read of texts; independent of any picture.
#[derive(Clone, Debug)]
pub struct TextStates {
    /// C x [B, L, D], transform and token type applied.
    bridges: Vec<Tensor>,
    /// [B, D]: the first row of the last text state.
    itc_input: Tensor,
    mask: Option<Tensor>,
}

impl TextStates {
    /// What the ITC text head reads: [B, D].
    pub fn itc_input(&self) -> &Tensor {
        &self.itc_input
    }
}

/// What the cross-modal layers and the ITC head read of pictures; independent of any text.
#[derive(Clone, Debug)]
pub struct ImageStates {
    /// C x [B, P + 1, D], transform and token type applied.
    pub(crate) bridges: Vec<Tensor>,
    /// [B, D or Dv].
    pub(crate) itc_input: Tensor,
}

impl ImageStates {
    /// What the ITC image head reads: [B, D], or [B, Dv] when it reads the tower.
    pub fn itc_input(&self) -> &Tensor {
        &self.itc_input
    }

    /// Several, one after the other, as one batch.
    pub(crate) fn stack(parts: &[&Self]) -> Result<Self> {
        if let [one] = parts {
            return Ok((*one).clone());
        }
        let bridges = (0..parts[0].bridges.len())
            .map(|k| {
                Tensor::cat(
                    &parts
                        .iter()
                        .map(|part| &part.bridges[k])
                        .collect::<Vec<_>>(),
                    0,
                )
            })
            .collect::<candle_core::Result<_>>()?;
        Ok(Self {
            bridges,
            itc_input: Tensor::cat(
                &parts.iter().map(|part| &part.itc_input).collect::<Vec<_>>(),
                0,
            )?,
        })
    }

    /// Picture `i` of the batch, in memory of its own.
    pub(crate) fn picture(&self, i: usize) -> Result<Self> {
        let own = |x: &Tensor| x.narrow(0, i, 1)?.copy();
        Ok(Self {
            bridges: self
                .bridges
                .iter()
                .map(own)
                .collect::<candle_core::Result<_>>()?,
            itc_input: own(&self.itc_input)?,
        })
    }
}

/// The last states of both streams, as many rows as were needed.
#[derive(Clone, Debug)]
pub struct Fused {
    /// [B, L or 1, D].
    pub text: Tensor,
    /// [B, P + 1 or 1, D].
    pub image: Tensor,
}

/// The loaded graph.
#[derive(Debug)]
pub struct BridgeTower {
    config: Config,
    device: Device,
    body_type: DType,
    transfer: Transfer,
    text: TextTower,
    vision: VisionTower,
    text_bridges: Bridges,
    image_bridges: Bridges,
    cross: CrossModal,
    pooler: Pooler,
    heads: HeadSet,
    name: String,
}

impl BridgeTower {
    /// Reads configuration and weights.
    ///
    /// # Errors
    /// A graph that is not implemented; or one list of all weights that are missing, surplus or misshapen.
    pub fn load(checkpoint: &Checkpoint, exec: &Exec, on: &mut dyn FnMut(Event)) -> Result<Self> {
        Self::load_kept(checkpoint, exec, None, on)
    }

    /// The same with a file in which layers are kept as kernels read them, for the next load.
    pub(crate) fn load_kept(
        checkpoint: &Checkpoint,
        exec: &Exec,
        kept_at: Option<&Path>,
        on: &mut dyn FnMut(Event),
    ) -> Result<Self> {
        if let Some(name) = Level::unknown() {
            on(Event::Warning(format!(
                "BT_CPU is `{name}`, which has no effect: it may be {}",
                Level::names()
            )));
        }
        if let Some(why) = exec.take_no_gpu() {
            on(Event::Warning(format!("no GPU is used: {why}")));
        }
        let config = checkpoint.config(on)?;
        let mut weights = checkpoint.open_weights(exec)?;
        if let Some(path) = kept_at {
            weights = weights.kept_at(path);
        }
        let body = weights.body();
        let width = config.hidden_size;
        let text = TextTower::load(&body.at("text_model"), &config)?;
        let types = body
            .at("token_type_embeddings")
            .tensor("weight", &[2, width])?;
        let side = |i: usize| types.narrow(0, i.min(types.dim(0)? - 1), 1);
        let this = Self {
            vision: VisionTower::load(
                &body.at("vision_model").at("visual").for_many_rows(),
                &config,
            )?,
            text_bridges: Bridges::load(
                &body.at("cross_modal_text_transform"),
                width,
                &config,
                side(0)?,
            )?,
            image_bridges: Bridges::load(
                &body.at("cross_modal_image_transform").for_many_rows(),
                config.vision.hidden_size,
                &config,
                side(1)?,
            )?,
            cross: CrossModal::load(&body, &config)?,
            pooler: Pooler::load(&body, width)?,
            heads: HeadSet::load(&weights, &config, text.words())?,
            text,
            device: exec.device.clone(),
            body_type: exec.body_type(),
            transfer: Transfer::to(&exec.device)?,
            name: checkpoint.name().to_owned(),
            config,
        };
        drop(body);
        weights.finish(|name| unused(name, &this.config))?;
        Ok(this)
    }

    /// The graph's configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where it runs.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What states are made of.
    pub(crate) fn body_type(&self) -> DType {
        self.body_type
    }

    /// Which heads it has.
    pub fn heads(&self) -> Heads {
        Heads {
            itc: self.heads.itc.is_some(),
            itc_cross: self.heads.itc_cross.is_some(),
            itm: self.heads.itm.is_some(),
            mlm: self.heads.mlm.is_some(),
        }
    }

    /// E: length of an ITC embedding.
    pub fn itc_size(&self) -> Option<usize> {
        self.heads.itc.as_ref().map(|itc| itc.size)
    }

    /// The natural logarithm of what cosines are multiplied with.
    pub fn logit_scale(&self) -> Option<f32> {
        self.heads.itc.as_ref().map(|itc| itc.logit_scale)
    }

    /// Pictures as one batch [B, 3, S, S].
    ///
    /// # Errors
    /// No picture, or one of another size than the model's.
    pub fn pixel_batch(&self, pictures: &[&Pixels]) -> Result<Tensor> {
        let side = self.config.vision.image_size;
        for picture in pictures {
            if picture.side != side || picture.values.len() != 3 * side * side {
                return Err(Error::Usage(format!(
                    "a picture of {0} x {0} pixels was given to a model that sees {side} x {side}",
                    picture.side
                )));
            }
        }
        if pictures.is_empty() {
            return Err(Error::Usage("no picture was given".to_owned()));
        }
        let pictures: Vec<&[f32]> = pictures.iter().map(|one| one.values.as_slice()).collect();
        self.transfer.upload(&pictures, side)
    }

    /// Sends a vector of each row of `x` [B, E] on its way back to the processor.
    pub(crate) fn download(&self, x: &Tensor) -> Result<Coming> {
        self.transfer.download(x)
    }

    /// The text tower, down to the states that bridges and ITC read.
    ///
    /// # Errors
    /// `Tensor` for what the device reports, and what the probe returns.
    pub fn text_states(&self, tokens: &TokenBatch, probe: &mut dyn Probe) -> Result<TextStates> {
        let states = self
            .text
            .forward(tokens, self.config.split(), Need::AllTokens, probe)?;
        let bridges = states
            .iter()
            .enumerate()
            .map(|(k, state)| self.text_bridges.forward(k, state))
            .collect::<Result<Vec<_>>>()?;
        let itc_input = first_row(last(&states)?)?;
        Ok(TextStates {
            bridges,
            itc_input,
            mask: tokens.mask.clone(),
        })
    }

    /// The vision tower, down to the states that bridges and ITC read. `pixels`: [B, 3, S, S].
    ///
    /// # Errors
    /// `Tensor` for what the device reports, and what the probe returns.
    pub fn image_states(&self, pixels: &Tensor, probe: &mut dyn Probe) -> Result<ImageStates> {
        let states = self
            .vision
            .forward(pixels, self.config.split(), Need::AllTokens, probe)?;
        let bridges = states
            .iter()
            .enumerate()
            .map(|(k, state)| self.image_bridges.forward(k, state))
            .collect::<Result<Vec<_>>>()?;
        let itc_input = match self.config.itc_image_from {
            ItcImageFrom::Bridge => first_row(last(&bridges)?)?,
            ItcImageFrom::Tower => first_row(last(&states)?)?,
        };
        Ok(ImageStates { bridges, itc_input })
    }

    /// [`TextStates::itc_input`] alone, which is less work.
    ///
    /// # Errors
    /// `Tensor` for what the device reports.
    pub fn text_itc_input(&self, tokens: &TokenBatch) -> Result<Tensor> {
        let states =
            self.text
                .forward(tokens, self.config.text.layers, Need::FirstTokens, &mut ())?;
        first_row(last(&states)?)
    }

    /// [`ImageStates::itc_input`] alone, which is less work.
    ///
    /// # Errors
    /// `Tensor` for what the device reports.
    pub fn image_itc_input(&self, pixels: &Tensor) -> Result<Tensor> {
        let states =
            self.vision
                .forward(pixels, self.config.text.layers, Need::FirstTokens, &mut ())?;
        let state = last(&states)?;
        match self.config.itc_image_from {
            ItcImageFrom::Bridge => first_row(
                &self
                    .image_bridges
                    .forward(self.config.cross_layers - 1, state)?,
            ),
            ItcImageFrom::Tower => first_row(state),
        }
    }

    /// The cross-modal layers. A batch of 1 on either side serves every member of the other.
    ///
    /// # Errors
    /// States of another model.
    pub fn fuse(
        &self,
        text: &TextStates,
        image: &ImageStates,
        need: Need,
        probe: &mut dyn Probe,
    ) -> Result<Fused> {
        let layers = self.config.cross_layers;
        if text.bridges.len() != layers || image.bridges.len() != layers {
            return Err(Error::Usage(format!(
                "states of {} and {} bridges were given to a model that has {layers}",
                text.bridges.len(),
                image.bridges.len()
            )));
        }
        let (text, image) = self.cross.forward(
            &text.bridges,
            &image.bridges,
            text.mask.as_ref(),
            need,
            probe,
        )?;
        Ok(Fused { text, image })
    }

    /// What is left of a picture where the cross-modal layers read only its class token and the `patches` patches that
    /// a text looks at most when the first of them reads all. Both are batches of 1.
    ///
    /// # Errors
    /// `Tensor` for what the device reports.
    pub fn most_looked_at(
        &self,
        text: &TextStates,
        image: &ImageStates,
        patches: usize,
    ) -> Result<ImageStates> {
        let looks = self
            .cross
            .looks(&text.bridges, &image.bridges, text.mask.as_ref())?;
        let mut tokens: Vec<u32> = (1u32..).take(looks.len().saturating_sub(1)).collect();
        tokens.sort_by(|a, b| {
            looks[*b as usize]
                .total_cmp(&looks[*a as usize])
                .then(a.cmp(b))
        });
        tokens.truncate(patches);
        tokens.push(0);
        tokens.sort_unstable();
        let tokens = Tensor::new(tokens, &self.device)?;
        let left = image.bridges.iter().map(|x| x.index_select(&tokens, 1));
        Ok(ImageStates {
            bridges: left.collect::<candle_core::Result<_>>()?,
            itc_input: image.itc_input.clone(),
        })
    }

    /// `[tanh(Pt text[:, 0]) ; tanh(Pi image[:, 0])]`: [B, 2 D].
    ///
    /// # Errors
    /// `Tensor` for what the device reports.
    pub fn pooler_output(&self, fused: &Fused) -> Result<Tensor> {
        self.pooler.forward(&fused.text, &fused.image)
    }

    /// Logits of no match and match: [B, 2].
    ///
    /// # Errors
    /// `NoHead` without an ITM head; `Tensor` for what the device reports.
    pub fn itm(&self, pooler_output: &Tensor) -> Result<Tensor> {
        let head = self
            .heads
            .itm
            .as_ref()
            .ok_or_else(|| self.no_head("ITM", "tell whether a text matches a picture"))?;
        head.forward(&pooler_output.to_dtype(DType::F32)?, Then::Nothing)
    }

    /// Logits over the vocabulary: [B, L, V]. `text`: [`Fused::text`], or rows of it.
    ///
    /// # Errors
    /// `NoHead` without an MLM head; `Tensor` for what the device reports.
    pub fn mlm(&self, text: &Tensor) -> Result<Tensor> {
        self.heads
            .mlm
            .as_ref()
            .ok_or_else(|| self.no_head("MLM", "fill in masked words"))?
            .forward(text)
    }

    /// Unit-length embeddings of texts [B, E], from [`TextStates::itc_input`].
    ///
    /// # Errors
    /// `NoHead` without ITC heads; `Tensor` for what the device reports.
    pub fn itc_text(&self, itc_input: &Tensor) -> Result<Tensor> {
        let itc = self
            .heads
            .itc
            .as_ref()
            .ok_or_else(|| self.no_head("ITC", "embed texts"))?;
        normalise(
            &itc.text
                .forward(&itc_input.to_dtype(DType::F32)?, Then::Nothing)?,
        )
    }

    /// Unit-length embeddings of pictures [B, E], from [`ImageStates::itc_input`].
    ///
    /// # Errors
    /// `NoHead` without ITC heads; `Tensor` for what the device reports.
    pub fn itc_image(&self, itc_input: &Tensor) -> Result<Tensor> {
        let itc = self
            .heads
            .itc
            .as_ref()
            .ok_or_else(|| self.no_head("ITC", "embed pictures for text search"))?;
        normalise(
            &itc.image
                .forward(&itc_input.to_dtype(DType::F32)?, Then::Nothing)?,
        )
    }

    /// Unit-length embeddings of pairs [B, E], from [`BridgeTower::pooler_output`].
    ///
    /// # Errors
    /// `NoHead` without a cross ITC head; `Tensor` for what the device reports.
    pub fn itc_cross(&self, pooler_output: &Tensor) -> Result<Tensor> {
        let head = self
            .heads
            .itc_cross
            .as_ref()
            .ok_or_else(|| self.no_head("ITC cross", "embed a text and a picture together"))?;
        normalise(&head.forward(&pooler_output.to_dtype(DType::F32)?, Then::Nothing)?)
    }

    fn no_head(&self, head: &'static str, purpose: &'static str) -> Error {
        Error::NoHead {
            model: self.name.clone(),
            head,
            purpose,
        }
    }
}

fn last(states: &[Tensor]) -> Result<&Tensor> {
    states
        .last()
        .ok_or_else(|| Error::Tensor(candle_core::Error::Msg("a tower left no state".to_owned())))
}

/// A vector of each row of `x` [B, E].
pub(crate) fn rows(x: &Tensor) -> Result<Vec<Vec<f32>>> {
    Ok(x.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.to_vec2()?)
}
