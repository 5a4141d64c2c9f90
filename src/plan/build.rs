//! From configurations to trials: what each one comes to, and which cannot be.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::facts::{facts_of, windows_of};
use super::identity::Description;
use super::same_tokenizers::SameTokenizers;
use super::{Circumstances, EvaluationPlan, Excluded, Facts, Known, Plan, Refusal, Trial, TrialId, Warning, unfit};
use crate::corpus::Epoch;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::experiment::settings::{Budget, Model, Settings, Tokenizer};
use crate::experiment::{Configuration, Experiment, Folder, Surroundings, Unfit};
use crate::model::{Config, Pretrained, shape};

/// Plans every trial of an experiment, and says what a person should know about the plan. `known` tells what the text of a
/// configuration comes to, `look` what lies in a folder that a model starts from.
pub fn build(
    experiment: &Experiment,
    circumstances: Circumstances<'_>,
    known: &mut dyn FnMut(&Settings) -> Result<Rc<Known>>,
    look: &mut dyn FnMut(&str) -> Result<Pretrained>,
) -> Result<(Plan, Vec<Warning>), Refusal> {
    let mut asking = Asking { device: circumstances.device, known, look, failure: None };
    let expansion = experiment.expand(circumstances.limit, &mut asking);
    if let Some(error) = asking.failure {
        return Err(error.into());
    }
    let expansion = expansion?;
    let mut warnings: Vec<Warning> = expansion.warnings.into_iter().map(Warning::File).collect();
    let common_context = common_context(experiment, circumstances, &expansion.configurations);

    let plan = Plan {
        experiment: experiment.name.clone(),
        swept: expansion.swept,
        combinations: expansion.combinations,
        excluded: expansion.excluded.into_iter().map(|e| Excluded { when: e.when, why: e.why, count: e.count }).collect(),
        merged: expansion.merged,
        configurations: 0,
        seeds: experiment.seeds.clone(),
        common_context,
        trials: Vec::with_capacity(expansion.configurations.len() * experiment.seeds.len()),
        numbers: circumstances.numbers.clone(),
    };
    let mut building = Building::new(plan, circumstances);
    for configuration in expansion.configurations {
        let known = known(&configuration.settings)?;
        building.add(configuration, &known);
    }
    let Building { plan, refused, remarked, same_tokenizers, .. } = building;
    if !refused.is_empty() {
        return Err(refusal(&refused).into());
    }
    warnings.extend(same_tokenizers.notes());
    warnings.extend(remarked);
    warnings.extend(unequal_text(&plan.trials));
    Ok((plan, warnings))
}

/// A plan that gets its trials, configuration by configuration.
struct Building<'a> {
    circumstances: Circumstances<'a>,
    plan: Plan,
    /// Labels of those that cannot be trained, and why.
    refused: Vec<(String, Error)>,
    remarked: Vec<Warning>,
    /// The configurations so far, by content.
    hashes: HashSet<TrialId>,
    /// The first path that each tokenizer was found at, by content.
    tokenizers: HashMap<(String, Option<u32>), String>,
    same_tokenizers: SameTokenizers,
}

impl<'a> Building<'a> {
    fn new(plan: Plan, circumstances: Circumstances<'a>) -> Self {
        Self {
            circumstances,
            plan,
            refused: Vec::new(),
            remarked: Vec::new(),
            hashes: HashSet::new(),
            tokenizers: HashMap::new(),
            same_tokenizers: SameTokenizers::default(),
        }
    }

