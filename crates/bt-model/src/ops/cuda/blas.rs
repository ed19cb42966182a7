//! Products of matrices with what follows them in the same pass, by cuBLASLt.
//!
//! Which of its kernels is fastest for a shape is measured when large products of that shape first come.

use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use candle_core::cuda_backend::cudarc::cublaslt::{result, result::CublasError, sys};
use candle_core::cuda_backend::cudarc::driver::{
    CudaSlice, CudaStream, CudaView, DevicePtr, DevicePtrMut, sys::CUevent_flags,
};
use candle_core::cuda_backend::{CudaDevice, DeviceId, WrapErr};
use half::bf16;

use crate::error::Result;

/// What cuBLAS's makers advise for Hopper; more than any older GPU needs.
const WORKSPACE: usize = 32 << 20;
/// Kernels that are tried for a shape.
const CANDIDATES: usize = 8;
/// Multiplications from which on it pays to look for the fastest kernel.
const WORTH_MEASURING: usize = 1 << 30;

type Algorithm = sys::cublasLtMatmulAlgo_t;

/// A device's handle, and the kernels that were chosen.
struct Blas {
    handle: sys::cublasLtHandle_t,
    workspace: CudaSlice<u8>,
    chosen: Mutex<HashMap<Shape, Algorithm>>,
}

#[expect(unsafe_code, reason = "a handle of cuBLASLt is a pointer")]
// SAFETY: cuBLASLt's handles may be used by several threads at once; all else is Send and Sync itself.
unsafe impl Send for Blas {}
#[expect(unsafe_code, reason = "a handle of cuBLASLt is a pointer")]
// SAFETY: as above.
unsafe impl Sync for Blas {}

/// What a kernel is chosen by; rows to the next power of two, so that the last batch asks for no new choice.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Shape {
    rows: usize,
    inputs: usize,
    outputs: usize,
    bias: bool,
    residual: bool,
}

/// Never dropped: a device lives as long as the program.
static DEVICES: LazyLock<Mutex<HashMap<DeviceId, Arc<Blas>>>> = LazyLock::new(Mutex::default);

fn of(device: &CudaDevice) -> Result<Arc<Blas>> {
    let mut devices = DEVICES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(blas) = devices.get(&device.id()) {
        return Ok(Arc::clone(blas));
    }
    device.cuda_stream().context().bind_to_thread().w()?;
    let blas = Arc::new(Blas {
        handle: result::create_handle().map_err(failed)?,
        workspace: super::fresh(device, WORKSPACE)?,
        chosen: Mutex::default(),
    });
    devices.insert(device.id(), Arc::clone(&blas));
    Ok(blas)
}

fn failed(error: CublasError) -> candle_core::Error {
    candle_core::Error::Msg(format!("cuBLASLt: {error:?}"))
}

