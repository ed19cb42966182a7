//! Kernels in plain Rust: for processors without a kernel of their own, and what the others are tested against.

use half::bf16;

use super::{COLUMNS, Kernel, Operands, Tile};
use crate::kernels::pack::{LINE_OF_BF16, PARTS};

/// f32 by f32.
pub(crate) struct F32;
/// bf16 by bf16, summed in f32.
pub(crate) struct Bf16;
/// f32 by f32, each as the sum of three bf16, summed in f32.
pub(crate) struct Split;
/// Unsigned by signed 8-bit numbers, summed in i32.
pub(crate) struct Int8;

macro_rules! kernel {
    ($name:ident, $row:ty, $column:ty, $sum:ty, $group:literal, $wide:expr, $wide_column:expr) => {
        impl Kernel for $name {
            type Row = $row;
            type Column = $column;
            type Sum = $sum;
            const ROWS: usize = 4;

            #[inline(always)]
            unsafe fn tile(
                rows: usize,
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
                for r in 0..rows {
                    // SAFETY: the caller's promise covers `groups` groups of row `r` and of the panel.
                    let (row, panel) = unsafe {
                        (
                            std::slice::from_raw_parts(a.add(r * stride), groups * $group),
                            std::slice::from_raw_parts(b, groups * COLUMNS * $group),
                        )
                    };
                    let sums = &mut sums.0.as_chunks_mut::<COLUMNS>().0[r];
                    let mut acc = if more {
                        *sums
                    } else {
                        [<$sum>::default(); COLUMNS]
                    };
                    for (x, columns) in row
                        .chunks_exact($group)
                        .zip(panel.chunks_exact(COLUMNS * $group))
                    {
                        for (sum, column) in acc.iter_mut().zip(columns.chunks_exact($group)) {
                            for (x, y) in x.iter().zip(column) {
                                *sum += $wide(*x) * $wide_column(*y);
                            }
                        }
                    }
                    *sums = acc;
                }
            }
        }
    };
}

kernel!(F32, f32, f32, f32, 1, |x: f32| x, |x: f32| x);
kernel!(Bf16, bf16, bf16, f32, 2, widen, widen);
kernel!(Int8, u8, i8, i32, 4, i32::from, i32::from);

/// Puts the parts together again.
impl Kernel for Split {
    type Row = bf16;
    type Column = bf16;
    type Sum = f32;
    const ROWS: usize = 4;

    #[inline(always)]
    unsafe fn tile(rows: usize, of: Operands<bf16, bf16>, more: bool, sums: &mut Tile<f32>) {
        let Operands {
            groups,
            a,
            stride,
            b,
            ..
        } = of;
        const LINE: usize = LINE_OF_BF16;
        for r in 0..rows {
            // SAFETY: the caller's promise covers `groups` groups of row `r` and of the panel.
            let (row, panel) = unsafe {
                (
                    std::slice::from_raw_parts(a.add(r * stride), groups * 2),
                    std::slice::from_raw_parts(b, groups * COLUMNS * 2),
                )
            };
            let sums = &mut sums.0.as_chunks_mut::<COLUMNS>().0[r];
            let mut acc = if more { *sums } else { [0.0; COLUMNS] };
            let lines = row.chunks_exact(PARTS * LINE);
            for (row, panel) in lines.zip(panel.chunks_exact(PARTS * LINE * COLUMNS)) {
                for i in 0..LINE {
                    let whole = |values: &[bf16], at: usize, part: usize| -> f32 {
                        (0..PARTS).rev().map(|p| widen(values[p * part + at])).sum()
                    };
                    let x = whole(row, i, LINE);
                    for (c, sum) in acc.iter_mut().enumerate() {
                        *sum += x * whole(panel, (i / 2 * COLUMNS + c) * 2 + i % 2, LINE * COLUMNS);
                    }
                }
            }
            *sums = acc;
        }
    }
}

/// Without the branches that `half` has for machines with instructions for it.
#[inline(always)]
fn widen(x: bf16) -> f32 {
    f32::from_bits(u32::from(x.to_bits()) << 16)
}
