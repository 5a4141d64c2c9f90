//! What each setting does: exact means over the cells of the grid, seeds averaged first.
//!
//! The mean of a value is taken over those combinations of the other settings in which *every* value of its axis has a result:
//! then other settings weigh the same for each of them, and what is left is the value's own doing. Cells that are missing
//! (excluded, diverged, not trained yet) take their combination out, and the note says so; where no combination is complete
//! there is no mean. Settings that move together are one axis. Derived settings are none, since they follow from others.

use std::collections::{BTreeMap, BTreeSet};

use super::{Effect, Interaction, Interval, Level, Over};

/// Most values of an axis that a table of two axes shows.
const MOST_VALUES: usize = 40;

/// A configuration as a point of the grid.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cell {
    /// The value of each swept key.
    pub(super) values: Vec<String>,
    /// Its mean response and number of seeds, where it has a result.
    pub(super) result: Option<(f64, usize)>,
}

/// One axis: the swept keys (by place) that move together.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Factor {
    columns: Vec<usize>,
}

impl Factor {
    fn value(&self, cell: &Cell) -> String {
        self.columns.iter().map(|&column| cell.values[column].as_str()).collect::<Vec<_>>().join(" · ")
    }

    fn keys(&self, keys: &[String]) -> Vec<String> {
        self.columns.iter().map(|&column| keys[column].clone()).collect()
    }
}

/// The axes among these keys. A key that another one determines is part of that axis where it determines it in turn, and no axis
/// of its own where it does not.
pub(super) fn factors(cells: &[Cell], keys: &[String], skip: impl Fn(&str) -> bool) -> Vec<Factor> {
    let varies = |column: &usize| cells.iter().any(|cell| cell.values[*column] != cells[0].values[*column]);
    let columns: Vec<usize> = (0..keys.len()).filter(|&column| !skip(&keys[column])).filter(varies).collect();
    let determines = |a: usize, b: usize| {
        let mut known: BTreeMap<&str, &str> = BTreeMap::new();
        cells.iter().all(|cell| *known.entry(&cell.values[a]).or_insert(&cell.values[b]) == cell.values[b].as_str())
    };
    let mut factors: Vec<Factor> = Vec::new();
    for &column in &columns {
        if let Some(same) = factors.iter_mut().find(|f| determines(f.columns[0], column) && determines(column, f.columns[0])) {
            same.columns.push(column);
        } else if !columns.iter().any(|&other| other != column && determines(other, column) && !determines(column, other)) {
            factors.push(Factor { columns: vec![column] });
        }
    }
    factors
}

/// What limits are made from: residual deviation and the quantile of t.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scale {
    pub(super) deviation: f64,
    pub(super) quantile: f64,
}

/// Cells by value (or pair of values) and by combination of the other axes.
struct Crossed {
    /// Mean and variance (in residual variances) by value and combination, where there is a result.
    results: BTreeMap<(String, Vec<String>), (f64, f64)>,
    planned: BTreeSet<(String, Vec<String>)>,
}

impl Crossed {
    fn new(cells: &[Cell], of: impl Fn(&Cell) -> String, others: &[&Factor]) -> Self {
        let (mut gathered, mut planned) = (BTreeMap::<_, Vec<(f64, usize)>>::new(), BTreeSet::new());
        for cell in cells {
            let key = (of(cell), others.iter().map(|factor| factor.value(cell)).collect::<Vec<_>>());
            planned.insert(key.clone());
            if let Some(result) = cell.result {
                gathered.entry(key).or_default().push(result);
            }
        }
        let mean = |list: Vec<(f64, usize)>| {
            let count = list.len() as f64;
            let variance = list.iter().map(|&(_, seeds)| 1.0 / seeds.max(1) as f64).sum::<f64>() / (count * count);
            (list.iter().map(|&(mean, _)| mean).sum::<f64>() / count, variance)
        };
        Self { results: gathered.into_iter().map(|(key, list)| (key, mean(list))).collect(), planned }
    }

    /// The combinations that some of these values are planned with.
    fn combinations(&self, values: &[String]) -> Vec<Vec<String>> {
        let set: BTreeSet<&Vec<String>> = self.planned.iter().filter(|(v, _)| values.contains(v)).map(|(_, c)| c).collect();
        set.into_iter().cloned().collect()
    }

