//! Which segment files count: the file `segments/current`, replaced as a whole when a segment begins and
//! when a compaction switches from the old files to the new ones.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use fs_err::File;
use serde::{Deserialize, Serialize};

use crate::collection::Header;
use crate::error::{Error, Result};
use crate::sealed;
use crate::segment::format::{FileHeader, HeadFlaw};
use crate::storage::Storage;

/// The folder of segments in an index.
pub(crate) fn folder(index: &Path) -> PathBuf {
    index.join("segments")
}

/// The file of a segment.
pub(super) fn file_of(index: &Path, number: u64) -> PathBuf {
    folder(index).join(format!("{number:08}.seg"))
}

/// The file of a segment that a compaction is still writing.
pub(super) fn unfinished_file_of(index: &Path, number: u64) -> PathBuf {
    folder(index).join(format!("{number:08}.seg.new"))
}

/// The list file of an index.
pub(crate) fn path(index: &Path) -> PathBuf {
    folder(index).join("current")
}

/// The segments that count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct List {
    /// Compactions so far.
    pub(crate) epoch: u64,
    /// Number of the first commit in these segments; `None` when the list was made anew from the files.
    pub(crate) first_commit: Option<u64>,
    /// Numbers of the segments, growing.
    pub(crate) segments: Vec<u64>,
}

impl List {
    /// The list of an index, as it was last written.
    pub(super) fn read(index: &Path) -> Result<Option<Self>> {
        sealed::read(&path(index))
    }

    /// Makes this the list.
    pub(super) fn write(&self, storage: &dyn Storage, index: &Path) -> Result<()> {
        sealed::write(storage, &path(index), self)
    }

    /// The list as the files tell it, for when it is missing or damaged: a compaction gives its files
    /// their names only once all are complete, so those of the newest epoch of which none is unfinished
    /// count. `None` when there is no segment.
    pub(super) fn from_files(index: &Path) -> Result<Option<Self>> {
        let mut epochs: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        let mut unfinished = None;
        let mut heads_lost = Vec::new();
        for (number, path, complete) in files(index)? {
            match read_head(&path) {
                Ok(head) if complete => epochs.entry(head.epoch).or_default().push(number),
                Ok(head) => unfinished = Some(head.epoch),
                Err(_) if complete => heads_lost.push(number),
                Err(_) => {}
            }
        }
        epochs.retain(|epoch, _| Some(*epoch) != unfinished);
        // A file with a damaged head still holds sound records: it counts with its neighbours.
        let Some((epoch, mut segments)) = epochs.pop_last() else {
            return Ok((!heads_lost.is_empty()).then_some(Self {
                epoch: 0,
                first_commit: None,
                segments: heads_lost,
            }));
        };
        let first = segments.iter().copied().min().unwrap_or(0);
        segments.extend(
            heads_lost
                .iter()
                .filter(|number| **number >= first || epoch == 0),
        );
        segments.sort_unstable();
        Ok(Some(Self {
            epoch,
            first_commit: None,
            segments,
        }))
    }
}

/// Every segment file that is there, by number: number, path, whether it is complete.
pub(super) fn files(index: &Path) -> Result<Vec<(u64, PathBuf, bool)>> {
    let folder = folder(index);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let Some((number, ending)) = name.and_then(|name| name.split_once('.')) else {
            continue;
        };
        if let (Ok(number), "seg" | "seg.new") = (number.parse(), ending) {
            let complete = ending == "seg";
            files.push((number, path, complete));
        }
    }
    files.sort();
    Ok(files)
}

/// The head of a segment file.
pub(super) fn read_head(path: &Path) -> Result<FileHeader> {
    // A head holds two model specifications, at most two paths long.
    const MOST: u64 = 64 << 10;
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST).read_to_end(&mut bytes)?;
    FileHeader::from_bytes(&bytes).map_err(|flaw| match flaw {
        HeadFlaw::Newer(found) => Error::NewerFormat {
            path: path.to_owned(),
            found,
            supported: sealed::FORMAT,
        },
        HeadFlaw::Unsound => Error::Corrupt {
            path: path.to_owned(),
            what: "the head of the file is not what was written".into(),
        },
    })
}

/// What an index is made with, as its newest segment says.
pub(crate) fn header_from_files(index: &Path) -> Result<Option<Header>> {
    let heads = files(index)?;
    Ok(heads
        .into_iter()
        .rev()
        .find_map(|(_, path, _)| read_head(&path).ok())
        .map(|head| head.index))
}
