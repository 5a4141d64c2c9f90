//! Which configuration predicts the text best: trials grouped into configurations, by polars.
//!
//! **Figures over seeds.** A configuration's loss is the mean of its seeds' losses, and its perplexity exp of that: the geometric
//! mean of the seeds' perplexities, since it is the loss that is averaged over text as well. Its spread is the sample
//! standard deviation of the seeds' perplexities, and there is none for one seed. Only complete trials count, and only those that
//! were scored at the common context; a configuration of which some seeds diverged is ranked by the others and marked.
//!
//! **Where seeds are missing** a configuration is ranked by what it would have over all seeds, by least squares
//! ([`residual`](super::inference::residual)): a mean over easy seeds does not compare with one over hard ones.
//!
//! **Across tokenizers** perplexities do not compare: then bits per byte rank, and only tokenizers that give every text back. Which
//! tokenizers differ is said by their content, not by what they are called.
//!
//! **Across held-out texts** nothing compares: the text that most configurations were scored on is ranked, the others stand apart.

mod configuration;
mod grouped;
mod means;
mod rank;
mod trial;
mod tuning;
mod twins;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::content;
use super::design::Design;
use super::inference::results::Results;
use super::loss_scale::LossScale;
use super::trial_row::TrialRow;
use super::trials::Trials;
use crate::error::Result;
use crate::runs::Status;
use crate::words::counted;

pub(super) use configuration::{Configuration, Figure};
pub(super) use trial::TrialLine;

/// All configurations, best first; those without a figure last.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Comparison {
    pub(super) configurations: Vec<Configuration>,
    pub(super) trials: Vec<TrialLine>,
    /// Notes on configurations that are one under several names.
    pub(super) twins: Vec<String>,
    /// The number of each configuration that another one stands for, with the other one's.
    stands_for: BTreeMap<i64, i64>,
    /// Whether tokenizers differ, so that bits per byte rank.
    pub(super) by_bytes: bool,
    /// The common context of the trials that count.
    pub(super) common_context: Option<i64>,
    pub(super) common_stride: Option<i64>,
    pub(super) scored_tokens: Option<i64>,
    pub(super) scored_bytes: Option<i64>,
    /// Complete trials that were scored at another context and therefore do not count.
    pub(super) other_context: usize,
    pub(super) programs: Vec<String>,
    pub(super) machines: Vec<String>,
    pub(super) training_seconds: f64,
}

impl Comparison {
    /// Whether a configuration has a figure of the test part.
    pub(super) fn has_test(&self) -> bool {
        self.configurations.iter().any(|c| c.test_figure(self.by_bytes).is_some())
    }

    /// The first of the ranking; where a seed of it diverged the first of those that finished all of theirs, if any did. `None` where
    /// nothing is ranked.
    pub(super) fn best(&self) -> Option<&Configuration> {
        let mut ranked = self.configurations.iter().filter(|c| c.place.is_some());
        let first = ranked.next()?;
        if first.has_diverged() { ranked.find(|c| c.is_complete()).or(Some(first)) } else { Some(first) }
    }

    /// The configuration of this number, or the one that stands for it.
    pub(super) fn configuration(&self, number: i64) -> Option<&Configuration> {
        let number = *self.stands_for.get(&number).unwrap_or(&number);
        self.configurations.iter().find(|c| c.number == number)
    }

    /// All configurations by number.
    pub(super) fn by_number(&self) -> BTreeMap<i64, &Configuration> {
        self.configurations.iter().map(|c| (c.number, c)).collect()
    }

    /// The responses of the trials that count, of every configuration that has a figure: of the values of a tuned setting that were
    /// not chosen too.
    pub(super) fn results(&self) -> Results {
        rank::results(&self.configurations, &self.trials, self.by_bytes)
    }
}

