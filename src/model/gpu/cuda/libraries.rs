//! Where NVIDIA's libraries are looked for, and how they are opened.
//!
//! `libcuda` belongs to the driver and lies where the system's package has put it. `libnvrtc` (compiles kernels) and
//! `libcublasLt` (matrix products) come from a toolkit, from conda, or from PyPI into a Python environment, where they lie on
//! no search path of the system: so folders are searched here, and libraries opened by absolute path. What is opened stays
//! open until the process ends: these libraries do not survive being closed.

use std::ffi::OsString;
use std::fmt::Write;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

use crate::error::{Error, Kind, Result};

/// The oldest version of CUDA that is used.
const OLDEST: u32 = 12;

/// A library that is open.
pub(super) struct Opened {
    library: ManuallyDrop<Library>,
    /// What was opened.
    pub(super) path: PathBuf,
}

impl Opened {
    fn new(path: &Path) -> Result<Self> {
        // SAFETY: opening runs the library's initializers: it is one of NVIDIA's, in a folder that the user or the system
        // set up for it. All symbols are resolved now, so that what does not fit is told here, and global, because these
        // libraries look each other up by name.
        let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) }
            .map_err(|e| Error::new(Kind::Device, format!("{} cannot be opened", path.display())).caused_by(e))?;
        Ok(Self { library: ManuallyDrop::new(library), path: path.to_owned() })
    }

    /// The function of this symbol.
    ///
    /// # Safety
    /// `F` is the type of a function pointer that the library declares for this symbol.
    pub(super) unsafe fn function<F: Copy>(&self, symbol: &str) -> Result<F> {
        // SAFETY: as promised by who calls. The library is never closed, so that the pointer stays good.
        let found = unsafe { self.library.get::<F>(symbol) };
        found.map(|f| *f).map_err(|e| Error::new(Kind::Device, format!("{} has no `{symbol}`", self.path.display())).caused_by(e))
    }
}

/// The folders that are looked into, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Folders {
    /// What the user gave: if a library is there, others are not looked at.
    given: Vec<PathBuf>,
    /// Where toolkits and Python environments have libraries.
    usual: Vec<PathBuf>,
    /// Where a system has the driver's library; the empty path is what the system's loader knows beside that.
    driver: Vec<PathBuf>,
}

