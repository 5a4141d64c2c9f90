//! From the kernels' sources to machine code: by NVRTC, or from the folder of what it made before.
//!
//! An entry's name is the hash of all that decides the machine code: prelude, source, options, architecture, and which
//! compiler it is, told by its files without opening them. So the compiler is opened only where an entry is missing. An
//! entry begins with the hash of its own content: a damaged one is made again, as is one that the driver does not take.

use std::cell::OnceCell;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::durable;
use crate::error::{Error, Kind, Result};
use crate::model::gpu::kernels::{PRELUDE, Source};
use crate::pulse;

use super::driver::functions;
use super::libraries::{self, Found};

/// `nvrtcProgram`.
type Program = *mut c_void;

/// `NVRTC_ERROR_BUILTIN_OPERATION_FAILURE`.
const BUILTINS_MISSING: i32 = 7;

/// Programs that are compiled at the same time, at most.
const THREADS: usize = 4;

/// The type of what products read: activations and the weights beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operand {
    /// 32-bit floats.
    F32,
    /// bfloat16.
    Bf16,
}

functions! {
    /// The functions of `libnvrtc` that are called.
    Functions {
        create = "nvrtcCreateProgram"(
            *mut Program, *const c_char, *const c_char, c_int, *const *const c_char, *const *const c_char,
        ) -> i32;
        compile = "nvrtcCompileProgram"(Program, c_int, *const *const c_char) -> i32;
        destroy = "nvrtcDestroyProgram"(*mut Program) -> i32;
        log_size = "nvrtcGetProgramLogSize"(Program, *mut usize) -> i32;
        log = "nvrtcGetProgramLog"(Program, *mut c_char) -> i32;
        cubin_size = "nvrtcGetCUBINSize"(Program, *mut usize) -> i32;
        cubin = "nvrtcGetCUBIN"(Program, *mut c_char) -> i32;
        ptx_size = "nvrtcGetPTXSize"(Program, *mut usize) -> i32;
        ptx = "nvrtcGetPTX"(Program, *mut c_char) -> i32;
        architecture_count = "nvrtcGetNumSupportedArchs"(*mut c_int) -> i32;
        architectures = "nvrtcGetSupportedArchs"(*mut c_int) -> i32;
        text = "nvrtcGetErrorString"(i32) -> *const c_char;
    }
}

/// What the compiler is asked to make.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    /// Machine code for this architecture.
    Cubin(String),
    /// The driver's assembly language for this one: it compiles that itself for a newer GPU.
    Ptx(String),
}

/// The name of a GPU's architecture. Those of data centres have instructions of their own behind the letter.
fn architecture((major, minor): (u32, u32)) -> String {
    let own = if matches!(major, 9 | 10) { "a" } else { "" };
    format!("sm_{major}{minor}{own}")
}

/// What can be made for this GPU by a compiler that knows these architectures (such as `90`).
fn target(capability: (u32, u32), known: &[u32]) -> Result<Target> {
    let number = 10 * capability.0 + capability.1;
    if known.contains(&number) {
        return Ok(Target::Cubin(architecture(capability)));
    }
    match known.iter().filter(|&&a| a < number).max() {
        Some(older) => Ok(Target::Ptx(format!("compute_{older}"))),
        None => Err(Error::new(Kind::Device, format!("the compiler of kernels does not know {}", architecture(capability)))
            .help("install an older one, such as `pip install nvidia-cuda-nvrtc-cu12`")),
    }
}

/// The options beside the architecture.
fn options(operand: Operand) -> &'static [&'static str] {
    match operand {
        Operand::F32 => &["-std=c++17"],
        Operand::Bf16 => &["-std=c++17", "-DOPERAND_BF16"],
    }
}

/// A program's machine code.
pub(super) struct Image {
    /// Hash of what decides the machine code.
    pub(super) key: blake3::Hash,
    /// What the driver loads.
    pub(super) code: Vec<u8>,
    /// Whether it lay in the cache.
    pub(super) kept: bool,
}

/// Makes machine code for one kind of GPU.
pub(super) struct Compiler {
    found: Found,
    identity: String,
    capability: (u32, u32),
    cache: PathBuf,
    opened: OnceCell<Nvrtc>,
}

impl Compiler {
    /// A compiler for a GPU of this capability; nothing is opened yet.
    pub(super) fn new(found: Found, capability: (u32, u32), cache: &Path) -> Result<Self> {
        let identity = libraries::identity(&found)?;
        Ok(Self { found, identity, capability, cache: cache.to_owned(), opened: OnceCell::new() })
    }

    /// Which compiler it is.
    pub(super) fn identity(&self) -> &str {
        &self.identity
    }

