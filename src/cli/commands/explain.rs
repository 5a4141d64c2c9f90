//! `votive explain`: the figures of a configuration, for [`crate::cli::show::explain`] to tell.

use crate::cli::args;
use crate::cli::args::Explain as Arguments;
use crate::cli::exit_code::Code;
use crate::cli::output::print;
use crate::cli::show::explain::{Numbers, Sample, WIDTH, explain};
use crate::cli::show::terminal::Terminal;
use crate::corpus::Tokenizer;
use crate::error::{Error, Result};
use crate::experiment::Overrides;
use crate::plan::{Trial, choice};
use crate::runner::{Asked, Failure, Session};
use crate::terminal::{Look, wrapped};

pub(super) fn execute(arguments: &Arguments) -> Result<Code, Failure> {
    let text = match &arguments.file {
        Some(_) => of_file(arguments)?,
        None => of_numbers(arguments)?,
    };
    print(&text)?;
    Ok(Code::Ok)
}

/// Columns that there are.
fn width() -> usize {
    Look::of(std::io::stdout()).width.unwrap_or(WIDTH)
}

fn of_numbers(arguments: &Arguments) -> Result<String> {
    let missing = |what: &str| {
        Error::usage(format!("`explain` needs an experiment file, or four numbers: `{what}` is missing"))
            .help("votive explain --tokens 20000 --sequence-length 512 --stride 256 --batch-size 8")
    };
    let tokens = arguments.tokens.ok_or_else(|| missing("--tokens"))?;
    let length = arguments.sequence_length.ok_or_else(|| missing("--sequence-length"))?;
    let batch = arguments.batch_size.ok_or_else(|| missing("--batch-size"))?;
    let stride = arguments.stride.unwrap_or(length);
    explain(&Numbers::of_text(tokens, length, stride, batch), None, width())
}

fn of_file(arguments: &Arguments) -> Result<String, Failure> {
    let Some(file) = &arguments.file else { return Ok(of_numbers(arguments)?) };
    let overrides = Overrides { set: arguments.set.clone(), environment: args::environment()? };
    let (file, runs) = (file.clone(), arguments.runs.clone());
    let asked = Asked { file, overrides, runs, only: None, limit: arguments.max_trials, anew: false };
    let session = Session::open(&asked, &Terminal::default())?;
    let plan = &session.plan;
    let wanted = |trial: &&Trial| arguments.configuration.is_none_or(|number| trial.configuration == number);
    let Some(trial) = plan.trials.iter().find(wanted) else {
        let error = Error::usage(format!("there is no configuration {}", arguments.configuration.unwrap_or_default()));
        return Err(error.help(format!("take {}", choice(plan.trials.iter().map(|trial| trial.configuration)))).into());
    };
    let (settings, facts) = (&trial.settings, &trial.facts);
    let prepared = session.prepared(settings)?;
    let tokenizer = Tokenizer::from_file(&session.folder.path().join(&prepared.tokenizer_file))?;
    let text = "The cat sat.".to_owned();
    let sample = Sample { tokenizer: settings.tokenizer.label(), pieces: tokenizer.pieces(&text)?, text };
    let numbers = Numbers {
        text_tokens: facts.text_tokens,
        train_tokens: Some(facts.train_tokens),
        vocabulary: Some(facts.vocabulary),
        sequence_length: settings.train.sequence_length,
        stride: settings.train.stride(),
        batch_size: settings.train.batch_size,
        shuffle: settings.train.shuffle,
        seed: trial.seed,
        clip_norm: Some(settings.train.clip_norm),
        precision: settings.train.precision,
        budget: Some(settings.train.budget),
        steps: facts.counted_steps(),
    };
    let title = format!(
        "{}, configuration {}, one of {}: {}\n\n",
        plan.experiment,
        trial.configuration,
        plan.configurations,
        plan.label(trial)
    );
    Ok(wrapped(&title, Some(width())) + &explain(&numbers, Some(&sample), width())?)
}
