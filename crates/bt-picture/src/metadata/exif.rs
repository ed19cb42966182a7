//! EXIF by `kamadak-exif`, to facts.

use std::cmp::Ordering;

use exif::{Context, Exif, In, Reader, Tag, Value};
use jiff::civil::DateTime;

use super::{latin1_or_utf8, tidy};

/// What EXIF says. TIFF files keep XMP and IPTC in it.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) taken: Option<DateTime>,
    pub(super) camera: Option<String>,
    pub(super) lens: Option<String>,
    pub(super) gps: Option<(f64, f64)>,
    pub(super) descriptions: Vec<String>,
    pub(super) titles: Vec<String>,
    pub(super) keywords: Vec<String>,
    pub(super) xmp: Option<Vec<u8>>,
    pub(super) iptc: Option<Vec<u8>>,
}

/// Reads a TIFF structure; entries that make no sense are passed over.
pub(super) fn read(tiff: &[u8]) -> Facts {
    let mut reader = Reader::new();
    reader.continue_on_error(true);
    let exif = match reader.read_raw(tiff.to_vec()) {
        Ok(exif) => exif,
        Err(error) => match error.distill_partial_result(|_| {}) {
            Ok(exif) => exif,
            Err(_) => return Facts::default(),
        },
    };
    let text = |tag| string(&exif, tag);
    Facts {
        taken: [Tag::DateTimeOriginal, Tag::DateTimeDigitized, Tag::DateTime]
            .into_iter()
            .find_map(|tag| date_time(&text(tag)?)),
        camera: camera(text(Tag::Make), text(Tag::Model)),
        lens: text(Tag::LensModel),
        gps: gps(&exif),
        descriptions: [text(Tag::ImageDescription).filter(|text| !is_filler(text))]
            .into_iter()
            .chain([XP_COMMENT].map(|tag| utf16(bytes(&exif, tag)?, Endian::Little)))
            .chain([user_comment(&exif)])
            .flatten()
            .collect(),
        titles: bytes(&exif, XP_TITLE)
            .and_then(|text| utf16(text, Endian::Little))
            .into_iter()
            .collect(),
        keywords: bytes(&exif, XP_KEYWORDS)
            .and_then(|text| utf16(text, Endian::Little))
            .map(|text| text.split(';').map(str::to_owned).collect())
            .unwrap_or_default(),
        xmp: bytes(&exif, XMP).map(<[u8]>::to_vec),
        iptc: bytes(&exif, IPTC).map(<[u8]>::to_vec),
    }
}

const XP_TITLE: Tag = Tag(Context::Tiff, 0x9c9b);
const XP_COMMENT: Tag = Tag(Context::Tiff, 0x9c9c);
const XP_KEYWORDS: Tag = Tag(Context::Tiff, 0x9c9e);
const XMP: Tag = Tag(Context::Tiff, 700);
const IPTC: Tag = Tag(Context::Tiff, 33723);

/// What cameras write into every picture.
fn is_filler(description: &str) -> bool {
    const FILLERS: [&str; 6] = [
        "OLYMPUS DIGITAL CAMERA",
        "SONY DSC",
        "KONICA MINOLTA DIGITAL CAMERA",
        "MINOLTA DIGITAL CAMERA",
        "DIGITAL CAMERA",
        "default",
    ];
    FILLERS
        .iter()
        .any(|filler| description.eq_ignore_ascii_case(filler))
}

fn string(exif: &Exif, tag: Tag) -> Option<String> {
    match &exif.get_field(tag, In::PRIMARY)?.value {
        Value::Ascii(parts) => tidy(&latin1_or_utf8(parts.first()?)),
        Value::Byte(bytes) | Value::Undefined(bytes, _) => tidy(&latin1_or_utf8(bytes)),
        _ => None,
    }
}

fn bytes(exif: &Exif, tag: Tag) -> Option<&[u8]> {
    match &exif.get_field(tag, In::PRIMARY)?.value {
        Value::Byte(bytes) | Value::Undefined(bytes, _) => Some(bytes),
        _ => None,
    }
}

/// `2024:05:17 18:30:05`; cameras without a clock write zeros or blanks.
fn date_time(text: &str) -> Option<DateTime> {
    let mut numbers = text
        .split([':', ' ', '-', 'T', '.', 'Z'])
        .filter(|part| !part.is_empty());
    let mut next = || numbers.next()?.parse::<i16>().ok();
    let (year, month, day) = (next()?, small(next()?)?, small(next()?)?);
    let mut time = || small(next().unwrap_or(0));
    if year == 0 {
        return None;
    }
    DateTime::new(year, month, day, time()?, time()?, time()?, 0).ok()
}

