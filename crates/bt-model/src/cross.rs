//! Bridges and cross-modal layers: the two streams that read the towers' last C states and each other.
//!
//! B pairs, q own and o other tokens, D width. Source: Xu et al. 2023, section 3; transformers'
//! `BridgeTowerModel.forward`. Both layers of a step read the inputs of that step.

use candle_core::{DType, Tensor};
use rayon::prelude::*;

use crate::checkpoint::weights::Scope;
use crate::config::{Config, Link, TextConfig};
use crate::error::Result;
use crate::ops::{LayerNorm, Linear, Then, attention};
use crate::probe::{Probe, Stage};
use crate::tower::Need;
use crate::tower::text::{FeedForward, SelfAttention};

/// One side's way from a tower's states to bridge states: a transform and a type embedding.
#[derive(Debug)]
pub(crate) struct Bridges {
    /// One, or one a cross layer.
    transforms: Vec<Linear>,
    /// `[D]`.
    token_type: Tensor,
}

impl Bridges {
    /// `at`: `cross_modal_{side}_transform`; `token_type`: this side's row [1, D].
    pub(crate) fn load(
        at: &Scope<'_>,
        inputs: usize,
        config: &Config,
        token_type: Tensor,
    ) -> Result<Self> {
        let width = config.hidden_size;
        let transforms = if config.shared_transforms {
            vec![Linear::load(at, inputs, width)?]
        } else {
            (0..config.cross_layers)
                .map(|k| Linear::load(&at.at(k), inputs, width))
                .collect::<Result<_>>()?
        };
        Ok(Self {
            transforms,
            token_type,
        })
    }

    /// The bridge state that cross layer `k` reads.
    pub(crate) fn forward(&self, k: usize, state: &Tensor) -> Result<Tensor> {
        let transform = self.transforms.get(k).unwrap_or(&self.transforms[0]);
        Ok(transform
            .forward(state, Then::Nothing)?
            .broadcast_add(&self.token_type)?)
    }
}

/// Both streams.
#[derive(Debug)]
pub(crate) struct CrossModal {
    text: Stream,
    image: Stream,
}

/// Whose tokens a stream holds: the few of a text, or the many of a picture.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Text,
    Image,
}

/// One side: how it starts, how bridges join it, its layers.
#[derive(Debug)]
struct Stream {
    first: LayerNorm,
    joins: Vec<Join>,
    layers: Vec<CrossLayer>,
}

impl CrossModal {
    /// `at`: the body.
    pub(crate) fn load(at: &Scope<'_>, config: &Config) -> Result<Self> {
        Ok(Self {
            text: Stream::load(at, Side::Text, config)?,
            image: Stream::load(at, Side::Image, config)?,
        })
    }

    /// The last outputs of both streams, rows as needed. `text`, `image`: C bridge states each, [Bt, L, D] and
    /// [Bi, P + 1, D]; a batch of 1 serves every member of the other side. `mask`: [Bt, L], added to the scores
    /// of the text's columns.
    pub(crate) fn forward(
        &self,
        text: &[Tensor],
        image: &[Tensor],
        mask: Option<&Tensor>,
        need: Need,
        probe: &mut dyn Probe,
    ) -> Result<(Tensor, Tensor)> {
        let batch = text[0].dim(0)?.max(image[0].dim(0)?);
        if !text[0].device().is_cpu() || batch == 1 || probe.looks() {
            return self.through(text, image, mask, need, probe);
        }
        // A pair a thread: what lies between two operators is read again while it is in that core's cache. What
        // depends on a shared text alone is computed once more for each pair, which is a hundredth of the work.
        let member = |states: &[Tensor], i: usize| {
            let own = |x: &Tensor| {
                if x.dim(0)? == 1 {
                    Ok(x.clone())
                } else {
                    x.narrow(0, i, 1)
                }
            };
            states
                .iter()
                .map(own)
                .collect::<candle_core::Result<Vec<_>>>()
        };
        let pairs = (0..batch)
            .into_par_iter()
            .map(|i| {
                let mask = mask
                    .map(|mask| member(std::slice::from_ref(mask), i))
                    .transpose()?;
                let mask = mask.as_ref().map(|mask| &mask[0]);
                self.through(&member(text, i)?, &member(image, i)?, mask, need, &mut ())
            })
            .collect::<Result<Vec<_>>>()?;
        let (text, image): (Vec<Tensor>, Vec<Tensor>) = pairs.into_iter().unzip();
        Ok((Tensor::cat(&text, 0)?, Tensor::cat(&image, 0)?))
    }

