//! Speed of the model on a GPU: pictures and reranked pairs a second, batch by batch.
//!
//!     cargo bench -p bt-model --bench gpu --features cuda -- [--size base|large] [--precision bf16|f32] [--batches 16,64,128]
//!
//! Weights are random. `run.sh` beside this runs it with PyTorch's figures in one go and prints the table. With
//! `--write FOLDER` it leaves a checkpoint of that size there, and times nothing.

#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use bt_model::{
    BridgeTower, Checkpoint, Encoder, Event, Exec, Fit, ModelChoice, Pixels, Precision,
};
use candle_core::{Device, Tensor};
use support::{BASE, Body, LARGE, argument, row};

fn main() -> Result<()> {
    let size = argument("--size", "base");
    let body = match size.as_str() {
        "base" => BASE,
        "large" => LARGE,
        other => anyhow::bail!("--size {other}: base or large"),
    };
    let kept = argument("--write", "");
    if !kept.is_empty() {
        return Ok(support::write_random_checkpoint(Path::new(&kept), body)?);
    }
    let folder = tempfile::tempdir()?;
    let mut spec = argument("--checkpoint", "");
    if spec.is_empty() {
        support::write_random_checkpoint(folder.path(), body)?;
        spec = folder.path().display().to_string();
    }
    let precision: Precision = argument("--precision", "auto").parse()?;
    let exec = Exec::parse(&argument("--device", "cuda"))?.with_precision(precision)?;
    let batches = argument("--batches", "16,32,64,128,256");
    let batches: Vec<usize> = batches
        .split(',')
        .map(str::parse)
        .collect::<std::result::Result<_, _>>()?;

    let choice = ModelChoice {
        spec: spec.clone(),
        fit: Fit::Reference,
    };
    // The first load measures what the precision costs.
    let mut losses = Vec::new();
    let mut hear = |event| {
        if let Event::Loss { loss, .. } = event {
            losses.push(loss);
        }
    };
    Encoder::load(&choice, &exec, &mut hear)?;
    let start = Instant::now();
    let encoder = Encoder::load(&choice, &exec, &mut hear)?;
    let hopper = encoder.arithmetic().ends_with("-hopper");
    let kernels = if hopper { " with BT_HOPPER" } else { "" };
    let what = format!("{size} {} on {}{kernels}", encoder.precision(), exec.name());
    row(&format!("load {what}"), start.elapsed().as_secs_f64(), "s");
    let exec = exec.with_precision(encoder.precision())?;
    for loss in losses {
        eprintln!("{what}: {loss}");
        let off = 1e6 * (1.0 - f64::from(loss.cosine()));
        row(
            &format!("least cosine to f32, below 1 {what}"),
            off,
            "millionths",
        );
    }

    if argument("--once", "no") == "yes" {
        // For a profiler: what is chosen by measuring is chosen in the first run.
        let pixels = pixels(body, batches[0], &exec.device)?;
        encoder.model().image_itc_input(&pixels)?;
        encoder.model().image_itc_input(&pixels)?;
        return Ok(exec.device.synchronize()?);
    }
    let mut best = 0f64;
    for &batch in &batches {
        let speed = tower(encoder.model(), body, batch, &exec.device)?;
        best = best.max(speed);
        row(
            &format!("vision tower {what} batch {batch}"),
            speed,
            "images/s",
        );
    }
    row(
        &format!("vision tower {what} at its best"),
        best * flops(body) / 1e12,
        "TFLOP/s",
    );
    row(
        &format!("from memory to memory {what}"),
        stream(&encoder)?,
        "images/s",
    );
    for candidates in [20, 100] {
        row(
            &format!("rerank {what} {candidates} candidates, states kept"),
            rerank(&encoder, candidates)?,
            "pairs/s",
        );
    }
    let text = "a brown dog and a cat sleeping on the couch";
    let time = support::best(10, || {
        encoder.embed_texts(&[text]).expect("a text is embedded");
    });
    row(
        &format!("embed a text {what}"),
        time.as_secs_f64() * 1e3,
        "ms",
    );

    let time = cold(&spec, &exec)?;
    row(&format!("the graph alone, loaded again {what}"), time, "s");
    Ok(())
}

