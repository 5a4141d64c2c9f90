//! Kernels on a GPU, and how they are started.

use std::cell::Cell;
use std::ffi::{CString, c_int, c_void};
use std::rc::Rc;

use crate::error::{Error, Result};
use crate::model::gpu::kernels::{self, Kind, Signature, Source};

use super::compile::{Compiler, Image};
use super::context::Context;
use super::{Address, Operand, driver};

/// More arguments than any kernel takes.
const MOST_ARGUMENTS: usize = 48;

/// An argument of a kernel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Argument {
    /// A place in memory that the GPU reaches.
    Pointer(Address),
    /// `int`.
    Int(i32),
    /// `float`.
    Float(f32),
    /// `long long`.
    Long(i64),
}

impl Argument {
    fn kind(self) -> Kind {
        match self {
            Self::Pointer(_) => Kind::Pointer,
            Self::Int(_) => Kind::Int,
            Self::Float(_) => Kind::Float,
            Self::Long(_) => Kind::Long,
        }
    }

    /// Its bytes, from the lowest address on.
    fn bytes(self) -> u64 {
        let short = |bytes: [u8; 4]| u64::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3], 0, 0, 0, 0]);
        match self {
            Self::Pointer(address) => address.0,
            Self::Int(value) => short(value.to_ne_bytes()),
            Self::Float(value) => short(value.to_ne_bytes()),
            Self::Long(value) => u64::from_ne_bytes(value.to_ne_bytes()),
        }
    }
}

/// One kernel on a GPU.
pub struct Kernel {
    signature: Signature,
    function: driver::Function,
    /// Dynamic shared memory that it has been allowed to take.
    allowed: Cell<u32>,
    /// The function lives as long as its module, which stays loaded until the context closes: recorded graphs use it.
    _context: Rc<Context>,
}

impl Kernel {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.signature.name
    }
}

/// Kernels that lie on a GPU, ready to be launched.
pub struct Kernels {
    kernels: Vec<Kernel>,
    hash: String,
}

