//! What a matrix product is: sizes, layouts and types.

/// The type of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Type {
    /// 32-bit floats.
    F32,
    /// bfloat16.
    Bf16,
}

impl Type {
    /// Bytes of an element.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }

    /// `cudaDataType_t`.
    pub(super) fn code(self) -> i32 {
        match self {
            Self::F32 => 0,
            Self::Bf16 => 14,
        }
    }
}

/// A row-major product `C[m,n] = alpha · op(A)[m,k] · op(B)[k,n] + beta · C (+ bias[n])`, `batch` times.
///
/// `Shape { ta: true, lda: m, .. Shape::new(m, n, k) }` is how one is written down.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// Rows of C.
    pub m: usize,
    /// Columns of C.
    pub n: usize,
    /// What is summed over.
    pub k: usize,
    /// A is stored `[k, m]`.
    pub ta: bool,
    /// B is stored `[n, k]`.
    pub tb: bool,
    /// Elements from one stored row of A to the next.
    pub lda: usize,
    /// Elements from one stored row of B to the next.
    pub ldb: usize,
    /// Elements from one row of C to the next.
    pub ldc: usize,
    /// How many products there are, over all members.
    pub batch: usize,
    /// How many members share the batch: the algorithm is chosen for `batch / members` products.
    pub members: usize,
    /// Elements from one A to the next.
    pub stride_a: i64,
    /// Elements from one B to the next.
    pub stride_b: i64,
    /// Elements from one C to the next.
    pub stride_c: i64,
    /// Factor of the product.
    pub alpha: f32,
    /// 0: C is overwritten, never read; 1: the product is added to it.
    pub beta: f32,
    /// Type of A.
    pub a: Type,
    /// Type of B.
    pub b: Type,
    /// Type of C and of the bias.
    pub c: Type,
    /// Whether a bias is added to each row.
    pub bias: bool,
    /// Elements from one bias to the next.
    pub bias_stride: i64,
    /// Whether 32-bit floats may be rounded to TF32 before they are multiplied.
    pub tf32: bool,
    /// A power of two, in bytes, that every address given to the product is a multiple of: 16 serves all algorithms.
    pub alignment: u32,
}

impl Shape {
    /// One product of contiguous matrices of 32-bit floats, none transposed, overwriting C.
    pub fn new(m: usize, n: usize, k: usize) -> Self {
        Self {
            m,
            n,
            k,
            ta: false,
            tb: false,
            lda: k,
            ldb: n,
            ldc: n,
            batch: 1,
            members: 1,
            stride_a: 0,
            stride_b: 0,
            stride_c: 0,
            alpha: 1.0,
            beta: 0.0,
            a: Type::F32,
            b: Type::F32,
            c: Type::F32,
            bias: false,
            bias_stride: 0,
            tf32: false,
            alignment: 16,
        }
    }

    /// What is wrong with it, if something is.
    pub(super) fn fault(&self) -> Option<&'static str> {
        let a_row = if self.ta { self.m } else { self.k };
        let b_row = if self.tb { self.k } else { self.n };
        if [self.m, self.n, self.k, self.batch, self.members].contains(&0) {
            Some("has an extent of 0")
        } else if self.lda < a_row || self.ldb < b_row || self.ldc < self.n {
            Some("has rows that overlap")
        } else if !self.batch.is_multiple_of(self.members) {
            Some("has another number of products for some members than for others")
        } else if !self.alignment.is_power_of_two()
            || (self.alignment as usize) < self.a.bytes().max(self.b.bytes()).max(self.c.bytes())
        {
            Some("has an alignment that does not fit its elements")
        } else if self.beta != 0.0 && self.beta != 1.0 {
            Some("has a beta that is neither 0 nor 1")
        } else {
            None
        }
    }

    /// The power of two, at most 16, that all rows and batches of a matrix begin at multiples of.
    pub(super) fn row_alignment(&self, kind: Type, leading: usize, stride: i64) -> u32 {
        let size = kind.bytes() as u64;
        let bytes = (leading as u64 * size) | (stride.unsigned_abs() * size) | u64::from(self.alignment) | 16;
        1 << bytes.trailing_zeros()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_batches_say_how_a_matrix_is_aligned() {
        let shape = Shape::new(4, 6, 8);
        assert_eq!(shape.row_alignment(Type::F32, 8, 32), 16);
        assert_eq!(shape.row_alignment(Type::F32, 6, 24), 8);
        assert_eq!(shape.row_alignment(Type::F32, 8, 33), 4);
        assert_eq!(shape.row_alignment(Type::Bf16, 7, 0), 2);
        assert_eq!(Shape { alignment: 8, ..shape }.row_alignment(Type::F32, 8, 0), 8);
    }

    #[test]
    fn a_shape_that_cannot_be_is_refused() {
        let good = Shape::new(4, 6, 8);
        assert_eq!(good.fault(), None);
        assert_eq!(Shape { ta: true, lda: 4, tb: true, ldb: 8, ..good }.fault(), None);
        for bad in [
            Shape { k: 0, ..good },
            Shape { lda: 7, ..good },
            Shape { tb: true, ..good },
            Shape { ldc: 5, ..good },
            Shape { batch: 6, members: 4, ..good },
            Shape { beta: 0.5, ..good },
            Shape { alignment: 2, ..good },
        ] {
            assert!(bad.fault().is_some(), "{bad:?}");
        }
    }
}
