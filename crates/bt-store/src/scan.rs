//! Exact nearest neighbours: every allowed row is compared, and recall is 1.
//!
//! The first pass reads 8-bit codes, half the bytes of the f16 vectors, and gives each row an interval in
//! which its score must lie; rows whose interval reaches the n-th best lower end are scored again from
//! the f16 vectors. The result is therefore the order that f16 vectors alone would give, bit for bit:
//!
//! With q = q' + e (q' the 16-bit query) and x = x' + d (x' the coded row), Cauchy and Schwarz bound
//! |q.x - q'.x'| = |e.x' + q.d| by |e| |x'| + |q| |d|. The lengths |x'| and |d| are stored with the row's
//! scale; what f32 sums round is added. The graph over the same rows is in `graph`.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicI32, AtomicUsize};

use half::f16;
use rayon::prelude::*;

use crate::bitset::Bitset;
use crate::dot::{self, QueryCodes};
use crate::error::{Error, Result};

/// Rows in a unit of parallel work: large enough that a thread streams through memory.
const ROWS_PER_TASK: usize = 8192;

/// A block of rows is compared as a whole when at least this many of its 64 are allowed.
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

    fn bound(&self, scale: &RowScale) -> f32 {
        // The query's length is 1 up to rounding, which the last summand holds as well.
        let length = scale.length + scale.lost;
        self.lost * scale.length + scale.lost + self.rounding * (1.0 + length)
    }
}

/// The highest n-th best lower end that any thread has found: what ends below it cannot be among the best of
/// all rows, so no thread needs to warm up alone.
struct Bar(AtomicI32);

impl Bar {
    fn new() -> Self {
        Self(AtomicI32::new(Self::key(f32::NEG_INFINITY)))
    }

    fn get(&self) -> f32 {
        f32::from_bits(Self::swap(self.0.load(Relaxed)) as u32)
    }

    fn raise(&self, to: f32) {
        self.0.fetch_max(Self::key(to), Relaxed);
    }

    /// Whole numbers in the order of the floats (that of `f32::total_cmp`).
    fn key(value: f32) -> i32 {
        Self::swap(value.to_bits() as i32)
    }

    /// Turns the order of negative numbers round; its own inverse.
    fn swap(bits: i32) -> i32 {
        bits ^ (((bits >> 31) as u32) >> 1) as i32
    }
}

/// Rows that may belong to the best `n`, found by one thread.
struct Shortlist<'a> {
    bar: &'a Bar,
    lower_ends: BinaryHeap<Reverse<Floor>>,
    /// Upper end and row.
    candidates: Vec<(f32, u32)>,
    n: usize,
    prune_at: usize,
}

/// A lower end, ordered.
#[derive(Clone, Copy, PartialEq)]
struct Floor(f32);

impl Eq for Floor {}

impl Ord for Floor {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Floor {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<'a> Shortlist<'a> {
    const SPARE: usize = 4096;

    fn new(n: usize, bar: &'a Bar) -> Self {
        Self {
            bar,
            lower_ends: BinaryHeap::new(),
            candidates: Vec::new(),
            n,
            prune_at: n.saturating_mul(2).saturating_add(Self::SPARE),
        }
    }

    /// Nothing that ends below this can be among the best.
    fn threshold(&self) -> f32 {
        self.own_threshold().max(self.bar.get())
    }

    fn own_threshold(&self) -> f32 {
        match self.lower_ends.peek() {
            Some(Reverse(Floor(lowest))) if self.lower_ends.len() >= self.n => *lowest,
            _ => f32::NEG_INFINITY,
        }
    }

    /// Tells the others how high the bar is.
    fn share(&self) {
        self.bar.raise(self.own_threshold());
    }

    fn offer(&mut self, row: u32, approximate: f32, bound: f32) {
        let threshold = self.threshold();
        let upper = approximate + bound;
        // A damaged scale may be no number: such a row is kept and scored exactly.
        if upper < threshold {
            return;
        }
        self.candidates.push((upper, row));
        let lower = approximate - bound;
        // What does not rise above the bar cannot raise it.
        if lower > threshold {
            self.raise(lower);
        }
        if self.candidates.len() >= self.prune_at {
            self.prune();
            self.prune_at = self.candidates.len() * 2 + Self::SPARE;
        }
    }

