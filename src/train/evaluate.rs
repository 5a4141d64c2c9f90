//! Scoring held-out text: every token exactly once, sums in 64 bits.
//!
//! A window feeds `context` tokens and scores only its last `stride` targets; the first window scores all of its targets;
//! the last one is moved to the left so that it is whole, and scores only what is left. So every token but the first (which
//! is context only) is scored once, and each but those of the first window sees between context − stride + 1 and context
//! tokens before it. Which tokens are scored never depends on the configuration, nor on how many windows go through the model
//! at once.
//!
//! The windows predict all their targets, also those that another window scores. [`Scores::bins`] keeps those too: the loss by the
//! place in the window, where the first targets see little and the last ones all of the context.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;

use crate::corpus::TokenFile;
use crate::error::{Error, Result};
use crate::model::Sequences;

use super::backend::Backend;
use crate::rows::PositionBin;

/// Windows that go through the model together.
pub const GROUP: usize = 64;

/// How the windows lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowLayout {
    /// Tokens that a window feeds.
    pub context: usize,
    /// How far a window moves on, and so how many of its targets it scores.
    pub stride: usize,
}

impl WindowLayout {
    /// Windows that overlap by half: how scores in full are made.
    pub fn overlapping(context: usize) -> Self {
        Self { context, stride: (context / 2).max(1) }
    }

    /// Windows side by side: how the cheap evaluations on the way are made.
    pub fn side_by_side(context: usize) -> Self {
        Self { context, stride: context }
    }
}

/// One window of an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// First input token.
    pub start: u64,
    /// Input tokens.
    pub length: usize,
    /// The first target that is scored, counted within the window; those before are context only.
    pub from: usize,
}

/// The windows that score the tokens 1 … tokens − 1 (counted from 0) in this context.
pub fn windows(tokens: u64, context: usize, stride: usize) -> Vec<Window> {
    let targets = tokens.saturating_sub(1);
    if targets == 0 {
        return Vec::new();
    }
    if targets <= context as u64 {
        return vec![Window { start: 0, length: targets as usize, from: 0 }];
    }
    let mut windows = vec![Window { start: 0, length: context, from: 0 }];
    let mut scored = context as u64;
    while scored < targets {
        let fresh = (targets - scored).min(stride as u64);
        scored += fresh;
        windows.push(Window { start: scored - context as u64, length: context, from: context - fresh as usize });
    }
    windows
}

/// What an evaluation found.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    /// NLL of the tokens 1, 2, … (counted from 0) in nats.
    pub nll: Vec<f32>,
    /// Their sum; `None` where one of them is not finite.
    pub sum: Option<f64>,
    /// UTF-8 bytes of exactly the scored tokens.
    pub bytes: u64,
    /// Loss by the place in the window, over all targets of all windows.
    pub bins: Vec<PositionBin>,
}

/// The bin of a place in the window, from 1: 1, 2, 3–4, 5–8, 9–16 …
fn bin_of(place: usize) -> usize {
    (usize::BITS - (place - 1).leading_zeros()) as usize
}

/// The empty bins of windows of this length.
fn bins(length: usize) -> Vec<PositionBin> {
    let bin = |number: usize| PositionBin {
        first: if number == 0 { 1 } else { (1 << (number - 1)) + 1 },
        last: (1_i64 << number).min(length as i64),
        tokens: 0,
        nll_sum: 0.0,
    };
    if length == 0 { Vec::new() } else { (0..=bin_of(length)).map(bin).collect() }
}

/// What the weights of one step gave on one part, window by window: none is computed twice.
///
/// A target's loss follows from the tokens before it and its place, so a window that begins where another one does is the
/// beginning of it, or it of the other, whatever their lengths. To the bit that holds only where
/// [`Backend::rows_are_prefixes`] says so; elsewhere windows of another length are other windows.
#[derive(Debug, Default)]
pub struct Predicted {
    rows: HashMap<Key, Vec<f32>>,
}

/// Where a window begins, and its length where that matters.
type Key = (u64, Option<usize>);

impl Predicted {
    fn row(&self, key: Key, length: usize) -> Option<&[f32]> {
        self.rows.get(&key)?.get(..length)
    }
}

