//! Where the time of a picture goes: the blocks of base's vision tower as a loop over the kernels, with nothing of the
//! graph around them. A measurement, not a test:
//!
//!     cargo test --release --workspace --lib where_the_time_goes -- --ignored --nocapture

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use half::bf16;
use rayon::prelude::*;

use super::attention::{States, attend};
use super::out::Number;
use super::pack::{Format, Packed};
use super::product::{Follow, multiplied};
use super::rows::{Matrix, Norm, Rows, Values};
use super::{Activation, Level, On};

const TOKENS: usize = 325;
const WIDTH: usize = 768;
const HEADS: usize = 12;
const BLOCKS: usize = 12;

const PARTS: [&str; 7] = [
    "rows: norms and conversion",
    "query, key, value",
    "attention",
    "output",
    "first of the feed-forward layers, activation",
    "its rows",
    "second",
];

#[test]
#[ignore = "a measurement"]
fn where_the_time_goes() {
    for format in [
        Format::exact_for_many(Level::best()),
        Format::Bf16,
        Format::bytes(Level::best()),
    ] {
        let tower = Tower::new(format);
        let mut best = (f64::MAX, Vec::new());
        for _ in 0..5 {
            let times = PARTS.map(|_| AtomicU64::new(0));
            let start = Instant::now();
            (0..8).into_par_iter().for_each(|_| tower.picture(&times));
            let seconds = start.elapsed().as_secs_f64() / 8.0;
            if seconds < best.0 {
                best = (
                    seconds,
                    times.iter().map(|time| time.load(Relaxed)).collect(),
                );
            }
        }
        let all: u64 = best.1.iter().sum();
        eprintln!(
            "{format:?} {}: {:.1} pictures/s",
            Level::best().name(),
            1.0 / best.0
        );
        for (part, time) in PARTS.iter().zip(best.1) {
            eprintln!("  {:4.1} %  {part}", 100.0 * time as f64 / all as f64);
        }
    }
}

struct Tower {
    format: Format,
    blocks: Vec<[Packed; 4]>,
    pixels: Vec<f32>,
}

fn numbers(count: usize, scale: f32, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (state as f32 / u32::MAX as f32 - 0.5) * scale
        })
        .collect()
}

fn matrix(values: Values<'_>, rows: usize, columns: usize) -> Matrix<'_> {
    Matrix::new(Level::best(), values, rows, columns, columns)
}

impl Tower {
    fn new(format: Format) -> Self {
        let layer = |seed: usize, inputs: usize, outputs: usize| {
            let weight = numbers(inputs * outputs, 0.1, seed as u32);
            let weight = matrix(Values::F32(&weight), outputs, inputs);
            Packed::from_rows(format, weight, On::ThePool)
        };
        Self {
            format,
            blocks: (0..BLOCKS)
                .map(|i| {
                    [
                        layer(4 * i, WIDTH, 3 * WIDTH),
                        layer(4 * i + 1, WIDTH, WIDTH),
                        layer(4 * i + 2, WIDTH, 4 * WIDTH),
                        layer(4 * i + 3, 4 * WIDTH, WIDTH),
                    ]
                })
                .collect(),
            pixels: numbers(TOKENS * WIDTH, 2.0, 1),
        }
    }

    fn picture(&self, times: &[AtomicU64; 7]) {
        if self.format.is_short() {
            self.through::<bf16>(times, |values| Values::Bf16(values), Format::Bf16);
        } else {
            self.through::<f32>(times, |values| Values::F32(values), self.format);
        }
    }

    fn through<T: Number>(
        &self,
        times: &[AtomicU64; 7],
        values: impl for<'a> Fn(&'a [T]) -> Values<'a>,
        attention: Format,
    ) {
        let level = Level::best();
        let (ones, zeros) = (vec![1.0; WIDTH], vec![0.0; WIDTH]);
        let norm = Norm {
            weight: &ones,
            bias: &zeros,
            eps: 1e-5,
        };
        let bias = vec![0.01; 4 * WIDTH];
        let mut begun = Instant::now();
        let mut lap = |part: usize| {
            times[part].fetch_add(begun.elapsed().as_nanos() as u64, Relaxed);
            begun = Instant::now();
        };
        let rows = |x: Values<'_>, width: usize, norm: Option<Norm<'_>>| {
            Rows::prepare(
                self.format,
                matrix(x, TOKENS, width),
                norm,
                None,
                On::ThisThread,
            )
        };
        let follow = |width: usize| Follow {
            bias: Some(&bias[..width]),
            ..Follow::default()
        };
        let mut x = self.pixels.clone();
        for [qkv, out, wide, narrow] in &self.blocks {
            let normed = rows(Values::F32(&x), WIDTH, Some(norm));
            lap(0);
            let all: Vec<T> = multiplied(&normed, qkv, follow(3 * WIDTH), On::ThisThread);
            drop(normed);
            lap(1);
            let part = |i: usize| States {
                values: values(&all[i * WIDTH..]),
                batch: 1,
                tokens: TOKENS,
                width: WIDTH,
                batch_stride: TOKENS * 3 * WIDTH,
                row_stride: 3 * WIDTH,
            };
            let read: Vec<T> = attend(attention, level, [part(0), part(1), part(2)], HEADS, None);
            lap(2);
            let read = rows(values(&read), WIDTH, None);
            lap(0);
            let then = Follow {
                residual: Some(&x),
                ..follow(WIDTH)
            };
            let y: Vec<f32> = multiplied(&read, out, then, On::ThisThread);
            drop(read);
            lap(3);
            let normed = rows(Values::F32(&y), WIDTH, Some(norm));
            lap(0);
            let then = Follow {
                activation: Some(Activation::QuickGelu),
                ..follow(4 * WIDTH)
            };
            let inner: Vec<T> = multiplied(&normed, wide, then, On::ThisThread);
            drop(normed);
            lap(4);
            let inner = rows(values(&inner), 4 * WIDTH, None);
            lap(5);
            let then = Follow {
                residual: Some(&y),
                ..follow(WIDTH)
            };
            x = multiplied(&inner, narrow, then, On::ThisThread);
            lap(6);
        }
        std::hint::black_box(x);
    }
}
