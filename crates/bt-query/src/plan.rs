//! From a query to a plan: which finders run, how far, what is reranked, what is left out. Pure: the same
//! query, facts and models give the same plan, and nothing is read. `execute.rs` carries it out.

use bt_model::Calibration;
use bt_store::{Facts, Walk};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::fuse::{RRF_K, WORDS_WEIGHT};
use crate::query::{Query, Sort};
use crate::scorer::Abilities;

/// Up to so many pictures every vector is compared: a scan of them takes a few milliseconds, and its
/// recall is 1.
const EXACT_UP_TO: u64 = 50_000;
/// A filter that leaves no more than this is scanned too, however large the index.
const EXACT_UP_TO_ALLOWED: u64 = 10_000;
/// Least breadth of a walk through the graph.
const MIN_EF_SEARCH: usize = 128;
/// A walk that must be broader than this (a deep page, a narrow filter) costs more than a scan.
const MAX_EF_SEARCH: usize = 4_096;
/// Least depth of each finder. Pages are cut from one list of this depth, so they do not shift as long
/// as they lie within it; deeper pages double it.
const DEPTH: usize = 200;
/// Depth when results are sorted by date: everything that matches should be among them.
const DATE_DEPTH: usize = 1_000;
/// Results whose embeddings have at least this cosine are near-duplicates of each other.
const NEAR_DUPLICATE: f32 = 0.95;

/// How a query will be answered.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// What the query's vector is made of.
    pub vector: QueryVector,
    /// Whether the vectors of what should not be seen are subtracted from it.
    pub subtract: bool,
    /// The finders, in order.
    pub retrieve: Vec<Retrieve>,
    /// How their lists become one.
    pub fuse: Fuse,
    /// What is judged by the cross-modal layers.
    pub rerank: Option<Rerank>,
    /// What is left out, and the page.
    pub cut: Cut,
    /// Choices that a user may want to know of.
    pub notes: Vec<String>,
}

/// What the query's vector is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum QueryVector {
    /// There is none.
    Absent,
    /// The words.
    Text,
    /// The picture.
    Picture,
    /// Words and picture through the cross-modal embedding.
    Pair,
    /// The mean of the words' and the picture's vectors.
    Mean,
}

/// A finder of candidates.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Retrieve {
    /// Nearest vectors.
    Vector {
        /// How they are looked for.
        walk: Walk,
        /// How many.
        n: usize,
    },
    /// BM25 over names, captions and keywords.
    Words {
        /// The words of the query.
        text: String,
        /// How many.
        n: usize,
    },
    /// Any allowed picture, for a model that can only judge them one by one.
    LookAt {
        /// How many, those that the words found included.
        at_most: usize,
    },
}

/// How lists become one: reciprocal rank fusion.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Fuse {
    /// The constant of reciprocal rank fusion.
    pub k: f32,
    /// Weight of the vectors' list.
    pub vector_weight: f32,
    /// Weight of the words' list.
    pub words_weight: f32,
}

/// What is judged by the cross-modal layers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rerank {
    /// How many of the best candidates.
    pub top: usize,
    /// Whether the query's own words are judged; otherwise only what should not be seen.
    pub text: bool,
    /// How far reranking lifts a candidate ([`bt_model::Calibration::lift`]), where those that it could not make an
    /// answer are not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lift: Option<f32>,
}

/// What is left out, and which part of the rest is shown.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Cut {
    /// The probability from which on the model takes a picture for a match.
    pub threshold: f32,
    /// What stays.
    pub keep: Keep,
    /// Fold results whose cosine is at least this.
    pub fold_above: Option<f32>,
    /// Order.
    pub sort: Sort,
    /// Results before the page.
    pub offset: usize,
    /// Results on the page.
    pub n: usize,
}

/// Which results stay.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// All.
    All,
    /// Those that match by the model's threshold, or whose own words say what was asked.
    Matching,
    /// Those with at least this probability (similarity, where there is no probability).
    AtLeast(f32),
}

/// What a plan depends on beside the query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Situation<'a> {
    /// State of the index.
    pub(crate) facts: &'a Facts,
    /// Pictures that the query's filter allows.
    pub(crate) allowed: u64,
    /// What the models can do.
    pub(crate) can: Abilities,
    /// What was measured for the models.
    pub(crate) calibration: &'a Calibration,
}

