//! The innermost loops: a tile of a product, for each kind of number and each level. Nothing is known here of
//! where rows come from or what becomes of the sums.
//!
//! Rows `a` stand one after the other, `stride` elements apart. Columns `b` stand in panels of [`COLUMNS`]:
//! `[groups][COLUMNS][elements of a group]`, where a group is four bytes of consecutive inputs: one f32, two
//! bf16, four 8-bit numbers. Rows hold `groups` groups too.
#![expect(unsafe_code, reason = "kernels are given pointers into packed rows")]

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
pub(crate) mod portable;

/// Columns of a panel.
pub(crate) const COLUMNS: usize = 32;

/// The most rows that any kernel takes at once; prepared rows are filled up with zeros to a multiple of it.
pub(crate) const ROWS: usize = 32;

/// Sums, row after row.
#[repr(C, align(64))]
pub(crate) struct Tile<C>(pub(crate) [C; ROWS * COLUMNS]);

/// One kind of number on one level.
pub(crate) trait Kernel {
    /// An element of the rows.
    type Row: Copy + Default + Send + Sync;
    /// An element of the columns.
    type Column: Copy + Send + Sync;
    /// A sum.
    type Sum: Copy + Default + Send;
    /// Rows that it takes at once.
    const ROWS: usize;

    /// Called on a thread before its first tile; what it returns is dropped after its last.
    fn begin() -> impl Sized {}

    /// `sums[r * COLUMNS + c] = Σ a[r] · b[c]` for `r < rows`; rows of `sums` behind may be overwritten.
    ///
    /// # Safety
    /// The processor has the level; [`Kernel::begin`]'s value lives; `rows <= Self::ROWS`; `a` holds
    /// [`ROWS`] rows of `groups` groups at `stride`, and `b` a panel of `groups` groups.
    unsafe fn tile(
        rows: usize,
        groups: usize,
        a: *const Self::Row,
        stride: usize,
        b: *const Self::Column,
        sums: &mut Tile<Self::Sum>,
    );
}
