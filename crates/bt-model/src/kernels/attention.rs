//! Attention of several heads, each read where its columns stand; a few queries' scores stay in the cache.

use rayon::prelude::*;

use super::math::softmax;
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
        for (at, out) in out.split_rows(QUERIES).into_iter().enumerate() {
            let rows = at * QUERIES..queries.min((at + 1) * QUERIES);
            let count = rows.len();
            let scores = &mut scores.of_mut::<f32>()[..count * k.tokens];
            let rows = Rows::prepare(format, q.part(rows), None, Some(&scale), On::ThisThread);
            let to = Out::new(scores, count, k.tokens, k.tokens);
            multiply(&rows, &keys, Follow::default(), to, On::ThisThread);
            softmax_rows(level, scores, k.tokens, mask);
            let scores = Matrix::new(level, Values::F32(scores), count, k.tokens, k.tokens);
            let rows = Rows::prepare(format, scores, None, None, On::ThisThread);
            multiply(&rows, &values, Follow::default(), out, On::ThisThread);
        }
    };
    if batch * queries * k.tokens * q.width >= WORTH_A_THREAD {
        parts.into_par_iter().enumerate().for_each(head);
    } else {
        parts.into_iter().enumerate().for_each(head);
    }
}

vectorised! {
    fn softmax_rows(scores: &mut [f32], keys: usize, mask: Option<&[f32]>) {
        for row in scores.chunks_mut(keys) {
            softmax::<FMA>(row, mask);
        }
    }
}
