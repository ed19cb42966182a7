//! The command line of `bt-index`, and what it prints: results on standard output, all else on standard
//! error.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use bt_cli::{Exit, Progress, hinted, text};
use bt_index::{Event, FileError, IndexJob, ModelOptions, Outcome, Report, Resources, WalkOptions};
use bt_model::{Fit, Precision};
use bt_picture::Limits;
use bt_store::{Collection, Facts, Finding, Reader, Writer, bytes_below};
use clap::Parser;
use serde::Serialize;

/// So many failures are printed; `--json` has them all.
const MOST_LISTED: usize = 20;

/// Makes folders of pictures searchable by meaning
///
/// Walks the folders, recognises pictures by their content, embeds what is new, and keeps it in an index
/// folder that `bt-search` reads. Run it again at any time: pictures that are unchanged, moved or copied
/// are not embedded again. It may be stopped or killed at any moment: what was committed is kept (a
/// commit is made five times a second), and the next run goes on from there.
///
/// Captions are read from the pictures themselves (EXIF, XMP, IPTC) and from files beside them:
/// photo.txt, photo.jpg.txt, photo.json, photo.jpg.json.
#[derive(Debug, Parser)]
#[command(name = "bt-index", version, max_term_width = 100)]
#[command(after_help = "`--help` says more, with examples.")]
#[command(after_long_help = EPILOGUE)]
pub(crate) struct Cli {
    /// Folders of pictures, or single files
    #[arg(value_name = "PATH", required_unless_present_any = ["status", "verify", "compact"])]
    paths: Vec<PathBuf>,

    /// Leaves out what a pattern matches; may be given again
    ///
    /// Patterns are like those of .gitignore: `*.gif`, `thumbnails/`, `/2019/raw`. (.gitignore files
    /// themselves have no say.)
    #[arg(long, value_name = "GLOB", help_heading = "Which files")]
    exclude: Vec<String>,

    /// Follows symbolic links
    ///
    /// Links that lead nowhere, or back to where they are, are reported and left out.
    #[arg(long, help_heading = "Which files")]
    follow: bool,

    /// Visits hidden files and folders, too
    #[arg(long, help_heading = "Which files")]
    hidden: bool,

