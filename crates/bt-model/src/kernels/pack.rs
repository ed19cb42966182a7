//! Weights in the order in which kernels read them, in three kinds of number. Where they come from is not
//! known here.

use half::bf16;
use rayon::prelude::*;

use super::Lines;
use super::rows::{Matrix, narrow, rounded, split};
use super::tile::COLUMNS;
use super::{Level, On, vectorised};

/// The kind of number that weights are kept in, and that products are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// 32-bit floating point.
    F32,
    /// The same for matrix tiles, which know bfloat16 alone: each number is the sum of three, and of the
    /// nine products of two numbers' parts the six are made that f32 can tell from zero.
    Split,
    /// bfloat16, summed in f32.
    Bf16,
    /// 8-bit integers, a scale an output for weights and a scale and a zero a row for what they are multiplied
    /// with, summed in i32.
    Int8,
    /// The same with codes of seven bits, so that four products fit into the 16 bits in which AVX2 adds them.
    Int7,
}

/// The largest codes of numbers in bytes. Rows have codes from zero on, weights of both signs.
#[derive(Clone, Copy)]
pub(crate) struct Largest {
    pub(crate) row: u8,
    pub(crate) weight: i8,
}

impl Format {
    /// The form of f32 that is fastest where many rows are multiplied. It takes half as much memory again as f32, so
    /// for few rows, where memory is what takes the time, f32 is faster.
    pub(crate) fn exact_for_many(level: Level) -> Self {
        match level {
            Level::Amx => Self::Split,
            _ => Self::F32,
        }
    }

    /// `f32`, `split`, `bf16`, `int8` or `int7`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Split => "split",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
            Self::Int7 => "int7",
        }
    }

    /// The form of 8-bit integers that is fast.
    pub(crate) fn bytes(level: Level) -> Self {
        match level {
            Level::Avx2 => Self::Int7,
            _ => Self::Int8,
        }
    }

    /// For numbers in bytes.
    pub(crate) fn codes(self) -> Option<Largest> {
        match self {
            Self::Int8 => Some(Largest {
                row: 255,
                weight: 127,
            }),
            Self::Int7 => Some(Largest {
                row: 127,
                weight: 64,
            }),
            _ => None,
        }
    }

    /// Whether less is kept of a number than f32 knows.
    pub(crate) fn is_short(self) -> bool {
        matches!(self, Self::Bf16 | Self::Int8 | Self::Int7)
    }

    /// Elements of a group, which is four bytes.
    pub(crate) fn group(self) -> usize {
        match self {
            Self::F32 => 1,
            Self::Split | Self::Bf16 => 2,
            Self::Int8 | Self::Int7 => 4,
        }
    }

    /// Groups for so many inputs. Narrow numbers fill whole cache lines, which is what matrix tiles are made of.
    pub(crate) fn groups(self, inputs: usize) -> usize {
        match self {
            Self::F32 => inputs,
            Self::Split => inputs.div_ceil(LINE_OF_BF16).max(1) * PARTS * 16,
            Self::Bf16 | Self::Int8 | Self::Int7 => inputs.div_ceil(16 * self.group()).max(1) * 16,
        }
    }
}

/// Parts of a number in [`Format::Split`].
pub(crate) const PARTS: usize = 3;
/// How many bf16 a cache line has. Rows and columns that are split hold a line of first parts, one of second and
/// one of third, and then come the next inputs.
pub(crate) const LINE_OF_BF16: usize = 32;

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

/// With more inputs an i32 sum of 8-bit products could overflow.
pub(crate) const MOST_INPUTS: usize = 65_536;

