//! Sidecar files: what stands beside a picture in `photo.txt`, `photo.jpg.txt`, `photo.json` and
//! `photo.jpg.json`, joined with what the picture says itself.
//!
//! A text file holds captions, one a paragraph. A JSON file is an object; its `caption`, `captions`,
//! `description` and `keywords` (a text or a list of texts each) are read, all else is passed over.
//!
//! A sidecar may change while its picture does not. So a record keeps a stamp of the sidecars that its
//! captions came from, and a visit compares stamps: a few file lookups a picture, nothing is opened.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

use bt_store::{About, Location};

use crate::outcome::FileError;
use crate::walk::stamp;

/// Sidecars of so many copies of one picture are read; a picture copied more often than that is a
/// placeholder, not a photograph.
const MOST_LOCATIONS: usize = 16;
/// A larger sidecar is no caption.
const MOST_BYTES: u64 = 1 << 20;
/// More captions or keywords than that are cut.
const MOST_TEXTS: usize = 64;
/// A longer caption is cut after so many characters.
pub const LONGEST_CAPTION: usize = 4000;

/// Captions and keywords of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Words {
    pub(crate) captions: Vec<String>,
    pub(crate) keywords: Vec<String>,
}

/// Whether a file of this name can be a sidecar.
pub(crate) fn may_be_sidecar(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "txt" || extension == "json")
}

/// Where sidecars of a picture may stand, best first.
fn candidates(picture: &Path) -> impl Iterator<Item = PathBuf> {
    let beside = |extension: &str| picture.with_extension(extension);
    let appended = |extension: &str| {
        let mut name = OsString::from(picture.file_name().unwrap_or_default());
        name.push(extension);
        picture.with_file_name(name)
    };
    [
        beside("txt"),
        appended(".txt"),
        beside("json"),
        appended(".json"),
    ]
    .into_iter()
}

/// The sidecars that exist beside a picture's locations, and a stamp of their names, sizes and times;
/// no stamp when there are none. Folders play no part, so that a picture that is moved together with
/// its sidecars keeps its stamp.
fn sidecars(locations: &[Location]) -> (Vec<PathBuf>, Option<u64>) {
    let mut seen = Vec::new();
    let mut hasher = blake3::Hasher::new();
    for location in locations.iter().take(MOST_LOCATIONS) {
        for path in candidates(&location.path) {
            let Ok(metadata) = fs_err::metadata(&path) else {
                continue;
            };
            if !metadata.is_file() || path == location.path {
                continue;
            }
            let (size, mtime_ns) = stamp(&metadata);
            hasher.update(path.file_name().unwrap_or_default().as_encoded_bytes());
            hasher.update(&size.to_le_bytes());
            hasher.update(&mtime_ns.to_le_bytes());
            seen.push(path);
        }
    }
    if seen.is_empty() {
        return (seen, None);
    }
    let mut first = [0; 8];
    hasher.finalize_xof().fill(&mut first);
    (seen, Some(u64::from_le_bytes(first)))
}

/// Whether the sidecars are still those that a record's captions came from.
pub(crate) fn is_current(about: &About, locations: &[Location]) -> bool {
    sidecars(locations).1 == about.sidecars
}

/// Writes into a record what stands beside its locations, then what the picture says itself. A sidecar
/// that cannot be read is left out, and named.
pub(crate) fn describe(
    about: &mut About,
    locations: &[Location],
    embedded: &Words,
) -> Vec<FileError> {
    let (paths, stamp) = sidecars(locations);
    let mut troubles = Vec::new();
    let mut captions = Unique::default();
    let mut keywords = Unique::default();
    for path in paths {
        match read(&path) {
            Ok(words) => {
                captions.extend(&words.captions);
                keywords.extend(&words.keywords);
            }
            Err(reason) => troubles.push(FileError::new(path, reason)),
        }
    }
    captions.extend(&embedded.captions);
    keywords.extend(&embedded.keywords);
    about.captions = captions.texts;
    about.keywords = keywords.texts;
    about.sidecars = stamp;
    troubles
}

/// Texts in the order they came, each once, bounded in number and length.
#[derive(Default)]
struct Unique {
    texts: Vec<String>,
    seen: BTreeSet<String>,
}

impl Unique {
    fn extend(&mut self, texts: &[String]) {
        for text in texts {
            let words: Vec<&str> = text.split_whitespace().collect();
            let text: String = words.join(" ").chars().take(LONGEST_CAPTION).collect();
            if !text.is_empty() && self.texts.len() < MOST_TEXTS && self.seen.insert(text.clone()) {
                self.texts.push(text);
            }
        }
    }
}