    /// Passes over pictures with more pixels than this
    ///
    /// Protects against files that are small on disk and huge when decoded.
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_pixels)]
    #[arg(help_heading = "Which files", hide_short_help = true)]
    max_pixels: u64,

    /// Drops recorded files below PATH that are gone
    ///
    /// Without it they are counted, and stay. A PATH that is missing is an error and drops nothing; below
    /// a PATH that is an empty folder (a disk that is not mounted?) nothing is dropped either.
    #[arg(long, help_heading = "What to do")]
    prune: bool,

    /// Goes on after the run: indexes what comes, changes and moves, drops what goes
    #[arg(long, conflicts_with = "dry_run", help_heading = "What to do")]
    watch: bool,

    /// Says what would be done, and changes nothing
    #[arg(long, help_heading = "What to do")]
    dry_run: bool,

    /// Folder of the index; made when it is not there
    #[arg(
        long,
        value_name = "DIR",
        env = "BT_INDEX",
        default_value = "./index-data"
    )]
    #[arg(help_heading = "The index", hide_env_values = true)]
    index: PathBuf,

    /// Says what the index holds
    #[arg(long, help_heading = "The index", conflicts_with_all = ["paths", "verify", "compact"])]
    status: bool,

    /// Checks every checksum, and that what is derived equals what is true
    ///
    /// Nothing is mended, but its lock is taken. Exit code 2 when something is damaged; each damaged part is named.
    #[arg(long, help_heading = "The index", conflicts_with_all = ["paths", "compact"])]
    verify: bool,

    /// Rewrites the index without what is superseded, and builds what is derived anew
    #[arg(long, help_heading = "The index", conflicts_with = "paths")]
    compact: bool,

    /// Model that embeds: a name, a Hub id or a folder [default: the index's model, else `mini`]
    ///
    /// An index belongs to one model; another one needs another index folder. `bt-model info MODEL` tells
    /// about a model.
    #[arg(
        long,
        env = "BT_MODEL",
        help_heading = "The model",
        hide_env_values = true
    )]
    model: Option<String>,

    /// How pictures become squares: reference, patch or squeeze [default: reference]
    ///
    /// `reference`: as transformers does it, with black frames; `patch`: without frames; `squeeze`: the
    /// whole picture, squeezed. Fixed when the index is made.
    #[arg(long, help_heading = "The model", hide_short_help = true)]
    fit: Option<Fit>,

    /// Another model that reranks; fixed when the index is made
    ///
    /// For models without the heads that embedding needs: embed with one, rerank with the other.
    #[arg(
        long,
        value_name = "MODEL",
        help_heading = "The model",
        hide_short_help = true
    )]
    rerank_model: Option<String>,

    /// Where the model runs: auto, cpu, cuda[:N] or metal[:N]
    ///
    /// `auto` is what GPUs this program can use, else the processor. Where there are several, `auto` and
    /// `cuda` let all of them share the work; `cuda:0,cuda:2` lets those two.
    #[arg(long, env = "BT_DEVICE", default_value = "auto")]
    #[arg(help_heading = "The model", hide_env_values = true)]
    device: String,

    /// With which numbers: auto, f32, bf16 or int8
    ///
    /// `f32` is exact, the others are faster and lose a little; `auto` takes the fastest that keeps the
    /// results. int8 is for the processor alone.
    #[arg(long, env = "BT_PRECISION", default_value_t = Precision::Auto)]
    #[arg(
        help_heading = "The model",
        hide_env_values = true,
        hide_short_help = true
    )]
    precision: Precision,

    /// Pictures that the model embeds at once [default: 16; on a GPU 128]
    #[arg(long, value_name = "N")]
    #[arg(value_parser = bt_cli::at_least_one, help_heading = "The model", hide_short_help = true)]
    batch_size: Option<usize>,

    /// Threads that read and decode [default: all cores]
    #[arg(long, value_name = "N", value_parser = bt_cli::at_least_one)]
    #[arg(help_heading = "The model", hide_short_help = true)]
    threads: Option<usize>,

    /// Prints one JSON document; with `--watch`, one line for each pass
    #[arg(long, help_heading = "Output")]
    json: bool,

    /// Prints errors only, files that failed among them
    #[arg(long, short, help_heading = "Output")]
    quiet: bool,
}

const EPILOGUE: &str = "\
Examples:
  bt-index samples
      indexes the album that comes with the program, into ./index-data
  bt-index ~/Pictures /media/nas/photos --exclude '*.gif' --prune
      brings an index up to date with two folders, GIFs left out, and forgets what is gone
  bt-index ~/Pictures --index ~/.photo-index --watch --quiet
      indexes, then keeps the index true until it is stopped

Exit codes:
  0 done   1 no pictures at all   2 error   3 done, but some files failed   130 stopped by Ctrl-C
  (0 where it watches: being stopped is how that ends)

Every flag that takes a value may also stand in a settings file (BT_SETTINGS, else
~/.config/bridgetower/settings.toml); `BT_INDEX`, `BT_MODEL`, `BT_DEVICE` and `BT_PRECISION` in the environment win
over the file, flags over both.";

/// What to do next about an error of the libraries.
pub(crate) fn hint_of(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(error) = error.downcast_ref::<bt_index::Error>() {
        return error.hint();
    }
    if let Some(error) = error.downcast_ref::<bt_store::Error>() {
        return error.hint();
    }
    error.downcast_ref::<bt_model::Error>()?.hint()
}

/// Does what the command line says.
pub(crate) fn run(cli: &Cli) -> Result<Exit> {
    if cli.status {
        status(cli)
    } else if cli.verify {
        verify(cli)
    } else if cli.compact {
        compact(cli)
    } else {
        index(cli)
    }
}

