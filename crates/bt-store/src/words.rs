//! Full text: which pictures have the words of a query in their names, folders, captions, keywords or
//! camera, ranked by BM25.
//!
//! tantivy keeps the postings. A document's number is its row, and all documents are in one segment, so
//! nothing else is stored. How text becomes terms is in `terms`. A query is a set of terms, never a syntax:
//! no text is an error.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tantivy::directory::error::{DeleteError, LockError, OpenReadError, OpenWriteError};
use tantivy::directory::{
    DirectoryLock, FileHandle, Lock, MmapDirectory, RamDirectory, WatchCallback, WatchHandle,
    WritePtr,
};
use tantivy::query::{
    Bm25StatisticsProvider, BooleanQuery, BoostQuery, ConstScoreQuery, EnableScoring, Occur, Query,
    TermQuery,
};
use tantivy::schema::{Field, IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
use tantivy::tokenizer::{PreTokenizedString, Token};
use tantivy::{Directory, Index, ReloadPolicy, Searcher, TantivyDocument, TantivyError, Term};

use crate::bitset::Bitset;
use crate::error::Result;
use crate::record::Record;
use crate::scan::{Best, Scored};
use crate::terms::Splitter;

/// What a match in a field is worth beside one in a caption. A file's name was chosen for this picture, a
/// folder's name for many.
const FIELDS: [(&str, f32); 5] = [
    ("name", 2.0),
    ("folder", 0.8),
    ("caption", 1.0),
    ("keyword", 1.5),
    ("camera", 0.7),
];

/// Whole file names, with and without extension.
const WHOLE_NAME: &str = "whole_name";

/// Score of a whole file name: above any sum of BM25 terms, so that an exact name comes first.
const WHOLE_NAME_SCORE: f32 = 1000.0;

/// Terms of a query that are looked up; a longer text is no query.
const MAX_QUERY_TERMS: usize = 64;

/// Memory for the first tables while building; they grow as needed.
const BUILD_BUDGET: usize = 32 << 20;

/// An index over words that can be searched.
pub(crate) struct Words {
    searcher: Searcher,
    schema: Fields,
}

impl std::fmt::Debug for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Words({} documents)", self.searcher.num_docs())
    }
}

#[derive(Clone, Copy)]
struct Fields {
    fields: [Field; FIELDS.len()],
    whole_name: Field,
}

fn schema() -> (Schema, Fields) {
    let indexed = |option, norms| {
        TextOptions::default().set_indexing_options(
            TextFieldIndexing::default()
                .set_tokenizer("raw")
                .set_index_option(option)
                .set_fieldnorms(norms),
        )
    };
    let mut builder = Schema::builder();
    let fields = FIELDS
        .map(|(name, _)| builder.add_text_field(name, indexed(IndexRecordOption::WithFreqs, true)));
    let whole_name = builder.add_text_field(WHOLE_NAME, indexed(IndexRecordOption::Basic, false));
    (builder.build(), Fields { fields, whole_name })
}

impl Words {
    /// Builds in memory.
    pub(crate) fn in_memory(records: impl Iterator<Item = Result<Record>>) -> Result<Self> {
        let index = build(RamDirectory::create(), records)?;
        Self::of(&index)
    }

    /// Builds in an empty folder; the files are written, not yet synced.
    pub(crate) fn build(
        folder: &Path,
        records: impl Iterator<Item = Result<Record>>,
    ) -> Result<()> {
        let directory = MmapDirectory::open(folder).map_err(TantivyError::from)?;
        build(directory, records)?;
        Ok(())
    }

    /// Opens a folder of which only the files named are trusted to be there; writes nothing, not even a
    /// lock, so that an index on a read-only disk can be searched.
    ///
    /// # Errors
    /// A text that says what is wrong.
    pub(crate) fn open(folder: &Path, files: Vec<PathBuf>, rows: usize) -> Result<Self, String> {
        let open = || -> Result<Self> {
            let directory = ReadOnly {
                inner: MmapDirectory::open(folder).map_err(TantivyError::from)?,
                files: Arc::new(files),
            };
            Self::of(&Index::open(directory)?)
        };
        let words = catch_unwind(AssertUnwindSafe(open))
            .map_err(|_| "tantivy panicked while reading it".to_owned())?
            .map_err(|error| error.to_string())?;
        let segments = words.searcher.segment_readers();
        if segments.len() != 1 || segments[0].max_doc() as usize != rows {
            return Err(format!(
                "it covers {} rows instead of {rows}",
                words.searcher.num_docs()
            ));
        }
        Ok(words)
    }

