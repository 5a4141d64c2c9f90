//! What GPUs there are, and whether one could be used, without opening it.

use std::path::{Path, PathBuf};

use crate::device::Gpu;
use crate::error::{Error, Kind, Result};

use super::driver::{self, Absent, Driver};
use super::libraries::{self, Files, Folders};

/// The oldest compute capability that the kernels are for: it has bfloat16 and TF32.
const OLDEST: (u32, u32) = (8, 0);

/// Where libraries are looked for and compiled kernels kept.
#[derive(Debug, Clone)]
pub struct Search {
    /// The folder that is looked into first (setting `run.cuda_libraries`).
    pub libraries: Option<PathBuf>,
    /// The folder that keeps compiled kernels; [`user_cache`] is the usual one.
    pub cache: PathBuf,
}

impl Search {
    /// Looks into `libraries` first. Compiled kernels are kept in the user's cache, or below `otherwise` where there is none.
    pub fn usual(libraries: Option<PathBuf>, otherwise: &Path) -> Self {
        Self { libraries, cache: user_cache().unwrap_or_else(|| otherwise.join("kernels")) }
    }
}

/// The user's folder for compiled kernels: `votive/kernels` in `XDG_CACHE_HOME` or `~/.cache`; `None` without a home.
pub fn user_cache() -> Option<PathBuf> {
    let folder = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let caches = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")))?;
    Some(caches.join("votive/kernels"))
}

/// A GPU as the driver lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its number, counted after `CUDA_VISIBLE_DEVICES`.
    pub number: u32,
    /// Its name, such as `NVIDIA H200`.
    pub name: String,
    /// Its identity, as `nvidia-smi -L` shows it (`GPU-…`).
    pub uuid: String,
    /// Its memory in bytes.
    pub memory: u64,
}

impl Listed {
    /// It, as records name it.
    pub fn gpu(&self) -> Gpu {
        Gpu { number: self.number, name: self.name.clone(), uuid: self.uuid.clone() }
    }
}

/// The GPUs that the driver shows to this process (it respects `CUDA_VISIBLE_DEVICES`), without opening a context.
/// Empty where there is no driver or no GPU; an error where a driver is there and does not work.
pub fn gpus(search: &Search) -> Result<Vec<Listed>> {
    let driver = match Driver::open(&Folders::new(search.libraries.as_deref())) {
        Ok(driver) => driver,
        Err(Absent::Nothing(_)) => return Ok(Vec::new()),
        Err(Absent::Refused(error)) => return Err(error),
    };
    let listed = |number| {
        let device = driver.device(number)?;
        Ok(Listed { number, name: driver.name(device)?, uuid: driver.uuid(device)?, memory: driver.memory(device)? })
    };
    (0..driver.count()?).map(listed).collect()
}

/// Whether this GPU could be opened: driver, its version, the device, and the libraries' files. The error is one sentence with
/// what to install. No context is opened and no library but the driver loaded.
pub fn ready(search: &Search, number: u32) -> Result<()> {
    Seen::new(search, number).map(|_| ())
}

/// A GPU that could be opened, and what it takes.
pub(super) struct Seen {
    pub(super) driver: Driver,
    pub(super) device: driver::Device,
    pub(super) capability: (u32, u32),
    pub(super) files: Files,
}

impl Seen {
    pub(super) fn new(search: &Search, number: u32) -> Result<Self> {
        let folders = Folders::new(search.libraries.as_deref());
        let driver = Driver::open(&folders)?;
        let count = driver.count()?;
        if number >= count {
            let there = if count == 1 { "1 GPU".to_owned() } else { format!("{count} GPUs") };
            return Err(Error::new(Kind::Device, format!("there is no GPU {number}: the driver shows {there}, numbered from 0"))
                .help("see `nvidia-smi -L`; the numbers count what `CUDA_VISIBLE_DEVICES` leaves"));
        }
        let device = driver.device(number)?;
        let files = libraries::find(&folders, driver.version())?;
        let major = driver.attribute(device, driver::CAPABILITY_MAJOR)?;
        let capability = (major, driver.attribute(device, driver::CAPABILITY_MINOR)?);
        if capability < OLDEST {
            let name = driver.name(device)?;
            let (major, minor) = capability;
            return Err(Error::new(
                Kind::Device,
                format!("{name} (compute capability {major}.{minor}) is too old for the kernels"),
            )
            .help("take a GPU of compute capability 8.0 or newer (A100, RTX 30 and later), or train with `--device cpu`"));
        }
        Ok(Self { driver, device, capability, files })
    }
}

/// What a GPU and its libraries are: what decides the bits of a training stands here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The GPU's name.
    pub name: String,
    /// The GPU's identity (`GPU-…`).
    pub uuid: String,
    /// Number of streaming multiprocessors.
    pub multiprocessors: u32,
    /// Compute capability, such as `(9, 0)`.
    pub capability: (u32, u32),
    /// The GPU's memory in bytes.
    pub memory: u64,
    /// The newest CUDA version that the driver serves, such as `(13, 0)`.
    pub driver: (u32, u32),
    /// The version of cublasLt as its library tells it, such as `130101`.
    pub products: u64,
    /// The compiler of kernels: its files' names and sizes.
    pub compiler: String,
}
