//! Each setting reads its own words: `1e-4`, `20_000_000`, `off`, `007` mean what a person means, for the setting they
//! are for. What is said here as text (the file, `--set`) may also come as JSON (a trial's folder).
//!
//! Errors complete the sentence "`train.stride` …"; what stands after a line break is what to do about it.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Largest whole number a setting takes: tables hold signed 64-bit numbers.
pub(super) const LARGEST: u64 = i64::MAX as u64;
/// Largest size (of a window, a batch, a model): the product of two still fits into 63 bits.
const LARGEST_SIZE: u64 = 1_000_000_000;
/// Largest number of what there are few of: blocks of a model and their heads, slots and threads of a machine.
const LARGEST_FEW: u64 = 10_000;
/// Between these a positive number keeps its digits in 32 bits, in which models are trained.
const REALS: std::ops::RangeInclusive<f64> = 1e-37..=1e37;
/// Longest time that is waited for: a hundred years.
const LONGEST_SECONDS: u64 = 36_525 * 86_400;
/// Characters of a value that a message shows.
const SHOWN: usize = 60;

/// A number as a person writes it; `None` where it is none. Never infinite, never NaN.
pub(super) fn number(text: &str) -> Option<f64> {
    let digits = plain_digits(text)?;
    digits.parse::<f64>().ok().filter(|n| n.is_finite())
}

/// A whole number as a person writes it: `20_000_000`, `007`, `2e6`, but not `1.5`. At most [`LARGEST`].
pub(super) fn whole_number(text: &str) -> Option<u64> {
    let digits = plain_digits(text)?;
    let digits = digits.strip_prefix('+').unwrap_or(&digits);
    let value = match digits.parse::<u64>() {
        Ok(value) => value,
        Err(_) => whole(digits.parse().ok()?)?,
    };
    (value <= LARGEST).then_some(value)
}

/// A number that is whole and not negative, as one; beyond 2^53 numbers are no longer exact.
pub(super) fn whole(number: f64) -> Option<u64> {
    (number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&number)).then_some(number as u64)
}

/// A whole number within bounds; else what it should be, to stand after "should be".
pub(super) fn whole_within(text: &str, least: u64, most: u64) -> Result<u64, String> {
    let found = whole_number(text).filter(|n| (least..=most).contains(n));
    found.ok_or_else(|| whole_words(least, most, exceeds(text, most)))
}

/// What such a number is called. Its upper bound is told only where it matters.
fn whole_words(least: u64, most: u64, too_large: bool) -> String {
    if too_large { format!("a whole number up to {}", grouped(most)) } else { format!("a whole number from {least} up") }
}

/// Whether a text is a number above a bound, also one that no type of number holds.
fn exceeds(text: &str, most: u64) -> bool {
    plain_digits(text).and_then(|digits| digits.parse::<f64>().ok()).is_some_and(|number| number > most as f64)
        || plain_digits(text).and_then(|digits| digits.parse::<u64>().ok()).is_some_and(|number| number > most)
}

/// A number with commas.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A value as a message shows it: on one line, and not endlessly long.
pub(super) fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(SHOWN));
    for (count, c) in text.chars().enumerate() {
        if count == SHOWN {
            shown.push('…');
            break;
        }
        match c {
            c if c.is_control() => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown
}

/// How a number is written here that somebody wrote as `200k`, `1.5M`, `10%` or `200,000`.
fn rewritten(text: &str) -> Option<String> {
    let grouped = text.split(',').skip(1).all(|group| group.len() == 3 && group.bytes().all(|b| b.is_ascii_digit()));
    if text.contains(',') && grouped {
        let plain = text.replace(',', "_");
        return number(&plain).map(|_| format!("write `{plain}`"));
    }
    let last = text.chars().last()?;
    let digits = text[..text.len() - last.len_utf8()].trim_end();
    let value = number(digits)?;
    let exponent = match last.to_ascii_lowercase() {
        '%' => return Some(format!("write `{}`", write_number(value / 100.0))),
        'k' => 3,
        'm' => 6,
        'g' | 'b' => 9,
        't' => 12,
        _ => return None,
    };
    (!digits.contains(['e', 'E'])).then(|| format!("write `{digits}e{exponent}`"))
}

/// Takes out `_` between digits, and refuses what Rust would read and a person would not (`inf`, `nan`, `1_`).
fn plain_digits(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let digit = |i: Option<usize>| i.and_then(|i| bytes.get(i)).is_some_and(u8::is_ascii_digit);
    let mut plain = String::with_capacity(text.len());
    let mut has_digit = false;
    for (i, &byte) in bytes.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {
                has_digit = true;
                plain.push(char::from(byte));
            }
            b'_' if digit(i.checked_sub(1)) && digit(Some(i + 1)) => {}
            b'.' | b'e' | b'E' | b'+' | b'-' => plain.push(char::from(byte)),
            _ => return None,
        }
    }
    has_digit.then_some(plain)
}

