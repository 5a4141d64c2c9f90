//! What `plan`, `explain` and `run` have in common: the file is read, the text prepared, the plan made.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::args::Planning;
use super::git;
use super::output::{Failure, say, say_as_is, style};
use super::show::words::{counted, thousands};
use crate::corpus::{self, Part, Prepared, References, Stage};
use crate::device::Device;
use crate::durable;
use crate::error::{Error, Kind, Result};
use crate::experiment::settings::{self, DeviceChoice, Precision, Settings};
use crate::experiment::{Experiment, Filter, Overrides, Problems, load};
use crate::model::Pretrained;
use crate::model::gpu::cuda::Listed;
use crate::plan::{self, Circumstances, Known, Numbers, Plan, Refusal, Trial, TrialId, Warning, build};
use crate::runs::ExperimentFolder;
use crate::schedule::Machine;
use crate::train::device::{self, Found};
use crate::train::{Job, pretrained};

/// Remarks about configurations that are shown.
const REMARKS: usize = 8;

/// An experiment with its plan.
pub(super) struct Session {
    pub(super) experiment: Experiment,
    pub(super) folder: ExperimentFolder,
    /// What trials run on.
    pub(super) device: Device,
    /// What the driver says of it, where it is an NVIDIA GPU.
    gpu: Option<Listed>,
    /// What is asked for: all of it, or what `--only` leaves.
    pub(super) plan: Plan,
    /// All of it, where `--only` took some away.
    whole: Option<Plan>,
    corpora: Corpora,
}

impl Session {
    /// Reads the file, prepares its texts in the experiment's folder, and plans. Warnings go to standard error.
    pub(super) fn open(arguments: &Planning) -> Result<Self, Failure> {
        let mut overrides = arguments.file.overrides()?;
        let anew = arguments.device.is_some();
        if let Some(device) = &arguments.device {
            overrides.set.push(format!("run.device={device}"));
        }
        Self::with(&arguments.file.file, &overrides, &arguments.runs, arguments.only.as_deref(), arguments.max_trials, anew)
    }

    /// As [`Session::open`], from its parts. `anew`: the device is chosen as if no trial had run yet.
    pub(super) fn with(
        file: &Path,
        overrides: &Overrides,
        runs: &Path,
        only: Option<&str>,
        limit: u64,
        anew: bool,
    ) -> Result<Self, Failure> {
        let (experiment, warnings) = load(file, overrides)?;
        for warning in &warnings {
            say_as_is(&warning.render(style()));
        }
        let filter = only.map(Filter::parse).transpose()?;
        let folder = ExperimentFolder::new(runs, &experiment.name);
        let before = Summary::read(&folder).ok();
        let kept = before.as_ref().and_then(|summary| summary.device).filter(|_| !anew);
        let Found { device, gpu, .. } = usable_device(&experiment, kept)?;
        let corpora = Corpora::new(experiment.folder.clone(), folder.clone());
        let fixed = before.as_ref().and_then(|summary| summary.common_context);
        let numbers = numbers(&folder, before);
        let machine = Machine::this();
        let memory_bytes = if device.is_cpu() { machine.memory.total } else { gpu.as_ref().map(|gpu| gpu.memory) };
        let threads = experiment.base.run.threads.unwrap_or(machine.cores);
        let circumstances = Circumstances { device, memory_bytes, threads, limit, common_context: fixed, numbers: &numbers };
        let (mut known, mut look) = (|settings: &Settings| corpora.known(settings), |from: &str| corpora.folder(from));
        let (mut plan, warnings) = match build(&experiment, circumstances, &mut known, &mut look) {
            Ok(built) => built,
            Err(Refusal::File(problems)) => return Err(problems.into()),
            Err(Refusal::Other(error)) => {
                return Err(match error.setting() {
                    Some(setting) => experiment.problem_with(setting, &error).into(),
                    None => error.into(),
                });
            }
        };
        corpora.tell();
        if let Some(field) = corpora.unused_field() {
            return Err(unused_field(&experiment, &field).into());
        }
        warn(&warnings);
        let mut whole = None;
        if let Some(filter) = filter {
            let mut kept = Vec::new();
            for trial in &plan.trials {
                if filter.matches(&trial.settings, trial.seed, trial.configuration)? {
                    kept.push(trial.clone());
                }
            }
            if kept.is_empty() {
                let error = Error::usage(format!("no trial fits `--only {}`", only.unwrap_or_default()));
                return Err(error.help("see the trials with `votive plan`").into());
            }
            let rest = Plan { trials: kept, ..plan.clone() };
            whole = Some(std::mem::replace(&mut plan, rest));
        }
        Ok(Self { experiment, folder, device, gpu, plan, whole, corpora })
    }