/// Groups the trials.
pub(super) fn compare(trials: &Trials, design: &Design) -> Result<Comparison> {
    let completed = || trials.rows().iter().filter(|row| row.status == Status::Completed);
    let context = design.common_context.or_else(|| most_common(completed().filter_map(|row| row.common_context)));
    let is_at_context = |row: &TrialRow| context.is_none() || row.common_context.is_none() || row.common_context == context;
    let counts = |row: &TrialRow| row.status == Status::Completed && is_at_context(row);
    let other_context = completed().filter(|row| !is_at_context(row)).count();

    let rows = trials.rows();
    let configurations = grouped::grouped(trials, design, &means::means(&trials.only(counts)?, design)?)?;
    let mut lines = trial::trial_lines(trials, design, context)?;
    let twins::Folded { mut configurations, stands_for, notes: mut twins } = twins::fold(configurations, &lines, &design.swept);
    set_apart(&mut configurations);
    let by_bytes = have_several_tokenizers(configurations.iter().filter_map(Configuration::comparable));
    let is_lossless = |c: &Configuration| design.is_lossless(&c.tokenizer, c.content.tokenizer.as_deref());
    // What a tokenizer did not keep costs no bits: beside the others such a figure would pass for a better one.
    for configuration in configurations.iter_mut().filter(|c| by_bytes && !is_lossless(c)) {
        (configuration.bits_per_byte, configuration.test_bits_per_byte) = (None, None);
    }
    if by_bytes {
        let lossless: BTreeSet<i64> = configurations.iter().filter(|c| is_lossless(c)).map(|c| c.number).collect();
        for (trial, row) in lines.iter_mut().zip(rows) {
            let is_drawn = lossless.contains(&trial.configuration);
            trial.loss_scale = if is_drawn { LossScale::bits(row) } else { LossScale::NotDrawn };
        }
    }
    rank::adjust(&mut configurations, &lines, by_bytes);
    tuning::choose(&mut configurations, design, by_bytes);
    rank::rank(&mut configurations, by_bytes);
    let apart: BTreeSet<i64> = configurations.iter().filter(|c| c.is_apart).map(|c| c.number).collect();
    for trial in &mut lines {
        trial.counts &= !apart.contains(&trial.configuration);
    }

    twins.extend(twins::same_results(&configurations, &lines));

    let is_apart = |row: &TrialRow| row.configuration.is_some_and(|number| apart.contains(&number));
    let ranked = || rows.iter().filter(|row| counts(row) && !is_apart(row));

    Ok(Comparison {
        configurations,
        trials: lines,
        twins,
        stands_for,
        by_bytes,
        common_context: context,
        common_stride: most_common(ranked().filter_map(|row| row.common_stride)),
        scored_tokens: most_common(ranked().filter_map(|row| row.scored_tokens)),
        scored_bytes: most_common(ranked().filter_map(|row| row.scored_bytes)),
        other_context,
        programs: distinct(rows.iter().filter_map(|row| row.program.clone())),
        machines: distinct(rows.iter().filter_map(machine)),
        training_seconds: rows.iter().filter_map(|row| row.training_seconds).sum(),
    })
}

/// Marks those that were scored on another text than most.
fn set_apart(configurations: &mut [Configuration]) {
    let with_figures = configurations.iter().filter(|c| c.seeds > 0);
    let text = most_common(with_figures.filter_map(|c| c.content.validation.as_ref())).cloned();
    for configuration in configurations {
        configuration.is_apart = content::differ(configuration.content.validation.as_ref(), text.as_ref());
    }
}

/// Whether these configurations have different tokenizers: by content, or by what they are called where that is not known.
fn have_several_tokenizers<'a>(configurations: impl Iterator<Item = &'a Configuration>) -> bool {
    let (mut hashes, mut labels) = (BTreeSet::new(), BTreeSet::new());
    for configuration in configurations {
        hashes.extend(&configuration.content.tokenizer);
        labels.insert(&configuration.tokenizer);
    }
    if hashes.is_empty() { labels.len() > 1 } else { hashes.len() > 1 }
}

/// `host, cpu, a kind of processor, 2 threads`; `None` where it did not run.
fn machine(row: &TrialRow) -> Option<String> {
    let (host, device) = (row.host.as_ref()?, row.device.as_deref().unwrap_or_default());
    let processor = row.processor.as_ref().map_or_else(String::new, |name| format!("{name}, "));
    let threads = row.threads.map_or(String::new(), |n| counted(usize::try_from(n).unwrap_or(0), "thread"));
    Some(format!("{host}, {device}, {processor}{threads}"))
}

fn distinct(values: impl Iterator<Item = String>) -> Vec<String> {
    values.collect::<BTreeSet<String>>().into_iter().collect()
}