impl Packed {
    /// Of a matrix with a row an output, as weights are stored.
    ///
    /// # Panics
    /// For 8 bits, with more than [`MOST_INPUTS`] inputs.
    pub(crate) fn from_rows(format: Format, weight: Matrix<'_>, on: On) -> Self {
        let (outputs, inputs) = (weight.rows, weight.columns);
        assert!(
            format.codes().is_none() || inputs <= MOST_INPUTS,
            "{inputs} inputs"
        );
        let mut packed = Self::empty(format, outputs, inputs);
        let (groups, panels) = (packed.groups(), packed.panels());
        let quantised = format.codes().map_or(0, |_| panels * COLUMNS);
        packed.scale = vec![0.0; quantised];
        packed.sum = vec![0; quantised];
        let fill = |panel: usize, out: &mut [u32], scale: &mut [f32], sum: &mut [i32]| {
            let mut line = vec![0f32; inputs];
            let mut codes = vec![0u32; groups];
            for column in 0..COLUMNS.min(outputs - panel * COLUMNS) {
                weight.row(panel * COLUMNS + column, &mut line);
                match format {
                    Format::F32 => bytemuck::cast_slice_mut(&mut codes).copy_from_slice(&line),
                    Format::Split => {
                        split(weight.level, &line, bytemuck::cast_slice_mut(&mut codes))
                    }
                    Format::Bf16 => {
                        let codes: &mut [bf16] = bytemuck::cast_slice_mut(&mut codes);
                        narrow(weight.level, &line, &mut codes[..inputs]);
                    }
                    Format::Int8 | Format::Int7 => {
                        let most = format.codes().map_or(0, |codes| codes.weight);
                        let codes: &mut [i8] = bytemuck::cast_slice_mut(&mut codes);
                        (scale[column], sum[column]) = quantise(&line, most, codes);
                    }
                }
                for (code, group) in codes.iter().zip(out.as_chunks_mut::<COLUMNS>().0) {
                    group[column] = *code;
                }
            }
        };
        let size = (groups * COLUMNS).max(1);
        let out = &mut packed.lines.of_mut::<u32>()[..panels * groups * COLUMNS];
        match (on, quantised > 0) {
            (On::ThisThread, true) => out
                .chunks_mut(size)
                .zip(packed.scale.chunks_mut(COLUMNS))
                .zip(packed.sum.chunks_mut(COLUMNS))
                .enumerate()
                .for_each(|(panel, ((out, scale), sum))| fill(panel, out, scale, sum)),
            (On::ThisThread, _) => out
                .chunks_mut(size)
                .enumerate()
                .for_each(|(panel, out)| fill(panel, out, &mut [], &mut [])),
            (On::ThePool, true) => out
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
        assert!(format.codes().is_none(), "columns are not quantised");
        let (inputs, outputs) = (matrix.rows, matrix.columns);
        let mut packed = Self::empty(format, outputs, inputs);
        let (groups, panels) = (packed.groups(), packed.panels());
        let out = packed.lines.of_mut::<u32>();
        let mut lines = vec![0f32; format.group() * outputs];
        for (group, first) in (0..inputs).step_by(format.group()).enumerate() {
            lines.fill(0.0);
            for (i, line) in lines.chunks_mut(outputs.max(1)).enumerate() {
                if first + i < inputs {
                    matrix.row(first + i, line);
                }
            }
            let (first, second) = lines.split_at(outputs);
            for panel in 0..panels {
                let columns = panel * COLUMNS..outputs.min((panel + 1) * COLUMNS);
                let out = &mut out[panel * groups * COLUMNS..][..groups * COLUMNS];
                let place = |group: usize| group * COLUMNS..group * COLUMNS + columns.len();
                match format {
                    Format::F32 => bytemuck::cast_slice_mut(&mut out[place(group)])
                        .copy_from_slice(&first[columns]),
                    Format::Split => {
                        // A line of first parts is a group of 16 pairs.
                        let (line, pair) = (group / 16 * PARTS * 16, group % 16);
                        let mut rest = [[0f32; COLUMNS]; 2];
                        for (rest, all) in rest.iter_mut().zip([first, second]) {
                            rest[..columns.len()].copy_from_slice(&all[columns.clone()]);
                        }
                        for part in 0..PARTS {
                            let out = &mut out[place(line + part * 16 + pair)];
                            take_pair(matrix.level, &mut rest, out);
                        }
                    }
                    _ => pair(
                        matrix.level,
                        &first[columns.clone()],
                        &second[columns.clone()],
                        &mut out[place(group)],
                    ),
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

/// Codes from `-most` to `most`, what they are multiplied with, and their sum.
fn quantise(line: &[f32], most: i8, codes: &mut [i8]) -> (f32, i32) {
    let last = f32::from(most);
    // `max` passes over what is no number; a sum does not.
    let unsound = line.iter().map(|x| 0.0 * x).sum::<f32>();
    let most = line.iter().fold(0f32, |most, x| most.max(x.abs())) + unsound;
    let (scale, inverse) = if most > 0.0 {
        (most / last, last / most)
    } else {
        (most, 0.0)
    };
    let mut sum = 0;
    for (code, x) in codes.iter_mut().zip(line) {
        *code = (x * inverse).round() as i8;
        sum += i32::from(*code);
    }
    (scale, sum)
}

vectorised! {
    /// As [`pair`], cut off and not rounded, and leaves what is cut off.
    fn take_pair(rest: &mut [[f32; COLUMNS]; 2], out: &mut [u32]) {
        let [first, second] = *rest;
        let mut pairs = [0u32; COLUMNS];
        let mut left = [[0f32; COLUMNS]; 2];
        for c in 0..COLUMNS {
            let (low, high) = (first[c].to_bits(), second[c].to_bits() & 0xffff_0000);
            pairs[c] = low >> 16 | high;
            left[0][c] = first[c] - f32::from_bits(low & 0xffff_0000);
            left[1][c] = second[c] - f32::from_bits(high);
        }
        *rest = left;
        out.copy_from_slice(&pairs[..out.len()]);
    }
}

vectorised! {
    /// Two rows of numbers as one of pairs of bf16, the first in the low half.
    fn pair(first: &[f32], second: &[f32], out: &mut [u32]) {
        for ((first, second), out) in first.iter().zip(second).zip(out) {
            *out = rounded(*first) >> 16 | rounded(*second) & 0xffff_0000;
        }
    }
}