impl Cli {
    fn job(&self) -> IndexJob {
        let resources = Resources::default();
        IndexJob {
            roots: self.paths.clone(),
            index: self.index.clone(),
            walk: WalkOptions {
                exclude: self.exclude.clone(),
                follow: self.follow,
                hidden: self.hidden,
            },
            model: ModelOptions {
                spec: self.model.clone(),
                fit: self.fit,
                rerank: self.rerank_model.clone(),
                device: self.device.clone(),
                precision: self.precision,
            },
            resources: Resources {
                threads: self.threads.unwrap_or(resources.threads),
                batch_size: self.batch_size,
                limits: Limits {
                    max_pixels: self.max_pixels,
                    ..resources.limits
                },
            },
            prune: self.prune,
        }
    }
}

/// What a run says while it goes on.
struct Narrator<'a> {
    cli: &'a Cli,
    progress: Progress,
    ended: u64,
    failed: u64,
    passes: u64,
    /// The first line that could not be printed.
    broken: Option<anyhow::Error>,
}

impl Narrator<'_> {
    fn hear(&mut self, event: &Event<'_>) {
        match event {
            Event::File {
                outcome,
                found,
                walked,
                ..
            } => {
                self.ended += 1;
                self.failed += u64::from(matches!(outcome, Outcome::Failed(_)));
                self.progress.done(self.ended);
                if *walked {
                    self.progress.total(*found);
                }
                if self.failed > 0 {
                    self.progress
                        .note(&format!("{} failed", text::count(self.failed)));
                }
            }
            Event::Publishing(stage) => self.progress.note(&format!(
                "building {}: {} of {}",
                stage.stage,
                text::count(stage.done),
                text::count(stage.total)
            )),
            Event::Model(bt_model::Event::Download { file, done, total }) => {
                let of = text::bytes_of(*done, *total);
                self.progress.note(&format!("downloading {file}: {of}"));
            }
            Event::Model(event) if !self.cli.quiet => {
                if let Some(line) = event.line() {
                    self.progress.line(&line);
                }
            }
            Event::Store(warning) if !self.cli.quiet => {
                self.progress.line(&format!("warning: {warning}"));
            }
            Event::Settled(report) => {
                if let Err(error) = self.settled(report) {
                    self.broken.get_or_insert(error);
                }
            }
            _ => {}
        }
    }

    /// A pass of `--watch` is over.
    fn settled(&mut self, report: &Report) -> Result<()> {
        self.passes += 1;
        (self.ended, self.failed) = (0, 0);
        self.progress.note("");
        if self.cli.json {
            return print_json(report, false);
        }
        if self.cli.quiet {
            list("failed", &report.failed);
            return Ok(());
        }
        list_troubles(report);
        let mut out = io::stdout().lock();
        if self.passes == 1 {
            write_summary(&mut out, self.cli, report)?;
            writeln!(out, "Watching; Ctrl-C stops.")?;
        } else {
            writeln!(out, "{}", one_line(report))?;
        }
        out.flush()?;
        Ok(())
    }
}

fn index(cli: &Cli) -> Result<Exit> {
    let stop = bt_cli::stop_on_ctrl_c();
    let progress = Progress::new("files", cli.quiet);
    let mut narrator = Narrator {
        cli,
        progress,
        ended: 0,
        failed: 0,
        passes: 0,
        broken: None,
    };
    let result = carry_out(cli, stop, &mut |event| narrator.hear(&event));
    narrator.progress.finish();
    let report = result?;
    if let Some(error) = narrator.broken {
        return Err(error);
    }
    if cli.watch {
        // Being stopped is how watching ends.
        return Ok(Exit::Done);
    }
    if cli.json {
        print_json(
            &Document {
                dry_run: cli.dry_run,
                index: &cli.index,
                report: &report,
            },
            true,
        )?;
    } else if cli.quiet {
        list("failed", &report.failed);
    } else {
        list_troubles(&report);
        write_summary(&mut io::stdout().lock(), cli, &report)?;
    }
    Ok(exit_of(&report))
}

fn carry_out(
    cli: &Cli,
    stop: &AtomicBool,
    on: &mut dyn FnMut(Event<'_>),
) -> bt_index::Result<Report> {
    let job = cli.job();
    if cli.dry_run {
        job.forecast(stop, on)
    } else if cli.watch {
        job.watch(stop, on)
    } else {
        job.run(stop, on)
    }
}

fn exit_of(report: &Report) -> Exit {
    if report.interrupted {
        Exit::Interrupted
    } else if !report.failed.is_empty() {
        Exit::SomeFilesFailed
    } else if report.pictures_seen() == 0 && report.pruned == 0 {
        Exit::NothingFound
    } else {
        Exit::Done
    }
}

/// The document of `--json`.
#[derive(Serialize)]
struct Document<'a> {
    dry_run: bool,
    index: &'a Path,
    #[serde(flatten)]
    report: &'a Report,
}

