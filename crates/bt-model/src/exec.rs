//! Where and how a model runs; decided once, when it is loaded.

use candle_core::Device;

use crate::error::Result;

/// Device and threads.
#[derive(Clone, Debug)]
pub struct Exec {
    /// Where tensors live.
    pub device: Device,
}

impl Exec {
    /// `auto` (the first accelerator this build can use, else the processor), `cpu`, `cuda[:N]`, `metal[:N]`.
    ///
    /// # Errors
    /// A device that this build or machine does not have.
    pub fn parse(_device: &str) -> Result<Self> {
        unimplemented!()
    }
}
