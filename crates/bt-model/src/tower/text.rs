//! The text tower: RoBERTa's encoder, post-norm. Its layers' parts serve the cross-modal layers too.
//!
//! B texts, L tokens, D width. Source: Liu et al. 2019; transformers' `BridgeTowerTextModel`.

use candle_core::Tensor;

use crate::checkpoint::weights::Scope;
use crate::config::{Config, TextConfig};
use crate::error::Result;
use crate::kernels::Activation;
use crate::ops::{LayerNorm, Linear, Table, Then, attention};
use crate::probe::{Probe, Stage};
use crate::token_batch::TokenBatch;
use crate::tower::Need;

/// Embeddings and layers.
#[derive(Debug)]
pub(crate) struct TextTower {
    words: Table,
    positions: Table,
    /// The first row of the type table: the only one used.
    token_type: Tensor,
    norm: LayerNorm,
    layers: Vec<TextLayer>,
}

#[derive(Debug)]
struct TextLayer {
    attention: SelfAttention,
    feed_forward: FeedForward,
}

impl TextTower {
    pub(crate) fn load(at: &Scope<'_>, config: &Config) -> Result<Self> {
        let (text, width) = (&config.text, config.hidden_size);
        let embeddings = at.at("embeddings");
        let table = |name: &str, rows: usize| Table::load(&embeddings.at(name), rows, width);
        Ok(Self {
            words: table("word_embeddings", text.vocab_size)?,
            positions: table("position_embeddings", text.max_positions)?,
            token_type: embeddings
                .at("token_type_embeddings")
                .tensor("weight", &[text.type_vocab_size, width])?
                .narrow(0, 0, 1)?,
            norm: LayerNorm::load(&embeddings.at("LayerNorm"), width, text.layer_norm_eps)?,
            layers: (0..text.layers)
                .map(|i| {
                    let at = at.at("encoder").at("layer").at(i);
                    Ok(TextLayer {
                        attention: SelfAttention::load(&at.at("attention"), width, text)?,
                        feed_forward: FeedForward::load(&at, width, text)?,
                    })
                })
                .collect::<Result<_>>()?,
        })
    }

    /// The word table [V, D], to which an MLM head without a matrix of its own is tied.
    pub(crate) fn words(&self) -> &Table {
        &self.words
    }

    /// Outputs of the layers `from..=N` (1-based), each [B, L, D]; of layer N only the rows that are needed.
    pub(crate) fn forward(
        &self,
        tokens: &TokenBatch,
        from: usize,
        need: Need,
        probe: &mut dyn Probe,
    ) -> Result<Vec<Tensor>> {
        let words = self.words.rows(&tokens.ids)?;
        let positions = self.positions.rows(&tokens.positions)?;
        let mut x = self
            .norm
            .forward(&(words + positions)?.broadcast_add(&self.token_type)?)?;
        probe.see(Stage::TextHidden(0), &x)?;
        let mut states = Vec::with_capacity(self.layers.len() + 1 - from);
        for (i, layer) in self.layers.iter().enumerate() {
            let need = if i + 1 == self.layers.len() {
                need
            } else {
                Need::AllTokens
            };
            x = layer.feed_forward.forward(&layer.attention.forward(
                &x,
                tokens.mask.as_ref(),
                need,
            )?)?;
            probe.see(Stage::TextHidden(i + 1), &x)?;
            if i + 1 >= from {
                states.push(x.clone());
            }
        }
        Ok(states)
    }
}

/// `LN(x + Wo MHA(x, x, x))`.
#[derive(Debug)]
pub(crate) struct SelfAttention {
    /// Queries, keys and values side by side.
    qkv: Linear,
    output: Linear,
    norm: LayerNorm,
    heads: usize,
}

impl SelfAttention {
    pub(crate) fn load(at: &Scope<'_>, width: usize, text: &TextConfig) -> Result<Self> {
        let own = at.at("self");
        Ok(Self {
            qkv: Linear::load_stacked(
                &[own.at("query"), own.at("key"), own.at("value")],
                width,
                width,
            )?
            .narrow(),
            output: Linear::load(&at.at("output").at("dense"), width, width)?,
            norm: LayerNorm::load(&at.at("output").at("LayerNorm"), width, text.layer_norm_eps)?,
            heads: text.heads,
        })
    }

    /// `x`: [B, T, D]; `mask`: [B, T] added to the scores of its columns.
    pub(crate) fn forward(&self, x: &Tensor, mask: Option<&Tensor>, need: Need) -> Result<Tensor> {
        let width = x.dim(2)?;
        let qkv = self.qkv.forward(x, Then::Nothing)?;
        let part = |i: usize| qkv.narrow(2, i * width, width);
        let read = attention::attend(&need.of(&part(0)?)?, &part(1)?, &part(2)?, self.heads, mask)?;
        self.norm
            .forward(&self.output.forward(&read, Then::Add(&need.of(x)?))?)
    }
}

/// `LN(x + W2 act(W1 x))`.
#[derive(Debug)]
pub(crate) struct FeedForward {
    wide: Linear,
    narrow: Linear,
    norm: LayerNorm,
    activation: Activation,
}

impl FeedForward {
    pub(crate) fn load(at: &Scope<'_>, width: usize, text: &TextConfig) -> Result<Self> {
        let (intermediate, output) = (at.at("intermediate").at("dense"), at.at("output"));
        Ok(Self {
            wide: Linear::load(&intermediate, width, text.intermediate_size)?.narrow(),
            narrow: Linear::load(&output.at("dense"), text.intermediate_size, width)?,
            norm: LayerNorm::load(&output.at("LayerNorm"), width, text.layer_norm_eps)?,
            activation: text.activation,
        })
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let wide = self.wide.forward(x, Then::Activate(self.activation))?;
        self.norm
            .forward(&self.narrow.forward(&wide, Then::Add(x))?)
    }
}
