//! Axes: which values of which settings are combined.

use std::fmt::Display;

use figment::value::{Tag, Value};

use super::expression::{Datum, Kind};
use super::keys;
use super::layers;
use super::problem::{Place, Problem};
use super::reference;
use super::text;
use super::yaml::{Node, Yaml};

/// What an axis, a point or a `derive` sets: a setting, or a name of one's own.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Target {
    /// The full name.
    pub(super) key: String,
    /// Its number among the names of one's own, if it is one.
    pub(super) own: Option<usize>,
}

/// One value of one target.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Choice {
    /// Its number among the targets.
    pub(super) target: usize,
    pub(super) value: Value,
    /// For a name of one's own.
    pub(super) datum: Option<Datum>,
    /// As a person writes it.
    pub(super) label: String,
}

/// One or several targets that move together.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    pub(super) targets: Vec<usize>,
    /// A row a position: the choice of each target.
    pub(super) positions: Vec<Vec<Choice>>,
    pub(super) place: Place,
}

/// Axes that are crossed; an experiment has one, or one for each grid of a list.
#[derive(Debug, Clone, Default)]
pub(super) struct Block {
    pub(super) axes: Vec<Axis>,
}

impl Block {
    /// How many combinations its axes have; `None` is more than 2^64.
    pub(super) fn combinations(&self) -> Option<u64> {
        self.axes.iter().try_fold(1u64, |product, axis| product.checked_mul(axis.positions.len() as u64))
    }
}

/// `search`: random draws in place of crossing.
#[derive(Debug, Clone)]
pub(super) struct Search {
    pub(super) draws: u64,
    pub(super) seed: u64,
    pub(super) dimensions: Vec<Dimension>,
}

/// What a search draws for one target.
#[derive(Debug, Clone)]
pub(super) struct Dimension {
    pub(super) target: usize,
    pub(super) key: String,
    pub(super) from: Drawn,
    pub(super) place: Place,
}

/// Where a draw comes from.
#[derive(Debug, Clone)]
pub(super) enum Drawn {
    /// One of these.
    Choices(Vec<Choice>),
    /// A number in between; of a budget with its unit.
    Between { from: f64, to: f64, log: bool, whole: bool, unit: Option<&'static str> },
}

/// An explicit configuration.
#[derive(Debug, Clone)]
pub(super) struct Point {
    pub(super) choices: Vec<Choice>,
    pub(super) place: Place,
}

/// Most values of one axis; more is a slip of the pen (a step of 1e-9), and would only fill the memory.
const MOST_VALUES: f64 = 100_000.0;

/// What a mapping with `from` and `to` stands for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Range {
    /// These values.
    Values(Vec<f64>),
    /// Anything in between (a search only).
    Between { from: f64, to: f64, log: bool },
}

/// Whether a node is a range.
pub(super) fn is_range(node: &Node) -> bool {
    matches!(&node.value, Yaml::Map(entries) if entries.iter().any(|(key, _)| matches!(key.text.as_str(), "from" | "to")))
}

/// What a range is written as, for a message.
const FORMS: &str =
    "a range is `{from: 64, to: 1024, factor: 2}`, `{from: 0, to: 1, step: 0.25}` or `{from: 1e-5, to: 1e-3, log: 5}`";

/// A range as it is written: its ends, and how it goes from one to the other.
struct Ends<'a> {
    from: f64,
    to: f64,
    /// `factor`, `step`, `log`, or `between` for a draw.
    form: &'a str,
    /// By how much; of a draw 1 for an even one on a logarithmic scale, else 0.
    by: f64,
    /// Where that is written.
    place: &'a Place,
}

fn not_a_range(key: &str, message: impl Display, place: &Place) -> Problem {
    Problem::error(format!("the range of `{key}` {message}")).key(key).at(place).help(FORMS)
}

