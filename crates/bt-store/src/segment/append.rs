//! Appending to segments: a batch is staged (written and synced, yet invisible), then committed (marked
//! and synced, visible). Only the owner of the writer's lock does this.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::collection::Header;
use crate::error::Result;
use crate::id::ContentHash;
use crate::segment::format::{self, FileHeader, FrameKind, Mark};
use crate::segment::list::{self, List};
use crate::segment::{Committed, Place, Position, Segments};
use crate::storage::{Append, Storage};

/// A segment that has reached this size is followed by a new one.
pub(crate) const ROLL_BYTES: u64 = 256 << 20;

/// Frames of one commit, in the form that they have at a place in a segment.
#[derive(Debug)]
pub(crate) struct Batch {
    segment: u64,
    start: u64,
    bytes: Vec<u8>,
    frames: u32,
}

impl Batch {
    /// A picture with its embedding as bytes of f16.
    pub(crate) fn put(&mut self, record: &[u8], embedding: &[u8]) -> Place {
        self.push(FrameKind::Put, record, embedding)
    }

    /// A newer record of a picture.
    pub(crate) fn update(&mut self, record: &[u8]) -> Place {
        self.push(FrameKind::Update, record, &[])
    }

    /// A picture that goes.
    pub(crate) fn remove(&mut self, id: ContentHash) -> Place {
        self.push(FrameKind::Remove, &id.0, &[])
    }

    /// Whether there is nothing to commit.
    pub(crate) fn is_empty(&self) -> bool {
        self.frames == 0
    }

    /// Bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    fn push(&mut self, kind: FrameKind, record: &[u8], embedding: &[u8]) -> Place {
        let place = Place {
            segment: self.segment,
            offset: self.start + self.bytes.len() as u64,
        };
        format::push_frame(
            &mut self.bytes,
            (place.segment, place.offset),
            kind,
            record,
            embedding,
        );
        self.frames += 1;
        place
    }
}

/// A batch that is on the disk, and that no reader takes for committed yet.
#[derive(Debug)]
#[must_use]
pub(crate) struct Staged(Mark);

/// The end of the newest segment.
#[derive(Debug)]
pub(crate) struct Appender {
    storage: Arc<dyn Storage>,
    index: PathBuf,
    header: Header,
    list: List,
    /// A compaction's files have other names until all are complete.
    unfinished: bool,
    file: Box<dyn Append>,
    committed: Committed,
    roll_bytes: u64,
}

impl Appender {
    /// Makes the first segment of an index, and the list that names it.
    pub(crate) fn create(storage: &dyn Storage, index: &Path, header: &Header) -> Result<()> {
        storage.create_folder(&list::folder(index))?;
        storage.sync_folder(index)?;
        let list = List {
            epoch: 0,
            first_commit: Some(1),
            segments: vec![1],
        };
        begin(storage, &list::file_of(index, 1), header, 1, 0)?;
        storage.sync_folder(&list::folder(index))?;
        list.write(storage, index)
    }

    /// Goes on where the committed part ends; what an interrupted commit left behind it is cut off.
    pub(crate) fn resume(
        storage: Arc<dyn Storage>,
        index: &Path,
        header: &Header,
        segments: &Segments,
        roll_bytes: u64,
    ) -> Result<Self> {
        let committed = segments.committed();
        let path = list::file_of(index, committed.end.segment);
        let file = match segments.torn_mark() {
            None => storage.reopen(&path, committed.end.offset)?,
            Some((mark, at)) => {
                // One copy of the mark is sound, so the batch is committed: both copies stand again.
                let both = mark.frames(committed.end.segment);
                let missing = committed.end.offset.saturating_sub(at) as usize;
                let mut file = storage.reopen(&path, at)?;
                file.append(&both[both.len().saturating_sub(missing)..])?;
                file.sync()?;
                file
            }
        };
        Ok(Self {
            storage,
            index: index.to_owned(),
            header: header.clone(),
            list: segments.list().clone(),
            unfinished: false,
            file,
            committed,
            roll_bytes,
        })
    }

    /// Begins the segments of the next epoch aside, for a compaction.
    pub(crate) fn aside(&self) -> Result<Self> {
        let number = self.next_number()?;
        let list = List {
            epoch: self.list.epoch + 1,
            first_commit: Some(self.committed.sequence + 1),
            segments: vec![number],
        };
        let path = list::unfinished_file_of(&self.index, number);
        let (file, len) = begin(&*self.storage, &path, &self.header, number, list.epoch)?;
        Ok(Self {
            storage: Arc::clone(&self.storage),
            index: self.index.clone(),
            header: self.header.clone(),
            list,
            unfinished: true,
            file,
            committed: Committed {
                end: Position {
                    segment: number,
                    offset: len,
                },
                ..self.committed
            },
            roll_bytes: self.roll_bytes,
        })
    }

