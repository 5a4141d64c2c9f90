//! One value of a file, before it is known which setting it is for: from text or from JSON.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::number::{number, rewritten, shown, whole, whole_within, whole_words};
use super::time::{LONGEST_SECONDS, duration};

/// Largest size (of a window, a batch, a model): the product of two still fits into 63 bits.
pub(in crate::experiment) const LARGEST_SIZE: u64 = 1_000_000_000;

/// One scalar, from text or from JSON.
pub(in crate::experiment) enum Scalar {
    Text(String),
    Whole(u64),
    Number(f64),
    Flag(bool),
    Nothing,
}

impl Scalar {
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Text(text) => number(text),
            Self::Whole(n) => Some(*n as f64),
            Self::Number(n) => n.is_finite().then_some(*n),
            Self::Flag(_) | Self::Nothing => None,
        }
    }

    /// A whole number within bounds; else what it should be.
    pub(in crate::experiment) fn whole(&self, least: u64, most: u64) -> Result<u64, String> {
        let (found, too_large) = match self {
            Self::Text(text) => return whole_within(text, least, most),
            Self::Whole(n) => (Some(*n), *n > most),
            Self::Number(n) => (whole(*n), *n > most as f64),
            Self::Flag(_) | Self::Nothing => (None, false),
        };
        found.filter(|n| (least..=most).contains(n)).ok_or_else(|| whole_words(least, most, too_large))
    }

    /// A length of time in whole seconds: `130`, `130s`, `2m10s`; `None` where it is none.
    pub(in crate::experiment) fn seconds(&self) -> Option<u64> {
        let of_text = match self {
            Self::Text(text) => duration(text).map(|length| length.as_secs()),
            _ => None,
        };
        of_text.or_else(|| self.whole(1, LONGEST_SECONDS).ok())
    }

    pub(in crate::experiment) fn is(&self, word: &str) -> bool {
        matches!(self, Self::Text(text) if text == word)
    }

    /// Refuses it, and says what to do about it.
    pub(in crate::experiment) fn refuse_helping<T, E: serde::de::Error>(&self, expected: &str, help: &str) -> Result<T, E> {
        Err(E::custom(format!("should be {expected}, not {self}\n{help}")))
    }

    pub(in crate::experiment) fn refuse<T, E: serde::de::Error>(&self, expected: &str) -> Result<T, E> {
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

/// A value that JSON keeps as `{"name": value}` and a person writes bare.
pub(in crate::experiment) struct Wrapped {
    /// The name it was wrapped in, if it was.
    pub(in crate::experiment) name: Option<String>,
    /// The value.
    pub(in crate::experiment) value: Scalar,
    /// The names beside it, of which there should be none.
    pub(in crate::experiment) more: Vec<String>,
}

impl<'de> Deserialize<'de> for Wrapped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WrappedVisitor;
        macro_rules! bare {
            ($($name:ident: $type:ty),*) => {$(
                fn $name<E: serde::de::Error>(self, value: $type) -> Result<Wrapped, E> {
                    Ok(Wrapped { name: None, value: ScalarVisitor.$name(value)?, more: Vec::new() })
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
                Ok(Wrapped { name: None, value: Scalar::Nothing, more: Vec::new() })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Wrapped, A::Error> {
                Err(A::Error::custom("takes one value, not a list"))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Wrapped, A::Error> {
                let Some((name, value)) = entries.next_entry()? else {
                    return Err(A::Error::custom("takes one value, not an empty mapping"));
                };
                let mut more = Vec::new();
                while let Some((name, _)) = entries.next_entry::<String, IgnoredAny>()? {
                    more.push(name);
                }
                Ok(Wrapped { name: Some(name), value, more })
            }
        }
        deserializer.deserialize_any(WrappedVisitor)
    }
}

impl Wrapped {
    /// Refuses a value wrapped in any other name than this.
    pub(in crate::experiment) fn only<E: serde::de::Error>(&self, allowed: &str) -> Result<(), E> {
        self.alone()?;
        match &self.name {
            Some(name) if name != allowed => Err(E::custom(format!("takes one value, not a mapping with `{name}`"))),
            _ => Ok(()),
        }
    }

    /// Refuses several values.
    pub(in crate::experiment) fn alone<E: serde::de::Error>(&self) -> Result<(), E> {
        if self.more.is_empty() { Ok(()) } else { Err(E::custom("takes one value, not several")) }
    }

    pub(in crate::experiment) fn is(&self, word: &str) -> bool {
        self.name.is_none() && self.value.is(word)
    }

    pub(in crate::experiment) fn number(&self) -> Option<f64> {
        self.value.number()
    }

    /// A whole number within bounds; else what it should be.
    pub(in crate::experiment) fn whole(&self, least: u64, most: u64) -> Result<u64, String> {
        self.value.whole(least, most)
    }

    /// A size: from 1 to a thousand million; else what it should be.
    pub(in crate::experiment) fn size(&self) -> Result<usize, String> {
        self.value.whole(1, LARGEST_SIZE).map(|size| size as usize)
    }

    pub(in crate::experiment) fn text(self) -> Option<String> {
        match self.value {
            Scalar::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(in crate::experiment) fn refuse<T, E: serde::de::Error>(&self, expected: &str) -> Result<T, E> {
        self.value.refuse(expected)
    }

    /// Refuses it, and says what to do about it.
    pub(in crate::experiment) fn refuse_helping<T, E: serde::de::Error>(&self, expected: &str, help: &str) -> Result<T, E> {
        self.value.refuse_helping(expected, help)
    }
}
