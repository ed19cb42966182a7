//! The command line of `bt-model`. What the commands do is in `commands.rs`.

use std::path::PathBuf;

use bt_model::{Fit, LearnOptions, Precision};
use clap::{Args, Parser, Subcommand};

/// Tells about models, converts them, and teaches them what they lack
///
/// A model is named as everywhere in these programs: a known name (`mini`, `large-itm-mlm-itc`, ...), a
/// Hub id (`owner/name`), or a folder with config.json and weights.
#[derive(Debug, Parser)]
#[command(
    name = "bt-model",
    version,
    max_term_width = 100,
    propagate_version = true
)]
#[command(after_help = "`--help` says more, with examples.", after_long_help = EPILOGUE)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Where the model runs: auto, cpu, cuda[:N] or metal[:N]
    #[arg(
        long,
        global = true,
        env = "BT_DEVICE",
        default_value = "auto",
        hide_env_values = true
    )]
    pub(crate) device: String,

    /// With which numbers: auto, f32, bf16 or int8
    ///
    /// `f32` is exact, the others are faster and lose a little; `auto` takes the fastest that keeps the
    /// results. int8 is for the processor alone.
    #[arg(
        long,
        global = true,
        env = "BT_PRECISION",
        default_value_t = Precision::Auto,
        hide_env_values = true
    )]
    pub(crate) precision: Precision,

    /// Prints one JSON document
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Says nothing but results and errors
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

const EPILOGUE: &str = "\
Examples:
  bt-model info large-itm-mlm-itc
      what this checkpoint is and can do; downloads it the first time
  bt-model features cat.jpg \"a cat on a couch\" --json
      every vector and score that the model gives for a picture and a text
  bt-model mask \"a cat on a <mask>\" --image cat.jpg
      the words that fit into a gap
  bt-model convert epoch=9.ckpt ./f30k --tokenizer ~/roberta-base
      turns a checkpoint of the authors' own code into a folder for --model
  bt-model learn-heads captions.json --model base --out ./base-with-heads
      teaches a checkpoint without heads to search, from captioned pictures

Exit codes:
  0 done   2 error   3 done, but some pictures could not be read   130 stopped by Ctrl-C

Settings: flags, then BT_MODEL, BT_DEVICE and BT_PRECISION, then the settings file
(BT_SETTINGS, else ~/.config/bridgetower/settings.toml).";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Info(Info),
    Features(Features),
    Mask(Mask),
    Convert(Convert),
    LearnHeads(LearnHeads),
}

/// A model that is run.
#[derive(Debug, Args)]
pub(crate) struct Model {
    /// A known name, a Hub id or a folder
    #[arg(long, env = "BT_MODEL", default_value = "mini", hide_env_values = true)]
    pub(crate) model: String,

    /// How pictures become squares: reference, patch or squeeze
    #[arg(long, default_value_t = Fit::Reference)]
    pub(crate) fit: Fit,
}

/// Says what a model is: size, heads, options, files, fingerprint
///
/// Reads names, shapes and small files, and the weights once for the fingerprint; nothing is run. The
/// fingerprint is what an index remembers its model by (with the fit `reference`).
#[derive(Debug, Args)]
pub(crate) struct Info {
    /// A known name, a Hub id or a folder
    #[arg(env = "BT_MODEL", default_value = "mini", hide_env_values = true)]
    pub(crate) model: String,
}

/// Shows what the model makes of a picture and a text
///
/// text_features and image_features (the last cross-modal states, a row a token), pooler_output, the ITC
/// embeddings, the ITM logits and the match probability; what a checkpoint has no head for is null. With
/// --json all values are printed, else what they amount to.
#[derive(Debug, Args)]
pub(crate) struct Features {
    /// A picture
    #[arg(value_name = "IMAGE")]
    pub(crate) image: PathBuf,

    /// A text
    #[arg(value_name = "TEXT")]
    pub(crate) text: String,

    #[command(flatten)]
    pub(crate) model: Model,
}

