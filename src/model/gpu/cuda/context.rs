//! A device's context and its stream: what everything on the GPU hangs on.

use std::cell::Cell;

use crate::error::{Error, Result};

use super::driver::{self, Driver};

/// How often the GPU was asked for something since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Kernels launched, or recorded into a graph.
    pub launches: u64,
    /// Products started, or recorded into a graph.
    pub products: u64,
    /// Times the host waited for the stream.
    pub waits: u64,
    /// Arrays and pinned pieces allocated.
    pub allocations: u64,
    /// Graphs launched.
    pub replays: u64,
}

/// A context that is open on this thread, and one stream in it. Whatever lies on the GPU keeps it open.
pub(super) struct Context {
    pub(super) driver: Driver,
    pub(super) device: driver::Device,
    pub(super) stream: driver::Stream,
    counts: Cell<Counts>,
    allocated: Cell<Allocated>,
}

/// Device memory, in bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Allocated {
    now: u64,
    /// At any moment so far.
    most: u64,
}

impl Context {
    /// Opens the device's primary context, which libraries beside ours use too, and makes it this thread's.
    pub(super) fn open(driver: Driver, device: driver::Device) -> Result<Self> {
        // SAFETY: a device of this driver. Where the context is active already, its flags stay as they are: waiting then
        // takes more of a core, and is right all the same.
        let _ = unsafe { (driver.context_flags)(device, driver::SLEEP_WHILE_WAITING) };
        let mut context = std::ptr::null_mut();
        // SAFETY: the first argument points to a context.
        let code = unsafe { (driver.context_retain)(&raw mut context, device) };
        driver.check(code, "cuDevicePrimaryCtxRetain")?;
        // From here on, dropping gives back what was taken.
        let mut open = Self { driver, device, stream: std::ptr::null_mut(), counts: Cell::default(), allocated: Cell::default() };
        // SAFETY: the context was opened above.
        let code = unsafe { (open.driver.context_set_current)(context) };
        open.check(code, "cuCtxSetCurrent")?;
        // SAFETY: the first argument points to a stream.
        let code = unsafe { (open.driver.stream_create)(&raw mut open.stream, driver::NON_BLOCKING) };
        open.check(code, "cuStreamCreate")?;
        Ok(open)
    }

    /// An error for any answer of the driver but success.
    pub(super) fn check(&self, code: i32, function: &str) -> Result<()> {
        self.driver.check(code, function)
    }

    /// How often what was asked for.
    pub(super) fn counts(&self) -> Counts {
        self.counts.get()
    }

    /// Counts something.
    pub(super) fn count(&self, what: impl FnOnce(&mut Counts)) {
        let mut counts = self.counts.get();
        what(&mut counts);
        self.counts.set(counts);
    }

    /// Counts device memory that was allocated.
    pub(super) fn took(&self, bytes: u64) {
        let Allocated { now, most } = self.allocated.get();
        let now = now + bytes;
        self.allocated.set(Allocated { now, most: most.max(now) });
    }

    /// Counts device memory that was freed.
    pub(super) fn gave_back(&self, bytes: u64) {
        let Allocated { now, most } = self.allocated.get();
        self.allocated.set(Allocated { now: now.saturating_sub(bytes), most });
    }

    /// The most device memory that was allocated at once, bytes.
    pub(super) fn most_allocated(&self) -> u64 {
        self.allocated.get().most
    }

    /// Waits until the stream is done.
    pub(super) fn wait(&self) -> Result<()> {
        self.count(|c| c.waits += 1);
        // SAFETY: the stream is open.
        let code = unsafe { (self.driver.stream_wait)(self.stream) };
        self.check(code, "cuStreamSynchronize")
    }

    /// What the driver says is wrong with the GPU, if something is: after a fault, every library refuses in words of its own.
    pub(super) fn fault(&self) -> Option<Error> {
        // SAFETY: the stream is open.
        match unsafe { (self.driver.stream_query)(self.stream) } {
            driver::NOT_READY => None,
            code => self.check(code, "cuStreamQuery").err(),
        }
    }

    /// Lets what is on the stream end, before something that it may use is given back.
    pub(super) fn finish(&self) {
        // SAFETY: the stream is open. A fault has been or will be told by whoever asks for results.
        let _ = unsafe { (self.driver.stream_wait)(self.stream) };
    }

    /// Free and total memory of the device in bytes.
    pub(super) fn memory(&self) -> Result<(u64, u64)> {
        let (mut free, mut total) = (0, 0);
        // SAFETY: both arguments point to sizes.
        let code = unsafe { (self.driver.memory_info)(&raw mut free, &raw mut total) };
        self.check(code, "cuMemGetInfo")?;
        Ok((free as u64, total as u64))
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if !self.stream.is_null() {
            self.finish();
            // SAFETY: opened here, and used no more. After a fault the driver refuses; then nothing can be done, and the system
            // frees everything when the process ends.
            let _ = unsafe { (self.driver.stream_destroy)(self.stream) };
        }
        // SAFETY: taken when this was opened, and used no more.
        let _ = unsafe { (self.driver.context_release)(self.device) };
    }
}