    fn of(index: &Index) -> Result<Self> {
        let (schema, fields) = schema();
        if index.schema() != schema {
            let what = "its fields are not those of this version".to_owned();
            return Err(TantivyError::SchemaError(what).into());
        }
        let reader = index
            .reader_builder()
            .reload_policy(ReloadPolicy::Manual)
            .try_into()?;
        Ok(Self {
            searcher: reader.searcher(),
            schema: fields,
        })
    }
}

/// Searches several indexes as if they were one: scores are comparable, since the frequencies of terms
/// are those of all together. Gives the best `n` allowed rows of each, best first, ties by row.
pub(crate) fn search(
    parts: &[(&Words, &Bitset)],
    text: &str,
    n: usize,
) -> Result<Vec<Vec<Scored>>> {
    let nothing = vec![Vec::new(); parts.len()];
    let Some(((first, _), _)) = parts.split_first() else {
        return Ok(nothing);
    };
    if n == 0 {
        return Ok(nothing);
    }
    let Some(query) = plan(text, first.schema) else {
        return Ok(nothing);
    };
    let joint = JointStatistics(parts.iter().map(|(words, _)| &words.searcher).collect());
    parts
        .iter()
        .map(|(words, allowed)| {
            let scoring = EnableScoring::enabled_from_statistics_provider(&joint, &words.searcher);
            let weight = query.weight(scoring)?;
            let mut best = Best::new(n);
            for segment in words.searcher.segment_readers() {
                // Only what scores above the threshold is reported; one step below the worst kept, so
                // that a tie is reported as well and decided by row.
                let threshold = |best: &Best| {
                    best.worst()
                        .map_or(f32::MIN, |worst| worst.score.next_down())
                };
                weight.for_each_pruning(f32::MIN, segment, &mut |row, score| {
                    if allowed.contains(row as usize) {
                        best.offer(Scored { score, row });
                    }
                    threshold(&best)
                })?;
            }
            Ok(best.into_sorted())
        })
        .collect()
}

/// [`search`], where files may have been damaged since they were checked: a panic is a text.
pub(crate) fn search_guarded(
    parts: &[(&Words, &Bitset)],
    text: &str,
    n: usize,
) -> Result<Vec<Vec<Scored>>, String> {
    catch_unwind(AssertUnwindSafe(|| search(parts, text, n)))
        .map_err(|_| "tantivy panicked while searching it".to_owned())?
        .map_err(|error| error.to_string())
}

fn plan(text: &str, schema: Fields) -> Option<BooleanQuery> {
    let mut splitter = Splitter::new();
    let mut clauses: Vec<(Occur, Box<dyn Query>)> = Vec::new();
    for term in splitter.query_terms(text).iter().take(MAX_QUERY_TERMS) {
        for (field, (_, boost)) in schema.fields.into_iter().zip(FIELDS) {
            let query = TermQuery::new(
                Term::from_field_text(field, term),
                IndexRecordOption::WithFreqs,
            );
            clauses.push((
                Occur::Should,
                Box::new(BoostQuery::new(Box::new(query), boost)),
            ));
        }
    }
    let mut names: Vec<String> = text
        .split_whitespace()
        .filter(|word| looks_like_a_name(word))
        .chain([text])
        .take(MAX_QUERY_TERMS)
        .map(|name| splitter.whole_name(name))
        .filter(|name| !name.is_empty() && name.len() <= MAX_NAME_BYTES)
        .collect();
    names.sort();
    names.dedup();
    for name in names {
        let query = TermQuery::new(
            Term::from_field_text(schema.whole_name, &name),
            IndexRecordOption::Basic,
        );
        let query = ConstScoreQuery::new(Box::new(query), WHOLE_NAME_SCORE);
        clauses.push((Occur::Should, Box::new(query)));
    }
    (!clauses.is_empty()).then(|| BooleanQuery::new(clauses))
}

/// Longer names are not compared as a whole (tantivy refuses terms beyond 64 KiB).
const MAX_NAME_BYTES: usize = 1024;

