//! Where a model runs and with which numbers; decided once, when it is loaded.

use candle_core::Device;

use crate::error::{Error, Result};
use crate::precision::Precision;

/// The device that tensors live on, and what they are made of.
#[derive(Clone, Debug)]
pub struct Exec {
    /// Where tensors live.
    pub device: Device,
    /// What they are made of; on a GPU never `Auto`.
    pub precision: Precision,
}

impl Exec {
    /// The processor, which every build has, in f32.
    pub fn cpu() -> Self {
        Self {
            device: Device::Cpu,
            precision: Precision::F32,
        }
    }

    /// `auto` (the first accelerator this build can use, else the processor), `cpu`, `cuda[:N]`, `metal[:N]`.
    ///
    /// The precision is `Auto` until [`Exec::with_precision`] says more.
    ///
    /// # Errors
    /// A device that this build or machine does not have.
    pub fn parse(device: &str) -> Result<Self> {
        let (name, ordinal) = match device.split_once(':') {
            None => (device, 0),
            Some((name, number)) => {
                let ordinal = number.parse().map_err(|_| unknown(device))?;
                (name, ordinal)
            }
        };
        let device = match name {
            "auto" if device == "auto" => Device::new_cuda(0)
                .or_else(|_| Device::new_metal(0))
                .unwrap_or(Device::Cpu),
            "cpu" if device == "cpu" => Device::Cpu,
            "cuda" if !cfg!(feature = "cuda") => return Err(not_built(device, "cuda")),
            "metal" if !cfg!(feature = "metal") => return Err(not_built(device, "metal")),
            "cuda" => Device::new_cuda(ordinal).map_err(|cause| not_there(device, &cause))?,
            "metal" => Device::new_metal(ordinal).map_err(|cause| not_there(device, &cause))?,
            _ => return Err(unknown(device)),
        };
        Self {
            device,
            precision: Precision::Auto,
        }
        .with_precision(Precision::Auto)
    }

    /// The same device with these numbers. On CUDA `Auto` is bf16; on Metal, where its loss has not been
    /// measured, f32; on the processor it is settled by the model that is loaded.
    ///
    /// # Errors
    /// int8 on a GPU.
    pub fn with_precision(self, precision: Precision) -> Result<Self> {
        let precision = match (&self.device, precision) {
            (Device::Cpu, _) => precision,
            (_, Precision::Int8) => {
                return Err(Error::Usage(format!(
                    "precision `int8` is for the processor alone; with device `{}` use bf16, f32 or auto",
                    self.name()
                )));
            }
            (Device::Cuda(_), Precision::Auto) => Precision::Bf16,
            (Device::Metal(_), Precision::Auto) => Precision::F32,
            _ => precision,
        };
        Ok(Self { precision, ..self })
    }

    /// `cpu`, `cuda` or `metal`.
    pub fn name(&self) -> &'static str {
        match self.device {
            Device::Cpu => "cpu",
            Device::Cuda(_) => "cuda",
            Device::Metal(_) => "metal",
        }
    }
}

fn unknown(device: &str) -> Error {
    Error::Usage(format!(
        "`{device}` is not a device: auto, cpu, cuda, cuda:N, metal or metal:N"
    ))
}

fn not_built(device: &str, feature: &str) -> Error {
    Error::Usage(format!(
        "device `{device}`: this program was built without {feature}; build it with `cargo build --release --features {feature}`, or use `--device cpu`"
    ))
}

fn not_there(device: &str, cause: &candle_core::Error) -> Error {
    Error::Usage(format!("device `{device}` cannot be used: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_and_cpu_always_work() {
        assert!(Exec::parse("auto").is_ok());
        assert_eq!(Exec::parse("cpu").unwrap().name(), "cpu");
    }

    #[test]
    fn the_processor_takes_every_precision_as_it_is() {
        for precision in Precision::ALL {
            let exec = Exec::cpu().with_precision(precision).unwrap();
            assert_eq!(exec.precision, precision);
        }
    }

    #[test]
    fn an_unknown_device_is_refused_with_the_list_of_devices() {
        for bad in ["gpu", "", "cpu:1", "auto:0", "cuda:x"] {
            let error = Exec::parse(bad).unwrap_err().to_string();
            assert!(error.contains("auto, cpu, cuda"), "{bad}: {error}");
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_device_of_another_build_says_how_to_build_it() {
        let error = Exec::parse("cuda:1").unwrap_err().to_string();
        assert!(error.contains("--features cuda"), "{error}");
    }
}
