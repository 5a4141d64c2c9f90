//! `votive check`: only whether the file is right, and can be run by this program on this machine. No text is read.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::cli::args::File;
use crate::cli::exit_code::Code;
use crate::cli::output::{say, style};
use crate::cli::show::terminal::Terminal;
use crate::corpus::{files_of, is_for_rows};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::experiment::settings::{BatchSize, Corpus, Model, Settings, Tokenizer};
use crate::experiment::{Configuration, Experiment, Folder, Problems, Surroundings, Unfit, load};
use crate::model::{Config, Pretrained};
use crate::plan::unfit;
use crate::runner::{Failure, unused_field, usable_device};
use crate::train::pretrained;
use crate::words::counted;

/// Tokens of a vocabulary that is not known.
const LARGE_VOCABULARY: usize = 1 << 18;

pub(super) fn execute(arguments: &File) -> Result<Code, Failure> {
    let (experiment, warnings) = load(&arguments.file, &arguments.overrides()?)?;
    let mut all = warnings;
    let device = usable_device(&experiment, None, &Terminal::default())?;
    let mut machine = Machine { device, base: experiment.folder.clone(), configs: HashMap::new(), failure: None };
    let expansion = experiment.expand(arguments.max_trials, &mut machine);
    if let Some(error) = machine.failure {
        return Err(experiment.problem_with("model.from", &error).into());
    }
    let expansion = expansion?;
    look_for_files(&experiment, &expansion.configurations)?;
    all.extend(expansion.warnings);
    for warning in &all {
        say(&warning.render(style()));
    }
    let configurations = expansion.configurations.len();
    let trials = configurations * experiment.seeds.len();
    let counts = [counted(configurations as u64, "configuration"), counted(trials as u64, "trial")].join(", ");
    say(&format!("{} is right: {counts} (the text was not read: `votive plan` does that)", arguments.file.display()));
    Ok(Code::Ok)
}

/// Looks for the files that the configurations read. What is in them is the plan's to see.
fn look_for_files(experiment: &Experiment, configurations: &[Configuration]) -> Result<(), Problems> {
    let mut seen: Vec<(&Corpus, &Tokenizer)> = Vec::new();
    let mut has_rows = false;
    for Configuration { settings, .. } in configurations {
        let read = (&settings.corpus, &settings.tokenizer);
        if seen.contains(&read) {
            continue;
        }
        seen.push(read);
        let files = files_of(read.0, &experiment.folder)
            .map_err(|error| experiment.problem_with(error.setting().unwrap_or("corpus.text"), &error))?;
        has_rows |= files.iter().any(|file| is_for_rows(file));
        if let Tokenizer::File { path } = read.1
            && !experiment.folder.join(path).is_file()
        {
            let error = Error::usage(format!("{} does not exist", experiment.folder.join(path).display()));
            return Err(experiment.problem_with("tokenizer", &error.help("paths are relative to the experiment file")));
        }
    }
    match seen.iter().find_map(|(corpus, _)| corpus.field.as_ref()) {
        Some(field) if !has_rows => Err(unused_field(experiment, field)),
        _ => Ok(()),
    }
}

/// What is known without reading a text or a weight.
struct Machine {
    device: Device,
    base: PathBuf,
    /// The model of each folder that one starts from.
    configs: HashMap<String, Config>,
    failure: Option<Error>,
}

impl Surroundings for Machine {
    /// Of a text that is not read a vocabulary is taken that hardly any has: what is refused so is refused with any.
    fn unfit(&mut self, settings: &Settings) -> Vec<Unfit> {
        let device = self.device;
        unfit(device, settings, &mut || {
            let vocabulary = match settings.tokenizer {
                Tokenizer::Byte => 257,
                Tokenizer::Bpe { vocab_size } => vocab_size,
                _ => LARGE_VOCABULARY,
            };
            let batch = match settings.train.batch_size {
                BatchSize::Windows(windows) => windows,
                BatchSize::Full => 1,
            };
            let config = match &settings.model.from {
                Some(from) => self.configs.get(from).cloned(),
                None => Config::new(&settings.model, vocabulary, settings.train.sequence_length).ok(),
            };
            Some((config?, batch))
        })
    }

    /// Conditions on `full` are left open.
    fn windows(&mut self, _: &Settings) -> Option<u64> {
        None
    }

    fn folder(&mut self, model: &Model) -> Option<Folder> {
        let from = model.from.as_deref()?;
        let folder = self.base.join(from);
        let config = match self.configs.get(from) {
            Some(config) => config.clone(),
            None => match pretrained::model(&folder) {
                Ok(config) => self.configs.entry(from.to_owned()).or_insert(config).clone(),
                Err(error) => {
                    self.failure.get_or_insert(error);
                    return None;
                }
            },
        };
        Some(Pretrained { folder, hash: String::new(), config, own_head: false }.says(model))
    }
}
