//! Which bytes of a file a client wants, and whether it has them already (RFC 9110, sections 13 and 14).

use axum::http::{HeaderMap, header};

/// What of a file is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it: nothing else was asked for, or nothing that is understood.
    Whole,
    /// From the first to the last byte, both included.
    Bytes {
        /// First.
        first: u64,
        /// Last.
        last: u64,
    },
    /// Nothing that was asked for is in it.
    None,
}

/// Reads a `Range` header for a file of `len` bytes. Several ranges at once are answered with the whole
/// file, as the standard allows: nobody needs them for pictures, and they make a small request costly.
pub(crate) fn part(value: &str, len: u64) -> Part {
    let Some(range) = value
        .trim()
        .strip_prefix("bytes=")
        .filter(|ranges| !ranges.contains(','))
    else {
        return Part::Whole;
    };
    let Some((first, last)) = range.trim().split_once('-') else {
        return Part::Whole;
    };
    let (first, last) = (first.trim(), last.trim());
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // What does not fit is larger than any file.
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    match (first, last) {
        ("", last) => match number(last) {
            None => Part::Whole,
            Some(0) => Part::None,
            Some(_) if len == 0 => Part::None,
            Some(count) => Part::Bytes {
                first: len.saturating_sub(count),
                last: len - 1,
            },
        },
        (first, last) => {
            let Some(first) = number(first) else {
                return Part::Whole;
            };
            let last = match last {
                "" => u64::MAX,
                last => match number(last) {
                    Some(last) if last >= first => last,
                    _ => return Part::Whole,
                },
            };
            if first >= len {
                return Part::None;
            }
            Part::Bytes {
                first,
                last: last.min(len - 1),
            }
        }
    }
}

/// What a request's headers ask for, of a file with this tag.
pub(crate) fn asked(headers: &HeaderMap, tag: &str, len: u64) -> Part {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    let Some(range) = text(header::RANGE) else {
        return Part::Whole;
    };
    // What the client has is of another file, or it goes by dates, which we do not give.
    if text(header::IF_RANGE).is_some_and(|has| has.trim() != tag) {
        return Part::Whole;
    }
    part(range, len)
}

/// Whether the client says that it has what this tag names.
pub(crate) fn has_it(headers: &HeaderMap, tag: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|tags| tags.split(','))
        .map(|has| has.trim())
        .any(|has| has == "*" || has.strip_prefix("W/").unwrap_or(has) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        let bytes = |first, last| Part::Bytes { first, last };
        for (value, expected) in [
            ("bytes=0-0", bytes(0, 0)),
            ("bytes=0-99", bytes(0, 99)),
            ("bytes=0-1000", bytes(0, 99)),
            ("bytes=50-", bytes(50, 99)),
            ("bytes=-1", bytes(99, 99)),
            ("bytes=-1000", bytes(0, 99)),
            (" bytes= 5 - 7 ", bytes(5, 7)),
            ("bytes=99-99999999999999999999999999", bytes(99, 99)),
            ("bytes=100-", Part::None),
            ("bytes=99999999999999999999999999-", Part::None),
            ("bytes=-0", Part::None),
            ("bytes=7-5", Part::Whole),
            ("bytes=0-1,3-4", Part::Whole),
            ("bytes=", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("bytes=--1", Part::Whole),
            ("lines=0-1", Part::Whole),
            ("", Part::Whole),
        ] {
            assert_eq!(part(value, 100), expected, "{value}");
        }
        for value in ["bytes=0-", "bytes=-5", "bytes=0-0"] {
            assert_eq!(part(value, 0), Part::None, "{value}");
        }
    }

    #[test]
    fn a_part_of_another_file_is_not_continued() {
        let mut headers = HeaderMap::new();
        assert_eq!(asked(&headers, "\"a\"", 10), Part::Whole);
        headers.insert(header::RANGE, "bytes=1-2".parse().unwrap());
        let part = Part::Bytes { first: 1, last: 2 };
        assert_eq!(asked(&headers, "\"a\"", 10), part);
        headers.insert(header::IF_RANGE, "\"a\"".parse().unwrap());
        assert_eq!(asked(&headers, "\"a\"", 10), part);
        for other in ["\"b\"", "W/\"a\"", "Wed, 21 Oct 2015 07:28:00 GMT"] {
            headers.insert(header::IF_RANGE, other.parse().unwrap());
            assert_eq!(asked(&headers, "\"a\"", 10), Part::Whole, "{other}");
        }
    }

    #[test]
    fn what_a_client_has_is_not_sent_again() {
        let mut headers = HeaderMap::new();
        for (value, has) in [
            ("\"a\"", true),
            ("W/\"a\"", true),
            ("\"b\", \"a\"", true),
            ("*", true),
            ("\"b\"", false),
            ("a", false),
        ] {
            headers.insert(header::IF_NONE_MATCH, value.parse().unwrap());
            assert_eq!(has_it(&headers, "\"a\""), has, "{value}");
        }
    }
}
