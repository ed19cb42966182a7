//! Scaled dot-product attention over several heads: the plain form, and one for the processor that reads
//! queries, keys and values where they stand.

use candle_core::{CpuStorage, CustomOp3, D, Device, Layout, Shape, Tensor};

use crate::error::Result;
use crate::kernels::Level;
use crate::kernels::attention::{self as kernel, States};
use crate::kernels::pack::Format;
use crate::kernels::rows::Values;
use crate::ops::cuda;

/// `softmax(q kᵀ / sqrt(d) + mask) v` for each head, heads side by side: [B, Tq, D].
///
/// `q`: [Bq, Tq, D]; `k`, `v`: [Bk, Tk, D]; a batch of 1 serves every member of the other. `mask`: [1 or B, Tk],
/// added to the scores: 0 where a key is read, the lowest number where it is padding.
pub(crate) fn attend(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    heads: usize,
    mask: Option<&Tensor>,
) -> Result<Tensor> {
    if let Device::Cpu = q.device() {
        let mask = mask.map(Tensor::to_vec2).transpose()?;
        return Ok(q.apply_op3_no_bwd(k, v, &Heads { heads, mask })?);
    }
    match cuda::attend(q, k, v, heads, mask)? {
        Some(y) => Ok(y),
        None => plain(q, k, v, heads, mask),
    }
}

fn plain(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    heads: usize,
    mask: Option<&Tensor>,
) -> Result<Tensor> {
    let probabilities = probabilities(q, k, heads, mask)?;
    let batch = probabilities.dim(0)?;
    let v = split_heads(v, heads, batch)?;
    let (_, tokens, width) = q.dims3()?;
    let y = probabilities.matmul(&v)?; // [B, h, Tq, d]
    Ok(y.transpose(1, 2)?.reshape((batch, tokens, width))?)
}

/// The attention of each query over the keys: [B, heads, Tq, Tk], rows summing to 1.
pub(crate) fn probabilities(
    q: &Tensor,
    k: &Tensor,
    heads: usize,
    mask: Option<&Tensor>,
) -> Result<Tensor> {
    let batch = q.dim(0)?.max(k.dim(0)?);
    let scale = 1.0 / ((q.dim(D::Minus1)? / heads) as f64).sqrt();
    let q = split_heads(&(q * scale)?, heads, batch)?;
    let k = split_heads(k, heads, batch)?;
    let scores = q.matmul(&k.t()?)?;
    let scores = match mask {
        Some(mask) => {
            let mask = mask.to_dtype(scores.dtype())?;
            scores.broadcast_add(&mask.unsqueeze(1)?.unsqueeze(1)?)?
        }
        None => scores,
    };
    Ok(candle_nn::ops::softmax_last_dim(&scores)?)
}

/// [1 or B, T, D] to [B, heads, T, D / heads].
fn split_heads(x: &Tensor, heads: usize, batch: usize) -> Result<Tensor> {
    let (own, tokens, width) = x.dims3()?;
    let x = x
        .reshape((own, tokens, heads, width / heads))?
        .transpose(1, 2)?;
    let x = if own == batch {
        x
    } else {
        x.broadcast_as((batch, heads, tokens, width / heads))?
    };
    Ok(x.contiguous()?)
}

/// Scores of a head that are worth bringing keys and values into another form.
const MANY_SCORES: usize = 64 * 64;

/// The form for the processor.
struct Heads {
    heads: usize,
    mask: Option<Vec<Vec<f32>>>,
}