/// `y = x Wᵀ + bias + residual`: [rows, in], [out, in], [out], [rows, out], each contiguous.
///
/// # Errors
/// What CUDA and cuBLASLt report; memory that is too small for the sizes.
pub(super) fn product(
    device: &CudaDevice,
    x: &CudaView<'_, bf16>,
    weight: &CudaView<'_, bf16>,
    bias: Option<&CudaView<'_, bf16>>,
    residual: Option<&CudaView<'_, bf16>>,
    y: &mut CudaSlice<bf16>,
    (rows, inputs, outputs): (usize, usize, usize),
) -> Result<()> {
    let long = |view: Option<&CudaView<'_, bf16>>, length| view.is_none_or(|v| v.len() >= length);
    if x.len() < rows * inputs
        || weight.len() < outputs * inputs
        || !long(bias, outputs)
        || !long(residual, rows * outputs)
        || y.len() < rows * outputs
    {
        return Err(candle_core::Error::Msg("a product's memory is too small".to_owned()).into());
    }
    let blas = of(device)?;
    let stream = device.cuda_stream();
    let (x, _x) = x.device_ptr(&stream);
    let (weight, _weight) = weight.device_ptr(&stream);
    let (bias, _bias) = bias.map(|bias| bias.device_ptr(&stream)).unzip();
    let (residual, _residual) = residual.map(|c| c.device_ptr(&stream)).unzip();
    let (y, _y) = y.device_ptr_mut(&stream);
    let (workspace, _workspace) = blas.workspace.device_ptr(&stream);
    let call = Call {
        blas: &blas,
        stream: &stream,
        layouts: Layouts::new(rows, inputs, outputs)?,
        job: Job::new(bias)?,
        weight: weight as *const c_void,
        x: x as *const c_void,
        residual: residual.map(|residual| residual as *const c_void),
        y: y as *mut c_void,
        workspace: workspace as *mut c_void,
    };
    let shape = Shape {
        rows: rows.next_power_of_two(),
        inputs,
        outputs,
        bias: bias.is_some(),
        residual: residual.is_some(),
    };
    let known = {
        let chosen = blas.chosen.lock().unwrap_or_else(PoisonError::into_inner);
        chosen.get(&shape).copied()
    };
    if let Some(algorithm) = known
        && call.run(&algorithm).is_ok()
    {
        return Ok(());
    }
    let candidates = call.candidates()?;
    let algorithm = if rows * inputs * outputs < WORTH_MEASURING {
        candidates
            .into_iter()
            .find(|algorithm| call.run(algorithm).is_ok())
    } else {
        call.fastest(&candidates)?
    };
    let algorithm = algorithm.ok_or_else(|| {
        candle_core::Error::Msg(format!(
            "cuBLASLt has no kernel for {rows} x {inputs} x {outputs}"
        ))
    })?;
    let mut chosen = blas.chosen.lock().unwrap_or_else(PoisonError::into_inner);
    chosen.insert(shape, algorithm);
    Ok(())
}

/// One product, described in cuBLASLt's terms. It thinks in columns: `yᵀ = W xᵀ`.
struct Call<'a> {
    blas: &'a Blas,
    stream: &'a Arc<CudaStream>,
    layouts: Layouts,
    job: Job,
    weight: *const c_void,
    x: *const c_void,
    residual: Option<*const c_void>,
    y: *mut c_void,
    workspace: *mut c_void,
}

#[expect(unsafe_code, reason = "cuBLASLt is a C library")]
impl Call<'_> {
    fn run(&self, algorithm: &Algorithm) -> std::result::Result<(), CublasError> {
        let (alpha, beta) = (1f32, if self.residual.is_some() { 1f32 } else { 0f32 });
        // SAFETY: the addresses are of memory that `product` has measured against the layouts and keeps
        // borrowed; descriptions live in `self`; alpha and beta are f32, as the job says.
        unsafe {
            result::matmul(
                self.blas.handle,
                self.job.0,
                (&raw const alpha).cast(),
                (&raw const beta).cast(),
                self.weight,
                self.layouts.weight,
                self.x,
                self.layouts.x,
                self.residual.unwrap_or(self.y),
                self.layouts.y,
                self.y,
                self.layouts.y,
                algorithm,
                self.workspace,
                WORKSPACE,
                self.stream.cu_stream() as sys::cudaStream_t,
            )
        }
    }

    /// Kernels that can do it, those that cuBLASLt thinks fastest first.
    fn candidates(&self) -> Result<Vec<Algorithm>> {
        let preference = Preference::new()?;
        let mut found: Vec<sys::cublasLtMatmulHeuristicResult_t> = Vec::with_capacity(CANDIDATES);
        let mut count: c_int = 0;
        // SAFETY: `found` has room for as many results as are asked for, and gets as long as `count` says.
        unsafe {
            sys::cublasLtMatmulAlgoGetHeuristic(
                self.blas.handle,
                self.job.0,
                self.layouts.weight,
                self.layouts.x,
                self.layouts.y,
                self.layouts.y,
                preference.0,
                CANDIDATES as c_int,
                found.as_mut_ptr(),
                &raw mut count,
            )
            .result()
            .map_err(failed)?;
            found.set_len((count.max(0) as usize).min(CANDIDATES));
        }
        Ok(found
            .iter()
            .filter(|result| result.state == sys::cublasStatus_t::CUBLAS_STATUS_SUCCESS)
            .map(|result| result.algo)
            .collect())
    }

    /// Runs each and keeps the one that took the least time. `y` holds the product afterwards.
    fn fastest(&self, candidates: &[Algorithm]) -> Result<Option<Algorithm>> {
        const RUNS: usize = 3;
        let timed = Some(CUevent_flags::CU_EVENT_DEFAULT);
        let mut best: Option<(f32, Algorithm)> = None;
        for algorithm in candidates {
            if self.run(algorithm).is_err() {
                continue;
            }
            let start = self.stream.record_event(timed).w()?;
            if (0..RUNS).any(|_| self.run(algorithm).is_err()) {
                continue;
            }
            let end = self.stream.record_event(timed).w()?;
            let time = start.elapsed_ms(&end).w()?;
            if best.is_none_or(|(least, _)| time < least) {
                best = Some((time, *algorithm));
            }
        }
        Ok(best.map(|(_, algorithm)| algorithm))
    }
}

