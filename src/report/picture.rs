//! `figure.svg`: the held-out loss of the best configurations on the way, for a README or a message. It needs no script, and
//! follows the reader's light or dark.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::comparison::Configuration;
use super::curves::Curve;
use super::experiment::Report;
use super::verdict;
use crate::report::wording;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 480.0;
/// Where the drawing lies: left, top, right, bottom.
const AREA: [f64; 4] = [56.0, 84.0, 690.0, 434.0];
/// Lines drawn, the best ones; each has a label at its end.
const LINES: usize = 12;
const LABEL: f64 = 17.0;
/// Characters that a line of the picture holds.
const CHARACTERS: usize = 138;

const STYLE: &str = "text{font:13px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;fill:#22201c;font-variant-numeric:tabular-nums}\
.title{font-size:20px;font-family:Georgia,serif}.soft{fill:#6d675d}.tick{fill:#6d675d;font-size:11px}.grid{stroke:#e5e0d6}\
.line{fill:none;stroke:#2f6690;stroke-width:1.5}.best{stroke:#b4540a;stroke-width:3}.lead{stroke:#cfc8ba}\
.first{fill:#b4540a;font-weight:600}.paper{fill:#fbfaf7}\
@media(prefers-color-scheme:dark){.paper{fill:#16151a}text{fill:#ece7de}.soft,.tick{fill:#a39c90}.grid{stroke:#302e36}\
.lead{stroke:#4a4750}.line{stroke:#7fb4dc}.best{stroke:#f0a24a}.first{fill:#f0a24a}}";

/// A configuration's line.
struct Line {
    /// Whether it is the one that the verdict names.
    is_best: bool,
    label: String,
    /// Tokens and mean held-out loss over the seeds, in the unit that losses are drawn in.
    points: Vec<(f64, f64)>,
}

/// The picture; `None` where no ranked configuration was evaluated on the way.
pub(super) fn svg(report: &Report) -> Option<String> {
    let lines = lines(report);
    let x_end = lines.iter().flat_map(|line| &line.points).map(|p| p.0).fold(0.0, f64::max);
    let (low, high) = range(&lines)?;
    let [left, top, right, bottom] = AREA;
    let x = |tokens: f64| left + (right - left) * tokens / x_end;
    let y = |loss: f64| bottom - (bottom - top) * (loss - low) / (high - low);

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\"><style>{STYLE}</style>\
         <rect class=\"paper\" width=\"100%\" height=\"100%\"/><clipPath id=\"area\"><rect x=\"{left}\" y=\"{top}\" width=\"{}\" \
         height=\"{}\"/></clipPath>",
        escaped(&format!("{}: held-out loss against tokens", report.design.name)),
        right - left + 4.0,
        bottom - top + 4.0,
    );
    let mut text = |x: f64, y: f64, class: &str, anchor: &str, text: &str| {
        let text = escaped(&wording::plain(text));
        let _ = write!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\" text-anchor=\"{anchor}\">{text}</text>");
    };
    text(left - 40.0, 32.0, "title", "start", &cut(&report.design.name, 60));
    text(left - 40.0, 54.0, "soft", "start", &cut(verdict::sentences(report).first().map_or("", String::as_str), CHARACTERS));
    text(left - 40.0, 74.0, "tick", "start", &format!("held-out loss, {}", report.loss_unit()));
    let unit = report.unit();
    text(WIDTH - 14.0, 74.0, "tick", "end", &cut(&format!("{}, {unit}", wording::keys(&report.design.swept).join(" · ")), 70));
    for tick in ticks(low, high, 8) {
        text(left - 8.0, y(tick) + 4.0, "tick", "end", &number(tick));
    }
    for tick in ticks(0.0, x_end, 6) {
        text(x(tick), bottom + 18.0, "tick", "middle", &short(tick));
    }
    text((left + right) / 2.0, bottom + 38.0, "tick", "middle", "target tokens trained on");
    let ends: Vec<f64> = lines.iter().map(|line| y(line.points.last().map_or(low, |p| p.1)).clamp(top, bottom)).collect();
    let at = apart(&ends);
    for (line, at) in lines.iter().zip(&at) {
        text(right + 20.0, at + 4.0, if line.is_best { "first" } else { "" }, "start", &cut(&line.label, 38));
    }
    for tick in ticks(low, high, 8) {
        let y = y(tick);
        let _ = write!(svg, "<path class=\"grid\" d=\"M{left} {y:.1}H{right}\"/>");
    }
    svg.push_str("<g clip-path=\"url(#area)\">");
    // The best one is drawn last, so that it lies on top.
    let mut order: Vec<(usize, &Line)> = lines.iter().enumerate().rev().collect();
    order.sort_by_key(|(_, line)| line.is_best);
    for (place, line) in order {
        let points: Vec<String> = line.points.iter().map(|p| format!("{:.1} {:.1}", x(p.0), y(p.1))).collect();
        let opacity = if line.is_best { 1.0 } else { 0.9 - 0.6 * place as f64 / LINES as f64 };
        let class = if line.is_best { "line best" } else { "line" };
        let _ = write!(svg, "<path class=\"{class}\" opacity=\"{opacity:.2}\" d=\"M{}\"/>", points.join("L"));
    }
    svg.push_str("</g>");
    for ((line, end), at) in lines.iter().zip(&ends).zip(&at) {
        let from = x(line.points.last().map_or(x_end, |p| p.0)) + 3.0;
        let _ = write!(svg, "<path class=\"lead\" fill=\"none\" d=\"M{from:.1} {end:.1}L{:.1} {at:.1}\"/>", right + 16.0);
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

fn lines(report: &Report) -> Vec<Line> {
    let by_bytes = report.comparison.by_bytes;
    let ranked = report.comparison.configurations.iter().filter(|c| c.place.is_some());
    let best = report.comparison.best().map(|best| best.number);
    let line = |c: &Configuration| {
        let last = |curve: &Curve| curve.validation.last().map(|point| point.step);
        let of = report.curves.iter().filter(|curve| curve.configuration == c.number && !curve.validation.is_empty());
        // A seed that ended early does not cut the others short.
        let far = of.clone().map(last).max().flatten();
        let seeds = of.filter(|curve| last(curve) == far);
        let mut by_step: BTreeMap<i64, (f64, Vec<f64>)> = BTreeMap::new();
        for point in seeds.clone().flat_map(|curve| &curve.validation) {
            let at = by_step.entry(point.step).or_insert((point.tokens as f64, Vec::new()));
            at.1.push(point.loss);
        }
        let all = seeds.count();
        let whole = by_step.into_values().filter(|(_, losses)| losses.len() == all);
        let points: Vec<(f64, f64)> = whole.map(|(tokens, l)| (tokens, l.iter().sum::<f64>() / l.len() as f64)).collect();
        let figure = c.figure(by_bytes).map(|f| wording::perplexity(f.mean)).unwrap_or_default();
        let label = [c.values.join(" · "), figure].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ");
        (!points.is_empty()).then_some(Line { is_best: best == Some(c.number), label, points })
    };
    ranked.filter_map(line).take(LINES).collect()
}

/// From a little below the lowest loss to a little above the highest after a fifth of the way: where configurations part.
fn range(lines: &[Line]) -> Option<(f64, f64)> {
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    for line in lines {
        let end = line.points.last()?.0;
        for &(tokens, loss) in &line.points {
            low = low.min(loss);
            if tokens >= 0.2 * end {
                high = high.max(loss);
            }
        }
    }
    let room = 0.06 * (high - low);
    let ends = if room > 0.0 { (low - room, high + room) } else { (low - 0.1, low + 0.1) };
    (low.is_finite() && high.is_finite()).then_some(ends)
}

/// Round numbers within a range, about so many.
fn ticks(low: f64, high: f64, about: usize) -> Vec<f64> {
    let rough = (high - low) / about as f64;
    if rough.is_nan() || rough <= 0.0 {
        return Vec::new();
    }
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * power).into_iter().find(|step| *step >= rough).unwrap_or(10.0 * power);
    let first = (low / step).ceil() as i64;
    (first..).map(|n| n as f64 * step).take_while(|tick| *tick <= high * (1.0 + 1e-12)).collect()
}

