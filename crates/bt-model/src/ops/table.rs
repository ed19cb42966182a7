//! Rows by number: word and position embeddings.

use candle_core::{D, Tensor};

use crate::checkpoint::weights::Scope;
use crate::error::Result;
use crate::kernels::Lines;

/// [rows, width].
#[derive(Debug)]
pub(crate) enum Table {
    Plain(Tensor),
    /// A part of a file: of tens of thousands of words a text reads a few.
    Mapped {
        lines: Lines,
        rows: usize,
        width: usize,
    },
}

impl Table {
    /// `weight` below `at`.
    pub(crate) fn load(at: &Scope<'_>, rows: usize, width: usize) -> Result<Self> {
        if !at.claim("weight", &[rows, width]) {
            return Ok(Self::Plain(at.stand_in(2)?));
        }
        if let Some(lines) = at.prepared_table("weight", rows, width) {
            return Ok(Self::Mapped { lines, rows, width });
        }
        let table = at.tensor("weight", &[rows, width])?;
        if table.device().is_cpu() {
            at.keep_table("weight", &table)?;
        }
        Ok(Self::Plain(table))
    }

    /// The rows `ids` [.., n] as [.., n, width].
    ///
    /// # Errors
    /// A number that is not below the number of rows.
    pub(crate) fn rows(&self, ids: &Tensor) -> Result<Tensor> {
        let mut shape = ids.dims().to_vec();
        let flat = ids.flatten_all()?;
        match self {
            Self::Plain(table) => {
                shape.push(table.dim(D::Minus1)?);
                Ok(table.embedding(&flat)?.reshape(shape)?)
            }
            Self::Mapped { lines, rows, width } => {
                shape.push(*width);
                let mut values = Vec::with_capacity(flat.elem_count() * width);
                for id in flat.to_vec1::<u32>()? {
                    let id = id as usize;
                    if id >= *rows {
                        return Err(candle_core::Error::Msg(format!("row {id} of {rows}")).into());
                    }
                    values.extend_from_slice(&lines.of::<f32>()[id * width..(id + 1) * width]);
                }
                Ok(Tensor::from_vec(values, shape, ids.device())?)
            }
        }
    }

    /// All of it.
    pub(crate) fn all(&self, device: &candle_core::Device) -> Result<Tensor> {
        match self {
            Self::Plain(table) => Ok(table.clone()),
            Self::Mapped { lines, rows, width } => Ok(Tensor::from_slice(
                &lines.of::<f32>()[..rows * width],
                (*rows, *width),
                device,
            )?),
        }
    }
}