    /// How much a text looks at each token of a picture when the first layer reads it, the most that any head of any
    /// word does: P + 1 numbers, the class token's first. Arguments as in [`CrossModal::forward`], of one pair.
    pub(crate) fn looks(
        &self,
        text: &[Tensor],
        image: &[Tensor],
        mask: Option<&Tensor>,
    ) -> Result<Vec<f32>> {
        let a = self.text.first.forward(&text[0])?;
        let b = self.image.first.forward(&image[0])?;
        let probabilities = self.text.layers[0].attention_over(&a, &b, mask)?;
        Ok(probabilities
            .to_dtype(DType::F32)?
            .flatten_to(2)?
            .max(0)?
            .to_vec1()?)
    }

    fn through(
        &self,
        text: &[Tensor],
        image: &[Tensor],
        mask: Option<&Tensor>,
        need: Need,
        probe: &mut dyn Probe,
    ) -> Result<(Tensor, Tensor)> {
        let mut a = self.text.first.forward(&text[0])?;
        let mut b = self.image.first.forward(&image[0])?;
        let last = self.text.layers.len() - 1;
        for k in 0..=last {
            let need = if k == last { need } else { Need::AllTokens };
            if probe.wants_attention() {
                let probabilities = self.text.layers[k].attention_over(&a, &b, mask)?;
                probe.see(Stage::TextOverImage(k), &probabilities)?;
            }
            let text_k = self.text.layers[k].forward(&a, &b, mask, None, need)?;
            let image_k = self.image.layers[k].forward(&b, &a, None, mask, need)?;
            probe.see(Stage::CrossText(k), &text_k)?;
            probe.see(Stage::CrossImage(k), &image_k)?;
            if k == last {
                return Ok((text_k, image_k));
            }
            a = self.text.joins[k].forward(&text[k + 1], &text_k)?;
            b = self.image.joins[k].forward(&image[k + 1], &image_k)?;
        }
        Ok((a, b))
    }
}

impl Stream {
    fn load(body: &Scope<'_>, side: Side, config: &Config) -> Result<Self> {
        let name = match side {
            Side::Text => "text",
            Side::Image => "image",
        };
        let at = |what: &str| body.at(format!("cross_modal_{name}_{what}"));
        let width = config.hidden_size;
        Ok(Self {
            first: LayerNorm::load(&at("layernorm"), width, config.layer_norm_eps)?,
            joins: (0..config.cross_layers - 1)
                .map(|k| Join::load(&at("link_tower").at(k), config))
                .collect::<Result<_>>()?,
            layers: (0..config.cross_layers)
                .map(|k| CrossLayer::load(&at("layers").at(k), side, width, &config.text))
                .collect::<Result<_>>()?,
        })
    }
}

/// `LN(w s + u r)` of the bridge state s and the stream r.
#[derive(Debug)]
struct Join {
    norm: LayerNorm,
    bridge_weight: f64,
    stream_weight: f64,
}

impl Join {
    fn load(at: &Scope<'_>, config: &Config) -> Result<Self> {
        let scalar = |name: &str| -> Result<f64> { Ok(f64::from(at.scalar(name)?)) };
        let (bridge_weight, stream_weight) = match config.link {
            Link::Add => (1.0, 1.0),
            Link::ScaledAdd => (scalar("scaled_factor")?, 1.0),
            Link::Interpolate => {
                let beta = scalar("beta")?;
                (1.0 - beta, beta)
            }
        };
        Ok(Self {
            norm: LayerNorm::load(
                &at.at("LayerNorm"),
                config.hidden_size,
                config.layer_norm_eps,
            )?,
            bridge_weight,
            stream_weight,
        })
    }