    /// What trials run on, in words.
    pub(super) fn device_in_words(&self) -> String {
        match &self.gpu {
            Some(gpu) => format!("{} ({})", self.device, gpu.name),
            None => self.device.to_string(),
        }
    }

    /// Trials at a time where so many are asked for: on a GPU one after another.
    pub(super) fn slots(&self, asked: Option<usize>) -> Option<usize> {
        if self.device.is_cpu() { asked } else { Some(1) }
    }

    /// Refuses to train what the processor does not take, where a plan only warned of it.
    pub(super) fn refuse_unfit(&self) -> Result<(), Problems> {
        let settings = self.plan.trials.iter().map(|trial| &trial.settings);
        let half = |settings: &&Settings| self.device.is_cpu() && settings.train.precision != Precision::F32;
        match settings.into_iter().find(half) {
            Some(_) => {
                let error = Error::usage("trials with another `train.precision` than `f32` need a GPU, and there is none")
                    .help("leave it at `f32`, take those trials out with `--only`, or run it on a machine with a GPU");
                Err(self.experiment.problem_with("train.precision", &error))
            }
            None => Ok(()),
        }
    }

    /// The whole plan, also where `--only` asks for a part of it: what is written down and reported.
    pub(super) fn whole(&self) -> &Plan {
        self.whole.as_ref().unwrap_or(&self.plan)
    }

    /// What `--only` leaves, in words.
    pub(super) fn only(&self) -> Option<String> {
        let whole = self.whole.as_ref()?;
        Some(format!("  `--only` leaves {} of {} trials", self.plan.trials.len(), whole.trials.len()))
    }

    /// The prepared text of a configuration, its files relative to the experiment's folder.
    pub(super) fn prepared(&self, settings: &Settings) -> Result<Prepared> {
        let known = self.corpora.known(settings)?;
        let root = self.folder.path();
        let relative = |path: &Path| path.strip_prefix(root).map_or_else(|_| path.to_owned(), Path::to_owned);
        let part = |part: &Part| Part { file: relative(&part.file), ..part.clone() };
        let prepared = &known.prepared;
        Ok(Prepared {
            tokenizer_file: relative(&prepared.tokenizer_file),
            train: part(&prepared.train),
            validation: prepared.validation.as_ref().map(part),
            test: prepared.test.as_ref().map(part),
            ..prepared.clone()
        })
    }

    /// What trials have in common of which one may turn out to be the same as another; see [`plan::kinship`].
    pub(super) fn kinship(&self, settings: &Settings, with_any_clip_norm: bool) -> Result<TrialId> {
        Ok(plan::kinship(settings, &*self.corpora.known(settings)?, self.device, with_any_clip_norm))
    }

    /// Whether two tokenizers are the same under other names.
    pub(super) fn has_equal_tokenizers(&self) -> bool {
        self.corpora.have_equal_tokenizers()
    }

    /// Every text that the trials read, with the label of its tokenizer.
    pub(super) fn texts(&self) -> Vec<(String, Rc<Known>)> {
        self.corpora.all()
    }

    /// Every text that a trial reads with every tokenizer, once by content, with the name that the report gives to the tokenizer.
    fn texts_of_trials(&self) -> Result<Vec<(String, Rc<Known>)>> {
        let (mut seen, mut texts) = (HashSet::new(), Vec::new());
        for Trial { settings, facts, .. } in &self.whole().trials {
            if seen.insert((&facts.text_hash, &facts.tokenizer_hash)) {
                texts.push((report_label(&settings.tokenizer), self.corpora.known(settings)?));
            }
        }
        Ok(texts)
    }

