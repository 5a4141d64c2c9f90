//! The rules that take combinations out.

use super::expanding::Expanding;
use crate::experiment::columns::Cell;
use crate::experiment::expression::{Datum, Trouble, Values};
use crate::experiment::problem::Problem;
use crate::experiment::settings::Settings;

impl Expanding<'_, '_> {
    /// Whether a rule takes this combination out.
    pub(super) fn excluded(&mut self, settings: &Settings, columns: &[(&'static str, Cell)], own: &[Datum]) -> bool {
        let mut excluded = false;
        let experiment = self.experiment;
        for (index, rule) in experiment.excludes.iter().enumerate() {
            // A rule is only asked on once it is known to match something, unless it decides.
            if excluded && self.matched[index] {
                continue;
            }
            let surroundings = &mut *self.surroundings;
            let mut full = || surroundings.windows(settings).map(|n| n as f64);
            let mut values = Values { columns, own, full: &mut full };
            match rule.program.evaluate(&mut values) {
                Ok(Datum::Boolean(true)) => {
                    self.matched[index] = true;
                    self.counts[index] += u64::from(!excluded);
                    excluded = true;
                }
                Ok(_) => {}
                Err(Trouble::Unknown) => self.undecided[index] = true,
                Err(Trouble::Failed(why)) => {
                    let read = rule.program.context(&mut values);
                    let message = format!("`{}` cannot be decided{read}: {why}", rule.program.text());
                    self.problem(Problem::error(message).key("when").at(&rule.place));
                    return true;
                }
            }
        }
        excluded
    }
}
