//! Recorded launches.

use std::rc::Rc;

use crate::error::Result;

use super::context::Context;
use super::driver;

/// Launches that were recorded once and are started together.
pub struct Graph {
    context: Rc<Context>,
    executable: driver::Executable,
    nodes: usize,
}

/// The driver's recording, which a graph that can run is made from.
struct Recording<'a> {
    context: &'a Context,
    raw: driver::RawGraph,
}

impl Drop for Recording<'_> {
    fn drop(&mut self) {
        if !self.raw.is_null() {
            // SAFETY: made by the end of a capture, used no more.
            let _ = unsafe { (self.context.driver.graph_destroy)(self.raw) };
        }
    }
}

impl Graph {
    /// Records what `launches` puts on the stream.
    pub(super) fn record(context: &Rc<Context>, launches: impl FnOnce() -> Result<()>) -> Result<Self> {
        let driver = &context.driver;
        // SAFETY: the stream is open; other threads may use the driver meanwhile.
        let code = unsafe { (driver.capture_begin)(context.stream, driver::THREAD_LOCAL) };
        context.check(code, "cuStreamBeginCapture")?;
        let result = launches();
        // The capture ends whatever happened: else the stream would stay of no use.
        let mut recording = Recording { context, raw: std::ptr::null_mut() };
        // SAFETY: the second argument points to a graph.
        let code = unsafe { (driver.capture_end)(context.stream, &raw mut recording.raw) };
        result?;
        context.check(code, "cuStreamEndCapture")?;

        let mut graph = Self { context: Rc::clone(context), executable: std::ptr::null_mut(), nodes: 0 };
        // SAFETY: a graph that was just recorded; without an array, the nodes are counted.
        let code = unsafe { (driver.graph_nodes)(recording.raw, std::ptr::null_mut(), &raw mut graph.nodes) };
        context.check(code, "cuGraphGetNodes")?;
        // SAFETY: the first argument points to an executable graph.
        let code = unsafe { (driver.graph_instantiate)(&raw mut graph.executable, recording.raw, 0) };
        context.check(code, "cuGraphInstantiate")?;
        // What the first replay would do before it begins.
        // SAFETY: made above.
        let code = unsafe { (driver.graph_upload)(graph.executable, context.stream) };
        context.check(code, "cuGraphUpload")?;
        Ok(graph)
    }

    /// Starts it on the stream.
    pub(super) fn replay(&self) -> Result<()> {
        let context = &self.context;
        context.count(|c| c.replays += 1);
        // SAFETY: an executable graph of this context.
        let code = unsafe { (context.driver.graph_launch)(self.executable, context.stream) };
        context.check(code, "cuGraphLaunch")
    }

    /// How many kernels, copies and fills it starts.
    pub fn nodes(&self) -> usize {
        self.nodes
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        if !self.executable.is_null() {
            // SAFETY: made by [`Graph::record`]; the driver lets a running one end first.
            let _ = unsafe { (self.context.driver.executable_destroy)(self.executable) };
        }
    }
}
