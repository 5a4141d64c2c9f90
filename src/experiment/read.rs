//! The tree of a file becomes an [`Experiment`]: every problem is collected, none stops the reading.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use figment::Figment;
use figment::value::{Dict, Tag, Value};

use super::axes::{self, Axis, Block, Choice, Point, Search, Target};
use super::check;
use super::expression::{Datum, Kind, Program};
use super::keys;
use super::layers;
use super::names::Names;
use super::overrides::{self, Override, Overrides};
use super::problem::{Place, Problem, Problems, Severity, Source};
use super::settings::Settings;
use super::text;
use super::yaml::{self, Key, Node, Yaml};
use super::{Derive, Exclude, Experiment, Own};

/// Most bytes of a file.
const MOST_BYTES: u64 = 1 << 20;
/// Most seeds of an experiment.
const MOST_SEEDS: u64 = 100_000;

/// Reads an experiment file. The second part of the answer are warnings and notes.
///
/// # Errors
/// All problems of the file at once.
pub fn load(path: &Path, overrides: &Overrides) -> Result<(Experiment, Vec<Problem>), Problems> {
    let name = path.display().to_string();
    let refuse = |problem: Problem| Problems::one(&name, problem);
    let unreadable = |error: &std::io::Error| {
        let missing = error.kind() == std::io::ErrorKind::NotFound;
        let message = if missing { format!("there is no file `{name}`") } else { format!("`{name}` cannot be read: {error}") };
        let help = missing.then(|| near_file(path)).flatten();
        refuse(Problem::error(message).maybe_help(help.map(|near| format!("did you mean `{near}`?"))))
    };
    let size = std::fs::metadata(path).map_err(|e| unreadable(&e))?;
    if size.is_file() && size.len() > MOST_BYTES {
        let message = format!("`{name}` has {} bytes: an experiment file has at most 1 MB", size.len());
        return Err(refuse(
            Problem::error(message).help("put the text of a corpus into a file of its own, and name it under `corpus.text`"),
        ));
    }
    let bytes = std::fs::read(path).map_err(|e| unreadable(&e))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let byte = error.as_bytes().get(at).copied().unwrap_or_default();
        let line = error.as_bytes()[..at].iter().filter(|&&b| b == b'\n').count() + 1;
        let message = format!("`{name}` is not UTF-8: byte 0x{byte:02x} at offset {at}, in line {line}");
        refuse(Problem::error(message).help("save the file as UTF-8"))
    })?;
    let folder = path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
    read(&name, &text, folder, overrides)
}

/// A file beside this one whose name is near.
fn near_file(path: &Path) -> Option<String> {
    let folder = path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let wanted = path.file_name()?.to_str()?;
    let files = std::fs::read_dir(folder).ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut near: Vec<(usize, String)> = files.map(|file| (strsim::damerau_levenshtein(wanted, &file), file)).collect();
    near.sort();
    let (distance, file) = near.into_iter().next()?;
    (distance <= wanted.len() / 3).then(|| path.with_file_name(file).display().to_string())
}

/// Reads the text of an experiment file; paths in it are relative to the working folder.
///
/// # Errors
/// All problems of the text at once.
pub fn parse(file_name: &str, text: &str, overrides: &Overrides) -> Result<(Experiment, Vec<Problem>), Problems> {
    read(file_name, text, Path::new("."), overrides)
}

