//! The settings below the axes: sections of the file, names of one's own, environment and `--set`.

use std::collections::BTreeMap;

use figment::Figment;
use figment::value::Value;

use super::Reader;
use crate::experiment::axes::{self, Target};
use crate::experiment::definition::{Own, Written};
use crate::experiment::keys;
use crate::experiment::layers;
use crate::experiment::names::Names;
use crate::experiment::overrides::Override;
use crate::experiment::problem::Problem;
use crate::experiment::reference;
use crate::experiment::show::quoted;
use crate::experiment::text;
use crate::experiment::yaml::{Key, Node, Yaml};

impl Reader {
    /// A section of settings (or a setting by its full name): its settings one by one.
    pub(super) fn section(&mut self, key: &Key, node: Node, into: &mut Vec<(Key, Node)>) {
        let name = key.text.as_str();
        if name != keys::TOKENIZER && keys::is_section(name) {
            match node.value {
                Yaml::Map(entries) => {
                    for (inner, value) in entries {
                        let text = format!("{name}.{}", inner.text);
                        self.section(&Key { text, place: inner.place }, value, into);
                    }
                }
                Yaml::Null => {}
                _ => {
                    let message = format!("`{name}` holds settings, not {}", node.describe());
                    let inner = keys::only_setting(name).zip(node.scalar());
                    let written = |value: &str| if text::number(value).is_some() { value.to_owned() } else { quoted(value) };
                    let help = inner.map(|(inner, value)| format!("write `{name}: {{{inner}: {}}}`", written(value)));
                    self.add(Problem::error(message).key(name).at(&node.place).maybe_help(help));
                }
            }
            return;
        }
        if !keys::exists(name) {
            return self.unknown(key);
        }
        let (text, node) = normal(name, node);
        let key = Key { text, place: key.place.clone() };
        if let Some((first, _)) = into.iter().find(|(other, _)| other.text == key.text) {
            let problem = Problem::error(format!("`{}` is set twice", key.text)).key(&key.text).at(&key.place);
            return self.add(problem.label("here again").also(&first.place, "here first").help("keep one of the two"));
        }
        into.push((key, node));
    }

    /// The layers below the axes: file, environment, `--set`.
    pub(super) fn base_settings(&mut self, file: &[(Key, Node)], overrides: &[Override]) -> BTreeMap<String, Written> {
        let mut written = BTreeMap::new();
        let mut right: Vec<(String, Value)> = Vec::new();
        for (key, node) in file {
            if let Some(value) = self.setting(&key.text, node) {
                let label = axes::label(&key.text, node);
                written.insert(key.text.clone(), Written { label, place: node.place.clone() });
                right.push((key.text.clone(), value));
            }
        }
        let layer: Vec<(&str, &Value)> = right.iter().map(|(key, value)| (key.as_str(), value)).collect();
        self.base = layers::over(Figment::new(), "file", &layer);
        for change in overrides.iter().filter(|change| keys::exists(&change.key) && !change.makes_axis()) {
            let (key, node) = normal(&change.key, change.node.clone());
            let Some(value) = self.setting(&key, &node) else { continue };
            let label = axes::label(&key, &node);
            self.base = layers::over(std::mem::take(&mut self.base), change.layer, &[(&key, &value)]);
            let whole = keys::whole_setting(&key).to_owned();
            written.insert(whole, Written { label, place: node.place.clone() });
        }
        written
    }

    /// A setting of the base, checked against its type.
    pub(super) fn setting(&mut self, key: &str, node: &Node) -> Option<Value> {
        let target = Target { key: key.to_owned(), own: None };
        match axes::choice(0, &target, node, &self.base) {
            Ok(choice) => Some(choice.value),
            Err(problem) => {
                let list = matches!(node.value, Yaml::List(_)) && keys::can_be_swept(key);
                let help = list.then(|| format!("to try several values write them under `grid`: `{key}: [...]`"));
                self.add(problem.maybe_help(help));
                None
            }
        }
    }

