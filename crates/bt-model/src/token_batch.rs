//! Rows of token ids as the tensors that the text tower reads. Texts become ids in `tokenizer.rs`.

use candle_core::{Device, Tensor};

use crate::config::Config;
use crate::error::{Error, Result};

/// Texts as ids, padded on the right to the longest.
#[derive(Clone, Debug)]
pub struct TokenBatch {
    /// [B, L], u32.
    pub(crate) ids: Tensor,
    /// Rows of the position table, [B, L], u32.
    pub(crate) positions: Tensor,
    /// [B, L]: 0 for tokens, the lowest f32 for padding; none when nothing is padded.
    pub(crate) mask: Option<Tensor>,
}

impl TokenBatch {
    /// Rows of ids, first and last token included, without padding.
    ///
    /// # Errors
    /// No row, an empty or too long one, or an id that the model does not know.
    pub fn new(rows: &[&[u32]], config: &Config, device: &Device) -> Result<Self> {
        let text = &config.text;
        let longest = rows.iter().map(|row| row.len()).max().unwrap_or(0);
        if rows.iter().any(|row| row.is_empty()) || longest == 0 {
            return Err(Error::Usage(
                "a text without any token cannot be embedded".to_owned(),
            ));
        }
        if longest > text.max_tokens() {
            return Err(Error::Usage(format!(
                "a text of {longest} tokens is longer than the model's {}",
                text.max_tokens()
            )));
        }
        let (mut ids, mut positions, mut mask) = (Vec::new(), Vec::new(), Vec::new());
        for row in rows {
            let mut position = text.pad_token_id;
            for &id in *row {
                if id as usize >= text.vocab_size {
                    return Err(Error::Usage(format!(
                        "token {id} is not among the model's {}: the tokenizer is of another model",
                        text.vocab_size
                    )));
                }
                // A padding token inside a text keeps the padding's position, as the reference has it.
                positions.push(if id == text.pad_token_id {
                    text.pad_token_id
                } else {
                    position += 1;
                    position
                });
            }
            let padding = longest - row.len();
            ids.extend_from_slice(row);
            ids.extend(std::iter::repeat_n(text.pad_token_id, padding));
            positions.extend(std::iter::repeat_n(text.pad_token_id, padding));
            mask.extend(std::iter::repeat_n(0f32, row.len()));
            mask.extend(std::iter::repeat_n(f32::MIN, padding));
        }
        let shape = (rows.len(), longest);
        let padded = rows.iter().any(|row| row.len() < longest);
        Ok(Self {
            ids: Tensor::from_vec(ids, shape, device)?,
            positions: Tensor::from_vec(positions, shape, device)?,
            mask: if padded {
                Some(Tensor::from_vec(mask, shape, device)?)
            } else {
                None
            },
        })
    }
}
