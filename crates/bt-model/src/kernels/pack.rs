//! Weights in the order in which kernels read them, in three kinds of number. Where they come from is not
//! known here.

use half::bf16;
use rayon::prelude::*;

use super::lines::Lines;
use super::tile::COLUMNS;

/// The kind of number that weights are kept in, and that products are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// 32-bit floating point.
    F32,
    /// bfloat16, summed in f32.
    Bf16,
    /// 8-bit integers, a scale an output for weights and a scale and a zero a row for what they are multiplied
    /// with, summed in i32.
    Int8,
}

impl Format {
    /// Elements of a group, which is four bytes.
    pub(crate) fn group(self) -> usize {
        match self {
            Self::F32 => 1,
            Self::Bf16 => 2,
            Self::Int8 => 4,
        }
    }

    /// Groups for so many inputs. Narrow numbers fill whole cache lines, which is what matrix tiles are made of.
    pub(crate) fn groups(self, inputs: usize) -> usize {
        match self {
            Self::F32 => inputs,
            Self::Bf16 | Self::Int8 => inputs.div_ceil(16 * self.group()).max(1) * 16,
        }
    }
}

/// A matrix [outputs, inputs], in panels of [`COLUMNS`] outputs; filled up with zeros.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) format: Format,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    /// `[panels][groups][COLUMNS][group]`.
    values: Lines,
    /// For 8 bits: what an output's numbers are multiplied with, and their sum.
    pub(crate) scale: Vec<f32>,
    pub(crate) sum: Vec<i32>,
}

/// More inputs than this could overflow an i32 sum of 8-bit products.
pub(crate) const MOST_INPUTS: usize = 65_536;

impl Packed {
    /// `weight`: [outputs, inputs], row after row, with `stride` values from a row to the next.
    ///
    /// # Panics
    /// When `weight` is shorter than it says, or has more than [`MOST_INPUTS`] inputs.
    pub(crate) fn new(
        format: Format,
        weight: &[f32],
        outputs: usize,
        inputs: usize,
        stride: usize,
    ) -> Self {
        assert!(inputs <= MOST_INPUTS, "{inputs} inputs");
        assert!(outputs == 0 || (outputs - 1) * stride + inputs <= weight.len());
        let groups = format.groups(inputs);
        let panels = outputs.div_ceil(COLUMNS);
        let panel = groups * format.group() * COLUMNS;
        let mut packed = Self {
            format,
            inputs,
            outputs,
            values: match format {
                Format::F32 => Lines::zeros::<f32>(panels * panel),
                Format::Bf16 => Lines::zeros::<bf16>(panels * panel),
                Format::Int8 => Lines::zeros::<i8>(panels * panel),
            },
            scale: Vec::new(),
            sum: Vec::new(),
        };
        let row = |output: usize| &weight[output * stride..output * stride + inputs];
        let Self {
            values, scale, sum, ..
        } = &mut packed;
        match format {
            Format::F32 => fill(values.of_mut(), panel, 1, outputs, |output, put| {
                for (input, x) in row(output).iter().enumerate() {
                    put(input, *x);
                }
            }),
            Format::Bf16 => fill(values.of_mut(), panel, 2, outputs, |output, put| {
                for (input, x) in row(output).iter().enumerate() {
                    put(input, bf16::from_f32(*x));
                }
            }),
            Format::Int8 => {
                *scale = (0..outputs).into_par_iter().map(|output| unit(row(output))).collect();
                *sum = (0..outputs)
                    .into_par_iter()
                    .map(|output| {
                        let inverse = inverse(scale[output]);
                        row(output).iter().map(|x| i32::from(code(*x, inverse))).sum()
                    })
                    .collect();
                fill(values.of_mut(), panel, 4, outputs, |output, put| {
                    let inverse = inverse(scale[output]);
                    for (input, x) in row(output).iter().enumerate() {
                        put(input, code(*x, inverse));
                    }
                });
                scale.resize(panels * COLUMNS, 0.0);
                sum.resize(panels * COLUMNS, 0);
            }
        }
        packed
    }

    /// Groups of a panel.
    pub(crate) fn groups(&self) -> usize {
        self.format.groups(self.inputs)
    }

    /// Panels of [`COLUMNS`] outputs.
    pub(crate) fn panels(&self) -> usize {
        self.outputs.div_ceil(COLUMNS)
    }

    /// All panels; T is the format's type.
    pub(crate) fn values<T: bytemuck::AnyBitPattern>(&self) -> &[T] {
        self.values.of()
    }
}

/// Gives `each` output a function that puts a value at an input.
fn fill<T: Send>(
    values: &mut [T],
    panel: usize,
    group: usize,
    outputs: usize,
    each: impl Fn(usize, &mut dyn FnMut(usize, T)) + Sync,
) {
    if panel == 0 {
        return;
    }
    values
        .par_chunks_mut(panel)
        .enumerate()
        .for_each(|(at, values)| {
            let first = at * COLUMNS;
            for output in first..outputs.min(first + COLUMNS) {
                each(output, &mut |input, value| {
                    values[(input / group * COLUMNS + output - first) * group + input % group] =
                        value;
                });
            }
        });
}

/// What the largest number of a row is 127 of.
fn unit(row: &[f32]) -> f32 {
    row.iter().fold(0f32, |most, x| most.max(x.abs())) / 127.0
}

fn inverse(scale: f32) -> f32 {
    if scale > 0.0 { 1.0 / scale } else { 0.0 }
}

fn code(x: f32, inverse: f32) -> i8 {
    (x * inverse).round() as i8
}
