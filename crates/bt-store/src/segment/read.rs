//! Reading segments: a snapshot of what is committed, without the writer's lock.

use std::io;
use std::path::{Path, PathBuf};

use fs_err::File;

use crate::collection::Header;
use crate::error::{Error, Result};
use crate::header::read_header;
use crate::id::ContentHash;
use crate::record::Record;
use crate::segment::format::{FileHeader, FrameKind, MARK_FRAME, Mark};
use crate::segment::list::{self, List};
use crate::segment::scan::{Raw, Scan, SegmentFile};
use crate::segment::{Committed, Place, Position, Stored};
use crate::storage::Storage;

/// The committed part of all segments at one moment. Files stay open, so a compaction that removes them
/// does not disturb a reader.
#[derive(Debug)]
pub(crate) struct Segments {
    index: PathBuf,
    header: Header,
    list: List,
    files: Vec<SegmentFile>,
    committed: Committed,
    /// Set when one of the two copies of the last mark is not there: its number and where it ends.
    torn: Option<(Mark, u64)>,
    warnings: Vec<Error>,
}

impl Segments {
    /// Opens what is committed now.
    pub(crate) fn open(index: &Path) -> Result<Self> {
        let header = read_header(index)?;
        let mut tries = 0;
        loop {
            let (list, warning) = read_list(index)?;
            let mut segments = Self::open_files(index, &header, list)?;
            // A compaction may have replaced the files between the reading of the list and theirs.
            let vanished = segments.files.iter().any(|file| file.file.is_none());
            tries += 1;
            if vanished && tries < 10 && read_list(index)?.0 != segments.list {
                continue;
            }
            segments.warnings.extend(warning);
            return Ok(segments);
        }
    }

    /// Opens the segments of a list, whether or not they are the ones that count.
    pub(crate) fn open_files(index: &Path, header: &Header, list: List) -> Result<Self> {
        let mut warnings = Vec::new();
        let files = open_files(index, header, &list, &mut warnings)?;
        let mut segments = Self {
            index: index.to_owned(),
            header: header.clone(),
            list,
            files,
            committed: Committed {
                end: Position::START,
                sequence: 0,
                checksum: 0,
            },
            torn: None,
            warnings,
        };
        segments.find_end()?;
        Ok(segments)
    }

    /// Behind the last commit.
    pub(crate) fn end(&self) -> Position {
        self.committed.end
    }

    /// The last commit.
    pub(crate) fn committed(&self) -> Committed {
        self.committed
    }

    /// Which files these are.
    pub(crate) fn list(&self) -> &List {
        &self.list
    }

    /// Writes the list anew when it could not be read.
    pub(crate) fn mend_list(&self, storage: &dyn Storage) -> Result<()> {
        match List::read(&self.index) {
            Ok(Some(_)) => Ok(()),
            Ok(None) | Err(Error::Corrupt { .. }) => self.list.write(storage, &self.index),
            Err(error) => Err(error),
        }
    }

    /// The last mark and where it ends, when its second copy is missing.
    pub(crate) fn torn_mark(&self) -> Option<(Mark, u64)> {
        self.torn
    }

    /// What was found damaged on opening (without reading the records).
    pub(crate) fn warnings(&self) -> &[Error] {
        &self.warnings
    }

