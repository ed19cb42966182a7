//! Dot products over rows: integers for the first pass, f32 against f16 for the score that counts.
//!
//! Integer sums are exact, so every form gives the same bits. The f32 sum is taken in one fixed order
//! without fused operations, so a score is the same on every machine.

#![expect(
    unsafe_code,
    reason = "calling functions compiled for instructions that were detected at run time"
)]

use half::f16;
use half::slice::HalfFloatSliceExt;

/// Longest vector an index may hold: keeps every integer sum below within 32 bits.
pub(crate) const MAX_DIM: usize = 65_536;

/// Codes of one row are padded with zeros to a multiple of this, so that kernels have no remainder.
pub(crate) const CODE_ALIGN: usize = 32;

/// Largest magnitude of a 16-bit query code for which no row of 8-bit codes can overflow the sum.
pub(crate) fn query_limit(dim: usize) -> i32 {
    let worst_row = 128 * i64::try_from(dim.max(1)).unwrap_or(i64::MAX / 128);
    i32::try_from((i64::from(i32::MAX) / worst_row).clamp(1, 32_767)).unwrap_or(1)
}

/// Dot of a query with every row of `codes`, into `out`; both as long as a padded row each.
pub(crate) fn query_with_rows(query: &[i16], codes: &[i8], out: &mut [i32]) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: avx2 was detected on this processor.
        return unsafe { avx2::query_with_rows(query, codes, out) };
    }
    for (row, out) in codes.chunks_exact(query.len()).zip(out) {
        *out = plain::query_with_row(query, row);
    }
}

/// Dot of a query with one row of codes.
pub(crate) fn query_with_row(query: &[i16], row: &[i8]) -> i32 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: avx2 was detected on this processor.
        return unsafe { avx2::query_with_row(query, row) };
    }
    plain::query_with_row(query, row)
}

/// Dot of two rows of codes.
pub(crate) fn row_with_row(a: &[i8], b: &[i8]) -> i32 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: avx2 was detected on this processor.
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

mod plain {
    pub(super) fn query_with_row(query: &[i16], row: &[i8]) -> i32 {
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

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m128i, __m256i, _mm256_add_epi32, _mm256_cvtepi8_epi16, _mm256_madd_epi16,
        _mm256_setzero_si256,
    };

    #[target_feature(enable = "avx2")]
    pub(super) fn query_with_rows(query: &[i16], codes: &[i8], out: &mut [i32]) {
        for (row, out) in codes.chunks_exact(query.len()).zip(out) {
            *out = query_with_row(query, row);
        }
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn query_with_row(query: &[i16], row: &[i8]) -> i32 {
        let (query, query_rest) = query.as_chunks::<32>();
        let (row, row_rest) = row.as_chunks::<32>();
        let mut sums = [_mm256_setzero_si256(); 2];
        for (query, row) in query.iter().zip(row) {
            let query: [__m256i; 2] = bytemuck::cast(*query);
            let row: [__m128i; 2] = bytemuck::cast(*row);
            for half in 0..2 {
                let wide = _mm256_cvtepi8_epi16(row[half]);
                sums[half] = _mm256_add_epi32(sums[half], _mm256_madd_epi16(query[half], wide));
            }
        }
        sum(sums).wrapping_add(super::plain::query_with_row(query_rest, row_rest))
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn row_with_row(a: &[i8], b: &[i8]) -> i32 {
        let (a, a_rest) = a.as_chunks::<32>();
        let (b, b_rest) = b.as_chunks::<32>();
        let mut sums = [_mm256_setzero_si256(); 2];
        for (a, b) in a.iter().zip(b) {
            let a: [__m128i; 2] = bytemuck::cast(*a);
            let b: [__m128i; 2] = bytemuck::cast(*b);
            for half in 0..2 {
                let (a, b) = (_mm256_cvtepi8_epi16(a[half]), _mm256_cvtepi8_epi16(b[half]));
                sums[half] = _mm256_add_epi32(sums[half], _mm256_madd_epi16(a, b));
            }
        }
        sum(sums).wrapping_add(super::plain::row_with_row(a_rest, b_rest))
    }

    #[target_feature(enable = "avx2")]
    fn sum(sums: [__m256i; 2]) -> i32 {
        let lanes: [i32; 8] = bytemuck::cast(_mm256_add_epi32(sums[0], sums[1]));
        lanes.iter().fold(0, |sum, &lane| sum.wrapping_add(lane))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_form_gives_the_same_bits(
            query in prop::collection::vec(any::<i16>(), 1..200),
            codes in prop::collection::vec(any::<i8>(), 600),
        ) {
            let rows = codes.len() / query.len();
            let mut out = vec![0; rows];
            query_with_rows(&query, &codes, &mut out);
            for (row, &got) in codes.chunks_exact(query.len()).zip(&out) {
                prop_assert_eq!(got, plain::query_with_row(&query, row));
                prop_assert_eq!(got, query_with_row(&query, row));
            }
            let (a, b) = codes.split_at(300);
            prop_assert_eq!(row_with_row(a, b), plain::row_with_row(a, b));
        }
    }

    #[test]
    fn no_row_can_overflow_the_sum() {
        for dim in [1, 8, 512, 1024, MAX_DIM] {
            let limit = i64::from(query_limit(dim));
            assert!(limit >= 1);
            assert!(limit * 128 * dim as i64 <= i64::from(i32::MAX));
        }
    }
}
