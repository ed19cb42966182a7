//! Kernels for AVX-512: twelve rows by two vectors of columns stay in registers.

use std::arch::x86_64::*;

use half::bf16;

use super::{COLUMNS, Kernel, Operands, Tile};

/// f32 by f32.
pub(crate) struct F32;
/// bf16 by bf16, summed in f32 (AVX512_BF16).
pub(crate) struct Bf16;
/// Unsigned by signed 8-bit numbers, summed in i32 (AVX512_VNNI).
pub(crate) struct Int8;

macro_rules! kernel {
    ($name:ident, $rows:ident, $features:literal, $row:ty, $column:ty, $sum:ty, $vector:ty,
     $zero:expr, $load:expr, $broadcast:expr, $step:expr, $fetch:expr, $store:expr) => {
        impl Kernel for $name {
            type Row = $row;
            type Column = $column;
            type Sum = $sum;
            const ROWS: usize = 12;

            #[inline]
            unsafe fn tile(
                rows: usize,
                of: Operands<$row, $column>,
                more: bool,
                sums: &mut Tile<$sum>,
            ) {
                const GROUP: usize = 4 / size_of::<$row>();
                // SAFETY: passed on from the caller; rows behind `rows` are there.
                unsafe {
                    match rows {
                        0..=1 => $rows::<1, GROUP>(of, more, sums),
                        2 => $rows::<2, GROUP>(of, more, sums),
                        3..=4 => $rows::<4, GROUP>(of, more, sums),
                        5..=6 => $rows::<6, GROUP>(of, more, sums),
                        7..=8 => $rows::<8, GROUP>(of, more, sums),
                        9..=10 => $rows::<10, GROUP>(of, more, sums),
                        _ => $rows::<12, GROUP>(of, more, sums),
                    }
                }
            }
        }

        #[target_feature(enable = $features)]
        unsafe fn $rows<const R: usize, const GROUP: usize>(
            of: Operands<$row, $column>,
            more: bool,
            sums: &mut Tile<$sum>,
        ) {
            let Operands {
                groups,
                a,
                stride,
                b,
                ..
            } = of;
            let mut acc = [[$zero; 2]; R];
            if more {
                for (pair, sums) in acc.iter_mut().zip(sums.0.chunks_exact(COLUMNS)) {
                    // SAFETY: `sums` has 32 sums.
                    unsafe {
                        pair[0] = $fetch(sums.as_ptr());
                        pair[1] = $fetch(sums.as_ptr().add(16));
                    }
                }
            }
            // Pointers of every third row: a row between is one or two strides on, which an address can say.
            let mut rows = [a; 4];
            for (i, row) in rows.iter_mut().enumerate() {
                *row = a.wrapping_add(3 * i * stride);
            }
            let mut b = b;
            for _ in 0..groups {
                // SAFETY: the panel has `groups` times 2 vectors, and each of the R rows `groups` groups.
                unsafe {
                    let (left, right) = ($load(b), $load(b.add(16 * GROUP)));
                    b = b.add(32 * GROUP);
                    for r in 0..R {
                        let x = $broadcast(rows[r / 3].add(r % 3 * stride));
                        acc[r][0] = $step(acc[r][0], x, left);
                        acc[r][1] = $step(acc[r][1], x, right);
                    }
                }
                for row in &mut rows {
                    *row = row.wrapping_add(GROUP);
                }
            }
            for (pair, out) in acc.iter().zip(sums.0.chunks_exact_mut(COLUMNS)) {
                // SAFETY: `out` has 32 sums.
                unsafe {
                    $store(out.as_mut_ptr(), pair[0]);
                    $store(out.as_mut_ptr().add(16), pair[1]);
                }
            }
        }
    };
}

kernel!(
    F32,
    f32_rows,
    "avx512f",
    f32,
    f32,
    f32,
    __m512,
    _mm512_setzero_ps(),
    |p: *const f32| _mm512_loadu_ps(p),
    |p: *const f32| _mm512_set1_ps(*p),
    |acc, x, y| _mm512_fmadd_ps(x, y, acc),
    |p: *const f32| _mm512_loadu_ps(p),
    |p: *mut f32, sum| _mm512_storeu_ps(p, sum)
);
kernel!(
    Bf16,
    bf16_rows,
    "avx512f,avx512bf16",
    bf16,
    bf16,
    f32,
    __m512,
    _mm512_setzero_ps(),
    |p: *const bf16| _mm512_loadu_epi32(p.cast()),
    |p: *const bf16| _mm512_set1_epi32(p.cast::<i32>().read_unaligned()),
    |acc, x: __m512i, y: __m512i| _mm512_dpbf16_ps(
        acc,
        std::mem::transmute::<__m512i, __m512bh>(x),
        std::mem::transmute::<__m512i, __m512bh>(y)
    ),
    |p: *const f32| _mm512_loadu_ps(p),
    |p: *mut f32, sum| _mm512_storeu_ps(p, sum)
);
kernel!(
    Int8,
    int8_rows,
    "avx512f,avx512vnni",
    u8,
    i8,
    i32,
    __m512i,
    _mm512_setzero_si512(),
    |p: *const i8| _mm512_loadu_epi32(p.cast()),
    |p: *const u8| _mm512_set1_epi32(p.cast::<i32>().read_unaligned()),
    |acc, x, y| _mm512_dpbusd_epi32(acc, x, y),
    |p: *const i32| _mm512_loadu_epi32(p),
    |p: *mut i32, sum| _mm512_storeu_epi32(p, sum)
);
