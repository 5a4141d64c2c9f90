//! How much results scatter: the additive model of configurations and seeds, by least squares.
//!
//! The response of configuration c with seed s is taken as μ_c + b_s + e. A seed gives every configuration the same order of text
//! and, where shapes agree, the same first weights: what that does to all of them alike is b_s (seeds are blocks), and only what
//! is left counts against a difference. Cells may be missing (a trial diverged, or the night ended): the model is fitted by least
//! squares and has as many degrees of freedom as observations less its rank. Where seeds do not join the
//! configurations they are taken as unrelated repeats instead, which is only wider.
//!
//! Only contrasts matter, and their variance is cheap: with p_c the share of each seed among those of c and A the matrix of the
//! seeds' reduced normal equations, Var(m_i − m_j) = σ² (1/n_i + 1/n_j + (p_i − p_j)ᵀ A⁻ (p_i − p_j)). The last part is zero
//! where both have the same seeds, and depends on the two patterns of seeds only, of which there are few.

use std::collections::BTreeMap;

/// Seeds beyond which the blocks are not solved for.
const MOST_BLOCKS: usize = 300;

/// The response of one trial.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::report) struct Observation {
    pub(in crate::report) configuration: i64,
    pub(in crate::report) seed: i64,
    pub(in crate::report) response: f64,
}

/// The model, fitted.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::report) struct Fit {
    configurations: Vec<i64>,
    means: Vec<f64>,
    counts: Vec<usize>,
    pattern: Vec<usize>,
    /// (p_i − p_j)ᵀ A⁻ (p_i − p_j) by pattern of seeds.
    imbalance: Vec<Vec<f64>>,
    /// Degrees of freedom that are left: observations less the rank of the model.
    pub(in crate::report) degrees: usize,
    /// Whether seeds were taken as blocks.
    pub(in crate::report) blocks: bool,
    /// Mean square of the residuals; 0 without degrees of freedom.
    pub(in crate::report) variance: f64,
}

impl Fit {
    /// Fits the model. Two observations of the same configuration and seed are taken as repeats in the same block.
    pub(in crate::report) fn new(observations: &[Observation]) -> Self {
        let table = Table::new(observations);
        table.additive().unwrap_or_else(|| table.one_way())
    }

    /// The configurations, by number.
    pub(in crate::report) fn configurations(&self) -> &[i64] {
        &self.configurations
    }

    /// The place of a configuration among them.
    pub(in crate::report) fn place(&self, configuration: i64) -> Option<usize> {
        self.configurations.binary_search(&configuration).ok()
    }

    /// Mean response of the configuration at this place, over all seeds of the table.
    pub(in crate::report) fn mean(&self, place: usize) -> f64 {
        self.means[place]
    }

    /// How many observations the configuration of this place has.
    pub(in crate::report) fn count(&self, place: usize) -> usize {
        self.counts[place]
    }

    /// Variance of the difference of two means, in units of the residual variance.
    pub(in crate::report) fn difference_variance(&self, i: usize, j: usize) -> f64 {
        let imbalance = self.imbalance[self.pattern[i]][self.pattern[j]];
        1.0 / self.counts[i] as f64 + 1.0 / self.counts[j] as f64 + imbalance
    }
}

struct Table {
    configurations: Vec<i64>,
    /// Observations: place of configuration, place of seed, response.
    rows: Vec<(usize, usize, f64)>,
    seeds: usize,
    means: Vec<f64>,
    counts: Vec<usize>,
}

impl Table {
    fn new(observations: &[Observation]) -> Self {
        let places = |values: &mut dyn Iterator<Item = i64>| {
            let mut list: Vec<i64> = values.collect();
            list.sort_unstable();
            list.dedup();
            list
        };
        let configurations = places(&mut observations.iter().map(|o| o.configuration));
        let seeds = places(&mut observations.iter().map(|o| o.seed));
        let place = |list: &[i64], value: i64| list.partition_point(|&other| other < value);
        let rows: Vec<(usize, usize, f64)> =
            observations.iter().map(|o| (place(&configurations, o.configuration), place(&seeds, o.seed), o.response)).collect();
        let (mut sums, mut counts) = (vec![0.0; configurations.len()], vec![0; configurations.len()]);
        for &(configuration, _, response) in &rows {
            sums[configuration] += response;
            counts[configuration] += 1;
        }
        let means = sums.iter().zip(&counts).map(|(sum, &count)| sum / count as f64).collect();
        Self { configurations, rows, seeds: seeds.len(), means, counts }
    }

