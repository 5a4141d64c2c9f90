//! The shapes of all products: linear layers forward and back, attention's, and the output layer's by chunks of rows.

use super::cuda::{Shape, Type};
use super::layout::{Linear, WeightOrder};
use super::sizes::{Rows, Sizes};

/// What a product's matrices are made of, and how many members it is made for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arithmetic {
    /// What products read: activations, and the copies of the weights.
    pub(super) operand: Type,
    /// Whether products of 32-bit floats may round to TF32.
    pub(super) tf32: bool,
}

/// Elements between the members of an array.
fn stride(values: usize) -> i64 {
    values as i64
}

/// Every product's shape follows from these.
#[derive(Clone, Copy)]
pub(super) struct Shapes<'a> {
    pub(super) sizes: &'a Sizes,
    pub(super) arithmetic: Arithmetic,
}

impl Shapes<'_> {
    /// A product for each member of contiguous matrices of operands.
    fn each(&self, m: usize, n: usize, k: usize) -> Shape {
        let Arithmetic { operand, tf32 } = self.arithmetic;
        let members = self.sizes.members;
        let strides = [m * k, k * n, m * n].map(stride);
        let [stride_a, stride_b, stride_c] = strides;
        let shape = Shape::new(m, n, k);
        Shape { batch: members, members, stride_a, stride_b, stride_c, a: operand, b: operand, c: operand, tf32, ..shape }
    }

    /// y [N, out] = x [N, in] · weight + bias.
    pub(super) fn linear(&self, linear: &Linear, rows: usize) -> Shape {
        let Linear { inputs, outputs, bias, order, .. } = *linear;
        let tb = order == WeightOrder::OutIn;
        let parameters = stride(self.sizes.parameters);
        let ldb = if tb { inputs } else { outputs };
        let bias = bias.is_some();
        Shape { tb, ldb, stride_b: parameters, bias, bias_stride: parameters, ..self.each(rows, outputs, inputs) }
    }

    /// dx [N, in] = dy [N, out] · weightᵀ.
    pub(super) fn linear_inputs(&self, linear: &Linear, rows: usize) -> Shape {
        let Linear { inputs, outputs, order, .. } = *linear;
        let tb = order == WeightOrder::InOut;
        let ldb = if tb { outputs } else { inputs };
        Shape { tb, ldb, stride_b: stride(self.sizes.parameters), ..self.each(rows, inputs, outputs) }
    }

    /// The weight's gradient, as the weight lies, and whether A is dy: xᵀ [in, N] · dy [N, out], or dyᵀ [out, N] · x [N, in];
    /// `add` to what is there.
    pub(super) fn linear_weights(&self, linear: &Linear, rows: usize, add: bool) -> Shape {
        let Linear { inputs, outputs, order, .. } = *linear;
        let [m, n] = if order == WeightOrder::InOut { [inputs, outputs] } else { [outputs, inputs] };
        self.weights(m, n, rows, add)
    }

    fn weights(&self, m: usize, n: usize, rows: usize, add: bool) -> Shape {
        let beta = if add { 1.0 } else { 0.0 };
        let stride_c = stride(self.sizes.parameters);
        Shape { ta: true, lda: m, stride_c, c: Type::F32, beta, ..self.each(m, n, rows) }
    }

    /// Attention of a unit: the query heads of a key head are rows of one matrix [G · L, D].
    fn attention(&self, rows: Rows, m: usize, n: usize, k: usize) -> Shape {
        let Sizes { members, kv_heads, .. } = *self.sizes;
        Shape { batch: members * rows.windows * kv_heads, ..self.each(m, n, k) }
    }

    fn group(&self, rows: Rows) -> usize {
        self.sizes.heads / self.sizes.kv_heads * rows.length
    }

    /// [G · L, L] = [G · L, D] · [L, D]ᵀ: scores of q and k, or the gradient of the weights from that of the output and v.
    pub(super) fn scores(&self, rows: Rows) -> Shape {
        let head = self.sizes.head;
        Shape { tb: true, ldb: head, ..self.attention(rows, self.group(rows), rows.length, head) }
    }

    /// [G · L, D] = [G · L, L] · [L, D]: the output from weights and v, or the gradient of q from that of the scores and k.
    pub(super) fn mixed(&self, rows: Rows) -> Shape {
        self.attention(rows, self.group(rows), self.sizes.head, rows.length)
    }

    /// [L, D] = [G · L, L]ᵀ · [G · L, D]: the gradient of v from the weights and that of the output, or that of k from that of
    /// the scores and q.
    pub(super) fn keys(&self, rows: Rows) -> Shape {
        Shape { ta: true, lda: rows.length, ..self.attention(rows, rows.length, self.sizes.head, self.group(rows)) }
    }

    /// Logits [rows, Vp] of `rows` of `all` hidden states [all, C].
    pub(super) fn logits(&self, rows: usize, all: usize) -> Shape {
        let Sizes { width, padded, parameters, .. } = *self.sizes;
        let [stride_a, stride_b] = [all * width, parameters].map(stride);
        Shape { tb: true, ldb: width, stride_a, stride_b, ..self.each(rows, padded, width) }
    }

    /// The gradient [rows, C] of `rows` of `all` hidden states from that of their logits.
    pub(super) fn logits_inputs(&self, rows: usize, all: usize) -> Shape {
        let Sizes { width, padded, parameters, .. } = *self.sizes;
        let [stride_b, stride_c] = [parameters, all * width].map(stride);
        Shape { stride_b, stride_c, ..self.each(rows, width, padded) }
    }

    /// The gradient [Vp, C] of the output layer's weight from that of the logits [rows, Vp] of `rows` of `all` hidden states.
    pub(super) fn logits_weights(&self, rows: usize, all: usize, add: bool) -> Shape {
        let Sizes { width, padded, .. } = *self.sizes;
        Shape { stride_b: stride(all * width), ..self.weights(padded, width, rows, add) }
    }
}
