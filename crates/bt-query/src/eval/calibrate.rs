//! From measured scores to a [`Calibration`]: what reranking sorts by, what a score is worth as a
//! probability, and from which probability on a result is shown.
//!
//! Queries that have an answer are the captions, and the things that the pictures show where the file lists
//! them. Queries that have none are captions, asked without their own picture and without all others that
//! show something of the same, and things that the caller knows to be in no picture.

use std::collections::BTreeSet;

use bt_model::{Calibration, Encoder, FIRST_LOOKED_AT, Platt, RankBy};
use serde::Serialize;

use super::pairs::Pairs;
use super::platt::{Best, Labelled, fit, threshold};
use super::retrieval::{itc_weight, text_to_image};
use super::scores::{Scores, Step, Wanted};
use crate::error::{Error, Result};

/// Parts that are left out in turn to measure on queries that nothing was fitted to.
const FOLDS: usize = 5;

/// Share of queries in which no candidate is lifted further than is kept.
const SURE: f64 = 0.99;

/// Differences of R@1, in points, that a few hundred captions do not tell from chance. Among ways to sort
/// that are so near to the best, the one is taken that best knows when nothing is there.
const NOISE: f64 = 1.0;

/// A way to sort, and how well it does.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Choice {
    /// What reranking sorts by.
    pub rank_by: RankBy,
    /// Percentage of captions with their picture in the first place.
    pub recall_at_1: f64,
    /// nDCG of the first ten, times 100.
    pub ndcg_at_10: f64,
    /// Mean of the four shares of [`Rates`] that say right decisions about showing anything.
    pub decided_right: f64,
}

/// How often the threshold decides right, in percent, each query with a curve and a threshold that were
/// fitted without it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Rates {
    /// Captions of pictures that are there: answered with any picture.
    pub captions_answered: f64,
    /// ... with their own among those shown.
    pub captions_answered_right: f64,
    /// Captions of pictures that are not there: answered with nothing.
    pub captions_nothing_found: f64,
    /// Names of things that pictures show: answered with any picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub things_answered: Option<f64>,
    /// ... with a right one among those shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub things_answered_right: Option<f64>,
    /// Things that no picture shows: answered with nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub things_nothing_found: Option<f64>,
}

/// A calibration and what speaks for it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Calibrated {
    /// For calibration.json.
    pub calibration: Calibration,
    /// What could have been sorted by, as measured.
    pub choices: Vec<Choice>,
    /// Of reranked results.
    pub rerank: Rates,
    /// Of results by embedding alone.
    pub embedding: Rates,
}

/// The candidates of one query, with their scores; `matches` for a right answer. Pictures that may or may
/// not be one are left out.
#[derive(Clone, Debug)]
struct Asked {
    labelled: Vec<Labelled>,
    is_caption: bool,
    /// Whether any picture is a right answer.
    answerable: bool,
    /// Which of the [`FOLDS`] parts it belongs to; captions of one picture belong to one.
    fold: usize,
}

impl Asked {
    fn best(&self) -> f32 {
        highest(self.labelled.iter())
    }

    fn best_right(&self) -> f32 {
        highest(self.labelled.iter().filter(|one| one.matches))
    }
}

fn highest<'a>(labelled: impl Iterator<Item = &'a Labelled>) -> f32 {
    labelled
        .map(|one| one.score)
        .fold(f32::NEG_INFINITY, f32::max)
}

/// A query before it is scored.
struct Question {
    text: usize,
    right: BTreeSet<usize>,
    /// Pictures that are not asked about.
    without: BTreeSet<usize>,
    is_caption: bool,
    fold: usize,
}

