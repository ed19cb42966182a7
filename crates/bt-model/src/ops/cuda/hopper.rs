//! What runs twice as fast with Hopper's own instructions: products with a bias and an activation, and attention of
//! many queries over many keys (`hopper.cu`). Each answers `None` on other GPUs, for other sizes, and unless BT_HOPPER
//! is 1: the kernels have been run on an H100 alone, the programs with them have not.

use std::ffi::c_void;
use std::sync::LazyLock;

use candle_core::CudaDevice;
use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{
    CudaFunction, CudaSlice, CudaView, DevicePtr, DeviceRepr, LaunchConfig, PushKernelArg, sys,
};
use half::bf16;

use super::{Rows, fresh, launch};
use crate::error::Result;
use crate::kernels::Activation;

use sys::CUdevice_attribute as Attribute;

/// `hopper.cu`, as build.rs compiled it.
const KERNELS: &str = include_str!(concat!(env!("OUT_DIR"), "/hopper.ptx"));
const MODULE: &str = "bridgetower-hopper";

// The sizes of `hopper.cu`.
const TILE_ROWS: usize = 128;
const TILE_COLUMNS: usize = 256;
const STEP: usize = 64;
const STAGES: usize = 4;
const HEAD: usize = 64;
const QUERIES: usize = 64;
const KEYS: usize = 112;
const MOST_TILES: usize = 7;
const MOST_GROUPS: usize = 4;

/// Shared memory that a block can have there, and that a multiprocessor has for all of its blocks, a kilobyte of each
/// block's being the system's.
const BLOCK_MEMORY: usize = 227 << 10;
const SHARED_MEMORY: usize = 228 << 10;
/// What swizzled matrices are aligned to.
const ALIGNED: usize = 1024;

/// With fewer rows some multiprocessors would have no tile.
const WORTH_ROWS: usize = 2048;

