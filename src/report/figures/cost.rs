//! What a result costs: the figure that ranks against speed and against time, with those marked that nothing beats in both.

use serde_json::json;

use super::section::{Panel, Section, Table, round};
use super::varying::chosen_only;
use crate::report::comparison::{Configuration, Figure};
use crate::report::experiment::Report;
use crate::words;

/// A ranked configuration: the figure that ranks it, target tokens a second, and seconds of training.
type Point<'a> = (&'a Configuration, Figure, f64, f64);

pub(super) fn section(report: &Report) -> Option<Section> {
    let by_bytes = report.comparison.by_bytes;
    let ranked = report.comparison.configurations.iter().filter(|c| c.place.is_some());
    let points: Vec<Point<'_>> =
        ranked.filter_map(|c| Some((c, c.figure(by_bytes)?, c.tokens_per_second?, c.training_seconds?))).collect();
    if points.len() < 3 {
        return None;
    }
    let longest = points.iter().map(|p| p.3).fold(0.0, f64::max);
    let (scale, of_time) = match longest {
        s if s < 180.0 => (1.0, "seconds"),
        s if s < 3.0 * 3600.0 => (60.0, "minutes"),
        _ => (3600.0, "hours"),
    };
    let by_rate = front(&points.iter().map(|p| (-p.2, p.1.mean)).collect::<Vec<_>>());
    let by_time = front(&points.iter().map(|p| (p.3, p.1.mean)).collect::<Vec<_>>());
    let data = |x: &str, value: &dyn Fn(&Point<'_>) -> f64, front: &[bool]| {
        let of = |(point, on): (&Point<'_>, &bool)| {
            let (configuration, figure, ..) = point;
            json!([configuration.number, round(value(point)), round(figure.mean), figure.spread.map(round), on])
        };
        json!({ "x": x, "points": points.iter().zip(front).map(of).collect::<Vec<_>>() })
    };
    let unit = report.unit();
    let panel = |caption: &str, against: &str| Panel {
        caption: caption.to_owned(),
        note: String::new(),
        label: format!("{unit} against {against}"),
    };
    Some(Section {
        id: "cost",
        heading: "What it costs",
        caption:
            "Filled points lie on the front: no other configuration is both better and faster. Rates and times are those of the \
                  training steps, and hold for this machine and what else it did."
                .to_owned()
                + &chosen_only(report),
        panels: vec![panel("against speed", "tokens per second"), panel("against time", &format!("{of_time} of training"))],
        side_by_side: true,
        data: vec![
            data("target tokens a second", &|point| point.2, &by_rate),
            data(&format!("{of_time} of training"), &|point| point.3 / scale, &by_time),
        ],
        table: Some(table(report, &points, &by_rate, &by_time)),
        files: "leaderboard.csv",
    })
}

/// The same as text, with the points on the front against speed and against time marked.
fn table(report: &Report, points: &[Point<'_>], by_rate: &[bool], by_time: &[bool]) -> Table {
    let headings = [
        ("configuration", false),
        (report.unit(), true),
        ("tokens/s", true),
        ("on the front", false),
        ("training", true),
        ("on the front", false),
    ];
    let rows = points.iter().enumerate().map(|(row, (c, f, rate, seconds))| {
        let on = |front: &[bool]| if front[row] { "yes" } else { "" }.to_owned();
        let rate = words::thousands(rate.round() as i64);
        vec![report.full_name(c), report.figure(f.mean), rate, on(by_rate), words::duration(*seconds), on(by_time)]
    });
    Table::new(&headings, rows.collect())
}

/// Which points no other is below in one of the two and not above in the other.
fn front(points: &[(f64, f64)]) -> Vec<bool> {
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by(|&a, &b| points[a].0.total_cmp(&points[b].0).then(points[a].1.total_cmp(&points[b].1)));
    let (mut on, mut lowest) = (vec![false; points.len()], f64::INFINITY);
    for place in order {
        if points[place].1 < lowest {
            lowest = points[place].1;
            on[place] = true;
        }
    }
    on
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_holds_what_nothing_beats_in_both() {
        assert_eq!(front(&[(1.0, 5.0), (2.0, 3.0), (2.0, 4.0), (3.0, 3.5), (4.0, 1.0)]), [true, true, false, false, true]);
        assert_eq!(front(&[(1.0, 1.0), (1.0, 1.0)]), [true, false]);
        assert!(front(&[]).is_empty());
    }
}
