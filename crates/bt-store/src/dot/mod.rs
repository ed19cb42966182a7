//! Dot products over rows: integers of 8 bits for the first pass and of 16 by 8 for who passes it, f32 against f16
//! for the score that counts.
//!
//! Integer sums are exact, so every form gives the same bits. The f32 sum is taken in one fixed order
//! without fused operations, so a score is the same on every machine.

#![expect(
    unsafe_code,
    reason = "calling functions compiled for instructions that were detected at run time"
)]

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

use bt_cpu::Level;
use half::f16;
use half::slice::HalfFloatSliceExt;

/// Longest vector an index may hold, and a sound frame of a segment claim: keeps every integer sum below within
/// 32 bits.
pub(crate) const MAX_DIM: usize = 65_536;

/// Codes of one row are padded with zeros to a multiple of this, so that kernels have no remainder.
pub(crate) const CODE_ALIGN: usize = 32;

/// Largest magnitude of a 16-bit query code for which no row of 8-bit codes can overflow the sum.
pub(crate) fn fine_limit(dim: usize) -> i32 {
    let worst_row = 128 * i64::try_from(dim.max(1)).unwrap_or(i64::MAX / 128);
    let limit = (i64::from(i32::MAX) / worst_row).clamp(1, i64::from(i16::MAX));
    i32::try_from(limit).unwrap_or(1)
}

/// Up to `G` queries that are compared with the same rows at once.
#[derive(Clone, Debug)]
pub(crate) struct Panel<const G: usize> {
    #[cfg(target_arch = "x86_64")]
    level: Level,
    /// Of a padded row.
    len: usize,
    /// Query after query; zeros where there are fewer than `G`.
    codes: Vec<i8>,
    #[cfg(target_arch = "x86_64")]
    interleaved: Option<Vec<i8>>,
}

/// Queries that are best compared with rows at once, where there are so many: 1, 4 or 16.
pub(crate) fn together(level: Level, queries: usize) -> usize {
    match (level, queries) {
        (Level::Amx, 5..) => 16,
        (Level::Avx512 | Level::Avx512Bf16 | Level::Amx, 2..) => 4,
        _ => 1,
    }
}

impl<const G: usize> Panel<G> {
    /// Codes of at most `G` queries, from -127 to 127, each as long as a padded row. The level must be there.
    pub(crate) fn new<'a>(
        level: Level,
        len: usize,
        queries: impl Iterator<Item = &'a [i8]>,
    ) -> Self {
        let mut codes = vec![0; G * len];
        for (place, query) in codes.chunks_exact_mut(len).zip(queries) {
            for (place, &code) in place.iter_mut().zip(query) {
                *place = code;
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = level;
        Self {
            #[cfg(target_arch = "x86_64")]
            level,
            len,
            #[cfg(target_arch = "x86_64")]
            interleaved: (level == Level::Amx && G == amx::SIDE && len.is_multiple_of(amx::DEPTH))
                .then(|| amx::interleaved(&codes, len)),
            codes,
        }
    }

    /// Dot of every row with every query, `out[row][query]`.
    pub(crate) fn with_rows(&self, rows: &[i8], out: &mut [[i32; G]]) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the levels are there, as who made this promised.
        unsafe {
            match (self.level, G) {
                (Level::Amx, amx::SIDE) if let Some(interleaved) = &self.interleaved => {
                    let sums = out.as_flattened_mut().as_chunks_mut().0;
                    let taken = amx::queries_with_rows(interleaved, self.len, rows, sums);
                    let (rest, out) = (&rows[taken * self.len..], &mut out[taken..]);
                    return avx512::queries_with_rows(&self.codes, self.len, rest, out);
                }
                (Level::Avx512 | Level::Avx512Bf16 | Level::Amx, _) => {
                    return avx512::queries_with_rows(&self.codes, self.len, rows, out);
                }
                (Level::AvxVnni, 1) => {
                    let out = out.as_flattened_mut().as_chunks_mut().0;
                    return avx2::query_with_rows_vnni(&self.codes, rows, out);
                }
                (Level::Avx2, 1) => {
                    let out = out.as_flattened_mut().as_chunks_mut().0;
                    return avx2::query_with_rows(&self.codes, rows, out);
                }
                _ => {}
            }
        }
        for (row, out) in rows.chunks_exact(self.len).zip(out) {
            for (query, out) in self.codes.chunks_exact(self.len).zip(out) {
                *out = plain::row_with_row(query, row);
            }
        }
    }
}

/// Dot of a query's finer codes with one row.
pub(crate) fn fine_with_row(query: &[i16], row: &[i8]) -> i32 {
    #[cfg(target_arch = "x86_64")]
    if Level::best() >= Level::Avx2 {
        // SAFETY: the processor has this level.
        return unsafe { avx2::fine_with_row(query, row) };
    }
    plain::fine_with_row(query, row)
}

/// Dot of two rows of codes.
pub(crate) fn row_with_row(a: &[i8], b: &[i8]) -> i32 {
    #[cfg(target_arch = "x86_64")]
    if Level::best() >= Level::Avx2 {
        // SAFETY: the processor has this level.
        return unsafe { avx2::row_with_row(a, b) };
    }
    plain::row_with_row(a, b)
}

