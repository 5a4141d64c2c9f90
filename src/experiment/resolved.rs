//! An experiment with all layers resolved, for a machine to read.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::axes::{self, Axis};
use super::definition::Experiment;
use super::{keys, show};

/// An experiment with all layers resolved: its part of `experiment.json`. What is a [`Value`] is there for other programs, and of
/// ours only compared with that of another time. What a file does not have is as in an experiment without it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Resolved {
    /// Its name; empty where a file says none.
    pub name: String,
    /// The experiment file as it was named to the program.
    pub file: String,
    /// What it is for, in the author's words.
    pub description: String,
    /// The swept keys that take their best value in each combination of the others.
    pub tune: Vec<String>,
    /// The seeds of every configuration.
    pub seeds: Vec<u64>,
    /// The settings below the axes.
    pub settings: Value,
    /// The axes of each grid, with their keys and values as written.
    pub grids: Value,
    /// How configurations are drawn at random; `None` where there is a grid.
    pub search: Option<Value>,
    /// The configurations that were added by hand, as keys and values.
    pub points: Value,
    /// Names of one's own with their values.
    #[serde(rename = "let")]
    pub own: Value,
    /// The keys that are computed from others, with their expressions.
    pub derive: BTreeMap<String, String>,
    /// The rules that take combinations out.
    pub exclude: Value,
    /// What lies over the file: its layer, key and value.
    pub overrides: Value,
}

impl Resolved {
    /// What is another setting in `now`, for all trials and of what a trial's id is made of: `train.learning_rate: 0.003 -> 0.01`.
    /// Keys that are swept, before or now, say nothing of all.
    pub fn changed_settings(&self, now: &Self, swept: &BTreeSet<&str>) -> Vec<String> {
        let mut changed = Vec::new();
        for section in ["corpus", keys::TOKENIZER, "model", "train"] {
            let (Some(was), Some(is)) = (self.settings[section].as_object(), now.settings[section].as_object()) else { continue };
            for key in was.keys().chain(is.keys()).collect::<BTreeSet<_>>() {
                let path = format!("{section}.{key}");
                let under = format!("{path}.");
                let is_swept = swept.iter().any(|swept| *swept == section || *swept == path || swept.starts_with(&under));
                if was.get(key) != is.get(key) && !is_swept {
                    let shown = |value: Option<&Value>| value.map_or("none".to_owned(), |value| show::value(section, key, value));
                    changed.push(format!("{path}: {} -> {}", shown(was.get(key)), shown(is.get(key))));
                }
            }
        }
        changed
    }
}

impl Experiment {
    /// The experiment with all layers resolved, for a machine to read.
    pub fn resolved(&self) -> Resolved {
        Resolved {
            name: self.name.clone(),
            file: self.file.clone(),
            description: self.description.clone(),
            tune: self.tune.clone(),
            seeds: self.seeds.clone(),
            settings: json!(self.base),
            grids: self.blocks.iter().map(|block| block.axes.iter().map(|axis| self.axis(axis)).collect::<Value>()).collect(),
            search: self.search.as_ref().map(|search| {
                let keys: Vec<&str> = search.dimensions.iter().map(|dimension| dimension.key.as_str()).collect();
                json!({ "random": search.draws, "seed": search.seed, "keys": keys })
            }),
            points: self
                .points
                .iter()
                .map(|point| {
                    let choices = point.choices.iter();
                    choices.map(|choice| (self.targets[choice.target].key.clone(), json!(choice.label))).collect::<Map<_, _>>()
                })
                .collect(),
            own: self.own.iter().map(|own| (own.name.clone(), json!(own.label))).collect(),
            derive: self.derives.iter().map(|derive| (derive.key.clone(), derive.program.text().to_owned())).collect(),
            exclude: self.excludes.iter().map(|rule| json!({ "when": rule.program.text(), "why": rule.why })).collect(),
            overrides: self
                .overrides
                .iter()
                .map(|over| json!({ "from": over.layer, "key": over.key, "value": axes::label(&over.key, &over.node) }))
                .collect(),
        }
    }

    fn axis(&self, axis: &Axis) -> Value {
        let keys: Vec<&str> = axis.targets.iter().map(|&target| self.targets[target].key.as_str()).collect();
        let rows = axis.positions.iter().map(|row| row.iter().map(|choice| choice.label.as_str()).collect::<Value>());
        json!({ "keys": keys, "values": rows.collect::<Value>() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_changed_for_all_are_named_as_a_person_writes_them() {
        let resolved = |train: Value, name: &str| Resolved {
            name: name.to_owned(),
            settings: json!({ "train": train, "tokenizer": {"kind": "char"}, "run": {"slots": name} }),
            ..Resolved::default()
        };
        let was = resolved(json!({"learning_rate": 3e-3, "stride": 32, "budget": {"tokens": 100}, "seed": 1}), "a");
        let is = resolved(json!({"learning_rate": 1e-2, "stride": 64, "budget": {"steps": 100}, "seed": 1}), "b");
        let changed = was.changed_settings(&is, &BTreeSet::from(["train.stride"]));
        assert_eq!(changed, ["train.budget: {tokens: 100} -> {steps: 100}", "train.learning_rate: 0.003 -> 0.01"]);
        assert!(was.changed_settings(&was, &BTreeSet::new()).is_empty());
        assert_eq!(was.changed_settings(&is, &BTreeSet::from(["train.stride", "train.budget.steps"])).len(), 1);
    }
}
