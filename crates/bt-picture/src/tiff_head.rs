//! Tells camera raw from plain TIFF: most raw formats are TIFF containers. Reading pictures is
//! `decode/tiff.rs`.

/// The name of the raw format whose first bytes these are, `None` for a plain TIFF.
pub(crate) fn raw_of(head: &[u8]) -> Option<&'static str> {
    if head.get(8..10) == Some(b"CR") {
        return Some("Canon raw (CR2)");
    }
    let directory = Directory::first(head)?;
    if directory.find(DNG_VERSION).is_some() {
        return Some("Adobe raw (DNG)");
    }
    let sensor = matches!(directory.find(PHOTOMETRIC), Some(CFA | LINEAR_RAW));
    let packed = matches!(
        directory.find(COMPRESSION),
        Some(NIKON | PENTAX | SONY | SAMSUNG)
    );
    // Nikon, Sony and others: the first directory is a thumbnail, the sensor's data is in a child of it.
    let parent = directory.find(SUBFILE_TYPE) == Some(1) && directory.find(SUB_IFDS).is_some();
    (sensor || packed || parent).then(|| match directory.text(MAKE).unwrap_or_default() {
        make if make.starts_with(b"NIKON") => "Nikon raw (NEF)",
        make if make.starts_with(b"SONY") => "Sony raw (ARW)",
        make if make.starts_with(b"PENTAX") || make.starts_with(b"RICOH") => "Pentax raw (PEF)",
        make if make.starts_with(b"SAMSUNG") => "Samsung raw (SRW)",
        _ => "camera raw",
    })
}

/// A copy of a TIFF whose first page has a palette, which calls its indices greys: the decoder refuses
/// palettes, and reads greys of the same form. `None` for every other file.
pub(crate) fn palette_as_grey(file: &[u8]) -> Option<Vec<u8>> {
    let directory = Directory::first(file)?;
    let index = directory.entries.chunks_exact(12).position(|entry| {
        directory.short(entry) == Some(PHOTOMETRIC) && directory.short(&entry[8..]) == Some(PALETTE)
    })?;
    let value = directory.start + 2 + 12 * index + 8;
    let grey = if directory.big_endian {
        GREY.to_be_bytes()
    } else {
        GREY.to_le_bytes()
    };
    let mut copy = file.to_vec();
    copy.get_mut(value..value + 2)?.copy_from_slice(&grey);
    Some(copy)
}

const GREY: u16 = 1;
const PALETTE: u16 = 3;
const SUBFILE_TYPE: u16 = 254;
const COMPRESSION: u16 = 259;
const PHOTOMETRIC: u16 = 262;
const MAKE: u16 = 271;
const SUB_IFDS: u16 = 330;
const DNG_VERSION: u16 = 0xc612;
const CFA: u32 = 32803;
const LINEAR_RAW: u32 = 34892;
const NIKON: u32 = 34713;
const PENTAX: u32 = 65535;
const SONY: u32 = 32767;
const SAMSUNG: u32 = 32770;

/// The first image file directory, as far as the bytes reach.
struct Directory<'a> {
    file: &'a [u8],
    /// Where the directory begins.
    start: usize,
    entries: &'a [u8],
    big_endian: bool,
}

impl<'a> Directory<'a> {
    /// Classic TIFF only: no camera writes BigTIFF.
    fn first(file: &'a [u8]) -> Option<Self> {
        let big_endian = match file.first_chunk()? {
            [b'I', b'I', 42, 0] => false,
            [b'M', b'M', 0, 42] => true,
            _ => return None,
        };
        let head = Self {
            file,
            start: 0,
            entries: &[],
            big_endian,
        };
        let start = head.long(file.get(4..)?)? as usize;
        let count = usize::from(head.short(file.get(start..)?)?);
        let entries = file.get(start.checked_add(2)?..)?;
        Some(Self {
            start,
            entries: &entries[..entries.len().min(count * 12)],
            ..head
        })
    }

