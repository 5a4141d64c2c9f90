//! An experiment with all layers resolved, for a machine to read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::axes::{self, Axis};
use super::definition::Experiment;

/// An experiment with all layers resolved: its part of `experiment.json`. What is a [`Value`] is there for other programs, and read
/// by none of ours. What a file does not have is as in an experiment without it.
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
