//! A plan carried out: embed, retrieve, fuse, look up, rerank, order, cut. Each stage is timed; a score
//! that is not a number is an error where it arises. What scores mean for the order is in `rank.rs`.

use std::time::Instant;

use bt_store::{Collection, ContentHash, Hit, Record};

use crate::answer::{Answer, Score, Stage, Why};
use crate::error::{Error, Result};
use crate::fuse::{Ranked, fuse};
use crate::plan::{Plan, Retrieve, Situation, plan};
use crate::query::Query;
use crate::rank::{Candidate, order, page, score};
use crate::rerank::{Progress, judge};
use crate::retrieve::{Retrieved, Vectors, dot, embed, retrieve};
use crate::scorer::Scorer;
use crate::words;

/// Plans a query and carries the plan out.
///
/// # Errors
/// Those of [`plan`] and of [`execute`].
pub fn search(
    query: &Query,
    store: &dyn Collection,
    scorer: &dyn Scorer,
    on: &mut dyn FnMut(Progress),
) -> Result<Answer> {
    let allowed = store.count(&query.filter)?;
    let planned = plan(
        query,
        &Situation {
            facts: store.facts(),
            allowed,
            can: scorer.abilities(),
            threshold: scorer.calibration().threshold,
        },
    )?;
    execute(&planned, query, allowed, store, scorer, on)
}

/// Carries a plan out. `allowed`: how many pictures the query's filter allows.
///
/// # Errors
/// Those of the store and of the model, and scores that are not numbers.
pub fn execute(
    plan: &Plan,
    query: &Query,
    allowed: u64,
    store: &dyn Collection,
    scorer: &dyn Scorer,
    on: &mut dyn FnMut(Progress),
) -> Result<Answer> {
    let mut clock = Clock::start();
    let facts = store.facts();
    let mut warnings = facts.warnings.clone();

    let vectors = embed(plan, query, store, scorer)?;
    warnings.extend(vectors.truncated.iter().map(|text| {
        let start: String = text.chars().take(40).collect();
        format!("`{start}...` is longer than the model reads: its end was ignored")
    }));
    clock.stage("embed");

    let mut found = Retrieved::default();
    for finder in &plan.retrieve {
        retrieve(finder, query, &vectors, store, &mut found)?;
        clock.stage(match finder {
            Retrieve::Vector { .. } => "vectors",
            Retrieve::Words { .. } => "words",
            Retrieve::LookAt { .. } => "scan",
        });
    }

    let mut candidates = candidates(plan, query, &found, &vectors, store)?;
    clock.stage("fuse");

    let looked_at = rerank(
        plan,
        query,
        &vectors,
        scorer,
        &mut candidates,
        &mut warnings,
        on,
    )?;
    if plan.rerank.is_some() {
        clock.stage("rerank");
    }
    score(plan, query, scorer, &mut candidates)?;
    let best = candidates
        .iter()
        .map(|candidate| candidate.score)
        .max_by(|a, b| a.value().total_cmp(&b.value()));
    let ordered = order(&plan.cut, candidates);
    let (results, matched) = page(&plan.cut, ordered);
    clock.stage("order");

    Ok(Answer {
        results,
        matched,
        best,
        pictures: facts.pictures,
        allowed,
        looked_at,
        walk: found.walk,
        plan: plan.clone(),
        stages: clock.stages,
        warnings,
    })
}

struct Clock {
    last: Instant,
    stages: Vec<Stage>,
}

impl Clock {
    fn start() -> Self {
        Self {
            last: Instant::now(),
            stages: Vec::new(),
        }
    }

    fn stage(&mut self, name: &'static str) {
        let now = Instant::now();
        let took = now - self.last;
        self.last = now;
        self.stages.push(Stage { name, took });
    }
}

