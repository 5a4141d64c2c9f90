//! AdamW and the gradients' norm over flat arrays, each in one pass on the engine's threads.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use pulp::Arch;

use crate::experiment::settings::Train;
use crate::model::cpu::{Buffer, Pool, vectorized};
use crate::model::{Config, Group};

/// Values that one thread takes at a time, at most. The norm's sum follows these pieces, so threads do not change it.
const PIECE: usize = 32_768;

/// Lanes of a sum in 64 bits.
const LANES: usize = 16;

/// AdamW with decay groups (Loshchilov and Hutter 2019, as torch computes it), its moments one array each.
pub struct FlatAdamW {
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    weight_decay: f64,
    steps: u64,
    first: Buffer,
    second: Buffer,
    pieces: Vec<Piece>,
}

/// Neighbouring values of one group.
struct Piece {
    range: Range<usize>,
    decays: bool,
}

/// Neighbouring parameters of one group together, cut into pieces: a function of the configuration only.
fn pieces(config: &Config) -> Vec<Piece> {
    let mut spans: Vec<Piece> = Vec::new();
    let mut start = 0;
    for parameter in config.parameters() {
        let (range, decays) = (start..start + parameter.len(), parameter.group == Group::Decay);
        start = range.end;
        match spans.last_mut() {
            Some(last) if last.decays == decays => last.range.end = range.end,
            _ => spans.push(Piece { range, decays }),
        }
    }
    let cut = |span: Piece| {
        let starts = span.range.clone().step_by(PIECE);
        starts.map(move |start| Piece { range: start..(start + PIECE).min(span.range.end), decays: span.decays })
    };
    spans.into_iter().flat_map(cut).collect()
}

/// The numbers of one update, the same for all values.
#[derive(Clone, Copy)]
struct Factors {
    clip: f32,
    beta1: f32,
    rest1: f32,
    beta2: f32,
    rest2: f32,
    root: f32,
    epsilon: f32,
    rate: f32,
}

impl FlatAdamW {
    /// An optimizer for this configuration's parameters that has made no update.
    pub fn new(config: &Config, train: &Train) -> Self {
        let pieces = pieces(config);
        let len = pieces.last().map_or(0, |last| last.range.end);
        let Train { beta1, beta2, epsilon, weight_decay, .. } = *train;
        let [first, second] = [Buffer::zeros(len), Buffer::zeros(len)];
        Self { beta1, beta2, epsilon, weight_decay, steps: 0, first, second, pieces }
    }

    /// Goes on after so many updates: gives both moments in the order of the parameters, to be filled with the saved ones.
    pub fn restore(&mut self, steps: u64) -> [&mut [f32]; 2] {
        self.steps = steps;
        [&mut self.first, &mut self.second]
    }

    /// Updates made.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Running means of the gradients and of their squares, in the order of the parameters.
    pub fn moments(&self) -> [&[f32]; 2] {
        [&self.first, &self.second]
    }

    /// The L2 norm of all gradients, summed in 64 bits; the same bits on any number of threads.
    pub fn norm(&self, pool: &Pool, gradients: &[f32]) -> f64 {
        let sums: Vec<Mutex<f64>> = self.pieces.iter().map(|_| Mutex::new(0.0)).collect();
        let arch = Arch::new();
        pool.run(self.pieces.len(), |i, _| {
            let piece = &gradients[self.pieces[i].range.clone()];
            *sums[i].lock().unwrap_or_else(PoisonError::into_inner) = vectorized(
                arch,
                #[inline(always)]
                || square_sum(piece),
            );
        });
        sums.into_iter().map(|sum| sum.into_inner().unwrap_or_else(PoisonError::into_inner)).sum::<f64>().sqrt()
    }

    /// One update; each gradient is multiplied by `clip` first. In torch's order: θ ← θ (1 − η λ) for decaying parameters;
    /// m and v; θ ← θ − η m̂ / (√v̂ + ε), ε outside the root.
    ///
    /// # Panics
    /// If the arrays are not as long as the parameters.
    pub fn update(&mut self, pool: &Pool, values: &mut [f32], gradients: &[f32], learning_rate: f64, clip: f64) {
        assert!(values.len() == self.first.len() && gradients.len() == self.first.len());
        self.steps += 1;
        let factors = Factors {
            clip: clip as f32,
            beta1: self.beta1 as f32,
            rest1: (1.0 - self.beta1) as f32,
            beta2: self.beta2 as f32,
            rest2: (1.0 - self.beta2) as f32,
            root: (1.0 / (1.0 - self.beta2.powf(self.steps as f64)).sqrt()) as f32,
            epsilon: self.epsilon as f32,
            rate: (learning_rate / (1.0 - self.beta1.powf(self.steps as f64))) as f32,
        };
        let decay = (1.0 - learning_rate * self.weight_decay) as f32;
        let arch = Arch::new();
        let (mut values, mut first, mut second) = (values, &mut self.first[..], &mut self.second[..]);
        let jobs: Vec<_> = self
            .pieces
            .iter()
            .map(|piece| {
                let len = piece.range.len();
                Mutex::new((take(&mut values, len), take(&mut first, len), take(&mut second, len)))
            })
            .collect();
        pool.run(jobs.len(), |i, _| {
            let mut job = jobs[i].lock().unwrap_or_else(PoisonError::into_inner);
            let (values, first, second) = &mut *job;
            let piece = &self.pieces[i];
            let decay = if piece.decays { decay } else { 1.0 };
            vectorized(
                arch,
                #[inline(always)]
                || update(values, first, second, &gradients[piece.range.clone()], decay, factors),
            );
        });
    }
}

