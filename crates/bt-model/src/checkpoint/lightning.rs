//! The authors' own checkpoints (PyTorch Lightning, .ckpt) to a folder that loads: other names for the
//! same tensors, a configuration read off their shapes (`sizes.rs`), and an ITC image head that reads
//! the tower itself. Reading the file as data is `pickle.rs`'s.
//!
//! Source of the names: microsoft/BridgeTower, src/modules/{bt_module,clip_model,heads}.py.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};

use super::sizes::describe;
use super::write::{NewCheckpoint, refuse_existing};
use super::{Checkpoint, TokenizerFiles, pickle};
use crate::error::{Error, Result};
use crate::exec::Exec;
use crate::model::BridgeTower;

/// What the file itself does not say.
#[derive(Clone, Debug, Default)]
pub struct ConvertOptions {
    /// Attention heads of the text tower and the cross-modal layers; hidden / 64 where absent, as the
    /// authors have it.
    pub heads: Option<usize>,
    /// Shortest edge that pictures are scaled to before they are cropped; the crop where absent.
    pub image_size: Option<usize>,
    /// Edge of the square that is cropped; what the position table has room for where absent.
    pub crop: Option<usize>,
    /// A folder with tokenizer.json, or vocab.json and merges.txt.
    pub tokenizer: Option<PathBuf>,
}

/// What was written.
#[derive(Clone, Debug)]
pub struct Converted {
    /// Values of all tensors.
    pub parameters: usize,
    /// Tensors that have no use here, by their names in the file.
    pub dropped: Vec<String>,
    /// What the reader should know: a head taken from elsewhere, a tokenizer that is missing.
    pub notes: Vec<String>,
}

/// Converts the checkpoint `ckpt` into the new folder `out`, and loads that folder once to be sure.
///
/// # Errors
/// The file is not such a checkpoint, holds something unknown (named), or `out` is in use.
pub fn convert(ckpt: &Path, out: &Path, options: &ConvertOptions) -> Result<Converted> {
    refuse_existing(out)?;
    let tokenizer = match &options.tokenizer {
        Some(folder) => Some(
            TokenizerFiles::read(folder)?.ok_or_else(|| Error::MissingFile {
                folder: folder.clone(),
                file: "tokenizer.json (or vocab.json and merges.txt)",
            })?,
        ),
        None => None,
    };
    let bad = |what: String| Error::BadFile {
        path: ckpt.to_owned(),
        what,
    };
    let file = pickle::open(ckpt, Some("state_dict"))?;
    let mut theirs = BTreeMap::new();
    for name in file.tensor_infos().keys() {
        let tensor = file
            .get(name)
            .map_err(|cause| bad(format!("`{name}` cannot be read: {cause}")))?;
        theirs.insert(
            name.clone(),
            tensor.ok_or_else(|| bad(format!("`{name}` is not there")))?,
        );
    }
    let mut state = translate(theirs).map_err(bad)?;
    let (config, preprocessor) = describe(&state.tensors, options).map_err(bad)?;
    if tokenizer.is_none() {
        state.notes.push(NO_TOKENIZER.to_owned());
    }
    let new = NewCheckpoint {
        config: &config,
        preprocessor: &preprocessor,
        tokenizer: tokenizer.as_ref(),
        tensors: &state.tensors,
    };
    new.write(out, |folder| {
        let written = Checkpoint::open(folder, &folder.to_string_lossy())?;
        let loaded = BridgeTower::load(&written, &Exec::cpu(), &mut |_| {});
        loaded.map(drop).map_err(|error| blame(error, ckpt))
    })?;
    Ok(Converted {
        parameters: state.tensors.values().map(Tensor::elem_count).sum(),
        dropped: state.dropped,
        notes: state.notes,
    })
}

/// The folder that was tried is gone when the error is read; what is wrong is wrong in the file.
fn blame(error: Error, ckpt: &Path) -> Error {
    match error {
        Error::Weights {
            missing,
            surplus,
            misshapen,
            ..
        } => Error::Weights {
            path: ckpt.to_owned(),
            missing,
            surplus,
            misshapen,
        },
        other => other,
    }
}

const NO_TOKENIZER: &str = "the tokenizer is missing: a .ckpt file has none. Put the tokenizer.json of roberta-base \
     (of roberta-large for large checkpoints), or of any public BridgeTower checkpoint, into the folder";

/// A checkpoint under our names.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) tensors: BTreeMap<String, Tensor>,
    dropped: Vec<String>,
    notes: Vec<String>,
}

/// What becomes of one tensor.
#[derive(Debug, PartialEq)]
enum Place {
    /// It is kept under this name.
    Keep(String),
    /// It has no use here.
    Drop,
    /// exp(logit_scale) = 1 / it.
    Temperature,
    /// The fine-tuned row of the ITM head.
    RankOutput,
}