impl Folders {
    /// The folders of this machine, with this process's environment.
    pub(super) fn new(given: Option<&Path>) -> Self {
        let given = given.map(|folder| std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()));
        let mut folders = Self::of(given.as_deref(), Path::new("/"), &|name| std::env::var_os(name));
        folders.driver.push(PathBuf::new());
        folders
    }

    /// As [`Folders::new`] with another root and environment.
    fn of(given: Option<&Path>, root: &Path, variable: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let path_variable = |name| variable(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let given = given.map_or_else(Vec::new, |folder| {
            let mut folders = vec![folder.to_owned(), folder.join("lib64"), folder.join("lib")];
            folders.extend(matching(folder, "*/lib"));
            folders
        });
        let loader: Vec<PathBuf> = variable("LD_LIBRARY_PATH")
            .map(|paths| std::env::split_paths(&paths).filter(|p| p.is_absolute() && !is_stubs(p)).collect())
            .unwrap_or_default();

        let machine = std::env::consts::ARCH;
        let system = [format!("usr/lib/{machine}-linux-gnu"), "usr/lib64".into(), "usr/lib".into()].map(|p| root.join(p));
        let mut driver = loader.clone();
        // WSL has the driver of Windows here, and must not take a driver of Linux that somebody installed.
        driver.push(root.join("usr/lib/wsl/lib"));
        driver.extend(system.clone());
        // Containers of cloud services, NixOS.
        driver.extend(["usr/local/nvidia/lib64", "usr/local/nvidia/lib", "run/opengl-driver/lib"].map(|p| root.join(p)));

        let mut usual = loader;
        for toolkit in ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(path_variable) {
            usual.extend([toolkit.join("lib64"), toolkit.join("lib")]);
        }
        usual.push(root.join("usr/local/cuda/lib64"));
        usual.extend(matching(root, "usr/local/cuda-*/lib64").into_iter().rev());
        usual.push(root.join("opt/cuda/lib64"));
        usual.extend(system);
        for environment in ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(path_variable) {
            usual.push(environment.join("lib"));
            usual.extend(matching(&environment, "lib*/python3*/site-packages/nvidia/*/lib"));
        }
        // The Python that `pip` installs for when no environment is active.
        for binaries in variable("PATH").map(|p| std::env::split_paths(&p).collect::<Vec<_>>()).unwrap_or_default() {
            if let (true, Some(prefix)) = (binaries.join("python3").exists(), binaries.parent()) {
                usual.extend(matching(prefix, "lib*/python3*/*-packages/nvidia/*/lib"));
            }
        }
        if let Some(home) = path_variable("HOME") {
            usual.extend(matching(&home, ".local/lib/python3*/site-packages/nvidia/*/lib"));
        }
        usual.extend(matching(root, "usr/local/lib/python3*/*-packages/nvidia/*/lib"));
        let mut seen = std::collections::HashSet::new();
        usual.retain(|folder| seen.insert(folder.clone()));
        Self { given, usual, driver }
    }

    /// The file `lib{stem}.so.{major}` of the newest major version that this driver serves.
    fn find(&self, stem: &str, driver: (u32, u32)) -> Option<Found> {
        for folders in [&self.given, &self.usual] {
            for major in (OLDEST..=driver.0).rev() {
                let name = format!("lib{stem}.so.{major}");
                if let Some(path) = folders.iter().map(|f| f.join(&name)).find(|p| p.is_file()) {
                    return Some(Found { path, major });
                }
            }
        }
        None
    }

    /// A file of a major version that is too new for this driver.
    fn too_new(&self, stem: &str, driver: (u32, u32)) -> Option<PathBuf> {
        let names = (driver.0 + 1..driver.0 + 4).map(|major| format!("lib{stem}.so.{major}"));
        let places = names.flat_map(|name| self.given.iter().chain(&self.usual).map(move |f| f.join(&name)));
        places.into_iter().find(|p| p.is_file())
    }
}

/// The folders that match a pattern below `folder`, in the order of their names.
fn matching(folder: &Path, pattern: &str) -> Vec<PathBuf> {
    let Some(start) = folder.to_str() else { return Vec::new() };
    let pattern = format!("{}/{pattern}", glob::Pattern::escape(start.trim_end_matches('/')));
    // The pattern is ours and well formed; a folder that cannot be read has nothing for us.
    glob::glob(&pattern).map(|paths| paths.flatten().filter(|p| p.is_dir()).collect()).unwrap_or_default()
}

/// A toolkit's folder of libraries to link with, which cannot run anything.
fn is_stubs(folder: &Path) -> bool {
    folder.components().any(|c| c.as_os_str() == "stubs")
}

/// A library's file that was found, not opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Where the library lies.
    pub(super) path: PathBuf,
    major: u32,
}

impl Found {
    /// The file's companions `lib{stem}.so.{major}.*` in the same folder.
    fn companions(&self, stem: &str) -> Vec<PathBuf> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let pattern = format!("{}/lib{stem}.so.{}.*", glob::Pattern::escape(&folder.to_string_lossy()), self.major);
        let mut files: Vec<PathBuf> = glob::glob(&pattern).map(|p| p.flatten().collect()).unwrap_or_default();
        // Both `.so.13.0` and the `.so.13.0.88` that it is a link to: the first is the name under which it is asked for.
        files.retain(|f| {
            f.extension().is_some() && f.to_string_lossy().rsplit(".so.").next().is_some_and(|v| v.matches('.').count() == 1)
        });
        files
    }
}

/// The files of the libraries beside the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Files {
    /// `libnvrtc`.
    pub(super) compiler: Found,
    /// `libcublasLt`.
    pub(super) products: Found,
}