/// Pictures a second through the tower down to what the ITC head reads, pixels on the device already.
fn tower(model: &BridgeTower, body: Body, batch: usize, device: &Device) -> Result<f64> {
    /// Long enough that the clock of a busy GPU has settled.
    const SECONDS: f64 = 1.0;
    let pixels = pixels(body, batch, device)?;
    for _ in 0..3 {
        model.image_itc_input(&pixels)?;
    }
    device.synchronize()?;
    let start = Instant::now();
    let mut runs = 0;
    while start.elapsed().as_secs_f64() < SECONDS {
        // A few at a time, so that the GPU always has work while the clock is looked at.
        for _ in 0..4 {
            model.image_itc_input(&pixels)?;
        }
        device.synchronize()?;
        runs += 4;
    }
    Ok((runs * batch) as f64 / start.elapsed().as_secs_f64())
}

fn pixels(body: Body, batch: usize, device: &Device) -> Result<Tensor> {
    let shape = (batch, 3, body.image, body.image);
    Ok(Tensor::randn(0f32, 1.0, shape, &Device::Cpu)?.to_device(device)?)
}

/// Floating-point operations that a picture takes down to the first row of the last state: a multiplication
/// and an addition for each pair of factors, nothing counted beside products of matrices.
fn flops(body: Body) -> f64 {
    let d = body.hidden as f64;
    let tokens = ((body.image / body.patch).pow(2) + 1) as f64;
    let patches = (tokens - 1.0) * (3 * body.patch * body.patch) as f64 * d;
    let block = 12.0 * tokens * d * d + 2.0 * tokens * tokens * d;
    // The last block has all keys and values, and queries and all that follows for one row (queries are
    // computed for all, being one product with the others).
    let last = 3.0 * tokens * d * d + 9.0 * d * d + 2.0 * tokens * d;
    2.0 * (patches + (body.tower_layers as f64 - 1.0) * block + last)
}

/// Pictures a second from pixels in the processor's memory to vectors there, two batches in flight.
fn stream(encoder: &Encoder) -> Result<f64> {
    let side = encoder.image_side();
    let picture = |seed: usize| Pixels {
        values: (0..3 * side * side)
            .map(|i| ((i * 31 + seed * 17) % 255) as f32 / 127.0 - 1.0)
            .collect(),
        side,
    };
    let batch = encoder.pictures_at_once();
    let pictures: Vec<Pixels> = (0..batch).map(picture).collect();
    let pictures: Vec<&Pixels> = pictures.iter().collect();
    encoder.embed_pictures(&pictures)?;
    let rounds = (4096 / batch).max(4);
    let start = Instant::now();
    let mut running = None;
    for _ in 0..rounds {
        if let Some(started) = running.replace(encoder.start_pictures(&pictures)?) {
            bt_model::Started::finish(started)?;
        }
    }
    if let Some(started) = running {
        started.finish()?;
    }
    Ok((rounds * batch) as f64 / start.elapsed().as_secs_f64())
}

/// Pairs a second of one text with pictures whose states are on the device.
fn rerank(encoder: &Encoder, candidates: usize) -> Result<f64> {
    let side = encoder.image_side();
    let pictures: Vec<Pixels> = (0..candidates)
        .map(|seed| Pixels {
            values: vec![seed as f32 / 100.0; 3 * side * side],
            side,
        })
        .collect();
    let pictures: Vec<&Pixels> = pictures.iter().collect();
    let states = encoder.picture_states(&pictures)?;
    let states: Vec<_> = states.iter().collect();
    let time = support::best(10, || {
        encoder
            .match_logits("a brown dog and a cat sleeping on the couch", &states)
            .expect("pairs are scored");
    });
    Ok(candidates as f64 / time.as_secs_f64())
}

/// Seconds to load the graph when its file is in the page cache.
fn cold(spec: &str, exec: &Exec) -> Result<f64> {
    let checkpoint = Checkpoint::find(spec, &mut |_| {})?;
    let start = Instant::now();
    BridgeTower::load(&checkpoint, exec, &mut |_| {})?;
    exec.device.synchronize()?;
    Ok(start.elapsed().as_secs_f64())
}
