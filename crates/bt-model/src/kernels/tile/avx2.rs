//! Kernels for AVX2: six rows by two vectors of columns stay in registers.
//!
//! AVX2's own product of unsigned and signed bytes adds pairs in 16 bits with saturation, which would change sums.
//! So its codes have seven bits ([`Format::Int7`](crate::kernels::pack::Format)), with which four products fit.
//! AVX-VNNI has the exact instruction.

use std::arch::x86_64::*;

use half::bf16;

use super::{COLUMNS, Kernel, Operands, Tile};

/// f32 by f32.
pub(crate) struct F32;
/// f32 that were rounded to bf16, by bf16, summed in f32.
pub(crate) struct Bf16;
/// Unsigned by signed 7-bit numbers in bytes, summed in i32.
pub(crate) struct Int7;
/// Unsigned by signed bytes, summed in i32 (AVX-VNNI).
pub(crate) struct Int8Vnni;

macro_rules! kernel {
    ($name:ident, $rows:ident, $features:literal, $row:ty, $column:ty, $sum:ty,
     $row_group:literal, $column_group:literal, $zero:expr, $load:expr, $broadcast:expr, $step:expr,
     $fetch:expr, $store:expr) => {
        impl Kernel for $name {
            type Row = $row;
            type Column = $column;
            type Sum = $sum;
            const ROWS: usize = 6;

            #[inline]
            unsafe fn tile(
                rows: usize,
                of: Operands<$row, $column>,
                more: bool,
                sums: &mut Tile<$sum>,
            ) {
                // SAFETY: passed on from the caller; rows behind `rows` are there.
                unsafe {
                    match rows {
                        0..=1 => $rows::<1>(of, more, sums),
                        2 => $rows::<2>(of, more, sums),
                        3..=4 => $rows::<4>(of, more, sums),
                        _ => $rows::<6>(of, more, sums),
                    }
                }
            }
        }

        #[target_feature(enable = $features)]
        unsafe fn $rows<const R: usize>(
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
            for half in [0, COLUMNS / 2] {
                let mut acc = [[$zero; 2]; R];
                if more {
                    for (pair, sums) in acc.iter_mut().zip(sums.0.chunks_exact(COLUMNS)) {
                        // SAFETY: `sums` has 32 sums, of which 16 are behind `half`.
                        unsafe {
                            pair[0] = $fetch(sums.as_ptr().add(half));
                            pair[1] = $fetch(sums.as_ptr().add(half + 8));
                        }
                    }
                }
                let (mut near, mut far) = (a, a.wrapping_add(3 * stride));
                // SAFETY: the panel has `groups` times 32 columns, and each of the R rows `groups` groups.
                unsafe {
                    let mut b = b.add(half * $column_group);
                    for _ in 0..groups {
                        let (left, right) = ($load(b), $load(b.add(8 * $column_group)));
                        b = b.add(COLUMNS * $column_group);
                        for r in 0..R {
                            let x = $broadcast(if r < 3 {
                                near.add(r * stride)
                            } else {
                                far.add((r - 3) * stride)
                            });
                            acc[r][0] = $step(acc[r][0], x, left);
                            acc[r][1] = $step(acc[r][1], x, right);
                        }
                        near = near.add($row_group);
                        far = far.wrapping_add($row_group);
                    }
                }
                for (pair, out) in acc.iter().zip(sums.0.chunks_exact_mut(COLUMNS)) {
                    // SAFETY: `out` has 32 sums, of which 16 are behind `half`.
                    unsafe {
                        $store(out.as_mut_ptr().add(half), pair[0]);
                        $store(out.as_mut_ptr().add(half + 8), pair[1]);
                    }
                }
            }
        }
    };
}

kernel!(
    F32,
    f32_rows,
    "avx2,fma",
    f32,
    f32,
    f32,
    1,
    1,
    _mm256_setzero_ps(),
    |p: *const f32| _mm256_loadu_ps(p),
    |p: *const f32| _mm256_broadcast_ss(&*p),
    |acc, x, y| _mm256_fmadd_ps(x, y, acc),
    |p: *const f32| _mm256_loadu_ps(p),
    |p: *mut f32, sum| _mm256_storeu_ps(p, sum)
);
kernel!(
    Int8Vnni,
    int8_vnni_rows,
    "avx2,avxvnni",
    u8,
    i8,
    i32,
    4,
    4,
    _mm256_setzero_si256(),
    |p: *const i8| _mm256_loadu_si256(p.cast()),
    |p: *const u8| _mm256_set1_epi32(p.cast::<i32>().read_unaligned()),
    |acc, x, y| _mm256_dpbusd_avx_epi32(acc, x, y),
    |p: *const i32| _mm256_loadu_si256(p.cast()),
    |p: *mut i32, sum| _mm256_storeu_si256(p.cast(), sum)
);

impl Kernel for Bf16 {
    type Row = f32;
    type Column = bf16;
    type Sum = f32;
    const ROWS: usize = 4;

    #[inline]
    unsafe fn tile(rows: usize, of: Operands<f32, bf16>, more: bool, sums: &mut Tile<f32>) {
        // SAFETY: passed on from the caller; rows behind `rows` are there.
        unsafe {
            match rows {
                0..=1 => bf16_rows::<1>(of, more, sums),
                2 => bf16_rows::<2>(of, more, sums),
                _ => bf16_rows::<4>(of, more, sums),
            }
        }
    }
}

