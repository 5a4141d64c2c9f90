//! What can only be said when all has been read.

use std::sync::Arc;

use super::Reader;
use crate::experiment::check;
use crate::experiment::definition::Experiment;
use crate::experiment::expression::Program;
use crate::experiment::keys;
use crate::experiment::problem::{Problem, Severity};

impl Reader {
    /// Settings without a default.
    pub(super) fn required(&mut self, experiment: &Experiment) {
        for (key, help) in [
            ("corpus.text", "write `corpus: {text: builtin:keeper}`, or a path beside the file"),
            (
                "train.budget",
                "write `train: {budget: {tokens: 1_000_000}}`, or an amount of `bytes`, `steps`, `epochs` or `minutes`",
            ),
        ] {
            // One value that stands for a whole section was meant for something in it.
            let section = key.split('.').next();
            let tried = self.problems.iter().filter(|p| p.severity == Severity::Error).any(|p| {
                let about = p.key.as_deref().map(keys::whole_setting);
                about == Some(key) || about == section
            });
            let offered = self.problems.iter().any(|p| p.help.as_ref().is_some_and(|help| help.contains(&format!("`{key}`"))));
            if !tried && !offered && !experiment.always_sets(key) {
                self.add(Problem::error(format!("`{key}` is not set")).key(key).help(help));
            }
        }
    }

    /// Base settings that do not go together, where no axis can help.
    pub(super) fn base_conflicts(&mut self, experiment: &Experiment) {
        if self.problems.iter().any(|p| p.severity == Severity::Error && p.key.as_deref().is_some_and(keys::exists)) {
            return;
        }
        for conflict in check::conflicts(&experiment.base) {
            let varies = |key: &str| experiment.targets.iter().any(|t| keys::whole_setting(&t.key) == key);
            let missing = |key: &str| !experiment.written.contains_key(key) && matches!(key, "corpus.text" | "train.budget");
            if conflict.keys.iter().any(|key| varies(key) || missing(key)) {
                continue;
            }
            let place = conflict.keys.iter().find_map(|key| experiment.written.get(*key)).map(|written| &written.place);
            let problem = Problem::error(conflict.message).key(conflict.keys[0]).maybe_help(conflict.help);
            self.add(match place {
                Some(place) => problem.at(place),
                None => problem,
            });
        }
    }

    /// Names of one's own that no expression reads.
    pub(super) fn unread(&mut self, experiment: &Experiment) {
        let programs: Vec<&Arc<Program>> =
            experiment.derives.iter().map(|d| &d.program).chain(experiment.excludes.iter().map(|e| &e.program)).collect();
        for (index, own) in experiment.own.iter().enumerate() {
            if !programs.iter().any(|program| program.own().any(|read| read == index)) {
                let axis = experiment.targets.iter().any(|t| t.own == Some(index));
                let what = if axis { "the axis" } else { "the name" };
                let problem = Problem::warning(format!("nothing reads {what} `{}`", own.name)).at(&own.place);
                self.add(problem.help(format!("use it in `derive`: `train.learning_rate: {} * 2`", own.name)));
            }
        }
    }
}
