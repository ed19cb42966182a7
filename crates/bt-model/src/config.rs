//! config.json to [`Config`]: what the graph is. Every field that changes it is honoured or refused by
//! name; the fields that public configurations carry without effect are listed here and accepted; any
//! other is a warning that names it.
//!
//! Field names and defaults are transformers' (`BridgeTowerConfig`).

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::kernels::Activation;

/// Sizes above this are not those of a model; products of a few of them still fit in 64 bits.
const LARGEST: usize = 1 << 20;

/// The whole graph.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Config {
    /// D: width of the text tower and of the cross-modal layers.
    pub hidden_size: usize,
    /// C: cross-modal layers on each side.
    pub cross_layers: usize,
    /// Activation of the MLM head only.
    pub activation: Activation,
    /// Epsilon of the links, the two first norms and the MLM head.
    pub layer_norm_eps: f64,
    /// One transform for all bridges, or one each.
    pub shared_transforms: bool,
    /// How a bridge joins the stream.
    pub link: Link,
    /// Width of the ITC embeddings, where the configuration says it.
    pub contrastive_size: Option<usize>,
    /// Start value of the logit scale; a weight wins over it.
    pub logit_scale_init: Option<f32>,
    /// What the ITC image head reads.
    pub itc_image_from: ItcImageFrom,
    /// The text tower; heads, intermediate size, activation and epsilon also of the cross-modal layers.
    pub text: TextConfig,
    /// The vision tower.
    pub vision: VisionConfig,
}

/// How the bridge state `s` joins the stream `r`, before a LayerNorm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// `s + r`.
    Add,
    /// `f s + r` with a learned `f`.
    ScaledAdd,
    /// `(1 - beta) s + beta r` with a learned `beta`.
    Interpolate,
}

/// What the ITC image head reads: field `itc_image_from` of config.json, which is ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ItcImageFrom {
    /// The first row of the last bridge state (image transform and type embedding applied), as transformers.
    #[default]
    Bridge,
    /// The first row of `ln_post` of the last vision state, as the authors' own checkpoints.
    Tower,
}

/// The text tower (RoBERTa).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TextConfig {
    /// Rows of the word table.
    pub vocab_size: usize,
    /// N: layers.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Activation of the feed-forward layer.
    pub activation: Activation,
    /// Rows of the position table; a text may be as long as this less what stands before position `pad + 1`.
    pub max_positions: usize,
    /// Rows of the type table, of which the first is used.
    pub type_vocab_size: usize,
    /// Epsilon of the norms.
    pub layer_norm_eps: f64,
    /// Id of the padding token.
    pub pad_token_id: u32,
}

/// The vision tower (CLIP's ViT).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VisionConfig {
    /// Dv: width.
    pub hidden_size: usize,
    /// Blocks in the file; as many as the text tower has layers are run.
    pub layers: usize,
    /// Edge of a patch in pixels.
    pub patch_size: usize,
    /// Edge of the picture in pixels.
    pub image_size: usize,
    /// Epsilon of the norms.
    pub layer_norm_eps: f64,
}

impl TextConfig {
    /// The most tokens that a text may have, first and last included.
    pub fn max_tokens(&self) -> usize {
        self.max_positions
            .saturating_sub(self.pad_token_id as usize + 1)
    }
}

impl VisionConfig {
    /// Attention heads: not configurable, 64 wide each.
    pub fn heads(&self) -> usize {
        self.hidden_size / 64
    }

    /// Patches in a row and in a column.
    pub fn grid(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// P + 1: patches and the class token.
    pub fn tokens(&self) -> usize {
        self.grid() * self.grid() + 1
    }
}

impl Config {
    /// The first bridge reads the output of this layer (1-based) of either tower.
    pub fn split(&self) -> usize {
        self.text.layers + 1 - self.cross_layers
    }

    /// Reads config.json; `path` is what errors name. Returns the warnings too.
    pub(crate) fn parse(text: &str, path: &Path) -> Result<(Self, Vec<String>)> {
        let raw: Raw = serde_json::from_str(text).map_err(|cause| Error::BadFile {
            path: path.to_owned(),
            what: format!("not a model's configuration: {cause}"),
        })?;
        let unsupported = |what: String| Error::Unsupported {
            path: path.to_owned(),
            what,
        };
        let mut warnings = Vec::new();
        raw.check_rest(&mut warnings).map_err(unsupported)?;
        let config = raw.build().map_err(unsupported)?;
        config.check().map_err(unsupported)?;
        Ok((config, warnings))
    }

