//! Speed of the model: pictures, texts and reranked pairs a second, the time to load, and the memory.
//!
//!     cargo bench --bench model -- [--size base|large|mini] [--threads 2] [--precision f32|bf16|int8]
//!
//! The first load of a precision measures its loss, which takes longest; the second is what users wait for. `base` and `large` have random weights. Peers, in the same minute: benches/peers/peers.py vision, pair;
//! candle's own CLIP tower of the same size is timed here.

mod support;

use std::time::Instant;

use anyhow::Result;
use bt_model::{Encoder, Exec, Fit, ModelChoice, RerankSpeed};
use candle_core::{DType, Device, Module, Tensor};
use candle_nn::{VarBuilder, VarMap};
use candle_transformers::models::clip::text_model::Activation;
use candle_transformers::models::clip::vision_model::{ClipVisionConfig, ClipVisionTransformer};
use image::{Rgb, RgbImage};
use support::{BASE, Body, LARGE, argument, best, row};

/// What the programs allocate with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    let threads: usize = argument("--threads", "2").parse()?;
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()?;
    let size = argument("--size", "base");
    let folder = tempfile::tempdir()?;
    let (spec, body) = match size.as_str() {
        "mini" => ("mini".to_owned(), None),
        "base" | "large" => {
            let body = if size == "base" { BASE } else { LARGE };
            support::write_random_checkpoint(folder.path(), body)?;
            (folder.path().display().to_string(), Some(body))
        }
        other => anyhow::bail!("--size {other}: base, large or mini"),
    };

    let choice = ModelChoice {
        spec,
        fit: Fit::Reference,
    };
    let precision = argument("--precision", "f32");
    let exec = Exec::parse("cpu")?.with_precision(precision.parse()?)?;
    let size = format!("{size} {precision} {}", bt_model::processor_level());
    for time in ["first", "second"] {
        let start = Instant::now();
        Encoder::load(&choice, &exec, &mut |_| {})?;
        row(
            &format!("load {size}, the {time} time"),
            start.elapsed().as_secs_f64(),
            "s",
        );
    }
    support::forget_peak();
    let model = Encoder::load(&choice, &exec, &mut |_| {})?;

    let pictures: Vec<_> = (0..20).map(|seed| model.prepare(&drawn(seed))).collect();
    let pictures: Vec<_> = pictures.iter().collect();
    for batch in [1, 8] {
        let time = best(3, || {
            model
                .embed_pictures(&pictures[..batch])
                .expect("pictures are embedded");
        });
        row(
            &format!("embed pictures {size} batch {batch}"),
            batch as f64 / time.as_secs_f64(),
            "images/s",
        );
    }
    let text = "a brown dog and a cat sleeping on the couch";
    let time = best(10, || {
        model.embed_texts(&[text]).expect("a text is embedded");
    });
    row(
        &format!("embed a text {size}"),
        time.as_secs_f64() * 1e3,
        "ms",
    );
    if let Some(peak) = support::peak() {
        row(
            &format!("peak memory {size}, loaded and embedding"),
            peak,
            "MB",
        );
    }
    let states = model.picture_states(&pictures)?;
    let states: Vec<_> = states.iter().collect();
    let fast = Encoder::load(
        &choice,
        &exec.with_rerank_speed(RerankSpeed::Fast),
        &mut |_| {},
    )?;
    for model in [model, fast] {
        let time = best(3, || {
            model.match_logits(text, &states).expect("pairs are scored");
        });
        row(
            &format!(
                "rerank {size} {} 20 candidates, states kept",
                model.rerank_speed()
            ),
            20.0 / time.as_secs_f64(),
            "pairs/s",
        );
    }

    if let Some(body) = body
        && precision == "f32"
    {
        candle_clip(&size, body)?;
    }
    Ok(())
}

/// The same tower in candle-transformers as it comes: what BridgeTower's vision tower is without our work.
fn candle_clip(size: &str, body: Body) -> Result<()> {
    let config = ClipVisionConfig {
        embed_dim: body.hidden,
        activation: Activation::QuickGelu,
        intermediate_size: 4 * body.hidden,
        num_hidden_layers: body.tower_layers,
        num_attention_heads: body.heads,
        projection_dim: 512,
        num_channels: 3,
        image_size: body.image,
        patch_size: body.patch,
    };
    let weights = VarMap::new();
    let builder = VarBuilder::from_varmap(&weights, DType::F32, &Device::Cpu);
    let tower = ClipVisionTransformer::new(builder, &config)?;
    // Eight pictures at the size of large need more than 24 GB there.
    let batches: &[usize] = if body.tower_layers > 12 {
        &[1]
    } else {
        &[1, 8]
    };
    for &batch in batches {
        let pixels = Tensor::randn(0f32, 1., (batch, 3, body.image, body.image), &Device::Cpu)?;
        let time = best(3, || {
            tower.forward(&pixels).expect("the peer runs");
        });
        row(
            &format!("candle clip tower {size} batch {batch}"),
            batch as f64 / time.as_secs_f64(),
            "images/s",
        );
    }
    Ok(())
}

fn drawn(seed: u32) -> RgbImage {
    RgbImage::from_fn(400, 300, |x, y| {
        let value = |factor: u32| ((x * factor + y * (seed + 3)) % 256) as u8;
        Rgb([value(1), value(seed + 2), value(5)])
    })
}
