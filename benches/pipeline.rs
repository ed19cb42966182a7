//! The programs as a user runs them: pictures/s and peak memory of a first run, time of a second run over
//! unchanged files, and the time from Enter to the answer.
//!
//!     cargo bench --bench pipeline -- [--pictures 200] [--megapixels 12]
//!
//! Peer for decoding: benches/peers/peers.py decode on the same files (`--keep DIR` keeps them).

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use image::{Rgb, RgbImage};
use support::{argument, row};

fn main() -> Result<()> {
    let pictures: u32 = argument("--pictures", "200").parse()?;
    let megapixels: f64 = argument("--megapixels", "12").parse()?;
    let scratch = tempfile::tempdir()?;
    let photos = match argument("--keep", "").as_str() {
        "" => scratch.path().join("photos"),
        folder => PathBuf::from(folder),
    };
    draw(&photos, pictures, megapixels)?;
    let index = scratch.path().join("index");
    let name = format!("{pictures} JPEGs of {megapixels} MP");

    let (seconds, peak) = run(
        env!("CARGO_BIN_EXE_bt-index"),
        &[&photos, Path::new("--index"), &index],
    )?;
    row(
        &format!("index {name}, mini"),
        f64::from(pictures) / seconds,
        "images/s",
    );
    row(&format!("peak memory, {name}"), peak, "MB");
    let (seconds, _) = run(
        env!("CARGO_BIN_EXE_bt-index"),
        &[&photos, Path::new("--index"), &index],
    )?;
    row(&format!("index again, {name}"), seconds, "s");

    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples");
    let index = scratch.path().join("samples-index");
    run(
        env!("CARGO_BIN_EXE_bt-index"),
        &[&samples, Path::new("--index"), &index],
    )?;
    for (what, rerank) in [
        ("bt-search, rerank 20", "20"),
        ("bt-search, no reranking", "0"),
    ] {
        let arguments = ["a cat on a couch", "--rerank", rerank, "--index"].map(Path::new);
        let arguments = [&arguments[..], &[&index]].concat();
        let mut times = Vec::new();
        let mut peak = 0.0;
        for _ in 0..5 {
            let (seconds, memory) = run(env!("CARGO_BIN_EXE_bt-search"), &arguments)?;
            times.push(seconds);
            peak = memory;
        }
        times.sort_by(f64::total_cmp);
        row(what, times[2] * 1e3, "ms (median of 5)");
        row(&format!("peak memory, {what}"), peak, "MB");
    }
    Ok(())
}

/// Pictures with edges, colours and noise, so that they compress and decode as photographs do.
fn draw(folder: &Path, pictures: u32, megapixels: f64) -> Result<()> {
    fs_err::create_dir_all(folder)?;
    let width = (megapixels * 1e6 * 4.0 / 3.0).sqrt() as u32;
    let height = width * 3 / 4;
    for seed in 0..pictures {
        let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12345);
        let picture = RgbImage::from_fn(width, height, |x, y| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = state >> 28;
            let block = (x / 97 + seed) ^ (y / 61);
            Rgb([
                ((x * 255 / width) + noise) as u8,
                ((block * 37) % 240 + noise) as u8,
                ((y * 240 / height) + noise) as u8,
            ])
        });
        let path = folder.join(format!("IMG_{seed:04}.jpg"));
        if !path.exists() {
            picture.save(path)?;
        }
    }
    Ok(())
}

/// Wall time in seconds and peak resident memory in MB (polled from /proc, so Linux only).
fn run<A: AsRef<Path>>(program: &str, arguments: &[A]) -> Result<(f64, f64)> {
    let start = Instant::now();
    let mut child = Command::new(program)
        .args(arguments.iter().map(AsRef::as_ref))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak_kb = 0.0;
    let exit = loop {
        if let Ok(text) = fs_err::read_to_string(&status)
            && let Some(line) = text.lines().find(|line| line.starts_with("VmHWM:"))
        {
            peak_kb = line
                .split_whitespace()
                .nth(1)
                .context("VmHWM has a value")?
                .parse()?;
        }
        if let Some(exit) = child.try_wait()? {
            break exit;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    };
    ensure!(
        matches!(exit.code(), Some(0 | 1)),
        "{program} ended with {exit}"
    );
    Ok((start.elapsed().as_secs_f64(), peak_kb / 1e3))
}
