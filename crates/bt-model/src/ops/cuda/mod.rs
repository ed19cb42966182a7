//! The operators on an NVIDIA GPU in bf16. Each answers `None` where it does not apply (another device or
//! type, sizes that its kernel cannot take): then the caller's plain candle form does the work.
//!
//! Products with their bias and residual stream are cuBLASLt's (`blas.rs`); the rest are the kernels of
//! `kernels.cu`, which tools/kernels tests on the processor. On Hopper `hopper.rs` has faster ones of both kinds.

mod blas;
mod hopper;

use candle_core::cuda_backend::cudarc::driver::{
    CudaView, DeviceRepr, LaunchArgs, LaunchConfig, PushKernelArg,
};
use candle_core::cuda_backend::{CudaDType, WrapErr};
use candle_core::op::BackpropOp;
use candle_core::{CudaDevice, CudaStorage, DType, Device, Layout, Shape, Storage, Tensor};
use half::bf16;

use crate::error::Result;
use crate::kernels::Activation;
use crate::ops::Then;

/// `kernels.cu`, as build.rs compiled it.
const KERNELS: &str = include_str!(concat!(env!("OUT_DIR"), "/kernels.ptx"));

/// Values that a thread takes at a time: 16 bytes.
const EIGHT: usize = 8;

/// Whether Hopper's kernels were asked for: what was measured without them says nothing of them.
pub(crate) fn wants_hopper() -> bool {
    *hopper::WANTED
}

/// `then(x Wᵀ + b)`; `x`: [rows, in], `weight`: [out, in].
pub(crate) fn linear(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    then: Then<'_>,
) -> Result<Option<Tensor>> {
    let Some(device) = applies(&[x, weight]) else {
        return Ok(None);
    };
    let ((rows, inputs), (outputs, same)) = (x.dims2()?, weight.dims2()?);
    if inputs != same
        || rows == 0
        || !inputs.is_multiple_of(EIGHT)
        || !outputs.is_multiple_of(EIGHT)
    {
        return Ok(None);
    }
    let residual = match then {
        Then::Add(residual) => Some(residual.contiguous()?),
        _ => None,
    };
    let y = {
        let x = Bf16::of(x)?;
        let weight = Bf16::of(weight)?;
        let bias = bias.map(Bf16::of).transpose()?;
        let residual = residual.as_ref().map(Bf16::of).transpose()?;
        if let (Then::Activate(activation), Some(bias)) = (then, &bias)
            && let Some(y) = hopper::product(
                device,
                &x.view()?,
                &weight.view()?,
                &bias.view()?,
                activation,
                (rows, inputs, outputs),
            )?
        {
            return Ok(Some(tensor(device, y, (rows, outputs))));
        }
        let mut y = fresh::<bf16>(device, rows * outputs)?;
        blas::product(
            device,
            &x.view()?,
            &weight.view()?,
            bias.as_ref().map(Bf16::view).transpose()?.as_ref(),
            residual.as_ref().map(Bf16::view).transpose()?.as_ref(),
            &mut y,
            (rows, inputs, outputs),
        )?;
        if let Then::Activate(activation) = then
            && let Some(kind) = kind_of(activation)
        {
            let eights = (rows * outputs / EIGHT) as i64;
            let kernel = device.get_or_load_custom_func("activate", "bridgetower", KERNELS)?;
            let mut launch = kernel.builder();
            launch.arg(&y).arg(&eights).arg(&kind);
            run(
                launch,
                ((eights as u32).div_ceil(256).min(1 << 16), 1, 1),
                256,
            )?;
        }
        y
    };
    Ok(Some(tensor(device, y, (rows, outputs))))
}

/// The number of an activation in `kernels.cu`.
fn kind_of(activation: Activation) -> Option<i32> {
    Some(match activation {
        Activation::Gelu => 0,
        Activation::GeluTanh => 1,
        Activation::QuickGelu => 2,
        Activation::Relu => 3,
        Activation::Silu => 4,
        Activation::Tanh => 5,
        Activation::Sigmoid => 6,
        Activation::Linear => return None,
    })
}

