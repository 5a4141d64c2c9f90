//! What the statistics allow to be said, in sentences.
//!
//! "Statistically tied with the best" is what is in the set, "out" what is not; "better" is said of a sole winner only.

use super::comparison::Configuration;
use super::experiment::Report;
use super::inference::effects::{Effect, Interval};
use super::inference::reach::MOST_SEEDS;
use super::statistics::{Against, Relation, Statistics};
use crate::report::wording;
use crate::words;

/// Names of tied configurations that are written out.
const NAMED: usize = 3;
/// A reach over all configurations that is so many times that over a typical one is told apart from it.
const UNEVEN: f64 = 2.0;
/// A lead of so much more than the winner's perplexity is none that anybody looks for: the loser's would be twice as high.
const DOUBLE: f64 = 1.0;
/// Values of a setting that are written out.
const VALUES: usize = 6;

/// A difference as people read it: `+3.2 %` of perplexity, or bits per byte.
pub(super) fn difference(statistics: &Statistics, value: f64) -> String {
    wording::difference(statistics.difference_shown(value), statistics.by_bytes)
}

/// The difference of two configurations' means; `the same` where there is none.
fn lead(statistics: &Statistics, value: f64) -> String {
    wording::difference_or_same(statistics.difference_shown(value), statistics.by_bytes)
}

/// A difference without its sign: `3.2 %`.
fn size(statistics: &Statistics, value: f64) -> String {
    difference(statistics, value).trim_start_matches(['+', '-']).to_owned()
}

/// `+1.0 to +5.5`, the unit once where there is one.
fn from_to(statistics: &Statistics, limits: Interval) -> String {
    let (lower, upper) = (difference(statistics, limits.lower), difference(statistics, limits.upper));
    format!("{} to {upper}", lower.trim_end_matches(" %"))
}

/// The margin in words: `0.2 %`.
fn margin(report: &Report) -> String {
    let digits = format!("{:.4}", 100.0 * report.design.margin);
    format!("{} %", digits.trim_end_matches('0').trim_end_matches('.'))
}

/// ` over 3 seeds`; ` with one seed`.
pub(super) fn over_seeds(configuration: &Configuration) -> String {
    if configuration.seeds == 1 {
        " with one seed".to_owned()
    } else {
        format!(" over {} seeds", words::thousands(configuration.seeds as i64))
    }
}

/// The cell of the table for the difference to the best: `+3.2 % (+1.0 to +5.5 %)`; nothing for the best itself.
pub(super) fn cell(statistics: &Statistics, configuration: &Configuration) -> String {
    let Some(line) = statistics.of(configuration.number).filter(|line| line.configuration != statistics.leader) else {
        return String::new();
    };
    match line.limits {
        Some(limits) => {
            let limits = from_to(statistics, limits);
            format!("{} ({})", lead(statistics, line.difference), limits.trim_end_matches(" %"))
        }
        None => lead(statistics, line.difference),
    }
}

/// The sentences on what is tied with the best and what could have been seen.
pub(super) fn sentences(report: &Report) -> Vec<String> {
    let Some(statistics) = &report.statistics else { return Vec::new() };
    let mut sentences = Vec::new();
    let others: Vec<&Against> = statistics.against.iter().filter(|line| line.configuration != statistics.leader).collect();
    // What has the very same results is the best one under another name, and told as that.
    let next = others.iter().find(|line| line.relation != Some(Relation::Same)).or(others.first());
    let Some(next) = next else {
        sentences.extend(statistics.no_set.clone().filter(|_| statistics.against.iter().all(|line| line.seeds < 2)));
        return sentences;
    };
    match statistics.best_set() {
        Some(set) => {
            sentences.extend(fresh(report, statistics));
            sentences.push(set_sentence(report, statistics, &set, &others, next));
            sentences.extend(worth(report, statistics, &others));
            let is_open = set.contains(&next.configuration) && next.limits.is_some() && !statistics.diverged;
            sentences.extend(reach(statistics, is_open));
        }
        None => {
            sentences.push(format!("Next is {}, {}.", named(report, next.configuration), lead(statistics, next.difference)));
            sentences.extend(statistics.no_set.clone());
        }
    }
    sentences
}

