//! `derive` and `exclude`.

use std::collections::BTreeMap;
use std::sync::Arc;

use figment::value::{Dict, Tag, Value};

use super::Reader;
use super::base::by_full_names;
use crate::experiment::axes::{self, Block, Point, Search};
use crate::experiment::definition::{Derive, Exclude, Written};
use crate::experiment::expression::{Datum, Kind, Program};
use crate::experiment::keys;
use crate::experiment::names::Names;
use crate::experiment::problem::Problem;
use crate::experiment::yaml::{Key, Node, Yaml};

impl Reader {
    /// The type of each name of one's own, over all its values.
    pub(super) fn kinds(&mut self, blocks: &[Block], search: Option<&Search>, points: &[Point]) -> Vec<(String, Kind)> {
        let mut kinds = Vec::with_capacity(self.own.len());
        for index in 0..self.own.len() {
            let target = self.targets.iter().position(|target| target.own == Some(index));
            let in_blocks = blocks.iter().flat_map(|b| &b.axes).flat_map(|axis| axis.positions.iter().flatten());
            let in_search = search.into_iter().flat_map(|s| &s.dimensions).flat_map(|d| match &d.from {
                axes::Drawn::Choices(choices) => choices.as_slice(),
                axes::Drawn::Between { .. } => &[],
            });
            let all = in_blocks.chain(in_search).chain(points.iter().flat_map(|point| &point.choices));
            let choices = all.filter(|choice| Some(choice.target) == target).filter_map(|choice| choice.datum.as_ref());
            let found: Vec<Kind> = self.own[index].value.iter().chain(choices).map(axes::kind_of).collect();
            let kind = found.first().copied().unwrap_or(Kind::Number);
            if found.iter().any(|&other| other != kind) {
                let message = format!("`{}` is now a number, now a word: one name has one type", self.own[index].name);
                let problem = Problem::error(message).at(&self.own[index].place);
                self.add(problem);
            }
            kinds.push((self.own[index].name.clone(), kind));
        }
        kinds
    }

    pub(super) fn program(&mut self, node: &Node, key: &str, names: &Names) -> Option<Program> {
        let Some(text) = node.scalar() else {
            let message = format!("`{key}` should be an expression, not {}", node.describe());
            self.add(Problem::error(message).key(key).at(&node.place));
            return None;
        };
        match Program::parse(text, names) {
            Ok(program) => Some(program),
            Err(fault) => {
                let place = match node.place.text().find(text) {
                    Some(start) => node.place.part(start + fault.at.start..start + fault.at.end),
                    None => node.place.clone(),
                };
                self.add(Problem::error(fault.message).key(key).at(&place).maybe_help(fault.help));
                None
            }
        }
    }

    pub(super) fn derives(
        &mut self,
        entry: Option<(Key, Node)>,
        names: &Names,
        written: &BTreeMap<String, Written>,
    ) -> Vec<Derive> {
        let Some((_, node)) = entry else { return Vec::new() };
        let entries = match &node.value {
            Yaml::Map(entries) => by_full_names(entries),
            Yaml::Null => Vec::new(),
            _ => {
                let message = format!("`derive` holds settings and their expressions, not {}", node.describe());
                self.add(
                    Problem::error(message)
                        .key("derive")
                        .at(&node.place)
                        .help("write `derive: {train.stride: sequence_length / 2}`"),
                );
                Vec::new()
            }
        };
        let swept: Vec<String> = self.targets.iter().filter(|t| t.own.is_none()).map(|t| t.key.clone()).collect();
        let mut derives: Vec<Derive> = Vec::new();
        for (key, node) in &entries {
            // The last layer holds.
            let overridden = self.overrides.iter().rev().find(|change| keys::overlap(&change.key, &key.text)).cloned();
            if let Some(change) = overridden {
                let message = format!("{}: {} replaces its `derive`", change.told(), change.layer);
                self.add(Problem::note(message).key(&key.text).at(&change.node.place));
                continue;
            }
            if self.own.iter().any(|own| own.name == key.text) {
                let problem = Problem::error(format!("`{}` is a name of one's own: only settings are derived", key.text));
                self.add(problem.key(&key.text).at(&key.place));
                continue;
            }
            if let Some(swept) = swept.iter().find(|swept| keys::whole_setting(swept) == keys::whole_setting(&key.text)) {
                let problem = Problem::error(format!("`{}` is both swept and derived", key.text)).key(&key.text).at(&key.place);
                let problem = problem.label("derived here").help("keep one of the two");
                let problem = match self.set_at.get(swept) {
                    Some((place, _)) => problem.also(place, "swept here"),
                    None => problem,
                };
                self.add(problem);
                continue;
            }
            let Some(number) = self.target(key, "`derive`") else { continue };
            let Some(program) = self.program(node, &key.text, names) else { continue };
            if program.kind() == Kind::Word {
                let message = format!("`{}` is a word: only numbers and `true` or `false` can be derived", program.text());
                self.add(Problem::error(message).key(&key.text).at(&node.place));
                continue;
            }
            derives.push(Derive { target: number, key: key.text.clone(), program: Arc::new(program), place: node.place.clone() });
        }
        self.in_order(derives, written)
    }