    fn entry(&self, tag: u16) -> Option<&'a [u8]> {
        self.entries
            .chunks_exact(12)
            .find(|entry| self.short(entry) == Some(tag))
    }

    /// The number of an entry (its first, where it has several).
    fn find(&self, tag: u16) -> Option<u32> {
        let entry = self.entry(tag)?;
        match self.short(entry.get(2..)?)? {
            1 => entry.get(8).map(|byte| u32::from(*byte)),
            3 => self.short(entry.get(8..)?).map(u32::from),
            _ => self.long(entry.get(8..)?),
        }
    }

    /// The text of an entry, where it is within the bytes at hand.
    fn text(&self, tag: u16) -> Option<&'a [u8]> {
        let entry = self.entry(tag)?;
        let length = self.long(entry.get(4..)?)? as usize;
        if length <= 4 {
            return entry.get(8..8 + length);
        }
        let start = self.long(entry.get(8..)?)? as usize;
        self.file.get(start..start.checked_add(length)?)
    }

    fn short(&self, bytes: &[u8]) -> Option<u16> {
        let bytes = *bytes.first_chunk()?;
        Some(if self.big_endian {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        })
    }

    fn long(&self, bytes: &[u8]) -> Option<u32> {
        let bytes = *bytes.first_chunk()?;
        Some(if self.big_endian {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A little-endian TIFF head with these entries (tag, type, count, value) and a maker at its end.
    fn head(entries: &[(u16, u16, u32, u32)], make: &[u8]) -> Vec<u8> {
        let mut file = b"II*\0\x08\0\0\0".to_vec();
        file.extend((entries.len() as u16 + 1).to_le_bytes());
        let text_at = (10 + 12 * (entries.len() + 1) + 4) as u32;
        for &(tag, kind, count, value) in
            entries
                .iter()
                .chain(&[(MAKE, 2, make.len() as u32, text_at)])
        {
            file.extend(tag.to_le_bytes());
            file.extend(kind.to_le_bytes());
            file.extend(count.to_le_bytes());
            file.extend(value.to_le_bytes());
        }
        file.extend([0; 4]);
        file.extend(make);
        file
    }

    #[test]
    fn raw_is_told_from_plain_tiff() {
        let raw = |entries: &[_], make: &[u8]| raw_of(&head(entries, make));
        let thumbnail = [
            (SUBFILE_TYPE, 4, 1, 1),
            (PHOTOMETRIC, 3, 1, 2),
            (SUB_IFDS, 4, 2, 999),
        ];
        assert_eq!(
            raw(&thumbnail, b"NIKON CORPORATION\0"),
            Some("Nikon raw (NEF)")
        );
        assert_eq!(raw(&thumbnail, b"SONY\0"), Some("Sony raw (ARW)"));
        assert_eq!(
            raw(&[(DNG_VERSION, 1, 4, 0x401)], b"Apple\0"),
            Some("Adobe raw (DNG)")
        );
        assert_eq!(
            raw(&[(COMPRESSION, 3, 1, PENTAX)], b"PENTAX\0"),
            Some("Pentax raw (PEF)")
        );
        assert_eq!(
            raw(&[(PHOTOMETRIC, 3, 1, CFA)], b"Mamiya\0"),
            Some("camera raw")
        );
        assert_eq!(
            raw(
                &[(SUBFILE_TYPE, 4, 1, 0), (PHOTOMETRIC, 3, 1, 2)],
                b"NIKON\0"
            ),
            None
        );
        assert_eq!(
            raw(
                &[(SUBFILE_TYPE, 4, 1, 1), (PHOTOMETRIC, 3, 1, 2)],
                b"NIKON\0"
            ),
            None
        );
    }

    #[test]
    fn a_head_that_is_cut_anywhere_is_no_trouble() {
        let whole = head(
            &[
                (DNG_VERSION, 1, 4, 0x401),
                (SUB_IFDS, 4, u32::MAX, u32::MAX),
            ],
            b"Apple\0",
        );
        for length in 0..whole.len() {
            let _ = raw_of(&whole[..length]);
        }
        let _ = raw_of(b"MM\0*\xff\xff\xff\xff");
    }
}
