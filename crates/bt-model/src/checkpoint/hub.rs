//! Checkpoints from a model hub: which files of a repository are needed, and whether they are here already.
//!
//! The layout of the cache folder follows `hf-hub` (cache.rs); the transfer is our own (transfer.rs), on the
//! same HTTP client, because hf-hub 0.5 neither checks what it got, nor gives up on a silent server, nor
//! notices one that ignores a range, nor knows of HF_HUB_CACHE and HF_HUB_OFFLINE.

mod cache;
mod error;
mod part;
mod settings;
mod transfer;

use std::path::PathBuf;

pub use error::HubError;
pub use settings::{Hub, Token};

use super::Event;
use super::names::is_plain;
use crate::error::Result;
use cache::Local;
use transfer::Client;

const CONFIG: &str = "config.json";
const PROCESSOR: &str = "preprocessor_config.json";
const CALIBRATION: &str = "calibration.json";
const SAFETENSORS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const TORCH: &str = "pytorch_model.bin";

/// The folder of a checkpoint of the hub that the environment names; see [`Hub::fetch`].
///
/// # Errors
/// See [`HubError`]; also what the file system refuses.
pub(crate) fn fetch(
    repo_id: &str,
    revision: Option<&str>,
    on: &mut dyn FnMut(Event),
) -> Result<PathBuf> {
    Hub::from_env()?.fetch(repo_id, revision, on)
}

impl Hub {
    /// A folder with the files of a checkpoint, downloaded unless they are here.
    ///
    /// A complete download is used as it is and nobody is asked whether there is a newer one: an index must
    /// go on fitting its model. Another version has another `revision` (branch, tag, `refs/pr/N`, commit).
    ///
    /// # Errors
    /// See [`HubError`]; also what the file system refuses.
    pub fn fetch(
        &self,
        repo_id: &str,
        revision: Option<&str>,
        on: &mut dyn FnMut(Event),
    ) -> Result<PathBuf> {
        let parts: Vec<&str> = repo_id.split('/').collect();
        if parts.len() > 2 || !parts.iter().all(|part| is_plain(part)) {
            return Err(HubError::BadId {
                id: repo_id.to_owned(),
            }
            .into());
        }
        let revision = revision.unwrap_or("main");
        if !revision.split('/').all(is_plain) {
            let repo = repo_id.to_owned();
            return Err(HubError::NoSuchRevision {
                repo,
                revision: revision.to_owned(),
            }
            .into());
        }

        let local = Local::new(&self.cache, repo_id, revision);
        if let Some(folder) = local.snapshot(self.offline) {
            return Ok(folder);
        }
        if self.offline {
            let cache = self.cache.clone();
            return Err(HubError::Offline {
                repo: repo_id.to_owned(),
                cache,
            }
            .into());
        }

        let client = Client::new(self, repo_id)?;
        let listing = match client.listing(revision) {
            Err(crate::Error::Hub(error @ HubError::Unreachable { .. })) => {
                let Some(folder) = local.snapshot(true) else {
                    return Err(error.into());
                };
                on(Event::Warning(format!(
                    "{error}; using the files that are here, without {PROCESSOR}"
                )));
                return Ok(folder);
            }
            other => other?,
        };
        let commit = &listing.commit;
        for file in needed(repo_id, &listing.files)? {
            let path = client.download(&local, commit, file, on)?;
            if file == INDEX {
                for shard in super::shards(&path)? {
                    client.download(&local, commit, &shard, on)?;
                }
            }
        }
        if !listing.files.iter().any(|file| file == PROCESSOR) {
            local.note_absent(commit, PROCESSOR)?;
        }
        local.set_ref(commit)?;
        Ok(local.snapshot_folder(commit))
    }
}

/// The files of a repository that make a checkpoint, small ones first.
fn needed(repo: &str, files: &[String]) -> Result<Vec<&'static str>, HubError> {
    let has = |file: &str| files.iter().any(|listed| listed == file);
    let lacks = |what: &str| HubError::Lacks {
        repo: repo.to_owned(),
        what: what.to_owned(),
    };
    if !has(CONFIG) {
        return Err(lacks(CONFIG));
    }
    let mut needed = vec![CONFIG];
    needed.extend(
        [PROCESSOR, CALIBRATION]
            .into_iter()
            .filter(|file| has(file)),
    );
    if has("tokenizer.json") {
        needed.push("tokenizer.json");
    } else if has("vocab.json") && has("merges.txt") {
        needed.extend(["vocab.json", "merges.txt"]);
    } else {
        return Err(lacks("tokenizer.json (nor vocab.json with merges.txt)"));
    }
    match [SAFETENSORS, INDEX, TORCH]
        .into_iter()
        .find(|file| has(file))
    {
        Some(weights) => needed.push(weights),
        None => return Err(lacks("model.safetensors (nor pytorch_model.bin)")),
    }
    Ok(needed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(files: &[&str]) -> Vec<String> {
        files.iter().map(|file| (*file).to_owned()).collect()
    }

    #[test]
    fn only_the_files_that_make_a_checkpoint_are_wanted() {
        let files = listed(&[
            ".gitattributes",
            "README.md",
            CONFIG,
            PROCESSOR,
            TORCH,
            SAFETENSORS,
            "tokenizer.json",
            "vocab.json",
            "tf_model.h5",
        ]);
        let wanted = needed("o/n", &files).unwrap();
        assert_eq!(wanted, [CONFIG, PROCESSOR, "tokenizer.json", SAFETENSORS]);
    }

    #[test]
    fn a_public_checkpoint_of_a_pickle_and_a_tokenizer_is_enough() {
        let files = listed(&[CONFIG, TORCH, "tokenizer.json"]);
        assert_eq!(
            needed("o/n", &files).unwrap(),
            [CONFIG, "tokenizer.json", TORCH]
        );
    }

    #[test]
    fn a_repository_without_weights_or_words_is_refused_by_what_it_lacks() {
        for files in [
            listed(&[TORCH, "tokenizer.json"]),
            listed(&[CONFIG, TORCH, "vocab.json"]),
            listed(&[CONFIG, "tokenizer.json", "flax_model.msgpack"]),
        ] {
            assert!(
                matches!(needed("o/n", &files), Err(HubError::Lacks { .. })),
                "{files:?}"
            );
        }
    }
}