/// Labels moved apart so that none touches another, as near to their places as they can be from the top down.
fn apart(places: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by(|&a, &b| places[a].total_cmp(&places[b]));
    let mut at = places.to_vec();
    for pair in order.windows(2) {
        at[pair[1]] = at[pair[1]].max(at[pair[0]] + LABEL);
    }
    // What was pushed below the end goes back up.
    let mut lowest = AREA[3];
    for &place in order.iter().rev() {
        at[place] = at[place].min(lowest);
        lowest = at[place] - LABEL;
    }
    at
}

/// At most so many characters.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most { text.to_owned() } else { text.chars().take(most - 1).chain(['…']).collect() }
}

fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// 400k, 1.5M.
fn short(value: f64) -> String {
    match value {
        v if v >= 1e9 => format!("{}B", number(v / 1e9)),
        v if v >= 1e6 => format!("{}M", number(v / 1e6)),
        v if v >= 1e3 => format!("{}k", number(v / 1e3)),
        v => number(v),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        assert_eq!(ticks(0.0, 450_000.0, 6), [0.0, 100_000.0, 200_000.0, 300_000.0, 400_000.0]);
        assert_eq!(ticks(1.53, 2.21, 6).iter().map(|t| number(*t)).collect::<Vec<_>>(), ["1.6", "1.8", "2", "2.2"]);
        assert!(ticks(1.0, 1.0, 6).is_empty());
        assert_eq!([short(400_000.0), short(1_500_000.0), short(20.0)], ["400k", "1.5M", "20"]);
    }

    #[test]
    fn labels_do_not_touch() {
        let at = apart(&[430.0, 100.0, 431.0, 432.0, 101.0]);
        let mut sorted = at.clone();
        sorted.sort_by(f64::total_cmp);
        assert!(sorted.windows(2).all(|pair| pair[1] - pair[0] >= LABEL - 1e-9) && sorted[4] <= AREA[3], "{at:?}");
        assert!(at[0] < at[2] && at[2] < at[3], "their order stays: {at:?}");
    }
}
