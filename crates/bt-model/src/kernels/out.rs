//! Where products write: a matrix somewhere in memory, which can be parted among threads.

use std::marker::PhantomData;

use half::bf16;

/// Where results go: row r begins at `r * stride`.
pub(crate) struct Out<'a> {
    pub(super) values: Pointer,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) stride: usize,
    borrowed: PhantomData<&'a mut [f32]>,
}

/// Where results begin.
#[derive(Clone, Copy)]
pub(crate) enum Pointer {
    F32(*mut f32),
    Bf16(*mut bf16),
}

#[expect(unsafe_code, reason = "threads write the parts of one result")]
// SAFETY: it stands for a slice that is borrowed alone, and threads write disjoint parts of it.
unsafe impl Send for Out<'_> {}
#[expect(unsafe_code, reason = "threads write the parts of one result")]
// SAFETY: as above.
unsafe impl Sync for Out<'_> {}

impl<'a> Out<'a> {
    /// # Panics
    /// When the last row leaves `values`, or rows overlap.
    pub(crate) fn new<T: Number>(
        values: &'a mut [T],
        rows: usize,
        columns: usize,
        stride: usize,
    ) -> Self {
        assert!(columns <= stride || rows <= 1, "rows would overlap");
        assert!(
            rows == 0 || (rows - 1) * stride + columns <= values.len(),
            "result too small"
        );
        Self {
            values: T::pointer(values.as_mut_ptr()),
            rows,
            columns,
            stride,
            borrowed: PhantomData,
        }
    }

    /// Spans of `width` columns.
    pub(crate) fn split_columns(self, width: usize) -> Vec<Self> {
        let starts = (0..self.columns).step_by(width.max(1));
        starts
            .map(|at| self.part(at, self.rows, width.min(self.columns - at)))
            .collect()
    }

    /// Blocks of `count` rows.
    pub(crate) fn split_rows(self, count: usize) -> Vec<Self> {
        let starts = (0..self.rows).step_by(count.max(1));
        starts
            .map(|at| self.part(at * self.stride, count.min(self.rows - at), self.columns))
            .collect()
    }

    /// What begins `at` values on; what is made of one `Out` must be disjoint.
    fn part(&self, at: usize, rows: usize, columns: usize) -> Self {
        Self {
            values: match self.values {
                Pointer::F32(values) => Pointer::F32(values.wrapping_add(at)),
                Pointer::Bf16(values) => Pointer::Bf16(values.wrapping_add(at)),
            },
            rows,
            columns,
            stride: self.stride,
            borrowed: PhantomData,
        }
    }
}

/// A number that results are kept in.
pub(crate) trait Number: Copy {
    fn pointer(values: *mut Self) -> Pointer;
}

impl Number for f32 {
    fn pointer(values: *mut Self) -> Pointer {
        Pointer::F32(values)
    }
}

impl Number for bf16 {
    fn pointer(values: *mut Self) -> Pointer {
        Pointer::Bf16(values)
    }
}

/// Results [rows, columns] in new memory, which is not cleared first: that would cost as much as writing it.
///
/// # Safety
/// `write` writes each of them, by products into what it is given or into parts that together are all of it.
#[expect(unsafe_code, reason = "memory that is not cleared")]
pub(crate) unsafe fn filled<T: Number>(
    rows: usize,
    columns: usize,
    write: impl FnOnce(Out<'_>),
) -> Vec<T> {
    let mut values: Vec<T> = Vec::with_capacity(rows * columns);
    write(Out {
        values: T::pointer(values.as_mut_ptr()),
        rows,
        columns,
        stride: columns,
        borrowed: PhantomData,
    });
    // SAFETY: there is room for so many, and the caller promises that each is written.
    unsafe {
        values.set_len(rows * columns);
    }
    values
}
