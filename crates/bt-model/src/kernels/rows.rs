//! What is multiplied with weights: rows that are normalised, scaled and converted on their way, once for all
//! columns.

use half::bf16;
use rayon::prelude::*;

use super::math::fold;
use super::pack::{Format, LINE_OF_BF16, PARTS};
use super::scratch::Scratch;
use super::tile::{ROWS, TILE_ROWS};
use super::{LINE, Level, On, vectorised};

/// Numbers of either kind that states are kept in.
#[derive(Clone, Copy)]
pub(crate) enum Values<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
}

/// Rows somewhere in memory, each contiguous.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    values: Values<'a>,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    stride: usize,
    pub(crate) level: Level,
}

impl<'a> Matrix<'a> {
    /// Row r begins at `r * stride`.
    ///
    /// # Panics
    /// When the last row leaves `values`.
    pub(crate) fn new(
        level: Level,
        values: Values<'a>,
        rows: usize,
        columns: usize,
        stride: usize,
    ) -> Self {
        let len = match values {
            Values::F32(values) => values.len(),
            Values::Bf16(values) => values.len(),
        };
        assert!(
            rows == 0 || (rows - 1) * stride + columns <= len,
            "a {rows} x {columns} matrix leaves its memory"
        );
        Self {
            values,
            rows,
            columns,
            stride,
            level,
        }
    }

    /// A few of the rows.
    pub(crate) fn part(self, rows: std::ops::Range<usize>) -> Self {
        let start = rows.start * self.stride;
        let values = match self.values {
            Values::F32(values) => Values::F32(&values[start..]),
            Values::Bf16(values) => Values::Bf16(&values[start..]),
        };
        Self::new(self.level, values, rows.len(), self.columns, self.stride)
    }

    /// Row `row` as f32, into `line`, which is as long.
    pub(crate) fn row(&self, row: usize, line: &mut [f32]) {
        let at = row * self.stride..row * self.stride + self.columns;
        match self.values {
            Values::F32(values) => line.copy_from_slice(&values[at]),
            Values::Bf16(values) => widen(self.level, &values[at], line),
        }
    }
}

/// `(x - mean) / sqrt(variance + eps) * weight + bias`.
#[derive(Clone, Copy)]
pub(crate) struct Norm<'a> {
    pub(crate) weight: &'a [f32],
    pub(crate) bias: &'a [f32],
    pub(crate) eps: f32,
}

/// Rows in the form that a level's kernel of a format reads.
pub(crate) struct Rows {
    pub(crate) format: Format,
    pub(crate) level: Level,
    pub(crate) rows: usize,
    /// Elements from a row to the next, or, in tiles, from a row's begin to that of the row 16 on, by 16.
    pub(crate) stride: usize,
    lines: Scratch,
    /// For 8 bits, one a row.
    pub(crate) codes: Vec<Codes>,
}

/// What the 8-bit codes of a row mean: `x = (code - zero) scale`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Codes {
    pub(crate) scale: f32,
    pub(crate) zero: i32,
    /// Inputs so far from the rest that codes which reach them would be too coarse for all others. They have the
    /// code of zero, and are multiplied apart.
    pub(crate) outliers: Vec<(usize, f32)>,
}

/// In units of the row's root mean square. An input below it costs the rest at most a fortieth of that unit, or a
/// twentieth with codes of seven bits; of n inputs less than n / 144 can be above.
const OUTLIER: f32 = 12.0;

/// The type that rows of a format are kept in.
#[derive(Clone, Copy, PartialEq)]
enum Kept {
    F32,
    /// f32 rounded to bf16.
    RoundedF32,
    Bf16,
    /// Three bf16, a line of first parts, one of second, one of third.
    Split,
    /// Codes in bytes.
    U8,
    /// The same less 128, where products are of signed bytes.
    I8,
}