/// Fits a calibration on pairs and on names of things that none of the pictures shows.
///
/// # Errors
/// A model without ITC or ITM heads; a picture that cannot be read; too few pairs to tell anything.
pub fn calibrate(
    encoder: &Encoder,
    pairs: &Pairs,
    absent: &[String],
    rerank: usize,
    on: &mut dyn FnMut(Step),
) -> Result<Calibrated> {
    let things = pairs.things();
    let captions = pairs.captions.iter().map(|caption| caption.words.as_str());
    let texts: Vec<&str> = captions
        .chain(things.keys().copied())
        .chain(absent.iter().map(String::as_str))
        .collect();
    let questions = questions(pairs, texts.len());

    let mut scores = Scores::embed(encoder, &texts, &pairs.pictures, on)?;
    let mut wanted = Wanted::default();
    for question in &questions {
        for picture in candidates(&scores, question, rerank) {
            wanted.add(question.text, picture);
        }
    }
    for text in 0..pairs.captions.len() {
        for picture in scores.pictures_for(text).into_iter().take(rerank) {
            wanted.add(text, picture);
        }
    }
    scores.add_itm(encoder, &texts, &pairs.pictures, &wanted, on)?;

    let asked = |score: &dyn Fn(usize, usize) -> f32| -> Vec<Asked> {
        questions
            .iter()
            .map(|question| ask(&scores, question, rerank, score))
            .collect()
    };
    let reranked = |rank_by: RankBy| {
        let sorting = Calibration {
            rank_by,
            ..Calibration::default()
        };
        asked(&|text, picture| {
            let difference = scores
                .difference(text, picture)
                .unwrap_or(f32::NEG_INFINITY);
            sorting.rank_score(difference, Some(scores.cosine(text, picture)))
        })
    };
    let scale = itc_weight(encoder);
    let weights = [0.5, 1.0, 2.0, 4.0].map(|factor| RankBy::ItmPlusItc {
        itc_weight: factor * scale,
    });
    let choices: Vec<Choice> = std::iter::once(RankBy::Itm)
        .chain(weights)
        .map(|rank_by| {
            let recall = text_to_image(&scores, pairs, rerank, Some(rank_by));
            Choice {
                rank_by,
                recall_at_1: recall.at_1,
                ndcg_at_10: recall.ndcg_at_10,
                decided_right: decided_right(&cross_validated(&reranked(rank_by))),
            }
        })
        .collect();
    let rank_by = best(&choices).ok_or_else(too_few)?;

    let (reranked, embedded) = (reranked(rank_by), asked(&|t, p| scores.cosine(t, p)));
    let (rerank, threshold) = fit_all(&reranked, |_| true).ok_or_else(too_few)?;
    // One threshold serves both: the curve of embeddings is moved so that its own best cut falls on it.
    let (embedding, own_cut) = fit_all(&embedded, |_| true).ok_or_else(too_few)?;
    let embedding = moved(embedding, own_cut, threshold);
    let lift = lift(&embedded, &reranked, embedding, rerank);
    Ok(Calibrated {
        calibration: Calibration {
            rank_by,
            rerank,
            embedding: Some(embedding),
            threshold,
            lift,
            measured_on: String::new(),
        },
        choices,
        rerank: cross_validated(&reranked),
        embedding: cross_validated(&embedded),
    })
}

/// All queries; texts are captions, then names of things, then names of absent ones.
fn questions(pairs: &Pairs, texts: usize) -> Vec<Question> {
    let relatives = pairs.relatives();
    let mut questions = Vec::new();
    for (text, caption) in pairs.captions.iter().enumerate() {
        let related = relatives.get(caption.picture).cloned().unwrap_or_default();
        let right = BTreeSet::from([caption.picture]);
        let fold = caption.picture % FOLDS;
        let without = related.difference(&right).copied().collect();
        questions.push(Question {
            text,
            right,
            without,
            is_caption: true,
            fold,
        });
        let right = BTreeSet::new();
        questions.push(Question {
            text,
            right,
            without: related,
            is_caption: true,
            fold,
        });
    }
    let things = pairs.things().into_values();
    let rest = things.chain(std::iter::repeat_with(BTreeSet::new));
    for (text, right) in (pairs.captions.len()..texts).zip(rest) {
        let (without, fold) = (BTreeSet::new(), text % FOLDS);
        questions.push(Question {
            text,
            right,
            without,
            is_caption: false,
            fold,
        });
    }
    questions
}

