//! How the fields of settings read their values.

use std::fmt;

use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};

use super::number::{LARGEST, write_number};
use super::scalar::{LARGEST_SIZE, Scalar};
use super::time::{clock_time, duration};

/// Largest number of what there are few of: blocks of a model and their heads, slots and threads of a machine.
pub(in crate::experiment) const LARGEST_FEW: u64 = 10_000;

/// Between these a positive number keeps its digits in 32 bits, in which models are trained.
const REALS: std::ops::RangeInclusive<f64> = 1e-37..=1e37;

/// A list of texts, or one text.
pub(in crate::experiment) struct Texts(Vec<String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextsVisitor;
        impl<'de> Visitor<'de> for TextsVisitor {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E>(self, value: &str) -> Result<Texts, E> {
                Ok(Texts(vec![value.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Texts, A::Error> {
                let mut texts = Vec::new();
                while let Some(item) = items.next_element::<Scalar>()? {
                    match item {
                        Scalar::Text(text) => texts.push(text),
                        other => return other.refuse("a list of texts"),
                    }
                }
                Ok(Texts(texts))
            }
        }
        deserializer.deserialize_any(TextsVisitor)
    }
}

fn checked<'de, D: Deserializer<'de>>(deserializer: D, expected: &str, right: impl Fn(f64) -> bool) -> Result<f64, D::Error> {
    let scalar = Scalar::deserialize(deserializer)?;
    match scalar.number().filter(|&n| right(n)) {
        // -0 is 0.
        Some(number) => Ok(number + 0.0),
        None => scalar.refuse(expected),
    }
}

/// In [0, 1).
pub(in crate::experiment) fn below_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    checked(deserializer, "a number from 0 to below 1", |n| (0.0..1.0).contains(&n))
}

/// In [0, 1), as a share of something.
pub(in crate::experiment) fn margin<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    checked(deserializer, "a share from 0 to below 1 (0.002 is 0.2 %)", |n| (0.0..1.0).contains(&n))
}

/// In [0, 1].
pub(in crate::experiment) fn fraction<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    checked(deserializer, "a fraction from 0 to 1", |n| (0.0..=1.0).contains(&n))
}

/// In (0, 1]; what is smaller than a millionth of a millionth is no share of anything.
pub(in crate::experiment) fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    checked(deserializer, "a fraction above 0, at most 1", |n| (1e-12..=1.0).contains(&n))
}

fn real_above_zero(scalar: &Scalar) -> Result<f64, String> {
    match scalar.number() {
        Some(number) if REALS.contains(&number) => Ok(number),
        Some(number) if number > 0.0 => {
            let (least, most) = (write_number(*REALS.start()), write_number(*REALS.end()));
            Err(format!("a number from {least} to {most}, as 32 bits hold them"))
        }
        _ => Err("a number above 0".to_owned()),
    }
}

/// Above 0.
pub(in crate::experiment) fn above_zero<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let scalar = Scalar::deserialize(deserializer)?;
    real_above_zero(&scalar).or_else(|expected| scalar.refuse(&expected))
}

/// 0 or above.
pub(in crate::experiment) fn not_negative<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let scalar = Scalar::deserialize(deserializer)?;
    match scalar.number() {
        Some(0.0) => Ok(0.0),
        Some(number) if number > 0.0 => real_above_zero(&scalar).or_else(|expected| scalar.refuse(&expected)),
        _ => scalar.refuse("a number from 0 up"),
    }
}

fn to_whole<T: TryFrom<u64>, E: serde::de::Error>(scalar: &Scalar, least: u64, most: u64) -> Result<T, E> {
    let number = scalar.whole(least, most).or_else(|expected| scalar.refuse(&expected))?;
    T::try_from(number).or_else(|_| scalar.refuse("a smaller number"))
}

/// A whole number from 1 up.
pub(in crate::experiment) fn positive<'de, D: Deserializer<'de>, T: TryFrom<u64>>(deserializer: D) -> Result<T, D::Error> {
    to_whole(&Scalar::deserialize(deserializer)?, 1, LARGEST)
}

/// A size: a whole number from 1 to a thousand million.
pub(in crate::experiment) fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    to_whole(&Scalar::deserialize(deserializer)?, 1, LARGEST_SIZE)
}

