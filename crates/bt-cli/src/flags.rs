//! Parsers of values that flags of several programs share.

/// A flag's value that counts something: a number, and not zero.
///
/// # Errors
/// What is wrong with it, for clap to show.
pub fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least 1".into()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}