/// Decides how a query is answered.
///
/// # Errors
/// An empty query or index, words that no model here can read, values that make no sense.
pub(crate) fn plan(query: &Query, now: &Situation<'_>) -> Result<Plan> {
    let text = query.words();
    let negative = query.negatives().next().is_some();
    check(query, now)?;
    let mut notes = Vec::new();

    let aligned = now.can.itc && now.facts.header.aligned_with_text;
    let vector = match (text, &query.picture) {
        (Some(_), None) if aligned => QueryVector::Text,
        (_, None) => QueryVector::Absent,
        (Some(_), Some(_)) if aligned && now.can.itc_cross => QueryVector::Pair,
        (Some(_), Some(_)) if aligned => {
            notes.push(
                "the model has no cross-modal embedding: the query is the mean of words and picture"
                    .to_owned(),
            );
            QueryVector::Mean
        }
        (Some(_), Some(_)) => {
            notes.push(
                "the model cannot compare words with pictures by vectors: candidates are found by the \
                 picture, words only rerank them"
                    .to_owned(),
            );
            QueryVector::Picture
        }
        (None, Some(_)) => QueryVector::Picture,
    };
    let one_by_one = vector == QueryVector::Absent;
    let keep = match (query.all, query.min_score) {
        (true, _) => Keep::All,
        (false, Some(least)) => Keep::AtLeast(least),
        // A picture alone asks for what is like it, and everything is, more or less.
        (false, None) if text.is_none() => Keep::All,
        (false, None) => Keep::Matching,
    };
    let rerank = rerank(query, now, one_by_one, keep, &mut notes);
    let depth = depth(query, now.allowed);

    let mut retrieve = Vec::new();
    if !one_by_one {
        retrieve.push(Retrieve::Vector {
            walk: walk(query, now, depth),
            n: depth,
        });
    }
    if let Some(text) = text {
        retrieve.push(Retrieve::Words {
            text: text.to_owned(),
            n: if one_by_one {
                depth.max(query.look_at.max(1))
            } else {
                depth
            },
        });
    }
    if let (true, Some(rerank)) = (one_by_one, rerank) {
        retrieve.push(Retrieve::LookAt {
            at_most: rerank.top,
        });
        let most = rerank.top as u64;
        notes.push(format!(
            "the model has no ITC heads: each picture is compared with the words one by one, {} of the {} \
             that the filters allow",
            now.allowed.min(most),
            now.allowed
        ));
    }
    if negative && !aligned && rerank.is_none() {
        notes.push("the model cannot judge what should not be seen: it is ignored".to_owned());
    }

    Ok(Plan {
        vector,
        subtract: negative && aligned && !one_by_one,
        retrieve,
        fuse: Fuse {
            k: RRF_K,
            vector_weight: 1.0,
            words_weight: WORDS_WEIGHT,
        },
        rerank,
        cut: Cut {
            threshold: now.calibration.threshold,
            keep,
            fold_above: query.group.then_some(NEAR_DUPLICATE),
            sort: query.sort,
            offset: query.offset,
            n: query.n,
        },
        notes,
    })
}

fn check(query: &Query, now: &Situation<'_>) -> Result<()> {
    let text = query.words().is_some();
    if !text && query.picture.is_none() {
        return Err(if query.negatives().next().is_some() {
            Error::OnlyNegative
        } else {
            Error::EmptyQuery
        });
    }
    if query.n == 0 {
        return Err(Error::BadValue {
            flag: "-n",
            value: "0".into(),
            why: "a page has at least one result".into(),
        });
    }
    if now.facts.pictures == 0 {
        return Err(Error::EmptyIndex);
    }
    let readable = now.can.itc && now.facts.header.aligned_with_text || now.can.itm;
    if text && !readable {
        return Err(Error::CannotReadWords {
            model: now.facts.header.model.spec.clone(),
        });
    }
    Ok(())
}

/// What is reranked. One by one, everything that is looked at.
fn rerank(
    query: &Query,
    now: &Situation<'_>,
    one_by_one: bool,
    keep: Keep,
    notes: &mut Vec<String>,
) -> Option<Rerank> {
    let text = query.words().is_some();
    if query.rerank == 0 {
        if one_by_one {
            notes.push(
                "without reranking this model can only look for words: names, captions, keywords"
                    .to_owned(),
            );
        }
        return None;
    }
    if !text && query.negatives().next().is_none() {
        return None;
    }
    if !now.can.itm {
        notes.push(
            "the model has no ITM head: results are in the order of the embeddings".to_owned(),
        );
        return None;
    }
    let top = if one_by_one {
        query.look_at.max(1)
    } else {
        query.rerank
    };
    // It was measured for candidates of words, and says which cannot be answers; what is not one is left out.
    let by_words = text && query.picture.is_none() && keep == Keep::Matching;
    Some(Rerank {
        top,
        text,
        lift: now.calibration.lift.filter(|_| by_words),
    })
}

/// How deep the finders go: a step function of the page, so that pages do not shift.
fn depth(query: &Query, allowed: u64) -> usize {
    let least = match query.sort {
        Sort::Relevance => DEPTH,
        Sort::Date => DATE_DEPTH,
    };
    let page = query.offset.saturating_add(query.n);
    let mut depth = least.max(query.rerank);
    while depth < page {
        depth = depth.saturating_mul(2);
    }
    // No more than there are; an index of any size fits into memory, an offset need not.
    depth
        .min(usize::try_from(allowed).unwrap_or(usize::MAX))
        .max(1)
}

