//! Keys and values of the catalog.
//!
//! ```text
//! key                     value
//! 'h' content hash        place of the last put (segment, offset), place of the newest record, then
//!                         for each location: length of the path, path
//! 'p' path                content hash, size, modification time
//! 's'                     version, commit taken in (segment, offset, number, checksum), then the numbers
//!                         of pictures, locations, and frames in the segments
//! ```
//! Numbers are little-endian, of 8 bytes (version, checksum and lengths: 4).

use super::guard::Broken;
use crate::id::ContentHash;
use crate::segment::{Committed, Place, Position};

const VERSION: u32 = 1;
pub(super) const STATE: &[u8] = b"s";

/// What the catalog has taken in, and what that adds up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// The last commit taken in; `None` before the first.
    pub(crate) committed: Option<Committed>,
    /// Pictures in the index.
    pub(crate) pictures: u64,
    /// Paths in the index.
    pub(crate) locations: u64,
    /// Records and removals in the segments, superseded ones included.
    pub(crate) frames: u64,
}

/// A picture's places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The frame with its vector.
    pub(crate) put: Place,
    /// The frame with its newest record.
    pub(crate) record: Place,
    /// Its paths, as keys.
    pub(crate) paths: Vec<Vec<u8>>,
}

/// What is known of a path: the picture seen there, the file's size and modification time.
pub(crate) type Seen = (ContentHash, u64, i64);

/// All of a catalog.
#[derive(Debug)]
pub(crate) struct Dump {
    /// By id.
    pub(crate) entries: Vec<(ContentHash, Entry)>,
    /// By path, as keys.
    pub(crate) paths: Vec<(Vec<u8>, Seen)>,
}

pub(super) fn bad_value() -> Broken {
    Broken::new("it holds a value that was never written")
}

pub(super) fn all_entries(db: &sled::Db) -> Result<Vec<(ContentHash, Entry)>, Broken> {
    db.scan_prefix(b"h")
        .map(|pair| {
            let (key, value) = pair?;
            let id = key.get(1..).and_then(|id| id.try_into().ok());
            let id = ContentHash(id.ok_or_else(bad_value)?);
            Ok((id, entry_value(&value).ok_or_else(bad_value)?))
        })
        .collect()
}

pub(super) fn all_paths(db: &sled::Db) -> Result<Vec<(Vec<u8>, Seen)>, Broken> {
    db.scan_prefix(b"p")
        .map(|pair| {
            let (key, value) = pair?;
            let path = key.get(1..).unwrap_or_default().to_vec();
            Ok((path, path_value(&value).ok_or_else(bad_value)?))
        })
        .collect()
}

pub(super) fn read_entry(db: &sled::Db, id: &ContentHash) -> Result<Option<Entry>, Broken> {
    db.get(entry_key(id))?
        .map(|value| entry_value(&value).ok_or_else(bad_value))
        .transpose()
}

pub(super) fn read_path(db: &sled::Db, key: &[u8]) -> Result<Option<Seen>, Broken> {
    db.get(path_key(key))?
        .map(|value| path_value(&value).ok_or_else(bad_value))
        .transpose()
}

pub(super) fn entry_key(id: &ContentHash) -> Vec<u8> {
    [b"h", &id.0[..]].concat()
}

pub(super) fn path_key(key: &[u8]) -> Vec<u8> {
    [b"p", key].concat()
}

pub(super) fn entry_bytes(entry: &Entry) -> Vec<u8> {
    let mut bytes = Vec::new();
    for place in [entry.put, entry.record] {
        bytes.extend_from_slice(&place.segment.to_le_bytes());
        bytes.extend_from_slice(&place.offset.to_le_bytes());
    }
    for path in &entry.paths {
        bytes.extend_from_slice(&(path.len() as u32).to_le_bytes());
        bytes.extend_from_slice(path);
    }
    bytes
}

fn entry_value(bytes: &[u8]) -> Option<Entry> {
    let mut take = Take(bytes);
    let put = take.place()?;
    let record = take.place()?;
    let mut paths = Vec::new();
    while !take.0.is_empty() {
        let len = take.u32()? as usize;
        paths.push(take.bytes(len)?.to_vec());
    }
    Some(Entry { put, record, paths })
}

pub(super) fn path_bytes((id, size, mtime_ns): Seen) -> Vec<u8> {
    [&id.0[..], &size.to_le_bytes(), &mtime_ns.to_le_bytes()].concat()
}

fn path_value(bytes: &[u8]) -> Option<Seen> {
    let mut take = Take(bytes);
    let id = take.bytes(32)?.try_into().ok()?;
    let size = take.u64()?;
    let mtime_ns = take.u64()?.cast_signed();
    take.0
        .is_empty()
        .then_some((ContentHash(id), size, mtime_ns))
}

pub(super) fn state_bytes(state: State) -> Vec<u8> {
    let committed = state.committed.unwrap_or(Committed {
        end: Position::START,
        sequence: 0,
        checksum: 0,
    });
    let mut bytes = VERSION.to_le_bytes().to_vec();
    bytes.extend_from_slice(&committed.checksum.to_le_bytes());
    for number in [
        committed.end.segment,
        committed.end.offset,
        committed.sequence,
        state.pictures,
        state.locations,
        state.frames,
    ] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes
}

pub(super) fn state_value(bytes: &[u8]) -> Option<State> {
    let mut take = Take(bytes);
    if take.u32()? != VERSION {
        return None;
    }
    let checksum = take.u32()?;
    let end = Position {
        segment: take.u64()?,
        offset: take.u64()?,
    };
    let committed = Committed {
        end,
        sequence: take.u64()?,
        checksum,
    };
    let state = State {
        committed: (committed.sequence > 0).then_some(committed),
        pictures: take.u64()?,
        locations: take.u64()?,
        frames: take.u64()?,
    };
    take.0.is_empty().then_some(state)
}

/// Reads fields off the front of a value.
struct Take<'a>(&'a [u8]);

impl<'a> Take<'a> {
    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.bytes(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.bytes(8)?.try_into().ok()?))
    }

    fn place(&mut self) -> Option<Place> {
        Some(Place {
            segment: self.u64()?,
            offset: self.u64()?,
        })
    }
}