    /// Hash of all that decides a program's machine code.
    fn key(&self, source: &Source<'_>, operand: Operand) -> blake3::Hash {
        let architecture = architecture(self.capability);
        let mut hasher = blake3::Hasher::new();
        let parts = [PRELUDE, source.name, source.text, &architecture, &self.identity];
        for part in parts.iter().chain(options(operand)) {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
        hasher.finalize()
    }

    fn entry(&self, key: &blake3::Hash) -> PathBuf {
        self.cache.join(format!("{}.cubin", key.to_hex()))
    }

    /// The machine code of these sources, in their order.
    pub(super) fn images(&self, sources: &[Source<'_>], operand: Operand) -> Result<Vec<Image>> {
        let keys: Vec<blake3::Hash> = sources.iter().map(|s| self.key(s, operand)).collect();
        let kept: Vec<Option<Vec<u8>>> = keys.iter().map(|key| read_entry(&self.entry(key))).collect();
        let missing: Vec<Source<'_>> = sources.iter().zip(&kept).filter(|(_, k)| k.is_none()).map(|(s, _)| *s).collect();
        let mut made = self.make(&missing, operand)?.into_iter();
        let images = keys.into_iter().zip(kept).map(|(key, kept)| match kept {
            Some(code) => Image { key, code, kept: true },
            None => Image { key, code: made.next().unwrap_or_default(), kept: false },
        });
        Ok(images.collect())
    }

    /// The machine code of a source whose entry is of no use.
    pub(super) fn recompile(&self, source: &Source<'_>, operand: Operand) -> Result<Image> {
        let code = self.make(std::slice::from_ref(source), operand)?.remove(0);
        Ok(Image { key: self.key(source, operand), code, kept: false })
    }

    /// Compiles and keeps.
    fn make(&self, sources: &[Source<'_>], operand: Operand) -> Result<Vec<Vec<u8>>> {
        if sources.is_empty() {
            return Ok(Vec::new());
        }
        let nvrtc = match self.opened.get() {
            Some(nvrtc) => nvrtc,
            None => {
                let opened = Nvrtc::open(&self.found)?;
                self.opened.get_or_init(|| opened)
            }
        };
        let target = target(self.capability, &nvrtc.known)?;
        let codes = nvrtc.compile(sources, &target, options(operand))?;
        for (source, code) in sources.iter().zip(&codes) {
            // A cache that cannot be written costs a second at the next start, and no training.
            if let Err(error) = write_entry(&self.entry(&self.key(source, operand)), code) {
                tracing::debug!("compiled kernels are not kept: {}", error.chain());
            }
        }
        Ok(codes)
    }
}

/// What an entry holds, if it is there and whole.
fn read_entry(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = fs::read(path).ok()?;
    let code = bytes.split_off(bytes.len().min(blake3::OUT_LEN));
    (blake3::hash(&code).as_bytes().as_slice() == bytes).then_some(code)
}

fn write_entry(path: &Path, code: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent() {
        durable::create_folder(folder)?;
    }
    let mut bytes = blake3::hash(code).as_bytes().to_vec();
    bytes.extend_from_slice(code);
    durable::replace_unflushed(path, &bytes)
}

/// The compiler's library, opened.
struct Nvrtc {
    functions: Functions,
    /// The architectures that it compiles for, such as `90`.
    known: Vec<u32>,
}

impl Nvrtc {
    fn open(found: &Found) -> Result<Self> {
        let functions = Functions::new(&libraries::open_compiler(found)?)?;
        let mut nvrtc = Self { functions, known: Vec::new() };
        let mut count = 0;
        // SAFETY: the argument points to an integer.
        let code = unsafe { (nvrtc.functions.architecture_count)(&raw mut count) };
        nvrtc.check(code, "nvrtcGetNumSupportedArchs")?;
        let mut numbers = vec![0; usize::try_from(count).unwrap_or(0)];
        // SAFETY: there is room for as many as the library has just said.
        let code = unsafe { (nvrtc.functions.architectures)(numbers.as_mut_ptr()) };
        nvrtc.check(code, "nvrtcGetSupportedArchs")?;
        nvrtc.known = numbers.into_iter().filter_map(|n| u32::try_from(n).ok()).collect();
        Ok(nvrtc)
    }

    fn check(&self, code: i32, function: &str) -> Result<()> {
        if code == 0 {
            return Ok(());
        }
        // SAFETY: the library has a constant text for every code, or null.
        let text = unsafe { (self.functions.text)(code) };
        let text = if text.is_null() {
            "unknown".to_owned()
        } else {
            // SAFETY: not null, and it ends with a zero.
            unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
        };
        let error = Error::new(Kind::Device, "the compiler of kernels refused a call");
        let error = error.caused_by(format!("`{function}` answered {text} ({code})"));
        Err(if code == BUILTINS_MISSING {
            error.help("its companion `libnvrtc-builtins` is missing or of another version: install `nvidia-cuda-nvrtc` again")
        } else {
            error.help("please report it, with this text")
        })
    }

    /// Compiles all sources, a few at a time.
    fn compile(&self, sources: &[Source<'_>], target: &Target, options: &[&str]) -> Result<Vec<Vec<u8>>> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS).min(sources.len());
        let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(sources.len())));
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some((place, source)) = {
                        let place = next.fetch_add(1, Ordering::Relaxed);
                        sources.get(place).map(|s| (place, s))
                    } {
                        let result = self.program(source, target, options);
                        done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((place, result));
                    }
                });
            }
        });
        let mut results = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        results.sort_by_key(|(place, _)| *place);
        results.into_iter().map(|(_, result)| result).collect()
    }

    /// Compiles one source behind the prelude.
    fn program(&self, source: &Source<'_>, target: &Target, options: &[&str]) -> Result<Vec<u8>> {
        // Lines are counted from the beginning of each of the two files.
        let text = format!("#line 1 \"prelude.cu\"\n{PRELUDE}\n#line 1 \"{}\"\n{}", source.name, source.text);
        let c_string = |s: &str| CString::new(s).map_err(|e| Error::internal("a kernel's text has a zero byte").caused_by(e));
        let (text, name) = (c_string(&text)?, c_string(source.name)?);
        let architecture = match target {
            Target::Cubin(name) | Target::Ptx(name) => name,
        };
        let options: Vec<CString> = std::iter::once(format!("--gpu-architecture={architecture}"))
            .chain(options.iter().map(|o| (*o).to_owned()))
            .map(|o| c_string(&o))
            .collect::<Result<_>>()?;
        let options: Vec<*const c_char> = options.iter().map(|o| o.as_ptr()).collect();
        let functions = &self.functions;

        let mut program = Owned { program: std::ptr::null_mut(), functions };
        // SAFETY: both texts end with a zero and outlive the call; there are no headers.
        let code = unsafe {
            (functions.create)(&raw mut program.program, text.as_ptr(), name.as_ptr(), 0, std::ptr::null(), std::ptr::null())
        };
        self.check(code, "nvrtcCreateProgram")?;
        // SAFETY: a program of this library, and as many options as are counted.
        let code = unsafe { (functions.compile)(program.program, options.len() as c_int, options.as_ptr()) };
        if let Err(error) = self.check(code, "nvrtcCompileProgram") {
            let log = self.bytes(program.program, functions.log_size, functions.log)?;
            let log = String::from_utf8_lossy(&log).trim_end_matches('\0').trim().to_owned();
            let told = if log.is_empty() { error } else { error.context(log) };
            return Err(told.context(format!("the kernels of `{}` do not compile for {architecture}", source.name)));
        }
        pulse::beat();
        match target {
            Target::Cubin(_) => self.bytes(program.program, functions.cubin_size, functions.cubin),
            Target::Ptx(_) => self.bytes(program.program, functions.ptx_size, functions.ptx),
        }
    }

    /// A result of a program: its size is asked for, then its bytes.
    fn bytes(
        &self,
        program: Program,
        size: unsafe extern "C" fn(Program, *mut usize) -> i32,
        get: unsafe extern "C" fn(Program, *mut c_char) -> i32,
    ) -> Result<Vec<u8>> {
        let mut length = 0;
        // SAFETY: a program of this library; the second argument points to a size.
        let code = unsafe { size(program, &raw mut length) };
        self.check(code, "the size of a result")?;
        let mut bytes = vec![0u8; length];
        // SAFETY: there is room for as many bytes as the library has just said.
        let code = unsafe { get(program, bytes.as_mut_ptr().cast()) };
        self.check(code, "a result")?;
        Ok(bytes)
    }
}

