//! Matrix products by cublasLt.
//!
//! The library counts in columns: a row-major matrix is to it the transposed one. So `C = A · B` is asked for as
//! `Cᵀ = Bᵀ · Aᵀ`, with the operands exchanged, and nothing is moved. Split sums are allowed where they are added up in the
//! order of a second kernel, never by atomic additions: the same algorithm gives the same bits.

use std::cell::Cell;
use std::ffi::{CStr, c_int, c_void};
use std::rc::Rc;

use crate::error::{Error, Kind, Result};

use super::context::Context;
use super::cublaslt::{
    ALLOCATION_FAILED, COMPUTE_F32, COMPUTE_TF32, Choice, EPILOGUE_BIAS, Functions, Handle, REDUCTIONS, RawAlgorithm, SCALE_TYPE,
    description, layout, preference,
};
use super::libraries::{self, Found};
use super::memory::{Address, Array};
use super::shape::{Shape, Type};

/// Memory for split sums. One product runs at a time, so one piece serves all.
pub(in crate::model::gpu) const WORKSPACE_BYTES: u64 = 32 << 20;

/// How many algorithms the library is asked for: the first that it can run is taken.
const CANDIDATES: usize = 8;

/// How a product is computed, as cublasLt describes it to itself: equal bytes, libraries and GPUs give equal results.
pub type Algorithm = [u8; 64];

/// The library, opened for one context.
pub(super) struct Multiplier {
    context: Rc<Context>,
    functions: Functions,
    handle: Handle,
    workspace: Array,
}

impl Multiplier {
    /// Opens the library and a handle.
    pub(super) fn open(context: &Rc<Context>, found: &Found) -> Result<Self> {
        let functions = Functions::new(&libraries::open_products(found)?)?;
        let workspace = Array::new(context, "the workspace of products", WORKSPACE_BYTES)?;
        let mut open = Self { context: Rc::clone(context), functions, handle: std::ptr::null_mut(), workspace };
        // SAFETY: the argument points to a handle; the context is this thread's.
        let code = unsafe { (open.functions.create)(&raw mut open.handle) };
        open.check(code, "cublasLtCreate")?;
        Ok(open)
    }

    /// The library's version, such as `130101`.
    pub(super) fn version(&self) -> u64 {
        // SAFETY: it takes nothing and only answers.
        unsafe { (self.functions.version)() as u64 }
    }

    fn check(&self, code: i32, function: &str) -> Result<()> {
        if code == 0 {
            return Ok(());
        }
        // SAFETY: the library has a constant text for every code, or null.
        let name = unsafe { (self.functions.status_name)(code) };
        let name = if name.is_null() {
            "an unknown status".to_owned()
        } else {
            // SAFETY: not null, and it ends with a zero.
            unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
        };
        let (kind, what) = match code {
            ALLOCATION_FAILED => (Kind::OutOfMemory, "the GPU's memory ran out in a matrix product"),
            _ => (Kind::Device, "a matrix product failed"),
        };
        Err(Error::new(kind, what).caused_by(format!("`{function}` answered {name} ({code})")))
    }

    /// Prepares a product, with a given algorithm or by choosing one.
    pub(super) fn product(this: &Rc<Self>, shape: Shape, algorithm: Option<&Algorithm>) -> Result<Product> {
        if let Some(fault) = shape.fault() {
            return Err(Error::internal(format!("a product {fault}: {shape:?}")));
        }
        let mut parts = this.parts(&shape)?;
        let one_member = shape.batch / shape.members;
        let algorithm = match algorithm {
            Some(bytes) => bytemuck::cast::<Algorithm, RawAlgorithm>(*bytes),
            None => this.choose(&shape, &mut parts, one_member)?,
        };
        // Split sums of all members may not fit into the workspace: then members are multiplied in several calls, by the same
        // algorithm. One member always fits, as it was chosen for that.
        let mut pieces = (1..=shape.members).filter(|pieces| shape.members.is_multiple_of(*pieces));
        let mut refused = None;
        let pieces = pieces.find(|pieces| match this.fits(&parts, shape.batch / pieces, &algorithm) {
            Ok(()) => true,
            Err(error) => {
                refused = Some(error);
                false
            }
        });
        let Some(pieces) = pieces else {
            let error = refused.unwrap_or_else(|| Error::internal("a product has no members"));
            return Err(error.context(format!("a product cannot be computed as it was before: {shape:?}")));
        };
        parts.set_batch(shape.batch / pieces)?;
        Ok(Product { shape, parts, algorithm, pieces, multiplier: Rc::clone(this), bias: Cell::new(None) })
    }

