//! Exact nearest neighbours: every allowed row is compared, and recall is 1.
//!
//! The first pass reads 8-bit codes, half the bytes of the f16 vectors, and gives each row an interval in
//! which its score must lie; rows whose interval reaches the n-th best lower end are scored again from
//! the f16 vectors. The result is therefore the order that f16 vectors alone would give, bit for bit:
//!
//! With q = q' + e (q' the 16-bit query) and x = x' + d (x' the coded row), Cauchy and Schwarz bound
//! |q.x - q'.x'| = |e.x' + q.d| by |e| |x'| + |q| |d|. The lengths |x'| and |d| are stored with the row's
//! scale; what f32 sums round is added. The graph over the same rows is in `graph`.

mod shared;
mod shortlist;

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use half::f16;
use rayon::prelude::*;

use crate::bitset::Bitset;
use crate::dot::{self, QueryCodes};
use crate::error::{Error, Result};
use crate::scan::shortlist::{Bar, Shortlist};

pub(crate) use shared::SharedScans;

/// Rows in a unit of parallel work: large enough that a thread streams through memory.
const ROWS_PER_TASK: usize = 8192;

/// Rows that are compared with all queries of a pass while they are near; a word of a [`Bitset`].
const BLOCK: usize = 64;

/// A block is compared as a whole when at least this many of its rows are allowed.
const DENSE: u32 = 16;

/// Rows whose bounds are compared with the bar together.
const AT_A_TIME: usize = 8;

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

/// A query that was checked, brought to unit length and coded.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    vector: Vec<f32>,
    codes: QueryCodes,
    scale: f32,
    /// Length of what coding lost.
    lost: f32,
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
        let largest = vector.iter().fold(0.0f32, |max, x| max.max(x.abs()));
        let limit = dot::query_limit(dim) as f32;
        let scale = largest / limit;
        let mut codes = vec![0i16; code_stride(dim)];
        let mut lost = 0.0f64;
        for (x, code) in vector.iter().zip(&mut codes) {
            *code = (x / scale).round().clamp(-limit, limit) as i16;
            lost += (f64::from(*x) - f64::from(scale) * f64::from(*code)).powi(2);
        }
        Ok(Self {
            vector,
            codes: QueryCodes::new(codes),
            scale,
            lost: (lost.sqrt() as f32).next_up(),
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
        let stride = self.codes.len();
        match (
            matrix.codes.get(row * stride..(row + 1) * stride),
            matrix.scales.get(row),
        ) {
            (Some(codes), Some(scale)) => {
                self.scale * scale.scale * self.codes.with_row(codes) as f32
            }
            _ => -1.0,
        }
    }

    /// How far the score may be from what a row's code gives, for a row of this length that lost so much.
    fn bound(&self, length: f32, lost: f32) -> f32 {
        // The query's length is 1 up to rounding, which the last summand holds as well.
        self.lost * length + lost + self.rounding * (1.0 + (length + lost))
    }

    /// Offers what may be among the best of a block, of whose rows those with a bit in `word` are allowed.
    fn offer_block(
        &self,
        first_row: usize,
        word: u64,
        codes: &[i8],
        scales: &BlockScales,
        shortlist: &mut Shortlist<'_>,
    ) {
        let mut dots = [0i32; BLOCK];
        let mut uppers = [0f32; BLOCK];
        if word.count_ones() >= DENSE {
            self.codes.with_rows(codes, &mut dots);
        } else {
            let sparse = codes.chunks_exact(self.codes.len()).zip(&mut dots);
            for (bit, (codes, dot)) in sparse.enumerate() {
                if word >> bit & 1 == 1 {
                    *dot = self.codes.with_row(codes);
                }
            }
        }
        let threshold = shortlist.threshold();
        for row in 0..BLOCK {
            uppers[row] = self.scale * scales.scale[row] * dots[row] as f32
                + self.bound(scales.length[row], scales.lost[row]);
        }
        // Nearly all rows fall below the bar, so they are passed over several at a time.
        for (place, uppers) in uppers.chunks(AT_A_TIME).enumerate() {
            if uppers
                .iter()
                .fold(true, |all, &upper| all & (upper < threshold))
            {
                continue;
            }
            for (bit, &upper) in (place * AT_A_TIME..scales.rows).zip(uppers) {
                // False for what is no number: such a row is kept.
                let is_below = upper < threshold;
                if word >> bit & 1 == 1 && !is_below {
                    let approximate = self.scale * scales.scale[bit] * dots[bit] as f32;
                    let bound = self.bound(scales.length[bit], scales.lost[bit]);
                    shortlist.offer((first_row + bit) as u32, approximate, bound);
                }
            }
        }
        shortlist.share();
    }
}

/// What the first pass needs of the rows of a block besides their codes, for all queries of a pass.
struct BlockScales {
    scale: [f32; BLOCK],
    length: [f32; BLOCK],
    lost: [f32; BLOCK],
    rows: usize,
}

impl BlockScales {
    /// At most [`BLOCK`] rows.
    fn of(scales: &[RowScale]) -> Self {
        let mut block = Self {
            scale: [0.0; BLOCK],
            length: [0.0; BLOCK],
            lost: [0.0; BLOCK],
            rows: scales.len(),
        };
        for (row, scale) in scales.iter().take(BLOCK).enumerate() {
            block.scale[row] = scale.scale;
            block.length[row] = scale.length;
            block.lost[row] = scale.lost;
        }
        block
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
    let pass = |mut shortlists: Vec<_>, task: usize| {
        let start = task * ROWS_PER_TASK;
        let end = (start + ROWS_PER_TASK).min(rows);
        first_pass(matrix, wanted, start..end, &mut shortlists);
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
    each.map(|(wanted, mut shortlist)| {
        shortlist.prune();
        let rows = shortlist.candidates.into_iter().map(|(_, row)| row);
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

fn first_pass(
    matrix: &Matrix<'_>,
    wanted: &[&Wanted],
    rows: std::ops::Range<usize>,
    shortlists: &mut [Shortlist<'_>],
) {
    let stride = code_stride(matrix.dim);
    for start in rows.clone().step_by(BLOCK) {
        let end = (start + BLOCK).min(rows.end);
        let (Some(codes), Some(scales)) = (
            matrix.codes.get(start * stride..end * stride),
            matrix.scales.get(start..end),
        ) else {
            return;
        };
        let scales = BlockScales::of(scales);
        for (Wanted { query, allowed, .. }, shortlist) in wanted.iter().zip(&mut *shortlists) {
            let word = allowed.word(start / BLOCK);
            if word != 0 {
                query.offer_block(start, word, codes, &scales, shortlist);
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
