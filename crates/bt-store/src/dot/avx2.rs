//! Dot products for AVX2, and for AVX2 with 8-bit dot products.

use std::arch::x86_64::{
    __m128i, __m256i, _MM_HINT_T0, _mm_add_epi32, _mm_prefetch, _mm256_abs_epi8, _mm256_add_epi32,
    _mm256_cvtepi8_epi16, _mm256_dpbusd_avx_epi32, _mm256_hadd_epi32, _mm256_madd_epi16,
    _mm256_maddubs_epi16, _mm256_set1_epi16, _mm256_setzero_si256, _mm256_sign_epi8,
};

use super::plain;

/// Bytes: how far ahead of what is multiplied rows are fetched. Rows of a mapped file lie in small pages, at
/// whose ends the processor's own fetching stops.
const AHEAD: usize = 1024;

/// A query's codes by those of rows, four rows at a time, which share the query's codes and the steps that add up
/// lanes. One side of a product of bytes has no sign: a row's codes lose theirs to the query's, none of which is
/// -128. Two such products fit into 16 bits, 2 * 128 * 127.
macro_rules! with_rows {
    ($name:ident, $features:literal, |$sum:ident, $row:ident, $query:ident| $added:expr) => {
        #[target_feature(enable = $features)]
        pub(super) fn $name(query: &[i8], rows: &[i8], out: &mut [[i32; 1]]) {
            let (whole, query_rest) = query.as_chunks::<32>();
            for (rows, out) in super::by_fours(rows, query.len()).zip(out.chunks_mut(4)) {
                let [(a, a_rest), (b, b_rest), (c, c_rest), (d, d_rest)] =
                    rows.map(|row| row.as_chunks::<32>());
                let mut each = [_mm256_setzero_si256(); 4];
                for ((((query, a), b), c), d) in whole.iter().zip(a).zip(b).zip(c).zip(d) {
                    let $query: __m256i = bytemuck::cast(*query);
                    for (row, sum) in [a, b, c, d].into_iter().zip(&mut each) {
                        _mm_prefetch::<_MM_HINT_T0>(row.as_ptr().wrapping_add(AHEAD));
                        let ($sum, $row): (_, __m256i) = (*sum, bytemuck::cast(*row));
                        *sum = $added;
                    }
                }
                let [a, b, c, d] = each;
                let parts = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
                let halves: [__m128i; 2] = bytemuck::cast(parts);
                let sums: [i32; 4] = bytemuck::cast(_mm_add_epi32(halves[0], halves[1]));
                let rests = [a_rest, b_rest, c_rest, d_rest];
                for ((out, sum), rest) in out.iter_mut().zip(sums).zip(rests) {
                    out[0] = sum.wrapping_add(plain::row_with_row(query_rest, rest));
                }
            }
        }
    };
}

with_rows!(query_with_rows, "avx2", |sum, row, query| {
    let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(row), _mm256_sign_epi8(query, row));
    _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
});

with_rows!(query_with_rows_vnni, "avx2,avxvnni", |sum, row, query| {
    _mm256_dpbusd_avx_epi32(sum, _mm256_abs_epi8(row), _mm256_sign_epi8(query, row))
});

#[target_feature(enable = "avx2")]
pub(super) fn fine_with_row(query: &[i16], row: &[i8]) -> i32 {
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
    sum(sums).wrapping_add(plain::fine_with_row(query_rest, row_rest))
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
    sum(sums).wrapping_add(plain::row_with_row(a_rest, b_rest))
}

#[target_feature(enable = "avx2")]
fn sum(sums: [__m256i; 2]) -> i32 {
    let lanes: [i32; 8] = bytemuck::cast(_mm256_add_epi32(sums[0], sums[1]));
    lanes.iter().fold(0, |sum, &lane| sum.wrapping_add(lane))
}
