//! Pictures with captions, read from the forms that people have: samples.json, and the splits of Flickr30k
//! and COCO that Karpathy made (dataset_flickr30k.json, dataset_coco.json).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, Result};

/// A caption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caption {
    /// Its words.
    pub words: String,
    /// Whose it is: a place in [`Pairs::pictures`].
    pub picture: usize,
}

/// Pictures and their captions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairs {
    /// Files.
    pub pictures: Vec<PathBuf>,
    /// Captions, those of one picture together.
    pub captions: Vec<Caption>,
    /// What each picture shows, where the file says so.
    objects: Vec<BTreeSet<String>>,
}

/// What is read.
#[derive(Clone, Debug)]
pub struct Selection<'a> {
    /// Folder of the pictures.
    pub images: &'a Path,
    /// Split of a Karpathy file: `test`, `val`, ...
    pub split: &'a str,
    /// Captions of a picture, at most.
    pub captions: usize,
    /// Pictures, at most.
    pub pictures: usize,
}

#[derive(Deserialize)]
struct Sample {
    captions: Vec<String>,
    #[serde(default)]
    objects: Vec<String>,
}

#[derive(Deserialize)]
struct Karpathy {
    images: Vec<KarpathyImage>,
}

#[derive(Deserialize)]
struct KarpathyImage {
    filename: String,
    #[serde(default)]
    filepath: String,
    split: String,
    sentences: Vec<Sentence>,
}

#[derive(Deserialize)]
struct Sentence {
    raw: String,
}

impl Pairs {
    /// Reads either form; which one it is shows by the list `images`.
    ///
    /// # Errors
    /// The file cannot be read, is of neither form, or holds no pair that was selected.
    pub fn read(path: &Path, selection: &Selection<'_>) -> Result<Self> {
        let bad = |what: String| Error::BadFile {
            path: path.to_owned(),
            what,
        };
        let value: Value = serde_json::from_slice(&fs_err::read(path)?)
            .map_err(|error| bad(format!("not JSON: {error}")))?;
        let pairs = if value.get("images").is_some_and(Value::is_array) {
            let file: Karpathy = serde_json::from_value(value)
                .map_err(|error| bad(format!("not a Karpathy split: {error}")))?;
            Self::of_karpathy(file, selection)
        } else {
            let file: BTreeMap<String, Sample> =
                serde_json::from_value(value).map_err(|error| {
                    bad(format!(
                        "neither samples.json ({error}) nor a Karpathy split (no list `images`)"
                    ))
                })?;
            Self::of_samples(file, selection)
        };
        if pairs.captions.is_empty() {
            return Err(bad(format!(
                "no captioned picture of the split `{}`",
                selection.split
            )));
        }
        Ok(pairs)
    }

    fn of_samples(file: BTreeMap<String, Sample>, selection: &Selection<'_>) -> Self {
        let mut pairs = Self::default();
        for (name, sample) in file.into_iter().take(selection.pictures) {
            let objects = sample.objects.into_iter().collect();
            pairs.add(
                selection.images.join(name),
                objects,
                sample.captions,
                selection.captions,
            );
        }
        pairs
    }

    fn of_karpathy(file: Karpathy, selection: &Selection<'_>) -> Self {
        let mut pairs = Self::default();
        let split = file
            .images
            .into_iter()
            .filter(|image| image.split == selection.split);
        for image in split.take(selection.pictures) {
            // COCO's pictures lie in folders (val2014/..), unless somebody put them all into one.
            let nested = selection.images.join(&image.filepath).join(&image.filename);
            let path = if nested.is_file() {
                nested
            } else {
                selection.images.join(&image.filename)
            };
            let captions = image
                .sentences
                .into_iter()
                .map(|sentence| sentence.raw)
                .collect();
            pairs.add(path, BTreeSet::new(), captions, selection.captions);
        }
        pairs
    }

    fn add(
        &mut self,
        path: PathBuf,
        objects: BTreeSet<String>,
        captions: Vec<String>,
        most: usize,
    ) {
        let picture = self.pictures.len();
        self.pictures.push(path);
        self.objects.push(objects);
        let captions = captions.into_iter().take(most);
        self.captions
            .extend(captions.map(|words| Caption { words, picture }));
    }

    /// The things that the file lists, each with the pictures that show it.
    pub(super) fn things(&self) -> BTreeMap<&str, BTreeSet<usize>> {
        let mut things: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
        for (picture, objects) in self.objects.iter().enumerate() {
            for object in objects {
                things.entry(object).or_default().insert(picture);
            }
        }
        things
    }

    /// For each picture, the others that may show something of what it shows: a shared object where the
    /// file lists objects, else a shared word of their captions that is not among the most frequent.
    pub(super) fn relatives(&self) -> Vec<BTreeSet<usize>> {
        let things: Vec<BTreeSet<String>> =
            if self.objects.iter().all(|objects| !objects.is_empty()) {
                self.objects.clone()
            } else {
                self.telling_words()
            };
        let mut shown_by: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (picture, things) in things.iter().enumerate() {
            for thing in things {
                shown_by.entry(thing).or_default().push(picture);
            }
        }
        let related = |things: &BTreeSet<String>| {
            things
                .iter()
                .filter_map(|thing| shown_by.get(thing.as_str()))
                .flatten()
                .copied()
                .collect()
        };
        things.iter().map(related).collect()
    }