/// `activation(x Wᵀ + b)`: [rows, in], [out, in], [out].
///
/// # Errors
/// What CUDA reports.
pub(super) fn product(
    device: &CudaDevice,
    x: &CudaView<'_, bf16>,
    weight: &CudaView<'_, bf16>,
    bias: &CudaView<'_, bf16>,
    activation: Activation,
    (rows, inputs, outputs): (usize, usize, usize),
) -> Result<Option<CudaSlice<bf16>>> {
    let kernel = match activation {
        Activation::Gelu => "product_gelu",
        Activation::QuickGelu => "product_quick_gelu",
        _ => return Ok(None),
    };
    if !is_hopper(device)?
        || rows < WORTH_ROWS
        || i32::try_from(rows).is_err()
        || !inputs.is_multiple_of(STEP)
        || !outputs.is_multiple_of(TILE_COLUMNS)
        || x.len() < rows * inputs
        || weight.len() < outputs * inputs
        || bias.len() < outputs
        || !is_aligned(device, x)
        || !is_aligned(device, weight)
    {
        return Ok(None);
    }
    let y = fresh::<bf16>(device, rows * outputs)?;
    {
        let x = TensorMap::new(device, x, &[inputs, rows], &[inputs], TILE_ROWS)?;
        // A block of a cluster brings half of a tile's columns for both.
        let half = TILE_COLUMNS / 2;
        let weight = TensorMap::new(device, weight, &[inputs, outputs], &[inputs], half)?;
        let (rows_, outputs_, steps) = (rows as i32, outputs as i32, (inputs / STEP) as i32);
        let memory = STAGES * (TILE_ROWS + TILE_COLUMNS) * STEP * size_of::<bf16>() + ALIGNED;
        let kernel = device.get_or_load_custom_func(kernel, MODULE, KERNELS)?;
        allow(&kernel, memory)?;
        let mut call = kernel.builder();
        call.arg(&x).arg(&weight).arg(bias).arg(&y);
        call.arg(&rows_).arg(&outputs_).arg(&steps);
        let multiprocessors =
            attribute(device, Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
        let grid = ((multiprocessors / 2 * 2).max(2) as u32, 1, 1);
        launch(call, config(grid, 384, memory))?;
    }
    Ok(Some(y))
}

/// `softmax(q kᵀ / sqrt(64)) v` of heads that are 64 wide: [members, queries, 64 heads].
///
/// # Errors
/// What CUDA reports.
pub(super) fn attend(
    device: &CudaDevice,
    [q, k, v]: [&Rows<'_>; 3],
    (members, queries, keys, heads): (usize, usize, usize, usize),
) -> Result<Option<CudaSlice<bf16>>> {
    let tiles = keys.div_ceil(KEYS);
    // Half of a tile of each may be empty; below, the other kernel wastes less.
    if !is_hopper(device)?
        || queries < QUERIES / 2
        || keys < KEYS / 2
        || tiles > MOST_TILES
        || [q, k, v].iter().any(|rows| rows.members != members)
    {
        return Ok(None);
    }
    let memory =
        |groups: usize| (2 * tiles * KEYS + groups * QUERIES) * HEAD * size_of::<bf16>() + ALIGNED;
    // With two blocks on a multiprocessor one computes while the other waits for its loads.
    let groups = if 2 * (memory(2) + 1024) <= SHARED_MEMORY {
        2
    } else {
        let fits = |groups: &usize| memory(*groups) <= BLOCK_MEMORY - 1024;
        (1..=MOST_GROUPS).rev().find(fits).unwrap_or(1)
    };
    let groups = groups.min(queries.div_ceil(QUERIES));
    let y = fresh::<bf16>(device, members * queries * heads * HEAD)?;
    {
        let map = |of: &Rows<'_>, tokens: usize, rows: usize| {
            let sizes = [heads * HEAD, tokens, members];
            // Of one member or one token nothing is next.
            let batch = if members == 1 {
                tokens * of.row as usize
            } else {
                of.batch as usize
            };
            TensorMap::new(
                device,
                &of.values.view()?,
                &sizes,
                &[of.row as usize, batch],
                rows,
            )
        };
        let (q, k, v) = (
            map(q, queries, QUERIES)?,
            map(k, keys, KEYS)?,
            map(v, keys, KEYS)?,
        );
        let (queries, keys) = (queries as i32, keys as i32);
        let scale = 1.0 / (HEAD as f32).sqrt();
        let kernel = device.get_or_load_custom_func("attention_many", MODULE, KERNELS)?;
        allow(&kernel, memory(groups))?;
        let mut call = kernel.builder();
        call.arg(&q).arg(&k).arg(&v).arg(&y);
        call.arg(&queries).arg(&keys).arg(&scale);
        let grid = (heads as u32, members as u32, 1);
        launch(call, config(grid, 128 * groups as u32, memory(groups)))?;
    }
    Ok(Some(y))
}

fn attribute(device: &CudaDevice, which: Attribute) -> Result<i32> {
    Ok(device.cuda_stream().context().attribute(which).w()?)
}

/// Whether loads of matrices can begin there.
fn is_aligned(device: &CudaDevice, values: &CudaView<'_, bf16>) -> bool {
    values
        .device_ptr(&device.cuda_stream())
        .0
        .is_multiple_of(16)
}

/// Whether BT_HOPPER asks for these kernels.
pub(super) static WANTED: LazyLock<bool> =
    LazyLock::new(|| std::env::var("BT_HOPPER").is_ok_and(|value| value == "1"));

/// Kernels for sm_90a run on that alone, and on nothing newer.
fn is_hopper(device: &CudaDevice) -> Result<bool> {
    if !*WANTED {
        return Ok(false);
    }
    let major = attribute(
        device,
        Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
    )?;
    let minor = attribute(
        device,
        Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
    )?;
    Ok((major, minor) == (9, 0))
}

/// Lets blocks of a kernel have so many bytes of shared memory.
fn allow(kernel: &CudaFunction, memory: usize) -> Result<()> {
    let most = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    kernel.set_attribute(most, memory as i32).w()?;
    Ok(())
}

fn config(grid_dim: (u32, u32, u32), threads: u32, memory: usize) -> LaunchConfig {
    LaunchConfig {
        grid_dim,
        block_dim: (threads, 1, 1),
        shared_mem_bytes: memory as u32,
    }
}

/// Where a matrix stands, in the form in which a kernel takes it.
#[repr(transparent)]
struct TensorMap(sys::CUtensorMap);

#[expect(unsafe_code, reason = "an argument of a kernel is its bytes")]
// SAFETY: plain numbers, of the size and alignment of the kernel's parameter.
unsafe impl DeviceRepr for TensorMap {}

impl TensorMap {
    /// `sizes`: columns, rows and, where there are several matrices, their number; `strides`: values from a row to the
    /// next, and from a matrix to the next. A load brings 64 columns of `rows` rows; beyond the sizes there are zeros.
    fn new(
        device: &CudaDevice,
        values: &CudaView<'_, bf16>,
        sizes: &[usize],
        strides: &[usize],
        rows: usize,
    ) -> Result<Self> {
        let last: usize = sizes[1..]
            .iter()
            .zip(strides)
            .map(|(size, stride)| (size - 1) * stride)
            .sum();
        if values.len() < last + sizes[0] {
            return Err(candle_core::Error::Msg("a matrix leaves its memory".to_owned()).into());
        }
        let stream = device.cuda_stream();
        let (address, _read) = values.device_ptr(&stream);
        let long = |values: &[usize], by: usize| -> Vec<u64> {
            values.iter().map(|value| (value * by) as u64).collect()
        };
        let (sizes_, strides_) = (long(sizes, 1), long(strides, size_of::<bf16>()));
        let boxes = [HEAD as u32, rows as u32, 1];
        let each = [1u32; 3];
        let mut map = std::mem::MaybeUninit::<sys::CUtensorMap>::uninit();
        #[expect(unsafe_code, reason = "a function of CUDA's driver")]
        // SAFETY: each array has as many numbers as the rank says, or one less for strides; the matrix is in memory,
        // as checked above, and the map is written before it is read, or there is an error.
        unsafe {
            sys::cuTensorMapEncodeTiled(
                map.as_mut_ptr(),
                sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                sizes.len() as u32,
                address as *mut c_void,
                sizes_.as_ptr(),
                strides_.as_ptr(),
                boxes.as_ptr(),
                each.as_ptr(),
                sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
                sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
                sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
            )
            .result()
            .w()?;
            Ok(Self(map.assume_init()))
        }
    }
}
