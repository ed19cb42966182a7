//! The vision tower: CLIP's ViT, pre-norm, always with quick GELU.
//!
//! B pictures, P patches, Dv width. Source: Radford et al. 2021; transformers' `BridgeTowerVisionModel`,
//! which keeps [tokens, B, Dv] inside; here it is [B, tokens, Dv].

use candle_core::{DType, Tensor};
use rayon::prelude::*;

use crate::checkpoint::weights::Scope;
use crate::config::Config;
use crate::error::Result;
use crate::kernels::Activation;
use crate::ops::{LayerNorm, Linear, Then, attention, cuda};
use crate::probe::{Probe, Stage};
use crate::tower::Need;

/// Embeddings, blocks, and the norm through which every state that leaves the tower goes.
#[derive(Debug)]
pub(crate) struct VisionTower {
    /// The convolution as a matrix: a patch's 3 x patch x patch values to Dv.
    patches: Linear,
    /// The class token at its position: [1, 1, Dv].
    class: Tensor,
    /// Positions of the patches: [1, P, Dv].
    positions: Tensor,
    ln_pre: LayerNorm,
    ln_post: LayerNorm,
    blocks: Vec<Block>,
    patch: usize,
    grid: usize,
}

#[derive(Debug)]
struct Block {
    ln_1: LayerNorm,
    qkv: Linear,
    out: Linear,
    ln_2: LayerNorm,
    wide: Linear,
    narrow: Linear,
    heads: usize,
}

impl VisionTower {
    /// `at`: `vision_model.visual`.
    pub(crate) fn load(at: &Scope<'_>, config: &Config) -> Result<Self> {
        let vision = &config.vision;
        let (width, eps, tokens) = (vision.hidden_size, vision.layer_norm_eps, vision.tokens());
        let embeddings = at.at("embeddings");
        let kernel = [width, 3, vision.patch_size, vision.patch_size];
        let table = embeddings
            .at("position_embedding")
            .tensor("weight", &[tokens, width])?;
        let class = embeddings.tensor("class_embedding", &[width])?;
        Ok(Self {
            patches: Linear::load_named(
                &[embeddings.at("patch_embedding")],
                "weight",
                None,
                &kernel,
            )?,
            class: table.narrow(0, 0, 1)?.broadcast_add(&class)?.unsqueeze(0)?,
            positions: table
                .narrow(0, 1.min(table.dim(0)? - 1), table.dim(0)?.max(2) - 1)?
                .unsqueeze(0)?,
            ln_pre: LayerNorm::load(&at.at("ln_pre"), width, eps)?,
            ln_post: LayerNorm::load(&at.at("ln_post"), width, eps)?,
            blocks: (0..config.text.layers)
                .map(|i| {
                    Block::load(
                        &at.at("transformer").at("resblocks").at(i),
                        width,
                        vision.heads(),
                        eps,
                    )
                })
                .collect::<Result<_>>()?,
            patch: vision.patch_size,
            grid: vision.grid(),
        })
    }

    /// `ln_post` of the outputs of the blocks `from..=N` (1-based), each [B, P + 1, Dv]; of block N only the
    /// rows that are needed. `pixels`: [B, 3, S, S].
    pub(crate) fn forward(
        &self,
        pixels: &Tensor,
        from: usize,
        need: Need,
        probe: &mut dyn Probe,
    ) -> Result<Vec<Tensor>> {
        let x = self.ln_pre.forward(&self.embed(pixels)?)?;
        probe.see(Stage::ImageHidden(0), &x)?;
        let batch = x.dim(0)?;
        if !x.device().is_cpu() || batch == 1 || probe.looks() {
            return self.through(x, from, need, probe);
        }
        // A picture a thread: what lies between two operators is read again while it is in that core's cache.
        let pictures = (0..batch)
            .into_par_iter()
            .map(|i| self.through(x.narrow(0, i, 1)?, from, need, &mut ()))
            .collect::<Result<Vec<_>>>()?;
        (0..=self.blocks.len() - from)
            .map(|k| {
                let states: Vec<&Tensor> = pictures.iter().map(|states| &states[k]).collect();
                Ok(Tensor::cat(&states, 0)?)
            })
            .collect()
    }

