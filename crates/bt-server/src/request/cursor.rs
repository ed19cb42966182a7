//! Cursors of searches: where the next page of results begins. Those of browsing are the catalogue's.

use crate::error::ApiError;

/// The furthest result that pages go to.
const MOST_OFFSET: usize = 10_000;

/// What cursors begin with, so that those of another kind can be told apart some day.
const CURSOR: &str = "1.";

/// Where a page begins.
pub(crate) fn offset(cursor: Option<&str>) -> Result<usize, ApiError> {
    let Some(cursor) = cursor else { return Ok(0) };
    let bad = || {
        ApiError::bad_request("`cursor` is none that this server gave out")
            .hint("take `next` of the page before, as it is")
    };
    let digits = cursor.strip_prefix(CURSOR).ok_or_else(bad)?;
    let offset: usize = digits.parse().map_err(|_| bad())?;
    // As it is written, without a sign or zeros before it.
    if offset > MOST_OFFSET || offset.to_string() != digits {
        return Err(bad());
    }
    Ok(offset)
}

/// The cursor of the page that begins there; none beyond the last result and the furthest page.
pub(crate) fn next(offset: usize, matched: usize) -> Option<String> {
    (offset < matched && offset <= MOST_OFFSET).then(|| format!("{CURSOR}{offset}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_and_no_other_text_is_one() {
        let cursor = next(40, 100).unwrap();
        assert_eq!(offset(Some(&cursor)).unwrap(), 40);
        assert_eq!(offset(None).unwrap(), 0);
        assert_eq!(offset(Some("1.10000")).unwrap(), MOST_OFFSET);
        assert_eq!(next(100, 100), None);
        assert_eq!(next(MOST_OFFSET + 1, usize::MAX), None);
        for text in [
            "",
            "!",
            "40",
            "1.",
            "1.+4",
            "1.040",
            "2.40",
            "1.-1",
            "1.10001",
            "1.99999999999999999999",
            "1.40.7",
        ] {
            assert!(offset(Some(text)).is_err(), "{text}");
        }
    }
}
