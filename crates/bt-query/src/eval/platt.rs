//! Platt scaling: a logistic curve from raw scores to probabilities, fitted to labelled scores.

use bt_model::Platt;

/// A score and whether it belongs to a pair that matches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Labelled {
    /// The raw score.
    pub(crate) score: f32,
    /// Whether it is a match.
    pub(crate) matches: bool,
}

/// Fits by Newton's method, with Platt's own targets (1999) instead of 0 and 1, so that scores that
/// separate perfectly do not give a step. `None` without one of each kind, or when all scores are equal.
pub(crate) fn fit(scores: &[Labelled]) -> Option<Platt> {
    let positives = scores.iter().filter(|one| one.matches).count() as f64;
    let negatives = scores.len() as f64 - positives;
    if positives == 0.0 || negatives == 0.0 {
        return None;
    }
    let (target_high, target_low) = (
        (positives + 1.0) / (positives + 2.0),
        1.0 / (negatives + 2.0),
    );
    // Centred and scaled, so that the two unknowns hardly depend on each other.
    let n = scores.len() as f64;
    let mean = scores.iter().map(|one| f64::from(one.score)).sum::<f64>() / n;
    let variance = scores
        .iter()
        .map(|one| (f64::from(one.score) - mean).powi(2))
        .sum::<f64>()
        / n;
    let spread = variance.sqrt();
    if !spread.is_finite() || spread == 0.0 {
        return None;
    }
    let rows: Vec<(f64, f64)> = scores
        .iter()
        .map(|one| {
            let target = if one.matches { target_high } else { target_low };
            ((f64::from(one.score) - mean) / spread, target)
        })
        .collect();
    let loss = |a: f64, b: f64| -> f64 {
        // -log likelihood, without overflow: log(1 + e^z) - t z.
        rows.iter()
            .map(|(x, t)| {
                let z = a * x + b;
                z.max(0.0) + (-z.abs()).exp().ln_1p() - t * z
            })
            .sum()
    };
    let (mut a, mut b) = (0.0, ((positives + 1.0) / (negatives + 1.0)).ln());
    for _ in 0..100 {
        let (mut ga, mut gb, mut haa, mut hab, mut hbb) = (0.0, 0.0, 1e-12, 0.0, 1e-12);
        for (x, t) in &rows {
            let p = 1.0 / (1.0 + (-(a * x + b)).exp());
            let (d, w) = (p - t, p * (1.0 - p));
            ga += d * x;
            gb += d;
            haa += w * x * x;
            hab += w * x;
            hbb += w;
        }
        if ga.abs() < 1e-9 * n && gb.abs() < 1e-9 * n {
            break;
        }
        let determinant = haa * hbb - hab * hab;
        let (step_a, step_b) = (
            (hbb * ga - hab * gb) / determinant,
            (haa * gb - hab * ga) / determinant,
        );
        let before = loss(a, b);
        let mut size = 1.0;
        while size > 1e-8 && loss(a - size * step_a, b - size * step_b) > before {
            size /= 2.0;
        }
        (a, b) = (a - size * step_a, b - size * step_b);
    }
    let slope = a / spread;
    Some(Platt {
        slope: slope as f32,
        intercept: (b - slope * mean) as f32,
    })
}

/// The best score of a query, and how much the query counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Best {
    /// Its probability.
    pub(crate) probability: f32,
    /// Its weight.
    pub(crate) weight: f64,
}

/// How much worse it is to withhold what is there than to show what does not fit: who is shown a wrong picture
/// sees that it is wrong, who is told that there is none goes away.
const WITHHELD: f64 = 3.0;

/// The probability from which on a best result should be shown: where the share of answerable queries that are not
/// answered, three times, and the share of unanswerable ones that are, have the smallest sum (Youden's J,
/// weighted). Halfway between the two neighbouring probabilities; `None` without one of each.
pub(crate) fn threshold(answerable: &[Best], absent: &[Best]) -> Option<f32> {
    if answerable.is_empty() || absent.is_empty() {
        return None;
    }
    let both = answerable.iter().chain(absent);
    let mut cuts: Vec<f32> = both.map(|best| best.probability).collect();
    cuts.sort_by(f32::total_cmp);
    let share = |all: &[Best], cut: f32| {
        let shown = all.iter().filter(|best| best.probability >= cut);
        shown.map(|best| best.weight).sum::<f64>() / all.iter().map(|best| best.weight).sum::<f64>()
    };
    let mut best = (f64::NEG_INFINITY, 0.5);
    for pair in cuts.windows(2) {
        let [low, high] = pair else { continue };
        let cut = f32::midpoint(*low, *high);
        let sum = WITHHELD * share(answerable, cut) - share(absent, cut);
        if low < high && sum > best.0 {
            best = (sum, cut);
        }
    }
    Some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labelled(score: f32, matches: bool) -> Labelled {
        Labelled { score, matches }
    }

    #[test]
    fn a_logistic_world_is_recovered() {
        // Score x matches with probability 1 / (1 + exp(-(2 x - 1))), in counts of a thousand.
        let mut scores = Vec::new();
        for step in -20..=20 {
            let x = step as f32 / 5.0;
            let matching = (1000.0 / (1.0 + (-(2.0 * x - 1.0)).exp())).round() as usize;
            scores.extend((0..1000).map(|i| labelled(x, i < matching)));
        }
        let platt = fit(&scores).unwrap();
        assert!(
            (platt.slope - 2.0).abs() < 0.02 && (platt.intercept + 1.0).abs() < 0.02,
            "{platt:?}"
        );
    }

    #[test]
    fn scores_that_separate_perfectly_give_a_finite_curve() {
        let scores: Vec<_> = (0..20).map(|i| labelled(i as f32, i >= 10)).collect();
        let platt = fit(&scores).unwrap();
        assert!(
            platt.slope.is_finite()
                && platt.probability(19.0) > 0.85
                && platt.probability(0.0) < 0.15
        );
    }

    #[test]
    fn nothing_is_fitted_to_nothing() {
        assert_eq!(fit(&[]), None);
        assert_eq!(fit(&[labelled(1.0, true), labelled(2.0, true)]), None);
        assert_eq!(fit(&[labelled(1.0, true), labelled(1.0, false)]), None);
    }

    #[test]
    fn the_threshold_parts_what_can_be_answered_from_what_cannot() {
        let all = |probabilities: &[f32]| -> Vec<Best> {
            probabilities
                .iter()
                .map(|p| Best {
                    probability: *p,
                    weight: 1.0,
                })
                .collect()
        };
        // Cut between 0.4 and 0.5: 3 of 4 answered, 5 of 5 not.
        let answerable = all(&[0.9, 0.8, 0.5, 0.2]);
        let absent = all(&[0.1, 0.25, 0.3, 0.35, 0.4]);
        let cut = threshold(&answerable, &absent).unwrap();
        assert!((cut - 0.45).abs() < 1e-6, "{cut}");
        assert_eq!(threshold(&[], &absent), None);
        // The lowest counts for more than the others together: it must be shown, too.
        let mut heavy = answerable;
        heavy[3].weight = 9.0;
        let cut = threshold(&heavy, &absent).unwrap();
        assert!((cut - 0.15).abs() < 1e-6, "{cut}");
    }
}