/// `IMG_2041` or `cat.jpg` among the words of a query, but not `2019` or `cat`.
fn looks_like_a_name(word: &str) -> bool {
    let digits = word.chars().any(|c| c.is_ascii_digit());
    let letters = word.chars().any(char::is_alphabetic);
    letters && (digits || word.trim_matches('.').contains(['.', '_']))
}

fn build(
    directory: impl Into<Box<dyn Directory>>,
    records: impl Iterator<Item = Result<Record>>,
) -> Result<Index> {
    let (schema, fields) = schema();
    let mut writer = Index::builder()
        .schema(schema)
        .single_segment_index_writer(directory, BUILD_BUDGET)?;
    let mut splitter = Splitter::new();
    for record in records {
        writer.add_document(document(&record?, fields, &mut splitter))?;
    }
    Ok(writer.finalize()?)
}

fn document(record: &Record, schema: Fields, splitter: &mut Splitter) -> TantivyDocument {
    let mut names = Vec::new();
    let mut folders = Vec::new();
    let mut whole = Vec::new();
    for location in &record.locations {
        if let Some(name) = location.path.file_name() {
            names.push(name.to_string_lossy());
            for name in [Some(name), location.path.file_stem()]
                .into_iter()
                .flatten()
            {
                whole.push(splitter.whole_name(&name.to_string_lossy()));
            }
        }
        if let Some(folder) = location.path.parent() {
            folders.push(folder.to_string_lossy());
        }
    }
    whole.retain(|name| !name.is_empty() && name.len() <= MAX_NAME_BYTES);
    // Copies of a picture are one picture: a name counts once.
    for texts in [&mut names, &mut folders] {
        texts.sort();
        texts.dedup();
    }
    whole.sort();
    whole.dedup();

    let about = &record.about;
    let mut split = |texts: &mut dyn Iterator<Item = &str>| {
        texts
            .flat_map(|text| splitter.terms(text))
            .collect::<Vec<_>>()
    };
    let by_field = [
        split(&mut names.iter().map(AsRef::as_ref)),
        split(&mut folders.iter().map(AsRef::as_ref)),
        split(&mut about.captions.iter().map(String::as_str)),
        split(&mut about.keywords.iter().map(String::as_str)),
        split(&mut about.camera.iter().chain(&about.lens).map(String::as_str)),
    ];
    let mut document = TantivyDocument::default();
    for (field, terms) in schema.fields.into_iter().zip(by_field) {
        document.add_pre_tokenized_text(field, tokens(terms));
    }
    document.add_pre_tokenized_text(schema.whole_name, tokens(whole));
    document
}

fn tokens(terms: Vec<String>) -> PreTokenizedString {
    PreTokenizedString {
        text: String::new(),
        tokens: terms
            .into_iter()
            .enumerate()
            .map(|(position, text)| Token {
                position,
                text,
                ..Token::default()
            })
            .collect(),
    }
}

/// Statistics of all parts of a snapshot.
struct JointStatistics<'a>(Vec<&'a Searcher>);

impl Bm25StatisticsProvider for JointStatistics<'_> {
    fn total_num_tokens(&self, field: Field) -> tantivy::Result<u64> {
        self.sum(|searcher| Bm25StatisticsProvider::total_num_tokens(searcher, field))
    }

    fn total_num_docs(&self) -> tantivy::Result<u64> {
        self.sum(Bm25StatisticsProvider::total_num_docs)
    }

    fn doc_freq(&self, term: &Term) -> tantivy::Result<u64> {
        self.sum(|searcher| Bm25StatisticsProvider::doc_freq(searcher, term))
    }
}

impl JointStatistics<'_> {
    fn sum(&self, of: impl Fn(&Searcher) -> tantivy::Result<u64>) -> tantivy::Result<u64> {
        self.0
            .iter()
            .try_fold(0, |sum, searcher| Ok(sum + of(searcher)?))
    }
}

/// The files that a manifest lists, and nothing else.
#[derive(Clone, Debug)]
struct ReadOnly {
    inner: MmapDirectory,
    files: Arc<Vec<PathBuf>>,
}

impl ReadOnly {
    fn listed(&self, path: &Path) -> Result<(), OpenReadError> {
        if self.files.iter().any(|file| file == path) {
            Ok(())
        } else {
            Err(OpenReadError::FileDoesNotExist(path.to_owned()))
        }
    }
}

