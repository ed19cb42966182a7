//! Memory that begins at a cache line, as any kind of number.

use bytemuck::{AnyBitPattern, NoUninit, Pod, Zeroable};

/// A cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

#[expect(unsafe_code, reason = "bytemuck's derive does not know of alignment")]
// SAFETY: 64 bytes without gaps, of which every pattern is a value.
unsafe impl Zeroable for Line {}
#[expect(unsafe_code, reason = "bytemuck's derive does not know of alignment")]
// SAFETY: as above.
unsafe impl Pod for Line {}

/// Zeros at first.
#[derive(Clone, Default)]
pub(crate) struct Lines(Vec<Line>);

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} cache lines", self.0.len())
    }
}

impl Lines {
    /// Room for `count` values of T.
    pub(crate) fn zeros<T>(count: usize) -> Self {
        Self(vec![Line([0; 64]); (count * size_of::<T>()).div_ceil(64)])
    }

    pub(crate) fn of<T: AnyBitPattern>(&self) -> &[T] {
        bytemuck::cast_slice(&self.0)
    }

    pub(crate) fn of_mut<T: AnyBitPattern + NoUninit>(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(&mut self.0)
    }
}
