//! The rows of a generation, in the order of their ids: vectors, codes, records, columns.
//!
//! The same layout serves the rows committed after a generation, which are laid out in memory when an
//! index is opened.
//!
//! ```text
//! ids       32 x rows      content hashes, ascending
//! vectors   2 x dim x rows f16
//! codes     stride x rows  8-bit codes, rows padded to a multiple of 32; then 12 x rows scales (`scan`)
//! records   .              JSON, one after another, padded to 8; then 8 x (rows + 1) offsets
//! columns   .              see `columns`
//! ```

use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use half::f16;

use super::bytes::Bytes;
use super::columns::{self, Columns, Texts};
use super::layout::{Build, HEAD, Kind};
use crate::bitset::Bitset;
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::id::ContentHash;
use crate::record::Record;
use crate::scan::{self, Matrix, RowScale};

/// The files, in the order in which they are written and opened.
pub(crate) const FILES: [Kind; 5] = [
    Kind::Ids,
    Kind::Vectors,
    Kind::Codes,
    Kind::Records,
    Kind::Columns,
];

/// Writes rows, which must come in the order of their ids.
#[derive(Debug)]
pub(crate) struct TableWriter<W> {
    dim: usize,
    ids: W,
    vectors: W,
    codes: W,
    records: W,
    columns: W,
    scales: Vec<RowScale>,
    offsets: Vec<u64>,
    columns_builder: columns::Builder,
    row_codes: Vec<i8>,
}

impl<W: Write> TableWriter<W> {
    /// `files` as in [`FILES`], empty.
    pub(crate) fn new(build: &Build, files: [W; FILES.len()]) -> io::Result<Self> {
        let mut files = files;
        for (file, kind) in files.iter_mut().zip(FILES) {
            file.write_all(&build.head(kind))?;
        }
        let [ids, vectors, codes, records, columns] = files;
        let dim = build.dim as usize;
        Ok(Self {
            dim,
            ids,
            vectors,
            codes,
            records,
            columns,
            scales: Vec::new(),
            offsets: vec![0],
            columns_builder: columns::Builder::default(),
            row_codes: vec![0; scan::code_stride(dim)],
        })
    }

    pub(crate) fn push(&mut self, record: &Record, embedding: &[f16]) -> io::Result<()> {
        if embedding.len() != self.dim {
            return Err(io::Error::other(format!(
                "the vector of {} has {} components instead of {}",
                record.id,
                embedding.len(),
                self.dim
            )));
        }
        self.ids.write_all(&record.id.0)?;
        self.vectors.write_all(bytemuck::cast_slice(embedding))?;
        self.scales
            .push(scan::encode(embedding, &mut self.row_codes));
        self.codes
            .write_all(bytemuck::cast_slice(&self.row_codes))?;
        let json = serde_json::to_vec(record)?;
        self.records.write_all(&json)?;
        let end = self.offsets.last().copied().unwrap_or(0);
        self.offsets.push(end + json.len() as u64);
        self.columns_builder.push(record);
        Ok(())
    }

    /// Writes what stands at the ends, and gives the files back.
    pub(crate) fn finish(mut self) -> io::Result<[W; FILES.len()]> {
        self.codes.write_all(bytemuck::cast_slice(&self.scales))?;
        let end = self.offsets.last().copied().unwrap_or(0);
        let padding = (end.next_multiple_of(8) - end) as usize;
        self.records.write_all(&[0; 8][..padding])?;
        self.records
            .write_all(bytemuck::cast_slice(&self.offsets))?;
        self.columns_builder.write(&mut self.columns)?;
        Ok([
            self.ids,
            self.vectors,
            self.codes,
            self.records,
            self.columns,
        ])
    }
}

/// Rows that can be searched and fetched.
#[derive(Debug)]
pub(crate) struct Table {
    rows: usize,
    dim: usize,
    files: [Bytes; FILES.len()],
    texts: OnceLock<Texts>,
    /// Where the files lie, for messages.
    folder: PathBuf,
}

