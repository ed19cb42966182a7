//! `y = x Wᵀ + b`, and what stands before and after it: a norm, an activation, a residual stream. On the
//! processor all of that is one pass of `kernels`, in the numbers that the model was loaded with.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, D, Layout, Shape, Tensor};

use crate::checkpoint::weights::Scope;
use crate::error::Result;
use crate::kernels::pack::{Format, MOST_INPUTS, Packed};
use crate::kernels::product::{Follow, multiplied, padded};
use crate::kernels::rows::{Matrix, Rows};
use crate::kernels::{Activation, Level, On};
use crate::ops::{LayerNorm, activation, cuda, values};

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
pub(crate) struct Linear(Kept);

#[derive(Debug)]
enum Kept {
    /// On a device.
    Plain {
        weight: Tensor,
        bias: Option<Tensor>,
    },
    /// On the processor.
    Packed(Box<OnCpu>),
}

#[derive(Debug)]
struct OnCpu {
    weight: Packed,
    /// Filled up to whole panels.
    bias: Option<Vec<f32>>,
    /// Whether results are bf16.
    narrow: bool,
}

impl Linear {
    /// `weight` and `bias` below `at`.
    pub(crate) fn load(at: &Scope<'_>, inputs: usize, outputs: usize) -> Result<Self> {
        Self::load_stacked(std::slice::from_ref(at), inputs, outputs)
    }

    /// Several layers that read the same input, as one: the outputs stand side by side.
    pub(crate) fn load_stacked(at: &[Scope<'_>], inputs: usize, outputs: usize) -> Result<Self> {
        Self::load_named(at, "weight", Some("bias"), &[outputs, inputs])
    }

    /// The same under these names; `shape`: [outputs, ..], all but the first being inputs.
    pub(crate) fn load_named(
        at: &[Scope<'_>],
        weight: &str,
        bias: Option<&str>,
        shape: &[usize],
    ) -> Result<Self> {
        let (outputs, inputs) = (shape[0] * at.len(), shape[1..].iter().product::<usize>());
        let mut there = true;
        for at in at {
            there &= at.claim(weight, shape);
            there &= bias.is_none_or(|bias| at.claim(bias, &shape[..1]));
        }
        let first = &at[0];
        if !there {
            // What is missing is in the list with which loading ends.
            return Self::new(first.stand_in(2)?, None, Format::F32);
        }
        if let Some(kept) = first.prepared(weight, at.len(), outputs, inputs) {
            return Ok(Self(Kept::Packed(Box::new(OnCpu {
                weight: kept.weight,
                bias: kept.bias,
                narrow: false,
            }))));
        }
        let all = |name: &str, shape: &[usize]| -> Result<Tensor> {
            let parts = at.iter().map(|at| at.tensor(name, shape));
            Ok(Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 0)?)
        };
        let bias = bias.map(|bias| all(bias, &shape[..1])).transpose()?;
        let linear = Self::new(all(weight, shape)?.flatten_from(1)?, bias, first.format())?;
        if let Kept::Packed(kept) = &linear.0 {
            first.keep(weight, at.len(), &kept.weight, kept.bias.as_deref());
        }
        Ok(linear)
    }

    /// With another bias [out].
    pub(crate) fn with_bias(mut self, new: Tensor) -> Result<Self> {
        match &mut self.0 {
            Kept::Plain { bias, .. } => *bias = Some(new),
            Kept::Packed(kept) => kept.bias = Some(padded(&new.to_vec1::<f32>()?)),
        }
        Ok(self)
    }

    /// `weight`: [out, in]; `bias`: [out]. `format`: what the processor computes with.
    pub(crate) fn new(weight: Tensor, bias: Option<Tensor>, format: Format) -> Result<Self> {
        if !weight.device().is_cpu() {
            return Ok(Self(Kept::Plain { weight, bias }));
        }
        let (outputs, inputs) = weight.dims2()?;
        let (storage, layout) = weight.storage_and_layout();
        let candle_core::Storage::Cpu(storage) = &*storage else {
            return Err(candle_core::Error::Msg("weights left the processor".to_owned()).into());
        };
        // No known model comes near the bound; one that does is exact rather than refused.
        let format = if inputs > MOST_INPUTS {
            Format::F32
        } else {
            format
        };
        let matrix = Matrix::new(
            Level::best(),
            values(storage, layout)?,
            outputs,
            inputs,
            inputs,
        );
        Ok(Self(Kept::Packed(Box::new(OnCpu {
            weight: Packed::from_rows(format, matrix, On::ThePool),
            bias: match bias {
                Some(bias) => Some(padded(&bias.to_vec1::<f32>()?)),
                None => None,
            },
            narrow: false,
        }))))
    }

    /// Results may be as short as the numbers that they are computed with: for what only products read.
    pub(crate) fn narrow(mut self) -> Self {
        if let Kept::Packed(kept) = &mut self.0 {
            kept.narrow = kept.weight.format.is_short();
        }
        self
    }

    /// `x`: [.., in] to [.., out].
    pub(crate) fn forward(&self, x: &Tensor, then: Then<'_>) -> Result<Tensor> {
        self.run(x, None, then)
    }

    /// The same of `norm` of `x`.
    pub(crate) fn forward_normed(
        &self,
        norm: &LayerNorm,
        x: &Tensor,
        then: Then<'_>,
    ) -> Result<Tensor> {
        self.run(x, Some(norm), then)
    }

    fn run(&self, x: &Tensor, norm: Option<&LayerNorm>, then: Then<'_>) -> Result<Tensor> {
        match &self.0 {
            Kept::Plain { weight, bias } => {
                let normed = norm.map(|norm| norm.forward(x)).transpose()?;
                plain(normed.as_ref().unwrap_or(x), weight, bias.as_ref(), then)
            }
            Kept::Packed(linear) => {
                let x = x.contiguous()?;
                let (linear, activation) = (
                    &**linear,
                    match then {
                        Then::Activate(activation) => Some(activation),
                        _ => None,
                    },
                );
                let run = Run {
                    linear,
                    norm,
                    activation,
                };
                Ok(match then {
                    Then::Add(residual) => x.apply_op2_no_bwd(&residual.contiguous()?, &run)?,
                    _ => x.apply_op1_no_bwd(&run)?,
                })
            }
        }
    }
}

/// The form for every device.
fn plain(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, then: Then<'_>) -> Result<Tensor> {
    let mut shape = x.dims().to_vec();
    if let Some(last) = shape.last_mut() {
        *last = weight.dim(0)?;
    }
    let rows = x.reshape(((), x.dim(D::Minus1)?))?;
    if let Some(y) = cuda::linear(&rows, weight, bias, then)? {
        return Ok(y.reshape(shape)?);
    }
    let y = rows.matmul(&weight.t()?)?.reshape(shape)?;
    let y = match bias {
        Some(bias) => y.broadcast_add(bias)?,
        None => y,
    };
    match then {
        Then::Nothing => Ok(y),
        Then::Activate(function) => activation::activate(&y, function),
        Then::Add(residual) => Ok((y + residual)?),
    }
}

/// The form for the processor.
struct Run<'a> {
    linear: &'a OnCpu,
    norm: Option<&'a LayerNorm>,
    activation: Option<Activation>,
}

