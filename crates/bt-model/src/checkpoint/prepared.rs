//! Weights in the form that kernels read, kept in a file of the cache folder so that the next start maps them.
//! What is in it can always be made again from the checkpoint; a file that is not whole counts as none.
//!
//! Layout: parts, each beginning at a cache line; then an index in JSON; then its length as a little-endian u64
//! and eight bytes that say what kind of file it is.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fs_err::File;
use memmap2::Mmap;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::cache;
use crate::kernels::pack::{Format, Packed};
use crate::kernels::{LINE, Lines};

/// The last eight bytes. Another layout, or other rounding, is another number.
const KIND: &[u8; 8] = b"BTPACK01";

/// A linear layer as it was prepared.
pub(crate) struct PreparedLinear {
    pub(crate) weight: Packed,
    pub(crate) bias: Option<Vec<f32>>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Part {
    at: u64,
    bytes: u64,
    crc: u32,
}

#[derive(Serialize, Deserialize)]
struct Linear {
    inputs: usize,
    outputs: usize,
    values: Part,
    scale: Part,
    sum: Part,
    bias: Option<Part>,
}

#[derive(Serialize, Deserialize)]
struct Table {
    rows: usize,
    width: usize,
    values: Part,
}

#[derive(Default, Serialize, Deserialize)]
struct Index {
    linear: BTreeMap<String, Linear>,
    tables: BTreeMap<String, Table>,
}

/// An open file.
pub(crate) struct Prepared {
    file: Arc<Mmap>,
    index: Index,
    format: Format,
}

impl Prepared {
    /// The file, when it is there and whole.
    pub(crate) fn open(path: &Path, format: Format) -> Option<Self> {
        let file = File::open(path).ok()?;
        #[expect(unsafe_code, reason = "hundreds of megabytes are mapped, not copied")]
        // SAFETY: the file is ours, is put there whole by renaming and never written again.
        let file = Arc::new(unsafe { Mmap::map(file.file()) }.ok()?);
        let (rest, kind) = file.split_last_chunk::<8>()?;
        let (rest, length) = rest.split_last_chunk::<8>()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let index = &rest[rest.len().checked_sub(length)?..];
        if kind != KIND {
            return None;
        }
        let index: Index = serde_json::from_slice(index).ok()?;
        let mut parts: Vec<Part> = index.tables.values().map(|table| table.values).collect();
        for linear in index.linear.values() {
            parts.extend([linear.values, linear.scale, linear.sum]);
            parts.extend(linear.bias);
        }
        let whole = parts.par_iter().all(|part| {
            bytes(&file, *part).is_some_and(|bytes| crc32fast::hash(bytes) == part.crc)
        });
        whole.then_some(Self {
            file,
            index,
            format,
        })
    }

    /// The layer that was put under `name`, of this shape.
    pub(crate) fn linear(
        &self,
        name: &str,
        outputs: usize,
        inputs: usize,
    ) -> Option<PreparedLinear> {
        let linear = self.index.linear.get(name)?;
        let lines = self.lines(linear.values)?;
        let weight = Packed {
            format: self.format,
            inputs,
            outputs,
            lines,
            scale: self.numbers(linear.scale)?,
            sum: self.numbers(linear.sum)?,
        };
        let panels = weight.panels() * crate::kernels::tile::COLUMNS;
        let quantised = self.format.codes().map_or(0, |_| panels);
        let fits = (linear.outputs, linear.inputs) == (outputs, inputs)
            && weight.lines.bytes().len() == panels * weight.groups() * 4
            && (weight.scale.len(), weight.sum.len()) == (quantised, quantised);
        let bias = match linear.bias {
            Some(part) => Some(self.numbers::<f32>(part)?),
            None => None,
        };
        (fits && bias.as_ref().is_none_or(|bias| bias.len() == panels))
            .then_some(PreparedLinear { weight, bias })
    }

