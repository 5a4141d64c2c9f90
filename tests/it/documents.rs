//! README and guide: every YAML and shell example is run by the program. SQL and Python examples are run by
//! `scripts/check_documents.py`, in `.ci/run`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{SMALL, Said, Scene};

/// What a YAML example leaves to the file around it, by the key that begins each.
const AROUND: &[(&str, &str)] = &[
    ("name:", "name: example\n"),
    ("corpus:", "corpus: {text: builtin:keeper, max_bytes: 40_000}\n"),
    ("model:", "model: {layers: 1, heads: 2, width: 16}\n"),
    ("train:", "train: {budget: {tokens: 5_000}}\n"),
];

/// Shell examples run with this, so that what they start ends in moments.
const SHORT: [(&str, &str); 4] = [
    ("VOTIVE_SET__TRAIN__BUDGET", "{tokens: 3000}"),
    ("VOTIVE_SET__EVALUATE__MAX_BYTES", "3000"),
    ("VOTIVE_SET__MODEL__LAYERS", "1"),
    ("VOTIVE_SET__MODEL__WIDTH", "16"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README and guide, each with its text.
fn pages() -> Vec<(String, String)> {
    let mut files: Vec<PathBuf> = fs::read_dir(root().join("src/guide")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == "md"));
    files.sort();
    files.insert(0, root().join("README.md"));
    let named = |file: PathBuf| (file.file_name().unwrap().to_string_lossy().into_owned(), fs::read_to_string(&file).unwrap());
    files.into_iter().map(named).collect()
}

/// The examples of a page in this language.
fn examples(text: &str, language: &str) -> Vec<String> {
    let parts = text.split("\n```").collect::<Vec<_>>();
    let of_language = |part: &&&str| part.lines().next() == Some(language);
    parts.iter().filter(of_language).map(|part| part[language.len()..].trim_start_matches('\n').to_owned() + "\n").collect()
}

/// A folder with what the examples name: texts, the experiments, a model to start from.
fn surroundings() -> Scene {
    let scene = Scene::new(SMALL);
    let text = "The keeper lit the lamp at dusk, and the sea was quiet. ".repeat(12) + "\n\n";
    fs::create_dir_all(scene.path().join("books")).unwrap();
    for name in ["notes.txt", "held-out.txt", "books/one.txt", "books/two.txt"] {
        // No two files are the same text.
        scene.put(name, format!("{name}\n\n{}", text.repeat(40)));
    }
    fs::create_dir_all(scene.path().join("experiments")).unwrap();
    for entry in fs::read_dir(root().join("experiments")).unwrap().flatten().filter(|entry| entry.path().is_file()) {
        fs::copy(entry.path(), scene.path().join("experiments").join(entry.file_name())).unwrap();
    }
    scene
}

#[test]
fn every_yaml_example_is_right() {
    let scene = surroundings();
    let mut count = 0;
    for (page, text) in pages() {
        for yaml in examples(&text, "yaml") {
            // A folder to start from is not made here: `tests/it/start.rs` does that.
            let starts_from = yaml.contains("from: ../models");
            let said = |key: &str| yaml.lines().any(|line| line.starts_with(key));
            let around: String = AROUND.iter().filter(|(key, _)| !said(key)).map(|(_, text)| *text).collect();
            let around = if yaml.contains("budget: {bytes") { around.replace("{budget: {tokens: 5_000}}", "{}") } else { around };
            scene.put("example.yaml", format!("{around}{yaml}"));
            let checked = scene.votive(&["check", "example.yaml"]);
            if starts_from {
                checked.exits(2).says("../models/gpt2");
            } else {
                assert_eq!(checked.code(), 0, "{page}:\n{yaml}\n{}", checked.err);
                assert!(!checked.err.contains("warning"), "{page}:\n{yaml}\n{}", checked.err);
            }
            count += 1;
        }
    }
    assert!(count > 15, "{count}");
}

#[test]
fn every_shell_example_runs() {
    let program = Path::new(env!("CARGO_BIN_EXE_votive")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let first = surroundings();
    let mut command = first.command(&["run", "experiments/quickstart.yaml", "--no-probe"]);
    Said::of(command.envs(SHORT).output().unwrap()).exits(0);
    let mut count = 0;
    for (page, text) in pages() {
        let examples = examples(&text, "sh");
        if examples.is_empty() {
            continue;
        }
        let scene = surroundings();
        let copied = Command::new("cp").arg("-r").arg(first.path().join("runs")).arg(scene.path()).status().unwrap();
        assert!(copied.success());
        for example in examples {
            let mut shell = Command::new("bash");
            shell.args(["-euo", "pipefail", "-c", &example]).current_dir(scene.path()).env("PATH", &path);
            shell.env("HOME", scene.path()).envs(SHORT).env("CUDA_VISIBLE_DEVICES", "");
            let output = shell.output().unwrap();
            let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
            assert!(output.status.success(), "{page}:\n{example}\n{}\n{}", said[0], said[1]);
            count += 1;
        }
    }
    assert!(count > 8, "{count}");
}

#[test]
fn the_readme_is_short_and_links_to_what_there_is() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.lines().count() <= 150, "{} lines", readme.lines().count());
    for part in readme.split("](").skip(1) {
        let link = part.split(')').next().unwrap();
        assert!(link.starts_with("http") || root().join(link).exists(), "{link}");
    }
}

