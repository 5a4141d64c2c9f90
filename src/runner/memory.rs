//! What a trial takes of memory.

/// Memory of a trial, bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Of the machine: by it, it is decided how many trials run at a time.
    pub host: u64,
    /// Of a GPU.
    pub device: Option<u64>,
}
