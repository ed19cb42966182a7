//! What `bt-model` does and prints: results on standard output, all else on standard error.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use bt_cli::{Exit, Progress, hinted, text};
use bt_model::{
    Checkpoint, ConvertOptions, Encoder, Event, Exec, LearnEvent, LearnOptions, ModelChoice,
    Recall, read_captions,
};
use bt_picture::Limits;
use image::RgbImage;
use serde_json::json;

use crate::cli::{Cli, Command, Convert, Features, Info, LearnHeads, Mask, Model};

/// What to do next about an error of the libraries.
pub(crate) fn hint_of(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    error.downcast_ref::<bt_model::Error>()?.hint()
}

/// Does what the command line says.
pub(crate) fn run(cli: &Cli) -> Result<Exit> {
    match &cli.command {
        Command::Info(command) => info(cli, command),
        Command::Features(command) => features(cli, command),
        Command::Mask(command) => mask(cli, command),
        Command::Convert(command) => convert(cli, command),
        Command::LearnHeads(command) => learn_heads(cli, command),
    }
}

fn print_json(value: &impl serde::Serialize) -> Result<Exit> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value).map_err(io::Error::from)?;
    writeln!(out)?;
    Ok(Exit::Done)
}

/// Shows what finding and loading a model is doing.
struct Finding {
    progress: Progress,
    quiet: bool,
}

impl Finding {
    fn new(cli: &Cli) -> Self {
        Self {
            progress: Progress::new("bytes", cli.quiet),
            quiet: cli.quiet,
        }
    }

    fn see(&mut self, event: Event) {
        if let Some(line) = event.line().filter(|_| !self.quiet) {
            self.progress.line(&line);
        }
        if let Event::Download { file, done, total } = event {
            if let Some(total) = total {
                self.progress.total(total);
            }
            self.progress.done(done);
            self.progress.note(&file);
        }
    }
}

impl Drop for Finding {
    fn drop(&mut self) {
        self.progress.finish();
    }
}

fn find(cli: &Cli, model: &str) -> Result<Checkpoint> {
    let mut finding = Finding::new(cli);
    Ok(Checkpoint::find(model, &mut |event| finding.see(event))?)
}

fn load(cli: &Cli, model: &Model) -> Result<Encoder> {
    let choice = ModelChoice {
        spec: model.model.clone(),
        fit: model.fit,
    };
    let mut finding = Finding::new(cli);
    Ok(Encoder::load(
        &choice,
        &Exec::parse(&cli.device)?.with_precision(cli.precision)?,
        &mut |event| finding.see(event),
    )?)
}

fn read_picture(path: &Path) -> Result<RgbImage> {
    let bytes = fs_err::read(path)?;
    let picture = bt_picture::decode(&bytes, &Limits::default(), None)
        .with_context(|| format!("cannot use the picture `{}`", text::path(path)))?;
    Ok(picture.rgb)
}

fn info(cli: &Cli, command: &Info) -> Result<Exit> {
    let info = find(cli, &command.model)?.info()?;
    if cli.json {
        return print_json(&info);
    }
    let mut out = io::stdout().lock();
    let config = &info.config;
    let (text_tower, vision) = (&config.text, &config.vision);
    writeln!(out, "{}", info.name)?;
    if info.folder.is_dir() && info.folder != Path::new(&info.name) {
        writeln!(out, "  folder       {}", text::path(&info.folder))?;
    }
    let millions = |count: u64| format!("{:.2} M", count as f64 / 1e6);
    let parameters = &info.parameters;
    writeln!(
        out,
        "  parameters   {}: vision {}, text {}, cross-modal {}, heads {}",
        millions(parameters.total),
        millions(parameters.vision),
        millions(parameters.text),
        millions(parameters.cross_modal),
        millions(parameters.heads)
    )?;
    let there = |has: bool| if has { "yes" } else { "no" };
    let itc = info
        .embedding
        .map_or_else(|| "no".to_owned(), |size| format!("yes ({size} values)"));
    writeln!(
        out,
        "  heads        ITC {itc}, ITC of pairs {}, ITM {}, MLM {}",
        there(info.heads.itc_cross),
        there(info.heads.itm),
        there(info.heads.mlm)
    )?;
    writeln!(
        out,
        "  pictures     {0} x {0} pixels, {1} patches of {2}",
        vision.image_size,
        vision.grid() * vision.grid(),
        vision.patch_size
    )?;
    writeln!(
        out,
        "  texts        up to {} tokens, {} words",
        info.max_tokens,
        text::count(text_tower.vocab_size as u64)
    )?;
    writeln!(
        out,
        "  vision tower {} layers, {} wide, {} heads",
        vision.layers,
        vision.hidden_size,
        vision.heads()
    )?;
    writeln!(
        out,
        "  text tower   {} layers, {} wide, {} heads, feed-forward {}",
        text_tower.layers, config.hidden_size, text_tower.heads, text_tower.intermediate_size
    )?;
    let option = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    writeln!(
        out,
        "  cross-modal  {} layers; links {}, {}, ITC picture from the {}",
        config.cross_layers,
        option(serde_json::to_value(config.link)?),
        if config.shared_transforms {
            "one transform"
        } else {
            "a transform for each bridge"
        },
        option(serde_json::to_value(config.itc_image_from)?)
    )?;
    let calibrated = if info.calibrated {
        "measured"
    } else {
        "not measured; the ITM softmax is shown as it is"
    };
    writeln!(out, "  probability  {calibrated}")?;
    let files: Vec<String> = info
        .files
        .iter()
        .map(|file| format!("{} {}", file.name, text::bytes(file.bytes)))
        .collect();
    writeln!(out, "  files        {}", files.join(", "))?;
    writeln!(out, "  fingerprint  {}", info.fingerprint)?;
    for warning in &info.warnings {
        writeln!(out, "  warning      {warning}")?;
    }
    Ok(Exit::Done)
}

