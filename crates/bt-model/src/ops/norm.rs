//! LayerNorm over the last axis, with weight and bias.

use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor};
use rayon::prelude::*;

use crate::checkpoint::weights::Scope;
use crate::error::Result;
use crate::kernels::Level;
use crate::kernels::rows::{Norm, Values, normalise};
use crate::ops::{cuda, values};

/// `(x - mean) / sqrt(variance + eps) * weight + bias`; the variance is the biased one.
#[derive(Debug)]
pub(crate) struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    /// The same as plain numbers, where the processor computes.
    plain: Option<(Vec<f32>, Vec<f32>)>,
    eps: f32,
}

impl LayerNorm {
    pub(crate) fn load(at: &Scope<'_>, width: usize, eps: f64) -> Result<Self> {
        Self::new(
            at.tensor("weight", &[width])?,
            at.tensor("bias", &[width])?,
            eps as f32,
        )
    }

    pub(crate) fn new(weight: Tensor, bias: Tensor, eps: f32) -> Result<Self> {
        let plain = if weight.device().is_cpu() {
            Some((weight.to_vec1()?, bias.to_vec1()?))
        } else {
            None
        };
        Ok(Self {
            weight,
            bias,
            plain,
            eps,
        })
    }

    /// `x`: [.., width].
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = x.contiguous()?;
        if let Some(y) = cuda::layer_norm(&x, &self.weight, &self.bias, self.eps)? {
            return Ok(y);
        }
        Ok(match &self.plain {
            Some(_) => x.apply_op1_no_bwd(self)?,
            None => candle_nn::ops::layer_norm(&x, &self.weight, &self.bias, self.eps)?,
        })
    }

    /// For a kernel that normalises what it reads.
    pub(crate) fn kernel(&self) -> Norm<'_> {
        let (weight, bias) = self
            .plain
            .as_ref()
            .map_or((&[][..], &[][..]), |(weight, bias)| (weight, bias));
        Norm {
            weight,
            bias,
            eps: self.eps,
        }
    }
}

/// Rows that a thread takes at a time.
const SHARE: usize = 32;

impl CustomOp1 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let Values::F32(x) = values(x, layout)? else {
            candle_core::bail!("a norm reads f32")
        };
        let norm = self.kernel();
        let width = norm.weight.len().max(1);
        if !x.len().is_multiple_of(width) || layout.dims().last() != Some(&width) {
            candle_core::bail!("{:?} for a norm of {width}", layout.shape());
        }
        let mut y = x.to_vec();
        let level = Level::best();
        let rows = |rows: &mut [f32]| {
            for row in rows.chunks_mut(width) {
                normalise(level, row, norm.weight, norm.bias, norm.eps);
            }
        };
        if y.len() > SHARE * width {
            y.par_chunks_mut(SHARE * width).for_each(rows);
        } else {
            rows(&mut y);
        }
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }
}