impl Table {
    /// `files` as in [`FILES`]; an error names the file and says what is wrong.
    pub(crate) fn new(
        build: &Build,
        files: [Bytes; FILES.len()],
        folder: &Path,
    ) -> Result<Self, (Kind, String)> {
        let too_many = |_| {
            (
                Kind::Ids,
                "it has more rows than memory can address".to_owned(),
            )
        };
        let rows = usize::try_from(build.rows).map_err(too_many)?;
        let dim = usize::try_from(build.dim).map_err(too_many)?;
        let table = Self {
            rows,
            dim,
            files,
            texts: OnceLock::new(),
            folder: folder.to_owned(),
        };
        for (bytes, kind) in table.files.iter().zip(FILES) {
            let body = build.body(kind, bytes).map_err(|what| (kind, what))?;
            let expected = match kind {
                Kind::Ids => rows.checked_mul(32),
                Kind::Vectors => rows.checked_mul(2 * dim),
                Kind::Codes => rows.checked_mul(scan::code_stride(dim) + size_of::<RowScale>()),
                Kind::Records => table.payload_len().ok().map(|_| body.len()),
                Kind::Columns | Kind::Graph => {
                    Columns::read(body, rows).map_err(|what| (kind, what))?;
                    Some(body.len())
                }
            };
            if expected != Some(body.len()) {
                let what = format!("its {} bytes are not those of {rows} rows", bytes.len());
                return Err((kind, what));
            }
        }
        if rows > u32::MAX as usize - 1 || dim == 0 || dim > crate::dot::MAX_DIM {
            return Err((
                Kind::Ids,
                format!("{rows} rows of {dim} components cannot be searched"),
            ));
        }
        Ok(table)
    }

    /// Lays rows out in memory.
    pub(crate) fn in_memory(
        dim: usize,
        rows: &[(Record, Vec<f16>)],
        folder: &Path,
    ) -> Result<Self> {
        let build = Build {
            rows: rows.len() as u64,
            dim: dim as u64,
            ..Build::default()
        };
        let mut writer = TableWriter::new(&build, Default::default())?;
        for (record, embedding) in rows {
            writer.push(record, embedding)?;
        }
        let files: [Vec<u8>; FILES.len()] = writer.finish()?;
        Self::new(&build, files.map(|file| Bytes::copy_of(&file)), folder).map_err(|(_, what)| {
            Error::Corrupt {
                path: folder.to_owned(),
                what,
            }
        })
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    fn body(&self, kind: Kind) -> &[u8] {
        FILES
            .iter()
            .position(|file| *file == kind)
            .and_then(|index| self.files[index].get(HEAD..))
            .unwrap_or_default()
    }

    fn damaged(&self, kind: Kind, what: String) -> Error {
        Error::Corrupt {
            path: self.folder.join(kind.file_name()),
            what,
        }
    }

    pub(crate) fn matrix(&self) -> Matrix<'_> {
        let codes = self.body(Kind::Codes);
        let (codes, scales) = codes
            .split_at_checked(self.rows * scan::code_stride(self.dim))
            .unwrap_or_default();
        // Lengths and alignment were checked when the table was opened.
        Matrix {
            dim: self.dim,
            vectors: bytemuck::try_cast_slice(self.body(Kind::Vectors)).unwrap_or_default(),
            codes: bytemuck::cast_slice(codes),
            scales: bytemuck::try_cast_slice(scales).unwrap_or_default(),
        }
    }

    fn ids(&self) -> &[[u8; 32]] {
        bytemuck::cast_slice(self.body(Kind::Ids))
    }

    pub(crate) fn id(&self, row: usize) -> Option<ContentHash> {
        self.ids().get(row).copied().map(ContentHash)
    }

    /// The row of a picture.
    pub(crate) fn find(&self, id: &ContentHash) -> Option<usize> {
        let ids = self.ids();
        let near = near(ids, &id.0);
        let found = ids.get(near.clone())?.binary_search(&id.0).ok()?;
        Some(near.start + found)
    }

    /// The first row whose id is not smaller.
    pub(crate) fn first_from(&self, id: &ContentHash) -> usize {
        self.ids().partition_point(|other| *other < id.0)
    }

    pub(crate) fn vector(&self, row: usize) -> Option<&[f16]> {
        self.matrix()
            .vectors
            .get(row * self.dim..(row + 1) * self.dim)
    }

