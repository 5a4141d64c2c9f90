//! The tables of several experiments, on the terminal and elsewhere.

use super::groups::{Group, Line, Several};
use super::sentences::{apart, measured, notes, verdict};
use crate::report::comparison::Figure;
use crate::report::swept_value::SweptValue;
use crate::report::table::{LINES, ROWS};
use crate::report::{verdict::state, wording};
use crate::terminal::{self, Cells, Column, Look, Tone};
use crate::words;

/// A column: heading, whether it holds numbers, its cells.
pub(super) struct GroupColumn {
    pub(super) heading: String,
    pub(super) number: bool,
    pub(super) cells: Vec<String>,
    /// Where a terminal is narrow: when it is left out.
    keep: Option<u8>,
}

impl GroupColumn {
    fn keep(self, keep: u8) -> Self {
        Self { keep: Some(keep), ..self }
    }

    fn column(&self) -> Column {
        let cells = if self.number { Cells::Numbers } else { Cells::Words };
        Column { heading: self.heading.clone(), cells, keep: self.keep }
    }
}

pub(super) fn columns(group: &Group) -> Vec<GroupColumn> {
    let column = |heading: &str, number: bool, cell: &dyn Fn(usize, &Line) -> String| GroupColumn {
        heading: heading.to_owned(),
        number,
        cells: group.lines.iter().enumerate().map(|(place, line)| cell(place, line)).collect(),
        keep: None,
    };
    let mut columns = vec![
        column("", true, &|place, _| (place + 1).to_string()),
        column("experiment", false, &|_, line| wording::plain(&line.experiment)),
        column("#", true, &|_, line| line.configuration.number.to_string()),
    ];
    for (place, key) in wording::keys(&group.settings).iter().enumerate() {
        let numeric = |line: &Line| SweptValue::of(&line.values[place]).size().is_some();
        columns.push(column(key, group.lines.iter().all(numeric), &|_, line| wording::plain(&line.values[place])).keep(9));
    }
    let of_test = |line: &Line| line.configuration.test_perplexity;
    columns.push(figures(group, "perplexity", Line::figure));
    if group.lines.iter().any(|line| of_test(line).is_some()) {
        columns.push(figures(group, "test", of_test).keep(4));
    }
    columns.push(column("seeds", true, &|_, line| line.configuration.seeds.to_string()).keep(3));
    columns.push(
        column("parameters", true, &|_, line| line.configuration.parameters.map_or_else(String::new, words::thousands)).keep(2),
    );
    columns.push(
        column("training", true, &|_, line| line.configuration.training_seconds.map_or_else(String::new, words::duration))
            .keep(1),
    );
    let status = |line: &Line| state(&line.configuration);
    if group.lines.iter().any(|line| status(line) != "completed") {
        columns.push(column("status", false, &|_, line| status(line)).keep(8));
    }
    columns
}

/// A column of perplexities, all with as many decimals as the smallest one.
fn figures(group: &Group, heading: &str, figure: impl Fn(&Line) -> Option<Figure>) -> GroupColumn {
    let smallest = group.lines.iter().filter_map(|line| Some(figure(line)?.mean)).fold(f64::INFINITY, f64::min);
    let cell = |line: &Line| figure(line).map_or_else(String::new, |figure| figure.shown(smallest));
    GroupColumn { heading: heading.to_owned(), number: true, cells: group.lines.iter().map(cell).collect(), keep: None }
}

pub(super) fn terminal(several: &Several, look: Look) -> String {
    let mut text = String::new();
    let wrapped = |line: &str| format!("{}\n", terminal::wrapped(line, look.width));
    for (place, group) in several.groups.iter().enumerate() {
        if let Some(why) = apart(several, place) {
            text += &format!("\n{}", wrapped(&why));
        }
        let columns = columns(group);
        let row = |row: usize| {
            let tone = if row == group.best { Tone::Good } else { Tone::Plain };
            (tone, columns.iter().map(|column| column.cells[row].clone()).collect())
        };
        let rows: Vec<terminal::Row> = (0..group.lines.len().min(ROWS)).map(row).collect();
        let drawn = terminal::table(&columns.iter().map(GroupColumn::column).collect::<Vec<_>>(), &rows, LINES, look);
        text += &drawn.text;
        text.extend(drawn.note(look.width, "`--into DIR` writes them").as_deref().map(wrapped));
        if group.lines.len() > ROWS {
            text += &format!("… and {} more\n", words::thousands((group.lines.len() - ROWS) as i64));
        }
        text += &wrapped(&measured(group));
        text += &wrapped(&verdict(group).join(" "));
    }
    text.extend(notes(several).iter().map(|note| wrapped(note)));
    text
}