/// What a search would look at. Pictures that are left out are left out before, when no answer is to be
/// there, so that as many are looked at as in a search; else after, so that they take their places.
fn candidates(scores: &Scores, question: &Question, rerank: usize) -> Vec<usize> {
    let allowed = |picture: &usize| !question.without.contains(picture);
    let pictures = scores.pictures_for(question.text).into_iter();
    if question.right.is_empty() {
        pictures.filter(allowed).take(rerank).collect()
    } else {
        pictures.take(rerank).filter(allowed).collect()
    }
}

fn ask(
    scores: &Scores,
    question: &Question,
    rerank: usize,
    score: &dyn Fn(usize, usize) -> f32,
) -> Asked {
    let labelled = candidates(scores, question, rerank)
        .into_iter()
        .map(|picture| Labelled {
            score: score(question.text, picture),
            matches: question.right.contains(&picture),
        });
    Asked {
        labelled: labelled.collect(),
        is_caption: question.is_caption,
        answerable: !question.right.is_empty(),
        fold: question.fold,
    }
}

/// What [`Calibration::lift`] says; `None` where no query has so many candidates. Both lists have the same candidates
/// of each query, the nearest first.
fn lift(embedded: &[Asked], reranked: &[Asked], embedding: Platt, rerank: Platt) -> Option<f32> {
    let mut of_queries: Vec<f32> = embedded
        .iter()
        .zip(reranked)
        .filter_map(|(before, after)| {
            let both = before.labelled.iter().zip(&after.labelled);
            both.skip(FIRST_LOOKED_AT)
                .map(|(before, after)| {
                    rerank.log_odds(after.score) - embedding.log_odds(before.score)
                })
                .max_by(f32::total_cmp)
        })
        .collect();
    of_queries.sort_by(f32::total_cmp);
    let of_nearly_all = (of_queries.len() as f64 * SURE).ceil() as usize;
    let lift = of_queries.get(of_nearly_all.checked_sub(1)?)?;
    // A lift of less than nothing would leave out what the embedding alone takes for an answer.
    Some(lift.max(0.0))
}

/// The way to sort with the best first places; among those that are as good, the one that best knows when
/// nothing is there.
fn best(choices: &[Choice]) -> Option<RankBy> {
    let first = choices
        .iter()
        .map(|choice| choice.recall_at_1)
        .fold(f64::NEG_INFINITY, f64::max);
    let as_good = choices
        .iter()
        .filter(|choice| choice.recall_at_1 > first - NOISE);
    as_good
        .max_by(|a, b| a.decided_right.total_cmp(&b.decided_right))
        .map(|choice| choice.rank_by)
}

/// A curve for all candidates, and the threshold for their queries.
fn fit_all(asked: &[Asked], of: impl Fn(&Asked) -> bool) -> Option<(Platt, f32)> {
    let some: Vec<&Asked> = asked.iter().filter(|one| of(one)).collect();
    let labelled: Vec<Labelled> = some
        .iter()
        .flat_map(|one| one.labelled.iter().copied())
        .collect();
    let platt = fit(&labelled)?;
    let best = |answerable: bool| -> Vec<Best> {
        let of_kind = |is_caption: bool| {
            some.iter()
                .filter(move |one| one.answerable == answerable && one.is_caption == is_caption)
        };
        [true, false]
            .into_iter()
            .flat_map(|kind| {
                // Both kinds count the same, however many there are.
                let weight = 1.0 / of_kind(kind).count().max(1) as f64;
                of_kind(kind).map(move |one| Best {
                    probability: platt.probability(one.best()),
                    weight,
                })
            })
            .collect()
    };
    Some((platt, threshold(&best(true), &best(false))?))
}

