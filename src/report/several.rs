//! Several experiments in one table, where they were measured alike.
//!
//! Figures stand in one table only where the same tokens were predicted from the same context: the same held-out text and the
//! same tokenizer (by content), context, stride and number of scored tokens, ranked by the same figure. What was measured
//! otherwise stands in a table of its own, and it is said what differs. Within a table the settings that vary are shown, those
//! that differ between the experiments included; what else differs (the text that was learned from, say) is said, and forbids to
//! call the first one better.

use std::collections::BTreeMap;
use std::path::Path;

use super::comparison::Configuration;
use super::confounding::listed;
use super::content::{self, beginning};
use super::controlled::forbidding;
use super::pair::{Figures, figures};
use super::subject::{Subject, subjects};
use super::{several_words, words};
use crate::durable;
use crate::error::{Error, Kind, Result};
use crate::runs::ExperimentFolder;
use crate::terminal::Look;

/// Several experiments, in as many tables as they need.
pub struct Several {
    pub(super) groups: Vec<Group>,
    /// Configurations without a figure, of all experiments.
    pub(super) unranked: usize,
    pub(super) experiments: Vec<String>,
    pub(super) damaged: Vec<String>,
}

/// Configurations whose figures compare, best first.
pub(super) struct Group {
    pub(super) measured: Measured,
    pub(super) lines: Vec<Line>,
    /// Settings that vary between the lines.
    pub(super) settings: Vec<String>,
    /// What differs between the first line and others beside their settings: `program (…) for 3 of 11`.
    pub(super) uncontrolled: Vec<String>,
}

/// How the figures of a group came about.
#[derive(Debug, Clone)]
pub(super) struct Measured {
    /// Beginning of the hash of the held-out text.
    pub(super) text: String,
    pub(super) tokenizer: String,
    pub(super) context: Option<i64>,
    pub(super) stride: Option<i64>,
    pub(super) scored_tokens: Option<i64>,
    /// `common`, `best_native` …
    pub(super) score: &'static str,
    pub(super) tokenizer_hash: Option<String>,
}

/// A configuration of one of the experiments.
pub(super) struct Line {
    pub(super) experiment: String,
    pub(super) configuration: Configuration,
    /// In the order of [`Group::settings`].
    pub(super) values: Vec<String>,
    subjects: Vec<Subject>,
}

impl Several {
    /// Reads these experiments. One that cannot be read is listed; an error where none can.
    pub fn read(folders: &[ExperimentFolder]) -> Result<Self> {
        let (mut damaged, mut experiments, mut unranked) = (Vec::new(), Vec::new(), 0);
        let mut found: Vec<(Measured, Vec<Line>)> = Vec::new();
        let mut failed = None;
        for folder in folders {
            let read = figures(folder, &mut damaged).and_then(|figures| {
                let subjects = subjects(&figures.frame, figures.protocol.score())?;
                Ok((figures, subjects))
            });
            let (figures, subjects) = match read {
                Ok(read) => read,
                Err(error) => {
                    damaged.push(error.chain());
                    failed = Some(error);
                    continue;
                }
            };
            let name = name(folder, &figures, &experiments);
            experiments.push(name.clone());
            for (measured, line) in lines(&name, figures, subjects, &mut unranked) {
                match found.iter_mut().find(|(known, _)| known.is_like(&measured)) {
                    Some((_, lines)) => lines.push(line),
                    None => found.push((measured, vec![line])),
                }
            }
        }
        match failed {
            Some(error) if experiments.is_empty() => return Err(error),
            _ if experiments.is_empty() => return Err(Error::new(Kind::Nothing, "there is no experiment to report")),
            _ => {}
        }
        let mut groups: Vec<Group> = found.into_iter().map(|(measured, lines)| group(measured, lines)).collect();
        // The table that most configurations are in stands first; the others say what differs from it.
        groups.sort_by_key(|group| std::cmp::Reverse(group.lines.len()));
        Ok(Self { groups, unranked, experiments, damaged })
    }

    /// Whether no configuration of any experiment has a figure.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The tables and what there is to say, as this terminal shows them.
    pub fn table(&self, look: Look) -> String {
        several_words::terminal(self, look)
    }

    /// Everything as `summary.json` has it.
    pub fn summary(&self) -> serde_json::Value {
        several_words::summary(self)
    }

    /// Writes `index.html`, `report.md`, `leaderboard.csv` and `summary.json` into a folder.
    pub fn write(&self, into: &Path) -> Result<()> {
        durable::create_folder(into)?;
        durable::write(&into.join("leaderboard.csv"), several_words::leaderboard(self)?.as_bytes())?;
        durable::write_json(&into.join("summary.json"), &self.summary())?;
        durable::write(&into.join("report.md"), several_words::markdown(self).as_bytes())?;
        durable::write(&into.join("index.html"), several_words::html(self)?.as_bytes())
    }

    /// Files and experiments that could not be read.
    pub fn damaged(&self) -> &[String] {
        &self.damaged
    }
}

/// The experiment's name; its path where another one here is called the same.
fn name(folder: &ExperimentFolder, figures: &Figures, known: &[String]) -> String {
    let name = &figures.protocol.name;
    if known.contains(name) { folder.path().display().to_string() } else { name.clone() }
}