fn features(cli: &Cli, command: &Features) -> Result<Exit> {
    let encoder = load(cli, &command.model)?;
    let picture = encoder.prepare(&read_picture(&command.image)?);
    let features = encoder.features(&command.text, &picture)?;
    if features.truncated {
        anstream::eprintln!("warning: the text is longer than the model's limit and was cut");
    }
    if cli.json {
        return print_json(&features);
    }
    let mut out = io::stdout().lock();
    let shape =
        |rows: &[Vec<f32>]| format!("{} x {}", rows.len(), rows.first().map_or(0, Vec::len));
    writeln!(out, "text_features    {}", shape(&features.text_features))?;
    writeln!(out, "image_features   {}", shape(&features.image_features))?;
    writeln!(out, "pooler_output    {}", features.pooler_output.len())?;
    if let (Some(text), Some(image)) = (&features.text_embeds, &features.image_embeds) {
        let cosine: f32 = text.iter().zip(image).map(|(a, b)| a * b).sum();
        writeln!(out, "embeddings       {}, cosine {cosine:.4}", text.len())?;
    } else {
        writeln!(out, "embeddings       none: the model has no ITC heads")?;
    }
    match (&features.itm_logits, features.itm_probability) {
        (Some(logits), Some(probability)) => {
            let logits: Vec<String> = logits.iter().map(|logit| format!("{logit:.4}")).collect();
            writeln!(
                out,
                "ITM logits       no match, match: {}",
                logits.join(", ")
            )?;
            writeln!(out, "match            {:.1} %", 100.0 * probability)?;
        }
        _ => writeln!(out, "match            unknown: the model has no ITM head")?,
    }
    Ok(Exit::Done)
}

fn mask(cli: &Cli, command: &Mask) -> Result<Exit> {
    let encoder = load(cli, &command.model)?;
    let picture = match &command.image {
        Some(path) => Some(encoder.prepare(&read_picture(path)?)),
        None => None,
    };
    let masks = encoder.fill_mask(&command.text, picture.as_ref(), command.count)?;
    if cli.json {
        return print_json(&json!({ "text": command.text, "masks": masks }));
    }
    let mut out = io::stdout().lock();
    for (place, choices) in masks.iter().enumerate() {
        if masks.len() > 1 {
            writeln!(out, "<mask> {}", place + 1)?;
        }
        for choice in choices {
            writeln!(
                out,
                "{:>6.2} %  {}",
                100.0 * choice.probability,
                choice.token.trim().escape_debug()
            )?;
        }
    }
    Ok(Exit::Done)
}