fn named(report: &Report, number: i64) -> String {
    report.comparison.configuration(number).map(|c| report.name(c)).unwrap_or_default()
}

/// What the best one would give that was chosen for being lowest, where that shows.
fn fresh(report: &Report, statistics: &Statistics) -> Option<String> {
    let (fresh, best) = (statistics.fresh?, statistics.of(statistics.leader)?);
    let [fresh, seen] = [fresh, best.mean].map(|response| wording::perplexity(statistics.shown(response)));
    // Of one that a diverged seed keeps from winning nothing is promised.
    (fresh != seen && !statistics.diverged && report.comparison.configurations.len() > 1)
        .then(|| format!("It was chosen for being lowest: fresh seeds would probably give about {fresh}."))
}

fn set_sentence(report: &Report, statistics: &Statistics, set: &[i64], others: &[&Against], next: &Against) -> String {
    let all = words::thousands(others.len() as i64);
    let behind = |line: &&Against| format!("{} ({})", named(report, line.configuration), lead(statistics, line.difference));
    let tied: Vec<&Against> = others.iter().copied().filter(|line| set.contains(&line.configuration)).collect();
    let names: Vec<String> = tied.iter().take(NAMED).map(behind).collect();
    let more = match tied.len().saturating_sub(NAMED) {
        0 => String::new(),
        n => format!("; and {} more", words::thousands(n as i64)),
    };
    let out = match others.len() - tied.len() {
        0 => String::new(),
        1 => " The other one is out.".to_owned(),
        n => format!(" The other {} are out.", words::small_number(n)),
    };
    if statistics.diverged {
        return match tied.len() {
            0 => format!("Each of the others is out all the same: next is {}.", behind(&next)),
            _ => {
                format!("It excludes no other, since a seed of it diverged: {}{more} may be the best too.{out}", names.join("; "))
            }
        };
    }
    let gap = match next.limits {
        Some(limits) => {
            format!(
                "{}, {} ({})",
                named(report, next.configuration),
                lead(statistics, next.difference),
                from_to(statistics, limits)
            )
        }
        None => format!("{}, {}", named(report, next.configuration), lead(statistics, next.difference)),
    };
    let count = words::small_number(tied.len());
    match (tied.len(), others.len()) {
        // With tuned settings another tried value of its own combination may be what beats them.
        (0, 1) if statistics.sole_winner.is_none() => format!("The other one is out, but not by it: {gap}."),
        (0, _) if statistics.sole_winner.is_none() => format!("Each of the others is out, but not all by it: next is {gap}."),
        (0, 1) => format!("It is better than the other one, by more than chance explains: {gap}."),
        (0, _) => format!("It is better than each of the {all} others, by more than chance explains: next is {gap}."),
        (1, 1) => format!("The other one is statistically tied with it: {gap}."),
        (2, 2) => format!("Both others are statistically tied with it: next is {gap}."),
        (tied, of) if tied == of => format!("All {all} others are statistically tied with it: next is {gap}."),
        (1, _) => format!("One of the {all} others is statistically tied with it: {}.{out}", names.join("; ")),
        _ => {
            let count = words::capital(&count);
            format!("{count} of the {all} others are statistically tied with it: {}{more}.{out}", names.join("; "))
        }
    }
}

