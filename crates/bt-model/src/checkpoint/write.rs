//! Writes the folder of a new checkpoint: complete or not at all.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use serde_json::Value;

use super::TokenizerFiles;
use crate::error::{Error, Result};

/// What a new folder holds.
pub(crate) struct NewCheckpoint<'a> {
    pub(crate) config: &'a Value,
    pub(crate) preprocessor: &'a Value,
    pub(crate) tokenizer: Option<&'a TokenizerFiles>,
    pub(crate) tensors: &'a BTreeMap<String, Tensor>,
}

impl NewCheckpoint<'_> {
    /// Writes it aside, has `check` look at it, and only then gives it the name `out`.
    ///
    /// # Errors
    /// `out` is there already and not empty, the disk refuses, or `check` does.
    pub(crate) fn write(&self, out: &Path, check: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        refuse_existing(out)?;
        let aside = aside(out)?;
        let written = self
            .write_files(&aside)
            .and_then(|()| check(&aside))
            .and_then(|()| {
                // An empty folder may stand there; renaming over it is not possible everywhere.
                if out.exists() {
                    fs_err::remove_dir(out)?;
                }
                Ok(fs_err::rename(&aside, out)?)
            });
        if written.is_err() {
            let _ = fs_err::remove_dir_all(&aside);
        }
        written
    }

    fn write_files(&self, folder: &Path) -> Result<()> {
        fs_err::create_dir_all(folder)?;
        write_json(&folder.join("config.json"), self.config)?;
        write_json(&folder.join("preprocessor_config.json"), self.preprocessor)?;
        match self.tokenizer {
            Some(TokenizerFiles::Whole(text)) => {
                fs_err::write(folder.join("tokenizer.json"), text.as_bytes())?
            }
            Some(TokenizerFiles::VocabAndMerges { vocab, merges }) => {
                fs_err::write(folder.join("vocab.json"), vocab)?;
                fs_err::write(folder.join("merges.txt"), merges)?;
            }
            None => {}
        }
        let weights = folder.join("model.safetensors");
        let made_for = HashMap::from([("format".to_owned(), "pt".to_owned())]); // transformers insists on it
        safetensors::serialize_to_file(self.tensors, Some(made_for), &weights).map_err(
            |cause| std::io::Error::other(format!("cannot write `{}`: {cause}", weights.display())),
        )?;
        Ok(())
    }
}

/// An error unless `out` can become a new folder; asked before hours of work as well.
pub(crate) fn refuse_existing(out: &Path) -> Result<()> {
    let used = match fs_err::read_dir(out) {
        Ok(mut entries) => entries.next().is_some(),
        Err(cause) => cause.kind() != std::io::ErrorKind::NotFound,
    };
    if used {
        return Err(Error::Usage(format!(
            "`{}` is there already; name a new folder",
            out.display()
        )));
    }
    Ok(())
}

/// A name beside `out`, on the same disk, that nobody else uses.
fn aside(out: &Path) -> Result<PathBuf> {
    let name = out
        .file_name()
        .ok_or_else(|| Error::Usage(format!("`{}` is not the name of a folder", out.display())))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}.part", std::process::id()));
    Ok(out.with_file_name(hidden))
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    let mut text = format!("{value:#}");
    text.push('\n');
    Ok(fs_err::write(path, text)?)
}
