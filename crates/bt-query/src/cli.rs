//! The command line of `bt-search`: flags to a query, models and index loaded side by side. What is
//! printed is in `show.rs`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, Result};
use bt_cli::{Exit, Progress, hinted};
use bt_model::{Exec, Precision, RerankSpeed};
use bt_query::{
    Answer, DEFAULT_LOOK_AT, DEFAULT_N, DEFAULT_RERANK, Error, Example, Given, Models, Query,
    Scorer, Sort, open_query_picture, parse, search,
};
use bt_store::{Collection, ContentHash, Filter, Header, Reader};
use clap::{Parser, ValueEnum};

use crate::show::{self, Form, When};

/// Finds pictures by what they show
///
/// Words, a picture, or both are compared with every picture of an index that `bt-index` made; the best
/// candidates are looked at again together with the words. The number beside a result is the probability
/// that the picture shows what was asked. Pictures below the model's threshold are left out: "nothing
/// here shows that" is an answer, too.
#[derive(Debug, Parser)]
#[command(name = "bt-search", version, max_term_width = 100)]
#[command(after_help = "`--help` says more, with examples.")]
#[command(after_long_help = EPILOGUE)]
pub(crate) struct Cli {
    /// What should be seen, in words
    ///
    /// The exact name of a file finds that file first.
    #[arg(value_name = "TEXT")]
    text: Vec<String>,

    /// A picture that it should look like; with TEXT, both count
    #[arg(long, value_name = "FILE", help_heading = "What to find")]
    image: Option<PathBuf>,

    /// A picture of the index that it should look like, by id or path
    ///
    /// Four digits of the id or more will do; `--json` shows ids.
    #[arg(long, value_name = "PICTURE", conflicts_with = "image")]
    #[arg(help_heading = "What to find")]
    similar_to: Option<String>,

    /// What should not be seen; may be given again
    #[arg(long, value_name = "TEXT", help_heading = "What to find")]
    not: Vec<String>,

    /// Only pictures in this folder or below; may be given again
    #[arg(long = "in", value_name = "FOLDER", help_heading = "Which pictures")]
    folders: Vec<PathBuf>,

    /// Taken in or after: a year, month or day (2024, 2024-07, 2024-07-03)
    ///
    /// By the camera's clock. Pictures without a date are left out; so are those without the fact that
    /// any other filter asks for.
    #[arg(long, value_name = "DATE", help_heading = "Which pictures")]
    after: Option<String>,

    /// Taken before this year, month or day
    #[arg(long, value_name = "DATE", help_heading = "Which pictures")]
    before: Option<String>,

    /// The camera's name contains this
    #[arg(long, value_name = "NAME", help_heading = "Which pictures")]
    camera: Option<String>,

