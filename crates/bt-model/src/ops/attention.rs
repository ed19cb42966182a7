//! Scaled dot-product attention over several heads.

use candle_core::{D, Tensor};

use crate::error::Result;

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
        Some(mask) => scores.broadcast_add(&mask.unsqueeze(1)?.unsqueeze(1)?)?,
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
