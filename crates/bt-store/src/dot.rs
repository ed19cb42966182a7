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

/// Longest vector an index may hold, and a sound frame of a segment claim: keeps every integer sum below within
/// 32 bits.
pub(crate) const MAX_DIM: usize = 65_536;

/// Codes of one row are padded with zeros to a multiple of this, so that kernels have no remainder.
pub(crate) const CODE_ALIGN: usize = 32;

/// Largest code of a query: its upper byte, when the lower one counts from -128, must be within 8 bits.
const MAX_QUERY_CODE: i16 = 127 * 256 + 127;

/// Largest magnitude of a 16-bit query code for which no row of 8-bit codes can overflow the sum.
pub(crate) fn query_limit(dim: usize) -> i32 {
    let worst_row = 128 * i64::try_from(dim.max(1)).unwrap_or(i64::MAX / 128);
    let limit = (i64::from(i32::MAX) / worst_row).clamp(1, i64::from(MAX_QUERY_CODE));
    i32::try_from(limit).unwrap_or(1)
}

/// The codes of a query, as the kernels read them.
#[derive(Clone, Debug)]
pub(crate) struct QueryCodes {
    codes: Vec<i16>,
    #[cfg(target_arch = "x86_64")]
    bytes: Option<vnni::Bytes>,
}

impl QueryCodes {
    /// As long as a padded row.
    pub(crate) fn new(codes: Vec<i16>) -> Self {
        Self {
            #[cfg(target_arch = "x86_64")]
            bytes: vnni::Bytes::of(&codes),
            codes,
        }
    }

    /// Length of a padded row.
    pub(crate) fn len(&self) -> usize {
        self.codes.len()
    }

    /// Dot with every row of `rows`, into `out`.
    pub(crate) fn with_rows(&self, rows: &[i8], out: &mut [i32]) {
        #[cfg(target_arch = "x86_64")]
        if let Some(bytes) = &self.bytes {
            return bytes.with_rows(self.len(), rows, out);
        }
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: avx2 was detected on this processor.
            return unsafe { avx2::query_with_rows(&self.codes, rows, out) };
        }
        for (row, out) in rows.chunks_exact(self.len()).zip(out) {
            *out = plain::query_with_row(&self.codes, row);
        }
    }

    /// Dot with one row.
    pub(crate) fn with_row(&self, row: &[i8]) -> i32 {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: avx2 was detected on this processor.
            return unsafe { avx2::query_with_row(&self.codes, row) };
        }
        plain::query_with_row(&self.codes, row)
    }
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
        __m128i, __m256i, _MM_HINT_T0, _mm_add_epi32, _mm_prefetch, _mm256_add_epi32,
        _mm256_cvtepi8_epi16, _mm256_hadd_epi32, _mm256_madd_epi16, _mm256_setzero_si256,
    };

    /// Bytes: how far ahead of what is multiplied rows are fetched. Rows of a mapped file lie in small pages, at
    /// whose ends the processor's own fetching stops.
    const AHEAD: usize = 1024;

    /// Four rows share the query's codes and the steps that add up lanes.
    #[target_feature(enable = "avx2")]
    pub(super) fn query_with_rows(query: &[i16], rows: &[i8], out: &mut [i32]) {
        for (four, out) in super::by_fours(rows, query.len()).zip(out.chunks_mut(4)) {
            for (out, sum) in out.iter_mut().zip(query_with_four(query, four)) {
                *out = sum;
            }
        }
    }

    #[target_feature(enable = "avx2")]
    fn query_with_four(query: &[i16], rows: [&[i8]; 4]) -> [i32; 4] {
        let (query, query_rest) = query.as_chunks::<32>();
        let [(a, a_rest), (b, b_rest), (c, c_rest), (d, d_rest)] =
            rows.map(|row| row.as_chunks::<32>());
        let mut each = [_mm256_setzero_si256(); 4];
        for ((((query, a), b), c), d) in query.iter().zip(a).zip(b).zip(c).zip(d) {
            let query: [__m256i; 2] = bytemuck::cast(*query);
            for (row, sum) in [a, b, c, d].into_iter().zip(&mut each) {
                _mm_prefetch::<_MM_HINT_T0>(row.as_ptr().wrapping_add(AHEAD));
                let row: [__m128i; 2] = bytemuck::cast(*row);
                for half in 0..2 {
                    let wide = _mm256_cvtepi8_epi16(row[half]);
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(query[half], wide));
                }
            }
        }
        let [a, b, c, d] = each;
        let parts = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
        let halves: [__m128i; 2] = bytemuck::cast(parts);
        let mut sums: [i32; 4] = bytemuck::cast(_mm_add_epi32(halves[0], halves[1]));
        for (sum, row_rest) in sums.iter_mut().zip([a_rest, b_rest, c_rest, d_rest]) {
            *sum = sum.wrapping_add(super::plain::query_with_row(query_rest, row_rest));
        }
        sums
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

