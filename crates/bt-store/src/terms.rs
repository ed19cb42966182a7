//! Text to search terms: the same way for what is indexed and for what is asked.
//!
//! Text is cut where letters, digits and capitals change, so that `IMG_2041.jpg`, `2019-07 Lisbon` and
//! `sunsetAtBeach` are found by their parts; a run that was cut is a term as a whole as well. Terms are
//! lower-case, without accents, and English words are stemmed. Where they are kept is in `words`.

use rust_stemmers::{Algorithm, Stemmer};
use tantivy::tokenizer::{AsciiFoldingFilter, RawTokenizer, TextAnalyzer, TokenStream};

/// A longer term is no word that somebody types.
const MAX_TERM_CHARS: usize = 64;

/// Words that say nothing about a picture; ignored in a query that has others.
const STOP_WORDS: [&str; 42] = [
    "a", "about", "an", "and", "are", "as", "at", "be", "by", "for", "from", "has", "have", "he",
    "her", "his", "in", "into", "is", "it", "its", "my", "no", "of", "on", "or", "our", "she",
    "some", "that", "the", "their", "there", "they", "this", "to", "was", "we", "were", "which",
    "with", "your",
];

/// The terms of a text as the word index has them, repeated as often as they occur.
pub fn terms(text: &str) -> Vec<String> {
    Splitter::new().terms(text)
}

/// The distinct terms that a query is looked up by: without words that say nothing, unless there are no
/// others.
pub fn query_terms(text: &str) -> Vec<String> {
    Splitter::new().query_terms(text)
}

/// Turns texts into terms; keeps what that needs between calls.
pub(crate) struct Splitter {
    fold: TextAnalyzer,
    stem: Stemmer,
}

impl Splitter {
    pub(crate) fn new() -> Self {
        Self {
            fold: TextAnalyzer::builder(RawTokenizer::default())
                .filter(AsciiFoldingFilter)
                .build(),
            stem: Stemmer::create(Algorithm::English),
        }
    }

    /// Every term of a text, in order, repeated as often as it occurs.
    pub(crate) fn terms(&mut self, text: &str) -> Vec<String> {
        let folded = self.fold(text);
        let mut terms = Vec::new();
        for run in folded.split(|c: char| !c.is_alphanumeric() && c != '\'' && c != '’') {
            self.push_run(run, &mut terms);
        }
        terms
    }

    /// Distinct terms of a query, without stop words unless it has nothing else.
    pub(crate) fn query_terms(&mut self, text: &str) -> Vec<String> {
        let told = |stop: bool, text: &str| -> String {
            text.split_whitespace()
                .filter(|word| {
                    let word = word
                        .trim_matches(|c: char| !c.is_alphanumeric())
                        .to_lowercase();
                    !stop || STOP_WORDS.binary_search(&word.as_str()).is_err()
                })
                .collect::<Vec<_>>()
                .join(" ")
        };
        let mut terms = self.terms(&told(true, text));
        if terms.is_empty() {
            terms = self.terms(&told(false, text));
        }
        let mut seen = std::collections::HashSet::new();
        terms.retain(|term| seen.insert(term.clone()));
        terms
    }

    /// A file name as it is compared as a whole.
    pub(crate) fn whole_name(&mut self, name: &str) -> String {
        self.fold(name.trim()).to_lowercase()
    }

    fn fold(&mut self, text: &str) -> String {
        let mut stream = self.fold.token_stream(text);
        stream
            .next()
            .map_or_else(String::new, |token| token.text.clone())
    }

    /// A run of letters and digits (and apostrophes).
    fn push_run(&self, run: &str, terms: &mut Vec<String>) {
        // "cat's" is "cat"; other apostrophes vanish ("O'Hara").
        let run: String = run
            .trim_end_matches("'s")
            .trim_end_matches("’s")
            .chars()
            .filter(|c| c.is_alphanumeric())
            .collect();
        let parts = parts(&run);
        for part in &parts {
            self.push(part, terms);
            if let Some((year, month, day)) = as_date(part) {
                for piece in [year, month, day] {
                    self.push(piece, terms);
                }
            }
        }
        let ideographs = parts.iter().any(|part| part.chars().all(is_ideograph));
        if parts.len() > 1 && !ideographs {
            self.push(&run, terms);
        }
    }

