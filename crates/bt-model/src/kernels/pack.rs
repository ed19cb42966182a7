//! Weights in the order in which kernels read them, in three kinds of number. Where they come from is not
//! known here.

use half::bf16;
use rayon::prelude::*;

use super::Lines;
use super::rows::{Matrix, narrow, rounded};
use super::tile::COLUMNS;
use super::{On, vectorised};

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
    pub(crate) lines: Lines,
    /// For 8 bits: what an output's numbers are multiplied with, and their sum.
    pub(crate) scale: Vec<f32>,
    pub(crate) sum: Vec<i32>,
}

/// More inputs than this could overflow an i32 sum of 8-bit products.
pub(crate) const MOST_INPUTS: usize = 65_536;

impl Packed {
    /// Of a matrix with a row an output, as weights are stored.
    ///
    /// # Panics
    /// With more than [`MOST_INPUTS`] inputs.
    pub(crate) fn from_rows(format: Format, weight: Matrix<'_>, on: On) -> Self {
        let (outputs, inputs) = (weight.rows, weight.columns);
        assert!(inputs <= MOST_INPUTS, "{inputs} inputs");
        let mut packed = Self::empty(format, outputs, inputs);
        let (groups, panels) = (packed.groups(), packed.panels());
        let quantised = if format == Format::Int8 {
            panels * COLUMNS
        } else {
            0
        };
        packed.scale = vec![0.0; quantised];
        packed.sum = vec![0; quantised];
        let fill = |panel: usize, out: &mut [u32], scale: &mut [f32], sum: &mut [i32]| {
            let mut line = vec![0f32; inputs];
            let mut codes = vec![0u32; groups];
            for column in 0..COLUMNS.min(outputs - panel * COLUMNS) {
                weight.row(panel * COLUMNS + column, &mut line);
                match format {
                    Format::F32 => bytemuck::cast_slice_mut(&mut codes).copy_from_slice(&line),
                    Format::Bf16 => {
                        let codes: &mut [bf16] = bytemuck::cast_slice_mut(&mut codes);
                        narrow(weight.level, &line, &mut codes[..inputs]);
                    }
                    Format::Int8 => {
                        let codes: &mut [i8] = bytemuck::cast_slice_mut(&mut codes);
                        (scale[column], sum[column]) = quantise(&line, codes);
                    }
                }
                for (code, group) in codes.iter().zip(out.as_chunks_mut::<COLUMNS>().0) {
                    group[column] = *code;
                }
            }
        };
        let size = (groups * COLUMNS).max(1);
        let out = &mut packed.lines.of_mut::<u32>()[..panels * groups * COLUMNS];
        match (on, format) {
            (On::ThisThread, Format::Int8) => out
                .chunks_mut(size)
                .zip(packed.scale.chunks_mut(COLUMNS))
                .zip(packed.sum.chunks_mut(COLUMNS))
                .enumerate()
                .for_each(|(panel, ((out, scale), sum))| fill(panel, out, scale, sum)),
            (On::ThisThread, _) => out
                .chunks_mut(size)
                .enumerate()
                .for_each(|(panel, out)| fill(panel, out, &mut [], &mut [])),
            (On::ThePool, Format::Int8) => out
                .par_chunks_mut(size)
                .zip(packed.scale.par_chunks_mut(COLUMNS))
                .zip(packed.sum.par_chunks_mut(COLUMNS))
                .enumerate()
                .for_each(|(panel, ((out, scale), sum))| fill(panel, out, scale, sum)),
            (On::ThePool, _) => out
                .par_chunks_mut(size)
                .enumerate()
                .for_each(|(panel, out)| fill(panel, out, &mut [], &mut [])),
        }
        packed
    }

    /// Of a matrix with a column an output, as the values of attention stand.
    ///
    /// # Panics
    /// For 8 bits, in which a column has one scale: nothing needs it.
    pub(crate) fn from_columns(format: Format, matrix: Matrix<'_>) -> Self {
        assert_ne!(format, Format::Int8, "columns are not quantised");
        let (inputs, outputs) = (matrix.rows, matrix.columns);
        let mut packed = Self::empty(format, outputs, inputs);
        let (groups, panels) = (packed.groups(), packed.panels());
        let out = packed.lines.of_mut::<u32>();
        let mut lines = vec![0f32; format.group() * outputs];
        for group in 0..groups.min(inputs.div_ceil(format.group())) {
            lines.fill(0.0);
            for (i, line) in lines.chunks_mut(outputs.max(1)).enumerate() {
                if group * format.group() + i < inputs {
                    matrix.row(group * format.group() + i, line);
                }
            }
            let (first, second) = lines.split_at(outputs);
            for panel in 0..panels {
                let columns = panel * COLUMNS..outputs.min((panel + 1) * COLUMNS);
                let out = &mut out[(panel * groups + group) * COLUMNS..][..columns.len()];
                match format {
                    Format::F32 => bytemuck::cast_slice_mut(out).copy_from_slice(&first[columns]),
                    _ => pair(matrix.level, &first[columns.clone()], &second[columns], out),
                }
            }
        }
        packed
    }

    fn empty(format: Format, outputs: usize, inputs: usize) -> Self {
        let groups = outputs.div_ceil(COLUMNS) * COLUMNS * format.groups(inputs);
        Self {
            format,
            inputs,
            outputs,
            lines: Lines::zeros::<u32>(groups),
            scale: Vec::new(),
            sum: Vec::new(),
        }
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
        self.lines.of()
    }
}

/// Codes -127 to 127, what they are multiplied with, and their sum.
fn quantise(line: &[f32], codes: &mut [i8]) -> (f32, i32) {
    let most = line.iter().fold(0f32, |most, x| most.max(x.abs()));
    let (scale, inverse) = if most > 0.0 {
        (most / 127.0, 127.0 / most)
    } else {
        (0.0, 0.0)
    };
    let mut sum = 0;
    for (code, x) in codes.iter_mut().zip(line) {
        *code = (x * inverse).round() as i8;
        sum += i32::from(*code);
    }
    (scale, sum)
}

vectorised! {
    /// Two rows of numbers as one of pairs of bf16, the first in the low half.
    fn pair(first: &[f32], second: &[f32], out: &mut [u32]) {
        for ((first, second), out) in first.iter().zip(second).zip(out) {
            *out = rounded(*first) >> 16 | rounded(*second) & 0xffff_0000;
        }
    }
}
