//! Files that say which words describe which picture. Three forms are read:
//!
//! - `{"a/b.jpg": {"captions": ["..", ".."]}, ..}`, as samples/samples.json, with `objects` where it is known
//!   what the picture shows;
//! - `[{"image": "a/b.jpg", "caption": ".."}, ..]`, `captions` for several, `file_name` for `image`;
//! - the Karpathy split of Flickr30k and COCO: `{"images": [{"filepath", "filename", "split", "sentences"}]}`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, Result};

/// A picture with the texts that describe it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captioned {
    /// The picture's file.
    pub picture: PathBuf,
    /// Texts; none of them is blank.
    pub captions: Vec<String>,
    /// Names of things that it shows, where the file says so.
    pub objects: Vec<String>,
    /// Which split of the file it belongs to, where there are some: `train`, `val`, `test`, ...
    pub split: Option<String>,
}

/// What a picture is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Learning.
    Train,
    /// Choosing how to learn.
    Validation,
    /// Measuring what was learnt.
    HeldOut,
}

impl Captioned {
    /// What its split is for.
    pub(crate) fn part(&self) -> Option<Part> {
        Some(match self.split.as_deref()? {
            "test" => Part::HeldOut,
            "val" => Part::Validation,
            _ => Part::Train, // train, and COCO's restval
        })
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum File {
    Karpathy { images: Vec<KarpathyImage> },
    List(Vec<Listed>),
    Album(BTreeMap<String, Described>),
}

#[derive(Deserialize)]
struct KarpathyImage {
    #[serde(default)]
    filepath: String,
    filename: String,
    split: String,
    sentences: Vec<Sentence>,
}

#[derive(Deserialize)]
struct Sentence {
    raw: String,
}

#[derive(Deserialize)]
struct Listed {
    #[serde(
        alias = "file_name",
        alias = "filename",
        alias = "file",
        alias = "path"
    )]
    image: String,
    #[serde(flatten)]
    texts: Described,
}

#[derive(Deserialize)]
struct Described {
    #[serde(alias = "caption")]
    captions: OneOrMany,
    #[serde(default)]
    objects: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::Many(texts) => texts,
        }
    }
}

/// Reads a file of captions: pictures in its order, those of an object sorted by name. They are relative to
/// `images`, or to the file's folder without it; a picture that is listed several times is one, with all its
/// captions.
///
/// # Errors
/// The file cannot be read, has none of the three forms, or has no caption.
pub fn read_captions(file: &Path, images: Option<&Path>) -> Result<Vec<Captioned>> {
    let bad = |what: String| Error::BadFile {
        path: file.to_owned(),
        what,
    };
    let bytes = fs_err::read(file)?;
    // Once as plain JSON: an untagged enum says nothing about where the text goes wrong.
    let value: Value =
        serde_json::from_slice(&bytes).map_err(|cause| bad(format!("not JSON: {cause}")))?;
    let parsed = serde_json::from_value(value).map_err(|_| {
        bad(
            "not a file of captions: {\"a.jpg\": {\"captions\": [..]}}, [{\"image\": \"a.jpg\", \"caption\": \"..\"}], \
             or a Karpathy split"
                .to_owned(),
        )
    })?;
    let folder = images.or_else(|| file.parent()).unwrap_or(Path::new(""));
    let listed: Vec<Captioned> = match parsed {
        File::Karpathy { images } => images.into_iter().map(|one| one.below(folder)).collect(),
        File::List(list) => list
            .into_iter()
            .map(|one| one.texts.of(folder.join(one.image)))
            .collect(),
        File::Album(album) => album
            .into_iter()
            .map(|(name, texts)| texts.of(folder.join(name)))
            .collect(),
    };
    let mut places: BTreeMap<PathBuf, usize> = BTreeMap::new();
    let mut all: Vec<Captioned> = Vec::new();
    for mut one in listed {
        one.captions.retain(|text| !text.trim().is_empty());
        let place = *places.entry(one.picture.clone()).or_insert(all.len());
        match all.get_mut(place) {
            Some(known) => {
                known.captions.extend(one.captions);
                known.objects.extend(one.objects);
            }
            None => all.push(one),
        }
    }
    if all.iter().all(|one| one.captions.is_empty()) {
        return Err(bad("it describes no picture".to_owned()));
    }
    Ok(all)
}