    fn check(&self) -> std::result::Result<(), String> {
        let (text, vision) = (&self.text, &self.vision);
        for (field, value) in [
            ("hidden_size", self.hidden_size),
            ("num_hidden_layers", self.cross_layers),
            (
                "contrastive_hidden_size",
                self.contrastive_size.unwrap_or(1),
            ),
            ("text_config.vocab_size", text.vocab_size),
            ("text_config.num_hidden_layers", text.layers),
            ("text_config.num_attention_heads", text.heads),
            ("text_config.intermediate_size", text.intermediate_size),
            ("text_config.max_position_embeddings", text.max_positions),
            ("text_config.type_vocab_size", text.type_vocab_size),
            ("vision_config.hidden_size", vision.hidden_size),
            ("vision_config.patch_size", vision.patch_size),
            ("vision_config.image_size", vision.image_size),
        ] {
            if value == 0 || value > LARGEST {
                return Err(format!(
                    "`{field}` is {value}; it must be between 1 and {LARGEST}"
                ));
            }
        }
        if !self.hidden_size.is_multiple_of(text.heads) {
            return Err(format!(
                "`hidden_size` {} is not a multiple of `text_config.num_attention_heads` {}",
                self.hidden_size, text.heads
            ));
        }
        if vision.heads() == 0 || !vision.hidden_size.is_multiple_of(vision.heads()) {
            return Err(format!(
                "`vision_config.hidden_size` {} cannot be split into heads of 64",
                vision.hidden_size
            ));
        }
        if self.cross_layers > text.layers {
            return Err(format!(
                "`num_hidden_layers` {} (cross-modal layers) is more than `text_config.num_hidden_layers` {}",
                self.cross_layers, text.layers
            ));
        }
        if vision.layers < text.layers {
            return Err(format!(
                "the vision tower has {} blocks (`vision_config.num_hidden_layers`, less one with `remove_last_layer`), \
                 but the bridges read {}, one for each text layer",
                vision.layers, text.layers
            ));
        }
        if vision.patch_size > vision.image_size {
            return Err(format!(
                "`vision_config.patch_size` {} is larger than `vision_config.image_size` {}",
                vision.patch_size, vision.image_size
            ));
        }
        if text.pad_token_id as usize >= text.vocab_size || text.max_tokens() < 2 {
            return Err(format!(
                "`text_config.pad_token_id` {} leaves no room in `vocab_size` {} or `max_position_embeddings` {}",
                text.pad_token_id, text.vocab_size, text.max_positions
            ));
        }
        Ok(())
    }
}

/// config.json as it is written. `Option` everywhere: null is the same as absent.
#[derive(Deserialize)]
struct Raw {
    hidden_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    hidden_act: Option<String>,
    layer_norm_eps: Option<f64>,
    share_cross_modal_transformer_layers: Option<bool>,
    share_link_tower_layers: Option<bool>,
    link_tower_type: Option<String>,
    contrastive_hidden_size: Option<usize>,
    logit_scale_init_value: Option<f32>,
    itc_image_from: Option<ItcImageFrom>,
    text_config: Option<RawText>,
    vision_config: Option<RawVision>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Default, Deserialize)]
struct RawText {
    vocab_size: Option<usize>,
    hidden_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    intermediate_size: Option<usize>,
    hidden_act: Option<String>,
    max_position_embeddings: Option<usize>,
    type_vocab_size: Option<usize>,
    layer_norm_eps: Option<f64>,
    pad_token_id: Option<u32>,
    is_decoder: Option<bool>,
    add_cross_attention: Option<bool>,
    position_embedding_type: Option<String>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Default, Deserialize)]
