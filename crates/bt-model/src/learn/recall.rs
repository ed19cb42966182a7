//! How often the right picture is among the first k, and the right text.

use serde::Serialize;

/// Percentage of queries whose right answer is among the first 1, 5 and 10.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Recall {
    /// Among the first 1.
    pub at_1: f32,
    /// Among the first 5.
    pub at_5: f32,
    /// Among the first 10.
    pub at_10: f32,
}

/// Both directions on one gallery. `texts` and `pictures`: unit-length rows; `owner`: the picture of each text.
pub(super) fn both_ways(
    texts: &[Vec<f32>],
    pictures: &[Vec<f32>],
    owner: &[usize],
) -> (Recall, Recall) {
    let cosines: Vec<Vec<f32>> = texts
        .iter()
        .map(|text| pictures.iter().map(|picture| dot(text, picture)).collect())
        .collect();
    let text_ranks = cosines
        .iter()
        .zip(owner)
        .map(|(row, &own)| rank(row.iter().copied(), row[own]));
    let picture_ranks = (0..pictures.len()).filter_map(|picture| {
        let own = cosines
            .iter()
            .zip(owner)
            .filter(|(_, own)| **own == picture)
            .map(|(row, _)| row[picture]);
        let best = own.max_by(f32::total_cmp)?;
        Some(rank(cosines.iter().map(|row| row[picture]), best))
    });
    (recall(text_ranks), recall(picture_ranks))
}

pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// How many beat `own`.
fn rank(scores: impl Iterator<Item = f32>, own: f32) -> usize {
    scores.filter(|score| score.total_cmp(&own).is_gt()).count()
}

fn recall(ranks: impl Iterator<Item = usize>) -> Recall {
    let ranks: Vec<usize> = ranks.collect();
    let percent = |k: usize| {
        let within = ranks.iter().filter(|rank| **rank < k).count();
        100.0 * within as f32 / ranks.len().max(1) as f32
    };
    Recall {
        at_1: percent(1),
        at_5: percent(5),
        at_10: percent(10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_counts_when_fewer_than_k_beat_its_answer() {
        let pictures: Vec<Vec<f32>> = (0..12).map(|i| vec![1.0 - 0.01 * i as f32]).collect();
        let texts = vec![vec![1.0]; 3];
        let (words, back) = both_ways(&texts, &pictures, &[0, 5, 11]);
        assert_eq!(
            words,
            Recall {
                at_1: 100.0 / 3.0,
                at_5: 100.0 / 3.0,
                at_10: 200.0 / 3.0
            }
        );
        // Each text has the same cosine with a picture, so none beats its own.
        assert_eq!(
            back,
            Recall {
                at_1: 100.0,
                at_5: 100.0,
                at_10: 100.0
            }
        );
    }
}