    /// Of this type: jpeg (or jpg), png, webp, ...; several with commas
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',')]
    #[arg(help_heading = "Which pictures")]
    types: Vec<String>,

    /// At least so large: 12MP, 2000x1500 or 5MB
    #[arg(long, value_name = "SIZE", help_heading = "Which pictures")]
    larger_than: Option<String>,

    /// Taken within so many kilometres of a place, in degrees
    #[arg(long, value_name = "LAT,LON,KM", allow_hyphen_values = true)]
    #[arg(help_heading = "Which pictures")]
    near: Option<String>,

    /// Least probability: 0.4 or 40% [default: as measured for the model]
    ///
    /// Where no probability is known (a picture as query), the least similarity.
    #[arg(long, value_name = "P", help_heading = "Which pictures")]
    min_score: Option<String>,

    /// Leaves nothing out, however improbable
    #[arg(long, help_heading = "Which pictures")]
    all: bool,

    /// Results on a page
    #[arg(short = 'n', long = "count", value_name = "N", default_value_t = DEFAULT_N)]
    #[arg(help_heading = "How to show")]
    n: usize,

    /// Results to pass over: the next page is `--offset 10`
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        help_heading = "How to show"
    )]
    offset: usize,

    /// Order: relevance or date (newest first)
    #[arg(
        long,
        value_name = "BY",
        default_value = "relevance",
        hide_possible_values = true
    )]
    #[arg(help_heading = "How to show")]
    sort: Order,

    /// Folds near-duplicates into one result
    #[arg(long, help_heading = "How to show")]
    group: bool,

    /// Prints one JSON document
    #[arg(long, conflicts_with_all = ["paths", "nul"], help_heading = "How to show")]
    json: bool,

    /// Prints only paths, one a line
    #[arg(long, help_heading = "How to show")]
    paths: bool,

    /// Prints only paths, each ended by NUL, for `xargs -0`
    #[arg(short = '0', long = "null", id = "nul", help_heading = "How to show")]
    nul: bool,

    /// Says where each place comes from, and how long each stage took
    #[arg(long, help_heading = "How to show")]
    explain: bool,

    /// Writes a contact sheet, a page that holds its pictures
    #[arg(long, value_name = "FILE", help_heading = "How to show")]
    html: Option<PathBuf>,

    /// Shows where the words were found: on the sheet, else as PNG files
    ///
    /// The warmer the colour, the more the word's cross-attention rested there; what the model does not
    /// see of a picture is dark. DIR is `why` when it is not given.
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "why", help_heading = "How to show")]
    why: Option<PathBuf>,

    /// Opens the best result
    #[arg(long, help_heading = "How to show")]
    open: bool,

    /// Small pictures in the terminal: auto (where it can draw), always (as blocks at least), never
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true
    )]
    #[arg(help_heading = "How to show", hide_short_help = true)]
    pub(crate) thumbnails: When,

    /// Colours: auto, always or never
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true
    )]
    #[arg(help_heading = "How to show", hide_short_help = true)]
    color: When,

    /// Prints results and errors only
    #[arg(short, long, help_heading = "How to show")]
    quiet: bool,

    /// Most candidates that are looked at again with the words, best first; 0 for none
    ///
    /// The probability of the others comes from the embeddings alone, where the model was calibrated for it. Behind
    /// the first five, what could not become a match by that calibration is passed over, unless --all or --min-score
    /// shows it nevertheless.
    #[arg(long, value_name = "K", default_value_t = DEFAULT_RERANK)]
    #[arg(help_heading = "How fast, and with what")]
    rerank: usize,

    /// Megabytes on disk for what the model makes of candidates, so that the next search need not read them; 0 for
    /// none
    ///
    /// In ~/.cache/bridgetower (or $BT_CACHE); what was of use the longest ago goes first, and all of it can be
    /// deleted at any time. 75 kB a picture with mini, 3 MB with base. A match probability can differ in its third
    /// digit from one that was made without it.
    #[arg(long, env = "BT_CACHE_SIZE", value_name = "MB", default_value_t = 1000)]
    #[arg(help_heading = "How fast, and with what", hide_short_help = true)]
    cache_size: u64,

    /// Compares every vector, even where the graph would be faster
    #[arg(long, help_heading = "How fast, and with what")]
    exact: bool,

    /// Most pictures that are compared with words one by one
    ///
    /// Only for models without ITC heads, which know no faster way.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_LOOK_AT)]
    #[arg(help_heading = "How fast, and with what", hide_short_help = true)]
    look_at: usize,

    /// Folder of the index
    #[arg(
        long,
        value_name = "DIR",
        env = "BT_INDEX",
        default_value = "./index-data"
    )]
    #[arg(help_heading = "How fast, and with what", hide_env_values = true)]
    index: PathBuf,

    /// Where the index's model is, if not where it was; refused unless it is the same
    #[arg(long, help_heading = "How fast, and with what", hide_short_help = true)]
    model: Option<String>,

    /// Where the model runs: auto, cpu, cuda or metal (cuda:1 is the second)
    #[arg(long, env = "BT_DEVICE", default_value = "auto")]
    #[arg(help_heading = "How fast, and with what", hide_env_values = true)]
    device: String,

    /// With which numbers: auto, f32, bf16 or int8
    ///
    /// `f32` is exact, the others are faster and lose a little; `auto` takes the fastest that keeps the
    /// results. int8 is for the processor alone.
    #[arg(long, env = "BT_PRECISION", default_value_t = Precision::Auto)]
    #[arg(
        help_heading = "How fast, and with what",
        hide_env_values = true,
        hide_short_help = true
    )]
    precision: Precision,

    /// How much of a picture is read to score it: exact or fast
    ///
    /// `fast` reads the third of a picture that the words look at most, in about half of the time; scores move a
    /// little.
    #[arg(long, env = "BT_RERANK_SPEED", value_name = "SPEED", default_value_t = RerankSpeed::Exact)]
    #[arg(
        help_heading = "How fast, and with what",
        hide_env_values = true,
        hide_short_help = true
    )]
    rerank_speed: RerankSpeed,

    /// Threads [default: all cores]
    #[arg(long, value_name = "N", value_parser = bt_cli::at_least_one)]
    #[arg(help_heading = "How fast, and with what", hide_short_help = true)]
    threads: Option<usize>,
}

