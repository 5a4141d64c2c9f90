//! An experiment is counted, and expanded into its configurations.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use figment::value::Value;
use serde_json::json;

use crate::error::Error;
use crate::random::Stream;

use super::axes::{self, Choice, Drawn};
use super::columns::Cell;
use super::expression::{Datum, Trouble, Values};
use super::held_out::HeldOut;
use super::keys;
use super::layers;
use super::problem::{Place, Problem, Problems, Severity};
use super::read::{IMPLIED, derived_value};
use super::settings::{Family, Schedule, Settings};
use super::surroundings::{Folder, Surroundings, Unfit};
use super::text::{self, grouped};
use super::{Derive, Experiment, check, start};

/// All configurations of an experiment.
#[derive(Debug, Clone)]
pub struct Expansion {
    /// The full names of what varies: axes, settings of points, derived settings, names of one's own.
    pub swept: Vec<String>,
    /// Combinations of the axes, points included, before anything was excluded.
    pub combinations: u64,
    /// What was excluded, a row a rule.
    pub excluded: Vec<Excluded>,
    /// Combinations that were equal to an earlier one.
    pub merged: u64,
    /// The configurations in the order of the file: the last axis goes fastest.
    pub configurations: Vec<Configuration>,
    /// What is probably not meant.
    pub warnings: Vec<Problem>,
}

/// What one rule took out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excluded {
    /// The rule's expression.
    pub when: String,
    /// The rule's reason.
    pub why: Option<String>,
    /// How many combinations it took out, of those that no earlier rule had.
    pub count: u64,
}

/// One configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Configuration {
    /// All its settings.
    pub settings: Settings,
    /// The value of each of [`Expansion::swept`], as a person writes it.
    pub values: Vec<String>,
}

/// Most problems of single configurations that are told.
const MOST_PROBLEMS: usize = 10;

/// One combination of axes, before `derive`.
struct Row<'a> {
    choices: Vec<&'a Choice>,
    place: Option<&'a Place>,
}

impl Experiment {
    /// Combinations of the axes, points included, before anything is excluded, times nothing: seeds are not counted.
    /// `None` is more than 2^64.
    pub fn combinations(&self) -> Option<u64> {
        let crossed = match &self.search {
            Some(search) => search.draws,
            // With points alone, they are all there is; the base is a configuration only where nothing else is.
            None if self.only_points() => 0,
            None => self.blocks.iter().try_fold(0u64, |sum, block| sum.checked_add(block.combinations()?))?,
        };
        crossed.checked_add(self.points.len() as u64)
    }

    fn only_points(&self) -> bool {
        !self.points.is_empty() && self.blocks.iter().all(|block| block.axes.is_empty())
    }

    /// Expands the experiment. `limit` is the largest number of trials (combinations × seeds); it is compared before
    /// anything is expanded. Where `surroundings` do not know something, rules that need it do not apply.
    ///
    /// # Errors
    /// Too many trials; configurations whose settings do not go together, or that cannot be run in these surroundings;
    /// configurations that would be scored on different texts; no configuration left.
    pub fn expand(&self, limit: u64, surroundings: &mut dyn Surroundings) -> Result<Expansion, Problems> {
        let refuse = |problem| Problems::one(&self.file, problem);
        let combinations = self.count(limit).map_err(refuse)?;
        let mut state = Expanding {
            experiment: self,
            surroundings,
            held_out: None,
            sweeps_corpus: self.targets.iter().any(|target| target.key.starts_with("corpus.")),
            counts: vec![0; self.excludes.len()],
            matched: vec![false; self.excludes.len()],
            undecided: vec![false; self.excludes.len()],
            merged: 0,
            seen: HashMap::new(),
            configurations: Vec::new(),
            remarks: Vec::new(),
            problems: Vec::new(),
            more_problems: 0,
        };
        match &self.search {
            Some(_) => state.drawn(),
            None if self.only_points() => {}
            None => self.blocks.iter().for_each(|block| state.crossed(block)),
        }
        for point in &self.points {
            state.add(&Row { choices: point.choices.iter().collect(), place: Some(&point.place) });
        }
        state.finish(combinations)
    }