/// Finds what is needed beside the driver, which serves this version of CUDA; what is missing is told in one error.
pub(super) fn find(folders: &Folders, driver: (u32, u32)) -> Result<Files> {
    if driver.0 < OLDEST {
        let (major, minor) = driver;
        return Err(Error::new(
            Kind::Device,
            format!("the NVIDIA driver serves CUDA {major}.{minor}, and {OLDEST}.0 or newer is needed"),
        )
        .help("update the driver (version 525 or newer), or train with `--device cpu`"));
    }
    let (compiler, products) = (folders.find("nvrtc", driver), folders.find("cublasLt", driver));
    match (compiler, products) {
        (Some(compiler), Some(products)) => Ok(Files { compiler, products }),
        (compiler, products) => {
            let missing = [("nvrtc", "nvidia-cuda-nvrtc", compiler.is_none()), ("cublasLt", "nvidia-cublas", products.is_none())];
            Err(not_found(folders, driver, missing.into_iter().filter(|m| m.2).map(|m| (m.0, m.1)).collect()))
        }
    }
}

fn not_found(folders: &Folders, driver: (u32, u32), missing: Vec<(&str, &str)>) -> Error {
    let major = driver.0;
    let names: Vec<String> = missing.iter().map(|(stem, _)| format!("`lib{stem}.so.{major}`")).collect();
    let verb = if names.len() == 1 { "was" } else { "were" };
    let mut message = format!("the GPU cannot be used: {} {verb} not found", names.join(" and "));
    let newer: Vec<PathBuf> = missing.iter().filter_map(|(stem, _)| folders.too_new(stem, driver)).collect();
    if let Some(file) = newer.first() {
        let (major, minor) = driver;
        let _ = write!(message, " ({} is newer than the driver, which serves CUDA {major}.{minor})", file.display());
    }
    let packages: Vec<String> = missing.iter().map(|(_, package)| package_of(package, major, !newer.is_empty())).collect();
    Error::new(Kind::Device, message)
        .help(format!("`pip install {}`, or say by `run.cuda_libraries` in which folder such libraries lie", packages.join(" ")))
}

/// The package on PyPI that has a library of this major version.
fn package_of(package: &str, major: u32, exactly: bool) -> String {
    match (major, exactly) {
        (12, _) => format!("{package}-cu12"),
        (_, true) => format!("'{package}=={major}.*'"),
        (_, false) => package.to_owned(),
    }
}

/// Opens the driver's library.
pub(super) fn open_driver(folders: &Folders) -> Result<Opened> {
    const NAME: &str = "libcuda.so.1";
    let mut broken = None;
    for folder in folders.given.iter().chain(&folders.driver) {
        let file = folder.join(NAME);
        let by_name = folder.as_os_str().is_empty();
        if !by_name && !file.is_file() {
            continue;
        }
        match Opened::new(&file) {
            Ok(library) => return Ok(library),
            // The system's loader knows of none either.
            Err(_) if by_name => {}
            // A library for another kind of processor, say: there may be one that fits in the next folder.
            Err(error) => broken = broken.or(Some(error)),
        }
    }
    let told = match broken {
        Some(broken) => Error::new(Kind::Device, "the NVIDIA driver that was found cannot be opened").caused_by(broken),
        None => Error::new(Kind::Device, "no NVIDIA driver was found: there is no `libcuda.so.1`"),
    };
    Err(told.help(if cfg!(target_env = "musl") {
        "this program was built with musl, which cannot open libraries: take the build for glibc, or train with `--device cpu`"
    } else {
        "install the NVIDIA driver (in a container: start it with `--gpus all`), or train with `--device cpu`"
    }))
}

/// Opens the library that says who uses the GPUs, which comes with the driver; `None` where it is not there.
pub(super) fn open_management(folders: &Folders) -> Option<Opened> {
    const NAME: &str = "libnvidia-ml.so.1";
    let files = folders.given.iter().chain(&folders.driver).map(|folder| folder.join(NAME));
    // The empty folder is what the system's loader knows beside the usual ones.
    let there = files.filter(|file| file.is_file() || file.as_os_str() == NAME);
    there.into_iter().find_map(|file| Opened::new(&file).ok())
}

/// Opens the compiler of kernels; the builtins first, which it asks for by a bare name and would not find.
pub(super) fn open_compiler(found: &Found) -> Result<Opened> {
    for builtins in found.companions("nvrtc-builtins") {
        Opened::new(&builtins)?;
    }
    Opened::new(&found.path).map_err(broken)
}

