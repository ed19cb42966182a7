//! Whole numbers of a body: to JSON 20 and 20.0 are the same one, and some languages write the second.

use serde::de::{Deserialize, Deserializer, Error};

/// A whole number, or null.
pub(crate) fn or_null<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<usize>, D::Error> {
    /// Beyond, doubles pass over whole numbers.
    const MOST: f64 = (1u64 << 53) as f64;
    let Some(number) = Option::<serde_json::Number>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let whole = match (number.as_u64(), number.as_f64()) {
        (Some(whole), _) => usize::try_from(whole).ok(),
        (None, Some(double)) if (0.0..=MOST).contains(&double) && double.fract() == 0.0 => {
            Some(double as usize)
        }
        _ => None,
    };
    let expected = || Error::custom(format_args!("{number}, expected a whole number from 0 on"));
    whole.map(Some).ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_may_be_written_as_a_double() {
        let read = |text: &str| or_null(&mut serde_json::Deserializer::from_str(text)).ok();
        for (text, number) in [("20", 20), ("20.0", 20), ("2e1", 20), ("-0.0", 0)] {
            assert_eq!(read(text), Some(Some(number)), "{text}");
        }
        assert_eq!(read("null"), Some(None));
        for text in ["20.5", "-1", "-1.0", "1e300", "\"20\"", "true"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
