//! Kernels for 64-bit ARM: four rows by four vectors of columns stay in registers.

use std::arch::aarch64::*;
use std::arch::asm;

use super::{COLUMNS, Kernel, Operands, Tile};

/// f32 by f32.
pub(crate) struct F32;
/// Signed by signed bytes, summed in i32 (dot products of ARMv8.2).
pub(crate) struct Int8;

/// Columns of a pass over a panel.
const PASS: usize = 16;

impl Kernel for F32 {
    type Row = f32;
    type Column = f32;
    type Sum = f32;
    const ROWS: usize = 4;

    #[inline]
    unsafe fn tile(rows: usize, of: Operands<f32, f32>, more: bool, sums: &mut Tile<f32>) {
        // SAFETY: passed on from the caller; rows behind `rows` are there.
        unsafe {
            match rows {
                0..=1 => f32_rows::<1>(of, more, sums),
                2 => f32_rows::<2>(of, more, sums),
                _ => f32_rows::<4>(of, more, sums),
            }
        }
    }
}

#[target_feature(enable = "neon")]
unsafe fn f32_rows<const R: usize>(of: Operands<f32, f32>, more: bool, sums: &mut Tile<f32>) {
    let Operands {
        groups,
        a,
        stride,
        b,
        ..
    } = of;
    for first in (0..COLUMNS).step_by(PASS) {
        let mut acc = [[vdupq_n_f32(0.0); 4]; R];
        // SAFETY: the panel has `groups` times 32 columns, each of the R rows `groups` numbers, and `sums` R rows of
        // 32, of which 16 are behind `first`.
        unsafe {
            let place = sums.0.as_mut_ptr().add(first);
            if more {
                for (r, acc) in acc.iter_mut().enumerate() {
                    for (i, acc) in acc.iter_mut().enumerate() {
                        *acc = vld1q_f32(place.add(r * COLUMNS + 4 * i));
                    }
                }
            }
            let b = b.add(first);
            let columns = |group: usize, i: usize| vld1q_f32(b.add(group * COLUMNS + 4 * i));
            let whole = groups / 4 * 4;
            for group in (0..whole).step_by(4) {
                let x: [float32x4_t; R] =
                    std::array::from_fn(|r| vld1q_f32(a.add(r * stride + group)));
                for i in 0..4 {
                    let y = [0, 1, 2, 3].map(|k| columns(group + k, i));
                    for (acc, x) in acc.iter_mut().zip(x) {
                        acc[i] = vfmaq_laneq_f32::<0>(acc[i], y[0], x);
                        acc[i] = vfmaq_laneq_f32::<1>(acc[i], y[1], x);
                        acc[i] = vfmaq_laneq_f32::<2>(acc[i], y[2], x);
                        acc[i] = vfmaq_laneq_f32::<3>(acc[i], y[3], x);
                    }
                }
            }
            for group in whole..groups {
                for (r, acc) in acc.iter_mut().enumerate() {
                    for (i, acc) in acc.iter_mut().enumerate() {
                        *acc = vfmaq_n_f32(*acc, columns(group, i), *a.add(r * stride + group));
                    }
                }
            }
            for (r, acc) in acc.iter().enumerate() {
                for (i, acc) in acc.iter().enumerate() {
                    vst1q_f32(place.add(r * COLUMNS + 4 * i), *acc);
                }
            }
        }
    }
}

impl Kernel for Int8 {
    type Row = i8;
    type Column = i8;
    type Sum = i32;
    const ROWS: usize = 4;

    #[inline]
    unsafe fn tile(rows: usize, of: Operands<i8, i8>, more: bool, sums: &mut Tile<i32>) {
        // SAFETY: passed on from the caller; rows behind `rows` are there.
        unsafe {
            match rows {
                0..=1 => int8_rows::<1>(of, more, sums),
                2 => int8_rows::<2>(of, more, sums),
                _ => int8_rows::<4>(of, more, sums),
            }
        }
    }
}

/// Adds to the sums of four columns the products of four groups of them with those of a row. The instruction has no
/// stable name in Rust.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn dot(mut sums: int32x4_t, columns: [int8x16_t; 4], row: int8x16_t) -> int32x4_t {
    let [first, second, third, fourth] = columns;
    // SAFETY: registers alone are used, and the processor has the instruction.
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {first:v}.16b, {row:v}.4b[0]",
            "sdot {sums:v}.4s, {second:v}.16b, {row:v}.4b[1]",
            "sdot {sums:v}.4s, {third:v}.16b, {row:v}.4b[2]",
            "sdot {sums:v}.4s, {fourth:v}.16b, {row:v}.4b[3]",
            sums = inout(vreg) sums,
            first = in(vreg) first,
            second = in(vreg) second,
            third = in(vreg) third,
            fourth = in(vreg) fourth,
            row = in(vreg) row,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sums
}

#[target_feature(enable = "neon,dotprod")]
unsafe fn int8_rows<const R: usize>(of: Operands<i8, i8>, more: bool, sums: &mut Tile<i32>) {
    let Operands {
        groups,
        a,
        stride,
        b,
        ..
    } = of;
    for first in (0..COLUMNS).step_by(PASS) {
        let mut acc = [[vdupq_n_s32(0); 4]; R];
        // SAFETY: the panel has `groups` times 32 columns of 4, each of the R rows `groups` fours, which are whole
        // lines, and `sums` R rows of 32, of which 16 are behind `first`.
        unsafe {
            let place = sums.0.as_mut_ptr().add(first);
            if more {
                for (r, acc) in acc.iter_mut().enumerate() {
                    for (i, acc) in acc.iter_mut().enumerate() {
                        *acc = vld1q_s32(place.add(r * COLUMNS + 4 * i));
                    }
                }
            }
            let b = b.add(first * 4);
            let columns = |group: usize, i: usize| vld1q_s8(b.add((group * COLUMNS + 4 * i) * 4));
            for group in (0..groups).step_by(4) {
                let x: [int8x16_t; R] =
                    std::array::from_fn(|r| vld1q_s8(a.add(r * stride + group * 4)));
                for i in 0..4 {
                    let y = [0, 1, 2, 3].map(|k| columns(group + k, i));
                    for (acc, x) in acc.iter_mut().zip(x) {
                        acc[i] = dot(acc[i], y, x);
                    }
                }
            }
            for (r, acc) in acc.iter().enumerate() {
                for (i, acc) in acc.iter().enumerate() {
                    vst1q_s32(place.add(r * COLUMNS + 4 * i), *acc);
                }
            }
        }
    }
}
