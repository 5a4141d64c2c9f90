//! The end of an expansion: what is wrong with all of it, and what is probably not meant.

use super::expanding::Expanding;
use super::expansion::{Excluded, Expansion};
use crate::experiment::held_out::may_have_rows;
use crate::experiment::problem::{Problem, Problems};
use crate::experiment::settings::{Family, Schedule, Settings};
use crate::words::thousands;

impl Expanding<'_, '_> {
    pub(super) fn finish(mut self, combinations: u64) -> Result<Expansion, Problems> {
        let experiment = self.experiment;
        if self.problems.is_empty() && self.configurations.is_empty() {
            let problem = Problem::error(format!("no trial is left: all {} combinations are excluded", thousands(combinations)));
            let place =
                experiment.excludes.iter().zip(&self.counts).max_by_key(|(_, count)| **count).map(|(rule, _)| rule.place.clone());
            self.problems.push(problem.help("loosen a rule under `exclude`").maybe_at(place));
        }
        if !self.problems.is_empty() {
            if self.more_problems > 0 {
                self.problems.push(Problem::error(format!("and {} more like these", self.more_problems)));
            }
            return Err(Problems { file: experiment.file.clone(), list: self.problems });
        }
        if let Some(problem) = self.too_long_a_context() {
            return Err(Problems::one(&experiment.file, problem));
        }
        let mut warnings = self.warnings();
        warnings.append(&mut self.remarks);
        let excluded = experiment.excludes.iter().zip(&self.counts);
        Ok(Expansion {
            swept: experiment.targets.iter().map(|target| target.key.clone()).collect(),
            combinations,
            excluded: excluded
                .map(|(rule, &count)| Excluded { when: rule.program.text().to_owned(), why: rule.why.clone(), count })
                .collect(),
            merged: self.merged,
            warnings,
            configurations: self.configurations,
        })
    }

    /// What is wrong with a common context that is longer than what a model learned.
    fn too_long_a_context(&self) -> Option<Problem> {
        let experiment = self.experiment;
        let smallest = self.configurations.iter().map(|c| c.settings.train.sequence_length).min().unwrap_or(usize::MAX);
        let context = experiment.base.evaluate.context.filter(|&context| context > smallest)?;
        let key = "evaluate.context";
        let problem = Problem::error(format!(
            "`{key}` is {context}, and the smallest sequence length is {smallest}: no model is scored in windows longer than \
             it learned"
        ));
        let problem = problem.key(key).help(format!("set `{key}` to at most {smallest}"));
        Some(problem.maybe_at(experiment.written.get(key).map(|written| written.place.clone())))
    }

    fn warnings(&self) -> Vec<Problem> {
        let experiment = self.experiment;
        let mut warnings = Vec::new();
        for (index, rule) in experiment.excludes.iter().enumerate() {
            if !self.matched[index] && !self.undecided[index] {
                let problem = Problem::warning(format!("the rule `{}` excludes nothing", rule.program.text())).key("when");
                warnings.push(problem.at(&rule.place).help("take it out, or check its numbers"));
            }
        }
        let all = |test: fn(&Settings) -> bool| self.configurations.iter().all(|c| test(&c.settings));
        let unread: [(&str, bool, &str); 4] = [
            ("model.activation", all(|s| s.model.family == Family::Llama), "only gpt2 has a choice of it"),
            ("train.final_learning_rate", all(|s| s.train.schedule == Schedule::Constant), "the schedule is constant"),
            ("train.micro_batch", true, "it never changes a result"),
            (
                "corpus.field",
                all(|s| !s.corpus.text.iter().any(|path| may_have_rows(path))),
                "only `.jsonl` and `.ndjson` files have fields",
            ),
        ];
        for (key, nothing_reads_it, why) in unread {
            let axis = experiment.axis_of(key);
            // Outside the axes a micro-batch is about memory, and a field that no file has is an error of the text.
            let written = experiment.written.get(key).filter(|_| !matches!(key, "train.micro_batch" | "corpus.field"));
            match (nothing_reads_it, axis, written) {
                (true, Some(axis), _) => {
                    warnings.push(Problem::warning(format!("nothing reads the axis `{key}`: {why}")).key(key).at(&axis.place));
                }
                (true, None, Some(written)) => {
                    warnings.push(Problem::warning(format!("nothing reads `{key}`: {why}")).key(key).at(&written.place));
                }
                _ => {}
            }
        }
        warnings
    }
}
