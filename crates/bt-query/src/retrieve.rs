//! Candidates: the query's vectors, and what the finders of a plan bring. How their lists become one is in
//! `fuse.rs`.

use bt_picture::Picture;
use bt_store::{Collection, ContentHash, Hit, Walk};

use crate::error::{Error, Result};
use crate::pictures;
use crate::plan::{Plan, QueryVector, Retrieve};
use crate::query::{Example, Query};
use crate::scorer::Scorer;

/// How much of the direction of what should not be seen is taken out of the query's vector. Less than
/// all, because a text's vector also says what most pictures have in common.
const NEGATIVE_WEIGHT: f32 = 0.5;

/// The vectors of a query; all of unit length.
#[derive(Debug, Default)]
pub(crate) struct Vectors {
    /// What is looked for: the positive one, less what should not be seen.
    pub(crate) query: Option<Vec<f32>>,
    /// What should be seen.
    pub(crate) positive: Option<Vec<f32>>,
    /// The words alone, where they have a vector.
    pub(crate) text: Option<Vec<f32>>,
    /// Each of what should not be seen, where they have vectors.
    pub(crate) negatives: Vec<Vec<f32>>,
    /// Texts that the model's limit cut.
    pub(crate) truncated: Vec<String>,
}

/// Embeds a query as its plan says.
pub(crate) fn embed(
    plan: &Plan,
    query: &Query,
    store: &dyn Collection,
    scorer: &dyn Scorer,
) -> Result<Vectors> {
    let mut vectors = Vectors::default();
    if plan.vector == QueryVector::Absent {
        return Ok(vectors);
    }
    let aligned = scorer.abilities().itc && store.facts().header.aligned_with_text;
    if let (Some(text), true) = (query.words(), aligned) {
        vectors.text = Some(embed_text(text, scorer, &mut vectors.truncated)?);
    }
    let words = query.words().unwrap_or_default();
    let positive = match plan.vector {
        QueryVector::Absent => None,
        QueryVector::Text => vectors.text.clone(),
        QueryVector::Picture => Some(embed_example(query, store, scorer)?),
        QueryVector::Mean => {
            let picture = embed_example(query, store, scorer)?;
            let text = vectors.text.iter().flatten();
            Some(picture.iter().zip(text).map(|(a, b)| a + b).collect())
        }
        QueryVector::Pair => {
            let pair = match &query.picture {
                Some(Example::Given(given)) => scorer.embed_pair(words, &given.0)?,
                _ => scorer.embed_pair(words, &open_indexed(query, store, scorer)?.rgb)?,
            };
            Some(pair)
        }
    };
    let positive = unit(positive.ok_or(Error::NoDirection)?)?;
    let mut wanted = positive.clone();
    if plan.subtract {
        for text in query.negatives() {
            let negative = embed_text(text, scorer, &mut vectors.truncated)?;
            for (value, away) in wanted.iter_mut().zip(&negative) {
                *value -= NEGATIVE_WEIGHT * away;
            }
            vectors.negatives.push(negative);
        }
    }
    // What is looked for and what should not be seen can be the same.
    vectors.query = Some(unit(wanted).unwrap_or_else(|_| positive.clone()));
    vectors.positive = Some(positive);
    Ok(vectors)
}

fn embed_text(text: &str, scorer: &dyn Scorer, truncated: &mut Vec<String>) -> Result<Vec<f32>> {
    let embedded = scorer.embed_text(text)?;
    if embedded.truncated {
        truncated.push(text.to_owned());
    }
    unit(embedded.vector)
}

/// The vector of the example; that of an indexed picture is already there.
fn embed_example(query: &Query, store: &dyn Collection, scorer: &dyn Scorer) -> Result<Vec<f32>> {
    match &query.picture {
        None => Err(Error::EmptyQuery),
        Some(Example::Given(given)) => scorer.embed_picture(&given.0),
        Some(Example::Indexed(id)) => {
            let found = store.embeddings(&[*id])?.into_iter().next().flatten();
            found.ok_or_else(|| Error::NoSuchPicture(id.to_string()))
        }
    }
}

/// The pixels of the indexed example, which the cross-modal embedding needs.
fn open_indexed(query: &Query, store: &dyn Collection, scorer: &dyn Scorer) -> Result<Picture> {
    let Some(Example::Indexed(id)) = &query.picture else {
        return Err(Error::EmptyQuery);
    };
    let record = store.fetch(&[*id])?.into_iter().next().flatten();
    let record = record.ok_or_else(|| Error::NoSuchPicture(id.to_string()))?;
    let opened = pictures::open(&record, Some(scorer.enough_pixels()));
    let path = record
        .locations
        .first()
        .map(|location| location.path.clone());
    opened
        .map(|opened| opened.picture)
        .map_err(|source| Error::QueryPicture {
            path: path.unwrap_or_default(),
            source,
        })
}

fn unit(vector: Vec<f32>) -> Result<Vec<f32>> {
    let norm = dot(&vector, &vector).sqrt();
    if !norm.is_finite() || norm < 1e-6 {
        return Err(Error::NoDirection);
    }
    Ok(vector.into_iter().map(|value| value / norm).collect())
}

/// Scalar product; the cosine of unit vectors.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// What the finders brought.
#[derive(Debug, Default)]
pub(crate) struct Retrieved {
    pub(crate) vectors: Vec<Hit>,
    pub(crate) words: Vec<Hit>,
    /// Found by nobody, only to be looked at.
    pub(crate) others: Vec<ContentHash>,
    /// How vectors were looked for in the end.
    pub(crate) walk: Option<Walk>,
}

/// Runs one finder.
pub(crate) fn retrieve(
    finder: &Retrieve,
    query: &Query,
    vectors: &Vectors,
    store: &dyn Collection,
    found: &mut Retrieved,
) -> Result<()> {
    let example = match &query.picture {
        Some(Example::Indexed(id)) => Some(*id),
        _ => None,
    };
    let one_more = usize::from(example.is_some());
    match finder {
        Retrieve::Vector { walk, n } => {
            let vector = vectors.query.as_deref().ok_or(Error::NoDirection)?;
            let near = store.nearest(vector, &query.filter, n.saturating_add(one_more), *walk)?;
            found.walk = Some(near.walk);
            found.vectors = near.hits;
        }
        Retrieve::Words { text, n } => {
            found.words = store.by_words(text, &query.filter, n.saturating_add(one_more))?;
        }
        Retrieve::LookAt { at_most } => {
            found.words.truncate(*at_most);
            let room = at_most - found.words.len();
            let by_words: std::collections::BTreeSet<ContentHash> =
                found.words.iter().map(|hit| hit.id).collect();
            found.others = store.scan(&query.filter, None, at_most.saturating_add(one_more))?;
            found.others.retain(|id| !by_words.contains(id));
            found.others.truncate(room);
        }
    }
    for (list, stage) in [
        (&mut found.vectors, "the vector search"),
        (&mut found.words, "the word search"),
    ] {
        list.retain(|hit| Some(hit.id) != example);
        if let Some(hit) = list.iter().find(|hit| hit.score.is_nan()) {
            return Err(Error::NotANumber { stage, id: hit.id });
        }
    }
    found.others.retain(|id| Some(*id) != example);
    Ok(())
}
