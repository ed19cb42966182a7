//! Exact nearest neighbours: every allowed row is compared, and recall is 1.
//!
//! The first pass reads 8-bit codes, half the bytes of the f16 vectors, and gives each row an interval in
//! which its score must lie; rows whose interval reaches the n-th best lower end are scored again from
//! the f16 vectors. The result is therefore the order that f16 vectors alone would give, bit for bit:
//!
//! With q = q' + e (q' the coded query) and x = x' + d (x' the coded row), Cauchy and Schwarz bound
//! |q.x - q'.x'| = |e.x' + q.d| by |e| |x'| + |q| |d|. The lengths |x'| and |d| are stored with the row's
//! scale; what f32 sums round is added.
//!
//! A query is coded twice. With 8 bits it is multiplied fastest, and nearly all rows are passed over by that, a
//! block at a time (`block`); the few that remain get their interval from 16 bits, of which nothing is lost
//! that matters. The graph over the same rows is in `graph`.

mod block;
mod shared;
mod shortlist;

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use bt_cpu::Level;
use half::f16;
use rayon::prelude::*;

use crate::bitset::Bitset;
use crate::dot;
use crate::error::{Error, Result};
use crate::scan::block::{BLOCK, Block, Group};
use crate::scan::shortlist::{Bar, Shortlist};

pub(crate) use shared::SharedScans;

/// Rows in a unit of parallel work: large enough that a thread streams through memory.
const ROWS_PER_TASK: usize = 8192;

/// What the first pass needs of a row besides its codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct RowScale {
    /// A code times this is the coded component.
    pub(crate) scale: f32,
    /// Length of the coded row.
    pub(crate) length: f32,
    /// Length of what coding lost.
    pub(crate) lost: f32,
}

/// Rows to search, as they lie in memory or in mapped files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix<'a> {
    /// Components of a row.
    pub(crate) dim: usize,
    /// `rows * dim`.
    pub(crate) vectors: &'a [f16],
    /// `rows * code_stride(dim)`.
    pub(crate) codes: &'a [i8],
    /// `rows`.
    pub(crate) scales: &'a [RowScale],
}

/// A row with its score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scored {
    pub(crate) score: f32,
    pub(crate) row: u32,
}

impl Eq for Scored {}

impl Ord for Scored {
    /// The better one is smaller: higher score first, then lower row.
    fn cmp(&self, other: &Self) -> Ordering {
        other
            .score
            .total_cmp(&self.score)
            .then(self.row.cmp(&other.row))
    }
}

impl PartialOrd for Scored {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The best `n` of what it is given.
#[derive(Debug)]
pub(crate) struct Best {
    n: usize,
    /// Worst on top.
    heap: BinaryHeap<Scored>,
}

impl Best {
    pub(crate) fn new(n: usize) -> Self {
        Self {
            n,
            heap: BinaryHeap::new(),
        }
    }

    pub(crate) fn offer(&mut self, scored: Scored) {
        if self.heap.len() < self.n {
            self.heap.push(scored);
        } else if let Some(mut worst) = self.heap.peek_mut()
            && scored < *worst
        {
            *worst = scored;
        }
    }

    /// The worst of `n`, once there are that many.
    pub(crate) fn worst(&self) -> Option<Scored> {
        (self.heap.len() >= self.n).then(|| self.heap.peek().copied())?
    }

    /// Best first.
    pub(crate) fn into_sorted(self) -> Vec<Scored> {
        self.heap.into_sorted_vec()
    }
}

/// Bytes from one row of codes to the next.
pub(crate) fn code_stride(dim: usize) -> usize {
    dim.next_multiple_of(dot::CODE_ALIGN)
}

/// Codes of one vector, padded, into `out`.
pub(crate) fn encode(vector: &[f16], out: &mut [i8]) -> RowScale {
    out.fill(0);
    if vector.iter().any(|x| !x.is_finite()) {
        // No bound holds: such a row is always scored exactly.
        return RowScale {
            lost: f32::NAN,
            ..RowScale::default()
        };
    }
    let largest = vector
        .iter()
        .map(|x| x.to_f32().abs())
        .fold(0.0f32, f32::max);
    if largest == 0.0 {
        return RowScale::default();
    }
    let scale = largest / 127.0;
    let (mut length, mut lost) = (0.0f64, 0.0f64);
    for (x, code) in vector.iter().zip(out) {
        let x = x.to_f32();
        *code = (x / scale).round().clamp(-127.0, 127.0) as i8;
        let coded = f64::from(scale) * f64::from(*code);
        length += coded * coded;
        lost += (f64::from(x) - coded).powi(2);
    }
    // Rounded up, so that the interval stays an upper bound in f32.
    RowScale {
        scale,
        length: (length.sqrt() as f32).next_up(),
        lost: (lost.sqrt() as f32).next_up(),
    }
}

/// A query's codes of one kind.
#[derive(Clone, Debug)]
struct Coded<T> {
    /// As many as a padded row has.
    codes: Vec<T>,
    /// A code times this is the coded component.
    scale: f32,
    /// Length of what coding lost.
    lost: f32,
}

impl<T: Default + Clone> Coded<T> {
    /// `vector` by codes up to `limit`, which `code` makes of floats.
    fn new(vector: &[f32], limit: f32, code: impl Fn(f32) -> T) -> Self {
        let largest = vector.iter().fold(0.0f32, |max, x| max.max(x.abs()));
        let scale = largest / limit;
        let mut codes = vec![T::default(); code_stride(vector.len())];
        let mut lost = 0.0f64;
        for (x, place) in vector.iter().zip(&mut codes) {
            let rounded = (x / scale).round().clamp(-limit, limit);
            *place = code(rounded);
            lost += (f64::from(*x) - f64::from(scale) * f64::from(rounded)).powi(2);
        }
        Self {
            codes,
            scale,
            lost: (lost.sqrt() as f32).next_up(),
        }
    }