/// The curve moved sideways in log odds so that what had the probability `from` has `to`.
fn moved(platt: Platt, from: f32, to: f32) -> Platt {
    let log_odds = |p: f32| (p / (1.0 - p)).ln();
    let intercept = platt.intercept + log_odds(to) - log_odds(from);
    if intercept.is_finite() {
        Platt { intercept, ..platt }
    } else {
        platt
    }
}

fn cross_validated(asked: &[Asked]) -> Rates {
    // Whether anything is shown, and whether a right answer is, by query.
    let mut shown = vec![(false, false); asked.len()];
    for fold in 0..FOLDS {
        let Some((platt, cut)) = fit_all(asked, |one| one.fold != fold) else {
            continue;
        };
        for (one, shown) in asked
            .iter()
            .zip(&mut shown)
            .filter(|(one, _)| one.fold == fold)
        {
            let is_shown = |score: f32| platt.probability(score) >= cut;
            *shown = (is_shown(one.best()), is_shown(one.best_right()));
        }
    }
    let share = |is_caption: bool, answerable: bool, right: &dyn Fn(&(bool, bool)) -> bool| {
        let of_kind = asked
            .iter()
            .zip(&shown)
            .filter(|(one, _)| one.is_caption == is_caption && one.answerable == answerable);
        let all: Vec<bool> = of_kind.map(|(_, shown)| right(shown)).collect();
        let yes = all.iter().filter(|right| **right).count();
        (!all.is_empty()).then(|| 100.0 * yes as f64 / all.len() as f64)
    };
    Rates {
        captions_answered: share(true, true, &|shown| shown.0).unwrap_or_default(),
        captions_answered_right: share(true, true, &|shown| shown.1).unwrap_or_default(),
        captions_nothing_found: share(true, false, &|shown| !shown.0).unwrap_or_default(),
        things_answered: share(false, true, &|shown| shown.0),
        things_answered_right: share(false, true, &|shown| shown.1),
        things_nothing_found: share(false, false, &|shown| !shown.0),
    }
}

fn decided_right(rates: &Rates) -> f64 {
    let shares = [
        Some(rates.captions_answered),
        Some(rates.captions_nothing_found),
        rates.things_answered,
        rates.things_nothing_found,
    ];
    let there: Vec<f64> = shares.into_iter().flatten().collect();
    there.iter().sum::<f64>() / there.len() as f64
}

