//! What the table of trials says of a trial beside its figures: its settings, what follows from them by arithmetic, and what it
//! was trained with. It is what a comparison is controlled by.

use polars::prelude::{Column, DataFrame, DataType};

use super::content::Content;
use super::frames::wrong;
use super::trial_row::TrialRow;
use super::trials::{Scored, Trials};
use crate::error::Result;
use crate::experiment::settings::Settings;
use crate::runs::Status;
use crate::words::thousands;

/// A quantity that follows from the settings: nobody chose it, but it may be why a configuration wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quantity {
    /// Its name in `summary.json`.
    pub(super) key: &'static str,
    /// Its name for people.
    pub(super) name: &'static str,
    /// Whether it is a count, which is shown in full.
    whole: bool,
}

const fn quantity(key: &'static str, name: &'static str, whole: bool) -> Quantity {
    Quantity { key, name, whole }
}

/// All of them, in the order in which they are told.
pub(super) const QUANTITIES: [Quantity; 12] = [
    quantity("steps", "steps", true),
    quantity("target_tokens", "tokens trained on", true),
    quantity("trained_bytes", "bytes trained on", true),
    quantity("distinct_targets", "distinct tokens", true),
    quantity("views", "times each distinct token is seen", false),
    quantity("tokens_per_step", "tokens per step", true),
    quantity("warmup_steps", "warm-up steps", true),
    quantity("flops", "FLOPs", false),
    quantity("parameters", "parameters", true),
    quantity("vocabulary", "vocabulary", true),
    quantity("native_context", "own context", true),
    quantity("stride", "stride", true),
];

/// No more decimals are shown, however near two values are.
const MOST_DECIMALS: usize = 4;

impl Quantity {
    /// 1,563; 2.3; 1.2e13.
    pub(super) fn shown(self, value: f64) -> String {
        self.with_decimals(value, 1)
    }

    /// Two values that differ, with as many decimals as tell them apart: 1.00 and 1.04.
    pub(super) fn shown_apart(self, values: [f64; 2]) -> [String; 2] {
        let shown = (1..=MOST_DECIMALS).map(|decimals| values.map(|value| self.with_decimals(value, decimals)));
        shown.clone().find(|[a, b]| a != b).unwrap_or_else(|| values.map(|value| self.shown(value)))
    }

    fn with_decimals(self, value: f64, decimals: usize) -> String {
        match value {
            v if self.whole => thousands(v.round() as i64),
            v if v >= 1e6 => format!("{v:.decimals$e}"),
            v if v >= 100.0 => thousands(v.round() as i64),
            v => format!("{v:.decimals$}"),
        }
    }
}

/// A trial with all that a comparison is controlled by.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Subject {
    pub(super) id: String,
    pub(super) configuration: i64,
    pub(super) seed: Option<i64>,
    pub(super) status: Status,
    /// Every setting and its value in words, in the program's order; the parts of a block as one.
    pub(super) settings: Vec<(String, String)>,
    /// In the order of [`QUANTITIES`]; `None` where it is not known.
    pub(super) quantities: Vec<Option<f64>>,
    /// What it learned from and was scored on.
    pub(super) content: Content,
    pub(super) program: Option<String>,
    /// Version of the program's arithmetic.
    pub(super) arithmetic: Option<i64>,
    /// `cpu`, `cuda`, `metal`: its number says nothing about results.
    pub(super) device: Option<String>,
    /// The kind of processor or GPU.
    pub(super) processor: Option<String>,
    pub(super) scored_tokens: Option<i64>,
    pub(super) common_context: Option<i64>,
    pub(super) common_stride: Option<i64>,
    pub(super) loss: Option<f64>,
    pub(super) bits_per_byte: Option<f64>,
}

