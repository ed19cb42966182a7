//! Memory that begins at a cache line, as any kind of number: of our own, or a part of a file.

use std::sync::Arc;

use bytemuck::{AnyBitPattern, NoUninit, Pod, Zeroable};
use memmap2::Mmap;

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

/// Bytes of a cache line.
pub(crate) const LINE: usize = 64;

/// Whole cache lines.
pub(crate) struct Lines(Memory);

enum Memory {
    Own(Vec<Line>),
    Mapped {
        file: Arc<Mmap>,
        at: usize,
        bytes: usize,
    },
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.bytes().len())
    }
}

impl Lines {
    /// Room for `count` values of T, zeros at first.
    pub(crate) fn zeros<T>(count: usize) -> Self {
        let lines = (count * size_of::<T>()).div_ceil(LINE);
        Self(Memory::Own(vec![Line([0; LINE]); lines]))
    }

    /// A part of a file, which is not read before it is used; `None` where it is not whole lines of the file.
    pub(crate) fn mapped(file: &Arc<Mmap>, at: usize, bytes: usize) -> Option<Self> {
        let inside = at.checked_add(bytes)? <= file.len();
        (inside && at.is_multiple_of(LINE) && bytes.is_multiple_of(LINE)).then(|| {
            Self(Memory::Mapped {
                file: Arc::clone(file),
                at,
                bytes,
            })
        })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.0 {
            Memory::Own(lines) => bytemuck::cast_slice(lines),
            Memory::Mapped { file, at, bytes } => &file[*at..at + bytes],
        }
    }

    pub(crate) fn of<T: AnyBitPattern>(&self) -> &[T] {
        bytemuck::cast_slice(self.bytes())
    }

    /// Of our own memory; a file's part gives nothing to write to.
    pub(crate) fn of_mut<T: AnyBitPattern + NoUninit>(&mut self) -> &mut [T] {
        match &mut self.0 {
            Memory::Own(lines) => bytemuck::cast_slice_mut(lines),
            Memory::Mapped { .. } => &mut [],
        }
    }
}