    fn raise(&mut self, lower: f32) {
        if lower.is_nan() {
            return;
        }
        if self.lower_ends.len() < self.n {
            self.lower_ends.push(Reverse(Floor(lower)));
        } else if let Some(mut lowest) = self.lower_ends.peek_mut()
            && lower > lowest.0.0
        {
            *lowest = Reverse(Floor(lower));
        }
    }

    fn prune(&mut self) {
        let threshold = self.threshold();
        self.candidates
            .retain(|&(upper, _)| upper >= threshold || upper.is_nan());
    }

    fn merge(mut self, other: Self) -> Self {
        self.candidates.extend(other.candidates);
        for Reverse(Floor(lower)) in other.lower_ends {
            self.raise(lower);
        }
        self
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

/// The best `n` of the allowed rows, best first, ties by row: exactly `min(n, allowed)`.
pub(crate) fn nearest(
    matrix: &Matrix<'_>,
    query: &Query,
    allowed: &Bitset,
    n: usize,
) -> Vec<Scored> {
    let rows = matrix.scales.len().min(allowed.rows());
    if n == 0 || rows == 0 {
        return Vec::new();
    }
    let running = Running::begin();
    let bar = Bar::new();
    let begin = || Shortlist::new(n, &bar);
    let pass = |mut shortlist, task: usize| {
        let start = task * ROWS_PER_TASK;
        let end = (start + ROWS_PER_TASK).min(rows);
        first_pass(matrix, query, allowed, start..end, &mut shortlist);
        shortlist
    };
    let tasks = 0..rows.div_ceil(ROWS_PER_TASK);
    let shared = running.alone && tasks.len() > 1;
    let mut shortlist = if shared {
        let parts = tasks.into_par_iter().fold(begin, pass);
        parts.reduce(begin, Shortlist::merge)
    } else {
        tasks.fold(begin(), pass)
    };
    shortlist.prune();
    let rows = shortlist.candidates.into_iter().map(|(_, row)| row);
    if shared {
        rescore(matrix, query, rows.collect(), n)
    } else {
        score(matrix, query, rows, n).into_sorted()
    }
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
    query: &Query,
    allowed: &Bitset,
    rows: std::ops::Range<usize>,
    shortlist: &mut Shortlist<'_>,
) {
    let stride = query.codes.len();
    let mut dots = [0i32; 64];
    let mut uppers = [0f32; 64];
    for start in rows.clone().step_by(64) {
        let end = (start + 64).min(rows.end);
        let word = allowed.word(start / 64);
        if word == 0 {
            continue;
        }
        let (Some(codes), Some(scales)) = (
            matrix.codes.get(start * stride..end * stride),
            matrix.scales.get(start..end),
        ) else {
            return;
        };
        if word.count_ones() >= DENSE {
            query.codes.with_rows(codes, &mut dots);
        } else {
            let sparse = codes.chunks_exact(stride).zip(&mut dots).enumerate();
            for (bit, (codes, dot)) in sparse {
                if word >> bit & 1 == 1 {
                    *dot = query.codes.with_row(codes);
                }
            }
        }
        let threshold = shortlist.threshold();
        for ((scale, dot), upper) in scales.iter().zip(dots).zip(&mut uppers) {
            *upper = query.scale * scale.scale * dot as f32 + query.bound(scale);
        }
        // Nearly all rows fall below the bar, so they are passed over several at a time.
        for (place, uppers) in uppers.chunks(AT_A_TIME).enumerate() {
            if uppers
                .iter()
                .fold(true, |all, &upper| all & (upper < threshold))
            {
                continue;
            }
            let first = place * AT_A_TIME;
            for bit in first..(first + AT_A_TIME).min(scales.len()) {
                if word >> bit & 1 == 1 {
                    let approximate = query.scale * scales[bit].scale * dots[bit] as f32;
                    let bound = query.bound(&scales[bit]);
                    shortlist.offer((start + bit) as u32, approximate, bound);
                }
            }
        }
        shortlist.share();
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A small generator, so that a failure can be repeated.
    pub(crate) struct Random(pub(crate) u64);

    impl Random {
        pub(crate) fn next(&mut self) -> u64 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let x = self.0 ^ (self.0 >> 33);
            x.wrapping_mul(0xff51_afd7_ed55_8ccd) ^ (x >> 29)
        }

        pub(crate) fn below(&mut self, n: usize) -> usize {
            (self.next() >> 11) as usize % n
        }

        /// Roughly normal.
        pub(crate) fn normal(&mut self) -> f32 {
            let sum: f32 = (0..4)
                .map(|_| (self.next() >> 40) as f32 / (1u64 << 24) as f32)
                .sum();
            (sum - 2.0) * 1.732
        }

        pub(crate) fn unit(&mut self, dim: usize) -> Vec<f32> {
            unit((0..dim).map(|_| self.normal()).collect())
        }
    }

    pub(crate) fn unit(vector: Vec<f32>) -> Vec<f32> {
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        vector.into_iter().map(|x| x / length).collect()
    }

    /// Unit vectors around `centres` directions, as embeddings of pictures are.
    pub(crate) fn clustered(seed: u64, rows: usize, dim: usize, centres: usize) -> Vec<Vec<f32>> {
        let mut random = Random(seed);
        let centres: Vec<_> = (0..centres).map(|_| random.unit(dim)).collect();
        (0..rows)
            .map(|_| {
                let centre = &centres[random.below(centres.len())];
                let noise = random.unit(dim);
                unit(
                    centre
                        .iter()
                        .zip(&noise)
                        .map(|(c, x)| c + 0.8 * x)
                        .collect(),
                )
            })
            .collect()
    }

    #[derive(Default)]
    pub(crate) struct Owned {
        pub(crate) dim: usize,
        pub(crate) vectors: Vec<f16>,
        pub(crate) codes: Vec<i8>,
        pub(crate) scales: Vec<RowScale>,
    }

    impl Owned {
        pub(crate) fn new(dim: usize, rows: &[Vec<f32>]) -> Self {
            let mut owned = Self {
                dim,
                ..Self::default()
            };
            for row in rows {
                let row: Vec<f16> = row.iter().map(|&x| f16::from_f32(x)).collect();
                let mut codes = vec![0; code_stride(dim)];
                owned.scales.push(encode(&row, &mut codes));
                owned.codes.extend(codes);
                owned.vectors.extend(row);
            }
            owned
        }

        pub(crate) fn matrix(&self) -> Matrix<'_> {
            Matrix {
                dim: self.dim,
                vectors: &self.vectors,
                codes: &self.codes,
                scales: &self.scales,
            }
        }
    }

    pub(crate) fn naive(
        matrix: &Matrix<'_>,
        query: &Query,
        allowed: &Bitset,
        n: usize,
    ) -> Vec<Scored> {
        let mut all: Vec<_> = (0..allowed.rows())
            .filter(|row| allowed.contains(*row))
            .map(|row| Scored {
                score: query.exact(matrix, row, &mut Vec::new()),
                row: row as u32,
            })
            .collect();
        all.sort();
        all.truncate(n);
        all
    }

    #[test]
    fn the_result_is_that_of_comparing_every_row() {
        let mut random = Random(7);
        for dim in [1, 3, 8, 31, 32, 100, 192] {
            for rows in [0, 1, 63, 64, 65, 3000, 20_000] {
                if rows > 3000 && dim != 100 {
                    continue;
                }
                let owned = Owned::new(dim, &clustered(random.next(), rows, dim, 7));
                let matrix = owned.matrix();
                for n in [0, 1, 10, rows / 2 + 1, rows + 5] {
                    let query = Query::new(&random.unit(dim), dim).unwrap();
                    for keep in [1, 2, 50] {
                        let allowed = Bitset::of(rows, |_| random.below(keep) == 0);
                        let got = nearest(&matrix, &query, &allowed, n);
                        assert_eq!(got, naive(&matrix, &query, &allowed, n));
                        assert_eq!(got.len(), n.min(allowed.count()));
                    }
                }
            }
        }
    }

    #[test]
    fn equal_scores_are_ordered_by_row() {
        let one = Random(1).unit(48);
        let other = Random(2).unit(48);
        let rows: Vec<_> = (0..2000)
            .map(|i| {
                if i % 3 == 0 {
                    one.clone()
                } else {
                    other.clone()
                }
            })
            .collect();
        let owned = Owned::new(48, &rows);
        let query = Query::new(&one, 48).unwrap();
        let got = nearest(&owned.matrix(), &query, &Bitset::all(2000), 700);
        let first: Vec<u32> = got.iter().map(|scored| scored.row).take(667).collect();
        assert_eq!(first, (0..2000).step_by(3).collect::<Vec<u32>>());
        assert_eq!(got[667].row, 1);
    }

    #[test]
    fn the_interval_holds_the_exact_score() {
        let mut random = Random(3);
        for dim in [5, 64, 512, 1000] {
            let owned = Owned::new(dim, &clustered(9, 500, dim, 3));
            let matrix = owned.matrix();
            for _ in 0..20 {
                let query = Query::new(&random.unit(dim), dim).unwrap();
                for row in 0..500 {
                    let exact = query.exact(&matrix, row, &mut Vec::new());
                    let off = (exact - query.approximate(&matrix, row)).abs();
                    assert!(off <= query.bound(&matrix.scales[row]));
                }
            }
        }
    }

    #[test]
    fn a_query_that_does_not_fit_is_refused() {
        for (query, word) in [
            (vec![1.0, 0.0], "2 components"),
            (vec![1.0, f32::NAN, 0.0], "component 1"),
            (vec![f32::INFINITY, 0.0, 0.0], "component 0"),
            (vec![0.0; 3], "zero vector"),
        ] {
            let error = Query::new(&query, 3).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn rows_that_are_no_numbers_come_last() {
        let mut rows = clustered(4, 100, 16, 2);
        rows[5] = vec![f32::NAN; 16];
        rows[6] = vec![0.0; 16];
        let owned = Owned::new(16, &rows);
        let query = Query::new(&rows[7], 16).unwrap();
        let got = nearest(&owned.matrix(), &query, &Bitset::all(100), 100);
        assert_eq!(got.len(), 100);
        assert_eq!(got[0].row, 7);
        assert_eq!(got[99].row, 5);
    }

    /// Prints a figure; run with `--ignored --nocapture`.
    #[test]
    #[ignore = "a measurement"]
    fn time_of_a_scan() {
        let dim = 512;
        for rows in [100_000, 1_000_000] {
            let mut owned = Owned {
                dim,
                ..Owned::default()
            };
            let mut random = Random(1);
            let pool = clustered(1, 2000, dim, 50);
            let mut codes = vec![0; code_stride(dim)];
            for _ in 0..rows {
                let (a, b) = (&pool[random.below(2000)], &pool[random.below(2000)]);
                let row: Vec<f16> = unit(a.iter().zip(b).map(|(a, b)| a + 0.5 * b).collect())
                    .iter()
                    .map(|&x| f16::from_f32(x))
                    .collect();
                owned.scales.push(encode(&row, &mut codes));
                owned.codes.extend(&codes);
                owned.vectors.extend(row);
            }
            let matrix = owned.matrix();
            let all = Bitset::all(rows);
            for n in [10, 100] {
                let mut times: Vec<f64> = (0..20)
                    .map(|_| {
                        let query = Query::new(&random.unit(dim), dim).unwrap();
                        let start = std::time::Instant::now();
                        std::hint::black_box(nearest(&matrix, &query, &all, n));
                        start.elapsed().as_secs_f64() * 1e3
                    })
                    .collect();
                times.sort_by(f64::total_cmp);
                eprintln!(
                    "{rows} rows, n {n}: {:.1} ms (median of 20), best {:.1}",
                    times[10], times[0]
                );
            }
        }
    }
}
