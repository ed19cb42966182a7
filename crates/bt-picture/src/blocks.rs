//! Where each container keeps what a file says about itself: EXIF, XMP, IPTC, texts. Walks the container
//! only; reading the blocks is `metadata/`'s, decoding pixels `decode/`'s.

use image::metadata::Orientation;

use crate::kind::Format;

/// The blocks of one file, as they lie in it.
#[derive(Debug, Default)]
pub(crate) struct Blocks<'a> {
    /// A TIFF structure.
    pub(crate) exif: Option<&'a [u8]>,
    /// An XMP packet.
    pub(crate) xmp: Option<&'a [u8]>,
    /// IPTC IIM records.
    pub(crate) iptc: Option<&'a [u8]>,
    /// PNG's own texts: keyword, text, and whether it is UTF-8 rather than Latin-1.
    pub(crate) texts: Vec<(&'a [u8], &'a [u8], bool)>,
}

/// Finds the blocks; what is cut or nonsense ends the search.
pub(crate) fn find(file: &[u8], format: Format) -> Blocks<'_> {
    let mut blocks = Blocks::default();
    match format {
        Format::Jpeg => jpeg(file, &mut blocks),
        Format::Png => png(file, &mut blocks),
        Format::WebP => webp(file, &mut blocks),
        Format::JpegXl => jpeg_xl(file, &mut blocks),
        Format::Tiff => blocks.exif = Some(file),
        _ => {}
    }
    blocks
}

/// How the pixels of a file must be turned to stand upright; `None` where they do already.
pub(crate) fn orientation(file: &[u8], format: Format) -> Option<Orientation> {
    if format == Format::JpegXl {
        // Its decoder has turned it: the EXIF value is not to be heeded.
        return None;
    }
    let blocks = find(file, format);
    blocks
        .exif
        .and_then(Orientation::from_exif_chunk)
        // Like Pillow: where EXIF says nothing, XMP may.
        .or_else(|| blocks.xmp.and_then(xmp_orientation))
        .filter(|orientation| *orientation != Orientation::NoTransforms)
}

fn xmp_orientation(packet: &[u8]) -> Option<Orientation> {
    const NAME: &[u8] = b"tiff:Orientation";
    let at = packet.windows(NAME.len()).position(|part| part == NAME)?;
    match packet.get(at + NAME.len()..)? {
        [b'=', b'"', digit, ..] | [b'>', digit, ..] => {
            Orientation::from_exif(digit.wrapping_sub(b'0'))
        }
        _ => None,
    }
}

/// Of a JPEG without an end marker, how much makes sense: all, or up to the segment that is cut. `None`
/// for a file that ends as it should.
pub(crate) fn jpeg_is_cut(file: &[u8]) -> Option<usize> {
    let mut segments = Segments::of(file);
    while segments.next().is_some() {}
    let scans = segments.rest;
    let mut markers = scans.windows(2).enumerate().rev().filter(|(_, pair)| {
        // Within a scan, 0xff is followed by 0, by a restart marker or by fill.
        pair[0] == 0xff && !matches!(pair[1], 0 | 0xd0..=0xd7 | 0xff)
    });
    if markers.clone().any(|(_, pair)| pair[1] == 0xd9) {
        return None;
    }
    let before = file.len() - scans.len();
    let (last, _) = markers.next()?;
    let length = scans
        .get(last + 2..)?
        .first_chunk()
        .map(|bytes| u16::from_be_bytes(*bytes));
    let complete = length.is_some_and(|length| last + 2 + usize::from(length) <= scans.len());
    Some(if complete { file.len() } else { before + last })
}

/// Markers and contents of the segments of a JPEG before its first scan; what follows is left in `rest`.
struct Segments<'a> {
    rest: &'a [u8],
}

impl<'a> Segments<'a> {
    fn of(file: &'a [u8]) -> Self {
        Self {
            rest: file.get(2..).unwrap_or_default(),
        }
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        // Any number of 0xff may stand before a marker.
        let fill = self.rest.iter().take_while(|byte| **byte == 0xff).count();
        let (marker, after) = self.rest.get(fill..)?.split_first()?;
        if fill == 0 || matches!(marker, 0 | 0xd9 | 0xda) {
            return None;
        }
        if matches!(marker, 0x01 | 0xd0..=0xd8) {
            self.rest = after;
            return Some((*marker, &[]));
        }
        let length = usize::from(u16::from_be_bytes(*after.first_chunk()?));
        let data = after.get(2..length)?;
        self.rest = &after[length..];
        Some((*marker, data))
    }
}