/// Fills in a masked word
#[derive(Debug, Args)]
pub(crate) struct Mask {
    /// A text with one `<mask>` or several
    #[arg(value_name = "TEXT")]
    pub(crate) text: String,

    /// A picture that the text is about; a plain grey one without it
    #[arg(long, value_name = "FILE")]
    pub(crate) image: Option<PathBuf>,

    /// So many words for each `<mask>`
    #[arg(short = 'n', long = "count", value_name = "N", default_value_t = 5)]
    pub(crate) count: usize,

    #[command(flatten)]
    pub(crate) model: Model,
}

/// Turns a checkpoint of the authors' own code into a folder that loads
///
/// Reads a PyTorch Lightning file (.ckpt) of microsoft/BridgeTower as data; nothing in it is run. Sizes
/// are read off the tensors. The folder's config.json says `"itc_image_from": "tower"`, because these
/// checkpoints embed pictures by another path than the public ones.
#[derive(Debug, Args)]
pub(crate) struct Convert {
    /// The checkpoint
    #[arg(value_name = "FILE.ckpt")]
    pub(crate) file: PathBuf,

    /// The new folder
    #[arg(value_name = "OUT")]
    pub(crate) out: PathBuf,

    /// Folder with tokenizer.json, or vocab.json and merges.txt (RoBERTa's)
    #[arg(long, value_name = "DIR")]
    pub(crate) tokenizer: Option<PathBuf>,

    /// Attention heads of text tower and cross-modal layers [default: width / 64]
    #[arg(long, value_name = "N")]
    pub(crate) heads: Option<usize>,

    /// Pixels that a picture's shorter edge is scaled to [default: the crop]
    #[arg(long, value_name = "N")]
    pub(crate) image_size: Option<usize>,

    /// Pixels of the square that is cut out of it [default: what the position table is for]
    #[arg(long, value_name = "N")]
    pub(crate) crop: Option<usize>,
}

/// Teaches a checkpoint the heads that it lacks, from captioned pictures
///
/// Learns the ITC heads (search by vectors) and the ITM head (reranking), each where the checkpoint has
/// none. The body is not changed: its towers run once over every picture and caption, then two linear
/// layers are fitted to what they gave. A fifth of the pictures is held out, and the recall on them is
/// printed. A hundred pictures do for a try, some thousands for real use.
///
/// CAPTIONS.json is one of
///   {"a.jpg": {"captions": ["a cat", "a cat on a couch"]}, ...}   (samples/samples.json)
///   [{"image": "a.jpg", "caption": "a cat"}, ...]
///   a Karpathy split of Flickr30k or COCO (its test part is held out)
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct LearnHeads {
    /// Which words describe which picture
    #[arg(value_name = "CAPTIONS.json")]
    pub(crate) captions: PathBuf,

    /// The checkpoint that lacks heads: a known name, a Hub id or a folder
    #[arg(long, value_name = "BASE")]
    pub(crate) model: String,

    /// The new folder
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,

    /// Folder that the pictures' names are relative to [default: that of CAPTIONS.json]
    #[arg(long, value_name = "DIR")]
    pub(crate) images: Option<PathBuf>,

    /// Length of an embedding [default: config.json's, else the model's width, at most 512]
    #[arg(long, value_name = "N")]
    pub(crate) size: Option<usize>,

    /// Share of the pictures that are only measured on
    #[arg(long, value_name = "SHARE", default_value_t = LearnOptions::default().held_out)]
    pub(crate) held_out: f64,

    /// Most times that all pictures are gone through
    #[arg(long, value_name = "N", default_value_t = LearnOptions::default().epochs)]
    pub(crate) epochs: usize,

    /// Pictures that are contrasted with each other in one step
    #[arg(long, value_name = "N", default_value_t = LearnOptions::default().batch)]
    pub(crate) batch: usize,

    /// The same seed and album give the same heads
    #[arg(long, value_name = "N", default_value_t = LearnOptions::default().seed)]
    pub(crate) seed: u64,

    /// How pictures become squares: reference, patch or squeeze
    #[arg(long, default_value_t = Fit::Reference)]
    pub(crate) fit: Fit,
}
