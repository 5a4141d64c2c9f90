//! The table of trials: the plan, and how each trial stands now by what its folder says.
//!
//! It has the columns of `trials.parquet`, which a run rewrites only now and then: while trials run that file is some moments old,
//! and it is gone or damaged more easily than the folders that it is derived from. It is read where there is nothing else: tables
//! that were copied somewhere without the folders of their trials, or a damaged plan.

use polars::prelude::{BooleanChunked, DataFrame, NewChunkedArray};

use super::content;
use super::frames::{self, integers, numbers, words, wrong};
use super::trial_row::{TrialRow, rows};
use crate::error::{Error, Kind, Result};
use crate::plan::TrialId;
use crate::record::{Planned, TrialState, states_as_parquet, swept_column};
use crate::runs::{ExperimentFolder, State, probed_memory, states_of};

/// The trials of an experiment, in the order of the plan.
#[derive(Debug, Clone)]
pub(super) struct Trials {
    rows: Vec<TrialRow>,
    /// The whole table: which settings and swept values it has depends on the experiment.
    frame: DataFrame,
}

/// The figures of a trial by one score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scored {
    /// Mean loss a token, nats.
    pub(super) loss: Option<f64>,
    pub(super) perplexity: Option<f64>,
    pub(super) bits_per_byte: Option<f64>,
}

impl Trials {
    /// Reads them; damaged files are listed. `context` is the common context, where it is known.
    ///
    /// # Errors
    /// Of kind [`Kind::Nothing`] where there is neither a plan nor a table.
    pub(super) fn read(folder: &ExperimentFolder, context: Option<usize>, damaged: &mut Vec<String>) -> Result<Self> {
        Self::of(table(folder, context, damaged)?)
    }

    /// Those of a table.
    pub(super) fn of(frame: DataFrame) -> Result<Self> {
        Ok(Self { rows: rows(&frame)?, frame })
    }

    /// What is known of each.
    pub(super) fn rows(&self) -> &[TrialRow] {
        &self.rows
    }

    /// The whole table.
    pub(super) fn frame(&self) -> &DataFrame {
        &self.frame
    }

    /// The names of the table's columns.
    pub(super) fn columns(&self) -> impl Iterator<Item = &str> {
        self.frame.get_column_names().into_iter().map(|name| name.as_str())
    }

    /// The table of those trials for which this holds.
    pub(super) fn only(&self, counts: impl Fn(&TrialRow) -> bool) -> Result<DataFrame> {
        let mask = BooleanChunked::from_iter_values("".into(), self.rows.iter().map(counts));
        self.frame.filter(&mask).map_err(wrong)
    }

    /// Each trial's figures by this score (`common`, `best_native` …).
    pub(super) fn scored(&self, score: &str) -> Result<Vec<Scored>> {
        let column = |unit: &str| numbers(&self.frame, &format!("{score}_{unit}"));
        let units = column("loss")?.into_iter().zip(column("perplexity")?).zip(column("bits_per_byte")?);
        Ok(units.map(|((loss, perplexity), bits_per_byte)| Scored { loss, perplexity, bits_per_byte }).collect())
    }

    /// Each trial's values of these swept keys.
    pub(super) fn swept(&self, keys: &[String]) -> Result<Vec<Vec<String>>> {
        let columns = keys.iter().map(|key| words(&self.frame, &swept_column(key))).collect::<Result<Vec<_>>>()?;
        let of = |row: usize| columns.iter().map(|column| column[row].clone().unwrap_or_default()).collect();
        Ok((0..self.rows.len()).map(of).collect())
    }
}

fn table(folder: &ExperimentFolder, context: Option<usize>, damaged: &mut Vec<String>) -> Result<DataFrame> {
    let (plan, table) = (folder.plan_parquet(), folder.trials_parquet());
    let mut read = |path: &std::path::Path| match frames::read(path, None) {
        Ok(frame) => Some(frame),
        Err(error) => {
            damaged.push(error.chain());
            None
        }
    };
    let planned = if plan.exists() { read(&plan) } else { None };
    if let Some(planned) = planned.as_ref().filter(|_| folder.trials().is_dir()) {
        return as_they_stand(folder, context, planned);
    }
    if table.exists()
        && let Some(table) = read(&table)
    {
        return content::with_contents(table, folder);
    }
    if let Some(planned) = planned {
        return as_they_stand(folder, context, &planned);
    }
    let path = folder.path().display();
    let error = match damaged.first() {
        Some(reason) => Error::data(format!("there is nothing to report in {path}")).caused_by(reason.clone()),
        None => Error::new(Kind::Nothing, format!("there is nothing to report in {path}")),
    };
    Err(error.help("run the experiment first: `votive run FILE`"))
}

/// The plan with what the folders of its trials say.
fn as_they_stand(folder: &ExperimentFolder, context: Option<usize>, plan: &DataFrame) -> Result<DataFrame> {
    let ids = words(plan, "trial_id")?;
    // A plan of an older version may lack a column.
    let column = |name: &str| integers(plan, name).unwrap_or_else(|_| vec![None; plan.height()]);
    let count = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok()).unwrap_or(0);
    let lengths = column("train_sequence_length");
    let (tokens, text, test) = (column("validation_tokens"), column("validation_words"), column("test_tokens"));
    let smallest = || lengths.iter().map(|&length| count(length)).min().unwrap_or(0);
    let context = context.map_or_else(smallest, |context| context as u64);
    let probed = probed_memory(folder);
    let unnamed = || Error::data(format!("{} names no trial in a row", folder.plan_parquet().display()));
    let id = |id: Option<String>| id.as_deref().and_then(TrialId::parse).ok_or_else(unnamed);
    let ids = ids.into_iter().map(id).collect::<Result<Vec<TrialId>>>()?;
    let states = states_of(folder, &ids.iter().collect::<Vec<_>>());
    let state = |(row, state): (usize, State)| {
        let planned = Planned {
            sequence_length: count(lengths[row]),
            common_context: context,
            validation_tokens: count(tokens[row]),
            validation_words: count(text[row]),
            test_tokens: count(test[row]),
        };
        (planned, TrialState { probed_memory_bytes: probed.get(&ids[row]).copied(), ..state.into() })
    };
    let states: Vec<(Planned, TrialState)> = states.into_iter().enumerate().map(state).collect();
    let states = frames::from_bytes(states_as_parquet(&states)?)?;
    content::with_contents(plan.hstack(states.columns()).map_err(wrong)?, folder)
}
