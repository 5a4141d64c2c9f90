//! What else differs between configurations than what was swept, and what it forbids to say.
//!
//! Two sorts. What **follows by arithmetic** from a swept setting (a smaller batch makes more steps of the same tokens) cannot be
//! taken apart from it: it is listed as "also changed". What differs **outside** the swept settings (program, device, processor,
//! tokenizer, text, protocol, seeds, budget) could be the reason of a difference all alone: there the word "better" is refused, and said why.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::comparison::{Comparison, Configuration};
use super::controlled::{amount, forbidding};
use super::design::Design;
use super::subject::{QUANTITIES, Quantity, Subject, subjects};
use super::trials::Trials;
use crate::error::Result;
use crate::report::wording;
use crate::words;

/// Two values are told apart from this ratio on: a budget ends with the first step that reaches it, so that tokens of equal
/// budgets differ by less than a step.
const APART: f64 = 1.01;

/// Settings for which another learning rate may suit best; the tests say why each other setting is not one.
const RECIPE: [&str; 22] = [
    "tokenizer",
    "model.family",
    "model.layers",
    "model.heads",
    "model.width",
    "model.kv_heads",
    "model.dropout",
    "model.bias",
    "model.tied",
    "model.activation",
    "model.from",
    "train.sequence_length",
    "train.batch_size",
    "train.clip_norm",
    "train.budget",
    "train.schedule",
    "train.warmup",
    "train.final_learning_rate",
    "train.weight_decay",
    "train.beta1",
    "train.beta2",
    "train.epsilon",
];

/// What is confounded in an experiment.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Confounding {
    /// What follows from the swept settings, with its range over the configurations.
    pub(super) also_changed: Vec<Changed>,
    /// What differs outside them between the first configuration and others.
    pub(super) uncontrolled: Vec<Uncontrolled>,
    /// What a verdict holds at: `at this budget (200,000 tokens)`.
    pub(super) labels: Vec<String>,
    /// The swept settings for people.
    swept: Vec<String>,
}

/// A quantity that changed along.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Changed {
    /// Which.
    pub(super) quantity: Quantity,
    /// The smallest over the configurations; of a pair that of the first.
    pub(super) low: f64,
    /// The largest; of a pair that of the second.
    pub(super) high: f64,
    /// The setting that it is equal to everywhere, where that is why it changed.
    pub(super) follows: Option<&'static str>,
}

/// Something outside the swept settings.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Uncontrolled {
    /// `program`, `device`, `processor`, `tokenizer`, `text`, `protocol`, `seeds`, `budget`.
    pub(super) what: &'static str,
    /// The same in words.
    name: &'static str,
    /// Ranked configurations that differ in it from the first.
    pub(super) configurations: usize,
    /// Ranked configurations beside the first.
    pub(super) of: usize,
    /// What it is for the first, and for the others.
    pub(super) values: Vec<String>,
}

/// What is confounded in the trials of this table.
pub(super) fn confounding(trials: &Trials, design: &Design, comparison: &Comparison) -> Result<Confounding> {
    let subjects = subjects(trials, design.score())?;
    Ok(of(&subjects, design, comparison))
}

fn of(subjects: &[Subject], design: &Design, comparison: &Comparison) -> Confounding {
    let swept = wording::apart(&design.swept, wording::key);
    let ranked: Vec<&Configuration> = comparison.configurations.iter().filter(|c| c.place.is_some()).collect();
    let mut by_number: BTreeMap<i64, Vec<&Subject>> = BTreeMap::new();
    for subject in subjects.iter().filter(|s| s.counts()) {
        by_number.entry(subject.configuration).or_default().push(subject);
    }
    let trials = |c: &Configuration| by_number.get(&c.number).map_or(&[] as &[&Subject], Vec::as_slice);
    let mut uncontrolled: Vec<Uncontrolled> = Vec::new();
    if let Some((first, others)) = ranked.split_first() {
        let leader = trials(first);
        let chosen = |key: &str| design.swept.iter().any(|s| covers(s, key));
        for other in others {
            for forbids in forbidding(leader, trials(other), &chosen) {
                match uncontrolled.iter_mut().find(|u| u.name == forbids.name) {
                    Some(known) => {
                        known.configurations += 1;
                        if !known.values.contains(&forbids.second) {
                            known.values.push(forbids.second);
                        }
                    }
                    None => uncontrolled.push(Uncontrolled {
                        what: forbids.what,
                        name: forbids.name,
                        configurations: 1,
                        of: others.len(),
                        values: vec![forbids.first, forbids.second],
                    }),
                }
            }
        }
    }
    Confounding {
        also_changed: also_changed(subjects, &design.swept),
        uncontrolled,
        labels: labels(subjects, &design.swept),
        swept,
    }
}