/// Whether the differences are large enough to choose by.
fn worth(report: &Report, statistics: &Statistics, others: &[&Against]) -> Option<String> {
    let margin = margin(report);
    let same = others.iter().filter(|line| line.relation == Some(Relation::PracticallySame)).count();
    if statistics.sole_winner.is_some() {
        let small = others.iter().filter(|line| line.relation == Some(Relation::Different)).count();
        return (small > 0).then(|| {
            let which = if others.len() == 1 {
                "The lead".to_owned()
            } else {
                format!("Its lead over {} of them", words::small_number(small))
            };
            format!("{which} may be under {margin}, which is not worth a choice.")
        });
    }
    (same > 0).then(|| {
        let which = match (same, others.len()) {
            (1, 1) => "It is".to_owned(),
            (1, _) => "One of them is".to_owned(),
            (n, _) => format!("{} of them are", words::capital(&words::small_number(n))),
        };
        format!("{which} practically the same as the best: within {margin} either way.")
    })
}

/// What was within reach; where the next one is open, also how many seeds would settle that.
fn reach(statistics: &Statistics, is_open: bool) -> Option<String> {
    let found = statistics.reach.as_ref().filter(|found| found.lead > 1e-7)?;
    let unit = if statistics.by_bytes { " bits per byte" } else { "" };
    let shown = |lead: f64| {
        let [from, to] = [found.from, found.to].map(|limit| size(statistics, lead * limit / found.lead));
        format!(
            "{}{unit} or more ({} to {to}, as far as the scatter is known)",
            size(statistics, lead),
            from.trim_end_matches(" %")
        )
    };
    // A few that scatter far more than the others would make the reach over all of them say nothing.
    let apart = found.lead > UNEVEN * found.typical;
    let (lead, over) = if apart { (found.typical, " over a typical other configuration") } else { (found.lead, "") };
    let seeds = words::counted(found.seeds, "seed");
    let mut text = match (found.seeds, &statistics.scatter) {
        _ if !statistics.by_bytes && statistics.difference_shown(lead) > DOUBLE => format!(
            "With {seeds} each not even half the perplexity{over} would be found four times in five: results scatter too much for so few \
             seeds"
        ),
        (2, Some(scatter)) if scatter.deviation > 0.0 => format!(
            "With two seeds each only large leads are found, four times in five those of {}{over}: {:.0} times the scatter of a single \
             trial",
            shown(lead),
            lead / scatter.deviation
        ),
        _ => format!("With {seeds} each the experiment can detect a lead of {}{over}, four times in five", shown(lead)),
    };
    if apart && statistics.difference_shown(found.lead) <= DOUBLE {
        text.push_str(&format!("; over all of them, of which some scatter far more, {}", size(statistics, found.lead)));
    }
    match found.seeds_to_separate.filter(|_| is_open) {
        Some(seeds) if seeds > found.seeds => {
            text.push_str(&format!(
                "; if the true difference to the next one is what was seen, it would take about {seeds} seeds each"
            ));
        }
        None if is_open => {
            text.push_str(&format!(
                "; if the true difference to the next one is what was seen, it would take over {MOST_SEEDS} seeds each"
            ));
        }
        _ => {}
    }
    text.push('.');
    Some(text)
}

/// Which values of a setting may be the best, on average over the others; nothing where nothing says.
pub(super) fn of_effect(effect: &Effect) -> Option<String> {
    let judged: Vec<_> = effect.levels.iter().filter_map(|level| Some((level, level.mean?, level.in_best_set?))).collect();
    let best = judged.iter().min_by(|a, b| a.1.total_cmp(&b.1)).filter(|_| judged.len() > 1)?;
    let list = |of: &dyn Fn(f64, bool) -> bool| {
        let values = judged.iter().filter(|(_, mean, member)| of(*mean, *member)).map(|(level, _, _)| level.value.clone());
        let mut values: Vec<String> = values.collect();
        if values.len() > VALUES {
            let more = values.len() - VALUES;
            values.truncate(VALUES);
            values.push(format!("{more} more"));
        }
        let verb = if values.len() == 1 { "is" } else { "are" };
        (values.len(), format!("{} {verb}", words::listed(&values)))
    };
    let lowest = list(&|mean, _| mean == best.1);
    let tied = list(&|mean, member| member && mean != best.1);
    let out = list(&|_, member| !member);
    let mut sentence = if lowest.0 > 1 { format!("{} lowest, and the same", lowest.1) } else { format!("{} lowest", lowest.1) };
    if tied.0 > 0 {
        sentence.push_str(&format!("; {} statistically tied with it", tied.1));
    }
    if out.0 > 0 {
        sentence.push_str(&format!("; {} out", out.1));
    }
    Some(sentence)
}

