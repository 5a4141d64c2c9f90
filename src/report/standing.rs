//! What the statistics allow to be said, in sentences.

use super::comparison::Configuration;
use super::statistics::{Against, Interval, MOST_SEEDS, Statistics};
use super::{Report, verdict, words};

/// Names of tied configurations that are written out.
const NAMED: usize = 3;

/// A difference as people read it: `+3.2 %` of perplexity, or bits per byte.
pub(super) fn difference(statistics: &Statistics, value: f64) -> String {
    words::difference(statistics.difference_shown(value), statistics.by_bytes)
}

/// The difference of two configurations' means; `the same` where there is none.
fn lead(statistics: &Statistics, value: f64) -> String {
    words::difference_or_same(statistics.difference_shown(value), statistics.by_bytes)
}

/// `2.72 to 3.00`, as far as it says anything.
fn from_to(statistics: &Statistics, limits: Interval) -> String {
    let (lower, upper) = (statistics.shown(limits.lower), statistics.shown(limits.upper));
    format!("{} to {}", words::beside(lower, lower), words::beside(upper, lower))
}

/// `, 2.72 to 3.00 at 95 %, over 3 seeds`; ` with one seed`.
pub(super) fn figure_limits(report: &Report, best: &Configuration) -> String {
    let seeds = if best.seeds == 1 { "one seed".to_owned() } else { words::count(best.seeds, "seed") };
    let limits = report.statistics.as_ref().and_then(|s| Some(from_to(s, s.of(best.number)?.own?)));
    match limits {
        Some(limits) if best.seeds > 1 => format!(", {limits} at 95 %, over {seeds}"),
        Some(limits) => format!(", {limits} at 95 % as seeds of the others scatter, with {seeds}"),
        None => format!(" with {seeds}"),
    }
}

/// The cell of the table for the difference to the best of the others: `+3.2 % (0.0 to +6.1)`.
pub(super) fn cell(statistics: &Statistics, configuration: &Configuration) -> String {
    let Some(line) = statistics.of(configuration.number) else { return String::new() };
    match line.limits {
        Some(limits) => {
            let [lower, upper] = [limits.lower, limits.upper].map(|limit| difference(statistics, limit));
            let bare = |text: &str| text.trim_end_matches(" %").to_owned();
            format!("{} ({} to {})", lead(statistics, line.difference), bare(&lower), bare(&upper))
        }
        None => lead(statistics, line.difference),
    }
}

/// The sentences on what is tied with the best and what could have been seen.
pub(super) fn sentences(report: &Report, best: &Configuration) -> Vec<String> {
    let Some(statistics) = &report.statistics else { return Vec::new() };
    let mut sentences = Vec::new();
    if statistics.leader != best.number {
        sentences.push(format!(
            "Over the seeds that both sides have, {} is lower: the order of the first ones is that of different seeds.",
            named(report, statistics.leader)
        ));
    }
    let others: Vec<&Against> = statistics.against.iter().filter(|line| line.configuration != best.number).collect();
    let own = statistics.of(best.number);
    // What has the very same results is the best one under another name, and told as that.
    let is_same = |line: &Against| own.is_some_and(|own| own.mean == line.mean);
    let next = others.iter().min_by(|a, b| is_same(a).cmp(&is_same(b)).then(a.mean.total_cmp(&b.mean)));
    let (Some(next), Some(own)) = (next, own) else {
        sentences.extend(statistics.no_limits.clone().filter(|_| best.seeds == 1));
        return sentences;
    };
    let gap = format!("next is {}, {}", named(report, next.configuration), lead(statistics, next.mean - own.mean));
    match statistics.best_set() {
        Some(set) => {
            sentences.push(set_sentence(report, statistics, &set, &others, own, &gap));
            sentences.extend(by_text(statistics));
            sentences.extend(reach(statistics, set.len() > 1));
        }
        None => {
            sentences.push(format!("{}.", words::capital(&gap)));
            sentences.extend(statistics.no_limits.clone());
        }
    }
    sentences
}

fn named(report: &Report, number: i64) -> String {
    let found = report.comparison.configurations.iter().find(|c| c.number == number);
    found.map(|c| verdict::name(report, c)).unwrap_or_default()
}

fn set_sentence(report: &Report, statistics: &Statistics, set: &[i64], others: &[&Against], own: &Against, gap: &str) -> String {
    let tied: Vec<i64> = set.iter().copied().filter(|number| others.iter().any(|line| line.configuration == *number)).collect();
    let all = words::thousands(others.len() as i64);
    if tied.is_empty() {
        let what = if others.len() == 1 { "The other one cannot".to_owned() } else { format!("None of the {all} others can") };
        return format!("{what} be the best, by simultaneous 95 % limits: {gap}.");
    }
    if tied.len() == others.len() {
        let what = if tied.len() == 1 { "The other one".to_owned() } else { format!("None of the {all} others") };
        let can = if tied.len() == 1 { "cannot" } else { "can" };
        return format!("{what} {can} be told from it: {gap}, and that may be chance.");
    }
    let mut order: Vec<&Against> = tied.iter().filter_map(|&number| statistics.of(number)).collect();
    order.sort_by(|a, b| a.mean.total_cmp(&b.mean));
    let behind = |line: &Against| format!("{} ({})", named(report, line.configuration), lead(statistics, line.mean - own.mean));
    let names: Vec<String> = order.iter().take(NAMED).map(|line| behind(line)).collect();
    let more = match tied.len().saturating_sub(NAMED) {
        0 => String::new(),
        n => format!("; and {} more", words::thousands(n as i64)),
    };
    let count = words::thousands(tied.len() as i64);
    format!("{count} of the {all} others cannot be told from it: {}{more}.", names.join("; "))
}