    /// # Errors
    /// `Corrupt` names the file.
    pub(crate) fn record(&self, row: usize) -> Result<Record> {
        let damaged =
            |what: &str| self.damaged(Kind::Records, format!("the record of row {row} {what}"));
        let payload = self
            .payload_len()
            .map_err(|what| self.damaged(Kind::Records, what))?;
        let body = self.body(Kind::Records);
        let (payload, offsets) = body.split_at_checked(payload).unwrap_or_default();
        let offset = |row: usize| {
            let bytes = offsets.get(row * 8..row * 8 + 8)?.try_into().ok()?;
            usize::try_from(u64::from_le_bytes(bytes)).ok()
        };
        let json = offset(row)
            .zip(offset(row + 1))
            .and_then(|(start, end)| payload.get(start..end))
            .ok_or_else(|| damaged("lies outside of the file"))?;
        let record: Record = serde_json::from_slice(json)
            .map_err(|error| damaged(&format!("cannot be read: {error}")))?;
        if Some(record.id) != self.id(row) {
            return Err(damaged("is that of another picture"));
        }
        Ok(record)
    }

    /// Bytes before the offsets.
    fn payload_len(&self) -> Result<usize, String> {
        let len = self.body(Kind::Records).len();
        len.checked_sub((self.rows + 1) * 8)
            .filter(|payload| payload.is_multiple_of(8))
            .ok_or_else(|| format!("its {len} bytes are not those of {} rows", self.rows))
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = Result<Record>> + '_ {
        (0..self.rows).map(|row| self.record(row))
    }

    /// Rows that a filter allows.
    pub(crate) fn allowed(&self, filter: &Filter) -> Result<Bitset> {
        if *filter == Filter::everything() {
            return Ok(Bitset::all(self.rows));
        }
        let damaged = |what| self.damaged(Kind::Columns, what);
        let columns = Columns::read(self.body(Kind::Columns), self.rows).map_err(damaged)?;
        let texts = match self.texts.get() {
            Some(texts) => texts,
            None => {
                let texts = columns.texts().map_err(damaged)?;
                self.texts.get_or_init(|| texts)
            }
        };
        columns.allowed(filter, texts, &|row| self.record(row))
    }
}

/// A range of sorted ids that holds this one, if any does. Ids are hashes, so where one stands follows from its
/// first digits to within about the square root of their number; whatever they are, the range is right.
fn near(ids: &[[u8; 32]], id: &[u8; 32]) -> Range<usize> {
    let head = id.first_chunk().map_or(0, |head| u64::from_be_bytes(*head));
    let guess = ((u128::from(head) * ids.len() as u128) >> 64) as usize;
    let (mut start, mut end) = (guess, guess);
    let mut step = 32;
    while start > 0 && ids.get(start).is_none_or(|at| at > id) {
        start = start.saturating_sub(step);
        step *= 2;
    }
    step = 32;
    while ids.get(end).is_some_and(|at| at <= id) {
        end = end.saturating_add(step);
        step *= 2;
    }
    start..end.min(ids.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_found_however_ids_are_spread() {
        let hashes = |n: u32| (0..n).map(|i| ContentHash::of(&i.to_le_bytes()).0);
        let low = (0..3000u16).map(|i| {
            let mut id = [0; 32];
            id[..2].copy_from_slice(&i.to_be_bytes());
            id
        });
        let high = [[u8::MAX; 32]];
        let all: [Vec<[u8; 32]>; 5] = [
            hashes(5000).collect(),
            low.clone().collect(),
            low.chain(high).collect(),
            hashes(1).collect(),
            Vec::new(),
        ];
        for mut ids in all {
            ids.sort_unstable();
            let asked = hashes(6000).chain([[0; 32], [u8::MAX; 32], [1; 32]]);
            for id in ids.clone().into_iter().chain(asked) {
                let range = near(&ids, &id);
                let found = ids[range.clone()]
                    .binary_search(&id)
                    .map(|at| at + range.start);
                assert_eq!(found.ok(), ids.binary_search(&id).ok());
            }
        }
    }
}