    /// `let`: names of one's own with a value; lists are axes, and are read with them.
    pub(super) fn names_of_ones_own(&mut self, entry: Option<(Key, Node)>) {
        let Some((_, node)) = entry else { return };
        let Yaml::Map(entries) = &node.value else {
            let message = format!("`let` holds names and their values, not {}", node.describe());
            return self.add(Problem::error(message).at(&node.place).help("write `let: {base_lr: 1e-3}`"));
        };
        for (key, value) in entries {
            let name = key.text.as_str();
            let mut chars = name.chars();
            let right = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
                && chars.all(|c| c.is_ascii_alphanumeric() || c == '_');
            let reserved = ["and", "or", "not", "in", "is", "if", "else", "true", "false", "off", "full", "random", "seed"];
            if !right || reserved.contains(&name) {
                let help = "a name is letters, digits and `_`, and no word of the expressions";
                self.add(Problem::error(format!("`{name}` cannot be a name of one's own")).at(&key.place).help(help));
                continue;
            }
            if !matches!(Names::find(name), Ok(None)) || keys::TOP.contains(&name) || keys::SECTIONS.contains(&name) {
                let message = format!("`{name}` is the name of a setting: it cannot be one of one's own");
                self.add(Problem::error(message).at(&key.place).help("choose another name"));
                continue;
            }
            // In the tables a setting's column has `_` for `.`.
            if let Some(entry) = reference::TABLE.iter().find(|entry| entry.key.replace('.', "_") == name) {
                let message = format!("the tables call `{}` `{name}`: it cannot be a name of one's own", entry.key);
                self.add(Problem::error(message).at(&key.place).help("choose another name"));
                continue;
            }
            let mut own = Own { name: name.to_owned(), value: None, label: String::new(), place: key.place.clone(), list: None };
            match &value.value {
                Yaml::Scalar(text) => {
                    own.value = Some(axes::datum(text));
                    own.label.clone_from(text);
                }
                Yaml::List(_) | Yaml::Map(_) => own.list = Some(value.clone()),
                Yaml::Null => {
                    self.add(Problem::error(format!("`{name}` has no value")).at(&key.place));
                    continue;
                }
            }
            self.own.push(own);
        }
    }

    pub(super) fn override_ones_own(&mut self, overrides: &[Override]) {
        for change in overrides {
            if keys::exists(&change.key) || matches!(change.key.as_str(), "name" | "description" | "seeds") {
                continue;
            }
            match (self.own.iter_mut().find(|own| own.name == change.key), change.node.scalar()) {
                (Some(own), Some(text)) => {
                    own.value = Some(axes::datum(text));
                    text.clone_into(&mut own.label);
                }
                (Some(own), None) if change.makes_axis() => {
                    *own = Own { value: None, label: String::new(), list: Some(change.node.clone()), ..own.clone() };
                }
                (Some(_), None) => {
                    let message = format!("`{}` should be a number or a word, not {}", change.key, change.node.describe());
                    self.add(Problem::error(message).key(&change.key).at(&change.node.place));
                }
                (None, _) => self.unknown(&Key { text: change.key.clone(), place: change.key_place.clone() }),
            }
        }
    }
}

/// `train.budget.steps: 100` is `train.budget: {steps: 100}`.
pub(super) fn normal(key: &str, node: Node) -> (String, Node) {
    match keys::block_part(key) {
        Some((keys::BUDGET, unit)) => (keys::BUDGET.to_owned(), in_unit(unit, &node)),
        _ => (key.to_owned(), node),
    }
}

pub(super) fn in_unit(unit: &str, node: &Node) -> Node {
    let key = Key { text: unit.to_owned(), place: node.place.clone() };
    Node { place: node.place.clone(), value: Yaml::Map(vec![(key, node.clone())]) }
}

/// `train.budget.steps: [100, 200]` is an axis of whole budgets: the block's key, and the unit.
pub(super) fn normal_key(key: &Key) -> (Key, Option<&'static str>) {
    match keys::block_part(&key.text) {
        Some((keys::BUDGET, unit)) => (Key { text: keys::BUDGET.to_owned(), place: key.place.clone() }, Some(unit)),
        _ => (key.clone(), None),
    }
}
