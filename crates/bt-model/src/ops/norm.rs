//! LayerNorm over the last axis, with weight and bias.

use candle_core::Tensor;

use crate::checkpoint::weights::Scope;
use crate::error::Result;

/// `(x - mean) / sqrt(variance + eps) * weight + bias`; the variance is the biased one.
#[derive(Debug)]
pub(crate) struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f32,
}

impl LayerNorm {
    pub(crate) fn load(at: &Scope<'_>, width: usize, eps: f64) -> Result<Self> {
        Ok(Self {
            weight: at.tensor("weight", &[width])?,
            bias: at.tensor("bias", &[width])?,
            eps: eps as f32,
        })
    }

    /// `x`: [.., width].
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(candle_nn::ops::layer_norm(
            &x.contiguous()?,
            &self.weight,
            &self.bias,
            self.eps,
        )?)
    }
}
