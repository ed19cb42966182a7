//! `bt-eval`: how well a model finds pictures for captions, and what its scores are worth. The measuring is
//! in `bt_query::eval`; how it is asked and what it prints is here.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use bt_cli::{Exit, Progress, text};
use bt_model::{Encoder, Exec, Fit, ModelChoice, Precision, RankBy, RerankSpeed};
use bt_query::DEFAULT_RERANK;
use bt_query::eval::{
    self, Calibrated, Direction, Measured, Pairs, PaperDirection, Recall, Selection, Step,
};
use clap::{Parser, ValueEnum};
use serde::Serialize;

/// Inference takes and frees large blocks all the time; see bt-index.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures how well a model finds pictures for captions, and captions for pictures
///
/// PAIRS is a samples.json ({"picture.jpg": {"captions": [..]}}), a list ([{"image": "picture.jpg",
/// "caption": ".."}]) or a Karpathy split (dataset_flickr30k.json, dataset_coco.json). Prints R@1, R@5, R@10
/// and nDCG@10: by embeddings, with the first K reranked by ITM, and with the first K reranked by ITM and
/// embeddings together.
#[derive(Debug, Parser)]
#[command(name = "bt-eval", version, max_term_width = 100, after_long_help = EPILOGUE)]
struct Cli {
    /// Captions of pictures
    pairs: PathBuf,

    /// Folder that the names of the pictures start from [default: the folder of PAIRS]
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,

    /// Split of a Karpathy file
    #[arg(long, default_value = "test")]
    split: String,

    /// Captions of a picture, at most
    #[arg(long, value_name = "N", default_value_t = usize::MAX, hide_default_value = true)]
    captions: usize,

    /// Pictures, at most
    #[arg(long, value_name = "N", default_value_t = usize::MAX, hide_default_value = true)]
    pictures: usize,

    /// Model: a name, a Hub id or a folder
    #[arg(long, env = "BT_MODEL", default_value = "mini", hide_env_values = true)]
    model: String,

    /// How pictures become squares: reference, patch or squeeze [default: reference; squeeze for the
    /// paper's protocol]
    #[arg(long)]
    fit: Option<Fit>,

    /// auto, cpu, cuda[:N] or metal[:N]
    #[arg(
        long,
        env = "BT_DEVICE",
        default_value = "auto",
        hide_env_values = true
    )]
    device: String,

    /// auto, f32, bf16 or int8
    #[arg(
        long,
        env = "BT_PRECISION",
        default_value_t = Precision::Auto,
        hide_env_values = true
    )]
    precision: Precision,

    /// How much of a picture is read to score it: exact or fast
    #[arg(
        long,
        env = "BT_RERANK_SPEED",
        value_name = "SPEED",
        default_value_t = RerankSpeed::Exact,
        hide_env_values = true
    )]
    rerank_speed: RerankSpeed,

    /// Candidates that ITM looks at; 0 is off [default: 20; for the paper's protocol 128, and 256 for
    /// more than 1,000 pictures]
    #[arg(long, value_name = "K")]
    rerank: Option<usize>,

    /// What is measured
    #[arg(long, value_enum, default_value_t = Protocol::Plain)]
    protocol: Protocol,

    /// Fits probabilities to the scores and writes a calibration.json
    ///
    /// Chooses by R@1 what reranking sorts by, fits the probabilities, and the threshold under which nothing
    /// is found. Queries with an answer are the captions and the things that PAIRS lists (`objects`);
    /// queries without one are captions, asked without the pictures that show something of what they say.
    #[arg(long, value_name = "OUT", conflicts_with = "protocol")]
    calibrate: Option<PathBuf>,

    /// Names of things that none of the pictures shows, one a line: more queries without an answer
    #[arg(long, value_name = "FILE", requires = "calibrate")]
    absent: Option<PathBuf>,

    /// Prints one JSON document
    #[arg(long)]
    json: bool,

    /// No progress, no warnings
    #[arg(short, long)]
    quiet: bool,
}

const EPILOGUE: &str = "\
Examples:
  bt-eval samples/samples.json
  bt-eval samples/samples.json --captions 1 --json
  bt-eval dataset_flickr30k.json --images flickr30k-images --model large-itm-mlm-itc --rerank 50
  bt-eval dataset_flickr30k.json --images flickr30k-images --model ./base-f30k --protocol paper
  bt-eval captions.json --images photos --model ./learnt --calibrate ./learnt/calibration.json

The paper's protocol squeezes pictures to the square that the model was made for (the authors fine-tune and
test with 384 pixels), scores the first 128 candidates (256 of more than 1,000 pictures) of both directions
with the raw ITM logit, gives all else -100, and lets a candidate of one direction count in both.

Settings: flags, then BT_MODEL, BT_DEVICE, BT_PRECISION and BT_RERANK_SPEED, then the settings file
(BT_SETTINGS, else ~/.config/bridgetower/settings.toml).";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Protocol {
    /// Rerank the first K candidates of each query
    Plain,
    /// As the authors of BridgeTower measure
    Paper,
}

