//! Who uses a GPU's memory: NVIDIA's management library, which comes with the driver. Without it nothing is known.
//!
//! Source of the functions, structures and codes: NVIDIA's `nvml.h`.

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};

use super::driver::functions;
use super::libraries::{Folders, open_management};
use super::sight::Search;

/// `nvmlDevice_t`.
type Handle = *mut c_void;

/// `NVML_SUCCESS`.
const SUCCESS: c_int = 0;
/// What stands for a figure that is not known.
const NOT_AVAILABLE: u64 = u64::MAX;
/// Processes of one GPU that are listed at most.
const PROCESSES: c_uint = 1024;
/// Bytes of a process's name.
const NAME: c_uint = 256;

/// `nvmlMemory_v2_t`: bytes. What the driver keeps for itself is not among `used`.
#[repr(C)]
#[derive(Default)]
pub(super) struct Memory {
    version: c_uint,
    total: u64,
    reserved: u64,
    free: u64,
    used: u64,
}

impl Memory {
    /// `nvmlMemory_v2`: the structure's size, and its version in the highest byte.
    const VERSION: c_uint = size_of::<Self>() as c_uint | 2 << 24;
}

/// `nvmlProcessInfo_t`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct RawProcess {
    pid: c_uint,
    bytes: u64,
    gpu_instance: c_uint,
    compute_instance: c_uint,
}

functions! {
    /// The functions of `libnvidia-ml` that are called.
    Functions {
        init = "nvmlInit_v2"() -> c_int;
        shutdown = "nvmlShutdown"() -> c_int;
        device = "nvmlDeviceGetHandleByUUID"(*const c_char, *mut Handle) -> c_int;
        memory = "nvmlDeviceGetMemoryInfo_v2"(Handle, *mut Memory) -> c_int;
        processes = "nvmlDeviceGetComputeRunningProcesses_v3"(Handle, *mut c_uint, *mut RawProcess) -> c_int;
        name = "nvmlSystemGetProcessName"(c_uint, *mut c_char, c_uint) -> c_int;
    }
}

/// What is used of a GPU's memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// By all processes together, bytes.
    pub used: u64,
    /// The processes that compute on it, as far as the system lets them be seen.
    pub processes: Vec<Process>,
}

/// A process that computes on a GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// By which the system knows the process.
    pub pid: u32,
    /// The name of its program, without folders; empty where it is not known.
    pub name: String,
    /// What it uses of the GPU's memory, bytes; `None` where it is not known.
    pub bytes: Option<u64>,
}

/// What is used of the memory of each of the GPUs with these identities; `None` where it is not known.
pub fn usage(search: &Search, uuids: &[&str]) -> Vec<Option<Usage>> {
    let library = open_management(&Folders::new(search.libraries.as_deref())).and_then(|library| Functions::new(&library).ok());
    // SAFETY: the library's first call, without arguments.
    let Some(functions) = library.filter(|functions| unsafe { (functions.init)() } == SUCCESS) else {
        return vec![None; uuids.len()];
    };
    let all = uuids.iter().map(|uuid| usage_of(&functions, uuid)).collect();
    // SAFETY: it was initialized above, and no handle is kept.
    unsafe { (functions.shutdown)() };
    all
}

fn usage_of(functions: &Functions, uuid: &str) -> Option<Usage> {
    let uuid = CString::new(uuid).ok()?;
    let mut device = std::ptr::null_mut();
    // SAFETY: a text that ends with a zero, and a place for a handle.
    let code = unsafe { (functions.device)(uuid.as_ptr(), &raw mut device) };
    let mut memory = Memory { version: Memory::VERSION, ..Memory::default() };
    // SAFETY: a handle of the library, and a structure of the version that it says.
    if code != SUCCESS || unsafe { (functions.memory)(device, &raw mut memory) } != SUCCESS {
        return None;
    }
    Some(Usage { used: memory.used, processes: processes_of(functions, device) })
}

/// The processes of a GPU; none where they cannot be seen.
fn processes_of(functions: &Functions, device: Handle) -> Vec<Process> {
    let mut found = vec![RawProcess::default(); PROCESSES as usize];
    let mut count = PROCESSES;
    // SAFETY: the array has as many elements as `count` says; the library writes no more and says how many it wrote.
    let code = unsafe { (functions.processes)(device, &raw mut count, found.as_mut_ptr()) };
    // Where there are more than it has room for nothing is written.
    if code != SUCCESS {
        return Vec::new();
    }
    found.truncate(count.min(PROCESSES) as usize);
    let process = |raw: &RawProcess| Process {
        pid: raw.pid,
        name: name_of(functions, raw.pid),
        bytes: Some(raw.bytes).filter(|bytes| *bytes != NOT_AVAILABLE),
    };
    found.iter().map(process).collect()
}

fn name_of(functions: &Functions, pid: u32) -> String {
    let mut name = [0u8; NAME as usize];
    // SAFETY: at most the given number of bytes are written, a final zero included.
    if unsafe { (functions.name)(pid, name.as_mut_ptr().cast(), NAME) } != SUCCESS {
        return String::new();
    }
    let path = CStr::from_bytes_until_nul(&name).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    // With its arguments, where it has set such a title itself.
    let program = path.split_whitespace().next().unwrap_or_default();
    program.rsplit('/').next().unwrap_or_default().to_owned()
}
