//! Kernels in plain Rust: for processors without a kernel of their own, and what the others are tested against.

use half::bf16;

use super::{COLUMNS, Kernel, Tile};

/// f32 by f32.
pub(crate) struct F32;
/// bf16 by bf16, summed in f32.
pub(crate) struct Bf16;
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
                groups: usize,
                a: *const $row,
                stride: usize,
                b: *const $column,
                sums: &mut Tile<$sum>,
            ) {
                for r in 0..rows {
                    // SAFETY: the caller's promise covers `groups` groups of row `r` and of the panel.
                    let (row, panel) = unsafe {
                        (
                            std::slice::from_raw_parts(a.add(r * stride), groups * $group),
                            std::slice::from_raw_parts(b, groups * COLUMNS * $group),
                        )
                    };
                    let mut acc = [<$sum>::default(); COLUMNS];
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
                    sums.0[r * COLUMNS..(r + 1) * COLUMNS].copy_from_slice(&acc);
                }
            }
        }
    };
}

kernel!(F32, f32, f32, f32, 1, |x: f32| x, |x: f32| x);
kernel!(Bf16, bf16, bf16, f32, 2, widen, widen);
kernel!(Int8, u8, i8, i32, 4, i32::from, i32::from);

/// Without the branches that `half` has for machines with instructions for it.
#[inline(always)]
fn widen(x: bf16) -> f32 {
    f32::from_bits(u32::from(x.to_bits()) << 16)
}