/// Reads `{from: 64, to: 1024, factor: 2}`, `{from: 0, to: 1, step: 0.25}`, `{from: 1e-5, to: 1e-3, log: 5}`; in a search
/// also `{from: 1e-4, to: 1e-2, log: true}` and `{from: 0, to: 1}`.
pub(super) fn range(key: &str, node: &Node, in_search: bool) -> Result<Range, Problem> {
    let Ends { from, to, form, by, place } = ends(key, node, in_search)?;
    let wrong = |message: String| Err(not_a_range(key, message, place));
    let tidy = |value: f64, digits: usize| format!("{value:.digits$e}").parse().unwrap_or(value);
    let count = match form {
        "between" => return Ok(Range::Between { from, to, log: by == 1.0 }),
        "factor" if by <= 1.0 => return wrong(format!("has a factor of {by}: it must be above 1")),
        "factor" => ((to / from).ln() / by.ln() + 1e-9).floor() + 1.0,
        "step" if by <= 0.0 => return wrong(format!("has a step of {by}: it must be above 0")),
        "step" => ((to - from) / by + 1e-9).floor() + 1.0,
        _ if by < 2.0 || by.fract() != 0.0 => {
            return wrong(format!("has `log: {by}`: it is the number of values, 2 or more"));
        }
        _ => by,
    };
    // A count that is not a number is refused as well.
    if count.is_nan() || count > MOST_VALUES {
        return wrong(format!("has {count} values: too many for one axis"));
    }
    let last = count - 1.0;
    let value = |i: f64| match form {
        "factor" => tidy(from * by.powf(i), 11),
        "step" => tidy(from + by * i, 11),
        _ if i == 0.0 => from,
        _ if i == last => to,
        // Six digits: a person can read them, and nobody tunes finer than that.
        _ => tidy(from * (to / from).powf(i / last), 5),
    };
    Ok(Range::Values((0..count as u64).map(|i| value(i as f64)).collect()))
}

/// The ends of a range, and how it goes from one to the other.
fn ends<'a>(key: &str, node: &'a Node, in_search: bool) -> Result<Ends<'a>, Problem> {
    let wrong = |message: String, place: &Place| Err(not_a_range(key, message, place));
    let Yaml::Map(entries) = &node.value else {
        return wrong("is no mapping".to_owned(), &node.place);
    };
    let (mut from, mut to): (Option<f64>, Option<f64>) = (None, None);
    let mut how: Option<(&str, f64, &Place)> = None;
    for (name, value) in entries {
        let number = || match value.scalar().and_then(text::number) {
            Some(number) => Ok(number),
            None => {
                let message = format!("has a `{}` that is no number: {}", name.text, value.describe());
                Err(not_a_range(key, message, &value.place))
            }
        };
        match name.text.as_str() {
            "from" => from = Some(number()?),
            "to" => to = Some(number()?),
            "factor" | "step" | "log" if how.is_some() => {
                return wrong("has more than one of `factor`, `step` and `log`".to_owned(), &name.place);
            }
            "log" if in_search && matches!(value.scalar(), Some("true" | "yes")) => how = Some(("between", 1.0, &value.place)),
            "log" if in_search && matches!(value.scalar(), Some("false" | "no")) => how = Some(("between", 0.0, &value.place)),
            form @ ("factor" | "step" | "log") => how = Some((form, number()?, &value.place)),
            other => return wrong(format!("has a key it does not know: `{other}`"), &name.place),
        }
    }
    let (Some(from), Some(to)) = (from, to) else {
        return wrong("needs both `from` and `to`".to_owned(), &node.place);
    };
    if from >= to {
        return wrong(format!("goes from {from} to {to}: it must go upwards"), &node.place);
    }
    let (form, by, place) = match how {
        Some(how) => how,
        None if in_search => ("between", 0.0, &node.place),
        None => return wrong("needs one of `factor`, `step` and `log`".to_owned(), &node.place),
    };
    let logarithmic = matches!(form, "factor" | "log") || (form == "between" && by == 1.0);
    if logarithmic && from <= 0.0 {
        return wrong(format!("begins at {from}: it must be above 0 to go by ratio"), &node.place);
    }
    Ok(Ends { from, to, form, by, place })
}

