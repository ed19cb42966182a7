//! `y = x Wᵀ + b`, and what follows it at once.

use candle_core::{D, Tensor};

use crate::checkpoint::weights::Scope;
use crate::error::Result;
use crate::ops::Activation;

/// What follows a linear layer.
#[derive(Clone, Copy)]
pub(crate) enum Then<'a> {
    /// Nothing.
    Nothing,
    /// An activation.
    Activate(Activation),
    /// A residual stream of the output's shape is added.
    Add(&'a Tensor),
}

/// Weights [out, in] and a bias [out].
#[derive(Debug)]
pub(crate) struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// `weight` and `bias` below `at`.
    pub(crate) fn load(at: &Scope<'_>, inputs: usize, outputs: usize) -> Result<Self> {
        Self::new(
            at.tensor("weight", &[outputs, inputs])?,
            Some(at.tensor("bias", &[outputs])?),
        )
    }

    /// Several layers that read the same input, as one: the outputs stand side by side.
    pub(crate) fn load_stacked(at: &[Scope<'_>], inputs: usize, outputs: usize) -> Result<Self> {
        let mut weights = Vec::with_capacity(at.len());
        let mut biases = Vec::with_capacity(at.len());
        for scope in at {
            weights.push(scope.tensor("weight", &[outputs, inputs])?);
            biases.push(scope.tensor("bias", &[outputs])?);
        }
        Self::new(Tensor::cat(&weights, 0)?, Some(Tensor::cat(&biases, 0)?))
    }

    pub(crate) fn new(weight: Tensor, bias: Option<Tensor>) -> Result<Self> {
        Ok(Self { weight, bias })
    }

    /// `x`: [.., in] to [.., out].
    pub(crate) fn forward(&self, x: &Tensor, then: Then<'_>) -> Result<Tensor> {
        let mut shape = x.dims().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = self.weight.dim(0)?;
        }
        let inputs = x.dim(D::Minus1)?;
        let y = x.reshape(((), inputs))?.matmul(&self.weight.t()?)?;
        let y = match &self.bias {
            Some(bias) => y.broadcast_add(bias)?,
            None => y,
        };
        let y = y.reshape(shape)?;
        match then {
            Then::Nothing => Ok(y),
            Then::Activate(activation) => activation.forward(&y),
            Then::Add(residual) => Ok((y + residual)?),
        }
    }
}