/// AVX-512 VNNI multiplies bytes, so a code of the query is two: `256 * high + low`. It wants one side
/// unsigned: rows are read with 128 added, and what that adds is taken off again. Sums may wrap on the way;
/// what comes out fits.
#[cfg(target_arch = "x86_64")]
mod vnni {
    use std::arch::x86_64::{
        __m512i, _mm_add_epi32, _mm256_add_epi32, _mm256_castsi256_si128, _mm256_extracti128_si256,
        _mm512_add_epi32, _mm512_castsi512_si256, _mm512_dpbusd_epi32, _mm512_extracti64x4_epi64,
        _mm512_loadu_si512, _mm512_maskz_loadu_epi8, _mm512_set1_epi8, _mm512_setzero_si512,
        _mm512_slli_epi32, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32,
        _mm512_unpacklo_epi64, _mm512_xor_si512,
    };

    const LANES: usize = 64;

    /// A query; there is only one where the instructions are.
    #[derive(Clone, Debug)]
    pub(super) struct Bytes {
        /// Upper and lower bytes of as many codes, padded with zeros.
        blocks: Vec<[[i8; LANES]; 2]>,
        /// What 128 added to every code of a row adds to the sum.
        surplus: i32,
    }

    impl Bytes {
        /// `None` when this processor has no such instructions, or a code is too large to be two bytes.
        pub(super) fn of(codes: &[i16]) -> Option<Self> {
            let is_there = std::arch::is_x86_feature_detected!("avx512vnni")
                && std::arch::is_x86_feature_detected!("avx512bw")
                && std::arch::is_x86_feature_detected!("avx2");
            if !is_there || codes.iter().any(|&code| code > super::MAX_QUERY_CODE) {
                return None;
            }
            let block = |codes: &[i16]| {
                let mut bytes = [[0; LANES]; 2];
                for (lane, &code) in codes.iter().enumerate() {
                    let low = code as i8;
                    bytes[0][lane] = ((i32::from(code) - i32::from(low)) >> 8) as i8;
                    bytes[1][lane] = low;
                }
                bytes
            };
            let sum = codes.iter().map(|&code| i32::from(code));
            Some(Self {
                blocks: codes.chunks(LANES).map(block).collect(),
                surplus: sum.fold(0, i32::wrapping_add).wrapping_mul(128),
            })
        }

        pub(super) fn with_rows(&self, len: usize, rows: &[i8], out: &mut [i32]) {
            // SAFETY: there is a `Bytes` only where the instructions were detected.
            unsafe { with_rows(self, len, rows, out) }
        }
    }

