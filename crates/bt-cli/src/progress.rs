//! Progress of long work on standard error: how far, how fast, how long still. Silent where nobody looks.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// One line that is redrawn in place.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    unit: String,
}

impl Progress {
    /// Starts with an unknown total. Nothing is drawn when `quiet`, or when standard error is no terminal.
    pub fn new(unit: &str, quiet: bool) -> Self {
        let bar = ProgressBar::no_length();
        let shown = !quiet && std::io::stderr().is_terminal();
        bar.set_draw_target(if shown {
            ProgressDrawTarget::stderr_with_hz(10)
        } else {
            ProgressDrawTarget::hidden()
        });
        let this = Self {
            bar,
            unit: unit.to_owned(),
        };
        this.style("{spinner} {human_pos} {unit}, {rate}{msg}");
        if shown {
            this.bar.enable_steady_tick(Duration::from_millis(200));
        }
        this
    }

    fn style(&self, template: &str) {
        let template = template.replace("{unit}", &self.unit);
        let unit = self.unit.clone();
        if let Ok(style) = ProgressStyle::with_template(&template) {
            self.bar.set_style(style.progress_chars("━╸ ").with_key(
                "rate",
                move |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
                    let _ = write!(out, "{:.1} {unit}/s", state.per_sec());
                },
            ));
        }
    }

    /// How many there are in all, as far as is known by now.
    pub fn total(&self, total: u64) {
        if self.bar.length().is_none() {
            self.style("{bar:30.cyan} {human_pos}/{human_len} {unit}, {rate}, {eta} left{msg}");
        }
        self.bar.set_length(total);
    }

    /// How many are done.
    pub fn done(&self, done: u64) {
        self.bar.set_position(done);
    }

    /// A few words at the end of the line, such as `3 failed`.
    pub fn note(&self, text: &str) {
        self.bar.set_message(if text.is_empty() {
            String::new()
        } else {
            format!(", {text}")
        });
    }

    /// Prints a line above the bar; where no bar is drawn, prints it all the same.
    pub fn line(&self, text: &str) {
        if self.bar.is_hidden() {
            anstream::eprintln!("{text}");
        } else {
            self.bar.println(text);
        }
    }

    /// Takes the line away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
