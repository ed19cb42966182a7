//! Kernels for AMX: tiles of 16 rows by 64 bytes, multiplied as a whole.
//!
//! Eight tile registers: four hold the sums of 32 x 32, two hold rows, two hold columns.

use std::arch::asm;

use bt_cpu::Tiles;
use half::bf16;

use super::{Kernel, Operands, TILE_ROWS, Tile};
use crate::kernels::pack::PARTS;

/// bf16 by bf16, summed in f32.
pub(crate) struct Bf16;
/// f32 by f32, each as the sum of three bf16, summed in f32.
pub(crate) struct Split;
/// Unsigned by signed 8-bit numbers, summed in i32.
pub(crate) struct Int8;

/// Groups of four bytes that a tile row has.
pub(crate) const GROUPS: usize = 16;

/// Sums from where they were, or zero.
macro_rules! begin {
    ($($tile:literal at $offset:literal),*) => {
        concat!(
            "test {more}, {more}",
            "\njz 3f",
            $("\ntileloadd ", $tile, ", [{c} + {panel}*1 + ", $offset, "]",)*
            "\njmp 2f",
            "\n3:",
            $("\ntilezero ", $tile,)*
        )
    };
}

/// Lines that come into the second cache.
macro_rules! ahead {
    ($($at:literal),*) => {
        concat!($("prefetcht1 [{ahead} + ", $at, "]\n"),*)
    };
}

macro_rules! kernel {
    ($name:ident, $row:ty, $column:ty, $sum:ty, $product:literal) => {
        impl Kernel for $name {
            type Row = $row;
            type Column = $column;
            type Sum = $sum;
            const ROWS: usize = 32;
            const ROWS_TOGETHER: usize = TILE_ROWS;
            const GROUPS_NEAR: usize = 6 * GROUPS;

            fn begin() -> impl Sized {
                // SAFETY: this level would not have been chosen if it were not there; a product takes tiles once a thread.
                unsafe { Tiles::take() }
            }

            #[inline]
            unsafe fn tile(
                rows: usize,
                of: Operands<$row, $column>,
                more: bool,
                sums: &mut Tile<$sum>,
            ) {
                let Operands { groups, a, stride, b, ahead } = of;
                debug_assert!(groups.is_multiple_of(GROUPS) && groups > 0);
                let row_bytes = stride * size_of::<$row>();
                let steps = groups / GROUPS;
                // SAFETY: the caller's promise: 32 rows of `groups` groups at `stride` and a panel of `groups`
                // groups are there, and the tiles have their shape. A step reads 64 bytes of each row and 16
                // groups of the panel, and the sums are 32 rows of 128 bytes.
                unsafe {
                    if rows > 16 {
                        asm!(
                            begin!("tmm0" at 0, "tmm1" at 64, "tmm2" at 2048, "tmm3" at 2112),
                            "2:",
                            "tileloadd tmm4, [{a} + {line}*1]",
                            "tileloadd tmm6, [{b} + {panel}*1]",
                            concat!($product, " tmm0, tmm4, tmm6"),
                            "tileloadd tmm7, [{b} + {panel}*1 + 64]",
                            concat!($product, " tmm1, tmm4, tmm7"),
                            "tileloadd tmm5, [{a16} + {line}*1]",
                            concat!($product, " tmm2, tmm5, tmm6"),
                            concat!($product, " tmm3, tmm5, tmm7"),
                            ahead!(0, 64, 128, 192), "add {ahead}, 256", "add {a}, 1024", "add {a16}, 1024", "add {b}, 2048",
                            "dec {steps}",
                            "jnz 2b",
                            "tilestored [{c} + {panel}*1], tmm0",
                            "tilestored [{c} + {panel}*1 + 64], tmm1",
                            "tilestored [{c} + {panel}*1 + 2048], tmm2",
                            "tilestored [{c} + {panel}*1 + 2112], tmm3",
                            a = inout(reg) a => _,
                            a16 = inout(reg) a.byte_add(16 * row_bytes) => _,
                            b = inout(reg) b => _,
                            ahead = inout(reg) ahead => _,
                            steps = inout(reg) steps => _,
                            more = in(reg) usize::from(more),
                            line = in(reg) 64usize,
                            panel = in(reg) 128usize,
                            c = in(reg) sums.0.as_mut_ptr(),
                            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                            options(nostack),
                        );
                    } else {
                        asm!(
                            begin!("tmm0" at 0, "tmm1" at 64),
                            "2:",
                            "tileloadd tmm4, [{a} + {line}*1]",
                            "tileloadd tmm6, [{b} + {panel}*1]",
                            concat!($product, " tmm0, tmm4, tmm6"),
                            "tileloadd tmm7, [{b} + {panel}*1 + 64]",
                            concat!($product, " tmm1, tmm4, tmm7"),
                            ahead!(0, 64, 128, 192), "add {ahead}, 256", "add {a}, 1024", "add {b}, 2048",
                            "dec {steps}",
                            "jnz 2b",
                            "tilestored [{c} + {panel}*1], tmm0",
                            "tilestored [{c} + {panel}*1 + 64], tmm1",
                            a = inout(reg) a => _,
                            b = inout(reg) b => _,
                            ahead = inout(reg) ahead => _,
                            steps = inout(reg) steps => _,
                            more = in(reg) usize::from(more),
                            line = in(reg) 64usize,
                            panel = in(reg) 128usize,
                            c = in(reg) sums.0.as_mut_ptr(),
                            out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
                            options(nostack),
                        );
                    }
                }
            }
        }
    };
}

kernel!(Bf16, bf16, bf16, f32, "tdpbf16ps");
kernel!(Int8, u8, i8, i32, "tdpbusd");

