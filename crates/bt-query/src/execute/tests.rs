//! Whole queries on an album of colours in memory.

use std::path::Path;

use bt_model::{Platt, RankBy};
use bt_store::Filter;

use super::*;
use crate::doubles::{Colours, Memory};
use crate::query::{Example, Given, Sort};
use crate::rank::SAID_FIRST_UP_TO;
use crate::scorer::Abilities;

const ALBUM: [(&str, [u8; 3]); 6] = [
    ("red.png", [250, 10, 10]),
    ("reddish.png", [200, 60, 50]),
    ("green.png", [10, 250, 10]),
    ("blue.png", [10, 10, 250]),
    ("violet.png", [200, 10, 200]),
    ("grey.png", [90, 90, 90]),
];

fn album(folder: &Path) -> Memory {
    Memory::of_colours(folder, &ALBUM)
}

/// The same and twelve green pictures, `name0.png` to `name11.png`.
fn with_greens(folder: &Path, name: &str) -> Memory {
    let names: Vec<String> = (0..12).map(|i| format!("{name}{i}.png")).collect();
    let greens = names.iter().zip(0u8..);
    let greens = greens.map(|(name, i)| (name.as_str(), [11 + i, 250, 10]));
    let shown: Vec<(&str, [u8; 3])> = ALBUM.into_iter().chain(greens).collect();
    Memory::of_colours(folder, &shown)
}

fn ask(query: &Query, album: &Memory) -> Answer {
    search(query, album, &Colours::default(), &mut |_| {}).unwrap()
}

fn names(answer: &Answer) -> Vec<String> {
    let name = |found: &crate::Found| {
        let path = found.path().unwrap();
        path.file_stem().unwrap().to_string_lossy().into_owned()
    };
    answer.results.iter().map(name).collect()
}

fn all(text: &str) -> Query {
    Query {
        all: true,
        ..Query::of_text(text)
    }
}

#[test]
fn the_best_match_comes_first_and_what_does_not_match_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let album = album(folder.path());
    let answer = ask(&Query::of_text("something reddish or so"), &album);
    // `reddish` is no word of the picture `red`, but `red` is in the text that the double reads.
    assert_eq!(names(&answer)[..2], ["red", "reddish"]);
    assert!(!names(&answer).contains(&"green".to_owned()));
    assert!(matches!(answer.results[0].score, Score::Match(p) if p > 0.9));
    assert_eq!(answer.looked_at, 6);
    let everything = ask(&all("something reddish or so"), &album);
    assert_eq!(everything.matched, 6);
    assert_eq!(names(&everything)[..answer.matched], names(&answer));
}

#[test]
fn what_is_told_of_pictures_on_the_way_is_what_the_answer_says() {
    let folder = tempfile::tempdir().unwrap();
    let album = album(folder.path());
    for not in [vec![], vec!["green".to_owned()]] {
        let query = Query {
            not,
            ..all("red things")
        };
        let mut told = Vec::new();
        let answer = search(&query, &album, &Colours::default(), &mut |progress| {
            assert_eq!((progress.done, progress.total), (6, 6));
            told.extend(progress.judged);
        });
        let mut said: Vec<(ContentHash, Score)> = answer
            .unwrap()
            .results
            .iter()
            .map(|found| (found.record.id, found.score))
            .collect();
        told.sort_by_key(|(id, _)| id.0);
        said.sort_by_key(|(id, _)| id.0);
        assert_eq!(told, said);
    }
}

#[test]
fn nothing_here_shows_that_is_an_answer_with_the_best_score() {
    let folder = tempfile::tempdir().unwrap();
    let album = Memory::of_colours(folder.path(), &ALBUM[3..4]);
    let answer = ask(&Query::of_text("green things"), &album);
    assert_eq!(answer.results, []);
    assert!(matches!(answer.best, Some(Score::Match(p)) if p < 0.5));
}

#[test]
fn an_exact_file_name_comes_first_whatever_is_on_the_picture() {
    let folder = tempfile::tempdir().unwrap();
    let album = Memory::of_colours(
        folder.path(),
        &[
            ("blue.png", [250, 0, 0]),
            ("a.png", [0, 0, 250]),
            ("b.png", [0, 0, 240]),
        ],
    );
    for text in ["blue", "BLUE.png"] {
        assert_eq!(
            names(&ask(&Query::of_text(text), &album))[0],
            "blue",
            "{text}"
        );
    }
}