/// As `attention::attend`, for heads that are 64 wide.
pub(crate) fn attend(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    heads: usize,
    mask: Option<&Tensor>,
) -> Result<Option<Tensor>> {
    const WIDTH: usize = 64;
    let Some(device) = applies(&[q, k, v]) else {
        return Ok(None);
    };
    let ((q_own, queries, width), (own, keys, same)) = (q.dims3()?, k.dims3()?);
    let members = q_own.max(own);
    let fits = |rows: usize| rows == 1 || rows == members;
    let mask = mask
        .map(|mask| mask.to_dtype(DType::F32)?.contiguous())
        .transpose()?;
    let mask_fits = match &mask {
        None => true,
        Some(mask) => {
            let (rows, columns) = mask.dims2()?;
            fits(rows) && columns == keys
        }
    };
    if width != heads * WIDTH
        || same != width
        || v.dims() != k.dims()
        || !fits(q_own)
        || !fits(own)
        || !mask_fits
        || queries == 0
        || keys == 0
        || members > u16::MAX as usize
    {
        return Ok(None);
    }
    let (Some(q), Some(k), Some(v)) = (Rows::of(q)?, Rows::of(k)?, Rows::of(v)?) else {
        return Ok(None);
    };
    if mask.is_none()
        && let Some(y) = hopper::attend(device, [&q, &k, &v], (members, queries, keys, heads))?
    {
        return Ok(Some(tensor(device, y, (members, queries, width))));
    }
    let y = fresh::<bf16>(device, members * queries * width)?;
    {
        let (q_view, k_view, v_view) = (q.values.view()?, k.values.view()?, v.values.view()?);
        let mask_values = mask.as_ref().map(Values::<f32>::of).transpose()?;
        let mask_view = mask_values.as_ref().map(Values::view).transpose()?;
        let mask_batch = match &mask {
            Some(mask) if mask.dim(0)? > 1 => keys as i32,
            _ => 0,
        };
        let none = 0u64;
        let (queries_, keys_) = (queries as i32, keys as i32);
        let scale = 1.0 / (WIDTH as f32).sqrt();
        let kernel = device.get_or_load_custom_func("attention_64", "bridgetower", KERNELS)?;
        let mut launch = kernel.builder();
        launch.arg(&q_view).arg(&k_view).arg(&v_view);
        match &mask_view {
            Some(mask) => launch.arg(mask),
            None => launch.arg(&none),
        };
        launch.arg(&y).arg(&queries_).arg(&keys_);
        launch.arg(&q.row).arg(&q.batch);
        launch.arg(&k.row).arg(&k.batch);
        launch.arg(&v.row).arg(&v.batch);
        launch.arg(&mask_batch).arg(&scale);
        let grid = (queries.div_ceil(64) as u32, heads as u32, members as u32);
        run(launch, grid, 128)?;
    }
    Ok(Some(tensor(device, y, (members, queries, width))))
}

/// As `LayerNorm::forward`.
pub(crate) fn layer_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    eps: f32,
) -> Result<Option<Tensor>> {
    let Some(device) = applies(&[x, weight, bias]) else {
        return Ok(None);
    };
    let width = weight.elem_count();
    let rows = x.elem_count() / width.max(1);
    if !width.is_multiple_of(EIGHT) || width > 2048 || rows == 0 || !x.is_contiguous() {
        return Ok(None);
    }
    let y = fresh::<bf16>(device, rows * width)?;
    {
        let (x, weight, bias) = (Bf16::of(x)?, Bf16::of(weight)?, Bf16::of(bias)?);
        let (x, weight, bias) = (x.view()?, weight.view()?, bias.view()?);
        let (rows_, width_) = (rows as i32, width as i32);
        let kernel = device.get_or_load_custom_func("layer_norm", "bridgetower", KERNELS)?;
        let mut launch = kernel.builder();
        launch.arg(&x).arg(&weight).arg(&bias).arg(&y);
        launch.arg(&rows_).arg(&width_).arg(&eps);
        run(launch, (rows.div_ceil(4) as u32, 1, 1), 128)?;
    }
    Ok(Some(tensor(device, y, x.shape())))
}