    fn push(&self, word: &str, terms: &mut Vec<String>) {
        if word.chars().count() > MAX_TERM_CHARS {
            return;
        }
        let word = word.to_lowercase();
        if word.bytes().all(|b| b.is_ascii_digit()) {
            // `0042` and `42` are the same number.
            let short = word.trim_start_matches('0');
            if short.len() < word.len() && !short.is_empty() {
                terms.push(short.to_owned());
            }
            terms.push(word);
        } else {
            terms.push(self.stem.stem(&word).into_owned());
        }
    }
}

/// Cuts between letters and digits, before a capital that begins a word, and around each ideograph.
fn parts(run: &str) -> Vec<&str> {
    let chars: Vec<(usize, char)> = run.char_indices().collect();
    let mut parts = Vec::new();
    let mut start = 0;
    for window in 1..chars.len() {
        let (before, (at, here)) = (chars[window - 1].1, chars[window]);
        let next_is_lower = chars
            .get(window + 1)
            .is_some_and(|(_, next)| next.is_lowercase());
        let capital = here.is_uppercase()
            && (before.is_lowercase() || (before.is_uppercase() && next_is_lower));
        if before.is_numeric() != here.is_numeric()
            || capital
            || is_ideograph(before)
            || is_ideograph(here)
        {
            parts.push(&run[start..at]);
            start = at;
        }
    }
    if start < run.len() {
        parts.push(&run[start..]);
    }
    parts
}

/// Scripts that write no spaces between words: a character is a term.
fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

/// `20190714` as cameras and telephones write it.
fn as_date(digits: &str) -> Option<(&str, &str, &str)> {
    if digits.len() != 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (year, month, day) = (&digits[..4], &digits[4..6], &digits[6..]);
    (("1900".."2100").contains(&year)
        && ("01"..="12").contains(&month)
        && ("01"..="31").contains(&day))
    .then_some((year, month, day))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_found_by_their_parts_and_as_a_whole() {
        let mut splitter = Splitter::new();
        for (text, terms) in [
            ("IMG_2041.jpg", &["img", "2041", "jpg"][..]),
            ("2019-07 Lisbon", &["2019", "7", "07", "lisbon"]),
            ("sunsetAtBeach", &["sunset", "at", "beach", "sunsetatbeach"]),
            ("DSC0042", &["dsc", "42", "0042", "dsc0042"]),
            ("JPEGFile", &["jpeg", "file", "jpegfil"]),
            (
                "PXL_20190714_183000",
                &["pxl", "20190714", "2019", "7", "07", "14", "183000"],
            ),
            ("Canon EOS 5D", &["canon", "eo", "5", "d", "5d"]),
            ("Beaches, running dogs", &["beach", "run", "dog"]),
            ("the cat's Café", &["the", "cat", "cafe"]),
            ("東京 tower", &["東", "京", "tower"]),
            ("000", &["000"]),
            ("", &[]),
            ("\"(((", &[]),
        ] {
            assert_eq!(splitter.terms(text), terms, "{text}");
        }
    }

    #[test]
    fn stop_words_count_only_when_alone() {
        let mut splitter = Splitter::new();
        assert_eq!(splitter.query_terms("a cat on a couch"), ["cat", "couch"]);
        assert_eq!(splitter.query_terms("The, the"), ["the"]);
        assert!(STOP_WORDS.is_sorted());
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in any::<String>()) {
            let mut splitter = Splitter::new();
            for term in splitter.terms(&text) {
                prop_assert!(!term.is_empty());
            }
            splitter.query_terms(&text);
        }
    }
}
