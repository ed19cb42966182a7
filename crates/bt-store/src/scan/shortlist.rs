//! The rows that may belong to the best: what the first pass leaves for exact scoring.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
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
    lower_ends: BinaryHeap<Reverse<Floor>>,
    /// Upper end and row.
    pub(super) candidates: Vec<(f32, u32)>,
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

    pub(super) fn new(n: usize, bar: &'a Bar) -> Self {
        Self {
            bar,
            lower_ends: BinaryHeap::new(),
            candidates: Vec::with_capacity(Self::SPARE),
            n,
            prune_at: n.saturating_mul(2).saturating_add(Self::SPARE),
        }
    }

    /// Nothing that ends below this can be among the best.
    pub(super) fn threshold(&self) -> f32 {
        self.own_threshold().max(self.bar.get())
    }

    fn own_threshold(&self) -> f32 {
        match self.lower_ends.peek() {
            Some(Reverse(Floor(lowest))) if self.lower_ends.len() >= self.n => *lowest,
            _ => f32::NEG_INFINITY,
        }
    }

    /// Tells the others how high the bar is.
    pub(super) fn share(&self) {
        self.bar.raise(self.own_threshold());
    }

    pub(super) fn offer(&mut self, row: u32, approximate: f32, bound: f32) {
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

    pub(super) fn prune(&mut self) {
        let threshold = self.threshold();
        self.candidates
            .retain(|&(upper, _)| upper >= threshold || upper.is_nan());
    }

    pub(super) fn merge(mut self, other: Self) -> Self {
        self.candidates.extend(other.candidates);
        for Reverse(Floor(lower)) in other.lower_ends {
            self.raise(lower);
        }
        self
    }
}