/// Exact where that is fast enough to go unnoticed, or where the graph would have to be walked broadly.
fn walk(query: &Query, now: &Situation<'_>, n: usize) -> Walk {
    let small = now.facts.pictures <= EXACT_UP_TO || now.allowed <= EXACT_UP_TO_ALLOWED;
    if query.exact || small || now.facts.graph_rows == 0 {
        return Walk::Exact;
    }
    // The walk meets forbidden rows too, so it must be broader by as much as the filter is narrow.
    let met = (now.facts.pictures as f64 / now.allowed.max(1) as f64).max(1.0);
    let ef_search = (2.0 * n as f64 * met).ceil();
    if ef_search > MAX_EF_SEARCH as f64 {
        return Walk::Exact;
    }
    Walk::Graph {
        ef_search: (ef_search as usize).max(MIN_EF_SEARCH),
    }
}

#[cfg(test)]
mod tests {
    use bt_store::{ContentHash, Filter};
    use proptest::prelude::*;

    use super::*;
    use crate::doubles::facts;
    use crate::query::Example;

    const ALL: Abilities = Abilities {
        itc: true,
        itc_cross: true,
        itm: true,
    };

    fn planned(query: &Query, pictures: u64, allowed: u64, can: Abilities) -> Result<Plan> {
        let mut facts = facts(pictures);
        facts.header.aligned_with_text = can.itc;
        plan(
            query,
            &Situation {
                facts: &facts,
                allowed,
                can,
                calibration: &Calibration {
                    lift: Some(2.0),
                    ..Calibration::default()
                },
            },
        )
    }

    fn with_picture(text: Option<&str>) -> Query {
        Query {
            text: text.map(str::to_owned),
            picture: Some(Example::Indexed(ContentHash([7; 32]))),
            ..Query::default()
        }
    }

    #[test]
    fn small_is_exact_and_large_walks_the_graph_unless_the_filter_is_narrow() {
        let text = Query::of_text("a cat");
        let graph = |ef_search| Walk::Graph { ef_search };
        for (pictures, allowed, exact, walk) in [
            (80, 80, false, Walk::Exact),
            (EXACT_UP_TO, EXACT_UP_TO, false, Walk::Exact),
            (EXACT_UP_TO + 1, EXACT_UP_TO + 1, false, graph(400)),
            (1_000_000, 1_000_000, true, Walk::Exact),
            (1_000_000, EXACT_UP_TO_ALLOWED, false, Walk::Exact),
            (1_000_000, 500_000, false, graph(800)),
            (1_000_000, 100_000, false, graph(4_000)),
            (1_000_000, 90_000, false, Walk::Exact),
        ] {
            let query = Query {
                exact,
                ..text.clone()
            };
            let plan = planned(&query, pictures, allowed, ALL).unwrap();
            let found = plan.retrieve.iter().find_map(|finder| match finder {
                Retrieve::Vector { walk, .. } => Some(*walk),
                _ => None,
            });
            assert_eq!(found, Some(walk), "{pictures} {allowed} {exact}");
        }
    }

    #[test]
    fn what_the_models_can_do_decides_the_plan() {
        let none = Abilities {
            itc: false,
            itc_cross: false,
            itm: false,
        };
        let itm = Abilities { itm: true, ..none };
        let no_cross = Abilities {
            itc_cross: false,
            ..ALL
        };
        let no_itm = Abilities { itm: false, ..ALL };
        let text = Query::of_text("a cat");
        let picture = with_picture(None);
        let both = with_picture(Some("a cat"));
        let rerank = |top| {
            Some(Rerank {
                top,
                text: true,
                lift: Some(2.0),
            })
        };
        let all_of = |top| {
            let lift = None;
            rerank(top).map(|rerank| Rerank { lift, ..rerank })
        };
        for (query, can, vector, reranked) in [
            (&text, ALL, QueryVector::Text, rerank(20)),
            (&text, no_itm, QueryVector::Text, None),
            (&text, itm, QueryVector::Absent, rerank(500)),
            (&picture, ALL, QueryVector::Picture, None),
            (&picture, none, QueryVector::Picture, None),
            (&both, ALL, QueryVector::Pair, all_of(20)),
            (&both, no_cross, QueryVector::Mean, all_of(20)),
            (&both, itm, QueryVector::Picture, all_of(20)),
        ] {
            let plan = planned(query, 100, 100, can).unwrap();
            assert_eq!(
                (plan.vector, plan.rerank),
                (vector, reranked),
                "{query:?} {can:?}"
            );
        }
        for query in [&text, &both] {
            let error = planned(query, 100, 100, none).unwrap_err();
            assert!(matches!(error, Error::CannotReadWords { .. }), "{error}");
            let hint = error.hint().unwrap();
            for way in ["--image", "--rerank-model", "learn-heads"] {
                assert!(hint.contains(way), "{hint}");
            }
        }
    }