    /// Description and layouts of a product.
    fn parts(self: &Rc<Self>, shape: &Shape) -> Result<Parts> {
        let functions = &self.functions;
        let compute = if shape.tf32 { COMPUTE_TF32 } else { COMPUTE_F32 };
        let mut description = Owned::empty(self, functions.description_destroy);
        // SAFETY: the first argument points to a description.
        let code = unsafe { (functions.description_create)(&raw mut description.handle, compute, SCALE_TYPE) };
        self.check(code, "cublasLtMatmulDescCreate")?;
        description.set(functions.description_set, description::TRANSPOSE_A, &i32::from(shape.tb))?;
        description.set(functions.description_set, description::TRANSPOSE_B, &i32::from(shape.ta))?;
        if shape.bias {
            description.set(functions.description_set, description::EPILOGUE, &EPILOGUE_BIAS)?;
            description.set(functions.description_set, description::BIAS_BATCH_STRIDE, &shape.bias_stride)?;
            // What the choice of an algorithm looks at; the bias itself comes with each product.
            description.set(functions.description_set, description::BIAS_POINTER, &self.workspace.at(0).0)?;
        }
        // The library's rows are our columns.
        let (a_rows, a_columns) = if shape.ta { (shape.k, shape.m) } else { (shape.m, shape.k) };
        let (b_rows, b_columns) = if shape.tb { (shape.n, shape.k) } else { (shape.k, shape.n) };
        Ok(Parts {
            description,
            a: self.layout(shape.a, a_columns, a_rows, shape.lda, shape.stride_a)?,
            b: self.layout(shape.b, b_columns, b_rows, shape.ldb, shape.stride_b)?,
            c: self.layout(shape.c, shape.n, shape.m, shape.ldc, shape.stride_c)?,
        })
    }

    fn layout(self: &Rc<Self>, kind: Type, rows: usize, columns: usize, leading: usize, stride: i64) -> Result<Owned> {
        let functions = &self.functions;
        let mut layout = Owned::empty(self, functions.layout_destroy);
        let create = functions.layout_create;
        // SAFETY: the first argument points to a layout.
        let code = unsafe { create(&raw mut layout.handle, kind.code(), rows as u64, columns as u64, leading as i64) };
        self.check(code, "cublasLtMatrixLayoutCreate")?;
        layout.set(functions.layout_set, layout::BATCH_STRIDE, &stride)?;
        Ok(layout)
    }