    /// Seeds as unrelated repeats.
    fn one_way(&self) -> Fit {
        let residuals = self.residuals(&self.means, &vec![0.0; self.seeds]);
        let degrees = self.rows.len() - self.configurations.len();
        Fit {
            configurations: self.configurations.clone(),
            means: self.means.clone(),
            counts: self.counts.clone(),
            pattern: vec![0; self.configurations.len()],
            imbalance: vec![vec![0.0]],
            degrees,
            blocks: false,
            variance: residuals / degrees.max(1) as f64,
        }
    }

    /// Seeds as blocks; `None` where they do not join all configurations.
    fn additive(&self) -> Option<Fit> {
        if self.seeds < 2 || self.seeds > MOST_BLOCKS || !self.is_joined() {
            return None;
        }
        let (patterns, pattern) = self.patterns();
        let shares = |pattern: &[usize]| {
            let count: usize = pattern.iter().sum();
            pattern.iter().map(|&n| n as f64 / count as f64).collect::<Vec<f64>>()
        };
        let shares: Vec<Vec<f64>> = patterns.iter().map(|p| shares(p)).collect();
        // Reduced normal equations of the seeds: A b = q, of rank one less than there are seeds; b_0 is set to zero.
        let mut normal = vec![vec![0.0; self.seeds]; self.seeds];
        for &of in &pattern {
            let (counts, shares) = (&patterns[of], &shares[of]);
            for s in 0..self.seeds {
                normal[s][s] += counts[s] as f64;
                for t in 0..self.seeds {
                    normal[s][t] -= counts[s] as f64 * shares[t];
                }
            }
        }
        let mut right = vec![0.0; self.seeds];
        for &(configuration, seed, response) in &self.rows {
            right[seed] += response - self.means[configuration];
        }
        let inverse = inverse_without_first(&normal)?;
        let times =
            |vector: &[f64]| -> Vec<f64> { inverse.iter().map(|row| row.iter().zip(vector).map(|(a, b)| a * b).sum()).collect() };
        let blocks = times(&right);
        let centre = blocks.iter().sum::<f64>() / self.seeds as f64;
        let own: Vec<f64> = (0..self.means.len())
            .map(|c| self.means[c] - shares[pattern[c]].iter().zip(&blocks).map(|(p, b)| p * b).sum::<f64>())
            .collect();
        let residuals = self.residuals(&own, &blocks);
        let imbalance = shares
            .iter()
            .map(|a| {
                let form = |b: &Vec<f64>| {
                    let apart: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
                    times(&apart).iter().zip(&apart).map(|(x, y)| x * y).sum::<f64>().max(0.0)
                };
                shares.iter().map(form).collect()
            })
            .collect();
        let degrees = self.rows.len().checked_sub(self.configurations.len() + self.seeds - 1)?;
        Some(Fit {
            configurations: self.configurations.clone(),
            means: own.into_iter().map(|mean| mean + centre).collect(),
            counts: self.counts.clone(),
            pattern,
            imbalance,
            degrees,
            blocks: true,
            variance: residuals / degrees.max(1) as f64,
        })
    }

    /// The sum of the squared residuals.
    fn residuals(&self, means: &[f64], blocks: &[f64]) -> f64 {
        let square = |&(configuration, seed, response): &(usize, usize, f64)| -> f64 {
            (response - means[configuration] - blocks[seed]).powi(2)
        };
        self.rows.iter().map(square).sum()
    }

