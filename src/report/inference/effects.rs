//! What each setting does: exact means over the cells of the grid, and which of its values may be the best.
//!
//! **Main effects** are taken seed by seed. For one seed the mean of a value is over those combinations of the other settings in which
//! *every* value of its axis has a result with this seed: then other settings weigh the same for each of them, and what is left is the
//! value's own doing. A seed without such a combination drops out. What results is a small experiment of its own, a value a
//! configuration, and its values are compared by the very rule that compares configurations ([`rule`](super::rule)): over seeds and text
//! together, values with the very same results being one, and none being beaten by a value of which a seed diverged. Bars are the 95 %
//! limits of a value less the seed's mean over all values, each by its own scatter over the seeds: none with two seeds or one.
//!
//! **Tables of two axes** are exact cell means over all seeds. Cells that are missing (excluded, diverged, not trained yet) take their
//! combination out, and the note says so; where no combination is complete there is no mean. Settings that move together are one axis.
//! Derived settings are none, since they follow from others.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::pairs::{Difference, Pairs};
use super::reach::added;
use super::results::Results;
use super::rule::{beaten_by, quantile};
use crate::report::swept_value::ordered;

/// Most values of an axis that a table of two axes shows.
const MOST_VALUES: usize = 40;

/// Lower and upper limit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(in crate::report) struct Interval {
    pub(in crate::report) lower: f64,
    pub(in crate::report) upper: f64,
}

/// Which configurations a mean is taken over, where settings are tuned. Both kinds are never mixed in one figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::report) enum Over {
    /// Those with the value of the tuned settings that suits them best; all where nothing is tuned.
    Chosen,
    /// Every value of the tuned settings: what a tuned setting itself does.
    All,
}

/// The main effect of an axis: mean over the cells of each value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(in crate::report) struct Effect {
    /// Its keys: several where settings move together.
    pub(in crate::report) keys: Vec<String>,
    /// Which configurations it is of.
    pub(in crate::report) over: Over,
    /// In the order a person expects.
    pub(in crate::report) levels: Vec<Level>,
    /// Seeds that the means are taken over.
    pub(in crate::report) seeds: usize,
    /// Combinations of the other axes that the means are taken over with some seed: those in which every value has a result.
    pub(in crate::report) cells: usize,
    /// Combinations of the other axes that there are.
    pub(in crate::report) all_cells: usize,
    /// What is missing, in a sentence.
    pub(in crate::report) note: Option<String>,
}

/// One value of an axis.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(in crate::report) struct Level {
    /// As written; several joined by ` · ` where settings move together.
    pub(in crate::report) value: String,
    /// Mean response of its cells, `None` where it cannot be compared with the other values.
    pub(in crate::report) mean: Option<f64>,
    /// The mean and, around it, the 95 % limits of the value less the mean over all values.
    pub(in crate::report) limits: Option<Interval>,
    /// Whether it may be the best value; `None` where nothing says.
    pub(in crate::report) in_best_set: Option<bool>,
}

/// The cell means of two axes, over the combinations of all others in which each of these cells has a result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(in crate::report) struct Interaction {
    /// Keys of the rows.
    pub(in crate::report) rows: Vec<String>,
    /// Keys of the columns.
    pub(in crate::report) columns: Vec<String>,
    /// Which configurations it is of.
    pub(in crate::report) over: Over,
    /// Values of the rows.
    pub(in crate::report) row_values: Vec<String>,
    /// Values of the columns.
    pub(in crate::report) column_values: Vec<String>,
    /// Mean response by row and column; `None` where there is none.
    pub(in crate::report) means: Vec<Vec<Option<f64>>>,
    /// What is missing, in a sentence.
    pub(in crate::report) note: Option<String>,
}

/// A configuration as a point of the grid.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::report) struct Cell {
    /// The configuration's number.
    pub(in crate::report) configuration: i64,
    /// The value of each swept key.
    pub(in crate::report) values: Vec<String>,
    /// Its response with each seed that has one.
    pub(in crate::report) results: Vec<(i64, f64)>,
    /// Whether a seed of it diverged: what it is part of excludes no other.
    pub(in crate::report) has_diverged: bool,
}

/// How much of each configuration, by its number, is in a mean or in a difference of means.
pub(in crate::report) type Weights = BTreeMap<i64, f64>;

/// The variance that the text adds to a difference with these weights, which sum to 0, and its degrees of freedom; `None` where it is
/// not known.
pub(in crate::report) type TextNoise<'a> = &'a dyn Fn(&Weights) -> Option<(f64, f64)>;