    /// The algorithm that the library thinks is fastest for the products of one member.
    fn choose(self: &Rc<Self>, shape: &Shape, parts: &mut Parts, batch: usize) -> Result<RawAlgorithm> {
        parts.set_batch(batch)?;
        let functions = &self.functions;
        let mut wanted = Owned::empty(self, functions.preference_destroy);
        // SAFETY: the argument points to a preference.
        let code = unsafe { (functions.preference_create)(&raw mut wanted.handle) };
        self.check(code, "cublasLtMatmulPreferenceCreate")?;
        let set = functions.preference_set;
        wanted.set(set, preference::WORKSPACE_BYTES, &WORKSPACE_BYTES)?;
        wanted.set(set, preference::REDUCTION_SCHEMES, &REDUCTIONS)?;
        // The library's A is our B.
        let c = shape.row_alignment(shape.c, shape.ldc, shape.stride_c);
        wanted.set(set, preference::ALIGNMENT_A, &shape.row_alignment(shape.b, shape.ldb, shape.stride_b))?;
        wanted.set(set, preference::ALIGNMENT_B, &shape.row_alignment(shape.a, shape.lda, shape.stride_a))?;
        wanted.set(set, preference::ALIGNMENT_C, &c)?;
        wanted.set(set, preference::ALIGNMENT_D, &c)?;

        let mut choices = [Choice::default(); CANDIDATES];
        let mut count = 0;
        let Parts { description, a, b, c } = &*parts;
        // SAFETY: all handles are of this library and alive; there is room for as many choices as are asked for.
        let code = unsafe {
            (functions.heuristic)(
                self.handle,
                description.handle,
                b.handle,
                a.handle,
                c.handle,
                c.handle,
                wanted.handle,
                CANDIDATES as c_int,
                choices.as_mut_ptr(),
                &raw mut count,
            )
        };
        let told = self.check(code, "cublasLtMatmulAlgoGetHeuristic");
        told.map_err(|e| e.context(format!("there is no algorithm for a product: {shape:?}")))?;
        let choices = &choices[..usize::try_from(count).unwrap_or(0).min(CANDIDATES)];
        let good = choices.iter().find(|c| c.state == 0 && self.fits(parts, batch, &c.algorithm).is_ok());
        good.map(|c| c.algorithm)
            .ok_or_else(|| Error::new(Kind::Device, format!("there is no algorithm for a product: {shape:?}")))
    }

    /// Whether this many products can be computed in one call by this algorithm, in the workspace that there is.
    fn fits(&self, parts: &Parts, batch: usize, algorithm: &RawAlgorithm) -> Result<()> {
        parts.set_batch(batch)?;
        let mut choice = Choice::default();
        let Parts { description, a, b, c } = parts;
        // SAFETY: all handles are of this library and alive; the last two arguments point to an algorithm and a choice.
        let code = unsafe {
            (self.functions.check)(
                self.handle,
                description.handle,
                b.handle,
                a.handle,
                c.handle,
                c.handle,
                algorithm,
                &raw mut choice,
            )
        };
        self.check(code, "cublasLtMatmulAlgoCheck")?;
        self.check(choice.state, "cublasLtMatmulAlgoCheck")?;
        if choice.workspace as u64 > WORKSPACE_BYTES {
            return Err(Error::new(Kind::Device, format!("a product needs {} bytes of workspace", choice.workspace)));
        }
        Ok(())
    }
}

impl Drop for Multiplier {
    fn drop(&mut self) {
        if !self.handle.is_null() {
            // SAFETY: created here, used no more.
            let _ = unsafe { (self.functions.destroy)(self.handle) };
        }
    }
}

/// Something that the library has made for us; given back when dropped.
struct Owned {
    multiplier: Rc<Multiplier>,
    handle: Handle,
    destroy: unsafe extern "C" fn(Handle) -> i32,
}

impl Owned {
    fn empty(multiplier: &Rc<Multiplier>, destroy: unsafe extern "C" fn(Handle) -> i32) -> Self {
        Self { multiplier: Rc::clone(multiplier), handle: std::ptr::null_mut(), destroy }
    }

    /// Sets an attribute to a plain value.
    fn set<T: bytemuck::NoUninit>(
        &self,
        set: unsafe extern "C" fn(Handle, i32, *const c_void, usize) -> i32,
        attribute: i32,
        value: &T,
    ) -> Result<()> {
        // SAFETY: the library copies as many bytes as are said, from a value that has them.
        let code = unsafe { set(self.handle, attribute, std::ptr::from_ref(value).cast(), size_of::<T>()) };
        self.multiplier.check(code, "a setter of attributes")
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if !self.handle.is_null() {
            // SAFETY: made by the library, used no more.
            let _ = unsafe { (self.destroy)(self.handle) };
        }
    }
}

