//! The operators of the graph: each one file, the plain candle form for every device and, on the
//! processor, forms that save passes over memory. Weights and names are not known here.

pub(crate) mod activation;
pub(crate) mod attention;
pub(crate) mod linear;
pub(crate) mod norm;

pub use activation::Activation;
pub(crate) use linear::{Linear, Then};
pub(crate) use norm::LayerNorm;