    /// Writes `experiment.yaml`, `experiment.json` and `plan.parquet`.
    pub(super) fn write(&self) -> Result<()> {
        let mut resolved = self.experiment.resolved();
        let texts = self.texts_of_trials()?;
        resolved["swept"] = json!(self.plan.swept);
        resolved["common_context"] = json!(self.plan.common_context);
        resolved["numbers"] = json!(self.whole().numbers);
        resolved["device"] = json!(self.device);
        resolved["program"] = json!(crate::program());
        resolved["lock_file"] = json!(crate::lock_file());
        resolved["git"] = git::commit();
        resolved["evaluate"] = json!(self.experiment.base.evaluate);
        resolved["report"] = json!(self.experiment.base.report);
        resolved["text_hash"] = json!(texts.first().map(|(_, known)| &known.prepared.text_hash));
        resolved["tokenizers"] = texts
            .iter()
            .map(|(label, known)| {
                let prepared = &known.prepared;
                json!({
                    "label": label,
                    "hash": prepared.tokenizer_hash,
                    "text_hash": prepared.text_hash,
                    "vocabulary": prepared.vocabulary,
                    "lossless": prepared.lossless,
                    "unknown_share": prepared.unknown_share,
                    "unknown_tokens": prepared.unknown_tokens,
                    "unknown_parts": prepared.unknown_parts,
                    "scored_tokens": prepared.scored_tokens.saturating_sub(1),
                    "scored_words": prepared.scored_words,
                })
            })
            .collect();
        let mut references = Vec::new();
        for (label, known) in &texts {
            if let Some(found) = References::of(&known.prepared, &self.folder.cache())? {
                let mut line = json!(found);
                line["tokenizer"] = json!(label);
                line["hash"] = json!(known.prepared.tokenizer_hash);
                line["text_hash"] = json!(known.prepared.text_hash);
                references.push(line);
            }
        }
        resolved["references"] = json!(references);
        resolved["trials"] = self
            .whole()
            .trials
            .iter()
            .map(|trial| {
                json!({"id": trial.id, "configuration": trial.configuration, "seed": trial.seed, "label": self.plan.label(trial)})
            })
            .collect();
        durable::write(&self.folder.experiment_yaml(), self.experiment.source.as_bytes())?;
        durable::write_json(&self.folder.experiment_json(), &resolved)
    }
}

/// The device that the experiment's trials run on; `kept` is the one that they ran on before. A GPU that is there and cannot be
/// used is told.
///
/// # Errors
/// One that this program on this machine does not have, at the place that names it.
pub(super) fn usable_device(experiment: &Experiment, kept: Option<Device>) -> Result<Found, Problems> {
    let run = &experiment.base.run;
    let found = device::find(run.device, kept, run.engine, cuda_libraries(experiment).as_deref()).map_err(|mut error| {
        if let (DeviceChoice::Auto, Some(kept)) = (run.device, kept) {
            let help = error.help_text().map_or_else(String::new, |help| format!("{help}; "));
            error = error.help(format!(
                "{help}this experiment was run on `{kept}`: `--device cpu` would train all of it anew on the processor"
            ));
        }
        experiment.problem_with("run.device", &error)
    })?;
    if let Some(notice) = &found.notice {
        say(&format!("note        {notice}"));
    }
    Ok(found)
}

/// The folder in which NVIDIA's libraries are looked for first, absolute.
pub(super) fn cuda_libraries(experiment: &Experiment) -> Option<PathBuf> {
    let folder = experiment.folder.join(experiment.base.run.cuda_libraries.as_deref()?);
    Some(std::path::absolute(&folder).unwrap_or(folder))
}

fn warn(warnings: &[Warning]) {
    // A remark that holds for many configurations is told once.
    let (mut remarks, mut places) = (Vec::<(&str, usize, &str)>::new(), HashMap::new());
    for warning in warnings {
        match warning {
            Warning::File(problem) => say_as_is(&problem.render(style())),
            Warning::Configuration { label, text } => {
                let place = *places.entry(text).or_insert(remarks.len());
                match remarks.get_mut(place) {
                    Some((_, count, _)) => *count += 1,
                    None => remarks.push((text, 1, label)),
                }
            }
        }
    }
    for (text, count, label) in remarks.iter().take(REMARKS) {
        let more = if *count > 1 { format!(" (and {} more)", thousands(*count as u64 - 1)) } else { String::new() };
        say(&format!("note: {label}{more}: {text}"));
    }
    if remarks.len() > REMARKS {
        say(&format!("note: {} of this sort about other configurations", counted((remarks.len() - REMARKS) as u64, "remark")));
    }
}

/// What is wrong with a `corpus.field` where no file has rows.
pub(super) fn unused_field(experiment: &Experiment, field: &str) -> Problems {
    let error = Error::usage(format!("`corpus.field` is `{field}`, and no file of the corpus has rows"))
        .help("give files of rows names that end in `.jsonl` (a JSON object a line), or take `field` out");
    experiment.problem_with("corpus.field", &error)
}

