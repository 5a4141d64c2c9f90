//! What is known of a model that training starts from.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::config::Config;
use crate::error::{Error, Result};
use crate::experiment::Folder;
use crate::experiment::settings::{Family, Model};

/// A local Hugging Face folder that training starts from (`model.from`), as it was when the trial was planned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pretrained {
    /// Where it lies, absolute.
    pub folder: PathBuf,
    /// BLAKE3 of the content of `config.json`, `tokenizer.json` and the weights, and of what is made of it.
    pub hash: String,
    /// The model, as its `config.json` has it and its weights are.
    pub config: Config,
    /// Whether the weights hold an output layer of its own where `config.json` says, or means by saying nothing, that it is tied
    /// to the embedding: it is not tied then, as in `transformers`.
    #[serde(default)]
    pub own_head: bool,
}

impl Config {
    /// The model of a trial in windows of `length` tokens: that of the folder it starts from, else that of its settings, over
    /// this vocabulary.
    ///
    /// # Errors
    /// Settings that do not go together, or not with the folder.
    pub fn of(model: &Model, from: Option<&Pretrained>, vocabulary: usize, length: usize) -> Result<Self> {
        match from {
            Some(from) => from.model(model.dropout, vocabulary, length),
            None => Self::new(model, vocabulary, length),
        }
    }
}

impl Pretrained {
    /// The model as it is trained in windows of `length` tokens with this dropout. GPT-2 keeps all of its learned positions;
    /// Llama, which has none, may be given longer windows than it has seen.
    ///
    /// # Errors
    /// A vocabulary of more tokens than the model knows; windows longer than GPT-2 has positions; dropout for Llama.
    fn model(&self, dropout: f64, vocabulary: usize, length: usize) -> Result<Config> {
        let config = &self.config;
        if vocabulary > config.vocabulary {
            let folder = self.folder.display();
            return Err(Error::data(format!(
                "the tokenizer of {folder} has {vocabulary} tokens, and its model knows {}",
                config.vocabulary
            ))
            .help("the two are not made for each other: look for the tokenizer.json that the model was trained with"));
        }
        match config.family {
            Family::Gpt2 if length > config.context => {
                let folder = self.folder.display();
                Err(Error::usage(format!("{folder} has {} learned positions, and a window has {length} tokens", config.context))
                    .help(format!("set `train.sequence_length` to at most {}", config.context)))
            }
            Family::Llama if dropout > 0.0 => {
                let folder = self.folder.display();
                Err(Error::usage(format!("`model.dropout` is for the gpt2 family, and {folder} is a llama"))
                    .help("leave `model.dropout` at 0"))
            }
            _ => Ok(Config { dropout, context: config.context.max(length), ..config.clone() }),
        }
    }

    /// What the folder says of a model that starts from it: these settings with those of the folder written into them, so that
    /// rules and tables speak of the model that is trained.
    pub fn says(&self, model: &Model) -> Folder {
        let config = &self.config;
        let longest = (config.family == Family::Gpt2).then_some(config.context);
        let model = Model {
            family: config.family,
            layers: config.layers,
            heads: config.heads,
            width: config.width,
            kv_heads: (config.kv_heads != config.heads).then_some(config.kv_heads),
            dropout: model.dropout,
            bias: Some(config.bias),
            tied: config.tied,
            activation: config.activation,
            from: model.from.clone(),
        };
        Folder { model, longest }
    }
}
