//! What a file is, by its first bytes; names and extensions play no part.

use crate::tiff_head;

/// A format that is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// JPEG.
    Jpeg,
    /// PNG and APNG (first frame).
    Png,
    /// WebP (first frame).
    WebP,
    /// GIF (first frame).
    Gif,
    /// TIFF (first page).
    Tiff,
    /// Windows bitmap.
    Bmp,
    /// Windows icon (the largest picture).
    Ico,
    /// Truevision TGA.
    Tga,
    /// Netpbm: PBM, PGM, PPM, PAM.
    Pnm,
    /// QOI.
    Qoi,
    /// farbfeld.
    Farbfeld,
    /// Radiance HDR.
    Hdr,
    /// OpenEXR.
    Exr,
    /// JPEG XL (first frame).
    JpegXl,
}

impl Format {
    /// Every format, in the order of the documentation.
    pub const ALL: [Self; 14] = [
        Self::Jpeg,
        Self::Png,
        Self::WebP,
        Self::Gif,
        Self::Tiff,
        Self::Bmp,
        Self::Ico,
        Self::Tga,
        Self::Pnm,
        Self::Qoi,
        Self::Farbfeld,
        Self::Hdr,
        Self::Exr,
        Self::JpegXl,
    ];

    /// Lower-case name, as `--type` and the index have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::Png => "png",
            Self::WebP => "webp",
            Self::Gif => "gif",
            Self::Tiff => "tiff",
            Self::Bmp => "bmp",
            Self::Ico => "ico",
            Self::Tga => "tga",
            Self::Pnm => "pnm",
            Self::Qoi => "qoi",
            Self::Farbfeld => "farbfeld",
            Self::Hdr => "hdr",
            Self::Exr => "exr",
            Self::JpegXl => "jxl",
        }
    }

    /// What names of its files end with, in lower case and without the dot; the usual one first.
    pub fn endings(self) -> &'static [&'static str] {
        match self {
            Self::Jpeg => &["jpg", "jpeg", "jpe", "jfif"],
            Self::Png => &["png", "apng"],
            Self::WebP => &["webp"],
            Self::Gif => &["gif"],
            Self::Tiff => &["tif", "tiff"],
            Self::Bmp => &["bmp", "dib"],
            Self::Ico => &["ico"],
            Self::Tga => &["tga", "targa"],
            Self::Pnm => &["pnm", "ppm", "pgm", "pbm", "pam"],
            Self::Qoi => &["qoi"],
            Self::Farbfeld => &["ff"],
            Self::Hdr => &["hdr"],
            Self::Exr => &["exr"],
            Self::JpegXl => &["jxl", "jpegxl"],
        }
    }

    /// Media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::WebP => "image/webp",
            Self::Gif => "image/gif",
            Self::Tiff => "image/tiff",
            Self::Bmp => "image/bmp",
            Self::Ico => "image/x-icon",
            Self::Tga => "image/x-tga",
            Self::Pnm => "image/x-portable-anymap",
            Self::Qoi => "image/qoi",
            Self::Farbfeld => "image/x-farbfeld",
            Self::Hdr => "image/vnd.radiance",
            Self::Exr => "image/x-exr",
            Self::JpegXl => "image/jxl",
        }
    }
}

/// What the first bytes of a file show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A picture that [`crate::decode`] reads.
    Picture(Format),
    /// A picture of a format that is known by name only: HEIC, camera raw, ...
    Unsupported(&'static str),
    /// Something else.
    Other,
}

/// How many bytes [`identify`] wants.
pub const HEAD_BYTES: usize = 4096;