/// What `experiment.json` says of an experiment, for commands that do not plan.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Summary {
    pub(super) name: String,
    #[serde(default)]
    pub(super) common_context: Option<usize>,
    /// What its trials ran on last: of an earlier version its kind.
    #[serde(default)]
    pub(super) device: Option<Device>,
    /// The numbers of all configurations that were ever planned.
    #[serde(default)]
    pub(super) numbers: Numbers,
    pub(super) trials: Vec<SummaryTrial>,
}

/// One trial there.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SummaryTrial {
    pub(super) id: TrialId,
    pub(super) configuration: usize,
    pub(super) seed: u64,
    pub(super) label: String,
}

impl Summary {
    /// Reads it; an error of kind [`Kind::Nothing`] where the folder holds no experiment.
    pub(super) fn read(folder: &ExperimentFolder) -> Result<Self> {
        durable::read_json(&folder.experiment_json())?.ok_or_else(|| {
            Error::new(Kind::Nothing, format!("there is no experiment in {}", folder.path().display()))
                .help("name a folder such as `runs/quickstart`")
        })
    }
}

/// The numbers that configurations have so far. A description of an older version has them by trial only; where it is damaged,
/// each trial's own has its number.
fn numbers(folder: &ExperimentFolder, described: Option<Summary>) -> Numbers {
    if let Some(Summary { numbers, trials, .. }) = described {
        return numbers.with_trials(trials.into_iter().map(|trial| (trial.id, trial.configuration)));
    }
    let entries = std::fs::read_dir(folder.trials()).into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| TrialId::parse(entry.file_name().to_str()?));
    let jobs = ids.filter_map(|id| durable::read_json::<Job>(&folder.trial(&id).job()).ok().flatten());
    Numbers::default().with_trials(jobs.map(|job| (job.id, job.configuration)))
}

/// The prepared texts, one for each distinct pair of corpus and tokenizer.
struct Corpora {
    base: PathBuf,
    folder: ExperimentFolder,
    texts: RefCell<Vec<Text>>,
    folders: RefCell<HashMap<String, Pretrained>>,
}

/// A prepared text, and what it was prepared from.
struct Text {
    corpus: settings::Corpus,
    tokenizer: settings::Tokenizer,
    from: Option<String>,
    scored_bytes: u64,
    known: Rc<Known>,
}

impl Corpora {
    fn new(base: PathBuf, folder: ExperimentFolder) -> Self {
        Self { base, folder, texts: RefCell::default(), folders: RefCell::default() }
    }

    /// What is known of a folder to start from; each is read once.
    fn folder(&self, from: &str) -> Result<Pretrained> {
        let known = self.folders.borrow().get(from).cloned();
        let found = match known {
            Some(found) => return Ok(found),
            None => pretrained::look(&self.base.join(from)),
        };
        if let Ok(found) = &found {
            self.folders.borrow_mut().insert(from.to_owned(), found.clone());
        }
        found.map_err(|error| error.about("model.from"))
    }

    /// The same. A tokenizer that is named beside it must be the folder's.
    fn look(&self, from: &str, tokenizer: &settings::Tokenizer) -> Result<Pretrained> {
        let folder = self.base.join(from);
        let found = self.folder(from).and_then(|found| {
            if let settings::Tokenizer::File { path } = tokenizer {
                let (path, own) = (self.base.join(path), folder.join("tokenizer.json"));
                let read = |path: &Path| std::fs::read(path).map_err(|e| Error::io("read", path, e));
                if path != own && read(&path)? != read(&own)? {
                    let message = format!("`tokenizer` names {}, which is not the tokenizer.json of `{from}`", path.display());
                    return Err(Error::usage(message).help("take `tokenizer` out: the folder brings its own"));
                }
            }
            Ok(found)
        });
        found.map_err(|error| error.about("model.from"))
    }

    /// Shows what a person should know about the texts, each remark once.
    fn tell(&self) {
        let mut told = HashSet::new();
        for text in self.texts.borrow().iter() {
            for remark in text.known.prepared.remarks.iter().map(ToString::to_string) {
                if !told.contains(&remark) {
                    say(&remark);
                    told.insert(remark);
                }
            }
        }
    }

    /// The `corpus.field` that is set, where no text has rows.
    fn unused_field(&self) -> Option<String> {
        let texts = self.texts.borrow();
        let field = texts.iter().find_map(|text| text.corpus.field.clone())?;
        (!texts.iter().any(|text| text.known.prepared.has_rows)).then_some(field)
    }

