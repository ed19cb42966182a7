//! Poolers and heads: functions of the states that the towers and the cross-modal layers leave.

use candle_core::{D, DType, Tensor};

use crate::checkpoint::weights::{Scope, Weights};
use crate::config::{Config, ItcImageFrom};
use crate::error::Result;
use crate::kernels::Activation;
use crate::ops::{LayerNorm, Linear, Table, Then};

/// Which heads a checkpoint has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Heads {
    /// Contrastive text and image embeddings.
    pub itc: bool,
    /// Contrastive embedding of a text and a picture together.
    pub itc_cross: bool,
    /// Picture-text matching.
    pub itm: bool,
    /// Masked words.
    pub mlm: bool,
}

/// `[tanh(Pt text[:, 0]) ; tanh(Pi image[:, 0])]`.
#[derive(Debug)]
pub(crate) struct Pooler {
    text: Linear,
    image: Linear,
}

impl Pooler {
    pub(crate) fn load(body: &Scope<'_>, width: usize) -> Result<Self> {
        let side = |name: &str| {
            Linear::load(
                &body.at(format!("cross_modal_{name}_pooler")).at("dense"),
                width,
                width,
            )
        };
        Ok(Self {
            text: side("text")?,
            image: side("image")?,
        })
    }

    /// `text` [B, L, D], `image` [B, P + 1, D] to [B, 2 D].
    pub(crate) fn forward(&self, text: &Tensor, image: &Tensor) -> Result<Tensor> {
        let pool = |side: &Linear, x: &Tensor| {
            side.forward(&first_row(x)?, Then::Activate(Activation::Tanh))
        };
        Ok(Tensor::cat(
            &[pool(&self.text, text)?, pool(&self.image, image)?],
            1,
        )?)
    }
}

/// The heads that the file has.
#[derive(Debug)]
pub(crate) struct HeadSet {
    pub(crate) itc: Option<Itc>,
    pub(crate) itc_cross: Option<Linear>,
    pub(crate) itm: Option<Linear>,
    pub(crate) mlm: Option<Mlm>,
}

/// The two contrastive heads, which work on the towers' states.
#[derive(Debug)]
pub(crate) struct Itc {
    pub(crate) text: Linear,
    pub(crate) image: Linear,
    /// exp of it scales the cosines.
    pub(crate) logit_scale: f32,
    /// E: length of an embedding.
    pub(crate) size: usize,
}

/// `decoder LN(act(dense x)) + bias`.
#[derive(Debug)]
pub(crate) struct Mlm {
    dense: Linear,
    activation: Activation,
    norm: LayerNorm,
    decoder: Linear,
}

impl HeadSet {
    /// A head is there when the file has any tensor of it; then it must have them all. `words`: [V, D].
    pub(crate) fn load(weights: &Weights, config: &Config, words: &Table) -> Result<Self> {
        let width = config.hidden_size;
        let size = |head: &str| {
            let in_file = weights
                .shapes()
                .get(&format!("{head}.fc.weight"))
                .and_then(|shape| shape.first().copied());
            config.contrastive_size.or(in_file).unwrap_or(1)
        };
        let fc = |head: &str, inputs: usize, outputs: usize| {
            Linear::load(&weights.head(head).at("fc"), inputs, outputs)
        };
        let itc = weights.any("itc_text_head.") || weights.any("itc_image_head.");
        let image_inputs = match config.itc_image_from {
            ItcImageFrom::Bridge => width,
            ItcImageFrom::Tower => config.vision.hidden_size,
        };
        let itc_size = size("itc_text_head");
        Ok(Self {
            itc: if itc {
                Some(Itc {
                    text: fc("itc_text_head", width, itc_size)?,
                    image: fc("itc_image_head", image_inputs, itc_size)?,
                    logit_scale: logit_scale(weights, config)?,
                    size: itc_size,
                })
            } else {
                None
            },
            itc_cross: if weights.any("itc_cross_modal_head.") {
                Some(fc(
                    "itc_cross_modal_head",
                    2 * width,
                    size("itc_cross_modal_head"),
                )?)
            } else {
                None
            },
            itm: if weights.any("itm_score.") {
                Some(fc("itm_score", 2 * width, 2)?)
            } else {
                None
            },
            mlm: if weights.any("mlm_score.") {
                Some(Mlm::load(&weights.large_head("mlm_score"), config, words)?)
            } else {
                None
            },
        })
    }
}

fn logit_scale(weights: &Weights, config: &Config) -> Result<f32> {
    /// ln(1 / 0.07): where training of such heads starts, and what public checkpoints start from.
    const START: f32 = 2.6592;
    if weights.any("logit_scale") {
        return weights.scalar("logit_scale");
    }
    Ok(config.logit_scale_init.unwrap_or(START))
}

impl Mlm {
    /// The decoder has its own matrix; a file without one is tied to the word table.
    fn load(at: &Scope<'_>, config: &Config, words: &Table) -> Result<Self> {
        let (width, vocab) = (config.hidden_size, config.text.vocab_size);
        let transform = at.at("transform");
        let bias = at.tensor("bias", &[vocab])?;
        let decoder = if at.has("decoder.weight") {
            Linear::load_named(&[at.at("decoder")], "weight", None, &[vocab, width])?
                .with_bias(bias)?
        } else {
            let words = words.all(bias.device())?.to_dtype(DType::F32)?;
            Linear::new(words, Some(bias), at.format())?
        };
        Ok(Self {
            dense: Linear::load(&transform.at("dense"), width, width)?,
            activation: config.activation,
            norm: LayerNorm::load(&transform.at("LayerNorm"), width, config.layer_norm_eps)?,
            decoder,
        })
    }

    /// `text`: last cross-modal text states [.., D] to logits [.., V].
    pub(crate) fn forward(&self, text: &Tensor) -> Result<Tensor> {
        let text = text.to_dtype(DType::F32)?;
        let x = self.dense.forward(&text, Then::Activate(self.activation))?;
        self.decoder.forward(&self.norm.forward(&x)?, Then::Nothing)
    }
}

/// [B, T, D] to [B, D].
pub(crate) fn first_row(x: &Tensor) -> Result<Tensor> {
    Ok(x.narrow(1, 0, 1)?.squeeze(1)?)
}

/// Unit length over the last axis; a divisor below 1e-12 is taken as that.
pub(crate) fn normalise(x: &Tensor) -> Result<Tensor> {
    let norm = x.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?.maximum(1e-12)?;
    Ok(x.broadcast_div(&norm)?)
}