impl Cell {
    fn mean(&self) -> Option<f64> {
        let count = self.results.len() as f64;
        (!self.results.is_empty()).then(|| self.results.iter().map(|&(_, response)| response).sum::<f64>() / count)
    }
}

/// One axis: the swept keys (by place) that move together.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::report) struct Factor {
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
pub(in crate::report) fn factors(cells: &[Cell], keys: &[String], skip: impl Fn(&str) -> bool) -> Vec<Factor> {
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

/// Cells by value (or pair of values) and by combination of the other axes.
struct Crossed {
    /// Mean by value and combination, where there is a result, and the configurations that it is of.
    results: BTreeMap<(String, Vec<String>), (f64, Vec<i64>)>,
    planned: BTreeSet<(String, Vec<String>)>,
}

impl Crossed {
    /// `result` is what counts of a cell: its response with one seed, or the mean over all.
    fn new(cells: &[Cell], of: impl Fn(&Cell) -> String, others: &[&Factor], result: impl Fn(&Cell) -> Option<f64>) -> Self {
        let (mut gathered, mut planned) = (BTreeMap::<_, (Vec<f64>, Vec<i64>)>::new(), BTreeSet::new());
        for cell in cells {
            let key = (of(cell), others.iter().map(|factor| factor.value(cell)).collect::<Vec<_>>());
            planned.insert(key.clone());
            if let Some(result) = result(cell) {
                let (results, configurations) = gathered.entry(key).or_default();
                results.push(result);
                configurations.push(cell.configuration);
            }
        }
        let mean = |list: Vec<f64>| list.iter().sum::<f64>() / list.len() as f64;
        Self { results: gathered.into_iter().map(|(key, (list, own))| (key, (mean(list), own))).collect(), planned }
    }

    /// The combinations that some of these values are planned with.
    fn combinations(&self, values: &[String]) -> Vec<Vec<String>> {
        let set: BTreeSet<&Vec<String>> = self.planned.iter().filter(|(v, _)| values.contains(v)).map(|(_, c)| c).collect();
        set.into_iter().cloned().collect()
    }

    /// Those of them in which every one of these values has a result.
    fn complete(&self, values: &[String]) -> Vec<Vec<String>> {
        let has = |value: &String, combination: &[String]| self.results.contains_key(&(value.clone(), combination.to_vec()));
        let mut combinations = self.combinations(values);
        combinations.retain(|combination| values.iter().all(|value| has(value, combination)));
        combinations
    }

    /// Mean of a value over these combinations.
    fn mean(&self, value: &str, combinations: &[Vec<String>]) -> Option<f64> {
        let list = combinations.iter().map(|c| self.results.get(&(value.to_owned(), c.clone())).map(|(mean, _)| *mean));
        let list: Vec<f64> = list.collect::<Option<_>>()?;
        (!list.is_empty()).then(|| list.iter().sum::<f64>() / list.len() as f64)
    }

    /// How much of each configuration is in that mean.
    fn weights(&self, value: &str, combinations: &[Vec<String>]) -> Weights {
        let list = combinations.iter().filter_map(|c| self.results.get(&(value.to_owned(), c.clone())));
        let share = |own: &[i64]| 1.0 / (own.len() * combinations.len()) as f64;
        list.flat_map(|(_, own)| own.iter().map(move |number| (*number, share(own)))).collect()
    }
}

/// The main effect of one of these axes. Without `judged` nothing is said of which value may be the best.
pub(in crate::report) fn effect(
    cells: &[Cell],
    keys: &[String],
    factors: &[Factor],
    of: &Factor,
    over: Over,
    judged: Option<TextNoise<'_>>,
) -> Effect {
    let others: Vec<&Factor> = factors.iter().filter(|factor| *factor != of).collect();
    let all = Crossed::new(cells, |cell| of.value(cell), &others, Cell::mean);
    let values = ordered(cells.iter().map(|cell| of.value(cell)));
    // A value that only a few extra points have would leave nothing to compare.
    let planned = |value: &String| all.planned.iter().filter(|(v, _)| v == value).count();
    let most = values.iter().map(planned).max().unwrap_or(0);
    let (kept, rare): (Vec<String>, Vec<String>) = values.iter().cloned().partition(|value| 2 * planned(value) >= most);

    let observed = Observed::new(cells, of, &others, &kept);
    let (found, seeds) = observed.levels(judged);
    let level = |value: &String| {
        let none = Level { value: value.clone(), mean: None, limits: None, in_best_set: None };
        let place = kept.iter().position(|other| other == value);
        place.and_then(|place| found.get(place)).map_or(none, |level| Level { value: value.clone(), ..level.clone() })
    };
    let combinations = all.combinations(&kept);
    Effect {
        keys: of.keys(keys),
        over,
        levels: values.iter().map(level).collect(),
        seeds,
        cells: observed.complete.len(),
        all_cells: combinations.len(),
        note: note(observed.complete.len(), combinations.len(), &rare),
    }
}

/// What there is to say of an effect over so many of all combinations, of which these values were left out.
fn note(complete: usize, all: usize, rare: &[String]) -> Option<String> {
    let none =
        "In no combination of the other settings does every value have a result with the same seed, so there are no means.";
    let means = match complete {
        0 => Some(none.to_owned()),
        few if few < all => {
            Some(format!("Over {few} of {all} combinations of the other settings: those in which every value has a result."))
        }
        _ => None,
    };
    let verb = if rare.len() == 1 { "was" } else { "were" };
    let left_out =
        (!rare.is_empty()).then(|| format!("{} {verb} tried with a few combinations only, and left out.", rare.join(", ")));
    let notes: Vec<String> = [means, left_out].into_iter().flatten().collect();
    (!notes.is_empty()).then(|| notes.join(" "))
}

/// The values of an axis as a small experiment of its own.
struct Observed {
    /// Combinations in which every value has a result with some seed.
    complete: BTreeSet<Vec<String>>,
    /// The mean of each value over those of each seed, without gaps; a value is a configuration by its place.
    results: Results,
    /// How much of each configuration is in the mean of each value over the seeds.
    weights: Vec<Weights>,
    /// Places of the values that a configuration is part of of which a seed diverged.
    shaken: BTreeSet<usize>,
}

impl Observed {
    fn new(cells: &[Cell], of: &Factor, others: &[&Factor], values: &[String]) -> Self {
        let seeds: BTreeSet<i64> = cells.iter().flat_map(|cell| cell.results.iter().map(|&(seed, _)| seed)).collect();
        let (mut complete, mut results) = (BTreeSet::new(), Vec::new());
        let (mut weights, mut counted) = (vec![Weights::new(); values.len()], 0.0);
        for seed in seeds {
            let with_seed = |cell: &Cell| cell.results.iter().find(|(own, _)| *own == seed).map(|&(_, response)| response);
            let crossed = Crossed::new(cells, |cell| of.value(cell), others, with_seed);
            let combinations = crossed.complete(values);
            for (place, value) in values.iter().enumerate() {
                results.extend(crossed.mean(value, &combinations).map(|response| (place as i64, seed, response)));
                for (configuration, weight) in crossed.weights(value, &combinations) {
                    *weights[place].entry(configuration).or_default() += weight;
                }
            }
            counted += f64::from(u8::from(!combinations.is_empty()));
            complete.extend(combinations);
        }
        weights.iter_mut().flat_map(Weights::values_mut).for_each(|weight| *weight /= counted);
        let diverged: BTreeSet<i64> = cells.iter().filter(|cell| cell.has_diverged).map(|cell| cell.configuration).collect();
        let is_shaken = |place: &usize| weights[*place].keys().any(|number| diverged.contains(number));
        let shaken = (0..values.len()).filter(is_shaken).collect();
        Self { complete, results: Results::new(results), weights, shaken }
    }

    /// Mean, limits and verdict of each value, and the number of seeds; no value where nothing is complete.
    fn levels(&self, judged: Option<TextNoise<'_>>) -> (Vec<Level>, usize) {
        let count = self.weights.len();
        if self.complete.is_empty() {
            return (Vec::new(), 0);
        }
        let twins = self.results.twins();
        let pairs = Pairs::new(&self.results.observations(&twins));
        let seeds = pairs.seeds();
        // The place of each value among the different ones.
        let places: Vec<usize> = (0..count as i64).filter_map(|value| pairs.fit().place(*twins.get(&value)?)).collect();
        let judged = judged.filter(|_| count > 1 && seeds > 1);
        let beaten = judged.map(|by_text| self.beaten(&pairs, &places, by_text));
        let n = seeds as f64;
        let of_seed: Vec<f64> =
            (0..seeds).map(|seed| places.iter().map(|&place| pairs.responses(place)[seed]).sum::<f64>() / count as f64).collect();
        let level = |&place: &usize| {
            let own = pairs.responses(place);
            let mean = own.iter().sum::<f64>() / n;
            let from_seed = own.iter().zip(&of_seed).map(|(own, seed)| own - seed);
            let centre = from_seed.clone().sum::<f64>() / n;
            let limits = (seeds > 2).then(|| {
                let variance = from_seed.map(|value| (value - centre).powi(2)).sum::<f64>() / (n - 1.0);
                let half = quantile(0.025, n - 1.0) * (variance / n).sqrt();
                Interval { lower: mean - half, upper: mean + half }
            });
            let in_best_set = beaten.as_ref().map(|beaten| !beaten[place]);
            Level { value: String::new(), mean: Some(mean), limits, in_best_set }
        };
        (places.iter().map(level).collect(), seeds)
    }

    /// Whether each of the different values is beaten; `places` has the place of each value among them.
    fn beaten(&self, pairs: &Pairs, places: &[usize], by_text: TextNoise<'_>) -> Vec<bool> {
        let different = pairs.fit().configurations();
        let weights = |place: usize| &self.weights[different[place] as usize];
        let difference = |i: usize, j: usize| {
            let by_seeds = pairs.difference(i, j)?;
            let mut contrast = weights(i).clone();
            for (number, weight) in weights(j) {
                *contrast.entry(*number).or_default() -= weight;
            }
            let Some((text, degrees)) = by_text(&contrast) else { return Some(by_seeds) };
            let (variance, degrees) = added(by_seeds.variance, by_seeds.degrees, text, degrees);
            Some(Difference { variance, degrees, ..by_seeds })
        };
        let shaken: BTreeSet<usize> = self.shaken.iter().map(|&value| places[value]).collect();
        let all: Vec<usize> = (0..different.len()).collect();
        beaten_by(&all, difference, |place| !shaken.contains(&place)).iter().map(Option::is_some).collect()
    }
}

/// The cell means of two of these axes; `None` where one has too many values for a table.
pub(in crate::report) fn interaction(
    cells: &[Cell],
    keys: &[String],
    factors: &[Factor],
    rows: &Factor,
    columns: &Factor,
    over: Over,
) -> Option<Interaction> {
    let others: Vec<&Factor> = factors.iter().filter(|factor| *factor != rows && *factor != columns).collect();
    let pair = |row: &str, column: &str| format!("{row}\u{1f}{column}");
    let crossed = Crossed::new(cells, |cell| pair(&rows.value(cell), &columns.value(cell)), &others, Cell::mean);
    let row_values = ordered(cells.iter().map(|cell| rows.value(cell)));
    let column_values = ordered(cells.iter().map(|cell| columns.value(cell)));
    if row_values.len().max(column_values.len()) > MOST_VALUES {
        return None;
    }
    let pairs: BTreeSet<&String> = crossed.results.keys().map(|(value, _)| value).collect();
    let there: Vec<String> = pairs.into_iter().cloned().collect();
    let all = crossed.combinations(&there);
    let complete = crossed.complete(&there);
    let mean = |row: &String, column: &String| crossed.mean(&pair(row, column), &complete);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    fn keys(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    /// Judged by the seeds alone.
    const BY_SEEDS: Option<TextNoise<'_>> = Some(&|_| None);

    fn cell(configuration: usize, values: Vec<String>, results: Vec<(i64, f64)>) -> Cell {
        Cell { configuration: configuration as i64, values, results, has_diverged: false }
    }

    /// A complete grid over three axes with these effects: 100 + 10 a + b (0, 3, 9) + interaction of a with c.
    fn grid() -> Vec<Cell> {
        let mut cells = Vec::new();
        for a in 0..2 {
            for (b, effect) in [("0.5", 3.0), ("off", 9.0), ("0.25", 0.0)] {
                for c in 0..2 {
                    let response = 100.0 + 10.0 * f64::from(a) + effect + f64::from(a * c);
                    let values = vec![(32 << a).to_string(), b.to_owned(), ["cosine", "linear"][c as usize].to_owned()];
                    let results = (1..=3).map(|seed| (seed, response)).collect();
                    cells.push(cell(cells.len(), values, results));
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
        found.iter().map(|factor| effect(cells, &keys, &found, factor, Over::Chosen, BY_SEEDS)).collect()
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
        cells[0].results.clear();
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
        cells.iter_mut().filter(|cell| cell.values[1] == "off").for_each(|cell| cell.results.clear());
        let effects = all(&cells, &["a", "b", "c"]);
        assert!(effects[1].levels.iter().all(|level| level.mean.is_none()));
        assert!(effects[1].note.as_deref().unwrap().starts_with("In no combination"));
        assert_eq!(effects[0].cells, 4, "the others have means where both values are there");
    }

    #[test]
    fn an_extra_point_does_not_empty_the_table() {
        let mut cells = grid();
        let values = ["32", "7", "cosine"].map(str::to_owned).to_vec();
        cells.push(cell(cells.len(), values, (1..=3).map(|seed| (seed, 1.0)).collect()));
        let effects = all(&cells, &["a", "b", "c"]);
        assert_eq!(effects[1].levels.iter().filter(|level| level.mean.is_some()).count(), 3);
        assert!(effects[1].note.as_deref().unwrap().contains("7 was tried with a few combinations only"));
    }

    #[test]
    fn settings_that_move_together_are_one_axis_and_what_follows_is_none() {
        let row = |width: &str, layers: &str, length: &str, stride: &str, y: f64| {
            cell(0, [width, layers, length, stride].map(str::to_owned).to_vec(), vec![(1, y)])
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
        cells.iter_mut().filter(|c| c.values[0] == "64" && c.values[1] == "off").for_each(|cell| cell.results.clear());
        let found = factors(&cells, &keys, |_| false);
        let table = interaction(&cells, &keys, &found, &found[0], &found[1], Over::Chosen).unwrap();
        assert_eq!(table.column_values, ["0.25", "0.5", "off"]);
        assert_eq!(table.means, [vec![Some(100.0), Some(103.0), Some(109.0)], vec![Some(110.5), Some(113.5), None]]);
        assert_eq!(table.note, None);
        let table = interaction(&cells, &keys, &found, &found[0], &found[2], Over::Chosen).unwrap();
        assert_eq!(table.means, [[101.5, 101.5], [111.5, 112.5]].map(|row| row.map(Some).to_vec()), "over 0.25 and 0.5");
        assert!(table.note.unwrap().starts_with("Over 2 of 3"));
    }

    /// Two axes of three values each and some seeds: effects of `a` 0, 0 and `lead`; each cell scatters by its own deviation, and a seed
    /// does its part to all alike.
    fn trained(number: u64, seeds: i64, lead: f64) -> (Vec<Cell>, Vec<String>) {
        let mut stream = Stream::new(number, "cells", &[seeds as u64]);
        let blocks: Vec<f64> = (0..seeds).map(|_| 2.0 * stream.normal()).collect();
        let mut cells = Vec::new();
        for a in 0..3 {
            for b in 0..3 {
                let deviation = [1.0, 0.3, 2.0][b];
                let mean = b as f64 + if a == 2 { lead } else { 0.0 };
                let results = (0..seeds).map(|seed| (seed, mean + blocks[seed as usize] + deviation * stream.normal())).collect();
                cells.push(cell(cells.len(), vec![a.to_string(), b.to_string()], results));
            }
        }
        (cells, keys(&["a", "b"]))
    }

    #[test]
    fn the_limits_of_a_value_hold_as_often_as_they_say() {
        let (mut holds, mut all) = (0, 0);
        for number in 0..2_000 {
            let (cells, keys) = trained(number, 4, 1.0);
            let found = factors(&cells, &keys, |_| false);
            let effect = effect(&cells, &keys, &found, &found[0], Over::Chosen, BY_SEEDS);
            let mean = effect.levels.iter().filter_map(|level| level.mean).sum::<f64>() / 3.0;
            for (level, truth) in effect.levels.iter().zip([-1.0 / 3.0, -1.0 / 3.0, 2.0 / 3.0]) {
                let limits = level.limits.unwrap();
                holds += usize::from(limits.lower - mean <= truth && truth <= limits.upper - mean);
                all += 1;
            }
        }
        let share = holds as f64 / all as f64;
        assert!((0.93..0.97).contains(&share), "{share}");
    }

    #[test]
    fn a_value_that_loses_is_out_and_equal_ones_are_seldom() {
        let (mut lost, mut wrong) = (0, 0);
        for number in 0..500 {
            let (cells, keys) = trained(number, 3, 5.0);
            let found = factors(&cells, &keys, |_| false);
            let effect = effect(&cells, &keys, &found, &found[0], Over::Chosen, BY_SEEDS);
            let set: Vec<bool> = effect.levels.iter().map(|level| level.in_best_set.unwrap()).collect();
            lost += usize::from(!set[2]);
            wrong += usize::from(!set[0]);
        }
        assert!(lost > 400 && wrong < 40, "{lost} {wrong}");
    }

    #[test]
    fn two_seeds_have_no_bars_and_one_has_no_verdict_either() {
        let of = |seeds| {
            let (cells, keys) = trained(1, seeds, 1.0);
            let found = factors(&cells, &keys, |_| false);
            effect(&cells, &keys, &found, &found[0], Over::Chosen, BY_SEEDS)
        };
        let (two, one) = (of(2), of(1));
        assert!(two.levels.iter().all(|level| level.limits.is_none() && level.in_best_set.is_some()));
        assert!(one.levels.iter().all(|level| level.limits.is_none() && level.in_best_set.is_none() && level.mean.is_some()));
    }

    #[test]
    fn a_seed_without_a_complete_combination_drops_out() {
        let (mut cells, keys) = trained(1, 3, 1.0);
        // With seed 2 only value 0 of the first axis was trained.
        cells.iter_mut().filter(|cell| cell.values[0] != "0").for_each(|cell| cell.results.retain(|(seed, _)| *seed != 2));
        let found = factors(&cells, &keys, |_| false);
        let effect = effect(&cells, &keys, &found, &found[0], Over::Chosen, BY_SEEDS);
        assert_eq!((effect.seeds, effect.cells), (2, 3));
    }

    /// Which values of the first axis may be the best.
    fn in_best_set(cells: &[Cell], judged: Option<TextNoise<'_>>) -> Vec<bool> {
        let keys = keys(&["a", "b"]);
        let found = factors(cells, &keys, |_| false);
        let effect = effect(cells, &keys, &found, &found[0], Over::Chosen, judged);
        effect.levels.iter().map(|level| level.in_best_set.unwrap()).collect()
    }

    #[test]
    fn the_text_is_asked_for_the_noise_of_the_very_difference_of_two_values() {
        let (mut cells, _) = trained(1, 3, 50.0);
        // With seed 2 one of three combinations is incomplete.
        cells[0].results.retain(|(seed, _)| *seed != 2);
        let asked = std::cell::RefCell::new(Vec::new());
        let silent = |weights: &Weights| {
            asked.borrow_mut().push(weights.clone());
            Some((0.0, f64::INFINITY))
        };
        assert_eq!(in_best_set(&cells, Some(&silent)), in_best_set(&cells, BY_SEEDS));
        // The values of `a` are the configurations 0 to 2, 3 to 5 and 6 to 8.
        let (twice, thrice) = ((1.0 / 3.0 + 1.0 / 3.0) / 3.0, (1.0 / 3.0 + 1.0 / 2.0 + 1.0 / 3.0) / 3.0);
        let expected = [(0, twice), (1, thrice), (2, thrice), (3, -twice), (4, -thrice), (5, -thrice)];
        let is_expected = |weights: &Weights| {
            weights.len() == 6 && expected.iter().all(|(number, weight)| (weights[number] - weight).abs() < 1e-12)
        };
        assert!(asked.borrow().iter().any(is_expected), "{:?}", asked.borrow());
        let loud = |_: &Weights| Some((1e6, 100.0));
        assert_eq!(in_best_set(&cells, Some(&loud)), [true; 3], "the text ties all");
    }

    #[test]
    fn a_value_of_which_a_seed_diverged_excludes_no_other() {
        let (mut cells, _) = trained(1, 4, -50.0);
        assert_eq!(in_best_set(&cells, BY_SEEDS), [false, false, true]);
        cells[7].has_diverged = true;
        assert_eq!(in_best_set(&cells, BY_SEEDS), [true; 3]);
    }

    #[test]
    fn values_with_the_very_same_results_are_one() {
        let value = |number: usize, name: &str, results: [f64; 3]| {
            cell(number, vec![name.to_owned(), "x".to_owned()], (1..).zip(results).collect())
        };
        // Of two values the second loses by as much as it takes for two, and not for three.
        let two = [value(0, "1", [1.0, 2.0, 3.0]), value(1, "2", [1.1, 2.13, 3.16])];
        let same = value(2, "3", [1.0, 2.0, 3.0]);
        assert_eq!(in_best_set(&two, BY_SEEDS), [true, false]);
        assert_eq!(in_best_set(&[&two[..], &[same]].concat(), BY_SEEDS), [true, false, true]);
    }
}
