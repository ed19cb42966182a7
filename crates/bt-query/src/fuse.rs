//! Several ranked lists into one: reciprocal rank fusion. Scores of different finders cannot be compared,
//! their ranks can.

use std::collections::BTreeMap;

use bt_store::{ContentHash, Hit};
use serde::{Deserialize, Serialize};

/// The constant of reciprocal rank fusion: Cormack, Clarke and Buettcher, "Reciprocal Rank Fusion
/// outperforms Condorcet and individual Rank Learning Methods", SIGIR 2009.
pub(crate) const RRF_K: f32 = 60.0;

/// Weight of the words' list beside the vectors' with 1. At 0.9 the first hit by words alone stands
/// behind the first seven hits by meaning, and then the lists alternate: a caption is always among what is
/// reranked, and a file called `on the couch` does not outdo what is on the pictures.
pub(crate) const WORDS_WEIGHT: f32 = 0.9;

/// A place in a list.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ranked {
    /// From 1.
    pub rank: usize,
    /// What the list is ordered by.
    pub score: f32,
}

/// A picture in the fused list.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fused {
    pub(crate) id: ContentHash,
    /// Place in each list, in the order of the lists.
    pub(crate) places: Vec<Option<Ranked>>,
    pub(crate) score: f32,
}

/// Fuses lists that are best first, each with a weight. The order is total: ties by id.
pub(crate) fn fuse(lists: &[(&[Hit], f32)], k: f32) -> Vec<Fused> {
    let mut fused: BTreeMap<ContentHash, Fused> = BTreeMap::new();
    for (place, (hits, weight)) in lists.iter().enumerate() {
        for (index, hit) in hits.iter().enumerate() {
            let entry = fused.entry(hit.id).or_insert_with(|| Fused {
                id: hit.id,
                places: vec![None; lists.len()],
                score: 0.0,
            });
            // A list that names a picture twice counts it once, at its better rank.
            if let Some(free @ None) = entry.places.get_mut(place) {
                let rank = index + 1;
                *free = Some(Ranked {
                    rank,
                    score: hit.score,
                });
                entry.score += weight / (k + rank as f32);
            }
        }
    }
    let mut fused: Vec<Fused> = fused.into_values().collect();
    fused.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.id.cmp(&b.id)));
    fused
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hits(ids: &[u8]) -> Vec<Hit> {
        ids.iter()
            .enumerate()
            .map(|(index, id)| Hit {
                id: ContentHash([*id; 32]),
                score: 1.0 - index as f32 / 10.0,
            })
            .collect()
    }

    fn order(fused: &[Fused]) -> Vec<u8> {
        fused.iter().map(|one| one.id.0[0]).collect()
    }

    #[test]
    fn a_picture_in_both_lists_comes_before_those_in_one() {
        let (vectors, words) = (hits(&[1, 2, 3]), hits(&[9, 3]));
        let fused = fuse(&[(&vectors, 1.0), (&words, WORDS_WEIGHT)], RRF_K);
        assert_eq!(order(&fused), [3, 1, 2, 9]);
        assert_eq!(fused[0].places[0].unwrap().rank, 3);
        assert_eq!(fused[0].places[1].unwrap().rank, 2);
    }

    #[test]
    fn ties_are_broken_by_id() {
        let (a, b) = (hits(&[5, 2]), hits(&[2, 5]));
        let fused = fuse(&[(&a, 1.0), (&b, 1.0)], RRF_K);
        assert_eq!(order(&fused), [2, 5]);
        assert_eq!(fused[0].score, fused[1].score);
    }

    #[test]
    fn the_first_hit_by_words_alone_stands_behind_seven_by_meaning() {
        let vectors = hits(&(1..=20).collect::<Vec<_>>());
        let fused = fuse(&[(&vectors, 1.0), (&hits(&[99]), WORDS_WEIGHT)], RRF_K);
        assert_eq!(order(&fused).iter().position(|id| *id == 99), Some(7));
    }

    proptest! {
        #[test]
        fn every_picture_comes_out_once_and_the_order_is_stable(
            a in proptest::collection::vec(0u8..20, 0..20), b in proptest::collection::vec(0u8..20, 0..20),
        ) {
            let (a, b) = (hits(&a), hits(&b));
            let fused = fuse(&[(&a, 1.0), (&b, 0.9)], RRF_K);
            let mut ids = order(&fused);
            ids.sort_unstable();
            let mut all: Vec<u8> = a.iter().chain(&b).map(|hit| hit.id.0[0]).collect();
            all.sort_unstable();
            all.dedup();
            prop_assert_eq!(ids, all);
            prop_assert_eq!(&fused, &fuse(&[(&a, 1.0), (&b, 0.9)], RRF_K));
        }
    }
}