impl Subject {
    /// The value of a setting, in words.
    pub(super) fn setting(&self, key: &str) -> Option<&str> {
        self.settings.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Whether a setting is what it is because another one is: windows that tile move by their length.
    pub(super) fn follows(&self, key: &str) -> bool {
        let as_another = |other: &str| self.setting(key) == self.setting(other);
        match key {
            "train.stride" => as_another("train.sequence_length"),
            "model.kv_heads" => as_another("model.heads"),
            _ => false,
        }
    }

    /// Whether it counts: complete, and scored.
    pub(super) fn counts(&self) -> bool {
        self.status == Status::Completed && self.loss.is_some()
    }
}

/// The trials, with their figures by this score (`common`, `best_native` …).
pub(super) fn subjects(trials: &Trials, score: &str) -> Result<Vec<Subject>> {
    let settings = settings(trials.frame())?;
    let subject = |(place, (row, scored)): (usize, (&TrialRow, Scored))| Subject {
        id: row.id.clone(),
        configuration: row.configuration.unwrap_or(0),
        seed: row.seed,
        status: row.status,
        settings: settings.iter().map(|(key, values)| (key.clone(), values[place].clone())).collect(),
        quantities: quantities(row),
        content: row.content.clone(),
        program: row.program.clone(),
        arithmetic: row.arithmetic,
        device: row.device.as_deref().map(|device| device.split(':').next().unwrap_or(device).to_owned()),
        processor: row.processor.clone(),
        scored_tokens: row.scored_tokens,
        common_context: row.common_context,
        common_stride: row.common_stride,
        loss: scored.loss,
        bits_per_byte: scored.bits_per_byte,
    };
    Ok(trials.rows().iter().zip(trials.scored(score)?).enumerate().map(subject).collect())
}

/// The quantities of a trial, in the order of [`QUANTITIES`].
fn quantities(row: &TrialRow) -> Vec<Option<f64>> {
    let amounts = row.amounts;
    // A budget in minutes plans no steps: what was done stands for it, where that is all.
    let done = |amount: Option<f64>| amount.filter(|_| row.status == Status::Completed);
    let (steps, tokens) = (amounts.steps.or(done(amounts.steps_done)), amounts.target_tokens.or(done(amounts.tokens_seen)));
    let bytes = || Some(tokens? * amounts.train_bytes? / amounts.train_tokens.filter(|n| *n > 0.0)?);
    vec![
        steps,
        tokens,
        bytes(),
        amounts.distinct_targets,
        amounts.views,
        amounts.tokens_per_step,
        steps.zip(amounts.warmup).map(|(steps, warmup)| (steps * warmup).round()),
        amounts.flops,
        row.parameters.map(|n| n as f64),
        row.vocabulary.map(|n| n as f64),
        amounts.sequence_length,
        amounts.stride,
    ]
}

/// Every setting with its value in each row, in words.
fn settings(frame: &DataFrame) -> Result<Vec<(String, Vec<String>)>> {
    let mut settings: Vec<(String, Vec<String>)> = Vec::new();
    for (name, _) in Settings::default().columns() {
        // A table that another version wrote may lack some.
        let Ok(column) = frame.column(name) else { continue };
        let values = in_words(column)?;
        match joined(name) {
            None => settings.push((name.replacen('_', ".", 1), values.into_iter().map(Option::unwrap_or_default).collect())),
            Some((key, join)) => {
                let place = match settings.iter().position(|(known, _)| known == key) {
                    Some(place) => place,
                    None => {
                        settings.push((key.to_owned(), vec![String::new(); frame.height()]));
                        settings.len() - 1
                    }
                };
                for (known, value) in settings[place].1.iter_mut().zip(values) {
                    join(known, value.unwrap_or_default());
                }
            }
        }
    }
    Ok(settings)
}

/// How the value of a column is added to what is known of a setting.
type Join = fn(&mut String, String);

/// How a column that is only a part of a setting adds to it: parts of a block, and the flags beside numbers.
fn joined(column: &str) -> Option<(&'static str, Join)> {
    let add: Join = |known, value| {
        if !known.is_empty() && !value.is_empty() {
            known.push('-');
        }
        known.push_str(&value);
    };
    let after: Join = |known, amount| *known = format!("{amount} {known}");
    Some(match column {
        "tokenizer_kind" | "tokenizer_vocab_size" | "tokenizer_path" => ("tokenizer", add),
        "train_budget_unit" => ("train.budget", add),
        "train_budget" => ("train.budget", after),
        "train_batch_size" => ("train.batch_size", add),
        "train_batch_size_full" => ("train.batch_size", |known, flag| flagged(known, &flag, "full")),
        "train_clip_norm" => ("train.clip_norm", add),
        "train_clip_norm_off" => ("train.clip_norm", |known, flag| flagged(known, &flag, "off")),
        _ => return None,
    })
}

fn flagged(known: &mut String, flag: &str, word: &str) {
    if flag == "yes" {
        *known = word.to_owned();
    }
}

/// The cells of a column as a person writes them.
fn in_words(column: &Column) -> Result<Vec<Option<String>>> {
    match column.dtype() {
        DataType::Boolean => {
            let flags = column.bool().map_err(wrong)?;
            Ok(flags.iter().map(|v| v.map(|flag| if flag { "yes" } else { "no" }.to_owned())).collect())
        }
        DataType::Float64 => {
            let values = column.f64().map_err(wrong)?;
            Ok(values.iter().map(|v| v.map(number)).collect())
        }
        DataType::String => Ok(column.str().map_err(wrong)?.iter().map(|v| v.map(str::to_owned)).collect()),
        _ => {
            let values = column.cast(&DataType::Int64).map_err(wrong)?;
            Ok(values.i64().map_err(wrong)?.iter().map(|v| v.map(|n| n.to_string())).collect())
        }
    }
}

/// 0.001, 20000, 1e-8.
fn number(value: f64) -> String {
    if value != 0.0 && (value.abs() < 1e-3 || value.abs() >= 1e9) { format!("{value:e}") } else { value.to_string() }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::experiment::settings::{BatchSize, ClipNorm, Tokenizer};
    use crate::plan::Plan;
    use crate::record::tests::{completed, plan, waiting};
    use crate::record::{TrialState, write_trials};
    use crate::report::frames;

    /// The subjects of a plan whose trials came to this.
    pub(in crate::report) fn of(plan: &Plan, states: &[TrialState]) -> Vec<Subject> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trials.parquet");
        write_trials(&path, plan, states).unwrap();
        subjects(&Trials::of(frames::read(&path, None).unwrap()).unwrap(), "common").unwrap()
    }

