//! Text from trained weights.
//!
//! `votive sample` asks for it, and each trial makes a short one when it has been scored ([`of_trial`]), for the report: its final
//! weights go on from the first 32 tokens of the held-out text (of the training text where nothing is held out), with the
//! trial's own seed. Configurations with the same tokenizer so go on from the same words. It touches no weights and no other
//! stream of random numbers, so nothing that is measured depends on it.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use candle_core::Device;
use serde_json::Value;

use super::Job;
use super::backend::Lent;
use crate::corpus::{TextStream, TokenFile, Tokenizer, complete};
use crate::durable;
use crate::error::{Error, Result};
use crate::experiment::settings::Precision;
use crate::model::plain::PlainModel;
use crate::model::{Config, Continuation, Sampler};
use crate::pulse;
use crate::rows::{Sample, Sampling};

/// How a trial's own sample is drawn.
pub const SAMPLING: Sampling = Sampling { temperature: 0.8, top_k: 50 };
/// Most tokens of a trial's own sample.
const TOKENS: u64 = 200;
/// It has one for so many that the trial was trained on: a trial that hardly trains spends no time on writing.
const TRAINED_EACH: u64 = 100;
/// Tokens of the held-out text that it goes on from.
const PROMPT: usize = 32;

/// What a text goes on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// At least one token.
    tokens: Vec<u32>,
    /// Whether they are part of the text, and no mere start.
    told: bool,
}

impl Prompt {
    /// The tokens of this text. Without any there is still something to start from: the end-of-text token where the model was
    /// trained with one between documents, else a line break where the vocabulary has one, else its first token (in a
    /// vocabulary of words, the most frequent one); that start is no part of the text.
    ///
    /// # Errors
    /// A text that the tokenizer makes no token of.
    pub fn of(text: &str, tokenizer: &Tokenizer, end_of_text: Option<u32>) -> Result<Self> {
        if text.is_empty() {
            let line = if tokenizer.unknown_parts("\n")?.is_empty() { tokenizer.encode("\n")? } else { Vec::new() };
            let start = match end_of_text {
                Some(end) => vec![end],
                None if line.is_empty() => vec![tokenizer.first_known()],
                None => line,
            };
            return Ok(Self { tokens: start, told: false });
        }
        let tokens = tokenizer.encode(text)?;
        if tokens.is_empty() {
            return Err(
                Error::usage("the tokenizer of this model makes no token of the prompt").help("write words that it knows")
            );
        }
        Ok(Self { tokens, told: true })
    }

    /// Tokens that the model reads first.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }
}

/// What is asked of a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Request {
    /// Most tokens.
    pub tokens: usize,
    /// How they are drawn.
    pub sampling: Sampling,
    /// Seed of the draws.
    pub seed: u64,
    /// The token after which the text is over; it is not told.
    pub end_of_text: Option<u32>,
}

/// Lets a model go on from a prompt, and tells the text piece by piece: whole characters only. Returns the number of tokens made:
/// fewer than were asked for where the text came to its end, or `stop` said so.
///
/// # Errors
/// A seed or temperature that cannot be, logits that are not finite, whatever `tell` says.
pub fn go_on(
    model: &PlainModel,
    tokenizer: &Tokenizer,
    prompt: &Prompt,
    request: Request,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(&str) -> Result<()>,
) -> Result<usize> {
    let mut sampler = Sampler::new(request.sampling, request.seed)?;
    let mut text = TextStream::after(tokenizer, if prompt.told { &prompt.tokens } else { &[] })?;
    if request.tokens == 0 {
        return Ok(0);
    }
    let mut continuation = Continuation::new(model, &prompt.tokens)?;
    // A model may have rows for tokens that its tokenizer does not: those mean nothing.
    let known = tokenizer.vocabulary().min(model.config().vocabulary);
    for made in 0..request.tokens {
        if pulse::is_asked(stop) {
            return Ok(made);
        }
        let token = sampler.draw(&continuation.logits()[..known])?;
        if request.end_of_text == Some(token) {
            return Ok(made);
        }
        tell(&text.push(token)?)?;
        pulse::beat();
        if made + 1 < request.tokens {
            continuation.push(token)?;
        }
    }
    Ok(request.tokens)
}

/// The end-of-text token of a folder in Hugging Face's layout, where the model was trained with one: `eos_token_id` of its
/// `config.json`, the first where there are several.
pub fn end_of_text(folder: &Path) -> Result<Option<u32>> {
    let config: Option<Value> = durable::read_json(&folder.join("config.json"))?;
    let end = config.and_then(|mut config| config.get_mut("eos_token_id").map(Value::take)).unwrap_or_default();
    let first = end.as_array().and_then(|all| all.first()).unwrap_or(&end);
    Ok(first.as_u64().and_then(|token| u32::try_from(token).ok()))
}

/// Tokens of the sample of a trial that was trained on so many.
pub(super) fn tokens_after(trained: u64) -> usize {
    (trained / TRAINED_EACH).min(TOKENS) as usize
}

/// The sample of a trial with these weights, of at most so many tokens, fewer where `stop` says so; made on the processor. Its step is left
/// at 0. The job's files are relative to `experiment`.
pub(super) fn of_trial(
    job: &Job,
    experiment: &Path,
    validation: Option<&TokenFile>,
    (config, values): (&Config, &[Lent<'_>]),
    tokens: usize,
    stop: &AtomicBool,
) -> Result<Sample> {
    let trained;
    let part = match validation {
        Some(part) => part,
        None => {
            trained = TokenFile::open(&experiment.join(&job.corpus.train.file))?;
            &trained
        }
    };
    let mut first = vec![0; PROMPT.min(part.len() as usize)];
    part.read(0, &mut first);
    let tokenizer = Tokenizer::from_file(&experiment.join(&job.corpus.tokenizer_file))?;
    let model = PlainModel::new(config, Precision::F32, &Device::Cpu, values)?;
    let prompt = Prompt { tokens: first, told: true };
    let end_of_text = job.corpus.end_of_text;
    let request = Request { tokens, sampling: SAMPLING, seed: job.seed, end_of_text };
    let mut text = String::new();
    let tokens = go_on(&model, &tokenizer, &prompt, request, stop, &mut |piece| {
        text.push_str(piece);
        Ok(())
    })?;
    let before = complete(&tokenizer.decode(&prompt.tokens)?).to_owned();
    Ok(Sample { step: 0, prompt: before, text, tokens, seed: job.seed, sampling: SAMPLING })
}
