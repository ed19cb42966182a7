//! Products of rows by packed weights, and the loops around them, over plain slices: chosen for the processor
//! when the program runs, shared by the threads of the pool. Tensors and the graph are not known here.

mod activation;
mod level;
mod lines;
mod math;
pub(crate) mod pack;
pub(crate) mod product;
pub(crate) mod rows;
pub(crate) mod tile;

pub use activation::Activation;
pub(crate) use level::{Level, vectorised};