/// Whether a swept key is this setting, or a part of it.
pub(super) fn covers(swept: &str, setting: &str) -> bool {
    swept == setting || swept.strip_prefix(setting).is_some_and(|rest| rest.starts_with('.'))
}

/// The quantities that differ between these trials, with their smallest and largest value.
pub(super) fn also_changed(subjects: &[Subject], swept: &[String]) -> Vec<Changed> {
    let one = |key: &str| subjects.iter().all(|s| s.setting(key) == subjects[0].setting(key));
    let budgets = swept.iter().any(|key| covers(key, "train.budget"));
    let mut changed = Vec::new();
    for (place, quantity) in QUANTITIES.into_iter().enumerate() {
        let values = subjects.iter().filter_map(|s| s.quantities[place]);
        let (low, high) = values.fold((f64::INFINITY, 0.0), |(low, high): (f64, f64), v| (low.min(v), high.max(v)));
        // Bytes go with tokens unless their ratio changes; a swept budget or stride is what was asked for.
        let same_as_another = match quantity.key {
            "trained_bytes" => one("tokenizer") && subjects.iter().all(|s| s.content == subjects[0].content),
            "target_tokens" => budgets && one("train.sequence_length") && one("train.batch_size"),
            "stride" => swept.iter().any(|key| covers(key, "train.stride")),
            _ => false,
        };
        if high > low * APART && !same_as_another {
            let follows = quantity.key == "stride" && subjects.iter().all(|s| s.follows("train.stride"));
            changed.push(Changed { quantity, low, high, follows: follows.then_some("train.sequence_length") });
        }
    }
    changed
}

/// What a verdict about these trials holds at.
pub(super) fn labels(subjects: &[Subject], swept: &[String]) -> Vec<String> {
    let mut labels = Vec::new();
    let values = |key: &str| subjects.iter().filter_map(|s| s.setting(key)).collect::<BTreeSet<_>>();
    if swept.is_empty() {
        return labels;
    }
    let budgets = values("train.budget");
    match budgets.iter().next() {
        Some(budget) if budgets.len() == 1 => labels.push(format!("at this budget ({})", amount(budget))),
        _ => {}
    }
    let rates = values("train.learning_rate");
    let touches_rate = swept.iter().any(|key| RECIPE.iter().any(|setting| covers(key, setting)));
    match rates.iter().next() {
        Some(rate) if rates.len() == 1 && touches_rate => {
            labels.push(format!("at this learning rate ({rate}, the same for all)"));
        }
        _ => {}
    }
    labels
}

impl Changed {
    /// `steps 195 to 1,563`; `FLOPs about 1.5e11` where both ends look the same; `stride 32 to 64, as it follows the sequence length`.
    pub(super) fn sentence(self) -> String {
        let [low, high] = [self.low, self.high].map(|value| self.quantity.shown(value));
        let name = self.quantity.name;
        let why = self.follows.map_or_else(String::new, |key| format!(", as it follows the {}", wording::key(key)));
        if low == high { format!("{name} about {low}{why}") } else { format!("{name} {low} to {high}{why}") }
    }
}

