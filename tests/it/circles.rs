//! The files of a room use each other in one direction only: none uses a file that uses it, however long the way round.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

use crate::layering::{code, rust_files};

/// A module by its place: `runner`, `alias`.
type Module = Vec<String>;

/// A path that a file writes.
struct Written {
    path: Vec<String>,
    /// The name that it has in the file from there on; none for a path in the midst of code.
    name: Option<String>,
    /// Whether the file hands it on.
    exported: bool,
}

/// Words, `::`, and single signs.
fn tokens(code: &str) -> Vec<&str> {
    let (mut tokens, mut rest) = (Vec::new(), code.trim_start());
    while let Some(first) = rest.chars().next() {
        let length = match rest.find(|c: char| !c.is_alphanumeric() && c != '_') {
            _ if rest.starts_with("::") => 2,
            Some(0) => first.len_utf8(),
            Some(length) => length,
            None => rest.len(),
        };
        tokens.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    tokens
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Reads one branch of what a `use` names, and where it ends.
fn branch(tokens: &[&str], mut at: usize, mut path: Vec<String>, exported: bool, into: &mut Vec<Written>) -> usize {
    loop {
        match tokens[at] {
            "{" => {
                at += 1;
                while tokens[at] != "}" {
                    at = branch(tokens, at, path.clone(), exported, into);
                    at += usize::from(tokens[at] == ",");
                }
                return at + 1;
            }
            "*" => return at + 1,
            "::" => at += 1,
            name => {
                if name != "self" || path.is_empty() {
                    path.push(name.to_owned());
                }
                at += 1;
                if tokens[at] != "::" {
                    let alias = (tokens[at] == "as").then(|| tokens[at + 1].to_owned());
                    at += 2 * usize::from(alias.is_some());
                    into.push(Written { name: alias.or_else(|| path.last().cloned()), path, exported });
                    return at;
                }
            }
        }
    }
}

/// Every path of a file that leads out of it, and all words outside of `use`.
fn written(code: &str) -> (Vec<Written>, HashSet<&str>) {
    let tokens = tokens(code);
    let (mut all, mut words, mut at) = (Vec::new(), HashSet::new(), 0);
    // How deep in braces it is, and how deep the modules in the file were opened.
    let (mut depth, mut inner) = (0, Vec::new());
    while at < tokens.len() {
        let before = |back: usize| at.checked_sub(back).map_or("", |place| tokens[place]);
        let known = all.len();
        if tokens[at] == "mod" {
            if tokens.get(at + 2) == Some(&"{") {
                inner.push(depth);
            }
            // A declaration is no use.
            at += 2;
        } else if tokens[at] == "use" {
            let exported = before(1) == "pub" || before(1) == ")";
            at = branch(&tokens, at + 1, Vec::new(), exported, &mut all);
        } else if is_name(tokens[at]) {
            let visibility = [before(3), before(2), before(1)] == ["pub", "(", "in"];
            words.insert(tokens[at]);
            let mut path = vec![tokens[at].to_owned()];
            while tokens.get(at + 1) == Some(&"::") && tokens.get(at + 2).is_some_and(|token| is_name(token)) {
                at += 2;
                words.insert(tokens[at]);
                path.push(tokens[at].to_owned());
            }
            // How far something can be seen is no use.
            if path.len() > 1 && !visibility {
                all.push(Written { path, name: None, exported: false });
            }
            at += 1;
        } else {
            depth += usize::from(tokens[at] == "{");
            if tokens[at] == "}" {
                depth = depth.saturating_sub(1);
                inner.pop_if(|opened| *opened == depth);
            }
            at += 1;
        }
        if !inner.is_empty() {
            let outwards = |one: &Written| one.path.iter().take_while(|name| *name == "super").count() > inner.len();
            let new = all.split_off(known).into_iter().filter(|one| one.path[0] == "crate" || outwards(one));
            all.extend(new.map(|one| {
                let inwards = if one.path[0] == "crate" { 0 } else { inner.len() };
                Written { path: one.path[inwards..].to_vec(), ..one }
            }));
        }
    }
    (all, words)
}

/// The file without the tests in it.
fn without_tests(text: &str) -> String {
    let text = code(text);
    let place = text.match_indices("#[cfg(test)]").map(|(place, _)| place).find(|&place| {
        let item = text[place..].lines().nth(1).unwrap_or_default();
        item.contains("mod ") && item.ends_with('{')
    });
    text[..place.unwrap_or(text.len())].to_owned()
}

/// Every module of the program but its tests, with its code.
fn modules() -> BTreeMap<Module, String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files: Vec<PathBuf> = Vec::new();
    rust_files(&source, &mut files);
    let module = |file: PathBuf| {
        let place = file.strip_prefix(&source).ok()?.with_extension("");
        let mut module: Module = place.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        let last = module.last()?.clone();
        if last == "mod" {
            module.pop();
        }
        let is_test = last == "tests" || last.ends_with("_tests");
        (!is_test && last != "lib" && last != "main").then(|| (module, without_tests(&fs::read_to_string(&file).unwrap())))
    };
    files.into_iter().filter_map(module).collect()
}

/// A path as it is from the top of the crate on; `None` where it does not begin with a module of it.
fn absolute(path: &[String], from: &Module, modules: &BTreeMap<Module, String>) -> Option<Module> {
    let ups = path.iter().take_while(|name| *name == "super").count();
    match path[0].as_str() {
        "crate" => Some(path[1..].to_vec()),
        "self" => Some([from, &path[1..]].concat()),
        "super" => Some([&from[..from.len().checked_sub(ups)?], &path[ups..]].concat()),
        child => modules.contains_key(&[from.as_slice(), &[child.to_owned()]].concat()).then(|| [from, path].concat()),
    }
}

/// The module in which what a path names is written down, wherever else it is handed on.
fn home(path: &[String], names: &HashMap<(Module, String), Module>, modules: &BTreeMap<Module, String>) -> Option<Module> {
    let length = (1..=path.len()).rev().find(|&length| modules.contains_key(&path[..length]))?;
    let (module, rest) = path.split_at(length);
    let handed_on = rest.first().and_then(|name| names.get(&(module.to_vec(), name.clone())));
    match handed_on {
        Some(from) if from != path => home(&[from.as_slice(), &rest[1..]].concat(), names, modules),
        _ => Some(module.to_vec()),
    }
}

/// Which modules of its own room each module uses.
fn uses(modules: &BTreeMap<Module, String>) -> BTreeMap<Module, BTreeSet<Module>> {
    let files: Vec<_> = modules.iter().map(|(module, code)| (module, written(code))).collect();
    let mut names = HashMap::new();
    for (module, (all, _)) in &files {
        for one in all {
            if let (Some(name), Some(path)) = (&one.name, absolute(&one.path, module, modules)) {
                names.insert(((*module).clone(), name.clone()), path);
            }
        }
    }
    let used = files.iter().map(|(module, (all, words))| {
        // What is only handed on is not used.
        let counts = |one: &&Written| !one.exported || one.name.as_deref().is_some_and(|name| words.contains(name));
        let homes = all.iter().filter(counts).filter_map(|one| home(&absolute(&one.path, module, modules)?, &names, modules));
        ((*module).clone(), homes.filter(|home| home[0] == module[0] && home != *module).collect())
    });
    used.collect()
}

/// The shortest way from a module back to it.
fn circle(from: &Module, uses: &BTreeMap<Module, BTreeSet<Module>>) -> Option<Vec<Module>> {
    let (mut came, mut next) = (BTreeMap::<&Module, &Module>::new(), VecDeque::from([from]));
    while let Some(module) = next.pop_front() {
        for used in &uses[module] {
            if used == from {
                let mut way = vec![from.clone(), module.clone()];
                while let Some(&before) = came.get(&way[way.len() - 1]) {
                    way.push(before.clone());
                }
                way.reverse();
                return Some(way);
            }
            if !came.contains_key(used) {
                came.insert(used, module);
                next.push_back(used);
            }
        }
    }
    None
}

#[test]
fn files_of_a_room_use_each_other_in_one_direction() {
    let uses = uses(&modules());
    assert!(uses.values().map(BTreeSet::len).sum::<usize>() > 400, "hardly any file is found to use another");
    let circles: BTreeSet<String> = uses
        .keys()
        .filter_map(|module| circle(module, &uses))
        .map(|way| way.iter().map(|module| module.join("/")).collect::<Vec<_>>().join(" → "))
        .collect();
    assert!(circles.is_empty(), "these use each other:\n{}", circles.into_iter().collect::<Vec<_>>().join("\n"));
}

#[test]
fn what_a_file_uses_is_found_where_it_is_written_down() {
    let module = |path: &str| path.split('/').map(str::to_owned).collect::<Module>();
    let modules: BTreeMap<Module, String> = [
        ("room", "mod a;\nmod b;\nmod c;\npub use a::{A, Other as Renamed};\npub use b::*;\nfn f(_: &A) {}"),
        ("room/a", "pub struct A;\npub struct Other;"),
        ("room/b", "use super::{A, c::{self, C}};\nfn f() { super::c::g() }"),
        (
            "room/c",
            "use crate::room::Renamed;\nuse crate::elsewhere::Thing;\nmod inner { use super::Renamed; use super::super::d::D; }",
        ),
        ("room/d", "pub(in crate::room) struct D;"),
        ("elsewhere", "pub struct Thing;"),
    ]
    .into_iter()
    .map(|(path, code)| (module(path), code.to_owned()))
    .collect();
    let uses = uses(&modules);
    let of = |path: &str| uses[&module(path)].iter().map(|used| used.join("/")).collect::<Vec<_>>();
    assert_eq!(of("room"), ["room/a"], "`A` is used, and `Other` only handed on");
    assert_eq!(of("room/b"), ["room/a", "room/c"]);
    assert_eq!(of("room/c"), ["room/a", "room/d"], "by the name that the room gives it, and nothing of another room");
    assert_eq!(of("room/d"), [""; 0], "where it can be seen is not what it uses");
    assert_eq!(circle(&module("room/b"), &uses), None);
    let round = BTreeMap::from([
        (module("a"), BTreeSet::from([module("b")])),
        (module("b"), BTreeSet::from([module("c")])),
        (module("c"), BTreeSet::from([module("a")])),
    ]);
    assert_eq!(circle(&module("a"), &round), Some(vec![module("a"), module("b"), module("c"), module("a")]));
}