impl Kept {
    fn of(format: Format, level: Level) -> Self {
        match (format, level) {
            (Format::F32, _) => Self::F32,
            (Format::Split, _) => Self::Split,
            (Format::Bf16, Level::Avx2 | Level::AvxVnni | Level::Avx512) => Self::RoundedF32,
            (Format::Bf16, _) => Self::Bf16,
            (Format::Int8 | Format::Int7, Level::NeonDot) => Self::I8,
            (Format::Int8 | Format::Int7, _) => Self::U8,
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::F32 | Self::RoundedF32 => 4,
            Self::Bf16 | Self::Split => 2,
            Self::U8 | Self::I8 => 1,
        }
    }
}

/// Whether rows stand in tiles: of 16 rows the first cache line each, then the second, and so on, so that a tile is
/// read in one go.
fn tiled(format: Format, level: Level) -> bool {
    level == Level::Amx && format != Format::F32
}

/// Numbers to touch that are worth waking a thread for.
const WORTH_A_THREAD: usize = 1 << 15;

/// Rows that a thread prepares at a time.
const SHARE: usize = TILE_ROWS;

impl Rows {
    /// `x`: [rows, inputs]. `factors`: what each input is multiplied with, after the norm.
    pub(crate) fn prepare(
        format: Format,
        x: Matrix<'_>,
        norm: Option<Norm<'_>>,
        factors: Option<&[f32]>,
        on: On,
    ) -> Self {
        let (level, rows, inputs) = (x.level, x.rows, x.columns);
        let kept = Kept::of(format, level);
        let width = format.groups(inputs) * format.group();
        // An odd number of cache lines, so that the rows of a tile do not all fall into the same few sets of
        // the cache.
        let tiled = tiled(format, level);
        let row_bytes = (width * kept.bytes()).div_ceil(LINE) * LINE;
        let row_bytes = if tiled {
            row_bytes
        } else {
            ((row_bytes / LINE) | 1) * LINE
        };
        let stride = row_bytes / kept.bytes();
        let padded = rows.next_multiple_of(ROWS);
        let mut lines = Scratch::of::<u8>(padded * row_bytes);
        let most = format.codes().map(|codes| f32::from(codes.row));
        let quantised = most.map_or(0, |_| rows);
        let mut codes = vec![Codes::default(); quantised];
        let written = if tiled { padded } else { rows };
        let bytes = &mut lines.of_mut::<u8>()[..written * row_bytes];
        let share = SHARE * row_bytes;
        let as_it_is = norm.is_none() && factors.is_none();
        let encode = |row: usize, line: &mut [f32], out: &mut [u8], codes: &mut [Codes]| {
            // What is behind the inputs is multiplied with zeros, which no number must be missing for.
            if kept != Kept::Split {
                out[inputs * kept.bytes()..width * kept.bytes()].fill(0);
            }
            let at = row * x.stride..row * x.stride + inputs;
            let line: &mut [f32] = match (x.values, kept) {
                (Values::Bf16(values), Kept::Bf16) if as_it_is => {
                    bytemuck::cast_slice_mut(out)[..inputs].copy_from_slice(&values[at]);
                    return;
                }
                (Values::F32(values), Kept::Bf16) if as_it_is => {
                    let out = &mut bytemuck::cast_slice_mut(out)[..inputs];
                    return narrow(level, &values[at], out);
                }
                (Values::F32(values), Kept::Split) if as_it_is => {
                    let out = &mut bytemuck::cast_slice_mut(out)[..width];
                    return split(level, &values[at], out);
                }
                _ => line,
            };
            x.row(row, line);
            if let Some(norm) = norm {
                normalise(level, line, norm.weight, norm.bias, norm.eps);
            }
            if let Some(factors) = factors {
                multiply(level, line, factors);
            }
            match kept {
                Kept::F32 => bytemuck::cast_slice_mut(out)[..inputs].copy_from_slice(line),
                Kept::RoundedF32 => {
                    round(level, line, &mut bytemuck::cast_slice_mut(out)[..inputs]);
                }
                Kept::Bf16 => narrow(level, line, &mut bytemuck::cast_slice_mut(out)[..inputs]),
                Kept::Split => split(level, line, &mut bytemuck::cast_slice_mut(out)[..width]),
                Kept::U8 | Kept::I8 => {
                    let out = &mut out[..inputs];
                    codes[0] = quantise(level, line, most.unwrap_or_default(), out);
                    if kept == Kept::I8 {
                        out.iter_mut().for_each(|code| *code ^= 0x80);
                        codes[0].zero -= 128;
                    }
                }
            }
        };
        let work = |at: usize, bytes: &mut [u8], codes: &mut [Codes]| {
            let mut line = vec![0f32; inputs];
            let mut row = Scratch::of::<u8>(if tiled { row_bytes } else { 0 });
            for i in 0..SHARE.min(rows.saturating_sub(at * SHARE)) {
                let codes = codes.get_mut(i..=i).unwrap_or_default();
                if tiled {
                    let row = &mut row.of_mut::<u8>()[..row_bytes];
                    encode(at * SHARE + i, &mut line, row, codes);
                    let places = bytes.as_chunks_mut::<LINE>().0.iter_mut().skip(i);
                    for (place, line) in places.step_by(TILE_ROWS).zip(row.as_chunks::<LINE>().0) {
                        *place = *line;
                    }
                } else {
                    let out = &mut bytes[i * row_bytes..][..row_bytes];
                    encode(at * SHARE + i, &mut line, out, codes);
                }
            }
        };
        let parallel = on == On::ThePool && rows * inputs >= WORTH_A_THREAD;
        match (quantised > 0, parallel) {
            _ if rows == 0 => {}
            (true, true) => bytes
                .par_chunks_mut(share)
                .zip(codes.par_chunks_mut(SHARE))
                .enumerate()
                .for_each(|(at, (bytes, codes))| work(at, bytes, codes)),
            (true, false) => bytes
                .chunks_mut(share)
                .zip(codes.chunks_mut(SHARE))
                .enumerate()
                .for_each(|(at, (bytes, codes))| work(at, bytes, codes)),
            (false, true) => bytes
                .par_chunks_mut(share)
                .enumerate()
                .for_each(|(at, bytes)| work(at, bytes, &mut [])),
            (false, false) => bytes
                .chunks_mut(share)
                .enumerate()
                .for_each(|(at, bytes)| work(at, bytes, &mut [])),
        }
        Self {
            format,
            level,
            rows,
            stride,
            lines,
            codes,
        }
    }

