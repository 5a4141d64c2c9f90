//! The weights of a folder: every name and shape held against the model, then read parameter by parameter.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::config::read_config;
use super::tensors::TensorFile;
use crate::error::{Error, Result};
use crate::experiment::settings::Family;
use crate::model::{Config, Parameter, Pretrained};

const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// Names of tensors that an error lists of a kind.
const LISTED: usize = 24;

/// Where a parameter lies.
struct Found {
    file: usize,
    name: String,
}

/// A folder's weights, of which every name, shape and size has been checked.
struct Weights {
    files: Vec<TensorFile>,
    found: Vec<Found>,
}

/// What is known of a folder: its model, that its weights are that model's, and the hash of its content.
///
/// # Errors
/// Whatever [`read_config`] and [`check_weights`] refuse; no `tokenizer.json`.
pub fn look(folder: &Path) -> Result<Pretrained> {
    let folder = std::path::absolute(folder).map_err(|e| Error::io("find", folder, e))?;
    let config = read_config(&folder)?;
    check_weights(&folder, &config)?;
    let hash = hash(&folder)?;
    Ok(Pretrained { folder, hash, config })
}

/// Whether the weights of this folder are those of this model, told from the headers of its files.
///
/// # Errors
/// All tensors that are missing, unexpected or of another shape, at once; a damaged file; weights as a pickle only.
pub fn check_weights(folder: &Path, config: &Config) -> Result<()> {
    Weights::open(folder, config).map(|_| ())
}

/// The weights of this folder as 32-bit numbers, in the order of [`Config::parameters`].
///
/// # Errors
/// As [`check_weights`], before anything is allocated.
pub fn read_weights(folder: &Path, config: &Config) -> Result<Vec<Vec<f32>>> {
    let weights = Weights::open(folder, config)?;
    weights.found.iter().map(|found| weights.values(found)).collect()
}

/// The weights that a training starts from, in the order of [`Config::parameters`].
///
/// # Errors
/// As [`read_weights`]; a folder that has changed since the trial was planned.
pub fn start(from: &Pretrained) -> Result<Vec<Vec<f32>>> {
    let folder = &from.folder;
    if hash(folder)? != from.hash {
        return Err(Error::data(format!("{} has changed since the trial was planned", folder.display()))
            .help("run the experiment again: other weights make other trials"));
    }
    read_weights(folder, &from.config)
}

/// BLAKE3 of what a training that starts here depends on: `config.json`, `tokenizer.json`, and the files of the weights.
pub fn hash(folder: &Path) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    let mut paths = vec![folder.join("config.json"), folder.join("tokenizer.json")];
    paths.extend(files_of(folder)?);
    for path in paths {
        let file = File::open(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Error::usage(format!("{} does not exist", path.display())),
            _ => Error::io("open", &path, e),
        })?;
        let mut one = blake3::Hasher::new();
        one.update_reader(file).map_err(|e| Error::io("read", &path, e))?;
        hasher.update(one.finalize().as_bytes());
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// The safetensors files of a folder: the only one, or those that its index names, each once.
fn files_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let (whole, index) = (folder.join(WEIGHTS), folder.join(INDEX));
    if whole.is_file() {
        return Ok(vec![whole]);
    }
    if !index.is_file() {
        let error = Error::usage(format!("{} has no `{WEIGHTS}`", folder.display()));
        let pickle = ["pytorch_model.bin", "pytorch_model.bin.index.json"].iter().any(|name| folder.join(name).exists());
        return Err(match pickle {
            true => error.help(
                "its pytorch_model.bin is a pickle, which can run code and is not read: load it once with transformers, \
                 `AutoModelForCausalLM.from_pretrained(folder).save_pretrained(other_folder)`, and name the other folder",
            ),
            false => error.help("name a folder in Hugging Face's layout: config.json, tokenizer.json, model.safetensors"),
        });
    }
    let text = fs::read(&index).map_err(|e| Error::io("read", &index, e))?;
    let damaged = |why: String| Error::data(format!("{} cannot be used", index.display())).caused_by(why);
    let json: Value = serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
    let map = json["weight_map"].as_object().ok_or_else(|| damaged("it has no `weight_map`".to_owned()))?;
    let mut names = BTreeSet::new();
    for file in map.values() {
        let name = file.as_str().filter(|name| Path::new(name).file_name().is_some_and(|plain| plain == *name));
        names.insert(name.ok_or_else(|| damaged(format!("{file} is not the name of a file in this folder")))?);
    }
    if names.is_empty() {
        return Err(damaged("it names no file".to_owned()));
    }
    names.into_iter().try_fold(Vec::new(), |mut paths, name| {
        let path = folder.join(name);
        if !path.is_file() {
            return Err(damaged(format!("`{name}`, which it names, does not exist")));
        }
        paths.push(path);
        Ok(paths)
    })
}