fn print_json(value: &impl Serialize, pretty: bool) -> Result<()> {
    let mut out = io::stdout().lock();
    if pretty {
        serde_json::to_writer_pretty(&mut out, value)?;
    } else {
        serde_json::to_writer(&mut out, value)?;
    }
    writeln!(out)?;
    out.flush()?;
    Ok(())
}

/// Failures and warnings, on standard error.
fn list_troubles(report: &Report) {
    list("failed", &report.failed);
    list("damaged, indexed as far as it decodes", &report.damaged);
    list("warning", &report.warnings);
}

fn list(what: &str, files: &[FileError]) {
    for file in files.iter().take(MOST_LISTED) {
        eprintln!("{what}: {}: {}", text::path(&file.path), file.reason);
    }
    if files.len() > MOST_LISTED {
        let rest = text::count((files.len() - MOST_LISTED) as u64);
        eprintln!("{what}: {rest} more; `--json` lists all");
    }
}

/// `3 new, 2 moved, 1 failed`; `nothing new` when nothing happened.
fn one_line(report: &Report) -> String {
    let counts = [
        (report.indexed, "new"),
        (report.moved, "moved"),
        (report.duplicates, "copies of known ones"),
        (report.redescribed, "with new captions"),
        (report.pruned, "dropped"),
        (report.unchanged, "unchanged"),
        (report.failed.len() as u64, "failed"),
    ];
    let parts: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{} {what}", text::count(*count)))
        .collect();
    if parts.is_empty() {
        "nothing new".into()
    } else {
        parts.join(", ")
    }
}

fn write_summary(out: &mut impl Write, cli: &Cli, report: &Report) -> io::Result<()> {
    let seconds = report.elapsed.as_secs_f64().max(1e-3);
    let took = text::duration(report.elapsed);
    if report.found == 0 && !report.interrupted {
        writeln!(out, "No files here.")?;
    } else if report.pictures_seen() == 0 && report.failed.is_empty() && !report.interrupted {
        writeln!(
            out,
            "No pictures among {} files.",
            text::count(report.found)
        )?;
    } else {
        let verb = if cli.dry_run { "Would be" } else { "Pictures" };
        let rate = if report.indexed > 0 && !cli.dry_run {
            format!(", {:.1} new pictures/s", report.indexed as f64 / seconds)
        } else {
            String::new()
        };
        writeln!(out, "{verb}: {} ({took}{rate})", one_line(report))?;
    }
    let formats: Vec<String> = report
        .unsupported_by_format()
        .iter()
        .map(|(format, count)| format!("{count} {format}"))
        .collect();
    if !formats.is_empty() {
        writeln!(out, "Not supported: {}", formats.join(", "))?;
    }
    if report.not_pictures > 0 && report.pictures_seen() > 0 {
        writeln!(
            out,
            "Other files passed over: {}",
            text::count(report.not_pictures)
        )?;
    }
    if report.vanished > report.pruned {
        let gone = text::count(report.vanished - report.pruned);
        writeln!(
            out,
            "Recorded files that are gone: {gone}; `--prune` drops them"
        )?;
    }
    if report.interrupted {
        writeln!(
            out,
            "Stopped: what is done is kept; run the same command again to go on"
        )?;
    }
    if cli.dry_run {
        return writeln!(out, "Nothing was changed.");
    }
    let index = text::path(&cli.index);
    writeln!(
        out,
        "The index in `{index}` holds {} pictures.",
        text::count(report.pictures)
    )?;
    if report.pictures > 0 && !report.interrupted && !cli.watch {
        let default = cli.index == Path::new("./index-data");
        let option = if default {
            String::new()
        } else {
            format!(" --index {index}")
        };
        writeln!(out, "Next: bt-search \"a cat on a couch\"{option}")?;
    }
    Ok(())
}

