//! `votive sample`: a trained model goes on with a text. The text goes to standard output, all else to standard error.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::cli::args::Sample as Arguments;
use crate::cli::exit_code::Code;
use crate::cli::find::{Found, at_step, checkpoint_of, find, trial_of};
use crate::cli::output::{print, say};
use crate::corpus::Tokenizer;
use crate::error::{Error, Result};
use crate::experiment::settings::Precision;
use crate::model::plain::PlainModel;
use crate::model::{Parameter, Sampler};
use crate::pulse::NEVER;
use crate::rows::Sampling;
use crate::runner::Failure;
use crate::train::sample::{Prompt, Request, end_of_text, go_on};
use crate::train::{checkpoint, device, pretrained};
use crate::words::{duration, plural, short, thousands};

/// Characters of a prompt that are named where the tokenizer does not know them.
const NAMED: usize = 8;

pub(super) fn execute(arguments: &Arguments) -> Result<Code, Failure> {
    device::settle_threads();
    let sampling = Sampling { temperature: arguments.temperature, top_k: arguments.top_k };
    // Before anything is read: a temperature that cannot be.
    Sampler::new(sampling, arguments.seed)?;
    let device = match arguments.device.as_str() {
        "auto" => device::of_candle(),
        named => named.parse()?,
    };
    let tensors = device::open(device)?;
    let (folder, described) = chosen(arguments)?;
    let model = {
        let (config, values) = pretrained::read(&folder)?;
        PlainModel::new(&config, Precision::F32, &tensors, &values)?
    };
    let tokenizer = Tokenizer::from_file(&folder.join("tokenizer.json"))?;
    let end_of_text = end_of_text(&folder)?;
    let parameters: usize = model.parameters().iter().map(Parameter::len).sum();
    say(&format!("weights     {} ({described}): {} parameters, on {device}", folder.display(), short(parameters as f64)));

    let prompt = Prompt::of(&arguments.prompt, &tokenizer, end_of_text)?;
    remark_on(&arguments.prompt, &tokenizer)?;
    let request = Request { tokens: arguments.tokens, sampling, seed: arguments.seed, end_of_text };
    let started = Instant::now();
    let mut out = Out::new();
    out.tell(&arguments.prompt)?;
    let made = go_on(&model, &tokenizer, &prompt, request, &NEVER, &mut |text| out.tell(text))?;
    out.end()?;

    let seconds = started.elapsed().as_secs_f64();
    let rate = made as f64 / seconds.max(1e-9);
    let ended = if made < arguments.tokens { ", where the text ends" } else { "" };
    let made = made as u64;
    say(&format!(
        "sampled     {} token{}{ended} in {} ({} a second): {}",
        thousands(made),
        plural(made),
        duration(seconds),
        thousands(rate as u64),
        how(sampling, arguments.seed),
    ));
    Ok(Code::Ok)
}

/// The folder with the weights that are asked for, held against its manifest where there is one, and what it is.
fn chosen(arguments: &Arguments) -> Result<(PathBuf, String)> {
    let (folder, described) = match find(&arguments.trial, &arguments.runs)? {
        Found::Checkpoint(_) if arguments.checkpoint != "final" => {
            let error = Error::usage("`--checkpoint` chooses among those of a trial, and a checkpoint was named");
            return Err(error.help("name the trial, or leave `--checkpoint` out"));
        }
        Found::Checkpoint(folder) => {
            let described = match checkpoint::position(&folder) {
                Ok(position) => at_step(position.step),
                Err(_) => "no checkpoint of votive's".to_owned(),
            };
            (folder, described)
        }
        found => checkpoint_of(&trial_of(&found)?, &arguments.checkpoint)?,
    };
    if has_manifest(&folder) {
        checkpoint::verify(&folder)?;
    }
    Ok((folder, described))
}

fn has_manifest(folder: &Path) -> bool {
    folder.join("manifest.json").is_file()
}

/// Says what of a prompt the model has never seen.
fn remark_on(prompt: &str, tokenizer: &Tokenizer) -> Result<()> {
    let unknown = tokenizer.unknown_parts(prompt)?;
    if !unknown.is_empty() {
        let named: Vec<String> = unknown.iter().take(NAMED).map(|part| format!("`{}`", part.escape_debug())).collect();
        let more = if unknown.len() > NAMED { format!(" and {} more", unknown.len() - NAMED) } else { String::new() };
        say(&format!(
            "note: the vocabulary of this model does not have {}{more}: it reads something unknown there",
            named.join(", ")
        ));
    }
    Ok(())
}

/// `seed 1, temperature 0.8, the 50 likeliest tokens`.
fn how(sampling: Sampling, seed: u64) -> String {
    if sampling.temperature == 0.0 {
        return "the likeliest token each time".to_owned();
    }
    let from = match sampling.top_k {
        0 => String::new(),
        k => format!(", of the {} likeliest token{} each time", thousands(k as u64), plural(k as u64)),
    };
    format!("seed {seed}, temperature {}{from}", sampling.temperature)
}

/// Standard output: piece by piece on a terminal, where what could move its cursor is taken out; in one go and as it is elsewhere.
struct Out {
    terminal: bool,
    waiting: String,
    ends_a_line: bool,
}

impl Out {
    fn new() -> Self {
        Self { terminal: std::io::stdout().is_terminal(), waiting: String::new(), ends_a_line: true }
    }

    fn tell(&mut self, text: &str) -> Result<()> {
        if let Some(last) = text.chars().last() {
            self.ends_a_line = last == '\n';
        }
        if !self.terminal {
            self.waiting.push_str(text);
            return Ok(());
        }
        let harmless = |c: char| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c };
        print(&text.chars().map(harmless).collect::<String>())?;
        // A terminal that is gone shows nothing, and the next piece says so.
        let _ = std::io::stdout().flush();
        Ok(())
    }

    /// The end of the text, which is the end of a line.
    fn end(mut self) -> Result<()> {
        if !self.ends_a_line {
            self.tell("\n")?;
        }
        print(&self.waiting)
    }
}