    #[test]
    fn without_itc_heads_everything_is_looked_at_up_to_a_bound() {
        let itm = Abilities {
            itc: false,
            itc_cross: false,
            itm: true,
        };
        let query = Query {
            look_at: 30,
            ..Query::of_text("a red cat")
        };
        let plan = planned(&query, 1_000, 700, itm).unwrap();
        assert_eq!(
            plan.retrieve,
            [
                Retrieve::Words {
                    text: "a red cat".into(),
                    n: 200
                },
                Retrieve::LookAt { at_most: 30 }
            ]
        );
        assert!(plan.notes[0].contains("30 of the 700"), "{:?}", plan.notes);
        let off = Query { rerank: 0, ..query };
        let plan = planned(&off, 1_000, 700, itm).unwrap();
        assert_eq!(plan.retrieve.len(), 1);
        assert_eq!(plan.rerank, None);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let blank = Query::of_text("  ");
        assert!(matches!(planned(&blank, 9, 9, ALL), Err(Error::EmptyQuery)));
        let not = Query {
            not: vec!["snow".into()],
            ..Query::default()
        };
        assert!(matches!(planned(&not, 9, 9, ALL), Err(Error::OnlyNegative)));
        let cat = Query::of_text("a cat");
        assert!(matches!(planned(&cat, 0, 0, ALL), Err(Error::EmptyIndex)));
        let zero = Query { n: 0, ..cat };
        assert!(matches!(
            planned(&zero, 9, 9, ALL),
            Err(Error::BadValue { .. })
        ));
    }

    #[test]
    fn words_alone_are_cut_by_the_threshold_and_pictures_alone_are_not() {
        let keep = |query: &Query| planned(query, 9, 9, ALL).unwrap().cut.keep;
        let cat = Query::of_text("a cat");
        assert_eq!(keep(&cat), Keep::Matching);
        assert_eq!(keep(&with_picture(None)), Keep::All);
        assert_eq!(keep(&with_picture(Some("a cat"))), Keep::Matching);
        let asked = Query {
            min_score: Some(0.9),
            ..cat.clone()
        };
        assert_eq!(keep(&asked), Keep::AtLeast(0.9));
        let all = Query { all: true, ..asked };
        assert_eq!(keep(&all), Keep::All);
        // What is shown however improbable it is has to be looked at.
        let lift = |query: &Query| planned(query, 9, 9, ALL).unwrap().rerank.unwrap().lift;
        assert_eq!((lift(&cat), lift(&all)), (Some(2.0), None));
    }

    #[test]
    fn pages_within_one_depth_have_the_same_plan_but_for_the_cut() {
        let page = |offset| Query {
            offset,
            ..Query::of_text("a cat")
        };
        let first = planned(&page(0), 5_000, 5_000, ALL).unwrap();
        let last = planned(&page(190), 5_000, 5_000, ALL).unwrap();
        let beyond = planned(&page(191), 5_000, 5_000, ALL).unwrap();
        assert_eq!(first.retrieve, last.retrieve);
        assert_ne!(first.retrieve, beyond.retrieve);
        assert_eq!(first.rerank, beyond.rerank);
    }

    #[test]
    fn a_plan_serialises() {
        let plan = planned(&Query::of_text("a cat"), 9, 9, ALL).unwrap();
        let json = serde_json::to_value(&plan).unwrap();
        assert_eq!(json["retrieve"][0]["vector"]["walk"], "exact");
        assert_eq!(json["vector"], "text");
    }

    proptest! {
        #[test]
        fn no_query_panics(
            text in proptest::option::of("\\PC{0,20}"),
            n in 0usize..=usize::MAX, offset in 0usize..=usize::MAX, rerank in 0usize..=usize::MAX,
            look_at in 0usize..=usize::MAX,
            exact: bool, all: bool, date: bool, itc: bool, itm: bool,
            pictures in 0u64..2_000_000, allowed in 0u64..2_000_000,
        ) {
            let query = Query {
                text, n, offset, rerank, look_at, exact, all,
                filter: Filter::everything(),
                sort: if date { Sort::Date } else { Sort::Relevance },
                ..Query::default()
            };
            let can = Abilities { itc, itc_cross: itc, itm };
            if let Ok(plan) = planned(&query, pictures, allowed, can) {
                for finder in &plan.retrieve {
                    if let Retrieve::Vector { walk: Walk::Graph { ef_search }, n } = finder {
                        prop_assert!(*ef_search >= *n);
                    }
                }
            }
        }
    }
}
