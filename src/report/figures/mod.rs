//! The figures of the page: each is data for the page's script, and the same numbers as a table or as the name of a file.
//!
//! A figure appears only when it has something to say: none with one bar, none of a single point. Loss curves have a
//! section of their own on the page; the others are [`Section`]s that the page shows one after another.

mod axes;
mod cost;
mod differences;
mod gradients;
mod pairs;
mod parallel;
mod positions;
mod timeline;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::comparison::{Comparison, Configuration};
use super::inference::effects::Over;
use super::{Report, verdict, words};
use crate::runs::ExperimentFolder;

pub(super) use positions::Positions;
pub(super) use timeline::Stay;

/// Rows of a figure's table; beyond them the files have the rest.
const ROWS: usize = 300;

/// What figures need beside the comparison, read once from the folders of the trials.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// Attempts of all trials, by start.
    pub(super) stays: Vec<Stay>,
    /// Loss by place in the window, of the configurations that are drawn.
    pub(super) positions: Vec<Positions>,
}

impl Sources {
    /// Reads them; files that cannot be read are listed.
    pub(super) fn read(folder: &ExperimentFolder, comparison: &Comparison, drawn: &[i64], damaged: &mut Vec<String>) -> Self {
        Self {
            stays: timeline::stays(folder, comparison, damaged),
            positions: positions::positions(folder, comparison, drawn, damaged),
        }
    }
}

/// A part of the page: one or more drawings of one kind, and their numbers.
pub(super) struct Section {
    /// Under this name the script finds its data and how to draw it.
    pub(super) id: &'static str,
    pub(super) heading: &'static str,
    pub(super) caption: String,
    pub(super) panels: Vec<Panel>,
    /// Whether panels stand side by side where there is room.
    pub(super) side_by_side: bool,
    /// What the script draws from: an entry a panel.
    pub(super) data: Vec<Value>,
    pub(super) table: Option<Table>,
    /// Where else the numbers are.
    pub(super) files: &'static str,
}

/// One drawing.
pub(super) struct Panel {
    /// What stands over it; nothing where the section's heading says it.
    pub(super) caption: String,
    /// What has to be known to read it; mostly nothing.
    pub(super) note: String,
    /// What it shows, for who cannot see it.
    pub(super) label: String,
}

/// The numbers of a figure.
pub(super) struct Table {
    /// Headings, and whether their column holds numbers.
    pub(super) headings: Vec<(String, bool)>,
    pub(super) rows: Vec<Vec<String>>,
}

impl Table {
    fn new(headings: &[(&str, bool)], rows: Vec<Vec<String>>) -> Self {
        Self { headings: headings.iter().map(|&(text, number)| (text.to_owned(), number)).collect(), rows }
    }

    /// The rows that are shown, and how many are not.
    pub(super) fn shown(&self) -> (&[Vec<String>], usize) {
        let shown = self.rows.len().min(ROWS);
        (&self.rows[..shown], self.rows.len() - shown)
    }
}

/// The sections that this experiment has something to show in, in the order of the page.
pub(super) fn sections(report: &Report) -> Vec<Section> {
    let made = [
        differences::section(report),
        axes::section(report),
        pairs::section(report),
        parallel::section(report),
        cost::section(report),
        positions::section(report),
        gradients::section(report),
        timeline::section(report),
    ];
    made.into_iter().flatten().collect()
}

/// The figure that ranks, as its heading has it.
pub(super) fn unit(report: &Report) -> &'static str {
    if report.comparison.by_bytes { "bits per byte" } else { "perplexity" }
}

/// A configuration in words that are never empty.
fn name(report: &Report, configuration: &Configuration) -> String {
    let name = verdict::name(report, configuration);
    if name.is_empty() { format!("configuration {}", configuration.number) } else { name }
}

/// The figure that ranks, in words.
fn figure(report: &Report, value: f64) -> String {
    if report.comparison.by_bytes { format!("{value:.4}") } else { words::perplexity(value) }
}

/// Five digits that mean something: what a screen can show.
pub(super) fn rounded(values: impl IntoIterator<Item = f64>) -> Vec<Value> {
    values.into_iter().map(round).collect()
}

/// The same of one number; null where it is none.
fn round(value: f64) -> Value {
    format!("{value:.4e}").parse::<f64>().map_or(Value::Null, |v| json!(v))
}

/// A swept key that has at least two values, or several that move together.
struct Axis {
    /// Places among the swept keys.
    places: Vec<usize>,
    label: String,
    values: Vec<String>,
}

/// The axes whose values differ, with these values in the order a person expects. Keys that move together are one where the
/// statistics say so.
fn varying(report: &Report) -> Vec<Axis> {
    let swept = &report.protocol.swept;
    let labels = words::keys(swept);
    let place = |key: &String| swept.iter().position(|other| other == key);
    let effects = report.statistics.iter().flat_map(|statistics| &statistics.effects);
    let mut groups: Vec<Vec<usize>> = effects.filter_map(|effect| effect.keys.iter().map(place).collect()).collect();
    if groups.is_empty() {
        groups = (0..swept.len()).map(|place| vec![place]).collect();
    }
    let axis = |places: Vec<usize>| {
        let label = places.iter().map(|&place| labels[place].as_str()).collect::<Vec<_>>().join(" · ");
        let all: Vec<_> = report.comparison.configurations.iter().map(|c| (c.order, joined(c, &places))).collect();
        let values = ordered(all.iter().map(|(order, value)| (*order, value.as_str())));
        (values.len() > 1).then_some(Axis { places, label, values })
    };
    groups.into_iter().filter_map(axis).collect()
}

