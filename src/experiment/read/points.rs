//! `points` and `search`, and axes that a later layer replaces.

use super::Reader;
use super::base::{by_full_names, normal_key};
use crate::experiment::axes::{self, Axis, Block, Choice, Point, Search};
use crate::experiment::keys;
use crate::experiment::layers;
use crate::experiment::overrides::Override;
use crate::experiment::problem::Problem;
use crate::experiment::text;
use crate::experiment::yaml::{Key, Node, Yaml};

impl Reader {
    pub(super) fn points(&mut self, entry: Option<(Key, Node)>) -> Vec<Point> {
        let Some((_, node)) = entry else { return Vec::new() };
        let items = match &node.value {
            Yaml::List(items) => items.as_slice(),
            Yaml::Map(_) => std::slice::from_ref(&node),
            Yaml::Null => &[],
            Yaml::Scalar(_) => {
                let message = format!("`points` is a list of settings, not {}", node.describe());
                self.add(Problem::error(message).key("points").at(&node.place).help("write `points: [{train.clip_norm: 0.25}]`"));
                &[]
            }
        };
        let mut points = Vec::with_capacity(items.len());
        for item in items {
            let Yaml::Map(entries) = &item.value else {
                self.add(
                    Problem::error(format!("a point holds settings, not {}", item.describe())).key("points").at(&item.place),
                );
                continue;
            };
            // A point may set what an axis sets, so it is only compared with itself.
            let elsewhere = std::mem::take(&mut self.set_at);
            let mut choices: Vec<Choice> = Vec::new();
            for (key, value) in &by_full_names(entries) {
                let (key, unit) = normal_key(key);
                if let Some(number) = self.target(&key, "this point") {
                    choices.extend(
                        self.each(number, &self.targets[number].clone(), std::slice::from_ref(value), unit).into_iter().flatten(),
                    );
                }
            }
            self.set_at = elsewhere;
            for own in 0..self.own.len() {
                let number = self.targets.iter().position(|t| t.own == Some(own));
                if self.own[own].value.is_none() && !choices.iter().any(|c| Some(c.target) == number) {
                    let message = format!("this point does not set `{}`, which has only a list under `let`", self.own[own].name);
                    self.add(Problem::error(message).key("points").at(&item.place));
                }
            }
            points.push(Point { choices, place: item.place.clone() });
        }
        points
    }

    pub(super) fn search(&mut self, key: &Key, node: &Node) -> Option<Search> {
        let Yaml::Map(entries) = &node.value else {
            let help = "write `search: {random: 40, train.learning_rate: {from: 1e-4, to: 1e-2, log: true}}`";
            self.add(Problem::error(format!("`search` holds settings, not {}", node.describe())).at(&node.place).help(help));
            return None;
        };
        let entries = by_full_names(entries);
        let (mut draws, mut seed) = (None, 1);
        let mut dimensions = Vec::new();
        for (key, node) in &entries {
            match key.text.as_str() {
                "random" => match text::whole_within(node.scalar().unwrap_or_default(), 1, text::LARGEST) {
                    Ok(n) => draws = Some(n),
                    Err(expected) => {
                        let message = format!("`search.random` is how many to draw, {expected}, not {}", node.describe());
                        self.add(Problem::error(message).key("search.random").at(&node.place));
                    }
                },
                "seed" => match text::whole_within(node.scalar().unwrap_or_default(), 0, text::LARGEST) {
                    Ok(n) => seed = n,
                    Err(expected) => {
                        let message = format!("`search.seed` should be {expected}, not {}", node.describe());
                        self.add(Problem::error(message).key("search.seed").at(&node.place));
                    }
                },
                _ => dimensions.extend(self.dimension(key, node)),
            }
        }
        if draws.is_none() && !entries.iter().any(|(key, _)| key.text == "random") {
            self.add(
                Problem::error("`search` does not say how many to draw")
                    .key("search")
                    .at(&key.place)
                    .help("write `random: 40` in it"),
            );
        }
        if dimensions.is_empty() && entries.iter().all(|(key, _)| matches!(key.text.as_str(), "random" | "seed")) {
            self.add(Problem::error("`search` has no settings to draw").key("search").at(&key.place));
        }
        Some(Search { draws: draws?, seed, dimensions })
    }

