//! `tokenizer`: how text becomes tokens.

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};

use crate::experiment::text::fields;

/// `tokenizer`: how text becomes tokens.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Tokenizer {
    /// One token a character of the training part.
    #[default]
    Char,
    /// One token a byte.
    Byte,
    /// One token a word or punctuation mark of the training part.
    Word,
    /// Byte-level byte-pair encoding, trained on the training part.
    Bpe {
        /// Number of tokens, the 256 bytes included.
        vocab_size: usize,
    },
    /// Any Hugging Face `tokenizer.json`.
    File {
        /// Where it lies, relative to the experiment file.
        path: String,
    },
}

/// What reports call a tokenizer of this kind: `char`, `bpe-512`, `file x.json`.
pub fn tokenizer_label(kind: &str, vocab_size: Option<i64>, path: Option<&str>) -> String {
    match (vocab_size, path) {
        (Some(size), _) => format!("{kind}-{size}"),
        (None, Some(path)) => format!("{kind} {path}"),
        (None, None) => kind.to_owned(),
    }
}

impl Tokenizer {
    /// What reports call it: as [`Tokenizer::label`], with its kind where that is a file.
    pub fn full_label(&self) -> String {
        match self {
            Self::File { path } => tokenizer_label("file", None, Some(path)),
            other => other.label(),
        }
    }

    /// What people call it: `char`, `bpe-512`, a file's path.
    pub fn label(&self) -> String {
        match self {
            Self::Char => "char".to_owned(),
            Self::Byte => "byte".to_owned(),
            Self::Word => "word".to_owned(),
            Self::Bpe { vocab_size } => format!("bpe-{vocab_size}"),
            Self::File { path } => path.clone(),
        }
    }
}

/// The tokenizer as the file spells it, before it is known which keys its kind has.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenizerKeys {
    kind: Option<String>,
    #[serde(default, deserialize_with = "fields::maybe_size")]
    vocab_size: Option<usize>,
    #[serde(default, deserialize_with = "fields::maybe_words")]
    path: Option<String>,
}

impl<'de> Deserialize<'de> for Tokenizer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const KINDS: &[&str] = &["char", "byte", "word", "bpe", "file"];
        let TokenizerKeys { kind, vocab_size, path } = TokenizerKeys::deserialize(deserializer)?;
        let Some(kind) = kind else {
            return Err(D::Error::custom(
                "needs a `kind`\nwrite `{kind: bpe, vocab_size: 512}`, or another of char, byte, word, file",
            ));
        };
        if !KINDS.contains(&kind.as_str()) {
            return Err(D::Error::unknown_variant(&kind, KINDS));
        }
        if vocab_size.is_some() && kind != "bpe" {
            return Err(D::Error::custom(format!("takes a `vocab_size` only with `kind: bpe`, not with `{kind}`")));
        }
        if path.is_some() && kind != "file" {
            return Err(D::Error::custom(format!("takes a `path` only with `kind: file`, not with `{kind}`")));
        }
        match kind.as_str() {
            "char" => Ok(Self::Char),
            "byte" => Ok(Self::Byte),
            "word" => Ok(Self::Word),
            "bpe" => match vocab_size {
                Some(vocab_size) => Ok(Self::Bpe { vocab_size }),
                None => Err(D::Error::custom("needs a `vocab_size` with `kind: bpe`\nwrite `{kind: bpe, vocab_size: 512}`")),
            },
            // A file: it is one of these kinds.
            _ => match path {
                Some(path) => Ok(Self::File { path }),
                None => Err(D::Error::custom("needs a `path` with `kind: file`\nwrite `{kind: file, path: tokenizer.json}`")),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_calls_a_tokenizer_by_its_columns_as_by_its_settings() {
        let file = Tokenizer::File { path: "x.json".to_owned() };
        for (tokenizer, kind, vocab_size, path, label) in [
            (Tokenizer::Char, "char", None, None, "char"),
            (Tokenizer::Bpe { vocab_size: 512 }, "bpe", Some(512), None, "bpe-512"),
            (file, "file", None, Some("x.json"), "file x.json"),
        ] {
            assert_eq!((tokenizer.full_label().as_str(), tokenizer_label(kind, vocab_size, path).as_str()), (label, label));
        }
    }
}
