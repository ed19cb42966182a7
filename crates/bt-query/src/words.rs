//! The words of a query as words: whether a picture's own words (name, folder, captions, keywords) say
//! what is asked. How texts become terms, and ranking by them, is the store's.

use std::collections::BTreeSet;

use bt_store::{Record, query_terms, terms};

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

/// Whether a picture's own words (file name, its folder, captions, keywords, camera) hold every term of
/// a text. False for a text without any. Folders further up are left out: they hold everything.
pub(crate) fn say(record: &Record, text: &str) -> bool {
    let asked = query_terms(text);
    if asked.is_empty() {
        return false;
    }
    let mut own: BTreeSet<String> = BTreeSet::new();
    for location in &record.locations {
        let folder = location.path.parent().and_then(|folder| folder.file_name());
        for name in [location.path.file_name(), folder].into_iter().flatten() {
            own.extend(terms(&name.to_string_lossy()));
        }
    }
    let about = &record.about;
    for text in about
        .captions
        .iter()
        .chain(&about.keywords)
        .chain(&about.camera)
    {
        own.extend(terms(text));
    }
    asked.iter().all(|term| own.contains(term))
}

/// Whether a word of a text is one that the text is looked up by, and not only there for grammar.
pub(crate) fn tells(word: &str, text: &str) -> bool {
    let asked = query_terms(text);
    terms(word).iter().any(|term| asked.contains(term))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doubles::record;

    #[test]
    fn words_for_grammar_tell_nothing_beside_others() {
        let text = "The cats, on a Couch!";
        let told: Vec<&str> = text.split(' ').filter(|word| tells(word, text)).collect();
        assert_eq!(told, ["cats,", "Couch!"]);
        assert!(tells("the", "on the"));
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
        assert!(!say(&picture, ""));
        picture
            .about
            .captions
            .push("grandma's birthday cake".into());
        assert!(say(&picture, "birthdays in lisbon"));
    }
}