impl Uncontrolled {
    /// `program (votive 0.1.0, votive 0.2.0) in 3 of 11`.
    fn words(&self) -> String {
        let values: Vec<String> = self.values.iter().map(|value| wording::plain(value)).collect();
        let (n, of) = (words::thousands(self.configurations as i64), words::thousands(self.of as i64));
        format!("the {} ({}) for {n} of {of}", self.name, values.join("; "))
    }
}

impl Confounding {
    /// Whether ranked configurations differ in something that could be the reason of a difference all alone, so that none can be
    /// said to be beaten. Other seeds are no reason: that they differ is what the statistics are about.
    pub(super) fn forbids_a_set(&self) -> bool {
        self.uncontrolled.iter().any(|u| u.what != "seeds")
    }

    /// What belongs to a verdict: at what it holds, and what forbids to call the first one better.
    pub(super) fn sentences(&self) -> Vec<String> {
        let mut sentences = Vec::new();
        if !self.labels.is_empty() {
            sentences.push(format!("This holds {}.", self.labels.join(" and ")));
        }
        if !self.uncontrolled.is_empty() {
            let list: Vec<String> = self.uncontrolled.iter().map(Uncontrolled::words).collect();
            sentences.push(format!(
                "It is not called better than configurations that differ from it outside the swept settings, in {}.",
                list.join(", in ")
            ));
        }
        sentences
    }

    /// What changed along, in a sentence; `None` where nothing did.
    pub(super) fn note(&self) -> Option<String> {
        let changed: Vec<String> = self.also_changed.iter().map(|changed| changed.sentence()).collect();
        let with = words::listed(&self.swept);
        (!changed.is_empty() && !self.swept.is_empty()).then(|| format!("Also changed with {with}: {}.", changed.join(", ")))
    }

    /// As `summary.json` has it: `also_changed` [{`quantity`, `name`, `low`, `high`}] · `uncontrolled` [{`what`,
    /// `configurations`, `of`, `values`}] · `holds` (what a verdict holds at).
    pub(super) fn json(&self) -> Value {
        let changed: Vec<Value> = self.also_changed.iter().map(|c| c.json("low", "high")).collect();
        let uncontrolled: Vec<Value> = self
            .uncontrolled
            .iter()
            .map(|u| json!({ "what": u.what, "configurations": u.configurations, "of": u.of, "values": u.values }))
            .collect();
        json!({ "also_changed": changed, "uncontrolled": uncontrolled, "holds": self.labels })
    }
}