/// Tells by the first bytes; give at least [`HEAD_BYTES`] where the file has them.
pub fn identify(head: &[u8]) -> Kind {
    // AppleDouble, the `._` companions that macOS leaves beside files, has no picture's magic.
    for (magic, kind) in MAGIC {
        if head.starts_with(magic) {
            return *kind;
        }
    }
    let picture = |format| Kind::Picture(format);
    match head {
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => picture(Format::WebP),
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => iso_media(head),
        [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => {
            tiff_head::raw_of(head).map_or(picture(Format::Tiff), Kind::Unsupported)
        }
        _ if is_bmp(head) => picture(Format::Bmp),
        _ if is_pnm(head) => picture(Format::Pnm),
        _ if is_ico(head) => picture(Format::Ico),
        _ if is_svg(head) => Kind::Unsupported("SVG"),
        _ if is_tga(head) => picture(Format::Tga),
        _ => Kind::Other,
    }
}

const MAGIC: &[(&[u8], Kind)] = &[
    (b"\xff\xd8\xff", Kind::Picture(Format::Jpeg)),
    (b"\x89PNG\r\n\x1a\n", Kind::Picture(Format::Png)),
    (b"GIF87a", Kind::Picture(Format::Gif)),
    (b"GIF89a", Kind::Picture(Format::Gif)),
    (b"qoif", Kind::Picture(Format::Qoi)),
    (b"farbfeld", Kind::Picture(Format::Farbfeld)),
    (b"#?RADIANCE", Kind::Picture(Format::Hdr)),
    (b"#?RGBE", Kind::Picture(Format::Hdr)),
    (b"\x76\x2f\x31\x01", Kind::Picture(Format::Exr)),
    (b"\xff\x0a", Kind::Picture(Format::JpegXl)),
    (b"\0\0\0\x0cJXL \r\n\x87\n", Kind::Picture(Format::JpegXl)),
    (b"\0\0\0\x0cjP  \r\n\x87\n", Kind::Unsupported("JPEG 2000")),
    (b"\xff\x4f\xff\x51", Kind::Unsupported("JPEG 2000")),
    (b"II\xbc\x01", Kind::Unsupported("JPEG XR")),
    (b"8BPS", Kind::Unsupported("Photoshop (PSD)")),
    (b"gimp xcf ", Kind::Unsupported("GIMP (XCF)")),
    (b"DDS ", Kind::Unsupported("DDS")),
    (b"icns", Kind::Unsupported("Apple icon (ICNS)")),
    (b"AT&TFORM", Kind::Unsupported("DjVu")),
    (b"FUJIFILMCCD-RAW", Kind::Unsupported("Fujifilm raw (RAF)")),
    (b"IIRO", Kind::Unsupported("Olympus raw (ORF)")),
    (b"IIRS", Kind::Unsupported("Olympus raw (ORF)")),
    (b"MMOR", Kind::Unsupported("Olympus raw (ORF)")),
    (b"IIU\0", Kind::Unsupported("Panasonic raw (RW2)")),
    (b"\0MRM", Kind::Unsupported("Minolta raw (MRW)")),
    (b"FOVb", Kind::Unsupported("Sigma raw (X3F)")),
    (
        b"II\x1a\0\0\0HEAPCCDR",
        Kind::Unsupported("Canon raw (CRW)"),
    ),
];

/// The box `ftyp` at the head of HEIF, AVIF and CR3, but of films and music as well.
fn iso_media(head: &[u8]) -> Kind {
    let length = head
        .first_chunk()
        .map_or(0, |bytes| u32::from_be_bytes(*bytes) as usize);
    let brands = head
        .get(8..length.clamp(12, 256))
        .unwrap_or(head.get(8..).unwrap_or_default());
    let has = |names: &[&[u8; 4]]| {
        brands
            .chunks_exact(4)
            .any(|brand| names.iter().any(|n| brand == *n))
    };
    if has(&[b"crx "]) {
        Kind::Unsupported("Canon raw (CR3)")
    } else if has(&[b"avif", b"avis"]) {
        Kind::Unsupported("AVIF")
    } else if has(&[
        b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs",
    ]) {
        Kind::Unsupported("HEIC")
    } else if has(&[b"mif1", b"msf1"]) {
        Kind::Unsupported("HEIF")
    } else {
        Kind::Other
    }
}

/// `BM` alone begins many a text: the length of the header that follows must be a known one.
fn is_bmp(head: &[u8]) -> bool {
    head.starts_with(b"BM")
        && matches!(
            head.get(14..18),
            Some([12 | 16 | 40 | 52 | 56 | 64 | 108 | 124, 0, 0, 0])
        )
}

/// `P1` to `P7`, white space, and then a number or a comment (P7: a line of its own).
fn is_pnm(head: &[u8]) -> bool {
    match head {
        [b'P', b'1'..=b'6', rest @ ..] => {
            let number = rest.trim_ascii_start();
            number.len() < rest.len() && matches!(number.first(), Some(b'0'..=b'9' | b'#'))
        }
        _ => head.starts_with(b"P7\n"),
    }
}

fn is_ico(head: &[u8]) -> bool {
    let [0, 0, 1, 0, low, high, _, _, _, 0, planes, 0, ..] = head else {
        return false;
    };
    let count = usize::from(u16::from_le_bytes([*low, *high]));
    let Some(offset) = head.get(18..22).and_then(|bytes| bytes.first_chunk()) else {
        return false;
    };
    *planes <= 1 && count > 0 && u32::from_le_bytes(*offset) as usize >= 6 + 16 * count
}

fn is_svg(head: &[u8]) -> bool {
    let text = head.trim_ascii_start();
    let tag = |name: &[u8]| text.windows(name.len()).any(|part| part == name);
    text.starts_with(b"<svg")
        || ((text.starts_with(b"<?xml") || text.starts_with(b"<!--")) && tag(b"<svg"))
}

/// TGA has no magic, so every field of its header must make sense.
fn is_tga(head: &[u8]) -> bool {
    let Some(h) = head.first_chunk::<18>() else {
        return false;
    };
    let word = |at: usize| u16::from_le_bytes([h[at], h[at + 1]]);
    let (map_type, picture_type, map_depth, depth, descriptor) = (h[1], h[2], h[7], h[16], h[17]);
    let map = match (map_type, picture_type) {
        (0, 2 | 3 | 10 | 11) => word(3) == 0 && word(5) == 0 && map_depth == 0,
        (1, 1 | 9) => word(5) > 0 && word(5) <= 256 && matches!(map_depth, 15 | 16 | 24 | 32),
        _ => false,
    };
    let depth = match picture_type {
        1 | 9 => depth == 8,
        3 | 11 => matches!(depth, 8 | 16),
        _ => matches!(depth, 15 | 16 | 24 | 32),
    };
    map && depth && word(12) > 0 && word(14) > 0 && descriptor & 0xc0 == 0 && descriptor & 0x0f <= 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ending_or_name_belongs_to_one_format() {
        let mut owners = std::collections::HashMap::new();
        for format in Format::ALL {
            for text in format.endings().iter().chain([&format.name()]) {
                assert_eq!(*owners.entry(*text).or_insert(format), format, "{text}");
            }
        }
    }

    #[test]
    fn names_and_media_types_are_unlike() {
        let names: std::collections::HashSet<_> = Format::ALL.iter().map(|f| f.name()).collect();
        let types: std::collections::HashSet<_> =
            Format::ALL.iter().map(|f| f.media_type()).collect();
        assert_eq!(
            (names.len(), types.len()),
            (Format::ALL.len(), Format::ALL.len())
        );
    }

    #[test]
    fn pictures_that_are_not_read_have_their_names() {
        for (head, name) in [
            (&b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"[..], "HEIC"),
            (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heicmiaf", "HEIC"),
            (b"\0\0\0\x1cftypmif1\0\0\0\0avifmif1miaf", "AVIF"),
            (b"\0\0\0\x18ftypavif\0\0\0\0mif1avif", "AVIF"),
            (b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom", "Canon raw (CR3)"),
            (b"II*\0\x10\0\0\0CR\x02\0aaaaaaaaaaa", "Canon raw (CR2)"),
            (b"FUJIFILMCCD-RAW 0201", "Fujifilm raw (RAF)"),
            (b"8BPS\0\x01", "Photoshop (PSD)"),
            (b"<?xml version=\"1.0\"?>\n<svg xmlns=\"\">", "SVG"),
        ] {
            assert_eq!(identify(head), Kind::Unsupported(name));
        }
    }

    #[test]
    fn other_files_are_no_pictures() {
        for head in [
            &b""[..],
            b"\0",
            b"BMW and other cars, a text that is long enough",
            b"P1 is a processor",
            b"\0\x05\x16\x07\0\x02\0\0Mac OS X        \0\x02\0\0\0\x09\0\0\0\x32",
            b"\0\0\0\x18ftypisom\0\0\0\0isommp42",
            b"\0\0\x01\xba\x44\0\x04\0\x04\x01\x01\x89\xc3\xf8\0\0\0\0\0\0\0\0\0\0",
            b"\0\0\x02\0\x01\0\x20\x20\0\0\0\0\0\0\xa8\x10\0\0\x16\0\0\0",
            b"\0\x01\0\0\0\x10\x01\0\0\x04\0\0GDEF\0\0\0\0",
            b"PK\x03\x04",
            b"%PDF-1.7",
            b"RIFF\0\0\0\0WAVEfmt ",
            &[0; 64],
            &[1; 64],
        ] {
            assert_eq!(identify(head), Kind::Other, "{head:?}");
        }
    }

    #[test]
    fn tga_is_known_by_its_header() {
        let mut head = [0; 18];
        head[2] = 2;
        head[12] = 4;
        head[14] = 3;
        head[16] = 24;
        head[17] = 0x20;
        assert_eq!(identify(&head), Kind::Picture(Format::Tga));
        head[16] = 23;
        assert_eq!(identify(&head), Kind::Other);
    }
}
