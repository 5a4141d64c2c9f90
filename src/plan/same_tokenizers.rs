//! Tokenizers that come to the same, although they are asked for in other words: a vocabulary that the text cannot fill, say.

use super::Warning;
use crate::corpus::Prepared;
use crate::experiment::settings::Tokenizer;

/// The tokenizers of an experiment, those together that are the same.
#[derive(Default)]
pub(super) struct SameTokenizers(Vec<Kind>);

/// One tokenizer of one text, under all its names.
struct Kind {
    text_hash: String,
    tokenizer_hash: String,
    end_of_text: Option<u32>,
    vocabulary: usize,
    names: Vec<Tokenizer>,
}

impl SameTokenizers {
    /// Adds the tokenizer that a text was prepared with, under the name that a configuration gives it; none where it comes with a model.
    pub(super) fn add(&mut self, name: Option<&Tokenizer>, prepared: &Prepared) {
        let same = |kind: &&mut Kind| {
            kind.tokenizer_hash == prepared.tokenizer_hash
                && kind.end_of_text == prepared.end_of_text
                && kind.text_hash == prepared.text_hash
        };
        match self.0.iter_mut().find(same) {
            Some(kind) => kind.names.extend(name.filter(|&name| !kind.names.contains(name)).cloned()),
            None => self.0.push(Kind {
                text_hash: prepared.text_hash.clone(),
                tokenizer_hash: prepared.tokenizer_hash.clone(),
                end_of_text: prepared.end_of_text,
                vocabulary: prepared.vocabulary,
                names: name.into_iter().cloned().collect(),
            }),
        }
    }

    /// A note on each that has several names.
    pub(super) fn notes(&self) -> impl Iterator<Item = Warning> {
        self.0.iter().filter(|kind| kind.names.len() > 1).map(|kind| Warning::Configuration {
            label: kind.names.iter().map(Tokenizer::label).collect::<Vec<_>>().join(" and "),
            text: format!(
                "the same tokenizer of {} tokens, whatever it is called: its trials are trained once, and the others recorded as the same",
                kind.vocabulary
            ),
        })
    }
}