/// The most frequent value; of several the one that comes first.
fn most_common<T: Ord>(values: impl Iterator<Item = T>) -> Option<T> {
    let mut counts: BTreeMap<T, (usize, Reverse<usize>)> = BTreeMap::new();
    for (place, value) in values.enumerate() {
        counts.entry(value).or_insert((0, Reverse(place))).0 += 1;
    }
    counts.into_iter().max_by_key(|(_, frequency)| *frequency).map(|(value, _)| value)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::experiment::settings::{ClipNorm, Tokenizer};
    use crate::plan::Plan;
    use crate::record::tests::{completed, ended, plan, waiting};
    use crate::record::{TrialState, write_trials};
    use crate::rows::{CheckpointKind, EvaluationRow, ScoredPart};
    use crate::runs::{Description, ExperimentFolder};

    pub(in crate::report) fn compared_as(plan: &Plan, states: &[TrialState], json: &str) -> Comparison {
        let dir = tempfile::tempdir().unwrap();
        let folder = ExperimentFolder::at(dir.path());
        std::fs::write(folder.experiment_json(), json).unwrap();
        write_trials(&folder.trials_parquet(), plan, states).unwrap();
        let trials = Trials::of(crate::report::frames::read(&folder.trials_parquet(), None).unwrap()).unwrap();
        let columns: Vec<String> = trials.columns().map(str::to_owned).collect();
        let described = Description::read(&folder).unwrap();
        compare(&trials, &Design::of(described, &folder, &columns)).unwrap()
    }

    fn compared(plan: &Plan, states: &[TrialState]) -> Comparison {
        compared_as(plan, states, "{}")
    }

    pub(in crate::report) fn order(comparison: &Comparison) -> Vec<(i64, Option<usize>)> {
        comparison.configurations.iter().map(|c| (c.number, c.place)).collect()
    }

    #[test]
    fn perplexity_is_exp_of_the_mean_loss_and_spread_is_over_the_seeds() {
        let plan = plan(&[32], &[ClipNorm::Off], &[1, 2]);
        let comparison = compared(&plan, &[completed(1.0, None), completed(2.0, None)]);
        let figure = comparison.configurations[0].perplexity.unwrap();
        assert!((figure.mean - 1.5f64.exp()).abs() < 1e-12);
        let (a, b) = (1f64.exp(), 2f64.exp());
        assert!((figure.spread.unwrap() - (b - a) / 2f64.sqrt()).abs() < 1e-12);
        assert_eq!(comparison.configurations[0].seeds, 2);
    }

    /// A complete trial whose final weights have this mean loss on both parts.
    pub(in crate::report) fn tested(loss: f64, test: f64) -> TrialState {
        let mut state = completed(loss, None);
        let scores = &mut state.outcome.as_mut().unwrap().scores;
        scores.push(EvaluationRow { part: ScoredPart::Test, nll_sum: Some(1000.0 * test), ..scores[0].clone() });
        state
    }

    #[test]
    fn the_test_part_has_a_figure_where_every_seed_that_counts_was_scored_on_it() {
        let plan = plan(&[32, 64, 128], &[ClipNorm::Off], &[1, 2]);
        let diverged = ended(Status::Diverged, "x", &[]);
        let states = [tested(1.0, 1.2), tested(1.1, 1.3), tested(1.4, 1.5), diverged, tested(2.0, 2.1), completed(2.0, None)];
        let comparison = compared(&plan, &states);
        let test = |place: usize| comparison.configurations[place].test_figure(false);
        let figure = test(0).unwrap();
        assert!((figure.mean - 1.25f64.exp()).abs() < 1e-12, "exp of the mean loss: {figure:?}");
        assert!((figure.spread.unwrap() - (1.3f64.exp() - 1.2f64.exp()) / 2f64.sqrt()).abs() < 1e-12, "{figure:?}");
        assert_eq!(test(1), Some(Figure { mean: 1.5f64.exp(), spread: None }), "of the seed that counts");
        assert_eq!(test(2), None, "a mean over another set of seeds is not shown");
        assert!((comparison.configurations[0].test_figure(true).unwrap().mean - 1.25 / 2f64.ln()).abs() < 1e-12);
        assert!(
            comparison.has_test() && !compared(&plan, &[1.0, 1.1, 1.2, 1.3, 1.4, 1.5].map(|l| completed(l, None))).has_test()
        );
    }

    #[test]
    fn the_test_part_is_that_of_the_weights_that_rank() {
        let plan = plan(&[32], &[ClipNorm::Off], &[1]);
        let mut state = tested(2.0, 2.2);
        let scores = &mut state.outcome.as_mut().unwrap().scores;
        let best = |part: ScoredPart, loss: f64| EvaluationRow {
            kind: CheckpointKind::Best,
            part,
            nll_sum: Some(1000.0 * loss),
            ..scores[0].clone()
        };
        let rows = [best(ScoredPart::Validation, 1.9), best(ScoredPart::Test, 2.05)];
        scores.extend(rows);
        let mean = |json: &str| compared_as(&plan, &[state.clone()], json).configurations[0].test_perplexity.unwrap().mean;
        assert_eq!(mean("{}"), 2.2f64.exp());
        assert_eq!(mean(r#"{"evaluate": {"rank_at": "best"}}"#), 2.05f64.exp());
    }

    #[test]
    fn one_seed_has_no_spread() {
        let comparison = compared(&plan(&[32], &[ClipNorm::Off], &[1]), &[completed(1.0, None)]);
        assert_eq!(comparison.configurations[0].perplexity, Some(Figure { mean: 1f64.exp(), spread: None }));
    }

    #[test]
    fn the_lowest_loss_is_first_and_those_without_a_figure_are_last() {
        let plan = plan(&[32, 64, 128, 256], &[ClipNorm::Off], &[1]);
        let states =
            [ended(Status::Diverged, "the loss is not finite", &[]), completed(2.0, None), waiting(), completed(1.5, None)];
        let comparison = compared(&plan, &states);
        assert_eq!(order(&comparison), [(4, Some(1)), (2, Some(2)), (1, None), (3, None)]);
        assert_eq!(comparison.configurations[2].status, BTreeMap::from([(Status::Diverged, 1)]));
    }

    #[test]
    fn configurations_without_a_figure_stand_in_the_order_of_the_file_and_not_of_their_numbers() {
        let mut plan = plan(&[32, 64, 128], &[ClipNorm::Off], &[1]);
        for (trial, number) in plan.trials.iter_mut().zip([5, 1, 3]) {
            trial.configuration = number;
        }
        let comparison = compared(&plan, &[waiting(), completed(2.0, None), waiting()]);
        assert_eq!(order(&comparison), [(1, Some(1)), (5, None), (3, None)]);
    }

    #[test]
    fn seeds_that_diverged_are_counted_but_not_averaged() {
        let plan = plan(&[32], &[ClipNorm::Off], &[1, 2, 3]);
        let states = [completed(1.0, None), ended(Status::Diverged, "x", &[]), completed(1.0, None)];
        let comparison = compared(&plan, &states);
        let configuration = &comparison.configurations[0];
        assert_eq!((configuration.seeds, configuration.perplexity.unwrap().spread), (2, Some(0.0)));
        assert_eq!(configuration.status[&Status::Diverged], 1);
    }

    #[test]
    fn the_experiment_says_which_context_ranks() {
        let plan = plan(&[32, 64], &[ClipNorm::Off], &[1]);
        let states = [completed(1.4, None), completed(1.5, Some(1.2))];
        assert_eq!(order(&compared(&plan, &states))[0].0, 1);
        let native = compared_as(&plan, &states, r#"{"evaluate": {"rank_by": "native"}}"#);
        assert_eq!(order(&native)[0].0, 2);
        assert_eq!(native.configurations[0].other_perplexity.unwrap().mean, 1.5f64.exp());
    }

    #[test]
    fn trials_scored_at_another_context_are_left_out_and_counted() {
        let plan = plan(&[32, 64], &[ClipNorm::Off], &[1]);
        let mut other = completed(1.0, None);
        other.outcome.as_mut().unwrap().scores[0].context = 16;
        let comparison = compared_as(&plan, &[completed(2.0, None), other], r#"{"common_context": 32}"#);
        assert_eq!((order(&comparison), comparison.other_context), (vec![(1, Some(1)), (2, None)], 1));
    }

    #[test]
    fn different_tokenizers_are_ranked_by_bits_per_byte_and_only_lossless_ones() {
        let mut plan = plan(&[32, 64, 128], &[ClipNorm::Off], &[1]);
        plan.trials[0].settings.tokenizer = Tokenizer::Byte;
        plan.trials[1].settings.tokenizer = Tokenizer::Bpe { vocab_size: 512 };
        plan.trials[2].settings.tokenizer = Tokenizer::Word;
        let mut bpe = completed(3.0, None);
        bpe.outcome.as_mut().unwrap().scores[0].scored_bytes = 4000;
        let comparison = compared(&plan, &[completed(1.5, None), bpe, completed(0.5, None)]);
        assert!(comparison.by_bytes);
        assert_eq!(order(&comparison), [(2, Some(1)), (1, Some(2)), (3, None)]);
        assert_eq!(comparison.configurations[0].tokenizer, "bpe-512");
        let word = &comparison.configurations[2];
        assert_eq!((word.bits_per_byte, word.figure(true), word.has_result()), (None, None, true), "0.7 bits would seem to lead");
        assert_eq!(word.perplexity.unwrap().mean, 0.5f64.exp());
    }

    #[test]
    fn tokenizers_that_lose_text_stand_behind_the_others_each_by_perplexity() {
        let mut plan = plan(&[32, 64, 128, 256, 512], &[ClipNorm::Off], &[1]);
        let file = || Tokenizer::File { path: "t.json".to_owned() };
        for (trial, kind) in plan.trials.iter_mut().zip([Tokenizer::Word, file(), Tokenizer::Byte, file(), Tokenizer::Word]) {
            trial.settings.tokenizer = kind;
        }
        let states = [2.0, 0.5, 1.5, 0.4, 1.9].map(|loss| completed(loss, None));
        assert_eq!(order(&compared(&plan, &states)), [(3, Some(1)), (4, None), (2, None), (5, None), (1, None)]);
    }

    #[test]
    fn tokenizers_are_told_apart_by_content_and_not_by_label() {
        let mut plan = plan(&[32, 64], &[ClipNorm::Off], &[1]);
        let mut with = |hashes: [&str; 2], kinds: [Tokenizer; 2]| {
            for ((trial, hash), kind) in plan.trials.iter_mut().zip(hashes).zip(kinds) {
                (trial.facts.tokenizer_hash, trial.settings.tokenizer) = (hash.to_owned(), kind);
            }
            compared(&plan, &[completed(1.5, None), completed(1.4, None)]).by_bytes
        };
        let bpe = |vocab_size| Tokenizer::Bpe { vocab_size };
        assert!(with(["a", "b"], [Tokenizer::Char, Tokenizer::Char]), "`char` over two texts has two vocabularies");
        assert!(!with(["a", "a"], [bpe(2000), bpe(8000)]), "one vocabulary under two labels is one");
    }

    #[test]
    fn what_was_scored_on_another_text_is_not_ranked() {
        let mut plan = plan(&[32, 64, 128], &[ClipNorm::Off], &[1]);
        for (trial, text) in plan.trials.iter_mut().zip(["easy", "hard", "hard"]) {
            trial.facts.validation_hash = Some(text.to_owned());
        }
        let comparison = compared(&plan, &[completed(0.5, None), completed(1.5, None), completed(1.4, None)]);
        assert_eq!(order(&comparison), [(3, Some(1)), (2, Some(2)), (1, None)], "the text that most have is ranked");
        let apart = &comparison.configurations[2];
        assert_eq!((apart.is_apart, apart.figure(false)), (true, None));
        assert!(!comparison.trials[0].counts && comparison.trials[1].counts);
        // With one of each the first of the file is.
        plan.trials.truncate(2);
        assert_eq!(order(&compared(&plan, &[completed(1.5, None), completed(0.5, None)])), [(1, Some(1)), (2, None)]);
    }

    #[test]
    fn machines_and_programs_are_listed_once() {
        let plan = plan(&[32], &[ClipNorm::Off], &[1, 2]);
        let comparison = compared(&plan, &[completed(1.0, None), completed(1.0, None)]);
        assert_eq!(comparison.machines, ["night, cpu, 2 threads"]);
        assert_eq!(comparison.programs, ["votive 0.1.0"]);
        assert!((comparison.training_seconds - 6.4).abs() < 1e-12);
    }
}