/// Where the tensor `name` of the authors goes; an error says why it goes nowhere.
fn place(name: &str) -> std::result::Result<Place, String> {
    const SAME: &[&str] = &[
        "itc_image_head.fc.",
        "itc_text_head.fc.",
        "itm_score.fc.",
        "mlm_score.",
    ];
    const CROSS_MODAL: &[&str] = &[
        "cross_modal_image_layernorm.",
        "cross_modal_image_layers.",
        "cross_modal_image_link_tower.",
        "cross_modal_image_pooler.",
        "cross_modal_image_transform.",
        "cross_modal_text_layernorm.",
        "cross_modal_text_layers.",
        "cross_modal_text_link_tower.",
        "cross_modal_text_pooler.",
        "cross_modal_text_transform.",
        "token_type_embeddings.",
    ];
    const DROPPED: &[&str] = &[
        "nlvr2_classifier.",
        "snli_classifier.",
        "vqa_classifier.",
        "vit_model.ln_final.",
        "vit_model.positional_embedding",
        "text_transformer.embeddings.position_ids",
        "text_transformer.embeddings.token_type_ids",
    ];
    if DROPPED.iter().any(|dropped| name.starts_with(dropped)) {
        return Ok(Place::Drop);
    }
    if SAME.iter().any(|same| name.starts_with(same)) {
        return Ok(Place::Keep(name.to_owned()));
    }
    if name == "temperature" {
        return Ok(Place::Temperature);
    }
    if name.starts_with("rank_output.") {
        return Ok(Place::RankOutput);
    }
    if CROSS_MODAL.iter().any(|part| name.starts_with(part)) {
        return Ok(Place::Keep(format!("bridgetower.{name}")));
    }
    if let Some(rest) = name.strip_prefix("text_transformer.") {
        return Ok(Place::Keep(format!("bridgetower.text_model.{rest}")));
    }
    if let Some(rest) = name.strip_prefix("vit_model.visual.") {
        let rest = match rest {
            "class_embedding" => "embeddings.class_embedding",
            "conv1.weight" => "embeddings.patch_embedding.weight",
            "positional_embedding" => "embeddings.position_embedding.weight",
            _ if rest.starts_with("ln_separate.") => {
                return Err(format!(
                    "`{name}`: a separate norm for each bridge (vit_layernorm_shared = False) is not supported, \
                     because transformers' BridgeTower does not use them"
                ));
            }
            _ if ["ln_pre.", "ln_post.", "transformer.resblocks."]
                .iter()
                .any(|kept| rest.starts_with(kept)) =>
            {
                rest
            }
            _ => return Err(unknown(name)),
        };
        return Ok(Place::Keep(format!(
            "bridgetower.vision_model.visual.{rest}"
        )));
    }
    Err(unknown(name))
}

fn unknown(name: &str) -> String {
    format!("`{name}` is not a tensor of BridgeTower (CLIP picture tower, RoBERTa text tower)")
}

pub(super) fn translate(theirs: BTreeMap<String, Tensor>) -> std::result::Result<State, String> {
    let mut state = State::default();
    let mut rank = BTreeMap::new();
    let mut refused = Vec::new();
    let mut temperature = None;
    for (name, tensor) in theirs {
        match place(&name) {
            Ok(Place::Keep(ours)) => {
                state.tensors.insert(ours, tensor);
            }
            Ok(Place::Drop) => state.dropped.push(name),
            Ok(Place::Temperature) => temperature = Some(tensor),
            Ok(Place::RankOutput) => {
                rank.insert(name, tensor);
            }
            Err(reason) => refused.push(reason),
        }
    }
    if let Some(first) = refused.first() {
        let others = refused.len() - 1;
        let more = if others == 0 {
            String::new()
        } else {
            format!(", and {others} others that are not known either")
        };
        return Err(format!("{first}{more}"));
    }
    settle(&mut state, temperature, &rank).map_err(|cause| cause.to_string())?;
    Ok(state)
}