    /// Bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.end).sum()
    }

    /// Takes in a commit that the owner of the lock has made.
    pub(crate) fn follow(&mut self, list: &List, committed: Committed) -> Result<()> {
        if self.list != *list {
            // A new file: those before it are read to their ends from now on.
            let mut ignored = Vec::new();
            self.files = open_files(&self.index, &self.header, list, &mut ignored)?;
            self.list = list.clone();
        }
        if let Some(last) = self.files.last_mut() {
            last.end = committed.end.offset;
        }
        self.committed = committed;
        self.torn = None;
        Ok(())
    }

    /// Whether these segments go on from a position: false when it lies in segments that a compaction
    /// replaced, or beyond the end. What was derived up to such a position is then no base for
    /// [`Self::changes_since`].
    pub(crate) fn continues(&self, from: Position) -> bool {
        from == Position::START
            || (from <= self.end() && self.list.segments.contains(&from.segment))
    }

    /// The commit that ends at a position, if one does.
    pub(crate) fn committed_at(&self, at: Position) -> Result<Option<Committed>> {
        if at == self.committed.end {
            return Ok(Some(self.committed));
        }
        let Some(file) = self.files.iter().find(|file| file.number == at.segment) else {
            return Ok(None);
        };
        for copy in 1..=2 {
            let Some(offset) = at.offset.checked_sub(copy * MARK_FRAME as u64) else {
                continue;
            };
            let frame = match file.frame(offset) {
                Ok(frame) => frame,
                Err(Error::Corrupt { .. }) => continue,
                Err(error) => return Err(error),
            };
            if let Some(committed) = frame.committed()
                && committed.end == at
            {
                return Ok(Some(committed));
            }
        }
        Ok(None)
    }

    /// Every change after a position, in the order of commits (from the first one when the segments do
    /// not continue `from`).
    ///
    /// An item `Err(Error::Corrupt { .. })` names a damaged stretch of a file; the next item is the first
    /// sound change behind it. After any other error the iteration is over.
    pub(crate) fn changes_since(
        &self,
        from: Position,
    ) -> impl Iterator<Item = Result<Stored>> + '_ {
        let dim = self.header.dim;
        self.frames_since(from).filter_map(move |raw| match raw {
            Ok(raw) => self
                .file_of(raw.place)
                .and_then(|file| file.decode(&raw, dim))
                .transpose(),
            Err(error) => Some(Err(error)),
        })
    }

    /// As [`Self::changes_since`], undecoded, and with the marks.
    pub(crate) fn frames_since(&self, from: Position) -> Frames<'_> {
        let from = if self.continues(from) {
            from
        } else {
            Position::START
        };
        Frames {
            files: self
                .files
                .iter()
                .skip_while(|file| file.number < from.segment)
                .collect::<Vec<_>>()
                .into_iter(),
            from,
            scan: None,
            sequence: match self.list.first_commit {
                Some(first) if from == Position::START => first.checked_sub(1),
                _ => None,
            },
            over: false,
        }
    }

    /// The frame at a place.
    pub(crate) fn frame(&self, place: Place) -> Result<Raw> {
        self.file_of(place)?.frame(place.offset)
    }

    /// The record of a `Put` or `Update`.
    pub(crate) fn record(&self, raw: &Raw) -> Result<Record> {
        self.file_of(raw.place)?.record(raw)
    }

    /// The content hash of a `Remove`.
    pub(crate) fn removed(&self, raw: &Raw) -> Result<ContentHash> {
        self.file_of(raw.place)?.id(raw)
    }

    /// The meaning of a frame; `None` for a mark.
    pub(crate) fn decode(&self, raw: &Raw) -> Result<Option<Stored>> {
        self.file_of(raw.place)?.decode(raw, self.header.dim)
    }

    /// Bytes of a committed stretch of a file, fewer where it ends.
    pub(crate) fn stretch(&self, place: Place, len: u64) -> Result<Vec<u8>> {
        let file = self.file_of(place)?;
        let most = file.end.saturating_sub(place.offset).min(len);
        file.read(place.offset, most as usize)
    }

    /// An error about a place.
    pub(crate) fn damaged(&self, place: Place, what: String) -> Error {
        Error::Corrupt {
            path: list::file_of(&self.index, place.segment),
            what,
        }
    }

    fn file_of(&self, place: Place) -> Result<&SegmentFile> {
        self.files
            .iter()
            .find(|file| file.number == place.segment)
            .ok_or_else(|| self.damaged(place, "the list of segments does not name it".into()))
    }

    /// Finds the last commit: only the newest file can have bytes behind it that are not committed, for
    /// a new file begins after the commit before is synced.
    fn find_end(&mut self) -> Result<()> {
        let newest = self.list.segments.last().copied();
        let mut ended = false;
        for file in self.files.iter_mut().rev() {
            if file.file.is_none() {
                continue;
            }
            let found = file.last_mark(file.end)?;
            if !ended {
                ended = true;
                self.committed.end.segment = file.number;
                if Some(file.number) == newest {
                    let len = file.end;
                    let (at, end) = match found {
                        Some((mark, at)) => (at, mark.end().unwrap_or(at)),
                        None => (file.start, file.start),
                    };
                    file.end = at;
                    if let Some((mark, at)) = found
                        && (end != at || end > len)
                    {
                        self.torn = Some((mark, at));
                    }
                    self.committed.end.offset = end;
                } else {
                    self.committed.end.offset = file.end;
                }
            }
            if let Some((mark, _)) = found {
                self.committed.sequence = mark.sequence;
                self.committed.checksum = mark.checksum;
                break;
            }
        }
        Ok(())
    }
}

