//! The guide: what somebody needs who uses Votive. `votive guide TOPIC` shows its pages in a terminal, and here they are part of the
//! documentation.
//!
//! Every YAML and shell example (` ```yaml `, ` ```sh `) is run by `tests/it/documents.rs`, every SQL and Python example by
//! `scripts/check_documents.py`, with DuckDB, pandas and polars. What is shown and not run is ` ```text ` or ` ```ini `.

mod settings_page;

use std::borrow::Cow;

pub use settings_page::settings_page;

macro_rules! pages {
    ($($name:ident: $summary:literal, $also:expr;)*) => {
        $(#[doc = include_str!(concat!(stringify!($name), ".md"))] pub mod $name {})*

        /// The pages in the order in which they are listed.
        pub const PAGES: &[Page] = &[$(Page {
            name: stringify!($name),
            summary: $summary,
            also: &$also,
            written: include_str!(concat!(stringify!($name), ".md")),
        }),*];
    };
}

pages! {
    words: "what token, window, stride, batch, step, epoch, loss … mean here", ["glossary", "terms", "epoch", "perplexity"];
    sweeps: "grid, zip, let, derive, exclude, points, search, tune, seeds, ranges, --set", ["sweep", "grid", "axes", "axis", "tune", "search"];
    settings: "every key of an experiment file: type, range, default", ["keys", "reference", "options", "yaml"];
    comparing: "what makes perplexities comparable; two side by side, several in one table", ["compare", "ranking", "context"];
    statistics: "which differences are real, and how often that is wrong", ["seeds", "significance", "ties"];
    clipping: "clip norms, and trials that need not be trained", ["clip", "alias", "aliases", "gradients"];
    files: "what lies on disk; DuckDB, pandas, polars", ["queries", "parquet", "sql", "duckdb", "pandas", "polars", "disk"];
    weights: "starting from weights, letting a model write, training the winner for longer", ["sample", "sampling", "from", "transformers"];
    unattended: "what happens when something is killed, deadlines, a systemd unit, exit codes", ["systemd", "resume", "night", "until", "exit"];
    devices: "the processor and NVIDIA GPUs", ["gpu", "gpus", "cuda", "cpu", "metal", "precision"];
    clusters: "Slurm", ["slurm", "cluster"];
    speed: "what was measured, on which machine", ["benchmarks", "performance"];
    limits: "what is not there", ["missing", "not"];
}

/// A page of the guide.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// What it is asked for by.
    pub name: &'static str,
    /// What it is about, in a line.
    pub summary: &'static str,
    /// Other words that lead to it.
    pub also: &'static [&'static str],
    written: &'static str,
}

impl Page {
    /// The page as Markdown.
    pub fn text(&self) -> Cow<'static, str> {
        match self.name {
            // The file beside this one is for the crate's documentation; a test holds the two together.
            "settings" => settings_page().into(),
            _ => self.written.into(),
        }
    }
}

/// The page of this name, also by its beginning or by another word for it.
///
/// # Errors
/// There is none: the name that is nearest, if one is near.
pub fn page(topic: &str) -> Result<&'static Page, Option<&'static str>> {
    let wanted = topic.trim().to_ascii_lowercase();
    let exact = PAGES.iter().find(|page| page.name == wanted || page.also.contains(&wanted.as_str()));
    let mut beginning = PAGES.iter().filter(|page| wanted.len() > 1 && page.name.starts_with(&wanted));
    if let Some(page) = exact.or_else(|| beginning.next()) {
        return Ok(page);
    }
    let names = PAGES.iter().flat_map(|page| page.also.iter().chain([&page.name]).map(|name| (*name, page.name)));
    let near = names.map(|(name, page)| (strsim::damerau_levenshtein(&wanted, name), name.len(), page));
    Err(near.filter(|(distance, length, _)| 5 * distance <= 2 * length).min().map(|(.., page)| page))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_found_by_its_name_its_beginning_or_another_word_and_else_the_nearest_is_named() {
        let found = |topic: &str| page(topic).map(|page| page.name);
        assert_eq!(found("sweeps"), Ok("sweeps"));
        assert_eq!(found("Stat"), Ok("statistics"));
        assert_eq!(found("duckdb"), Ok("files"));
        assert_eq!(found("swepes"), Err(Some("sweeps")));
        assert_eq!(found("zzzzzz"), Err(None));
        assert_eq!(found(""), Err(None));
    }

    #[test]
    fn the_page_of_settings_is_that_of_the_table() {
        let written = include_str!("settings.md");
        assert!(
            settings_page() == written,
            "write it anew: `votive guide settings > src/guide/settings.md`\n{}",
            settings_page()
        );
    }

    #[test]
    fn every_page_begins_with_its_heading_and_says_what_its_examples_are() {
        for page in PAGES {
            let text = page.text();
            assert!(text.starts_with("# ") && text.ends_with('\n'), "{}", page.name);
            let fences = text.lines().filter(|line| line.starts_with("```"));
            for (place, fence) in fences.enumerate() {
                let language = fence.trim_start_matches('`');
                let right = if place % 2 == 0 {
                    ["yaml", "sh", "sql", "python", "ini", "text"].contains(&language)
                } else {
                    language.is_empty()
                };
                assert!(right, "{}: {fence}", page.name);
            }
        }
    }
}
