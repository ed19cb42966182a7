//! The rows that may belong to the best: what the first pass leaves for exact scoring.

use std::sync::atomic::AtomicI32;
use std::sync::atomic::Ordering::Relaxed;

/// The highest n-th best lower end that any thread has found: what ends below it cannot be among the best of
/// all rows, so no thread needs to warm up alone.
pub(super) struct Bar(AtomicI32);

impl Bar {
    pub(super) fn new() -> Self {
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
pub(super) struct Shortlist<'a> {
    bar: &'a Bar,
    /// The n-th best lower end, when this was last found out.
    threshold: f32,
    candidates: Vec<Candidate>,
    n: usize,
    settle_at: usize,
}

/// A row and the interval in which its score lies.
struct Candidate {
    lower: f32,
    upper: f32,
    row: u32,
}

impl<'a> Shortlist<'a> {
    /// Candidates that are taken before it is found out again which of them remain, at least.
    const SPARE: usize = 64;

    pub(super) fn new(n: usize, bar: &'a Bar) -> Self {
        Self {
            bar,
            threshold: if n == 0 {
                f32::INFINITY
            } else {
                f32::NEG_INFINITY
            },
            candidates: Vec::new(),
            n,
            settle_at: n.saturating_add(Self::SPARE),
        }
    }

    /// Nothing that ends below this can be among the best.
    pub(super) fn threshold(&self) -> f32 {
        self.threshold.max(self.bar.get())
    }

    pub(super) fn offer(&mut self, row: u32, approximate: f32, bound: f32) {
        let (lower, upper) = (approximate - bound, approximate + bound);
        // A damaged scale may be no number: such a row is kept and scored exactly.
        if upper < self.threshold() {
            return;
        }
        self.candidates.push(Candidate {
            lower: if lower.is_nan() {
                f32::NEG_INFINITY
            } else {
                lower
            },
            upper,
            row,
        });
        if self.candidates.len() >= self.settle_at {
            self.settle();
        }
    }

    /// Finds the n-th best lower end, tells the others, and lets go of what ends below.
    fn settle(&mut self) {
        if let Some(nth) = self.n.checked_sub(1)
            && nth < self.candidates.len()
        {
            let (_, nth, _) = self
                .candidates
                .select_nth_unstable_by(nth, |a, b| b.lower.total_cmp(&a.lower));
            self.threshold = self.threshold.max(nth.lower);
            self.bar.raise(self.threshold);
        }
        let threshold = self.threshold();
        self.candidates
            .retain(|candidate| candidate.upper >= threshold || candidate.upper.is_nan());
        let left = self.candidates.len();
        self.settle_at = left + (left / 2).max(Self::SPARE);
    }

    pub(super) fn merge(mut self, other: Self) -> Self {
        self.candidates.extend(other.candidates);
        self
    }

    /// All that may belong to the best.
    pub(super) fn into_rows(mut self) -> impl Iterator<Item = u32> {
        self.settle();
        self.candidates.into_iter().map(|candidate| candidate.row)
    }
}
