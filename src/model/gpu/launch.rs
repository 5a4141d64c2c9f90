//! Launches of kernels and products, as [`forward`](super::forward) and [`backward`](super::backward) write them down.

use std::cell::{Ref, RefCell};

use super::cuda::{Address, Argument, Gpu, Kernels, Product, Shape, Type};
use crate::error::{Error, Result};

/// Products by their shape, each with the algorithm that was chosen for it.
#[derive(Default)]
pub(super) struct Products(RefCell<Vec<(Shape, Product)>>);

impl Products {
    /// The product of this shape, prepared at its first use.
    fn of(&self, gpu: &Gpu, shape: Shape) -> Result<Ref<'_, Product>> {
        let find = |all: &Vec<(Shape, Product)>| all.iter().position(|(known, _)| *known == shape);
        let known = find(&self.0.borrow());
        let place = match known {
            Some(place) => place,
            None => {
                let product = gpu.product(shape)?;
                let mut all = self.0.borrow_mut();
                all.push((shape, product));
                all.len() - 1
            }
        };
        Ok(Ref::map(self.0.borrow(), |all| &all[place].1))
    }

    /// All products so far, in the order of their first use.
    pub(super) fn each(&self, visit: &mut dyn FnMut(&Product) -> Result<()>) -> Result<()> {
        self.0.borrow().iter().try_for_each(|(_, product)| visit(product))
    }

    /// The algorithms of all products so far, in the order of their first use.
    pub(super) fn algorithms(&self) -> Vec<[u8; 64]> {
        self.0.borrow().iter().map(|(_, product)| product.algorithm()).collect()
    }
}

/// Where launches go.
#[derive(Clone, Copy)]
pub(super) struct Launcher<'a> {
    pub(super) gpu: &'a Gpu,
    pub(super) kernels: &'a Kernels,
    pub(super) products: &'a Products,
    /// Only products are prepared, and nothing is launched.
    pub(super) prepare: bool,
}

impl Launcher<'_> {
    /// Launches a kernel over a grid of blocks of so many threads.
    pub(super) fn kernel(&self, name: &str, grid: [usize; 3], block: u32, shared: usize, arguments: &[Argument]) -> Result<()> {
        let kernel = self.kernels.get(name)?;
        if self.prepare {
            return Ok(());
        }
        let mut blocks = [0; 3];
        for (blocks, wanted) in blocks.iter_mut().zip(grid) {
            *blocks = u32::try_from(wanted).map_err(|_| Error::internal(format!("`{name}` cannot have {wanted} blocks")))?;
        }
        let shared = u32::try_from(shared).map_err(|_| Error::internal(format!("`{name}` cannot share {shared} bytes")))?;
        self.gpu.launch(kernel, blocks, block, shared, arguments)
    }

    /// Makes a product. Its alignment follows from the addresses and strides, so that members do not change its algorithm.
    pub(super) fn multiply(&self, mut shape: Shape, a: Address, b: Address, c: Address, bias: Option<Address>) -> Result<()> {
        let bytes = |of: Type, stride: i64| stride.unsigned_abs() * if of == Type::Bf16 { 2 } else { 4 };
        let strides = bytes(shape.a, shape.stride_a) | bytes(shape.b, shape.stride_b) | bytes(shape.c, shape.stride_c);
        let all = a.0 | b.0 | c.0 | strides | 16;
        shape.alignment = 1 << all.trailing_zeros();
        let product = self.products.of(self.gpu, shape)?;
        if self.prepare {
            return Ok(());
        }
        self.gpu.multiply(&product, a, b, c, bias)
    }
}

/// A size as an `int`. The engine refuses models and units whose sizes do not fit before it launches anything.
pub(super) fn int(value: usize) -> Argument {
    Argument::Int(i32::try_from(value).unwrap_or(i32::MAX))
}

/// A size as a `long long`.
pub(super) fn long(value: usize) -> Argument {
    Argument::Long(i64::try_from(value).unwrap_or(i64::MAX))
}

/// A place that may be missing.
pub(super) fn or_null(place: Option<Address>) -> Argument {
    Argument::Pointer(place.unwrap_or(Address::NULL))
}