/// A number as a person writes it, the shortest text that reads back as the same.
pub(super) fn write_number(number: f64) -> String {
    match number.abs() {
        0.0 => "0".to_owned(),
        size if (1e-4..1e15).contains(&size) => number.to_string(),
        _ => format!("{number:e}"),
    }
}

/// A point of time in a day, `07:00`, as hour and minute.
pub fn clock_time(text: &str) -> Option<(u8, u8)> {
    let (hour, minute) = text.split_once(':')?;
    let two = |part: &str| part.len() <= 2 && part.bytes().all(|b| b.is_ascii_digit());
    let (hour, minute) =
        (two(hour).then(|| hour.parse().ok())??, (two(minute) && minute.len() == 2).then(|| minute.parse().ok())??);
    (hour < 24 && minute < 60).then_some((hour, minute))
}

/// A length of time: `8h`, `1h30m`, `90m`, `45s`, `2d`; at most a hundred years.
pub fn duration(text: &str) -> Option<Duration> {
    let mut seconds: u64 = 0;
    let mut rest = text;
    let mut last = u64::MAX;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        let amount: u64 = rest[..end].parse().ok()?;
        let unit = match rest.as_bytes()[end] {
            b'd' => 86_400,
            b'h' => 3_600,
            b'm' => 60,
            b's' => 1,
            _ => return None,
        };
        if unit >= last {
            return None;
        }
        last = unit;
        seconds = seconds.checked_add(amount.checked_mul(unit)?)?;
        rest = &rest[end + 1..];
    }
    (1..=LONGEST_SECONDS).contains(&seconds).then(|| Duration::from_secs(seconds))
}

/// One scalar, from text or from JSON.
pub(super) enum Scalar {
    Text(String),
    Whole(u64),
    Number(f64),
    Flag(bool),
    Nothing,
}

impl Scalar {
    fn number(&self) -> Option<f64> {
        match self {
            Self::Text(text) => number(text),
            Self::Whole(n) => Some(*n as f64),
            Self::Number(n) => n.is_finite().then_some(*n),
            Self::Flag(_) | Self::Nothing => None,
        }
    }

    /// A whole number within bounds; else what it should be.
    fn whole(&self, least: u64, most: u64) -> Result<u64, String> {
        let (found, too_large) = match self {
            Self::Text(text) => return whole_within(text, least, most),
            Self::Whole(n) => (Some(*n), *n > most),
            Self::Number(n) => (whole(*n), *n > most as f64),
            Self::Flag(_) | Self::Nothing => (None, false),
        };
        found.filter(|n| (least..=most).contains(n)).ok_or_else(|| whole_words(least, most, too_large))
    }

    pub(super) fn is(&self, word: &str) -> bool {
        matches!(self, Self::Text(text) if text == word)
    }

    pub(super) fn refuse<T, E: serde::de::Error>(&self, expected: &str) -> Result<T, E> {
        let message = format!("should be {expected}, not {self}");
        let help = match self {
            Self::Text(text) => rewritten(text),
            _ => None,
        };
        Err(E::custom(help.map_or(message.clone(), |help| format!("{message}\n{help}"))))
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "`{}`", shown(text)),
            Self::Whole(n) => write!(f, "`{n}`"),
            Self::Number(n) => write!(f, "`{n}`"),
            Self::Flag(b) => write!(f, "`{b}`"),
            Self::Nothing => f.write_str("nothing"),
        }
    }
}

