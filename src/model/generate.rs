//! A text made token by token: a model goes on from what it has read.
//!
//! # When the context is full
//!
//! A model has `context` positions. Where they are all taken the window slides: the cache is emptied, and the newest
//! `max(1, context / 2)` tokens, the one just added included, are read again from position 0. So a token is predicted from at
//! least that many tokens before it and at most `context`, once so many are there, and a long text costs two reads a token.
//! Of a prompt longer than the context the last `context` tokens are read.

use super::plain::{Cache, PlainModel};
use crate::error::{Error, Result};

/// A text that a model goes on with.
pub struct Continuation<'a> {
    model: &'a PlainModel,
    cache: Cache,
    /// The tokens in the cache.
    window: Vec<u32>,
    logits: Vec<f32>,
}

impl<'a> Continuation<'a> {
    /// Reads a prompt: at least one token, each below the vocabulary's size.
    pub fn new(model: &'a PlainModel, prompt: &[u32]) -> Result<Self> {
        let (vocabulary, context) = (model.config().vocabulary, model.config().context);
        if let Some(token) = prompt.iter().find(|&&token| token as usize >= vocabulary) {
            return Err(Error::data(format!("the token {token} is not among the {vocabulary} that the model knows")));
        }
        let window = prompt[prompt.len().saturating_sub(context)..].to_vec();
        let mut cache = model.cache()?;
        let logits = model.read(&window, &mut cache)?;
        Ok(Self { model, cache, window, logits })
    }

    /// The logits (`[vocabulary]`) of the token that follows.
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// Adds the token that follows; slides the window where the context is full.
    pub fn push(&mut self, token: u32) -> Result<()> {
        self.window.push(token);
        if self.cache.left() > 0 {
            self.logits = self.model.read(&[token], &mut self.cache)?;
            return Ok(());
        }
        let kept = (self.model.config().context / 2).max(1);
        self.window.drain(..self.window.len() - kept);
        self.cache.clear();
        self.logits = self.model.read(&self.window, &mut self.cache)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::experiment::settings::{Activation, Family, Precision};
    use crate::model::{Config, Sampler, initial_values};
    use crate::random::Stream;
    use crate::rows::Sampling;

    fn config(family: Family, kv_heads: usize, bias: bool, tied: bool) -> Config {
        Config {
            family,
            vocabulary: 23,
            context: 100,
            layers: 2,
            heads: 4,
            kv_heads,
            width: 32,
            hidden: 64,
            dropout: 0.1,
            bias,
            tied,
            activation: Activation::GeluTanh,
            rope_theta: 10_000.0,
            norm_epsilon: 1e-5,
        }
    }

    fn configs() -> [Config; 5] {
        [
            config(Family::Gpt2, 4, true, true),
            config(Family::Gpt2, 4, false, false),
            config(Family::Llama, 4, false, true),
            config(Family::Llama, 2, true, false),
            config(Family::Llama, 1, false, false),
        ]
    }

    /// With biases and norms that do something, and logits that differ.
    fn model(config: &Config) -> PlainModel {
        let values: Vec<Vec<f32>> = config
            .parameters()
            .iter()
            .map(|p| {
                let mut noise = Stream::new(3, &p.name, &[]);
                initial_values(p, 3).into_iter().map(|v| 4.0 * v + 0.1 * noise.normal() as f32).collect()
            })
            .collect();
        PlainModel::new(config, Precision::F32, &Device::Cpu, &values).unwrap()
    }

    fn tokens(count: usize) -> Vec<u32> {
        (0..count as u32).map(|i| (i * i + 7 * i + 3) % 23).collect()
    }

    /// The logits after the last of these tokens, all of them read at once.
    fn at_once(model: &PlainModel, tokens: &[u32]) -> Vec<f32> {
        let all = model.logits(tokens, tokens.len()).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        all[all.len() - model.config().vocabulary..].to_vec()
    }

    #[track_caller]
    fn assert_close(one: &[f32], other: &[f32], what: &str) {
        let scale = other.iter().fold(1f32, |most, x| most.max(x.abs()));
        for (a, b) in one.iter().zip(other) {
            assert!((a - b).abs() <= 1e-5 * scale, "{what}: {a} and {b}");
        }
        assert_eq!(one.len(), other.len());
    }

    #[test]
    fn a_token_at_a_time_gives_the_logits_of_all_at_once() {
        for config in configs() {
            let model = model(&config);
            let text = tokens(90);
            // Prompts of all sorts of lengths, beyond the cache's first room as well.
            for prompt in [1, 2, 31, 70] {
                let mut continuation = Continuation::new(&model, &text[..prompt]).unwrap();
                for read in prompt..text.len() {
                    assert_close(continuation.logits(), &at_once(&model, &text[..read]), &format!("{config:?} {prompt} {read}"));
                    continuation.push(text[read]).unwrap();
                }
            }
        }
    }

    #[test]
    fn the_cache_changes_no_greedy_token() {
        for config in configs() {
            let model = model(&config);
            let mut greedy = Sampler::new(Sampling { temperature: 0.0, top_k: 0 }, 1).unwrap();
            let mut text = tokens(5);
            let mut continuation = Continuation::new(&model, &text).unwrap();
            for _ in 0..60 {
                let token = greedy.draw(continuation.logits()).unwrap();
                assert_eq!(token, greedy.draw(&at_once(&model, &text)).unwrap(), "{config:?}");
                text.push(token);
                continuation.push(token).unwrap();
            }
        }
    }

    #[test]
    fn where_the_context_is_full_the_newest_half_is_read_again() {
        for config in configs() {
            for context in [1, 2, 7, 16] {
                let model = model(&Config { context, ..config.clone() });
                let text = tokens(40);
                let (mut first, mut continuation) = (0, Continuation::new(&model, &text[..1]).unwrap());
                for read in 1..text.len() {
                    if read - first > context {
                        first = read - (context / 2).max(1);
                    }
                    let what = format!("context {context}, {first}..{read}");
                    assert_close(continuation.logits(), &at_once(&model, &text[first..read]), &what);
                    continuation.push(text[read]).unwrap();
                }
                let prompt = Continuation::new(&model, &text).unwrap();
                assert_close(prompt.logits(), &at_once(&model, &text[40 - context..]), "a long prompt");
            }
        }
    }

    #[test]
    fn a_prompt_of_nothing_or_of_unknown_tokens_is_refused() {
        let model = model(&config(Family::Gpt2, 4, true, true));
        assert!(Continuation::new(&model, &[]).is_err());
        let error = Continuation::new(&model, &[1, 23]).err().unwrap();
        assert_eq!(error.to_string(), "the token 23 is not among the 23 that the model knows");
    }
}
