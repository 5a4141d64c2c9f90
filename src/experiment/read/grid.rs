//! `grid` and `zip`: axes and their values.

use std::collections::BTreeMap;

use super::Reader;
use super::base::{by_full_names, in_unit, normal_key};
use crate::experiment::axes::{self, Axis, Block, Choice, Target};
use crate::experiment::keys;
use crate::experiment::layers;
use crate::experiment::problem::Problem;
use crate::experiment::text;
use crate::experiment::yaml::{Key, Node, Yaml};

impl Reader {
    /// The number of a target that varies; reports one that may not, or is set in two places.
    pub(super) fn target(&mut self, key: &Key, what: &str) -> Option<usize> {
        let name = key.text.as_str();
        let own = self.own.iter().position(|own| own.name == name);
        if own.is_none() {
            if name == "seeds" || name == "seed" {
                let problem = Problem::error("seeds are no axis: they are replicates").key("seeds").at(&key.place);
                self.add(problem.help("write `seeds: 3` at the top of the file"));
                return None;
            }
            if !keys::exists(name) {
                self.unknown(key);
                return None;
            }
            if !keys::can_be_swept(name) {
                let problem = Problem::error(format!("`{name}` cannot differ between configurations")).key(name).at(&key.place);
                self.add(
                    problem.help("`evaluate`, `checkpoint`, `run` and `report` hold for all trials: set it outside the axes"),
                );
                return None;
            }
        }
        let clash = self.set_at.iter().find(|(other, _)| keys::overlap(other, name));
        if let Some((other, (first, by))) = clash {
            let twice = if other == name { String::new() } else { format!(" (as `{other}`)") };
            let problem = Problem::error(format!("`{name}` is set twice: by {by}{twice} and by {what}")).key(name).at(&key.place);
            let problem = problem.label("here again").also(first, "here first").help("keep one of the two");
            self.add(problem);
            return None;
        }
        self.set_at.insert(name.to_owned(), (key.place.clone(), what.to_owned()));
        Some(self.number(name, own))
    }

    pub(super) fn number(&mut self, key: &str, own: Option<usize>) -> usize {
        match self.targets.iter().position(|target| target.key == key) {
            Some(number) => number,
            None => {
                self.targets.push(Target { key: key.to_owned(), own });
                self.targets.len() - 1
            }
        }
    }

    /// All axes: those of `let`, of each grid, and of `zip`.
    pub(super) fn grids(&mut self, top: &[(Key, Node)]) -> Vec<Block> {
        let get = |name: &str| top.iter().find(|(key, _)| key.text == name).map(|(_, node)| node);
        let several = matches!(get("grid").map(|node| &node.value), Some(Yaml::List(grids)) if grids.len() > 1);
        self.one_grid = !several && get("points").is_none_or(|node| node.value == Yaml::Null);
        let mut common = Vec::new();
        for index in 0..self.own.len() {
            if let Some(node) = self.own[index].list.clone() {
                let key = Key { text: self.own[index].name.clone(), place: self.own[index].place.clone() };
                common.extend(self.axis(&key, &node, "`let`"));
            }
        }
        let mut grids: Vec<Vec<Axis>> = Vec::new();
        match get("grid").map(|node| (node, &node.value)) {
            None | Some((_, Yaml::Null)) => grids.push(Vec::new()),
            Some((_, Yaml::Map(entries))) => grids.push(self.grid(entries)),
            Some((_, Yaml::List(items))) if !items.is_empty() => {
                // Each grid may sweep the same settings as another one, but none that `let` or `zip` have.
                let before = self.set_at.clone();
                let mut all = before.clone();
                for item in items {
                    self.set_at.clone_from(&before);
                    match &item.value {
                        Yaml::Map(entries) => grids.push(self.grid(entries)),
                        _ => {
                            let message = format!("a grid holds settings and their values, not {}", item.describe());
                            self.add(Problem::error(message).key("grid").at(&item.place));
                        }
                    }
                    all.extend(self.set_at.clone());
                }
                self.set_at = all;
            }
            Some((node, _)) => {
                let message = format!("`grid` holds settings and their values, not {}", node.describe());
                let help = "write `grid: {train.batch_size: [8, 16]}`";
                self.add(Problem::error(message).key("grid").at(&node.place).help(help));
            }
        }
        let zips = get("zip").map(|node| self.zips(node)).unwrap_or_default();
        let block = |grid: Vec<Axis>| Block { axes: common.iter().cloned().chain(grid).chain(zips.iter().cloned()).collect() };
        grids.into_iter().map(block).collect()
    }

    pub(super) fn grid(&mut self, entries: &[(Key, Node)]) -> Vec<Axis> {
        by_full_names(entries).iter().filter_map(|(key, node)| self.axis(key, node, "`grid`")).collect()
    }

    /// One axis.
    pub(super) fn axis(&mut self, key: &Key, node: &Node, what: &str) -> Option<Axis> {
        let (key, wrap) = normal_key(key);
        let number = self.target(&key, what)?;
        let choices = self.choices(number, node, wrap)?;
        let name = &key.text;
        match choices.as_slice() {
            [] => {
                self.add(Problem::error(format!("the axis `{name}` has no values")).key(name).at(&node.place));
                return None;
            }
            // In a list of grids, or beside points, a value that stands outside the axes would hold for the others as well.
            [_] if self.one_grid => {
                let problem = Problem::warning(format!("the axis `{name}` has only one value")).key(name).at(&node.place);
                self.add(problem.help(format!("set `{name}` outside the axes")));
            }
            [_] => {}
            _ => self.doubles(number, &choices, node),
        }
        let positions = choices.into_iter().map(|choice| vec![choice]).collect();
        Some(Axis { targets: vec![number], positions, place: key.place })
    }

