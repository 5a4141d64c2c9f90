//! The table of configurations on the terminal.

use std::collections::HashMap;

use comfy_table::{LineStyle, TableStyle};

use super::comparison::{Comparison, Configuration, Figure};
use super::experiment::Report;
use super::swept_value::SweptValue;
use super::{standing, verdict};
use crate::report::wording;
use crate::terminal::{self, Cells, Column, Look, Tone};
use crate::words;

/// Rows shown on a terminal; the files have all.
pub(super) const ROWS: usize = 40;

/// A line under the heading and one at the end: rows need none between them.
pub(super) const LINES: TableStyle = TableStyle::new()
    .header_separator(LineStyle::none().fill('─').junction('─'))
    .bottom_border(LineStyle::none().fill('─').junction('─'));

/// A column of the leaderboard: heading, whether it holds numbers, text of a configuration.
pub(super) struct TableColumn {
    pub(super) heading: String,
    pub(super) number: bool,
    pub(super) cell: Box<dyn Fn(&Configuration) -> String>,
    /// Where a terminal is narrow: when it is left out, see [`Column::keep`].
    keep: Option<u8>,
}

impl TableColumn {
    fn keep(self, keep: u8) -> Self {
        Self { keep: Some(keep), ..self }
    }

    fn column(&self) -> Column {
        let cells = if self.number { Cells::Numbers } else { Cells::Words };
        Column { heading: self.heading.clone(), cells, keep: self.keep }
    }
}

/// The columns that are worth showing, the same on the terminal, in Markdown and on the page: the place, the configuration's number,
/// by which commands call it, the settings that vary, figures.
pub(super) fn columns(report: &Report) -> Vec<TableColumn> {
    let comparison = &report.comparison;
    let by_bytes = comparison.by_bytes;
    let mut columns = vec![
        shown("place", true, |c| c.place.map_or_else(String::new, |place| place.to_string())),
        shown("#", true, |c| c.number.to_string()),
    ];
    let keys = wording::keys(&report.design.swept);
    let numbers = |place: usize| {
        let numeric = |value: &String| SweptValue::of(value).size().is_some();
        comparison.configurations.iter().all(|c| c.values.get(place).is_none_or(numeric))
    };
    for (place, key) in keys.into_iter().enumerate() {
        let values = comparison.configurations.iter().filter_map(|c| c.values.get(place));
        let apart = words::told_apart(values.map(String::as_str));
        let apart: HashMap<String, String> = apart.into_iter().map(|(value, shown)| (value.to_owned(), shown)).collect();
        let value = move |c: &Configuration| {
            let value = c.values.get(place).map_or("", String::as_str);
            wording::plain(apart.get(value).map_or(value, String::as_str))
        };
        columns.push(shown(key, numbers(place), value).keep(9));
    }
    columns.push(figures(if by_bytes { "bits per byte" } else { "perplexity" }, comparison, move |c| c.figure(by_bytes)));
    if by_bytes {
        columns.push(figures("perplexity", comparison, |c| c.perplexity).keep(4));
    }
    let other = if report.design.rank_by() == "common" { "own context" } else { "common context" };
    if comparison.configurations.iter().any(|c| c.other_perplexity != c.perplexity) {
        columns.push(figures(other, comparison, |c| c.other_perplexity).keep(3));
    }
    if comparison.has_test() {
        columns.push(figures("test", comparison, move |c| c.test_figure(by_bytes)).keep(4));
    }
    columns.extend(statistics(report));
    let all = &comparison.configurations;
    let seeds = if all.iter().all(|c| c.seeds == all[0].seeds) { 1 } else { 3 };
    let status = if all.iter().all(|c| verdict::state(c) == "completed") { 0 } else { 8 };
    let rate = |c: &Configuration| c.tokens_per_second.map_or_else(String::new, |r| words::thousands(r.round() as i64));
    columns.extend([
        shown("seeds", true, |c| if c.seeds > 0 { c.seeds.to_string() } else { String::new() }).keep(seeds),
        shown("tokens/s", true, rate).keep(2),
        shown("training", true, |c| c.training_seconds.map_or_else(String::new, words::duration)).keep(2),
        shown("status", false, verdict::state).keep(status),
    ]);
    columns
}

/// How each stands to the best of the others, and which may be the best: nothing where one alone is ranked.
fn statistics(report: &Report) -> Vec<TableColumn> {
    let Some(statistics) = report.statistics.clone().filter(|statistics| statistics.against.len() > 1) else { return Vec::new() };
    let mut columns = Vec::new();
    if report.comparison.configurations.iter().any(|c| c.tuned.is_some()) {
        columns.push(
            shown("tuned", false, |c| match &c.tuned {
                Some(tuned) if tuned.chosen && !tuned.at_edge.is_empty() => "chosen, at the edge".to_owned(),
                Some(tuned) if tuned.chosen => "chosen".to_owned(),
                _ => String::new(),
            })
            .keep(6),
        );
    }
    if statistics.no_set.is_none() {
        let set = statistics.best_set().unwrap_or_default();
        columns
            .push(shown("best?", false, move |c| if set.contains(&c.number) { "●".to_owned() } else { String::new() }).keep(7));
    }
    columns.push(shown("to the best", true, move |c| standing::cell(&statistics, c)).keep(5));
    columns
}

fn shown(heading: impl Into<String>, number: bool, cell: impl Fn(&Configuration) -> String + 'static) -> TableColumn {
    TableColumn { heading: heading.into(), number, cell: Box::new(cell), keep: None }
}

/// A column of figures, all with as many decimals as the smallest one.
fn figures(heading: &str, comparison: &Comparison, figure: impl Fn(&Configuration) -> Option<Figure> + 'static) -> TableColumn {
    // What was scored on another text is no figure of this table.
    let figure = move |c: &Configuration| figure(c.comparable()?);
    let means = comparison.configurations.iter().filter_map(|c| Some(figure(c)?.mean));
    let smallest = means.fold(f64::INFINITY, f64::min);
    shown(heading, true, move |c| figure(c).map_or_else(String::new, |figure| figure.shown(smallest)))
}

/// The table and the notes under it, which are broken at words where the terminal is narrow.
pub(super) fn terminal(report: &Report, look: Look) -> String {
    let columns = columns(report);
    let configurations = &report.comparison.configurations;
    let best = report.comparison.best().map(|best| best.number);
    let rows = configurations.iter().take(ROWS).map(|configuration| {
        let tone = match configuration.place {
            _ if best == Some(configuration.number) => Tone::Good,
            None if configuration.lost() > 0 => Tone::Bad,
            _ => Tone::Plain,
        };
        (tone, columns.iter().map(|column| (column.cell)(configuration)).collect())
    });
    let drawn =
        terminal::table(&columns.iter().map(TableColumn::column).collect::<Vec<_>>(), &rows.collect::<Vec<_>>(), LINES, look);
    let mut notes: Vec<String> = drawn.note(look.width, "`report.md` and `leaderboard.csv` have them").into_iter().collect();
    if configurations.len() > ROWS {
        notes.push(format!("… and {} more in leaderboard.csv", words::thousands((configurations.len() - ROWS) as i64)));
    }
    notes.extend(verdict::notes(report));
    let notes = notes.iter().map(|note| format!("{}\n", terminal::wrapped(note, look.width)));
    drawn.text + &notes.collect::<String>()
}
