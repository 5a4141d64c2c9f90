//! Gradient norms and clipping: what the clip norm had to do.

use serde_json::json;

use super::section::{Panel, Section, Table, round};
use crate::report::experiment::Report;
use crate::report::swept_value::SweptValue;
use crate::runs::Clipping;

/// Configurations whose norms are drawn as ranges; the table has more.
const DRAWN: usize = 24;

/// The gradient norms of a configuration, and the share of its steps that were clipped, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Norms {
    p50: f64,
    p90: f64,
    p99: f64,
    max: f64,
    share: f64,
}

impl From<Clipping> for Norms {
    fn from(trial: Clipping) -> Self {
        Self {
            p50: trial.grad_norm_p50,
            p90: trial.grad_norm_p90,
            p99: trial.grad_norm_p99,
            max: trial.grad_norm_max,
            share: trial.clipped_share(),
        }
    }
}

pub(super) fn section(report: &Report) -> Option<Section> {
    let by_number = report.comparison.by_number();
    let mut lines: Vec<(i64, Norms)> = Vec::new();
    for configuration in report.comparison.configurations.iter().map(|c| c.number) {
        let of = report.curves.iter().filter(|curve| curve.configuration == configuration);
        lines.extend(pooled(of.filter_map(|curve| Some(curve.clipping?.into()))).map(|norms| (configuration, norms)));
    }
    if lines.is_empty() {
        return None;
    }
    let ranges: Vec<_> = lines
        .iter()
        .take(DRAWN)
        .map(|(number, c)| {
            let clip = report.settings.number(*number, "train_clip_norm");
            let [p50, p90, p99, max, share] = [c.p50, c.p90, c.p99, c.max, c.share].map(round);
            json!({ "configuration": number, "p50": p50, "p90": p90, "p99": p99, "max": max, "share": share, "clip": clip })
        })
        .collect();
    let rows = lines.iter().filter_map(|(number, c)| {
        let clip = report.settings.shown(*number, "train_clip_norm").unwrap_or_default();
        let norms = [c.p50, c.p90, c.p99, c.max].map(|norm| format!("{norm:.3}"));
        let share = match c.share {
            0.0 if SweptValue::of(&clip) == SweptValue::Off => String::new(),
            0.0 => "not binding".to_owned(),
            share => format!("{:.1} %", 100.0 * share),
        };
        Some([report.full_name(by_number.get(number)?), clip].into_iter().chain(norms).chain([share]).collect())
    });
    let headings = [
        ("configuration", false),
        ("clip norm", true),
        ("median", true),
        ("90 %", true),
        ("99 %", true),
        ("largest", true),
        ("steps clipped", true),
    ];
    let table = Some(Table::new(&headings, rows.collect()));
    let panel = |caption: &str, label: &str| Panel { caption: caption.to_owned(), note: String::new(), label: label.to_owned() };
    Some(Section {
        id: "gradients",
        heading: "Gradients and clipping",
        caption: "The norm of all gradients together, before clipping. On the way: an exponential mean of all steps, with single steps \
                  faint behind the one in front. By configuration: from the median over 90 % and 99 % to the largest, with the clip norm as a \
                  stroke and the share of the steps that it scaled down."
            .to_owned(),
        panels: vec![
            panel("on the way", "gradient norm on the way, a line a trial"),
            panel("by configuration", "range of the gradient norms of each configuration, with the share of the steps that were clipped"),
        ],
        side_by_side: false,
        data: vec![json!({}), json!({ "ranges": ranges, "more": lines.len().saturating_sub(DRAWN) })],
        table,
        files: "trials/*/steps.parquet",
    })
}

/// Of several seeds the mean of each, and the largest of all.
fn pooled(seeds: impl Iterator<Item = Norms>) -> Option<Norms> {
    let seeds: Vec<Norms> = seeds.collect();
    let mean = |of: fn(&Norms) -> f64| seeds.iter().map(of).sum::<f64>() / seeds.len() as f64;
    let max = seeds.iter().map(|c| c.max).reduce(f64::max)?;
    Some(Norms { p50: mean(|c| c.p50), p90: mean(|c| c.p90), p99: mean(|c| c.p99), max, share: mean(|c| c.share) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_averaged_and_the_largest_norm_is_that_of_all() {
        let one = Norms { p50: 1.0, p90: 2.0, p99: 3.0, max: 9.0, share: 0.2 };
        let two = Norms { p50: 3.0, p90: 4.0, p99: 5.0, max: 6.0, share: 0.4 };
        let both = pooled([one, two].into_iter()).unwrap();
        assert_eq!((both.p50, both.p90, both.p99, both.max), (2.0, 3.0, 4.0, 9.0));
        assert!((both.share - 0.3).abs() < 1e-12);
        assert_eq!(pooled(std::iter::empty()), None);
    }
}
