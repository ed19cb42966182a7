//! The words of a query as words: which of them carry meaning, and whether a picture's name, captions or
//! keywords say them. Ranking by words is the store's (BM25).

use std::collections::BTreeSet;

use bt_store::Record;

/// Words that say nothing alone; a query's other words are looked up. Short on purpose: a word wrongly
/// taken for empty cannot be found at all.
const EMPTY_WORDS: [&str; 34] = [
    "a", "an", "and", "are", "as", "at", "be", "by", "for", "from", "has", "have", "in", "into",
    "is", "it", "its", "of", "on", "or", "some", "that", "the", "their", "there", "these", "this",
    "to", "was", "where", "which", "who", "while", "with",
];

/// The words of a text, in lower case.
fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|letter: char| !letter.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

/// The words of a query that carry meaning, in order.
pub(crate) fn telling(text: &str) -> Vec<String> {
    words(text)
        .filter(|word| !EMPTY_WORDS.contains(&word.as_str()))
        .collect()
}

/// Whether a text is the exact name of a picture's file, with or without its ending.
pub(crate) fn is_name_of(text: &str, record: &Record) -> bool {
    let text = text.trim().to_lowercase();
    let equals = |name: Option<&std::ffi::OsStr>| {
        name.and_then(|name| name.to_str())
            .is_some_and(|name| name.to_lowercase() == text)
    };
    record
        .locations
        .iter()
        .any(|location| equals(location.path.file_name()) || equals(location.path.file_stem()))
}

/// Whether a picture's own words (file name, folder, captions, keywords, camera) hold every telling word
/// of a text. False for a text without one.
pub(crate) fn say(record: &Record, text: &str) -> bool {
    let asked = telling(text);
    if asked.is_empty() {
        return false;
    }
    let mut own: BTreeSet<String> = BTreeSet::new();
    for location in &record.locations {
        let folder = location.path.parent().and_then(|folder| folder.file_name());
        for name in [location.path.file_stem(), folder].into_iter().flatten() {
            own.extend(words(&name.to_string_lossy()));
        }
    }
    let about = &record.about;
    for text in about
        .captions
        .iter()
        .chain(&about.keywords)
        .chain(&about.camera)
    {
        own.extend(words(text));
    }
    asked.iter().all(|word| own.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doubles::record;

    #[test]
    fn empty_words_are_left_out() {
        assert_eq!(telling("The cat, on a Couch!"), ["cat", "couch"]);
        assert_eq!(telling("on the"), Vec::<String>::new());
        assert_eq!(telling("Ärger über 3"), ["ärger", "über", "3"]);
    }

    #[test]
    fn a_name_is_exact_with_or_without_its_ending() {
        let picture = record(1, "/photos/Lisbon 2019/IMG_0012.jpg");
        assert!(is_name_of("img_0012", &picture));
        assert!(is_name_of(" IMG_0012.JPG ", &picture));
        assert!(!is_name_of("IMG_001", &picture));
        assert!(!is_name_of("", &picture));
    }

    #[test]
    fn a_picture_says_what_its_words_hold_all_of() {
        let mut picture = record(1, "/photos/Lisbon 2019/IMG_0012.jpg");
        assert!(say(&picture, "in Lisbon 2019"));
        assert!(!say(&picture, "photos of Lisbon"));
        assert!(!say(&picture, "on the"));
        picture
            .about
            .captions
            .push("grandma's birthday cake".into());
        assert!(say(&picture, "a birthday in lisbon"));
    }
}
