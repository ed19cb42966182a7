//! What the benchmarks share: timing, one line a figure, and checkpoints of full size with random weights
//! (the arithmetic is the same, and nothing has to be downloaded).
#![allow(dead_code, reason = "each benchmark uses its part")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use candle_core::{Device, Result, Tensor};

/// Prints `NAME<tab>VALUE<tab>UNIT`, the form that peers/peers.py prints too.
pub(crate) fn row(name: &str, value: f64, unit: &str) {
    println!("{name}\t{value:.3}\t{unit}");
}

/// The shortest of `runs` runs after one to warm up.
pub(crate) fn best(runs: usize, mut work: impl FnMut()) -> Duration {
    work();
    (0..runs)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed()
        })
        .min()
        .unwrap_or_default()
}

/// The value behind `--flag` on the command line, else the default.
pub(crate) fn argument(flag: &str, default: &str) -> String {
    let mut arguments = std::env::args().skip_while(|argument| argument != flag);
    arguments.nth(1).unwrap_or_else(|| default.to_owned())
}

/// Peak resident memory of this process in MB, since [`forget_peak`]; Linux only.
pub(crate) fn peak() -> Option<f64> {
    let status = fs_err::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kb: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kb / 1e3)
}

/// Counts the peak from now on, where the system lets it.
pub(crate) fn forget_peak() {
    let _ = fs_err::write("/proc/self/clear_refs", "5");
}

/// Sizes of a public body.
#[derive(Clone, Copy)]
pub(crate) struct Body {
    pub(crate) hidden: usize,
    pub(crate) heads: usize,
    pub(crate) tower_layers: usize,
    pub(crate) cross_layers: usize,
    pub(crate) image: usize,
    pub(crate) patch: usize,
    pub(crate) vocabulary: usize,
}

/// BridgeTower-base.
pub(crate) const BASE: Body = Body {
    hidden: 768,
    heads: 12,
    tower_layers: 12,
    cross_layers: 6,
    image: 288,
    patch: 16,
    vocabulary: 50265,
};

/// BridgeTower-large.
pub(crate) const LARGE: Body = Body {
    hidden: 1024,
    heads: 16,
    tower_layers: 24,
    cross_layers: 6,
    image: 294,
    patch: 14,
    vocabulary: 50265,
};

