//! The tables of retrieval: pictures for captions and captions for pictures, by embeddings, by ITM, by both,
//! and as the authors of BridgeTower measure.

use bt_model::{Encoder, RankBy};
use serde::Serialize;

use super::metrics::{Recall, auc};
use super::pairs::Pairs;
use super::scores::{Scores, Step, Wanted, ranked};
use crate::error::Result;

/// One direction of retrieval.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Direction {
    /// By the cosine of embeddings.
    pub embedding: Recall,
    /// The first K of these by ITM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub itm: Option<Recall>,
    /// The first K of these by ITM logit difference plus weighted cosine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub itm_plus_itc: Option<Recall>,
}

/// How well true pairs are told from random ones.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Auc {
    /// By ITM.
    pub itm: f64,
    /// By the cosine of embeddings.
    pub embedding: f64,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// Pictures for a caption.
    pub text_to_image: Direction,
    /// Captions for a picture; the first of its own counts.
    pub image_to_text: Direction,
    /// On each caption with its picture and with one other, drawn at random.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auc: Option<Auc>,
    /// Candidates that were reranked; 0 for none.
    pub rerank: usize,
    /// Weight of the cosine: exp of the model's logit scale.
    pub itc_weight: f32,
}

/// One direction by the authors' protocol.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PaperDirection {
    /// By the cosine of embeddings.
    pub embedding: Recall,
    /// By the raw ITM logit of the candidates that either direction found.
    pub itm: Recall,
}

/// Measures embeddings, and reranking of the first `rerank` where the model has an ITM head.
///
/// # Errors
/// A model without ITC heads; a picture that cannot be read.
pub fn measure(
    encoder: &Encoder,
    pairs: &Pairs,
    rerank: usize,
    on: &mut dyn FnMut(Step),
) -> Result<Measured> {
    let texts: Vec<&str> = pairs
        .captions
        .iter()
        .map(|caption| caption.words.as_str())
        .collect();
    let mut scores = Scores::embed(encoder, &texts, &pairs.pictures, on)?;
    let rerank = if encoder.heads().itm { rerank } else { 0 };
    let strangers = strangers(pairs);
    if rerank > 0 {
        let mut wanted = Wanted::default();
        want_both_ways(&scores, rerank, &mut wanted);
        for (text, caption) in pairs.captions.iter().enumerate() {
            wanted.add(text, caption.picture);
        }
        for (text, picture) in &strangers {
            wanted.add(*text, *picture);
        }
        scores.add_itm(encoder, &texts, &pairs.pictures, &wanted, on)?;
    }
    let itc_weight = itc_weight(encoder);
    let direction = |recall: &dyn Fn(Option<RankBy>) -> Recall| Direction {
        embedding: recall(None),
        itm: (rerank > 0).then(|| recall(Some(RankBy::Itm))),
        itm_plus_itc: (rerank > 0).then(|| recall(Some(RankBy::ItmPlusItc { itc_weight }))),
    };
    Ok(Measured {
        text_to_image: direction(&|by| text_to_image(&scores, pairs, rerank, by)),
        image_to_text: direction(&|by| image_to_text(&scores, pairs, rerank, by)),
        auc: if rerank > 0 {
            auc_on_random_pairs(&scores, pairs, &strangers)
        } else {
            None
        },
        rerank,
        itc_weight,
    })
}

/// The authors' protocol: the first `top` of both directions are scored with the raw ITM logit, everything
/// else gets -100, and the larger score of the two directions counts: the same pair scores the same in
/// both, so a candidate of either direction is one of both.
///
/// # Errors
/// A model without ITC or ITM heads; a picture that cannot be read.
pub fn measure_as_the_paper(
    encoder: &Encoder,
    pairs: &Pairs,
    top: usize,
    on: &mut dyn FnMut(Step),
) -> Result<(PaperDirection, PaperDirection)> {
    let texts: Vec<&str> = pairs
        .captions
        .iter()
        .map(|caption| caption.words.as_str())
        .collect();
    let mut scores = Scores::embed(encoder, &texts, &pairs.pictures, on)?;
    let mut wanted = Wanted::default();
    want_both_ways(&scores, top, &mut wanted);
    scores.add_itm(encoder, &texts, &pairs.pictures, &wanted, on)?;
    let logit =
        |text: usize, picture: usize| scores.itm(text, picture).map_or(-100.0, |[_, yes]| yes);
    let by_text = rankings(0..scores.texts(), |text| {
        let order = ranked(scores.pictures_for(text), |picture| logit(text, *picture));
        marks(order.iter().map(|picture| owns(pairs, text, *picture)))
    });
    let by_picture = rankings(0..scores.pictures(), |picture| {
        let texts = scores.texts_for(picture, 0..scores.texts());
        let order = ranked(texts, |text| logit(*text, picture));
        marks(order.iter().map(|text| owns(pairs, *text, picture)))
    });
    Ok((
        PaperDirection {
            embedding: text_to_image(&scores, pairs, 0, None),
            itm: by_text,
        },
        PaperDirection {
            embedding: image_to_text(&scores, pairs, 0, None),
            itm: by_picture,
        },
    ))
}