/// A whole number from 0 to a thousand million.
pub(in crate::experiment) fn count<'de, D: Deserializer<'de>, T: TryFrom<u64>>(deserializer: D) -> Result<T, D::Error> {
    to_whole(&Scalar::deserialize(deserializer)?, 0, LARGEST_SIZE)
}

fn maybe_whole<'de, D: Deserializer<'de>, T: TryFrom<u64>>(deserializer: D, most: u64) -> Result<Option<T>, D::Error> {
    let scalar = Scalar::deserialize(deserializer)?;
    match &scalar {
        Scalar::Nothing => Ok(None),
        Scalar::Text(text) if matches!(text.as_str(), "auto" | "all" | "none") => Ok(None),
        _ => to_whole(&scalar, 1, most).map(Some),
    }
}

/// A whole number from 1 up, or `auto` (also `all`, `none`).
pub(in crate::experiment) fn maybe_positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    maybe_whole(deserializer, LARGEST)
}

/// A size, or `auto` (also `all`, `none`).
pub(in crate::experiment) fn maybe_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    maybe_whole(deserializer, LARGEST_SIZE)
}

/// A whole number from 1 to ten thousand.
pub(in crate::experiment) fn few<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    to_whole(&Scalar::deserialize(deserializer)?, 1, LARGEST_FEW)
}

/// A whole number from 1 to ten thousand, or `auto` (also `all`, `none`).
pub(in crate::experiment) fn maybe_few<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    maybe_whole(deserializer, LARGEST_FEW)
}

fn to_flag<E: serde::de::Error>(scalar: &Scalar) -> Result<bool, E> {
    match scalar {
        Scalar::Flag(flag) => Ok(*flag),
        Scalar::Text(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Ok(true),
            "false" | "no" | "off" => Ok(false),
            _ => scalar.refuse("`true` or `false`"),
        },
        _ => scalar.refuse("`true` or `false`"),
    }
}

/// `true` or `false`.
pub(in crate::experiment) fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    to_flag(&Scalar::deserialize(deserializer)?)
}

/// `true`, `false` or `auto`.
pub(in crate::experiment) fn maybe_flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    let scalar = Scalar::deserialize(deserializer)?;
    match &scalar {
        Scalar::Nothing => Ok(None),
        Scalar::Text(text) if text == "auto" => Ok(None),
        _ => to_flag(&scalar).map(Some),
    }
}

fn to_text<E: serde::de::Error>(scalar: Scalar, expected: &str) -> Result<String, E> {
    match scalar {
        Scalar::Text(text) if !text.is_empty() => Ok(text),
        other => other.refuse(expected),
    }
}

/// A text, or `none`.
pub(in crate::experiment) fn maybe_words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    match Scalar::deserialize(deserializer)? {
        Scalar::Nothing => Ok(None),
        Scalar::Text(text) if text == "none" => Ok(None),
        other => to_text(other, "a text").map(Some),
    }
}

/// A text or a list of texts.
pub(in crate::experiment) fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Texts::deserialize(deserializer)?.0)
}

fn maybe_time<'de, D: Deserializer<'de>>(
    deserializer: D,
    expected: &str,
    right: fn(&str) -> bool,
) -> Result<Option<String>, D::Error> {
    match Scalar::deserialize(deserializer)? {
        Scalar::Nothing => Ok(None),
        Scalar::Text(text) if matches!(text.as_str(), "none" | "auto") => Ok(None),
        Scalar::Text(text) if right(&text) => Ok(Some(text)),
        other => other.refuse(expected),
    }
}

/// A clock time, or `none`.
pub(in crate::experiment) fn maybe_clock<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    maybe_time(deserializer, "a clock time such as `07:00`", |text| clock_time(text).is_some())
}

/// A length of time in whole seconds.
pub(in crate::experiment) fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let scalar = Scalar::deserialize(deserializer)?;
    scalar.seconds().map_or_else(|| scalar.refuse("a length of time such as `30`, `30s` or `2m`"), Ok)
}

/// A length of time, or `none` or `auto`.
pub(in crate::experiment) fn maybe_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    maybe_time(deserializer, "a length of time such as `8h` or `1h30m`", |text| duration(text).is_some())
}