    /// The values of an axis: a list, a range, or one.
    pub(super) fn choices(&mut self, number: usize, node: &Node, unit: Option<&str>) -> Option<Vec<Choice>> {
        let target = self.targets[number].clone();
        if axes::is_range(node) {
            return match axes::range(&target.key, node, false) {
                Ok(axes::Range::Values(values)) => {
                    let nodes: Vec<Node> = values.iter().map(|v| Node::made(text::write_number(*v), &node.place)).collect();
                    self.each(number, &target, &nodes, unit)
                }
                Ok(axes::Range::Between { .. }) => unreachable!("only a search reads ranges without a count"),
                Err(problem) => {
                    self.add(problem);
                    None
                }
            };
        }
        match &node.value {
            Yaml::List(items) => self.each(number, &target, items, unit),
            _ => self.each(number, &target, std::slice::from_ref(node), unit),
        }
    }

    pub(super) fn each(&mut self, number: usize, target: &Target, nodes: &[Node], unit: Option<&str>) -> Option<Vec<Choice>> {
        let mut choices = Vec::with_capacity(nodes.len());
        let mut complete = true;
        for node in nodes {
            let wrapped = unit.map(|unit| in_unit(unit, node));
            match axes::choice(number, target, wrapped.as_ref().unwrap_or(node), &self.base) {
                Ok(choice) => choices.push(choice),
                Err(problem) => {
                    complete = false;
                    // One message says enough about a range whose values do not fit.
                    if self.problems.last() != Some(&problem) {
                        self.add(problem);
                    }
                }
            }
        }
        complete.then_some(choices)
    }

    /// Warns of values that are the same.
    pub(super) fn doubles(&mut self, number: usize, choices: &[Choice], node: &Node) {
        let key = self.targets[number].key.clone();
        let mut seen: BTreeMap<String, &str> = BTreeMap::new();
        for (index, choice) in choices.iter().enumerate() {
            let meaning = match (&choice.datum, layers::alone(&key, &choice.value)) {
                (Some(datum), _) => datum.to_string(),
                (None, Ok(settings)) => serde_json::to_string(&settings).unwrap_or_default(),
                // A part of a block means nothing alone; its text does.
                (None, Err(_)) => choice.label.clone(),
            };
            if let Some(first) = seen.insert(meaning, &choice.label) {
                let place = match &node.value {
                    Yaml::List(items) => items.get(index).map_or(&node.place, |item| &item.place),
                    _ => &node.place,
                };
                let same = if first == choice.label { String::new() } else { format!(" (as `{first}`)") };
                let problem = Problem::warning(format!("the axis `{key}` has the value `{}` twice{same}", choice.label));
                self.problems.push(problem.key(&key).at(place));
            }
        }
    }

    pub(super) fn zips(&mut self, node: &Node) -> Vec<Axis> {
        let items: Vec<&Node> = match &node.value {
            Yaml::List(items) => items.iter().collect(),
            Yaml::Map(_) => vec![node],
            Yaml::Null => return Vec::new(),
            Yaml::Scalar(_) => {
                let message = format!("`zip` is a list of settings that move together, not {}", node.describe());
                self.add(
                    Problem::error(message)
                        .key("zip")
                        .at(&node.place)
                        .help("write `zip: [{model.width: [128, 256], model.layers: [4, 6]}]`"),
                );
                return Vec::new();
            }
        };
        items.into_iter().filter_map(|item| self.zip(item)).collect()
    }

    pub(super) fn zip(&mut self, node: &Node) -> Option<Axis> {
        let Yaml::Map(entries) = &node.value else {
            let message = format!("an item of `zip` holds settings and their lists, not {}", node.describe());
            self.add(Problem::error(message).key("zip").at(&node.place));
            return None;
        };
        let mut columns: Vec<(Key, usize, Vec<Choice>)> = Vec::new();
        let mut complete = true;
        for (key, node) in &by_full_names(entries) {
            let (key, unit) = normal_key(key);
            let column = self.target(&key, "`zip`").and_then(|number| Some((number, self.choices(number, node, unit)?)));
            match column {
                Some((number, choices)) => columns.push((key, number, choices)),
                None => complete = false,
            }
        }
        let (first, _, choices) = columns.first()?;
        let length = choices.len();
        let mut unequal = Vec::new();
        for (key, _, choices) in &columns[1..] {
            if choices.len() != length {
                let message = format!(
                    "values that move together must be equally many: `{}` has {length}, `{}` has {}",
                    first.text,
                    key.text,
                    choices.len()
                );
                unequal.push(
                    Problem::error(message)
                        .key(&key.text)
                        .at(&key.place)
                        .also(&first.place, format!("{length} values"))
                        .label(format!("{} values", choices.len())),
                );
            }
        }
        if length == 0 {
            unequal.push(Problem::error("an item of `zip` has no values").key("zip").at(&node.place));
        }
        if length == 1 && unequal.is_empty() && self.one_grid {
            self.add(Problem::warning("an item of `zip` has only one position").key("zip").at(&node.place));
        }
        if !unequal.is_empty() || !complete {
            self.problems.extend(unequal);
            return None;
        }
        let positions = (0..length).map(|i| columns.iter().map(|(.., choices)| choices[i].clone()).collect()).collect();
        let place = first.place.clone();
        Some(Axis { targets: columns.iter().map(|(_, number, _)| *number).collect(), positions, place })
    }
}
