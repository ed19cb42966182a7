//! A look at the tensors of the graph while it runs: for tests against the reference, and for heat maps.

use candle_core::Tensor;

use crate::error::Result;

/// A place in the graph where a [`Probe`] may look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Output of text layer n, 0 being the embeddings: [B, L, D].
    TextHidden(usize),
    /// Output of vision block n, 0 being the embeddings after `ln_pre`: [B, P + 1, Dv].
    ImageHidden(usize),
    /// Text side of cross layer k: [B, L, D].
    CrossText(usize),
    /// Image side of cross layer k: [B, P + 1, D].
    CrossImage(usize),
    /// Cross-attention of the text over the picture in cross layer k: [B, heads, L, P + 1].
    TextOverImage(usize),
}

/// Sees the tensors of every stage as they are made; `()` sees nothing.
pub trait Probe {
    /// Called once a stage.
    ///
    /// # Errors
    /// Any error ends the run.
    fn see(&mut self, stage: Stage, tensor: &Tensor) -> Result<()>;

    /// Whether it sees anything: batches are kept together for who does.
    fn looks(&self) -> bool {
        true
    }

    /// Whether [`Stage::TextOverImage`] is wanted, which costs extra work.
    fn wants_attention(&self) -> bool {
        false
    }
}

impl Probe for () {
    fn see(&mut self, _: Stage, _: &Tensor) -> Result<()> {
        Ok(())
    }

    fn looks(&self) -> bool {
        false
    }
}