/// Pictures [B, 3, S, S] in f32 to rows of patches [B, grid², 3 patch²] in bf16.
pub(crate) fn patches(pixels: &Tensor, grid: usize, patch: usize) -> Result<Option<Tensor>> {
    let Device::Cuda(device) = pixels.device() else {
        return Ok(None);
    };
    let (members, channels, side, _) = pixels.dims4()?;
    if pixels.dtype() != DType::F32
        || !pixels.is_contiguous()
        || channels != 3
        || !patch.is_multiple_of(2)
        || grid * patch > side
        || members == 0
    {
        return Ok(None);
    }
    let inputs = 3 * patch * patch;
    let rows = fresh::<bf16>(device, members * grid * grid * inputs)?;
    {
        let pixels = Values::<f32>::of(pixels)?;
        let pixels = pixels.view()?;
        let pairs = (members * grid * grid * inputs / 2) as i64;
        let (side, grid_, patch_) = (side as i32, grid as i32, patch as i32);
        let kernel = device.get_or_load_custom_func("patches", "bridgetower", KERNELS)?;
        let mut launch = kernel.builder();
        launch.arg(&pixels).arg(&rows).arg(&side);
        launch.arg(&grid_).arg(&patch_).arg(&pairs);
        run(launch, ((pairs as u64).div_ceil(256) as u32, 1, 1), 256)?;
    }
    Ok(Some(tensor(device, rows, (members, grid * grid, inputs))))
}

/// The class token `class` [1, 1, D] and `projected` [B, P, D] + `positions` [1, P, D], as [B, P + 1, D].
pub(crate) fn first_rows(
    class: &Tensor,
    projected: &Tensor,
    positions: &Tensor,
) -> Result<Option<Tensor>> {
    let Some(device) = applies(&[class, projected, positions]) else {
        return Ok(None);
    };
    let (members, patches, width) = projected.dims3()?;
    if !width.is_multiple_of(EIGHT)
        || class.elem_count() != width
        || positions.elem_count() != patches * width
        || [class, projected, positions]
            .iter()
            .any(|x| !x.is_contiguous())
        || members == 0
    {
        return Ok(None);
    }
    let tokens = patches + 1;
    let x = fresh::<bf16>(device, members * tokens * width)?;
    {
        let (class, projected, positions) =
            (Bf16::of(class)?, Bf16::of(projected)?, Bf16::of(positions)?);
        let (class, projected, positions) = (class.view()?, projected.view()?, positions.view()?);
        let (tokens, eights) = (tokens as i32, (width / EIGHT) as i32);
        let all = (members * tokens as usize * width / EIGHT) as i64;
        let kernel = device.get_or_load_custom_func("first_rows", "bridgetower", KERNELS)?;
        let mut launch = kernel.builder();
        launch.arg(&class).arg(&projected).arg(&positions).arg(&x);
        launch.arg(&tokens).arg(&eights).arg(&all);
        run(launch, ((all as u64).div_ceil(256) as u32, 1, 1), 256)?;
    }
    Ok(Some(tensor(device, x, (members, tokens, width))))
}

/// The GPU, when all of `tensors` are bf16 on one that has bf16's instructions.
fn applies<'a>(tensors: &[&'a Tensor]) -> Option<&'a CudaDevice> {
    if tensors.iter().any(|x| x.dtype() != DType::BF16) {
        return None;
    }
    match tensors.first()?.device() {
        Device::Cuda(device) => Some(device),
        _ => None,
    }
}

/// A tensor's memory, locked for reading.
struct Values<'a, T> {
    storage: candle_core::StorageRef<'a>,
    layout: &'a Layout,
    kind: std::marker::PhantomData<T>,
}

type Bf16<'a> = Values<'a, bf16>;

impl<'a, T: CudaDType> Values<'a, T> {
    fn of(tensor: &'a Tensor) -> Result<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        Ok(Self {
            storage,
            layout,
            kind: std::marker::PhantomData,
        })
    }

    /// From the tensor's first value on.
    fn view(&self) -> Result<CudaView<'_, T>> {
        match &*self.storage {
            Storage::Cuda(storage) => Ok(storage
                .as_cuda_slice::<T>()?
                .slice(self.layout.start_offset()..)),
            _ => Err(candle_core::Error::Msg("not in a GPU's memory".to_owned()).into()),
        }
    }
}

/// [members, tokens, width] somewhere in a tensor's memory.
struct Rows<'a> {
    values: Bf16<'a>,
    members: usize,
    row: i32,
    /// 0 where the only member serves for all.
    batch: i64,
}