/// The document of `--json`.
#[derive(Serialize)]
struct Report<'a> {
    model: &'a str,
    fit: Fit,
    image_side: usize,
    pairs: String,
    pictures: usize,
    captions: usize,
    protocol: Protocol,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Outcome {
    Plain(Measured),
    Paper {
        rerank: usize,
        text_to_image: PaperDirection,
        image_to_text: PaperDirection,
    },
    Calibrated(Calibrated),
}

fn main() -> ExitCode {
    bt_cli::run(hint_of, || run(&bt_cli::parse()))
}

fn hint_of(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(error) = error.downcast_ref::<bt_query::Error>() {
        return error.hint();
    }
    error.downcast_ref::<bt_model::Error>()?.hint()
}

fn run(cli: &Cli) -> Result<Exit> {
    let beside = cli.pairs.parent().unwrap_or(&cli.pairs);
    let pairs = Pairs::read(
        &cli.pairs,
        &Selection {
            images: cli.images.as_deref().unwrap_or(beside),
            split: &cli.split,
            captions: cli.captions,
            pictures: cli.pictures,
        },
    )?;
    let absent = match &cli.absent {
        None => Vec::new(),
        Some(path) => lines(&fs_err::read_to_string(path)?),
    };
    let encoder = cli.load()?;
    let bar = Bar::new(cli.quiet);
    let outcome = match (&cli.calibrate, cli.protocol) {
        (Some(out), _) => {
            let rerank = cli.rerank.unwrap_or(DEFAULT_RERANK);
            let mut done = eval::calibrate(&encoder, &pairs, &absent, rerank, &mut |step| {
                bar.show(step)
            })?;
            done.calibration.measured_on = cli.measured_on(&pairs, rerank, &done);
            let json = serde_json::to_string_pretty(&done.calibration)?;
            fs_err::write(out, format!("{json}\n"))?;
            Outcome::Calibrated(done)
        }
        (None, Protocol::Plain) => {
            let rerank = cli.rerank.unwrap_or(DEFAULT_RERANK);
            Outcome::Plain(eval::measure(&encoder, &pairs, rerank, &mut |step| {
                bar.show(step)
            })?)
        }
        (None, Protocol::Paper) => {
            let usual = if pairs.pictures.len() > 1000 {
                256
            } else {
                128
            };
            let rerank = cli.rerank.unwrap_or(usual);
            let (text_to_image, image_to_text) =
                eval::measure_as_the_paper(&encoder, &pairs, rerank, &mut |step| bar.show(step))?;
            Outcome::Paper {
                rerank,
                text_to_image,
                image_to_text,
            }
        }
    };
    bar.finish();

    let report = Report {
        model: &cli.model,
        fit: cli.fit(),
        image_side: encoder.image_side(),
        pairs: cli.pairs.display().to_string(),
        pictures: pairs.pictures.len(),
        captions: pairs.captions.len(),
        protocol: cli.protocol,
        outcome,
    };
    let mut out = io::stdout().lock();
    if cli.json {
        serde_json::to_writer_pretty(&mut out, &report).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        report.print(&mut out)?;
    }
    Ok(Exit::Done)
}

impl Cli {
    fn fit(&self) -> Fit {
        self.fit.unwrap_or(match self.protocol {
            Protocol::Plain => Fit::Reference,
            Protocol::Paper => Fit::Squeeze,
        })
    }

    fn load(&self) -> Result<Encoder> {
        let bar = Bar::new(self.quiet);
        let choice = ModelChoice {
            spec: self.model.clone(),
            fit: self.fit(),
        };
        let encoder = Encoder::load(
            &choice,
            &Exec::parse(&self.device)?
                .with_precision(self.precision)?
                .with_rerank_speed(self.rerank_speed),
            &mut |event| match event {
                bt_model::Event::Download { file, done, total } => {
                    let of = text::bytes_of(done, total);
                    bar.0.note(&format!("downloading {file}: {of}"));
                }
                event => {
                    if let Some(line) = event.line().filter(|_| !self.quiet) {
                        bar.0.line(&line);
                    }
                }
            },
        );
        bar.finish();
        encoder.with_context(|| format!("cannot load the model `{}`", self.model))
    }

    fn measured_on(&self, pairs: &Pairs, rerank: usize, done: &Calibrated) -> String {
        let name = self.pairs.file_name().unwrap_or_default().to_string_lossy();
        let rates = &done.rerank;
        let mut text = format!(
            "{name}: {} pictures, {} captions, the first {rerank} reranked. On fifths left out of the fit: \
             of captions {:.0} % answered ({:.0} % with their own picture), of captions of absent pictures \
             {:.0} % answered with nothing",
            pairs.pictures.len(),
            pairs.captions.len(),
            rates.captions_answered,
            rates.captions_answered_right,
            rates.captions_nothing_found,
        );
        if let (Some(answered), Some(nothing)) = (rates.things_answered, rates.things_nothing_found)
        {
            text += &format!(
                "; of names of things {answered:.0} % answered, of those of absent things {nothing:.0} % \
                 answered with nothing"
            );
        }
        text
    }
}

