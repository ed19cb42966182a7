//! The stand-in for builds without the feature `cuda`: nothing here ever applies.

use candle_core::Tensor;

use crate::error::Result;
use crate::ops::Then;

pub(crate) fn wants_hopper() -> bool {
    false
}

pub(crate) fn linear(
    _: &Tensor,
    _: &Tensor,
    _: Option<&Tensor>,
    _: Then<'_>,
) -> Result<Option<Tensor>> {
    Ok(None)
}

pub(crate) fn attend(
    _: &Tensor,
    _: &Tensor,
    _: &Tensor,
    _: usize,
    _: Option<&Tensor>,
) -> Result<Option<Tensor>> {
    Ok(None)
}

pub(crate) fn layer_norm(_: &Tensor, _: &Tensor, _: &Tensor, _: f32) -> Result<Option<Tensor>> {
    Ok(None)
}

pub(crate) fn patches(_: &Tensor, _: usize, _: usize) -> Result<Option<Tensor>> {
    Ok(None)
}

pub(crate) fn first_rows(_: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
    Ok(None)
}
