//! Settings and planned figures of the configurations: which differ, and which are the same everywhere.

use std::collections::BTreeMap;

use super::frames::shown;
use super::trials::Trials;
use crate::error::Result;
use crate::report::wording;
use crate::words;

/// What the table of trials says about a trial, not about what is varied; and where its results begin.
const NOT_SETTINGS: [&str; 6] = ["trial_id", "configuration", "seed", "text_hash", "validation_hash", "tokenizer_hash"];
const RESULTS: &str = "status";

/// Settings and planned figures of each configuration, as text.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Settings {
    /// The place of each configuration in the columns.
    rows: BTreeMap<i64, usize>,
    columns: Vec<Column>,
}

#[derive(Debug, Clone, PartialEq)]
struct Column {
    /// In the Parquet files.
    name: String,
    values: Vec<String>,
}

impl Settings {
    /// Reads them from the table of trials.
    pub(super) fn read(trials: &Trials) -> Result<Self> {
        let mut rows = BTreeMap::new();
        let mut first = Vec::new();
        for (row, trial) in trials.rows().iter().enumerate() {
            let Some(number) = trial.configuration else { continue };
            rows.entry(number).or_insert_with(|| {
                first.push(row);
                first.len() - 1
            });
        }
        let names: Vec<&str> = trials
            .columns()
            .take_while(|name| *name != RESULTS)
            .filter(|name| !NOT_SETTINGS.contains(name) && !name.starts_with("swept_"))
            .collect();
        let mut columns: Vec<Column> = Vec::new();
        for name in names {
            let all = shown(trials.frame(), name)?;
            let values: Vec<String> = first.iter().map(|&row| all[row].clone()).collect();
            // `off` and `full` are no number, with a column beside it that says so.
            let flag = ["off", "full"].into_iter().find_map(|word| Some((name.strip_suffix(word)?.strip_suffix('_')?, word)));
            let flagged = flag.and_then(|(of, word)| Some((columns.iter_mut().find(|c| c.name == of)?, word)));
            match flagged {
                Some((column, word)) => set(&mut column.values, &values, word),
                None => columns.push(Column { name: name.to_owned(), values }),
            }
        }
        Ok(Self { rows, columns })
    }

    /// The value of a column as a number.
    pub(super) fn number(&self, configuration: i64, column: &str) -> Option<f64> {
        self.cell(configuration, column)?.parse().ok()
    }

    /// The value of a column as people read it.
    pub(super) fn shown(&self, configuration: i64, column: &str) -> Option<String> {
        self.cell(configuration, column).map(readable)
    }

    /// The values of all columns but this one, in their order.
    pub(super) fn beside(&self, configuration: i64, column: &str) -> Option<Vec<&str>> {
        let row = *self.rows.get(&configuration)?;
        Some(self.columns.iter().filter(|c| c.name != column).map(|c| c.values[row].as_str()).collect())
    }

    fn cell(&self, configuration: i64, column: &str) -> Option<&str> {
        let row = *self.rows.get(&configuration)?;
        Some(&self.columns.iter().find(|c| c.name == column)?.values[row])
    }

    /// Names of the columns whose values differ between configurations.
    pub(super) fn differing(&self) -> Vec<&str> {
        self.columns.iter().filter(|c| !is_same(&c.values)).map(|c| c.name.as_str()).collect()
    }

    /// What is the same everywhere and not empty, with its value.
    pub(super) fn same(&self) -> Vec<(String, String)> {
        let same = self.columns.iter().filter(|c| is_same(&c.values));
        let pair = |c: &Column| Some((heading(&c.name), readable(c.values.first().filter(|value| !value.is_empty())?)));
        same.filter_map(pair).collect()
    }
}

fn is_same(values: &[String]) -> bool {
    values.windows(2).all(|pair| pair[0] == pair[1])
}

fn set(values: &mut [String], flags: &[String], word: &str) {
    for (value, flag) in values.iter_mut().zip(flags) {
        if flag == "yes" {
            word.clone_into(value);
        }
    }
}

/// `train_clip_norm` as `train.clip_norm`, `steps_per_epoch` as `steps per epoch`.
pub(super) fn heading(column: &str) -> String {
    match column.split_once('_') {
        Some((part @ ("corpus" | "tokenizer" | "model" | "train"), rest)) if !["tokens", "bytes"].contains(&rest) => {
            format!("{part}.{rest}")
        }
        _ => column.replace('_', " "),
    }
}

/// A number as people read it; anything else as it is.
fn readable(text: &str) -> String {
    match (text.parse::<i64>(), text.parse::<f64>()) {
        (Ok(whole), _) => words::thousands(whole),
        (_, Ok(number)) if number.is_finite() && (number.abs() >= 1e7 || (number != 0.0 && number.abs() < 1e-4)) => {
            let text = format!("{number:.*e}", DIGITS - 1);
            let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
            format!("{}e{power}", shortest(digits))
        }
        (_, Ok(number)) if number.is_finite() => {
            let leading_zeros = if number == 0.0 { 0 } else { (-number.abs().log10().floor()).max(1.0) as usize - 1 };
            shortest(&format!("{number:.*}", DIGITS + leading_zeros)).to_owned()
        }
        _ => wording::plain(text),
    }
}

/// Digits of a number that are shown at most, and its decimals where it is 1 or more.
const DIGITS: usize = 6;

/// Decimals without the zeros at their end.
fn shortest(text: &str) -> &str {
    text.trim_end_matches('0').trim_end_matches('.')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::settings::ClipNorm;
    use crate::record::tests::{completed, plan};
    use crate::record::write_trials;

    #[test]
    fn settings_that_differ_are_told_from_those_that_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trials.parquet");
        let plan = plan(&[32, 64], &[ClipNorm::Off, ClipNorm::At(0.5)], &[1]);
        write_trials(&path, &plan, &[1.0, 1.1, 1.2, 1.3].map(|loss| completed(loss, None))).unwrap();
        let settings = Settings::read(&Trials::of(crate::report::frames::read(&path, None).unwrap()).unwrap()).unwrap();
        let differing = settings.differing();
        assert!(differing.contains(&"train_sequence_length") && differing.contains(&"train_clip_norm"), "{differing:?}");
        assert!(!differing.iter().any(|name| name.contains("perplexity") || name.contains("_off") || name.contains("swept")));
        assert_eq!(settings.shown(1, "train_clip_norm").as_deref(), Some("off"));
        assert_eq!((settings.number(1, "train_clip_norm"), settings.number(2, "train_clip_norm")), (None, Some(0.5)));
        let same = settings.same();
        assert!(same.contains(&("vocabulary".to_owned(), "61".to_owned())), "{same:?}");
        assert!(same.iter().any(|(name, _)| name == "model.family"), "{same:?}");
    }

    #[test]
    fn numbers_are_readable() {
        for (text, expected) in [
            ("450000", "450,000"),
            ("0.001", "0.001"),
            ("0.000375", "0.000375"),
            ("0.3333333333333333", "0.333333"),
            ("-0.0125", "-0.0125"),
            ("0.00000001", "1e-8"),
            ("0.0000123456789", "1.23457e-5"),
            ("1234567890.5", "1.23457e9"),
            ("12.5", "12.5"),
            ("0.0", "0"),
            ("off", "off"),
            ("2", "2"),
        ] {
            assert_eq!(readable(text), expected);
        }
        assert_eq!(
            [heading("train_clip_norm"), heading("train_tokens"), heading("steps_per_epoch")],
            ["train.clip_norm", "train tokens", "steps per epoch"]
        );
    }
}
