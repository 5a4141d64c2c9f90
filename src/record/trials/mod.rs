//! The two tables of a whole experiment: what is planned, and what became of it.

mod cell;
mod planned;
mod scores;
mod state;

use std::path::Path;

use super::schema::{Column, Schema};
use super::table::Table;
use crate::error::Result;
use crate::experiment::settings::Settings;
use crate::plan::{Facts, Plan, Trial, TrialId};
use cell::NamedCell;
use planned::plan_cells;
use state::state_cells;

pub use planned::{Planned, swept_column};
pub use state::TrialState;

/// Writes `plan.parquet`: a row a trial.
pub fn write_plan(path: &Path, plan: &Plan) -> Result<()> {
    let mut table = Table::new(plan_schema(plan), plan.trials.len());
    for trial in &plan.trials {
        table.push(plan_cells(plan, trial).into_iter().map(|(_, _, value)| value));
    }
    table.write(path, None).map(drop)
}

/// Writes `trials.parquet`: the plan's columns and what became of each trial. `states` are in the order of the plan.
pub fn write_trials(path: &Path, plan: &Plan, states: &[TrialState]) -> Result<()> {
    let mut table = Table::new(trials_schema(plan), plan.trials.len());
    for (trial, state) in plan.trials.iter().zip(states) {
        let cells = plan_cells(plan, trial).into_iter().chain(state_cells(Planned::of(plan, trial), state));
        table.push(cells.map(|(_, _, value)| value));
    }
    table.write(path, None).map(drop)
}

/// The columns that `trials.parquet` adds to those of `plan.parquet`, as the content of a Parquet file: for who has read the plan
/// and wants to know how its trials stand now.
pub fn states_as_parquet(trials: &[(Planned, TrialState)]) -> Result<Vec<u8>> {
    let blank = Planned { sequence_length: 0, common_context: 0, validation_tokens: 0, validation_words: 0, test_tokens: 0 };
    let schema = Schema { name: "states", row: "a trial", columns: columns(state_cells(blank, &TrialState::waiting())) };
    let mut table = Table::new(schema, trials.len());
    for (planned, state) in trials {
        table.push(state_cells(*planned, state).into_iter().map(|(_, _, value)| value));
    }
    table.to_bytes()
}

/// The columns of `plan.parquet`: id, configuration, seed, a column `swept_…` with the value as a person writes it for each swept key,
/// each setting, and each planned figure.
pub fn plan_schema(plan: &Plan) -> Schema {
    Schema { name: "plan", row: "a trial", columns: columns(plan_cells(plan, &blank(plan))) }
}

/// The columns of `trials.parquet`: those of the plan, then status, times and final figures.
pub fn trials_schema(plan: &Plan) -> Schema {
    let blank = blank(plan);
    let states = state_cells(Planned::of(plan, &blank), &TrialState::waiting());
    let cells = plan_cells(plan, &blank).into_iter().chain(states).collect();
    Schema { name: "trials", row: "a trial", columns: columns(cells) }
}

fn columns(cells: Vec<NamedCell>) -> Vec<Column> {
    cells.into_iter().map(|(name, kind, _)| Column::new(name, kind)).collect()
}

/// A trial whose only use is that its cells have the names and types of every other's.
fn blank(plan: &Plan) -> Trial {
    Trial {
        id: TrialId::of(""),
        configuration: 0,
        seed: 0,
        values: vec![String::new(); plan.swept.len()],
        settings: Settings::default(),
        facts: Facts::default(),
        from: None,
    }
}

#[cfg(test)]
pub(crate) mod tests;