    /// The table of f32 that was put under `name`, of this shape.
    pub(crate) fn table(&self, name: &str, rows: usize, width: usize) -> Option<Lines> {
        let table = self.index.tables.get(name)?;
        let lines = self.lines(table.values)?;
        ((table.rows, table.width) == (rows, width) && lines.bytes().len() >= rows * width * 4)
            .then_some(lines)
    }

    fn lines(&self, part: Part) -> Option<Lines> {
        let bytes = usize::try_from(part.bytes).ok()?.next_multiple_of(LINE);
        Lines::mapped(&self.file, usize::try_from(part.at).ok()?, bytes)
    }

    fn numbers<T: bytemuck::Pod>(&self, part: Part) -> Option<Vec<T>> {
        bytemuck::try_cast_slice(bytes(&self.file, part)?)
            .ok()
            .map(<[T]>::to_vec)
    }
}

fn bytes(file: &Mmap, part: Part) -> Option<&[u8]> {
    let at = usize::try_from(part.at).ok()?;
    file.get(at..at.checked_add(usize::try_from(part.bytes).ok()?)?)
}

/// A file that is being written, beside its name until it is whole. A write that fails ends it.
pub(crate) struct Preparing {
    path: PathBuf,
    own: PathBuf,
    file: Option<BufWriter<File>>,
    at: u64,
    index: Index,
}

impl Preparing {
    /// `None` where nothing can be written.
    pub(crate) fn begin(path: &Path) -> Option<Self> {
        let folder = path.parent()?;
        fs_err::create_dir_all(folder).ok()?;
        remove_abandoned(folder);
        let own = cache::part_of(path);
        Some(Self {
            file: Some(BufWriter::with_capacity(1 << 20, File::create(&own).ok()?)),
            path: path.to_owned(),
            own,
            at: 0,
            index: Index::default(),
        })
    }

    pub(crate) fn linear(&mut self, name: String, weight: &Packed, bias: Option<&[f32]>) {
        let linear = Linear {
            inputs: weight.inputs,
            outputs: weight.outputs,
            values: self.part(weight.lines.bytes()),
            scale: self.part(bytemuck::cast_slice(&weight.scale)),
            sum: self.part(bytemuck::cast_slice(&weight.sum)),
            bias: bias.map(|bias| self.part(bytemuck::cast_slice(bias))),
        };
        self.index.linear.insert(name, linear);
    }

    pub(crate) fn table(&mut self, name: String, values: &[f32], rows: usize, width: usize) {
        let values = self.part(bytemuck::cast_slice(values));
        self.index.tables.insert(
            name,
            Table {
                rows,
                width,
                values,
            },
        );
    }

    fn part(&mut self, bytes: &[u8]) -> Part {
        let part = Part {
            at: self.at,
            bytes: bytes.len() as u64,
            crc: crc32fast::hash(bytes),
        };
        let gap = bytes.len().next_multiple_of(LINE) - bytes.len();
        self.write(bytes);
        self.write(&[0; LINE][..gap]);
        self.at += (bytes.len() + gap) as u64;
        part
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(file) = &mut self.file
            && file.write_all(bytes).is_err()
        {
            self.file = None;
        }
    }