/// The list, from the files themselves where it cannot be read, with the reason.
fn read_list(index: &Path) -> Result<(List, Option<Error>)> {
    let reason = match List::read(index) {
        Ok(Some(list)) => return Ok((list, None)),
        Ok(None) => Error::Corrupt {
            path: list::path(index),
            what: "the file is missing".into(),
        },
        Err(error @ Error::Corrupt { .. }) => error,
        Err(error) => return Err(error),
    };
    match List::from_files(index)? {
        Some(list) => Ok((list, Some(reason))),
        None => Err(reason),
    }
}

fn open_files(
    index: &Path,
    header: &Header,
    list: &List,
    warnings: &mut Vec<Error>,
) -> Result<Vec<SegmentFile>> {
    list.segments
        .iter()
        .map(|number| {
            let path = list::file_of(index, *number);
            let expected = FileHeader {
                number: *number,
                epoch: list.epoch,
                index: header.clone(),
            };
            let mut segment = SegmentFile {
                number: *number,
                start: expected.to_bytes()?.len() as u64,
                end: 0,
                file: None,
                path,
            };
            match File::open(&segment.path) {
                Ok(file) => {
                    segment.end = file.metadata()?.len();
                    segment.file = Some(file);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    warnings.push(segment.damaged("the file is missing"));
                    return Ok(segment);
                }
                Err(error) => return Err(error.into()),
            }
            // The head says nothing that the index does not know already: a damaged one is no loss.
            match list::read_head(&segment.path) {
                Ok(head) if head == expected => {}
                Ok(_) => warnings.push(segment.damaged("the file belongs to another index")),
                Err(error @ Error::Corrupt { .. }) => warnings.push(error),
                Err(error) => return Err(error),
            }
            Ok(segment)
        })
        .collect()
}

/// Frames of all files, in the order of commits.
#[derive(Debug)]
pub(crate) struct Frames<'a> {
    files: std::vec::IntoIter<&'a SegmentFile>,
    from: Position,
    scan: Option<Scan<'a>>,
    sequence: Option<u64>,
    over: bool,
}

impl Frames<'_> {
    /// Whether commits are missing between the last mark seen and this one.
    fn gap(&mut self, raw: &Raw) -> Option<String> {
        let mark = raw.mark()?;
        let before = self.sequence.replace(mark.sequence)?;
        // The second copy of a mark repeats its number.
        (mark.sequence != before && mark.sequence != before.wrapping_add(1)).then(|| {
            format!(
                "commit {} at byte {} follows commit {before}: what was between is missing",
                mark.sequence, raw.place.offset
            )
        })
    }
}

impl Iterator for Frames<'_> {
    type Item = Result<Raw>;

    fn next(&mut self) -> Option<Result<Raw>> {
        while !self.over {
            let Some(scan) = &mut self.scan else {
                let Some(file) = self.files.next() else {
                    self.over = true;
                    break;
                };
                if file.file.is_none() {
                    return Some(Err(file.damaged("the file is missing")));
                }
                let offset = if file.number == self.from.segment {
                    self.from.offset
                } else {
                    0
                };
                self.scan = Some(Scan::new(file, offset));
                continue;
            };
            match scan.next() {
                None => self.scan = None,
                Some(Ok(raw)) => {
                    let file = scan.file;
                    if raw.kind == FrameKind::Mark
                        && let Some(gap) = self.gap(&raw)
                    {
                        return Some(Err(file.damaged(gap)));
                    }
                    return Some(Ok(raw));
                }
                Some(Err(error)) => {
                    self.over = !matches!(error, Error::Corrupt { .. });
                    return Some(Err(error));
                }
            }
        }
        None
    }
}