impl Weights {
    fn open(folder: &Path, config: &Config) -> Result<Self> {
        let paths = files_of(folder)?;
        let files: Vec<TensorFile> = paths.iter().map(|path| TensorFile::open(path)).collect::<Result<_>>()?;
        let parameters = config.parameters();
        let zeros = biases_of(config);
        let mut unused: BTreeMap<&str, usize> = BTreeMap::new();
        let mut faults = Faults::default();
        for (place, file) in files.iter().enumerate() {
            for name in file.entries.keys() {
                if unused.insert(name, place).is_some() {
                    faults.twice.push(format!("`{name}`"));
                }
            }
        }
        let mut find = |parameter: &Parameter, needed: bool| -> Option<Found> {
            let short = short_name(&parameter.name);
            let Some((name, file)) = unused.remove_entry(parameter.name.as_str()).or_else(|| unused.remove_entry(short)) else {
                if needed {
                    faults.missing.push(format!("`{}` {:?}", parameter.name, parameter.shape));
                }
                return None;
            };
            let entry = &files[file].entries[name];
            if entry.shape != parameter.shape {
                faults.shapes.push(format!("`{name}` is {:?} instead of {:?}", entry.shape, parameter.shape));
            }
            if let Err(word) = &entry.number {
                faults.numbers.push(format!("`{name}` has {word} values"));
            }
            Some(Found { file, name: name.to_owned() })
        };
        let found: Vec<Found> = parameters.iter().filter_map(|parameter| find(parameter, true)).collect();
        let zeros: Vec<Found> = zeros.iter().filter_map(|parameter| find(parameter, false)).collect();
        if config.tied {
            // A copy of the embedding, which some files have all the same.
            unused.remove("lm_head.weight");
        }
        faults.unexpected.extend(unused.keys().filter(|name| !is_buffer(name)).map(|name| format!("`{name}`")));
        faults.tell(folder)?;
        let weights = Self { files, found };
        for zero in zeros {
            if weights.values(&zero)?.iter().any(|value| *value != 0.0) {
                let message = format!("{} says `bias: false`, and its `{}` is not 0", folder.display(), zero.name);
                return Err(Error::data(message).help("set `bias` to true in its `config.json`"));
            }
        }
        Ok(weights)
    }

    fn values(&self, found: &Found) -> Result<Vec<f32>> {
        let file = &self.files[found.file];
        file.values(&found.name, &file.entries[&found.name])
    }
}

/// GPT-2 in Hugging Face always has biases: those that a model without any is written with.
fn biases_of(config: &Config) -> Vec<Parameter> {
    if config.family != Family::Gpt2 || config.bias {
        return Vec::new();
    }
    let with_biases = Config { bias: true, ..config.clone() };
    with_biases.parameters().into_iter().filter(|parameter| parameter.name.ends_with(".bias")).collect()
}

/// A parameter's name where only the model without its head was saved, as GPT-2 on the hub.
fn short_name(name: &str) -> &str {
    name.strip_prefix("transformer.").or_else(|| name.strip_prefix("model.")).unwrap_or(name)
}

/// Constants that older versions of `transformers` saved with the weights: the causal mask, the rotary frequencies.
fn is_buffer(name: &str) -> bool {
    [".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq"].iter().any(|ending| name.ends_with(ending))
}

/// What is wrong with the tensors of a folder, by kind.
#[derive(Default)]
struct Faults {
    missing: Vec<String>,
    unexpected: Vec<String>,
    shapes: Vec<String>,
    numbers: Vec<String>,
    twice: Vec<String>,
}

impl Faults {
    fn tell(&self, folder: &Path) -> Result<()> {
        let mut lines = String::new();
        for (kind, list) in [
            ("missing", &self.missing),
            ("unexpected", &self.unexpected),
            ("of another shape", &self.shapes),
            ("not F32, F16 or BF16", &self.numbers),
            ("in two files", &self.twice),
        ] {
            if list.is_empty() {
                continue;
            }
            let more = list.len().saturating_sub(LISTED);
            let more = if more > 0 { format!(", and {more} more") } else { String::new() };
            lines += &format!("\n  {kind}: {}{more}", list[..list.len().min(LISTED)].join(", "));
        }
        if lines.is_empty() {
            return Ok(());
        }
        Err(Error::data(format!("the weights in {} are not those of the model in its `config.json`:{lines}", folder.display())))
    }
}