fn read(name: &str, text: &str, folder: &Path, overrides: &Overrides) -> Result<(Experiment, Vec<Problem>), Problems> {
    let source = Arc::new(Source { name: name.to_owned(), text: text.to_owned() });
    let refuse = |problem| Problems::one(name, problem);
    if text.len() as u64 > MOST_BYTES {
        return Err(refuse(Problem::error(format!("`{name}` has {} bytes: an experiment file has at most 1 MB", text.len()))));
    }
    let tree = yaml::read(&source).map_err(refuse)?;
    let Yaml::Map(entries) = tree.value else {
        let message = format!("the file holds {} at its top, not keys such as `name:` and `train:`", tree.describe());
        return Err(refuse(Problem::error(message).at(&tree.place)));
    };
    let mut reader = Reader::default();
    let experiment = reader.experiment(entries, folder, text, overrides);
    let mut problems = reader.problems;
    problems.sort_by_key(|p| p.place.as_ref().map(|place| (place.source.name != name, place.offset)));
    match experiment {
        Some(experiment) if problems.iter().all(|p| p.severity != Severity::Error) => {
            let mut experiment = experiment;
            name.clone_into(&mut experiment.file);
            Ok((experiment, problems))
        }
        _ => {
            problems.sort_by_key(|p| p.severity);
            Err(Problems { file: name.to_owned(), list: problems })
        }
    }
}

/// A setting of the base, as it is written.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub(super) value: Value,
    pub(super) label: String,
    pub(super) place: Place,
}

#[derive(Default)]
struct Reader {
    problems: Vec<Problem>,
    targets: Vec<Target>,
    /// Where each target that varies is set, to tell of a second place.
    set_at: BTreeMap<String, Place>,
    own: Vec<Own>,
    overrides: Vec<Override>,
    base: Figment,
}

