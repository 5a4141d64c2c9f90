//! The tree of a file becomes an [`Experiment`]: every problem is collected, none stops the reading.

mod base;
mod grid;
mod points;
mod rules;
mod tune;
mod whole;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use figment::Figment;

use super::axes::{Block, Target};
use super::definition::{Experiment, Own};
use super::keys;
use super::layers;
use super::names::Names;
use super::overrides::{self, Override, Overrides};
use super::problem::{Place, Problem, Problems, Severity, Source};
use super::settings::Settings;
use super::text;
use super::yaml::{self, Key, Node, Yaml};

pub(super) use rules::{IMPLIED, derived_value};

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
    if size.is_dir() {
        let problem = Problem::error(format!("`{name}` is a folder, and an experiment file is needed"));
        return Err(refuse(problem.help("name its YAML file; `votive status` and `votive report` take the folder of a run")));
    }
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
    if tree.value == Yaml::Null {
        return Err(refuse(Problem::error("the file is empty")));
    }
    let Yaml::Map(entries) = tree.value else {
        let message = format!("the file holds {} at its top, not keys such as `name:` and `train:`", tree.describe());
        return Err(refuse(Problem::error(message).at(&tree.place)));
    };
    let mut reader = Reader::default();
    let experiment = reader.experiment(entries, folder, text, overrides);
    let mut problems = reader.problems;
    problems.sort_by_key(|p| {
        p.place.as_ref().map_or((2, 0), |place| if place.source.name == name { (0, place.offset) } else { (1, 0) })
    });
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

/// Whether anything is crossed.
fn has_axes(blocks: &[Block]) -> bool {
    blocks.iter().any(|block| !block.axes.is_empty())
}

/// What a mapping holds, in its order.
type Entries = Vec<(Key, Node)>;

#[derive(Default)]
struct Reader {
    problems: Vec<Problem>,
    targets: Vec<Target>,
    /// Where each target that varies is set, to tell of a second place.
    set_at: BTreeMap<String, (Place, String)>,
    own: Vec<Own>,
    overrides: Vec<Override>,
    base: Figment,
    /// Whether what stands outside the axes of the grid holds for nothing else.
    one_grid: bool,
}

impl Reader {
    fn add(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    fn take<T>(&mut self, result: Result<T, Problem>) -> Option<T> {
        result.map_err(|problem| self.add(problem)).ok()
    }

    fn experiment(&mut self, entries: Entries, folder: &Path, text: &str, overrides: &Overrides) -> Option<Experiment> {
        let (mut overrides, problems) = overrides::read(overrides);
        self.problems.extend(problems);
        let (top, file) = self.parted(entries);
        let get = |name: &str| top.iter().find(|(key, _)| key.text == name).map(|(key, node)| (key.clone(), node.clone()));
        if let Some((key, _)) = get("confirm") {
            self.refuse_confirm(&key);
        }
        self.names_of_ones_own(get("let"));
        self.override_ones_own(&mut overrides);
        let written = self.base_settings(&file, &overrides);
        self.overrides = overrides;

        let name = self.name(get("name"));
        let description = self.text_of("description", get("description"));
        let seeds = self.seeds(get("seeds"));
        let mut blocks = self.grids(&top);
        let mut search = get("search").and_then(|(key, node)| self.search(&key, &node));
        if search.is_some() && has_axes(&blocks) {
            self.refuse_axes_beside_search(&get("search")?.0);
        }
        let mut points = self.points(get("points"));
        // One value over the last axis leaves its block one combination, which the points do not have.
        let had_axes = has_axes(&blocks);
        self.replaced_axes(&mut blocks, &mut points, &mut search);
        let points_alone = !points.is_empty() && !had_axes && !has_axes(&blocks);
        let kinds = self.kinds(&blocks, search.as_ref(), &points);
        let names = Names::with(kinds);
        let derives = self.derives(get("derive"), &names, &written);
        let excludes = self.excludes(get("exclude"), &names);
        let tune = self.tune(get("tune"), &blocks, search.as_ref(), &points, &derives);

        let seeds = seeds.unwrap_or_else(|| vec![1]);
        let base = self.base();
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
            points_alone,
            derives,
            excludes,
            tune,
            overrides: std::mem::take(&mut self.overrides),
        };
        self.required(&experiment);
        self.base_conflicts(&experiment);
        self.unread(&experiment);
        Some(experiment)
    }

    fn refuse_confirm(&mut self, key: &Key) {
        let problem = Problem::error("`confirm` is not supported yet: fresh seeds for the leaders come later").key("confirm");
        self.add(problem.at(&key.place).help("take it out; `grid` and `seeds` do the rest"));
    }

    fn refuse_axes_beside_search(&mut self, key: &Key) {
        let problem = Problem::error("`search` stands in place of `grid`, `zip` and lists under `let`");
        self.add(problem.at(&key.place).help("move the other axes into `search`: a list there is drawn from"));
    }

    /// The keys that stand at the top of a file, and the settings in its sections.
    fn parted(&mut self, entries: Entries) -> (Entries, Entries) {
        let (mut top, mut settings) = (Vec::new(), Vec::new());
        for (key, node) in self.without_duplicates(entries) {
            let name = key.text.as_str();
            if keys::TOP.contains(&name) {
                top.push((key, node));
            } else if !name.starts_with(keys::PASSED_OVER) {
                self.section(&key, node, &mut settings);
            }
        }
        (top, settings)
    }

    /// The settings below the axes; the defaults where they are wrong, which is reported.
    fn base(&mut self) -> Settings {
        match layers::extract(&self.base) {
            Ok(base) => base,
            Err(_) if self.problems.iter().any(|p| p.severity == Severity::Error) => Settings::default(),
            Err(misfit) => {
                self.add(Problem::error(format!("the settings {}", misfit.message)).maybe_help(misfit.help));
                Settings::default()
            }
        }
    }

    /// Reports keys that stand twice in a mapping, and keeps the first.
    fn without_duplicates(&mut self, entries: Entries) -> Entries {
        let mut kept: Entries = Vec::with_capacity(entries.len());
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

    fn unknown(&mut self, key: &Key) {
        let problem = Problem::error(keys::unknown(&key.text)).key(&key.text).at(&key.place);
        let near_own = keys::nearest(&key.text, self.own.iter().map(|own| own.name.as_str()));
        let help = near_own.map_or_else(|| keys::advice(&key.text), |name| format!("did you mean `{name}`?"));
        self.add(problem.help(help));
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
            Yaml::Scalar(text) => match text::whole_within(text, 1, MOST_SEEDS) {
                Ok(n) => return Some((1..=n).collect()),
                Err(expected) => self.add(wrong(format!("`seeds` should be {expected}, not {}", node.describe()), &node)),
            },
            Yaml::List(items) if items.is_empty() => self.add(wrong("the list of seeds is empty".to_owned(), &node)),
            Yaml::List(items) => {
                let (mut seeds, mut seen): (Vec<u64>, BTreeSet<u64>) = (Vec::with_capacity(items.len()), BTreeSet::new());
                for item in items {
                    match text::whole_within(item.scalar().unwrap_or_default(), 0, text::LARGEST) {
                        Ok(seed) if !seen.insert(seed) => self.add(wrong(format!("the seed {seed} stands twice"), item)),
                        Ok(seed) => seeds.push(seed),
                        Err(expected) => self.add(wrong(format!("a seed should be {expected}, not {}", item.describe()), item)),
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
}