    pub(super) fn dimension(&mut self, key: &Key, node: &Node) -> Option<axes::Dimension> {
        let (key, unit) = normal_key(key);
        let number = self.target(&key, "`search`")?;
        let target = self.targets[number].clone();
        let name = unit.map_or(target.key.clone(), |unit| format!("{}.{unit}", target.key));
        let from = if axes::is_range(node) {
            let range = axes::range(&name, node, true);
            match self.take(range)? {
                axes::Range::Between { from, to, log } => {
                    let whole = target.own.is_none() && layers::is_whole(&name);
                    // Both ends must be values that the setting takes.
                    let ends = [from, to].map(|end| Node::made(text::write_number(end), &node.place));
                    self.each(number, &target, &ends, unit)?;
                    axes::Drawn::Between { from, to, log, whole, unit }
                }
                axes::Range::Values(values) => {
                    let nodes: Vec<Node> = values.iter().map(|v| Node::made(text::write_number(*v), &node.place)).collect();
                    axes::Drawn::Choices(self.each(number, &target, &nodes, unit)?)
                }
            }
        } else {
            axes::Drawn::Choices(self.choices(number, node, unit)?)
        };
        if matches!(&from, axes::Drawn::Choices(choices) if choices.is_empty()) {
            self.add(Problem::error(format!("`{name}` has no values to draw from")).key(&name).at(&node.place));
            return None;
        }
        Some(axes::Dimension { target: number, key: target.key, from, place: key.place })
    }

    /// Axes that the environment or `--set` replaced by one value, and those that they make.
    pub(super) fn replaced_axes(&mut self, blocks: &mut [Block], points: &mut [Point], search: &mut Option<Search>) {
        let changes: Vec<Override> = self.overrides.clone();
        for (index, change) in changes.iter().enumerate() {
            if changes[index + 1..].iter().any(|later| keys::overlap(&later.key, &change.key)) {
                continue;
            }
            let hit: Vec<usize> =
                (0..self.targets.len()).filter(|&target| keys::overlap(&self.targets[target].key, &change.key)).collect();
            let made = if change.makes_axis() && keys::exists(&change.key) {
                let Some(axis) = self.made_axis(change) else { continue };
                Some(axis)
            } else {
                None
            };
            // A name of one's own that is now a list has its axis already, where `let` has it.
            let hit = if made.is_none() && change.makes_axis() { Vec::new() } else { hit };
            let mut replaced = false;
            for block in blocks.iter_mut() {
                let mut place = None;
                for (index, axis) in block.axes.iter_mut().enumerate() {
                    let before = axis.targets.len();
                    axis.targets.retain(|target| !hit.contains(target));
                    if axis.targets.len() < before {
                        replaced = true;
                        place.get_or_insert(index);
                        axis.positions.iter_mut().for_each(|row| row.retain(|choice| !hit.contains(&choice.target)));
                    }
                }
                if let Some(axis) = made.as_ref().filter(|_| search.is_none()) {
                    block.axes.insert(place.unwrap_or(block.axes.len()), axis.clone());
                }
                block.axes.retain(|axis| !axis.targets.is_empty());
            }
            if let Some(search) = search {
                let before = search.dimensions.len();
                search.dimensions.retain(|dimension| !hit.contains(&dimension.target));
                replaced |= search.dimensions.len() < before;
                search.dimensions.extend(made.as_ref().map(|axis| drawn_from(axis, &self.targets[axis.targets[0]].key)));
            }
            // A point says what it is; one value for all holds for points as well.
            for point in points.iter_mut().filter(|_| made.is_none()) {
                let before = point.choices.len();
                point.choices.retain(|choice| !hit.contains(&choice.target));
                replaced |= point.choices.len() < before;
            }
            let known = keys::exists(&change.key) || self.own.iter().any(|own| own.name == change.key);
            if replaced || (known && change.makes_axis()) {
                let does = if replaced || made.is_none() { "replaces its axis" } else { "makes an axis of it" };
                let message = format!("{}: {} {does}", change.told(), change.layer);
                self.add(Problem::note(message).key(&change.key).at(&change.node.place));
            }
        }
    }

    /// The axis that a list makes.
    fn made_axis(&mut self, change: &Override) -> Option<Axis> {
        let key = Key { text: change.key.clone(), place: change.node.place.clone() };
        let (key, unit) = normal_key(&key);
        let number = self.number(&key.text, None);
        let choices = self.choices(number, &change.node, unit)?;
        if choices.is_empty() {
            let problem = Problem::error(format!("the axis `{}` has no values", key.text)).key(&key.text);
            self.add(problem.at(&change.node.place));
            return None;
        }
        self.doubles(number, &choices, &change.node);
        let positions = choices.into_iter().map(|choice| vec![choice]).collect();
        Some(Axis { targets: vec![number], positions, place: key.place })
    }
}

/// A dimension of a search that draws from an axis' values.
fn drawn_from(axis: &Axis, key: &str) -> axes::Dimension {
    let choices = axis.positions.iter().flatten().cloned().collect();
    axes::Dimension {
        target: axis.targets[0],
        key: key.to_owned(),
        from: axes::Drawn::Choices(choices),
        place: axis.place.clone(),
    }
}