    /// Counts the trials before any is made.
    fn count(&self, limit: u64) -> Result<u64, Problem> {
        let combinations = self.combinations();
        let trials = combinations.and_then(|n| n.checked_mul(self.seeds.len() as u64));
        let place = || self.blocks.iter().flat_map(|b| &b.axes).max_by_key(|axis| axis.positions.len()).map(|axis| &axis.place);
        match (combinations, trials) {
            (Some(combinations), Some(trials)) if trials <= limit => Ok(combinations),
            (combinations, trials) => {
                let many = |n: Option<u64>| n.map_or("more than 2^64".to_owned(), grouped);
                let sum = match self.seeds.len() {
                    1 => format!("{} combinations", many(combinations)),
                    seeds => format!("{} combinations × {seeds} seeds = {} trials", many(combinations), many(trials)),
                };
                let message = format!("{sum}: more than the {} that are allowed", grouped(limit));
                let help = "make an axis shorter, use `search: {random: 100, ...}`, or allow more with `--max-trials`";
                let problem = Problem::error(message).help(help);
                Err(match place() {
                    Some(place) => problem.at(place).label("the longest axis"),
                    None => problem,
                })
            }
        }
    }

    /// Whether this setting has a value in every configuration.
    pub(super) fn always_sets(&self, key: &str) -> bool {
        let hits = |target: usize| keys::whole_setting(&self.targets[target].key) == key;
        if self.written.contains_key(key) || self.derives.iter().any(|derive| keys::whole_setting(&derive.key) == key) {
            return true;
        }
        let crossed = match &self.search {
            Some(search) => search.dimensions.iter().any(|dimension| hits(dimension.target)),
            None => self.only_points() || self.blocks.iter().all(|b| b.axes.iter().any(|a| a.targets.iter().any(|&t| hits(t)))),
        };
        crossed && self.points.iter().all(|point| point.choices.iter().any(|choice| hits(choice.target)))
    }

    /// A problem that what a setting leads to has, at the place where the setting is.
    pub fn problem_with(&self, key: &str, error: &Error) -> Problems {
        let problem = Problem::error(error.chain()).key(key).maybe_help(error.help_text().map(str::to_owned));
        let axes = self.blocks.iter().flat_map(|block| &block.axes);
        let of_axis =
            axes.into_iter().find(|axis| axis.targets.iter().any(|&t| self.targets[t].key == key)).map(|axis| &axis.place);
        let place = of_axis.or_else(|| self.written.get(key).map(|written| &written.place));
        Problems::one(&self.file, at(problem, place.cloned()))
    }

    /// The experiment with all layers resolved, for a machine to read.
    pub fn resolved(&self) -> serde_json::Value {
        let axis = |axis: &axes::Axis| {
            let keys: Vec<&str> = axis.targets.iter().map(|&t| self.targets[t].key.as_str()).collect();
            let rows: Vec<Vec<&str>> =
                axis.positions.iter().map(|row| row.iter().map(|choice| choice.label.as_str()).collect()).collect();
            json!({ "keys": keys, "values": rows })
        };
        let grids: Vec<serde_json::Value> =
            self.blocks.iter().map(|block| block.axes.iter().map(axis).collect::<Vec<_>>().into()).collect();
        let points: Vec<serde_json::Value> = self
            .points
            .iter()
            .map(|point| {
                point
                    .choices
                    .iter()
                    .map(|c| (self.targets[c.target].key.clone(), json!(c.label)))
                    .collect::<serde_json::Map<_, _>>()
                    .into()
            })
            .collect();
        json!({
            "name": self.name,
            "file": self.file,
            "description": self.description,
            "swept": self.targets.iter().map(|target| &target.key).collect::<Vec<_>>(),
            "tune": self.tune,
            "seeds": self.seeds,
            "settings": self.base,
            "grids": grids,
            "search": self.search.as_ref().map(|s| json!({ "random": s.draws, "seed": s.seed, "keys": s.dimensions.iter().map(|d| &d.key).collect::<Vec<_>>() })),
            "points": points,
            "let": self.own.iter().map(|own| (own.name.clone(), json!(own.label))).collect::<serde_json::Map<_, _>>(),
            "derive": self.derives.iter().map(|d| (d.key.clone(), json!(d.program.text()))).collect::<serde_json::Map<_, _>>(),
            "exclude": self.excludes.iter().map(|e| json!({ "when": e.program.text(), "why": e.why })).collect::<Vec<_>>(),
            "overrides": self.overrides.iter().map(|o| json!({ "from": o.layer, "key": o.key, "value": axes::label(&o.key, &o.node) })).collect::<Vec<_>>(),
        })
    }
}