/// Where the text leaves more open than the seeds do.
fn by_text(statistics: &Statistics) -> Option<String> {
    let open = |line: &&Against| {
        let by_seeds = line.limits.is_some_and(|limits| limits.lower < 0.0);
        !by_seeds && line.text_difference.is_some_and(|limits| limits.lower <= 0.0)
    };
    let count = statistics.against.iter().filter(open).count();
    (count > 0).then(|| {
        let (of, is) = if count == 1 { ("1 of these".to_owned(), "is") } else { (format!("{count} of these"), "are") };
        format!("{of} {is} tied by the held-out text alone: it is too short to tell them apart, whatever the seeds say.")
    })
}

/// What was within reach.
fn reach(statistics: &Statistics, tied: bool) -> Option<String> {
    let found = statistics.detectable.as_ref().filter(|found| found.difference > 1e-7)?;
    let each = if found.seeds == 1 { "one seed each".to_owned() } else { format!("{} each", words::count(found.seeds, "seed")) };
    let lead = difference(statistics, found.difference);
    let lead = lead.trim_start_matches('+');
    let unit = if statistics.by_bytes { " bits per byte" } else { " in perplexity" };
    let mut text = format!("With {each}, a lead of about {lead}{unit} is found four times in five");
    if tied {
        text.push_str(&match found.seeds_to_separate {
            Some(seeds) => format!("; to tell the first two apart would take about {} each", words::count(seeds, "seed")),
            None => format!("; to tell the first two apart would take more than {MOST_SEEDS}"),
        });
    }
    text.push('.');
    Some(text)
}

/// Notes on how the limits were found, for under the table.
pub(super) fn notes(report: &Report) -> Vec<String> {
    let Some(statistics) = &report.statistics else { return Vec::new() };
    let mut notes = Vec::new();
    if let Some(residual) = statistics.residual.filter(|_| statistics.no_limits.is_none()) {
        let how = if residual.blocks { "seeds taken as blocks" } else { "seeds taken as repeats, since they do not join all" };
        notes.push(format!(
            "To the best of the others: limits hold for all configurations at once at 95 % (Hsu's multiple comparisons with the \
             best; pooled residual {} with {}, {how}). ● in \"best?\": cannot be told from the best.",
            difference(statistics, residual.deviation).trim_start_matches('+'),
            if residual.degrees == 1 {
                "1 degree of freedom".to_owned()
            } else {
                format!("{} degrees of freedom", residual.degrees)
            },
        ));
        if let Some(number) = residual.dominated_by {
            notes.push(format!(
                "More than half of the scatter comes from {}: its seeds differ far more than those of the others, and make the limits \
                 of all of them wide.",
                named(report, number)
            ));
        }
    }
    if let Some(text) = &statistics.text {
        notes.push(format!(
            "Noise of this one stretch of text: found from {} blocks of {} tokens, as long as neighbouring tokens go together{}.",
            words::thousands(text.blocks as i64),
            words::thousands(text.block_tokens as i64),
            match statistics.no_limits {
                None => "; the larger of both uncertainties, of seeds and of text, decides what may be best",
                Some(_) => "",
            }
        ));
    }
    notes.extend(statistics.no_text.clone());
    notes.extend(tuned(report));
    notes
}

/// That values were chosen, and where one lies at the edge of its range.
fn tuned(report: &Report) -> Vec<String> {
    let chosen: Vec<_> =
        report.comparison.configurations.iter().filter_map(|c| c.tuned.as_ref()).filter(|tuned| tuned.chosen).collect();
    if chosen.is_empty() {
        return Vec::new();
    }
    let keys = words::keys(&report.protocol.tune).join(", ");
    let mut notes = vec![format!(
        "Tuned: {keys}. Each combination of the other settings is ranked at the value that suits it best, chosen on the same text \
         that ranks: the figures of all are a little too good."
    )];
    for key in &report.protocol.tune {
        let edge = chosen.iter().filter(|tuned| tuned.at_edge.contains(key)).count();
        if edge > 0 {
            notes.push(format!(
                "In {edge} of {} combinations the best {} is the smallest or largest that was tried: a wider range may have a lower \
                 figure.",
                chosen.len(),
                words::key(key)
            ));
        }
    }
    notes
}
