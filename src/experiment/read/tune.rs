//! `tune`: the axes over which each combination of the others takes its best value.

use super::Reader;
use super::base::normal_key;
use crate::experiment::axes::{Block, Point, Search};
use crate::experiment::definition::Derive;
use crate::experiment::keys;
use crate::experiment::problem::Problem;
use crate::experiment::yaml::{Key, Node, Yaml};

impl Reader {
    /// The keys that are tuned, each of which has values to choose from.
    pub(super) fn tune(
        &mut self,
        entry: Option<(Key, Node)>,
        blocks: &[Block],
        search: Option<&Search>,
        points: &[Point],
        derives: &[Derive],
    ) -> Vec<String> {
        let Some((_, node)) = entry else { return Vec::new() };
        let items = match &node.value {
            Yaml::List(items) => items.clone(),
            Yaml::Scalar(_) => vec![node.clone()],
            Yaml::Null => Vec::new(),
            Yaml::Map(_) => {
                let problem = Problem::error(format!("`tune` is a list of axes, not {}", node.describe())).key("tune");
                self.add(problem.at(&node.place).help("write `tune: [train.learning_rate]`"));
                Vec::new()
            }
        };
        let in_blocks = blocks.iter().flat_map(|block| &block.axes).flat_map(|axis| axis.targets.iter().copied());
        let in_search = search.into_iter().flat_map(|search| &search.dimensions).map(|dimension| dimension.target);
        let in_points = points.iter().flat_map(|point| &point.choices).map(|choice| choice.target);
        let varies: Vec<String> =
            in_blocks.chain(in_search).chain(in_points).map(|target| self.targets[target].key.clone()).collect();
        let mut tuned: Vec<String> = Vec::with_capacity(items.len());
        for item in items {
            let Some(text) = item.scalar() else {
                let problem = Problem::error(format!("an axis is named by its setting, not by {}", item.describe()));
                self.add(problem.key("tune").at(&item.place).help("write `tune: [train.learning_rate]`"));
                continue;
            };
            let (key, _) = normal_key(&Key { text: text.to_owned(), place: item.place.clone() });
            let name = key.text.as_str();
            let whole = keys::whole_setting(name);
            if varies.iter().any(|other| other == name) {
                if tuned.iter().any(|other| other == name) {
                    self.add(Problem::error(format!("`{name}` is tuned twice")).key("tune").at(&key.place));
                } else {
                    tuned.push(name.to_owned());
                }
            } else if derives.iter().any(|derive| derive.key == name) {
                let problem = Problem::error(format!("`{name}` is computed from other settings: it cannot be tuned"));
                self.add(problem.key("tune").at(&key.place).help("tune what it is computed from"));
            } else if self.overrides.iter().any(|change| keys::whole_setting(&change.key) == whole) {
                // One value for all of it was asked for: there is nothing to choose, and the note on its axis says so.
            } else if keys::exists(name) || self.own.iter().any(|own| own.name == name) {
                let problem = Problem::error(format!("`{name}` has one value only: there is nothing to tune")).key("tune");
                self.add(problem.at(&key.place).help(format!("give it values: `grid: {{{name}: […]}}`")));
            } else {
                self.unknown(&key);
            }
        }
        if !tuned.is_empty() && varies.iter().all(|key| tuned.contains(key)) {
            let problem = Problem::warning("every axis is tuned: one configuration is left to rank").key("tune").at(&node.place);
            self.add(problem.help("without `tune` all values are ranked beside each other"));
        }
        tuned
    }
}
