//! The weights of a folder: every name and shape held against the model, then read parameter by parameter.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::config::read_config;
use super::tensors::{Entry, TensorFile};
use crate::error::{Error, Result};
use crate::experiment::settings::Family;
use crate::model::{Config, Parameter, Pretrained};
use crate::pulse::Beating;

const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const HEAD: &str = "lm_head.weight";
/// Names of tensors that an error lists of a kind.
const LISTED: usize = 24;

/// Where a parameter lies.
#[derive(Clone, PartialEq)]
struct Found {
    file: usize,
    name: String,
}

/// A folder's weights, of which every name, shape and size has been checked.
struct Weights {
    /// The model, its output layer tied only where it is the embedding.
    config: Config,
    files: Vec<TensorFile>,
    found: Vec<Found>,
}

/// What is known of a folder: its model, that its weights are that model's, and the hash of its content.
///
/// The model's output layer is what `transformers` 5 takes it for: tied where `config.json` says so, unless the weights hold
/// one with values of its own.
///
/// # Errors
/// Whatever [`read_config`] refuses; all tensors that are missing, unexpected or of another shape, at once; a damaged file;
/// weights as a pickle only; no `tokenizer.json`; a path that is not UTF-8.
pub fn look(folder: &Path) -> Result<Pretrained> {
    let folder = std::path::absolute(folder).map_err(|e| Error::io("find", folder, e))?;
    if folder.to_str().is_none() {
        return Err(Error::usage(format!("the path {} is not UTF-8, and a trial is written down with it", folder.display()))
            .help("move or rename the folder"));
    }
    let (weights, own_head) = open(&folder)?;
    let hash = hash(&folder, own_head)?;
    Ok(Pretrained { folder, hash, config: weights.config, own_head })
}

/// The model of this folder, which is known without reading all of its weights.
///
/// # Errors
/// As [`look`]; a tokenizer is not needed.
pub fn model(folder: &Path) -> Result<Config> {
    open(folder).map(|(weights, _)| weights.config)
}

/// The model of this folder, and its weights as 32-bit numbers, in the order of [`Config::parameters`].
///
/// # Errors
/// As [`look`], before anything is allocated; a tokenizer is not needed.
pub fn read(folder: &Path) -> Result<(Config, Vec<Vec<f32>>)> {
    let (weights, _) = open(folder)?;
    let values = weights.all_values()?;
    Ok((weights.config, values))
}

/// The weights that a training starts from, in the order of [`Config::parameters`].
///
/// # Errors
/// As [`look`]; a folder that has changed since the trial was planned.
pub fn start(from: &Pretrained) -> Result<Vec<Vec<f32>>> {
    let folder = &from.folder;
    let changed = || {
        Error::data(format!("{} has changed since the trial was planned", folder.display()))
            .help("run the experiment again: other weights make other trials")
    };
    if hash(folder, from.own_head)? != from.hash {
        return Err(changed());
    }
    let (weights, own_head) = open(folder)?;
    // Planned by a version that tied every output layer of such a folder.
    if own_head != from.own_head {
        return Err(changed());
    }
    weights.all_values()
}

/// The weights of a folder, and whether they hold an output layer of its own that `config.json` does not speak of.
fn open(folder: &Path) -> Result<(Weights, bool)> {
    let config = read_config(folder)?;
    let weights = Weights::open(folder, &config)?;
    let own_head = weights.config.tied != config.tied;
    Ok((weights, own_head))
}

