//! Rows by packed weights, and what follows each sum while it is near: shared among the threads of the pool
//! so that each keeps its weights and its rows in its own cache.

use half::bf16;
use rayon::prelude::*;

use super::out::{Number, Out, Pointer, filled};
use super::pack::{Format, Packed};
use super::rows::{Codes, Rows, rounded};
use super::scratch::Scratch;
#[cfg(target_arch = "aarch64")]
use super::tile::neon;
use super::tile::{COLUMNS, Kernel, Operands, Tile, portable};
#[cfg(target_arch = "x86_64")]
use super::tile::{amx, avx2, avx512};
use super::{Activation, Level, On, vectorised};

/// Multiplications that are worth waking a thread for.
const WORTH_A_THREAD: usize = 1 << 21;

/// Bytes of rows that stay in a core's cache while panels of weights pass by.
const ROWS_NEAR: usize = 1 << 20;

/// Of a row longer than this a part is multiplied with all panels before the next part is, so that enough rows are
/// near to make a panel worth fetching.
const ROW_NEAR: usize = 4608;

/// Parts of rows begin at multiples of so many groups, which the steps of all kernels fit into.
const STEPS: usize = 48;

/// Rows are shared out in multiples of this, which every kernel's tiles fit into.
const BLOCK: usize = 96;

/// What follows a product of rows by weights, in this order.
#[derive(Clone, Copy, Default)]
pub(crate) struct Follow<'a> {
    /// What each row is multiplied with.
    pub(crate) row_scale: Option<&'a [f32]>,
    /// One a column, as many as columns in whole panels ([`padded`]).
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) activation: Option<Activation>,
    /// Added; of the shape of the result.
    pub(crate) residual: Option<&'a [f32]>,
}

/// [`multiply`] into new memory.
///
/// # Panics
/// As [`multiply`].
pub(crate) fn multiplied<T: Number>(
    rows: &Rows,
    weights: &Packed,
    follow: Follow<'_>,
    on: On,
) -> Vec<T> {
    #[expect(unsafe_code, reason = "memory that is not cleared")]
    // SAFETY: a product writes all of what it is given.
    unsafe {
        filled(rows.rows, weights.outputs, |out| {
            multiply(rows, weights, follow, out, on);
        })
    }
}

/// `values` with zeros behind them, up to whole panels.
pub(crate) fn padded(values: &[f32]) -> Vec<f32> {
    let mut values = values.to_vec();
    values.resize(values.len().next_multiple_of(COLUMNS), 0.0);
    values
}

/// `out = residual + activation(row_scale · rows weightsᵀ + bias)`.
///
/// # Panics
/// When shapes or formats do not go together.
pub(crate) fn multiply(rows: &Rows, weights: &Packed, follow: Follow<'_>, out: Out<'_>, on: On) {
    assert_eq!(rows.format, weights.format, "formats");
    assert_eq!(
        (out.rows, out.columns),
        (rows.rows, weights.outputs),
        "shape of the result"
    );
    assert!(
        rows.stride >= weights.groups() * weights.format.group(),
        "inner sizes"
    );
    assert!(
        follow.row_scale.is_none_or(|x| x.len() == out.rows),
        "scales of rows"
    );
    assert!(
        follow
            .bias
            .is_none_or(|bias| bias.len() == weights.panels() * COLUMNS),
        "bias"
    );
    assert!(
        follow
            .residual
            .is_none_or(|x| x.len() == out.rows * out.columns),
        "residual"
    );
    // Of nothing there would be no last part, after which results are written.
    assert!(weights.groups() > 0, "no inputs");
    let task = Task {
        rows,
        weights,
        follow,
        out: &out,
        on,
    };
    match (rows.format, rows.level) {
        #[cfg(target_arch = "x86_64")]
        (Format::F32, Level::Avx2 | Level::AvxVnni) => task.share::<avx2::F32>(),
        #[cfg(target_arch = "x86_64")]
        (Format::F32, Level::Avx512 | Level::Avx512Bf16 | Level::Amx) => {
            task.share::<avx512::F32>()
        }
        #[cfg(target_arch = "x86_64")]
        (Format::Split, Level::Amx) => task.share::<amx::Split>(),
        #[cfg(target_arch = "x86_64")]
        (Format::Bf16, Level::Avx2 | Level::AvxVnni | Level::Avx512) => task.share::<avx2::Bf16>(),
        #[cfg(target_arch = "x86_64")]
        (Format::Bf16, Level::Avx512Bf16) => task.share::<avx512::Bf16>(),
        #[cfg(target_arch = "x86_64")]
        (Format::Bf16, Level::Amx) => task.share::<amx::Bf16>(),
        #[cfg(target_arch = "x86_64")]
        (Format::Int7, Level::Avx2) => task.share::<avx2::Int7>(),
        #[cfg(target_arch = "x86_64")]
        (Format::Int8 | Format::Int7, Level::AvxVnni) => task.share::<avx2::Int8Vnni>(),
        #[cfg(target_arch = "x86_64")]
        (Format::Int8 | Format::Int7, Level::Avx512 | Level::Avx512Bf16) => {
            task.share::<avx512::Int8>()
        }
        #[cfg(target_arch = "x86_64")]
        (Format::Int8 | Format::Int7, Level::Amx) => task.share::<amx::Int8>(),
        #[cfg(target_arch = "aarch64")]
        (Format::F32, Level::Neon | Level::NeonDot) => task.share::<neon::F32>(),
        #[cfg(target_arch = "aarch64")]
        (Format::Int8 | Format::Int7, Level::NeonDot) => task.share::<neon::Int8>(),
        (Format::F32, _) => task.share::<portable::F32>(),
        (Format::Split, _) => task.share::<portable::Split>(),
        (Format::Bf16, _) => task.share::<portable::Bf16>(),
        (Format::Int8 | Format::Int7, _) => task.share::<portable::Int8>(),
    }
}

