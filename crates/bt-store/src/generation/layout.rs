//! What every derived file begins with, so that no two of different generations are taken for one another.
//!
//! ```text
//!  0  8  "BTDERIVE"          24  8  stamp of the build, random
//!  8  4  kind of the file    32  8  rows
//! 12  4  format version      40  8  components of a vector
//! 16  8  generation          48 16  zero
//! ```
//! Numbers are little-endian. What follows is described where it is written: `table` (ids, vectors, codes,
//! records), `columns`, and `graph`. The folder `words` is tantivy's; its stamp is the manifest's checksums.

use bytemuck::{Pod, Zeroable};

#[cfg(target_endian = "big")]
compile_error!("derived files are read in place, as little-endian numbers");

/// Version of all derived files; another version is built anew.
pub(crate) const FORMAT: u32 = 1;

/// Bytes of a head.
pub(crate) const HEAD: usize = size_of::<Head>();

/// A file of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Ids,
    Vectors,
    Codes,
    Records,
    Columns,
    Graph,
}

impl Kind {
    /// Its name in the generation's folder.
    pub(crate) fn file_name(self) -> &'static str {
        match self {
            Self::Ids => "ids",
            Self::Vectors => "vectors",
            Self::Codes => "codes",
            Self::Records => "records",
            Self::Columns => "columns",
            Self::Graph => "graph",
        }
    }

    fn number(self) -> u32 {
        self as u32 + 1
    }
}

/// What all files of one build have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Build {
    pub(crate) generation: u64,
    pub(crate) stamp: u64,
    pub(crate) rows: u64,
    pub(crate) dim: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct Head {
    magic: [u8; 8],
    kind: u32,
    format: u32,
    generation: u64,
    stamp: u64,
    rows: u64,
    dim: u64,
    zero: [u64; 2],
}

impl Build {
    /// The head of a file.
    pub(crate) fn head(&self, kind: Kind) -> [u8; HEAD] {
        bytemuck::cast(Head {
            magic: *b"BTDERIVE",
            kind: kind.number(),
            format: FORMAT,
            generation: self.generation,
            stamp: self.stamp,
            rows: self.rows,
            dim: self.dim,
            zero: [0; 2],
        })
    }

    /// What follows the head, if the head is that of this build and kind.
    pub(crate) fn body<'a>(&self, kind: Kind, bytes: &'a [u8]) -> Result<&'a [u8], String> {
        let Some((head, body)) = bytes.split_first_chunk::<HEAD>() else {
            return Err(format!("it has {} bytes, less than its head", bytes.len()));
        };
        if *head == self.head(kind) {
            return Ok(body);
        }
        let found: Head = bytemuck::pod_read_unaligned(head);
        Err(
            if found.magic != *b"BTDERIVE" || found.kind != kind.number() {
                "its head is not that of such a file".into()
            } else if found.format != FORMAT {
                format!("it has format version {}, expected {FORMAT}", found.format)
            } else {
                format!(
                    "it belongs to another build (generation {}, stamp {:016x}; expected {}, {:016x})",
                    found.generation, found.stamp, self.generation, self.stamp
                )
            },
        )
    }
}
