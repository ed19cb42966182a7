//! Near-duplicates among results: the best of each group stays, the others are folded into it. Identical
//! bytes are one picture in the index already.

use crate::retrieve::dot;

/// Leaders and followers, as places in the list of results: each result joins the first leader that it
/// resembles at least this much, else it leads. `None` for a picture without a vector: it leads alone.
pub(crate) fn fold(vectors: &[Option<&[f32]>], above: f32) -> Vec<(usize, Vec<usize>)> {
    let mut groups: Vec<(usize, Vec<usize>)> = Vec::new();
    for (place, vector) in vectors.iter().enumerate() {
        let like = |leader: usize| match (vector, vectors.get(leader)) {
            (Some(a), Some(Some(b))) => dot(a, b) >= above,
            _ => false,
        };
        match groups.iter_mut().find(|(leader, _)| like(*leader)) {
            Some((_, followers)) => followers.push(place),
            None => groups.push((place, Vec::new())),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_resembles_a_better_result_is_folded_into_it() {
        let (a, b, like_a) = ([1.0, 0.0], [0.0, 1.0], [0.999, 0.04]);
        let vectors: [Option<&[f32]>; 5] = [Some(&a), Some(&b), Some(&like_a), None, Some(&a)];
        assert_eq!(
            fold(&vectors, 0.95),
            [(0, vec![2, 4]), (1, vec![]), (3, vec![])]
        );
    }

    #[test]
    fn nothing_gives_nothing() {
        assert_eq!(fold(&[], 0.95), []);
    }
}
