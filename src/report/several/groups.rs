//! The configurations of several experiments, in groups that were measured alike.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Kind, Result};
use crate::report::comparison::{Configuration, Figure};
use crate::report::content::{self, beginning};
use crate::report::controlled::forbidding;
use crate::report::ranking::Ranking;
use crate::report::subject::{Subject, subjects};
use crate::report::wording;
use crate::runs::ExperimentFolder;
use crate::words;
use crate::words::listed;

/// Several experiments, in as many tables as they need.
pub struct Several {
    pub(in crate::report) groups: Vec<Group>,
    /// Configurations without a figure, of all experiments.
    pub(in crate::report) unranked: usize,
    pub(in crate::report) experiments: Vec<String>,
    pub(in crate::report) damaged: Vec<String>,
}

/// Configurations whose figures compare, best first.
pub(in crate::report) struct Group {
    pub(in crate::report) measured: Measured,
    pub(in crate::report) lines: Vec<Line>,
    /// The place of the first line; where a seed of it diverged that of the first one that lost none, if any did not.
    pub(in crate::report) best: usize,
    /// Settings that vary between the lines.
    pub(in crate::report) settings: Vec<String>,
    /// What differs between the best line and others beside their settings: `program (…) for 3 of 11`.
    pub(in crate::report) uncontrolled: Vec<String>,
}

/// How the figures of a group came about.
#[derive(Debug, Clone)]
pub(in crate::report) struct Measured {
    /// Beginning of the hash of the held-out text.
    pub(in crate::report) text: String,
    pub(in crate::report) tokenizer: String,
    pub(in crate::report) context: Option<i64>,
    pub(in crate::report) stride: Option<i64>,
    pub(in crate::report) scored_tokens: Option<i64>,
    /// `common`, `best_native` …
    pub(in crate::report) score: &'static str,
    pub(in crate::report) tokenizer_hash: Option<String>,
}

/// A configuration of one of the experiments.
pub(in crate::report) struct Line {
    pub(in crate::report) experiment: String,
    pub(in crate::report) configuration: Configuration,
    /// Mean loss in nats per token over all seeds of its experiment, by least squares; `None` where no seed is missing there.
    pub(in crate::report) adjusted_loss: Option<f64>,
    /// In the order of [`Group::settings`].
    pub(in crate::report) values: Vec<String>,
    subjects: Vec<Subject>,
}

