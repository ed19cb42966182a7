//! The manners that all programs share: how they read settings, report errors, show progress and exit.
//!
//! Nothing here knows what a program does; hints come from the caller.

mod exit;
mod flags;
mod progress;
mod report;
mod settings;
mod stop;
pub mod text;

pub use exit::Exit;
pub use flags::at_least_one;
pub use progress::Progress;
pub use report::{Hinted, hinted, run};
pub use settings::parse;
pub use stop::stop_on_ctrl_c;