const EPILOGUE: &str = "\
Examples:
  bt-search \"a cat on a couch\"
      the pictures of ./index-data that show it (made by `bt-index samples`)
  bt-search \"a castle\" --not \"snow\" --in samples/night --html castles.html --why
      a contact sheet of castles at night, with where the castle was found
  bt-search --image samples/food/IMG_0010.jpg \"on a blue plate\" -0 | xargs -0 ls -l
      something like a picture, with something else about it; paths for another program

Exit codes:
  0 found   1 nothing here shows that   2 error

Every flag that takes a value may also stand in a settings file (BT_SETTINGS, else
~/.config/bridgetower/settings.toml); `BT_INDEX`, `BT_DEVICE`, `BT_PRECISION`, `BT_RERANK_SPEED` and `BT_CACHE_SIZE`
in the environment win over the file, flags over both.";

/// Order of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Order {
    /// Best first.
    Relevance,
    /// Newest first.
    Date,
}

/// What to do next about an error of the libraries.
pub(crate) fn hint_of(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(error) = error.downcast_ref::<Error>() {
        return error.hint();
    }
    if let Some(error) = error.downcast_ref::<bt_store::Error>() {
        return error.hint();
    }
    error.downcast_ref::<bt_model::Error>()?.hint()
}

/// Does what the command line says.
pub(crate) fn run(cli: &Cli) -> Result<Exit> {
    match cli.color {
        When::Auto => {}
        When::Always => anstream::ColorChoice::Always.write_global(),
        When::Never => anstream::ColorChoice::Never.write_global(),
    }
    let mut query = cli.query()?;
    if query.words().is_none() && cli.image.is_none() && cli.similar_to.is_none() {
        return Err(match query.negatives().next() {
            Some(_) => Error::OnlyNegative.into(),
            None => Error::EmptyQuery.into(),
        });
    }
    if let Some(threads) = cli.threads {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global()
            .context("cannot limit the threads")?;
    }
    let header = Reader::header(&cli.index)?;
    let progress = Bar::default();
    // Loading the model takes longest; the index and the query picture are read meanwhile.
    let (models, reader) = std::thread::scope(|scope| {
        let models = scope.spawn(|| cli.models(&header, &progress));
        let reader = cli.read(&mut query);
        let models = models
            .join()
            .unwrap_or_else(|_| Err(anyhow::anyhow!("loading the model failed unexpectedly")));
        anyhow::Ok((models?, reader?))
    })?;
    let answer = search(&query, &reader, &models, &mut |step| {
        // A bar that is gone at once only flickers.
        if step.total > 50 {
            let bar = progress.shown(cli.quiet);
            bar.total(step.total as u64);
            bar.done(step.done as u64);
        }
    });
    progress.finish();
    cli.show(&query, &answer?, &models)
}

impl Cli {
    /// The query, but for its picture.
    fn query(&self) -> Result<Query> {
        let text = self.text.join(" ");
        Ok(Query {
            text: Some(text).filter(|text| !text.trim().is_empty()),
            picture: None,
            not: self.not.clone(),
            filter: self.filter()?,
            n: self.n,
            offset: self.offset,
            rerank: self.rerank,
            exact: self.exact,
            min_score: match &self.min_score {
                None => None,
                Some(text) => Some(parse::probability("--min-score", text)?),
            },
            all: self.all,
            group: self.group,
            sort: match self.sort {
                Order::Relevance => Sort::Relevance,
                Order::Date => Sort::Date,
            },
            look_at: self.look_at,
        })
    }

    fn filter(&self) -> Result<Filter> {
        let mut all = Vec::new();
        let any = |filters: Vec<Filter>| (!filters.is_empty()).then_some(Filter::Any(filters));
        let folders = self.folders.iter().map(|folder| {
            let resolved = bt_store::resolved(folder)
                .with_context(|| format!("`--in {}` is no folder", show::path(folder)))?;
            Ok(Filter::InFolder(resolved))
        });
        all.extend(any(folders.collect::<Result<_>>()?));
        if let Some(text) = &self.after {
            all.push(Filter::TakenFrom(parse::period("--after", text)?.from));
        }
        if let Some(text) = &self.before {
            all.push(Filter::TakenBefore(parse::period("--before", text)?.from));
        }
        all.extend(self.camera.clone().map(Filter::Camera));
        let types = self.types.iter().map(|text| parse::format("--type", text));
        all.extend(any(types.collect::<Result<_, _>>()?));
        if let Some(text) = &self.larger_than {
            all.push(parse::larger_than("--larger-than", text)?);
        }
        if let Some(text) = &self.near {
            all.push(parse::near("--near", text)?);
        }
        Ok(Filter::All(all))
    }

