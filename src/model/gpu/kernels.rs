//! The kernels' sources, and what each kernel takes.
//!
//! A kernel is CUDA C without headers. Each file is compiled as one program behind [`PRELUDE`]; a kernel's name is unique
//! over all files. What a kernel takes is read from its own text, so that a launch with other arguments is refused before
//! the GPU sees it: a driver takes arguments by address and cannot check them.

use crate::error::{Error, Result};

/// One file of kernels.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The file's name, as in the compiler's messages.
    pub name: &'a str,
    /// What stands in it.
    pub text: &'a str,
}

/// What stands before every file: types, wrappers of instructions, sums over a warp and a block.
pub const PRELUDE: &str = include_str!("kernels/prelude.cu");

/// All files of kernels.
pub const SOURCES: &[Source<'static>] = &[
    Source { name: "activation.cu", text: include_str!("kernels/activation.cu") },
    Source { name: "adamw.cu", text: include_str!("kernels/adamw.cu") },
    Source { name: "columns.cu", text: include_str!("kernels/columns.cu") },
    Source { name: "dropout.cu", text: include_str!("kernels/dropout.cu") },
    Source { name: "embedding.cu", text: include_str!("kernels/embedding.cu") },
    Source { name: "fetch.cu", text: include_str!("kernels/fetch.cu") },
    Source { name: "gradient_norm.cu", text: include_str!("kernels/gradient_norm.cu") },
    Source { name: "heads.cu", text: include_str!("kernels/heads.cu") },
    Source { name: "loss.cu", text: include_str!("kernels/loss.cu") },
    Source { name: "norm.cu", text: include_str!("kernels/norm.cu") },
    Source { name: "publish.cu", text: include_str!("kernels/publish.cu") },
    Source { name: "short_attention.cu", text: include_str!("kernels/short_attention.cu") },
    Source { name: "softmax.cu", text: include_str!("kernels/softmax.cu") },
];

/// The name of the file of attention in tiles.
pub const TILED: &str = "tiled_attention.cu";

/// Attention in tiles, for bfloat16 and heads of this width: a multiple of 16 up to [`WIDEST_TILED`].
pub fn tiled(head: usize) -> String {
    format!("#define HEAD_WIDTH {head}\n{}", include_str!("kernels/tiled_attention.cu"))
}

/// The widest heads whose attention is made in tiles.
pub const WIDEST_TILED: usize = 128;

/// The kind of a kernel's argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any pointer into memory that the GPU reaches.
    Pointer,
    /// `int`.
    Int,
    /// `float`.
    Float,
    /// `long long`.
    Long,
}

/// What a kernel is called and takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The kernel's name.
    pub name: String,
    /// The kind of each argument, in order.
    pub arguments: Vec<Kind>,
}

/// What stands before a kernel's name and arguments.
const BEGINNING: &str = "extern \"C\" __global__";

/// The signatures of all `extern "C" __global__` kernels of a text, in its order.
pub fn signatures(source: &Source<'_>) -> Result<Vec<Signature>> {
    let text: String = source.text.lines().flat_map(|line| [line.split("//").next().unwrap_or(""), "\n"]).collect();
    text.split(BEGINNING).skip(1).map(|kernel| signature(source.name, kernel)).collect()
}

/// The signature of a kernel from what follows its beginning.
fn signature(file: &str, text: &str) -> Result<Signature> {
    let unreadable = |what: &str| Error::internal(format!("{file}: {what}"));
    let head = text.split('{').next().unwrap_or(text);
    let (before, rest) = head.split_once("void ").ok_or_else(|| unreadable("a kernel returns nothing but `void`"))?;
    // Launch bounds stand before the type or behind it.
    let rest = match rest.trim_start().strip_prefix("__launch_bounds__") {
        Some(bounds) => bounds.split_once(')').map_or("", |(_, rest)| rest),
        None => rest,
    };
    let known = before.trim().is_empty() || before.trim_start().starts_with("__launch_bounds__");
    let (name, arguments) = rest.split_once('(').ok_or_else(|| unreadable("a kernel has no list of arguments"))?;
    let (name, arguments) = (name.trim(), arguments.trim_end().strip_suffix(')'));
    let (true, false, Some(arguments)) = (known, name.is_empty(), arguments) else {
        return Err(unreadable(&format!("the kernel `{name}` does not end its arguments where its body begins")));
    };
    let listed = arguments.split(',').map(str::trim).filter(|a| !a.is_empty());
    let kinds = listed.map(|a| kind(a).ok_or_else(|| unreadable(&format!("the kernel `{name}` takes `{a}`"))));
    Ok(Signature { name: name.to_owned(), arguments: kinds.collect::<Result<_>>()? })
}

/// The kind of an argument from its declaration.
fn kind(declaration: &str) -> Option<Kind> {
    if declaration.contains('*') {
        return Some(Kind::Pointer);
    }
    let mut words: Vec<&str> = declaration.split_whitespace().filter(|w| *w != "const").collect();
    // The last word is the argument's name.
    words.pop();
    match words.as_slice() {
        ["int"] => Some(Kind::Int),
        ["float"] => Some(Kind::Float),
        ["long", "long"] => Some(Kind::Long),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Signature>> {
        signatures(&Source { name: "a.cu", text })
    }

    #[test]
    fn a_signature_is_read_from_a_kernels_text() {
        let text = "// extern \"C\" __global__ void no(int x) {\n__device__ float help(double x) { return x; }\n\
            extern \"C\" __global__ void first(\n    const operand* __restrict__ x, // [K, N], or (null)\n    float *y,\n    \
            const long long count, int width, float scale\n) {\n    if (width) { y[0] = scale; }\n}\n\
            extern \"C\" __global__ void __launch_bounds__(256) second() {}\n\
            extern \"C\" __global__ __launch_bounds__(128, 2) void third(const int* x) {}\n";
        let [first, second, third] = read(text).unwrap().try_into().unwrap();
        assert_eq!(first.name, "first");
        assert_eq!(first.arguments, [Kind::Pointer, Kind::Pointer, Kind::Long, Kind::Int, Kind::Float]);
        assert_eq!((second.name.as_str(), second.arguments.as_slice()), ("second", &[][..]));
        assert_eq!((third.name.as_str(), third.arguments.as_slice()), ("third", &[Kind::Pointer][..]));
    }

    #[test]
    fn a_kernel_that_takes_something_else_is_refused() {
        for (arguments, told) in [("unsigned n", "`unsigned n`"), ("double x", "`double x`"), ("Member m", "`Member m`")] {
            let error = read(&format!("extern \"C\" __global__ void f(int a, {arguments}) {{}}")).unwrap_err();
            assert_eq!(error.to_string(), format!("a.cu: the kernel `f` takes {told}"));
        }
        assert!(read("extern \"C\" __global__ int f(int a) {}").is_err());
        assert!(read("extern \"C\" __global__ void f(int a").is_err());
    }

    #[test]
    fn every_kernel_is_read_and_has_a_name_of_its_own() {
        let mut names = Vec::new();
        for source in SOURCES {
            let found = signatures(source).unwrap();
            assert_eq!(found.len(), source.text.matches("__global__").count(), "{}", source.name);
            names.extend(found.into_iter().map(|s| s.name));
        }
        let mut once = names.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), names.len(), "{names:?}");
        assert!(signatures(&Source { name: "prelude.cu", text: PRELUDE }).unwrap().is_empty());
    }
}
