//! Results for a person at a terminal: rank, score, path, date, caption. Styled with ANSI escapes; who
//! prints it strips them where there is no terminal.

use std::fmt::Write as _;
use std::path::Path;

use anstyle::{AnsiColor, Style};

use crate::answer::{Answer, Found, Score};
use crate::explain;
use crate::parse::camera_time;

/// How results are written.
#[derive(Clone, Copy)]
pub struct Form<'a> {
    /// Makes a path, or any text from a file, safe and short for the terminal.
    pub show: &'a dyn Fn(&Path) -> String,
    /// Add where each result's place comes from.
    pub explain: bool,
}

const RANK: Style = Style::new().dimmed();
const GOOD: Style = Style::new()
    .bold()
    .fg_color(Some(anstyle::Color::Ansi(AnsiColor::Green)));
const FAIR: Style = Style::new().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Yellow)));
const NAME: Style = Style::new().bold();
const ASIDE: Style = Style::new().dimmed();

/// One block of lines a result, in order.
pub fn results(answer: &Answer, form: &Form<'_>) -> Vec<String> {
    let shown: Vec<String> = answer
        .results
        .iter()
        .map(|found| path_of(found, form))
        .collect();
    let widest = shown
        .iter()
        .map(|path| path.chars().count())
        .max()
        .unwrap_or(0);
    answer
        .results
        .iter()
        .zip(&shown)
        .map(|(found, path)| block(found, path, widest.min(60), answer.plan.cut.threshold, form))
        .collect()
}

/// What was done and how long it took, for `--explain`.
pub fn course(answer: &Answer) -> String {
    explain::course(answer)
        .lines()
        .fold(String::new(), |mut text, line| {
            let _ = writeln!(text, "{ASIDE}{line}{ASIDE:#}");
            text
        })
}

fn block(found: &Found, path: &str, width: usize, threshold: f32, form: &Form<'_>) -> String {
    let mut text = String::new();
    let style = match found.score {
        Score::Match(probability) if probability >= threshold => GOOD,
        _ => FAIR,
    };
    let pad = width.saturating_sub(path.chars().count());
    let about = &found.record.about;
    let date = about
        .taken
        .and_then(camera_time)
        .map(|time| format!("  {}", time.date()))
        .unwrap_or_default();
    let caption = about
        .captions
        .first()
        .map(|caption| format!("  {}", shortened(caption, form)))
        .unwrap_or_default();
    let end = format!("{date}{caption}");
    let gap = if end.is_empty() { 0 } else { pad };
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{RANK}{:>3}{RANK:#}  {style}{}{style:#}  {NAME}{path}{NAME:#}{:gap$}{ASIDE}{end}{ASIDE:#}",
        found.rank,
        score(found.score),
        "",
    );
    let mut aside = |line: String| {
        let _ = writeln!(text, "     {ASIDE}{line}{ASIDE:#}");
    };
    for location in found.record.locations.iter().skip(1) {
        aside(format!("the same picture: {}", (form.show)(&location.path)));
    }
    for folded in &found.folded {
        let path = folded
            .locations
            .first()
            .map(|location| location.path.as_path());
        aside(format!(
            "much like it: {}",
            path.map_or_else(String::new, form.show)
        ));
    }
    if let Some(damaged) = &about.damaged {
        aside(format!("damaged file: {}", (form.show)(Path::new(damaged))));
    }
    if let Some(reason) = &found.why.not_reranked {
        aside(format!(
            "could not be looked at again: {}",
            (form.show)(Path::new(reason))
        ));
    }
    let seems_not = matches!(found.score, Score::Match(probability) if probability < threshold);
    if seems_not && !form.explain {
        if found.why.exact_name {
            aside("found by its name".to_owned());
        } else if found.why.says_it {
            aside("found by its words".to_owned());
        }
    }
    if form.explain {
        aside(explain::reasons(found));
    }
    text
}

fn path_of(found: &Found, form: &Form<'_>) -> String {
    found
        .path()
        .map_or_else(|| format!("{} (no file any more)", found.id()), form.show)
}

/// A caption on one line, cut where it would fill the screen.
fn shortened(caption: &str, form: &Form<'_>) -> String {
    const LONGEST: usize = 60;
    let line = caption.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut short: String = line.chars().take(LONGEST).collect();
    if short.len() < line.len() {
        short.push('…');
    }
    (form.show)(Path::new(&short))
}

/// A score in words, of one width a kind. A cosine is never shown as a probability.
pub fn score(score: Score) -> String {
    match score {
        Score::Match(probability) => format!("match {:>5}", percent(probability)),
        Score::Similarity(cosine) => format!("similarity {cosine:>5.2}"),
        Score::Words(bm25) => format!("words {bm25:>5.1}"),
    }
}

/// A probability in whole per cent; never 0 or 100, which it never is.
pub fn percent(probability: f32) -> String {
    let percent = probability * 100.0;
    if percent < 0.5 {
        "<1 %".to_owned()
    } else if percent >= 99.5 {
        ">99 %".to_owned()
    } else {
        format!("{percent:.0} %")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probability_is_never_shown_as_certain() {
        assert_eq!(percent(0.0), "<1 %");
        assert_eq!(percent(0.834), "83 %");
        assert_eq!(percent(1.0), ">99 %");
    }

    #[test]
    fn a_cosine_is_not_shown_as_a_probability() {
        assert_eq!(score(Score::Similarity(0.31)), "similarity  0.31");
        assert_eq!(score(Score::Match(0.83)), "match  83 %");
    }
}