impl<'a> Rows<'a> {
    /// None where rows do not begin at multiples of 16 bytes or are not contiguous.
    fn of(tensor: &'a Tensor) -> Result<Option<Self>> {
        let values = Bf16::of(tensor)?;
        let (&[members, tokens, _], &[batch, row, last]) = (tensor.dims(), values.layout.stride())
        else {
            return Ok(None);
        };
        let aligned = |value: usize| value.is_multiple_of(EIGHT);
        if last != 1
            || (!aligned(row) && tokens > 1)
            || (!aligned(batch) && members > 1)
            || !aligned(values.layout.start_offset())
            || row > i32::MAX as usize
        {
            return Ok(None);
        }
        Ok(Some(Self {
            values,
            members,
            row: row as i32,
            batch: if members == 1 { 0 } else { batch as i64 },
        }))
    }
}

/// Memory that a kernel is about to fill.
#[expect(
    unsafe_code,
    reason = "memory of the GPU that is written before it is read"
)]
fn fresh<T: DeviceRepr>(
    device: &CudaDevice,
    length: usize,
) -> Result<candle_core::cuda_backend::cudarc::driver::CudaSlice<T>> {
    // SAFETY: every caller gives it to one kernel or product that writes all `length` values, and work on a
    // stream goes in order.
    Ok(unsafe { device.alloc::<T>(length)? })
}

fn tensor(
    device: &CudaDevice,
    values: candle_core::cuda_backend::cudarc::driver::CudaSlice<bf16>,
    shape: impl Into<Shape>,
) -> Tensor {
    let storage = CudaStorage::wrap_cuda_slice(values, device.clone());
    Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false)
}

fn run(call: LaunchArgs<'_>, grid_dim: (u32, u32, u32), threads: u32) -> Result<()> {
    let config = LaunchConfig {
        grid_dim,
        block_dim: (threads, 1, 1),
        shared_mem_bytes: 0,
    };
    launch(call, config)
}