impl CustomOp3 for Heads {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (q, k, v) = (
            states(q, q_layout)?,
            states(k, k_layout)?,
            states(v, v_layout)?,
        );
        let batch = q.batch.max(k.batch);
        let fits = |rows: usize| rows == 1 || rows == batch;
        if q.width != k.width
            || k.width != v.width
            || k.tokens != v.tokens
            || k.batch != v.batch
            || !fits(q.batch)
            || !fits(k.batch)
            || self.heads == 0
            || !q.width.is_multiple_of(self.heads)
        {
            candle_core::bail!(
                "attention of {:?} over {:?} and {:?}",
                q_layout.shape(),
                k_layout.shape(),
                v_layout.shape()
            );
        }
        if let Some(mask) = &self.mask
            && (!fits(mask.len()) || mask.iter().any(|row| row.len() != k.tokens))
        {
            candle_core::bail!(
                "a mask of another shape than the keys {:?}",
                k_layout.shape()
            );
        }
        let level = Level::best();
        let shape = (batch, q.tokens, q.width).into();
        let (all, mask) = ([q, k, v], self.mask.as_deref());
        // Short numbers are only faster where the processor multiplies them as they are.
        let format = match q.values {
            Values::Bf16(_) if level >= Level::Avx512Bf16 => Format::Bf16,
            _ if q.tokens * k.tokens >= MANY_SCORES => Format::exact_for_many(level),
            _ => Format::F32,
        };
        let storage = match q.values {
            Values::F32(_) => CpuStorage::F32(kernel::attend(format, level, all, self.heads, mask)),
            Values::Bf16(_) => {
                CpuStorage::BF16(kernel::attend(format, level, all, self.heads, mask))
            }
        };
        Ok((storage, shape))
    }
}

/// [batch, tokens, width] where it stands in a tensor's memory.
fn states<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<States<'a>> {
    let (&[batch, tokens, width], &[batch_stride, row_stride, 1]) =
        (layout.dims(), layout.stride())
    else {
        candle_core::bail!("rows of {:?} are not contiguous", layout.shape());
    };
    let start = layout.start_offset();
    Ok(States {
        values: match storage {
            CpuStorage::F32(data) => Values::F32(data.get(start..).unwrap_or_default()),
            CpuStorage::BF16(data) => Values::Bf16(data.get(start..).unwrap_or_default()),
            _ => candle_core::bail!("f32 or bf16 is needed"),
        },
        batch,
        tokens,
        width,
        batch_stride,
        row_stride,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_for_the_processor_is_the_plain_one() {
        let random =
            |shape: (usize, usize, usize)| Tensor::randn(0f32, 1.0, shape, &Device::Cpu).unwrap();
        for (bq, bk, tq, tk, width, heads) in [
            (1, 1, 1, 1, 8, 2),
            (2, 2, 5, 9, 24, 3),
            (1, 3, 4, 17, 32, 1),
            (3, 1, 1, 65, 64, 4),
            (2, 2, 65, 65, 64, 1),
        ] {
            // As they stand in a stacked projection, and the first row alone.
            let wide = random((bq, tq + 2, 3 * width));
            let q = wide
                .narrow(2, width, width)
                .unwrap()
                .narrow(1, 0, tq)
                .unwrap();
            let kv = random((bk, tk, 2 * width));
            let (k, v) = (
                kv.narrow(2, 0, width).unwrap(),
                kv.narrow(2, width, width).unwrap(),
            );
            let batch = bq.max(bk);
            let mask: Vec<f32> = (0..batch * tk)
                .map(|i| if i % tk > tk / 2 { f32::MIN } else { 0.0 })
                .collect();
            let mask = Tensor::from_vec(mask, (batch, tk), &Device::Cpu).unwrap();
            for mask in [None, Some(&mask)] {
                let got = attend(&q, &k, &v, heads, mask).unwrap();
                let expected = plain(&q, &k, &v, heads, mask).unwrap();
                assert_eq!(got.dims(), [batch, tq, width]);
                let off = (got - expected)
                    .unwrap()
                    .abs()
                    .unwrap()
                    .max_all()
                    .unwrap()
                    .to_scalar::<f32>()
                    .unwrap();
                assert!(off < 1e-5, "{bq} {bk} {tq} {tk} {width} {heads}: {off}");
            }
        }
    }

    #[test]
    fn shapes_that_do_not_go_together_are_errors() {
        let zeros = |shape: (usize, usize, usize)| {
            Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu).unwrap()
        };
        for (q, k) in [((2, 3, 8), (3, 3, 8)), ((1, 3, 8), (1, 3, 16))] {
            assert!(attend(&zeros(q), &zeros(k), &zeros(k), 2, None).is_err());
        }
    }
}
