//! Weights in Hugging Face's layout: a folder that `transformers` loads as it is.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView, View};
use safetensors::{SafeTensors, serialize_to_file};
use serde_json::{Value, json};

use crate::corpus::Prepared;
use crate::durable;
use crate::error::{Error, Result};
use crate::experiment::settings::{Activation, Family};
use crate::model::{Config, Parameter};
use crate::pulse::{self, Beating};

/// Values of one tensor on their way to a file.
struct Values<'a> {
    shape: Vec<usize>,
    values: Cow<'a, [f32]>,
}

impl View for &Values<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        // Asked for when the tensor before it is written.
        pulse::beat();
        if cfg!(target_endian = "little") {
            Cow::Borrowed(bytemuck::cast_slice(&self.values))
        } else {
            Cow::Owned(self.values.iter().flat_map(|v| v.to_le_bytes()).collect())
        }
    }

    fn data_len(&self) -> usize {
        4 * self.values.len()
    }
}

fn write_tensors(path: &Path, tensors: &[(String, Values<'_>)]) -> Result<()> {
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    // The library puts a file of its own in place, which nobody else may read: it gets the rights that any new file has here.
    let rights = fs::File::create(path).and_then(|file| file.metadata()).map_err(|e| Error::io("create", path, e))?.permissions();
    serialize_to_file(tensors.iter().map(|(name, values)| (name, values)), Some(metadata), path).map_err(|e| match e {
        safetensors::SafeTensorError::IoError(e) => Error::io("write", path, e),
        e => Error::internal(format!("{} cannot be written", path.display())).caused_by(e),
    })?;
    fs::set_permissions(path, rights).map_err(|e| Error::io("set the rights of", path, e))
}

/// Writes `model.safetensors`. GPT-2 in Hugging Face always has biases: where this model has none they are written as 0.
pub fn write_weights<V: AsRef<[f32]>>(path: &Path, config: &Config, parameters: &[Parameter], values: &[V]) -> Result<()> {
    let mut tensors = Vec::with_capacity(parameters.len());
    for (parameter, values) in parameters.iter().zip(values) {
        let tensor = Values { shape: parameter.shape.clone(), values: Cow::Borrowed(values.as_ref()) };
        tensors.push((parameter.name.clone(), tensor));
    }
    if config.family == Family::Gpt2 && !config.bias {
        let with_biases = Config { bias: true, ..config.clone() };
        for parameter in with_biases.parameters().into_iter().filter(|p| p.name.ends_with(".bias")) {
            let zeros = vec![0.0; parameter.len()];
            tensors.push((parameter.name, Values { shape: parameter.shape, values: Cow::Owned(zeros) }));
        }
    }
    write_tensors(path, &tensors)
}

/// Writes AdamW's moments as `first.<parameter>` and `second.<parameter>`.
pub fn write_moments<V: AsRef<[f32]>>(path: &Path, parameters: &[Parameter], first: &[V], second: &[V]) -> Result<()> {
    let mut tensors = Vec::with_capacity(2 * parameters.len());
    for (prefix, moments) in [("first", first), ("second", second)] {
        for (parameter, values) in parameters.iter().zip(moments) {
            let tensor = Values { shape: parameter.shape.clone(), values: Cow::Borrowed(values.as_ref()) };
            tensors.push((format!("{prefix}.{}", parameter.name), tensor));
        }
    }
    write_tensors(path, &tensors)
}

fn values_of(view: &TensorView<'_>) -> Result<Vec<f32>> {
    match view.dtype() {
        Dtype::F32 => Ok(view.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()),
        other => Err(Error::data(format!("it has {other:?} values instead of 32-bit ones"))),
    }
}

/// All bytes of a file, with signs of life on the way.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = fs::File::open(path)?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(file.metadata()?.len() as usize)?;
    Beating(file).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads these tensors, `prefix` put before each parameter's name; shapes are checked.
pub fn read_tensors(path: &Path, parameters: &[Parameter], prefix: &str) -> Result<Vec<Vec<f32>>> {
    let bytes = read(path).map_err(|e| Error::io("read", path, e))?;
    let damaged = |reason: String| Error::data(format!("{} is damaged", path.display())).caused_by(reason);
    let file = SafeTensors::deserialize(&bytes).map_err(|e| damaged(e.to_string()))?;
    let mut all = Vec::with_capacity(parameters.len());
    for parameter in parameters {
        let name = format!("{prefix}{}", parameter.name);
        let view = file.tensor(&name).map_err(|e| damaged(format!("`{name}`: {e}")))?;
        if view.shape() != parameter.shape {
            return Err(damaged(format!("`{name}` has the shape {:?} instead of {:?}", view.shape(), parameter.shape)));
        }
        all.push(values_of(&view).map_err(|e| e.context(format!("`{name}` of {} cannot be read", path.display())))?);
    }
    Ok(all)
}

/// `config.json`: everything is written, so that no default of a `transformers` version matters.
pub fn config_json(config: &Config, corpus: &Prepared) -> Value {
    match config.family {
        Family::Gpt2 => json!({
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "vocab_size": config.vocabulary,
            "n_positions": config.context,
            "n_ctx": config.context,
            "n_embd": config.width,
            "n_layer": config.layers,
            "n_head": config.heads,
            "n_inner": config.hidden,
            "activation_function": match config.activation { Activation::Gelu => "gelu", Activation::GeluTanh => "gelu_new" },
            "layer_norm_epsilon": config.norm_epsilon,
            // No word of Hugging Face's, whose GPT-2 always has biases: training that starts from here has none again.
            "bias": config.bias,
            "initializer_range": 0.02,
            "scale_attn_weights": true,
            "scale_attn_by_inverse_layer_idx": false,
            "reorder_and_upcast_attn": false,
            "embd_pdrop": config.dropout,
            "attn_pdrop": config.dropout,
            "resid_pdrop": config.dropout,
            "tie_word_embeddings": config.tied,
            "bos_token_id": corpus.end_of_text,
            "eos_token_id": corpus.end_of_text,
            "pad_token_id": null,
            "dtype": "float32",
            "torch_dtype": "float32",
            "use_cache": true,
        }),
        Family::Llama => json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": config.vocabulary,
            "hidden_size": config.width,
            "intermediate_size": config.hidden,
            "num_hidden_layers": config.layers,
            "num_attention_heads": config.heads,
            "num_key_value_heads": config.kv_heads,
            "head_dim": config.head(),
            "hidden_act": "silu",
            "max_position_embeddings": config.context,
            "initializer_range": 0.02,
            "rms_norm_eps": config.norm_epsilon,
            "rope_theta": config.rope_theta,
            "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
            "tie_word_embeddings": config.tied,
            "attention_bias": config.bias,
            "mlp_bias": false,
            "attention_dropout": config.dropout,
            "bos_token_id": corpus.end_of_text,
            "eos_token_id": corpus.end_of_text,
            "pad_token_id": null,
            "dtype": "float32",
            "torch_dtype": "float32",
            "use_cache": true,
        }),
    }
}