fn too_few() -> Error {
    Error::BadValue {
        flag: "--calibrate",
        value: "these pairs".into(),
        why: "there must be captions whose picture is found, and pictures that show something else"
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::pairs::{Caption, Selection};
    use super::super::scores::doubles::scores;
    use super::*;

    fn asked(scores: &[f32], right: Option<usize>, is_caption: bool, fold: usize) -> Asked {
        let labelled = scores.iter().enumerate();
        let labelled = labelled.map(|(i, score)| Labelled {
            score: *score,
            matches: Some(i) == right,
        });
        Asked {
            labelled: labelled.collect(),
            is_caption,
            answerable: right.is_some(),
            fold,
        }
    }

    #[test]
    fn what_can_be_told_apart_is_told_apart_on_parts_left_out() {
        let mut all = Vec::new();
        for i in 0..20 {
            let jitter = i as f32 / 10.0;
            all.push(asked(&[4.0 + jitter, 1.0, 0.0], Some(0), true, i % FOLDS));
            all.push(asked(&[1.0 + jitter / 2.0, 0.5], None, true, i % FOLDS));
        }
        let rates = cross_validated(&all);
        assert_eq!(
            (
                rates.captions_answered,
                rates.captions_answered_right,
                rates.captions_nothing_found
            ),
            (100.0, 100.0, 100.0)
        );
        assert_eq!(rates.things_answered, None);
        assert_eq!(decided_right(&rates), 100.0);
    }

    #[test]
    fn a_lift_holds_for_all_but_one_query_of_a_hundred_and_spares_the_first_candidates() {
        let even = Platt {
            slope: 1.0,
            intercept: 0.0,
        };
        let queries = |lifted: &dyn Fn(usize, usize) -> f32| -> Vec<Asked> {
            (0..200)
                .map(|query| {
                    let scores: Vec<f32> = (0..8).map(|place| lifted(query, place)).collect();
                    asked(&scores, None, true, 0)
                })
                .collect()
        };
        let before = queries(&|_, _| -3.0);
        let after = queries(&|query, place| match (query, place) {
            (_, 0..FIRST_LOOKED_AT) => 9.0,
            (0 | 1, _) => 4.0,
            (query, 7) => query as f32 / 200.0 - 3.0,
            _ => -5.0,
        });
        let measured = lift(&before, &after, even, even).unwrap();
        assert!((0.98..1.0).contains(&measured), "{measured}");
        let lowered = queries(&|_, _| -9.0);
        assert_eq!(lift(&before, &lowered, even, even), Some(0.0));
        let few = [asked(&[1.0, 2.0], None, true, 0)];
        assert_eq!(lift(&few, &few, even, even), None);
    }

    #[test]
    fn the_first_place_decides_what_is_sorted_by_and_silence_among_equals() {
        let choice = |itc_weight, recall_at_1, decided_right| Choice {
            rank_by: RankBy::ItmPlusItc { itc_weight },
            recall_at_1,
            ndcg_at_10: 0.0,
            decided_right,
        };
        let choices = [
            choice(1.0, 60.0, 90.0),
            choice(2.0, 65.0, 70.0),
            choice(3.0, 64.5, 72.0),
        ];
        assert_eq!(best(&choices), Some(choices[2].rank_by));
        assert_eq!(best(&[]), None);
    }

    #[test]
    fn a_moved_curve_has_the_asked_probability_at_the_cut() {
        let platt = Platt {
            slope: 3.0,
            intercept: -1.0,
        };
        let at = 0.2;
        let there = moved(platt, platt.probability(at), 0.35).probability(at);
        assert!((there - 0.35).abs() < 1e-5, "{there}");
    }

    #[test]
    fn absent_answers_are_left_out_before_and_doubtful_ones_after() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("samples.json");
        let text = r#"{"0": {"captions": ["a cat"], "objects": ["cat"]},
                       "1": {"captions": ["a cat and a dog"], "objects": ["cat", "dog"]},
                       "2": {"captions": ["a ship"], "objects": ["ship"]},
                       "3": {"captions": ["a tree"], "objects": ["tree"]}}"#;
        fs_err::write(&path, text).unwrap();
        let selection = Selection {
            images: folder.path(),
            split: "",
            captions: 9,
            pictures: 9,
        };
        let pairs = Pairs::read(&path, &selection).unwrap();
        assert_eq!(
            pairs.captions[0],
            Caption {
                words: "a cat".into(),
                picture: 0
            }
        );
        let all = questions(&pairs, 4 + 4 + 1);
        let near: &[f32] = &[0.9, 0.8, 0.2, 0.1];
        let scores = scores(&[near; 9], &[]);
        // The caption of picture 0: picture 1, that shows a cat as well, is neither right nor wrong.
        assert_eq!(candidates(&scores, &all[0], 3), [0, 2]);
        // The same, as if pictures with cats were not there.
        assert_eq!(candidates(&scores, &all[1], 3), [2, 3]);
        // "cat", then something that is nowhere.
        assert_eq!(all[8].right, BTreeSet::from([0, 1]));
        assert_eq!(candidates(&scores, &all[8], 3), [0, 1, 2]);
        assert!(all[12].right.is_empty() && all.len() == 13);
        assert_eq!(candidates(&scores, &all[12], 3), [0, 1, 2]);
    }
}
