//! `config.json`: what a model is. The other way round from [`super::super::export::config_json`], and for the files of others:
//! what is missing is what `transformers` takes it for, and what this program does not compute is refused.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::experiment::settings::{Activation, Family, Misfit};
use crate::model::Config;

/// Longest `config.json` that is read, bytes.
const LONGEST: u64 = 16 << 20;
/// Most blocks, and the largest of all other sizes: far above any model, far below what overflows.
const MOST_LAYERS: usize = 10_000;
const LARGEST: usize = 1 << 27;

/// The model that the `config.json` of this folder describes.
///
/// `bias: false` is a word of Votive's: GPT-2 in Hugging Face always has biases, and one that was trained without has zeros
/// there. The dropout is the one that the folder's training had.
///
/// # Errors
/// No such file; another family; whatever would be computed otherwise here than in `transformers`, all of it at once.
pub(super) fn read_config(folder: &Path) -> Result<Config> {
    let path = folder.join("config.json");
    let file = File::open(&path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::usage(format!("{} has no `config.json`", folder.display()))
            .help("name a folder in Hugging Face's layout: config.json, tokenizer.json, model.safetensors"),
        _ => Error::io("open", &path, e),
    })?;
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text).map_err(|e| Error::io("read", &path, e))?;
    let keys: Map<String, Value> =
        serde_json::from_str(&text).map_err(|e| Error::data(format!("{} cannot be read", path.display())).caused_by(e))?;
    let mut keys = Keys { map: &keys, faults: Vec::new() };
    let config = match keys.word("model_type", "nothing") {
        "gpt2" => gpt2(&mut keys),
        "llama" => llama(&mut keys),
        other => {
            return Err(Error::usage(format!("{} is of the family `{other}`", path.display()))
                .help("the families that can be trained are `gpt2` and `llama`"));
        }
    };
    keys.fit(&config);
    if keys.faults.is_empty() {
        return Ok(config);
    }
    let faults: String = keys.faults.iter().map(|fault| format!("\n  {fault}")).collect();
    Err(Error::usage(format!("{} describes a model that cannot be trained here:{faults}", path.display())))
}

/// The keys of a file, and what is wrong with them.
struct Keys<'a> {
    map: &'a Map<String, Value>,
    faults: Vec<String>,
}