/// The tensors whose value changes on the way.
fn settle(
    state: &mut State,
    temperature: Option<Tensor>,
    rank: &BTreeMap<String, Tensor>,
) -> candle_core::Result<()> {
    let type_table = "bridgetower.token_type_embeddings.weight";
    if let Some(types) = state.tensors.get(type_table)
        && types.dims().first() == Some(&3)
    {
        let first_two = types.narrow(0, 0, 2)?.contiguous()?;
        state.tensors.insert(type_table.to_owned(), first_two);
        state
            .notes
            .push("NLVR2's second picture has a type of its own, which was left out".to_owned());
    }
    // Without ITC heads the temperature stands in the file all the same, and says nothing.
    if let Some(temperature) = temperature
        && state.tensors.contains_key("itc_text_head.fc.weight")
    {
        let value = temperature
            .to_dtype(DType::F32)?
            .flatten_all()?
            .to_vec1::<f32>()?;
        let [value] = value[..] else {
            candle_core::bail!("`temperature` is not a number")
        };
        if !(value.is_finite() && value > 0.0) {
            candle_core::bail!("`temperature` is {value}; it must be above 0");
        }
        state.tensors.insert(
            "logit_scale".to_owned(),
            Tensor::new((1.0 / value).ln(), temperature.device())?,
        );
    }
    // Retrieval ranks by `rank_output`, which began as the match row of the ITM head and was trained on.
    for (part, head) in [
        ("rank_output.weight", "itm_score.fc.weight"),
        ("rank_output.bias", "itm_score.fc.bias"),
    ] {
        let (Some(row), Some(itm)) = (rank.get(part), state.tensors.get(head)) else {
            continue;
        };
        let no_match = itm.narrow(0, 0, 1)?;
        let joined = Tensor::cat(
            &[
                &no_match,
                &row.to_dtype(itm.dtype())?.reshape(no_match.shape())?,
            ],
            0,
        )?;
        state.tensors.insert(head.to_owned(), joined);
        if part.ends_with("weight") {
            state.notes.push("the match row of the ITM head is the file's `rank_output`, which retrieval was trained with".to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use candle_core::Device;

    use super::*;

    pub(in super::super) fn golden_state() -> BTreeMap<String, Tensor> {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/lightning/model.ckpt");
        let file = pickle::open(&path, Some("state_dict")).unwrap();
        file.tensor_infos()
            .keys()
            .map(|name| (name.clone(), file.get(name).unwrap().unwrap()))
            .collect()
    }

    pub(in super::super) fn zeros(shape: &[usize]) -> Tensor {
        Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap()
    }

    #[test]
    fn every_tensor_of_the_authors_has_one_place() {
        for (theirs, ours) in [
            (
                "vit_model.visual.conv1.weight",
                "bridgetower.vision_model.visual.embeddings.patch_embedding.weight",
            ),
            (
                "vit_model.visual.ln_post.bias",
                "bridgetower.vision_model.visual.ln_post.bias",
            ),
            (
                "text_transformer.pooler.dense.bias",
                "bridgetower.text_model.pooler.dense.bias",
            ),
            (
                "cross_modal_text_link_tower.0.LayerNorm.bias",
                "bridgetower.cross_modal_text_link_tower.0.LayerNorm.bias",
            ),
            ("mlm_score.decoder.weight", "mlm_score.decoder.weight"),
        ] {
            assert_eq!(place(theirs), Ok(Place::Keep(ours.to_owned())));
        }
        assert_eq!(place("vqa_classifier.0.weight"), Ok(Place::Drop));
        for stranger in [
            "avgpool.weight",
            "cross_modal_ln_separate.0.bias",
            "vit_model.layers.0.blocks.0.norm1.weight",
            "vit_model.visual.proj",
        ] {
            assert!(place(stranger).unwrap_err().contains(stranger));
        }
        assert!(
            place("vit_model.visual.ln_separate.3.bias")
                .unwrap_err()
                .contains("vit_layernorm_shared")
        );
    }

    #[test]
    fn a_foreign_tensor_is_refused_by_name_and_the_others_are_counted() {
        let mut state = golden_state();
        state.insert("vit_model.patch_embed.proj.weight".to_owned(), zeros(&[1]));
        state.insert("vit_model.patch_embed.proj.bias".to_owned(), zeros(&[1]));
        let error = translate(state).unwrap_err();
        assert!(
            error.contains("`vit_model.patch_embed.proj.bias`") && error.contains("1 others"),
            "{error}"
        );
    }

    #[test]
    fn nlvr2s_third_token_type_is_left_out() {
        let mut state = golden_state();
        let two = state["token_type_embeddings.weight"].clone();
        let three = Tensor::cat(&[&two, &two.narrow(0, 1, 1).unwrap()], 0).unwrap();
        state.insert("token_type_embeddings.weight".to_owned(), three);
        state.insert("nlvr2_classifier.0.weight".to_owned(), zeros(&[2, 4]));
        let state = translate(state).unwrap();
        assert_eq!(
            state.tensors["bridgetower.token_type_embeddings.weight"].dims(),
            two.dims()
        );
        assert!(
            state
                .dropped
                .contains(&"nlvr2_classifier.0.weight".to_owned())
        );
    }

    #[test]
    fn rank_output_becomes_the_match_row_of_the_itm_head() {
        let mut state = golden_state();
        let width = state["itm_score.fc.weight"].dims()[1];
        state.insert("rank_output.weight".to_owned(), zeros(&[1, width]));
        state.insert(
            "rank_output.bias".to_owned(),
            Tensor::new(&[7_f32], &Device::Cpu).unwrap(),
        );
        let before = state["itm_score.fc.bias"]
            .to_dtype(DType::F32)
            .unwrap()
            .to_vec1::<f32>()
            .unwrap();
        let state = translate(state).unwrap();
        let bias = state.tensors["itm_score.fc.bias"]
            .to_dtype(DType::F32)
            .unwrap()
            .to_vec1::<f32>()
            .unwrap();
        assert_eq!(bias, [before[0], 7.0]);
    }
}