    /// Whether every two configurations are compared, if only through others.
    fn is_joined(&self) -> bool {
        let mut group: Vec<usize> = (0..self.configurations.len() + self.seeds).collect();
        fn root(group: &mut [usize], mut place: usize) -> usize {
            while group[place] != place {
                group[place] = group[group[place]];
                place = group[place];
            }
            place
        }
        for &(configuration, seed, _) in &self.rows {
            let (a, b) = (root(&mut group, configuration), root(&mut group, self.configurations.len() + seed));
            group[a] = b;
        }
        let first = root(&mut group, 0);
        (0..group.len()).all(|place| root(&mut group, place) == first)
    }

    /// The distinct patterns of seeds (observations of each), and which one a configuration has.
    fn patterns(&self) -> (Vec<Vec<usize>>, Vec<usize>) {
        let mut counts = vec![vec![0; self.seeds]; self.configurations.len()];
        for &(configuration, seed, _) in &self.rows {
            counts[configuration][seed] += 1;
        }
        let (mut known, mut patterns, mut of) = (BTreeMap::new(), Vec::new(), Vec::new());
        for pattern in counts {
            let place = *known.entry(pattern.clone()).or_insert_with(|| {
                patterns.push(pattern);
                patterns.len() - 1
            });
            of.push(place);
        }
        (patterns, of)
    }
}

