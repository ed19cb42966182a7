//! Files that say which words describe which picture. Three forms are read:
//!
//! - `{"a/b.jpg": {"captions": ["..", ".."]}, ..}`, as samples/samples.json;
//! - `[{"image": "a/b.jpg", "caption": ".."}, ..]`, `captions` for several, `file_name` for `image`;
//! - the Karpathy split of Flickr30k and COCO: `{"images": [{"filepath", "filename", "split", "sentences"}]}`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, Result};

/// A picture with the texts that describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captioned {
    /// The picture's file.
    pub picture: PathBuf,
    /// At least one text.
    pub captions: Vec<String>,
    /// What the file says the picture is for.
    pub part: Option<Part>,
}

/// What a picture is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Learning.
    Train,
    /// Choosing how to learn.
    Validation,
    /// Measuring what was learnt.
    HeldOut,
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
    filepath: Option<String>,
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

/// Reads a file of captions. Pictures are relative to `images`, or to the file's folder without it; a
/// picture that is listed several times gets all its captions; one without any is left out.
///
/// # Errors
/// The file cannot be read, or has none of the three forms.
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
    let rows: Vec<(PathBuf, Vec<String>, Option<Part>)> = match parsed {
        File::Karpathy { images } => images.into_iter().map(karpathy).collect(),
        File::List(list) => list
            .into_iter()
            .map(|one| {
                (
                    PathBuf::from(one.image),
                    one.texts.captions.into_vec(),
                    None,
                )
            })
            .collect(),
        File::Album(album) => album
            .into_iter()
            .map(|(name, texts)| (PathBuf::from(name), texts.captions.into_vec(), None))
            .collect(),
    };
    let mut places: BTreeMap<PathBuf, usize> = BTreeMap::new();
    let mut all: Vec<Captioned> = Vec::new();
    for (name, captions, part) in rows {
        let captions: Vec<String> = captions
            .into_iter()
            .filter(|text| !text.trim().is_empty())
            .collect();
        if captions.is_empty() {
            continue;
        }
        let place = *places.entry(name.clone()).or_insert(all.len());
        match all.get_mut(place) {
            Some(known) => known.captions.extend(captions),
            None => all.push(Captioned {
                picture: folder.join(name),
                captions,
                part,
            }),
        }
    }
    if all.is_empty() {
        return Err(bad("it describes no picture".to_owned()));
    }
    Ok(all)
}

fn karpathy(image: KarpathyImage) -> (PathBuf, Vec<String>, Option<Part>) {
    let part = match image.split.as_str() {
        "test" => Part::HeldOut,
        "val" => Part::Validation,
        _ => Part::Train, // train, and COCO's restval
    };
    let name = Path::new(image.filepath.as_deref().unwrap_or("")).join(image.filename);
    (
        name,
        image
            .sentences
            .into_iter()
            .map(|sentence| sentence.raw)
            .collect(),
        Some(part),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Captioned>> {
        let folder = tempfile::tempdir().unwrap();
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
            part: None,
        }
    }

    #[test]
    fn the_three_forms_are_read() {
        let album = read(
            r#"{"a/b.jpg": {"captions": ["a cat", " "], "objects": ["cat"]}, "c.png": {"caption": "a dog"}}"#,
        );
        assert_eq!(
            album.unwrap(),
            [plain("a/b.jpg", &["a cat"]), plain("c.png", &["a dog"])]
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
                {"filename": "2.jpg", "split": "restval", "sentences": [{"raw": "a boat"}]}]}"#,
        )
        .unwrap();
        assert_eq!(
            (split[0].picture.as_path(), split[0].part),
            (Path::new("val2014/1.jpg"), Some(Part::HeldOut))
        );
        assert_eq!(
            (split[1].captions[0].as_str(), split[1].part),
            ("a boat", Some(Part::Train))
        );
    }

    #[test]
    fn anything_else_is_an_error_that_names_the_file() {
        for (text, reason) in [
            ("{", "not JSON"),
            ("[1, 2]", "not a file of captions"),
            ("{}", "describes no picture"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(
                error.contains("captions.json") && error.contains(reason),
                "{text}: {error}"
            );
        }
    }
}
