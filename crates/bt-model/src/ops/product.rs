//! A product of matrices that stand anywhere in memory, on the calling thread or on those of its pool.

/// A view: element (r, c) is `data[r * row_stride + c * column_stride]`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// # Panics
    /// When the last element is not in `data`.
    pub(crate) fn new(
        data: &'a [f32],
        rows: usize,
        columns: usize,
        row_stride: usize,
        column_stride: usize,
    ) -> Self {
        assert!(
            rows == 0
                || columns == 0
                || (rows - 1) * row_stride + (columns - 1) * column_stride < data.len(),
            "a {rows} x {columns} matrix leaves its memory"
        );
        Self {
            data,
            rows,
            columns,
            row_stride,
            column_stride,
        }
    }

    /// Row after row, without gaps.
    pub(crate) fn rows(data: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::new(data, rows, columns, columns, 1)
    }

    pub(crate) fn transposed(self) -> Self {
        Self {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }
}

/// Who computes a product.
#[derive(Clone, Copy)]
pub(crate) enum On {
    /// The calling thread.
    ThisThread,
    /// All threads of the pool that the calling thread is in.
    ThePool,
}

/// `out = scale a b`, row after row.
///
/// # Panics
/// When the shapes do not go together.
#[expect(unsafe_code, reason = "the gemm crate takes pointers and strides")]
pub(crate) fn product(out: &mut [f32], a: Matrix<'_>, b: Matrix<'_>, scale: f32, on: On) {
    assert_eq!(a.columns, b.rows, "inner sizes");
    assert_eq!(out.len(), a.rows * b.columns, "size of the result");
    // SAFETY: `Matrix::new` has checked that every element of `a` and `b` is in its slice (transposing swaps
    // both sizes and both strides), `out` holds `a.rows` x `b.columns` values and is borrowed alone, and slices
    // never are so long that their offsets overflow an isize.
    unsafe {
        gemm::gemm(
            a.rows,
            b.columns,
            a.columns,
            out.as_mut_ptr(),
            1,
            b.columns as isize,
            false,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            0.0,
            scale,
            false,
            false,
            false,
            match on {
                On::ThisThread => gemm::Parallelism::None,
                On::ThePool => gemm::Parallelism::Rayon(rayon::current_num_threads()),
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_of_views_is_the_sum_of_products() {
        let data: Vec<f32> = (0..200).map(|i| ((i * 7) % 13) as f32 - 6.0).collect();
        let a = Matrix::new(&data[3..], 4, 5, 11, 1);
        let b = Matrix::new(&data[50..], 6, 5, 9, 1).transposed();
        let mut out = vec![f32::NAN; 24];
        product(&mut out, a, b, 0.5, On::ThisThread);
        let mut shared = vec![f32::NAN; 24];
        product(&mut shared, a, b, 0.5, On::ThePool);
        assert_eq!(out, shared);
        for r in 0..4 {
            for c in 0..6 {
                let sum: f32 = (0..5)
                    .map(|k| data[3 + r * 11 + k] * data[50 + c * 9 + k])
                    .sum();
                assert_eq!(out[r * 6 + c], 0.5 * sum, "({r}, {c})");
            }
        }
    }

    #[test]
    #[should_panic(expected = "leaves its memory")]
    fn a_view_that_leaves_its_memory_is_refused() {
        Matrix::new(&[0.0; 10], 2, 5, 6, 1);
    }
}
