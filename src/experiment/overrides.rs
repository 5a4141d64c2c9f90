//! Settings from the environment (`VOTIVE_SET__TRAIN__LEARNING_RATE`) and from the command line (`--set key=value`).

use std::sync::Arc;

use super::axes;
use super::keys;
use super::problem::{Place, Problem, Source};
use super::yaml::{self, Node, Yaml};

/// Layers above the file; the later one wins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `key=value`, as given on the command line.
    pub set: Vec<String>,
    /// Environment variables; those that do not begin with `VOTIVE_SET__` are ignored.
    pub environment: Vec<(String, String)>,
}

/// What such a variable begins with.
const PREFIX: &str = "VOTIVE_SET__";

/// What the layer of these variables is called.
const ENVIRONMENT: &str = "the environment";

/// One setting of a layer above the file.
#[derive(Debug, Clone)]
pub(super) struct Override {
    /// The full name; also `name`, `description` and `seeds`, and names of one's own.
    pub(super) key: String,
    pub(super) key_place: Place,
    pub(super) node: Node,
    /// Where it comes from, for a person.
    pub(super) layer: &'static str,
}

impl Override {
    /// Whether it is a variable of the environment, whose names have capitals only.
    pub(super) fn is_of_environment(&self) -> bool {
        self.layer == ENVIRONMENT
    }

    /// Whether it makes an axis: several values for a setting that takes one. A list of texts is one value of `corpus.text`, a list
    /// of such lists several.
    pub(super) fn makes_axis(&self) -> bool {
        if !keys::can_be_swept(&self.key) || matches!(self.key.as_str(), "name" | "description" | "seeds") {
            return false;
        }
        match &self.node.value {
            Yaml::List(items) if self.key == "corpus.text" => items.iter().any(|item| matches!(item.value, Yaml::List(_))),
            Yaml::List(_) => true,
            _ => axes::is_range(&self.node),
        }
    }

    /// What it does, for a note about its setting.
    pub(super) fn told(&self) -> String {
        match &self.node.value {
            Yaml::List(items) => {
                let values: Vec<String> = items.iter().map(|item| axes::label(&self.key, item)).collect();
                format!("`{}` is swept over {}", self.key, values.join(", "))
            }
            _ if self.makes_axis() => format!("`{}` is swept over {}", self.key, self.node.place.text().trim()),
            _ => format!("`{}` is {} for all", self.key, axes::label(&self.key, &self.node)),
        }
    }
}

/// The settings in order of precedence, the strongest last.
pub(super) fn read(overrides: &Overrides) -> (Vec<Override>, Vec<Problem>) {
    let (mut list, mut problems) = (Vec::new(), Vec::new());
    let mut variables: Vec<&(String, String)> =
        overrides.environment.iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    variables.sort();
    for (name, value) in variables {
        let key = name[PREFIX.len()..].replace("__", ".").to_ascii_lowercase();
        let source = Arc::new(Source { name: ENVIRONMENT.to_owned(), text: format!("{name}={value}") });
        let key_place = Place { source: source.clone(), offset: 0, length: name.len() };
        let place = Place { source, offset: name.len() + 1, length: value.len() };
        add(&key, &key_place, &place, ENVIRONMENT, &mut list, &mut problems);
    }
    for text in &overrides.set {
        let source = Arc::new(Source { name: "--set".to_owned(), text: text.clone() });
        match text.split_once('=') {
            Some((key, value)) => {
                let key_place = Place { source: source.clone(), offset: 0, length: key.len() };
                let place = Place { source, offset: key.len() + 1, length: value.len() };
                add(key.trim(), &key_place, &place, "`--set`", &mut list, &mut problems);
            }
            None => {
                let place = Place { source, offset: 0, length: text.len() };
                problems.push(
                    Problem::error(format!("`--set {text}` sets nothing")).at(&place).help("write `--set train.batch_size=8`"),
                );
            }
        }
    }
    (list, problems)
}

fn add(key: &str, key_place: &Place, place: &Place, layer: &'static str, list: &mut Vec<Override>, problems: &mut Vec<Problem>) {
    let known = keys::exists(key) || matches!(key, "name" | "description" | "seeds");
    // A name of one's own has no dots; whether there is one is seen when the file has been read.
    let own = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !known && !own {
        let problem = Problem::error(keys::unknown(key)).key(key).at(key_place);
        problems.push(problem.help(keys::advice(key)));
        return;
    }
    match value(place) {
        Ok(node) => list.push(Override { key: key.to_owned(), key_place: key_place.clone(), node, layer }),
        Err(problem) => problems.push(problem.key(key)),
    }
}

/// A value: YAML where it is a list, a block or quoted, else its text.
fn value(place: &Place) -> Result<Node, Problem> {
    let text = place.text().trim();
    if !text.starts_with(['[', '{', '"', '\'']) {
        let value = if text.is_empty() { Yaml::Null } else { Yaml::Scalar(text.to_owned()) };
        return Ok(Node { place: place.clone(), value });
    }
    let source = Arc::new(Source { name: place.source().to_owned(), text: text.to_owned() });
    yaml::read(&source).map_err(|mut problem| {
        problem.place = Some(place.clone());
        problem
    })
}