/// A program, destroyed when dropped.
struct Owned<'a> {
    program: Program,
    functions: &'a Functions,
}

impl Drop for Owned<'_> {
    fn drop(&mut self) {
        if !self.program.is_null() {
            // SAFETY: a program of this library, used no more. Nothing can be done where it is not destroyed.
            let _ = unsafe { (self.functions.destroy)(&raw mut self.program) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_architecture_that_the_compiler_does_not_know_gets_the_newest_that_it_does() {
        let known = [75, 80, 86, 89, 90, 100, 120];
        assert_eq!(target((8, 0), &known).unwrap(), Target::Cubin("sm_80".into()));
        assert_eq!(target((9, 0), &known).unwrap(), Target::Cubin("sm_90a".into()));
        assert_eq!(target((10, 0), &known).unwrap(), Target::Cubin("sm_100a".into()));
        assert_eq!(target((12, 0), &known).unwrap(), Target::Cubin("sm_120".into()));
        assert_eq!(target((12, 1), &known).unwrap(), Target::Ptx("compute_120".into()));
        assert_eq!(target((10, 3), &known).unwrap(), Target::Ptx("compute_100".into()));
        assert_eq!(target((7, 0), &known).unwrap_err().to_string(), "the compiler of kernels does not know sm_70");
    }

    #[test]
    fn an_entry_is_read_only_if_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b.cubin");
        assert_eq!(read_entry(&path), None);
        write_entry(&path, b"machine code").unwrap();
        assert_eq!(read_entry(&path).unwrap(), b"machine code");
        let whole = fs::read(&path).unwrap();
        for damaged in [&whole[..whole.len() - 1], &whole[..20], &[], &[&whole[..40], b"x", &whole[41..]].concat()] {
            fs::write(&path, damaged).unwrap();
            assert_eq!(read_entry(&path), None);
        }
    }
}