    #[test]
    fn settings_are_read_back_in_words_and_blocks_are_one() {
        let mut plan = plan(&[32, 64], &[ClipNorm::Off, ClipNorm::At(0.5)], &[1]);
        plan.trials[0].settings.tokenizer = Tokenizer::Bpe { vocab_size: 512 };
        plan.trials[1].settings.train.batch_size = BatchSize::Full;
        plan.trials[1].settings.train.learning_rate = 3e-5;
        let states = [completed(2.0, None), waiting(), waiting(), waiting()];
        let subjects = of(&plan, &states);
        let said = |row: usize, key: &str| subjects[row].setting(key).unwrap().to_owned();
        assert_eq!([said(0, "tokenizer"), said(1, "tokenizer")], ["bpe-512", "char"]);
        assert_eq!([said(0, "train.clip_norm"), said(1, "train.clip_norm")], ["off", "0.5"]);
        assert_eq!([said(0, "train.batch_size"), said(1, "train.batch_size")], ["16", "full"]);
        assert_eq!([said(0, "train.learning_rate"), said(1, "train.learning_rate")], ["0.001", "3e-5"]);
        assert!(said(0, "train.budget").ends_with("tokens"), "{}", said(0, "train.budget"));
        assert_eq!(said(0, "model.tied"), "yes");
        assert!(subjects[0].setting("train.clip_norm_off").is_none() && subjects[0].setting("tokenizer.kind").is_none());
        assert!(subjects[0].counts() && !subjects[1].counts());
    }

    #[test]
    fn quantities_follow_from_the_plan_and_from_what_was_done_where_the_budget_is_a_time() {
        let mut plan = plan(&[32], &[ClipNorm::Off], &[1, 2, 3]);
        for trial in &mut plan.trials {
            trial.facts.target_tokens = 6_400;
            (trial.facts.train_bytes, trial.facts.train_tokens) = (3_000, 1_000);
        }
        for trial in &mut plan.trials[1..] {
            (trial.facts.steps, trial.facts.target_tokens) = (0, 0);
        }
        let mut failed = completed(2.0, None);
        failed.status = Status::Failed;
        let subjects = of(&plan, &[completed(2.0, None), completed(2.0, None), failed]);
        let value = |row: usize, key: &str| {
            let place = QUANTITIES.iter().position(|q| q.key == key).unwrap();
            subjects[row].quantities[place]
        };
        for row in [0, 1] {
            assert_eq!((value(row, "steps"), value(row, "target_tokens")), (Some(100.0), Some(6_400.0)));
            assert_eq!((value(row, "trained_bytes"), value(row, "warmup_steps")), (Some(19_200.0), Some(5.0)));
            assert_eq!(value(row, "native_context"), Some(32.0));
        }
        assert_eq!(["steps", "target_tokens", "trained_bytes"].map(|key| value(2, key)), [None; 3], "it ended early");
    }

    #[test]
    fn quantities_are_shown_as_people_write_them() {
        let shown = |key: &str, value: f64| QUANTITIES.iter().find(|q| q.key == key).unwrap().shown(value);
        assert_eq!([shown("steps", 1562.0), shown("views", 2.345), shown("views", 1234.0)], ["1,562", "2.3", "1,234"]);
        assert_eq!(shown("flops", 1.234e13), "1.2e13");
        let apart = |key: &str, values| QUANTITIES.iter().find(|q| q.key == key).unwrap().shown_apart(values);
        assert_eq!(apart("views", [1.04, 1.0]), ["1.04", "1.00"]);
        assert_eq!(apart("views", [1.3, 1.0]), ["1.3", "1.0"]);
        assert_eq!(apart("flops", [5.06e10, 5.12e10]), ["5.06e10", "5.12e10"].map(str::to_owned).map(|s| s));
        assert_eq!(apart("views", [1.0, 1.0]), ["1.0", "1.0"]);
    }
}