/// Lines that are not empty and not comments.
fn lines(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

struct Bar(Progress);

impl Bar {
    fn new(quiet: bool) -> Self {
        Self(Progress::new("steps", quiet))
    }

    fn show(&self, step: Step) {
        let (what, done, total) = match step {
            Step::Texts(done, total) => ("captions embedded", done, total),
            Step::Pictures(done, total) => ("pictures embedded", done, total),
            Step::Pairs(done, total) => ("pairs matched", done, total),
        };
        self.0.total(total as u64);
        self.0.done(done as u64);
        self.0.note(what);
    }

    fn finish(&self) {
        self.0.finish();
    }
}

impl Report<'_> {
    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "{}: {} pictures, {} captions; model {}, {} px, fit {}",
            self.pairs, self.pictures, self.captions, self.model, self.image_side, self.fit
        )?;
        match &self.outcome {
            Outcome::Plain(measured) => {
                for (title, direction) in [
                    ("text to image", &measured.text_to_image),
                    ("image to text", &measured.image_to_text),
                ] {
                    heading(out, title)?;
                    let Direction {
                        embedding,
                        itm,
                        itm_plus_itc,
                    } = direction;
                    row(out, "embedding", embedding)?;
                    if let Some(recall) = itm {
                        row(out, &format!("ITM, first {}", measured.rerank), recall)?;
                    }
                    if let Some(recall) = itm_plus_itc {
                        row(
                            out,
                            &format!("ITM + {:.1} x cosine", measured.itc_weight),
                            recall,
                        )?;
                    }
                }
                if let Some(auc) = measured.auc {
                    writeln!(
                        out,
                        "\nAUC, true against random pairs: ITM {:.3}, embedding {:.3}",
                        auc.itm, auc.embedding
                    )?;
                }
            }
            Outcome::Paper {
                rerank,
                text_to_image,
                image_to_text,
            } => {
                for (title, direction) in [
                    ("text to image", text_to_image),
                    ("image to text", image_to_text),
                ] {
                    heading(out, title)?;
                    row(out, "embedding", &direction.embedding)?;
                    row(out, &format!("ITM, first {rerank} of both"), &direction.itm)?;
                }
            }
            Outcome::Calibrated(done) => print_calibrated(out, done)?,
        }
        Ok(())
    }
}

fn heading(out: &mut impl Write, title: &str) -> io::Result<()> {
    writeln!(
        out,
        "\n{title:<28} {:>6} {:>6} {:>6} {:>8}",
        "R@1", "R@5", "R@10", "nDCG@10"
    )
}

fn row(out: &mut impl Write, title: &str, recall: &Recall) -> io::Result<()> {
    writeln!(
        out,
        "  {title:<26} {:>6.1} {:>6.1} {:>6.1} {:>8.1}",
        recall.at_1, recall.at_5, recall.at_10, recall.ndcg_at_10
    )
}

fn print_calibrated(out: &mut impl Write, done: &Calibrated) -> io::Result<()> {
    let name = |rank_by: RankBy| match rank_by {
        RankBy::Itm => "ITM".to_owned(),
        RankBy::ItmPlusItc { itc_weight } => format!("ITM + {itc_weight:.1} x cosine"),
    };
    writeln!(
        out,
        "\n{:<28} {:>6} {:>8} {:>14}",
        "reranking sorts by", "R@1", "nDCG@10", "decided right"
    )?;
    for choice in &done.choices {
        let mark = if choice.rank_by == done.calibration.rank_by {
            '*'
        } else {
            ' '
        };
        writeln!(
            out,
            "{mark} {:<26} {:>6.1} {:>8.1} {:>12.1} %",
            name(choice.rank_by),
            choice.recall_at_1,
            choice.ndcg_at_10,
            choice.decided_right
        )?;
    }
    let title = format!("threshold {:.3}", done.calibration.threshold);
    writeln!(
        out,
        "\n{title:<28} {:>9} {:>9} {:>9}",
        "answered", "right", "nothing"
    )?;
    let percent =
        |share: Option<f64>| share.map_or("-".to_owned(), |share| format!("{share:.1} %"));
    for (title, rates) in [("reranked", &done.rerank), ("embedding", &done.embedding)] {
        let captions = (
            "captions",
            Some(rates.captions_answered),
            Some(rates.captions_answered_right),
            Some(rates.captions_nothing_found),
        );
        let things = (
            "things",
            rates.things_answered,
            rates.things_answered_right,
            rates.things_nothing_found,
        );
        for (kind, answered, right, nothing) in [captions, things] {
            let (answered, right, nothing) = (percent(answered), percent(right), percent(nothing));
            let title = format!("{title}, {kind}");
            writeln!(out, "  {title:<26} {answered:>9} {right:>9} {nothing:>9}")?;
        }
    }
    writeln!(
        out,
        "answered, right: queries with an answer that are shown any picture, a right one; nothing: queries\n\
         without an answer that are shown none; each on fifths that were left out of the fit."
    )
}
