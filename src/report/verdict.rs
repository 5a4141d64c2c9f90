//! The verdict: what the figures allow to be said, and no more.
//!
//! It names the configuration with the lowest figure. It says "best of" a number of configurations, never that one
//! setting is better than another; what is larger than chance is for the statistics to say ([`standing`]).

use std::collections::BTreeMap;

use super::comparison::{Configuration, Figure};
use super::experiment::{DRAWN, Report};
use super::references::no_better_than_counts;
use super::standing;
use crate::report::wording;
use crate::runs::Status;
use crate::words;

/// Configurations on another held-out text that are written out.
const APART: usize = 8;

/// The verdict in sentences; the first one can stand alone.
pub(super) fn sentences(report: &Report) -> Vec<String> {
    let ranked: Vec<&Configuration> = report.comparison.configurations.iter().filter(|c| c.place.is_some()).collect();
    let Some((&best, figure)) = ranked.first().and_then(|best| Some((best, best.figure(report.comparison.by_bytes)?))) else {
        return vec![nothing_yet(report)];
    };
    let mut sentences = Vec::new();
    match diverged_leader(report, best) {
        // What stands against the others is the lowest one, which was named last: the test part of the other comes after that.
        Some(sentence) => {
            sentences.push(sentence);
            sentences.extend(standing::sentences(report));
            let best = report.comparison.best().unwrap_or(best);
            sentences.extend(on_test(report, best, &format!(", of {}", named(report, best))));
        }
        None => {
            sentences.push(first(report, best, figure, ranked.len()));
            sentences.extend(on_test(report, best, ""));
            sentences.extend(standing::sentences(report));
        }
    }
    sentences.extend(no_better_than_counts(&report.design.references, &report.comparison, best, figure.mean));
    sentences.extend(reference(report, best));
    sentences.extend(other_context(report, report.comparison.best().unwrap_or(best), &ranked));
    sentences.extend(got_worse(&ranked));
    sentences.extend(report.confounding.sentences());
    sentences
}

fn nothing_yet(report: &Report) -> String {
    let status = report.status();
    let counts: Vec<String> =
        by_name(&status).into_iter().map(|(status, n)| format!("{} {}", words::thousands(n), status.words())).collect();
    let unranked = report.comparison.configurations.iter().any(Configuration::has_result);
    match (status.get(&Status::Completed), unranked) {
        (Some(_), true) => "No configuration can be ranked: no tokenizer here is known to give every text back.".to_owned(),
        (Some(_), false) => format!("No complete trial has a figure to rank by: {}.", counts.join(", ")),
        (None, _) if counts.is_empty() => "There are no trials.".to_owned(),
        (None, _) => format!("No trial is complete: {}.", counts.join(", ")),
    }
}

fn first(report: &Report, best: &Configuration, figure: Figure, ranked: usize) -> String {
    // What was scored on another text has a result too, but none that could be here.
    let total = report.comparison.configurations.iter().filter(|c| !c.is_apart).count();
    let tuned = report.comparison.configurations.iter().filter(|c| c.tuned.is_some()).count();
    let what = match (ranked, total) {
        (ranked, total) if tuned > 0 => format!(
            "Best of {}, each at its best of {} tried",
            words::counted(ranked, "combination"),
            words::counted(total, "configuration")
        ),
        (_, 1) => "One configuration".to_owned(),
        (1, total) => {
            format!("The only one of {} configurations with a result{}", words::thousands(total as i64), diverged(report))
        }
        (ranked, total) if ranked == total => format!("Best of {} configurations", words::thousands(total as i64)),
        (ranked, total) => {
            format!(
                "Best of the {} configurations with a result (of {})",
                words::thousands(ranked as i64),
                words::thousands(total as i64)
            )
        }
    };
    let name = report.name(best);
    let name = if name.is_empty() { String::new() } else { format!(": {name}") };
    let unit = if report.comparison.by_bytes { "Bits per byte" } else { "Perplexity" };
    let figure_words = format!("{}{}", wording::perplexity(figure.mean), standing::over_seeds(best));
    format!("{what}{name}. {unit} {figure_words} ({}).", measured(report))
}

/// `(two diverged)`: of the configurations that are not ranked; empty where none did.
fn diverged(report: &Report) -> String {
    let unranked = report.comparison.configurations.iter().filter(|c| !c.is_apart && c.place.is_none());
    match unranked.filter(|c| c.status.contains_key(&Status::Diverged)).count() {
        0 => String::new(),
        n => format!(" ({} diverged)", words::small_number(n)),
    }
}