fn say(album: &mut Memory, names: &[&str], caption: &str) {
    for (record, _) in &mut album.pictures {
        let path = &record.locations[0].path;
        if names.iter().any(|name| path.ends_with(name)) {
            record.about.captions = vec![caption.to_owned()];
        }
    }
}

#[test]
fn the_one_picture_whose_words_say_it_comes_first() {
    let folder = tempfile::tempdir().unwrap();
    let mut album = album(folder.path());
    say(
        &mut album,
        &["green.png"],
        "the red door of grandma's house",
    );
    let found = names(&ask(&Query::of_text("the red door"), &album));
    assert_eq!(found[..2], ["green", "red"]);
    assert!(!found.contains(&"blue".to_owned()), "{found:?}");
}

#[test]
fn words_that_many_say_do_not_drown_meaning() {
    let folder = tempfile::tempdir().unwrap();
    let names_of: Vec<String> = (0..=SAID_FIRST_UP_TO).map(|i| format!("{i}.png")).collect();
    let mut colours: Vec<(&str, [u8; 3])> = names_of
        .iter()
        .zip(100u8..)
        .map(|(name, level)| (name.as_str(), [0, level, level]))
        .collect();
    colours.push(("red.png", [250, 10, 10]));
    let mut album = Memory::of_colours(folder.path(), &colours);
    let said: Vec<&str> = names_of.iter().map(String::as_str).collect();
    say(&mut album, &said, "red door, to be painted");
    let found = names(&ask(&Query::of_text("the red door"), &album));
    assert_eq!(found[0], "red");
    assert_eq!(found.len(), 7, "they are kept, though: {found:?}");
}

#[test]
fn a_filter_is_never_violated() {
    let folder = tempfile::tempdir().unwrap();
    let mut album = album(folder.path());
    for (record, _) in &mut album.pictures {
        if !record.locations[0].path.ends_with("red.png") {
            record.about.camera = Some("Leica M3".into());
        }
    }
    let query = Query {
        filter: Filter::Camera("leica".into()),
        ..all("red")
    };
    let answer = ask(&query, &album);
    assert_eq!(answer.allowed, 5);
    assert_eq!(answer.matched, 5);
    assert!(!names(&answer).contains(&"red".to_owned()));
}

#[test]
fn what_should_not_be_seen_goes_down() {
    let folder = tempfile::tempdir().unwrap();
    let album = album(folder.path());
    let with = names(&ask(&all("red or blue"), &album));
    assert_eq!(with[0], "violet");
    let query = Query {
        not: vec!["blue".into(), " ".into()],
        ..all("red or blue")
    };
    let answer = ask(&query, &album);
    assert!(names(&answer)[0].starts_with("red"), "{:?}", names(&answer));
    assert_eq!(answer.results[0].why.not.len(), 1);
    let without_reranking = names(&ask(&Query { rerank: 0, ..query }, &album));
    assert!(
        without_reranking[0].starts_with("red"),
        "{without_reranking:?}"
    );
}

#[test]
fn a_picture_is_a_query_and_an_indexed_one_is_no_result_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let album = album(folder.path());
    let given = image::RgbImage::from_pixel(4, 4, image::Rgb([255, 0, 255]));
    let query = Query {
        picture: Some(Example::Given(Given(given.into()))),
        ..Query::default()
    };
    let answer = ask(&query, &album);
    assert_eq!(names(&answer)[0], "violet");
    assert_eq!(answer.looked_at, 0);
    assert!(matches!(answer.results[0].score, Score::Similarity(_)));
    let query = Query {
        picture: Some(Example::Indexed(album.named("red.png"))),
        ..Query::default()
    };
    let answer = ask(&query, &album);
    assert_eq!(names(&answer)[0], "reddish");
    assert_eq!(answer.matched, 5);
}

