//! What scores mean: each candidate's probability, the order, what is left out, and one page of it.
//!
//! The order is total: exact names, a few whose words say it, what answers, then the rest; inside, reranked candidates by
//! their score and the others by their place after fusion; ties by id.

use std::cmp::Ordering;

use bt_model::Calibration;
use bt_store::{ContentHash, Record};

use crate::answer::{Score, Why};
use crate::error::{Error, Result};
use crate::group::fold;
use crate::plan::{Cut, Keep, Plan};
use crate::query::{Query, Sort};
use crate::scorer::Scorer;

/// A picture on its way to a result.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) id: ContentHash,
    /// Read where something depends on it: most candidates are never shown.
    pub(crate) record: Option<Record>,
    /// Read where something depends on it.
    pub(crate) embedding: Option<Vec<f32>>,
    /// Cosine of the picture with the words alone, and with each thing that should not be seen.
    pub(crate) with_text: Option<f32>,
    pub(crate) with_negatives: Vec<f32>,
    /// ITM logit differences: the query's words, if they are judged, then what should not be seen.
    pub(crate) logits: Option<Vec<f32>>,
    pub(crate) score: Score,
    pub(crate) why: Why,
}

impl Candidate {
    /// Whether it could turn out to be an answer when the cross-modal layers look at it.
    pub(crate) fn could_answer(&self, calibration: &Calibration, lift: f32) -> bool {
        self.why.exact_name
            || self.why.says_it
            || self
                .with_text
                .is_none_or(|cosine| calibration.could_answer(cosine, lift))
    }

    fn fused_rank(&self) -> usize {
        self.why.fused.map_or(usize::MAX, |fused| fused.rank)
    }
}

/// Gives each candidate its score, and reranked ones what they are sorted by.
pub(crate) fn score(
    plan: &Plan,
    query: &Query,
    scorer: &dyn Scorer,
    candidates: &mut [Candidate],
) -> Result<()> {
    let calibration = scorer.calibration();
    let judges_text = plan.rerank.is_some_and(|rerank| rerank.text);
    let text = query.words().is_some();
    for candidate in candidates {
        if let Some(logits) = &candidate.logits {
            let said = reranked(candidate, logits, judges_text, calibration);
            candidate.score = said.score;
            candidate.why.itm_logit = said.itm_logit;
            candidate.why.not = said.not;
            candidate.why.rerank_score = Some(said.sorted_by);
        } else if let (true, Some(platt), Some(cosine)) =
            (text, calibration.embedding, candidate.with_text)
        {
            let ln_unseen: f64 = candidate
                .with_negatives
                .iter()
                .map(|cosine| ln_unseen(platt.log_odds(*cosine).into(), calibration.threshold))
                .sum();
            candidate.score = Score::Match(platt.probability(cosine) * ln_unseen.exp() as f32);
        } else if let Some(cosine) = candidate.why.cosine {
            candidate.score = Score::Similarity(cosine);
        }
        let sorted_by = candidate.why.rerank_score.unwrap_or(0.0);
        if candidate.score.value().is_nan() || sorted_by.is_nan() {
            return Err(Error::NotANumber {
                stage: "the calibration",
                id: candidate.id,
            });
        }
    }
    Ok(())
}

/// What the cross-modal layers make of a candidate.
#[derive(Debug)]
pub(crate) struct Reranked {
    pub(crate) score: Score,
    /// ITM logit difference with the query's words, if they are judged.
    itm_logit: Option<f32>,
    /// Probability of each thing that should not be seen.
    not: Vec<f32>,
    sorted_by: f64,
}

/// Scores a candidate by its ITM logit differences.
pub(crate) fn reranked(
    candidate: &Candidate,
    logits: &[f32],
    judges_text: bool,
    calibration: &Calibration,
) -> Reranked {
    let (positive, negatives) = match logits.split_first() {
        Some((first, rest)) if judges_text => (Some(*first), rest),
        _ => (None, logits),
    };
    let cosines = candidate.with_negatives.iter().copied().map(Some);
    let (mut not, mut unseen) = (Vec::new(), 0.0);
    for (logit, cosine) in negatives.iter().zip(cosines.chain(std::iter::repeat(None))) {
        let raw = calibration.rank_score(*logit, cosine);
        not.push(calibration.rerank.probability(raw));
        unseen += ln_unseen(
            calibration.rerank.log_odds(raw).into(),
            calibration.threshold,
        );
    }
    let factor = unseen.exp() as f32;
    let (score, sorted_by) = if let Some(logit) = positive {
        let own = calibration.rank_score(logit, candidate.with_text);
        // With a picture in the query, what the picture adds decides the order as well.
        let raw = match candidate.with_text {
            Some(_) => calibration.rank_score(logit, candidate.why.cosine),
            None => own,
        };
        let sorted_by = if negatives.is_empty() {
            f64::from(raw)
        } else {
            ln_sigmoid(calibration.rerank.log_odds(raw).into()) + unseen
        };
        let probability = calibration.rerank.probability(own) * factor;
        (Score::Match(probability), sorted_by)
    } else {
        let similarity = candidate.why.cosine.unwrap_or(0.0) * factor;
        (Score::Similarity(similarity), f64::from(similarity))
    };
    Reranked {
        score,
        itm_logit: positive,
        not,
        sorted_by,
    }
}

