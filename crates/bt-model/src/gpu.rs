//! Which GPUs there are and what they have, in words that a user can do something with. Tensors on them are
//! candle's business, operators those of `ops/`, copies those of `transfer.rs`.

use candle_core::Device;

/// NVIDIA GPUs that this program could use now, or why there is none.
#[cfg(feature = "cuda")]
pub(crate) fn count() -> Result<usize, String> {
    use candle_core::cuda_backend::cudarc::driver::CudaContext;
    libraries()?;
    match CudaContext::device_count() {
        Ok(0) => Err("there is no NVIDIA GPU".to_owned()),
        Ok(count) => Ok(count.max(0) as usize),
        Err(cause) => Err(format!("the NVIDIA driver refuses: {cause}")),
    }
}

/// Whether CUDA's libraries are there, where they are opened when they are needed: without them, cudarc
/// would panic.
#[cfg(all(feature = "cuda", feature = "dynamic-loading"))]
#[expect(unsafe_code, reason = "opening a library runs its initialisers")]
fn libraries() -> Result<(), String> {
    use candle_core::cuda_backend::cudarc;
    // SAFETY: the libraries are NVIDIA's, which other programs open in the same way.
    unsafe {
        if !cudarc::driver::sys::is_culib_present() {
            return Err("there is no NVIDIA driver (libcuda.so)".to_owned());
        }
        for (name, there) in [
            ("libcublas.so", cudarc::cublas::sys::is_culib_present()),
            ("libcublasLt.so", cudarc::cublaslt::sys::is_culib_present()),
            ("libcurand.so", cudarc::curand::sys::is_culib_present()),
        ] {
            if !there {
                return Err(format!(
                    "CUDA's {name} is not found; install the CUDA toolkit, or name its folder in LD_LIBRARY_PATH"
                ));
            }
        }
    }
    Ok(())
}

#[cfg(all(feature = "cuda", not(feature = "dynamic-loading")))]
fn libraries() -> Result<(), String> {
    Ok(())
}

#[cfg(not(feature = "cuda"))]
pub(crate) fn count() -> Result<usize, String> {
    Err("this program was built without cuda".to_owned())
}

/// A GPU, with a stream of its own: CUDA's default would be another one in each thread.
#[cfg(feature = "cuda")]
pub(crate) fn open(ordinal: usize) -> Result<Device, String> {
    let there = count()?;
    if ordinal >= there {
        return Err(match there {
            1 => "there is one NVIDIA GPU, cuda:0".to_owned(),
            _ => format!(
                "there are {there} NVIDIA GPUs, cuda:0 to cuda:{}",
                there - 1
            ),
        });
    }
    let device = Device::new_cuda_with_stream(ordinal).map_err(|cause| cause.to_string())?;
    keep_memory(&device).map_err(|cause| cause.to_string())?;
    Ok(device)
}

#[cfg(not(feature = "cuda"))]
pub(crate) fn open(_: usize) -> Result<Device, String> {
    count().map(|_| Device::Cpu)
}

/// Lets the driver keep freed memory for the next batch; by default it goes back each time the GPU is waited
/// for, and getting it again costs as much as computing with it.
#[cfg(feature = "cuda")]
#[expect(unsafe_code, reason = "cudarc has no safe form of this setting")]
fn keep_memory(device: &Device) -> candle_core::Result<()> {
    use candle_core::cuda_backend::WrapErr;
    use candle_core::cuda_backend::cudarc::driver::sys;
    let Device::Cuda(device) = device else {
        return Ok(());
    };
    let stream = device.cuda_stream();
    let context = stream.context();
    if !context.has_async_alloc() {
        return Ok(());
    }
    let mut pool = std::ptr::null_mut();
    let mut all = u64::MAX;
    // SAFETY: `pool` is written before it is read; the attribute's value is a u64, which `all` is.
    unsafe {
        sys::cuDeviceGetDefaultMemPool(&raw mut pool, context.cu_device())
            .result()
            .w()?;
        sys::cuMemPoolSetAttribute(
            pool,
            sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD,
            (&raw mut all).cast(),
        )
        .result()
        .w()
    }
}

/// Whether it computes in bf16: from compute capability 8.0 (Ampere) on.
#[cfg(feature = "cuda")]
pub(crate) fn has_bf16(device: &Device) -> bool {
    match device {
        Device::Cuda(device) => {
            let capability = device.cuda_stream().context().compute_capability();
            capability.is_ok_and(|(major, _)| major >= 8)
        }
        _ => false,
    }
}

#[cfg(not(feature = "cuda"))]
pub(crate) fn has_bf16(_: &Device) -> bool {
    false
}

/// Bytes of its memory that are free now; none where that is not known.
#[cfg(feature = "cuda")]
pub(crate) fn free_bytes(device: &Device) -> Option<usize> {
    match device {
        Device::Cuda(device) => {
            let memory = device.cuda_stream().context().mem_get_info();
            memory.ok().map(|(free, _)| free)
        }
        _ => None,
    }
}

#[cfg(not(feature = "cuda"))]
pub(crate) fn free_bytes(_: &Device) -> Option<usize> {
    None
}