/// Eight columns at a time: the pairs of a column stand in 32 bits, whose halves become two f32.
#[target_feature(enable = "avx2,fma")]
unsafe fn bf16_rows<const R: usize>(of: Operands<f32, bf16>, more: bool, sums: &mut Tile<f32>) {
    let Operands {
        groups,
        a,
        stride,
        b,
        ..
    } = of;
    let high = _mm256_set1_epi32(0xffff_0000_u32 as i32);
    for half in [0, COLUMNS / 2] {
        let mut acc = [[_mm256_setzero_ps(); 2]; R];
        for group in 0..groups {
            for side in 0..2 {
                // SAFETY: the panel has `groups` times 32 pairs, and each of the R rows `groups` pairs.
                unsafe {
                    let at = b.add((group * COLUMNS + half + 8 * side) * 2);
                    let pairs = _mm256_loadu_si256(at.cast());
                    let first = _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16));
                    let second = _mm256_castsi256_ps(_mm256_and_si256(pairs, high));
                    for (r, acc) in acc.iter_mut().enumerate() {
                        let x = a.add(r * stride + 2 * group);
                        acc[side] = _mm256_fmadd_ps(_mm256_broadcast_ss(&*x), first, acc[side]);
                        acc[side] =
                            _mm256_fmadd_ps(_mm256_broadcast_ss(&*x.add(1)), second, acc[side]);
                    }
                }
            }
        }
        for (pair, out) in acc.iter().zip(sums.0.chunks_exact_mut(COLUMNS)) {
            // SAFETY: `out` has 32 sums, of which 16 are behind `half`.
            unsafe {
                for (sum, column) in pair.iter().zip([half, half + 8]) {
                    let out = out.as_mut_ptr().add(column);
                    let before = if more {
                        _mm256_loadu_ps(out)
                    } else {
                        _mm256_setzero_ps()
                    };
                    _mm256_storeu_ps(out, _mm256_add_ps(before, *sum));
                }
            }
        }
    }
}

impl Kernel for Int7 {
    type Row = u8;
    type Column = i8;
    type Sum = i32;
    const ROWS: usize = 4;
    const GROUPS_NEAR: usize = 192;

    #[inline]
    unsafe fn tile(rows: usize, of: Operands<u8, i8>, more: bool, sums: &mut Tile<i32>) {
        // SAFETY: passed on from the caller; rows behind `rows` are there.
        unsafe {
            match rows {
                0..=1 => int7_rows::<1>(of, more, sums),
                2 => int7_rows::<2>(of, more, sums),
                _ => int7_rows::<4>(of, more, sums),
            }
        }
    }
}

/// Two groups at a time, of which four products still fit into 16 bits; the second product, by ones, adds pairs in
/// 32 bits.
#[target_feature(enable = "avx2")]
unsafe fn int7_rows<const R: usize>(of: Operands<u8, i8>, more: bool, sums: &mut Tile<i32>) {
    let Operands {
        groups,
        a,
        stride,
        b,
        ..
    } = of;
    let ones = _mm256_set1_epi16(1);
    for half in [0, COLUMNS / 2] {
        let mut acc = [[_mm256_setzero_si256(); 2]; R];
        // SAFETY: the panel has `groups` times 32 columns of 4 and each of the R rows `groups` fours, which are even
        // in number.
        unsafe {
            if more {
                for (pair, sums) in acc.iter_mut().zip(sums.0.chunks_exact(COLUMNS)) {
                    pair[0] = _mm256_loadu_si256(sums.as_ptr().add(half).cast());
                    pair[1] = _mm256_loadu_si256(sums.as_ptr().add(half + 8).cast());
                }
            }
            let (mut a, mut b) = (a, b.add(half * 4));
            for _ in 0..groups / 2 {
                let columns = |at: usize| _mm256_loadu_si256(b.add(at * 4).cast());
                let first = [columns(0), columns(8)];
                let second = [columns(COLUMNS), columns(COLUMNS + 8)];
                b = b.add(2 * COLUMNS * 4);
                for (r, acc) in acc.iter_mut().enumerate() {
                    let four = |at: usize| {
                        let at = a.add(r * stride + at).cast::<i32>();
                        _mm256_set1_epi32(at.read_unaligned())
                    };
                    let x = [four(0), four(4)];
                    for side in 0..2 {
                        let products = _mm256_add_epi16(
                            _mm256_maddubs_epi16(x[0], first[side]),
                            _mm256_maddubs_epi16(x[1], second[side]),
                        );
                        let pairs = _mm256_madd_epi16(products, ones);
                        acc[side] = _mm256_add_epi32(acc[side], pairs);
                    }
                }
                a = a.add(8);
            }
            for (pair, out) in acc.iter().zip(sums.0.chunks_exact_mut(COLUMNS)) {
                _mm256_storeu_si256(out.as_mut_ptr().add(half).cast(), pair[0]);
                _mm256_storeu_si256(out.as_mut_ptr().add(half + 8).cast(), pair[1]);
            }
        }
    }
}
