//! Matrix products behind one function, so that other kernels can come later.

/// A matrix within a slice, at any strides: element (i, j) is `data[i * row + j * column]`.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    data: &'a [f32],
    row: usize,
    column: usize,
}

/// Rows `stride` apart, each of neighbouring elements.
pub(super) fn rows(data: &[f32], stride: usize) -> Matrix<'_> {
    Matrix { data, row: stride, column: 1 }
}

impl Matrix<'_> {
    /// The same elements, rows as columns.
    pub(super) fn transposed(self) -> Self {
        Self { row: self.column, column: self.row, ..self }
    }

    fn holds(&self, rows: usize, columns: usize) -> bool {
        (rows - 1) * self.row + (columns - 1) * self.column < self.data.len()
    }
}

/// C [m, n] = A [m, k] · B [k, n], or C += A · B where `accumulate`; the rows of C lie `stride` apart.
///
/// Every element is one sum over k in a fixed order that does not depend on m or n.
///
/// # Panics
/// If a matrix reaches beyond its slice.
pub(super) fn product(c: &mut [f32], stride: usize, a: Matrix<'_>, b: Matrix<'_>, [m, n, k]: [usize; 3], accumulate: bool) {
    if m == 0 || n == 0 {
        return;
    }
    assert!(k > 0 && a.holds(m, k) && b.holds(k, n) && n <= stride && (m - 1) * stride + n <= c.len());
    let beta = 1.0;
    let alpha = if accumulate { 1.0 } else { 0.0 };
    // SAFETY: the assertion above keeps every element that is read or written within its slice, `c` is borrowed
    // exclusively, so it overlaps neither `a` nor `b`, and n ≤ stride keeps the rows of `c` apart.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            stride as isize,
            accumulate,
            a.data.as_ptr(),
            a.column as isize,
            a.row as isize,
            b.data.as_ptr(),
            b.column as isize,
            b.row as isize,
            alpha,
            beta,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Writes the transpose of `source` [m, n] into `target` [n, m], whose rows lie `stride` apart, in blocks that stay in cache.
pub(super) fn transpose(target: &mut [f32], stride: usize, source: &[f32], [m, n]: [usize; 2]) {
    const BLOCK: usize = 16;
    for i0 in (0..m).step_by(BLOCK) {
        for j0 in (0..n).step_by(BLOCK) {
            for j in j0..(j0 + BLOCK).min(n) {
                let row = &mut target[j * stride..][..m];
                for i in i0..(i0 + BLOCK).min(m) {
                    row[i] = source[i * n + j];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 37 + seed * 11) % 19) as f32 / 8.0 - 1.0).collect()
    }

    #[test]
    fn products_of_all_layouts_agree_with_the_definition() {
        for [m, n, k] in [[1, 1, 1], [3, 5, 7], [17, 33, 65], [64, 48, 16], [2, 100, 600]] {
            let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
            let mut expected = vec![0.0f32; m * n];
            for i in 0..m {
                for j in 0..n {
                    expected[i * n + j] = (0..k).map(|l| a[i * k + l] * b[l * n + j]).sum();
                }
            }
            let (mut at, mut bt) = (vec![0.0; m * k], vec![0.0; k * n]);
            transpose(&mut at, m, &a, [m, k]);
            transpose(&mut bt, k, &b, [k, n]);
            let left = [rows(&a, k), rows(&at, m).transposed()];
            let right = [rows(&b, n), rows(&bt, k).transposed()];
            for a in left {
                for b in right {
                    let mut c = vec![1.0; m * n];
                    product(&mut c, n, a, b, [m, n, k], false);
                    assert!(c.iter().zip(&expected).all(|(c, e)| (c - e).abs() < 1e-4));
                    product(&mut c, n, a, b, [m, n, k], true);
                    assert!(c.iter().zip(&expected).all(|(c, e)| (c - 2.0 * e).abs() < 2e-4));
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "holds")]
    fn a_product_beyond_its_slice_panics() {
        product(&mut [0.0; 4], 2, rows(&[0.0; 3], 2), rows(&[0.0; 4], 2), [2, 2, 2], false);
    }

    #[test]
    fn an_element_has_the_same_bits_whatever_the_number_of_rows() {
        let (k, n) = (1536, 40);
        let (a, b) = (numbers(300 * k, 3), numbers(k * n, 4));
        let mut whole = vec![0.0; 300 * n];
        product(&mut whole, n, rows(&a, k), rows(&b, n), [300, n, k], false);
        let mut part = vec![0.0; 100 * n];
        product(&mut part, n, rows(&a[100 * k..], k), rows(&b, n), [100, n, k], false);
        assert_eq!(part[..], whole[100 * n..200 * n]);
    }
}