    /// How far the score may be from what codes give, for a row of this length that lost so much.
    fn bound(&self, length: f32, lost: f32, rounding: f32) -> f32 {
        // The query's length is 1 up to rounding, which the last summand holds as well.
        self.lost * length + lost + rounding * (1.0 + (length + lost))
    }
}

/// A query that was checked, brought to unit length and coded.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    vector: Vec<f32>,
    coarse: Coded<i8>,
    fine: Coded<i16>,
    /// What summing `dim` products of unit vectors in f32 may round.
    rounding: f32,
}

impl Query {
    /// # Errors
    /// `BadVector` for another length than `dim`, for a value that is no number, and for the zero vector.
    pub(crate) fn new(vector: &[f32], dim: usize) -> Result<Self> {
        if vector.len() != dim {
            return Err(Error::BadVector(format!(
                "the query has {} components, the index {dim}",
                vector.len()
            )));
        }
        if let Some(at) = vector.iter().position(|x| !x.is_finite()) {
            return Err(Error::BadVector(format!(
                "component {at} of the query is {}",
                vector[at]
            )));
        }
        let length = vector
            .iter()
            .map(|&x| f64::from(x).powi(2))
            .sum::<f64>()
            .sqrt();
        if length == 0.0 {
            return Err(Error::BadVector("the query is the zero vector".into()));
        }
        let vector: Vec<f32> = vector
            .iter()
            .map(|&x| (f64::from(x) / length) as f32)
            .collect();
        Ok(Self {
            coarse: Coded::new(&vector, 127.0, |code| code as i8),
            fine: Coded::new(&vector, dot::fine_limit(dim) as f32, |code| code as i16),
            vector,
            // Each lane sums dim / 8 products, then three more levels; every step rounds by at most half
            // an epsilon of a partial sum that unit vectors keep near 1. Doubled for the first pass.
            rounding: (dim as f32 / 8.0 + 16.0) * f32::EPSILON,
        })
    }

    /// A stored row as the query; `None` for one that is no direction.
    pub(crate) fn of_row(matrix: &Matrix<'_>, row: usize) -> Option<Self> {
        let vector = matrix
            .vectors
            .get(row * matrix.dim..(row + 1) * matrix.dim)?;
        let vector: Vec<f32> = vector.iter().map(|x| x.to_f32()).collect();
        Self::new(&vector, matrix.dim).ok()
    }

    /// The score that counts; a damaged row that is not a number is the worst.
    pub(crate) fn exact(&self, matrix: &Matrix<'_>, row: usize, buffer: &mut Vec<f32>) -> f32 {
        let Some(vector) = matrix.vectors.get(row * matrix.dim..(row + 1) * matrix.dim) else {
            return -1.0;
        };
        let score = dot::exact(&self.vector, vector, buffer);
        if score.is_finite() { score } else { -1.0 }
    }

    /// The score by codes alone.
    pub(crate) fn approximate(&self, matrix: &Matrix<'_>, row: usize) -> f32 {
        let stride = self.fine.codes.len();
        match (
            matrix.codes.get(row * stride..(row + 1) * stride),
            matrix.scales.get(row),
        ) {
            (Some(codes), Some(scale)) => self.by_codes(codes, scale),
            _ => -1.0,
        }
    }

    fn by_codes(&self, codes: &[i8], scale: &RowScale) -> f32 {
        self.fine.scale * scale.scale * dot::fine_with_row(&self.fine.codes, codes) as f32
    }

    /// How far the score may be from [`Query::approximate`] for this row.
    fn bound(&self, row: &RowScale) -> f32 {
        self.fine.bound(row.length, row.lost, self.rounding)
    }
}

/// A scan that runs. Where several run there is work for all cores already, and each keeps to its own
/// thread: sharing one out costs more than it brings.
struct Running {
    alone: bool,
}

/// Scans of this process.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

impl Running {
    fn begin() -> Self {
        Self {
            alone: RUNNING.fetch_add(1, Relaxed) == 0,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Relaxed);
    }
}