struct Task<'a> {
    rows: &'a Rows,
    weights: &'a Packed,
    follow: Follow<'a>,
    out: &'a Out<'a>,
    on: On,
}

impl Task<'_> {
    /// Blocks of rows times spans of panels, a few for each thread.
    fn share<K: Kernel>(&self)
    where
        K::Row: bytemuck::AnyBitPattern,
        K::Column: bytemuck::AnyBitPattern,
        K::Sum: Summed,
    {
        let (rows, panels) = (self.rows.rows, self.weights.panels());
        if rows == 0 || panels == 0 {
            return;
        }
        let row_bytes = self.rows.stride * size_of::<K::Row>();
        let most = (ROWS_NEAR / row_bytes.min(ROW_NEAR) / BLOCK).max(1) * BLOCK;
        let blocks = rows.div_ceil(most);
        let block = rows.div_ceil(blocks).next_multiple_of(BLOCK);
        let blocks = rows.div_ceil(block);
        let threads = rayon::current_num_threads();
        let products = rows * self.weights.inputs * self.weights.outputs;
        if self.on == On::ThisThread || threads == 1 || products < WORTH_A_THREAD {
            for at in 0..blocks {
                self.run::<K>(at * block..rows.min((at + 1) * block), 0..panels);
            }
            return;
        }
        let span = panels.div_ceil((4 * threads).div_ceil(blocks)).max(1);
        let spans = panels.div_ceil(span);
        (0..blocks * spans)
            .into_par_iter()
            .with_max_len(1)
            .for_each(|task| {
                let (at, part) = (task / spans, task % spans);
                self.run::<K>(
                    at * block..rows.min((at + 1) * block),
                    part * span..panels.min((part + 1) * span),
                );
            });
    }

    /// On this thread: a panel stays near while the rows pass by.
    fn run<K: Kernel>(&self, rows: std::ops::Range<usize>, panels: std::ops::Range<usize>)
    where
        K::Row: bytemuck::AnyBitPattern,
        K::Column: bytemuck::AnyBitPattern,
        K::Sum: Summed,
    {
        let depth = self.weights.groups();
        let parts = (depth * K::ROW_GROUP * size_of::<K::Row>()).div_ceil(ROW_NEAR);
        let part = depth.div_ceil(parts).next_multiple_of(STEPS);
        let tiles = rows.len().div_ceil(K::ROWS);
        // Sums of all panels where they go on with the next part of the rows, else of the panel at hand.
        let kept = if part < depth { panels.len() } else { 1 };
        let mut sums = Scratch::of::<Tile<K::Sum>>(tiles * kept);
        let bytes = tiles * kept * size_of::<Tile<K::Sum>>();
        let sums: &mut [Tile<K::Sum>] = bytemuck::cast_slice_mut(&mut sums.of_mut::<u8>()[..bytes]);
        let mut y = Tile([0f32; super::tile::ROWS * COLUMNS]);
        let _tiles = K::begin();
        for from in (0..depth).step_by(part) {
            for (at, panel) in panels.clone().enumerate() {
                let sums = &mut sums[at % kept * tiles..][..tiles];
                let to = depth.min(from + part);
                let mut near = from;
                while near < to {
                    let next = to.min(near.saturating_add(K::GROUPS_NEAR));
                    let ahead = if next < to {
                        (panel, next)
                    } else if panel + 1 < panels.end {
                        (panel + 1, from)
                    } else {
                        (panels.start, to)
                    };
                    self.panel::<K>(rows.clone(), panel, near..next, ahead, sums, &mut y);
                    near = next;
                }
            }
        }
    }

    /// Some groups of the rows by those of a panel; after the last ones what follows is done. `ahead`: the panel and
    /// its group that will be next.
    fn panel<K: Kernel>(
        &self,
        rows: std::ops::Range<usize>,
        panel: usize,
        groups: std::ops::Range<usize>,
        ahead: (usize, usize),
        sums: &mut [Tile<K::Sum>],
        y: &mut Tile<f32>,
    ) where
        K::Row: bytemuck::AnyBitPattern,
        K::Column: bytemuck::AnyBitPattern,
        K::Sum: Summed,
    {
        let (depth, group) = (self.weights.groups(), self.weights.format.group());
        let a: &[K::Row] = self.rows.values();
        let all: &[K::Column] = self.weights.values();
        let at = |panel: usize, from: usize| (panel * depth + from) * group * COLUMNS;
        let b = &all[at(panel, groups.start)..][..groups.len() * group * COLUMNS];
        let next = all.as_ptr().wrapping_add(at(ahead.0, ahead.1));
        for (tile, (sums, row)) in sums
            .iter_mut()
            .zip(rows.clone().step_by(K::ROWS))
            .enumerate()
        {
            let count = K::ROWS.min(rows.end - row);
            #[expect(unsafe_code, reason = "the innermost loop is given pointers")]
            // SAFETY: the level is the rows' own, chosen from those that are there. Prepared rows are filled up to
            // a multiple of `tile::ROWS`, and a kernel reads `count` rows rounded up within that: all of them have
            // `stride >= depth` groups. `b` has as many groups as are multiplied.
            unsafe {
                K::tile(
                    count,
                    Operands {
                        groups: groups.len(),
                        a: a[row * self.rows.stride
                            + groups.start * K::ROW_GROUP * K::ROWS_TOGETHER..]
                            .as_ptr(),
                        stride: self.rows.stride,
                        b: b.as_ptr(),
                        ahead: next.wrapping_add(tile % 8 * (b.len() / 8)),
                    },
                    groups.start > 0,
                    sums,
                );
            }
            if groups.end == depth {
                let place = Place {
                    row,
                    rows: count,
                    column: panel * COLUMNS,
                };
                let numbers = K::Sum::numbers(sums, y, place, self);
                finish(self.rows.level, numbers, place, &self.follow, self.out);
            }
        }
    }
}

