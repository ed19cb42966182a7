//! How much of a picture the cross-modal layers read when pairs are scored, as a user names it.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// Exact scores, or faster ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RerankSpeed {
    /// All of the picture: what the reference computes.
    #[default]
    Exact,
    /// The class token and the third of the patches that the words look at most in the first cross-modal layer. The
    /// rest is left out of all layers.
    Fast,
}

impl RerankSpeed {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Exact, Self::Fast];

    /// How many of so many patches are read.
    pub(crate) fn patches(self, all: usize) -> usize {
        match self {
            Self::Exact => all,
            Self::Fast => all.div_ceil(3),
        }
    }
}

impl fmt::Display for RerankSpeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Exact => "exact",
            Self::Fast => "fast",
        })
    }
}

impl FromStr for RerankSpeed {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|speed| speed.to_string() == text)
            .ok_or_else(|| Error::Usage(format!("`{text}` is not a rerank speed: exact or fast")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_reads_back_as_it_is_shown() {
        for speed in RerankSpeed::ALL {
            assert_eq!(speed.to_string().parse::<RerankSpeed>().unwrap(), speed);
        }
        let error = "slow".parse::<RerankSpeed>().unwrap_err().to_string();
        assert!(error.contains("exact or fast"), "{error}");
    }
}
