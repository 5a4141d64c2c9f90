//! The settings that vary, as axes of figures, and means over the configurations that have a value.

use crate::report::comparison::Configuration;
use crate::report::experiment::Report;
use crate::report::inference::effects::Over;
use crate::report::swept_value::ordered;
use crate::report::wording;

/// A swept key that has at least two values, or several that move together.
pub(super) struct Axis {
    /// Places among the swept keys.
    pub(super) places: Vec<usize>,
    pub(super) label: String,
    pub(super) values: Vec<String>,
}

impl Axis {
    pub(super) fn value(&self, configuration: &Configuration) -> String {
        joined(configuration, &self.places)
    }

    pub(super) fn index(&self, configuration: &Configuration) -> Option<usize> {
        let value = self.value(configuration);
        self.values.iter().position(|known| *known == value)
    }

    pub(super) fn keys<'a>(&self, report: &'a Report) -> Vec<&'a str> {
        self.places.iter().map(|&place| report.design.swept[place].as_str()).collect()
    }
}

/// The axes whose values differ, with these values in the order a person expects. Keys that move together are one where the
/// statistics say so.
pub(super) fn varying(report: &Report) -> Vec<Axis> {
    let swept = &report.design.swept;
    let labels = wording::keys(swept);
    let place = |key: &String| swept.iter().position(|other| other == key);
    let effects = report.statistics.iter().flat_map(|statistics| &statistics.effects);
    let mut groups: Vec<Vec<usize>> = effects.filter_map(|effect| effect.keys.iter().map(place).collect()).collect();
    if groups.is_empty() {
        groups = (0..swept.len()).map(|place| vec![place]).collect();
    }
    let axis = |places: Vec<usize>| {
        let label = places.iter().map(|&place| labels[place].as_str()).collect::<Vec<_>>().join(" · ");
        let mut in_file_order: Vec<&Configuration> = report.comparison.configurations.iter().collect();
        in_file_order.sort_by_key(|c| c.order);
        let values = ordered(in_file_order.into_iter().map(|c| joined(c, &places)));
        (values.len() > 1).then_some(Axis { places, label, values })
    };
    groups.into_iter().filter_map(axis).collect()
}

fn joined(configuration: &Configuration, places: &[usize]) -> String {
    let values = places.iter().map(|&place| configuration.values.get(place).map_or("", String::as_str));
    values.collect::<Vec<_>>().join(" · ")
}

/// Which configurations a figure of these axes is of: what a tuned setting does shows only over all of its values.
pub(super) fn over(report: &Report, axes: &[&Axis]) -> Over {
    let is_tuned = |axis: &&Axis| axis.keys(report).iter().any(|key| report.design.tune.iter().any(|other| other == key));
    if axes.iter().any(is_tuned) { Over::All } else { Over::Chosen }
}

/// The same in words; nothing where no setting is tuned, so that there is one kind only.
pub(super) fn over_words(report: &Report, over: Over) -> Option<String> {
    let keys = wording::keys(&report.design.tune).join(" and ");
    (!keys.is_empty()).then(|| match over {
        Over::Chosen => format!("each at its best {keys}"),
        Over::All => format!("every {keys} tried"),
    })
}

/// A sentence for figures that show the chosen configurations only.
pub(super) fn chosen_only(report: &Report) -> String {
    over_words(report, Over::Chosen).map_or_else(String::new, |words| format!(" Configurations: {words}."))
}

/// Means over configurations: of losses where perplexity ranks, of bits per byte as they are.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Mean {
    sum: f64,
    pub(super) count: usize,
}

impl Mean {
    pub(super) fn add(&mut self, report: &Report, configuration: &Configuration, over: Over) {
        let by_bytes = report.comparison.by_bytes;
        let value = if by_bytes { configuration.bits_per_byte.map(|f| f.mean) } else { configuration.loss };
        if let Some(value) = value.filter(|_| over.includes(configuration)) {
            self.sum += value;
            self.count += 1;
        }
    }

    /// As the figure that ranks.
    pub(super) fn value(self, report: &Report) -> Option<f64> {
        let mean = (self.count > 0).then(|| self.sum / self.count as f64);
        if report.comparison.by_bytes { mean } else { mean.map(f64::exp) }
    }
}
