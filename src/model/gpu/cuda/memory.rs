//! Memory that the device reaches.

use std::ffi::c_void;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::AtomicU32;

use crate::error::{Error, Kind, Result};

use super::context::Context;
use super::driver;

/// What a device allocates in whole multiples of: the driver rounds small allocations up to this.
const GRANULARITY: u64 = 512;

/// A place in memory as the device counts it, in bytes; 0 is the null pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address(pub u64);

impl Address {
    /// No place: what a kernel takes where an optional array is not there.
    pub const NULL: Self = Self(0);

    /// The place this many bytes further.
    #[must_use]
    pub const fn plus(self, bytes: u64) -> Self {
        Self(self.0 + bytes)
    }
}

/// Device memory of its own allocation; freed when dropped.
pub struct Array {
    context: Rc<Context>,
    address: Address,
    bytes: u64,
}

impl Array {
    /// Allocates, and writes zeros on the stream.
    pub(super) fn new(context: &Rc<Context>, name: &str, bytes: u64) -> Result<Self> {
        let size = usize::try_from(bytes).unwrap_or(usize::MAX).max(1);
        let mut address = 0;
        // SAFETY: the first argument points to an address.
        let code = unsafe { (context.driver.memory_allocate)(&raw mut address, size) };
        if let Err(error) = context.check(code, "cuMemAlloc") {
            return Err(did_not_fit(error, context, name, bytes));
        }
        context.count(|c| c.allocations += 1);
        context.took(allocated(bytes));
        let array = Self { context: Rc::clone(context), address: Address(address), bytes };
        // SAFETY: the whole of the allocation, which nothing else knows yet.
        let code = unsafe { (context.driver.memory_set)(address, 0, size, context.stream) };
        context.check(code, "cuMemsetD8Async")?;
        Ok(array)
    }

    /// The place this many bytes after its start.
    pub fn at(&self, byte_offset: u64) -> Address {
        debug_assert!(byte_offset <= self.bytes, "{byte_offset} of {}", self.bytes);
        self.address.plus(byte_offset)
    }

    /// Its length in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Array {
    fn drop(&mut self) {
        self.context.finish();
        // SAFETY: allocated here, and nothing uses it any more. After a fault the driver refuses; the memory is then freed with
        // the context.
        let _ = unsafe { (self.context.driver.memory_free)(self.address.0) };
        self.context.gave_back(allocated(self.bytes));
    }
}

/// Bytes that the device takes for an array of so many.
pub(in crate::model::gpu) fn allocated(bytes: u64) -> u64 {
    bytes.max(1).next_multiple_of(GRANULARITY)
}

/// Says what did not fit and how much there is.
fn did_not_fit(error: Error, context: &Context, name: &str, bytes: u64) -> Error {
    if error.kind() != Kind::OutOfMemory {
        return error;
    }
    let gigabytes = |bytes: u64| format!("{:.2} GB", bytes as f64 / 1e9);
    let there = match context.memory() {
        Ok((free, total)) => format!(" where {} of {} are free", gigabytes(free), gigabytes(total)),
        Err(_) => String::new(),
    };
    // What the driver calls it says nothing more.
    let message = format!("the GPU's memory ran out: there is no room for {name} of {}{there}", gigabytes(bytes));
    let said = Error::new(Kind::OutOfMemory, message);
    match error.help_text() {
        Some(help) => said.help(help),
        None => said,
    }
}

/// Host memory that the device reads and writes over the bus; freed when dropped.
///
/// Both sides use it at the same time, so the host sees it as atomic words: a sequence number that a kernel writes last
/// is read with `Acquire`, what it announces after that.
pub struct Pinned {
    context: Rc<Context>,
    start: NonNull<AtomicU32>,
    length: usize,
    address: Address,
}

impl Pinned {
    /// Allocates this many words, all zero.
    pub(super) fn new(context: &Rc<Context>, words: usize) -> Result<Self> {
        let size = words.max(1) * size_of::<AtomicU32>();
        let mut start: *mut c_void = std::ptr::null_mut();
        // SAFETY: the first argument points to a pointer.
        let code = unsafe { (context.driver.host_allocate)(&raw mut start, size, driver::MAPPED) };
        context.check(code, "cuMemHostAlloc")?;
        context.count(|c| c.allocations += 1);
        let Some(place) = NonNull::new(start.cast::<AtomicU32>()) else {
            return Err(Error::new(Kind::OutOfMemory, "the driver gave no pinned memory"));
        };
        let mut pinned = Self { context: Rc::clone(context), start: place, length: words, address: Address::NULL };
        // SAFETY: the whole of the allocation, which nothing else knows yet.
        unsafe { start.cast::<u8>().write_bytes(0, size) };
        // SAFETY: memory that was allocated to be mapped; the last argument must be 0.
        let code = unsafe { (context.driver.host_address)(&raw mut pinned.address.0, start, 0) };
        context.check(code, "cuMemHostGetDevicePointer")?;
        Ok(pinned)
    }

    /// The host's side.
    pub fn words(&self) -> &[AtomicU32] {
        // SAFETY: as many words as were allocated and zeroed, aligned to a page, alive as long as this borrow. The device
        // changes them at any time, which atomics allow.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    /// The place of this word as the device sees it.
    pub fn at(&self, word: usize) -> Address {
        debug_assert!(word <= self.length, "{word} of {}", self.length);
        self.address.plus((size_of::<AtomicU32>() * word) as u64)
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.context.finish();
        // SAFETY: as for [`Array`].
        let _ = unsafe { (self.context.driver.host_free)(self.start.as_ptr().cast()) };
    }
}