impl Directory for ReadOnly {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        self.listed(path)?;
        self.inner.get_file_handle(path)
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        Ok(self.listed(path).is_ok() && self.inner.exists(path)?)
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        self.listed(path)?;
        self.inner.atomic_read(path)
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        Err(DeleteError::IoError {
            io_error: Arc::new(read_only()),
            filepath: path.to_owned(),
        })
    }

    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        Err(OpenWriteError::wrap_io_error(read_only(), path.to_owned()))
    }

    fn atomic_write(&self, _path: &Path, _data: &[u8]) -> io::Result<()> {
        Err(read_only())
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }

    /// A published folder never changes, so there is nothing to keep others from.
    fn acquire_lock(&self, _lock: &Lock) -> Result<DirectoryLock, LockError> {
        Ok(DirectoryLock::from(Box::new(())))
    }

    fn watch(&self, _callback: WatchCallback) -> tantivy::Result<WatchHandle> {
        Ok(WatchHandle::empty())
    }
}

fn read_only() -> io::Error {
    io::Error::new(
        io::ErrorKind::ReadOnlyFilesystem,
        "a published generation is never written to",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ContentHash;
    use crate::record::{About, Location};

    fn picture(path: &str, captions: &[&str], keywords: &[&str], camera: Option<&str>) -> Record {
        Record {
            id: ContentHash::of(path.as_bytes()),
            locations: vec![Location {
                path: path.into(),
                size: 1,
                mtime_ns: 0,
            }],
            about: About {
                captions: captions.iter().map(ToString::to_string).collect(),
                keywords: keywords.iter().map(ToString::to_string).collect(),
                camera: camera.map(str::to_owned),
                ..About::default()
            },
        }
    }

    fn album() -> Vec<Record> {
        vec![
            picture(
                "/photos/2019-07 Lisbon/IMG_2041.jpg",
                &["A tram climbing a steep hill"],
                &["tram"],
                Some("Canon EOS 5D"),
            ),
            picture(
                "/photos/2019-07 Lisbon/IMG_2042.jpg",
                &["Beaches at sunset"],
                &[],
                Some("Canon EOS 5D"),
            ),
            picture(
                "/photos/pets/sleepyCat.png",
                &["A cat on a couch"],
                &["cat", "sofa"],
                None,
            ),
            picture(
                "/photos/pets/dog.png",
                &["Two dogs running; a cat watches, the cat is a lazy cat, cat, cat"],
                &[],
                None,
            ),
            picture("/photos/pets/cat.png", &[], &[], Some("NIKON Z 6")),
            picture("/photos/Café/überblick.webp", &[], &[], None),
        ]
    }

    fn rows(words: &Words, allowed: &Bitset, text: &str, n: usize) -> Vec<u32> {
        let found = search(&[(words, allowed)], text, n).unwrap();
        assert!(found[0].is_sorted());
        found[0].iter().map(|scored| scored.row).collect()
    }

    fn words_of(records: &[Record]) -> Words {
        Words::in_memory(records.iter().cloned().map(Ok)).unwrap()
    }

    #[test]
    fn pictures_are_found_by_name_folder_caption_keyword_and_camera() {
        let words = words_of(&album());
        let all = Bitset::all(6);
        for (text, wanted) in [
            ("2041", vec![0]),
            ("img_2042", vec![1]),
            ("IMG_2042.jpg on the beach", vec![1]),
            ("lisbon", vec![0, 1]),
            ("July 2019", vec![0, 1]),
            ("trams", vec![0]),
            ("beach", vec![1]),
            ("sleepy", vec![2]),
            ("sofas", vec![2]),
            ("run", vec![3]),
            ("nikon", vec![4]),
            ("cafe", vec![5]),
            ("Überblick", vec![5]),
            ("uberblick", vec![5]),
            ("giraffe", vec![]),
        ] {
            let mut got = rows(&words, &all, text, 10);
            if text.starts_with("img") || text.starts_with("IMG") {
                got.truncate(1);
            }
            got.sort_unstable();
            assert_eq!(got, wanted, "{text}");
        }
    }

    #[test]
    fn an_exact_name_comes_first() {
        let words = words_of(&album());
        let all = Bitset::all(6);
        for name in ["cat", "cat.png", "CAT.PNG", " cat "] {
            assert_eq!(rows(&words, &all, name, 10)[0], 4, "{name}");
        }
        assert_eq!(
            rows(&words, &all, "show me cat.png with the dogs", 10)[0],
            4
        );
        assert_eq!(rows(&words, &all, "sleepyCat", 10)[0], 2);
    }

    #[test]
    fn no_text_is_a_syntax_error() {
        let words = words_of(&album());
        let all = Bitset::all(6);
        let long = "cat ".repeat(100_000);
        let no_space = "x".repeat(200_000);
        for text in [
            "\"(((",
            "field:x",
            "name:cat AND",
            "cat OR (dog",
            "+",
            "-cat",
            "*",
            "cat~2",
            "[a TO b]",
            "\\",
            "\0",
            "",
            "   ",
            &long,
            &no_space,
        ] {
            rows(&words, &all, text, 10);
        }
        assert!(rows(&words, &all, "field:cat", 10).contains(&2));
        assert!(rows(&words, &all, "-cat", 10).contains(&2));
    }

    #[test]
    fn a_filter_is_part_of_the_search_and_ties_are_in_order() {
        let mut records: Vec<Record> = (0..3000)
            .map(|i| picture(&format!("/{i}/same.jpg"), &["one more picture"], &[], None))
            .collect();
        records[2500].about.captions = vec!["picture picture picture".into()];
        let words = words_of(&records);
        let odd = Bitset::of(3000, |row| row % 2 == 1);
        assert_eq!(rows(&words, &odd, "picture", 5), [1, 3, 5, 7, 9]);
        let all = Bitset::all(3000);
        assert_eq!(rows(&words, &all, "picture", 4), [2500, 0, 1, 2]);
        assert_eq!(rows(&words, &all, "picture", 9999).len(), 3000);
        assert!(rows(&words, &Bitset::none(3000), "picture", 5).is_empty());
        assert!(rows(&words, &all, "picture", 0).is_empty());
    }

    #[test]
    fn two_parts_score_as_one_does() {
        let records = album();
        let whole = words_of(&records);
        let all = Bitset::all(6);
        let (left, right) = records.split_at(3);
        let (left, right) = (words_of(left), words_of(right));
        let half = Bitset::all(3);
        for text in ["cat", "lisbon tram", "canon", "cat.png"] {
            let together = search(&[(&whole, &all)], text, 10).unwrap().remove(0);
            let parts = search(&[(&left, &half), (&right, &half)], text, 10).unwrap();
            let mut joined: Vec<Scored> = parts[0].clone();
            joined.extend(parts[1].iter().map(|s| Scored {
                row: s.row + 3,
                ..*s
            }));
            joined.sort();
            let close = |a: &Scored, b: &Scored| a.row == b.row && (a.score - b.score).abs() < 1e-4;
            assert_eq!(joined.len(), together.len());
            assert!(
                joined.iter().zip(&together).all(|(a, b)| close(a, b)),
                "{text}"
            );
        }
    }

    #[test]
    fn an_index_in_a_folder_is_read_without_writing_and_only_by_its_listed_files() {
        let folder = tempfile::tempdir().unwrap();
        let records = album();
        Words::build(folder.path(), records.iter().cloned().map(Ok)).unwrap();
        let list = || -> Vec<PathBuf> {
            let mut files: Vec<PathBuf> = fs_err::read_dir(folder.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into())
                .collect();
            files.sort();
            files
        };
        let files = list();
        let words = Words::open(folder.path(), files.clone(), 6).unwrap();
        assert_eq!(rows(&words, &Bitset::all(6), "sofa", 3), [2]);
        assert_eq!(list(), files);
        assert!(Words::open(folder.path(), files.clone(), 7).is_err());
        for file in &files {
            // No positions are kept, so tantivy does not ask for their file; the rest is for writers.
            let positions = file.extension().is_some_and(|kind| kind == "pos");
            if positions || file.to_string_lossy().starts_with('.') {
                continue;
            }
            let fewer = files
                .iter()
                .filter(|other| *other != file)
                .cloned()
                .collect();
            assert!(Words::open(folder.path(), fewer, 6).is_err(), "{file:?}");
        }
    }
}
