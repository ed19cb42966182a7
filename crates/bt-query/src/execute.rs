//! A plan carried out: embed, retrieve, fuse, look up, rerank, order, cut. Each stage is timed; a score
//! that is not a number is an error where it arises. What scores mean for the order is in `rank.rs`.

use std::time::Instant;

use bt_model::FIRST_LOOKED_AT;
use bt_store::{Collection, ContentHash, Hit, Record};

use crate::answer::{Answer, Found, Score, Stage, Why};
use crate::error::{Error, Result};
use crate::fuse::{Fused, Ranked, fuse};
use crate::plan::{Plan, QueryVector, Retrieve, Situation, plan};
use crate::query::{Query, Sort};
use crate::rank::{Candidate, Group, order, page, reranked, score};
use crate::rerank::{Progress, judge};
use crate::retrieve::{Retrieved, Vectors, dot, embed, retrieve};
use crate::scorer::Scorer;
use crate::words;

/// Plans a query and carries the plan out.
///
/// # Errors
/// An empty query or index, words that no model here can read, values that make no sense; those of the store
/// and of the model; scores that are not numbers.
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
            calibration: scorer.calibration(),
        },
    )?;
    execute(&planned, query, allowed, store, scorer, on)
}

/// Carries a plan out. `allowed`: how many pictures the query's filter allows.
///
/// # Errors
/// Those of the store and of the model, and scores that are not numbers.
pub(crate) fn execute(
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

    let (looked_at, left_out) = rerank(
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
    let (groups, matched) = page(&plan.cut, ordered);
    let results = found_of(groups, store)?;
    clock.stage("order");

    Ok(Answer {
        results,
        matched,
        best,
        pictures: facts.pictures,
        allowed,
        looked_at,
        left_out,
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

/// The fused list, with what is known of each picture. Those found by nobody come last. Vectors and records
/// are read only where something depends on them: of two hundred candidates, a page shows ten.
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
    let mut candidates: Vec<Candidate> = fused
        .iter()
        .enumerate()
        .map(|(place, fused)| candidate(place, fused))
        .collect();
    let others = found.others.iter().enumerate();
    candidates.extend(others.map(|(place, id)| {
        candidate(
            fused.len() + place,
            &Fused {
                id: *id,
                places: Vec::new(),
                score: 0.0,
            },
        )
    }));
    compare(plan, vectors, &mut candidates, store)?;

    let looked_at = plan.rerank.map_or(0, |rerank| rerank.top);
    let by_date = plan.cut.sort == Sort::Date;
    let is_read = |place: usize, candidate: &Candidate| {
        candidate.why.words.is_some() || place < looked_at || by_date
    };
    let placed = candidates.iter_mut().enumerate();
    let read = placed.filter(|(place, candidate)| is_read(*place, candidate));
    read_records(read.map(|(_, candidate)| candidate), store)?;
    let text = query.words().unwrap_or_default();
    for candidate in &mut candidates {
        if let (Some(_), Some(record)) = (candidate.why.words, &candidate.record) {
            candidate.why.exact_name = words::is_name_of(text, record);
            candidate.why.says_it = words::say(record, text);
        }
    }
    Ok(candidates)
}

fn candidate(place: usize, fused: &Fused) -> Candidate {
    let list = |list: usize| fused.places.get(list).copied().flatten();
    let words = list(1);
    Candidate {
        id: fused.id,
        record: None,
        embedding: None,
        with_text: None,
        with_negatives: Vec::new(),
        logits: None,
        score: Score::Words(words.map_or(0.0, |words| words.score)),
        why: Why {
            vector: list(0),
            words,
            fused: Some(Ranked {
                rank: place + 1,
                score: fused.score,
            }),
            ..Why::default()
        },
    }
}

/// Gives each candidate its cosines with the query.
fn compare(
    plan: &Plan,
    vectors: &Vectors,
    candidates: &mut [Candidate],
    store: &dyn Collection,
) -> Result<()> {
    if vectors.query.is_none() {
        return Ok(());
    }
    // Whether the vector search has compared with just that, so that its scores are the cosines.
    let is_compared =
        !plan.subtract && (vectors.text.is_none() || plan.vector == QueryVector::Text);
    let (known, unknown): (Vec<&mut Candidate>, Vec<&mut Candidate>) = candidates
        .iter_mut()
        .partition(|candidate| is_compared && candidate.why.vector.is_some());
    let mut read = unknown;
    for candidate in known {
        candidate.why.cosine = candidate.why.vector.map(|vector| vector.score);
        candidate.with_text = candidate.why.cosine.filter(|_| vectors.text.is_some());
        if plan.cut.fold_above.is_some() {
            read.push(candidate);
        }
    }
    let ids: Vec<ContentHash> = read.iter().map(|candidate| candidate.id).collect();
    for (candidate, embedding) in read.into_iter().zip(store.embeddings(&ids)?) {
        candidate.embedding = embedding;
        if candidate.why.cosine.is_some() {
            continue;
        }
        let embedding = candidate.embedding.as_deref();
        let with = |vector: Option<&Vec<f32>>| cosine(vector, embedding, candidate.id);
        candidate.why.cosine = with(vectors.positive.as_ref())?;
        candidate.with_text = with(vectors.text.as_ref())?;
        candidate.with_negatives = vectors
            .negatives
            .iter()
            .map(|negative| Ok(with(Some(negative))?.unwrap_or(0.0)))
            .collect::<Result<_>>()?;
    }
    Ok(())
}

/// Reads the records of those that have none yet.
fn read_records<'a>(
    candidates: impl Iterator<Item = &'a mut Candidate>,
    store: &dyn Collection,
) -> Result<()> {
    let unread: Vec<&mut Candidate> = candidates
        .filter(|candidate| candidate.record.is_none())
        .collect();
    let ids: Vec<ContentHash> = unread.iter().map(|candidate| candidate.id).collect();
    for (candidate, record) in unread.into_iter().zip(store.fetch(&ids)?) {
        candidate.record = record;
    }
    Ok(())
}

/// One page, with the records that it shows.
fn found_of(mut groups: Vec<Group>, store: &dyn Collection) -> Result<Vec<Found>> {
    let all = groups
        .iter_mut()
        .flat_map(|group| std::iter::once(&mut group.best).chain(&mut group.folded));
    read_records(all, store)?;
    Ok(groups
        .into_iter()
        .filter_map(|Group { rank, best, folded }| {
            Some(Found {
                rank,
                // A finder's hit is in the same snapshot; if it is not, there is nothing to show.
                record: best.record?,
                score: best.score,
                why: best.why,
                folded: folded
                    .into_iter()
                    .filter_map(|candidate| candidate.record)
                    .collect(),
            })
        })
        .collect())
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

/// Looks at the best candidates; how many could be looked at, and how many were left out because they could
/// hardly become answers. `on` is told scores as they come.
fn rerank(
    plan: &Plan,
    query: &Query,
    vectors: &Vectors,
    scorer: &dyn Scorer,
    candidates: &mut [Candidate],
    warnings: &mut Vec<String>,
    on: &mut dyn FnMut(Progress),
) -> Result<(usize, usize)> {
    let Some(rerank) = plan.rerank else {
        return Ok((0, 0));
    };
    let text = query.words().filter(|_| rerank.text);
    let texts: Vec<&str> = text.into_iter().chain(query.negatives()).collect();
    let top = rerank.top.min(candidates.len());
    // The lift was measured of what is behind the nearest few; words may have put others before them.
    let is_near = |ranked: Option<Ranked>| ranked.is_some_and(|at| at.rank <= FIRST_LOOKED_AT);
    let could_answer = |place: usize, candidate: &Candidate| match rerank.lift {
        Some(lift) if place >= FIRST_LOOKED_AT && !is_near(candidate.why.vector) => {
            candidate.could_answer(scorer.calibration(), lift)
        }
        _ => true,
    };
    let readable: Vec<(usize, &mut Candidate)> = candidates[..top]
        .iter_mut()
        .enumerate()
        .filter(|(_, candidate)| candidate.record.is_some())
        .collect();
    let before = readable.len();
    let mut best: Vec<&mut Candidate> = readable
        .into_iter()
        .filter(|(place, candidate)| could_answer(*place, candidate))
        .map(|(_, candidate)| candidate)
        .collect();
    let left_out = before - best.len();
    let records: Vec<&Record> = best
        .iter()
        .filter_map(|candidate| candidate.record.as_ref())
        .collect();
    let top = best.len();
    let judgements = judge(&texts, &records, scorer, &mut |first, batch| {
        let judged = best[first..].iter().zip(batch);
        let judged = judged.filter_map(|(candidate, judgement)| {
            let logits = judgement.as_ref().ok()?;
            let said = reranked(candidate, logits, rerank.text, scorer.calibration());
            Some((candidate.id, said.score))
        });
        on(Progress {
            done: first + batch.len(),
            total: top,
            judged: judged.collect(),
        });
    })?;
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
    Ok((looked_at, left_out))
}

#[cfg(test)]
mod tests;