impl Changed {
    /// As JSON, its two values by these names.
    pub(super) fn json(&self, low: &str, high: &str) -> Value {
        json!({ "quantity": self.quantity.key, "name": self.quantity.name, low: self.low, high: self.high })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Device;
    use crate::experiment::settings::{BatchSize, ClipNorm};
    use crate::plan::Plan;
    use crate::record::TrialState;
    use crate::record::tests::{completed, plan};
    use crate::report::comparison::compare;
    use crate::report::frames;
    use crate::runs::ExperimentFolder;

    /// Two lengths, two seeds; the second half as many steps and twice as many tokens a step.
    fn lengths() -> (Plan, Vec<TrialState>) {
        let mut plan = plan(&[32, 64], &[ClipNorm::Off], &[1, 2]);
        plan.swept = vec!["train.sequence_length".to_owned()];
        for trial in &mut plan.trials {
            trial.values.truncate(1);
            let long = trial.settings.train.sequence_length == 64;
            let facts = &mut trial.facts;
            (facts.steps, facts.tokens_per_step) = if long { (195, 1024) } else { (391, 512) };
            facts.target_tokens = facts.steps * facts.tokens_per_step;
            (facts.parameters, facts.flops) = (100_000, if long { 1.3e12 } else { 1.2e12 });
            (facts.train_bytes, facts.train_tokens) = (3000, 3000);
            trial.settings.train.budget = crate::experiment::settings::Budget::Tokens(199_680);
        }
        let states = [2.0, 2.1, 1.8, 1.9].map(|loss| completed(loss, None)).to_vec();
        (plan, states)
    }

    fn confounded(plan: &Plan, states: &[TrialState]) -> Confounding {
        let dir = tempfile::tempdir().unwrap();
        let folder = ExperimentFolder::new(dir.path(), "night");
        std::fs::create_dir_all(folder.path()).unwrap();
        crate::record::write_trials(&folder.trials_parquet(), plan, states).unwrap();
        let table = Trials::of(frames::read(&folder.trials_parquet(), None).unwrap()).unwrap();
        let columns: Vec<String> = table.columns().map(str::to_owned).collect();
        let mut design = Design::of(crate::runs::Description::default(), &folder, &columns);
        design.swept.clone_from(&plan.swept);
        confounding(&table, &design, &compare(&table, &design).unwrap()).unwrap()
    }

    #[test]
    fn what_follows_from_the_swept_setting_is_listed_with_its_range() {
        let (plan, states) = lengths();
        let found = confounded(&plan, &states);
        assert_eq!(
            found.note().unwrap(),
            "Also changed with sequence length: steps 195 to 391, tokens per step 512 to 1,024, warm-up steps 10 to 20, FLOPs \
             1.2e12 to 1.3e12, own context 32 to 64, stride 32 to 64, as it follows the sequence length."
        );
        assert!(found.uncontrolled.is_empty());
        assert_eq!(
            found.sentences(),
            ["This holds at this budget (199,680 tokens) and at this learning rate (0.001, the same for all)."]
        );
        let json = found.json();
        assert_eq!(json["also_changed"][0], json!({"quantity": "steps", "name": "steps", "low": 195.0, "high": 391.0}));
    }

    #[test]
    fn another_program_or_device_forbids_the_word_better_and_its_number_does_not() {
        let (plan, mut states) = lengths();
        states[0].outcome.as_mut().unwrap().program = "votive 0.0.9".to_owned();
        for (number, state) in states.iter_mut().enumerate() {
            state.attempts[0].device = Device::Cuda(number as u32);
        }
        let found = confounded(&plan, &states);
        let [one] = found.uncontrolled.as_slice() else { panic!("{:?}", found.uncontrolled) };
        assert_eq!((one.what, one.configurations, one.of), ("program", 1, 1));
        assert_eq!(
            found.sentences()[1],
            "It is not called better than configurations that differ from it outside the swept settings, in the program (votive \
             0.1.0; votive 0.0.9, votive 0.1.0) for 1 of 1."
        );
        states[0].outcome.as_mut().unwrap().program = "votive 0.1.0".to_owned();
        states[3].attempts[0].device = Device::Cpu;
        assert_eq!(confounded(&plan, &states).uncontrolled[0].what, "device");
    }

    #[test]
    fn what_could_be_the_reason_all_alone_forbids_a_set_and_other_seeds_do_not() {
        let (mut plan, states) = lengths();
        assert!(!confounded(&plan, &states).forbids_a_set());
        let with = |change: &dyn Fn(&mut crate::runs::Outcome)| {
            let mut states = states.clone();
            for (number, state) in states.iter_mut().enumerate() {
                let outcome = state.outcome.as_mut().unwrap();
                (outcome.arithmetic, outcome.processor) = (Some(4), Some("AMD EPYC 9R14 (AVX2)".to_owned()));
                if number == 0 {
                    change(outcome);
                }
            }
            confounded(&plan, &states)
        };
        assert!(!with(&|outcome| outcome.program = "votive 0.0.9".to_owned()).forbids_a_set(), "one arithmetic");
        let other = with(&|outcome| outcome.arithmetic = Some(3));
        assert!(other.forbids_a_set());
        assert!(other.sentences()[1].ends_with("in the arithmetic (version 4; version 3, version 4) for 1 of 1."), "{other:?}");
        assert_eq!(other.json()["uncontrolled"][0]["what"], "program");
        let other = with(&|outcome| outcome.processor = Some("aarch64 (NEON)".to_owned()));
        assert!(other.forbids_a_set());
        assert_eq!(other.uncontrolled[0].what, "processor");
        for trial in &mut plan.trials[2..] {
            trial.seed += 10;
        }
        let seeds = confounded(&plan, &states);
        assert_eq!((seeds.uncontrolled[0].what, seeds.forbids_a_set()), ("seeds", false));
    }

    #[test]
    fn a_swept_learning_rate_is_no_condition_and_a_stride_does_not_ask_for_another() {
        let (mut plan, states) = lengths();
        for trial in &mut plan.trials[2..] {
            trial.settings.train.learning_rate = 3e-3;
        }
        assert_eq!(confounded(&plan, &states).labels, ["at this budget (199,680 tokens)"]);
        let (mut plan, states) = lengths();
        plan.swept = vec!["train.stride".to_owned()];
        assert_eq!(confounded(&plan, &states).labels, ["at this budget (199,680 tokens)"]);
        plan.trials[0].settings.train.batch_size = BatchSize::Full;
        plan.swept = vec!["train.batch_size".to_owned()];
        assert_eq!(confounded(&plan, &states).labels.len(), 2);
    }

    #[test]
    fn a_stride_that_was_chosen_is_not_told_as_following() {
        let (mut plan, states) = lengths();
        plan.swept.push("train.stride".to_owned());
        for trial in &mut plan.trials {
            let stride = trial.settings.train.sequence_length / 2;
            trial.settings.train.stride = Some(stride);
            trial.values.push(stride.to_string());
        }
        let note = confounded(&plan, &states).note().unwrap();
        assert!(
            note.ends_with("own context 32 to 64.") && note.starts_with("Also changed with sequence length and stride: "),
            "{note}"
        );
    }

    /// Settings that a sweep may change without asking for another learning rate, and why.
    const NOT_RECIPE: [(&str, &str); 10] = [
        ("corpus.text", "another text is another task, and what differs there is told as that"),
        ("corpus.field", "says which text is read"),
        ("corpus.join", "says which text is read"),
        ("corpus.max_bytes", "says which text is read"),
        ("corpus.validation", "is what is scored, not what is learned from"),
        ("corpus.test", "is what is scored, not what is learned from"),
        ("train.stride", "the same tokens come in other windows, as many of them in a step as before"),
        ("train.shuffle", "the same windows come in another order"),
        ("train.learning_rate", "is the learning rate itself"),
        ("train.precision", "products are rounded by far less than gradients scatter from batch to batch"),
    ];

    #[test]
    fn every_setting_is_known_to_ask_for_another_learning_rate_or_not_to() {
        let (plan, states) = lengths();
        let subjects = super::super::subject::tests::of(&plan, &states);
        let all: BTreeSet<&str> = subjects[0].settings.iter().map(|(key, _)| key.as_str()).collect();
        let not = NOT_RECIPE.iter().map(|&(key, why)| {
            assert!(!why.is_empty());
            key
        });
        let mut known = BTreeSet::new();
        for key in RECIPE.into_iter().chain(not) {
            assert!(known.insert(key), "{key} is listed twice");
        }
        assert_eq!(known, all, "a setting belongs into RECIPE, or into NOT_RECIPE with the reason");
    }

    #[test]
    fn what_asks_for_another_learning_rate_is_told_at_which_one_it_was_compared() {
        let (mut plan, states) = lengths();
        let mut labels = |key: &str| {
            plan.swept = vec![key.to_owned()];
            confounded(&plan, &states).labels
        };
        let rate = "at this learning rate (0.001, the same for all)".to_owned();
        for key in RECIPE.into_iter().chain(["tokenizer.vocab_size", "train.budget.minutes"]) {
            assert!(labels(key).contains(&rate), "{key}");
        }
        for (key, _) in NOT_RECIPE {
            assert!(!labels(key).contains(&rate), "{key}");
        }
        // Minutes that are swept are no condition either.
        for (trial, minutes) in plan.trials.iter_mut().zip([1.5, 1.5, 3.0, 3.0]) {
            trial.settings.train.budget = crate::experiment::settings::Budget::Minutes(minutes);
        }
        plan.swept = vec!["train.budget".to_owned()];
        assert_eq!(confounded(&plan, &states).labels, [rate]);
    }
}
