//! Dot products by matrix tiles: 16 rows by 16 queries at once.

use std::arch::asm;

use bt_cpu::Tiles;

/// Rows and queries of a product of tiles.
pub(super) const SIDE: usize = 16;

/// Codes of a row that a tile holds.
pub(super) const DEPTH: usize = 64;

/// Sums of [`SIDE`] queries by [`SIDE`] rows.
type Sums = [[i32; SIDE]; SIDE];

/// Queries as tiles hold them: four codes of each by turns.
pub(super) fn interleaved(queries: &[i8], len: usize) -> Vec<i8> {
    let mut tiles = vec![0; SIDE * len];
    for (query, codes) in queries.chunks_exact(len).take(SIDE).enumerate() {
        for (step, four) in codes.as_chunks::<4>().0.iter().enumerate() {
            tiles[(step * SIDE + query) * 4..][..4].copy_from_slice(four);
        }
    }
    tiles
}

/// Queries by the first rows, as many of them as are a multiple of [`SIDE`]: so many rows were taken.
///
/// # Safety
/// [`bt_cpu::Level::Amx`] is there.
pub(super) unsafe fn queries_with_rows(
    interleaved: &[i8],
    len: usize,
    rows: &[i8],
    out: &mut [[i32; SIDE]],
) -> usize {
    assert!(len.is_multiple_of(DEPTH) && len > 0 && interleaved.len() == SIDE * len);
    let (sums, _) = out.as_chunks_mut::<SIDE>();
    // SAFETY: the caller's promise, and nobody up the stack multiplies tiles.
    let _tiles = unsafe { Tiles::take() };
    let mut taken = 0;
    for (rows, sums) in rows.chunks_exact(SIDE * len).zip(sums) {
        // SAFETY: the tiles have their shape, and all that is read was asserted or cut to its size above.
        unsafe { by_one(interleaved, len, rows, sums) };
        taken += SIDE;
    }
    taken
}

/// # Safety
/// The thread has its tiles; `rows` are [`SIDE`], and they and the queries are `len` codes long, a multiple of
/// [`DEPTH`] above zero.
#[inline]
unsafe fn by_one(interleaved: &[i8], len: usize, rows: &[i8], sums: &mut Sums) {
    // SAFETY: a step reads 64 codes of each of 16 rows and 16 groups of four of the queries; the sums are 16 rows
    // of 64 bytes.
    unsafe {
        asm!(
            "tilezero tmm0",
            "2:",
            "tileloadd tmm1, [{rows} + {len}*1]",
            "tileloadd tmm2, [{queries} + {line}*1]",
            "tdpbssd tmm0, tmm1, tmm2",
            "add {rows}, 64",
            "add {queries}, 1024",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{sums} + {line}*1], tmm0",
            rows = inout(reg) rows.as_ptr() => _,
            queries = inout(reg) interleaved.as_ptr() => _,
            steps = inout(reg) len / DEPTH => _,
            len = in(reg) len,
            line = in(reg) 64usize,
            sums = in(reg) sums.as_mut_ptr(),
            out("tmm0") _, out("tmm1") _, out("tmm2") _,
            options(nostack),
        );
    }
}
