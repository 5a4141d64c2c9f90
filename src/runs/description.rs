//! `experiment.json`: an experiment as it was understood when it was run last.
//!
//! It is state: it fixes the context in which trials are compared, the numbers of configurations and the device. The runner writes it,
//! and everybody reads it by the same type. What a file of an earlier program does not have is `None`, empty, or the setting's default.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ExperimentFolder;
use crate::corpus::References;
use crate::device::Device;
use crate::durable;
use crate::error::{Error, Kind, Result};
use crate::experiment::Resolved;
use crate::experiment::settings::{Evaluate, Report};
use crate::plan::{Numbers, TrialId};

/// An experiment as it was run last.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Description {
    /// Version of this file; 0 in files of before there were versions, which differ in nothing but what they lack.
    pub version: u32,
    /// What its file says, with all layers resolved.
    #[serde(flatten)]
    pub experiment: Resolved,
    /// The keys that differ between configurations, in file order; an early version wrote none.
    pub swept: Option<Vec<String>>,
    /// The context in which its trials are compared, tokens; an early version wrote none.
    pub common_context: Option<usize>,
    /// The numbers of all configurations that were ever planned.
    pub numbers: Numbers,
    /// What its trials ran on last: of an earlier version its kind.
    pub device: Option<Device>,
    /// The kinds of GPU that its trials were run on so far; an earlier version wrote none.
    pub gpus: Option<BTreeSet<String>>,
    /// The program that ran it last.
    pub program: String,
    /// Hash of the `Cargo.lock` of that program.
    pub lock_file: Option<String>,
    /// The commit of the folder that it was run in last.
    pub git: Option<Commit>,
    /// How its trials are scored and ranked.
    pub evaluate: Evaluate,
    /// What is said of them.
    pub report: Report,
    /// The hash of its text and its split, of the first where there are several; an early version wrote none.
    pub text_hash: Option<String>,
    /// What its trials' tokenizers make of each text.
    pub tokenizers: Vec<DescribedTokenizer>,
    /// What simple models reach on each text.
    pub references: Vec<DescribedReferences>,
    /// Its planned trials.
    pub trials: Vec<DescribedTrial>,
}

/// A commit, for a report's provenance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// The commit, all 40 digits or more.
    pub commit: String,
    /// Whether tracked files differed from it; `None` where that could not be asked.
    #[serde(default)]
    pub dirty: Option<bool>,
}

/// What a tokenizer makes of a text.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DescribedTokenizer {
    /// What it is called: `char`, `bpe-512`, `file x.json`. One label may stand for several vocabularies.
    pub label: String,
    /// Of its content; an earlier version did not say it, nor the next one.
    pub hash: Option<String>,
    /// Of the text and its split.
    pub text_hash: Option<String>,
    /// Tokens in the vocabulary.
    pub vocabulary: usize,
    /// Whether its tokens give the text back.
    pub lossless: Option<bool>,
    /// The share of the held-out tokens that stand for what it does not know.
    pub unknown_share: Option<f64>,
    /// How many those are; an earlier version did not say it.
    pub unknown_tokens: Option<u64>,
    /// What the first of them stand for.
    pub unknown_parts: Vec<String>,
    /// Held-out tokens that are scored.
    pub scored_tokens: u64,
    /// Words of them.
    pub scored_words: u64,
}

/// What simple models reach on a text under a tokenizer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DescribedReferences {
    /// What the tokenizer is called.
    pub tokenizer: String,
    /// Of the tokenizer's content; an earlier version did not say it, nor the next one.
    #[serde(default)]
    pub hash: Option<String>,
    /// Of the text and its split.
    #[serde(default)]
    pub text_hash: Option<String>,
    /// What they reach.
    #[serde(flatten)]
    pub references: References,
}

/// A planned trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescribedTrial {
    /// Its id.
    pub id: TrialId,
    /// Number of its configuration, from 1.
    pub configuration: usize,
    /// Its seed.
    pub seed: u64,
    /// What people call its configuration.
    pub label: String,
}

impl Description {
    /// Version of the file that this program writes, and the newest that it reads.
    pub const VERSION: u32 = 1;

    /// Reads it; `None` where the folder holds no experiment.
    ///
    /// # Errors
    /// Where it is damaged, or a newer program wrote it.
    pub fn find(folder: &ExperimentFolder) -> Result<Option<Self>> {
        let path = folder.experiment_json();
        let Some(json) = durable::read_json::<Value>(&path)? else { return Ok(None) };
        Self::check_version(&json, &path)?;
        let described = serde_json::from_value(json);
        described.map(Some).map_err(|e| Error::data(format!("{} is damaged", path.display())).caused_by(e))
    }

