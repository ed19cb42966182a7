//! The operators of the graph: each one file, the plain candle form for every device and, on the
//! processor, forms that save passes over memory. Weights and names are not known here.

pub(crate) mod activation;
pub(crate) mod attention;
#[cfg(feature = "cuda")]
pub(crate) mod cuda;
#[cfg(not(feature = "cuda"))]
#[path = "cuda/absent.rs"]
pub(crate) mod cuda;
pub(crate) mod linear;
pub(crate) mod norm;
pub(crate) mod table;

use candle_core::{CpuStorage, Layout};

use crate::kernels::rows::Values;

pub(crate) use linear::{Linear, Then};
pub(crate) use norm::LayerNorm;
pub(crate) use table::Table;

/// The values of a contiguous tensor in the processor's memory.
fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<Values<'a>> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        candle_core::bail!("{:?} is not contiguous", layout.shape())
    };
    match storage {
        CpuStorage::F32(data) => Ok(Values::F32(&data[start..end])),
        CpuStorage::BF16(data) => Ok(Values::Bf16(&data[start..end])),
        _ => candle_core::bail!("f32 or bf16 is needed"),
    }
}
