//! Bytes of a derived file: mapped from disk, or made in memory with the same layout. The only mapping of ours;
//! tantivy maps its own files.

#![expect(unsafe_code, reason = "mapping a file")]

use std::ops::Deref;
use std::path::Path;

use fs_err::File;
use memmap2::Mmap;

use crate::error::Result;

/// Bytes that begin at a multiple of eight.
#[derive(Debug)]
pub(crate) enum Bytes {
    Mapped(Mmap),
    Owned { words: Vec<u64>, len: usize },
}

impl Bytes {
    /// Maps a file of a generation.
    pub(crate) fn map(path: &Path) -> Result<Self> {
        let file = File::open(path)?;
        // SAFETY: the bytes must not change while they are mapped. Files of a generation are written
        // before it is published and never again; removing one leaves the mapping as it was. Somebody
        // who overwrites or truncates them by hand breaks this, as with every database that maps files.
        let map = unsafe { Mmap::map(file.file()) }.map_err(|error| {
            std::io::Error::new(
                error.kind(),
                format!("cannot map `{}`: {error}", path.display()),
            )
        })?;
        Ok(Self::Mapped(map))
    }

    /// A copy in memory.
    pub(crate) fn copy_of(bytes: &[u8]) -> Self {
        let mut words = vec![0u64; bytes.len().div_ceil(8)];
        bytemuck::cast_slice_mut::<u64, u8>(&mut words)[..bytes.len()].copy_from_slice(bytes);
        Self::Owned {
            words,
            len: bytes.len(),
        }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Owned { words, len } => {
                bytemuck::cast_slice(words).get(..*len).unwrap_or_default()
            }
        }
    }
}