/// What is known while an experiment is expanded.
struct Expanding<'a, 's> {
    experiment: &'a Experiment,
    surroundings: &'s mut dyn Surroundings,
    /// What the first configuration is scored on.
    held_out: Option<HeldOut>,
    sweeps_corpus: bool,
    counts: Vec<u64>,
    matched: Vec<bool>,
    undecided: Vec<bool>,
    merged: u64,
    seen: HashMap<u64, Vec<usize>>,
    configurations: Vec<Configuration>,
    /// What is said of configurations that are expanded nevertheless.
    remarks: Vec<Problem>,
    problems: Vec<Problem>,
    more_problems: usize,
}

impl Expanding<'_, '_> {
    /// Every combination of a block's axes, the last going fastest.
    fn crossed(&mut self, block: &axes::Block) {
        let mut at = vec![0usize; block.axes.len()];
        loop {
            let choices = block.axes.iter().zip(&at).flat_map(|(axis, &position)| &axis.positions[position]).collect();
            self.add(&Row { choices, place: None });
            let Some(axis) = (0..at.len()).rev().find(|&axis| at[axis] + 1 < block.axes[axis].positions.len()) else {
                return;
            };
            at[axis] += 1;
            at[axis + 1..].fill(0);
        }
    }

    /// Random draws. Each draw of each setting has a stream of its own: `random: 10` is a prefix of `random: 20`, and a
    /// setting added to the search changes no other's values.
    fn drawn(&mut self) {
        let experiment = self.experiment;
        let Some(search) = &experiment.search else { return };
        for draw in 0..search.draws {
            let mut choices = Vec::with_capacity(search.dimensions.len());
            for dimension in &search.dimensions {
                let mut stream = Stream::new(search.seed, &format!("search {}", dimension.key), &[draw]);
                choices.push(match &dimension.from {
                    Drawn::Choices(list) => list[stream.below(list.len() as u64) as usize].clone(),
                    Drawn::Between { from, to, log, whole } => {
                        let value = between(*from, *to, *log, *whole, stream.uniform());
                        axes::made(dimension.target, &experiment.targets[dimension.target], value)
                    }
                });
            }
            self.add(&Row { choices: choices.iter().collect(), place: search.dimensions.first().map(|d| &d.place) });
        }
    }

    fn add(&mut self, row: &Row<'_>) {
        let experiment = self.experiment;
        let mut own: Vec<Datum> = experiment.own.iter().map(|own| own.value.clone().unwrap_or(Datum::Number(f64::NAN))).collect();
        let mut set: Vec<(&str, &Value)> = Vec::with_capacity(row.choices.len());
        for choice in &row.choices {
            let target = &experiment.targets[choice.target];
            match (target.own, &choice.datum) {
                (Some(index), Some(datum)) => own[index] = datum.clone(),
                _ => set.push((target.key.as_str(), &choice.value)),
            }
        }
        // A whole block comes before a part of it.
        set.sort_by_key(|(key, _)| keys::block_part(key).is_some());
        let layers = layers::over(experiment.layers.clone(), "axes", &set);
        let mut derived = Vec::with_capacity(experiment.derives.len());
        let settings = match layers::extract(&layers) {
            Ok(settings) => settings,
            Err(misfit) => {
                let keys: Vec<&str> = set.iter().map(|(key, _)| *key).collect();
                let place = self.place_of(&keys, row);
                let shown: Vec<String> =
                    row.choices.iter().map(|c| format!("{} = {}", experiment.targets[c.target].key, c.label)).collect();
                let message = format!("a configuration ({}) {}", shown.join(", "), misfit.message);
                return self.problem(at(Problem::error(message).maybe_help(misfit.help), place));
            }
        };
        let (settings, folder) = match self.derive(layers, settings, row, &own, &mut derived) {
            Ok(settings) => settings,
            Err(problem) => return self.problem(*problem),
        };
        let columns = settings.columns();
        if self.excluded(&settings, &columns, &own) {
            return;
        }
        let mut conflicts = check::conflicts(&settings);
        if let Some(from) = &settings.model.from {
            conflicts.extend(start::conflicts(&settings, from, &experiment.folder, &|key| self.sets(key, row)));
        }
        conflicts.extend(folder.and_then(|folder| start::too_long(&settings, &folder)));
        if self.sweeps_corpus {
            let held_out = HeldOut::of(&settings.corpus);
            conflicts.extend(self.held_out.get_or_insert_with(|| held_out.clone()).conflicts(&held_out));
        }
        let mut unfit = false;
        for Unfit { keys, message, help, severity } in self.surroundings.unfit(&settings) {
            let place = self.place_of(keys, row);
            let problem = at(Problem::new(severity, message).key(keys[0]).help(help), place);
            if severity == Severity::Error {
                unfit = true;
                self.problem(problem);
            } else if !self.remarks.contains(&problem) {
                self.remarks.push(problem);
            }
        }
        if unfit || !conflicts.is_empty() {
            for conflict in conflicts {
                let place = self.place_of(conflict.keys, row);
                let problem = Problem::error(conflict.message).key(conflict.keys[0]).maybe_help(conflict.help);
                self.problem(at(problem, place));
            }
            return;
        }
        let hash = hash(&columns);
        let same = self.seen.entry(hash).or_default();
        if same.iter().any(|&index| self.configurations[index].settings.columns() == columns) {
            self.merged += 1;
            return;
        }
        same.push(self.configurations.len());
        let values = self.values(row, &settings, &derived);
        self.configurations.push(Configuration { settings, values });
    }