/// Groups of a step of [`Split`]: a line of each part.
const STEP: usize = PARTS * GROUPS;

impl Kernel for Split {
    type Row = bf16;
    type Column = bf16;
    type Sum = f32;
    const ROWS: usize = 32;
    const ROWS_TOGETHER: usize = TILE_ROWS;
    const GROUPS_NEAR: usize = 4 * STEP;

    fn begin() -> impl Sized {
        // SAFETY: this level would not have been chosen if it were not there; a product takes tiles once a thread.
        unsafe { Tiles::take() }
    }

    #[inline]
    unsafe fn tile(rows: usize, of: Operands<bf16, bf16>, more: bool, sums: &mut Tile<f32>) {
        let Operands {
            groups,
            a,
            stride,
            b,
            ahead,
        } = of;
        debug_assert!(groups.is_multiple_of(STEP) && groups > 0);
        let row_bytes = 2 * stride;
        let steps = groups / STEP;
        // SAFETY: as above, where a step is three lines of each row, one of each part, and three times 16 groups of
        // the panel. The least parts are multiplied first.
        unsafe {
            if rows > 16 {
                asm!(
                    begin!("tmm0" at 0, "tmm1" at 64, "tmm2" at 2048, "tmm3" at 2112),
                    "2:",
                    // The rows' third part by the columns' first.
                    "tileloadd tmm4, [{a} + {line}*1 + 2048]",
                    "tileloadd tmm6, [{b} + {panel}*1]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm7, [{b} + {panel}*1 + 64]",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tileloadd tmm5, [{a16} + {line}*1 + 2048]",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    // Second by first.
                    "tileloadd tmm4, [{a} + {line}*1 + 1024]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tileloadd tmm5, [{a16} + {line}*1 + 1024]",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    // Second by second.
                    "tileloadd tmm6, [{b} + {panel}*1 + 2048]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tileloadd tmm7, [{b} + {panel}*1 + 2112]",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    // First by second.
                    "tileloadd tmm4, [{a} + {line}*1]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tileloadd tmm5, [{a16} + {line}*1]",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    // First by third.
                    "tileloadd tmm6, [{b} + {panel}*1 + 4096]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tileloadd tmm7, [{b} + {panel}*1 + 4160]",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    // First by first.
                    "tileloadd tmm6, [{b} + {panel}*1]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tileloadd tmm7, [{b} + {panel}*1 + 64]",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    ahead!(0, 64, 128, 192, 256, 320, 384, 448, 512, 576, 640, 704), "add {ahead}, 768", "add {a}, 3072", "add {a16}, 3072", "add {b}, 6144",
                    "dec {steps}",
                    "jnz 2b",
                    "tilestored [{c} + {panel}*1], tmm0",
                    "tilestored [{c} + {panel}*1 + 64], tmm1",
                    "tilestored [{c} + {panel}*1 + 2048], tmm2",
                    "tilestored [{c} + {panel}*1 + 2112], tmm3",
                    a = inout(reg) a => _,
                    a16 = inout(reg) a.byte_add(16 * row_bytes) => _,
                    b = inout(reg) b => _,
                    ahead = inout(reg) ahead => _,
                    steps = inout(reg) steps => _,
                    more = in(reg) usize::from(more),
                    line = in(reg) 64usize,
                    panel = in(reg) 128usize,
                    c = in(reg) sums.0.as_mut_ptr(),
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            } else {
                asm!(
                    begin!("tmm0" at 0, "tmm1" at 64),
                    "2:",
                    "tileloadd tmm4, [{b} + {panel}*1]",
                    "tileloadd tmm5, [{b} + {panel}*1 + 64]",
                    "tileloadd tmm6, [{a} + {line}*1 + 2048]",
                    "tdpbf16ps tmm0, tmm6, tmm4",
                    "tdpbf16ps tmm1, tmm6, tmm5",
                    "tileloadd tmm7, [{a} + {line}*1 + 1024]",
                    "tdpbf16ps tmm0, tmm7, tmm4",
                    "tdpbf16ps tmm1, tmm7, tmm5",
                    "tileloadd tmm2, [{b} + {panel}*1 + 2048]",
                    "tileloadd tmm3, [{b} + {panel}*1 + 2112]",
                    "tdpbf16ps tmm0, tmm7, tmm2",
                    "tdpbf16ps tmm1, tmm7, tmm3",
                    "tileloadd tmm6, [{a} + {line}*1]",
                    "tdpbf16ps tmm0, tmm6, tmm2",
                    "tdpbf16ps tmm1, tmm6, tmm3",
                    "tileloadd tmm2, [{b} + {panel}*1 + 4096]",
                    "tileloadd tmm3, [{b} + {panel}*1 + 4160]",
                    "tdpbf16ps tmm0, tmm6, tmm2",
                    "tdpbf16ps tmm1, tmm6, tmm3",
                    "tdpbf16ps tmm0, tmm6, tmm4",
                    "tdpbf16ps tmm1, tmm6, tmm5",
                    ahead!(0, 64, 128, 192, 256, 320, 384, 448, 512, 576, 640, 704), "add {ahead}, 768", "add {a}, 3072", "add {b}, 6144",
                    "dec {steps}",
                    "jnz 2b",
                    "tilestored [{c} + {panel}*1], tmm0",
                    "tilestored [{c} + {panel}*1 + 64], tmm1",
                    a = inout(reg) a => _,
                    b = inout(reg) b => _,
                    ahead = inout(reg) ahead => _,
                    steps = inout(reg) steps => _,
                    more = in(reg) usize::from(more),
                    line = in(reg) 64usize,
                    panel = in(reg) 128usize,
                    c = in(reg) sums.0.as_mut_ptr(),
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
    }
}