#[test]
fn text_and_picture_together_find_what_has_something_of_both() {
    let folder = tempfile::tempdir().unwrap();
    let album = album(folder.path());
    let query = Query {
        picture: Some(Example::Indexed(album.named("red.png"))),
        ..all("blue")
    };
    let answer = ask(&query, &album);
    assert!(
        answer.plan.notes[0].contains("mean"),
        "{:?}",
        answer.plan.notes
    );
    let by_vector = answer
        .results
        .iter()
        .find(|found| found.why.vector.is_some_and(|vector| vector.rank == 1));
    assert!(by_vector.unwrap().path().unwrap().ends_with("violet.png"));
}

#[test]
fn a_picture_that_cannot_be_read_again_keeps_its_place_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let album = album(folder.path());
    fs_err::remove_file(folder.path().join("red.png")).unwrap();
    let answer = ask(&Query::of_text("red-ish"), &album);
    assert_eq!(names(&answer)[0], "red");
    let why = answer.results[0].why.not_reranked.clone().unwrap();
    assert!(why.contains("red.png"), "{why}");
    assert!(
        answer.warnings[0].contains("1 of 6"),
        "{:?}",
        answer.warnings
    );
    for (name, _) in ALBUM {
        let _ = fs_err::remove_file(folder.path().join(name));
    }
    let answer = ask(&Query::of_text("red-ish"), &album);
    assert_eq!(names(&answer)[..2], ["red", "reddish"]);
}

#[test]
fn pages_follow_each_other_without_gap_or_repetition() {
    let folder = tempfile::tempdir().unwrap();
    let album = album(folder.path());
    let whole = names(&ask(&all("red"), &album));
    let mut paged = Vec::new();
    for offset in [0, 2, 4, 6] {
        let page = Query {
            n: 2,
            offset,
            ..all("red")
        };
        let answer = ask(&page, &album);
        assert_eq!(answer.matched, 6);
        if let Some(first) = answer.results.first() {
            assert_eq!(first.rank, offset + 1);
        }
        paged.extend(names(&answer));
    }
    assert_eq!(paged, whole);
}

#[test]
fn the_newest_comes_first_when_sorted_by_date() {
    let folder = tempfile::tempdir().unwrap();
    let mut album = album(folder.path());
    for (second, (record, _)) in (0..).zip(&mut album.pictures) {
        record.about.taken = (second != 3).then_some(second);
    }
    let query = Query {
        sort: Sort::Date,
        ..all("red")
    };
    let taken: Vec<Option<i64>> = ask(&query, &album)
        .results
        .iter()
        .map(|found| found.record.about.taken)
        .collect();
    assert_eq!(taken, [Some(5), Some(4), Some(2), Some(1), Some(0), None]);
}

#[test]
fn near_duplicates_are_folded_into_the_best_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let album = Memory::of_colours(
        folder.path(),
        &[
            ("a.png", [250, 12, 12]),
            ("b.png", [250, 40, 12]),
            ("c.png", [120, 120, 0]),
        ],
    );
    let query = Query {
        group: true,
        ..all("red")
    };
    let answer = ask(&query, &album);
    assert_eq!(names(&answer), ["a", "c"]);
    assert_eq!(answer.results[0].folded.len(), 1);
    assert_eq!(answer.matched, 2);
}

#[test]
fn the_sum_of_logit_and_cosine_ranks_where_the_calibration_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let album = album(folder.path());
    let mut scorer = Colours::default();
    scorer.calibration.rank_by = RankBy::ItmPlusItc { itc_weight: 20.0 };
    scorer.calibration.rerank = Platt {
        slope: 0.5,
        intercept: -8.0,
    };
    let answer = search(&Query::of_text("red-ish"), &album, &scorer, &mut |_| {}).unwrap();
    let why = &answer.results[0].why;
    let sum = why.itm_logit.unwrap() + 20.0 * why.cosine.unwrap();
    assert!((why.rerank_score.unwrap() - f64::from(sum)).abs() < 1e-4);
    let Score::Match(probability) = answer.results[0].score else {
        panic!("no probability")
    };
    assert!((probability - scorer.calibration.rerank.probability(sum)).abs() < 1e-6);
}

#[test]
fn beyond_the_reranked_the_embedding_calibration_gives_the_probability() {
    let folder = tempfile::tempdir().unwrap();
    let album = album(folder.path());
    let mut scorer = Colours::default();
    let query = Query {
        rerank: 1,
        ..all("red-ish")
    };
    let kinds = |scorer: &Colours| {
        let answer = search(&query, &album, scorer, &mut |_| {}).unwrap();
        let is_match = |found: &crate::Found| matches!(found.score, Score::Match(_));
        answer.results.iter().map(is_match).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&scorer), [true, false, false, false, false, false]);
    scorer.calibration.embedding = Some(Platt {
        slope: 8.0,
        intercept: -4.0,
    });
    assert_eq!(kinds(&scorer), [true; 6]);
}

