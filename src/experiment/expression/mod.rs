//! Expressions of `derive`, `when` and `--only`.
//!
//! Every name and every type is checked before anything is evaluated: the text is read here, by a grammar that has numbers,
//! settings, words, arithmetic and comparisons and nothing else, and given to minijinja in a form where all values are
//! variables of ours. So no filter, attribute, string operation or global of the template language can be reached, and
//! no word reaches arithmetic.

mod fault;
mod grammar;
mod parser;
mod tokens;
mod value;

use std::fmt;
use std::sync::{Arc, LazyLock, OnceLock};

use minijinja::value::{Object, Rest, Value};
use minijinja::{Environment, Error, ErrorKind, Expression};

use super::columns::Cell;
use super::keys;
use super::names::{Name, Names};
use parser::Slot;

pub(super) use fault::Fault;
pub(super) use value::{Datum, Kind, Trouble};

/// A checked expression.
pub(in crate::experiment) struct Program {
    text: String,
    kind: Kind,
    slots: Vec<Slot>,
    compiled: Expression<'static, 'static>,
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Program").field(&self.text).finish()
    }
}

/// What the names of an expression stand for, in one configuration.
pub(in crate::experiment) struct Values<'a> {
    pub(in crate::experiment) columns: &'a [(&'static str, Cell)],
    pub(in crate::experiment) own: &'a [Datum],
    pub(in crate::experiment) full: &'a mut dyn FnMut() -> Option<f64>,
}

impl Program {
    /// Reads and checks an expression.
    pub(in crate::experiment) fn parse(text: &str, names: &Names) -> Result<Self, Fault> {
        let whole = 0..text.len();
        let fault = |message: &str| Fault { message: message.to_owned(), help: None, at: whole.clone() };
        if text.len() > 2_000 {
            return Err(fault("the expression is longer than 2,000 characters"));
        }
        let (kind, code, slots) = grammar::read(text, names)?;
        let compiled = ENVIRONMENT.compile_expression_owned(code).map_err(|_| Fault {
            help: Some("write it in fewer parts".to_owned()),
            ..fault("the expression is nested too deep")
        })?;
        Ok(Self { text: text.to_owned(), kind, slots, compiled })
    }

    /// The text it was read from.
    pub(in crate::experiment) fn text(&self) -> &str {
        &self.text
    }

    pub(in crate::experiment) fn kind(&self) -> Kind {
        self.kind
    }

    /// The settings it reads.
    pub(in crate::experiment) fn settings(&self) -> impl Iterator<Item = &Name> {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Setting(name) => Some(name),
            _ => None,
        })
    }

    /// The names of one's own that it reads.
    pub(in crate::experiment) fn own(&self) -> impl Iterator<Item = usize> + '_ {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Own(index) => Some(*index),
            _ => None,
        })
    }

    /// Its value in one configuration.
    pub(in crate::experiment) fn evaluate(&self, values: &mut Values<'_>) -> Result<Datum, Trouble> {
        let mut read = |slot: &Slot| match slot {
            Slot::Fixed(datum) => Ok(datum.clone()),
            Slot::Own(index) => Ok(values.own[*index].clone()),
            Slot::Full => (values.full)().map(Datum::Number).ok_or(Trouble::Unknown),
            Slot::Setting(name) => name.read(values.columns, values.full),
        };
        let all = self.slots.iter().map(|slot| {
            read(slot).map(|datum| match datum {
                Datum::Number(n) => Value::from(n),
                Datum::Boolean(b) => Value::from(b),
                Datum::Word(word) => Value::from(word),
            })
        });
        let variables = Arc::new(Variables { all: all.collect(), missed: OnceLock::new() });
        let value = self.compiled.eval(Value::from_dyn_object(variables.clone()));
        if let Some(trouble) = variables.missed.get() {
            return Err(trouble.clone());
        }
        let no_value = || Trouble::Failed(NO_VALUE.to_owned());
        let value = value.map_err(|error| match error.detail() {
            Some(detail) if detail != NO_VALUE && self.text.contains(['/', '%']) => {
                Trouble::Failed("it divides by zero".to_owned())
            }
            _ => no_value(),
        })?;
        match self.kind {
            Kind::Boolean => Ok(Datum::Boolean(value.is_true())),
            Kind::Number => match f64::try_from(value) {
                Ok(number) if !number.is_nan() => Ok(Datum::Number(number)),
                _ => Err(no_value()),
            },
            Kind::Word => value.as_str().map(|word| Datum::Word(word.to_owned())).ok_or_else(no_value),
        }
    }

    /// ` where sequence_length is 128 and stride is 64`: what it read, for a message; empty where it read nothing.
    pub(in crate::experiment) fn context(&self, values: &mut Values<'_>) -> String {
        let read = self.read_values(values);
        if read.is_empty() { read } else { format!(" where {read}") }
    }

    /// `sequence_length is 128 and stride is 64`: what it read, for a message.
    fn read_values(&self, values: &mut Values<'_>) -> String {
        let mut parts: Vec<String> = Vec::new();
        for slot in &self.slots {
            let part = match slot {
                Slot::Setting(name) => match name.read(values.columns, values.full) {
                    Ok(datum) => format!("`{}` is {datum}", keys::last_name(name.key())),
                    Err(_) => continue,
                },
                _ => continue,
            };
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
        parts.join(" and ")
    }
}

/// Why there is no result where arithmetic has none: 0 times infinity, the root of a negative number.
const NO_VALUE: &str = "it has no value";

/// The variables `v0`, `v1`, … of a compiled expression.
#[derive(Debug)]
struct Variables {
    /// Some cannot be read. What is on the right of `and` and `or` is only asked for where the left does not decide.
    all: Vec<Result<Value, Trouble>>,
    /// Why the first one that was asked for could not be read.
    missed: OnceLock<Trouble>,
}

impl Object for Variables {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        match self.all.get(key.strip_prefix('v')?.parse::<usize>().ok()?)? {
            Ok(value) => Some(value.clone()),
            Err(trouble) => {
                self.missed.get_or_init(|| trouble.clone());
                None
            }
        }
    }
}

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::empty();
    // A comparison with what is no number would be decided by its sign bit.
    environment.add_function(grammar::NUMBER, |result: f64| match result.is_nan() {
        true => Err(Error::new(ErrorKind::InvalidOperation, NO_VALUE)),
        false => Ok(result),
    });
    environment.add_function("min", |all: Rest<f64>| all.iter().copied().fold(f64::INFINITY, f64::min));
    environment.add_function("max", |all: Rest<f64>| all.iter().copied().fold(f64::NEG_INFINITY, f64::max));
    environment.add_function("ceil", f64::ceil);
    environment.add_function("floor", f64::floor);
    environment.add_function("round", f64::round);
    environment.add_function("sqrt", f64::sqrt);
    environment.add_function("log2", f64::log2);
    environment.add_function("abs", f64::abs);
    environment
});