    /// The settings with those that a folder to start from (`model.from`) brings, and what else that folder says.
    fn brought(&mut self, mut settings: Settings, row: &Row<'_>) -> (Settings, Option<Folder>) {
        let Some(from) = &settings.model.from else { return (settings, None) };
        if !self.sets(keys::TOKENIZER, row) {
            settings.tokenizer = start::tokenizer(from);
        }
        // What a folder lacks is told with its place in the file, as a conflict.
        let folder =
            start::is_complete(&self.experiment.folder, from).then(|| self.surroundings.folder(&settings.model)).flatten();
        if let Some(folder) = &folder {
            settings.model.clone_from(&folder.model);
        }
        (settings, folder)
    }

    /// Computes derived settings, in the order in which they need each other. Also what a folder to start from says.
    fn derive(
        &mut self,
        layers: figment::Figment,
        settings: Settings,
        row: &Row<'_>,
        own: &[Datum],
        derived: &mut Vec<(usize, String)>,
    ) -> Result<(Settings, Option<Folder>), Box<Problem>> {
        let experiment = self.experiment;
        let (mut settings, folder) = self.brought(settings, row);
        if experiment.derives.is_empty() {
            return Ok((settings, folder));
        }
        let mut layers = layers;
        let mut columns = settings.columns();
        let mut waiting: Vec<(&Derive, String, Value)> = Vec::new();
        for derive in &experiment.derives {
            let stale = derive.program.settings().any(|name| {
                let key = keys::whole_setting(name.key());
                let follows = IMPLIED.iter().find(|(implied, _)| *implied == key).map(|(_, follows)| *follows);
                waiting.iter().any(|(_, done, _)| done == key || Some(done.as_str()) == follows)
            });
            if stale {
                (layers, settings) = merge(layers, &mut waiting, &columns, own)?;
                (settings, _) = self.brought(settings, row);
                columns = settings.columns();
            }
            let surroundings = &mut *self.surroundings;
            let mut full = || surroundings.windows(&settings).map(|n| n as f64);
            let mut values = Values { columns: &columns, own, full: &mut full };
            match derive.program.evaluate(&mut values) {
                Ok(datum) => {
                    let integral = match &datum {
                        Datum::Number(n) => text::whole(*n).is_some() || n.is_infinite(),
                        _ => true,
                    };
                    if !integral && layers::is_whole(&derive.key) {
                        let read = derive.program.read_values(&mut values);
                        let problem = Problem::error(format!(
                            "`{}` must be a whole number, and `{}` is {datum} where {read}",
                            derive.key,
                            derive.program.text()
                        ));
                        let help = format!("round it as you mean it: `floor({})`", derive.program.text());
                        return Err(Box::new(problem.key(&derive.key).at(&derive.place).help(help)));
                    }
                    derived.push((derive.target, datum.to_string()));
                    let (key, value) = derived_value(&derive.key, &datum);
                    waiting.push((derive, key, value));
                }
                Err(Trouble::Unknown) => derived.push((derive.target, String::new())),
                Err(Trouble::Failed(why)) => {
                    let read = derive.program.read_values(&mut values);
                    let place = if read.is_empty() { String::new() } else { format!(" where {read}") };
                    let message = format!("`{}` cannot be derived{place}: {why}", derive.key);
                    return Err(Box::new(Problem::error(message).key(&derive.key).at(&derive.place)));
                }
            }
        }
        let (_, settings) = merge(layers, &mut waiting, &columns, own)?;
        Ok(self.brought(settings, row))
    }

