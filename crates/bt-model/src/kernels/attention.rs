//! Attention of several heads, each read where its columns stand; a few queries' scores stay in the cache.

use rayon::prelude::*;

use super::math::exponentials;
use super::out::{Number, Out, filled};
use super::pack::{Format, Packed};
use super::product::{Follow, multiply};
use super::rows::{Matrix, Rows, Values};
use super::scratch::Scratch;
use super::{Level, On, vectorised};

/// [batch, tokens, width] somewhere in memory, the last axis contiguous.
#[derive(Clone, Copy)]
pub(crate) struct States<'a> {
    pub(crate) values: Values<'a>,
    pub(crate) batch: usize,
    pub(crate) tokens: usize,
    pub(crate) width: usize,
    pub(crate) batch_stride: usize,
    pub(crate) row_stride: usize,
}

impl<'a> States<'a> {
    /// Columns of member `b`; the only member serves for all.
    fn columns(&self, level: Level, b: usize, first: usize, width: usize) -> Matrix<'a> {
        let start = (b % self.batch) * self.batch_stride + first;
        let values = match self.values {
            Values::F32(values) => Values::F32(&values[start..]),
            Values::Bf16(values) => Values::Bf16(&values[start..]),
        };
        Matrix::new(level, values, self.tokens, width, self.row_stride)
    }
}

/// Queries whose scores are there together.
const QUERIES: usize = 96;

/// Products that are worth waking a thread for.
const WORTH_A_THREAD: usize = 1 << 18;

