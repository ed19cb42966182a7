//! Activation functions, by the names that config.json gives them.

use serde::Serialize;

use super::math::{erf, exp, sigmoid};

/// An activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Activation {
    /// `x Φ(x)`, by the error function.
    Gelu,
    /// GELU by its tanh approximation.
    GeluTanh,
    /// `x sigmoid(1.702 x)`.
    QuickGelu,
    /// `max(x, 0)`.
    Relu,
    /// `x sigmoid(x)`.
    Silu,
    /// `tanh(x)`.
    Tanh,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `x`.
    Linear,
}

impl Activation {
    /// The names that [`Activation::by_name`] knows.
    pub(crate) const NAMES: &'static str = "gelu, gelu_python, gelu_new, gelu_fast, gelu_pytorch_tanh, quick_gelu, \
         relu, silu, swish, tanh, sigmoid, linear";

    /// The function that transformers' ACT2FN has under this name.
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        Some(match name {
            "gelu" | "gelu_python" => Self::Gelu,
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Self::GeluTanh,
            "quick_gelu" => Self::QuickGelu,
            "relu" => Self::Relu,
            "silu" | "swish" => Self::Silu,
            "tanh" => Self::Tanh,
            "sigmoid" => Self::Sigmoid,
            "linear" => Self::Linear,
            _ => return None,
        })
    }

    /// Elementwise, in place: loops that compilers turn into vector instructions.
    #[inline(always)]
    pub(crate) fn apply<const FMA: bool>(self, values: &mut [f32]) {
        /// sqrt(2 / pi).
        const FACTOR: f32 = 0.797_884_6;
        match self {
            Self::Gelu => each(values, |x| {
                0.5 * x * (1.0 + erf::<FMA>(x * std::f32::consts::FRAC_1_SQRT_2))
            }),
            // 0.5 (1 + tanh u) is sigmoid(2 u).
            Self::GeluTanh => each(values, |x| {
                x * sigmoid::<FMA>(2.0 * FACTOR * x * (1.0 + 0.044715 * x * x))
            }),
            Self::QuickGelu => each(values, |x| x * sigmoid::<FMA>(1.702 * x)),
            Self::Relu => each(values, |x| if x < 0.0 { 0.0 } else { x }),
            Self::Silu => each(values, |x| x * sigmoid::<FMA>(x)),
            Self::Tanh => each(values, f32::tanh),
            Self::Sigmoid => each(values, |x| 1.0 / (1.0 + exp::<FMA>(-x))),
            Self::Linear => {}
        }
    }
}

#[inline(always)]
fn each(values: &mut [f32], f: impl Fn(f32) -> f32) {
    for value in values {
        *value = f(*value);
    }
}
