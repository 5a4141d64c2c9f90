//! YAML as a tree with places. Scalars stay as they are written: it is the setting that knows what `off`, `007` or
//! `1e-4` means.

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Location, Spanned};

use super::problem::{Place, Problem, Source};
use super::text::shown;

/// A node of the tree.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Yaml,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Yaml {
    /// Nothing: `key:`, `~` or `null`.
    Null,
    /// The text of a number, a word or a quoted string.
    Scalar(String),
    /// A list.
    List(Vec<Node>),
    /// Keys in file order, duplicates included.
    Map(Vec<(Key, Node)>),
}

/// A key of a mapping.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Key {
    pub(super) text: String,
    pub(super) place: Place,
}

impl Node {
    pub(super) fn scalar(&self) -> Option<&str> {
        match &self.value {
            Yaml::Scalar(text) => Some(text),
            _ => None,
        }
    }

    /// What a person calls it: `a list`, `keys`, `nothing` or the text itself.
    pub(super) fn describe(&self) -> String {
        match &self.value {
            Yaml::Null => "nothing".to_owned(),
            Yaml::Scalar(text) => format!("`{}`", shown(text)),
            Yaml::List(_) => "a list".to_owned(),
            Yaml::Map(_) => "a mapping".to_owned(),
        }
    }

    /// A scalar that a program made, at a place of the file.
    pub(super) fn made(text: impl Into<String>, place: &Place) -> Self {
        Self { place: place.clone(), value: Yaml::Scalar(text.into()) }
    }
}

/// Largest number of nodes, aliases followed. 10,000 points of a dozen keys fit; a bomb of aliases does not.
const MAX_NODES: usize = 300_000;

/// Largest number of nodes that aliases stand for.
const MAX_REPLAYED: usize = 20_000;

/// Reads one YAML document.
pub(super) fn read(source: &Arc<Source>) -> Result<Node, Problem> {
    let whole = Place { source: source.clone(), offset: 0, length: source.text.len() };
    if source.text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}').is_empty() {
        return Err(Problem::error("the file is empty"));
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 2 * MAX_NODES,
            max_nodes: MAX_NODES,
            max_aliases: 10_000,
            max_anchors: 10_000,
            max_depth: 32,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_REPLAYED,
            max_replay_stack_depth: 32,
        },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        strict_booleans: true,
        with_snippet: false,
    };
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(&source.text, options) {
        Ok(raw) => Ok(node(raw, &whole)),
        Err(error) => Err(refused(&error, &whole)),
    }
}

fn refused(error: &serde_saphyr::Error, whole: &Place) -> Problem {
    use serde_saphyr::Error as E;
    let mut error = error.without_snippet();
    let location = error.location();
    while let E::AliasError { error: inner, .. } = error {
        error = inner.without_snippet();
    }
    let problem = match error {
        E::Budget { .. }
        | E::AliasReplayLimitExceeded { .. }
        | E::AliasExpansionLimitExceeded { .. }
        | E::AliasReplayStackDepthExceeded { .. } => Problem::error("the file unfolds to more than an experiment can hold")
            .help("write out what its aliases (`*name`) stand for"),
        E::MultipleDocuments { .. } => Problem::error("the file holds more than one YAML document").help("remove the line `---`"),
        E::UnknownAnchor { .. } => Problem::error("an alias (`*name`) stands for nothing: there is no such anchor (`&name`)")
            .help("put the text in quotes if it begins with a literal `*`"),
        other => {
            let text = other.to_string();
            let end = text.rfind(" at line ").unwrap_or(text.len());
            let help = text.contains("tabs disallowed").then(|| "indent with spaces: YAML takes no tabs there".to_owned());
            Problem::error(format!("this is not YAML: {}", text[..end].trim_end_matches('.'))).maybe_help(help)
        }
    };
    match location {
        Some(location) if location != Location::UNKNOWN => problem.at(&place(location, whole)),
        _ => problem,
    }
}

fn place(location: Location, whole: &Place) -> Place {
    let text = &whole.source.text;
    let span = location.span();
    let at = |n: Option<u64>| n.and_then(|n| usize::try_from(n).ok());
    let offset = at(span.byte_offset()).unwrap_or_else(|| {
        // Without byte offsets: from line and column.
        let line_start: usize =
            text.split_inclusive('\n').take(usize::try_from(location.line()).unwrap_or(1).saturating_sub(1)).map(str::len).sum();
        let column = usize::try_from(location.column()).unwrap_or(1).saturating_sub(1);
        line_start + text[line_start.min(text.len())..].chars().take(column).map(char::len_utf8).sum::<usize>()
    });
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let mut end = (offset + at(span.byte_len()).unwrap_or(0)).min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Place { source: whole.source.clone(), offset, length: end - offset }
}

/// The tree as the reader gives it; a scalar that it took for a number or a boolean is read again from the text.
enum Raw {
    Null,
    Text(String),
    Guessed,
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<Raw>, Spanned<Raw>)>),
}

fn node(raw: Spanned<Raw>, whole: &Place) -> Node {
    let place = place(raw.defined, whole);
    let value = match raw.value {
        Raw::Null => Yaml::Null,
        Raw::Text(text) => Yaml::Scalar(text),
        Raw::Guessed => Yaml::Scalar(place.text().trim().to_owned()),
        Raw::List(items) => Yaml::List(items.into_iter().map(|item| node(item, whole)).collect()),
        Raw::Map(entries) => Yaml::Map(
            entries
                .into_iter()
                .map(|(key, value)| {
                    let key = node(key, whole);
                    let text = match key.value {
                        Yaml::Scalar(text) => text,
                        _ => key.place.text().to_owned(),
                    };
                    (Key { text, place: key.place }, node(value, whole))
                })
                .collect(),
        ),
    };
    Node { place, value }
}

