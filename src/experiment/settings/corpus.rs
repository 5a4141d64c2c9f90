//! `corpus`: the text and its split.

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};

use crate::experiment::text::{Wrapped, fields};

/// `corpus`: the text and its split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Corpus {
    /// Files, globs, or `builtin:keeper`; relative to the experiment file.
    #[serde(deserialize_with = "fields::texts")]
    pub text: Vec<String>,
    /// For `.jsonl` files: the field that holds the text.
    #[serde(deserialize_with = "fields::maybe_words")]
    pub field: Option<String>,
    /// What stands between documents.
    pub join: Join,
    /// What is held out to rank configurations.
    pub validation: Part,
    /// What is scored once at the end.
    pub test: Part,
    /// Only the first bytes of the text.
    #[serde(deserialize_with = "fields::maybe_positive")]
    pub max_bytes: Option<u64>,
}

impl Default for Corpus {
    fn default() -> Self {
        Self {
            text: Vec::new(),
            field: None,
            join: Join::EndOfText,
            validation: Part::Fraction(0.1),
            test: Part::None,
            max_bytes: None,
        }
    }
}

/// What stands between the documents of a corpus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Join {
    /// The tokenizer's end-of-text token, where it has one.
    EndOfText,
    /// Nothing.
    None,
}

/// A held-out part of the text.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// This fraction of the bytes, from the end of each file.
    Fraction(f64),
    /// A file of its own.
    Path(String),
    /// No such part.
    None,
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Wrapped::deserialize(deserializer)?;
        value.alone()?;
        match value.name.as_deref() {
            None if value.is("none") => return Ok(Self::None),
            None | Some("fraction") => {
                if let Some(fraction) = value.number() {
                    return match fraction > 0.0 && fraction < 1.0 {
                        true => Ok(Self::Fraction(fraction)),
                        false => value.refuse("a fraction between 0 and 1, a path or `none`"),
                    };
                }
            }
            Some("path") => {}
            Some(other) => return Err(D::Error::custom(format!("takes a fraction, a path or `none`, not `{other}`"))),
        }
        match value.text() {
            Some(path) if !path.is_empty() => Ok(Self::Path(path)),
            _ => Err(D::Error::custom("should be a fraction, a path or `none`")),
        }
    }
}
