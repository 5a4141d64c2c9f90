//! What the values of flags may be, and how they are read.

use crate::device::Gpu;
use crate::error::{Error, Result};
use crate::experiment::read_setting;
use crate::experiment::settings::{Budget, Settings};

/// What a name may be, the same in all commands.
pub(super) const NAME: &str = "An experiment (`quickstart`), its folder or its file, a configuration (`quickstart#3`, or `3` where there is one experiment), or a \
                    trial by its id, the beginning of one, or its folder";
/// What the folder of all runs is.
pub(super) const RUNS: &str = "Where experiments lie; `runs` is a folder where the command is given, not beside the file";

/// The variables that set something; no other leaves the environment, and what others hold is nobody's concern here.
///
/// # Errors
/// One of them that is not UTF-8.
pub(in crate::cli) fn environment() -> Result<Vec<(String, String)>> {
    let setting = std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"VOTIVE_SET__"));
    let texts = setting.map(|(name, value)| match (name.into_string(), value.into_string()) {
        (Ok(name), Ok(value)) => Ok((name, value)),
        (Ok(name), Err(_)) => Err(Error::usage(format!("the environment variable `{name}` is not UTF-8"))),
        (Err(name), _) => Err(Error::usage(format!("the name of `{}` is not UTF-8", name.display()))),
    });
    texts.map(|text| text.map_err(|error| error.help("set it anew, or `unset` it"))).collect()
}

/// Reads a flag that stands for a setting as the experiment file reads the setting.
pub(super) fn setting<T: 'static>(
    key: &'static str,
    of: fn(Settings) -> T,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static {
    move |text| read_setting(key, text).map(of)
}

/// How far a window moves; `auto` has no meaning on the command line, where the flag can be left out.
pub(super) fn stride(text: &str) -> Result<usize, String> {
    read_setting("train.stride", text)?.train.stride.ok_or_else(|| "should be a whole number from 1 up".to_owned())
}

/// A GPU, as JSON.
pub(super) fn gpu(text: &str) -> Result<Gpu, String> {
    serde_json::from_str(text).map_err(|e| e.to_string())
}

/// How many trials at a time; left out, the program chooses.
pub(super) fn slots(text: &str) -> Result<usize, String> {
    read_setting("run.slots", text)?.run.slots.ok_or_else(|| "should be a whole number from 1 up".to_owned())
}

/// A number of tokens, read as in a budget.
pub(super) fn tokens(text: &str) -> Result<u64, String> {
    match read_setting("train.budget.tokens", text)?.train.budget {
        Budget::Tokens(tokens) => Ok(tokens),
        other => Err(format!("is no number of tokens: {other:?}")),
    }
}

/// A seed of a sample: any number of 64 bits.
pub(super) fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("a seed is a whole number from 0 to {}", u64::MAX))
}