/// Writes `config.json`, `tokenizer.json` and `tokenizer_config.json` into a checkpoint's folder while it is filled
/// ([`durable::folder_with`]). `tokenizer` is the experiment's `tokenizer.json`.
pub fn write_description(folder: &Path, config: &Config, corpus: &Prepared, tokenizer: &Path) -> Result<()> {
    durable::fill_json(&folder.join("config.json"), &config_json(config, corpus))?;
    let target = folder.join("tokenizer.json");
    // Its content alone: the original may be closed to others, or to writing.
    let content = fs::read(tokenizer).map_err(|e| Error::io("read", tokenizer, e))?;
    fs::write(&target, content).map_err(|e| Error::io("copy the tokenizer to", &target, e))?;
    let mut description = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config.context,
        "clean_up_tokenization_spaces": false,
    });
    // The special tokens are the tokenizer's: its own description lies beside it.
    let beside: Option<Value> = durable::read_json(&tokenizer.with_file_name("tokenizer_config.json"))?;
    for name in ["bos_token", "eos_token", "unk_token", "pad_token"] {
        if let Some(token) = beside.as_ref().and_then(|config| config.get(name)).filter(|token| !token.is_null()) {
            description[name] = token.clone();
        }
    }
    durable::fill_json(&folder.join("tokenizer_config.json"), &description)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn files_of_tensors_have_the_rights_of_any_other_new_file() {
        let dir = tempfile::tempdir().unwrap();
        let (tensors, other) = (dir.path().join("model.safetensors"), dir.path().join("config.json"));
        write_moments::<Vec<f32>>(&tensors, &[], &[], &[]).unwrap();
        fs::write(&other, "{}").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&tensors), mode(&other));
    }
}