/// exp of the logit scale: the weight of the cosine that a checkpoint was trained with.
pub(super) fn itc_weight(encoder: &Encoder) -> f32 {
    encoder.model().logit_scale().map_or(0.0, f32::exp)
}

fn want_both_ways(scores: &Scores, top: usize, wanted: &mut Wanted) {
    for text in 0..scores.texts() {
        for picture in scores.pictures_for(text).into_iter().take(top) {
            wanted.add(text, picture);
        }
    }
    for picture in 0..scores.pictures() {
        for text in scores
            .texts_for(picture, 0..scores.texts())
            .into_iter()
            .take(top)
        {
            wanted.add(text, picture);
        }
    }
}

fn owns(pairs: &Pairs, text: usize, picture: usize) -> bool {
    pairs
        .captions
        .get(text)
        .is_some_and(|caption| caption.picture == picture)
}

/// Score of a pair for an order.
fn score(scores: &Scores, text: usize, picture: usize, by: RankBy) -> f32 {
    let difference = scores
        .difference(text, picture)
        .unwrap_or(f32::NEG_INFINITY);
    match by {
        RankBy::Itm => difference,
        RankBy::ItmPlusItc { itc_weight } => difference + itc_weight * scores.cosine(text, picture),
    }
}

/// The first `rerank` of an order sorted anew, the rest as it was.
fn rerank_first(order: &mut [usize], rerank: usize, score: impl Fn(&usize) -> f32) {
    let end = rerank.min(order.len());
    if let Some(first) = order.get_mut(..end) {
        let again = ranked(first.iter().copied(), score);
        first.copy_from_slice(&again);
    }
}

pub(super) fn text_to_image(
    scores: &Scores,
    pairs: &Pairs,
    rerank: usize,
    by: Option<RankBy>,
) -> Recall {
    rankings(0..pairs.captions.len(), |text| {
        let mut order = scores.pictures_for(text);
        if let Some(by) = by {
            rerank_first(&mut order, rerank, |picture| {
                score(scores, text, *picture, by)
            });
        }
        marks(order.iter().map(|picture| owns(pairs, text, *picture)))
    })
}

fn image_to_text(scores: &Scores, pairs: &Pairs, rerank: usize, by: Option<RankBy>) -> Recall {
    rankings(0..scores.pictures(), |picture| {
        let mut order = scores.texts_for(picture, 0..pairs.captions.len());
        if let Some(by) = by {
            rerank_first(&mut order, rerank, |text| score(scores, *text, picture, by));
        }
        marks(order.iter().map(|text| owns(pairs, *text, picture)))
    })
}

/// The first ten places, as far as measures look, and how many right items there are in all.
fn marks(right: impl Iterator<Item = bool>) -> (Vec<bool>, usize) {
    let all: Vec<bool> = right.collect();
    let count = all.iter().filter(|mark| **mark).count();
    (all.into_iter().take(10).collect(), count)
}

fn rankings(
    queries: std::ops::Range<usize>,
    ranking: impl Fn(usize) -> (Vec<bool>, usize),
) -> Recall {
    let all: Vec<_> = queries.map(ranking).collect();
    Recall::of(all.iter().map(|(marks, right)| (marks.as_slice(), *right)))
}