/// Opens the library of matrix products.
pub(super) fn open_products(found: &Found) -> Result<Opened> {
    Opened::new(&found.path).map_err(broken)
}

fn broken(error: Error) -> Error {
    error.help("install it again, or say by `run.cuda_libraries` in which folder another one lies")
}

/// What tells one compiler of kernels from another without opening it: the names and sizes of its files. The builtins' name
/// has its version; its own size changes with every build.
pub(super) fn identity(compiler: &Found) -> Result<String> {
    let mut parts = Vec::new();
    for file in std::iter::once(compiler.path.clone()).chain(compiler.companions("nvrtc-builtins")) {
        let bytes = std::fs::metadata(&file).map_err(|e| Error::io("read", &file, e))?.len();
        parts.push(format!("{} of {bytes} bytes", file.file_name().unwrap_or_default().to_string_lossy()));
    }
    Ok(parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::fs;

    /// Makes an empty file and the folders above it.
    fn touch(root: &Path, file: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }

    fn folders(root: &Path, given: Option<&str>, variables: &[(&str, String)]) -> Folders {
        let variables: HashMap<&str, &String> = variables.iter().map(|(n, v)| (*n, v)).collect();
        let given = given.map(|g| root.join(g));
        Folders::of(given.as_deref(), root, &|name| variables.get(name).map(|v| OsString::from(v.as_str())))
    }

    fn found(root: &Path, folders: &Folders, driver: (u32, u32)) -> Option<String> {
        folders.find("nvrtc", driver).map(|f| f.path.strip_prefix(root).unwrap().display().to_string())
    }

    #[test]
    fn the_newest_version_that_the_driver_serves_is_taken_wherever_it_lies() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        touch(root, "usr/local/cuda-12.4/lib64/libnvrtc.so.12");
        touch(root, "home/.local/lib/python3.11/site-packages/nvidia/cu13/lib/libnvrtc.so.13");
        touch(root, "venv/lib/python3.12/site-packages/nvidia/cu14/lib/libnvrtc.so.14");
        let home = ("HOME", root.join("home").display().to_string());
        let venv = ("VIRTUAL_ENV", root.join("venv").display().to_string());
        let all = folders(root, None, &[home, venv]);
        let site = "site-packages/nvidia";
        assert_eq!(found(root, &all, (12, 8)).unwrap(), "usr/local/cuda-12.4/lib64/libnvrtc.so.12");
        assert_eq!(found(root, &all, (13, 0)).unwrap(), format!("home/.local/lib/python3.11/{site}/cu13/lib/libnvrtc.so.13"));
        assert_eq!(found(root, &all, (14, 0)).unwrap(), format!("venv/lib/python3.12/{site}/cu14/lib/libnvrtc.so.14"));
        assert_eq!(found(root, &folders(root, None, &[]), (14, 0)).unwrap(), "usr/local/cuda-12.4/lib64/libnvrtc.so.12");
    }

    #[test]
    fn the_given_folder_wins_then_the_loaders_path_then_the_newest_toolkit() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for file in ["usr/local/cuda-12.2/lib64", "usr/local/cuda-12.8/lib64", "ld", "toolkit/lib64", "env/nvrtc/lib"] {
            touch(root, &format!("{file}/libnvrtc.so.12"));
        }
        touch(root, "usr/local/cuda-13.0/lib64/libnvrtc.so.13");
        let loader = ("LD_LIBRARY_PATH", format!(":{}/none:{}/ld:relative", root.display(), root.display()));
        assert_eq!(found(root, &folders(root, Some("env"), &[]), (13, 0)).unwrap(), "env/nvrtc/lib/libnvrtc.so.12");
        assert_eq!(found(root, &folders(root, Some("toolkit"), &[]), (13, 0)).unwrap(), "toolkit/lib64/libnvrtc.so.12");
        assert_eq!(found(root, &folders(root, None, &[loader]), (12, 9)).unwrap(), "ld/libnvrtc.so.12");
        assert_eq!(found(root, &folders(root, None, &[]), (12, 9)).unwrap(), "usr/local/cuda-12.8/lib64/libnvrtc.so.12");
        let toolkit = ("CUDA_HOME", root.join("toolkit").display().to_string());
        assert_eq!(found(root, &folders(root, None, &[toolkit]), (12, 9)).unwrap(), "toolkit/lib64/libnvrtc.so.12");
    }

    #[test]
    fn a_python_on_the_path_is_asked_and_stubs_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        touch(root, "opt/conda/bin/python3");
        touch(root, "opt/conda/lib/python3.13/site-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12");
        touch(root, "usr/local/cuda/lib64/stubs/libcuda.so.1");
        let stubs = root.join("usr/local/cuda/lib64/stubs");
        let path = ("PATH", root.join("opt/conda/bin").display().to_string());
        let loader = ("LD_LIBRARY_PATH", stubs.display().to_string());
        let all = folders(root, None, &[path, loader]);
        assert!(found(root, &all, (12, 0)).unwrap().starts_with("opt/conda/lib/python3.13"));
        assert!(!all.driver.contains(&stubs) && !all.usual.contains(&stubs), "{all:?}");
    }

    #[test]
    fn what_is_missing_is_told_in_one_sentence_with_what_brings_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let told = |driver| {
            let error = find(&folders(root, None, &[]), driver).unwrap_err();
            assert_eq!(error.kind(), Kind::Device);
            (error.to_string(), error.help_text().unwrap().to_owned())
        };
        let (message, help) = told((13, 0));
        assert_eq!(message, "the GPU cannot be used: `libnvrtc.so.13` and `libcublasLt.so.13` were not found");
        assert!(help.starts_with("`pip install nvidia-cuda-nvrtc nvidia-cublas`, or say by `run.cuda_libraries`"), "{help}");
        let (message, help) = told((11, 4));
        assert_eq!(message, "the NVIDIA driver serves CUDA 11.4, and 12.0 or newer is needed");
        assert!(help.contains("525"), "{help}");

        touch(root, "opt/cuda/lib64/libnvrtc.so.12");
        touch(root, "opt/cuda/lib64/libcublasLt.so.13");
        let (message, help) = told((12, 4));
        let file = root.join("opt/cuda/lib64/libcublasLt.so.13");
        let newer = format!("({} is newer than the driver, which serves CUDA 12.4)", file.display());
        assert_eq!(message, format!("the GPU cannot be used: `libcublasLt.so.12` was not found {newer}"));
        assert!(help.starts_with("`pip install nvidia-cublas-cu12`,"), "{help}");
        assert!(find(&folders(root, None, &[]), (13, 1)).is_ok());
    }

    #[test]
    fn a_compiler_is_told_from_another_without_opening_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for file in ["libnvrtc.so.13", "libnvrtc-builtins.so.13.0", "libnvrtc-builtins.so.13.0.88", "libnvrtc-builtins.so.12.4"] {
            touch(root, &format!("a/{file}"));
        }
        let compiler = folders(root, Some("a"), &[]).find("nvrtc", (13, 0)).unwrap();
        let first = identity(&compiler).unwrap();
        assert_eq!(first, "libnvrtc.so.13 of 0 bytes, libnvrtc-builtins.so.13.0 of 0 bytes");
        fs::write(&compiler.path, "other").unwrap();
        assert_ne!(identity(&compiler).unwrap(), first);
    }

    #[test]
    fn a_file_that_is_no_library_is_told_by_its_path() {
        let dir = tempfile::tempdir().unwrap();
        touch(dir.path(), "a/libcuda.so.1");
        let error = open_driver(&folders(dir.path(), Some("a"), &[])).err().unwrap();
        assert_eq!(error.to_string(), "the NVIDIA driver that was found cannot be opened");
        assert!(error.chain().contains("a/libcuda.so.1 cannot be opened"), "{}", error.chain());
        let error = open_driver(&folders(dir.path(), None, &[])).err().unwrap();
        assert_eq!(error.chain(), "no NVIDIA driver was found: there is no `libcuda.so.1`");
        assert!(error.help_text().unwrap().contains("--device cpu"));
    }
}
