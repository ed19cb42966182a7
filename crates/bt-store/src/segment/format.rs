//! Bytes of a segment file. All numbers are little-endian.
//!
//! ```text
//! file    header, then batches, each followed by its mark (written twice: one may rot)
//!
//! header   0  8  "BTSEGMNT"             frame    0  4  EF 'B' 'T' 'f'
//!          8  4  format version                  4  1  kind: 1 put, 2 update, 3 remove, 4 mark
//!         12  4  length of the header            5  3  zero
//!         16  8  number of the segment           8  4  bytes of the record, R
//!         24  8  epoch: compactions so far      12  4  bytes of the embedding, E
//!         32  .  the index's header, JSON       16  R  put, update: the record, JSON
//!         -4  4  CRC-32 of all before                  remove: 32 bytes of content hash
//!                                                      mark: see below
//! mark     0  8  number of the commit               E  put: dim x f16; else nothing
//!          8  8  offset of its batch                4  CRC-32 of segment number, offset of the
//!         16  8  bytes of the batch                    frame (8 bytes each), and the frame from
//!         24  4  frames in the batch                   byte 4 to here
//!         28  4  CRC-32 of the batch
//! ```
//! The place is part of a frame's checksum, so bytes that turn up elsewhere are never taken for a frame.

use half::f16;

use crate::collection::Header;
use crate::dot::MAX_DIM;
use crate::id::ContentHash;
use crate::sealed::FORMAT;

const FILE_MAGIC: [u8; 8] = *b"BTSEGMNT";
const FILE_HEADER: usize = 32;
/// What a frame begins with.
pub(super) const FRAME_MAGIC: [u8; 4] = *b"\xefBTf";
const FRAME_HEADER: usize = 16;
const CHECKSUM: usize = 4;
const MARK: usize = 32;
/// Bytes of a mark with its frame; it stands twice behind its batch.
pub(crate) const MARK_FRAME: usize = FRAME_HEADER + MARK + CHECKSUM;
/// A record longer than this is refused, and a frame that claims more is damaged.
pub(crate) const MAX_RECORD_BYTES: usize = 16 << 20;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum FrameKind {
    Put = 1,
    Update = 2,
    Remove = 3,
    Mark = 4,
}

/// A sound frame, still in the buffer that it was read into.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    pub(super) kind: FrameKind,
    pub(super) record: &'a [u8],
    pub(super) embedding: &'a [u8],
    /// Bytes from magic to checksum.
    pub(super) len: usize,
}

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// So many bytes are needed to tell.
    Needs(usize),
    /// Magic, kind, lengths or checksum are wrong.
    Unsound,
}

/// What a commit says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Number of the commit; counts up by one.
    pub(crate) sequence: u64,
    /// Offset of the batch's first frame.
    pub(crate) start: u64,
    /// Bytes of the batch.
    pub(crate) len: u64,
    /// Frames in the batch.
    pub(crate) frames: u32,
    /// CRC-32 of the batch's bytes.
    pub(crate) checksum: u32,
}

impl Mark {
    fn to_bytes(self) -> [u8; MARK] {
        let mut bytes = [0; MARK];
        bytes[..8].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.start.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.len.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.frames.to_le_bytes());
        bytes[28..].copy_from_slice(&self.checksum.to_le_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            sequence: u64_at(bytes, 0)?,
            start: u64_at(bytes, 8)?,
            len: u64_at(bytes, 16)?,
            frames: u32_at(bytes, 24)?,
            checksum: u32_at(bytes, 28)?,
        })
    }

    /// Both copies, as they stand behind the batch in a segment.
    pub(super) fn frames(self, segment: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(2 * MARK_FRAME);
        for _ in 0..2 {
            let place = (segment, self.start + self.len + bytes.len() as u64);
            push_frame(&mut bytes, place, FrameKind::Mark, &self.to_bytes(), &[]);
        }
        bytes
    }

    /// Behind both copies; `None` when the numbers make no sense.
    pub(super) fn end(self) -> Option<u64> {
        self.start
            .checked_add(self.len)?
            .checked_add(2 * MARK_FRAME as u64)
    }
}

