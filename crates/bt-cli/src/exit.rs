//! What a program's exit code says.

use std::process::ExitCode;

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: done, or something was found.
    Found,
    /// 1: everything worked, and there was nothing to find.
    NothingFound,
    /// 2: an error; nothing can be said about the answer.
    Error,
    /// 3: done, but some files failed, each of them listed.
    SomeFilesFailed,
    /// 130: stopped by Ctrl-C; what was done is kept.
    Interrupted,
}

#[expect(
    non_upper_case_globals,
    reason = "reads as one more variant where nothing is searched"
)]
impl Exit {
    /// The same code as [`Exit::Found`], for programs that do not search.
    pub const Done: Self = Self::Found;
}

impl Exit {
    /// The number that the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Found => 0,
            Self::NothingFound => 1,
            Self::Error => 2,
            Self::SomeFilesFailed => 3,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
