//! Measures of rankings and scores, on plain numbers.

use serde::Serialize;

/// How well rankings put what is right in front.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Recall {
    /// Percentage of rankings with a right item in the first place.
    pub at_1: f64,
    /// ... among the first five.
    pub at_5: f64,
    /// ... among the first ten.
    pub at_10: f64,
    /// Normalised discounted cumulative gain of the first ten, times 100.
    pub ndcg_at_10: f64,
}

impl Recall {
    /// Of rankings given as marks: whether the item at each place is right; `right` items exist in all.
    pub(crate) fn of<'a>(rankings: impl IntoIterator<Item = (&'a [bool], usize)>) -> Self {
        let mut sum = Self::default();
        let mut count = 0;
        for (marks, right) in rankings {
            let first = marks.iter().position(|mark| *mark);
            let within = |k: usize| f64::from(u8::from(first.is_some_and(|place| place < k)));
            sum.at_1 += within(1);
            sum.at_5 += within(5);
            sum.at_10 += within(10);
            let gains: Vec<f64> = marks
                .iter()
                .map(|mark| f64::from(u8::from(*mark)))
                .collect();
            sum.ndcg_at_10 += ndcg(&gains, &vec![1.0; right], 10);
            count += 1;
        }
        let percent = |sum: f64| {
            if count == 0 {
                0.0
            } else {
                100.0 * sum / f64::from(count)
            }
        };
        Self {
            at_1: percent(sum.at_1),
            at_5: percent(sum.at_5),
            at_10: percent(sum.at_10),
            ndcg_at_10: percent(sum.ndcg_at_10),
        }
    }
}

/// Normalised discounted cumulative gain of the first `k` places (Järvelin and Kekäläinen 2002): the gain
/// at place i (from 1) counts 1 / log2(i + 1); divided by that of the best order of all `existing` gains.
/// 0 when nothing can be gained.
fn ndcg(gains: &[f64], existing: &[f64], k: usize) -> f64 {
    let discounted = |gains: &[f64]| -> f64 {
        (2_u32..)
            .zip(gains)
            .take(k)
            .map(|(i, gain)| gain / f64::from(i).log2())
            .sum()
    };
    let mut best = existing.to_vec();
    best.sort_by(|a, b| b.total_cmp(a));
    let best = discounted(&best);
    if best > 0.0 {
        discounted(gains) / best
    } else {
        0.0
    }
}

/// Area under the ROC curve: the chance that a positive scores above a negative, ties counting half.
/// `None` without one of each.
pub(crate) fn auc(positives: &[f32], negatives: &[f32]) -> Option<f64> {
    if positives.is_empty() || negatives.is_empty() {
        return None;
    }
    let mut sorted = negatives.to_vec();
    sorted.sort_by(f32::total_cmp);
    let wins: f64 = positives
        .iter()
        .map(|score| {
            let below = sorted.partition_point(|negative| negative < score);
            let not_above = sorted.partition_point(|negative| negative <= score);
            (below + not_above) as f64 / 2.0
        })
        .sum();
    Some(wins / (positives.len() as f64 * negatives.len() as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recall_counts_the_first_right_place() {
        // Right at places 1, 3 and 7, and nowhere.
        let mut rankings = [[false; 10]; 4];
        rankings[0][0] = true;
        rankings[1][2] = true;
        rankings[2][6] = true;
        let recall = Recall::of(rankings.iter().map(|marks| (marks.as_slice(), 1)));
        assert_eq!((recall.at_1, recall.at_5, recall.at_10), (25.0, 50.0, 75.0));
        // 1 / log2(2), 1 / log2(4), 1 / log2(8).
        let expected = 100.0 * (1.0 + 0.5 + 1.0 / 3.0) / 4.0;
        assert!(
            (recall.ndcg_at_10 - expected).abs() < 1e-9,
            "{}",
            recall.ndcg_at_10
        );
        assert_eq!(Recall::of([]), Recall::default());
    }

    #[test]
    fn ndcg_is_that_of_the_textbook_example() {
        // Gains 3 2 3 0 1 2 of a ranking, 3 and 2 more exist: DCG 6.861127, ideal (3 3 3 2 2 2) 8.740263.
        let gains = [3.0, 2.0, 3.0, 0.0, 1.0, 2.0];
        let existing = [3.0, 2.0, 3.0, 0.0, 1.0, 2.0, 3.0, 2.0];
        assert!((ndcg(&gains, &existing, 6) - 6.861_127 / 8.740_263).abs() < 1e-6);
        assert_eq!(ndcg(&[0.0, 1.0], &[1.0], 1), 0.0);
        assert_eq!(ndcg(&[], &[], 10), 0.0);
    }

    #[test]
    fn auc_counts_pairs_in_order_and_half_of_ties() {
        // 2 beats both; 1 beats 0 and ties with 1: 3.5 of 4.
        assert_eq!(auc(&[2.0, 1.0], &[0.0, 1.0]), Some(0.875));
        assert_eq!(auc(&[0.0], &[1.0]), Some(0.0));
        assert_eq!(auc(&[], &[1.0]), None);
    }
}
