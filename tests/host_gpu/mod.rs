//! Stand-ins of `libcuda`, `libnvrtc` and `libcublasLt`, with which the GPU engine runs on this machine's processor.
//!
//! The folder that [`libraries`] names is given to the program as the one in which NVIDIA's libraries lie. `settings.h`
//! lists what the stand-ins can pretend (several GPUs, little memory, a fault at the n-th launch, strict running): by
//! environment variables of a process, or by a file in a copy of the folder ([`libraries_with`]).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The folder with the libraries, built by whoever comes first.
///
/// # Panics
/// If there is no C++ compiler, or it does not compile them.
pub(crate) fn libraries() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(file!()).with_file_name("build.sh");
        // Beside the folder `deps` of the test's own program, so that it is kept between runs.
        let program = std::env::current_exe().unwrap();
        let into = program.ancestors().nth(2).unwrap().join("host_gpu");
        let built = Command::new("bash").arg(&script).arg(&into).output().unwrap();
        let words = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success(), "{} failed:\n{words}", script.display());
        PathBuf::from(String::from_utf8(built.stdout).unwrap().trim_end())
    })
}

/// The folder with the libraries, in which every kernel is run in several orders and must give the same bits.
pub(crate) fn strict_libraries() -> PathBuf {
    libraries().join("strict")
}

/// A copy of the libraries with other settings: they are libraries of their own in this process.
pub(crate) fn libraries_with(settings: &[(&str, &str)]) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(libraries()).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
    }
    // What the stand-in of NVRTC has compiled serves all.
    std::os::unix::fs::symlink(libraries().join("compiled"), copy.path().join("compiled")).unwrap();
    let lines: String = settings.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    fs::write(copy.path().join("settings"), lines).unwrap();
    copy
}
