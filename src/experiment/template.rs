//! A commented experiment file to begin with.

use super::show::quoted;
use crate::words::thousands;

/// The text that such a file is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// What it names its experiment.
    pub name: String,
    /// What `corpus.text` says.
    pub text: String,
    /// The field of each row, where the text lies in rows.
    pub field: Option<String>,
    /// Bytes of all of it, about.
    pub bytes: u64,
}

/// A text of fewer bytes gets short windows, so that its held-out tenth has some.
const SHORT: u64 = 10_000;
/// From so many bytes on byte-pair encoding has enough to learn from, and characters make windows of few words.
const LONG: u64 = 1_000_000;

/// Columns before the comments.
const INDENT: usize = 44;

/// A commented experiment file about a text: eight small trainings that end in minutes.
pub fn template(subject: &Subject) -> String {
    let Subject { name, text, field, bytes } = subject;
    let (tokenizer, budget) = match *bytes {
        LONG.. => ("{kind: bpe, vocab_size: 1024}", 500_000),
        bytes => ("{kind: char}", (bytes * 3 / 10_000 * 10_000).clamp(20_000, 400_000)),
    };
    let (short, long) = if *bytes < SHORT { (8, 16) } else { (32, 64) };
    let budget = thousands(budget).replace(',', "_");
    let field = field.as_ref().map(|field| (format!("  field: {}", quoted(field)), "the field of each row that holds the text"));
    let mut lines = vec![
        (
            String::new(),
            "Every setting: `votive settings`. Sweeps, files, statistics: `votive guide`. Editors: `votive schema --help`.",
        ),
        (format!("name: {name}"), ""),
        ("description: What do window, batch and clipping do on this text?".to_owned(), ""),
        (String::new(), ""),
        ("corpus:".to_owned(), ""),
        (format!("  text: {}", quoted(text)), "a path, a pattern such as \"books/*.txt\", or a list; relative to this file"),
    ];
    lines.extend(field);
    let rest: &[(&str, &str)] = &[
        ("  validation: 0.1", "the last tenth is held out: it ranks the configurations"),
        (&format!("tokenizer: {tokenizer}"), "one of char, byte, word, bpe, file"),
        ("model:", ""),
        ("  family: gpt2", "or llama"),
        ("  layers: 2", ""),
        ("  heads: 4", ""),
        ("  width: 96", "a multiple of heads"),
        ("train:", ""),
        ("  learning_rate: 3e-3", "at its peak, after warm-up"),
        (&format!("  budget: {{tokens: {budget}}}"), "of every trial; or bytes, steps, epochs, minutes"),
        ("", ""),
        ("grid:", "every combination of these lists is trained"),
        (&format!("  train.sequence_length: [{short}, {long}]"), "tokens the model can look at at once: the window"),
        ("  train.batch_size: [8, 16]", "windows in one step"),
        ("  train.clip_norm: [off, 1.0]", "longest that all gradients together may be; off only measures it"),
        (&format!("  # train.stride: [{short}, {long}]"), "how far the window moves on; without it, its own length"),
        ("  # train.learning_rate: [1e-3, 3e-3, 1e-2]", ""),
        ("  # model.dropout: [0.0, 0.1]", ""),
        ("", ""),
        ("seeds: 1", "3: each from three seeds, so that differences can be told from chance"),
        ("# run: {until: \"07:00\"}", "end by then; the same command goes on the next evening"),
    ];
    lines.extend(rest.iter().map(|(line, comment)| ((*line).to_owned(), *comment)));
    let written = lines.iter().map(|(line, comment)| match (line.as_str(), *comment) {
        (line, "") => format!("{line}\n"),
        ("", comment) => format!("# {comment}\n"),
        (line, comment) => format!("{line:<INDENT$}# {comment}\n"),
    });
    let first = format!("# `votive plan {name}.yaml` shows these trials, `votive run {name}.yaml` trains them.\n");
    first + &written.collect::<String>()
}
