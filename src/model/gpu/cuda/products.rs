//! Matrix products by cublasLt.

/// The type of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Type {
    /// 32-bit floats.
    F32,
    /// bfloat16.
    Bf16,
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
}

/// How a product is computed, as cublasLt describes it to itself: equal bytes, libraries and GPUs give equal results.
pub type Algorithm = [u8; 64];

/// A product that is ready to be started any number of times.
pub struct Product {
    algorithm: Algorithm,
}

impl Product {
    /// The algorithm that was chosen.
    pub fn algorithm(&self) -> &Algorithm {
        &self.algorithm
    }
}