/// Where a tile stands in the result.
#[derive(Clone, Copy)]
struct Place {
    row: usize,
    rows: usize,
    column: usize,
}

/// A sum that becomes a number.
trait Summed: Sized {
    /// The sums as numbers, in `y` where they are none yet.
    fn numbers<'a>(
        sums: &'a Tile<Self>,
        y: &'a mut Tile<f32>,
        place: Place,
        task: &Task<'_>,
    ) -> &'a Tile<f32>;
}

impl Summed for f32 {
    #[inline(always)]
    fn numbers<'a>(
        sums: &'a Tile<Self>,
        _: &'a mut Tile<f32>,
        _: Place,
        _: &Task<'_>,
    ) -> &'a Tile<f32> {
        sums
    }
}

impl Summed for i32 {
    fn numbers<'a>(
        sums: &'a Tile<Self>,
        y: &'a mut Tile<f32>,
        place: Place,
        task: &Task<'_>,
    ) -> &'a Tile<f32> {
        let (level, weights) = (task.rows.level, task.weights);
        let columns = place.column..place.column + COLUMNS;
        let codes = &task.rows.codes[place.row..place.row + place.rows];
        let scale = &weights.scale[columns.clone()];
        dequantise(level, sums, y, codes, scale, &weights.sum[columns]);
        if codes.iter().any(|codes| !codes.outliers.is_empty()) {
            let panel = weights.groups() * 4 * COLUMNS;
            let panel = &weights.values::<i8>()[place.column / COLUMNS * panel..][..panel];
            add_outliers(level, y, codes, panel, scale);
        }
        y
    }
}