    fn telling_words(&self) -> Vec<BTreeSet<String>> {
        let mut words = vec![BTreeSet::new(); self.pictures.len()];
        for caption in &self.captions {
            if let Some(words) = words.get_mut(caption.picture) {
                let split = caption.words.split(|c: char| !c.is_alphanumeric());
                words.extend(split.filter(|word| word.len() > 2).map(str::to_lowercase));
            }
        }
        let mut pictures_with: BTreeMap<String, usize> = BTreeMap::new();
        for word in words.iter().flatten() {
            *pictures_with.entry(word.clone()).or_default() += 1;
        }
        // "the" and "with" tell nothing; a word of every tenth picture is taken for one of these.
        let most = self.pictures.len().div_ceil(10);
        for words in &mut words {
            words.retain(|word| pictures_with.get(word).is_some_and(|count| *count <= most));
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, captions: usize) -> Result<Pairs> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pairs.json");
        fs_err::write(&path, text).unwrap();
        let images = Path::new("/images");
        Pairs::read(
            &path,
            &Selection {
                images,
                split: "test",
                captions,
                pictures: usize::MAX,
            },
        )
    }

    const SAMPLES: &str = r#"{
        "a/1.jpg": {"captions": ["a cat", "a kitten"], "objects": ["cat"]},
        "b/2.jpg": {"captions": ["a cat and a dog"], "objects": ["cat", "dog"]},
        "c/3.jpg": {"captions": ["a ship"], "objects": ["ship"], "unseen_style": true}
    }"#;

    #[test]
    fn samples_are_read_in_the_order_of_their_names() {
        let pairs = read(SAMPLES, 9).unwrap();
        assert_eq!(pairs.pictures[1], Path::new("/images/b/2.jpg"));
        let words: Vec<_> = pairs
            .captions
            .iter()
            .map(|c| (c.words.as_str(), c.picture))
            .collect();
        assert_eq!(
            words,
            [
                ("a cat", 0),
                ("a kitten", 0),
                ("a cat and a dog", 1),
                ("a ship", 2)
            ]
        );
        assert_eq!(read(SAMPLES, 1).unwrap().captions.len(), 3);
    }

    #[test]
    fn pictures_are_related_by_what_they_show() {
        let relatives = read(SAMPLES, 9).unwrap().relatives();
        assert_eq!(
            relatives,
            [
                BTreeSet::from([0, 1]),
                BTreeSet::from([0, 1]),
                BTreeSet::from([2])
            ]
        );
    }

    #[test]
    fn without_lists_of_objects_telling_words_relate() {
        // "with" is in most captions and tells nothing.
        let words = [
            "horse with hat",
            "horse with tree",
            "boat with flag",
            "lamp with desk",
        ];
        let entries: Vec<_> = words
            .iter()
            .enumerate()
            .map(|(i, w)| format!(r#""{i}.jpg": {{"captions": ["{w}"]}}"#))
            .chain((4..20).map(|i| format!(r#""{i:02}.jpg": {{"captions": ["with x{i}x"]}}"#)))
            .collect();
        let pairs = read(&format!("{{{}}}", entries.join(",")), 9).unwrap();
        let place = |name: &str| {
            pairs
                .pictures
                .iter()
                .position(|p| p.ends_with(name))
                .unwrap()
        };
        let relatives = pairs.relatives();
        let (first, second) = (place("0.jpg"), place("1.jpg"));
        assert_eq!(relatives[first], BTreeSet::from([first, second]));
        assert_eq!(relatives[place("2.jpg")].len(), 1);
    }

    #[test]
    fn a_karpathy_split_is_filtered_by_split() {
        let text = r#"{"dataset": "flickr30k", "images": [
            {"filename": "1.jpg", "split": "train", "sentences": [{"raw": "No.", "tokens": ["no"]}]},
            {"filename": "2.jpg", "filepath": "val2014", "split": "test",
             "sentences": [{"raw": "Two dogs."}, {"raw": "Dogs."}]}]}"#;
        let pairs = read(text, 5).unwrap();
        assert_eq!(pairs.pictures, [Path::new("/images/2.jpg")]);
        assert_eq!(pairs.captions[0].words, "Two dogs.");
        assert_eq!(pairs.captions.len(), 2);
    }

    #[test]
    fn a_file_of_neither_form_is_refused_by_name() {
        for text in [
            "[",
            "[1]",
            r#"{"a.jpg": 3}"#,
            "{}",
            r#"{"images": [{"x": 1}]}"#,
        ] {
            let error = read(text, 5).unwrap_err().to_string();
            assert!(error.contains("pairs.json"), "{text}: {error}");
        }
    }
}