    /// Puts derived settings behind those they need; reports a cycle.
    pub(super) fn in_order(&mut self, mut waiting: Vec<Derive>, written: &BTreeMap<String, Written>) -> Vec<Derive> {
        let set: Vec<String> = self.targets.iter().map(|t| t.key.clone()).collect();
        let needs = |derive: &Derive| -> Vec<String> {
            let mut needs: Vec<String> =
                derive.program.settings().map(|name| keys::whole_setting(name.key()).to_owned()).collect();
            for (key, follows) in IMPLIED {
                // Where it is not set it follows another setting.
                if needs.iter().any(|n| n == key) && !written.contains_key(*key) && !set.iter().any(|s| s == key) {
                    needs.push((*follows).to_owned());
                }
            }
            needs
        };
        let mut ordered: Vec<Derive> = Vec::with_capacity(waiting.len());
        while !waiting.is_empty() {
            let free = waiting.iter().position(|derive| {
                let needs = needs(derive);
                waiting.iter().all(|other| !needs.iter().any(|need| need == keys::whole_setting(&other.key)))
            });
            match free {
                Some(index) => ordered.push(waiting.remove(index)),
                None => {
                    let cycle = cycle(&waiting, &needs);
                    let names: Vec<String> =
                        cycle.iter().chain(cycle.first()).map(|&i| format!("`{}`", waiting[i].key)).collect();
                    let first = &waiting[cycle[0]];
                    let message = format!("a circle of derived settings: {}", names.join(" needs "));
                    let problem = Problem::error(message).key(&first.key).at(&first.place);
                    self.add(problem.help("give one of them a value of its own"));
                    break;
                }
            }
        }
        ordered
    }

    pub(super) fn excludes(&mut self, entry: Option<(Key, Node)>, names: &Names) -> Vec<Exclude> {
        let Some((_, node)) = entry else { return Vec::new() };
        let items = match &node.value {
            Yaml::List(items) => items.as_slice(),
            Yaml::Null => &[],
            _ => std::slice::from_ref(&node),
        };
        let mut excludes = Vec::new();
        for item in items {
            let (when, why) = match &item.value {
                Yaml::Scalar(_) => (Some(item.clone()), None),
                Yaml::Map(entries) => {
                    for (key, _) in entries.iter().filter(|(key, _)| !matches!(key.text.as_str(), "when" | "why")) {
                        let help = keys::nearest(&key.text, ["when", "why"]).map(|near| format!("did you mean `{near}`?"));
                        self.add(
                            Problem::error(format!("a rule has `when` and `why`, no `{}`", key.text))
                                .key("exclude")
                                .at(&key.place)
                                .maybe_help(help),
                        );
                    }
                    let get = |name: &str| entries.iter().find(|(key, _)| key.text == name).map(|(_, node)| node.clone());
                    (get("when"), get("why").and_then(|node| node.scalar().map(str::to_owned)))
                }
                _ => (None, None),
            };
            let Some(when) = when else {
                let problem = Problem::error("a rule needs a `when`").key("exclude").at(&item.place);
                self.add(problem.help("write `{when: batch_size * sequence_length > 4096, why: too many tokens in a step}`"));
                continue;
            };
            let Some(program) = self.program(&when, "when", names) else { continue };
            if program.kind() != Kind::Boolean {
                let message = format!("`{}` is not a question: it is neither true nor false", program.text());
                self.add(Problem::error(message).key("when").at(&when.place).help("compare it: `batch_size > 8`"));
                continue;
            }
            excludes.push(Exclude { program: Arc::new(program), why, place: when.place });
        }
        excludes
    }
}

/// Settings that follow another one where they are not set.
pub(in crate::experiment) const IMPLIED: &[(&str, &str)] =
    &[("train.stride", "train.sequence_length"), ("model.kv_heads", "model.heads"), ("model.bias", "model.family")];

/// Finds a cycle among derived settings, of which each needs another one.
fn cycle(waiting: &[Derive], needs: &dyn Fn(&Derive) -> Vec<String>) -> Vec<usize> {
    let next = |from: usize| {
        let needs = needs(&waiting[from]);
        waiting.iter().position(|other| needs.iter().any(|need| need == keys::whole_setting(&other.key))).unwrap_or(from)
    };
    let mut path = vec![0];
    loop {
        let step = next(path[path.len() - 1]);
        if let Some(start) = path.iter().position(|&seen| seen == step) {
            return path.split_off(start);
        }
        path.push(step);
    }
}

/// The value of a derived setting as text that the setting reads.
pub(in crate::experiment) fn derived_value(key: &str, datum: &Datum) -> (String, Value) {
    let text = datum.to_string();
    let value = Value::String(Tag::Default, text.clone());
    match keys::block_part(key) {
        Some((keys::BUDGET, unit)) => {
            (keys::BUDGET.to_owned(), Value::Dict(Tag::Default, Dict::from([(unit.to_owned(), value)])))
        }
        _ => (key.to_owned(), value),
    }
}