    fn known(&self, settings: &Settings) -> Result<Rc<Known>> {
        let (corpus, tokenizer, most) = (&settings.corpus, &settings.tokenizer, settings.evaluate.max_bytes);
        let same = |text: &&Text| {
            let from = text.from == settings.model.from;
            text.corpus == *corpus && text.tokenizer == *tokenizer && text.scored_bytes == most && from
        };
        if let Some(text) = self.texts.borrow().iter().find(same) {
            return Ok(text.known.clone());
        }
        let from = settings.model.from.as_deref().map(|from| self.look(from, tokenizer)).transpose()?;
        let (tokenizers, cache) = (self.folder.tokenizers(), self.folder.cache());
        let base = &self.base;
        let request = corpus::Request { corpus, tokenizer, base, tokenizers: &tokenizers, cache: &cache, scored_bytes: most };
        let shown = Shown::new(tokenizer.label());
        let prepared = corpus::prepare(&request, &|stage| shown.tell(stage))?;
        let known = Rc::new(Known { prepared, from });
        let text = Text {
            corpus: corpus.clone(),
            tokenizer: tokenizer.clone(),
            from: settings.model.from.clone(),
            scored_bytes: most,
            known: known.clone(),
        };
        self.texts.borrow_mut().push(text);
        Ok(known)
    }

    fn have_equal_tokenizers(&self) -> bool {
        let texts = self.texts.borrow();
        let content = |text: &Text| {
            let Prepared { text_hash, tokenizer_hash, end_of_text, .. } = &text.known.prepared;
            (text_hash.clone(), tokenizer_hash.clone(), *end_of_text)
        };
        let mut names = HashMap::new();
        texts.iter().any(|text| *names.entry(content(text)).or_insert(&text.tokenizer) != &text.tokenizer)
    }

    fn all(&self) -> Vec<(String, Rc<Known>)> {
        self.texts.borrow().iter().map(|text| (text.tokenizer.label(), text.known.clone())).collect()
    }
}

/// What the report calls a tokenizer: its kind, and what makes it another of its kind.
fn report_label(tokenizer: &settings::Tokenizer) -> String {
    match tokenizer {
        settings::Tokenizer::File { path } => format!("file {path}"),
        other => other.label(),
    }
}

/// Tells how far preparation is, where it takes more than a moment.
struct Shown {
    label: String,
    last: RefCell<Instant>,
}

impl Shown {
    fn new(label: String) -> Self {
        Self { label, last: RefCell::new(Instant::now()) }
    }

    fn tell(&self, stage: Stage) {
        let mut last = self.last.borrow_mut();
        if last.elapsed() < Duration::from_secs(2) {
            return;
        }
        *last = Instant::now();
        let percent = |bytes: u64, of: u64| 100 * bytes / of.max(1);
        say(&match stage {
            Stage::Finding { files } => format!("finding     {}", counted(files, "file")),
            Stage::Reading { bytes, of } => format!("reading     {}%", percent(bytes, of)),
            Stage::Learning { bytes, of } => format!("tokenizer   {}: learning, {}%", self.label, percent(bytes, of)),
            Stage::Tokenizing { part, bytes, of } => {
                format!("tokenizing  {} part with {}, {}%", part, self.label, percent(bytes, of))
            }
        });
    }
}

/// The plan's one line of arithmetic.
pub(super) fn arithmetic(plan: &Plan) -> String {
    let excluded: u64 = plan.excluded.iter().map(|e| e.count).sum();
    let mut text = counted(plan.combinations, "combination");
    if excluded > 0 {
        text += &format!(" − {} excluded", thousands(excluded));
    }
    if plan.merged > 0 {
        text += &format!(" − {} equal to another", thousands(plan.merged));
    }
    let (configurations, seeds) = (plan.configurations as u64, plan.seeds.len() as u64);
    let trials = counted(configurations * seeds, "trial");
    format!("{text} = {} × {} = {trials}", counted(configurations, "configuration"), counted(seeds, "seed"))
}

/// What was excluded and why, a line a rule.
pub(super) fn exclusions(plan: &Plan) -> Vec<String> {
    let rules = plan.excluded.iter().filter(|e| e.count > 0);
    rules
        .map(|e| match &e.why {
            Some(why) => format!("excluded {}: {why} (`{}`)", thousands(e.count), e.when),
            None => format!("excluded {} where `{}`", thousands(e.count), e.when),
        })
        .collect()
}

/// Short names of the swept keys, for the heads of columns.
pub(super) fn heads(plan: &Plan) -> Vec<String> {
    plan.swept.iter().map(|key| plan::label_name(key)).collect()
}