/// What is looked for among the rows.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) query: Query,
    /// Rows that may be found.
    pub(crate) allowed: Arc<Bitset>,
    /// How many.
    pub(crate) n: usize,
}

/// The best of the allowed rows, best first, ties by row: exactly `min(n, allowed)`.
pub(crate) fn nearest(matrix: &Matrix<'_>, wanted: &Wanted) -> Vec<Scored> {
    let mut found = nearest_of_each(matrix, &[wanted]);
    found.pop().unwrap_or_default()
}

/// The same for several queries, in order, in one pass over the rows: each block is compared with all of
/// them while it is near, since reading rows takes longer than comparing them.
pub(crate) fn nearest_of_each(matrix: &Matrix<'_>, wanted: &[&Wanted]) -> Vec<Vec<Scored>> {
    let rows = wanted.iter().map(|wanted| wanted.allowed.rows()).max();
    let rows = rows.unwrap_or(0).min(matrix.scales.len());
    let running = Running::begin();
    let bars: Vec<Bar> = wanted.iter().map(|_| Bar::new()).collect();
    let begin = || -> Vec<Shortlist<'_>> {
        let each = wanted.iter().zip(&bars);
        each.map(|(wanted, bar)| Shortlist::new(wanted.n, bar))
            .collect()
    };
    let level = Level::best();
    let first_pass = match dot::together(level, wanted.len()) {
        16 => &first_pass::<16>(level, matrix, wanted) as FirstPass<'_>,
        4 => &first_pass::<4>(level, matrix, wanted),
        _ => &first_pass::<1>(level, matrix, wanted),
    };
    let pass = |mut shortlists: Vec<_>, task: usize| {
        let start = task * ROWS_PER_TASK;
        let end = (start + ROWS_PER_TASK).min(rows);
        first_pass(start..end, &mut shortlists);
        shortlists
    };
    let tasks = 0..rows.div_ceil(ROWS_PER_TASK);
    let shared = running.alone && tasks.len() > 1;
    let shortlists = if shared {
        let merge = |some: Vec<_>, others: Vec<_>| {
            let pairs = some.into_iter().zip(others);
            pairs
                .map(|(one, other)| Shortlist::merge(one, other))
                .collect()
        };
        tasks.into_par_iter().fold(begin, pass).reduce(begin, merge)
    } else {
        tasks.fold(begin(), pass)
    };
    let each = wanted.iter().zip(shortlists);
    each.map(|(wanted, shortlist)| {
        let rows = shortlist.into_rows();
        if shared {
            rescore(matrix, &wanted.query, rows.collect(), wanted.n)
        } else {
            score(matrix, &wanted.query, rows, wanted.n).into_sorted()
        }
    })
    .collect()
}

/// Exact scores of these rows, by all threads; the best `n`, best first.
pub(crate) fn rescore(matrix: &Matrix<'_>, query: &Query, rows: Vec<u32>, n: usize) -> Vec<Scored> {
    const ROWS_AT_LEAST: usize = 512;
    let scored = |rows: &[u32]| score(matrix, query, rows.iter().copied(), n);
    if rows.len() <= ROWS_AT_LEAST {
        return scored(&rows).into_sorted();
    }
    let parts = rows.par_chunks(ROWS_AT_LEAST).map(scored);
    let all = parts.reduce(
        || Best::new(n),
        |mut best, other| {
            for scored in other.heap {
                best.offer(scored);
            }
            best
        },
    );
    all.into_sorted()
}

fn score(matrix: &Matrix<'_>, query: &Query, rows: impl Iterator<Item = u32>, n: usize) -> Best {
    let (mut best, mut buffer) = (Best::new(n), Vec::new());
    for row in rows {
        let score = query.exact(matrix, row as usize, &mut buffer);
        best.offer(Scored { score, row });
    }
    best
}

/// Offers each query's shortlist what may be among its best of these rows.
type FirstPass<'a> = &'a (dyn Fn(std::ops::Range<usize>, &mut [Shortlist<'_>]) + Sync);

/// `G` queries at a time, while a block of rows is near.
fn first_pass<const G: usize>(
    level: Level,
    matrix: &Matrix<'_>,
    wanted: &[&Wanted],
) -> impl Fn(std::ops::Range<usize>, &mut [Shortlist<'_>]) + Sync {
    let stride = code_stride(matrix.dim);
    let groups: Vec<Group<'_, G>> = wanted
        .chunks(G)
        .map(|wanted| Group::new(level, stride, wanted))
        .collect();
    move |rows, shortlists| {
        for start in rows.clone().step_by(BLOCK) {
            let end = (start + BLOCK).min(rows.end);
            let (Some(codes), Some(scales)) = (
                matrix.codes.get(start * stride..end * stride),
                matrix.scales.get(start..end),
            ) else {
                return;
            };
            let block = Block::new(start, codes, scales);
            for (group, shortlists) in groups.iter().zip(shortlists.chunks_mut(G)) {
                group.offer(&block, shortlists);
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
