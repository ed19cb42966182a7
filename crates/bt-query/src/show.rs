//! What `bt-search` says: results on standard output, everything else on standard error, files where
//! they were asked for.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use anyhow::Result;
use bt_query::render::{html, json, paths, text};
use bt_query::{Answer, Found, Query, Score, Scorer, open, sheet};
use clap::ValueEnum;

/// Whether something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    /// Where it makes sense.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What is printed on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// For people.
    Text,
    /// One document.
    Json,
    /// Paths, ended by NUL or by a line's end.
    Paths { nul: bool },
}

/// A path as a person reads it: relative where that is shorter, harmless on a terminal.
pub(crate) fn path(path: &Path) -> String {
    let here = std::env::current_dir().and_then(fs_err::canonicalize).ok();
    let near = here
        .as_deref()
        .and_then(|here| path.strip_prefix(here).ok());
    bt_cli::text::path(
        near.filter(|near| !near.as_os_str().is_empty())
            .unwrap_or(path),
    )
}

/// Prints the results.
pub(crate) fn results(
    form: Form,
    query: &Query,
    answer: &Answer,
    explain: bool,
    thumbnails: When,
) -> Result<()> {
    let mut out = anstream::stdout().lock();
    match form {
        Form::Json => out.write_all(json::json(answer, query, explain)?.as_bytes())?,
        Form::Paths { nul } => {
            // Bytes of file names pass as they are, escapes included.
            std::io::stdout().write_all(&paths::paths(answer, nul))?;
        }
        Form::Text => {
            let form = text::Form {
                show: &path,
                explain,
            };
            let draws = draws(thumbnails);
            for (found, block) in answer.results.iter().zip(text::results(answer, &form)) {
                if draws {
                    thumbnail(found);
                }
                out.write_all(block.as_bytes())?;
            }
            if explain {
                out.write_all(text::course(answer).as_bytes())?;
            }
        }
    }
    out.flush()?;
    Ok(())
}

/// Whether small pictures are drawn: only ever on a terminal.
fn draws(thumbnails: When) -> bool {
    std::io::stdout().is_terminal()
        && match thumbnails {
            When::Never => false,
            When::Always => true,
            When::Auto => viuer::is_iterm_supported() || speaks_kitty(),
        }
}

/// Whether the terminal says by its name that it knows kitty's graphics. Asking a terminal that does not
/// answer would wait for ever.
fn speaks_kitty() -> bool {
    let says = |variable: &str, names: &[&str]| {
        let value = std::env::var(variable).unwrap_or_default().to_lowercase();
        names.iter().any(|name| value.contains(name))
    };
    std::io::stdin().is_terminal()
        && (says("TERM", &["kitty", "ghostty"]) || says("TERM_PROGRAM", &["ghostty", "wezterm"]))
}

fn thumbnail(found: &Found) {
    /// Columns that a thumbnail takes at most.
    const COLUMNS: u32 = 28;
    const EDGE: u32 = 320;
    let config = viuer::Config {
        absolute_offset: false,
        x: 5,
        width: Some(COLUMNS),
        use_kitty: speaks_kitty(),
        ..viuer::Config::default()
    };
    if let Ok(opened) = open(&found.record, Some(EDGE)) {
        let small = bt_picture::thumbnail(&opened.picture.rgb, EDGE);
        // A picture that cannot be drawn is still a result; its line says all.
        let _ = viuer::print(&image::DynamicImage::ImageRgb8(small), &config);
    }
}

/// What went differently than asked, and what was chosen.
pub(crate) fn notes(answer: &Answer, explain: bool) {
    for warning in &answer.warnings {
        anstream::eprintln!("warning: {}", bt_cli::text::path(Path::new(warning)));
    }
    // The explanation holds them already.
    if !explain {
        for note in &answer.plan.notes {
            anstream::eprintln!("note: {note}");
        }
    }
}

/// Why there is nothing to show.
pub(crate) fn nothing(query: &Query, answer: &Answer) {
    let line = if answer.allowed == 0 {
        format!(
            "no picture passes the filters; {} are in the index",
            bt_cli::text::count(answer.pictures)
        )
    } else if answer.matched > 0 {
        format!(
            "there are only {} results, and the first {} are passed over (--offset)",
            answer.matched, query.offset
        )
    } else {
        match answer.best {
            Some(Score::Match(probability)) => format!(
                "nothing here shows that: the best match has {}; --all shows it",
                text::percent(probability)
            ),
            Some(Score::Similarity(cosine)) => format!(
                "nothing here is like that: the best similarity is {cosine:.2}; --all shows it"
            ),
            Some(Score::Words(_)) | None => "nothing here says that".to_owned(),
        }
    };
    anstream::eprintln!("{line}");
}

/// Writes the contact sheet; with the heat of the words when there is a model for it.
pub(crate) fn sheet(
    file: &Path,
    query: &Query,
    answer: &Answer,
    why: Option<&dyn Scorer>,
    explain: bool,
) -> Result<()> {
    let why = match (query.words(), why) {
        (Some(words), Some(model)) => Some((words, model)),
        _ => None,
    };
    let cards = sheet::cards(answer, why)?;
    fs_err::write(file, html::html(answer, query, &cards, explain))?;
    Ok(())
}

/// Writes a PNG file a result and word, `01-IMG_0012-cat.png`; how many.
pub(crate) fn why(
    folder: &Path,
    query: &Query,
    answer: &Answer,
    model: &dyn Scorer,
) -> Result<usize> {
    let Some(words) = query.words() else {
        return Err(bt_cli::hinted(
            "--why shows where words were found, and the query has none",
            "add what should be seen, in words",
        ));
    };
    fs_err::create_dir_all(folder)?;
    let mut written = 0;
    for found in &answer.results {
        let stem = found.path().and_then(Path::file_stem).unwrap_or_default();
        for (index, (word, png)) in sheet::word_pngs(found, words, model)?.iter().enumerate() {
            let name = format!(
                "{:02}-{}-{}-{}.png",
                found.rank,
                plain(&stem.to_string_lossy()),
                index + 1,
                plain(word)
            );
            fs_err::write(folder.join(name), png)?;
            written += 1;
        }
    }
    Ok(written)
}

/// Letters and digits only, and not too many: a part of a file name.
fn plain(text: &str) -> String {
    let name = text.chars().map(|letter| {
        if letter.is_alphanumeric() {
            letter
        } else {
            '_'
        }
    });
    name.take(40).collect()
}