fn read(path: &Path) -> Result<Words, String> {
    let mut bytes = Vec::new();
    fs_err::File::open(path)
        .and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|cause| format!("the sidecar cannot be read: {cause}"))?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(format!(
            "the sidecar is larger than {MOST_BYTES} bytes, so it is no caption"
        ));
    }
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim_start_matches('\u{feff}');
    if path
        .extension()
        .is_some_and(|extension| extension == "json")
    {
        return from_json(text).map_err(|cause| format!("the sidecar is not valid JSON: {cause}"));
    }
    Ok(from_text(text))
}

fn from_text(text: &str) -> Words {
    let mut captions = vec![String::new()];
    for line in text.lines() {
        match captions.last_mut() {
            Some(paragraph) if !line.trim().is_empty() => {
                paragraph.push_str(line);
                paragraph.push(' ');
            }
            _ => captions.push(String::new()),
        }
    }
    Words {
        captions,
        keywords: Vec::new(),
    }
}

/// Texts that are not there, or of another kind, are passed over: many programs write JSON beside
/// pictures, for other ends.
fn from_json(text: &str) -> serde_json::Result<Words> {
    let value: serde_json::Value = serde_json::from_str(text)?;
    let texts = |field: &str| match value.get(field) {
        Some(serde_json::Value::String(text)) => vec![text.clone()],
        Some(serde_json::Value::Array(items)) => items
            .iter()
            .filter_map(|item| item.as_str().map(str::to_owned))
            .collect(),
        _ => Vec::new(),
    };
    let captions = ["caption", "captions", "description"];
    Ok(Words {
        captions: captions.into_iter().flat_map(texts).collect(),
        keywords: texts("keywords"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &Path) -> Vec<Location> {
        vec![Location {
            path: path.to_owned(),
            size: 1,
            mtime_ns: 1,
        }]
    }

    #[test]
    fn every_kind_of_sidecar_is_read_and_comes_before_what_the_picture_says() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs_err::write(folder.path().join(name), text).unwrap();
        write("a.txt", "\u{feff}a cat\non a couch\n\nits second caption\n");
        write("a.jpg.txt", "a cat on a couch");
        write(
            "a.json",
            r#"{"caption": "grey", "captions": ["x", 3], "keywords": ["pet"], "id": 7}"#,
        );
        write("a.jpg.json", r#"{"description": "from the camera"}"#);
        let embedded = Words {
            captions: vec!["x".into(), "embedded".into()],
            keywords: vec!["pet".into(), "home".into()],
        };
        let mut about = About::default();
        let locations = at(&folder.path().join("a.jpg"));
        let troubles = describe(&mut about, &locations, &embedded);
        assert!(troubles.is_empty(), "{troubles:?}");
        let expected = [
            "a cat on a couch",
            "its second caption",
            "grey",
            "x",
            "from the camera",
            "embedded",
        ];
        assert_eq!(about.captions, expected);
        assert_eq!(about.keywords, ["pet", "home"]);
    }

    #[test]
    fn a_sidecar_that_comes_changes_or_goes_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let sidecar = folder.path().join("a.txt");
        let locations = at(&folder.path().join("a.jpg"));
        let mut about = About::default();
        assert!(is_current(&about, &locations));
        for text in ["one", "three"] {
            fs_err::write(&sidecar, text).unwrap();
            assert!(!is_current(&about, &locations));
            describe(&mut about, &locations, &Words::default());
            assert_eq!(about.captions, [text]);
            assert!(is_current(&about, &locations));
        }
        fs_err::remove_file(&sidecar).unwrap();
        assert!(!is_current(&about, &locations));
        describe(&mut about, &locations, &Words::default());
        assert!(about.captions.is_empty() && is_current(&about, &locations));
    }

    #[test]
    fn bad_and_oversized_sidecars_are_named_and_left_out() {
        let folder = tempfile::tempdir().unwrap();
        fs_err::write(folder.path().join("a.json"), "{").unwrap();
        let large = vec![b'x'; MOST_BYTES as usize + 1];
        fs_err::write(folder.path().join("a.txt"), large).unwrap();
        fs_err::write(folder.path().join("a.jpg.txt"), b"caf\xe9").unwrap();
        let mut about = About::default();
        let locations = at(&folder.path().join("a.jpg"));
        let troubles = describe(&mut about, &locations, &Words::default());
        assert_eq!(troubles.len(), 2, "{troubles:?}");
        assert_eq!(about.captions, ["caf\u{fffd}"]);
    }
}