    /// `bridge` [1 or B, T, D], `stream` [B, T, D].
    fn forward(&self, bridge: &Tensor, stream: &Tensor) -> Result<Tensor> {
        let weighted = |x: &Tensor, weight: f64| {
            if weight == 1.0 {
                Ok(x.clone())
            } else {
                x * weight
            }
        };
        let sum = weighted(stream, self.stream_weight)?
            .broadcast_add(&weighted(bridge, self.bridge_weight)?)?;
        self.norm.forward(&sum)
    }
}

/// `u = LN(q + Wo MHA(q, q, q)); w = LN(u + Wo' MHA(u, o, o)); LN(w + W2 act(W1 w))`.
#[derive(Debug)]
struct CrossLayer {
    own: SelfAttention,
    query: Linear,
    /// Keys and values of the other side, side by side.
    key_value: Linear,
    output: Linear,
    norm: LayerNorm,
    heads: usize,
    feed_forward: FeedForward,
}

impl CrossLayer {
    fn load(at: &Scope<'_>, side: Side, width: usize, text: &TextConfig) -> Result<Self> {
        // Keys and values are made of the other side's tokens.
        let many = at.clone().for_many_rows();
        let (at, other) = match side {
            Side::Text => (at, &many),
            Side::Image => (&many, at),
        };
        let (cross, own) = (at.at("crossattention"), at.at("crossattention").at("self"));
        let other = other.at("crossattention").at("self");
        Ok(Self {
            own: SelfAttention::load(&at.at("attention"), width, text)?,
            query: Linear::load(&own.at("query"), width, width)?.narrow(),
            key_value: Linear::load_stacked(&[other.at("key"), other.at("value")], width, width)?
                .narrow(),
            output: Linear::load(&cross.at("output").at("dense"), width, width)?,
            norm: LayerNorm::load(
                &cross.at("output").at("LayerNorm"),
                width,
                text.layer_norm_eps,
            )?,
            heads: text.heads,
            feed_forward: FeedForward::load(at, width, text)?,
        })
    }

    /// `q`: [Bq, q, D]; `o`: [Bo, o, D]; masks are those of the columns of either.
    fn forward(
        &self,
        q: &Tensor,
        o: &Tensor,
        q_mask: Option<&Tensor>,
        o_mask: Option<&Tensor>,
        need: Need,
    ) -> Result<Tensor> {
        let width = q.dim(2)?;
        let u = self.own.forward(q, q_mask, need)?;
        let query = self.query.forward(&u, Then::Nothing)?;
        let key_value = self.key_value.forward(o, Then::Nothing)?;
        let (key, value) = (
            key_value.narrow(2, 0, width)?,
            key_value.narrow(2, width, width)?,
        );
        let read = attention::attend(&query, &key, &value, self.heads, o_mask)?;
        let u = if u.dim(0)? == read.dim(0)? {
            u
        } else {
            u.broadcast_as(read.shape())?.contiguous()?
        };
        let w = self
            .norm
            .forward(&self.output.forward(&read, Then::Add(&u))?)?;
        self.feed_forward.forward(&w)
    }

    /// How each own token's cross-attention is spread over the other side: [B, heads, q, o].
    fn attention_over(&self, q: &Tensor, o: &Tensor, q_mask: Option<&Tensor>) -> Result<Tensor> {
        let width = q.dim(2)?;
        let query = self.query.forward(
            &self.own.forward(q, q_mask, Need::AllTokens)?,
            Then::Nothing,
        )?;
        let key = self
            .key_value
            .forward(o, Then::Nothing)?
            .narrow(2, 0, width)?;
        attention::probabilities(&query, &key, self.heads, None)
    }
}