fn jpeg<'a>(file: &'a [u8], blocks: &mut Blocks<'a>) {
    for (marker, data) in Segments::of(file) {
        match marker {
            0xe1 => {
                if let Some(exif) = data.strip_prefix(b"Exif\0\0") {
                    blocks.exif.get_or_insert(exif);
                } else if let Some(xmp) = data.strip_prefix(b"http://ns.adobe.com/xap/1.0/\0") {
                    blocks.xmp.get_or_insert(xmp);
                }
            }
            0xed => {
                if let Some(resources) = data.strip_prefix(b"Photoshop 3.0\0")
                    && let Some(iptc) = photoshop_iptc(resources)
                {
                    blocks.iptc.get_or_insert(iptc);
                }
            }
            _ => {}
        }
    }
}

/// IPTC is resource 0x0404 of Photoshop's: signature, id, padded name, length, padded data.
pub(crate) fn photoshop_iptc(mut resources: &[u8]) -> Option<&[u8]> {
    loop {
        let after = resources.strip_prefix(b"8BIM")?;
        let (id, after) = after.split_first_chunk()?;
        let name = usize::from(*after.first()?) + 1;
        let after = after.get(name + name % 2..)?;
        let (length, after) = after.split_first_chunk()?;
        let length = u32::from_be_bytes(*length) as usize;
        if *id == [4, 4] {
            return after.get(..length);
        }
        resources = after.get(length.checked_add(length % 2)?..)?;
    }
}

fn png<'a>(file: &'a [u8], blocks: &mut Blocks<'a>) {
    let mut rest = file.get(8..).unwrap_or_default();
    while let Some((length, after)) = rest.split_first_chunk()
        && let Some((kind, after)) = after.split_first_chunk::<4>()
        && let Some(data) = after.get(..u32::from_be_bytes(*length) as usize)
    {
        match kind {
            b"eXIf" => {
                blocks.exif.get_or_insert(without_prefix(data));
            }
            b"tEXt" => {
                if let Some((keyword, text)) = split_at_zero(data) {
                    blocks.texts.push((keyword, text, false));
                }
            }
            b"iTXt" => {
                // Keyword, compressed or not, method, language, translated keyword, text.
                if let Some((keyword, [0, _, after @ ..])) = split_at_zero(data)
                    && let Some((_, after)) = split_at_zero(after)
                    && let Some((_, text)) = split_at_zero(after)
                {
                    if keyword == b"XML:com.adobe.xmp" {
                        blocks.xmp.get_or_insert(text);
                    } else {
                        blocks.texts.push((keyword, text, true));
                    }
                }
            }
            b"IEND" => return,
            _ => {}
        }
        rest = after.get(data.len() + 4..).unwrap_or_default();
    }
}

fn webp<'a>(file: &'a [u8], blocks: &mut Blocks<'a>) {
    let mut rest = file.get(12..).unwrap_or_default();
    while let Some((kind, after)) = rest.split_first_chunk::<4>()
        && let Some((length, after)) = after.split_first_chunk()
        && let Some(data) = after.get(..u32::from_le_bytes(*length) as usize)
    {
        match kind {
            b"EXIF" => {
                blocks.exif.get_or_insert(without_prefix(data));
            }
            b"XMP " => {
                blocks.xmp.get_or_insert(data);
            }
            _ => {}
        }
        rest = after.get(data.len() + data.len() % 2..).unwrap_or_default();
    }
}

/// The boxes of the container; a bare codestream has none.
fn jpeg_xl<'a>(file: &'a [u8], blocks: &mut Blocks<'a>) {
    let mut rest = file;
    while let Some((length, after)) = rest.split_first_chunk()
        && let Some((kind, _)) = after.split_first_chunk::<4>()
    {
        let (head, length) = match u32::from_be_bytes(*length) {
            0 => (8, rest.len()),
            1 => match rest.get(8..16).and_then(|bytes| bytes.first_chunk()) {
                Some(bytes) => (
                    16,
                    usize::try_from(u64::from_be_bytes(*bytes)).unwrap_or(usize::MAX),
                ),
                None => return,
            },
            length => (8, length as usize),
        };
        let Some(data) = rest.get(head..length) else {
            return;
        };
        match kind {
            // Four bytes say where in the rest the TIFF structure begins.
            b"Exif" => {
                if let Some((offset, after)) = data.split_first_chunk()
                    && let Some(exif) = after.get(u32::from_be_bytes(*offset) as usize..)
                {
                    blocks.exif.get_or_insert(without_prefix(exif));
                }
            }
            b"xml " => {
                blocks.xmp.get_or_insert(data);
            }
            _ => {}
        }
        rest = &rest[length..];
    }
}

/// Some writers keep JPEG's prefix in other containers.
fn without_prefix(exif: &[u8]) -> &[u8] {
    exif.strip_prefix(b"Exif\0\0").unwrap_or(exif)
}

fn split_at_zero(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = data.iter().position(|byte| *byte == 0)?;
    Some((&data[..at], &data[at + 1..]))
}