/// The document of `--status --json`.
#[derive(Serialize)]
struct Status<'a> {
    index: &'a Path,
    bytes: u64,
    #[serde(flatten)]
    facts: &'a Facts,
}

fn status(cli: &Cli) -> Result<Exit> {
    let reader = Reader::open(&cli.index)?;
    let facts = reader.facts();
    let bytes = bytes_below(&cli.index);
    if cli.json {
        print_json(
            &Status {
                index: &cli.index,
                bytes,
                facts,
            },
            true,
        )?;
        return Ok(Exit::Done);
    }
    let mut out = io::stdout().lock();
    let header = &facts.header;
    let or_none = |rows: u64, none: &str| match rows {
        0 => none.to_owned(),
        rows => format!("{} rows", text::count(rows)),
    };
    writeln!(out, "index       {}", text::path(&cli.index))?;
    writeln!(out, "pictures    {}", text::count(facts.pictures))?;
    writeln!(
        out,
        "model       {} (fit {})",
        header.model.spec, header.model.fit
    )?;
    if let Some(rerank) = &header.rerank {
        writeln!(out, "reranks     {} (fit {})", rerank.spec, rerank.fit)?;
    }
    let aligned = if header.aligned_with_text {
        "texts and pictures"
    } else {
        "pictures only"
    };
    writeln!(
        out,
        "vectors     {} numbers each, comparable with {aligned}",
        header.dim
    )?;
    match facts.generation {
        Some(generation) => writeln!(out, "generation  {}", generation.0)?,
        None => writeln!(out, "generation  none yet")?,
    }
    writeln!(
        out,
        "graph       {}",
        or_none(facts.graph_rows, "none: every search is exact")
    )?;
    writeln!(out, "newer       {}", or_none(facts.tail_rows, "nothing"))?;
    writeln!(out, "on disk     {}", text::bytes(bytes))?;
    out.flush()?;
    for warning in &facts.warnings {
        eprintln!("warning: {warning}");
    }
    Ok(if facts.pictures == 0 {
        Exit::NothingFound
    } else {
        Exit::Done
    })
}

fn verify(cli: &Cli) -> Result<Exit> {
    let findings = bt_store::verify(&cli.index)?;
    if cli.json {
        print_json(&findings, true)?;
    } else if !cli.quiet {
        list_findings(&findings)?;
    }
    if findings.is_empty() {
        return Ok(Exit::Done);
    }
    let hint = if findings.iter().all(|finding| finding.derived) {
        "nothing is lost: `bt-index --compact` builds the damaged parts anew"
    } else {
        "index the same folders again: damaged pictures are embedded anew; then `bt-index --compact`"
    };
    let message = format!(
        "{} parts of the index are damaged",
        text::count(findings.len() as u64)
    );
    Err(hinted(message, hint))
}

fn list_findings(findings: &[Finding]) -> Result<()> {
    let mut out = io::stdout().lock();
    for finding in findings {
        let weight = if finding.derived { "derived" } else { "lost" };
        writeln!(
            out,
            "{weight}: {}: {}",
            text::path(&finding.path),
            finding.what
        )?;
    }
    if findings.is_empty() {
        writeln!(
            out,
            "Every checksum is right, and what is derived equals what is true."
        )?;
    }
    Ok(())
}

fn compact(cli: &Cli) -> Result<Exit> {
    let mut writer = Writer::open(&cli.index)?;
    let before = bytes_below(&cli.index);
    let progress = Progress::new("rows", cli.quiet);
    writer.compact(&mut |stage| {
        progress.total(stage.total);
        progress.done(stage.done);
        progress.note(stage.stage);
    })?;
    progress.finish();
    let stats = writer.stats()?;
    if cli.json {
        print_json(&stats, true)?;
    } else if !cli.quiet {
        let after = bytes_below(&cli.index);
        let mut out = io::stdout().lock();
        writeln!(
            out,
            "{} pictures, {} before, {} now",
            text::count(stats.pictures),
            text::bytes(before),
            text::bytes(after)
        )?;
    }
    Ok(Exit::Done)
}
