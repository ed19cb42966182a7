//! Products on every level: against plain twins, exact sums, and what follows them.

use super::super::rows::{Matrix, Norm, Values};
use super::*;

fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

fn run(
    format: Format,
    level: Level,
    x: &[f32],
    weight: &[f32],
    (inputs, outputs): (usize, usize),
) -> Vec<f32> {
    let count = x.len() / inputs;
    let packed = Packed::from_rows(format, matrix(level, weight, inputs), On::ThePool);
    let rows = Rows::prepare(format, matrix(level, x, inputs), None, None, On::ThePool);
    let mut y = vec![f32::NAN; count * outputs];
    multiply(
        &rows,
        &packed,
        Follow::default(),
        Out::new(&mut y, count, outputs, outputs),
        On::ThePool,
    );
    y
}

fn matrix(level: Level, values: &[f32], columns: usize) -> Matrix<'_> {
    Matrix::new(
        level,
        Values::F32(values),
        values.len() / columns,
        columns,
        columns,
    )
}

const FORMATS: [Format; 5] = [
    Format::F32,
    Format::Split,
    Format::Bf16,
    Format::Int8,
    Format::Int7,
];

const SHAPES: [(usize, usize, usize); 9] = [
    (1, 1, 1),
    (3, 5, 2),
    (12, 64, 33),
    (31, 100, 31),
    (35, 192, 96),
    (62, 65, 64),
    (100, 300, 200),
    (325, 130, 70),
    // Rows that are multiplied in parts.
    (50, 5000, 40),
];

#[test]
fn every_level_gives_what_the_portable_one_gives() {
    for (count, inputs, outputs) in SHAPES {
        let (x, w) = (numbers(count * inputs, 1), numbers(outputs * inputs, 2));
        for format in FORMATS {
            let expected = run(format, Level::Portable, &x, &w, (inputs, outputs));
            for level in Level::available() {
                let got = run(format, level, &x, &w, (inputs, outputs));
                for (i, (got, expected)) in got.iter().zip(&expected).enumerate() {
                    // Sums of 8-bit products are exact; those of floating point are in another order.
                    let off = match format {
                        Format::Int8 | Format::Int7 => 0.0,
                        _ => 2e-5 * (inputs as f32 / 300.0).max(1.0),
                    };
                    assert!(
                        (got - expected).abs() <= off,
                        "{format:?} {level:?} {count} {inputs} {outputs}, value {i}: {got}, {expected}"
                    );
                }
            }
        }
    }
}

#[test]
fn each_format_is_as_near_as_its_numbers_allow() {
    for (count, inputs, outputs) in SHAPES {
        let (x, w) = (numbers(count * inputs, 3), numbers(outputs * inputs, 4));
        let exact: Vec<f64> = (0..count * outputs)
            .map(|i| {
                let (r, c) = (i / outputs, i % outputs);
                (0..inputs)
                    .map(|k| f64::from(x[r * inputs + k]) * f64::from(w[c * inputs + k]))
                    .sum()
            })
            .collect();
        for (format, bound) in [
            (Format::F32, 3e-6),
            (Format::Split, 3e-6),
            (Format::Bf16, 5e-3),
            (Format::Int8, 8e-3),
            (Format::Int7, 16e-3),
        ] {
            let got = run(format, Level::best(), &x, &w, (inputs, outputs));
            let scale = (inputs as f64).sqrt();
            for (got, exact) in got.iter().zip(&exact) {
                let off = (f64::from(*got) - exact).abs() / scale;
                assert!(off < bound, "{format:?} {count} {inputs} {outputs}: {off}");
            }
        }
    }
}

/// Large models have a few channels that are tens of times larger than all others.
#[test]
fn a_few_large_inputs_do_not_cost_the_others_their_digits() {
    let (count, inputs, outputs) = (40, 768, 64);
    let w = numbers(outputs * inputs, 21);
    let with = |large: [f32; 3]| {
        let mut x = numbers(count * inputs, 20);
        for row in x.chunks_mut(inputs) {
            (row[5], row[400], row[767]) = (large[0] * row[5], large[1], large[2] * row[767]);
        }
        x
    };
    let shape = (inputs, outputs);
    let x = with([300.0, 80.0, -60.0]);
    let exact = run(Format::F32, Level::Portable, &x, &w, shape);
    let others = run(Format::F32, Level::Portable, &with([0.0; 3]), &w, shape);
    let size = (others.iter().map(|x| x * x).sum::<f32>() / others.len() as f32).sqrt();
    for level in Level::available() {
        for (format, bound) in [(Format::Int8, 0.05), (Format::Int7, 0.1)] {
            let got = run(format, level, &x, &w, shape);
            let squares = got.iter().zip(&exact).map(|(a, b)| (a - b).powi(2));
            let off = (squares.sum::<f32>() / got.len() as f32).sqrt() / size;
            assert!(off < bound, "{format:?} {level:?}: {off}");
        }
    }
}

