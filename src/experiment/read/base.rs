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
        if let Some((first, _)) = into.iter().find(|(other, _)| keys::overlap(&other.text, &key.text)) {
            let also = if first.text == key.text { String::new() } else { format!(" (as `{}`)", first.text) };
            let problem = Problem::error(format!("`{}` is set twice{also}", key.text)).key(&key.text).at(&key.place);
            return self.add(problem.label("here again").also(&first.place, "here first").help("keep one of the two"));
        }
        into.push((key, node));
    }

    /// The layers below the axes: file, environment, `--set`.
    pub(super) fn base_settings(&mut self, file: &[(Key, Node)], overrides: &[Override]) -> BTreeMap<String, Written> {
        let mut written = BTreeMap::new();
        let mut right: Vec<(String, Value)> = Vec::new();
        let (parts, others): (Vec<_>, Vec<_>) = file.iter().partition(|(key, _)| keys::is_part_of_tokenizer(&key.text));
        for (key, node) in others {
            if let Some(value) = self.setting(&key.text, node, &Figment::new()) {
                let label = axes::label(&key.text, node);
                written.insert(key.text.clone(), Written { label, place: node.place.clone() });
                right.push((key.text.clone(), value));
            }
        }
        let layer: Vec<(&str, &Value)> = right.iter().map(|(key, value)| (key.as_str(), value)).collect();
        self.base = layers::over(Figment::new(), "file", &layer);
        self.tokenizer_by_parts("file", parts.iter().map(|(key, node)| (key.text.as_str(), node)), &mut written);
        let mut parts: Vec<&Override> = Vec::new();
        for change in overrides.iter().filter(|change| keys::exists(&change.key) && !change.makes_axis()) {
            if keys::is_part_of_tokenizer(&change.key) {
                parts.retain(|part| part.key != change.key);
                parts.push(change);
                continue;
            }
            let (key, node) = normal(&change.key, change.node.clone());
            let Some(value) = self.setting(&key, &node, &Figment::new()) else { continue };
            let label = axes::label(&key, &node);
            self.base = layers::over(std::mem::take(&mut self.base), change.layer, &[(&key, &value)]);
            if key == keys::TOKENIZER {
                parts.clear();
            }
            written.insert(key, Written { label, place: node.place.clone() });
        }
        self.tokenizer_by_parts("above the file", parts.iter().map(|part| (part.key.as_str(), &part.node)), &mut written);
        written
    }

    /// Parts of the tokenizer, which only mean something together: `tokenizer.kind: bpe` and `tokenizer.vocab_size: 512`.
    fn tokenizer_by_parts<'a>(
        &mut self,
        layer: &'static str,
        parts: impl Iterator<Item = (&'a str, &'a Node)>,
        written: &mut BTreeMap<String, Written>,
    ) {
        let mut parts: Vec<(&str, &Node)> = parts.collect();
        // The kind comes last: it says whether the others go with it.
        parts.sort_by_key(|(key, _)| *key == keys::TOKENIZER_KIND);
        let Some(((last, node), others)) = parts.split_last() else { return };
        let mut base = self.base.clone();
        for (key, node) in others {
            let Some(value) = self.setting(key, node, &layers::beside_its_kind(key)) else { return };
            base = layers::over(base, layer, &[(key, &value)]);
        }
        let Some(value) = self.setting(last, node, &base) else { return };
        self.base = layers::over(base, layer, &[(last, &value)]);
        let label = layers::extract(&self.base).map(|settings| settings.tokenizer.label()).unwrap_or_default();
        written.insert(keys::TOKENIZER.to_owned(), Written { label, place: node.place.clone() });
    }

    /// A setting of the base, checked against its type; a part of the tokenizer over these settings.
    fn setting(&mut self, key: &str, node: &Node, below: &Figment) -> Option<Value> {
        let target = Target { key: key.to_owned(), own: None };
        match axes::choice(0, &target, node, below) {
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

    /// Names of variables have capitals only: one of these is the name of one's own that differs in nothing else, if just one does.
    fn names_in_the_environment(&self, overrides: &mut [Override]) {
        for change in overrides.iter_mut().filter(|change| change.is_of_environment() && !keys::exists(&change.key)) {
            let mut same = self.own.iter().filter(|own| own.name.eq_ignore_ascii_case(&change.key));
            if let (Some(own), None) = (same.next(), same.next()) {
                change.key.clone_from(&own.name);
            }
        }
    }

    pub(super) fn override_ones_own(&mut self, overrides: &mut [Override]) {
        self.names_in_the_environment(overrides);
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

/// Settings one by one, with their full names: `train: {batch_size: [8, 16]}` is as good as `train.batch_size: [8, 16]`.
pub(super) fn by_full_names(entries: &[(Key, Node)]) -> Vec<(Key, Node)> {
    let mut settings = Vec::with_capacity(entries.len());
    for (section, node) in entries {
        match &node.value {
            Yaml::Map(inner) if keys::SECTIONS.contains(&section.text.as_str()) && section.text != keys::TOKENIZER => {
                let full = |key: &Key| Key { text: format!("{}.{}", section.text, key.text), place: key.place.clone() };
                settings.extend(inner.iter().map(|(key, node)| (full(key), node.clone())));
            }
            _ => settings.push((section.clone(), node.clone())),
        }
    }
    settings
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