/// The first `len` values, leaving the rest.
fn take<'a>(rest: &mut &'a mut [f32], len: usize) -> &'a mut [f32] {
    let (piece, after) = std::mem::take(rest).split_at_mut(len);
    *rest = after;
    piece
}

/// Σ x² in 64 bits, in fixed lanes.
#[inline(always)]
fn square_sum(x: &[f32]) -> f64 {
    let mut lanes = [0.0f64; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane += f64::from(x) * f64::from(x);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane += f64::from(x) * f64::from(x);
    }
    lanes.iter().sum()
}

#[inline(always)]
fn update(values: &mut [f32], first: &mut [f32], second: &mut [f32], gradients: &[f32], decay: f32, f: Factors) {
    for (((value, m), v), &g) in values.iter_mut().zip(first).zip(second).zip(gradients) {
        let g = g * f.clip;
        *m = g.mul_add(f.rest1, *m * f.beta1);
        *v = (g * g).mul_add(f.rest2, *v * f.beta2);
        *value = value.mul_add(decay, -f.rate * *m / v.sqrt().mul_add(f.root, f.epsilon));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::settings::Model;

    fn config() -> Config {
        let model = Model { layers: 2, heads: 4, width: 64, ..Model::default() };
        Config::new(&model, 50, 32).unwrap()
    }

    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1000.0 - 1.0).collect()
    }

    #[test]
    fn pieces_follow_each_other_and_decay_as_their_parameters_do() {
        let config = config();
        let pieces = pieces(&config);
        let mut start = 0;
        for parameter in config.parameters() {
            let end = start + parameter.len();
            for piece in pieces.iter().filter(|p| p.range.start < end && p.range.end > start) {
                assert_eq!(piece.decays, parameter.group == Group::Decay, "{}", parameter.name);
            }
            start = end;
        }
        assert_eq!(pieces[0].range.start, 0);
        assert_eq!(pieces.last().unwrap().range.end, start);
        assert!(pieces.windows(2).all(|p| p[0].range.end == p[1].range.start));
        assert!(pieces.iter().all(|p| !p.range.is_empty() && p.range.len() <= PIECE));
    }

    #[test]
    fn ten_updates_are_the_definition_in_64_bits() {
        let config = config();
        let train = Train { weight_decay: 0.1, beta1: 0.9, beta2: 0.95, ..Train::default() };
        let pool = Pool::new(2).unwrap();
        let mut optimizer = FlatAdamW::new(&config, &train);
        let n = optimizer.first.len();
        let mut values = numbers(n, 1);
        let mut exact: Vec<[f64; 3]> = values.iter().map(|&v| [f64::from(v), 0.0, 0.0]).collect();
        for step in 1..=10 {
            let gradients = numbers(n, 1 + step);
            let (rate, clip) = (1e-3 * step as f64, if step % 3 == 0 { 0.25 } else { 1.0 });
            optimizer.update(&pool, &mut values, &gradients, rate, clip);
            for piece in &optimizer.pieces {
                for i in piece.range.clone() {
                    let [value, m, v] = &mut exact[i];
                    let g = f64::from(gradients[i]) * clip;
                    *value *= if piece.decays { 1.0 - rate * 0.1 } else { 1.0 };
                    *m = 0.9 * *m + 0.1 * g;
                    *v = 0.95 * *v + 0.05 * g * g;
                    let (mean, square) = (*m / (1.0 - 0.9f64.powi(step as i32)), *v / (1.0 - 0.95f64.powi(step as i32)));
                    *value -= rate * mean / (square.sqrt() + train.epsilon);
                }
            }
        }
        assert_eq!(optimizer.steps(), 10);
        let worst = values.iter().zip(&exact).map(|(v, e)| (f64::from(*v) - e[0]).abs()).fold(0.0, f64::max);
        assert!(worst < 1e-6, "{worst}");
    }

    #[test]
    fn threads_change_no_bit() {
        let config = config();
        let run = |threads| {
            let pool = Pool::new(threads).unwrap();
            let mut optimizer = FlatAdamW::new(&config, &Train::default());
            let n = optimizer.first.len();
            let (mut values, gradients) = (numbers(n, 1), numbers(n, 2));
            let norm = optimizer.norm(&pool, &gradients);
            optimizer.update(&pool, &mut values, &gradients, 1e-2, 0.5);
            (norm.to_bits(), values.iter().map(|v| v.to_bits()).collect::<Vec<_>>())
        };
        assert_eq!(run(1), run(2));
        assert_eq!(run(1), run(3));
    }

    #[test]
    fn the_norm_is_that_of_all_gradients() {
        let config = config();
        let optimizer = FlatAdamW::new(&config, &Train::default());
        let gradients = numbers(optimizer.first.len(), 3);
        let exact = gradients.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
        let norm = optimizer.norm(&Pool::new(2).unwrap(), &gradients);
        assert!((norm / exact - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_restored_optimizer_goes_on_to_the_bit() {
        let config = config();
        let pool = Pool::new(1).unwrap();
        let mut one = FlatAdamW::new(&config, &Train::default());
        let n = one.first.len();
        let mut values = numbers(n, 1);
        one.update(&pool, &mut values, &numbers(n, 2), 1e-2, 1.0);
        let mut other = FlatAdamW::new(&config, &Train::default());
        for (saved, moments) in one.moments().into_iter().zip(other.restore(one.steps())) {
            moments.copy_from_slice(saved);
        }
        let mut again = values.clone();
        one.update(&pool, &mut values, &numbers(n, 3), 1e-2, 1.0);
        other.update(&pool, &mut again, &numbers(n, 3), 1e-2, 1.0);
        assert_eq!(values, again);
    }
}