    /// All rows; T is the type that they are kept in.
    pub(crate) fn values<T: bytemuck::AnyBitPattern>(&self) -> &[T] {
        self.lines.of()
    }
}

vectorised! {
    pub(crate) fn widen(x: &[bf16], out: &mut [f32]) {
        for (out, x) in out.iter_mut().zip(x) {
            *out = f32::from_bits(u32::from(x.to_bits()) << 16);
        }
    }
}

vectorised! {
    /// To the nearest, ties to even; what is no number stays none.
    pub(crate) fn narrow(x: &[f32], out: &mut [bf16]) {
        for (out, x) in out.iter_mut().zip(x) {
            *out = bf16::from_bits((rounded(*x) >> 16) as u16);
        }
    }
}

vectorised! {
    /// Each number as the sum of three bf16, exactly: of its 24 bits each takes eight, cut off and not rounded. Whole
    /// lines, the last filled up with zeros. What is not finite becomes no number.
    pub(crate) fn split(x: &[f32], out: &mut [bf16]) {
        let parts = out.as_chunks_mut::<{ PARTS * LINE_OF_BF16 }>().0;
        for (x, parts) in x.chunks(LINE_OF_BF16).zip(parts) {
            let mut rest = [0f32; LINE_OF_BF16];
            match x.first_chunk::<LINE_OF_BF16>() {
                Some(x) => rest = *x,
                None => rest[..x.len()].copy_from_slice(x),
            }
            for part in parts.as_chunks_mut::<LINE_OF_BF16>().0 {
                let mut codes = [bf16::ZERO; LINE_OF_BF16];
                for (code, rest) in codes.iter_mut().zip(&mut rest) {
                    let bits = rest.to_bits();
                    *code = bf16::from_bits((bits >> 16) as u16);
                    *rest -= f32::from_bits(bits & 0xffff_0000);
                }
                *part = codes;
            }
        }
    }
}

