//! Queries against a block of rows: which of the rows may be among the best, told by 8-bit codes alone.

use std::cell::OnceCell;

use bt_cpu::{Level, vectorised};

use super::shortlist::Shortlist;
use super::{RowScale, Wanted};
use crate::dot::Panel;

/// Rows that are compared with all queries of a pass while they are near; a word of a bitset.
pub(super) const BLOCK: usize = 64;

/// Rows that are looked at side by side for the most of something.
const LANES: usize = 8;

/// A block is compared as a whole when at least this many of its rows are allowed.
const DENSE: u32 = 16;

/// Rows that lie one after the other, at most [`BLOCK`].
pub(super) struct Block<'a> {
    first: usize,
    codes: &'a [i8],
    scales: &'a [RowScale],
    /// Only where the block is compared as a whole.
    bounds: OnceCell<Bounds>,
}

/// What the first pass needs of a block's rows besides their codes.
struct Bounds {
    /// The rows' scales, with zeros behind the last.
    scale: [f32; BLOCK],
    /// The longest coded row.
    length: f32,
    /// The most that coding lost; no number when some row has no bound.
    lost: f32,
}

impl<'a> Block<'a> {
    /// As many rows of codes as scales; `first` is a multiple of [`BLOCK`].
    pub(super) fn new(first: usize, codes: &'a [i8], scales: &'a [RowScale]) -> Self {
        Self {
            first,
            codes,
            scales,
            bounds: OnceCell::new(),
        }
    }
}

impl Bounds {
    /// At most [`BLOCK`] rows.
    fn of(scales: &[RowScale]) -> Self {
        let mut scale = [0.0; BLOCK];
        let (mut length, mut lost, mut no_number) = ([0.0; LANES], [0.0; LANES], [false; LANES]);
        for (place, rows) in scale.chunks_mut(LANES).zip(scales.chunks(LANES)) {
            for (lane, row) in rows.iter().enumerate() {
                place[lane] = row.scale;
                length[lane] = f32::max(length[lane], row.length);
                lost[lane] = f32::max(lost[lane], row.lost);
                // What `f32::max` passes over.
                no_number[lane] |= row.length.is_nan() | row.lost.is_nan();
            }
        }
        let largest = |lanes: [f32; LANES]| lanes.into_iter().fold(0.0, f32::max);
        let is_bounded = !no_number.contains(&true);
        Self {
            scale,
            length: largest(length),
            lost: if is_bounded { largest(lost) } else { f32::NAN },
        }
    }
}

/// Up to `G` of the queries of a pass, which are compared with each block together.
pub(super) struct Group<'a, const G: usize> {
    level: Level,
    wanted: &'a [&'a Wanted],
    panel: Panel<G>,
    scale: [f32; G],
}

impl<'a, const G: usize> Group<'a, G> {
    /// At most `G` queries; `stride` codes are a padded row.
    pub(super) fn new(level: Level, stride: usize, wanted: &'a [&'a Wanted]) -> Self {
        let codes = wanted.iter().map(|wanted| &*wanted.query.coarse.codes);
        let mut scale = [0.0; G];
        for (scale, wanted) in scale.iter_mut().zip(wanted) {
            *scale = wanted.query.coarse.scale;
        }
        Self {
            level,
            wanted,
            panel: Panel::new(level, stride, codes),
            scale,
        }
    }

    /// Offers each query's shortlist what may be among its best of the block.
    pub(super) fn offer(&self, block: &Block<'_>, shortlists: &mut [Shortlist<'_>]) {
        let mut words = [0u64; G];
        for (word, wanted) in words.iter_mut().zip(self.wanted) {
            *word = wanted.allowed.word(block.first / BLOCK);
        }
        if words.iter().any(|word| word.count_ones() >= DENSE) {
            self.offer_those_above(block, &words, shortlists);
        } else {
            for (query, &word) in words.iter().enumerate() {
                let mut left = word;
                while left != 0 {
                    self.offer_row(block, left.trailing_zeros() as usize, query, shortlists);
                    left &= left - 1;
                }
            }
        }
    }

    /// Compares all rows with all queries, and offers the allowed ones that may reach the bar.
    fn offer_those_above(
        &self,
        block: &Block<'_>,
        words: &[u64; G],
        shortlists: &mut [Shortlist<'_>],
    ) {
        let bounds = block.bounds.get_or_init(|| Bounds::of(block.scales));
        // What codes must give for the score to reach the bar; nothing does where no row is allowed.
        let mut reach = [f32::INFINITY; G];
        for (query, wanted) in self.wanted.iter().enumerate() {
            if words[query] != 0 {
                let query_of = &wanted.query;
                let bound = query_of
                    .coarse
                    .bound(bounds.length, bounds.lost, query_of.rounding);
                reach[query] = shortlists[query].threshold() - bound;
            }
        }
        let mut dots = [[0; G]; BLOCK];
        self.panel.with_rows(block.codes, &mut dots);
        let mut above = [[0; G]; BLOCK];
        reach_the_bar(
            self.level,
            &dots,
            &bounds.scale,
            &self.scale,
            &reach,
            &mut above,
        );
        // Nearly all rows fall below the bar, so they are passed over several at a time.
        for (place, eight) in above.as_flattened().as_chunks::<8>().0.iter().enumerate() {
            let mut left = u64::from_le_bytes(*eight);
            while left != 0 {
                let at = place * 8 + left.trailing_zeros() as usize / 8;
                left &= left - 1;
                let (row, query) = (at / G, at % G);
                if words[query] >> row & 1 == 1 {
                    self.offer_row(block, row, query, shortlists);
                }
            }
        }
    }

    fn offer_row(
        &self,
        block: &Block<'_>,
        row: usize,
        query: usize,
        shortlists: &mut [Shortlist<'_>],
    ) {
        let wanted = self.wanted[query];
        let stride = wanted.query.fine.codes.len();
        let (Some(codes), Some(scale)) = (
            block.codes.get(row * stride..(row + 1) * stride),
            block.scales.get(row),
        ) else {
            return;
        };
        let approximate = wanted.query.by_codes(codes, scale);
        let bound = wanted.query.bound(scale);
        shortlists[query].offer((block.first + row) as u32, approximate, bound);
    }
}

vectorised! {
    /// 1 in `above` where a row's score by codes is not below what the query must reach; also where either is no
    /// number: such a row is kept.
    fn reach_the_bar<const G: usize>(
        dots: &[[i32; G]; BLOCK],
        rows: &[f32; BLOCK],
        queries: &[f32; G],
        reach: &[f32; G],
        above: &mut [[u8; G]; BLOCK],
    ) {
        for ((dots, row), above) in dots.iter().zip(rows).zip(above) {
            for query in 0..G {
                let is_below = row * queries[query] * (dots[query] as f32) < reach[query];
                above[query] = u8::from(!is_below);
            }
        }
    }
}
