//! The two towers, down to the states that the bridges read. What joins them is in `cross.rs`.

pub(crate) mod text;
pub(crate) mod vision;

/// Which rows of a layer's output are needed: keys and values are always those of all rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Only the first token: all that ITC, ITM and the poolers read of a last layer.
    FirstTokens,
    /// Every token.
    AllTokens,
}

impl Need {
    /// The rows of `x` [B, T, D] whose outputs are needed.
    pub(crate) fn of(self, x: &candle_core::Tensor) -> candle_core::Result<candle_core::Tensor> {
        match self {
            Self::AllTokens => Ok(x.clone()),
            Self::FirstTokens => x.narrow(1, 0, 1),
        }
    }
}