/// Description and layouts of a product.
struct Parts {
    description: Owned,
    a: Owned,
    b: Owned,
    c: Owned,
}

impl Parts {
    /// Sets how many products one call computes.
    fn set_batch(&self, batch: usize) -> Result<()> {
        let count = i32::try_from(batch).map_err(|e| Error::internal("too many products at once").caused_by(e))?;
        for layout in [&self.a, &self.b, &self.c] {
            layout.set(layout.multiplier.functions.layout_set, layout::BATCH_COUNT, &count)?;
        }
        Ok(())
    }
}

/// A product that is ready to be started any number of times.
pub struct Product {
    shape: Shape,
    parts: Parts,
    algorithm: RawAlgorithm,
    /// How many calls it takes.
    pieces: usize,
    multiplier: Rc<Multiplier>,
    /// The bias that the description points to.
    bias: Cell<Option<Address>>,
}

impl Product {
    /// The algorithm that was chosen.
    pub fn algorithm(&self) -> Algorithm {
        bytemuck::cast(self.algorithm)
    }

    /// What it computes.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Puts it on the stream.
    pub(super) fn start(&self, a: Address, b: Address, c: Address, bias: Option<Address>) -> Result<()> {
        let (shape, multiplier) = (&self.shape, &*self.multiplier);
        if shape.bias != bias.is_some() {
            return Err(Error::internal(format!(
                "a product is given a bias where it has none, or none where it has one: {shape:?}"
            )));
        }
        if [a, b, c].iter().any(|address| !address.0.is_multiple_of(u64::from(shape.alignment))) {
            return Err(Error::internal(format!("a product is given {a:?}, {b:?} and {c:?}, which are not aligned: {shape:?}")));
        }
        let batch = shape.batch / self.pieces;
        let further = |from: Address, piece: usize, stride: i64, kind: Type| {
            let bytes = (piece * batch) as i64 * stride * kind.bytes() as i64;
            Address(from.0.wrapping_add_signed(bytes))
        };
        for piece in 0..self.pieces {
            let bias = bias.map(|bias| further(bias, piece, shape.bias_stride, shape.c));
            if let Some(bias) = bias.filter(|_| self.bias.replace(bias) != bias) {
                let set = multiplier.functions.description_set;
                self.parts.description.set(set, description::BIAS_POINTER, &bias.0)?;
            }
            let a = further(a, piece, shape.stride_a, shape.a).0 as *const c_void;
            let b = further(b, piece, shape.stride_b, shape.b).0 as *const c_void;
            let c = further(c, piece, shape.stride_c, shape.c).0 as *mut c_void;
            multiplier.context.count(|counts| counts.products += 1);
            let Parts { description, a: layout_a, b: layout_b, c: layout_c } = &self.parts;
            // SAFETY: all handles are of this library and alive; alpha and beta are read before the call returns; the algorithm
            // was checked for these layouts and this workspace. That the addresses are good is up to who calls.
            let code = unsafe {
                (multiplier.functions.multiply)(
                    multiplier.handle,
                    description.handle,
                    std::ptr::from_ref(&shape.alpha).cast(),
                    b,
                    layout_b.handle,
                    a,
                    layout_a.handle,
                    std::ptr::from_ref(&shape.beta).cast(),
                    c,
                    layout_c.handle,
                    c,
                    layout_c.handle,
                    &raw const self.algorithm,
                    multiplier.workspace.at(0).0 as *mut c_void,
                    WORKSPACE_BYTES as usize,
                    multiplier.context.stream,
                )
            };
            multiplier.check(code, "cublasLtMatmul").map_err(|error| multiplier.context.fault().unwrap_or(error))?;
        }
        Ok(())
    }
}