fn convert(cli: &Cli, command: &Convert) -> Result<Exit> {
    let options = ConvertOptions {
        heads: command.heads,
        image_size: command.image_size,
        crop: command.crop,
        tokenizer: command.tokenizer.clone(),
    };
    let converted = bt_model::convert(&command.file, &command.out, &options)?;
    if cli.json {
        return print_json(&json!({
            "folder": command.out,
            "parameters": converted.parameters,
            "dropped": converted.dropped,
            "notes": converted.notes,
        }));
    }
    for note in &converted.notes {
        anstream::eprintln!("note: {note}");
    }
    if !converted.dropped.is_empty() && !cli.quiet {
        anstream::eprintln!(
            "left out, because nothing here reads it: {}",
            converted.dropped.join(", ")
        );
    }
    let folder = text::path(&command.out);
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "wrote {folder}: {:.2} M parameters",
        converted.parameters as f64 / 1e6
    )?;
    writeln!(out, "next: bt-model info {folder}")?;
    Ok(Exit::Done)
}

fn learn_heads(cli: &Cli, command: &LearnHeads) -> Result<Exit> {
    let captions = read_captions(&command.captions, command.images.as_deref())?;
    let base = find(cli, &command.model)?;
    let options = LearnOptions {
        size: command.size,
        held_out: command.held_out,
        epochs: command.epochs,
        batch: command.batch,
        seed: command.seed,
        fit: command.fit,
    };
    let exec = Exec::parse(&cli.device)?.with_precision(cli.precision)?;
    let embedding = Progress::new("pictures", cli.quiet);
    let mut matching: Option<Progress> = None;
    let mut skipped = 0_usize;
    let mut read = |path: &Path| read_picture(path).map_err(|error| format!("{error:#}"));
    let say = |line: &str| {
        if !cli.quiet {
            embedding.line(line);
        }
    };
    let learnt = bt_model::learn_heads(
        &base,
        &captions,
        &mut read,
        &command.out,
        &options,
        &exec,
        &mut |event| match event {
            LearnEvent::Warning(warning) => say(&format!("warning: {warning}")),
            LearnEvent::Embedded { done, total } => {
                embedding.total(total as u64);
                embedding.done(done as u64);
            }
            LearnEvent::Skipped { picture, reason } => {
                skipped += 1;
                embedding.line(&format!("left out {}: {reason}", text::path(&picture)));
            }
            LearnEvent::Epoch {
                epoch,
                loss,
                validation,
            } => {
                embedding.finish();
                let loss = loss.map_or_else(
                    || "start in closed form".to_owned(),
                    |loss| format!("loss {loss:.3}"),
                );
                say(&format!(
                    "epoch {epoch}: {loss}, validation {validation:.3}"
                ));
            }
            LearnEvent::Matching { done, total } => {
                embedding.finish();
                let progress =
                    matching.get_or_insert_with(|| Progress::new("pictures with pairs", cli.quiet));
                progress.total(total as u64);
                progress.done(done as u64);
            }
            _ => {}
        },
    );
    embedding.finish();
    if let Some(progress) = matching {
        progress.finish();
    }
    let learnt = learnt.map_err(|error| explain(error, skipped))?;
    let exit = if skipped == 0 {
        Exit::Done
    } else {
        Exit::SomeFilesFailed
    };
    if cli.json {
        let mut document = serde_json::to_value(&learnt)?;
        document["folder"] = json!(command.out);
        document["skipped"] = json!(skipped);
        print_json(&document)?;
        return Ok(exit);
    }
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "learnt the {} from {} pictures; {} held out, {skipped} left out",
        learnt.heads.join(" and "),
        text::count(learnt.learnt_from as u64),
        text::count(learnt.held_out as u64)
    )?;
    let mut recall = |title: &str, recall: Option<Recall>| match recall {
        Some(Recall { at_1, at_5, at_10 }) => writeln!(
            out,
            "  {title}  R@1 {at_1:.1}  R@5 {at_5:.1}  R@10 {at_10:.1}"
        ),
        None => Ok(()),
    };
    recall("words to pictures", learnt.text_to_image)?;
    recall("pictures to words", learnt.image_to_text)?;
    if let Some(auc) = learnt.itm_auc {
        writeln!(
            out,
            "  a match is put above a mismatch in {:.1} % of pairs",
            100.0 * auc
        )?;
    }
    let folder = text::path(&command.out);
    writeln!(
        out,
        "wrote {folder}\nnext: bt-index PICTURES --model {folder}"
    )?;
    Ok(exit)
}

/// When hardly any picture could be read, the fault is most likely in the folder, not in the album.
fn explain(error: bt_model::Error, skipped: usize) -> anyhow::Error {
    if skipped > 0 && error.kind() == bt_model::Kind::Usage {
        return hinted(
            format!("{error}, because {skipped} could not be read"),
            "names in the file of captions are relative to its folder; `--images DIR` names another",
        );
    }
    error.into()
}
