//! One segment file, read frame by frame: a damaged stretch is named and stepped over.

use std::path::PathBuf;

use fs_err::File;

use crate::error::{Error, Result};
use crate::id::ContentHash;
use crate::record::Record;
use crate::segment::format::{self, Flaw, FrameKind, MARK_FRAME, Mark};
use crate::segment::{Committed, Place, Position, Stored};

/// Bytes read at once.
const WINDOW: usize = 1 << 20;

/// A segment file with the bounds of what counts in it.
#[derive(Debug)]
pub(super) struct SegmentFile {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    /// `None` when the list names it and it is not there.
    pub(super) file: Option<File>,
    /// Where the first batch stands.
    pub(super) start: u64,
    /// Where the last committed batch and its marks end.
    pub(super) end: u64,
}

/// A sound frame, copied out of its file; a picture's record and vector are not decoded yet.
#[derive(Clone, Debug)]
pub(crate) struct Raw {
    /// Where it starts.
    pub(crate) place: Place,
    /// What it is.
    pub(crate) kind: FrameKind,
    /// JSON, or a content hash, or a mark.
    pub(crate) record: Vec<u8>,
    /// Little-endian f16.
    pub(crate) embedding: Vec<u8>,
}

impl Raw {
    /// The commit that a mark stands for.
    pub(crate) fn committed(&self) -> Option<Committed> {
        if self.kind != FrameKind::Mark {
            return None;
        }
        let mark = self.mark()?;
        Some(Committed {
            end: Position {
                segment: self.place.segment,
                offset: mark.end()?,
            },
            sequence: mark.sequence,
            checksum: mark.checksum,
        })
    }

    /// What a mark says.
    pub(crate) fn mark(&self) -> Option<Mark> {
        Mark::from_bytes(&self.record)
    }
}

impl SegmentFile {
    /// An error about a stretch of this file.
    pub(super) fn damaged(&self, what: impl Into<String>) -> Error {
        Error::Corrupt {
            path: self.path.clone(),
            what: what.into(),
        }
    }

    /// The file, or the error that it is gone.
    fn file(&self) -> Result<&File> {
        self.file
            .as_ref()
            .ok_or_else(|| self.damaged("the file is missing"))
    }

    /// Bytes `at..at + len`, fewer where the file ends.
    pub(super) fn read(&self, at: u64, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        let mut read = 0;
        while read < len {
            match read_at(self.file()?, &mut bytes[read..], at + read as u64)? {
                0 => break,
                more => read += more,
            }
        }
        bytes.truncate(read);
        Ok(bytes)
    }

    /// The frame at an offset.
    pub(super) fn frame(&self, offset: u64) -> Result<Raw> {
        // Holds most records with their vector, so that one read is enough.
        let mut len = 4096;
        loop {
            let bytes = self.read(offset, len)?;
            match format::frame_at(&bytes, self.number, offset) {
                Ok(frame) => return Ok(self.raw(offset, frame)),
                Err(Flaw::Needs(more)) if more > len => len = more,
                Err(_) => {
                    return Err(self.damaged(format!("there is no sound record at byte {offset}")));
                }
            }
        }
    }

    /// The last sound mark in the first `len` bytes, and where it ends.
    pub(super) fn last_mark(&self, len: u64) -> Result<Option<(Mark, u64)>> {
        let mut high = len;
        let mut window = 64 << 10;
        while high > self.start {
            let low = high.saturating_sub(window).max(self.start);
            // Marks that straddle `high` begin before it.
            let bytes = self.read(low, (high - low) as usize + MARK_FRAME - 1)?;
            let bytes = &bytes[..bytes.len().min((len - low) as usize)];
            for at in (0..bytes.len().min((high - low) as usize)).rev() {
                if !bytes[at..].starts_with(&format::FRAME_MAGIC) {
                    continue;
                }
                let place = low + at as u64;
                if let Ok(frame) = format::frame_at(&bytes[at..], self.number, place)
                    && frame.kind == FrameKind::Mark
                    && let Some(mark) = Mark::from_bytes(frame.record)
                {
                    return Ok(Some((mark, place + frame.len as u64)));
                }
            }
            high = low;
            window = (window * 4).min(16 << 20);
        }
        Ok(None)
    }

    fn raw(&self, offset: u64, frame: format::Frame<'_>) -> Raw {
        Raw {
            place: Place {
                segment: self.number,
                offset,
            },
            kind: frame.kind,
            record: frame.record.to_vec(),
            embedding: frame.embedding.to_vec(),
        }
    }

    /// A record's JSON.
    pub(super) fn record(&self, raw: &Raw) -> Result<Record> {
        serde_json::from_slice(&raw.record).map_err(|error| {
            self.damaged(format!(
                "the record at byte {} cannot be read: {error}",
                raw.place.offset
            ))
        })
    }