/// Writes a checkpoint folder of that size with random weights, ITC and ITM heads, and mini's tokenizer.
pub(crate) fn write_random_checkpoint(folder: &Path, body: Body) -> Result<()> {
    let Body { hidden: d, .. } = body;
    let mut tensors = Random::default();
    let vision = "bridgetower.vision_model.visual";
    let patches = (body.image / body.patch).pow(2);
    tensors.add(&format!("{vision}.embeddings.class_embedding"), &[d])?;
    tensors.add(
        &format!("{vision}.embeddings.patch_embedding.weight"),
        &[d, 3, body.patch, body.patch],
    )?;
    tensors.add(
        &format!("{vision}.embeddings.position_embedding.weight"),
        &[patches + 1, d],
    )?;
    tensors.norm(&format!("{vision}.ln_pre"), d)?;
    tensors.norm(&format!("{vision}.ln_post"), d)?;
    for layer in 0..body.tower_layers {
        let block = format!("{vision}.transformer.resblocks.{layer}");
        tensors.add(&format!("{block}.attn.in_proj_weight"), &[3 * d, d])?;
        tensors.add(&format!("{block}.attn.in_proj_bias"), &[3 * d])?;
        tensors.linear(&format!("{block}.attn.out_proj"), d, d)?;
        tensors.norm(&format!("{block}.ln_1"), d)?;
        tensors.norm(&format!("{block}.ln_2"), d)?;
        tensors.linear(&format!("{block}.mlp.c_fc"), 4 * d, d)?;
        tensors.linear(&format!("{block}.mlp.c_proj"), d, 4 * d)?;
    }
    let text = "bridgetower.text_model";
    for (table, rows) in [
        ("word", body.vocabulary),
        ("position", 514),
        ("token_type", 1),
    ] {
        tensors.add(
            &format!("{text}.embeddings.{table}_embeddings.weight"),
            &[rows, d],
        )?;
    }
    tensors.norm(&format!("{text}.embeddings.LayerNorm"), d)?;
    for layer in 0..body.tower_layers {
        tensors.text_layer(&format!("{text}.encoder.layer.{layer}"), d, false)?;
    }
    for side in ["text", "image"] {
        for layer in 0..body.cross_layers {
            tensors.text_layer(
                &format!("bridgetower.cross_modal_{side}_layers.{layer}"),
                d,
                true,
            )?;
        }
        for link in 0..body.cross_layers - 1 {
            tensors.norm(
                &format!("bridgetower.cross_modal_{side}_link_tower.{link}.LayerNorm"),
                d,
            )?;
        }
        tensors.linear(&format!("bridgetower.cross_modal_{side}_transform"), d, d)?;
        tensors.norm(&format!("bridgetower.cross_modal_{side}_layernorm"), d)?;
        tensors.linear(
            &format!("bridgetower.cross_modal_{side}_pooler.dense"),
            d,
            d,
        )?;
        tensors.linear(&format!("itc_{side}_head.fc"), 512, d)?;
    }
    tensors.add("bridgetower.token_type_embeddings.weight", &[2, d])?;
    tensors.linear("itc_cross_modal_head.fc", 512, 2 * d)?;
    tensors.linear("itm_score.fc", 2, 2 * d)?;
    tensors.add("logit_scale", &[])?;

    fs_err::create_dir_all(folder)?;
    candle_core::safetensors::save(&tensors.0, folder.join("model.safetensors"))?;
    let (heads, layers, image, patch) = (body.heads, body.tower_layers, body.image, body.patch);
    let config = serde_json::json!({
        "model_type": "bridgetower", "hidden_size": d, "num_attention_heads": heads,
        "num_hidden_layers": body.cross_layers, "contrastive_hidden_size": 512,
        "text_config": { "vocab_size": body.vocabulary, "hidden_size": d, "num_hidden_layers": layers,
            "num_attention_heads": heads, "intermediate_size": 4 * d },
        "vision_config": { "hidden_size": d, "num_hidden_layers": layers, "image_size": image, "patch_size": patch },
    });
    fs_err::write(folder.join("config.json"), config.to_string())?;
    let processor = serde_json::json!({
        "size": { "shortest_edge": image }, "crop_size": { "shortest_edge": image }, "size_divisor": patch,
    });
    fs_err::write(
        folder.join("preprocessor_config.json"),
        processor.to_string(),
    )?;
    // One benchmark is a crate's, the others are the root package's.
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tree = std::env::var_os("BT_TREE").map_or_else(|| built_in.to_owned(), PathBuf::from);
    let tokenizer = tree
        .ancestors()
        .map(|folder| folder.join("models/mini/tokenizer.json"))
        .find(|file| file.is_file());
    let tokenizer = tokenizer.ok_or_else(|| candle_core::Error::Msg("no models/mini".into()))?;
    fs_err::copy(tokenizer, folder.join("tokenizer.json"))?;
    Ok(())
}

/// Random weights, the same in each run, so that what was measured of them once is still known.
#[derive(Default)]
struct Random(HashMap<String, Tensor>, u64);

impl Random {
    fn add(&mut self, name: &str, shape: &[usize]) -> Result<()> {
        /// Of the sum of two numbers that are uniform from -1 to 1, to 0.02.
        const SCALE: f32 = 0.02 / 0.816_5;
        let mut uniform = || {
            self.1 = self
                .1
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (self.1 >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        let count: usize = shape.iter().product();
        let values: Vec<f32> = (0..count)
            .map(|_| SCALE * (uniform() + uniform()))
            .collect();
        let values = Tensor::from_vec(values, shape, &Device::Cpu)?;
        self.0.insert(name.to_owned(), values);
        Ok(())
    }

    fn linear(&mut self, name: &str, outputs: usize, inputs: usize) -> Result<()> {
        self.add(&format!("{name}.weight"), &[outputs, inputs])?;
        self.add(&format!("{name}.bias"), &[outputs])
    }

    fn norm(&mut self, name: &str, width: usize) -> Result<()> {
        let ones = Tensor::ones(width, candle_core::DType::F32, &Device::Cpu)?;
        self.0.insert(format!("{name}.weight"), ones);
        self.add(&format!("{name}.bias"), &[width])
    }

    fn text_layer(&mut self, name: &str, d: usize, cross: bool) -> Result<()> {
        let attentions: &[&str] = if cross {
            &["attention", "crossattention"]
        } else {
            &["attention"]
        };
        for attention in attentions {
            for part in ["self.query", "self.key", "self.value", "output.dense"] {
                self.linear(&format!("{name}.{attention}.{part}"), d, d)?;
            }
            self.norm(&format!("{name}.{attention}.output.LayerNorm"), d)?;
        }
        self.linear(&format!("{name}.intermediate.dense"), 4 * d, d)?;
        self.linear(&format!("{name}.output.dense"), d, 4 * d)?;
        self.norm(&format!("{name}.output.LayerNorm"), d)
    }
}
