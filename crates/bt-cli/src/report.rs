//! An error, its causes and its hint: the only place that prints errors.

use std::error::Error;
use std::fmt;
use std::io;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};

use crate::exit::Exit;

/// An error of a program itself, with what to do next.
#[derive(Debug)]
pub struct Hinted {
    message: String,
    hint: String,
}

impl fmt::Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Hinted {}

/// An error with a hint.
pub fn hinted(message: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Hinted {
        message: message.into(),
        hint: hint.into(),
    })
}

/// Runs a program's body and turns its outcome into an exit code. `hint_of` is asked for each error of
/// the chain, outermost first, what to do next.
pub fn run(
    hint_of: fn(&(dyn Error + 'static)) -> Option<String>,
    body: impl FnOnce() -> anyhow::Result<Exit>,
) -> ExitCode {
    let exit = body().unwrap_or_else(|error| {
        if reader_went_away(&error) {
            return Exit::Found;
        }
        anstream::eprint!(
            "{}",
            Report {
                error: &error,
                hint_of
            }
        );
        Exit::Error
    });
    exit.into()
}

/// `bt-search ... | head -1` closes our stdout: the reader has what it wanted.
fn reader_went_away(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|io| io.kind() == io::ErrorKind::BrokenPipe)
    })
}

struct Report<'a> {
    error: &'a anyhow::Error,
    hint_of: fn(&(dyn Error + 'static)) -> Option<String>,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
        writeln!(f, "{label}error:{label:#} {}", self.error)?;
        let mut said = self.error.to_string();
        for cause in self.error.chain().skip(1) {
            let text = cause.to_string();
            // Some crates repeat their cause in their own message.
            if !said.contains(&text) {
                writeln!(f, "  caused by: {text}")?;
            }
            said = text;
        }
        let hint = self.error.chain().find_map(|cause| {
            cause
                .downcast_ref::<Hinted>()
                .map(|own| own.hint.clone())
                .or_else(|| (self.hint_of)(cause))
        });
        if let Some(hint) = hint {
            let label = Style::new().bold().fg_color(Some(AnsiColor::Cyan.into()));
            writeln!(f, "{label}hint:{label:#} {hint}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(error: &anyhow::Error) -> String {
        let report = Report {
            error,
            hint_of: |_| None,
        }
        .to_string();
        anstream::adapter::strip_str(&report).to_string()
    }

    #[test]
    fn an_error_is_told_with_each_cause_once_and_its_hint() {
        let cause = hinted("the disk is full", "free some space");
        let error = cause.context("cannot write `a.seg`");
        assert_eq!(
            shown(&error),
            "error: cannot write `a.seg`\n  caused by: the disk is full\nhint: free some space\n"
        );
        let repeated = anyhow::anyhow!("no such file").context("cannot open: no such file");
        assert_eq!(shown(&repeated), "error: cannot open: no such file\n");
    }

    #[test]
    fn a_closed_pipe_is_success_and_any_other_error_is_not() {
        let pipe = anyhow::Error::new(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(reader_went_away(&pipe.context("cannot print")));
        assert!(!reader_went_away(&anyhow::anyhow!("else")));
    }
}
