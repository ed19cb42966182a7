//! Small pieces of addresses: the cursor of browsing, and text in a query.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bt_store::ContentHash;

/// Where a page ended: after this picture, which was at that place. When the picture has left the index in
/// the meantime, the place has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageCursor {
    /// Pictures on the pages before.
    pub(crate) place: u32,
    /// The last one of them.
    pub(crate) last: ContentHash,
}

/// Bytes of a cursor.
const LEN: usize = 4 + 32;

impl PageCursor {
    /// As it stands in an address.
    pub(crate) fn to_text(self) -> String {
        let mut bytes = [0; LEN];
        let (place, last) = bytes.split_at_mut(4);
        place.copy_from_slice(&self.place.to_le_bytes());
        last.copy_from_slice(&self.last.0);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads one; `None` for what is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        // Longer than any, so that decoding is bounded, too.
        if text.len() > 2 * LEN {
            return None;
        }
        let bytes: [u8; LEN] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        let (place, last) = bytes.split_first_chunk::<4>()?;
        Some(Self {
            place: u32::from_le_bytes(*place),
            last: ContentHash(last.try_into().ok()?),
        })
    }
}

/// Text as a value in an address's query.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_and_anything_else_is_none() {
        let cursor = PageCursor {
            place: 70_000,
            last: ContentHash::of(b"a"),
        };
        assert_eq!(PageCursor::parse(&cursor.to_text()), Some(cursor));
        for text in [
            "",
            "a",
            "%",
            &"A".repeat(47),
            &"A".repeat(49),
            &"A".repeat(9999),
            "é",
        ] {
            assert_eq!(PageCursor::parse(text), None, "{text}");
        }
    }

    #[test]
    fn text_is_escaped_byte_by_byte() {
        assert_eq!(
            escaped("a cat & \"dog\"/ü"),
            "a%20cat%20%26%20%22dog%22%2F%C3%BC"
        );
    }
}
