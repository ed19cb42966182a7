//! Where a model runs and with which numbers; decided once, when it is loaded.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device};

use crate::error::{Error, Result};
use crate::gpu;
use crate::ops::cuda;
use crate::precision::Precision;
use crate::rerank_speed::RerankSpeed;

/// The device that tensors live on, and what they are made of.
#[derive(Clone, Debug)]
pub struct Exec {
    /// Where tensors live.
    pub device: Device,
    /// What they are made of; `Auto` is settled by the model that is loaded.
    pub precision: Precision,
    /// How much of a picture is read when pairs are scored.
    pub rerank_speed: RerankSpeed,
    /// Why `auto` is not a GPU, until somebody was told.
    pub(crate) no_gpu: Arc<Mutex<Option<String>>>,
}

impl Exec {
    /// The processor, which every build has, in f32.
    pub fn cpu() -> Self {
        Self::new(Device::Cpu, Precision::F32)
    }

    /// `auto` (the first accelerator this build can use, else the processor), `cpu`, `cuda[:N]`, `metal[:N]`.
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
        match name {
            "auto" if device == "auto" => Self::auto(),
            "cpu" if device == "cpu" => {
                Self::new(Device::Cpu, Precision::Auto).with_precision(Precision::Auto)
            }
            "cuda" if !cfg!(feature = "cuda") => Err(not_built(device, "cuda")),
            "metal" if !cfg!(feature = "metal") => Err(not_built(device, "metal")),
            "cuda" => Self::on(gpu::open(ordinal), device),
            "metal" => {
                let metal = Device::new_metal(ordinal).map_err(|cause| cause.to_string());
                Self::on(metal, device)
            }
            _ => Err(unknown(device)),
        }
    }

    /// All that share the work of indexing: every NVIDIA GPU for `cuda`, and for `auto` where there is one
    /// (CUDA_VISIBLE_DEVICES restricts both); those of a list with commas; else what [`Exec::parse`] gives.
    ///
    /// # Errors
    /// As [`Exec::parse`].
    pub fn parse_all(device: &str) -> Result<Vec<Self>> {
        if device.contains(',') {
            return device.split(',').map(Self::parse).collect();
        }
        let first = Self::parse(device)?;
        let mut all = vec![first];
        if let ("auto" | "cuda", Device::Cuda(_)) = (device, &all[0].device) {
            for ordinal in 1..gpu::count().unwrap_or(1) {
                all.push(Self::parse(&format!("cuda:{ordinal}"))?);
            }
        }
        Ok(all)
    }

    fn auto() -> Result<Self> {
        let accelerator = match (cfg!(feature = "cuda"), cfg!(feature = "metal")) {
            (true, _) => gpu::open(0),
            (_, true) => Device::new_metal(0).map_err(|cause| cause.to_string()),
            // A build for processors alone has nothing to explain.
            _ => return Self::new(Device::Cpu, Precision::Auto).with_precision(Precision::Auto),
        };
        let (device, why) = match accelerator {
            Ok(device) => (device, None),
            Err(why) => (Device::Cpu, Some(why)),
        };
        Self {
            no_gpu: Arc::new(Mutex::new(why)),
            ..Self::new(device, Precision::Auto)
        }
        .with_precision(Precision::Auto)
    }

    fn on(device: std::result::Result<Device, String>, name: &str) -> Result<Self> {
        match device {
            Ok(device) => Self::new(device, Precision::Auto).with_precision(Precision::Auto),
            Err(cause) => Err(Error::Usage(format!(
                "device `{name}` cannot be used: {cause}; `--device cpu` always works"
            ))),
        }
    }

    fn new(device: Device, precision: Precision) -> Self {
        Self {
            device,
            precision,
            rerank_speed: RerankSpeed::Exact,
            no_gpu: Arc::default(),
        }
    }

    /// The same device with these numbers. `Auto` is settled by the model that is loaded, but where there is no
    /// choice: on Metal, whose bf16 has never been tried, and on NVIDIA GPUs older than Ampere it is f32.
    ///
    /// # Errors
    /// int8 on a GPU, and bf16 on one that cannot compute with it.
    pub fn with_precision(self, precision: Precision) -> Result<Self> {
        let refused = |why: &str| {
            Err(Error::Usage(format!(
                "precision `{precision}` {why}; with device `{}` use f32 or auto",
                self.name()
            )))
        };
        let precision = match (&self.device, precision) {
            (Device::Cpu, _) => precision,
            (_, Precision::Int8) => return refused("is for the processor alone"),
            (Device::Cuda(_), Precision::Auto) if gpu::has_bf16(&self.device) => precision,
            (Device::Cuda(_), Precision::Bf16) if !gpu::has_bf16(&self.device) => {
                return refused("needs an NVIDIA GPU of compute capability 8.0 or more");
            }
            (_, Precision::Auto) => Precision::F32,
            _ => precision,
        };
        Ok(Self { precision, ..self })
    }

    /// The same with pairs scored at this speed.
    #[must_use]
    pub fn with_rerank_speed(self, rerank_speed: RerankSpeed) -> Self {
        Self {
            rerank_speed,
            ..self
        }
    }

    /// `cpu`, `cuda` or `metal`.
    pub fn name(&self) -> &'static str {
        match self.device {
            Device::Cpu => "cpu",
            Device::Cuda(_) => "cuda",
            Device::Metal(_) => "metal",
        }
    }

    /// A name for how it computes: what was kept or measured of a model under one name says nothing of another.
    pub(crate) fn arithmetic(&self) -> String {
        match self.device {
            Device::Cpu => self.precision.arithmetic(),
            Device::Cuda(_) if cuda::wants_hopper() => format!("cuda-{}-hopper", self.precision),
            _ => format!("{}-{}", self.name(), self.precision),
        }
    }

    /// Whether it is a GPU.
    pub fn is_gpu(&self) -> bool {
        !matches!(self.device, Device::Cpu)
    }

    /// Why `auto` is not a GPU in a build that could use one; told once.
    pub(crate) fn take_no_gpu(&self) -> Option<String> {
        let mut why = self.no_gpu.lock().unwrap_or_else(PoisonError::into_inner);
        why.take()
    }

    /// What the graph's tensors are. On the processor they are f32 whatever the precision is: there,
    /// operators keep smaller forms of their own.
    pub(crate) fn body_type(&self) -> DType {
        match (&self.device, self.precision) {
            (Device::Cuda(_) | Device::Metal(_), Precision::Bf16) => DType::BF16,
            _ => DType::F32,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_and_cpu_always_work() {
        assert!(Exec::parse("auto").is_ok());
        assert_eq!(Exec::parse("cpu").unwrap().name(), "cpu");
        assert_eq!(Exec::parse_all("cpu").unwrap().len(), 1);
        assert_eq!(Exec::parse_all("cpu,cpu").unwrap().len(), 2);
        assert!(Exec::parse_all("cpu,").is_err());
        assert!(!Exec::parse_all("auto").unwrap().is_empty());
    }

    #[test]
    fn why_there_is_no_gpu_is_told_once_and_by_builds_that_could_use_one() {
        let exec = Exec::parse("auto").unwrap();
        let could = cfg!(any(feature = "cuda", feature = "metal"));
        let copy = exec.clone();
        assert_eq!(exec.take_no_gpu().is_some(), could && !exec.is_gpu());
        assert_eq!(copy.take_no_gpu(), None);
        assert_eq!(Exec::cpu().take_no_gpu(), None);
    }

    #[test]
    fn the_processor_takes_every_precision_as_it_is() {
        for precision in Precision::ALL {
            let exec = Exec::cpu().with_precision(precision).unwrap();
            assert_eq!(exec.precision, precision);
            assert_eq!(exec.body_type(), DType::F32);
        }
    }

    #[test]
    fn an_unknown_device_is_refused_with_the_list_of_devices() {
        for bad in ["gpu", "", "cpu:1", "auto:0", "cuda:x", "cpu,cpu"] {
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

    /// On a machine with more than a hundred GPUs this needs another number.
    #[cfg(feature = "cuda")]
    #[test]
    fn a_gpu_that_is_not_there_is_an_error_that_says_what_is() {
        let error = Exec::parse("cuda:100").unwrap_err().to_string();
        assert!(
            error.contains("cuda:100") && error.contains("NVIDIA"),
            "{error}"
        );
        assert!(error.contains("--device cpu"), "{error}");
    }

    #[cfg(feature = "cuda")]
    #[test]
    #[ignore = "needs a GPU"]
    fn on_a_gpu_int8_is_refused() {
        let exec = Exec::parse("cuda").unwrap();
        let error = exec
            .with_precision(Precision::Int8)
            .unwrap_err()
            .to_string();
        assert!(error.contains("processor alone"), "{error}");
    }
}
