//! What is selected of a file of captions to measure with: pictures, captions, and how they are related.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bt_model::read_captions;

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
    /// Which split, of a file that has some: `test`, `val`, ...
    pub split: &'a str,
    /// Captions of a picture, at most.
    pub captions: usize,
    /// Pictures, at most.
    pub pictures: usize,
}

impl Pairs {
    /// Reads a file of captions ([`read_captions`]); of one with splits, the one that is selected. Pictures
    /// without captions count, too: none of them is a right answer.
    ///
    /// # Errors
    /// The file cannot be read, is no file of captions, or holds no pair that was selected.
    pub fn read(path: &Path, selection: &Selection<'_>) -> Result<Self> {
        let mut pairs = Self::default();
        let selected = read_captions(path, Some(selection.images))?
            .into_iter()
            .filter(|one| one.split.as_deref().is_none_or(|of| of == selection.split));
        for one in selected.take(selection.pictures) {
            let picture = pairs.pictures.len();
            pairs.pictures.push(one.picture);
            pairs.objects.push(one.objects.into_iter().collect());
            let captions = one.captions.into_iter().take(selection.captions);
            pairs
                .captions
                .extend(captions.map(|words| Caption { words, picture }));
        }
        if pairs.captions.is_empty() {
            return Err(Error::BadFile {
                path: path.to_owned(),
                what: format!("no captioned picture of the split `{}`", selection.split),
            });
        }
        Ok(pairs)
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
    fn pictures_without_captions_are_there_to_be_mistaken() {
        let text = r#"{"a.jpg": {"captions": []}, "b.jpg": {"caption": "a cat"}}"#;
        let pairs = read(text, 9).unwrap();
        assert_eq!(pairs.pictures.len(), 2);
        assert_eq!(pairs.captions[0].picture, 1);
        let list = r#"[{"image": "b.jpg", "caption": "x"}, {"image": "a.jpg", "caption": "y"}]"#;
        let pairs = read(list, 9).unwrap();
        assert_eq!(
            pairs.pictures,
            ["/images/b.jpg", "/images/a.jpg"].map(Path::new)
        );
    }

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
    fn a_file_of_no_form_is_refused_by_name() {
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
