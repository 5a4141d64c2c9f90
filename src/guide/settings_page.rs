//! The page of settings, made from their table.

use std::fmt::Write as _;

use crate::experiment::reference::{Entry, Identity, TABLE};

/// The parts of a file, and what they are about.
const SECTIONS: &[(&str, &str)] = &[
    ("", "Which trials there are: `votive guide sweeps` has each of these with an example."),
    ("corpus", "The text and its parts."),
    ("tokenizer", "How text becomes tokens."),
    ("model", "What is trained."),
    ("train", "How it is trained."),
    ("evaluate", "How a trial is scored. These hold for the whole experiment."),
    ("checkpoint", "What is kept. These hold for the whole experiment."),
    ("run", "Where and when trials run. These hold for the whole experiment."),
    ("report", "What the report says. It holds for the whole experiment."),
];

const INTRODUCTION: &str = "\
# Settings

Every key of an experiment file. `name`, `corpus.text` and `train.budget` must be written; everything else has a default. A key with ●
is part of a trial's id: another value makes another trial. `votive settings train.stride` tells one in full, with an example and with
what other programs call it.

Values are read by the setting they are for: `1e-4`, `20_000`, `off`, `no` mean what they say. A key may be written in its section
(`train: {stride: 64}`) or by its full name (`train.stride: 64`). `votive schema` writes the JSON Schema by which editors complete and
check a file.
";

/// The page as Markdown.
pub fn settings_page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for (section, about) in SECTIONS {
        let heading = if section.is_empty() { "The top of the file".to_owned() } else { format!("`{section}`") };
        // Writing into a string does not fail.
        let _ = write!(page, "\n## {heading}\n\n{about}\n\n| key | takes | default | what it is |\n| --- | --- | --- | --- |\n");
        for entry in TABLE.iter().filter(|entry| entry.section() == *section) {
            page.push_str(&row(entry));
        }
    }
    page
}

fn row(entry: &Entry) -> String {
    let mark = if entry.is_setting() && entry.identity != Identity::No { " ●" } else { "" };
    format!("| `{}`{mark} | {} | {} | {} |\n", entry.key, entry.takes_words(), entry.default_words(), entry.says)
}
