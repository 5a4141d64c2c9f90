//! The best configuration: where its weights lie, and the commands that go on from it.

use std::path::{Path, PathBuf};

use super::comparison::Comparison;
use crate::plan::TrialId;
use crate::runs::{ExperimentFolder, Status, list_checkpoints};

/// The best configuration of an experiment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Winner {
    /// Number of its configuration, as commands take it.
    pub configuration: i64,
    /// What it is called in every command: the experiment's folder and its number.
    name: String,
    /// The final weights of its first trial that has some.
    weights: Option<PathBuf>,
}

impl Winner {
    /// The best of the ranking; `None` where nothing is ranked.
    pub(super) fn of(folder: &ExperimentFolder, comparison: &Comparison) -> Option<Self> {
        let best = comparison.best()?;
        let complete = comparison.trials.iter().filter(|t| t.configuration == best.number && t.status == Status::Completed);
        // What was not trained itself left its weights with the trial that was.
        let ids =
            complete.flat_map(|trial| std::iter::once(&trial.id).chain(&trial.alias_of)).filter_map(|id| TrialId::parse(id));
        let newest = |id: TrialId| Some(list_checkpoints(&folder.trial(&id).checkpoints()).ok()?.pop()?.1);
        let name = quoted(&format!("{}#{}", folder.path().display(), best.number));
        Some(Self { configuration: best.number, name, weights: ids.into_iter().find_map(newest) })
    }

    /// The folder of its weights, which Hugging Face's `transformers` loads.
    pub fn weights(&self) -> Option<&Path> {
        self.weights.as_deref()
    }

    /// Lets it write.
    pub fn sample(&self) -> Option<String> {
        self.weights.as_ref().map(|_| format!("votive sample {} --prompt 'Once'", self.name))
    }

    /// Prints its settings as a file of its own.
    pub fn show(&self) -> String {
        format!("votive show {}", self.name)
    }

    /// Keeps its settings in a file that can be trained longer by [`Winner::RUN`].
    pub(super) fn keep(&self) -> String {
        format!("{} > longer.yaml", self.show())
    }

    /// Trains what [`Winner::keep`] wrote.
    pub(super) const RUN: &str = "votive run longer.yaml";
}

/// A path as a shell takes it.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%,:=#".contains(c);
    let is_plain = !text.is_empty() && text.chars().all(plain) && !text.starts_with(['-', '#']);
    if is_plain { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_quoted_where_a_shell_would_take_it_apart() {
        assert_eq!(quoted("runs/a-1.b#3"), "runs/a-1.b#3");
        assert_eq!(quoted("my runs/it's#1"), r"'my runs/it'\''s#1'");
        assert_eq!([quoted("#1"), quoted("-x#1")], ["'#1'", "'-x#1'"]);
    }
}
