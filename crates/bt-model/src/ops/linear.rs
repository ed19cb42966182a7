//! `y = x Wᵀ + b`, and what follows it at once.

use candle_core::{
    CpuStorage, CustomOp2, D, DType, Device, InplaceOp2, InplaceOp3, Layout, Shape, Tensor,
};
use rayon::prelude::*;

use crate::checkpoint::weights::Scope;
use crate::error::Result;
use crate::ops::product::{Matrix, On, product};
use crate::ops::{Activation, values};

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
        Ok(Self::new(
            at.tensor("weight", &[outputs, inputs])?,
            Some(at.tensor("bias", &[outputs])?),
        ))
    }

    /// Several layers that read the same input, as one: the outputs stand side by side.
    pub(crate) fn load_stacked(at: &[Scope<'_>], inputs: usize, outputs: usize) -> Result<Self> {
        let mut weights = Vec::with_capacity(at.len());
        let mut biases = Vec::with_capacity(at.len());
        for scope in at {
            weights.push(scope.tensor("weight", &[outputs, inputs])?);
            biases.push(scope.tensor("bias", &[outputs])?);
        }
        Ok(Self::new(
            Tensor::cat(&weights, 0)?,
            Some(Tensor::cat(&biases, 0)?),
        ))
    }

    pub(crate) fn new(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self { weight, bias }
    }

    /// `x`: [.., in] to [.., out].
    pub(crate) fn forward(&self, x: &Tensor, then: Then<'_>) -> Result<Tensor> {
        let mut shape = x.dims().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = self.weight.dim(0)?;
        }
        let inputs = x.dim(D::Minus1)?;
        let rows = x.reshape(((), inputs))?;
        let y = match (x.device(), x.dtype()) {
            (Device::Cpu, DType::F32) => rows.apply_op2_no_bwd(&self.weight, &Product)?,
            _ => rows.matmul(&self.weight.t()?)?,
        };
        let y = y.reshape(shape)?;
        match (&self.bias, x.device()) {
            // `y` is new and nobody else's, so what follows can be done in it, in one pass.
            (Some(bias), Device::Cpu) => {
                match then {
                    Then::Nothing => y.inplace_op2(bias, &Follow(Activation::Linear))?,
                    Then::Activate(activation) => y.inplace_op2(bias, &Follow(activation))?,
                    Then::Add(residual) => {
                        y.inplace_op3(bias, &residual.contiguous()?, &FollowAdd)?
                    }
                }
                Ok(y)
            }
            (bias, _) => plain(y, bias.as_ref(), then),
        }
    }
}

fn plain(y: Tensor, bias: Option<&Tensor>, then: Then<'_>) -> Result<Tensor> {
    let y = match bias {
        Some(bias) => y.broadcast_add(bias)?,
        None => y,
    };
    match then {
        Then::Nothing => Ok(y),
        Then::Activate(activation) => activation.forward(&y),
        Then::Add(residual) => Ok((y + residual)?),
    }
}

/// `x Wᵀ`, [n, in] with [out, in]. candle's own product is the same arithmetic, but reads /proc/cpuinfo each
/// time to know how many threads there are, which costs a small model as much as the product itself; and it
/// does not know of the pool that it is called in.
struct Product;

impl CustomOp2 for Product {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (rows, inputs) = x_layout.shape().dims2()?;
        let (outputs, same) = weight_layout.shape().dims2()?;
        if inputs != same {
            candle_core::bail!("{inputs} inputs for weights of {same}");
        }
        let x = Matrix::rows(values(x, x_layout)?, rows, inputs);
        let weight = Matrix::rows(values(weight, weight_layout)?, outputs, inputs);
        let mut y = vec![0.0; rows * outputs];
        product(&mut y, x, weight.transposed(), 1.0, On::ThePool);
        Ok((CpuStorage::F32(y), Shape::from((rows, outputs))))
    }
}

/// Values that one thread takes at a time; fewer than this are not worth a second thread.
const SHARE: usize = 1 << 14;

/// `act(y + bias)`.
struct Follow(Activation);

impl InplaceOp2 for Follow {
    fn name(&self) -> &'static str {
        "bias-activation"
    }

    fn cpu_fwd(
        &self,
        y: &mut CpuStorage,
        layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> candle_core::Result<()> {
        let bias = values(bias, bias_layout)?;
        each_share(y, layout, bias.len(), |_, share| {
            for row in share.chunks_mut(bias.len()) {
                for (y, bias) in row.iter_mut().zip(bias) {
                    *y += bias;
                }
                self.0.apply(row);
            }
        })
    }
}

/// `y + bias + residual`.
struct FollowAdd;

impl InplaceOp3 for FollowAdd {
    fn name(&self) -> &'static str {
        "bias-residual"
    }

    fn cpu_fwd(
        &self,
        y: &mut CpuStorage,
        layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
        residual: &CpuStorage,
        residual_layout: &Layout,
    ) -> candle_core::Result<()> {
        let bias = values(bias, bias_layout)?;
        let residual = values(residual, residual_layout)?;
        if residual.len() != layout.shape().elem_count() {
            candle_core::bail!(
                "residual {:?} for {:?}",
                residual_layout.shape(),
                layout.shape()
            );
        }
        each_share(y, layout, bias.len(), |start, share| {
            let residual = residual[start..].chunks(bias.len());
            for (row, residual) in share.chunks_mut(bias.len()).zip(residual) {
                for ((y, bias), residual) in row.iter_mut().zip(bias).zip(residual) {
                    *y += bias + residual;
                }
            }
        })
    }
}

/// Gives `work` the contiguous `y` in shares of whole rows, with the place at which each begins.
fn each_share(
    y: &mut CpuStorage,
    layout: &Layout,
    width: usize,
    work: impl Fn(usize, &mut [f32]) + Sync,
) -> candle_core::Result<()> {
    let CpuStorage::F32(y) = y else {
        candle_core::bail!("f32 is needed")
    };
    let Some((start, end)) = layout.contiguous_offsets() else {
        candle_core::bail!("rows must be contiguous")
    };
    let y = &mut y[start..end];
    if width == 0 || !y.len().is_multiple_of(width) {
        candle_core::bail!("bias of {width} for rows {:?}", layout.shape());
    }
    let share = SHARE.div_ceil(width) * width;
    if y.len() <= share {
        work(0, y);
    } else {
        y.par_chunks_mut(share)
            .enumerate()
            .for_each(|(i, y)| work(i * share, y));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_in_place_is_what_follows_plainly() {
        let random = |shape: &[usize]| Tensor::randn(0f32, 1.0, shape, &Device::Cpu).unwrap();
        for (rows, inputs, outputs) in [(1, 3, 1), (5, 8, 24), (900, 16, 48)] {
            let (x, residual) = (random(&[2, rows, inputs]), random(&[2, rows, outputs]));
            let linear = Linear::new(random(&[outputs, inputs]), Some(random(&[outputs])));
            for then in [
                Then::Nothing,
                Then::Activate(Activation::Gelu),
                Then::Add(&residual),
            ] {
                let got = linear.forward(&x, then).unwrap();
                let y = x.broadcast_matmul(&linear.weight.t().unwrap()).unwrap();
                let expected = plain(y, linear.bias.as_ref(), then).unwrap();
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