vectorised! {
    /// `(sum - zero · sum of the column) · scale of the row · scale of the column`: rows were moved by their
    /// zero to be unsigned.
    fn dequantise(
        sums: &Tile<i32>,
        y: &mut Tile<f32>,
        codes: &[Codes],
        scale: &[f32],
        column_sum: &[i32],
    ) {
        let (Ok(scale), Ok(column_sum)) =
            (<&[f32; COLUMNS]>::try_from(scale), <&[i32; COLUMNS]>::try_from(column_sum))
        else {
            return;
        };
        let rows = sums.0.as_chunks::<COLUMNS>().0.iter().zip(y.0.as_chunks_mut::<COLUMNS>().0);
        for ((sums, y), codes) in rows.zip(codes) {
            for c in 0..COLUMNS {
                let sum = sums[c].wrapping_sub(codes.zero.wrapping_mul(column_sum[c]));
                y[c] = sum as f32 * (codes.scale * scale[c]);
            }
        }
    }
}

vectorised! {
    fn add_outliers(y: &mut Tile<f32>, codes: &[Codes], panel: &[i8], scale: &[f32]) {
        for (y, codes) in y.0.as_chunks_mut::<COLUMNS>().0.iter_mut().zip(codes) {
            for (input, x) in &codes.outliers {
                let group = &panel[input / 4 * 4 * COLUMNS..][..4 * COLUMNS];
                for (c, (y, scale)) in y.iter_mut().zip(scale).enumerate() {
                    *y += x * scale * f32::from(group[c * 4 + input % 4]);
                }
            }
        }
    }
}

vectorised! {
    fn finish(y: &Tile<f32>, place: Place, follow: &Follow<'_>, out: &Out<'_>) {
        // Copies of what a row needs are known to overlap with nothing, so that all of this becomes vector
        // instructions on registers.
        let bias = match follow.bias {
            Some(bias) => bias[place.column..].first_chunk::<COLUMNS>().copied(),
            None => None,
        };
        let columns = COLUMNS.min(out.columns - place.column);
        for (r, y) in y.0.as_chunks::<COLUMNS>().0.iter().take(place.rows).enumerate() {
            let mut y = *y;
            if let Some(scale) = follow.row_scale {
                let scale = scale[place.row + r];
                y.iter_mut().for_each(|y| *y *= scale);
            }
            if let Some(bias) = bias {
                for c in 0..COLUMNS {
                    y[c] += bias[c];
                }
            }
            if let Some(activation) = follow.activation {
                activation.apply::<FMA>(&mut y);
            }
            let row = place.row + r;
            if let Some(residual) = follow.residual {
                let residual = &residual[row * out.columns + place.column..];
                let residual = match residual.first_chunk::<COLUMNS>() {
                    Some(residual) => *residual,
                    None => last(residual),
                };
                for c in 0..COLUMNS {
                    y[c] += residual[c];
                }
            }
            let at = row * out.stride + place.column;
            #[expect(unsafe_code, reason = "threads write the parts of one result")]
            // SAFETY: `Out::new` has checked that `columns` values from each row's begin are in the slice that
            // it borrows alone; each tile of the result is written by one task, after which nobody reads it
            // here.
            unsafe {
                match out.values {
                    Pointer::F32(values) => write(&y, columns, values.add(at)),
                    Pointer::Bf16(values) => {
                        let mut short = [bf16::ZERO; COLUMNS];
                        for c in 0..COLUMNS {
                            short[c] = bf16::from_bits((rounded(y[c]) >> 16) as u16);
                        }
                        write(&short, columns, values.add(at));
                    }
                }
            }
        }
    }
}

/// The end of a residual, filled up to a panel.
#[cold]
#[inline(never)]
fn last(residual: &[f32]) -> [f32; COLUMNS] {
    std::array::from_fn(|c| residual.get(c).copied().unwrap_or_default())
}

/// The first `columns` of a row.
///
/// # Safety
/// There is room for them.
#[expect(unsafe_code, reason = "threads write the parts of one result")]
#[inline(always)]
unsafe fn write<T: Copy>(row: &[T; COLUMNS], columns: usize, to: *mut T) {
    /// Apart, or compilers make one call of both cases, which costs more than the store.
    #[cold]
    #[inline(never)]
    unsafe fn some<T: Copy>(row: &[T], to: *mut T) {
        // SAFETY: passed on.
        unsafe { to.copy_from_nonoverlapping(row.as_ptr(), row.len()) }
    }
    // SAFETY: the caller's promise.
    unsafe {
        if columns == COLUMNS {
            // Halves, as they come out of the registers: a load of both would wait until they are in the cache.
            for (half, values) in row.as_chunks::<{ COLUMNS / 2 }>().0.iter().enumerate() {
                to.cast::<[T; COLUMNS / 2]>()
                    .add(half)
                    .write_unaligned(*values);
            }
        } else {
            some(&row[..columns], to);
        }
    }
}

#[cfg(test)]
mod tests;
