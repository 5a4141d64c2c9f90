//! An experiment with all layers resolved, for a machine to read.

use serde_json::json;

use super::axes::{self, Axis};
use super::definition::Experiment;

impl Experiment {
    /// The experiment with all layers resolved, for a machine to read.
    pub fn resolved(&self) -> serde_json::Value {
        let axis = |axis: &Axis| {
            let keys: Vec<&str> = axis.targets.iter().map(|&t| self.targets[t].key.as_str()).collect();
            let rows: Vec<Vec<&str>> =
                axis.positions.iter().map(|row| row.iter().map(|choice| choice.label.as_str()).collect()).collect();
            json!({ "keys": keys, "values": rows })
        };
        let grids: Vec<serde_json::Value> =
            self.blocks.iter().map(|block| block.axes.iter().map(axis).collect::<Vec<_>>().into()).collect();
        let points: Vec<serde_json::Value> = self
            .points
            .iter()
            .map(|point| {
                point
                    .choices
                    .iter()
                    .map(|c| (self.targets[c.target].key.clone(), json!(c.label)))
                    .collect::<serde_json::Map<_, _>>()
                    .into()
            })
            .collect();
        json!({
            "name": self.name,
            "file": self.file,
            "description": self.description,
            "swept": self.targets.iter().map(|target| &target.key).collect::<Vec<_>>(),
            "tune": self.tune,
            "seeds": self.seeds,
            "settings": self.base,
            "grids": grids,
            "search": self.search.as_ref().map(|s| json!({ "random": s.draws, "seed": s.seed, "keys": s.dimensions.iter().map(|d| &d.key).collect::<Vec<_>>() })),
            "points": points,
            "let": self.own.iter().map(|own| (own.name.clone(), json!(own.label))).collect::<serde_json::Map<_, _>>(),
            "derive": self.derives.iter().map(|d| (d.key.clone(), json!(d.program.text()))).collect::<serde_json::Map<_, _>>(),
            "exclude": self.excludes.iter().map(|e| json!({ "when": e.program.text(), "why": e.why })).collect::<Vec<_>>(),
            "overrides": self.overrides.iter().map(|o| json!({ "from": o.layer, "key": o.key, "value": axes::label(&o.key, &o.node) })).collect::<Vec<_>>(),
        })
    }
}
