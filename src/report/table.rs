//! The table of configurations on the terminal.

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, LineStyle, Table, TableStyle};

use super::comparison::{Comparison, Configuration, Figure};
use super::{Report, standing, verdict, words};

/// Rows shown on a terminal; the files have all.
pub(super) const ROWS: usize = 40;

/// A line under the heading and one at the end: rows need none between them.
const LINES: TableStyle = TableStyle::new()
    .header_separator(LineStyle::none().fill('─').junction('─'))
    .bottom_border(LineStyle::none().fill('─').junction('─'));

/// A column of the leaderboard: heading, whether it holds numbers, text of a configuration.
pub(super) struct Shown {
    pub(super) heading: String,
    pub(super) number: bool,
    pub(super) cell: Box<dyn Fn(&Configuration) -> String>,
}

/// The columns that are worth showing, the same on the terminal, in Markdown and on the page: the place, the configuration's number,
/// by which commands call it, the settings that vary, figures.
pub(super) fn columns(report: &Report) -> Vec<Shown> {
    let comparison = &report.comparison;
    let by_bytes = comparison.by_bytes;
    let mut columns = vec![
        shown("", true, |c| c.place.map_or_else(String::new, |place| place.to_string())),
        shown("#", true, |c| c.number.to_string()),
    ];
    let keys = words::keys(&report.protocol.swept);
    let numbers = |place: usize| {
        let numeric = |value: &String| value.replace('_', "").parse::<f64>().is_ok() || value == "off" || value == "full";
        comparison.configurations.iter().all(|c| c.values.get(place).is_none_or(numeric))
    };
    for (place, key) in keys.into_iter().enumerate() {
        columns.push(shown(key, numbers(place), move |c| words::plain(c.values.get(place).map_or("", String::as_str))));
    }
    if by_bytes {
        columns.push(figures("bits per byte", comparison, |c| c.bits_per_byte));
    }
    columns.push(figures("perplexity", comparison, |c| c.perplexity));
    let other = if report.protocol.rank_by() == "common" { "own context" } else { "common context" };
    if comparison.configurations.iter().any(|c| c.other_perplexity != c.perplexity) {
        columns.push(figures(other, comparison, |c| c.other_perplexity));
    }
    columns.extend(statistics(report));
    columns.push(shown("seeds", true, |c| if c.seeds > 0 { c.seeds.to_string() } else { String::new() }));
    columns
        .push(shown("tokens/s", true, |c| c.tokens_per_second.map_or_else(String::new, |r| words::thousands(r.round() as i64))));
    columns.push(shown("training", true, |c| c.training_seconds.map_or_else(String::new, words::duration)));
    columns.push(shown("status", false, verdict::state));
    columns
}

/// How each stands to the best of the others, and which may be the best: nothing where one alone is ranked.
fn statistics(report: &Report) -> Vec<Shown> {
    let Some(statistics) = report.statistics.clone().filter(|statistics| statistics.against.len() > 1) else { return Vec::new() };
    let mut columns = Vec::new();
    if report.comparison.configurations.iter().any(|c| c.tuned.is_some()) {
        columns.push(shown("tuned", false, |c| match &c.tuned {
            Some(tuned) if tuned.chosen && !tuned.at_edge.is_empty() => "chosen, at the edge".to_owned(),
            Some(tuned) if tuned.chosen => "chosen".to_owned(),
            _ => String::new(),
        }));
    }
    if statistics.no_limits.is_none() {
        let set = statistics.best_set().unwrap_or_default();
        columns.push(shown("best?", false, move |c| if set.contains(&c.number) { "●".to_owned() } else { String::new() }));
    }
    columns.push(shown("to best other", true, move |c| standing::cell(&statistics, c)));
    columns
}

fn shown(heading: impl Into<String>, number: bool, cell: impl Fn(&Configuration) -> String + 'static) -> Shown {
    Shown { heading: heading.into(), number, cell: Box::new(cell) }
}

/// A column of figures, all with as many decimals as the smallest one.
fn figures(heading: &str, comparison: &Comparison, figure: impl Fn(&Configuration) -> Option<Figure> + 'static) -> Shown {
    // What was scored on another text is no figure of this table.
    let figure = move |c: &Configuration| figure(c.comparable()?);
    let means = comparison.configurations.iter().filter_map(|c| Some(figure(c)?.mean));
    let smallest = means.fold(f64::INFINITY, f64::min);
    shown(heading, true, move |c| shown_figure(figure(c), smallest))
}

/// `5.812 ± 0.041`, without a spread for one seed.
fn shown_figure(figure: Option<Figure>, smallest: f64) -> String {
    match figure {
        Some(Figure { mean, spread: Some(spread) }) => {
            format!("{} ± {}", words::beside(mean, smallest), words::beside(spread, smallest))
        }
        Some(Figure { mean, spread: None }) => words::beside(mean, smallest),
        None => String::new(),
    }
}

/// A table for a terminal of this width, as wide as it needs to be where there is none: headings and whether they stand over
/// numbers, and rows.
pub(super) fn drawn(
    headings: &[(&str, bool)],
    rows: impl Iterator<Item = Vec<Cell>>,
    width: Option<u16>,
    colour: bool,
) -> String {
    let mut table = Table::new();
    table.load_style(LINES);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    match width {
        Some(width) => table.set_width(width),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    if colour {
        table.enforce_styling()
    } else {
        table.force_no_tty()
    };
    table.set_header(headings.iter().map(|(text, _)| Cell::new(text).add_attribute(Attribute::Bold)).collect::<Vec<_>>());
    table.add_rows(rows);
    for (column, (_, number)) in table.column_iter_mut().zip(headings) {
        if *number {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

pub(super) fn terminal(report: &Report, width: Option<u16>, colour: bool) -> String {
    let columns = columns(report);
    let configurations = &report.comparison.configurations;
    let rows = configurations.iter().take(ROWS).map(|configuration| {
        let row = columns.iter().map(|column| {
            let cell = Cell::new((column.cell)(configuration));
            match configuration.place {
                Some(1) => cell.fg(Color::Green).add_attribute(Attribute::Bold),
                None if verdict::lost(configuration) > 0 => cell.fg(Color::Red),
                _ => cell,
            }
        });
        row.collect()
    });
    let headings: Vec<(&str, bool)> = columns.iter().map(|c| (c.heading.as_str(), c.number)).collect();
    let mut text = drawn(&headings, rows, width, colour);
    text.push('\n');
    if configurations.len() > ROWS {
        text.push_str(&format!("… and {} more in leaderboard.csv\n", words::thousands((configurations.len() - ROWS) as i64)));
    }
    for note in verdict::notes(report) {
        text.push_str(&note);
        text.push('\n');
    }
    text
}