/// Dot of a query with a stored vector; `buffer` is scratch space.
pub(crate) fn exact(query: &[f32], row: &[f16], buffer: &mut Vec<f32>) -> f32 {
    const LANES: usize = 8;
    buffer.resize(row.len(), 0.0);
    row.convert_to_f32_slice(buffer);
    let mut lanes = [0.0f32; LANES];
    let (query_chunks, query_rest) = query.as_chunks::<LANES>();
    let (row_chunks, row_rest) = buffer.as_chunks::<LANES>();
    for (a, b) in query_chunks.iter().zip(row_chunks) {
        for lane in 0..LANES {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    for (lane, (a, b)) in query_rest.iter().zip(row_rest).enumerate() {
        lanes[lane] += a * b;
    }
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

/// Rows of this length four at a time; where there are no four, the last one is taken again.
#[cfg(target_arch = "x86_64")]
fn by_fours(rows: &[i8], len: usize) -> impl Iterator<Item = [&[i8]; 4]> {
    rows.chunks(4 * len).map(move |rows| {
        let last = (rows.len() / len).saturating_sub(1);
        [0, 1, 2, 3].map(|place: usize| {
            let start = place.min(last) * len;
            rows.get(start..start + len).unwrap_or_default()
        })
    })
}

mod plain {
    pub(super) fn fine_with_row(query: &[i16], row: &[i8]) -> i32 {
        query.iter().zip(row).fold(0i32, |sum, (&a, &b)| {
            sum.wrapping_add(i32::from(a) * i32::from(b))
        })
    }

    pub(super) fn row_with_row(a: &[i8], b: &[i8]) -> i32 {
        a.iter().zip(b).fold(0i32, |sum, (&a, &b)| {
            sum.wrapping_add(i32::from(a) * i32::from(b))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What every level gives for so many queries at once.
    fn on_every_level<const G: usize>(
        queries: &[Vec<i8>],
        rows: &[i8],
    ) -> Result<(), TestCaseError> {
        let len = queries[0].len();
        for level in Level::available() {
            let queries = &queries[..G];
            let panel = Panel::<G>::new(level, len, queries.iter().map(Vec::as_slice));
            let mut out = vec![[0; G]; rows.len() / len];
            panel.with_rows(&rows[..out.len() * len], &mut out);
            for (row, out) in rows.chunks_exact(len).zip(&out) {
                for (query, &got) in queries.iter().zip(out) {
                    let expected = plain::row_with_row(query, row);
                    prop_assert_eq!(got, expected, "{} at {}, {}", G, len, level.name());
                }
            }
        }
        Ok(())
    }

    /// Of any length and of those that matrix tiles take; codes at their ends come often.
    fn queries() -> impl Strategy<Value = Vec<Vec<i8>>> {
        let code = prop_oneof![-127..=127i8, Just(-127), Just(127)];
        prop_oneof![1..200usize, (1..4usize).prop_map(|steps| 64 * steps)].prop_flat_map(
            move |len| prop::collection::vec(prop::collection::vec(code.clone(), len), 16),
        )
    }

    proptest! {
        #[test]
        fn every_form_gives_the_same_bits(
            queries in queries(),
            fine in prop::collection::vec(any::<i16>(), 100),
            rows in prop::collection::vec(prop_oneof![any::<i8>(), Just(-128), Just(127)], 8000),
        ) {
            on_every_level::<1>(&queries, &rows)?;
            on_every_level::<4>(&queries, &rows)?;
            on_every_level::<16>(&queries, &rows)?;
            prop_assert_eq!(fine_with_row(&fine, &rows[..100]), plain::fine_with_row(&fine, &rows[..100]));
            let (a, b) = rows.split_at(600);
            prop_assert_eq!(row_with_row(a, &b[..600]), plain::row_with_row(a, &b[..600]));
        }
    }

    #[test]
    fn the_largest_sums_come_out() {
        for dim in [8, 512, MAX_DIM] {
            for row in [-128, 127] {
                let fine = fine_limit(dim);
                for code in [fine, -fine] {
                    let codes = vec![i16::try_from(code).unwrap(); dim];
                    let sum = fine_with_row(&codes, &vec![row; dim]);
                    let expected = i64::from(row) * i64::from(code) * dim as i64;
                    assert_eq!(i64::from(sum), expected);
                }
                for code in [-127, 127] {
                    let codes = [vec![code; dim]];
                    let each = || codes.iter().map(Vec::as_slice);
                    let rows = vec![row; 17 * dim];
                    let expected = i64::from(row) * i64::from(code) * dim as i64;
                    for level in Level::available() {
                        let mut one = [[0]; 17];
                        Panel::<1>::new(level, dim, each()).with_rows(&rows, &mut one);
                        assert_eq!(one.map(|out| i64::from(out[0])), [expected; 17]);
                        let mut many = [[0; 16]; 17];
                        Panel::<16>::new(level, dim, each()).with_rows(&rows, &mut many);
                        assert_eq!(many.map(|out| i64::from(out[0])), [expected; 17]);
                    }
                }
            }
        }
    }

    #[test]
    fn no_row_can_overflow_the_sum() {
        for dim in [1, 8, 512, 1024, MAX_DIM] {
            let limit = i64::from(fine_limit(dim));
            assert!(limit >= 1);
            assert!(limit * 128 * dim as i64 <= i64::from(i32::MAX));
        }
    }
}