/// The inverse of a symmetric matrix without its first row and column, with zeros there: a generalized inverse of a
/// matrix whose rows sum to zero. By Gauss and Jordan; the matrix is positive definite, so no pivoting is needed.
fn inverse_without_first(matrix: &[Vec<f64>]) -> Option<Vec<Vec<f64>>> {
    let n = matrix.len();
    let mut work: Vec<Vec<f64>> = matrix[1..].iter().map(|row| row[1..].to_vec()).collect();
    let mut inverse: Vec<Vec<f64>> = (0..n - 1).map(|i| (0..n - 1).map(|j| f64::from(u8::from(i == j))).collect()).collect();
    for place in 0..n - 1 {
        let pivot = work[place][place];
        if pivot <= 1e-9 {
            return None;
        }
        for column in 0..n - 1 {
            work[place][column] /= pivot;
            inverse[place][column] /= pivot;
        }
        for row in (0..n - 1).filter(|&row| row != place) {
            let factor = work[row][place];
            for column in 0..n - 1 {
                work[row][column] -= factor * work[place][column];
                inverse[row][column] -= factor * inverse[place][column];
            }
        }
    }
    let zeros = vec![0.0; n];
    let padded = inverse.into_iter().map(|row| std::iter::once(0.0).chain(row).collect());
    Some(std::iter::once(zeros).chain(padded).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(in crate::report) fn observations(cells: &[(i64, i64, f64)]) -> Vec<Observation> {
        cells.iter().map(|&(configuration, seed, response)| Observation { configuration, seed, response }).collect()
    }

    #[test]
    fn a_complete_table_has_the_textbook_residual() {
        // Three configurations and three seeds: 4 = (3 − 1)(3 − 1) degrees, and deviations worked out by hand.
        let rows = [[1.0, 2.0, 3.0], [2.0, 4.0, 3.0], [6.0, 5.0, 7.0]];
        let cells = rows
            .iter()
            .enumerate()
            .flat_map(|(c, row)| row.iter().enumerate().map(move |(s, &y)| (c as i64 + 1, s as i64 + 1, y)).collect::<Vec<_>>());
        let fit = Fit::new(&observations(&cells.collect::<Vec<_>>()));
        let mut sum = 0.0;
        for (c, row) in rows.iter().enumerate() {
            for (s, y) in row.iter().enumerate() {
                let (own, seed) = (row.iter().sum::<f64>() / 3.0, rows.iter().map(|r| r[s]).sum::<f64>() / 3.0);
                let all = rows.iter().flatten().sum::<f64>() / 9.0;
                sum += (y - own - seed + all).powi(2);
                assert!((fit.mean(c) - own).abs() < 1e-12);
            }
        }
        assert_eq!((fit.degrees, fit.blocks), (4, true));
        assert!((fit.variance - sum / 4.0).abs() < 1e-12);
        assert!((fit.difference_variance(0, 1) - 2.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn what_a_seed_does_to_all_alike_is_not_residual() {
        let cells: Vec<(i64, i64, f64)> =
            (0..4).flat_map(|c| (0..3).map(move |s| (c, s, c as f64 + 10.0 * (s * s) as f64))).collect();
        let fit = Fit::new(&observations(&cells));
        assert!(fit.variance < 1e-20);
    }

    #[test]
    fn with_missing_cells_means_are_those_of_the_whole_table() {
        // y = μ_c + b_s exactly; (3, seed 3) and (4, seeds 1 and 2) are missing.
        let (mu, b) = ([1.0, 2.0, 3.0, 4.0], [0.0, 0.5, -2.0]);
        let cells: Vec<(i64, i64, f64)> = (0..4)
            .flat_map(|c| (0..3).map(move |s| (c, s)))
            .filter(|cell| ![(2, 2), (3, 0), (3, 1)].contains(cell))
            .map(|(c, s)| (c as i64, s as i64, mu[c] + b[s]))
            .collect();
        let fit = Fit::new(&observations(&cells));
        for (c, mu) in mu.iter().enumerate() {
            assert!((fit.mean(c) - mu - b.iter().sum::<f64>() / 3.0).abs() < 1e-12, "{c}");
        }
        assert_eq!(fit.degrees, 9 - 4 - 2);
    }

    #[test]
    fn the_variance_of_a_difference_is_that_of_least_squares() {
        // Against the full normal equations, solved for each contrast: configurations 0..3, seeds 0..2, one cell missing.
        let cells = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0), (2, 2), (3, 0), (3, 1), (3, 2)];
        let fit = Fit::new(&observations(&cells.map(|(c, s)| (c, s, (c * 7 + s * s * 3) as f64))));
        let mut normal = vec![vec![0.0; 7]; 7];
        for &(c, s) in &cells {
            let (c, s) = (c as usize, 4 + s as usize);
            for (a, b) in [(c, c), (s, s), (c, s), (s, c)] {
                normal[a][b] += 1.0;
            }
        }
        // The first block is set to zero: put it first, so that it is the one left out.
        let order = [4, 0, 1, 2, 3, 5, 6];
        let ordered: Vec<Vec<f64>> = order.iter().map(|&i| order.iter().map(|&j| normal[i][j]).collect()).collect();
        let inverse = inverse_without_first(&ordered).unwrap();
        for i in 0..4 {
            for j in 0..4 {
                let (a, b) = (i + 1, j + 1);
                let expected = inverse[a][a] + inverse[b][b] - 2.0 * inverse[a][b];
                let found = if i == j { 0.0 } else { fit.difference_variance(i, j) };
                assert!((found - expected).abs() < 1e-10, "{i} {j}: {found} {expected}");
            }
        }
    }

    #[test]
    fn seeds_that_join_nothing_are_repeats() {
        let fit = Fit::new(&observations(&[(1, 1, 1.0), (1, 2, 2.0), (2, 3, 5.0), (2, 4, 5.0)]));
        assert_eq!((fit.degrees, fit.blocks), (2, false));
        assert!((fit.variance - 0.25).abs() < 1e-12);
    }

    #[test]
    fn a_seed_that_only_one_has_is_taken_out_of_its_mean() {
        // Seed 2 is worse for the first by 1: the second would be 5.5 over both.
        let fit = Fit::new(&observations(&[(1, 1, 1.0), (1, 2, 2.0), (2, 1, 5.0)]));
        assert_eq!((fit.degrees, fit.blocks), (0, true));
        assert_eq!(fit.means, [1.5, 5.5]);
    }

    #[test]
    fn one_seed_each_leaves_nothing_to_judge_by() {
        let fit = Fit::new(&observations(&[(1, 1, 1.0), (2, 1, 2.0), (3, 1, 4.0)]));
        assert_eq!((fit.degrees, fit.means), (0, vec![1.0, 2.0, 4.0]));
        assert_eq!(Fit::new(&observations(&[(1, 1, 1.0), (2, 2, 2.0)])).degrees, 0);
    }
}