vectorised! {
    fn round(x: &[f32], out: &mut [f32]) {
        for (out, x) in out.iter_mut().zip(x) {
            *out = f32::from_bits(rounded(*x) & 0xffff_0000);
        }
    }
}

/// The bits of x, of which the upper half is x as bf16.
#[inline(always)]
pub(crate) fn rounded(x: f32) -> u32 {
    let bits = x.to_bits();
    if x.is_nan() {
        return 0x7fc0_0000;
    }
    bits + 0x7fff + (bits >> 16 & 1)
}

vectorised! {
    pub(crate) fn normalise(line: &mut [f32], weight: &[f32], bias: &[f32], eps: f32) {
        let count = line.len() as f32;
        let mean = fold(line, 0.0, |sum, x| sum + x, |a, b| a + b) / count;
        let variance = fold(line, 0.0, |sum, x| sum + (x - mean) * (x - mean), |a, b| a + b) / count;
        let scale = 1.0 / (variance + eps).sqrt();
        for ((x, weight), bias) in line.iter_mut().zip(weight).zip(bias) {
            *x = (*x - mean) * scale * weight + bias;
        }
    }
}

vectorised! {
    fn multiply(line: &mut [f32], factors: &[f32]) {
        for (x, factor) in line.iter_mut().zip(factors) {
            *x *= factor;
        }
    }
}

vectorised! {
    /// Codes 0 to `most` that span zero and the row but for its outliers, which become 0 in `line`. What is not
    /// finite becomes a scale that is no number, and so a sum that is none.
    fn quantise(line: &mut [f32], most: f32, out: &mut [u8]) -> Codes {
        let (codes, inverse) = range(line, most);
        let zero = codes.zero as f32;
        for (out, x) in out.iter_mut().zip(line) {
            *out = encode(*x, inverse, zero, most) as u8;
        }
        codes
    }
}

/// The codes of a row, the largest of which is `last`, and one over their scale.
#[inline(always)]
fn range(line: &mut [f32], last: f32) -> (Codes, f32) {
    let mut outliers = Vec::new();
    let (mut least, mut most, mut squares) = extent(line);
    loop {
        // Without the largest ones the rest is smaller, and others may stick out of it.
        let bound = OUTLIER * (squares / line.len() as f32).sqrt();
        if !(most > bound || least < -bound) || !bound.is_finite() {
            break;
        }
        for (input, x) in line.iter_mut().enumerate() {
            if x.abs() > bound {
                outliers.push((input, *x));
                *x = 0.0;
            }
        }
        (least, most, squares) = extent(line);
    }
    // A sum that is not finite shows what comparisons do not: a value that is no number.
    let scale = (most - least) / last + 0.0 * squares;
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    let zero = nearest(-least * inverse) as i32;
    let codes = Codes {
        scale,
        zero,
        outliers,
    };
    (codes, inverse)
}

/// The least and the largest value, and 0 if that is between; the sum of squares.
#[inline(always)]
fn extent(line: &[f32]) -> (f32, f32, f32) {
    let least = |a: f32, b: f32| if b < a { b } else { a };
    let most = |a: f32, b: f32| if b > a { b } else { a };
    (
        fold(line, 0.0, least, least),
        fold(line, 0.0, most, most),
        fold(line, 0.0, |sum, x| sum + x * x, |a, b| a + b),
    )
}

/// A whole number from 0 to `most`.
#[inline(always)]
fn encode(x: f32, inverse: f32, zero: f32, most: f32) -> i32 {
    let code = nearest(x * inverse) + zero;
    // Converting through a number that is in range compiles to one instruction.
    let code = if code > 0.0 { code } else { 0.0 };
    let code = if code < most { code } else { most };
    #[expect(unsafe_code, reason = "the checked conversion is several instructions")]
    // SAFETY: between 0 and `most`, a byte; what is no number has become 0.
    unsafe {
        code.to_int_unchecked()
    }
}

/// The nearest whole number of one below 2^22, ties to even.
#[inline(always)]
fn nearest(x: f32) -> f32 {
    /// 1.5 x 2^23: added, it leaves no room for a fraction.
    const ROUND: f32 = 12_582_912.0;
    x + ROUND - ROUND
}
