//! What the keys of an experiment file are, for `votive settings`.

use std::fmt::Write as _;

use comfy_table::presets::NOTHING;

use crate::experiment::reference::{Entry, Identity, Takes};
use crate::terminal::{self, Cells, Column, Look, Tone, wrapped};

/// Keys in a table: what each takes, its default, whether it is part of a trial's id (●), and what it is.
pub fn table(entries: &[&Entry], look: Look) -> String {
    let columns = [
        Column::new("setting", Cells::Whole),
        Column::new("id", Cells::Whole),
        Column::new("default", Cells::Words).keep(2),
        Column::new("what it is", Cells::Prose).keep(3),
        Column::new("takes", Cells::Words).keep(1),
    ];
    let row = |entry: &&Entry| {
        let mark = if entry.is_setting() && entry.identity != Identity::No { "●" } else { "" };
        let cells = [entry.key, mark, &entry.default_words(), entry.says, &entry.takes_words()].map(str::to_owned);
        (Tone::Plain, cells.to_vec())
    };
    let rows: Vec<_> = entries.iter().map(row).collect();
    let drawn = terminal::table(&columns, &rows, NOTHING, look);
    let note = "● part of a trial's id: another value makes another trial. One of them in full: `votive settings train.stride`.";
    format!("{}\n{}\n", drawn.text, wrapped(note, look.width))
}

/// One key in full.
pub fn one(entry: &Entry, look: Look) -> String {
    let mut text = format!("{}\n{}\n\n", entry.key, wrapped(entry.says, look.width));
    let mut line = |name: &str, words: &str| {
        let indent = " ".repeat(INDENT);
        let body = wrapped(words, look.width.map(|width| width.saturating_sub(INDENT).max(INDENT)));
        // Writing into a string does not fail.
        let _ = writeln!(text, "{name:<INDENT$}{}", body.replace('\n', &format!("\n{indent}")));
    };
    line("takes", &entry.takes_words());
    for (word, meaning) in entry.takes.iter().flat_map(words_of) {
        line("", &format!("`{word}`: {meaning}"));
    }
    line("default", &entry.default_words());
    line(
        "trial's id",
        &match entry.identity {
            Identity::Part => "part of it: another value makes another trial".to_owned(),
            Identity::Partly(how) => format!("part of it, {how}"),
            Identity::No => "no part of it: what was trained stays valid when it changes".to_owned(),
        },
    );
    if entry.is_setting() {
        line("sweep", entry.sweep_words());
    }
    line("example", &format!("`{}`", entry.example_line()));
    let others = entry.other_names();
    if !others.is_empty() {
        line("elsewhere", &format!("called {}", others.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")));
    }
    text
}

/// Columns of the names at the left.
const INDENT: usize = 13;

fn words_of(takes: &Takes) -> Vec<(&'static str, &'static str)> {
    match takes {
        Takes::Words(words) => words.to_vec(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::reference::{TABLE, entry};

    #[test]
    fn a_table_is_a_line_a_key_and_no_wider_than_the_terminal() {
        let all: Vec<&Entry> = TABLE.iter().collect();
        let plain = table(&all, Look::PLAIN);
        let line = plain.lines().find(|line| line.trim_start().starts_with("train.stride")).unwrap();
        assert!(line.contains("●") && line.contains("`sequence_length`") && line.contains("a whole number"), "{line}");
        for width in [40, 80, 120, 200] {
            let narrow = table(&all, Look { width: Some(width), colour: false });
            assert!(narrow.lines().all(|line| terminal::width_of(line) <= width), "{width}:\n{narrow}");
            assert!(TABLE.iter().all(|entry| narrow.contains(entry.key)));
        }
    }

    #[test]
    fn one_key_in_full() {
        insta::assert_snapshot!(one(entry("train.clip_norm").unwrap(), Look { width: Some(80), colour: false }), @r"
        train.clip_norm
        Largest norm that all gradients of a step may have together: larger ones are
        scaled down.

        takes        a number above 0, or `off`
                     `off`: the norm is only measured
        default      1
        trial's id   part of it: another value makes another trial
        sweep        yes: it may stand under `grid`
        example      `train: {clip_norm: 0.5}`
        elsewhere    called `max_grad_norm`, `grad_clip`, `gradient_clip_val`,
                     `gradient_clipping`, `clip`, `clip_grad_norm`, `max_norm`
        ");
    }
}