    /// Gives the segments that were written aside their names; they do not count yet.
    pub(crate) fn name(&mut self) -> Result<()> {
        for number in &self.list.segments {
            self.storage.rename(
                &list::unfinished_file_of(&self.index, *number),
                &list::file_of(&self.index, *number),
            )?;
        }
        self.unfinished = false;
        Ok(self.storage.sync_folder(&list::folder(&self.index))?)
    }

    /// Makes the named segments the ones that count.
    pub(crate) fn switch(&self) -> Result<()> {
        self.list.write(&*self.storage, &self.index)
    }

    /// The last commit.
    pub(crate) fn committed(&self) -> Committed {
        self.committed
    }

    /// Which files count.
    pub(crate) fn list(&self) -> &List {
        &self.list
    }

    /// An empty batch, for the place where the next commit goes; begins a new segment when this one is
    /// full.
    pub(crate) fn batch(&mut self) -> Result<Batch> {
        let end = self.committed.end;
        if end.offset >= self.roll_bytes || self.list.segments.last() != Some(&end.segment) {
            self.roll()?;
        }
        Ok(Batch {
            segment: self.committed.end.segment,
            start: self.committed.end.offset,
            bytes: Vec::new(),
            frames: 0,
        })
    }

    /// Step 1: the frames are appended. Step 2: they are synced.
    pub(crate) fn stage(&mut self, batch: Batch) -> Result<Staged> {
        self.file.append(&batch.bytes)?;
        self.file.sync()?;
        Ok(Staged(Mark {
            sequence: self.committed.sequence + 1,
            start: batch.start,
            len: batch.bytes.len() as u64,
            frames: batch.frames,
            checksum: crc32fast::hash(&batch.bytes),
        }))
    }

    /// Step 3: the mark is appended, twice. Step 4: it is synced; from here on the batch is in the index.
    pub(crate) fn commit(&mut self, Staged(mark): Staged) -> Result<()> {
        let bytes = mark.frames(self.committed.end.segment);
        self.file.append(&bytes)?;
        self.file.sync()?;
        self.committed = Committed {
            end: Position {
                segment: self.committed.end.segment,
                offset: mark.start + mark.len + bytes.len() as u64,
            },
            sequence: mark.sequence,
            checksum: mark.checksum,
        };
        Ok(())
    }

    /// A new segment: its file and name are durable before the list names it, and the list is before
    /// anything is appended.
    fn roll(&mut self) -> Result<()> {
        let number = self.next_number()?;
        let path = if self.unfinished {
            list::unfinished_file_of(&self.index, number)
        } else {
            list::file_of(&self.index, number)
        };
        let (file, len) = begin(&*self.storage, &path, &self.header, number, self.list.epoch)?;
        let mut list = self.list.clone();
        list.segments.push(number);
        if !self.unfinished {
            self.storage.sync_folder(&list::folder(&self.index))?;
            list.write(&*self.storage, &self.index)?;
        }
        self.list = list;
        self.file = file;
        self.committed.end = Position {
            segment: number,
            offset: len,
        };
        Ok(())
    }

    /// A number that no file has, above all that have one.
    fn next_number(&self) -> Result<u64> {
        let there = list::files(&self.index)?.last().map(|(number, ..)| *number);
        let named = self.list.segments.last().copied();
        Ok(there.max(named).unwrap_or(0) + 1)
    }
}

/// Makes a segment file with its head, synced; returns its length.
fn begin(
    storage: &dyn Storage,
    path: &Path,
    index: &Header,
    number: u64,
    epoch: u64,
) -> Result<(Box<dyn Append>, u64)> {
    let head = FileHeader {
        number,
        epoch,
        index: index.clone(),
    };
    let bytes = head.to_bytes()?;
    let mut file = storage.create(path)?;
    file.append(&bytes)?;
    file.sync()?;
    Ok((file, bytes.len() as u64))
}

/// Removes segment files that the list does not name: what a compaction that was interrupted, or that
/// finished, left behind.
pub(crate) fn remove_leftovers(storage: &dyn Storage, index: &Path, list: &List) -> Result<()> {
    for (number, path, complete) in list::files(index)? {
        if !complete || !list.segments.contains(&number) {
            storage.remove(&path)?;
        }
    }
    Ok(())
}