    /// Four rows at a time, which share the query's bytes and the steps that add up lanes.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2")]
    fn with_rows(query: &Bytes, len: usize, rows: &[i8], out: &mut [i32]) {
        for (four, out) in super::by_fours(rows, len).zip(out.chunks_mut(4)) {
            for (out, sum) in out.iter_mut().zip(with_four(query, four)) {
                *out = sum.wrapping_sub(query.surplus);
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2")]
    fn with_four(query: &Bytes, rows: [&[i8]; 4]) -> [i32; 4] {
        let add_128 = _mm512_set1_epi8(-128);
        let mut sums = [[_mm512_setzero_si512(); 2]; 4];
        for (place, [high, low]) in query.blocks.iter().enumerate() {
            let (high, low) = (load(high), load(low));
            for (row, [sum_of_high, sum_of_low]) in rows.iter().zip(&mut sums) {
                let codes =
                    _mm512_xor_si512(load(row.get(place * LANES..).unwrap_or_default()), add_128);
                *sum_of_high = _mm512_dpbusd_epi32(*sum_of_high, codes, high);
                *sum_of_low = _mm512_dpbusd_epi32(*sum_of_low, codes, low);
            }
        }
        let mut each = [_mm512_setzero_si512(); 4];
        for (each, [high, low]) in each.iter_mut().zip(sums) {
            *each = _mm512_add_epi32(_mm512_slli_epi32::<8>(high), low);
        }
        let [a, b, c, d] = each;
        let ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        // Four quarters, each with a part of the sums of a, b, c and d.
        let parts = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
        let halves = _mm256_add_epi32(
            _mm512_castsi512_si256(parts),
            _mm512_extracti64x4_epi64::<1>(parts),
        );
        bytemuck::cast(_mm_add_epi32(
            _mm256_castsi256_si128(halves),
            _mm256_extracti128_si256::<1>(halves),
        ))
    }

    /// The first bytes of a slice, zeros where it ends.
    #[target_feature(enable = "avx512f,avx512bw")]
    fn load(bytes: &[i8]) -> __m512i {
        match bytes.first_chunk::<LANES>() {
            // SAFETY: the array is as long as what is read.
            Some(bytes) => unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) },
            None => {
                let mask = (1u64 << bytes.len()) - 1;
                // SAFETY: no byte is read where the mask has no bit.
                unsafe { _mm512_maskz_loadu_epi8(mask, bytes.as_ptr()) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Any code that a query may have.
    fn code() -> impl Strategy<Value = i16> {
        prop_oneof![any::<i16>(), Just(i16::MIN), Just(MAX_QUERY_CODE)]
            .prop_map(|code| code.min(MAX_QUERY_CODE))
    }

    proptest! {
        #[test]
        fn every_form_gives_the_same_bits(
            codes in prop::collection::vec(code(), 1..200),
            rows in prop::collection::vec(any::<i8>(), 1200),
        ) {
            let query = QueryCodes::new(codes.clone());
            let mut out = vec![0; rows.len() / codes.len()];
            query.with_rows(&rows, &mut out);
            for (row, &got) in rows.chunks_exact(codes.len()).zip(&out) {
                let expected = plain::query_with_row(&codes, row);
                prop_assert_eq!(got, expected);
                prop_assert_eq!(query.with_row(row), expected);
                #[cfg(target_arch = "x86_64")]
                if std::arch::is_x86_feature_detected!("avx2") {
                    // SAFETY: avx2 was detected on this processor.
                    prop_assert_eq!(unsafe { avx2::query_with_row(&codes, row) }, expected);
                }
            }
            #[cfg(target_arch = "x86_64")]
            if std::arch::is_x86_feature_detected!("avx2") {
                let mut by_avx2 = vec![0; out.len()];
                // SAFETY: avx2 was detected on this processor.
                unsafe { avx2::query_with_rows(&codes, &rows[..out.len() * codes.len()], &mut by_avx2) };
                prop_assert_eq!(by_avx2, out);
            }
            let (a, b) = rows.split_at(600);
            prop_assert_eq!(row_with_row(a, b), plain::row_with_row(a, b));
        }
    }

    #[test]
    fn a_code_that_is_not_two_bytes_is_multiplied_all_the_same() {
        let query = QueryCodes::new(vec![i16::MAX; 70]);
        let mut out = [0; 2];
        query.with_rows(&[-128; 140], &mut out);
        assert_eq!(out, [-128 * 70 * i32::from(i16::MAX); 2]);
    }

    #[test]
    fn the_largest_sums_come_out() {
        for dim in [8, 512, MAX_DIM] {
            let largest = i16::try_from(query_limit(dim)).unwrap();
            for code in [largest, -largest] {
                for row in [-128, 127] {
                    let rows = vec![row; 5 * dim];
                    let mut out = [0; 5];
                    QueryCodes::new(vec![code; dim]).with_rows(&rows, &mut out);
                    let expected = i64::from(row) * i64::from(code) * dim as i64;
                    assert_eq!(out.map(i64::from), [expected; 5]);
                }
            }
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