/// Scores the first `tokens` tokens of a part, `group` windows at a time. Windows that are `predicted` are not computed again,
/// and those that are not are added. `None` where `stop` said so before all were scored.
pub fn score(
    backend: &mut dyn Backend,
    part: &TokenFile,
    tokens: u64,
    layout: WindowLayout,
    group: usize,
    predicted: &mut Predicted,
    stop: &AtomicBool,
) -> Result<Option<Scores>> {
    let tokens = tokens.min(part.len());
    let windows = windows(tokens, layout.context, layout.stride);
    let prefixes = backend.rows_are_prefixes();
    let key = |window: &Window| -> Key { (window.start, (!prefixes).then_some(window.length)) };
    let mut nll = Vec::with_capacity(tokens.saturating_sub(1) as usize);
    let mut bins = bins(windows.first().map_or(0, |window| window.length));
    // All windows are of one length: there is one that is shorter only where it is the only one.
    for group in windows.chunks(group.max(1)) {
        let length = group[0].length;
        let (mut inputs, mut targets) = (Vec::new(), Vec::new());
        let mut buffer = vec![0; length + 1];
        let missing: Vec<&Window> = group.iter().filter(|window| predicted.row(key(window), length).is_none()).collect();
        for window in &missing {
            part.read(window.start, &mut buffer);
            inputs.extend_from_slice(&buffer[..length]);
            targets.extend_from_slice(&buffer[1..]);
        }
        let Some(rows) = backend.nll(&Sequences { inputs: &inputs, targets: &targets, length }, stop)? else { return Ok(None) };
        for (window, row) in missing.into_iter().zip(rows.chunks_exact(length)) {
            predicted.rows.insert(key(window), row.to_vec());
        }
        for window in group {
            let row = predicted.row(key(window), length).unwrap_or_default();
            nll.extend_from_slice(row.get(window.from..).unwrap_or_default());
            for (place, &nll) in row.iter().enumerate() {
                let bin = &mut bins[bin_of(place + 1)];
                bin.tokens += 1;
                bin.nll_sum += f64::from(nll);
            }
        }
    }
    if nll.len() as u64 != tokens.saturating_sub(1) {
        return Err(Error::internal(format!("{} tokens were scored instead of {}", nll.len(), tokens.saturating_sub(1))));
    }
    let sum: f64 = nll.iter().copied().map(f64::from).sum();
    let bytes = part.bytes_between(1.min(tokens), tokens).ok_or_else(|| Error::internal("a scored part has no byte lengths"))?;
    Ok(Some(Scores { sum: sum.is_finite().then_some(sum), nll, bytes, bins }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::{Request, prepare};
    use crate::device::Device;
    use crate::experiment::settings::{Corpus, Model, Tokenizer, Train};
    use crate::model::{Config, initial_values};
    use crate::pulse::NEVER;
    use crate::train::backend::{Candle, CpuEngine, State};
    use proptest::prelude::*;

    #[test]
    fn the_last_window_is_moved_to_the_left() {
        let window = |start, from| Window { start, length: 4, from };
        assert_eq!(windows(10, 4, 2), [window(0, 0), window(2, 2), window(4, 2), window(5, 3)]);
        assert_eq!(windows(9, 4, 4), [window(0, 0), window(4, 0)]);
        assert_eq!(windows(4, 4, 2), [Window { start: 0, length: 3, from: 0 }]);
        assert_eq!(windows(1, 4, 2), []);
    }

    #[test]
    fn bins_are_log_spaced_and_end_with_the_window() {
        let edges = |length| bins(length).iter().map(|b| (b.first, b.last)).collect::<Vec<_>>();
        assert_eq!(edges(1), [(1, 1)]);
        assert_eq!(edges(4), [(1, 1), (2, 2), (3, 4)]);
        assert_eq!(edges(6), [(1, 1), (2, 2), (3, 4), (5, 6)]);
        assert_eq!(edges(0), []);
        for place in 1..=70 {
            let bin = &bins(70)[bin_of(place)];
            assert!((bin.first..=bin.last).contains(&(place as i64)), "{place}: {bin:?}");
        }
    }

    /// A small model of random weights and the held-out part of a text.
    fn model_and_part(length: usize) -> (tempfile::TempDir, CpuEngine, TokenFile) {
        let (dir, config, part) = config_and_part(length);
        let state = untrained(&config);
        (dir, CpuEngine::new(&config, &Train::default(), 1, 1, &state).unwrap(), part)
    }

    fn untrained(config: &Config) -> State {
        State::untrained(config.parameters().iter().map(|p| initial_values(p, 1)).collect())
    }

    /// The configuration of a small model and the held-out part of a text.
    fn config_and_part(length: usize) -> (tempfile::TempDir, Config, TokenFile) {
        let dir = tempfile::tempdir().unwrap();
        let corpus = Corpus { text: vec!["builtin:keeper".to_owned()], max_bytes: Some(20_000), ..Corpus::default() };
        let request = Request {
            corpus: &corpus,
            tokenizer: &Tokenizer::Char,
            base: dir.path(),
            tokenizers: &dir.path().join("tokenizers"),
            cache: &dir.path().join("cache"),
            scored_bytes: u64::MAX,
        };
        let prepared = prepare(&request, &|_| {}).unwrap();
        let settings = Model { layers: 1, heads: 2, width: 16, ..Model::default() };
        let config = Config::of(&settings, None, prepared.vocabulary, length).unwrap();
        (dir, config, TokenFile::open(&prepared.validation.unwrap().file).unwrap())
    }

    /// All of it: nobody asks to stop.
    fn score(
        backend: &mut dyn Backend,
        part: &TokenFile,
        tokens: u64,
        layout: WindowLayout,
        group: usize,
        predicted: &mut Predicted,
    ) -> Result<Scores> {
        Ok(super::score(backend, part, tokens, layout, group, predicted, &NEVER)?.unwrap())
    }

    #[test]
    fn a_stop_is_heeded_and_what_was_predicted_before_it_stays_right() {
        let (_dir, mut engine, part) = model_and_part(32);
        let (layout, asked) = (WindowLayout::overlapping(32), AtomicBool::new(true));
        let whole = score(&mut engine, &part, 641, layout, GROUP, &mut Predicted::default()).unwrap();
        let mut predicted = Predicted::default();
        score(&mut engine, &part, 321, layout, GROUP, &mut predicted).unwrap();
        assert_eq!(super::score(&mut engine, &part, 641, layout, GROUP, &mut predicted, &asked).unwrap(), None);
        assert_eq!(score(&mut engine, &part, 641, layout, GROUP, &mut predicted).unwrap(), whole);
    }

    #[test]
    fn how_many_windows_go_through_the_model_at_once_does_not_matter() {
        let (_dir, mut engine, part) = model_and_part(32);
        for layout in [WindowLayout::overlapping(32), WindowLayout::side_by_side(32), WindowLayout::overlapping(7)] {
            let mut score = |group| score(&mut engine, &part, part.len() - 5, layout, group, &mut Predicted::default()).unwrap();
            let one = score(1);
            for group in [7, GROUP] {
                let other = score(group);
                let worst = one.nll.iter().zip(&other.nll).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(worst < 1e-6, "{layout:?}, {group} at a time: {worst}");
                assert!((one.sum.unwrap() / other.sum.unwrap() - 1.0).abs() < 1e-6);
                assert_eq!((one.bytes, one.nll.len()), (other.bytes, other.nll.len()));
            }
        }
    }

    #[test]
    fn what_was_predicted_is_not_computed_again_and_changes_no_bit() {
        let (_dir, mut engine, part) = model_and_part(70);
        let mut score =
            |tokens, layout, predicted: &mut Predicted| score(&mut engine, &part, tokens, layout, GROUP, predicted).unwrap();
        for context in [32, 7, 1] {
            let fresh = score(600, WindowLayout::overlapping(context), &mut Predicted::default());
            for tokens in [600, 300, 40, context as u64 + 1, 2] {
                for other in [context, 2 * context, context + 5, 70] {
                    for layout in [WindowLayout::side_by_side(other), WindowLayout::overlapping(other)] {
                        let mut predicted = Predicted::default();
                        let before = score(tokens, layout, &mut predicted);
                        assert_eq!(
                            score(600, WindowLayout::overlapping(context), &mut predicted),
                            fresh,
                            "{context}, {other} of {tokens}"
                        );
                        assert_eq!(score(tokens, layout, &mut predicted), before, "{other} of {tokens} after {context}");
                    }
                }
            }
        }
    }

    #[test]
    fn windows_that_begin_together_are_computed_once() {
        let (_dir, mut engine, part) = model_and_part(64);
        let mut predicted = Predicted::default();
        score(&mut engine, &part, 641, WindowLayout::overlapping(64), GROUP, &mut predicted).unwrap();
        for row in predicted.rows.values_mut() {
            row.fill(9.0);
        }
        // They begin at each multiple of 32: there begin all windows of 32 that lie side by side, and every other one of those that
        // overlap by half.
        let tokens = 641 - 32;
        let mut known = |layout| {
            let scores = score(&mut engine, &part, tokens, layout, GROUP, &mut predicted).unwrap();
            scores.nll.iter().filter(|&&nll| nll == 9.0).count()
        };
        assert_eq!(known(WindowLayout::side_by_side(32)), 608);
        assert_eq!(known(WindowLayout::overlapping(32)), 32 + 16 * 18);
    }

    #[test]
    fn where_rows_depend_on_their_length_only_windows_of_the_same_length_are_taken_again() {
        let (_dir, config, part) = config_and_part(64);
        let mut plain = Candle::new(&config, &Train::default(), 1, Device::Cpu, &untrained(&config)).unwrap();
        let mut predicted = Predicted::default();
        for context in [64, 32] {
            score(&mut plain, &part, 641, WindowLayout::overlapping(context), GROUP, &mut predicted).unwrap();
        }
        for ((_, length), row) in &mut predicted.rows {
            row.fill(length.unwrap() as f32);
        }
        for context in [64, 32] {
            let scores = score(&mut plain, &part, 641, WindowLayout::overlapping(context), GROUP, &mut predicted).unwrap();
            assert!(scores.nll.iter().all(|&nll| nll == context as f32), "{context}");
        }
        let fresh = score(&mut plain, &part, 641, WindowLayout::overlapping(16), GROUP, &mut predicted).unwrap();
        assert_eq!(
            fresh,
            score(&mut plain, &part, 641, WindowLayout::overlapping(16), GROUP, &mut Predicted::default()).unwrap()
        );
    }

    #[test]
    fn the_bins_hold_every_target_of_every_window() {
        let (_dir, mut engine, part) = model_and_part(32);
        // Side by side, but for the last window, every target is scored: all bins together are the score.
        let tokens = 32 * 20 + 1;
        let scores = score(&mut engine, &part, tokens, WindowLayout::side_by_side(32), GROUP, &mut Predicted::default()).unwrap();
        let all: f64 = scores.bins.iter().map(|b| b.nll_sum).sum();
        assert!((all / scores.sum.unwrap() - 1.0).abs() < 1e-9);
        assert_eq!(scores.bins.iter().map(|b| b.tokens).collect::<Vec<_>>(), [20, 20, 40, 80, 160, 320]);
        // Overlapping by half, nearly every target twice.
        let scores = score(&mut engine, &part, tokens, WindowLayout::overlapping(32), GROUP, &mut Predicted::default()).unwrap();
        assert_eq!(scores.bins.iter().map(|b| b.tokens).sum::<i64>(), 39 * 32);
    }

    #[test]
    fn scored_bytes_leave_out_the_first_token_and_what_is_not_scored() {
        let (_dir, mut engine, part) = model_and_part(32);
        let all = score(&mut engine, &part, u64::MAX, WindowLayout::overlapping(32), GROUP, &mut Predicted::default()).unwrap();
        assert_eq!(all.bytes + u64::from(part.byte_length(0).unwrap()), part.bytes());
        let few = score(&mut engine, &part, 101, WindowLayout::overlapping(32), GROUP, &mut Predicted::default()).unwrap();
        assert_eq!(Some(few.bytes), part.bytes_between(1, 101));
    }

    proptest! {
        #[test]
        fn every_token_but_the_first_is_scored_once_and_in_order(tokens in 2u64..300, context in 1usize..40, part in 1usize..40) {
            let stride = part.min(context);
            let mut scored = Vec::new();
            for window in windows(tokens, context, stride) {
                prop_assert!(window.length == context || window.start == 0);
                prop_assert!(window.start + (window.length as u64) < tokens);
                scored.extend((window.from..window.length).map(|place| window.start + place as u64 + 1));
                if window.start > 0 {
                    prop_assert!(window.from + stride >= context, "less context than promised");
                }
            }
            prop_assert_eq!(scored, (1..tokens).collect::<Vec<_>>());
        }
    }
}