/// The configurations of an experiment that have a figure, each with how it was measured.
fn lines(name: &str, figures: Figures, subjects: Vec<Subject>, unranked: &mut usize) -> Vec<(Measured, Line)> {
    let score = figures.protocol.score();
    let context = figures.comparison.common_context;
    let mut by_number: BTreeMap<i64, Vec<Subject>> = BTreeMap::new();
    for subject in subjects {
        let same_context = context.is_none() || subject.common_context.is_none() || subject.common_context == context;
        if subject.counts() && same_context {
            by_number.entry(subject.configuration).or_default().push(subject);
        }
    }
    let mut lines = Vec::new();
    for configuration in figures.comparison.configurations {
        let Some(subjects) = by_number.remove(&configuration.number).filter(|_| configuration.perplexity.is_some()) else {
            *unranked += 1;
            continue;
        };
        let first = &subjects[0];
        let text = first.content.validation.as_ref().or(figures.protocol.text_hash.as_ref());
        let measured = Measured {
            text: text.map(|hash| beginning(hash)).unwrap_or_default(),
            tokenizer: configuration.tokenizer.clone(),
            context: first.common_context,
            stride: first.common_stride,
            scored_tokens: first.scored_tokens,
            score,
            tokenizer_hash: first.content.tokenizer.clone(),
        };
        lines.push((measured, Line { experiment: name.to_owned(), configuration, values: Vec::new(), subjects }));
    }
    lines
}

fn group(measured: Measured, mut lines: Vec<Line>) -> Group {
    let figure = |line: &Line| line.configuration.perplexity.map_or(f64::INFINITY, |f| f.mean);
    lines.sort_by(|a, b| figure(a).total_cmp(&figure(b)));
    let first = &lines[0].subjects[0];
    // The tokenizer is the same by content, whatever it is called, and so is the held-out text.
    let texts_differ = lines.iter().any(|line| line.subjects[0].content.text != first.content.text);
    let shown = |key: &str| (texts_differ || !key.starts_with("corpus.")) && key != "tokenizer";
    let varies = |key: &str| {
        lines.iter().any(|line| line.subjects[0].setting(key) != first.setting(key))
            && !lines.iter().all(|line| line.subjects[0].follows(key))
    };
    let settings: Vec<String> =
        first.settings.iter().map(|(key, _)| key).filter(|key| shown(key) && varies(key)).cloned().collect();
    let uncontrolled = uncontrolled(&lines);
    for line in &mut lines {
        let value = |key: &String| line.subjects[0].setting(key).unwrap_or_default().to_owned();
        line.values = settings.iter().map(value).collect();
    }
    Group { measured, lines, settings, uncontrolled }
}

/// What differs between the first line and the others outside their settings.
fn uncontrolled(lines: &[Line]) -> Vec<String> {
    let leader: Vec<&Subject> = lines[0].subjects.iter().collect();
    let mut counts: Vec<(&'static str, usize)> = Vec::new();
    for line in &lines[1..] {
        let other: Vec<&Subject> = line.subjects.iter().collect();
        // A budget that one of the experiments sweeps is still another budget.
        for forbids in forbidding(&leader, &other, &|_| false) {
            match counts.iter_mut().find(|(name, _)| *name == forbids.name) {
                Some((_, count)) => *count += 1,
                None => counts.push((forbids.name, 1)),
            }
        }
    }
    let of = words::thousands(lines.len().saturating_sub(1) as i64);
    counts.into_iter().map(|(name, n)| format!("the {name} for {} of {of}", words::thousands(n as i64))).collect()
}

impl Line {
    /// The value of a setting, in words.
    pub(super) fn setting(&self, key: &str) -> Option<&str> {
        self.subjects[0].setting(key)
    }
}

impl Group {
    /// The names of the experiments that are in it.
    pub(super) fn experiments(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for line in &self.lines {
            if !names.contains(&line.experiment) {
                names.push(line.experiment.clone());
            }
        }
        names
    }
}

impl Measured {
    /// Whether figures that came about so compare with those of another. The tokenizer's label decides where its content is not known.
    fn is_like(&self, other: &Self) -> bool {
        let tokenizer = match (&self.tokenizer_hash, &other.tokenizer_hash) {
            (Some(one), Some(other)) => one == other,
            _ => self.tokenizer == other.tokenizer,
        };
        let of = |m: &Self| (m.text.clone(), m.context, m.stride, m.scored_tokens, m.score);
        tokenizer && of(self) == of(other)
    }

    /// What differs from how another group was measured, in words.
    pub(super) fn differences(&self, other: &Self) -> String {
        let number = |n: Option<i64>| n.map_or_else(|| "unknown".to_owned(), words::thousands);
        let mut list = Vec::new();
        let mut differ = |what: &str, mine: String, its: String| {
            if mine != its {
                list.push(format!("{what} ({}, not {})", words::plain(&mine), words::plain(&its)));
            }
        };
        differ("held-out text", self.text.clone(), other.text.clone());
        if content::differ(self.tokenizer_hash.as_ref(), other.tokenizer_hash.as_ref()) {
            // One label may stand for two vocabularies.
            let called = |m: &Self| match &m.tokenizer_hash {
                Some(hash) if self.tokenizer == other.tokenizer => format!("{} {}", m.tokenizer, beginning(hash)),
                _ => m.tokenizer.clone(),
            };
            differ("tokenizer", called(self), called(other));
        } else if self.tokenizer_hash.is_none() || other.tokenizer_hash.is_none() {
            differ("tokenizer", self.tokenizer.clone(), other.tokenizer.clone());
        }
        differ("context", number(self.context), number(other.context));
        differ("stride", number(self.stride), number(other.stride));
        differ("scored tokens", number(self.scored_tokens), number(other.scored_tokens));
        differ("ranking figure", self.score.replace('_', " "), other.score.replace('_', " "));
        listed(&list)
    }
}
