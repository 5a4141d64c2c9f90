//! From configurations to trials: what each one comes to, and which cannot be.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use serde_json::{Value, json};

use super::same_tokenizers::SameTokenizers;
use super::{
    Circumstances, EpochShape, EvaluationPlan, Excluded, Facts, Known, Plan, Refusal, Trial, TrialId, Warning, footprint, unfit,
};
use crate::corpus::{Prepared, Windows};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::experiment::settings::{BatchSize, Budget, ClipNorm, Engine, Model, Part, Settings, Tokenizer};
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

    let mut plan = Plan {
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
    let (mut refused, mut remarked) = (Vec::new(), Vec::new());
    let (mut hashes, mut tokenizers, mut same) = (HashSet::new(), HashMap::new(), SameTokenizers::default());
    for Configuration { mut settings, values } in expansion.configurations {
        let known = known(&settings)?;
        // Folders often share a tokenizer: it has one name then, so that the report sees that it is one.
        if let Tokenizer::File { path } = &mut settings.tokenizer {
            let content = (known.prepared.tokenizer_hash.clone(), known.prepared.end_of_text);
            path.clone_from(tokenizers.entry(content).or_insert_with(|| path.clone()));
        }
        same.add(known.from.is_none().then_some(&settings.tokenizer), &known.prepared);
        let mut description = Description::of(&settings, &known, circumstances.device);
        let hash = description.id(None);
        // Two ways to write the same (a stride equal to the sequence length, say) are one configuration.
        if !hashes.insert(hash.clone()) {
            plan.merged += 1;
            continue;
        }
        let facts = match facts_of(&settings, &known, common_context, circumstances) {
            Ok(facts) => facts,
            Err(error) => {
                refused.push((plan.label_of(&values), error));
                continue;
            }
        };
        plan.configurations += 1;
        let label = plan.label_of(&values);
        remarked.extend(
            remarks(&settings, &facts, known.from.as_ref())
                .into_iter()
                .map(|text| Warning::Configuration { label: label.clone(), text }),
        );
        let ids: Vec<TrialId> = experiment.seeds.iter().map(|&seed| description.id(Some(seed))).collect();
        let configuration = plan.numbers.of(hash.to_string(), &ids);
        for (id, &seed) in ids.into_iter().zip(&experiment.seeds) {
            let (settings, facts, values, from) = (settings.clone(), facts.clone(), values.clone(), known.from.clone());
            plan.trials.push(Trial { id, configuration, seed, values, settings, facts, from });
        }
    }
    if !refused.is_empty() {
        return Err(refusal(&refused).into());
    }
    warnings.extend(same.notes());
    warnings.extend(remarked);
    warnings.extend(unequal_text(&plan.trials));
    Ok((plan, warnings))
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
            Some((config, full_batch(settings, windows_of(settings, &known.prepared).count()) as usize))
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

impl Plan {
    /// A configuration as a person names it: what is swept, with its values: `length 64 · stride 32 · batch 8 · clip off`.
    pub fn label_of(&self, values: &[String]) -> String {
        if values.is_empty() {
            return "the only configuration".to_owned();
        }
        let pairs = self.swept.iter().zip(values).map(|(key, value)| format!("{} {value}", label_name(key)));
        pairs.collect::<Vec<_>>().join(" · ")
    }

    /// The label of a trial's configuration.
    pub fn label(&self, trial: &Trial) -> String {
        self.label_of(&trial.values)
    }
}

/// What a swept key is called where configurations are named, again and again: one word where one is enough.
pub fn label_name(key: &str) -> String {
    match key {
        "train.sequence_length" => "length".to_owned(),
        "train.batch_size" => "batch".to_owned(),
        "train.clip_norm" => "clip".to_owned(),
        key => short_name(key),
    }
}

/// The last name of a dotted key, its words apart: `train.sequence_length` → `sequence length`.
fn short_name(key: &str) -> String {
    match key {
        "tokenizer" => "tokenizer".to_owned(),
        key => key.rsplit('.').next().unwrap_or(key).replace('_', " "),
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
        let evaluate = &self.settings.evaluate;
        let costs = super::Costs {
            training: match train.budget {
                // Unknown before it runs: taken as long enough for a few thousand tokens each time.
                Budget::Minutes(_) => f64::INFINITY,
                _ => self.facts.flops,
            },
            scoring_a_token: shape::scoring_flops_per_token(&config, common_context),
            at_most: evaluate.at_most,
            every: evaluate.every,
        };
        let mut plan = EvaluationPlan::new(common_context, self.facts.validation_tokens, costs);
        if let Budget::Minutes(_) = train.budget {
            plan.periodic_tokens = plan.periodic_tokens.min(8_192);
            plan.share = 0.0;
        }
        Ok(plan)
    }
}

fn windows_of(settings: &Settings, prepared: &Prepared) -> Windows {
    Windows::new(prepared.train.tokens, settings.train.sequence_length, settings.train.stride())
}

/// Lc: what the file sets, else what an earlier run fixed, else the smallest sequence length.
fn common_context(experiment: &Experiment, circumstances: Circumstances<'_>, configurations: &[Configuration]) -> usize {
    let smallest = configurations.iter().map(|c| c.settings.train.sequence_length).min().unwrap_or(1);
    // An earlier run's context is too long for a configuration that joined later: the smallest length is all they share. One that
    // the file sets is never longer, which is checked when the experiment is expanded.
    experiment.base.evaluate.context.or(circumstances.common_context).map_or(smallest, |context| context.min(smallest))
}

/// What trials have in common of which one may turn out to be the same as another: everything but their seed, what their
/// tokenizer is called where it is the same one and, `with_any_clip_norm`, their clip norm.
pub fn kinship(settings: &Settings, known: &Known, device: Device, with_any_clip_norm: bool) -> TrialId {
    let mut settings = settings.clone();
    settings.tokenizer = Tokenizer::default();
    if with_any_clip_norm {
        settings.train.clip_norm = ClipNorm::Off;
    }
    let (hash, end) = (&known.prepared.tokenizer_hash, known.prepared.end_of_text);
    TrialId::of(&format!("{} {hash} {end:?}", Description::of(&settings, known, device).id(Some(0))))
}

/// What a trial's id is the hash of; without a seed, its configuration's.
struct Description(Value);

impl Description {
    fn of(settings: &Settings, known: &Known, device: Device) -> Self {
        // The hash of a folder to start from covers its tokenizer, as it lies there.
        let as_it_lies = known.from.is_some() && known.prepared.turned_off.is_empty();
        let own = matches!(settings.tokenizer, Tokenizer::File { .. }) && !as_it_lies;
        let tokenizer = own.then_some(&known.prepared.tokenizer_hash);
        let mut description = json!({
            // Of a text that names the end-of-text token other tokens were learned before.
            "version": if known.prepared.names_end_of_text { 2 } else { 1 },
            "settings": settings.identity(),
            "seed": null,
            "device": device.kind(),
            "text": known.prepared.text_hash,
            "tokenizer": tokenizer,
            "from": known.from.as_ref().map(|from| &from.hash),
        });
        // On NVIDIA GPUs candle came first.
        if matches!(device, Device::Cuda(_)) && settings.run.engine == Engine::Own {
            description["engine"] = json!(Engine::Own);
        }
        Self(description)
    }

    fn id(&mut self, seed: Option<u64>) -> TrialId {
        self.0["seed"] = seed.into();
        TrialId::of(&self.0.to_string())
    }
}

/// What a trial comes to. Fails where its text is too short for a window, or its model too large for the memory.
fn facts_of(settings: &Settings, known: &Known, common_context: usize, circumstances: Circumstances<'_>) -> Result<Facts> {
    let train = &settings.train;
    let (length, prepared) = (train.sequence_length, &known.prepared);
    let windows = windows_of(settings, prepared);
    has_windows(settings, prepared, &windows)?;
    let config = Config::of(&settings.model, known.from.as_ref(), prepared.vocabulary, length)?;
    let batch = match train.batch_size {
        BatchSize::Windows(n) => n as u64,
        BatchSize::Full => windows.count(),
    };
    let full_batch = full_batch(settings, windows.count());
    let epoch = EpochShape { windows: windows.count(), batch, length: length as u64 };
    let bytes_per_token = prepared.train.bytes as f64 / prepared.train.tokens as f64;
    let trained = epoch.length_of(train.budget, bytes_per_token)?;
    let (steps, tokens) = trained.map_or((0, 0), |t| (t.steps, t.tokens));
    let memory_bytes = footprint::memory(&config, settings, full_batch as usize, prepared.scored_tokens, circumstances)?;
    fits_memory(memory_bytes, &config, length, circumstances)?;
    let distinct = trained.map_or(windows.distinct_targets(), |t| distinct_targets(&windows, t.windows));
    let whole = Windows::new(prepared.text_tokens, length, train.stride());
    let flops = tokens as f64 * shape::training_flops_per_token(&config, length);
    debug_assert!(common_context <= length, "the common context is one that every configuration has");
    Ok(Facts {
        text_hash: prepared.text_hash.clone(),
        validation_hash: prepared.validation_hash.clone(),
        tokenizer_hash: prepared.tokenizer_hash.clone(),
        vocabulary: prepared.vocabulary as u64,
        text_tokens: prepared.text_tokens,
        text_windows: whole.count(),
        train_tokens: prepared.train.tokens,
        train_bytes: prepared.train.bytes,
        validation_tokens: prepared.scored_tokens,
        validation_words: prepared.scored_words,
        unknown_share: prepared.unknown_share,
        windows: windows.count(),
        steps_per_epoch: epoch.steps(),
        partial_batch: epoch.partial(),
        steps,
        tokens_per_step: full_batch * length as u64,
        target_tokens: tokens,
        distinct_targets: distinct,
        views: tokens as f64 / distinct.max(1) as f64,
        epochs: trained.map_or(0.0, |t| t.windows as f64 / windows.count() as f64),
        parameters: shape::parameter_count(&config),
        flops,
        memory_bytes,
        disk_bytes: footprint::disk(&config, settings, prepared.scored_tokens, steps, common_context),
    })
}

/// Whether the training part and what is scored of the validation part have a window each.
fn has_windows(settings: &Settings, prepared: &Prepared, windows: &Windows) -> Result<()> {
    let length = settings.train.sequence_length;
    let needed = Windows::smallest_text(length);
    if windows.count() == 0 {
        // A held-out part must hold a window as well: the smaller of the two shares decides.
        let whole = prepared.text_tokens.max(1) as f64;
        let mut share = prepared.train.tokens as f64 / whole;
        if let Part::Fraction(held_out) = settings.corpus.validation {
            share = share.min(held_out);
        }
        let whole = (needed as f64 / share.max(1e-9)).ceil();
        return Err(Error::usage(format!(
            "the training part has {} tokens, and one window of {length} needs {needed}: {length} inputs and the target after the last",
            prepared.train.tokens
        ))
        .help(format!("take a text of about {whole:.0} tokens or more, or a shorter `train.sequence_length`")));
    }
    if let Some(validation) = &prepared.validation
        && prepared.scored_tokens < needed
    {
        return Err(Error::usage(format!(
            "the scored validation part has {} tokens (of {}), and one window of {length} needs {needed}",
            prepared.scored_tokens, validation.tokens
        ))
        .help("hold out more with `corpus.validation`, or score more with `evaluate.max_bytes`"));
    }
    Ok(())
}

/// Whether a model that takes so much fits into the memory that there is.
fn fits_memory(memory_bytes: u64, config: &Config, length: usize, circumstances: Circumstances<'_>) -> Result<()> {
    if let Some(memory) = circumstances.memory_bytes
        && memory_bytes > memory
    {
        let (memory_of, instead) = match circumstances.device {
            Device::Cpu => ("memory", "fewer `run.threads`"),
            _ => ("the device's memory", "train on the processor (`--device cpu`)"),
        };
        return Err(Error::usage(format!(
            "about {} of {memory_of} are needed ({} parameters, windows of {length} tokens), and there are {}",
            mebibytes(memory_bytes),
            shape::parameter_count(config),
            mebibytes(memory)
        ))
        .help(format!("take a smaller model, a shorter `train.sequence_length` or {instead}")));
    }
    Ok(())
}

/// Windows of a step that is not an epoch's last one, of so many in an epoch.
fn full_batch(settings: &Settings, windows: u64) -> u64 {
    match settings.train.batch_size {
        BatchSize::Windows(batch) => windows.min(batch as u64),
        BatchSize::Full => windows,
    }
}

/// Different targets among `seen` windows. From one epoch on these are all; in a part of an epoch each target that lies in k
/// windows is missed with probability (1 − share)^k, so this is what is to be expected of a shuffled order.
fn distinct_targets(windows: &Windows, seen: u64) -> u64 {
    let count = windows.count();
    if seen >= count {
        return windows.distinct_targets();
    }
    let share = seen as f64 / count as f64;
    let views = windows.length as f64 / windows.stride as f64;
    let met = 1.0 - (1.0 - share).powf(views.max(1.0));
    (windows.distinct_targets() as f64 * met).round() as u64
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
    if facts.partial_batch > 0 && facts.windows > facts.partial_batch {
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
    let mut lines: Vec<String> =
        refused.iter().take(SHOWN).map(|(label, error)| format!("\n  {label}: {}", error.chain())).collect();
    if refused.len() > SHOWN {
        lines.push(format!("\n  … and {} more", refused.len() - SHOWN));
    }
    let count = if refused.len() == 1 { "one configuration".to_owned() } else { format!("{} configurations", refused.len()) };
    let error = Error::usage(format!("{count} cannot be trained:{}", lines.concat()));
    match refused.first().and_then(|(_, error)| error.help_text()) {
        Some(help) => error.help(help),
        None => error,
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20))
}