struct RawVision {
    hidden_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    patch_size: Option<usize>,
    image_size: Option<usize>,
    num_channels: Option<usize>,
    layer_norm_eps: Option<f64>,
    remove_last_layer: Option<bool>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

impl Raw {
    fn check_rest(&self, warnings: &mut Vec<String>) -> std::result::Result<(), String> {
        let no_rest = BTreeMap::new();
        let text = self
            .text_config
            .as_ref()
            .map_or(&no_rest, |text| &text.rest);
        let vision = self
            .vision_config
            .as_ref()
            .map_or(&no_rest, |vision| &vision.rest);
        for (place, rest) in [
            ("", &self.rest),
            ("text_config.", text),
            ("vision_config.", vision),
        ] {
            for (name, value) in rest {
                if name == "pruned_heads"
                    && value.as_object().is_some_and(|heads| !heads.is_empty())
                {
                    return Err(format!("`{place}pruned_heads` is not supported"));
                }
                if !DEAD.split_whitespace().any(|dead| dead == name) {
                    warnings.push(format!(
                        "config.json: `{place}{name}` is not known and has no effect"
                    ));
                }
            }
        }
        Ok(())
    }

    fn build(self) -> std::result::Result<Config, String> {
        if self.share_link_tower_layers == Some(true) {
            return Err("`share_link_tower_layers` = true is not supported: the reference implementation cannot run it, \
                        so there is nothing to agree with"
                .to_owned());
        }
        let link = match self.link_tower_type.as_deref() {
            None | Some("add") => Link::Add,
            Some("scaled_add") => Link::ScaledAdd,
            Some("interpolate") => Link::Interpolate,
            Some(other) => {
                return Err(format!(
                    "`link_tower_type` = \"{other}\" is not supported: add, scaled_add or interpolate"
                ));
            }
        };
        let hidden_size = self.hidden_size.unwrap_or(768);
        let raw_text = self.text_config.unwrap_or_default();
        let text_hidden = raw_text.hidden_size.unwrap_or(768);
        if text_hidden != hidden_size {
            return Err(format!(
                "`text_config.hidden_size` {text_hidden} differs from `hidden_size` {hidden_size}"
            ));
        }
        Ok(Config {
            hidden_size,
            cross_layers: self.num_hidden_layers.unwrap_or(6),
            activation: activation("hidden_act", self.hidden_act)?,
            layer_norm_eps: eps("layer_norm_eps", self.layer_norm_eps)?,
            shared_transforms: self.share_cross_modal_transformer_layers.unwrap_or(true),
            link,
            contrastive_size: self.contrastive_hidden_size,
            logit_scale_init: self.logit_scale_init_value,
            itc_image_from: self.itc_image_from.unwrap_or_default(),
            text: raw_text.build()?,
            vision: self.vision_config.unwrap_or_default().build()?,
        })
    }
}

impl RawText {
    fn build(self) -> std::result::Result<TextConfig, String> {
        for (field, value) in [
            ("is_decoder", self.is_decoder),
            ("add_cross_attention", self.add_cross_attention),
        ] {
            if value == Some(true) {
                return Err(format!(
                    "`text_config.{field}` = true is not supported: the text tower is an encoder"
                ));
            }
        }
        if let Some(other) = self
            .position_embedding_type
            .filter(|kind| kind != "absolute")
        {
            return Err(format!(
                "`text_config.position_embedding_type` = \"{other}\" is not supported: absolute"
            ));
        }
        Ok(TextConfig {
            vocab_size: self.vocab_size.unwrap_or(50265),
            layers: self.num_hidden_layers.unwrap_or(12),
            heads: self.num_attention_heads.unwrap_or(12),
            intermediate_size: self.intermediate_size.unwrap_or(3072),
            activation: activation("text_config.hidden_act", self.hidden_act)?,
            max_positions: self.max_position_embeddings.unwrap_or(514),
            type_vocab_size: self.type_vocab_size.unwrap_or(1),
            layer_norm_eps: eps("text_config.layer_norm_eps", self.layer_norm_eps)?,
            pad_token_id: self.pad_token_id.unwrap_or(1),
        })
    }
}

impl RawVision {
    fn build(self) -> std::result::Result<VisionConfig, String> {
        if let Some(other) = self.num_channels.filter(|channels| *channels != 3) {
            return Err(format!(
                "`vision_config.num_channels` = {other} is not supported: pictures have 3"
            ));
        }
        let removed = usize::from(self.remove_last_layer == Some(true));
        Ok(VisionConfig {
            hidden_size: self.hidden_size.unwrap_or(768),
            layers: self.num_hidden_layers.unwrap_or(12).saturating_sub(removed),
            patch_size: self.patch_size.unwrap_or(16),
            image_size: self.image_size.unwrap_or(288),
            layer_norm_eps: eps("vision_config.layer_norm_eps", self.layer_norm_eps)?,
        })
    }
}

fn activation(field: &str, name: Option<String>) -> std::result::Result<Activation, String> {
    let name = name.as_deref().unwrap_or("gelu");
    Activation::by_name(name).ok_or_else(|| {
        format!(
            "`{field}` = \"{name}\" is not supported: {}",
            Activation::NAMES
        )
    })
}

fn eps(field: &str, value: Option<f64>) -> std::result::Result<f64, String> {
    let value = value.unwrap_or(1e-5);
    if value > 0.0 && value < 1.0 {
        Ok(value)
    } else {
        Err(format!(
            "`{field}` is {value}; it must be above 0 and below 1"
        ))
    }
}

/// Fields without effect on inference: transformers' bookkeeping, training options, what the public
/// checkpoints carry, and options whose either value gives the same result (`share_layernorm` only adds
/// weights that the multimodal path never reads; the vision tower ignores `hidden_act`).
const DEAD: &str = "
    _attn_implementation_autoset _name_or_path add_cross_attention architectures
    attention_probs_dropout_prob attn_implementation auto_map bad_words_ids
    begin_suppress_tokens bos_token_id chunk_size_feed_forward classifier_dropout
    cross_attention_hidden_size decoder_start_token_id diversity_penalty do_sample drop_rate
    dtype early_stopping encoder_no_repeat_ngram_size eos_token_id
    exponential_decay_length_penalty finetuning_task forced_bos_token_id forced_eos_token_id
    gradient_checkpointing head_hidden_scale hidden_act hidden_dropout_prob id2label image_size
    init_layernorm_from_vision_encoder init_layernorm_from_vit initializer_factor
    initializer_range input_image_embed_size input_text_embed_size intermediate_size is_decoder
    is_encoder_decoder label2id length_penalty max_length max_position_embeddings max_text_len
    min_length mlp_ratio model_type no_repeat_ngram_size num_attention_heads num_beam_groups
    num_beams num_return_sequences output_attentions output_hidden_states output_scores
    pad_token_id position_embedding_type prefix problem_type pruned_heads remove_invalid_values
    repetition_penalty return_dict return_dict_in_generate sep_token_id share_layernorm
    stop_gradient suppress_tokens task_specific_params temperature text_config_dict
    tf_legacy_loss tie_encoder_decoder tie_word_embeddings tokenizer_class top_k top_p
    torch_dtype torchscript transformers_version type_vocab_size typical_p use_bfloat16
    use_cache vision_config_dict vit_layernorm_shared vit_remove_last vocab_size
";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<(Config, Vec<String>)> {
        Config::parse(json, Path::new("config.json"))
    }

    fn refused(json: &str) -> String {
        let error = parse(json).unwrap_err();
        assert_eq!(error.kind(), crate::Kind::Incompatible, "{error}");
        error.to_string()
    }

    #[test]
    fn an_empty_configuration_is_the_base_model() {
        for json in ["{}", r#"{"text_config": null, "vision_config": null}"#] {
            let (config, warnings) = parse(json).unwrap();
            assert!(warnings.is_empty());
            assert_eq!(
                (config.hidden_size, config.cross_layers, config.split()),
                (768, 6, 7)
            );
            assert_eq!(
                (
                    config.text.layers,
                    config.text.heads,
                    config.text.max_tokens()
                ),
                (12, 12, 512)
            );
            assert_eq!((config.vision.heads(), config.vision.tokens()), (12, 325));
        }
    }

    /// The union over the public files and their history; one field more, to see that the list is not "anything".
    #[test]
    fn dead_fields_of_the_public_configurations_are_accepted_in_silence() {
        let json = r#"{
            "architectures": ["BridgeTowerForMaskedLM"], "drop_rate": 0.1, "head_hidden_scale": 2,
            "input_image_embed_size": 768, "input_text_embed_size": 768, "max_text_len": 50, "mlp_ratio": 4,
            "image_size": 288, "initializer_range": 0.02, "classifier_dropout": null, "is_encoder_decoder": false,
            "position_embedding_type": "absolute", "use_cache": true, "vit_remove_last": false,
            "vit_layernorm_shared": true, "init_layernorm_from_vit": false, "text_config_dict": null,
            "vision_config_dict": null, "tie_word_embeddings": false, "torch_dtype": "float32",
            "transformers_version": "4.26.0", "num_attention_heads": 12, "initializer_factor": 1,
            "init_layernorm_from_vision_encoder": false, "model_type": "bridgetower",
            "text_config": {"_name_or_path": "", "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1,
                "bos_token_id": 0, "eos_token_id": 2, "chunk_size_feed_forward": 0, "top_k": 50, "use_cache": true},
            "vision_config": {"stop_gradient": false, "share_layernorm": false, "init_layernorm_from_vit": false,
                "input_resolution": null}
        }"#;
        let (_, warnings) = parse(json).unwrap();
        assert_eq!(
            warnings,
            ["config.json: `vision_config.input_resolution` is not known and has no effect"]
        );
    }

    #[test]
    fn an_unknown_field_is_a_warning_that_names_it() {
        let (_, warnings) = parse(r#"{"sparkle": 1, "text_config": {"glitter": 2}}"#).unwrap();
        assert_eq!(warnings.len(), 2);
        assert!(
            warnings[0].contains("`sparkle`") && warnings[1].contains("`text_config.glitter`"),
            "{warnings:?}"
        );
    }

    #[test]
    fn options_that_are_not_honoured_are_refused_by_name() {
        for (json, name) in [
            (
                r#"{"share_link_tower_layers": true}"#,
                "share_link_tower_layers",
            ),
            (r#"{"link_tower_type": "multiply"}"#, "link_tower_type"),
            (r#"{"hidden_act": "mish"}"#, "hidden_act"),
            (
                r#"{"text_config": {"hidden_act": "xielu"}}"#,
                "text_config.hidden_act",
            ),
            (
                r#"{"text_config": {"is_decoder": true}}"#,
                "text_config.is_decoder",
            ),
            (
                r#"{"text_config": {"add_cross_attention": true}}"#,
                "text_config.add_cross_attention",
            ),
            (
                r#"{"text_config": {"position_embedding_type": "relative_key"}}"#,
                "position_embedding_type",
            ),
            (
                r#"{"text_config": {"pruned_heads": {"1": [0]}}}"#,
                "text_config.pruned_heads",
            ),
            (
                r#"{"vision_config": {"num_channels": 1}}"#,
                "vision_config.num_channels",
            ),
        ] {
            let error = refused(json);
            assert!(error.contains(name), "{json}: {error}");
        }
    }

    #[test]
    fn sizes_that_cannot_be_are_refused() {
        for json in [
            r#"{"hidden_size": 1024}"#,
            r#"{"hidden_size": 0, "text_config": {"hidden_size": 0}}"#,
            r#"{"num_hidden_layers": 13}"#,
            r#"{"text_config": {"num_attention_heads": 7}}"#,
            r#"{"text_config": {"vocab_size": 99999999999}}"#,
            r#"{"text_config": {"max_position_embeddings": 3}}"#,
            r#"{"text_config": {"pad_token_id": 4294967295}}"#,
            r#"{"vision_config": {"hidden_size": 32}}"#,
            r#"{"vision_config": {"num_hidden_layers": 11}}"#,
            r#"{"vision_config": {"remove_last_layer": true}}"#,
            r#"{"vision_config": {"patch_size": 999}}"#,
            r#"{"layer_norm_eps": -1.0}"#,
        ] {
            refused(json);
        }
    }

    #[test]
    fn text_that_is_no_configuration_names_the_file() {
        for json in [
            "",
            "[]",
            "{\"hidden_size\": \"many\"}",
            "{\"itc_image_from\": \"moon\"}",
        ] {
            let error = parse(json).unwrap_err();
            assert_eq!(error.kind(), crate::Kind::Corrupt);
            assert!(error.to_string().starts_with("`config.json`"), "{error}");
        }
    }

    #[test]
    fn the_options_of_the_graph_are_read() {
        let json = r#"{"link_tower_type": "interpolate", "share_cross_modal_transformer_layers": false,
            "hidden_act": "gelu_new", "itc_image_from": "tower", "contrastive_hidden_size": 256,
            "vision_config": {"num_hidden_layers": 13, "remove_last_layer": true, "hidden_size": 1024}}"#;
        let (config, _) = parse(json).unwrap();
        assert_eq!(
            (config.link, config.shared_transforms),
            (Link::Interpolate, false)
        );
        assert_eq!(
            (config.activation, config.itc_image_from),
            (Activation::GeluTanh, ItcImageFrom::Tower)
        );
        assert_eq!((config.vision.layers, config.vision.heads()), (12, 16));
    }
}