    /// Refuses one that a newer program wrote: of that it is not even known what can be read.
    ///
    /// # Errors
    /// Where a newer program wrote it; nothing is said of one that is damaged otherwise.
    pub fn refuse_newer(folder: &ExperimentFolder) -> Result<()> {
        let path = folder.experiment_json();
        let json = durable::read_json::<Value>(&path).ok().flatten();
        json.map_or(Ok(()), |json| Self::check_version(&json, &path))
    }

    fn check_version(json: &Value, path: &Path) -> Result<()> {
        if json["version"].as_u64().is_none_or(|version| version <= u64::from(Self::VERSION)) {
            return Ok(());
        }
        let error = Error::data(format!("{} was written by a newer program", path.display()));
        Err(error.help("read it with the program that ran this experiment"))
    }

    /// Reads it.
    ///
    /// # Errors
    /// As [`Description::find`], and of kind [`Kind::Nothing`] where the folder holds no experiment.
    pub fn read(folder: &ExperimentFolder) -> Result<Self> {
        Self::find(folder)?.ok_or_else(|| {
            Error::new(Kind::Nothing, format!("there is no experiment in {}", folder.path().display()))
                .help("name a folder such as `runs/quickstart`")
        })
    }

    /// Writes it.
    pub fn write(&self, folder: &ExperimentFolder) -> Result<()> {
        durable::write_json(&folder.experiment_json(), self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn folder() -> (tempfile::TempDir, ExperimentFolder) {
        let directory = tempfile::tempdir().unwrap();
        let folder = ExperimentFolder::at(directory.path());
        (directory, folder)
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let (_directory, folder) = folder();
        let reference = crate::corpus::Reference { loss: 1.0, perplexity: 1f64.exp(), bits_per_byte: 0.1 };
        let references = References { scored_tokens: 9, uniform: reference, unigram: reference, bigram: reference };
        let described = Description {
            version: Description::VERSION,
            experiment: Resolved { name: "night".to_owned(), settings: json!({"train": {"beta2": 0.99}}), ..Resolved::default() },
            swept: Some(vec!["train.stride".to_owned()]),
            common_context: Some(64),
            device: Some(Device::Cuda(1)),
            gpus: Some(BTreeSet::from(["H200".to_owned()])),
            git: Some(Commit { commit: "abc".to_owned(), dirty: Some(true) }),
            tokenizers: vec![DescribedTokenizer {
                label: "char".to_owned(),
                lossless: Some(true),
                ..DescribedTokenizer::default()
            }],
            references: vec![DescribedReferences { tokenizer: "char".to_owned(), hash: None, text_hash: None, references }],
            trials: vec![DescribedTrial { id: TrialId::of("a"), configuration: 1, seed: 2, label: "stride 32".to_owned() }],
            ..Description::default()
        };
        described.write(&folder).unwrap();
        assert_eq!(Description::read(&folder).unwrap(), described);
    }

    #[test]
    fn a_file_of_an_earlier_program_lacks_what_it_did_not_write() {
        let (_directory, folder) = folder();
        assert_eq!(Description::find(&folder).unwrap(), None);
        assert_eq!(Description::read(&folder).unwrap_err().kind(), Kind::Nothing);
        let json = json!({"name": "night", "search": null, "trials": [], "tokenizers": [{"label": "char", "lossless": true}]});
        durable::write_json(&folder.experiment_json(), &json).unwrap();
        let described = Description::read(&folder).unwrap();
        assert_eq!((described.version, described.swept, described.common_context), (0, None, None));
        assert_eq!((described.experiment.name.as_str(), described.experiment.search), ("night", None));
        assert_eq!(described.report, Report::default());
    }

    #[test]
    fn a_file_of_a_newer_program_is_not_guessed_at() {
        let (_directory, folder) = folder();
        durable::write_json(&folder.experiment_json(), &json!({"version": 2, "trials": "elsewhere"})).unwrap();
        let error = Description::read(&folder).unwrap_err();
        assert!(error.to_string().ends_with("experiment.json was written by a newer program"), "{error}");
        durable::write_json(&folder.experiment_json(), &json!({"version": 1, "trials": "elsewhere"})).unwrap();
        assert!(Description::read(&folder).unwrap_err().to_string().ends_with("experiment.json is damaged"));
    }
}
