//! IPTC IIM records: what agencies and older programs write beside a picture.

use super::latin1_or_utf8;

/// What the records say.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) captions: Vec<String>,
    pub(super) headlines: Vec<String>,
    pub(super) keywords: Vec<String>,
}

/// Reads datasets: 0x1c, record, number, length, text.
pub(super) fn read(mut records: &[u8]) -> Facts {
    let mut facts = Facts::default();
    while let [0x1c, record, number, high, low, after @ ..] = records {
        // The top bit would announce a length of its own, which no text needs.
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some(data) = after.get(..length) else {
            break;
        };
        // Old files are Latin-1; many are UTF-8, and not all of them say so.
        let text = || latin1_or_utf8(data);
        match (record, number) {
            (2, 25) => facts.keywords.push(text()),
            (2, 105) => facts.headlines.push(text()),
            (2, 120) => facts.captions.push(text()),
            _ => {}
        }
        records = &after[length..];
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_up_to_the_first_that_is_cut() {
        let file = b"\x1c\x02\x19\0\x03cat\x1c\x02\x78\0\x06caf\xe9 a\x1c\x02\x69\0\x03top\x1c\x02\x19\0\x09co";
        let facts = read(file);
        assert_eq!(facts.keywords, ["cat"]);
        assert_eq!(facts.captions, ["caf\u{e9} a"]);
        assert_eq!(facts.headlines, ["top"]);
        for length in 0..file.len() {
            read(&file[..length]);
        }
    }
}