    /// Whether a rule takes this combination out.
    fn excluded(&mut self, settings: &Settings, columns: &[(&'static str, Cell)], own: &[Datum]) -> bool {
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
                    let read = rule.program.read_values(&mut values);
                    let place = if read.is_empty() { String::new() } else { format!(" where {read}") };
                    let message = format!("`{}` cannot be decided{place}: {why}", rule.program.text());
                    self.problem(Problem::error(message).key("when").at(&rule.place));
                    return true;
                }
            }
        }
        excluded
    }

    fn values(&self, row: &Row<'_>, settings: &Settings, derived: &[(usize, String)]) -> Vec<String> {
        let experiment = self.experiment;
        let value = |number: usize| {
            if let Some(choice) = row.choices.iter().find(|choice| choice.target == number) {
                return choice.label.clone();
            }
            if let Some((_, text)) = derived.iter().find(|(target, _)| *target == number) {
                return text.clone();
            }
            let target = &experiment.targets[number];
            match (target.own, experiment.written.get(&target.key)) {
                (Some(own), _) => experiment.own[own].label.clone(),
                (None, Some(written)) => written.label.clone(),
                (None, None) => start::label(settings, &target.key).unwrap_or_else(|| default_label(&target.key)),
            }
        };
        (0..experiment.targets.len()).map(value).collect()
    }

    /// Whether this setting is given for this combination, by the file or by what lies over it.
    fn sets(&self, key: &str, row: &Row<'_>) -> bool {
        let experiment = self.experiment;
        let hits = |other: &str| keys::whole_setting(other) == key;
        experiment.written.contains_key(key)
            || row.choices.iter().any(|choice| hits(&experiment.targets[choice.target].key))
            || experiment.derives.iter().any(|derive| hits(&derive.key))
    }

    /// Where one of these settings is set for this combination.
    fn place_of(&self, keys: &[&str], row: &Row<'_>) -> Option<Place> {
        let experiment = self.experiment;
        let hits = |key: &str| keys.contains(&key) || keys.contains(&keys::whole_setting(key));
        let axes = experiment.blocks.iter().flat_map(|block| &block.axes);
        let varies = |target: &usize| hits(&experiment.targets[*target].key);
        row.place
            .or_else(|| axes.rev().find(|axis| axis.targets.iter().any(varies)).map(|axis| &axis.place))
            .or_else(|| experiment.derives.iter().find(|d| hits(&d.key)).map(|d| &d.place))
            .or_else(|| keys.iter().find_map(|key| experiment.written.get(*key)).map(|written| &written.place))
            .cloned()
    }

    fn problem(&mut self, problem: Problem) {
        if self.problems.contains(&problem) {
            return;
        }
        if self.problems.len() < MOST_PROBLEMS {
            self.problems.push(problem);
        } else {
            self.more_problems += 1;
        }
    }

    fn finish(mut self, combinations: u64) -> Result<Expansion, Problems> {
        let experiment = self.experiment;
        if self.problems.is_empty() && self.configurations.is_empty() {
            let problem = Problem::error(format!("no trial is left: all {} combinations are excluded", grouped(combinations)));
            let place =
                experiment.excludes.iter().zip(&self.counts).max_by_key(|(_, count)| **count).map(|(rule, _)| rule.place.clone());
            self.problems.push(at(problem.help("loosen a rule under `exclude`"), place));
        }
        if !self.problems.is_empty() {
            if self.more_problems > 0 {
                self.problems.push(Problem::error(format!("and {} more like these", self.more_problems)));
            }
            return Err(Problems { file: experiment.file.clone(), list: self.problems });
        }
        let smallest = self.configurations.iter().map(|c| c.settings.train.sequence_length).min().unwrap_or(usize::MAX);
        if let Some(context) = experiment.base.evaluate.context.filter(|&context| context > smallest) {
            let key = "evaluate.context";
            let problem = Problem::error(format!(
                "`{key}` is {context}, and the smallest sequence length is {smallest}: no model is scored in windows longer than \
                 it learned"
            ));
            let problem = problem.key(key).help(format!("set `{key}` to at most {smallest}"));
            let place = experiment.written.get(key).map(|written| written.place.clone());
            return Err(Problems::one(&experiment.file, at(problem, place)));
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
                all(|s| !s.corpus.text.iter().any(|path| path.contains(".jsonl"))),
                "only `.jsonl` files have fields",
            ),
        ];
        for (key, nothing_reads_it, why) in unread {
            let axis = experiment
                .blocks
                .iter()
                .flat_map(|b| &b.axes)
                .find(|a| a.targets.iter().any(|&t| experiment.targets[t].key == key));
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

fn at(problem: Problem, place: Option<Place>) -> Problem {
    match place {
        Some(place) => problem.at(&place),
        None => problem,
    }
}

/// Lays derived settings over the others, and parses all again.
fn merge(
    layers: figment::Figment,
    waiting: &mut Vec<(&Derive, String, Value)>,
    columns: &[(&'static str, Cell)],
    own: &[Datum],
) -> Result<(figment::Figment, Settings), Box<Problem>> {
    let set: Vec<(&str, &Value)> = waiting.iter().map(|(_, key, value)| (key.as_str(), value)).collect();
    let layers = layers::over(layers, "derive", &set);
    let misfit = match layers::extract(&layers) {
        Ok(settings) => {
            waiting.clear();
            return Ok((layers, settings));
        }
        Err(misfit) => misfit,
    };
    // One of them does not fit its setting: which, and from what it was computed.
    for (derive, key, value) in waiting.iter() {
        if let Err(misfit) = layers::alone(key, value) {
            let read = derive.program.read_values(&mut Values { columns, own, full: &mut || None });
            let place = if read.is_empty() { String::new() } else { format!(" where {read}") };
            let problem = Problem::error(format!("`{}` {}{place}", derive.key, misfit.message));
            return Err(Box::new(problem.key(&derive.key).at(&derive.place).maybe_help(misfit.help)));
        }
    }
    let problem = Problem::error(format!("derived settings: one {}", misfit.message)).maybe_help(misfit.help);
    Err(Box::new(at(problem, waiting.first().map(|(derive, ..)| derive.place.clone()))))
}

/// A number between two others: four digits of it, which a person can read and retype.
fn between(from: f64, to: f64, log: bool, whole: bool, uniform: f64) -> f64 {
    if whole {
        // Every whole number between the ends, both included, has its share.
        let (low, high) = (from.ceil(), to.floor());
        let value = if log {
            let (low, high) = ((low - 0.5).max(0.5), high + 0.5);
            (low * (high / low).powf(uniform)).round()
        } else {
            low + (uniform * (high - low + 1.0)).floor()
        };
        return value.clamp(low, high.max(low));
    }
    let value = if log { from * (to / from).powf(uniform) } else { from + uniform * (to - from) };
    format!("{value:.3e}").parse().unwrap_or(value).clamp(from, to)
}

/// What a setting is where nothing sets it.
fn default_label(key: &str) -> String {
    match key {
        "train.stride" => "= sequence_length".to_owned(),
        keys::TOKENIZER => "char".to_owned(),
        "train.clip_norm" => "1".to_owned(),
        "corpus.field" | "model.from" => "none".to_owned(),
        "corpus.max_bytes" => "all".to_owned(),
        _ => {
            let defaults = serde_json::to_value(Settings::default()).unwrap_or_default();
            let found = key.split('.').try_fold(&defaults, |value, part| value.get(part));
            plain(found.unwrap_or(&serde_json::Value::Null))
        }
    }
}

fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => "auto".to_owned(),
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Number(number) => number.as_f64().map_or_else(|| number.to_string(), text::write_number),
        serde_json::Value::Object(map) if map.len() == 1 => map.values().next().map(plain).unwrap_or_default(),
        other => other.to_string(),
    }
}

/// A hash of what the settings mean.
fn hash(columns: &[(&'static str, Cell)]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (_, cell) in columns {
        match cell {
            Cell::Bool(value) => value.hash(&mut hasher),
            Cell::Int(value) => value.hash(&mut hasher),
            Cell::Float(value) => value.map(f64::to_bits).hash(&mut hasher),
            Cell::Text(value) => value.hash(&mut hasher),
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_stay_between_their_ends() {
        for uniform in [0.0, 0.3, 0.999_999] {
            let value = between(1e-4, 1e-2, true, false, uniform);
            assert!((1e-4..=1e-2).contains(&value));
            for log in [false, true] {
                let whole = between(2.0, 9.0, log, true, uniform);
                assert!((2.0..=9.0).contains(&whole) && whole.fract() == 0.0, "{whole}");
            }
        }
        assert_eq!(between(2.0, 9.0, false, true, 0.999_999), 9.0);
    }
}
