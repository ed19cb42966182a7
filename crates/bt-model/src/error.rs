//! What can go wrong with a model, sorted by whose fault it is, with the next step to take.

use std::path::PathBuf;

/// Result of the model.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Whose fault an error is; exit codes and HTTP statuses depend on this alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The caller asked for something that makes no sense.
    Usage,
    /// It is not there.
    NotFound,
    /// A file's bytes make no sense.
    Corrupt,
    /// A checkpoint that this program cannot run, or that lacks the head asked for.
    Incompatible,
    /// The operating system or the network refused.
    Io,
    /// Our own mistake.
    Bug,
}

/// An error of the model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused; its message names the file.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A tensor operation failed.
    #[error("the model cannot be run")]
    Tensor(#[from] candle_core::Error),
    /// A file of the checkpoint makes no sense.
    #[error("`{}`: {what}", path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The configuration asks for a graph that is not implemented, or for one that cannot exist.
    #[error("`{}`: {what}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The option, its value, and what would do.
        what: String,
    },
    /// The weights are not those of the configuration; every tensor at fault is listed.
    #[error("`{}` does not hold the weights that config.json describes{}", path.display(), list_tensors(missing, surplus, misshapen))]
    Weights {
        /// The file or folder.
        path: PathBuf,
        /// Names that the graph needs.
        missing: Vec<String>,
        /// Names that the graph has no use for.
        surplus: Vec<String>,
        /// Names, each with the shape found and the shape needed.
        misshapen: Vec<String>,
    },
    /// No checkpoint goes by this name.
    #[error(
        "there is no model `{spec}`: it is neither a known name, nor a Hub id, nor a folder with config.json"
    )]
    NoSuchModel {
        /// What was asked for.
        spec: String,
    },
    /// A file without which a checkpoint cannot be loaded is not there.
    #[error("`{}` has no {file}", folder.display())]
    MissingFile {
        /// The checkpoint's folder.
        folder: PathBuf,
        /// The file, or the choice of files.
        file: &'static str,
    },
    /// The Hub cannot be reached, or refuses, or sent something broken.
    #[error(transparent)]
    Hub(#[from] crate::checkpoint::HubError),
    /// The checkpoint lacks a head.
    #[error("the model `{model}` has no {head} head, so it cannot {purpose}")]
    NoHead {
        /// Name of the model.
        model: String,
        /// `ITC`, `ITM`, `MLM` or `ITC cross`.
        head: &'static str,
        /// What was asked of it.
        purpose: &'static str,
    },
    /// One picture alone takes more memory than the GPU has left.
    #[error("the GPU's memory is full: not even one picture fits beside the model")]
    OutOfMemory,
    /// The value of an argument makes no sense.
    #[error("{0}")]
    Usage(String),
}

impl Error {
    /// Whose fault it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Io(cause) if cause.kind() == std::io::ErrorKind::NotFound => Kind::NotFound,
            Self::Io(_) => Kind::Io,
            Self::Tensor(_) => Kind::Bug,
            Self::BadFile { .. } => Kind::Corrupt,
            Self::Weights { .. } | Self::Unsupported { .. } | Self::NoHead { .. } => {
                Kind::Incompatible
            }
            Self::NoSuchModel { .. } | Self::MissingFile { .. } => Kind::NotFound,
            Self::Hub(error) => error.kind(),
            Self::OutOfMemory => Kind::Io,
            Self::Usage(_) => Kind::Usage,
        }
    }

    /// Whether a smaller batch could succeed.
    pub(crate) fn is_out_of_memory(&self) -> bool {
        // The drivers' errors come wrapped in different ways; their names do not change.
        let Self::Tensor(cause) = self else {
            return false;
        };
        let text = cause.to_string();
        ["ERROR_OUT_OF_MEMORY", "STATUS_ALLOC_FAILED"]
            .iter()
            .any(|name| text.contains(name))
    }

    /// What to do next, where there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoHead { head: "ITC", model, .. } => Some(format!(
                "three ways on: index with another model and add `--rerank-model {model}`; \
                 let its ITM head, if it has one, score what words and filters leave; \
                 or teach it the heads with `bt-model learn-heads CAPTIONS.json --model {model}`"
            )),
            Self::NoHead { head: "ITM", model, .. } => Some(format!(
                "use a checkpoint with an ITM head, or teach it one with `bt-model learn-heads CAPTIONS.json --model {model}`"
            )),
            Self::NoHead { .. } => {
                Some("`bt-model info MODEL` shows which heads a checkpoint has".to_owned())
            }
            Self::NoSuchModel { .. } => {
                Some(format!("known names: {}", crate::checkpoint::known_names().join(", ")))
            }
            Self::MissingFile { .. } => Some(
                "a checkpoint is a folder with config.json, preprocessor_config.json, tokenizer.json \
                 (or vocab.json and merges.txt) and model.safetensors or pytorch_model.bin"
                    .to_owned(),
            ),
            Self::Weights { .. } => Some(
                "take config.json and the weights from the same checkpoint; \
                 the authors' own files are turned into one by `bt-model convert FILE.ckpt OUT`"
                    .to_owned(),
            ),
            Self::Hub(error) => error.hint(),
            Self::OutOfMemory => Some(
                "end other programs that use the GPU, choose another one with `--device cuda:N`, \
                 or use `--device cpu`"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

/// The lists, a line each; all names, because a list that ends in "..." cannot be repaired from.
fn list_tensors(missing: &[String], surplus: &[String], misshapen: &[String]) -> String {
    let mut text = String::new();
    for (title, names) in [
        ("missing", missing),
        ("surplus", surplus),
        ("misshapen", misshapen),
    ] {
        if !names.is_empty() {
            text.push_str(&format!(
                "\n  {title} ({}): {}",
                names.len(),
                names.join(", ")
            ));
        }
    }
    text
}
