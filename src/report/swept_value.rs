//! The values of a swept setting, as its file writes them: what they are, and their order.

use std::collections::HashSet;

/// What a value is. In this order: numbers by size, `off`, `full`, words.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub(super) enum SweptValue<'a> {
    /// A finite number.
    Number(f64),
    /// No limit.
    Off,
    /// All there is.
    Full,
    /// Anything else.
    Word(&'a str),
}

impl<'a> SweptValue<'a> {
    /// What a text is; of values that move together (`64 · 32`) the first one counts.
    pub(super) fn of(text: &'a str) -> Self {
        match text.split(" · ").next().unwrap_or(text) {
            "off" => Self::Off,
            "full" => Self::Full,
            other => {
                let number = other.replace('_', "").parse().ok().filter(|n: &f64| n.is_finite());
                number.map_or(Self::Word(text), Self::Number)
            }
        }
    }

    /// It as a number: `off` and `full` are beyond all others; `None` for words.
    pub(super) fn size(self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(number),
            Self::Off | Self::Full => Some(f64::INFINITY),
            Self::Word(_) => None,
        }
    }
}

/// Distinct values: by their order where all have a size, as they came where there are words among them.
pub(super) fn ordered(values: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut distinct: Vec<String> = values.into_iter().filter(|value| seen.insert(value.clone())).collect();
    if distinct.iter().all(|value| SweptValue::of(value).size().is_some()) {
        distinct.sort_by(|a, b| SweptValue::of(a).partial_cmp(&SweptValue::of(b)).unwrap_or(std::cmp::Ordering::Equal));
    }
    distinct
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_a_number_off_full_or_a_word() {
        for (text, value, size) in [
            ("20_000", SweptValue::Number(20_000.0), Some(20_000.0)),
            ("1e-3", SweptValue::Number(0.001), Some(0.001)),
            ("64 · 32", SweptValue::Number(64.0), Some(64.0)),
            ("off", SweptValue::Off, Some(f64::INFINITY)),
            ("full", SweptValue::Full, Some(f64::INFINITY)),
            ("bpe-512", SweptValue::Word("bpe-512"), None),
            ("inf", SweptValue::Word("inf"), None),
            ("", SweptValue::Word(""), None),
        ] {
            assert_eq!((SweptValue::of(text), SweptValue::of(text).size()), (value, size), "{text}");
        }
        assert!(SweptValue::Number(1e300) < SweptValue::Off && SweptValue::Off < SweptValue::Full);
        assert!(SweptValue::Full < SweptValue::Word("a"));
    }

    #[test]
    fn values_of_an_axis_are_in_the_order_a_person_expects() {
        let order = |list: &[&str]| ordered(list.iter().map(|&value| value.to_owned()));
        assert_eq!(order(&["off", "1.0", "0.5", "1.0"]), ["0.5", "1.0", "off"]);
        assert_eq!(order(&["256", "64", "1_000"]), ["64", "256", "1_000"]);
        assert_eq!(order(&["128 · 6", "64 · 4"]), ["64 · 4", "128 · 6"]);
        assert_eq!(order(&["linear", "cosine", "linear"]), ["linear", "cosine"]);
        assert_eq!(order(&["bpe-512", "7"]), ["bpe-512", "7"]);
    }
}