/// Notes on how the limits were found, for under the table.
pub(super) fn notes(report: &Report) -> Vec<String> {
    let Some(statistics) = &report.statistics else { return Vec::new() };
    let mut notes = Vec::new();
    if report.comparison.configurations.iter().any(|c| c.adjusted.is_some()) {
        notes.push(
            "Some seeds are missing: the figure that ranks is what a configuration would give over all seeds, by least squares. \
             The files have the plain means too."
                .to_owned(),
        );
    }
    if let (Some(scatter), None) = (&statistics.scatter, &statistics.no_set) {
        let (others, test) = match scatter.compared {
            0..=2 => (String::new(), "two-sided at 5 %".to_owned()),
            n => (format!(" by any of the {} others", n - 1), format!("one-sided at 5 % divided by {}", n - 1)),
        };
        let text = if statistics.text.is_some() { "seeds and text together" } else { "seeds alone" };
        notes.push(format!(
            "To the best: with the limits that decide, over {text}. Out is what is beaten{others}, {test}. Each difference is judged by \
             its own scatter over the seeds, drawn towards that of all; a single trial scatters by {} on the whole. ● in \"best?\": the \
             best, or statistically tied with it.",
            size(statistics, scatter.deviation),
        ));
    }
    if let (Some(text), None) = (&statistics.text, &statistics.no_set) {
        notes.push(format!(
            "The noise of this one stretch of held-out text is in the limits: found from {} blocks of {} tokens, as long as \
             neighbouring tokens go together.",
            words::thousands(text.blocks as i64),
            words::thousands(text.block_tokens as i64),
        ));
    }
    notes.extend(statistics.no_text.clone().filter(|_| statistics.no_set.is_none()));
    notes.extend(by_setting(report, statistics));
    notes.extend(tuned(report));
    notes
}

/// The settings one by one, where there are several.
fn by_setting(report: &Report, statistics: &Statistics) -> Option<String> {
    let name = |effect: &Effect| {
        let places = effect.keys.iter().filter_map(|key| report.design.swept.iter().position(|other| other == key));
        let labels = wording::keys(&report.design.swept);
        places.map(|place| labels[place].clone()).collect::<Vec<_>>().join(" · ")
    };
    let sentence = |effect: &Effect| Some(words::capital(&format!("{}: {}", name(effect), of_effect(effect)?)));
    let sentences: Vec<String> = statistics.effects.iter().filter_map(sentence).collect();
    (sentences.len() > 1).then(|| format!("By setting, on average over the others. {}.", sentences.join(". ")))
}

/// That values were chosen, and where one lies at the edge of its range.
fn tuned(report: &Report) -> Vec<String> {
    let chosen: Vec<_> =
        report.comparison.configurations.iter().filter_map(|c| c.tuned.as_ref()).filter(|tuned| tuned.chosen).collect();
    if chosen.is_empty() {
        return Vec::new();
    }
    let keys = wording::keys(&report.design.tune).join(", ");
    let mut notes = vec![format!(
        "Tuned: {keys}. Each combination of the other settings is ranked at the value that suits it best, chosen on the same text \
         that ranks: the figures of all are a little too good."
    )];
    for key in &report.design.tune {
        let edge = chosen.iter().filter(|tuned| tuned.at_edge.contains(key)).count();
        if edge > 0 {
            notes.push(format!(
                "In {edge} of {} combinations the best {} is the smallest or largest that was tried: a wider range may have a \
                 lower \
                 figure.",
                chosen.len(),
                wording::key(key)
            ));
        }
    }
    notes
}