/// The fused list, with what is known of each picture. Those found by nobody come last.
fn candidates(
    plan: &Plan,
    query: &Query,
    found: &Retrieved,
    vectors: &Vectors,
    store: &dyn Collection,
) -> Result<Vec<Candidate>> {
    let lists: [(&[Hit], f32); 2] = [
        (&found.vectors, plan.fuse.vector_weight),
        (&found.words, plan.fuse.words_weight),
    ];
    let fused = fuse(&lists, plan.fuse.k);
    let ids: Vec<ContentHash> = fused
        .iter()
        .map(|fused| fused.id)
        .chain(found.others.iter().copied())
        .collect();
    let records = store.fetch(&ids)?;
    let embeddings = if vectors.query.is_some() {
        store.embeddings(&ids)?
    } else {
        vec![None; ids.len()]
    };
    let mut candidates = Vec::with_capacity(ids.len());
    for (place, (record, embedding)) in records.into_iter().zip(embeddings).enumerate() {
        // A finder's hit is in the same snapshot; if it is not, there is nothing to show.
        let Some(record) = record else { continue };
        let fused = fused.get(place);
        let list = |list: usize| fused.and_then(|fused| fused.places.get(list).copied().flatten());
        let with = |vector: Option<&Vec<f32>>| cosine(vector, embedding.as_deref(), record.id);
        let text = query.words().unwrap_or_default();
        let words = list(1);
        candidates.push(Candidate {
            with_text: with(vectors.text.as_ref())?,
            with_negatives: vectors
                .negatives
                .iter()
                .map(|negative| Ok(with(Some(negative))?.unwrap_or(0.0)))
                .collect::<Result<_>>()?,
            logits: None,
            score: Score::Words(words.map_or(0.0, |words| words.score)),
            why: Why {
                vector: list(0),
                words,
                fused: Some(Ranked {
                    rank: place + 1,
                    score: fused.map_or(0.0, |fused| fused.score),
                }),
                cosine: with(vectors.positive.as_ref())?,
                exact_name: words.is_some() && words::is_name_of(text, &record),
                says_it: words.is_some() && words::say(&record, text),
                ..Why::default()
            },
            record,
            embedding,
        });
    }
    Ok(candidates)
}

fn cosine(a: Option<&Vec<f32>>, b: Option<&[f32]>, id: ContentHash) -> Result<Option<f32>> {
    let (Some(a), Some(b)) = (a, b) else {
        return Ok(None);
    };
    let cosine = dot(a, b);
    if cosine.is_nan() {
        return Err(Error::NotANumber {
            stage: "the index",
            id,
        });
    }
    Ok(Some(cosine))
}

/// Looks at the best candidates; how many could be looked at.
fn rerank(
    plan: &Plan,
    query: &Query,
    vectors: &Vectors,
    scorer: &dyn Scorer,
    candidates: &mut [Candidate],
    warnings: &mut Vec<String>,
    on: &mut dyn FnMut(Progress),
) -> Result<usize> {
    let Some(rerank) = plan.rerank else {
        return Ok(0);
    };
    let text = query.words().filter(|_| rerank.text);
    let texts: Vec<&str> = text.into_iter().chain(query.negatives()).collect();
    let top = rerank.top.min(candidates.len());
    let (best, _) = candidates.split_at_mut(top);
    let records: Vec<&Record> = best.iter().map(|candidate| &candidate.record).collect();
    let judgements = judge(&texts, &records, scorer, on)?;
    let mut looked_at = 0;
    for (candidate, judgement) in best.iter_mut().zip(judgements) {
        match judgement {
            Ok(logits) => {
                looked_at += 1;
                candidate.logits = Some(logits);
            }
            Err(failure) => candidate.why.not_reranked = Some(failure.to_string()),
        }
    }
    if looked_at < top {
        let failed = top - looked_at;
        let kept = if vectors.query.is_some() {
            "; they keep the place that their vectors give them"
        } else {
            ""
        };
        warnings.push(format!(
            "{failed} of {top} pictures could not be read again{kept}"
        ));
    }
    Ok(looked_at)
}

#[cfg(test)]
mod tests;
