//! The operators of the graph: each one file, the plain candle form for every device and, on the
//! processor, forms that save passes over memory. Weights and names are not known here.

pub(crate) mod activation;
pub(crate) mod attention;
pub(crate) mod linear;
mod math;
pub(crate) mod norm;
mod product;

use candle_core::{CpuStorage, Layout};

pub use activation::Activation;
pub(crate) use linear::{Linear, Then};
pub(crate) use norm::LayerNorm;

/// The values of a contiguous f32 tensor in the processor's memory.
fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    let CpuStorage::F32(data) = storage else {
        candle_core::bail!("f32 is needed")
    };
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&data[start..end]),
        None => candle_core::bail!("{:?} is not contiguous", layout.shape()),
    }
}