/// One value of a target, checked against its type.
pub(super) fn choice(number: usize, target: &Target, node: &Node, base: &figment::Figment) -> Result<Choice, Problem> {
    let key = target.key.as_str();
    let refuse = |message: String| Problem::error(format!("`{key}` {message}")).key(key).at(&node.place);
    if node.value == Yaml::Null {
        return Err(
            refuse("has no value here".to_owned()).help("write a value, or `off`, `none` or `auto` where the setting knows it")
        );
    }
    if target.own.is_some() {
        let Some(text) = node.scalar() else {
            return Err(refuse(format!("should be a number, a word or `true` or `false`, not {}", node.describe())));
        };
        let value = Value::String(Tag::Default, text.to_owned());
        return Ok(Choice { target: number, value, datum: Some(datum(text)), label: text.to_owned() });
    }
    let mut value = layers::value_of(node);
    // `tokenizer: char` is short for `tokenizer: {kind: char}`.
    if key == keys::TOKENIZER && node.scalar().is_some() {
        value = Value::Dict(Tag::Default, [("kind".to_owned(), value)].into());
    }
    let fits = match keys::block_part(key) {
        Some((keys::TOKENIZER, _)) => layers::extract(&layers::over(base.clone(), "value", &[(key, &value)])).map(|_| ()),
        _ => layers::alone(key, &value).map(|_| ()),
    };
    match fits {
        Ok(()) => Ok(Choice { target: number, label: label(key, node), value, datum: None }),
        Err(misfit) => Err(refuse(misfit.message).maybe_help(misfit.help.or_else(|| reference::hint(key)))),
    }
}

/// The value of a name of one's own.
pub(super) fn datum(text: &str) -> Datum {
    match text {
        "true" => Datum::Boolean(true),
        "false" => Datum::Boolean(false),
        "off" => Datum::Number(f64::INFINITY),
        other => text::number(other).map_or_else(|| Datum::Word(other.to_owned()), Datum::Number),
    }
}

/// The type of such a value.
pub(super) fn kind_of(datum: &Datum) -> Kind {
    match datum {
        Datum::Number(_) => Kind::Number,
        Datum::Boolean(_) => Kind::Boolean,
        Datum::Word(_) => Kind::Word,
    }
}

/// A value as a person writes it; a whole block by a short name (`bpe-1024`).
pub(super) fn label(key: &str, node: &Node) -> String {
    match &node.value {
        Yaml::Null => String::new(),
        Yaml::Scalar(text) => text.clone(),
        Yaml::List(items) => items.iter().map(|item| label(key, item)).collect::<Vec<_>>().join(" "),
        Yaml::Map(entries) if key == keys::BUDGET => {
            entries.iter().map(|(unit, amount)| format!("{} {}", label(key, amount), unit.text)).collect::<Vec<_>>().join(" ")
        }
        Yaml::Map(entries) => {
            let get = |name: &str| entries.iter().find(|(key, _)| key.text == name).and_then(|(_, node)| node.scalar());
            match (get("kind"), get("vocab_size"), get("path")) {
                (Some(kind), Some(size), _) => format!("{kind}-{}", size.replace('_', "")),
                // The whole of it: the files of several folders may have one name.
                (Some(_), None, Some(path)) => path.to_owned(),
                (Some(kind), None, None) => kind.to_owned(),
                _ => entries
                    .iter()
                    .map(|(key, node)| format!("{}: {}", key.text, label(&key.text, node)))
                    .collect::<Vec<_>>()
                    .join(" "),
            }
        }
    }
}

