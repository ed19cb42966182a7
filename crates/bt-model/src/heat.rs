//! Where the words of a text were found in a picture: cross-attention, gathered a word at a time.

use std::ops::Range;

use candle_core::{D, DType, Tensor};

use crate::error::Result;
use crate::model::{BridgeTower, ImageStates, Need, rows};
use crate::probe::{Probe, Stage};
use crate::token_batch::TokenBatch;
use crate::tokenizer::Tokens;

/// Where in a picture one word of a text was found.
#[derive(Clone, Debug, PartialEq)]
pub struct WordHeat {
    /// The word as it stands in the text.
    pub word: String,
    /// Attention of the word's tokens over the patches, row-major, non-negative, summing to at most 1.
    pub heat: Vec<f32>,
    /// Patches in a row and in a column.
    pub grid: usize,
}

/// Sums the text's attention over the picture, averaged over heads, layer by layer.
#[derive(Default)]
struct Gather {
    /// [L, P + 1].
    sum: Option<Tensor>,
    layers: usize,
}

impl Probe for Gather {
    fn see(&mut self, stage: Stage, tensor: &Tensor) -> Result<()> {
        if let Stage::TextOverImage(_) = stage {
            let mean = tensor.to_dtype(DType::F32)?.mean(1)?.squeeze(0)?;
            self.sum = Some(match self.sum.take() {
                Some(sum) => (sum + mean)?,
                None => mean,
            });
            self.layers += 1;
        }
        Ok(())
    }

    fn wants_attention(&self) -> bool {
        true
    }
}

/// One map a word, in the order of the text; words behind the model's limit have none.
pub(crate) fn word_heat(
    model: &BridgeTower,
    tokens: &Tokens,
    text: &str,
    picture: &ImageStates,
) -> Result<Vec<WordHeat>> {
    let states = model.text_states(
        &TokenBatch::new(&[&tokens.ids], model.config(), model.device())?,
        &mut (),
    )?;
    let mut gather = Gather::default();
    model.fuse(&states, picture, Need::FirstTokens, &mut gather)?;
    let Some(sum) = gather.sum else {
        return Ok(Vec::new());
    };
    let patches = sum.dim(D::Minus1)? - 1;
    let attention = rows(&(sum.narrow(1, 1, patches)? / gather.layers as f64)?)?;
    let grid = model.config().vision.grid();
    let heat = words(text).into_iter().filter_map(|word| {
        let own: Vec<&Vec<f32>> = tokens
            .spans
            .iter()
            .zip(&attention)
            .filter(|(span, _)| span.start < word.end && word.start < span.end)
            .map(|(_, row)| row)
            .collect();
        if own.is_empty() {
            return None;
        }
        let mut heat = vec![0f32; patches];
        for row in &own {
            for (sum, value) in heat.iter_mut().zip(row.iter()) {
                *sum += value / own.len() as f32;
            }
        }
        Some(WordHeat {
            word: text[word].to_owned(),
            heat,
            grid,
        })
    });
    Ok(heat.collect())
}

/// Words as a reader sees them: between white space, without the punctuation around them.
fn words(text: &str) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut from = 0;
    for piece in text.split_inclusive(char::is_whitespace) {
        let word = piece.trim_matches(|c: char| !c.is_alphanumeric());
        if !word.is_empty() {
            let start = from + (word.as_ptr() as usize - piece.as_ptr() as usize);
            words.push(start..start + word.len());
        }
        from += piece.len();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lose_the_punctuation_around_them_and_keep_that_inside() {
        let text = "  \"A cat's\" — on a sofa, ...  grün!";
        let found: Vec<&str> = words(text).into_iter().map(|word| &text[word]).collect();
        assert_eq!(found, ["A", "cat's", "on", "a", "sofa", "grün"]);
    }
}