fn joined(configuration: &Configuration, places: &[usize]) -> String {
    let values = places.iter().map(|&place| configuration.values.get(place).map_or("", String::as_str));
    values.collect::<Vec<_>>().join(" · ")
}

impl Axis {
    fn value(&self, configuration: &Configuration) -> String {
        joined(configuration, &self.places)
    }

    fn index(&self, configuration: &Configuration) -> Option<usize> {
        let value = self.value(configuration);
        self.values.iter().position(|known| *known == value)
    }

    fn keys<'a>(&self, report: &'a Report) -> Vec<&'a str> {
        self.places.iter().map(|&place| report.protocol.swept[place].as_str()).collect()
    }
}

/// Which configurations a figure of these axes is of: what a tuned setting does shows only over all of its values.
fn over(report: &Report, axes: &[&Axis]) -> Over {
    let is_tuned = |axis: &&Axis| axis.keys(report).iter().any(|key| report.protocol.tune.iter().any(|other| other == key));
    if axes.iter().any(is_tuned) { Over::All } else { Over::Chosen }
}

/// The same in words; nothing where no setting is tuned, so that there is one kind only.
fn over_words(report: &Report, over: Over) -> Option<String> {
    let keys = words::keys(&report.protocol.tune).join(" and ");
    (!keys.is_empty()).then(|| match over {
        Over::Chosen => format!("each at its best {keys}"),
        Over::All => format!("every {keys} tried"),
    })
}

/// A sentence for figures that show the chosen configurations only.
fn chosen_only(report: &Report) -> String {
    over_words(report, Over::Chosen).map_or_else(String::new, |words| format!(" Configurations: {words}."))
}

/// Means over configurations: of losses where perplexity ranks, of bits per byte as they are.
#[derive(Debug, Default, Clone, Copy)]
struct Mean {
    sum: f64,
    count: usize,
}

impl Mean {
    fn add(&mut self, report: &Report, configuration: &Configuration, over: Over) {
        let by_bytes = report.comparison.by_bytes;
        let value = if by_bytes { configuration.bits_per_byte.map(|f| f.mean) } else { configuration.loss };
        if let Some(value) = value.filter(|_| over.includes(configuration)) {
            self.sum += value;
            self.count += 1;
        }
    }

    /// As the figure that ranks.
    fn value(self, report: &Report) -> Option<f64> {
        let mean = (self.count > 0).then(|| self.sum / self.count as f64);
        if report.comparison.by_bytes { mean } else { mean.map(f64::exp) }
    }
}

/// Configurations by number.
fn by_number(report: &Report) -> BTreeMap<i64, &Configuration> {
    report.comparison.configurations.iter().map(|c| (c.number, c)).collect()
}

/// The distinct values of an axis: numbers by size with `off` and `full` after them, words in the order of the file.
fn ordered<'a>(values: impl Iterator<Item = (usize, &'a str)>) -> Vec<String> {
    let mut in_file_order: Vec<(usize, &str)> = values.collect();
    in_file_order.sort_by_key(|(order, _)| *order);
    let mut distinct: Vec<String> = Vec::new();
    let mut known = std::collections::HashSet::new();
    for (_, value) in in_file_order {
        if known.insert(value) {
            distinct.push(value.to_owned());
        }
    }
    let size = |value: &String| match value.as_str() {
        "off" | "full" => Some(f64::INFINITY),
        other => other.replace('_', "").parse::<f64>().ok(),
    };
    if distinct.iter().all(|value| size(value).is_some()) {
        distinct.sort_by(|a, b| size(a).unwrap_or(0.0).total_cmp(&size(b).unwrap_or(0.0)));
    }
    distinct
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_an_axis_are_in_the_order_a_person_expects() {
        let order = |list: &[&'static str]| ordered(list.iter().enumerate().map(|(i, v)| (i, *v)));
        assert_eq!(order(&["off", "1.0", "0.5", "1.0"]), ["0.5", "1.0", "off"]);
        assert_eq!(order(&["256", "64", "1_000"]), ["64", "256", "1_000"]);
        assert_eq!(order(&["linear", "cosine", "linear"]), ["linear", "cosine"]);
        assert_eq!(order(&["bpe-512", "7"]), ["bpe-512", "7"]);
    }

    #[test]
    fn numbers_on_the_page_have_five_digits() {
        assert_eq!(json!(rounded([1.234_567_8, 0.000_012_345_67, f64::NAN])).to_string(), "[1.2346,0.000012346,null]");
    }

    #[test]
    fn a_long_table_shows_its_beginning() {
        let table = Table::new(&[("a", true)], vec![vec!["1".to_owned()]; ROWS + 7]);
        assert_eq!((table.shown().0.len(), table.shown().1), (ROWS, 7));
    }
}