    /// The models that the index names.
    fn models(&self, header: &Header, progress: &Bar) -> Result<Models> {
        let exec = Exec::parse(&self.device)?
            .with_precision(self.precision)?
            .with_rerank_speed(self.rerank_speed);
        // A query by a picture alone is not reranked.
        let reranks = self.rerank > 0 && !(self.text.is_empty() && self.not.is_empty());
        let spec = self.model.as_deref();
        let models = Models::load(header, spec, reranks, &exec, &mut |event| match event {
            bt_model::Event::Download { file, done, total } => {
                let of = bt_cli::text::bytes_of(done, total);
                let bar = progress.shown(self.quiet);
                bar.note(&format!("downloading {file}: {of}"));
            }
            event => {
                if let Some(line) = event.line() {
                    self.say(&line);
                }
            }
        });
        if let Some(bar) = progress.0.get() {
            bar.note("");
        }
        Ok(models?.keeping(self.cache_size.saturating_mul(1_000_000)))
    }

    /// Opens the index, and the query's picture.
    fn read(&self, query: &mut Query) -> Result<Reader> {
        let reader = Reader::open(&self.index)?;
        if let Some(path) = &self.image {
            let picture = open_query_picture(path)?;
            query.picture = Some(Example::Given(Given(Arc::new(picture.rgb))));
        }
        if let Some(name) = &self.similar_to {
            query.picture = Some(Example::Indexed(indexed(name, &reader)?));
        }
        Ok(reader)
    }

    /// Prints and writes what was asked for.
    fn show(&self, query: &Query, answer: &Answer, models: &dyn Scorer) -> Result<Exit> {
        let form = match (self.json, self.paths, self.nul) {
            (true, ..) => Form::Json,
            (false, _, true) => Form::Paths { nul: true },
            (false, true, false) => Form::Paths { nul: false },
            (false, false, false) => Form::Text,
        };
        show::results(form, query, answer, self.explain, self.thumbnails)?;
        if !self.quiet {
            show::notes(answer, self.explain);
        }
        if let Some(file) = &self.html {
            show::sheet(
                file,
                query,
                answer,
                self.why.is_some().then_some(models),
                self.explain,
            )?;
            self.say(&format!("wrote {}", show::path(file)));
        } else if let Some(folder) = &self.why {
            let written = show::why(folder, query, answer, models)?;
            self.say(&format!(
                "wrote {written} pictures into {}",
                show::path(folder)
            ));
        }
        if let (true, Some(best)) = (
            self.open,
            answer.results.first().and_then(|best| best.path()),
        ) {
            open::that_detached(best)
                .with_context(|| format!("cannot open `{}`", show::path(best)))?;
        }
        if answer.results.is_empty() {
            if !self.quiet {
                show::nothing(query, answer);
            }
            return Ok(Exit::NothingFound);
        }
        Ok(Exit::Found)
    }

    fn say(&self, line: &str) {
        if !self.quiet {
            anstream::eprintln!("{line}");
        }
    }
}

/// A progress bar that is there only when there is something to wait for.
#[derive(Default)]
struct Bar(OnceLock<Progress>);

impl Bar {
    fn shown(&self, quiet: bool) -> &Progress {
        self.0.get_or_init(|| Progress::new("pictures", quiet))
    }

    fn finish(&self) {
        if let Some(bar) = self.0.get() {
            bar.finish();
        }
    }
}

/// A picture of the index by its id, the start of its id, or the path of a file with its bytes.
fn indexed(name: &str, reader: &Reader) -> Result<ContentHash> {
    let digits = name.trim().to_ascii_lowercase();
    let is_id =
        (4..=64).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id && !Path::new(name).exists() {
        return match reader.with_id_prefix(&digits, 2)?.as_slice() {
            [] => Err(Error::NoSuchPicture(digits).into()),
            [only] => Ok(*only),
            _ => Err(Error::AmbiguousId(digits).into()),
        };
    }
    let bytes = fs_err::read(name).map_err(|cause| {
        hinted(
            format!("`{name}` is no picture of the index: {cause}"),
            "--similar-to takes an id of a picture (four digits of it or more), or its path",
        )
    })?;
    let id = ContentHash::of(&bytes);
    match reader.fetch(&[id])?.first() {
        Some(Some(_)) => Ok(id),
        _ => Err(hinted(
            format!("`{name}` is not in the index"),
            format!("`--image {name}` searches with any picture"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