/// How the matrices stand in memory.
struct Layouts {
    weight: sys::cublasLtMatrixLayout_t,
    x: sys::cublasLtMatrixLayout_t,
    y: sys::cublasLtMatrixLayout_t,
}

impl Layouts {
    fn new(rows: usize, inputs: usize, outputs: usize) -> Result<Self> {
        let matrix = |rows: usize, columns: usize| {
            result::create_matrix_layout(
                sys::cudaDataType_t::CUDA_R_16BF,
                rows as u64,
                columns as u64,
                rows as i64,
            )
            .map_err(failed)
        };
        Ok(Self {
            weight: matrix(inputs, outputs)?,
            x: matrix(inputs, rows)?,
            y: matrix(outputs, rows)?,
        })
    }
}

#[expect(unsafe_code, reason = "cuBLASLt is a C library")]
impl Drop for Layouts {
    fn drop(&mut self) {
        for layout in [self.weight, self.x, self.y] {
            // SAFETY: made in `new`, destroyed nowhere else. A failure to free leaves nothing to do.
            let _ = unsafe { result::destroy_matrix_layout(layout) };
        }
    }
}

/// The first operand transposed, sums in f32, and a bias in the epilogue.
struct Job(sys::cublasLtMatmulDesc_t);

#[expect(unsafe_code, reason = "cuBLASLt is a C library")]
impl Job {
    fn new(bias: Option<u64>) -> Result<Self> {
        use sys::cublasLtMatmulDescAttributes_t as Attribute;
        let job = Self(
            result::create_matmul_desc(
                sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
                sys::cudaDataType_t::CUDA_R_32F,
            )
            .map_err(failed)?,
        );
        let transposed: i32 = 1;
        job.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSA, &transposed)?;
        if let Some(bias) = bias {
            let epilogue = sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS;
            job.set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue)?;
            job.set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias)?;
        }
        Ok(job)
    }

    fn set<T>(&self, attribute: sys::cublasLtMatmulDescAttributes_t, value: &T) -> Result<()> {
        // SAFETY: `value` is read, as long as its type is, before the call returns.
        unsafe {
            result::set_matmul_desc_attribute(
                self.0,
                attribute,
                std::ptr::from_ref(value).cast(),
                size_of::<T>(),
            )
        }
        .map_err(|error| failed(error).into())
    }
}

#[expect(unsafe_code, reason = "cuBLASLt is a C library")]
impl Drop for Job {
    fn drop(&mut self) {
        // SAFETY: made in `new`, destroyed nowhere else. A failure to free leaves nothing to do.
        let _ = unsafe { result::destroy_matmul_desc(self.0) };
    }
}

/// How much memory a kernel may work in.
struct Preference(sys::cublasLtMatmulPreference_t);

#[expect(unsafe_code, reason = "cuBLASLt is a C library")]
impl Preference {
    fn new() -> Result<Self> {
        let preference = Self(result::create_matmul_pref().map_err(failed)?);
        let most = WORKSPACE;
        // SAFETY: the value is read before the call returns.
        unsafe {
            result::set_matmul_pref_attribute(
                preference.0,
                sys::cublasLtMatmulPreferenceAttributes_t::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                (&raw const most).cast(),
                size_of::<usize>(),
            )
        }
        .map_err(failed)?;
        Ok(preference)
    }
}

#[expect(unsafe_code, reason = "cuBLASLt is a C library")]
impl Drop for Preference {
    fn drop(&mut self) {
        // SAFETY: made in `new`, destroyed nowhere else. A failure to free leaves nothing to do.
        let _ = unsafe { result::destroy_matmul_pref(self.0) };
    }
}