struct ScalarVisitor;

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Scalar, E> {
        Ok(Scalar::Flag(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Scalar, E> {
        Ok(u64::try_from(value).map_or(Scalar::Number(value as f64), Scalar::Whole))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Scalar, E> {
        Ok(Scalar::Whole(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Scalar, E> {
        Ok(Scalar::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Scalar, E> {
        Ok(Scalar::Nothing)
    }

    fn visit_none<E>(self) -> Result<Scalar, E> {
        Ok(Scalar::Nothing)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Scalar, D::Error> {
        Scalar::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Scalar, A::Error> {
        Err(A::Error::custom("takes one value, not a list"))
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Scalar, A::Error> {
        Err(A::Error::custom("takes one value, not a mapping"))
    }
}

/// A list of texts, or one text.
pub(super) struct Texts(Vec<String>);

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

/// A value that JSON keeps as `{"name": value}` and a person writes bare.
pub(super) struct Wrapped {
    /// The name it was wrapped in, if it was.
    pub(super) name: Option<String>,
    /// The value.
    pub(super) value: Scalar,
}

impl<'de> Deserialize<'de> for Wrapped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WrappedVisitor;
        macro_rules! bare {
            ($($name:ident: $type:ty),*) => {$(
                fn $name<E: serde::de::Error>(self, value: $type) -> Result<Wrapped, E> {
                    Ok(Wrapped { name: None, value: ScalarVisitor.$name(value)? })
                }
            )*};
        }
        impl<'de> Visitor<'de> for WrappedVisitor {
            type Value = Wrapped;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one value")
            }

            bare!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);

            fn visit_unit<E>(self) -> Result<Wrapped, E> {
                Ok(Wrapped { name: None, value: Scalar::Nothing })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Wrapped, A::Error> {
                Err(A::Error::custom("takes one value, not a list"))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Wrapped, A::Error> {
                let Some((name, value)) = entries.next_entry()? else {
                    return Err(A::Error::custom("takes one value, not an empty mapping"));
                };
                if entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    return Err(A::Error::custom("takes one value, not several"));
                }
                Ok(Wrapped { name: Some(name), value })
            }
        }
        deserializer.deserialize_any(WrappedVisitor)
    }
}

impl Wrapped {
    /// Refuses a value wrapped in any other name than this.
    pub(super) fn only<E: serde::de::Error>(&self, allowed: &str) -> Result<(), E> {
        match &self.name {
            Some(name) if name != allowed => Err(E::custom(format!("takes one value, not a mapping with `{name}`"))),
            _ => Ok(()),
        }
    }

    pub(super) fn is(&self, word: &str) -> bool {
        self.name.is_none() && self.value.is(word)
    }

    pub(super) fn number(&self) -> Option<f64> {
        self.value.number()
    }

    /// A whole number within bounds; else what it should be.
    pub(super) fn whole(&self, least: u64, most: u64) -> Result<u64, String> {
        self.value.whole(least, most)
    }

    /// A size: from 1 to a thousand million; else what it should be.
    pub(super) fn size(&self) -> Result<usize, String> {
        self.value.whole(1, LARGEST_SIZE).map(|size| size as usize)
    }

    pub(super) fn text(self) -> Option<String> {
        match self.value {
            Scalar::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn refuse<T, E: serde::de::Error>(&self, expected: &str) -> Result<T, E> {
        self.value.refuse(expected)
    }

    /// Refuses it, and says what to do about it.
    pub(super) fn refuse_helping<T, E: serde::de::Error>(&self, expected: &str, help: &str) -> Result<T, E> {
        Err(E::custom(format!("should be {expected}, not {}\n{help}", self.value)))
    }
}

fn checked<'de, D: Deserializer<'de>>(deserializer: D, expected: &str, right: impl Fn(f64) -> bool) -> Result<f64, D::Error> {
    let scalar = Scalar::deserialize(deserializer)?;
    match scalar.number().filter(|&n| right(n)) {
        Some(number) => Ok(number),
        None => scalar.refuse(expected),
    }
}

/// In [0, 1).
pub(super) fn below_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    checked(deserializer, "a number from 0 to below 1", |n| (0.0..1.0).contains(&n))
}

/// In [0, 1), as a share of something.
pub(super) fn margin<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    checked(deserializer, "a share from 0 to below 1 (0.002 is 0.2 %)", |n| (0.0..1.0).contains(&n))
}

/// In [0, 1].
pub(super) fn fraction<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    checked(deserializer, "a fraction from 0 to 1", |n| (0.0..=1.0).contains(&n))
}

/// In (0, 1]; what is smaller than a millionth of a millionth is no share of anything.
pub(super) fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
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
pub(super) fn above_zero<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let scalar = Scalar::deserialize(deserializer)?;
    real_above_zero(&scalar).or_else(|expected| scalar.refuse(&expected))
}

/// 0 or above.
pub(super) fn not_negative<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
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
pub(super) fn positive<'de, D: Deserializer<'de>, T: TryFrom<u64>>(deserializer: D) -> Result<T, D::Error> {
    to_whole(&Scalar::deserialize(deserializer)?, 1, LARGEST)
}

/// A size: a whole number from 1 to a thousand million.
pub(super) fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    to_whole(&Scalar::deserialize(deserializer)?, 1, LARGEST_SIZE)
}

/// A whole number from 0 to a thousand million.
pub(super) fn count<'de, D: Deserializer<'de>, T: TryFrom<u64>>(deserializer: D) -> Result<T, D::Error> {
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
pub(super) fn maybe_positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    maybe_whole(deserializer, LARGEST)
}

/// A size, or `auto` (also `all`, `none`).
pub(super) fn maybe_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    maybe_whole(deserializer, LARGEST_SIZE)
}

/// A whole number from 1 to ten thousand.
pub(super) fn few<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    to_whole(&Scalar::deserialize(deserializer)?, 1, LARGEST_FEW)
}

/// A whole number from 1 to ten thousand, or `auto` (also `all`, `none`).
pub(super) fn maybe_few<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
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
pub(super) fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    to_flag(&Scalar::deserialize(deserializer)?)
}

/// `true`, `false` or `auto`.
pub(super) fn maybe_flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
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
pub(super) fn maybe_words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    match Scalar::deserialize(deserializer)? {
        Scalar::Nothing => Ok(None),
        Scalar::Text(text) if text == "none" => Ok(None),
        other => to_text(other, "a text").map(Some),
    }
}

/// A text or a list of texts.
pub(super) fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
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
pub(super) fn maybe_clock<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    maybe_time(deserializer, "a clock time such as `07:00`", |text| clock_time(text).is_some())
}

