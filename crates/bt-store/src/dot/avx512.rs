//! Dot products for AVX-512 with 8-bit dot products, which want one side without signs: rows are read with 128
//! added, and sums begin with what that will add taken off. They may wrap on the way; what comes out fits.

use std::arch::x86_64::{
    __m512i, _MM_HINT_T0, _mm_add_epi32, _mm_prefetch, _mm256_add_epi32, _mm256_castsi256_si128,
    _mm256_extracti128_si256, _mm512_add_epi32, _mm512_castsi512_si256, _mm512_dpbusd_epi32,
    _mm512_extracti64x4_epi64, _mm512_loadu_si512, _mm512_maskz_loadu_epi8, _mm512_set1_epi8,
    _mm512_setzero_si512, _mm512_sub_epi32, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64,
    _mm512_unpacklo_epi32, _mm512_unpacklo_epi64, _mm512_xor_si512,
};

const LANES: usize = 64;

/// Bytes: how far ahead of what is multiplied rows are fetched for a query that is alone, which waits for memory.
/// Rows of a mapped file lie in small pages, at whose ends the processor's own fetching stops.
const AHEAD: usize = 4096;

/// Queries that go over four rows together: their sums fill half of the registers.
const TOGETHER: usize = 4;

/// `G` queries, which stand in `queries` one after the other: one, or a multiple of [`TOGETHER`].
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2")]
pub(super) fn queries_with_rows<const G: usize>(
    queries: &[i8],
    len: usize,
    rows: &[i8],
    out: &mut [[i32; G]],
) {
    if G == 1 {
        let surplus = surplus(queries);
        for (rows, out) in super::by_fours(rows, len).zip(out.chunks_mut(4)) {
            let [sums] = four_rows([queries], [surplus], rows);
            for (out, sum) in out.iter_mut().zip(add_up(sums)) {
                out[0] = sum;
            }
        }
        return;
    }
    for (place, queries) in queries.chunks_exact(TOGETHER * len).enumerate() {
        let queries = [0, 1, 2, 3].map(|query: usize| &queries[query * len..][..len]);
        let mut starts = [_mm512_setzero_si512(); TOGETHER];
        for (start, query) in starts.iter_mut().zip(queries) {
            *start = surplus(query);
        }
        for (rows, out) in super::by_fours(rows, len).zip(out.chunks_mut(4)) {
            let [a, b, c, d] = four_rows(queries, starts, rows);
            for (row, out) in out.iter_mut().enumerate() {
                let sums = add_up([a[row], b[row], c[row], d[row]]);
                out[place * TOGETHER..][..TOGETHER].copy_from_slice(&sums);
            }
        }
    }
}

/// Lanes of each of `Q` queries by four rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2")]
#[inline]
fn four_rows<const Q: usize>(
    queries: [&[i8]; Q],
    starts: [__m512i; Q],
    rows: [&[i8]; 4],
) -> [[__m512i; 4]; Q] {
    let add_128 = _mm512_set1_epi8(-128);
    let mut sums = starts.map(|start| [start; 4]);
    let len = queries.first().map_or(0, |query| query.len());
    for at in (0..len).step_by(LANES) {
        let mut codes = [add_128; 4];
        for (codes, row) in codes.iter_mut().zip(rows) {
            if Q == 1 {
                _mm_prefetch::<_MM_HINT_T0>(row.as_ptr().wrapping_add(at + AHEAD));
            }
            *codes = _mm512_xor_si512(load(row, at), add_128);
        }
        for (query, sums) in queries.iter().zip(&mut sums) {
            let query = load(query, at);
            for (codes, sum) in codes.into_iter().zip(sums) {
                *sum = _mm512_dpbusd_epi32(*sum, codes, query);
            }
        }
    }
    sums
}

/// What 128 added to every code of a row adds to the lanes, taken off.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2")]
fn surplus(query: &[i8]) -> __m512i {
    let added = _mm512_set1_epi8(-128);
    let mut sum = _mm512_setzero_si512();
    for at in (0..query.len()).step_by(LANES) {
        sum = _mm512_dpbusd_epi32(sum, added, load(query, at));
    }
    _mm512_sub_epi32(_mm512_setzero_si512(), sum)
}

/// The sums of the lanes of four.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2")]
#[inline]
fn add_up([a, b, c, d]: [__m512i; 4]) -> [i32; 4] {
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

/// The bytes from here on, zeros where they end.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn load(bytes: &[i8], at: usize) -> __m512i {
    let bytes = bytes.get(at..).unwrap_or_default();
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
