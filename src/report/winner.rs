//! The best configuration: where its weights lie, and the commands that go on from it.

use std::path::{Path, PathBuf};

use super::comparison::Comparison;
use crate::experiment::settings::RankAt;
use crate::plan::TrialId;
use crate::rows::CheckpointKind;
use crate::runs::{ExperimentFolder, Status, list_checkpoints};

/// The best configuration of an experiment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Winner {
    /// Number of its configuration, as commands take it.
    pub configuration: i64,
    /// What it is called in every command: the experiment's folder and its number.
    name: String,
    /// Which weights rank.
    rank_at: RankAt,
    weights: Option<Weights>,
}

/// Weights that a trial left.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Weights {
    folder: PathBuf,
    kind: CheckpointKind,
}

impl Winner {
    /// The best of the ranking; `None` where nothing is ranked.
    pub(super) fn of(folder: &ExperimentFolder, comparison: &Comparison, rank_at: RankAt) -> Option<Self> {
        let best = comparison.best()?;
        let name = quoted(&format!("{}#{}", folder.path().display(), best.number));
        let weights = weights_of(folder, comparison, best.number, rank_at);
        Some(Self { configuration: best.number, name, rank_at, weights })
    }

    /// The folder of its weights, which Hugging Face's `transformers` loads: of those that rank, or of the final ones where those are
    /// gone.
    pub fn weights(&self) -> Option<&Path> {
        self.weights.as_ref().map(|weights| weights.folder.as_path())
    }

    /// What those weights are: `final` or `best`; `None` where there are none.
    pub fn weights_are(&self) -> Option<&'static str> {
        self.weights.as_ref().map(|weights| weights.kind.name())
    }

    /// Whether the weights that rank are gone, so that others stand for them.
    pub fn has_lost_the_ranked(&self) -> bool {
        self.rank_at == RankAt::Best && self.weights.as_ref().is_some_and(|weights| weights.kind == CheckpointKind::Final)
    }

    /// Lets those weights write.
    pub fn sample(&self) -> Option<String> {
        let which = if self.weights.as_ref()?.kind == CheckpointKind::Best { " --checkpoint best" } else { "" };
        Some(format!("votive sample {}{which} --prompt 'Once'", self.name))
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

/// The weights of a configuration that rank, of its first complete trial that has them; its final ones where no trial has.
fn weights_of(folder: &ExperimentFolder, comparison: &Comparison, configuration: i64, rank_at: RankAt) -> Option<Weights> {
    let complete = comparison.trials.iter().filter(|t| t.configuration == configuration && t.status == Status::Completed);
    // What was not trained itself left its weights with the trial that was.
    let ids = complete.flat_map(|trial| std::iter::once(&trial.id).chain(&trial.alias_of).map(|id| (trial.best_step, id)));
    let left = |(best_step, id): (Option<i64>, &String)| {
        let checkpoints = list_checkpoints(&folder.trial(&TrialId::parse(id)?).checkpoints()).ok()?;
        Some((best_step.and_then(|step| u64::try_from(step).ok()), checkpoints))
    };
    let left: Vec<_> = ids.filter_map(left).collect();
    let best = || {
        let at = |(step, checkpoints): &(Option<u64>, Vec<(u64, PathBuf)>)| {
            checkpoints.iter().find(|(there, _)| Some(*there) == *step).map(|(_, folder)| folder.clone())
        };
        Some(Weights { folder: left.iter().find_map(at)?, kind: CheckpointKind::Best })
    };
    let last = || {
        let folder = left.iter().find_map(|(_, checkpoints)| checkpoints.last())?.1.clone();
        Some(Weights { folder, kind: CheckpointKind::Final })
    };
    if rank_at == RankAt::Best { best().or_else(last) } else { last() }
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
    use crate::experiment::settings::ClipNorm;
    use crate::record::tests::{completed, plan};
    use crate::report::files::markdown;
    use crate::report::page;
    use crate::report::tests::night;
    use crate::rows::EvaluationRow;
    use crate::runs::checkpoint_name;

    const AT_BEST: &str = r#"{"evaluate": {"rank_at": "best"}}"#;

    #[test]
    fn the_weights_are_those_that_rank_and_where_they_are_gone_that_is_said() {
        let plan = plan(&[32], &[ClipNorm::Off], &[1]);
        // The end of the budget is step 100, and step 60 was better.
        let mut state = completed(2.0, None);
        let scores = &mut state.outcome.as_mut().unwrap().scores;
        let best = EvaluationRow { kind: CheckpointKind::Best, step: 60, nll_sum: Some(1500.0), ..scores[0].clone() };
        scores.push(best);
        for (json, kept, step, which, lost) in [
            (AT_BEST, [60, 100].as_slice(), 60, "best", false),
            (AT_BEST, &[100], 100, "final", true),
            ("{}", &[60, 100], 100, "final", false),
        ] {
            let night = night(&plan, &[state.clone()], json);
            let checkpoints = night.folder.trial(&plan.trials[0].id).checkpoints();
            for step in kept {
                std::fs::create_dir_all(checkpoints.join(checkpoint_name(*step))).unwrap();
            }
            let report = night.report();
            let winner = report.winner().unwrap();
            assert_eq!(winner.weights(), Some(checkpoints.join(checkpoint_name(step)).as_path()), "{json} {kept:?}");
            assert_eq!((winner.weights_are(), winner.has_lost_the_ranked()), (Some(which), lost), "{json} {kept:?}");
            assert_eq!(winner.sample().unwrap().contains("#1 --checkpoint best --prompt"), which == "best", "{json} {kept:?}");
            let (text, page) = (markdown(&report), page::html(&report).unwrap());
            assert!(text.contains(&format!("The {which} weights,")) && page.contains(&format!("<dt>{which} weights</dt>")));
            assert_eq!((text.contains("which rank, were not kept"), page.contains("which rank, were not kept")), (lost, lost));
        }
    }

    #[test]
    fn a_path_is_quoted_where_a_shell_would_take_it_apart() {
        assert_eq!(quoted("runs/a-1.b#3"), "runs/a-1.b#3");
        assert_eq!(quoted("my runs/it's#1"), r"'my runs/it'\''s#1'");
        assert_eq!([quoted("#1"), quoted("-x#1")], ["'#1'", "'-x#1'"]);
    }
}
