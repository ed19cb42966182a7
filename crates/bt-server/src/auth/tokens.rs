//! Tokens that the operator gave out. Kept as hashes and compared in constant time, so that neither a
//! memory dump nor a clock tells them.

use std::path::Path;

use bt_store::ContentHash;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::{Error, Right};

/// Shorter ones can be guessed.
const SHORTEST: usize = 16;
/// Longer ones are no tokens.
const LONGEST: usize = 512;
/// More lines are no token file.
const MOST_BYTES: usize = 1 << 20;

/// What is known of every token.
#[derive(Default)]
pub(super) struct Tokens(Vec<([u8; 32], Right)>);

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} tokens", self.0.len())
    }
}

impl Tokens {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds those of a file.
    pub(super) fn read(&mut self, file: &Path) -> Result<(), Error> {
        warn_if_others_read_it(file)?;
        let text = fs_err::read_to_string(file)?;
        let before = self.0.len();
        let name = format!("`{}`", file.display());
        if text.len() > MOST_BYTES {
            return Err(bad(
                &name,
                1,
                "the file is too large to be a list of tokens",
            ));
        }
        for (line, content) in text.lines().enumerate() {
            let content = content.trim();
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            let mut words = content.split_whitespace();
            let (right, token) = match (words.next(), words.next(), words.next()) {
                (Some("read"), Some(token), None) => (Right::Read, token),
                (Some("write"), Some(token), None) | (Some(token), None, None) => {
                    (Right::Write, token)
                }
                _ => {
                    return Err(bad(
                        &name,
                        line + 1,
                        "neither `read TOKEN` nor `write TOKEN`",
                    ));
                }
            };
            self.push(&name, line + 1, right, token)?;
        }
        if self.0.len() == before {
            return Err(Error::NoToken(file.to_owned()));
        }
        Ok(())
    }

    /// Adds one that may do everything.
    pub(super) fn add(&mut self, source: &str, token: &str) -> Result<(), Error> {
        self.push(source, 1, Right::Write, token.trim())
    }

    fn push(&mut self, source: &str, line: usize, right: Right, token: &str) -> Result<(), Error> {
        if token.len() < SHORTEST {
            return Err(bad(source, line, "the token has fewer than 16 characters"));
        }
        if token.len() > LONGEST || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(bad(
                source,
                line,
                "the token has characters that no header carries, or too many",
            ));
        }
        self.0.push((ContentHash::of(token.as_bytes()).0, right));
        Ok(())
    }

    /// The greatest right that a token gives. Every known one is compared, whichever fits.
    pub(super) fn right_of(&self, token: &str) -> Option<Right> {
        let hash = ContentHash::of(token.as_bytes()).0;
        let mut found = 0u8;
        for (known, right) in &self.0 {
            let rank = match right {
                Right::Read => 1,
                Right::Write => 2,
            };
            let better = Choice::from(u8::from(rank > found));
            found.conditional_assign(&rank, known.ct_eq(&hash) & better);
        }
        match found {
            0 => None,
            1 => Some(Right::Read),
            _ => Some(Right::Write),
        }
    }
}

fn bad(source: &str, line: usize, what: &'static str) -> Error {
    Error::BadToken {
        source_name: source.to_owned(),
        line,
        what,
    }
}

/// A secret that every account of the machine can read is worth a line in the log.
#[cfg(unix)]
fn warn_if_others_read_it(file: &Path) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    if fs_err::metadata(file)?.permissions().mode() & 0o077 != 0 {
        tracing::warn!(file = %file.display(), "others can read the token file; `chmod 600` it");
    }
    Ok(())
}

#[cfg(not(unix))]
fn warn_if_others_read_it(_: &Path) -> Result<(), Error> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Tokens, Error> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens");
        fs_err::write(&file, text).unwrap();
        let mut tokens = Tokens::default();
        tokens.read(&file).map(|()| tokens)
    }

    #[test]
    fn lines_give_rights_and_the_greatest_counts() {
        let tokens = of(
            "# for the page\nread  aaaaaaaaaaaaaaaa\n\n write bbbbbbbbbbbbbbbb \n\
                         cccccccccccccccc\r\nread bbbbbbbbbbbbbbbb\n",
        )
        .unwrap();
        assert_eq!(tokens.right_of("aaaaaaaaaaaaaaaa"), Some(Right::Read));
        assert_eq!(tokens.right_of("bbbbbbbbbbbbbbbb"), Some(Right::Write));
        assert_eq!(tokens.right_of("cccccccccccccccc"), Some(Right::Write));
        for wrong in ["", "aaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaaa", "read", "for"] {
            assert_eq!(tokens.right_of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_bad_line_is_named_and_its_token_is_not_shown() {
        for (text, line) in [
            ("read short", 1),
            ("# x\nadmin aaaaaaaaaaaaaaaa", 2),
            ("read aaaaaaaaaaaaaaaa more", 1),
            ("\nread aaaaaaaaaaaaaaa\u{e4}", 2),
            ("write", 1),
        ] {
            let error = of(text).unwrap_err().to_string();
            assert!(error.contains(&format!("line {line}:")), "{error}");
            assert!(!error.contains("aaaa"), "{error}");
        }
        assert!(matches!(of("# nothing\n\n"), Err(Error::NoToken(_))));
        let missing = Tokens::default()
            .read(Path::new("/none/tokens"))
            .unwrap_err();
        assert!(missing.to_string().contains("/none/tokens"), "{missing}");
    }
}
