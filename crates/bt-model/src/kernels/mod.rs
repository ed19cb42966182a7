//! Products of rows by packed weights, and the loops around them, over plain slices: chosen for the processor
//! when the program runs, shared by the threads of the pool. Tensors and the graph are not known here.

mod activation;
pub(crate) mod attention;
mod lines;
mod math;
pub(crate) mod out;
pub(crate) mod pack;
pub(crate) mod product;
#[cfg(test)]
mod profile;
pub(crate) mod rows;
mod scratch;
pub(crate) mod tile;

pub use activation::Activation;
pub(crate) use bt_cpu::{Level, vectorised};
pub(crate) use lines::{LINE, Lines};

/// Who works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    /// The calling thread.
    ThisThread,
    /// All threads of the pool that the calling thread is in, where it is worth waking them.
    ThePool,
}
