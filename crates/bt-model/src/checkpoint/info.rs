//! What a checkpoint is, told without loading it: only names, shapes and small files are read, and the
//! weights once for the fingerprint.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::weights::WeightFiles;
use super::{Checkpoint, Event, TokenizerFiles};
use crate::config::Config;
use crate::error::Result;
use crate::exec::Exec;
use crate::heads::Heads;
use crate::pixels::Fit;

/// What a checkpoint is.
#[derive(Clone, Debug, Serialize)]
pub struct Info {
    /// The name it was found by.
    pub name: String,
    /// Its folder; `<mini>` for the one in the program.
    pub folder: PathBuf,
    /// Its files, weights last.
    pub files: Vec<InfoFile>,
    /// Values of all tensors, by part.
    pub parameters: Parameters,
    /// What it can do.
    pub heads: Heads,
    /// Length of an ITC embedding.
    pub embedding: Option<usize>,
    /// The most tokens of a text, first and last included.
    pub max_tokens: usize,
    /// The graph.
    pub config: Config,
    /// Whether probabilities were measured for it.
    pub calibrated: bool,
    /// What an index is made with: configuration, weights, tokenizer, image settings, fit `reference`.
    pub fingerprint: String,
    /// What should be known before it is used.
    pub warnings: Vec<String>,
}

/// A file of a checkpoint.
#[derive(Clone, Debug, Serialize)]
pub struct InfoFile {
    /// Its name in the folder.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// How many values the tensors have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Parameters {
    /// In all.
    pub total: u64,
    /// Vision tower.
    pub vision: u64,
    /// Text tower.
    pub text: u64,
    /// Bridges, cross-modal layers, poolers.
    pub cross_modal: u64,
    /// ITC, ITM and MLM heads.
    pub heads: u64,
}

impl Checkpoint {
    /// What this checkpoint is.
    ///
    /// # Errors
    /// A file cannot be read or makes no sense, or the configuration asks for an unknown graph.
    pub fn info(&self) -> Result<Info> {
        let mut warnings = Vec::new();
        let config = self.config(&mut |event| {
            if let Event::Warning(text) = event {
                warnings.push(text);
            }
        })?;
        let weights = self.open_weights(&Exec::cpu())?;
        let heads = Heads {
            itc: weights.any("itc_text_head.") && weights.any("itc_image_head."),
            itc_cross: weights.any("itc_cross_modal_head."),
            itm: weights.any("itm_score."),
            mlm: weights.any("mlm_score."),
        };
        if !heads.itc {
            warnings.push(match heads.itm {
                true => "no ITC heads: it reranks, and compares pictures with pictures, but its vectors do not search by text".to_owned(),
                false => "no ITC and no ITM head: it compares pictures with pictures, and cannot search by text".to_owned(),
            });
        }
        if self.tokenizer.is_none() {
            warnings.push("no tokenizer: put a tokenizer.json, or a vocab.json and merges.txt, into the folder".to_owned());
        }
        if self.preprocessor.is_none() {
            warnings.push(
                "no preprocessor_config.json: pictures are prepared with the defaults".to_owned(),
            );
        }
        let embedding = weights
            .shapes()
            .get("itc_text_head.fc.weight")
            .and_then(|shape| shape.first().copied());
        Ok(Info {
            name: self.name.clone(),
            folder: self.folder.clone(),
            files: self.files()?,
            parameters: count(
                weights
                    .shapes()
                    .iter()
                    .map(|(name, shape)| (name.as_str(), shape.as_slice())),
            ),
            heads,
            embedding: embedding.filter(|_| heads.itc),
            max_tokens: config.text.max_tokens(),
            config,
            calibrated: self.calibration.is_some(),
            fingerprint: self.identity(Fit::Reference)?,
            warnings,
        })
    }

    fn files(&self) -> Result<Vec<InfoFile>> {
        let mut files = Vec::new();
        let mut text = |name: &str, text: Option<&str>| {
            if let Some(text) = text {
                files.push(InfoFile {
                    name: name.to_owned(),
                    bytes: text.len() as u64,
                });
            }
        };
        text("config.json", Some(&self.config));
        text("preprocessor_config.json", self.preprocessor.as_deref());
        text("calibration.json", self.calibration.as_deref());
        match &self.tokenizer {
            Some(TokenizerFiles::Whole(whole)) => text("tokenizer.json", Some(whole)),
            Some(TokenizerFiles::VocabAndMerges { vocab, merges }) => {
                text("vocab.json", Some(vocab));
                text("merges.txt", Some(merges));
            }
            None => {}
        }
        let mut weights = |path: &Path| -> Result<()> {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            files.push(InfoFile {
                name,
                bytes: fs_err::metadata(path)?.len(),
            });
            Ok(())
        };
        match &self.weights {
            WeightFiles::Bundled(bytes) => {
                files.push(InfoFile {
                    name: "model.safetensors".to_owned(),
                    bytes: bytes.len() as u64,
                });
            }
            WeightFiles::Safetensors(paths) => paths.iter().try_for_each(|path| weights(path))?,
            WeightFiles::Pickle(path) => weights(path)?,
        }
        Ok(files)
    }
}

fn count<'a>(tensors: impl Iterator<Item = (&'a str, &'a [usize])>) -> Parameters {
    let mut parameters = Parameters::default();
    for (name, shape) in tensors {
        let body = name.strip_prefix("bridgetower.").unwrap_or(name);
        // Integer buffers of old files: places of tokens, not values that were learnt.
        if body.ends_with(".position_ids") || body.ends_with(".token_type_ids") {
            continue;
        }
        let values = shape
            .iter()
            .fold(1_u64, |values, edge| values.saturating_mul(*edge as u64));
        parameters.total += values;
        *match body.split('.').next().unwrap_or_default() {
            "vision_model" => &mut parameters.vision,
            "text_model" => &mut parameters.text,
            part if part.starts_with("cross_modal_") || part == "token_type_embeddings" => {
                &mut parameters.cross_modal
            }
            _ => &mut parameters.heads,
        } += values;
    }
    parameters
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden(name: &str) -> Info {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/golden")
            .join(name);
        Checkpoint::find(&folder.to_string_lossy(), &mut |_| {})
            .unwrap()
            .info()
            .unwrap()
    }

    #[test]
    fn values_are_counted_by_part_and_buffers_are_not() {
        // As make_golden.py counts them.
        let tiny = golden("tiny").parameters;
        assert_eq!(tiny.total, 517_531);
        assert_eq!(
            tiny.total,
            tiny.vision + tiny.text + tiny.cross_modal + tiny.heads
        );
        assert_eq!(golden("bin").parameters.total, 110_270);
        assert_eq!(golden("sharded").parameters.total, 110_270);
    }

    #[test]
    fn what_is_lacking_is_a_warning() {
        let sharded = golden("sharded");
        assert!(!sharded.heads.itc && sharded.heads.itm && sharded.embedding.is_none());
        assert!(
            sharded
                .warnings
                .iter()
                .any(|text| text.contains("no ITC heads"))
        );
        assert!(
            sharded
                .warnings
                .iter()
                .any(|text| text.contains("no tokenizer"))
        );
        assert_eq!(
            sharded
                .files
                .iter()
                .filter(|file| file.name.ends_with(".safetensors"))
                .count(),
            3
        );
        let tiny = golden("tiny");
        assert_eq!(
            (tiny.embedding, tiny.max_tokens, tiny.warnings.as_slice()),
            (Some(32), 38, &[][..])
        );
    }
}