/// Each caption with a picture that is not its own; the same ones each time.
fn strangers(pairs: &Pairs) -> Vec<(usize, usize)> {
    let count = pairs.pictures.len();
    if count < 2 {
        return Vec::new();
    }
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let captions = pairs.captions.iter().enumerate();
    captions
        .map(|(text, caption)| {
            // xorshift64 (Marsaglia 2003).
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let step = 1 + (state % (count as u64 - 1)) as usize;
            (text, (caption.picture + step) % count)
        })
        .collect()
}

fn auc_on_random_pairs(
    scores: &Scores,
    pairs: &Pairs,
    strangers: &[(usize, usize)],
) -> Option<Auc> {
    let own: Vec<(usize, usize)> = pairs
        .captions
        .iter()
        .enumerate()
        .map(|(text, caption)| (text, caption.picture))
        .collect();
    let itm = |pairs: &[(usize, usize)]| -> Vec<f32> {
        pairs
            .iter()
            .filter_map(|(text, picture)| scores.difference(*text, *picture))
            .collect()
    };
    let cosines = |pairs: &[(usize, usize)]| -> Vec<f32> {
        pairs
            .iter()
            .map(|(text, picture)| scores.cosine(*text, *picture))
            .collect()
    };
    Some(Auc {
        itm: auc(&itm(&own), &itm(strangers))?,
        embedding: auc(&cosines(&own), &cosines(strangers))?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::pairs::Caption;
    use super::super::scores::doubles::scores;
    use super::*;

    fn pairs(owners: &[usize]) -> Pairs {
        let mut pairs = Pairs::default();
        let pictures = owners.iter().max().map_or(0, |last| last + 1);
        pairs.pictures = (0..pictures).map(|i| format!("{i}.png").into()).collect();
        pairs.captions = owners
            .iter()
            .map(|p| Caption {
                words: format!("of {p}"),
                picture: *p,
            })
            .collect();
        pairs
    }

    #[test]
    fn reranking_sorts_the_first_k_anew_and_leaves_the_rest() {
        let mut order = vec![4, 3, 2, 1, 0];
        rerank_first(&mut order, 3, |item| -(*item as f32));
        assert_eq!(order, [2, 3, 4, 1, 0]);
        rerank_first(&mut order, 99, |item| *item as f32);
        assert_eq!(order, [4, 3, 2, 1, 0]);
    }

    #[test]
    fn each_direction_is_ranked_by_what_it_says() {
        // Text 0 finds its picture by the cosine, text 1 only by ITM; together the cosine of text 0 wins.
        let scores = scores(
            &[&[0.9, 0.1], &[0.5, 0.4]],
            &[(0, 0, 0.0), (0, 1, 1.0), (1, 0, 0.0), (1, 1, 1.0)],
        );
        let pairs = pairs(&[0, 1]);
        let at_1 = |by| text_to_image(&scores, &pairs, 2, by).at_1;
        assert_eq!(at_1(None), 50.0);
        assert_eq!(at_1(Some(RankBy::Itm)), 50.0);
        assert_eq!(at_1(Some(RankBy::ItmPlusItc { itc_weight: 2.0 })), 100.0);
        assert_eq!(image_to_text(&scores, &pairs, 0, None).at_1, 100.0);
    }

    #[test]
    fn a_picture_with_several_captions_is_found_by_any() {
        let scores = scores(&[&[0.1, 0.9], &[0.8, 0.2], &[0.7, 0.3]], &[]);
        let recall = image_to_text(&scores, &pairs(&[0, 0, 1]), 0, None);
        // Picture 0: texts 1, 2, 0 are right, wrong, right. Picture 1: 0, 2, 1 are wrong, right, wrong.
        assert_eq!(recall.at_1, 50.0);
        assert_eq!(recall.at_5, 100.0);
        let first = (1.0 + 0.5) / (1.0 + 1.0 / 3_f64.log2());
        let second = 1.0 / 3_f64.log2();
        assert!((recall.ndcg_at_10 - 50.0 * (first + second)).abs() < 1e-9);
    }

    #[test]
    fn random_pairs_are_never_true_ones() {
        let pairs = pairs(&[0, 0, 1, 2, 3, 3]);
        let strangers = strangers(&pairs);
        assert_eq!(strangers.len(), 6);
        assert!(
            strangers
                .iter()
                .all(|(text, picture)| !owns(&pairs, *text, *picture))
        );
    }
}