    /// Adds a configuration's trials, one a seed.
    fn add(&mut self, Configuration { mut settings, values }: Configuration, known: &Known) {
        // Folders often share a tokenizer: it has one name then, so that the report sees that it is one.
        if let Tokenizer::File { path } = &mut settings.tokenizer {
            let content = (known.prepared.tokenizer_hash.clone(), known.prepared.end_of_text);
            path.clone_from(self.tokenizers.entry(content).or_insert_with(|| path.clone()));
        }
        self.same_tokenizers.add(known.from.is_none().then_some(&settings.tokenizer), &known.prepared);
        let mut description = Description::of(&settings, known, self.circumstances.device);
        let hash = description.id(None);
        // Two ways to write the same (a stride equal to the sequence length, say) are one configuration.
        if !self.hashes.insert(hash.clone()) {
            self.plan.merged += 1;
            return;
        }
        let plan = &mut self.plan;
        let label = plan.label_of(&values);
        let facts = match facts_of(&settings, known, plan.common_context, self.circumstances) {
            Ok(facts) => facts,
            Err(error) => {
                self.refused.push((label, error));
                return;
            }
        };
        plan.configurations += 1;
        let remarks = remarks(&settings, &facts, known.from.as_ref());
        self.remarked.extend(remarks.into_iter().map(|text| Warning::Configuration { label: label.clone(), text }));
        let ids: Vec<TrialId> = plan.seeds.iter().map(|&seed| description.id(Some(seed))).collect();
        let configuration = plan.numbers.of(hash.to_string(), &ids);
        for (id, &seed) in ids.into_iter().zip(&plan.seeds) {
            let (settings, facts, values, from) = (settings.clone(), facts.clone(), values.clone(), known.from.clone());
            plan.trials.push(Trial { id, configuration, seed, values, settings, facts, from });
        }
    }
}

/// Asks for what is known outside of the file, and keeps the first error.
struct Asking<'a> {
    device: Device,
    known: &'a mut dyn FnMut(&Settings) -> Result<Rc<Known>>,
    look: &'a mut dyn FnMut(&str) -> Result<Pretrained>,
    failure: Option<Error>,
}

impl Asking<'_> {
    fn answer<T>(&mut self, result: Result<T>) -> Option<T> {
        match result {
            Ok(answer) => Some(answer),
            Err(error) => {
                self.failure.get_or_insert(error);
                None
            }
        }
    }
}

impl Surroundings for Asking<'_> {
    fn unfit(&mut self, settings: &Settings) -> Vec<Unfit> {
        let device = self.device;
        unfit(device, settings, &mut || {
            let known = (self.known)(settings);
            let known = self.answer(known)?;
            let (from, vocabulary) = (known.from.as_ref(), known.prepared.vocabulary);
            let config = Config::of(&settings.model, from, vocabulary, settings.train.sequence_length).ok()?;
            let epoch = Epoch::new(windows_of(settings, &known.prepared).count(), settings.train.batch_size);
            Some((config, epoch.full_batch() as usize))
        })
    }

    fn windows(&mut self, settings: &Settings) -> Option<u64> {
        let known = (self.known)(settings);
        self.answer(known).map(|known| windows_of(settings, &known.prepared).count())
    }

    fn folder(&mut self, model: &Model) -> Option<Folder> {
        let found = (self.look)(model.from.as_deref()?);
        self.answer(found).map(|found| found.says(model))
    }
}

impl Trial {
    /// The model that is trained.
    pub fn model(&self) -> Result<Config> {
        let (vocabulary, length) = (self.facts.vocabulary as usize, self.settings.train.sequence_length);
        Config::of(&self.settings.model, self.from.as_ref(), vocabulary, length)
    }

    /// When this trial is scored on the way, and on how much.
    pub fn evaluation(&self, common_context: usize) -> Result<EvaluationPlan> {
        let train = &self.settings.train;
        let config = self.model()?;
        let (evaluate, is_counted) = (&self.settings.evaluate, train.budget.seconds().is_none());
        let costs = super::Costs {
            // Of a budget in minutes unknown before it runs: taken as long enough for a few thousand tokens each time.
            training: if is_counted { self.facts.flops } else { f64::INFINITY },
            scoring_a_token: shape::scoring_flops_per_token(&config, common_context),
            at_most: evaluate.at_most,
            every: evaluate.every,
        };
        let mut plan = EvaluationPlan::new(common_context, self.facts.validation_tokens, costs);
        if !is_counted {
            plan.periodic_tokens = plan.periodic_tokens.min(8_192);
            plan.share = 0.0;
        }
        Ok(plan)
    }
}

/// Lc: what the file sets, else what an earlier run fixed, else the smallest sequence length.
fn common_context(experiment: &Experiment, circumstances: Circumstances<'_>, configurations: &[Configuration]) -> usize {
    let smallest = configurations.iter().map(|c| c.settings.train.sequence_length).min().unwrap_or(1);
    // An earlier run's context is too long for a configuration that joined later: the smallest length is all they share. One that
    // the file sets is never longer, which is checked when the experiment is expanded.
    experiment.base.evaluate.context.or(circumstances.common_context).map_or(smallest, |context| context.min(smallest))
}