impl Described {
    fn of(self, picture: PathBuf) -> Captioned {
        Captioned {
            picture,
            captions: self.captions.into_vec(),
            objects: self.objects,
            split: None,
        }
    }
}

impl KarpathyImage {
    fn below(self, folder: &Path) -> Captioned {
        // COCO's pictures lie in folders (val2014/..), unless somebody put them all into one.
        let nested = folder.join(&self.filepath).join(&self.filename);
        let picture = if nested.is_file() {
            nested
        } else {
            folder.join(&self.filename)
        };
        let captions = self.sentences.into_iter().map(|sentence| sentence.raw);
        Captioned {
            picture,
            captions: captions.collect(),
            objects: Vec::new(),
            split: Some(self.split),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Beside the file lies the picture `val2014/1.jpg`.
    fn read(text: &str) -> Result<Vec<Captioned>> {
        let folder = tempfile::tempdir().unwrap();
        fs_err::create_dir(folder.path().join("val2014")).unwrap();
        fs_err::write(folder.path().join("val2014/1.jpg"), "").unwrap();
        let file = folder.path().join("captions.json");
        fs_err::write(&file, text).unwrap();
        let mut all = read_captions(&file, None)?;
        for one in &mut all {
            one.picture = one.picture.strip_prefix(folder.path()).unwrap().to_owned();
        }
        Ok(all)
    }

    fn plain(picture: &str, captions: &[&str]) -> Captioned {
        let captions = captions.iter().map(ToString::to_string).collect();
        Captioned {
            picture: picture.into(),
            captions,
            ..Captioned::default()
        }
    }

    #[test]
    fn the_three_forms_are_read() {
        let album = read(
            r#"{"c.png": {"caption": "a dog"}, "a/b.jpg": {"captions": ["a cat", " "], "objects": ["cat"]},
                "d.png": {"captions": []}}"#,
        );
        let mut cat = plain("a/b.jpg", &["a cat"]);
        cat.objects.push("cat".to_owned());
        assert_eq!(
            album.unwrap(),
            [cat, plain("c.png", &["a dog"]), plain("d.png", &[])]
        );
        let list = read(
            r#"[{"image": "a.jpg", "caption": "x"}, {"file_name": "b.jpg", "captions": ["y"]}, {"image": "a.jpg", "caption": "z"}]"#,
        );
        assert_eq!(
            list.unwrap(),
            [plain("a.jpg", &["x", "z"]), plain("b.jpg", &["y"])]
        );
        let split = read(
            r#"{"dataset": "coco", "images": [
                {"filepath": "val2014", "filename": "1.jpg", "split": "test", "sentences": [{"raw": "a man", "tokens": ["a", "man"]}]},
                {"filepath": "val2014", "filename": "2.jpg", "split": "restval", "sentences": [{"raw": "a boat"}]}]}"#,
        )
        .unwrap();
        assert_eq!(
            (split[0].picture.as_path(), split[0].part()),
            (Path::new("val2014/1.jpg"), Some(Part::HeldOut))
        );
        assert_eq!(split[0].split.as_deref(), Some("test"));
        assert_eq!(
            (split[1].picture.as_path(), split[1].part()),
            (Path::new("2.jpg"), Some(Part::Train)),
            "all in one folder"
        );
        assert_eq!(split[1].captions, ["a boat"]);
    }

    #[test]
    fn anything_else_is_an_error_that_names_the_file() {
        for (text, reason) in [
            ("{", "not JSON"),
            ("[1, 2]", "not a file of captions"),
            ("{}", "describes no picture"),
            (r#"{"a.jpg": {"captions": [" "]}}"#, "describes no picture"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(
                error.contains("captions.json") && error.contains(reason),
                "{text}: {error}"
            );
        }
    }
}
