//! Which vector instructions this processor has, how loops are compiled for each of them, and how a thread
//! gets matrix tiles. What is computed with them is not known here.

mod level;
#[cfg(target_arch = "x86_64")]
mod tiles;

pub use level::{FMA, Level};
#[cfg(target_arch = "x86_64")]
pub use tiles::Tiles;
