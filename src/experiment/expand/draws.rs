//! Random draws of a search.

use crate::experiment::axes::{self, Choice, Drawn, Search, Target};
use crate::random::Stream;

/// What a search draws at this number. Each draw of each setting has a stream of its own: `random: 10` is a prefix of `random: 20`, and
/// a setting added to the search changes no other's values.
pub(super) fn choices(search: &Search, targets: &[Target], draw: u64) -> Vec<Choice> {
    let choice = |dimension: &axes::Dimension| {
        let mut stream = Stream::new(search.seed, &format!("search {}", dimension.key), &[draw]);
        match &dimension.from {
            Drawn::Choices(list) => list[stream.below(list.len() as u64) as usize].clone(),
            Drawn::Between { from, to, log, whole, unit } => {
                let value = between(*from, *to, *log, *whole, stream.uniform());
                axes::made(dimension.target, &targets[dimension.target], value, *unit)
            }
        }
    };
    search.dimensions.iter().map(choice).collect()
}

/// A number between two others: four digits of it, which a person can read and retype.
fn between(from: f64, to: f64, log: bool, whole: bool, uniform: f64) -> f64 {
    if whole {
        // Every whole number between the ends, both included, has its share.
        let (low, high) = (from.ceil(), to.floor());
        let value = if log {
            let (low, high) = ((low - 0.5).max(0.5), high + 0.5);
            (low * (high / low).powf(uniform)).round()
        } else {
            low + (uniform * (high - low + 1.0)).floor()
        };
        return value.clamp(low, high.max(low));
    }
    let value = if log { from * (to / from).powf(uniform) } else { from + uniform * (to - from) };
    format!("{value:.3e}").parse().unwrap_or(value).clamp(from, to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_stay_between_their_ends() {
        for uniform in [0.0, 0.3, 0.999_999] {
            let value = between(1e-4, 1e-2, true, false, uniform);
            assert!((1e-4..=1e-2).contains(&value));
            for log in [false, true] {
                let whole = between(2.0, 9.0, log, true, uniform);
                assert!((2.0..=9.0).contains(&whole) && whole.fract() == 0.0, "{whole}");
            }
        }
        assert_eq!(between(2.0, 9.0, false, true, 0.999_999), 9.0);
    }
}