/// Logarithm of what is left of a result that shows, with this logit, what should not be seen: a half
/// where the model begins to take it for a match. A measured probability of that is cautious (most
/// pictures show nothing of what is asked), and half a suspicion is enough to leave something out.
fn ln_unseen(seen: f64, threshold: f32) -> f64 {
    let threshold = f64::from(threshold).clamp(1e-6, 1.0 - 1e-6);
    ln_sigmoid((threshold / (1.0 - threshold)).ln() - seen)
}

/// Logarithm of the logistic function, without overflow: keeps apart what a probability in f32 does not.
fn ln_sigmoid(x: f64) -> f64 {
    x.min(0.0) - (-x.abs()).exp().ln_1p()
}

/// Whether a candidate answers: by its probability or by its own words. What could not be judged answers
/// when it is as similar as something that does (`similar_enough`), or when nothing could be judged.
fn answers(candidate: &Candidate, threshold: f32, similar_enough: f32) -> bool {
    if candidate.why.exact_name || candidate.why.says_it {
        return true;
    }
    match candidate.score {
        Score::Match(probability) => probability >= threshold,
        Score::Similarity(cosine) if candidate.logits.is_none() => cosine >= similar_enough,
        Score::Similarity(_) => true,
        Score::Words(bm25) => bm25 > 0.0,
    }
}

/// Up to so many pictures whose own words say everything that is asked come before those that only look
/// like it: a caption is better evidence than any model. Where more say it, as in a folder called
/// `beach`, their words only keep them in, and the model decides the order: words must not drown meaning.
pub(crate) const SAID_FIRST_UP_TO: usize = 5;

/// Leaves out what does not answer, and puts the rest into order.
pub(crate) fn order(cut: &Cut, candidates: Vec<Candidate>) -> Vec<Candidate> {
    let matching = |candidate: &&Candidate| {
        candidate.logits.is_some()
            && matches!(candidate.score, Score::Match(probability) if probability >= cut.threshold)
    };
    let judged = candidates
        .iter()
        .any(|candidate| matches!(candidate.score, Score::Match(_)));
    let similar_enough = if judged {
        candidates
            .iter()
            .filter(matching)
            .filter_map(|candidate| candidate.why.cosine)
            .fold(f32::INFINITY, f32::min)
    } else {
        f32::NEG_INFINITY
    };
    let answers = |candidate: &Candidate| answers(candidate, cut.threshold, similar_enough);
    let said = candidates
        .iter()
        .filter(|candidate| candidate.why.says_it)
        .count();
    let said_first = |candidate: &Candidate| candidate.why.says_it && said <= SAID_FIRST_UP_TO;
    let (unread, mut rest): (Vec<Candidate>, Vec<Candidate>) = candidates
        .into_iter()
        .filter(|candidate| match cut.keep {
            Keep::All => true,
            Keep::Matching => answers(candidate),
            Keep::AtLeast(least) => candidate.why.exact_name || candidate.score.value() >= least,
        })
        .partition(|candidate| candidate.why.not_reranked.is_some());
    rest.sort_by(|a, b| {
        b.why
            .exact_name
            .cmp(&a.why.exact_name)
            .then_with(|| said_first(b).cmp(&said_first(a)))
            .then_with(|| answers(b).cmp(&answers(a)))
            .then_with(|| match (a.why.rerank_score, b.why.rerank_score) {
                (Some(a), Some(b)) => b.total_cmp(&a),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => Ordering::Equal,
            })
            .then_with(|| a.fused_rank().cmp(&b.fused_rank()))
            .then_with(|| a.id.cmp(&b.id))
    });
    // What could not be read again keeps its place from before.
    for candidate in unread {
        let place = candidate.fused_rank().saturating_sub(1).min(rest.len());
        rest.insert(place, candidate);
    }
    if cut.sort == Sort::Date {
        // Stable: pictures of one second, or without a date, stay in order of relevance.
        let taken = |candidate: &Candidate| candidate.record.as_ref()?.about.taken;
        rest.sort_by_key(|candidate| std::cmp::Reverse(taken(candidate)));
    }
    rest
}

/// A result, and the near-duplicates that were folded into it.
#[derive(Debug)]
pub(crate) struct Group {
    /// Place among all results, from 1.
    pub(crate) rank: usize,
    pub(crate) best: Candidate,
    pub(crate) folded: Vec<Candidate>,
}

/// Folds near-duplicates and takes one page; and how many results there are on all pages.
pub(crate) fn page(cut: &Cut, candidates: Vec<Candidate>) -> (Vec<Group>, usize) {
    let groups = match cut.fold_above {
        None => (0..candidates.len())
            .map(|place| (place, Vec::new()))
            .collect(),
        Some(above) => {
            let vectors: Vec<Option<&[f32]>> = candidates
                .iter()
                .map(|candidate| candidate.embedding.as_deref())
                .collect();
            fold(&vectors, above)
        }
    };
    let matched = groups.len();
    let mut candidates: Vec<Option<Candidate>> = candidates.into_iter().map(Some).collect();
    let mut take = |place: usize| candidates.get_mut(place)?.take();
    let groups = groups
        .into_iter()
        .enumerate()
        .skip(cut.offset)
        .take(cut.n)
        .filter_map(|(index, (leader, followers))| {
            Some(Group {
                rank: index + 1,
                best: take(leader)?,
                folded: followers.into_iter().filter_map(&mut take).collect(),
            })
        })
        .collect();
    (groups, matched)
}