impl Run<'_> {
    fn run(
        &self,
        x: &CpuStorage,
        layout: &Layout,
        residual: Option<&[f32]>,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let weight = &self.linear.weight;
        let mut shape = layout.dims().to_vec();
        let rows = match shape.last_mut() {
            Some(last) if *last == weight.inputs => {
                *last = weight.outputs;
                layout.shape().elem_count() / weight.inputs.max(1)
            }
            _ => candle_core::bail!("{:?} for {} inputs", layout.shape(), weight.inputs),
        };
        if residual.is_some_and(|residual| residual.len() != rows * weight.outputs) {
            candle_core::bail!("a residual of another shape than {shape:?}");
        }
        let x = Matrix::new(
            Level::best(),
            values(x, layout)?,
            rows,
            weight.inputs,
            weight.inputs,
        );
        let norm = self.norm.map(LayerNorm::kernel);
        let ready = Rows::prepare(weight.format, x, norm, None, On::ThePool);
        let follow = Follow {
            bias: self.linear.bias.as_deref(),
            activation: self.activation,
            residual,
            ..Follow::default()
        };
        let storage = if self.linear.narrow {
            CpuStorage::BF16(multiplied(&ready, weight, follow, On::ThePool))
        } else {
            CpuStorage::F32(multiplied(&ready, weight, follow, On::ThePool))
        };
        Ok((storage, shape.into()))
    }
}

impl CustomOp1 for Run<'_> {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        self.run(x, layout, None)
    }
}

impl CustomOp2 for Run<'_> {
    fn name(&self) -> &'static str {
        "linear-residual"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        layout: &Layout,
        residual: &CpuStorage,
        residual_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        match values(residual, residual_layout)? {
            crate::kernels::rows::Values::F32(residual) => self.run(x, layout, Some(residual)),
            crate::kernels::rows::Values::Bf16(_) => candle_core::bail!("a residual is f32"),
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    #[test]
    fn the_form_for_the_processor_is_the_plain_one() {
        let random = |shape: &[usize]| Tensor::randn(0f32, 1.0, shape, &Device::Cpu).unwrap();
        for (rows, inputs, outputs) in [(1, 3, 1), (5, 8, 24), (900, 16, 48)] {
            let (x, residual) = (random(&[2, rows, inputs]), random(&[2, rows, outputs]));
            let (weight, bias) = (random(&[outputs, inputs]), random(&[outputs]));
            let norm = LayerNorm::new(random(&[inputs]), random(&[inputs]), 1e-5).unwrap();
            let linear = Linear::new(weight.clone(), Some(bias.clone()), Format::F32).unwrap();
            for then in [
                Then::Nothing,
                Then::Activate(Activation::Gelu),
                Then::Add(&residual),
            ] {
                let normed = norm.forward(&x).unwrap();
                for (got, x) in [
                    (linear.forward(&x, then).unwrap(), &x),
                    (linear.forward_normed(&norm, &x, then).unwrap(), &normed),
                ] {
                    let expected = plain(x, &weight, Some(&bias), then).unwrap();
                    let off = (got - expected)
                        .unwrap()
                        .abs()
                        .unwrap()
                        .max_all()
                        .unwrap()
                        .to_scalar::<f32>()
                        .unwrap();
                    assert!(off < 1e-5, "{rows} x {inputs} x {outputs}: {off}");
                }
            }
        }
    }

    #[test]
    fn shapes_that_do_not_go_together_are_errors() {
        let ones = |shape: &[usize]| Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap();
        let linear = Linear::new(ones(&[4, 3]), None, Format::Int8).unwrap();
        assert!(linear.forward(&ones(&[2, 5]), Then::Nothing).is_err());
        let residual = ones(&[2, 5]);
        assert!(
            linear
                .forward(&ones(&[2, 3]), Then::Add(&residual))
                .is_err()
        );
    }
}
