//! The driver's functions, and what its error codes mean.
//!
//! Results are integers: a driver may answer with codes that no list knows yet.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

use crate::error::{Error, Kind, Result};

use super::libraries::{self, Opened};

/// Makes a structure of function pointers that are looked up by their symbols in an opened library.
macro_rules! functions {
    ($(#[$outer:meta])* $table:ident { $($name:ident = $symbol:literal ($($kind:ty),* $(,)?) -> $result:ty;)* }) => {
        $(#[$outer])*
        pub(super) struct $table {
            $(pub(super) $name: unsafe extern "C" fn($($kind),*) -> $result,)*
        }

        impl $table {
            /// Looks every function up.
            pub(super) fn new(library: &$crate::model::gpu::cuda::libraries::Opened) -> $crate::error::Result<Self> {
                Ok(Self {
                    $(
                        // SAFETY: the library's own headers declare the symbol with this type.
                        $name: unsafe { library.function::<unsafe extern "C" fn($($kind),*) -> $result>($symbol)? },
                    )*
                })
            }
        }
    };
}
pub(super) use functions;

/// `CUdevice`.
pub(super) type Device = c_int;
/// `CUcontext`.
pub(super) type Context = *mut c_void;
/// `CUstream`.
pub(super) type Stream = *mut c_void;
/// `CUmodule`.
pub(super) type Module = *mut c_void;
/// `CUfunction`.
pub(super) type Function = *mut c_void;
/// `CUgraph`.
pub(super) type RawGraph = *mut c_void;
/// `CUgraphExec`.
pub(super) type Executable = *mut c_void;

/// `CUDA_SUCCESS`.
pub(super) const SUCCESS: i32 = 0;
/// `CUDA_ERROR_OUT_OF_MEMORY`.
const OUT_OF_MEMORY: i32 = 2;
/// `CUDA_ERROR_STUB_LIBRARY`.
pub(super) const STUB_LIBRARY: i32 = 34;
/// `CUDA_ERROR_NO_DEVICE`.
pub(super) const NO_DEVICE: i32 = 100;
/// `CUDA_ERROR_NOT_READY`.
pub(super) const NOT_READY: i32 = 600;

/// `CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT`.
pub(super) const MULTIPROCESSORS: c_int = 16;
/// `CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR`.
pub(super) const CAPABILITY_MAJOR: c_int = 75;
/// `CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR`.
pub(super) const CAPABILITY_MINOR: c_int = 76;
/// `CU_CTX_SCHED_BLOCKING_SYNC`: who waits for the GPU sleeps.
pub(super) const SLEEP_WHILE_WAITING: c_uint = 4;
/// `CU_STREAM_NON_BLOCKING`: the stream does not wait for the default stream.
pub(super) const NON_BLOCKING: c_uint = 1;
/// `CU_MEMHOSTALLOC_DEVICEMAP`: the device reaches the memory.
pub(super) const MAPPED: c_uint = 2;
/// `CU_STREAM_CAPTURE_MODE_THREAD_LOCAL`.
pub(super) const THREAD_LOCAL: c_int = 1;
/// `CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES`.
pub(super) const DYNAMIC_SHARED_BYTES: c_int = 8;

functions! {
    /// The functions of `libcuda` that are called.
    Functions {
        init = "cuInit"(c_uint) -> i32;
        version = "cuDriverGetVersion"(*mut c_int) -> i32;
        error_name = "cuGetErrorName"(i32, *mut *const c_char) -> i32;
        error_text = "cuGetErrorString"(i32, *mut *const c_char) -> i32;
        device_count = "cuDeviceGetCount"(*mut c_int) -> i32;
        device = "cuDeviceGet"(*mut Device, c_int) -> i32;
        device_name = "cuDeviceGetName"(*mut c_char, c_int, Device) -> i32;
        device_memory = "cuDeviceTotalMem_v2"(*mut usize, Device) -> i32;
        device_uuid = "cuDeviceGetUuid_v2"(*mut [u8; 16], Device) -> i32;
        device_attribute = "cuDeviceGetAttribute"(*mut c_int, c_int, Device) -> i32;
        context_flags = "cuDevicePrimaryCtxSetFlags_v2"(Device, c_uint) -> i32;
        context_retain = "cuDevicePrimaryCtxRetain"(*mut Context, Device) -> i32;
        context_release = "cuDevicePrimaryCtxRelease_v2"(Device) -> i32;
        context_set_current = "cuCtxSetCurrent"(Context) -> i32;
        memory_info = "cuMemGetInfo_v2"(*mut usize, *mut usize) -> i32;
        memory_allocate = "cuMemAlloc_v2"(*mut u64, usize) -> i32;
        memory_free = "cuMemFree_v2"(u64) -> i32;
        memory_set = "cuMemsetD8Async"(u64, u8, usize, Stream) -> i32;
        memory_write = "cuMemcpyHtoDAsync_v2"(u64, *const c_void, usize, Stream) -> i32;
        memory_read = "cuMemcpyDtoHAsync_v2"(*mut c_void, u64, usize, Stream) -> i32;
        host_allocate = "cuMemHostAlloc"(*mut *mut c_void, usize, c_uint) -> i32;
        host_address = "cuMemHostGetDevicePointer_v2"(*mut u64, *mut c_void, c_uint) -> i32;
        host_free = "cuMemFreeHost"(*mut c_void) -> i32;
        stream_create = "cuStreamCreate"(*mut Stream, c_uint) -> i32;
        stream_destroy = "cuStreamDestroy_v2"(Stream) -> i32;
        stream_wait = "cuStreamSynchronize"(Stream) -> i32;
        stream_query = "cuStreamQuery"(Stream) -> i32;
        capture_begin = "cuStreamBeginCapture_v2"(Stream, c_int) -> i32;
        capture_end = "cuStreamEndCapture"(Stream, *mut RawGraph) -> i32;
        graph_instantiate = "cuGraphInstantiateWithFlags"(*mut Executable, RawGraph, u64) -> i32;
        graph_upload = "cuGraphUpload"(Executable, Stream) -> i32;
        graph_launch = "cuGraphLaunch"(Executable, Stream) -> i32;
        graph_nodes = "cuGraphGetNodes"(RawGraph, *mut *mut c_void, *mut usize) -> i32;
        graph_destroy = "cuGraphDestroy"(RawGraph) -> i32;
        executable_destroy = "cuGraphExecDestroy"(Executable) -> i32;
        module_load = "cuModuleLoadData"(*mut Module, *const c_void) -> i32;
        module_function = "cuModuleGetFunction"(*mut Function, Module, *const c_char) -> i32;
        function_set = "cuFuncSetAttribute"(Function, c_int, c_int) -> i32;
        launch = "cuLaunchKernel"(
            Function, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, Stream, *mut *mut c_void, *mut *mut c_void,
        ) -> i32;
    }
}

/// The driver: its functions, looked up and initialized.
pub(super) struct Driver {
    functions: Functions,
    version: (u32, u32),
}

impl std::ops::Deref for Driver {
    type Target = Functions;

    fn deref(&self) -> &Functions {
        &self.functions
    }
}

/// Why there is no driver to work with.
pub(super) enum Absent {
    /// This machine has none, or no GPU for it: what is found on most machines.
    Nothing(Error),
    /// There is one, and it does not work.
    Refused(Error),
}

impl From<Absent> for Error {
    fn from(absent: Absent) -> Self {
        match absent {
            Absent::Nothing(error) | Absent::Refused(error) => error,
        }
    }
}

impl Driver {
    /// Opens `libcuda` and initializes it.
    pub(super) fn open(folders: &libraries::Folders) -> Result<Self, Absent> {
        let library = libraries::open_driver(folders).map_err(Absent::Nothing)?;
        let functions = Functions::new(&library).map_err(|e| Absent::Refused(old(&library, e)))?;
        let mut driver = Self { functions, version: (0, 0) };
        // SAFETY: the first call into the driver; it takes no flags.
        let code = unsafe { (driver.init)(0) };
        if code == NO_DEVICE || code == STUB_LIBRARY {
            let error = driver.error(code, "cuInit");
            let stub = format!("{} is the toolkit's stub to link with, not a driver", library.path.display());
            return Err(Absent::Nothing(if code == STUB_LIBRARY { error.context(stub) } else { error }));
        }
        driver.check(code, "cuInit").map_err(Absent::Refused)?;
        let mut version = 0;
        // SAFETY: the argument points to an integer.
        let code = unsafe { (driver.functions.version)(&raw mut version) };
        driver.check(code, "cuDriverGetVersion").map_err(Absent::Refused)?;
        let version = u32::try_from(version).unwrap_or(0);
        driver.version = (version / 1000, version % 1000 / 10);
        Ok(driver)
    }

    /// The newest CUDA version that it serves.
    pub(super) fn version(&self) -> (u32, u32) {
        self.version
    }

    /// An error for any answer but success.
    pub(super) fn check(&self, code: i32, function: &str) -> Result<()> {
        if code == SUCCESS { Ok(()) } else { Err(self.error(code, function)) }
    }

    /// What this code means, with the driver's own words underneath.
    pub(super) fn error(&self, code: i32, function: &str) -> Error {
        let name = self.words(self.functions.error_name, code).unwrap_or_else(|| format!("error {code}"));
        let text = self.words(self.functions.error_text, code).unwrap_or_else(|| "the driver has no text for it".to_owned());
        describe(code).caused_by(format!("`{function}` answered {name} ({code}): {text}"))
    }

    fn words(&self, of: unsafe extern "C" fn(i32, *mut *const c_char) -> i32, code: i32) -> Option<String> {
        let mut text = std::ptr::null();
        // SAFETY: the function writes a pointer to a constant text of its own, or null for a code that it does not know.
        let answer = unsafe { of(code, &raw mut text) };
        if answer != SUCCESS || text.is_null() {
            return None;
        }
        // SAFETY: not null, and a text of the driver ends with a zero.
        Some(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
    }

    /// The GPUs' numbers are `0..count`.
    pub(super) fn count(&self) -> Result<u32> {
        let mut count = 0;
        // SAFETY: the argument points to an integer.
        let code = unsafe { (self.device_count)(&raw mut count) };
        self.check(code, "cuDeviceGetCount")?;
        Ok(u32::try_from(count).unwrap_or(0))
    }

    /// The driver's handle of the GPU of this number.
    pub(super) fn device(&self, number: u32) -> Result<Device> {
        let mut device = 0;
        // SAFETY: the first argument points to an integer.
        let code = unsafe { (self.functions.device)(&raw mut device, c_int::try_from(number).unwrap_or(c_int::MAX)) };
        self.check(code, "cuDeviceGet")?;
        Ok(device)
    }

    /// A GPU's name.
    pub(super) fn name(&self, device: Device) -> Result<String> {
        let mut name = [0u8; 256];
        // SAFETY: the driver writes at most the given number of bytes, a final zero included.
        let code = unsafe { (self.device_name)(name.as_mut_ptr().cast(), 256, device) };
        self.check(code, "cuDeviceGetName")?;
        let length = name.iter().position(|&b| b == 0).unwrap_or(name.len());
        Ok(String::from_utf8_lossy(&name[..length]).into_owned())
    }

    /// A GPU's identity, written as `nvidia-smi` does.
    pub(super) fn uuid(&self, device: Device) -> Result<String> {
        let mut bytes = [0u8; 16];
        // SAFETY: a UUID has 16 bytes.
        let code = unsafe { (self.device_uuid)(&raw mut bytes, device) };
        self.check(code, "cuDeviceGetUuid")?;
        // A part of a GPU (MIG) has a name of its own.
        let mut text = String::from(if self.name(device)?.contains("MIG") { "MIG-" } else { "GPU-" });
        for (place, byte) in bytes.iter().enumerate() {
            if [4, 6, 8, 10].contains(&place) {
                text.push('-');
            }
            text.push_str(&format!("{byte:02x}"));
        }
        Ok(text)
    }

    /// A GPU's memory in bytes.
    pub(super) fn memory(&self, device: Device) -> Result<u64> {
        let mut bytes = 0;
        // SAFETY: the first argument points to a size.
        let code = unsafe { (self.device_memory)(&raw mut bytes, device) };
        self.check(code, "cuDeviceTotalMem")?;
        Ok(bytes as u64)
    }

    /// An attribute of a GPU.
    pub(super) fn attribute(&self, device: Device, attribute: c_int) -> Result<u32> {
        let mut value = 0;
        // SAFETY: the first argument points to an integer.
        let code = unsafe { (self.device_attribute)(&raw mut value, attribute, device) };
        self.check(code, "cuDeviceGetAttribute")?;
        Ok(u32::try_from(value).unwrap_or(0))
    }
}

fn old(library: &Opened, error: Error) -> Error {
    Error::new(Kind::Device, format!("the NVIDIA driver {} is too old", library.path.display()))
        .help("install a driver of version 525 or newer (CUDA 12), or train with `--device cpu`")
        .caused_by(error)
}

/// What an error code means for who trains, and what to do about it. Codes as in `cuda.h`.
fn describe(code: i32) -> Error {
    let (kind, what, help) = match code {
        OUT_OF_MEMORY => (
            Kind::OutOfMemory,
            "the GPU's memory ran out",
            "see with `nvidia-smi` who else uses it, or train a smaller model or batch",
        ),
        STUB_LIBRARY => (
            Kind::Device,
            "a stub cannot reach a GPU",
            "install the NVIDIA driver; take the folder `stubs` out of `LD_LIBRARY_PATH`",
        ),
        NO_DEVICE => (Kind::Device, "the driver shows no GPU", "see `nvidia-smi`, and whether `CUDA_VISIBLE_DEVICES` hides them"),
        101 => (Kind::Device, "there is no GPU of this number", "see `nvidia-smi -L`, and `CUDA_VISIBLE_DEVICES`"),
        // DEVICE_UNAVAILABLE, SYSTEM_NOT_READY
        46 | 802 => (
            Kind::Device,
            "the GPU is not available",
            "see with `nvidia-smi` who uses it and in which mode, and whether the machine's services run",
        ),
        // SYSTEM_DRIVER_MISMATCH, COMPAT_NOT_SUPPORTED_ON_DEVICE
        803 | 804 => (
            Kind::Device,
            "the driver's library and the system's driver are of different versions",
            "restart the machine after an update of the driver; in a container, take `compat` folders out of `LD_LIBRARY_PATH`",
        ),
        // ECC_UNCORRECTABLE, NVLINK_UNCORRECTABLE
        214 | 220 => (
            Kind::Device,
            "the GPU found an error in its memory that it could not correct",
            "reset the GPU (`nvidia-smi --gpu-reset`) or restart the machine; where it happens again the GPU is broken",
        ),
        // HARDWARE_STACK_ERROR, ILLEGAL_INSTRUCTION, MISALIGNED_ADDRESS, INVALID_ADDRESS_SPACE, INVALID_PC
        700 | 714..=718 => (
            Kind::Device,
            "a kernel reached for memory that is not its own",
            "try again; where it happens again at the same step, please report it",
        ),
        // LAUNCH_TIMEOUT, ASSERT, LAUNCH_FAILED
        702 | 710 | 719 => (Kind::Device, "a kernel failed", "see the system's log for a line with `Xid`, and try again"),
        // DEINITIALIZED, UNKNOWN: what is answered when a GPU has fallen off the bus
        4 | 999 => (
            Kind::Device,
            "the GPU was lost",
            "see `nvidia-smi` and the system's log for a line with `Xid`; a restart of the machine may be needed",
        ),
        // INVALID_IMAGE, NO_BINARY_FOR_GPU, INVALID_PTX, UNSUPPORTED_PTX_VERSION
        200 | 209 | 218 | 222 => (
            Kind::Device,
            "the GPU does not take the compiled kernels",
            "install a compiler of kernels that is not newer than the driver",
        ),
        _ => (Kind::Device, "the GPU's driver refused a call", "see `nvidia-smi` and the system's log"),
    };
    Error::new(kind, what).help(help)
}