/// `softmax(q kᵀ / sqrt(d) + mask) v` for each of `heads`, side by side: [batch, queries, width]. A batch of 1 on
/// either side serves every member of the other; `mask`: a row, or one a member, added to the scores of each key.
///
/// # Panics
/// When shapes do not go together, or a matrix leaves its memory.
pub(crate) fn attend<T: Number>(
    format: Format,
    level: Level,
    states: [States<'_>; 3],
    heads: usize,
    mask: Option<&[Vec<f32>]>,
) -> Vec<T> {
    let [q, k, _] = states;
    assert!(q.width.is_multiple_of(heads), "whole heads");
    let rows = q.batch.max(k.batch) * q.tokens;
    #[expect(unsafe_code, reason = "memory that is not cleared")]
    // SAFETY: each row is of one member, each column of one head, and a head writes all of its part.
    unsafe {
        filled(rows, q.width, |out| {
            let members = out.split_rows(q.tokens);
            let parts = members
                .into_iter()
                .flat_map(|out| out.split_columns(q.width / heads))
                .collect();
            attend_into(format, level, states, heads, mask, parts);
        })
    }
}

/// One part of the result a head of a member, in order.
fn attend_into(
    format: Format,
    level: Level,
    [q, k, v]: [States<'_>; 3],
    heads: usize,
    mask: Option<&[Vec<f32>]>,
    parts: Vec<Out<'_>>,
) {
    let batch = q.batch.max(k.batch);
    let (queries, width) = (q.tokens, q.width / heads);
    let scale = vec![1.0 / (width as f32).sqrt(); width];
    let head = |(task, out): (usize, Out<'_>)| {
        let (b, first) = (task / heads, task % heads * width);
        let mask = mask.map(|mask| mask[b % mask.len()].as_slice());
        let keys = Packed::from_rows(format, k.columns(level, b, first, width), On::ThisThread);
        let values = Packed::from_columns(format, v.columns(level, b, first, width));
        let q = q.columns(level, b, first, width);
        let mut scores = Scratch::of::<f32>(QUERIES.min(queries) * k.tokens);
        let mut inverse = [0f32; QUERIES];
        for (at, out) in out.split_rows(QUERIES).into_iter().enumerate() {
            let rows = at * QUERIES..queries.min((at + 1) * QUERIES);
            let count = rows.len();
            let scores = &mut scores.of_mut::<f32>()[..count * k.tokens];
            let rows = Rows::prepare(format, q.part(rows), None, Some(&scale), On::ThisThread);
            let to = Out::new(scores, count, k.tokens, k.tokens);
            multiply(&rows, &keys, Follow::default(), to, On::ThisThread);
            exponentials_of_rows(level, scores, &mut inverse, k.tokens, mask);
            let scores = Matrix::new(level, Values::F32(scores), count, k.tokens, k.tokens);
            let rows = Rows::prepare(format, scores, None, None, On::ThisThread);
            let follow = Follow {
                row_scale: Some(&inverse[..count]),
                ..Follow::default()
            };
            multiply(&rows, &values, follow, out, On::ThisThread);
        }
    };
    if batch * queries * k.tokens * q.width >= WORTH_A_THREAD {
        parts.into_par_iter().enumerate().for_each(head);
    } else {
        parts.into_iter().enumerate().for_each(head);
    }
}

vectorised! {
    fn exponentials_of_rows(
        scores: &mut [f32],
        inverse: &mut [f32],
        keys: usize,
        mask: Option<&[f32]>,
    ) {
        for (row, inverse) in scores.chunks_mut(keys).zip(inverse) {
            *inverse = exponentials::<FMA>(row, mask);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(2_654_435_761) | 1;
        let number = |_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as f32 / u32::MAX as f32 * 4.0 - 2.0
        };
        (0..count).map(number).collect()
    }

    /// One member, as the formula says it.
    fn plain(
        q: &[f32],
        k: &[f32],
        v: &[f32],
        width: usize,
        heads: usize,
        mask: &[f32],
    ) -> Vec<f64> {
        let head = width / heads;
        let mut out = Vec::new();
        for q in q.chunks(width) {
            for c in 0..width {
                let own = c / head * head..(c / head + 1) * head;
                let mut sums = (0.0, 0.0);
                for ((k, v), mask) in k.chunks(width).zip(v.chunks(width)).zip(mask) {
                    let both = q[own.clone()].iter().zip(&k[own.clone()]);
                    let dot: f64 = both.map(|(a, b)| f64::from(a * b)).sum();
                    let weight = (dot / (head as f64).sqrt() + f64::from(*mask)).exp();
                    sums = (sums.0 + weight * f64::from(v[c]), sums.1 + weight);
                }
                out.push(sums.0 / sums.1);
            }
        }
        out
    }

    #[test]
    fn every_level_and_format_gives_what_the_formula_says() {
        for (queries, keys, head, heads) in [
            (1, 1, 5, 2),
            (7, 33, 33, 3),
            (97, 65, 64, 2),
            (2, 325, 16, 1),
        ] {
            let width = head * heads;
            let (q, k, v) = (
                numbers(queries * width, 1),
                numbers(keys * width, 2),
                numbers(keys * width, 3),
            );
            let mask: Vec<f32> = (0..keys)
                .map(|key| if key % 5 == 4 { -1e9 } else { 0.0 })
                .collect();
            let expected = plain(&q, &k, &v, width, heads, &mask);
            let masks = [mask];
            let states = |values, tokens| States {
                values: Values::F32(values),
                batch: 1,
                tokens,
                width,
                batch_stride: tokens * width,
                row_stride: width,
            };
            for level in Level::available() {
                for (format, near) in [
                    (Format::F32, 2e-5),
                    (Format::Split, 2e-5),
                    (Format::Bf16, 4e-2),
                ] {
                    let all = [states(&q, queries), states(&k, keys), states(&v, keys)];
                    let got: Vec<f32> = attend(format, level, all, heads, Some(&masks));
                    assert_eq!(got.len(), expected.len());
                    for (place, (got, expected)) in got.iter().zip(&expected).enumerate() {
                        let off = (f64::from(*got) - expected).abs();
                        assert!(
                            off < near,
                            "{format:?} {level:?} {queries} x {keys} x {head}, {place}: {got}, {expected}"
                        );
                    }
                }
            }
        }
    }
}