impl<'a> Keys<'a> {
    /// A key that is there and not null.
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    fn read<T>(&mut self, key: &str, default: T, expected: &str, parse: impl FnOnce(&'a Value) -> Option<T>) -> T {
        let Some(value) = self.get(key) else { return default };
        parse(value).unwrap_or_else(|| {
            self.faults.push(format!("`{key}` should be {expected}, not {value}"));
            default
        })
    }

    fn size(&mut self, key: &str, default: usize) -> usize {
        let most = if key.ends_with("layer") || key.ends_with("layers") { MOST_LAYERS } else { LARGEST };
        let fits = |value: &Value| usize::try_from(value.as_u64()?).ok().filter(|n| (1..=most).contains(n));
        self.read(key, default, &format!("a whole number from 1 to {most}"), fits)
    }

    fn number(&mut self, key: &str, default: f64) -> f64 {
        self.read(key, default, "a number from 0 up", |value| value.as_f64().filter(|n| *n >= 0.0))
    }

    fn flag(&mut self, key: &str, default: bool) -> bool {
        self.read(key, default, "`true` or `false`", Value::as_bool)
    }

    fn word(&mut self, key: &str, default: &'a str) -> &'a str {
        self.read(key, default, "a word", Value::as_str)
    }

    /// Refuses every other value than this, which is also what a missing key means.
    fn only(&mut self, key: &str, expected: bool) {
        if self.flag(key, expected) != expected {
            self.faults.push(format!("`{key}: {}` is not supported", !expected));
        }
    }

    /// Refuses a key that is there at all.
    fn absent(&mut self, key: &str) {
        if let Some(value) = self.get(key).filter(|value| **value != Value::Bool(false)) {
            self.faults.push(format!("`{key}: {value}` is not supported"));
        }
    }

    /// What the sizes must be to each other.
    fn fit(&mut self, config: &Config) {
        let Config { family, width, heads, kv_heads, .. } = *config;
        let faults = Misfit::all(family, width, heads, kv_heads).into_iter().map(|misfit| match misfit {
            Misfit::Heads => format!("a width of {width} is not a multiple of its {heads} attention heads"),
            Misfit::OddHead(head) => format!("a head of {head} is odd: rotary positions need pairs"),
            Misfit::KeyValueHeads => {
                format!("{heads} attention heads are not a multiple of {kv_heads} key and value heads")
            }
        });
        self.faults.extend(faults);
    }
}

fn gpt2(keys: &mut Keys<'_>) -> Config {
    let (width, heads) = (keys.size("n_embd", 768), keys.size("n_head", 12));
    let activation = match keys.word("activation_function", "gelu_new") {
        "gelu_new" | "gelu_pytorch_tanh" => Activation::GeluTanh,
        "gelu" => Activation::Gelu,
        other => {
            keys.faults.push(format!(
                "`activation_function: {other}` is not supported: `gelu` (exact), `gelu_new` and `gelu_pytorch_tanh` are"
            ));
            Activation::Gelu
        }
    };
    keys.only("scale_attn_weights", true);
    keys.only("scale_attn_by_inverse_layer_idx", false);
    keys.only("add_cross_attention", false);
    common(keys);
    Config {
        family: Family::Gpt2,
        vocabulary: keys.size("vocab_size", 50_257),
        context: keys.size("n_positions", 1_024),
        layers: keys.size("n_layer", 12),
        heads,
        kv_heads: heads,
        width,
        hidden: keys.size("n_inner", 4 * width),
        dropout: keys.number("resid_pdrop", 0.1),
        bias: keys.flag("bias", true),
        tied: keys.flag("tie_word_embeddings", true),
        activation,
        rope_theta: 10_000.0,
        norm_epsilon: keys.number("layer_norm_epsilon", 1e-5),
    }
}

fn llama(keys: &mut Keys<'_>) -> Config {
    let (width, heads) = (keys.size("hidden_size", 4_096), keys.size("num_attention_heads", 32));
    let activation = keys.word("hidden_act", "silu");
    if !matches!(activation, "silu" | "swish") {
        keys.faults.push(format!("`hidden_act: {activation}` is not supported: only `silu` is"));
    }
    let head = keys.size("head_dim", width / heads);
    if head != width / heads {
        keys.faults.push(format!("`head_dim: {head}` is not supported: only `hidden_size` / `num_attention_heads` is"));
    }
    keys.only("mlp_bias", false);
    common(keys);
    Config {
        family: Family::Llama,
        vocabulary: keys.size("vocab_size", 32_000),
        context: keys.size("max_position_embeddings", 2_048),
        layers: keys.size("num_hidden_layers", 32),
        heads,
        kv_heads: keys.size("num_key_value_heads", heads),
        width,
        hidden: keys.size("intermediate_size", 11_008),
        dropout: 0.0,
        bias: keys.flag("attention_bias", false),
        tied: keys.flag("tie_word_embeddings", false),
        activation: Activation::Gelu,
        rope_theta: rope_theta(keys),
        norm_epsilon: keys.number("rms_norm_eps", 1e-6),
    }
}

/// What no model of either family may have.
fn common(keys: &mut Keys<'_>) {
    for key in ["sliding_window", "use_sliding_window", "quantization_config", "attn_logit_softcapping"] {
        keys.absent(key);
    }
    if let Some(Value::Array(kinds)) = keys.get("layer_types")
        && let Some(other) = kinds.iter().find(|kind| *kind != "full_attention")
    {
        keys.faults.push(format!("`layer_types` with {other} is not supported"));
    }
}

/// The base of the rotary frequencies, which older files have at the top and newer ones in `rope_parameters`.
fn rope_theta(keys: &mut Keys<'_>) -> f64 {
    let mut theta = keys.get("rope_theta").map(|_| keys.number("rope_theta", 10_000.0));
    for name in ["rope_scaling", "rope_parameters"] {
        let Some(value) = keys.get(name) else { continue };
        let Some(map) = value.as_object() else {
            keys.faults.push(format!("`{name}` should be a mapping, not {value}"));
            continue;
        };
        let mut inner = Keys { map, faults: Vec::new() };
        let kind = match inner.get("rope_type") {
            Some(_) => inner.word("rope_type", "default"),
            None => inner.word("type", "default"),
        };
        if kind != "default" {
            inner.faults.push(format!("rotary positions of the type `{kind}` are not supported: only `default` is"));
        }
        if inner.number("partial_rotary_factor", 1.0) != 1.0 {
            inner.faults.push("`partial_rotary_factor` is not supported".to_owned());
        }
        let here = inner.get("rope_theta").map(|_| inner.number("rope_theta", 10_000.0));
        if let (Some(here), Some(above)) = (here, theta)
            && here != above
        {
            inner.faults.push(format!("`rope_theta` is {here} here, and {above} elsewhere in the file"));
        }
        theta = here.or(theta);
        let faults: Vec<String> = inner.faults.into_iter().map(|fault| format!("`{name}`: {fault}")).collect();
        keys.faults.extend(faults);
    }
    if keys.number("partial_rotary_factor", 1.0) != 1.0 {
        keys.faults.push("`partial_rotary_factor` is not supported".to_owned());
    }
    theta.unwrap_or(10_000.0)
}