impl Kernels {
    /// Compiles what is not in the cache, and loads all.
    pub(super) fn load(context: &Rc<Context>, compiler: &Compiler, sources: &[Source<'_>], operand: Operand) -> Result<Self> {
        let mut loaded = Self { kernels: Vec::new(), hash: String::new() };
        let mut hasher = blake3::Hasher::new();
        for (source, image) in sources.iter().zip(compiler.images(sources, operand)?) {
            hasher.update(image.key.as_bytes());
            let module = match load_module(context, source, &image) {
                // A driver that was changed since may refuse what it took before.
                Err(_) if image.kept => load_module(context, source, &compiler.recompile(source, operand)?)?,
                other => other?,
            };
            for signature in kernels::signatures(source)? {
                let function = find_function(context, module, &signature.name)?;
                loaded.kernels.push(Kernel { signature, function, allowed: Cell::new(0), _context: Rc::clone(context) });
            }
        }
        loaded.hash = hasher.finalize().to_hex().to_string();
        Ok(loaded)
    }

    /// The kernel of this name.
    pub fn get(&self, name: &str) -> Result<&Kernel> {
        let found = self.kernels.iter().find(|k| k.signature.name == name);
        found.ok_or_else(|| Error::internal(format!("there is no kernel `{name}`")))
    }

    /// Hash of all that decides the machine code: sources, options, architecture, compiler.
    pub fn hash(&self) -> &str {
        &self.hash
    }
}

fn load_module(context: &Context, source: &Source<'_>, image: &Image) -> Result<driver::Module> {
    let mut module = std::ptr::null_mut();
    // SAFETY: whole machine code or assembly as the compiler made it: both say where they end.
    let code = unsafe { (context.driver.module_load)(&raw mut module, image.code.as_ptr().cast()) };
    let told = context.check(code, "cuModuleLoadData");
    told.map_err(|e| e.context(format!("the kernels of `{}` cannot be loaded", source.name)))?;
    Ok(module)
}

fn find_function(context: &Context, module: driver::Module, name: &str) -> Result<driver::Function> {
    let mut function = std::ptr::null_mut();
    let symbol = CString::new(name).map_err(|e| Error::internal("a kernel's name has a zero byte").caused_by(e))?;
    // SAFETY: a module of this context, and a name that ends with a zero.
    let code = unsafe { (context.driver.module_function)(&raw mut function, module, symbol.as_ptr()) };
    let told = context.check(code, "cuModuleGetFunction");
    told.map_err(|e| e.context(format!("the kernel `{name}` is not in its module")))?;
    Ok(function)
}

/// Puts a kernel on the stream.
pub(super) fn launch(
    context: &Context,
    kernel: &Kernel,
    grid: [u32; 3],
    block: u32,
    shared_bytes: u32,
    arguments: &[Argument],
) -> Result<()> {
    check_arguments(&kernel.signature, arguments)?;
    let mut values = [0u64; MOST_ARGUMENTS];
    let mut pointers: [*mut c_void; MOST_ARGUMENTS] = [std::ptr::null_mut(); MOST_ARGUMENTS];
    for ((value, pointer), argument) in values.iter_mut().zip(&mut pointers).zip(arguments) {
        *value = argument.bytes();
        *pointer = std::ptr::from_mut(value).cast();
    }
    if shared_bytes > kernel.allowed.get() {
        // More than 48 KiB, a static part included, must be asked for; asking for less does no harm.
        let bytes = c_int::try_from(shared_bytes).unwrap_or(c_int::MAX);
        // SAFETY: a function of this context.
        let code = unsafe { (context.driver.function_set)(kernel.function, driver::DYNAMIC_SHARED_BYTES, bytes) };
        let told = context.check(code, "cuFuncSetAttribute");
        told.map_err(|e| e.context(format!("the kernel `{}` gets no {shared_bytes} bytes of shared memory", kernel.name())))?;
        kernel.allowed.set(shared_bytes);
    }
    context.count(|c| c.launches += 1);
    let [x, y, z] = grid;
    // SAFETY: number and kinds of the arguments are those of the kernel's text; each pointer points to a value of that kind,
    // which the driver reads before it returns. That addresses are good is up to who calls, as for every launch.
    let code = unsafe {
        (context.driver.launch)(
            kernel.function,
            x,
            y,
            z,
            block,
            1,
            1,
            shared_bytes,
            context.stream,
            pointers.as_mut_ptr(),
            std::ptr::null_mut(),
        )
    };
    let told = context.check(code, "cuLaunchKernel");
    told.map_err(|e| e.context(format!("the kernel `{}` was not launched (grid {grid:?}, block {block})", kernel.name())))
}

/// Refuses what is not what the kernel takes.
fn check_arguments(signature: &Signature, arguments: &[Argument]) -> Result<()> {
    let Signature { name, arguments: kinds } = signature;
    if kinds.len() != arguments.len() || kinds.len() > MOST_ARGUMENTS {
        let (takes, given) = (kinds.len(), arguments.len());
        return Err(Error::internal(format!("the kernel `{name}` takes {takes} arguments, and {given} were given")));
    }
    for (place, (kind, argument)) in kinds.iter().zip(arguments).enumerate() {
        if *kind != argument.kind() {
            let place = place + 1;
            return Err(Error::internal(format!("the kernel `{name}` takes {kind:?} as argument {place}, not {argument:?}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_another_number_or_kind_are_refused() {
        let signature = Signature { name: "f".into(), arguments: vec![Kind::Pointer, Kind::Int, Kind::Long] };
        let pointer = Argument::Pointer(Address::NULL);
        assert!(check_arguments(&signature, &[pointer, Argument::Int(1), Argument::Long(2)]).is_ok());
        let told = |arguments: &[Argument]| check_arguments(&signature, arguments).unwrap_err().to_string();
        assert_eq!(told(&[pointer, Argument::Int(1)]), "the kernel `f` takes 3 arguments, and 2 were given");
        assert_eq!(told(&[pointer, Argument::Int(1), Argument::Int(2)]), "the kernel `f` takes Long as argument 3, not Int(2)");
        assert!(told(&[pointer, Argument::Float(1.0), Argument::Long(2)]).contains("argument 2, not Float(1.0)"));
    }

    #[test]
    fn an_argument_has_the_bytes_of_its_type_first() {
        assert_eq!(Argument::Int(-2).bytes().to_ne_bytes()[..4], (-2i32).to_ne_bytes());
        assert_eq!(Argument::Float(1.5).bytes().to_ne_bytes()[..4], 1.5f32.to_ne_bytes());
        assert_eq!(Argument::Long(-3).bytes().to_ne_bytes(), (-3i64).to_ne_bytes());
        assert_eq!(Argument::Pointer(Address(9).plus(7)).bytes(), 16);
    }
}
