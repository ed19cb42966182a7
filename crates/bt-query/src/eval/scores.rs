//! What a model says of texts and pictures: all cosines, and ITM logits of the pairs that are asked for.
//! States of pictures are held for a bounded number at a time: those of a thousand pictures of a large
//! model would be ten gigabytes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use bt_model::{Encoder, Pixels};
use bt_picture::Limits;
use rayon::prelude::*;

use crate::error::{Error, Result};

/// Pictures that are decoded and embedded together.
const BATCH: usize = 32;
/// Memory for states of pictures.
const STATES_BYTES: usize = 512 << 20;

/// How far the work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Texts embedded, of how many.
    Texts(usize, usize),
    /// Pictures embedded.
    Pictures(usize, usize),
    /// Pairs matched.
    Pairs(usize, usize),
}

/// Pairs whose ITM logits are wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// For each picture, its texts.
    texts_of: BTreeMap<usize, BTreeSet<usize>>,
}

impl Wanted {
    /// Asks for a pair.
    pub(crate) fn add(&mut self, text: usize, picture: usize) {
        self.texts_of.entry(picture).or_default().insert(text);
    }

    fn len(&self) -> usize {
        self.texts_of.values().map(BTreeSet::len).sum()
    }
}

/// What a model says of texts (rows) and pictures (columns).
#[derive(Clone, Debug)]
pub(crate) struct Scores {
    texts: usize,
    pictures: usize,
    /// Row-major.
    cosines: Vec<f32>,
    /// ITM logits of no match and match, by text and picture.
    itm: BTreeMap<(usize, usize), [f32; 2]>,
}

impl Scores {
    /// Embeds texts and pictures.
    ///
    /// # Errors
    /// A model without ITC heads; a picture that cannot be read.
    pub(crate) fn embed(
        encoder: &Encoder,
        texts: &[&str],
        pictures: &[PathBuf],
        on: &mut dyn FnMut(Step),
    ) -> Result<Self> {
        let mut of_texts = Vec::with_capacity(texts.len());
        for chunk in texts.chunks(BATCH) {
            of_texts.extend(
                encoder
                    .embed_texts(chunk)?
                    .into_iter()
                    .map(|text| text.vector),
            );
            on(Step::Texts(of_texts.len(), texts.len()));
        }
        let mut of_pictures = Vec::with_capacity(pictures.len());
        for chunk in pictures.chunks(BATCH) {
            let pixels = read(encoder, chunk)?;
            of_pictures.extend(encoder.embed_pictures(&pixels.iter().collect::<Vec<_>>())?);
            on(Step::Pictures(of_pictures.len(), pictures.len()));
        }
        let cosine = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let cosines = of_texts
            .par_iter()
            .flat_map_iter(|text| of_pictures.iter().map(|picture| cosine(text, picture)))
            .collect();
        Ok(Self {
            texts: texts.len(),
            pictures: pictures.len(),
            cosines,
            itm: BTreeMap::new(),
        })
    }

    /// Adds the ITM logits of pairs.
    ///
    /// # Errors
    /// A model without an ITM head; a picture that cannot be read.
    pub(crate) fn add_itm(
        &mut self,
        encoder: &Encoder,
        texts: &[&str],
        pictures: &[PathBuf],
        wanted: &Wanted,
        on: &mut dyn FnMut(Step),
    ) -> Result<()> {
        let total = wanted.len();
        let mut places: Vec<usize> = wanted.texts_of.keys().copied().collect();
        // One picture alone tells how much memory its states take.
        let mut at_once = 1;
        while !places.is_empty() {
            let chunk: Vec<usize> = places.drain(..at_once.min(places.len())).collect();
            let paths: Vec<PathBuf> = chunk
                .iter()
                .filter_map(|place| pictures.get(*place).cloned())
                .collect();
            let pixels = read(encoder, &paths)?;
            let states = encoder.picture_states(&pixels.iter().collect::<Vec<_>>())?;
            if let Some(first) = states.first() {
                at_once = (STATES_BYTES / first.bytes().max(1)).clamp(1, 256);
            }
            let mut pictures_of: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
            for (inside, place) in chunk.iter().enumerate() {
                for text in wanted.texts_of.get(place).into_iter().flatten() {
                    pictures_of.entry(*text).or_default().push(inside);
                }
            }
            for (text, insides) in pictures_of {
                let Some(words) = texts.get(text) else {
                    continue;
                };
                let some: Vec<_> = insides
                    .iter()
                    .filter_map(|inside| states.get(*inside))
                    .collect();
                let logits = encoder.itm_logits(words, &some)?;
                for (inside, pair) in insides.iter().zip(logits) {
                    if let Some(place) = chunk.get(*inside) {
                        self.itm.insert((text, *place), pair);
                    }
                }
                on(Step::Pairs(self.itm.len(), total));
            }
        }
        Ok(())
    }

    /// Texts.
    pub(crate) fn texts(&self) -> usize {
        self.texts
    }

    /// Pictures.
    pub(crate) fn pictures(&self) -> usize {
        self.pictures
    }

    /// Cosine of the embeddings.
    pub(crate) fn cosine(&self, text: usize, picture: usize) -> f32 {
        self.cosines
            .get(text * self.pictures + picture)
            .copied()
            .unwrap_or(f32::NEG_INFINITY)
    }

    /// ITM logits of no match and match, where they were asked for.
    pub(crate) fn itm(&self, text: usize, picture: usize) -> Option<[f32; 2]> {
        self.itm.get(&(text, picture)).copied()
    }

    /// ITM logit difference, where it was asked for.
    pub(crate) fn difference(&self, text: usize, picture: usize) -> Option<f32> {
        self.itm(text, picture).map(|[no, yes]| yes - no)
    }

    /// Pictures for a text, the nearest first.
    pub(crate) fn pictures_for(&self, text: usize) -> Vec<usize> {
        ranked(0..self.pictures, |picture| self.cosine(text, *picture))
    }

    /// Texts for a picture, the nearest first.
    pub(crate) fn texts_for(&self, picture: usize, texts: std::ops::Range<usize>) -> Vec<usize> {
        ranked(texts, |text| self.cosine(*text, picture))
    }
}

/// Items by falling score; equal ones stay in their order.
pub(super) fn ranked(
    items: impl IntoIterator<Item = usize>,
    score: impl Fn(&usize) -> f32,
) -> Vec<usize> {
    let mut scored: Vec<(f32, usize)> =
        items.into_iter().map(|item| (score(&item), item)).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored.into_iter().map(|(_, item)| item).collect()
}

fn read(encoder: &Encoder, paths: &[PathBuf]) -> Result<Vec<Pixels>> {
    let enough = Some(encoder.enough_pixels());
    paths
        .par_iter()
        .map(|path| {
            let picture = bt_picture::decode(&fs_err::read(path)?, &Limits::default(), enough)
                .map_err(|error| Error::BadFile {
                    path: path.clone(),
                    what: error.to_string(),
                })?;
            Ok(encoder.prepare(&picture.rgb))
        })
        .collect()
}

#[cfg(test)]
pub(super) mod doubles {
    use super::*;

    /// Scores as tests have them.
    pub(in super::super) fn scores(cosines: &[&[f32]], itm: &[(usize, usize, f32)]) -> Scores {
        Scores {
            texts: cosines.len(),
            pictures: cosines.first().map_or(0, |row| row.len()),
            cosines: cosines.concat(),
            itm: itm
                .iter()
                .map(|(text, picture, yes)| ((*text, *picture), [0.0, *yes]))
                .collect(),
        }
    }
}