/// Where a seed of the lowest one diverged: the best of those that finished all of theirs comes first.
fn diverged_leader(report: &Report, lowest: &Configuration) -> Option<String> {
    let diverged = lowest.status.get(&Status::Diverged).copied().filter(|&n| n > 0)?;
    let by_bytes = report.comparison.by_bytes;
    let figure = |c: &Configuration| c.figure(by_bytes).map_or_else(String::new, |figure| wording::perplexity(figure.mean));
    let unit = if by_bytes { "Bits per byte" } else { "Perplexity" };
    let of = format!("{diverged} of its {} diverged", words::counted(lowest.status.values().sum::<usize>(), "seed"));
    let best = report.comparison.best().filter(|best| best.number != lowest.number);
    Some(match best {
        Some(best) => format!(
            "Best of those that finished all their seeds: {}. {unit} {}{} ({}). {} has a lower one, {}, but {of}.",
            named(report, best),
            figure(best),
            standing::over_seeds(best),
            measured(report),
            words::capital(&named(report, lowest)),
            figure(lowest)
        ),
        None => format!(
            "Lowest: {}. {unit} {} ({}). But {of}, and no other configuration finished all its seeds.",
            named(report, lowest),
            figure(lowest),
            measured(report)
        ),
    })
}

/// Its name, or its number where it has none.
fn named(report: &Report, configuration: &Configuration) -> String {
    let name = report.name(configuration);
    if name.is_empty() { format!("#{}", configuration.number) } else { name }
}

/// `common context 64, final weights`.
pub(super) fn measured(report: &Report) -> String {
    let context = match (report.design.rank_by(), report.comparison.common_context) {
        ("common", Some(context)) => format!("common context {}", words::thousands(context)),
        ("common", None) => "common context".to_owned(),
        _ => "each in its own context".to_owned(),
    };
    let weights = if report.design.rank_at() == "best" { "best weights, chosen by a part of this text" } else { "final weights" };
    format!("{context}, {weights}")
}

/// What the best one comes to on text that neither ranked nor chose it. `of` says whose figure it is, where that has to be said.
fn on_test(report: &Report, best: &Configuration, of: &str) -> Option<String> {
    let figure = best.test_figure(report.comparison.by_bytes)?;
    let unit = if report.comparison.by_bytes { "bits per byte" } else { "perplexity" };
    let context = match (report.design.rank_by(), report.comparison.common_context) {
        // It is scored at the common context only, whichever ranks.
        ("native", Some(context)) => format!(" (common context {})", words::thousands(context)),
        _ => String::new(),
    };
    let seeds = match figure.spread {
        Some(spread) => format!(" ± {} over {}", wording::spread(figure.mean, spread), words::counted(best.seeds, "seed")),
        None => " with one seed".to_owned(),
    };
    Some(format!("On the test part, which chose nothing{context}: {unit} {}{seeds}{of}.", wording::perplexity(figure.mean)))
}

fn reference(report: &Report, best: &Configuration) -> Option<String> {
    let vocabulary = best.vocabulary.filter(|v| *v > 1 && !report.comparison.by_bytes)?;
    Some(format!("An untrained model has {}, one for each token it could guess.", words::thousands(vocabulary)))
}

/// The winner under the other context, where it is another one.
fn other_context(report: &Report, best: &Configuration, ranked: &[&Configuration]) -> Option<String> {
    // A mean over fewer seeds does not compare: only those with all of them where some are missing.
    let most = ranked.iter().map(|c| c.seeds).max()?;
    let all_seeds = ranked.iter().filter(|c| c.adjusted.is_none() || c.seeds == most);
    let by_other = all_seeds.filter_map(|c| Some((c, c.other_perplexity?.mean)));
    let (winner, value) = by_other.min_by(|a, b| a.1.total_cmp(&b.1))?;
    if winner.number == best.number || report.comparison.by_bytes {
        return None;
    }
    let context = if report.design.rank_by() == "common" { "With each in its own context" } else { "At the common context" };
    Some(format!("{context} {} has the lowest, {}.", report.name(winner), wording::perplexity(value)))
}

fn got_worse(ranked: &[&Configuration]) -> Option<String> {
    let worse = ranked.iter().filter(|c| c.got_worse).count();
    let verb = if worse == 1 { "was" } else { "were" };
    (worse > 0).then(|| format!("{worse} of {} {verb} better at an earlier step than at the end of the budget.", ranked.len()))
}