#[test]
fn what_cannot_become_an_answer_is_not_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let album = with_greens(folder.path(), "green");
    let mut scorer = Colours::default();
    // The double's logits are the log odds of these cosines, too.
    scorer.calibration.embedding = Some(Platt {
        slope: 10.0,
        intercept: -6.0,
    });
    let query = Query::of_text("red");
    let mut with = |lift| {
        scorer.calibration.lift = lift;
        search(&query, &album, &scorer, &mut |_| {}).unwrap()
    };
    let (whole, some) = (with(None), with(Some(0.5)));
    assert_eq!(whole.looked_at, 18);
    // Four could be answers; the first green is looked at nevertheless.
    assert_eq!(some.looked_at, 5);
    assert_eq!(some.warnings, whole.warnings);
    assert_eq!((names(&some), some.matched), (names(&whole), whole.matched));
    let course = crate::explain::course(&some);
    assert!(
        course.contains("5 of at most 20 looked at; 13 cannot"),
        "{course}"
    );
    assert_eq!(with(Some(9.0)).looked_at, 18);
    // Looked at and not readable is something else.
    fs_err::remove_file(folder.path().join("red.png")).unwrap();
    let whole = with(None);
    assert_eq!((whole.looked_at, whole.left_out), (17, 0));
}

#[test]
fn the_nearest_few_are_looked_at_wherever_words_have_put_them() {
    let folder = tempfile::tempdir().unwrap();
    let album = with_greens(folder.path(), "zebra");
    let mut scorer = Colours::default();
    // By their embeddings alone, none could.
    scorer.calibration.embedding = Some(Platt {
        slope: 10.0,
        intercept: -26.0,
    });
    scorer.calibration.lift = Some(0.5);
    let answer = search(&Query::of_text("red zebra"), &album, &scorer, &mut |_| {}).unwrap();
    assert_eq!(names(&answer)[0], "red");
    assert!(answer.left_out > 0, "{}", answer.left_out);
}

#[test]
fn without_itc_heads_pictures_are_looked_at_one_by_one_up_to_the_bound() {
    let folder = tempfile::tempdir().unwrap();
    let mut album = album(folder.path());
    album.facts.header.aligned_with_text = false;
    let scorer = Colours {
        can: Abilities {
            itc: false,
            itc_cross: false,
            itm: true,
        },
        ..Colours::default()
    };
    let mut progress = Vec::new();
    let query = Query::of_text("a red one");
    let answer = search(&query, &album, &scorer, &mut |step| progress.push(step)).unwrap();
    assert_eq!(answer.looked_at, 6);
    assert_eq!(progress.last().unwrap().total, 6);
    assert_eq!(names(&answer)[0], "red");
    let bounded = Query {
        look_at: 2,
        ..query
    };
    let answer = search(&bounded, &album, &scorer, &mut |_| {}).unwrap();
    assert_eq!(answer.looked_at, 2);
    // The one that the words found is looked at before the others.
    assert!(names(&answer).contains(&"red".to_owned()));
}

#[test]
fn numbers_that_are_none_are_errors_where_they_arise() {
    let folder = tempfile::tempdir().unwrap();
    let mut album = album(folder.path());
    let broken = Colours {
        broken: true,
        ..Colours::default()
    };
    let error = search(&all("red"), &album, &broken, &mut |_| {}).unwrap_err();
    assert!(error.to_string().starts_with("the reranker"), "{error}");
    album.pictures[2].1[0] = f32::NAN;
    let error = search(&all("red"), &album, &Colours::default(), &mut |_| {}).unwrap_err();
    assert!(
        error.to_string().starts_with("the vector search"),
        "{error}"
    );
}

#[test]
fn a_text_that_the_model_cuts_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let answer = ask(&Query::of_text("red ".repeat(30)), &album(folder.path()));
    assert!(answer.warnings[0].contains("longer than the model reads"));
}