/// Appends a frame that will stand at `offset` of `segment`.
pub(super) fn push_frame(
    buffer: &mut Vec<u8>,
    (segment, offset): (u64, u64),
    kind: FrameKind,
    record: &[u8],
    embedding: &[u8],
) {
    let start = buffer.len();
    buffer.extend_from_slice(&FRAME_MAGIC);
    buffer.extend_from_slice(&[kind as u8, 0, 0, 0]);
    // Both are bounded by MAX_RECORD_BYTES and MAX_DIM before anything is staged.
    buffer.extend_from_slice(&(record.len() as u32).to_le_bytes());
    buffer.extend_from_slice(&(embedding.len() as u32).to_le_bytes());
    buffer.extend_from_slice(record);
    buffer.extend_from_slice(embedding);
    let checksum = frame_checksum(segment, offset, &buffer[start + FRAME_MAGIC.len()..]);
    buffer.extend_from_slice(&checksum.to_le_bytes());
}

/// The frame at the start of `bytes`, which stand at `offset` of `segment`.
pub(super) fn frame_at(bytes: &[u8], segment: u64, offset: u64) -> Result<Frame<'_>, Flaw> {
    let head = bytes.get(..FRAME_HEADER).ok_or(Flaw::Needs(FRAME_HEADER))?;
    if head[..4] != FRAME_MAGIC || head[5..8] != [0; 3] {
        return Err(Flaw::Unsound);
    }
    let kind = match head[4] {
        1 => FrameKind::Put,
        2 => FrameKind::Update,
        3 => FrameKind::Remove,
        4 => FrameKind::Mark,
        _ => return Err(Flaw::Unsound),
    };
    let record = u32_at(head, 8).ok_or(Flaw::Unsound)? as usize;
    let embedding = u32_at(head, 12).ok_or(Flaw::Unsound)? as usize;
    if record > MAX_RECORD_BYTES || embedding > 2 * MAX_DIM {
        return Err(Flaw::Unsound);
    }
    let sealed = FRAME_HEADER + record + embedding;
    let len = sealed + CHECKSUM;
    let frame = bytes.get(..len).ok_or(Flaw::Needs(len))?;
    if u32_at(frame, sealed) != Some(frame_checksum(segment, offset, &frame[4..sealed])) {
        return Err(Flaw::Unsound);
    }
    Ok(Frame {
        kind,
        record: &frame[FRAME_HEADER..FRAME_HEADER + record],
        embedding: &frame[FRAME_HEADER + record..sealed],
        len,
    })
}

fn frame_checksum(segment: u64, offset: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&segment.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

/// The head of a segment file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileHeader {
    pub(super) number: u64,
    pub(super) epoch: u64,
    pub(super) index: Header,
}

/// Why a segment's head cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadFlaw {
    /// Cut short or not what was written.
    Unsound,
    /// Of a later version.
    Newer(u32),
}

impl FileHeader {
    pub(super) fn to_bytes(&self) -> std::io::Result<Vec<u8>> {
        let index = serde_json::to_vec(&self.index)?;
        let len = FILE_HEADER + index.len() + CHECKSUM;
        let mut bytes = Vec::with_capacity(len);
        bytes.extend_from_slice(&FILE_MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&(len as u32).to_le_bytes());
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.epoch.to_le_bytes());
        bytes.extend_from_slice(&index);
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        Ok(bytes)
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, HeadFlaw> {
        let parse = || -> Option<(u32, usize, Self)> {
            let version = u32_at(bytes, 8)?;
            let len = u32_at(bytes, 12)? as usize;
            let sealed = len.checked_sub(CHECKSUM)?;
            let index = bytes.get(FILE_HEADER..sealed)?;
            if bytes[..8] != FILE_MAGIC
                || u32_at(bytes, sealed)? != crc32fast::hash(&bytes[..sealed])
            {
                return None;
            }
            let header = Self {
                number: u64_at(bytes, 16)?,
                epoch: u64_at(bytes, 24)?,
                index: serde_json::from_slice(index).ok()?,
            };
            Some((version, len, header))
        };
        // The version is believed only where the magic stands; a newer head may be laid out otherwise.
        match (u32_at(bytes, 8), parse()) {
            (_, Some((version, _, header))) if version <= FORMAT => Ok(header),
            (Some(version), _) if version > FORMAT && bytes.starts_with(&FILE_MAGIC) => {
                Err(HeadFlaw::Newer(version))
            }
            _ => Err(HeadFlaw::Unsound),
        }
    }
}