/// BLAKE3 of what a training that starts here depends on: `config.json`, `tokenizer.json`, and the files of the weights. An output
/// layer of its own is counted besides: an earlier version lost it, and its trials are not these.
pub(super) fn hash(folder: &Path, own_head: bool) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    let mut paths = vec![folder.join("config.json"), folder.join("tokenizer.json")];
    paths.extend(files_of(folder)?);
    for path in paths {
        let file = File::open(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Error::usage(format!("{} does not exist", path.display())),
            _ => Error::io("open", &path, e),
        })?;
        let mut one = blake3::Hasher::new();
        one.update_reader(Beating(file)).map_err(|e| Error::io("read", &path, e))?;
        hasher.update(one.finalize().as_bytes());
    }
    if own_head {
        hasher.update(HEAD.as_bytes());
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
    /// Opens the files and holds every name and shape against this model, as its `config.json` has it.
    fn open(folder: &Path, config: &Config) -> Result<Self> {
        let paths = files_of(folder)?;
        let files: Vec<TensorFile> = paths.iter().map(|path| TensorFile::open(path)).collect::<Result<_>>()?;
        let mut faults = Faults::default();
        let mut unused: BTreeMap<&str, usize> = BTreeMap::new();
        for (place, file) in files.iter().enumerate() {
            for name in file.entries.keys() {
                if unused.insert(name, place).is_some() {
                    faults.twice.push(format!("`{name}`"));
                }
            }
        }
        // Only where the model says that it is tied: elsewhere the output layer is a parameter like any other.
        let head = if config.tied { unused.remove(HEAD).map(|file| Found { file, name: HEAD.to_owned() }) } else { None };
        let mut find = |parameter: &Parameter, needed: bool, instead: Option<&Found>| -> Option<Found> {
            let short = short_name(&parameter.name);
            let found = unused.remove_entry(parameter.name.as_str()).or_else(|| unused.remove_entry(short));
            let found = found.map(|(name, file)| Found { file, name: name.to_owned() }).or_else(|| instead.cloned());
            match &found {
                Some(found) => faults.hold(&parameter.shape, found, &files[found.file].entries[&found.name]),
                None if needed => faults.missing.push(format!("`{}` {:?}", parameter.name, parameter.shape)),
                None => {}
            }
            found
        };
        let mut found = Vec::new();
        for (place, parameter) in config.parameters().iter().enumerate() {
            // The first parameter is the embedding: where a file has it as the output layer only, it is both.
            let instead = if place == 0 { head.as_ref() } else { None };
            found.extend(find(parameter, true, instead));
        }
        let zeros: Vec<Found> = biases_of(config).iter().filter_map(|parameter| find(parameter, false, None)).collect();
        if let Some(head) = head.as_ref().filter(|head| found.first() != Some(head)) {
            faults.hold(&config.parameters()[0].shape, head, &files[head.file].entries[HEAD]);
        }
        faults.unexpected.extend(unused.keys().filter(|name| !is_buffer(name)).map(|name| format!("`{name}`")));
        faults.tell(folder)?;
        let mut weights = Self { config: config.clone(), files, found };
        for zero in zeros {
            if weights.values(&zero)?.iter().any(|value| *value != 0.0) {
                let message = format!("{} says `bias: false`, and its `{}` is not 0", folder.display(), zero.name);
                return Err(Error::data(message).help("set `bias` to true in its `config.json`"));
            }
        }
        if let Some(head) = head
            && weights.values(&head)? != weights.values(&weights.found[0])?
        {
            weights.config.tied = false;
            weights.found.push(head);
        }
        Ok(weights)
    }

    fn values(&self, found: &Found) -> Result<Vec<f32>> {
        let file = &self.files[found.file];
        file.values(&found.name, &file.entries[&found.name])
    }

    /// All parameters, in the order of [`Config::parameters`].
    fn all_values(&self) -> Result<Vec<Vec<f32>>> {
        self.found.iter().map(|found| self.values(found)).collect()
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
    /// Holds what a file says of a tensor against the shape that it is to have.
    fn hold(&mut self, shape: &[usize], found: &Found, entry: &Entry) {
        if entry.shape != shape {
            self.shapes.push(format!("`{}` is {:?} instead of {shape:?}", found.name, entry.shape));
        }
        if let Err(word) = &entry.number {
            self.numbers.push(format!("`{}` has {word} values", found.name));
        }
    }

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