    /// The blocks. `x`: [B, P + 1, Dv].
    fn through(
        &self,
        mut x: Tensor,
        from: usize,
        need: Need,
        probe: &mut dyn Probe,
    ) -> Result<Vec<Tensor>> {
        let mut states = Vec::with_capacity(self.blocks.len() + 1 - from);
        for (i, block) in self.blocks.iter().enumerate() {
            let need = if i + 1 == self.blocks.len() {
                need
            } else {
                Need::AllTokens
            };
            x = block.forward(&x, need)?;
            probe.see(Stage::ImageHidden(i + 1), &x)?;
            if i + 1 >= from {
                states.push(self.ln_post.forward(&x)?);
            }
        }
        Ok(states)
    }

    /// Patches, row by row, behind the class token: [B, P + 1, Dv]. A kernel that moves by its own width is a
    /// product of matrices once each patch's values stand in a row.
    fn embed(&self, pixels: &Tensor) -> Result<Tensor> {
        let (batch, _, _, _) = pixels.dims4()?;
        let (grid, patch) = (self.grid, self.patch);
        let kind = self.class.dtype();
        let fast = match kind {
            DType::BF16 => cuda::patches(pixels, grid, patch)?,
            _ => None,
        };
        let rows = match fast {
            Some(rows) => rows,
            None => patches(&pixels.to_dtype(kind)?, grid, patch)?,
        };
        let x = self.patches.forward(&rows, Then::Nothing)?;
        if let Some(x) = cuda::first_rows(&self.class, &x, &self.positions)? {
            return Ok(x);
        }
        let x = x.broadcast_add(&self.positions)?;
        let class = self.class.broadcast_as((batch, 1, self.class.dim(2)?))?;
        Ok(Tensor::cat(&[class, x], 1)?)
    }
}

/// [B, 3, S, S] to [B, grid², 3 patch²], without what is left over at the right and at the bottom.
fn patches(pixels: &Tensor, grid: usize, patch: usize) -> Result<Tensor> {
    let batch = pixels.dim(0)?;
    Ok(pixels
        .narrow(2, 0, grid * patch)?
        .narrow(3, 0, grid * patch)?
        .reshape(&[batch, 3, grid, patch, grid, patch])?
        .permute(vec![0, 2, 4, 1, 3, 5])?
        .reshape((batch, grid * grid, 3 * patch * patch))?)
}

impl Block {
    fn load(at: &Scope<'_>, width: usize, heads: usize, eps: f64) -> Result<Self> {
        let (attn, mlp) = (at.at("attn"), at.at("mlp"));
        Ok(Self {
            ln_1: LayerNorm::load(&at.at("ln_1"), width, eps)?,
            qkv: Linear::load_named(
                std::slice::from_ref(&attn),
                "in_proj_weight",
                Some("in_proj_bias"),
                &[3 * width, width],
            )?
            .narrow(),
            out: Linear::load(&attn.at("out_proj"), width, width)?,
            ln_2: LayerNorm::load(&at.at("ln_2"), width, eps)?,
            wide: Linear::load(&mlp.at("c_fc"), width, 4 * width)?.narrow(),
            narrow: Linear::load(&mlp.at("c_proj"), 4 * width, width)?,
            heads,
        })
    }

    /// `y = x + out MHA(ln_1 x)`, then `y + c_proj qgelu(c_fc ln_2 y)`.
    fn forward(&self, x: &Tensor, need: Need) -> Result<Tensor> {
        let width = x.dim(2)?;
        let qkv = self.qkv.forward_normed(&self.ln_1, x, Then::Nothing)?;
        let part = |i: usize| qkv.narrow(2, i * width, width);
        let read = attention::attend(&need.of(&part(0)?)?, &part(1)?, &part(2)?, self.heads, None)?;
        let y = self.out.forward(&read, Then::Add(&need.of(x)?))?;
        let then = Then::Activate(Activation::QuickGelu);
        let wide = self.wide.forward_normed(&self.ln_2, &y, then)?;
        self.narrow.forward(&wide, Then::Add(&y))
    }
}
