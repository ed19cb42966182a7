//! The innermost loops: a tile of a product, for each kind of number and each level. Nothing is known here of
//! where rows come from or what becomes of the sums.
//!
//! Rows `a` stand one after the other, `stride` elements apart. Columns `b` stand in panels of [`COLUMNS`]:
//! `[groups][COLUMNS][elements of a group]`, where a group is four bytes of consecutive inputs: one f32, two
//! bf16, four 8-bit numbers. Rows hold `groups` groups too; for matrix tiles they stand in tiles.
#![expect(unsafe_code, reason = "kernels are given pointers into packed rows")]

use bytemuck::{Pod, Zeroable};

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod portable;

/// Columns of a panel.
pub(crate) const COLUMNS: usize = 32;

/// The most rows that any kernel takes at once; prepared rows have memory up to a multiple of it, and nobody
/// reads the sums of what is behind the last.
pub(crate) const ROWS: usize = 32;

/// Rows of a matrix tile.
pub(crate) const TILE_ROWS: usize = 16;

/// Sums, row after row.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Tile<C>(pub(crate) [C; ROWS * COLUMNS]);

// SAFETY: ROWS * COLUMNS numbers of four bytes fill whole cache lines without gaps; every pattern is a value.
unsafe impl<C: Pod> Zeroable for Tile<C> {}
// SAFETY: as above.
unsafe impl<C: Pod> Pod for Tile<C> {}

/// What sums are made of: some groups of rows and of a panel.
#[derive(Clone, Copy)]
pub(crate) struct Operands<R, C> {
    pub(crate) groups: usize,
    pub(crate) a: *const R,
    pub(crate) stride: usize,
    pub(crate) b: *const C,
    /// From here on, wherever that is, an eighth as much as `b` is may be brought nearer.
    pub(crate) ahead: *const C,
}

/// One kind of number on one level.
pub(crate) trait Kernel {
    /// An element of the rows.
    type Row: Copy + Default + Send + Sync;
    /// An element of the columns.
    type Column: Copy + Send + Sync;
    /// A sum.
    type Sum: Pod + Send;
    /// Rows that it takes at once.
    const ROWS: usize;
    /// Elements of the rows that a group is.
    const ROW_GROUP: usize = 4 / size_of::<Self::Column>();
    /// Rows that stand together, a cache line of each by turns.
    const ROWS_TOGETHER: usize = 1;
    /// Groups after which a product goes on with the next rows, so that a panel's columns stay in the nearest
    /// cache while the rows pass by.
    const GROUPS_NEAR: usize = usize::MAX;

    /// Called on a thread before its first tile; what it returns is dropped after its last.
    fn begin() -> impl Sized {}

    /// `sums[r * COLUMNS + c] = Σ a[r] · b[c]` for `r < rows`, added to what is there if it is `more` of a sum;
    /// rows of `sums` behind may be overwritten.
    ///
    /// # Safety
    /// The processor has the level; [`Kernel::begin`]'s value lives; `rows <= Self::ROWS`; `of.a` holds [`ROWS`]
    /// rows of `of.groups` groups at `of.stride`, and `of.b` a panel of `of.groups` groups.
    unsafe fn tile(
        rows: usize,
        of: Operands<Self::Row, Self::Column>,
        more: bool,
        sums: &mut Tile<Self::Sum>,
    );
}