struct RawVisitor;

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Raw, E> {
        Ok(Raw::Text(text))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Raw, E> {
        Ok(Raw::Guessed)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Raw, E> {
        Ok(Raw::Guessed)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Raw, E> {
        Ok(Raw::Guessed)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Raw, E> {
        Ok(Raw::Guessed)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Raw, E> {
        Ok(Raw::Guessed)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Guessed)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key::<Spanned<Raw>>()? {
            if matches!(key.value, Raw::List(_) | Raw::Map(_)) {
                return Err(A::Error::custom("a key must be a word, not a list or a mapping"));
            }
            map.push((key, entries.next_value()?));
        }
        Ok(Raw::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Result<Node, Problem> {
        read(&Arc::new(Source { name: "x.yaml".to_owned(), text: text.to_owned() }))
    }

    fn plain(node: &Node) -> String {
        match &node.value {
            Yaml::Null => "~".to_owned(),
            Yaml::Scalar(text) => text.clone(),
            Yaml::List(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(" ")),
            Yaml::Map(entries) => {
                let entries: Vec<_> = entries.iter().map(|(k, v)| format!("{}={}", k.text, plain(v))).collect();
                format!("{{{}}}", entries.join(" "))
            }
        }
    }

    #[test]
    fn scalars_stay_as_they_are_written() {
        for (text, expected) in [
            ("a: 1e-4", "{a=1e-4}"),
            ("a: 20_000_000 # many", "{a=20_000_000}"),
            (
                "a: [off, no, 007, true, 1.50, 0x1F, -3, .5, +1, 1e999, .inf]",
                "{a=[off no 007 true 1.50 0x1F -3 .5 +1 1e999 .inf]}",
            ),
            ("a: 'off'\nb: \"x\\ty\"", "{a=off b=x\ty}"),
            ("a: \nb: ~\nc: null", "{a=~ b=~ c=~}"),
            ("a: 07:00\nb: 2024-01-01", "{a=07:00 b=2024-01-01}"),
            ("1: x\ntrue: y", "{1=x true=y}"),
            ("a: 340282366920938463463374607431768211456", "{a=340282366920938463463374607431768211456}"),
            ("a: &x 1e-4\nb: *x", "{a=1e-4 b=1e-4}"),
            ("a: 1\na: 2", "{a=1 a=2}"),
            ("- a\n- b", "[a b]"),
            ("a: &x {b: 1}\nc:\n  <<: *x\n  d: 2", "{a={b=1} c={b=1 d=2}}"),
            ("{a: 1, z: 2, b: 3}", "{a=1 z=2 b=3}"),
        ] {
            let node = tree(text).unwrap_or_else(|p| panic!("{text}: {p}"));
            if text.contains("<<") {
                // The order of merged keys is the reader's.
                assert_eq!(plain(&node).len(), expected.len());
            } else {
                assert_eq!(plain(&node), expected, "{text}");
            }
        }
    }

    #[test]
    fn places_are_those_of_the_text() {
        let node = tree("name: é\ngrid:\n  train.stride: [64, 'x y']\n").unwrap();
        let Yaml::Map(entries) = &node.value else { panic!() };
        assert_eq!((entries[1].0.place.line(), entries[1].0.place.column()), (2, 1));
        let Yaml::Map(axes) = &entries[1].1.value else { panic!() };
        assert_eq!(axes[0].0.place.text(), "train.stride");
        let Yaml::List(items) = &axes[0].1.value else { panic!() };
        assert_eq!((items[0].place.line(), items[0].place.column(), items[0].place.text()), (3, 18, "64"));
        assert_eq!(items[1].place.text(), "'x y'");
    }

    #[test]
    fn bombs_are_refused_at_once() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let before = format!("*a{}", level - 1);
            text.push_str(&format!("a{level}: &a{level} [{}]\n", vec![before; 10].join(", ")));
        }
        let start = std::time::Instant::now();
        let problem = tree(&text).unwrap_err();
        assert!(problem.message.contains("unfolds"), "{problem}");
        assert!(tree(&"[".repeat(100_000)).is_err());
        assert!(tree(&"- ".repeat(100_000)).is_err());
        assert!(start.elapsed().as_secs_f64() < 60.0, "it would take for ever");
    }

    #[test]
    fn what_is_no_yaml_is_refused_with_its_place() {
        for (text, line) in [("a: 1\nb: [1, 2\n", None), ("a: 1\n b: 2\n", Some(2)), ("a: \"x\n", None), ("a: *none\n", Some(1))]
        {
            let problem = tree(text).unwrap_err();
            let place = problem.place.as_ref().unwrap_or_else(|| panic!("{text}: {problem}"));
            assert!(line.is_none_or(|line| place.line() == line), "{text}: {problem}");
        }
        assert_eq!(tree(" \n").unwrap_err().message, "the file is empty");
        let two = tree("a: 1\n---\nb: 2\n").unwrap_err();
        assert!(two.message.contains("more than one"), "{two}");
    }
}