impl Several {
    /// Reads these experiments. One that cannot be read is listed; an error where none can.
    pub fn read(folders: &[ExperimentFolder]) -> Result<Self> {
        let (mut damaged, mut experiments, mut unranked) = (Vec::new(), Vec::new(), 0);
        let mut found: Vec<(Measured, Vec<Line>)> = Vec::new();
        let mut failed = None;
        for folder in folders {
            let read = Ranking::read(folder, &mut damaged).and_then(|ranking| {
                let subjects = subjects(&ranking.trials, ranking.design.score())?;
                Ok((ranking, subjects))
            });
            let (ranking, subjects) = match read {
                Ok(read) => read,
                Err(error) => {
                    damaged.push(error.chain());
                    failed = Some(error);
                    continue;
                }
            };
            let name = name(folder, &ranking, &experiments);
            experiments.push(name.clone());
            for (measured, line) in lines(&name, ranking, subjects, &mut unranked) {
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
        groups.sort_by_key(|group| Reverse(group.lines.len()));
        Ok(Self { groups, unranked, experiments, damaged })
    }

    /// Whether no configuration of any experiment has a figure.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Files and experiments that could not be read.
    pub fn damaged(&self) -> &[String] {
        &self.damaged
    }
}

/// The experiment's name; its path where another one here is called the same.
fn name(folder: &ExperimentFolder, ranking: &Ranking, known: &[String]) -> String {
    let name = &ranking.design.name;
    if known.contains(name) { folder.path().display().to_string() } else { name.clone() }
}

/// The configurations of an experiment that have a figure, each with how it was measured.
fn lines(name: &str, ranking: Ranking, subjects: Vec<Subject>, unranked: &mut usize) -> Vec<(Measured, Line)> {
    let score = ranking.design.score();
    let (context, by_bytes) = (ranking.comparison.common_context, ranking.comparison.by_bytes);
    let mut by_number: BTreeMap<i64, Vec<Subject>> = BTreeMap::new();
    for subject in subjects {
        let same_context = context.is_none() || subject.common_context.is_none() || subject.common_context == context;
        if subject.counts() && same_context {
            by_number.entry(subject.configuration).or_default().push(subject);
        }
    }
    let mut lines = Vec::new();
    for configuration in ranking.comparison.configurations {
        let Some(subjects) = by_number.remove(&configuration.number).filter(|_| configuration.perplexity.is_some()) else {
            *unranked += 1;
            continue;
        };
        let first = &subjects[0];
        let text = first.content.validation.as_ref().or(ranking.design.text_hash.as_ref());
        let measured = Measured {
            text: text.map(|hash| beginning(hash)).unwrap_or_default(),
            tokenizer: configuration.tokenizer.clone(),
            context: first.common_context,
            stride: first.common_stride,
            scored_tokens: first.scored_tokens,
            score,
            tokenizer_hash: first.content.tokenizer.clone(),
        };
        let adjusted_loss = configuration.adjusted_loss(by_bytes);
        lines.push((measured, Line { experiment: name.to_owned(), configuration, adjusted_loss, values: Vec::new(), subjects }));
    }
    lines
}

fn group(measured: Measured, mut lines: Vec<Line>) -> Group {
    let figure = |line: &Line| line.figure().map_or(f64::INFINITY, |f| f.mean);
    lines.sort_by(|a, b| figure(a).total_cmp(&figure(b)));
    let finished = |line: &Line| line.configuration.is_complete();
    let best = if lines[0].configuration.has_diverged() { lines.iter().position(finished).unwrap_or(0) } else { 0 };
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
    let uncontrolled = uncontrolled(&lines, best);
    for line in &mut lines {
        let value = |key: &String| line.subjects[0].setting(key).unwrap_or_default().to_owned();
        line.values = settings.iter().map(value).collect();
    }
    Group { measured, lines, best, settings, uncontrolled }
}

/// What differs between the line at this place and the others outside their settings.
fn uncontrolled(lines: &[Line], best: usize) -> Vec<String> {
    let leader: Vec<&Subject> = lines[best].subjects.iter().collect();
    let mut counts: Vec<(&'static str, usize)> = Vec::new();
    for (_, line) in lines.iter().enumerate().filter(|(place, _)| *place != best) {
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
    /// Its perplexity, by which the lines are ordered: over all seeds of its experiment where some are missing there.
    pub(in crate::report) fn figure(&self) -> Option<Figure> {
        let plain = self.configuration.perplexity?;
        Some(Figure { mean: self.adjusted_loss.map_or(plain.mean, f64::exp), ..plain })
    }

    /// The value of a setting, in words.
    pub(in crate::report) fn setting(&self, key: &str) -> Option<&str> {
        self.subjects[0].setting(key)
    }
}

impl Group {
    /// The names of the experiments that are in it.
    pub(in crate::report) fn experiments(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for line in &self.lines {
            if !names.contains(&line.experiment) {
                names.push(line.experiment.clone());
            }
        }
        names
    }

    /// Whether its experiments have results of different seeds.
    pub(in crate::report) fn have_different_seeds(&self) -> bool {
        let mut seeds: BTreeMap<&str, BTreeSet<i64>> = BTreeMap::new();
        for line in &self.lines {
            seeds.entry(&line.experiment).or_default().extend(line.subjects.iter().filter_map(|subject| subject.seed));
        }
        let sets: BTreeSet<BTreeSet<i64>> = seeds.into_values().collect();
        sets.len() > 1
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
    pub(in crate::report) fn differences(&self, other: &Self) -> String {
        let number = |n: Option<i64>| n.map_or_else(|| "unknown".to_owned(), words::thousands);
        let mut list = Vec::new();
        let mut differ = |what: &str, mine: String, its: String| {
            if mine != its {
                list.push(format!("{what} ({}, not {})", wording::plain(&mine), wording::plain(&its)));
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
