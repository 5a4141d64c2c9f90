//! Two configurations or trials side by side: what differs, by how much one predicts better, and whether that may be said.
//!
//! The difference is taken seed by seed: trials of one seed share their random numbers as far as they can, so that what a seed does to
//! both falls out. Two sorts of uncertainty are added up: another seed would give another difference, and the held-out text is one
//! stretch of text. **Two configurations of one experiment** have the difference, the error and the degrees of freedom that the report
//! judges them by; any others are paired seed by seed. Where the experiment has several tokenizers and these two have the same one, the
//! report's bits per byte are converted to nats per token, and the noise of the text, which the report cannot have, is added. It is one pair, looked at because somebody chose it: nothing is adjusted for the
//! pairs that were not looked at. So the word "better" stands without a condition only where the report's set agrees.

mod difference;
mod over_text;
mod show;
mod side;

use serde_json::Value;

use super::confounding::confounding;
use super::statistics::statistics;
use crate::error::Result;
use over_text::over_text;
use side::Side;

pub use difference::Pair;
pub use side::{Named, Which};

impl Pair {
    /// Reads both sides and compares them.
    ///
    /// # Errors
    /// Where a side does not exist, or has no complete trial.
    pub fn read(first: &Named, second: &Named) -> Result<Self> {
        let mut damaged = Vec::new();
        let (first, second, ranking) = side::read(first, second, &mut damaged)?;
        let mut pair = Self::of(first, second);
        let is_trial = |side: &Side| side.trial.is_some();
        let (a, b) = (&pair.first, &pair.second);
        let mut judged = None;
        if a.folder == b.folder && !is_trial(a) && !is_trial(b) {
            let confounding = confounding(&ranking.trials, &ranking.design, &ranking.comparison)?;
            judged = statistics(&a.folder, &ranking.comparison, &ranking.design, &confounding, &mut damaged);
        }
        if !judged.is_some_and(|statistics| pair.judge(&statistics)) {
            let noise = if pair.by_bytes {
                Err("the two have different tokens, which cannot be paired".to_owned())
            } else {
                over_text(&pair.first, &pair.second, &mut damaged)
            };
            match noise {
                Ok(noise) => pair.add(noise),
                Err(why) => pair.no_text = Some(why),
            }
        }
        damaged.sort();
        damaged.dedup();
        pair.damaged = damaged;
        Ok(pair)
    }

    /// For people: a paragraph a subject.
    pub fn text(&self) -> String {
        show::text(self)
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        show::json(self)
    }

    /// Files that could not be read.
    pub fn damaged(&self) -> &[String] {
        &self.damaged
    }
}

#[cfg(test)]
mod tests;