/// The largest numbers of both signs side by side: what 16-bit sums of pairs would saturate at.
#[test]
fn no_sum_of_bytes_saturates() {
    let inputs = 256;
    let x = vec![1.0; 8 * inputs];
    let w: Vec<f32> = (0..40 * inputs)
        .map(|i| if i / inputs % 2 == 0 { 1.0 } else { -1.0 })
        .collect();
    for level in Level::available() {
        for format in [Format::Int8, Format::Int7] {
            let y = run(format, level, &x, &w, (inputs, 40));
            for (i, y) in y.iter().enumerate() {
                let expected = if i % 40 % 2 == 0 { 256.0 } else { -256.0 };
                assert!((y - expected).abs() < 0.01, "{format:?} {level:?}: {y}");
            }
        }
    }
}

#[test]
fn what_follows_is_done_in_its_order() {
    let (count, inputs, outputs) = (37, 48, 70);
    let (values, w) = (numbers(count * inputs, 5), numbers(outputs * inputs, 6));
    let (bias, residual) = (numbers(outputs, 7), numbers(count * outputs, 8));
    let (weight, shift) = (numbers(inputs, 9), numbers(inputs, 10));
    let row_scale = numbers(count, 14);
    let norm = Norm {
        weight: &weight,
        bias: &shift,
        eps: 1e-5,
    };
    for level in Level::available() {
        let packed = Packed::from_rows(Format::F32, matrix(level, &w, inputs), On::ThisThread);
        let x = matrix(level, &values, inputs);
        let rows = Rows::prepare(Format::F32, x, Some(norm), None, On::ThisThread);
        let follow = Follow {
            row_scale: Some(&row_scale),
            bias: Some(&padded(&bias)),
            activation: Some(Activation::QuickGelu),
            residual: Some(&residual),
        };
        // Two columns are left free between rows.
        let mut y = vec![f32::NAN; count * (outputs + 2)];
        let out = Out::new(&mut y, count, outputs, outputs + 2);
        multiply(&rows, &packed, follow, out, On::ThePool);
        let mut short = vec![bf16::ZERO; count * outputs];
        let out = Out::new(&mut short, count, outputs, outputs);
        multiply(&rows, &packed, follow, out, On::ThePool);
        for r in 0..count {
            let row = &values[r * inputs..][..inputs];
            let mean = row.iter().sum::<f32>() / inputs as f32;
            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / inputs as f32;
            for c in 0..outputs {
                let sum: f32 = (0..inputs)
                    .map(|k| {
                        ((row[k] - mean) / (variance + 1e-5).sqrt() * weight[k] + shift[k])
                            * w[c * inputs + k]
                    })
                    .sum::<f32>()
                    * row_scale[r]
                    + bias[c];
                let expected = sum / (1.0 + (-1.702 * sum).exp()) + residual[r * outputs + c];
                let got = y[r * (outputs + 2) + c];
                assert!(
                    (got - expected).abs() < 1e-4,
                    "{level:?} {r} {c}: {got}, {expected}"
                );
                let near = f32::from(short[r * outputs + c]);
                assert!((near - got).abs() <= got.abs() / 128.0);
            }
            assert!(
                y[r * (outputs + 2) + outputs..(r + 1) * (outputs + 2)]
                    .iter()
                    .all(|y| y.is_nan())
            );
        }
    }
}

#[test]
fn columns_pack_like_the_rows_of_the_transposed() {
    let (inputs, outputs) = (37, 50);
    let w = numbers(inputs * outputs, 13);
    let turned: Vec<f32> = (0..w.len())
        .map(|i| w[i % inputs * outputs + i / inputs])
        .collect();
    for level in Level::available() {
        for format in [Format::F32, Format::Split, Format::Bf16] {
            let columns = Packed::from_columns(format, matrix(level, &w, outputs));
            let rows = Packed::from_rows(format, matrix(level, &turned, inputs), On::ThisThread);
            assert_eq!(columns.values::<u32>(), rows.values::<u32>(), "{format:?}");
        }
    }
}

#[test]
fn what_is_no_number_stays_none() {
    let mut x = numbers(3 * 64, 11);
    x[70] = f32::NAN;
    let w = numbers(32 * 64, 12);
    for format in FORMATS {
        for level in Level::available() {
            let y = run(format, level, &x, &w, (64, 32));
            assert!(y[..32].iter().chain(&y[64..]).all(|y| y.is_finite()));
            assert!(y[32..64].iter().all(|y| y.is_nan()), "{format:?} {level:?}");
            let mut damaged = w.clone();
            damaged[5 * 64 + 7] = f32::NAN;
            let y = run(format, level, &w[..3 * 64], &damaged, (64, 32));
            for (place, y) in y.iter().enumerate() {
                assert_eq!(y.is_nan(), place % 32 == 5, "{format:?} {level:?} {place}");
            }
        }
    }
}
