//! A part of the page: what is drawn, and its numbers.

use serde_json::{Value, json};

/// Rows of a figure's table; beyond them the files have the rest.
const ROWS: usize = 300;

/// A part of the page: one or more drawings of one kind, and their numbers.
pub(in crate::report) struct Section {
    /// Under this name the script finds its data and how to draw it.
    pub(in crate::report) id: &'static str,
    pub(in crate::report) heading: &'static str,
    pub(in crate::report) caption: String,
    pub(in crate::report) panels: Vec<Panel>,
    /// Whether panels stand side by side where there is room.
    pub(in crate::report) side_by_side: bool,
    /// What the script draws from: an entry a panel.
    pub(in crate::report) data: Vec<Value>,
    pub(in crate::report) table: Option<Table>,
    /// Where else the numbers are.
    pub(in crate::report) files: &'static str,
}

/// One drawing.
pub(in crate::report) struct Panel {
    /// What stands over it; nothing where the section's heading says it.
    pub(in crate::report) caption: String,
    /// What has to be known to read it; mostly nothing.
    pub(in crate::report) note: String,
    /// What it shows, for who cannot see it.
    pub(in crate::report) label: String,
}

/// The numbers of a figure.
pub(in crate::report) struct Table {
    /// Headings, and whether their column holds numbers.
    pub(in crate::report) headings: Vec<(String, bool)>,
    pub(in crate::report) rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(headings: &[(&str, bool)], rows: Vec<Vec<String>>) -> Self {
        Self { headings: headings.iter().map(|&(text, number)| (text.to_owned(), number)).collect(), rows }
    }

    /// The rows that are shown, and how many are not.
    pub(in crate::report) fn shown(&self) -> (&[Vec<String>], usize) {
        let shown = self.rows.len().min(ROWS);
        (&self.rows[..shown], self.rows.len() - shown)
    }
}

/// Five digits that mean something: what a screen can show.
pub(in crate::report) fn rounded(values: impl IntoIterator<Item = f64>) -> Vec<Value> {
    values.into_iter().map(round).collect()
}

/// The same of one number; null where it is none.
pub(super) fn round(value: f64) -> Value {
    format!("{value:.4e}").parse::<f64>().map_or(Value::Null, |v| json!(v))
}

#[cfg(test)]
mod tests {
    use super::*;

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
