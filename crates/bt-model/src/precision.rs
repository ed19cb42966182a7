//! The numbers that a model computes with, as a user names them. What each costs and gains is the operators'
//! business (`ops/`); which one `auto` becomes is settled when a model is loaded.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::kernels::Level;
use crate::kernels::pack::Format;

/// How numbers are held while a model computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Precision {
    /// The fastest that keeps the results, as found out for the device and the model.
    #[default]
    Auto,
    /// 32-bit floating point: what the reference computes with.
    F32,
    /// 16-bit floating point with the range of f32: weights and activations; sums stay f32.
    Bf16,
    /// 8-bit integers in linear layers; all else is f32. On the processor only; one that has AVX2 and no dot product
    /// of bytes uses seven of the bits.
    Int8,
}

impl Precision {
    /// All of them, `auto` first.
    pub const ALL: [Self; 4] = [Self::Auto, Self::F32, Self::Bf16, Self::Int8];

    /// A name for how this processor computes with it, linear layers and attention.
    pub(crate) fn arithmetic(self) -> String {
        let format = self.format();
        let attention = if format.is_short() && Level::best() >= Level::Avx512Bf16 {
            Format::Bf16
        } else {
            Format::F32
        };
        format!("{}-{}", format.name(), attention.name())
    }

    /// What weights become on this processor.
    pub(crate) fn format(self) -> Format {
        match self {
            Self::Int8 => Format::bytes(Level::best()),
            Self::Bf16 => Format::Bf16,
            Self::Auto | Self::F32 => Format::F32,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        })
    }
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|precision| precision.to_string() == text)
            .ok_or_else(|| {
                Error::Usage(format!(
                    "`{text}` is not a precision: auto, f32, bf16 or int8"
                ))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_precision_reads_back_as_it_is_shown() {
        for precision in Precision::ALL {
            assert_eq!(
                precision.to_string().parse::<Precision>().unwrap(),
                precision
            );
        }
    }

    #[test]
    fn another_word_is_refused_with_the_list() {
        for bad in ["", "F32", "fp16", "int8 "] {
            let error = bad.parse::<Precision>().unwrap_err().to_string();
            assert!(error.contains("auto, f32, bf16 or int8"), "{bad}: {error}");
        }
    }
}