fn small(number: i16) -> Option<i8> {
    i8::try_from(number).ok()
}

/// Maker and model as one text; most models begin with their maker.
fn camera(make: Option<String>, model: Option<String>) -> Option<String> {
    match (make, model) {
        (Some(make), Some(model)) => {
            let first = |text: &str| {
                text.split_whitespace()
                    .next()
                    .unwrap_or_default()
                    .to_lowercase()
            };
            let repeats = first(&model) == first(&make)
                || model.to_lowercase().starts_with(&make.to_lowercase());
            Some(if repeats {
                model
            } else {
                format!("{make} {model}")
            })
        }
        (make, model) => model.or(make),
    }
}

fn gps(exif: &Exif) -> Option<(f64, f64)> {
    let coordinate = |value, reference, negative: [u8; 2], most: f64| {
        let Value::Rational(parts) = &exif.get_field(value, In::PRIMARY)?.value else {
            return None;
        };
        let sixtieths = parts.iter().take(3).zip([1.0, 60.0, 3600.0]);
        let degrees: f64 = sixtieths.map(|(part, unit)| part.to_f64() / unit).sum();
        let reference = string(exif, reference)?;
        let sign = if reference
            .bytes()
            .next()
            .is_some_and(|c| negative.contains(&c))
        {
            -1.0
        } else {
            1.0
        };
        // A zero denominator gives NaN, which is not within the bounds either.
        (!parts.is_empty() && degrees <= most).then_some(sign * degrees)
    };
    let latitude = coordinate(Tag::GPSLatitude, Tag::GPSLatitudeRef, *b"Ss", 90.0)?;
    let longitude = coordinate(Tag::GPSLongitude, Tag::GPSLongitudeRef, *b"Ww", 180.0)?;
    Some((latitude, longitude))
}

/// Eight bytes name the character set.
fn user_comment(exif: &Exif) -> Option<String> {
    let (set, text) = bytes(exif, Tag::UserComment)?.split_first_chunk::<8>()?;
    match set {
        b"UNICODE\0" => utf16(
            text,
            if exif.little_endian() {
                Endian::Little
            } else {
                Endian::Big
            },
        ),
        b"JIS\0\0\0\0\0" => None,
        _ => tidy(&latin1_or_utf8(text)),
    }
}

#[derive(Clone, Copy)]
enum Endian {
    Little,
    Big,
}

/// UTF-16 of an order that a mark tells, or the zeros of its Latin letters; writers do not agree, and the
/// order of the file around it is the last resort.
fn utf16(bytes: &[u8], around: Endian) -> Option<String> {
    let pairs = bytes.as_chunks::<2>().0;
    let zeros = |at: usize| pairs.iter().filter(|pair| pair[at] == 0).count();
    let (pairs, endian) = match pairs {
        [[0xff, 0xfe], rest @ ..] => (rest, Endian::Little),
        [[0xfe, 0xff], rest @ ..] => (rest, Endian::Big),
        _ => match zeros(0).cmp(&zeros(1)) {
            Ordering::Less => (pairs, Endian::Little),
            Ordering::Greater => (pairs, Endian::Big),
            Ordering::Equal => (pairs, around),
        },
    };
    let units = pairs.iter().map(|pair| match endian {
        Endian::Little => u16::from_le_bytes(*pair),
        Endian::Big => u16::from_be_bytes(*pair),
    });
    let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
    tidy(&String::from_utf16_lossy(&units))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_as_cameras_write_them() {
        let date = |text| date_time(text).map(|date| date.to_string());
        assert_eq!(
            date("2024:05:17 18:30:05").as_deref(),
            Some("2024-05-17T18:30:05")
        );
        assert_eq!(
            date("2024-05-17T18:30:05.25").as_deref(),
            Some("2024-05-17T18:30:05")
        );
        assert_eq!(date("2024:05:17").as_deref(), Some("2024-05-17T00:00:00"));
        for none in [
            "",
            "    :  :     :  :  ",
            "0000:00:00 00:00:00",
            "2024:13:01 00:00:00",
            "yesterday",
        ] {
            assert_eq!(date(none), None, "{none}");
        }
    }

    #[test]
    fn the_maker_is_not_said_twice() {
        let name = |make: &str, model: &str| camera(Some(make.into()), Some(model.into())).unwrap();
        assert_eq!(name("Canon", "Canon EOS R5"), "Canon EOS R5");
        assert_eq!(name("NIKON CORPORATION", "NIKON Z 6"), "NIKON Z 6");
        assert_eq!(name("FUJIFILM", "X-T4"), "FUJIFILM X-T4");
        assert_eq!(camera(Some("Apple".into()), None).as_deref(), Some("Apple"));
        assert_eq!(camera(None, None), None);
    }
}