    /// A frame's meaning; `None` for a mark.
    pub(super) fn decode(&self, raw: &Raw, dim: usize) -> Result<Option<Stored>> {
        let at = raw.place.offset;
        Ok(match raw.kind {
            FrameKind::Mark => None,
            FrameKind::Remove => Some(Stored::Remove(self.id(raw)?)),
            FrameKind::Update => Some(Stored::Update(self.record(raw)?)),
            FrameKind::Put if raw.embedding.len() == 2 * dim => Some(Stored::Put {
                record: self.record(raw)?,
                embedding: format::embedding_from_bytes(&raw.embedding),
            }),
            FrameKind::Put => {
                return Err(self.damaged(format!(
                    "the vector at byte {at} has {} bytes, expected {}",
                    raw.embedding.len(),
                    2 * dim
                )));
            }
        })
    }

    /// The content hash of a `Remove`.
    pub(super) fn id(&self, raw: &Raw) -> Result<ContentHash> {
        format::hash_from_bytes(&raw.record).ok_or_else(|| {
            self.damaged(format!(
                "the removal at byte {} names no picture",
                raw.place.offset
            ))
        })
    }
}

/// Frames of one file, in order, from an offset to the end of what is committed.
#[derive(Debug)]
pub(super) struct Scan<'a> {
    pub(super) file: &'a SegmentFile,
    offset: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl<'a> Scan<'a> {
    pub(super) fn new(file: &'a SegmentFile, from: u64) -> Self {
        Self {
            file,
            offset: from.max(file.start),
            window: Vec::new(),
            window_at: 0,
        }
    }

    /// The bytes from `at`: at least `len` of them, unless what is committed ends before.
    fn bytes(&mut self, at: u64, len: usize) -> Result<&[u8]> {
        let wanted = (self.file.end.saturating_sub(at)).min(len as u64) as usize;
        let skip = at.checked_sub(self.window_at).map(|skip| skip as usize);
        if let Some(skip) = skip
            && skip + wanted <= self.window.len()
        {
            return Ok(&self.window[skip..]);
        }
        let most = (self.file.end.saturating_sub(at)).min(len.max(WINDOW) as u64) as usize;
        self.window = self.file.read(at, most)?;
        self.window_at = at;
        Ok(&self.window)
    }

    /// The frame at an offset, or `None` where there is none that is sound.
    fn sound_at(&mut self, at: u64) -> Result<Option<(Raw, usize)>> {
        let file = self.file;
        let mut needed = 64;
        loop {
            let bytes = self.bytes(at, needed)?;
            match format::frame_at(bytes, file.number, at) {
                Ok(frame) => return Ok(Some((file.raw(at, frame), frame.len))),
                Err(Flaw::Needs(more)) if more > needed && at + more as u64 <= file.end => {
                    needed = more;
                }
                Err(_) => return Ok(None),
            }
        }
    }

    /// The next sound frame behind a damaged place.
    fn resync(&mut self) -> Result<()> {
        let mut at = self.offset + 1;
        while at < self.file.end {
            let bytes = self.bytes(at, 4)?;
            let found = bytes
                .windows(4)
                .position(|four| four == format::FRAME_MAGIC);
            match found {
                Some(skip) => {
                    at += skip as u64;
                    if self.sound_at(at)?.is_some() {
                        break;
                    }
                    at += 1;
                }
                // The last three bytes may begin a magic that goes on in the next window.
                None => at += (bytes.len() as u64).saturating_sub(3).max(1),
            }
        }
        self.offset = at.min(self.file.end);
        Ok(())
    }
}

impl Iterator for Scan<'_> {
    type Item = Result<Raw>;

    fn next(&mut self) -> Option<Result<Raw>> {
        if self.offset >= self.file.end {
            return None;
        }
        match self.sound_at(self.offset) {
            Ok(Some((raw, len))) => {
                self.offset += len as u64;
                Some(Ok(raw))
            }
            Ok(None) => {
                let from = self.offset;
                if let Err(error) = self.resync() {
                    self.offset = self.file.end;
                    return Some(Err(error));
                }
                Some(Err(self.file.damaged(format!(
                    "bytes {from} to {} hold no sound record",
                    self.offset
                ))))
            }
            Err(error) => {
                self.offset = self.file.end;
                Some(Err(error))
            }
        }
    }
}

#[cfg(unix)]
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
    use fs_err::os::unix::fs::FileExt;
    file.read_at(buffer, offset)
}

#[cfg(windows)]
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
    use fs_err::os::windows::fs::FileExt;
    file.seek_read(buffer, offset)
}