    /// Puts the file under its name.
    pub(crate) fn finish(mut self) {
        let Ok(index) = serde_json::to_vec(&self.index) else {
            return;
        };
        self.write(&index);
        self.write(&(index.len() as u64).to_le_bytes());
        self.write(KIND);
        if let Some(mut file) = self.file.take()
            && file.flush().is_ok()
            && file.get_ref().sync_all().is_ok()
        {
            let _ = fs_err::rename(&self.own, &self.path);
        }
    }
}

/// What programs that were killed while they wrote have left: hundreds of megabytes each.
fn remove_abandoned(folder: &Path) {
    /// Longer than any writing takes.
    const ABANDONED: Duration = Duration::from_secs(3600);
    let files = fs_err::read_dir(folder).into_iter().flatten().flatten();
    for path in files.map(|file| file.path()) {
        let unchanged = || {
            fs_err::metadata(&path)
                .ok()?
                .modified()
                .ok()?
                .elapsed()
                .ok()
        };
        if path.extension().is_some_and(|end| end == "part")
            && unchanged().is_some_and(|since| since > ABANDONED)
        {
            let _ = fs_err::remove_file(path);
        }
    }
}

impl Drop for Preparing {
    fn drop(&mut self) {
        // After `finish` it has its name, and this finds nothing.
        let _ = fs_err::remove_file(&self.own);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::rows::{Matrix, Values};
    use crate::kernels::{Level, On};

    fn packed(format: Format) -> Packed {
        let values: Vec<f32> = (0..70 * 33)
            .map(|i| ((i * 37) % 101) as f32 - 50.0)
            .collect();
        let matrix = Matrix::new(Level::best(), Values::F32(&values), 70, 33, 33);
        Packed::from_rows(format, matrix, On::ThisThread)
    }

    #[test]
    fn what_was_put_is_found_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b.weights");
        for format in [Format::Bf16, Format::Int8, Format::Int7] {
            let weight = packed(format);
            let bias = vec![1.5; 96];
            let table: Vec<f32> = (0..30).map(|i| i as f32).collect();
            let mut file = Preparing::begin(&path).unwrap();
            file.linear("x".to_owned(), &weight, Some(&bias));
            file.linear("y".to_owned(), &weight, None);
            file.table("t".to_owned(), &table, 10, 3);
            assert!(!path.exists() || format != Format::Bf16);
            file.finish();

            let file = Prepared::open(&path, format).unwrap();
            let found = file.linear("x", 70, 33).unwrap();
            assert_eq!(found.weight.values::<u32>(), weight.values::<u32>());
            assert_eq!(
                (found.weight.scale, found.weight.sum),
                (weight.scale, weight.sum)
            );
            assert_eq!(found.bias, Some(bias));
            assert!(file.linear("y", 70, 33).unwrap().bias.is_none());
            assert_eq!(&file.table("t", 10, 3).unwrap().of::<f32>()[..30], table);
            assert!(file.linear("z", 70, 33).is_none() && file.linear("x", 33, 70).is_none());
            assert!(file.table("t", 3, 10).is_none());
            assert_eq!(fs_err::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        }
    }

    #[test]
    fn what_killed_programs_left_is_removed_and_what_others_write_stays() {
        let folder = tempfile::tempdir().unwrap();
        for (name, hours) in [("int8.7.part", 2), ("int8.8.part", 0), ("loss.json", 2)] {
            let path = folder.path().join(name);
            fs_err::write(&path, b"x").unwrap();
            let file = File::options().append(true).open(path).unwrap();
            let then = std::time::SystemTime::now() - Duration::from_secs(3600 * hours);
            file.file().set_modified(then).unwrap();
        }
        drop(Preparing::begin(&folder.path().join("int8.weights")).unwrap());
        let there = |name: &str| folder.path().join(name).exists();
        assert!(!there("int8.7.part") && there("int8.8.part") && there("loss.json"));
    }

    #[test]
    fn a_file_that_is_not_whole_counts_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.weights");
        assert!(Prepared::open(&path, Format::Int8).is_none());
        let mut file = Preparing::begin(&path).unwrap();
        file.linear("x".to_owned(), &packed(Format::Int8), None);
        file.finish();
        let whole = fs_err::read(&path).unwrap();
        assert!(Prepared::open(&path, Format::Int8).is_some());
        for at in [0, 64, 2000, whole.len() - 9, whole.len() - 1] {
            let mut broken = whole.clone();
            broken[at] ^= 0x40;
            fs_err::write(&path, &broken).unwrap();
            assert!(Prepared::open(&path, Format::Int8).is_none(), "byte {at}");
        }
        for length in [0, 7, 20, whole.len() - 1] {
            fs_err::write(&path, &whole[..length]).unwrap();
            assert!(
                Prepared::open(&path, Format::Int8).is_none(),
                "{length} bytes"
            );
        }
    }
}