    fn has(&self, value: &str, combination: &[String]) -> bool {
        self.results.contains_key(&(value.to_owned(), combination.to_vec()))
    }

    /// Mean and its variance of a value over these combinations.
    fn mean(&self, value: &str, combinations: &[&Vec<String>]) -> Option<(f64, f64)> {
        let list: Vec<(f64, f64)> =
            combinations.iter().map(|c| self.results.get(&(value.to_owned(), (*c).clone())).copied()).collect::<Option<_>>()?;
        let count = list.len() as f64;
        let sum = |of: fn(&(f64, f64)) -> f64| list.iter().map(of).sum::<f64>();
        (!list.is_empty()).then(|| (sum(|r| r.0) / count, sum(|r| r.1) / (count * count)))
    }
}

/// The main effect of one of these axes.
pub(super) fn effect(
    cells: &[Cell],
    keys: &[String],
    factors: &[Factor],
    of: &Factor,
    scale: Option<Scale>,
    over: Over,
) -> Effect {
    let others: Vec<&Factor> = factors.iter().filter(|factor| *factor != of).collect();
    let crossed = Crossed::new(cells, |cell| of.value(cell), &others);
    let values = ordered(cells.iter().map(|cell| of.value(cell)));
    // A value that only a few extra points have would leave nothing to compare.
    let planned = |value: &String| crossed.planned.iter().filter(|(v, _)| v == value).count();
    let most = values.iter().map(planned).max().unwrap_or(0);
    let (kept, rare): (Vec<String>, Vec<String>) = values.iter().cloned().partition(|value| 2 * planned(value) >= most);
    let all = crossed.combinations(&kept);
    let complete: Vec<&Vec<String>> = all.iter().filter(|c| kept.iter().all(|value| crossed.has(value, c))).collect();
    let levels = values
        .iter()
        .map(|value| {
            let mean = kept.contains(value).then(|| crossed.mean(value, &complete)).flatten();
            let limits = mean.zip(scale).map(|((mean, variance), scale)| {
                let half = scale.quantile * scale.deviation * variance.sqrt();
                Interval { lower: mean - half, upper: mean + half }
            });
            Level { value: value.clone(), mean: mean.map(|(mean, _)| mean), limits }
        })
        .collect();
    let mut notes = Vec::new();
    if complete.is_empty() {
        notes.push("In no combination of the other settings does every value have a result, so there are no means.".to_owned());
    } else if complete.len() < all.len() {
        notes.push(format!(
            "Over {} of {} combinations of the other settings: those in which every value has a result.",
            complete.len(),
            all.len()
        ));
    }
    if !rare.is_empty() {
        let verb = if rare.len() == 1 { "was" } else { "were" };
        notes.push(format!("{} {verb} tried with a few combinations only, and left out.", rare.join(", ")));
    }
    let note = (!notes.is_empty()).then(|| notes.join(" "));
    Effect { keys: of.keys(keys), over, levels, cells: complete.len(), all_cells: all.len(), note }
}

/// The cell means of two of these axes; `None` where one has too many values for a table.
pub(super) fn interaction(
    cells: &[Cell],
    keys: &[String],
    factors: &[Factor],
    rows: &Factor,
    columns: &Factor,
    over: Over,
) -> Option<Interaction> {
    let others: Vec<&Factor> = factors.iter().filter(|factor| *factor != rows && *factor != columns).collect();
    let pair = |row: &str, column: &str| format!("{row}\u{1f}{column}");
    let crossed = Crossed::new(cells, |cell| pair(&rows.value(cell), &columns.value(cell)), &others);
    let row_values = ordered(cells.iter().map(|cell| rows.value(cell)));
    let column_values = ordered(cells.iter().map(|cell| columns.value(cell)));
    if row_values.len().max(column_values.len()) > MOST_VALUES {
        return None;
    }
    let pairs: BTreeSet<&String> = crossed.results.keys().map(|(value, _)| value).collect();
    let there: Vec<String> = pairs.into_iter().cloned().collect();
    let all = crossed.combinations(&there);
    let complete: Vec<&Vec<String>> = all.iter().filter(|c| there.iter().all(|value| crossed.has(value, c))).collect();
    let mean = |row: &String, column: &String| crossed.mean(&pair(row, column), &complete).map(|(mean, _)| mean);
    let means = row_values.iter().map(|row| column_values.iter().map(|column| mean(row, column)).collect()).collect();
    let note = match complete.len() {
        _ if there.is_empty() => Some("Nothing here has a result yet.".to_owned()),
        0 => Some("In no combination of the other settings do all of these cells have a result.".to_owned()),
        n if n < all.len() => Some(format!(
            "Over {n} of {} combinations of the other settings: those in which all of these cells have a result.",
            all.len()
        )),
        _ => None,
    };
    Some(Interaction { rows: rows.keys(keys), columns: columns.keys(keys), over, row_values, column_values, means, note })
}

