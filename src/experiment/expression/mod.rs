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
use std::sync::{Arc, LazyLock};

use minijinja::value::{Object, Rest, Value};
use minijinja::{Environment, Expression};

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
        let mut numbers = Vec::with_capacity(self.slots.len());
        for slot in &self.slots {
            let datum = match slot {
                Slot::Fixed(datum) => datum.clone(),
                Slot::Own(index) => values.own[*index].clone(),
                Slot::Full => Datum::Number((values.full)().ok_or(Trouble::Unknown)?),
                Slot::Setting(name) => name.read(values.columns, values.full)?,
            };
            numbers.push(match datum {
                Datum::Number(n) => Value::from(n),
                Datum::Boolean(b) => Value::from(b),
                Datum::Word(word) => Value::from(word),
            });
        }
        let value = self.compiled.eval(Value::from_object(Variables(numbers))).map_err(|_| {
            let why = if self.text.contains('/') || self.text.contains('%') { "it divides by zero" } else { "it has no value" };
            Trouble::Failed(why.to_owned())
        })?;
        match self.kind {
            Kind::Boolean => Ok(Datum::Boolean(value.is_true())),
            Kind::Number => match f64::try_from(value) {
                Ok(number) if !number.is_nan() => Ok(Datum::Number(number)),
                _ => Err(Trouble::Failed("it has no value".to_owned())),
            },
            Kind::Word => value.as_str().map(|w| Datum::Word(w.to_owned())).ok_or(Trouble::Failed("it has no value".to_owned())),
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

/// The variables `v0`, `v1`, … of a compiled expression.
#[derive(Debug)]
struct Variables(Vec<Value>);

impl Object for Variables {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        self.0.get(key.strip_prefix('v')?.parse::<usize>().ok()?).cloned()
    }
}

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::empty();
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