/// What else has to be known to read the figures: notes for under the table.
pub(super) fn notes(report: &Report) -> Vec<String> {
    let comparison = &report.comparison;
    let mut notes = Vec::new();
    let ranked = comparison.configurations.iter().filter(|c| c.place.is_some());
    // That of one seed each is in the verdict.
    if ranked.clone().any(|c| c.seeds == 1) && ranked.clone().any(|c| c.seeds > 1) {
        notes.push("Configurations with one seed have no spread.".to_owned());
    }
    if ranked.clone().any(|c| c.seeds > 1) {
        notes.push(
            "Perplexity is exp of the mean loss over the seeds; ± is the sample standard deviation of the seeds' perplexities. \
             Tokens/s and training are means over the seeds."
                .to_owned(),
        );
    }
    notes.extend(standing::notes(report));
    if comparison.by_bytes {
        notes.push(
            "Tokenizers differ, so perplexities do not compare: bits per byte rank, and only tokenizers known to give every text \
             back. The same context in tokens is another one in bytes."
                .to_owned(),
        );
    }
    let partly = comparison.configurations.iter().filter(|c| c.place.is_some() && c.lost() > 0).count();
    if partly > 0 {
        let verb = if partly == 1 { "is" } else { "are" };
        notes.push(format!(
            "{} {verb} ranked by the seeds that completed; others of theirs did not.",
            words::counted(partly, "configuration")
        ));
    }
    notes.extend(scored_on_another_text(&comparison.configurations));
    if comparison.other_context > 0 {
        notes.push(format!(
            "{} scored at another context than {} and not counted.",
            match comparison.other_context {
                1 => "1 trial was".to_owned(),
                n => format!("{} trials were", words::thousands(n as i64)),
            },
            comparison.common_context.map_or_else(|| "the common one".to_owned(), |c| c.to_string()),
        ));
    }
    if comparison.programs.len() > 1 {
        notes.push(format!(
            "Trials were trained by {} different builds: {}.",
            comparison.programs.len(),
            comparison.programs.join("; ")
        ));
    }
    notes.extend(report.confounding.note());
    notes.extend(report.clipping.iter().chain(&comparison.twins).chain(&report.references).cloned());
    if report.not_drawn > 0 {
        notes.push(format!("Curves are those of the best {}; the files have all.", DRAWN));
    }
    notes
}

/// Which configurations stand apart since their held-out text is another one.
fn scored_on_another_text(configurations: &[Configuration]) -> Option<String> {
    let apart = configurations.iter().filter(|c| c.is_apart);
    let apart: Vec<(i64, f64)> = apart.filter_map(|c| Some((c.number, c.perplexity?.mean))).collect();
    if apart.is_empty() {
        return None;
    }
    let shown = apart.iter().take(APART).map(|(number, value)| format!("#{number} {}", wording::perplexity(*value)));
    let more = match apart.len().saturating_sub(APART) {
        0 => String::new(),
        more => format!(" and {} more", words::thousands(more as i64)),
    };
    let (count, verb) = (words::counted(apart.len(), "configuration"), if apart.len() == 1 { "was" } else { "were" });
    Some(format!(
        "{count} {verb} scored on another held-out text than those that are ranked, and cannot be compared with them (perplexity: {}{more}). \
         Hold out one file for all by `corpus.validation`, or make an experiment of each text.",
        shown.collect::<Vec<_>>().join(", ")
    ))
}

/// Whether a configuration has no figure yet, and none of its trials was lost.
pub(super) fn is_under_way(configuration: &Configuration) -> bool {
    configuration.perplexity.is_none() && configuration.lost() == 0
}

/// How it stands with a configuration, in a few words: `3 seeds`, `2 of 3, 1 diverged`.
pub(super) fn state(configuration: &Configuration) -> String {
    let total: usize = configuration.status.values().sum();
    let completed = configuration.status.get(&Status::Completed).copied().unwrap_or(0);
    if completed == total {
        return "completed".to_owned();
    }
    let mut parts = Vec::new();
    if completed > 0 {
        parts.push(format!("{completed} completed"));
    }
    for (status, count) in by_name(&configuration.status).into_iter().filter(|(status, _)| *status != Status::Completed) {
        parts.push(if total == 1 { status.words() } else { format!("{count} {}", status.words()) });
    }
    parts.join(", ")
}

/// Numbers of trials in the order of the words for their status.
fn by_name(status: &BTreeMap<Status, usize>) -> Vec<(Status, usize)> {
    let mut counts: Vec<(Status, usize)> = status.iter().map(|(status, count)| (*status, *count)).collect();
    counts.sort_by_key(|(status, _)| status.name());
    counts
}

/// The health of the experiment: `22 of 24 trials completed · 1 diverged · 1 failed`.
pub(super) fn health(report: &Report) -> Vec<(String, &'static str)> {
    let status = report.status();
    let total: usize = status.values().sum();
    let completed = status.get(&Status::Completed).copied().unwrap_or(0);
    let of = |n: usize| words::thousands(n as i64);
    let mut parts =
        vec![(format!("{} of {} trials completed", of(completed), of(total)), if completed == total { "good" } else { "plain" })];
    for (one, tone) in [
        (Status::Diverged, "bad"),
        (Status::Failed, "bad"),
        (Status::DidNotFit, "bad"),
        (Status::Damaged, "bad"),
        (Status::Running, "plain"),
        (Status::Interrupted, "plain"),
        (Status::Waiting, "plain"),
    ] {
        if let Some(&count) = status.get(&one) {
            parts.push((format!("{} {}", of(count), one.words()), tone));
        }
    }
    if !report.damaged.is_empty() {
        parts.push((words::counted(report.damaged.len(), "damaged file"), "bad"));
    }
    if let Some(seconds) = report.wall_seconds() {
        parts.push((format!("{} from first start to last end", words::duration(seconds)), "plain"));
    }
    if report.comparison.training_seconds > 0.0 {
        parts.push((format!("{} of training", words::duration(report.comparison.training_seconds)), "plain"));
    }
    parts
}