/// An embedding as it is stored.
pub(crate) fn embedding_to_bytes(embedding: &[f32]) -> Vec<u8> {
    embedding
        .iter()
        .flat_map(|value| f16::from_f32(*value).to_le_bytes())
        .collect()
}

/// A stored embedding.
pub(super) fn embedding_from_bytes(bytes: &[u8]) -> Vec<f16> {
    let (pairs, _) = bytes.as_chunks::<2>();
    pairs.iter().map(|pair| f16::from_le_bytes(*pair)).collect()
}

/// The content hash of a `Remove` frame.
pub(super) fn hash_from_bytes(bytes: &[u8]) -> Option<ContentHash> {
    bytes.try_into().ok().map(ContentHash)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(four.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let eight = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(eight.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_only_where_it_was_written() {
        let mut bytes = Vec::new();
        push_frame(&mut bytes, (3, 77), FrameKind::Put, b"record", b"abcd");
        let frame = frame_at(&bytes, 3, 77).unwrap();
        assert_eq!(
            (frame.record, frame.embedding),
            (&b"record"[..], &b"abcd"[..])
        );
        assert_eq!(frame.len, bytes.len());
        assert_eq!(frame_at(&bytes, 3, 78).unwrap_err(), Flaw::Unsound);
        assert_eq!(frame_at(&bytes, 4, 77).unwrap_err(), Flaw::Unsound);
    }

    #[test]
    fn no_flipped_bit_and_no_cut_goes_unnoticed() {
        let mut bytes = Vec::new();
        push_frame(&mut bytes, (1, 0), FrameKind::Update, b"{}", b"");
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(frame_at(&flipped, 1, 0).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(matches!(frame_at(&bytes[..len], 1, 0), Err(Flaw::Needs(_))));
        }
    }

    #[test]
    fn half_precision_moves_a_cosine_by_less_than_one_in_five_thousand() {
        // The figures in docs/store.md are those printed here.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut unit = |dim: usize| -> Vec<f32> {
            let raw: Vec<f64> = (0..dim)
                .map(|_| {
                    (0..6)
                        .map(|_| {
                            state ^= state << 13;
                            state ^= state >> 7;
                            state ^= state << 17;
                            (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
                        })
                        .sum()
                })
                .collect();
            let norm = raw.iter().map(|value| value * value).sum::<f64>().sqrt();
            raw.iter().map(|value| (value / norm) as f32).collect()
        };
        for dim in [64, 192, 512, 1024] {
            let (mut worst, mut sum) = (0.0_f64, 0.0_f64);
            let rounds = 2_000;
            for _ in 0..rounds {
                let (query, row) = (unit(dim), unit(dim));
                let stored = embedding_from_bytes(&embedding_to_bytes(&row));
                let error: f64 = query
                    .iter()
                    .zip(row.iter().zip(&stored))
                    .map(|(q, (exact, half))| {
                        f64::from(*q) * (f64::from(*exact) - f64::from(half.to_f32()))
                    })
                    .sum();
                worst = worst.max(error.abs());
                sum += error.abs();
            }
            println!(
                "dim {dim}: worst {worst:.2e}, mean {:.2e}",
                sum / f64::from(rounds)
            );
            assert!(worst < 2e-4, "dim {dim}: {worst}");
        }
    }
}