impl Reader {
    fn add(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    fn take<T>(&mut self, result: Result<T, Problem>) -> Option<T> {
        result.map_err(|problem| self.add(problem)).ok()
    }

    fn experiment(&mut self, entries: Vec<(Key, Node)>, folder: &Path, text: &str, overrides: &Overrides) -> Option<Experiment> {
        let entries = self.without_duplicates(entries);
        let (overrides, problems) = overrides::read(overrides);
        self.problems.extend(problems);
        let mut top: Vec<(Key, Node)> = Vec::new();
        let mut file: Vec<(Key, Node)> = Vec::new();
        for (key, node) in entries {
            let name = key.text.as_str();
            if keys::TOP.contains(&name) {
                top.push((key, node));
            } else {
                self.section(&key, node, &mut file);
            }
        }
        let get = |name: &str| top.iter().find(|(key, _)| key.text == name).map(|(key, node)| (key.clone(), node.clone()));
        for (name, issue) in
            [("tune", "the best value of an axis is not chosen yet"), ("confirm", "fresh seeds for the leaders come later")]
        {
            if let Some((key, _)) = get(name) {
                let message = format!("`{name}` is not supported yet: {issue}");
                self.add(Problem::error(message).key(name).at(&key.place).help("take it out; `grid` and `seeds` do the rest"));
            }
        }
        self.names_of_ones_own(get("let"));
        self.override_ones_own(&overrides);
        let written = self.base_settings(&file, &overrides);
        self.overrides = overrides;

        let name = self.name(get("name"));
        let description = self.text_of("description", get("description"));
        let seeds = self.seeds(get("seeds"));
        let mut blocks = self.grids(&top);
        let mut search = get("search").and_then(|(key, node)| self.search(&key, &node));
        if search.is_some() && blocks.iter().any(|block| !block.axes.is_empty()) {
            let (key, _) = get("search")?;
            let message = "`search` stands in place of `grid`, `zip` and lists under `let`";
            self.add(
                Problem::error(message).at(&key.place).help("move the other axes into `search`: a list there is drawn from"),
            );
        }
        let mut points = self.points(get("points"));
        self.replaced_axes(&mut blocks, &mut points, &mut search);
        let kinds = self.kinds(&blocks, search.as_ref(), &points);
        let names = Names::with(kinds);
        let derives = self.derives(get("derive"), &names, &written);
        let excludes = self.excludes(get("exclude"), &names);

        let seeds = seeds.unwrap_or_else(|| vec![1]);
        let base = match layers::extract(&self.base) {
            Ok(base) => base,
            Err(_) if self.problems.iter().any(|p| p.severity == Severity::Error) => Settings::default(),
            Err(misfit) => {
                self.add(Problem::error(format!("the settings {}", misfit.message)).maybe_help(misfit.help));
                Settings::default()
            }
        };
        let experiment = Experiment {
            name: name.unwrap_or_default(),
            description: description.unwrap_or_default(),
            folder: folder.to_owned(),
            source: text.to_owned(),
            seeds,
            base,
            file: String::new(),
            layers: std::mem::take(&mut self.base),
            written,
            targets: std::mem::take(&mut self.targets),
            own: std::mem::take(&mut self.own),
            blocks,
            search,
            points,
            derives,
            excludes,
            overrides: std::mem::take(&mut self.overrides),
        };
        self.required(&experiment);
        self.base_conflicts(&experiment);
        self.unread(&experiment);
        Some(experiment)
    }

    /// Reports keys that stand twice in a mapping, and keeps the first.
    fn without_duplicates(&mut self, entries: Vec<(Key, Node)>) -> Vec<(Key, Node)> {
        let mut kept: Vec<(Key, Node)> = Vec::with_capacity(entries.len());
        let mut seen: BTreeMap<String, Place> = BTreeMap::new();
        for (key, mut node) in entries {
            if let Some(first) = seen.get(&key.text) {
                let problem = Problem::error(format!("the key `{}` stands twice", key.text)).key(&key.text);
                self.add(problem.at(&key.place).label("here again").also(first, "here first").help("keep one of the two"));
                continue;
            }
            seen.insert(key.text.clone(), key.place.clone());
            self.clean(&mut node);
            kept.push((key, node));
        }
        kept
    }

    fn clean(&mut self, node: &mut Node) {
        match &mut node.value {
            Yaml::Map(entries) => {
                let taken = std::mem::take(entries);
                *entries = self.without_duplicates(taken);
            }
            Yaml::List(items) => items.iter_mut().for_each(|item| self.clean(item)),
            Yaml::Null | Yaml::Scalar(_) => {}
        }
    }

    /// A section of settings (or a setting by its full name): its settings one by one.
    fn section(&mut self, key: &Key, node: Node, into: &mut Vec<(Key, Node)>) {
        let name = key.text.as_str();
        if name != keys::TOKENIZER && keys::SECTIONS.contains(&name) {
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
                    self.add(Problem::error(message).key(name).at(&node.place));
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

    fn unknown(&mut self, key: &Key) {
        let problem = Problem::error(format!("there is no setting called `{}`", key.text)).key(&key.text).at(&key.place);
        let near_own = keys::nearest(&key.text, self.own.iter().map(|own| own.name.as_str()));
        let help = near_own.map(|name| format!("did you mean `{name}`?")).or_else(|| keys::suggestion(&key.text));
        self.add(problem.maybe_help(help));
    }

    /// The layers below the axes: file, environment, `--set`.
    fn base_settings(&mut self, file: &[(Key, Node)], overrides: &[Override]) -> BTreeMap<String, Written> {
        let mut written = BTreeMap::new();
        let mut right: Vec<(String, Value)> = Vec::new();
        for (key, node) in file {
            if let Some(value) = self.setting(&key.text, node) {
                let label = axes::label(&key.text, node);
                written.insert(key.text.clone(), Written { value: value.clone(), label, place: node.place.clone() });
                right.push((key.text.clone(), value));
            }
        }
        let layer: Vec<(&str, &Value)> = right.iter().map(|(key, value)| (key.as_str(), value)).collect();
        self.base = layers::over(Figment::new(), "file", &layer);
        for change in overrides.iter().filter(|change| keys::exists(&change.key)) {
            let (key, node) = normal(&change.key, change.node.clone());
            let Some(value) = self.setting(&key, &node) else { continue };
            let label = axes::label(&key, &node);
            self.base = layers::over(std::mem::take(&mut self.base), change.layer, &[(&key, &value)]);
            let whole = keys::whole_setting(&key).to_owned();
            written.insert(whole, Written { value, label, place: node.place.clone() });
        }
        written
    }

    /// A setting of the base, checked against its type.
    fn setting(&mut self, key: &str, node: &Node) -> Option<Value> {
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

    fn name(&mut self, entry: Option<(Key, Node)>) -> Option<String> {
        let changed = self.overrides.iter().rev().find(|o| o.key == "name").map(|o| o.node.clone());
        let Some(node) = changed.or(entry.map(|(_, node)| node)) else {
            self.add(
                Problem::error("the experiment has no name")
                    .key("name")
                    .help("write `name: my-experiment` at the top of the file"),
            );
            return None;
        };
        let text = node.scalar().unwrap_or_default();
        let right = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if (1..=64).contains(&text.len())
            && text.starts_with(right)
            && text.chars().all(|c| right(c) || matches!(c, '.' | '_' | '-'))
        {
            return Some(text.to_owned());
        }
        let help =
            "a name is a folder under `runs/`: small letters, digits, `.`, `_` and `-`, a letter or digit first, at most 64";
        self.add(Problem::error(format!("{} cannot be a name", node.describe())).key("name").at(&node.place).help(help));
        None
    }

    fn text_of(&mut self, name: &str, entry: Option<(Key, Node)>) -> Option<String> {
        let changed = self.overrides.iter().rev().find(|o| o.key == name).map(|o| o.node.clone());
        let node = changed.or(entry.map(|(_, node)| node))?;
        match &node.value {
            Yaml::Scalar(text) => return Some(text.clone()),
            Yaml::Null => {}
            _ => {
                self.add(Problem::error(format!("`{name}` should be a text, not {}", node.describe())).key(name).at(&node.place))
            }
        }
        None
    }

    fn seeds(&mut self, entry: Option<(Key, Node)>) -> Option<Vec<u64>> {
        let changed = self.overrides.iter().rev().find(|o| o.key == "seeds").map(|o| o.node.clone());
        let node = changed.or(entry.map(|(_, node)| node))?;
        let wrong = |message: String, node: &Node| {
            Problem::error(message)
                .key("seeds")
                .at(&node.place)
                .help("`seeds: 3` means the seeds 1, 2, 3; a list names them: `seeds: [1, 7]`")
        };
        match &node.value {
            Yaml::Scalar(text) => match text::whole_number(text) {
                Some(n) if (1..=MOST_SEEDS).contains(&n) => return Some((1..=n).collect()),
                Some(n) if n > MOST_SEEDS => self.add(wrong(format!("{n} seeds are too many"), &node)),
                _ => self.add(wrong(format!("`seeds` should be a whole number from 1 up, not `{text}`"), &node)),
            },
            Yaml::List(items) if items.is_empty() => self.add(wrong("the list of seeds is empty".to_owned(), &node)),
            Yaml::List(items) => {
                let mut seeds: Vec<u64> = Vec::with_capacity(items.len());
                for item in items {
                    match item.scalar().and_then(text::whole_number) {
                        Some(seed) if seeds.contains(&seed) => self.add(wrong(format!("the seed {seed} stands twice"), item)),
                        Some(seed) => seeds.push(seed),
                        None => {
                            self.add(wrong(format!("a seed should be a whole number from 0 up, not {}", item.describe()), item))
                        }
                    }
                    if seeds.len() as u64 > MOST_SEEDS {
                        self.add(wrong("these are too many seeds".to_owned(), &node));
                        break;
                    }
                }
                return Some(seeds);
            }
            _ => self.add(wrong(format!("`seeds` should be a number or a list, not {}", node.describe()), &node)),
        }
        None
    }

    /// `let`: names of one's own with a value; lists are axes, and are read with them.
    fn names_of_ones_own(&mut self, entry: Option<(Key, Node)>) {
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
            if !matches!(Names::default().find(name), Ok(None)) || keys::TOP.contains(&name) || keys::SECTIONS.contains(&name) {
                let message = format!("`{name}` is the name of a setting: it cannot be one of one's own");
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

    fn override_ones_own(&mut self, overrides: &[Override]) {
        for change in overrides {
            if keys::exists(&change.key) || matches!(change.key.as_str(), "name" | "description" | "seeds") {
                continue;
            }
            match (self.own.iter_mut().find(|own| own.name == change.key), change.node.scalar()) {
                (Some(own), Some(text)) => {
                    own.value = Some(axes::datum(text));
                    text.clone_into(&mut own.label);
                }
                (Some(_), None) => {
                    let message = format!("`{}` should be a number or a word, not {}", change.key, change.node.describe());
                    self.add(Problem::error(message).key(&change.key).at(&change.node.place));
                }
                (None, _) => self.unknown(&Key { text: change.key.clone(), place: change.node.place.clone() }),
            }
        }
    }

    /// The number of a target that varies; reports one that may not, or is set in two places.
    fn target(&mut self, key: &Key, what: &str) -> Option<usize> {
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
                    problem.help("`evaluate`, `checkpoint` and `run` hold for the whole experiment: set it outside the axes"),
                );
                return None;
            }
        }
        let whole = if own.is_some() { name } else { keys::whole_setting(name) };
        let clash = self.set_at.iter().find(|(other, _)| {
            other.as_str() == name || (own.is_none() && keys::whole_setting(other) == whole && (*other == whole || name == whole))
        });
        if let Some((other, first)) = clash {
            let problem = Problem::error(format!("`{name}` is set twice: by `{other}` and by {what}")).key(name).at(&key.place);
            let problem = problem.label("here again").also(first, "here first").help("keep one of the two");
            self.add(problem);
            return None;
        }
        self.set_at.insert(name.to_owned(), key.place.clone());
        Some(self.number(name, own))
    }

    fn number(&mut self, key: &str, own: Option<usize>) -> usize {
        match self.targets.iter().position(|target| target.key == key) {
            Some(number) => number,
            None => {
                self.targets.push(Target { key: key.to_owned(), own });
                self.targets.len() - 1
            }
        }
    }

    /// All axes: those of `let`, of each grid, and of `zip`.
    fn grids(&mut self, top: &[(Key, Node)]) -> Vec<Block> {
        let get = |name: &str| top.iter().find(|(key, _)| key.text == name).map(|(_, node)| node);
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
            Some((_, Yaml::Map(entries))) => {
                let entries = entries.clone();
                grids.push(self.grid(&entries));
            }
            Some((_, Yaml::List(items))) if !items.is_empty() => {
                // Each grid may sweep the same settings as another one, but none that `let` or `zip` have.
                let before = self.set_at.clone();
                let mut all = before.clone();
                for item in items {
                    self.set_at.clone_from(&before);
                    match &item.value {
                        Yaml::Map(entries) => {
                            let entries = entries.clone();
                            grids.push(self.grid(&entries));
                        }
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

    fn grid(&mut self, entries: &[(Key, Node)]) -> Vec<Axis> {
        let mut axes = Vec::new();
        for (key, node) in entries {
            match &node.value {
                // `train: {batch_size: [8, 16]}` is as good as `train.batch_size: [8, 16]`.
                Yaml::Map(inner) if keys::SECTIONS.contains(&key.text.as_str()) && key.text != keys::TOKENIZER => {
                    let inner: Vec<(Key, Node)> = inner
                        .iter()
                        .map(|(k, n)| (Key { text: format!("{}.{}", key.text, k.text), place: k.place.clone() }, n.clone()))
                        .collect();
                    axes.extend(self.grid(&inner));
                }
                _ => axes.extend(self.axis(key, node, "`grid`")),
            }
        }
        axes
    }

    /// One axis.
    fn axis(&mut self, key: &Key, node: &Node, what: &str) -> Option<Axis> {
        let (key, wrap) = self.normal_key(key);
        let number = self.target(&key, what)?;
        let choices = self.choices(number, node, wrap)?;
        let name = &key.text;
        match choices.as_slice() {
            [] => {
                self.add(Problem::error(format!("the axis `{name}` has no values")).key(name).at(&node.place));
                return None;
            }
            [_] => {
                let problem = Problem::warning(format!("the axis `{name}` has only one value")).key(name).at(&node.place);
                self.add(problem.help(format!("set `{name}` outside the axes")));
            }
            _ => self.doubles(number, &choices, node),
        }
        let positions = choices.into_iter().map(|choice| vec![choice]).collect();
        Some(Axis { targets: vec![number], positions, place: key.place })
    }

    /// `train.budget.steps: [100, 200]` is an axis of whole budgets.
    #[expect(clippy::unused_self, reason = "reads like its neighbours")]
    fn normal_key(&self, key: &Key) -> (Key, Option<&'static str>) {
        match keys::block_part(&key.text) {
            Some((keys::BUDGET, unit)) => (Key { text: keys::BUDGET.to_owned(), place: key.place.clone() }, Some(unit)),
            _ => (key.clone(), None),
        }
    }

    /// The values of an axis: a list, a range, or one.
    fn choices(&mut self, number: usize, node: &Node, unit: Option<&str>) -> Option<Vec<Choice>> {
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

    fn each(&mut self, number: usize, target: &Target, nodes: &[Node], unit: Option<&str>) -> Option<Vec<Choice>> {
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
    fn doubles(&mut self, number: usize, choices: &[Choice], node: &Node) {
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

    fn zips(&mut self, node: &Node) -> Vec<Axis> {
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

    fn zip(&mut self, node: &Node) -> Option<Axis> {
        let Yaml::Map(entries) = &node.value else {
            let message = format!("an item of `zip` holds settings and their lists, not {}", node.describe());
            self.add(Problem::error(message).key("zip").at(&node.place));
            return None;
        };
        let mut columns: Vec<(Key, usize, Vec<Choice>)> = Vec::new();
        let mut complete = true;
        for (key, node) in entries {
            let (key, unit) = self.normal_key(key);
            let column = self.target(&key, "`zip`").and_then(|number| Some((number, self.choices(number, node, unit)?)));
            match column {
                Some((number, choices)) => columns.push((Key { place: node.place.clone(), ..key }, number, choices)),
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
        if length == 1 && unequal.is_empty() {
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

    fn points(&mut self, entry: Option<(Key, Node)>) -> Vec<Point> {
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
            for (key, value) in entries {
                let (key, unit) = self.normal_key(key);
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

    fn search(&mut self, key: &Key, node: &Node) -> Option<Search> {
        let Yaml::Map(entries) = &node.value else {
            let help = "write `search: {random: 40, train.learning_rate: {from: 1e-4, to: 1e-2, log: true}}`";
            self.add(Problem::error(format!("`search` holds settings, not {}", node.describe())).at(&node.place).help(help));
            return None;
        };
        let (mut draws, mut seed) = (None, 1);
        let mut dimensions = Vec::new();
        for (key, node) in entries {
            match key.text.as_str() {
                "random" => match node.scalar().and_then(text::whole_number) {
                    Some(n) if n > 0 => draws = Some(n),
                    _ => {
                        let message =
                            format!("`search.random` is how many to draw, a whole number from 1 up, not {}", node.describe());
                        self.add(Problem::error(message).key("search.random").at(&node.place));
                    }
                },
                "seed" => match node.scalar().and_then(text::whole_number) {
                    Some(n) => seed = n,
                    None => {
                        let message = format!("`search.seed` should be a whole number, not {}", node.describe());
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

    fn dimension(&mut self, key: &Key, node: &Node) -> Option<axes::Dimension> {
        let (key, unit) = self.normal_key(key);
        let number = self.target(&key, "`search`")?;
        let target = self.targets[number].clone();
        let name = unit.map_or(target.key.clone(), |unit| format!("{}.{unit}", target.key));
        let from = if axes::is_range(node) && unit.is_none() {
            let range = axes::range(&target.key, node, true);
            match self.take(range)? {
                axes::Range::Between { from, to, log } => {
                    let whole = target.own.is_none() && layers::is_whole(&target.key);
                    // Both ends must be values that the setting takes.
                    let ends = [from, to].map(|end| Node::made(text::write_number(end), &node.place));
                    self.each(number, &target, &ends, None)?;
                    axes::Drawn::Between { from, to, log, whole }
                }
                axes::Range::Values(values) => {
                    let nodes: Vec<Node> = values.iter().map(|v| Node::made(text::write_number(*v), &node.place)).collect();
                    axes::Drawn::Choices(self.each(number, &target, &nodes, None)?)
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

    /// Axes that the environment or `--set` replaced by one value.
    fn replaced_axes(&mut self, blocks: &mut [Block], points: &mut [Point], search: &mut Option<Search>) {
        let changes: Vec<Override> = self.overrides.clone();
        for change in &changes {
            let whole = keys::whole_setting(&change.key);
            let hit: Vec<usize> = (0..self.targets.len())
                .filter(|&t| {
                    self.targets[t].key == change.key
                        || (self.targets[t].own.is_none() && keys::whole_setting(&self.targets[t].key) == whole)
                })
                .collect();
            let mut replaced = false;
            for block in blocks.iter_mut() {
                for axis in &mut block.axes {
                    let before = axis.targets.len();
                    axis.targets.retain(|target| !hit.contains(target));
                    if axis.targets.len() < before {
                        replaced = true;
                        axis.positions.iter_mut().for_each(|row| row.retain(|choice| !hit.contains(&choice.target)));
                    }
                }
                block.axes.retain(|axis| !axis.targets.is_empty());
            }
            if let Some(search) = search {
                let before = search.dimensions.len();
                search.dimensions.retain(|dimension| !hit.contains(&dimension.target));
                replaced |= search.dimensions.len() < before;
            }
            for point in points.iter_mut() {
                let before = point.choices.len();
                point.choices.retain(|choice| !hit.contains(&choice.target));
                replaced |= point.choices.len() < before;
            }
            if replaced {
                let message = format!(
                    "`{}` is {} for all: {} replaces its axis",
                    change.key,
                    axes::label(&change.key, &change.node),
                    change.layer
                );
                self.add(Problem::note(message).key(&change.key).at(&change.node.place));
            }
        }
    }

    /// The type of each name of one's own, over all its values.
    fn kinds(&mut self, blocks: &[Block], search: Option<&Search>, points: &[Point]) -> Vec<(String, Kind)> {
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

    fn program(&mut self, node: &Node, key: &str, names: &Names) -> Option<Program> {
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

    fn derives(&mut self, entry: Option<(Key, Node)>, names: &Names, written: &BTreeMap<String, Written>) -> Vec<Derive> {
        let Some((_, node)) = entry else { return Vec::new() };
        let entries = match &node.value {
            Yaml::Map(entries) => entries.clone(),
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
        let mut derives: Vec<Derive> = Vec::new();
        for (key, node) in &entries {
            let overridden =
                self.overrides.iter().find(|o| keys::whole_setting(&o.key) == keys::whole_setting(&key.text)).cloned();
            if let Some(change) = overridden {
                let message = format!(
                    "`{}` is {} for all: {} replaces its `derive`",
                    key.text,
                    axes::label(&change.key, &change.node),
                    change.layer
                );
                self.add(Problem::note(message).key(&key.text).at(&change.node.place));
                continue;
            }
            if self.own.iter().any(|own| own.name == key.text) {
                let problem = Problem::error(format!("`{}` is a name of one's own: only settings are derived", key.text));
                self.add(problem.key(&key.text).at(&key.place));
                continue;
            }
            if let Some(number) =
                self.targets.iter().position(|t| t.own.is_none() && keys::whole_setting(&t.key) == keys::whole_setting(&key.text))
            {
                let swept = self.targets[number].key.clone();
                let problem = Problem::error(format!("`{}` is both swept and derived", key.text)).key(&key.text).at(&key.place);
                let problem = problem.label("derived here").help("keep one of the two");
                let problem = match self.set_at.get(&swept) {
                    Some(place) => problem.also(place, "swept here"),
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
    fn in_order(&mut self, mut waiting: Vec<Derive>, written: &BTreeMap<String, Written>) -> Vec<Derive> {
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

    fn excludes(&mut self, entry: Option<(Key, Node)>, names: &Names) -> Vec<Exclude> {
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

    /// Settings without a default.
    fn required(&mut self, experiment: &Experiment) {
        for (key, help) in [
            ("corpus.text", "write `corpus: {text: builtin:keeper}`, or a path beside the file"),
            (
                "train.budget",
                "write `train: {budget: {tokens: 1_000_000}}`, or an amount of `bytes`, `steps`, `epochs` or `minutes`",
            ),
        ] {
            let tried = self
                .problems
                .iter()
                .any(|p| p.severity == Severity::Error && p.key.as_deref().map(keys::whole_setting) == Some(key));
            if !tried && !experiment.always_sets(key) {
                self.add(Problem::error(format!("`{key}` is not set")).key(key).help(help));
            }
        }
    }

    /// Base settings that do not go together, where no axis can help.
    fn base_conflicts(&mut self, experiment: &Experiment) {
        if self.problems.iter().any(|p| p.severity == Severity::Error && p.key.as_deref().is_some_and(keys::exists)) {
            return;
        }
        for conflict in check::conflicts(&experiment.base) {
            let varies = |key: &str| experiment.targets.iter().any(|t| keys::whole_setting(&t.key) == key);
            let missing = |key: &str| !experiment.written.contains_key(key) && matches!(key, "corpus.text" | "train.budget");
            if conflict.keys.iter().any(|key| varies(key) || missing(key)) {
                continue;
            }
            let place = conflict.keys.iter().find_map(|key| experiment.written.get(*key)).map(|written| &written.place);
            let problem = Problem::error(conflict.message).key(conflict.keys[0]).maybe_help(conflict.help);
            self.add(match place {
                Some(place) => problem.at(place),
                None => problem,
            });
        }
    }

    /// Names of one's own that no expression reads.
    fn unread(&mut self, experiment: &Experiment) {
        let programs: Vec<&Arc<Program>> =
            experiment.derives.iter().map(|d| &d.program).chain(experiment.excludes.iter().map(|e| &e.program)).collect();
        for (index, own) in experiment.own.iter().enumerate() {
            if !programs.iter().any(|program| program.own().any(|read| read == index)) {
                let axis = experiment.targets.iter().any(|t| t.own == Some(index));
                let what = if axis { "the axis" } else { "the name" };
                let problem = Problem::warning(format!("nothing reads {what} `{}`", own.name)).at(&own.place);
                self.add(problem.help(format!("use it in `derive`: `train.learning_rate: {} * 2`", own.name)));
            }
        }
    }
}

/// Settings that follow another one where they are not set.
pub(super) const IMPLIED: &[(&str, &str)] =
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

/// `train.budget.steps: 100` is `train.budget: {steps: 100}`.
fn normal(key: &str, node: Node) -> (String, Node) {
    match keys::block_part(key) {
        Some((keys::BUDGET, unit)) => (keys::BUDGET.to_owned(), in_unit(unit, &node)),
        _ => (key.to_owned(), node),
    }
}

fn in_unit(unit: &str, node: &Node) -> Node {
    let key = Key { text: unit.to_owned(), place: node.place.clone() };
    Node { place: node.place.clone(), value: Yaml::Map(vec![(key, node.clone())]) }
}

/// The value of a derived setting as text that the setting reads.
pub(super) fn derived_value(key: &str, datum: &Datum) -> (String, Value) {
    let text = datum.to_string();
    let value = Value::String(Tag::Default, text.clone());
    match keys::block_part(key) {
        Some((keys::BUDGET, unit)) => {
            (keys::BUDGET.to_owned(), Value::Dict(Tag::Default, Dict::from([(unit.to_owned(), value)])))
        }
        _ => (key.to_owned(), value),
    }
}
