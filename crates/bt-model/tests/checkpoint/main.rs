//! Checkpoints as people have them: without heads, without prefix, in other number formats, damaged, with
//! odd configurations. Each is made from the golden case `tiny` in a folder of its own.
#![allow(clippy::unwrap_used)]

mod damage;
mod options;
mod texts;
mod weights;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bt_model::{
    BridgeTower, Checkpoint, Encoder, Error, Event, Exec, Fit, Heads, Kind, ModelChoice, Pixels,
    Probe, Result, Stage,
};
use candle_core::{D, DType, Device, Tensor};
use serde_json::{Value, json};
use tempfile::TempDir;

const TEXT: &str = "a cat on the red tree";
const NO_HEADS: Heads = Heads {
    itc: false,
    itc_cross: false,
    itm: false,
    mlm: false,
};

fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/tiny")
}

/// A copy of `tiny` that a test may change.
struct Folder {
    dir: TempDir,
    config: Value,
    tensors: HashMap<String, Tensor>,
}

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for file in ["preprocessor_config.json", "tokenizer.json"] {
            fs_err::copy(tiny().join(file), dir.path().join(file)).unwrap();
        }
        let config =
            serde_json::from_slice(&fs_err::read(tiny().join("config.json")).unwrap()).unwrap();
        let tensors =
            candle_core::safetensors::load(tiny().join("model.safetensors"), &Device::Cpu).unwrap();
        let tensors = tensors
            .into_iter()
            .map(|(name, x)| (name, x.to_dtype(DType::F32).unwrap()))
            .collect();
        Self {
            dir,
            config,
            tensors,
        }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    fn write(&self, file: &str, text: impl AsRef<[u8]>) {
        fs_err::write(self.path(file), text).unwrap();
    }

    fn without(mut self, beginnings: &[&str]) -> Self {
        self.tensors.retain(|name, _| {
            !beginnings
                .iter()
                .any(|beginning| name.starts_with(beginning))
        });
        self
    }

    fn without_heads(self) -> Self {
        self.without(&["itc_", "itm_", "mlm_", "logit_scale"])
    }

    fn save(&self) {
        self.write("config.json", self.config.to_string());
        candle_core::safetensors::save(&self.tensors, self.path("model.safetensors")).unwrap();
    }

    fn load(&self) -> Result<Encoder> {
        self.save();
        self.load_saved()
    }

    fn load_saved(&self) -> Result<Encoder> {
        load(&self.dir.path().display().to_string(), Fit::Reference)
    }
}

fn load(spec: &str, fit: Fit) -> Result<Encoder> {
    Encoder::load(
        &ModelChoice {
            spec: spec.to_owned(),
            fit,
        },
        &Exec::cpu(),
        &mut |_| {},
    )
}

/// Pictures that differ, in the size that `encoder` reads.
fn pictures(encoder: &Encoder, count: usize) -> Vec<Pixels> {
    let side = encoder.image_side();
    let value = |p: usize, i: usize| {
        (((i * 31 + p * 17) % 97) as f32 / 48.0 - 1.0) * (1.0 + p as f32 / 10.0)
    };
    (0..count)
        .map(|p| Pixels {
            values: (0..3 * side * side).map(|i| value(p, i)).collect(),
            side,
        })
        .collect()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

fn length(vector: &[f32]) -> f32 {
    vector.iter().map(|x| x * x).sum::<f32>().sqrt()
}