/// A choice of a number that the program made; of a budget in this unit.
pub(super) fn made(number: usize, target: &Target, value: f64, unit: Option<&str>) -> Choice {
    let text = text::write_number(value);
    let datum = target.own.is_some().then_some(Datum::Number(value));
    let value = Value::String(Tag::Default, text.clone());
    match unit {
        None => Choice { target: number, value, datum, label: text },
        Some(unit) => {
            let amount = Value::Dict(Tag::Default, [(unit.to_owned(), value)].into());
            Choice { target: number, value: amount, datum, label: format!("{text} {unit}") }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::problem::Source;
    use super::super::yaml;
    use super::*;

    fn node(text: &str) -> Node {
        yaml::read(&Arc::new(Source { name: "x.yaml".to_owned(), text: text.to_owned() })).unwrap()
    }

    #[test]
    fn ranges_have_a_known_count() {
        for (text, expected) in [
            ("{from: 64, to: 1024, factor: 2}", vec![64.0, 128.0, 256.0, 512.0, 1024.0]),
            ("{from: 64, to: 1000, factor: 2}", vec![64.0, 128.0, 256.0, 512.0]),
            ("{from: 0, to: 1, step: 0.25}", vec![0.0, 0.25, 0.5, 0.75, 1.0]),
            ("{from: 0.1, to: 0.3, step: 0.1}", vec![0.1, 0.2, 0.3]),
            ("{from: 1e-5, to: 1e-3, log: 5}", vec![1e-5, 3.16228e-5, 1e-4, 3.16228e-4, 1e-3]),
            ("{from: 16, to: 1024, log: 4}", vec![16.0, 64.0, 256.0, 1024.0]),
        ] {
            assert_eq!(range("k", &node(text), false).unwrap(), Range::Values(expected), "{text}");
        }
        assert_eq!(
            range("k", &node("{from: 1e-4, to: 1e-2, log: true}"), true).unwrap(),
            Range::Between { from: 1e-4, to: 1e-2, log: true }
        );
        assert_eq!(range("k", &node("{from: 0, to: 1}"), true).unwrap(), Range::Between { from: 0.0, to: 1.0, log: false });
    }

    #[test]
    fn wrong_ranges_say_why() {
        for (text, expected) in [
            ("{from: 64}", "needs both `from` and `to`"),
            ("{from: 64, to: 128}", "needs one of `factor`, `step` and `log`"),
            ("{from: 128, to: 64, factor: 2}", "goes from 128 to 64: it must go upwards"),
            ("{from: 1, to: 64, factor: 1}", "has a factor of 1: it must be above 1"),
            ("{from: 0, to: 64, factor: 2}", "begins at 0: it must be above 0 to go by ratio"),
            ("{from: 0, to: 1, step: 0}", "has a step of 0: it must be above 0"),
            ("{from: 0, to: 1, step: 1e-12}", "has 1000000000001 values: too many for one axis"),
            ("{from: 1, to: 2, log: 1}", "has `log: 1`: it is the number of values, 2 or more"),
            ("{from: 1, to: 2, log: true}", "has a `log` that is no number: `true`"),
            ("{from: 1, to: x, log: 2}", "has a `to` that is no number: `x`"),
            ("{from: 1, to: 2, log: 2, step: 1}", "has more than one of `factor`, `step` and `log`"),
            ("{from: 1, to: 2, by: 1}", "has a key it does not know: `by`"),
        ] {
            assert_eq!(range("k", &node(text), false).unwrap_err().message, format!("the range of `k` {expected}"), "{text}");
        }
    }

    #[test]
    fn blocks_have_short_labels() {
        for (key, text, expected) in [
            ("tokenizer", "{kind: bpe, vocab_size: 1_024}", "bpe-1024"),
            ("tokenizer", "{kind: char}", "char"),
            ("tokenizer", "{kind: file, path: a/b/t.json}", "a/b/t.json"),
            ("train.budget", "{tokens: 200_000}", "200_000 tokens"),
            ("corpus.text", "[a.txt, b.txt]", "a.txt b.txt"),
            ("train.clip_norm", "off", "off"),
        ] {
            assert_eq!(label(key, &node(text)), expected);
        }
    }
}