#[test]
fn the_guide_lists_its_pages_shows_each_and_names_the_nearest() {
    let scene = Scene::new(SMALL);
    let list = scene.votive(&["guide"]).exits(0);
    for (page, text) in pages().into_iter().skip(1) {
        let name = page.trim_end_matches(".md");
        assert!(list.out.lines().any(|line| line.trim_start().starts_with(name)), "{name}: {}", list.out);
        assert_eq!(scene.votive(&["guide", name]).exits(0).out, text, "off a terminal a page is its Markdown");
    }
    scene.votive(&["guide", "gpu"]).exits(0).says("# Devices and GPUs");
    scene.votive(&["guide", "sweep"]).exits(0).says("# Sweeps");
    scene.votive(&["guide", "statistic"]).exits(0).says("# Which differences are real");
    scene.votive(&["guide", "clippping"]).exits(2).says("hint: did you mean `votive guide clipping`?");
    scene.votive(&["guide", "zzzzzz"]).exits(2).says("hint: `votive guide` lists its pages");
}

#[test]
fn every_command_has_a_man_page() {
    let scene = Scene::new(SMALL);
    scene.votive(&["man"]).exits(0).says(".TH votive 1").says("Exit codes");
    scene.votive(&["man", "run"]).exits(0).says(".TH votive-run 1").says("max\\-trials");
    scene.votive(&["man", "rum"]).exits(2).says("hint: did you mean `votive run`?");
    scene.votive(&["man", "--into", "man1"]).exits(0).says("pages into man1");
    let help = scene.votive(&["--help"]).exits(0).out;
    let commands =
        help.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1).take_while(|line| !line.trim().is_empty());
    let named = commands
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next());
    let mut count = 0;
    for command in named.filter(|command| *command != "help") {
        assert!(scene.path().join(format!("man1/votive-{command}.1")).exists(), "{command}");
        scene.votive(&[command, "--help"]).exits(0).says("Usage: votive");
        count += 1;
    }
    assert!(count >= 15, "{count}: {help}");
}

#[test]
fn nothing_asked_for_is_answered_with_where_to_begin() {
    let said = Scene::new(SMALL).votive(&[]).exits(2);
    for word in ["votive new", "votive plan", "votive run", "votive guide", "votive --help"] {
        assert!(said.err.contains(word), "{}", said.err);
    }
}

#[test]
fn new_writes_a_file_that_is_right_as_it_is() {
    let scene = surroundings();
    scene.put("rows.jsonl", "{\"id\": \"a\", \"body\": \"The keeper lit the lamp at dusk.\"}\n".repeat(200));
    for (text, file) in [
        ("notes.txt", "notes.yaml"),
        ("builtin:keeper", "keeper.yaml"),
        ("rows.jsonl", "rows.yaml"),
        ("books/*.txt", "experiment.yaml"),
    ] {
        scene.votive(&["new", text]).exits(0).says(&format!("wrote {file}"));
        scene.votive(&["check", file]).exits(0).says("8 configurations, 8 trials").says_nothing_of("warning");
        scene.votive(&["plan", file]).exits(0).says("8 trials").says_nothing_of("warning");
    }
    assert!(fs::read_to_string(scene.path().join("rows.yaml")).unwrap().contains("field: body"));
    let before = fs::read_to_string(scene.path().join("notes.yaml")).unwrap();
    scene.votive(&["new", "notes.txt"]).exits(2).says("`--into`");
    assert_eq!(fs::read_to_string(scene.path().join("notes.yaml")).unwrap(), before);
    scene.votive(&["new", "notes.txt", "--into", "experiments/mine.yaml"]).exits(0);
    scene.votive(&["plan", "experiments/mine.yaml"]).exits(0).says("8 trials");
    scene.votive(&["new", "nowhere.txt"]).exits(2).says("nowhere.txt does not exist").says("hint: name a file that is there");
    scene.votive(&["new", "nowhere/*.txt"]).exits(2).says("no file matches").says("hint: name a file that is there");
    scene.votive(&["new", "books"]).exits(2).says("in quotes: 'books/*.txt'");
    scene.put("short.txt", "A lamp.\n");
    scene.votive(&["new", "short.txt"]).exits(2).says("too few to learn from");
}

#[test]
fn the_columns_that_the_guide_names_are_those_of_the_files() {
    let guide = fs::read_to_string(root().join("src/guide/files.md")).unwrap();
    for schema in votive::record::schemas() {
        let line = guide.lines().find(|line| line.starts_with(&format!("| `{}` |", schema.name))).expect(schema.name);
        let named: Vec<&str> = line.split('|').nth(2).unwrap().trim().split(", ").collect();
        let columns: Vec<&str> = schema.columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(named, columns, "{}", schema.name);
    }
}
