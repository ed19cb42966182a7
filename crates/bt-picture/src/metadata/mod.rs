//! What a picture file says about itself: EXIF, XMP, IPTC and PNG's texts, as one set of facts. Where the
//! blocks lie in a file is `blocks.rs`'s.

mod clock;
mod exif;
mod iptc;
mod xmp;

pub use clock::{camera_seconds, camera_time};

use crate::blocks;
use crate::kind::{HEAD_BYTES, Kind, identify};

/// Facts from the file; all optional, nothing invented.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    /// Capture time by the camera's clock; [`camera_seconds`] makes it a number.
    pub taken: Option<jiff::civil::DateTime>,
    /// Maker and model.
    pub camera: Option<String>,
    /// Lens model.
    pub lens: Option<String>,
    /// Degrees, north and east positive.
    pub gps: Option<(f64, f64)>,
    /// Descriptions, best first, without repetition.
    pub captions: Vec<String>,
    /// Keywords.
    pub keywords: Vec<String>,
}

/// Reads what is there; damaged metadata is as good as none.
pub fn metadata(bytes: &[u8]) -> Metadata {
    let Kind::Picture(format) = identify(bytes.get(..HEAD_BYTES).unwrap_or(bytes)) else {
        return Metadata::default();
    };
    let blocks = blocks::find(bytes, format);
    let mut exif = blocks.exif.map(exif::read).unwrap_or_default();
    let xmp = blocks.xmp.map(<[u8]>::to_vec).or(exif.xmp.take());
    let xmp = xmp.map(|packet| xmp::read(&packet)).unwrap_or_default();
    let iptc = blocks.iptc.map(<[u8]>::to_vec).or(exif.iptc.take());
    let iptc = iptc.map(|records| iptc::read(&records)).unwrap_or_default();

    let mut captions = Texts::default();
    let mut keywords = Texts::default();
    // Captions written for people first, then what cameras and programs write.
    captions.extend(xmp.descriptions);
    captions.extend(iptc.captions);
    captions.extend(exif.descriptions);
    captions.extend(xmp.titles);
    captions.extend(iptc.headlines);
    captions.extend(exif.titles);
    for (keyword, text, utf8) in blocks.texts {
        if matches!(keyword, b"Title" | b"Description" | b"Comment" | b"Caption") {
            captions.push(&if utf8 {
                String::from_utf8_lossy(text).into_owned()
            } else {
                latin1(text)
            });
        }
    }
    keywords.extend(xmp.keywords);
    keywords.extend(iptc.keywords);
    keywords.extend(exif.keywords);
    Metadata {
        taken: exif.taken,
        camera: exif.camera,
        lens: exif.lens,
        gps: exif.gps,
        captions: captions.0,
        keywords: keywords.0,
    }
}

/// Texts in order, without empty ones and repetitions.
#[derive(Default)]
struct Texts(Vec<String>);

impl Texts {
    fn push(&mut self, text: &str) {
        let Some(text) = tidy(text) else { return };
        if !self
            .0
            .iter()
            .any(|other| other.to_lowercase() == text.to_lowercase())
        {
            self.0.push(text);
        }
    }

    fn extend(&mut self, texts: Vec<String>) {
        for text in texts {
            self.push(&text);
        }
    }
}

/// Longest text that is kept, in bytes; what is longer is not a caption.
const MOST: usize = 16 << 10;

/// Without zeros, control characters and blanks at the ends; `None` if nothing is left.
fn tidy(text: &str) -> Option<String> {
    let clean: String = text
        .chars()
        .take(MOST)
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect();
    let clean = clean.trim();
    (!clean.is_empty()).then(|| clean.to_owned())
}

/// UTF-8 if it is, else Latin-1.
fn latin1_or_utf8(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes).map_or_else(|_| latin1(bytes), str::to_owned)
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}
