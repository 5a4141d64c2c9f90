//! Each configuration against the best, with the limits that decide.

use serde_json::json;

use super::section::{Panel, Section, Table, round};
use crate::report::experiment::Report;
use crate::report::inference::effects::Interval;
use crate::report::statistics::{Against, Relation};
use crate::report::wording;

/// Rows drawn, the best ones; the table has more.
const DRAWN: usize = 30;
/// The axis ends at so many times what is to be seen on it.
const ROOM: f64 = 3.0;

/// Where the axis ends on either side of 0, as seen from (difference, upper limit) of each row: one whose limits are far wider than those
/// of most would leave the others no room.
fn end(rows: &[(f64, f64)]) -> f64 {
    let mut uppers: Vec<f64> = rows.iter().map(|row| row.1).collect();
    uppers.sort_by(f64::total_cmp);
    let median = uppers.get(uppers.len() / 2).copied().unwrap_or(0.0);
    ROOM * rows.iter().map(|row| row.0).fold(median, f64::max)
}

pub(super) fn section(report: &Report) -> Option<Section> {
    let statistics = report.statistics.as_ref()?;
    let by_number = report.comparison.by_number();
    // What has the very same results as the best has no limits, and lies at 0.
    let at_best = |line: &Against| (line.relation == Some(Relation::Same)).then_some(Interval { lower: 0.0, upper: 0.0 });
    let lines: Vec<_> = statistics.against.iter().filter_map(|line| Some((line, line.limits.or(at_best(line))?))).collect();
    if lines.is_empty() {
        return None;
    }
    // Perplexities differ by shares, which people read as hundredths.
    let (scale, unit, decimals) = if statistics.by_bytes { (1.0, "bits per byte", 4) } else { (100.0, "%", 2) };
    let shown = |difference: f64| scale * statistics.difference_shown(difference);
    let drawn = &lines[..lines.len().min(DRAWN)];
    let end = end(&drawn.iter().map(|(line, limits)| (shown(line.difference), shown(limits.upper))).collect::<Vec<_>>());
    let is_cut = drawn.iter().any(|(_, limits)| shown(limits.upper) > end || shown(limits.lower) < -end);
    let rows: Vec<_> = drawn
        .iter()
        .map(|(line, limits)| {
            let [difference, lower, upper] = [line.difference, limits.lower, limits.upper].map(|d| round(shown(d)));
            json!({
                "configuration": line.configuration, "difference": difference, "lower": lower, "upper": upper,
                "tied": line.in_best_set.unwrap_or(false),
            })
        })
        .collect();
    let cells = lines.iter().filter_map(|(line, limits)| {
        let signed = |difference: f64| wording::signed(shown(difference), decimals, "");
        let difference = if line.difference == 0.0 { wording::SAME.to_owned() } else { signed(line.difference) };
        let numbers = [difference, signed(limits.lower), signed(limits.upper)];
        let tied = match line.in_best_set {
            Some(true) => "tied",
            Some(false) => "out",
            None => "",
        };
        let configuration = report.full_name(by_number.get(&line.configuration)?);
        Some([configuration, line.seeds.to_string()].into_iter().chain(numbers).chain([tied.to_owned()]).collect())
    });
    let headings =
        [("configuration", false), ("seeds", true), ("difference", true), ("from", true), ("to", true), ("with the best", false)];
    let table = Some(Table::new(&headings, cells.collect()));
    let what = if statistics.by_bytes { "Bits per byte" } else { "Perplexity, in per cent," };
    Some(Section {
        id: "differences",
        heading: "Against the best",
        caption: format!(
            "{what} above the best, with the limits that decide. A bar beyond 0 is out; one that crosses 0 is statistically tied with the \
             best, unless another configuration beats it.{}",
            if is_cut { " One with an arrow goes on; the numbers have its end." } else { "" }
        ),
        panels: vec![Panel {
            caption: String::new(),
            note: String::new(),
            label: "difference of each configuration to the best, with limits".to_owned(),
        }],
        side_by_side: false,
        data: vec![json!({ "rows": rows, "unit": unit, "end": round(end) })],
        table,
        files: "summary.json",
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::night;
    use super::*;
    use crate::experiment::settings::{ClipNorm, Tokenizer};
    use crate::record::tests::{completed, plan};

    #[test]
    fn one_with_far_wider_limits_than_most_does_not_take_the_room_of_the_others() {
        assert_eq!(end(&[(1.0, 5.0), (2.0, 6.0), (3.0, 7.0), (4.0, 14_679.0)]), 21.0);
        assert_eq!(end(&[(1.0, 5.0), (40.0, 60.0), (2.0, 6.0)]), 120.0, "what differs by much is drawn");
        assert_eq!(end(&[(0.0, 0.0)]), 0.0);
        let plan = plan(&[32, 64, 128, 256], &[ClipNorm::Off], &[1, 2, 3]);
        let losses = [1.50, 1.51, 1.52, 1.60, 1.61, 1.63, 1.70, 1.71, 1.725, 1.0, 9.0, 1.0];
        let found = section(&night(&plan, &losses.map(|loss| completed(loss, None)), "{}").report()).unwrap();
        let wide = found.data[0]["rows"].as_array().unwrap().iter().find(|row| row["configuration"] == 4).unwrap();
        assert!(wide["upper"].as_f64().unwrap() > found.data[0]["end"].as_f64().unwrap(), "{:?}", found.data);
        assert!(found.caption.ends_with("One with an arrow goes on; the numbers have its end."), "{}", found.caption);
    }

    #[test]
    fn twins_are_the_same_and_bits_per_byte_have_the_digits_they_need() {
        let mut plan = plan(&[32, 64], &[ClipNorm::Off, ClipNorm::At(9.0)], &[1, 2, 3]);
        let losses = [1.50, 1.62, 1.55, 1.50, 1.62, 1.55, 1.61, 1.70, 1.67, 1.506, 1.628, 1.559];
        let states = losses.map(|loss| completed(loss, None));
        let differences = |plan: &crate::plan::Plan, json: &str| -> Vec<String> {
            let table = section(&night(plan, &states, json).report()).unwrap().table.unwrap();
            table.shown().0.iter().map(|row| row[2].clone()).collect()
        };
        let shown = differences(&plan, "{}");
        assert_eq!(
            (shown.len(), shown[0].as_str(), shown[1].starts_with("+0.")),
            (3, "the same", true),
            "the best itself is what they are compared with: {shown:?}"
        );
        plan.swept[0] = "tokenizer.kind".to_owned();
        for (place, trial) in plan.trials.iter_mut().enumerate() {
            let (tokenizer, kind) =
                if place < 6 { (Tokenizer::Byte, "byte") } else { (Tokenizer::Bpe { vocab_size: 512 }, "bpe") };
            (trial.settings.tokenizer, trial.values[0]) = (tokenizer, kind.to_owned());
        }
        let shown = differences(&plan, r#"{"swept": ["tokenizer.kind", "train.clip_norm"]}"#);
        assert!(shown[1].starts_with("+0.0") && shown[1].len() == "+0.0000".len(), "{shown:?}");
    }
}