/// A length of time, or `none` or `auto`.
pub(super) fn maybe_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    maybe_time(deserializer, "a length of time such as `8h` or `1h30m`", |text| duration(text).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_a_person_means_them() {
        for (text, expected) in [
            ("1e-4", Some(1e-4)),
            ("20_000_000", Some(2e7)),
            ("007", Some(7.0)),
            (".5", Some(0.5)),
            ("5.", Some(5.0)),
            ("-1", Some(-1.0)),
            ("+1", Some(1.0)),
            ("1E3", Some(1e3)),
            ("1e999", None),
            ("inf", None),
            ("nan", None),
            ("1_", None),
            ("_1", None),
            ("1__0", None),
            ("0x10", None),
            ("1.2.3", None),
            ("e", None),
            ("", None),
            ("1 000", None),
        ] {
            assert_eq!(number(text), expected, "{text}");
        }
    }

    #[test]
    fn whole_numbers_refuse_a_fraction_and_take_an_exponent() {
        for (text, expected) in [
            ("64", Some(64)),
            ("007", Some(7)),
            ("2e6", Some(2_000_000)),
            ("1.0", Some(1)),
            ("1.5", None),
            ("1.5e1", Some(15)),
            ("-1", None),
            ("9007199254740993", Some(9_007_199_254_740_993)),
            ("9223372036854775807", Some(i64::MAX as u64)),
            ("9223372036854775808", None),
            ("1e30", None),
            ("off", None),
        ] {
            assert_eq!(whole_number(text), expected, "{text}");
        }
    }

    #[test]
    fn numbers_are_written_so_that_they_read_back() {
        for (value, text) in
            [(64.0, "64"), (0.1, "0.1"), (1e-8, "1e-8"), (0.001, "0.001"), (2e7, "20000000"), (1e20, "1e20"), (0.0, "0")]
        {
            assert_eq!(write_number(value), text);
            assert_eq!(number(text), Some(value));
        }
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_000_000_000, "1,000,000,000")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn a_value_is_shown_on_one_line_and_not_endlessly() {
        assert_eq!(shown("5\n\u{1b}é"), "5\\n\\u{1b}é");
        assert_eq!(shown(&"x".repeat(1_000)).chars().count(), 61);
    }

    #[test]
    fn numbers_of_other_ways_of_writing_are_written_anew() {
        for (text, expected) in [
            ("200k", Some("write `200e3`")),
            ("1.5M", Some("write `1.5e6`")),
            ("2 B", Some("write `2e9`")),
            ("10%", Some("write `0.1`")),
            ("200,000", Some("write `200_000`")),
            ("1,5", None),
            ("many", None),
            ("1e3k", None),
            ("", None),
        ] {
            assert_eq!(rewritten(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn clock_times_and_durations() {
        for (text, expected) in [
            ("07:00", Some((7, 0))),
            ("7:05", Some((7, 5))),
            ("23:59", Some((23, 59))),
            ("24:00", None),
            ("7:5", None),
            ("7", None),
            ("07:60", None),
            ("+7:00", None),
            ("07:00:00", None),
        ] {
            assert_eq!(clock_time(text), expected, "{text}");
        }
        for (text, expected) in [
            ("8h", Some(28_800)),
            ("1h30m", Some(5_400)),
            ("90m", Some(5_400)),
            ("45s", Some(45)),
            ("2d1h", Some(176_400)),
            ("30m1h", None),
            ("1h1h", None),
            ("8", None),
            ("h", None),
            ("0s", None),
            ("", None),
            ("8 h", None),
            ("99999999999999999999h", None),
            ("9999999999999999999d", None),
            ("36525d", Some(36_525 * 86_400)),
            ("36526d", None),
        ] {
            assert_eq!(duration(text).map(|d| d.as_secs()), expected, "{text}");
        }
    }
}
