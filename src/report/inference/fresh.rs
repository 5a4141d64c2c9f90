//! What the winner would give with other seeds: it was chosen for being lowest, and part of that was luck.
//!
//! Leave one seed out, choose by the others, and see what the chosen one does with the seed that did not choose it: the mean over
//! the seeds of that held-out value less the chosen one's mean over the rest is what choosing by n − 1 seeds promises too much
//! (Mosteller and Tukey 1968, cross-validation of a selection). With n seeds luck is smaller by √((n − 1) / n). What a seed does to
//! all alike falls out of the sum. Where configurations scatter differently it is counted in deviations of the one that was chosen each
//! time, and turned into those of the winner: a winner that hardly scatters was not lucky by as much as a noisy one would have been. No
//! limits are given: those of a chosen one that ignore the choice cover far less than they say.

/// By how much the mean of the winner, one of these, is too low. `rows` are the responses of each configuration over the same seeds, all
/// of them there; `deviations` how much a single response of each scatters. `None` below two seeds.
pub(in crate::report) fn optimism(rows: &[&[f64]], deviations: &[f64], winner: usize) -> Option<f64> {
    let seeds = rows.first()?.len();
    if seeds < 2 {
        return None;
    }
    let (n, p) = (seeds as f64, rows.len() as f64);
    let of_seed: Vec<f64> = (0..seeds).map(|seed| rows.iter().map(|row| row[seed]).sum::<f64>() / p).collect();
    let value = |c: usize, seed: usize| rows[c][seed] - of_seed[seed];
    let without = |c: usize, left_out: usize| (0..seeds).filter(|&s| s != left_out).map(|s| value(c, s)).sum::<f64>() / (n - 1.0);
    let too_low = |left_out: usize| {
        let chosen = (0..rows.len()).min_by(|&a, &b| without(a, left_out).total_cmp(&without(b, left_out))).unwrap_or(winner);
        let scale = if deviations[chosen] > 0.0 { deviations[winner] / deviations[chosen] } else { 1.0 };
        scale * (value(chosen, left_out) - without(chosen, left_out))
    };
    let mean = (0..seeds).map(too_low).sum::<f64>() / n;
    Some(((n - 1.0) / n).sqrt() * mean)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    fn of(rows: &[Vec<f64>]) -> Option<f64> {
        optimism(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>(), &vec![1.0; rows.len()], 0)
    }

    #[test]
    fn one_configuration_is_not_chosen_and_promises_nothing_too_much() {
        assert!(of(&[vec![1.0, 2.0, 6.0]]).unwrap().abs() < 1e-12);
        assert_eq!(of(&[vec![1.0], vec![2.0]]), None);
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn what_a_seed_does_to_all_alike_falls_out() {
        let plain = [vec![1.0, 2.0, 1.5], vec![1.2, 1.1, 1.9], vec![3.0, 0.5, 1.0]];
        let shifted: Vec<Vec<f64>> =
            plain.iter().map(|row| row.iter().zip([10.0, -7.0, 3.0]).map(|(a, b)| a + b).collect()).collect();
        assert!((of(&plain).unwrap() - of(&shifted).unwrap()).abs() < 1e-12);
    }

    /// Mean of what is found and of the truth over experiments of twelve configurations with these deviations and equal true means; only
    /// of those that the configurations of `winners` won.
    fn found_and_truth(deviations: &[f64], seeds: u64, winners: std::ops::Range<usize>) -> (f64, f64) {
        let (mut found, mut truth, mut count) = (0.0, 0.0, 0.0);
        for number in 0..4_000 {
            let mut stream = Stream::new(number, "optimism", &[seeds]);
            let rows: Vec<Vec<f64>> =
                deviations.iter().map(|deviation| (0..seeds).map(|_| deviation * stream.normal()).collect()).collect();
            let mean = |c: usize| rows[c].iter().sum::<f64>() / seeds as f64;
            let winner = (0..rows.len()).min_by(|&a, &b| mean(a).total_cmp(&mean(b))).unwrap();
            if winners.contains(&winner) {
                truth -= mean(winner);
                found += optimism(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>(), deviations, winner).unwrap();
                count += 1.0;
            }
        }
        (found / count, truth / count)
    }

    #[test]
    fn the_luck_of_the_lowest_is_found_on_average() {
        for seeds in [2, 3, 5] {
            let (found, truth) = found_and_truth(&[1.0; 12], seeds, 0..12);
            assert!((found / truth - 1.0).abs() < 0.08, "{seeds} seeds: {found}, truly {truth}");
        }
    }

    #[test]
    fn a_winner_that_hardly_scatters_was_hardly_lucky() {
        // Six that scatter a tenth as much as the others, and win now and then.
        let deviations: Vec<f64> = (0..12).map(|c| if c < 6 { 0.1 } else { 1.0 }).collect();
        let (found, truth) = found_and_truth(&deviations, 3, 6..12);
        assert!((0.5..1.5).contains(&(found / truth)), "{found}, truly {truth}");
        let (found, truth) = found_and_truth(&deviations, 3, 0..6);
        assert!(found < 0.2 && truth < 0.2, "{found}, truly {truth}");
    }
}