/// Distinct values: numbers by size with `off` and `full` after them, words as they came.
pub(super) fn ordered(values: impl Iterator<Item = String>) -> Vec<String> {
    let (mut seen, mut distinct) = (BTreeSet::new(), Vec::new());
    for value in values {
        if seen.insert(value.clone()) {
            distinct.push(value);
        }
    }
    let sizes: Option<Vec<f64>> = distinct.iter().map(|value| size(value)).collect();
    if let Some(sizes) = sizes {
        let mut pairs: Vec<(f64, String)> = sizes.into_iter().zip(distinct).collect();
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
        distinct = pairs.into_iter().map(|(_, value)| value).collect();
    }
    distinct
}

/// A value as a number: `off` and `full` are beyond all others, and of values that move together the first one counts.
pub(in crate::report) fn size(value: &str) -> Option<f64> {
    match value.split(" · ").next().unwrap_or(value) {
        "off" | "full" => Some(f64::INFINITY),
        other => other.replace('_', "").parse().ok().filter(|n: &f64| n.is_finite()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    /// A complete grid over three axes with these effects: 100 + 10 a + b (0, 3, 9) + interaction of a with c.
    fn grid() -> Vec<Cell> {
        let mut cells = Vec::new();
        for a in 0..2 {
            for (b, effect) in [("0.5", 3.0), ("off", 9.0), ("0.25", 0.0)] {
                for c in 0..2 {
                    let response = 100.0 + 10.0 * f64::from(a) + effect + f64::from(a * c);
                    let values = vec![(32 << a).to_string(), b.to_owned(), ["cosine", "linear"][c as usize].to_owned()];
                    cells.push(Cell { values, result: Some((response, 3)) });
                }
            }
        }
        cells
    }

    fn means(effect: &Effect) -> Vec<(String, Option<f64>)> {
        effect.levels.iter().map(|level| (level.value.clone(), level.mean)).collect()
    }

    fn all(cells: &[Cell], names: &[&str]) -> Vec<Effect> {
        let keys = keys(names);
        let found = factors(cells, &keys, |_| false);
        found.iter().map(|factor| effect(cells, &keys, &found, factor, None, Over::Chosen)).collect()
    }

    #[test]
    fn main_effects_are_recovered_exactly() {
        let effects = all(&grid(), &["a", "b", "c"]);
        let text = |value: &str| value.to_owned();
        assert_eq!(means(&effects[0]), [(text("32"), Some(104.0)), (text("64"), Some(114.5))]);
        assert_eq!(
            means(&effects[1]),
            [(text("0.25"), Some(105.25)), (text("0.5"), Some(108.25)), (text("off"), Some(114.25))],
            "the differences are 3 and 6, in the order of size"
        );
        assert_eq!(means(&effects[2]), [(text("cosine"), Some(109.0)), (text("linear"), Some(109.5))]);
        assert!(effects.iter().all(|effect| effect.note.is_none() && effect.cells == effect.all_cells));
    }

    #[test]
    fn a_missing_cell_takes_its_combination_out_and_nothing_else() {
        let mut cells = grid();
        cells[0].result = None;
        let effects = all(&cells, &["a", "b", "c"]);
        let difference = |effect: &Effect, i: usize, j: usize| effect.levels[i].mean.unwrap() - effect.levels[j].mean.unwrap();
        assert_eq!(difference(&effects[1], 1, 0), 3.0, "still exact");
        assert_eq!(difference(&effects[1], 2, 1), 6.0);
        assert_eq!((effects[1].cells, effects[1].all_cells), (3, 4));
        assert_eq!(
            effects[1].note.as_deref(),
            Some("Over 3 of 4 combinations of the other settings: those in which every value has a result.")
        );
    }

    #[test]
    fn without_a_complete_combination_there_is_no_mean() {
        let mut cells = grid();
        cells.iter_mut().filter(|cell| cell.values[1] == "off").for_each(|cell| cell.result = None);
        let effects = all(&cells, &["a", "b", "c"]);
        assert!(effects[1].levels.iter().all(|level| level.mean.is_none()));
        assert!(effects[1].note.as_deref().unwrap().starts_with("In no combination"));
        assert_eq!(effects[0].cells, 4, "the others have means where both values are there");
    }

    #[test]
    fn an_extra_point_does_not_empty_the_table() {
        let mut cells = grid();
        cells.push(Cell { values: vec!["32".to_owned(), "7".to_owned(), "cosine".to_owned()], result: Some((1.0, 3)) });
        let effects = all(&cells, &["a", "b", "c"]);
        assert_eq!(effects[1].levels.iter().filter(|level| level.mean.is_some()).count(), 3);
        assert!(effects[1].note.as_deref().unwrap().contains("7 was tried with a few combinations only"));
    }

    #[test]
    fn settings_that_move_together_are_one_axis_and_what_follows_is_none() {
        let row = |width: &str, layers: &str, length: &str, stride: &str, y: f64| Cell {
            values: [width, layers, length, stride].map(str::to_owned).to_vec(),
            result: Some((y, 1)),
        };
        let mut cells = Vec::new();
        for (width, layers, a) in [("128", "4", 0.0), ("256", "6", 1.0)] {
            for (length, stride, b) in [("32", "32", 0.0), ("64", "64", 2.0), ("128", "64", 5.0)] {
                cells.push(row(width, layers, length, stride, a + b));
            }
        }
        let effects = all(&cells, &["width", "layers", "length", "stride"]);
        let names: Vec<String> = effects.iter().map(|effect| effect.keys.join("+")).collect();
        assert_eq!(names, ["width+layers", "length"]);
        assert_eq!(effects[0].levels[1].value, "256 · 6");
        assert!((effects[0].levels[1].mean.unwrap() - effects[0].levels[0].mean.unwrap() - 1.0).abs() < 1e-12);
        let keys = keys(&["width", "layers", "length", "stride"]);
        let skipped = factors(&cells, &keys, |key| key == "length");
        assert_eq!(skipped.len(), 2, "without the length its stride stands for itself");
    }

    #[test]
    fn two_axes_have_exact_cell_means_and_blanks_where_a_cell_is_missing() {
        let mut cells = grid();
        let keys = keys(&["a", "b", "c"]);
        cells.iter_mut().filter(|c| c.values[0] == "64" && c.values[1] == "off").for_each(|cell| cell.result = None);
        let found = factors(&cells, &keys, |_| false);
        let table = interaction(&cells, &keys, &found, &found[0], &found[1], Over::Chosen).unwrap();
        assert_eq!(table.column_values, ["0.25", "0.5", "off"]);
        assert_eq!(table.means, [vec![Some(100.0), Some(103.0), Some(109.0)], vec![Some(110.5), Some(113.5), None]]);
        assert_eq!(table.note, None);
        let table = interaction(&cells, &keys, &found, &found[0], &found[2], Over::Chosen).unwrap();
        assert_eq!(table.means, [[101.5, 101.5], [111.5, 112.5]].map(|row| row.map(Some).to_vec()), "over 0.25 and 0.5");
        assert!(table.note.unwrap().starts_with("Over 2 of 3"));
    }

    #[test]
    fn limits_come_from_the_residual_and_the_seeds_behind_a_mean() {
        let (cells, keys) = (grid(), keys(&["a", "b", "c"]));
        let found = factors(&cells, &keys, |_| false);
        let scale = Scale { deviation: 0.6, quantile: 2.0 };
        let effect = effect(&cells, &keys, &found, &found[0], Some(scale), Over::Chosen);
        // Six cells of three seeds: 18 trials.
        let limits = effect.levels[0].limits.unwrap();
        assert!((limits.upper - 104.0 - 2.0 * 0.6 / 18f64.sqrt()).abs() < 1e-12);
    }
}