#[expect(unsafe_code, reason = "kernels are launched by address")]
fn launch(mut call: LaunchArgs<'_>, config: LaunchConfig) -> Result<()> {
    // SAFETY: the callers, here and in `hopper.rs`, give each kernel the arguments of its signature, memory of the
    // sizes that its comment asks for (checked there), and grids that cover them; kernels bound-check the rest.
    unsafe { call.launch(config) }.w()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Exec;

    /// The first GPU. Without one, tests say so; tools/kernels runs the kernels on the processor.
    fn gpu() -> Option<Device> {
        match Exec::parse("cuda") {
            Ok(exec) => Some(exec.device),
            Err(error) => {
                eprintln!("skipped: {error}");
                None
            }
        }
    }

    /// Random bf16 values, on the GPU and the same in f32 on the processor.
    fn random(shape: impl Into<Shape>, gpu: &Device) -> (Tensor, Tensor) {
        let x = Tensor::randn(0f32, 1.0, shape, &Device::Cpu).unwrap();
        let x = x.to_dtype(DType::BF16).unwrap();
        (x.to_device(gpu).unwrap(), x.to_dtype(DType::F32).unwrap())
    }

    /// `|got - expected| / |expected|`, about 2e-3 where only the result is rounded to bf16.
    fn error(got: &Tensor, expected: &Tensor) -> f32 {
        let got = got.to_device(&Device::Cpu).unwrap();
        let got = got.to_dtype(DType::F32).unwrap();
        assert_eq!(got.dims(), expected.dims());
        let norm = |x: Tensor| {
            let sum = x.sqr().unwrap().sum_all().unwrap();
            sum.to_scalar::<f32>().unwrap().sqrt()
        };
        norm((got - expected).unwrap()) / norm(expected.clone())
    }

    #[test]
    fn a_product_with_what_follows_is_the_plain_one() {
        let Some(gpu) = gpu() else { return };
        for (rows, inputs, outputs) in [
            (1, 64, 64),
            (17, 192, 576),
            (2600, 768, 3072),
            (4099, 192, 768),
        ] {
            let (x, x_plain) = random((rows, inputs), &gpu);
            let (weight, weight_plain) = random((outputs, inputs), &gpu);
            let (bias, bias_plain) = random(outputs, &gpu);
            let (residual, residual_plain) = random((rows, outputs), &gpu);
            let plain = x_plain.matmul(&weight_plain.t().unwrap()).unwrap();
            let biased = plain.broadcast_add(&bias_plain).unwrap();
            // Twice: the second time the kernel is known.
            for _ in 0..2 {
                for (bias, then, expected) in [
                    (None, Then::Nothing, plain.clone()),
                    (Some(&bias), Then::Nothing, biased.clone()),
                    (
                        Some(&bias),
                        Then::Activate(Activation::QuickGelu),
                        crate::ops::activation::activate(&biased, Activation::QuickGelu).unwrap(),
                    ),
                    (
                        Some(&bias),
                        Then::Activate(Activation::Gelu),
                        crate::ops::activation::activate(&biased, Activation::Gelu).unwrap(),
                    ),
                    (
                        Some(&bias),
                        Then::Add(&residual),
                        (&biased + &residual_plain).unwrap(),
                    ),
                ] {
                    let got = linear(&x, &weight, bias, then).unwrap().unwrap();
                    let off = error(&got, &expected);
                    assert!(off < 5e-3, "{rows} x {inputs} x {outputs}: {off}");
                }
            }
        }
    }

    #[test]
    fn attention_is_the_plain_one() {
        let Some(gpu) = gpu() else { return };
        for (bq, bk, tq, tk, heads) in [
            (1, 1, 1, 1, 1),
            (2, 2, 325, 325, 12),
            (3, 3, 442, 442, 2),
            (1, 1, 130, 700, 2),
            (2, 2, 40, 113, 3),
            (1, 3, 12, 130, 3),
            (3, 1, 65, 17, 2),
        ] {
            let width = 64 * heads;
            let (wide, wide_plain) = random((bq, tq + 2, 3 * width), &gpu);
            let (both, both_plain) = random((bk, tk, 2 * width), &gpu);
            let batch = bq.max(bk);
            let mask: Vec<f32> = (0..batch * tk)
                .map(|i| if i % tk > tk / 2 { f32::MIN } else { 0.0 })
                .collect();
            let mask = Tensor::from_vec(mask, (batch, tk), &Device::Cpu).unwrap();
            for masked in [false, true] {
                let run = |wide: &Tensor, both: &Tensor, mask: &Tensor| {
                    let q = wide.narrow(2, width, width).unwrap();
                    let q = q.narrow(1, 0, tq).unwrap();
                    let k = both.narrow(2, 0, width).unwrap();
                    let v = both.narrow(2, width, width).unwrap();
                    let mask = mask.to_device(wide.device()).unwrap();
                    let mask = masked.then_some(&mask);
                    match wide.device() {
                        Device::Cpu => crate::ops::attention::attend(&q, &k, &v, heads, mask),
                        _ => attend(&q, &k, &v, heads, mask).map(Option::unwrap),
                    }
                    .unwrap()
                };
                let off = error(
                    &run(&wide, &both, &mask),
                    &run(&wide_plain, &both_plain, &mask),
                );
                assert!(off < 1e-2, "{bq} {bk} {tq} {tk} {heads} {masked}: {off}");
            }
        }
    }

    #[test]
    fn layer_norm_is_the_plain_one() {
        let Some(gpu) = gpu() else { return };
        for (rows, width) in [(1, 8), (5, 192), (3 * 325, 768), (7, 1024)] {
            let (x, x_plain) = random((rows, width), &gpu);
            let (weight, weight_plain) = random(width, &gpu);
            let (bias, bias_plain) = random(width, &gpu);
            let got = layer_norm(&x, &weight, &bias, 1e-5).unwrap().unwrap();
            let expected =
                candle_nn::ops::layer_norm(&x_plain, &weight_plain, &bias_plain, 1e-5).unwrap();
            let off = error(&got, &expected);
            assert!(off < 5e-3, "{rows} x {width}: {off}");
        }
    }

    #[test]
    fn what_a_kernel_cannot_take_is_left_to_the_plain_form() {
        let Some(gpu) = gpu() else { return };
        let (x, _) = random((3, 12), &gpu);
        let (weight, _) = random((16, 12), &gpu);
        assert!(linear(&x, &weight, None, Then::Nothing).unwrap().is_none());
        let (q, _) = random((1, 5, 96), &gpu);
        assert!(attend(&q, &q, &q, 3, None).unwrap().is_none());
        let f32s = x.to_dtype(DType::F32).unwrap();
        assert!(layer_norm(&f32s, &f32s, &f32s, 1e-5).unwrap().is_none());
    }
}