/// What a person should know about a configuration before it runs.
fn remarks(settings: &Settings, facts: &Facts, from: Option<&Pretrained>) -> Vec<String> {
    let (train, mut remarks) = (&settings.train, Vec::new());
    let (length, stride) = (train.sequence_length, train.stride());
    if stride > length {
        remarks.push(format!(
            "stride {stride} is above the sequence length {length}: {} of {stride} tokens are skipped",
            stride - length
        ));
    }
    // A budget in minutes may come to the end of an epoch, one in steps does or does not.
    let ends_an_epoch = facts.steps == 0 || facts.steps >= facts.steps_per_epoch;
    if facts.partial_batch > 0 && facts.windows > facts.partial_batch && ends_an_epoch {
        let full = facts.tokens_per_step / length as u64;
        if facts.partial_batch * 4 < full {
            remarks.push(format!("the last step of an epoch has only {} of {full} windows", facts.partial_batch));
        }
    }
    if let Some(from) = from
        && length > from.config.context
    {
        remarks.push(format!(
            "windows of {length} tokens are longer than the {} that the model in {} was made for",
            from.config.context,
            from.folder.display()
        ));
    }
    if let Some(from) = from.filter(|from| from.own_head) {
        remarks.push(format!(
            "the output layer in {} is not its embedding, although its config.json says that they are tied: it is kept as it is, untied",
            from.folder.display()
        ));
    }
    if facts.views > 4.0 {
        remarks.push(format!("each token is trained on {:.1} times: it may be learned by heart", facts.views));
    }
    remarks
}

/// Equal tokens are other amounts of text where the tokenizer varies.
fn unequal_text(trials: &[Trial]) -> Option<Warning> {
    let counts_tokens = |trial: &Trial| matches!(trial.settings.train.budget, Budget::Tokens(_) | Budget::Steps(_));
    let varies = trials.windows(2).any(|two| two[0].facts.tokenizer_hash != two[1].facts.tokenizer_hash);
    let text = "a budget in tokens or steps is another amount of text for each: `train.budget: {bytes: …}` gives each as much";
    (varies && trials.iter().any(counts_tokens))
        .then(|| Warning::Configuration { label: "the tokenizer varies".to_owned(), text: text.to_owned() })
}

fn refusal(refused: &[(String, Error)]) -> Error {
    const SHOWN: usize = 8;
    // What is refused for the same reason stands on one line.
    let mut reasons: Vec<(&str, usize, String)> = Vec::new();
    for (label, error) in refused {
        let why = error.chain();
        match reasons.iter_mut().find(|(_, _, other)| *other == why) {
            Some((_, count, _)) => *count += 1,
            None => reasons.push((label, 1, why)),
        }
    }
    let line = |(label, count, why): &(&str, usize, String)| match count {
        1 => format!("\n  {label}: {why}"),
        count => format!("\n  {label} (and {} more): {why}", count - 1),
    };
    let mut lines: Vec<String> = reasons.iter().take(SHOWN).map(line).collect();
    if reasons.len() > SHOWN {
        let more: usize = reasons[SHOWN..].iter().map(|(_, count, _)| count).sum();
        lines.push(format!("\n  … and {more} more"));
    }
    let count = if refused.len() == 1 { "one configuration".to_owned() } else { format!("{} configurations", refused.len()) };
    let error = Error::usage(format!("{count} cannot be trained:{}", lines.concat()));
    match refused.first().and_then(|(_, error)| error.help_text()) {
        Some(help) => error.help(help),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_for_one_reason_stands_on_one_line() {
        let refused = [("a", "too short"), ("b", "too short"), ("c", "too large")];
        let refused = refused.map(|(label, why)| (label.to_owned(), Error::usage(why).help("take another")));
        let error = refusal(&refused);
        assert_eq!(error.chain(), "3 configurations cannot be trained:\n  a (and 1 more): too short\n  c: too large");
        assert_eq!(error.help_text(), Some("take another"));
    }
}
