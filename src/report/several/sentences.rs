//! What may be said of several experiments, in sentences.

use super::groups::{Group, Line, Several};
use crate::report::wording;
use crate::runs::Status;
use crate::words;
use crate::words::listed;

/// What may be said of a group, in sentences.
pub(super) fn verdict(group: &Group) -> Vec<String> {
    let (Some(lowest), Some(best)) = (group.lines.first(), group.lines.get(group.best)) else { return Vec::new() };
    let experiments = group.experiments();
    let of = format!(
        "{} of {}",
        words::counted(group.lines.len(), "configuration"),
        if experiments.len() == 1 { "one experiment".to_owned() } else { format!("{} experiments", experiments.len()) }
    );
    let figure = best.figure();
    let seeds = match figure.and_then(|f| f.spread.map(|spread| wording::spread(f.mean, spread))) {
        Some(spread) => format!(" ± {spread} over {}", words::counted(best.configuration.seeds, "seed")),
        None => " with one seed".to_owned(),
    };
    let of = if group.best == 0 { of } else { format!("those that finished all their seeds, of {of}") };
    let mut sentences = vec![format!("Lowest of {of}: {}. Perplexity {}{seeds}.", name(best), perplexity(best))];
    sentences.extend(diverged(lowest, group.best > 0));
    // Where another one was named in between, its name says which one is meant.
    let best = name(best);
    let [capital, it] = if group.best == 0 { ["It", "it"] } else { [best.as_str(); 2] };
    if !group.uncontrolled.is_empty() {
        sentences.push(format!(
            "{capital} is not called better than lines that differ from it beside their settings, in {}.",
            group.uncontrolled.join(", in ")
        ));
    } else if let Some(next) = group.lines.get(group.best + 1) {
        sentences.push(format!("Whether {it} is better is for `votive compare {best} {}` to say.", name(next)));
    }
    if group.have_different_seeds() {
        sentences.push("The experiments have results of different seeds, which these figures do not allow for.".to_owned());
    }
    if have_several_tests(group) {
        sentences.push(
            "Figures under \"test\" are of the test part of each experiment: they compare only where those are one text."
                .to_owned(),
        );
    }
    sentences
}

/// `night#3`, as commands call it.
fn name(line: &Line) -> String {
    format!("{}#{}", wording::plain(&line.experiment), line.configuration.number)
}

fn perplexity(line: &Line) -> String {
    line.figure().map_or_else(String::new, |figure| wording::perplexity(figure.mean))
}

/// Where a seed of the lowest one diverged: that it did, and whether another one is named for it.
fn diverged(lowest: &Line, is_passed_over: bool) -> Option<String> {
    let status = &lowest.configuration.status;
    let diverged = status.get(&Status::Diverged)?;
    let of = format!("{diverged} of its {} diverged", words::counted(status.values().sum::<usize>(), "seed"));
    Some(if is_passed_over {
        format!("{} has a lower one, {}, but {of}.", name(lowest), perplexity(lowest))
    } else {
        format!("But {of}, and no other configuration finished all its seeds.")
    })
}

/// Whether what is shown as test figures may be of several texts.
fn have_several_tests(group: &Group) -> bool {
    let tested = group.lines.iter().filter(|line| line.configuration.test_perplexity.is_some());
    let of = |line: &&Line| (line.setting("corpus.test").map(str::to_owned), line.configuration.content.text.clone());
    let parts: Vec<_> = tested.map(|line| of(&line)).collect();
    parts.windows(2).any(|pair| pair[0] != pair[1])
}

/// How a group was measured.
pub(super) fn measured(group: &Group) -> String {
    let number = |n: Option<i64>| n.map_or_else(|| "?".to_owned(), words::thousands);
    let m = &group.measured;
    format!(
        "{}: held-out text {}, tokenizer {}, {} tokens scored in windows of {} that move by {} ({}).",
        listed(&group.experiments().iter().map(|name| wording::plain(name)).collect::<Vec<_>>()),
        if m.text.is_empty() { "unknown" } else { &m.text },
        wording::plain(&m.tokenizer),
        number(m.scored_tokens),
        number(m.context),
        number(m.stride),
        match m.score {
            "common" => "common context, final weights",
            "native" => "each in its own context, final weights",
            "best_common" => "common context, best weights",
            _ => "each in its own context, best weights",
        }
    )
}

/// Why a group does not stand in the first table.
pub(super) fn apart(several: &Several, place: usize) -> Option<String> {
    let (first, group) = (several.groups.first()?, several.groups.get(place)?);
    (place > 0).then(|| format!("Not comparable with the first table: another {}.", group.measured.differences(&first.measured)))
}

pub(super) fn notes(several: &Several) -> Vec<String> {
    let mut notes = Vec::new();
    if several.unranked > 0 {
        let verb = if several.unranked == 1 { "has" } else { "have" };
        notes.push(format!("{} {verb} no figure and stand in no table.", words::counted(several.unranked, "configuration")));
    }
    if several.groups.iter().flat_map(|group| &group.lines).any(|line| line.adjusted_loss.is_some()) {
        notes.push(
            "Some seeds are missing: a figure is then what a configuration would give over all seeds of its experiment, by least squares. \
             The files have the plain means too."
                .to_owned(),
        );
    }
    notes
}
