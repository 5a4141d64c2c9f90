//! What may be said of several experiments, in sentences.

use super::groups::{Group, Line, Several};
use crate::report::wording;
use crate::words;
use crate::words::listed;

/// What may be said of a group, in sentences.
pub(super) fn verdict(group: &Group) -> Vec<String> {
    let Some(best) = group.lines.first() else { return Vec::new() };
    let experiments = group.experiments();
    let of = format!(
        "{} of {}",
        words::counted(group.lines.len(), "configuration"),
        if experiments.len() == 1 { "one experiment".to_owned() } else { format!("{} experiments", experiments.len()) }
    );
    let figure = best.configuration.perplexity;
    let perplexity = figure.map_or_else(String::new, |f| wording::perplexity(f.mean));
    let seeds = match figure.and_then(|f| f.spread.map(|spread| wording::spread(f.mean, spread))) {
        Some(spread) => format!(" ± {spread} over {}", words::counted(best.configuration.seeds, "seed")),
        None => " with one seed".to_owned(),
    };
    let name = format!("{}#{}", wording::plain(&best.experiment), best.configuration.number);
    let mut sentences = vec![format!("Lowest of {of}: {name}. Perplexity {perplexity}{seeds}.")];
    if !group.uncontrolled.is_empty() {
        sentences.push(format!(
            "It is not called better than lines that differ from it beside their settings, in {}.",
            group.uncontrolled.join(", in ")
        ));
    } else if let Some(next) = group.lines.get(1) {
        sentences.push(format!(
            "Whether it is better is for `votive compare {name} {}#{}` to say.",
            wording::plain(&next.experiment),
            next.configuration.number
        ));
    }
    if have_several_tests(group) {
        sentences.push(
            "Figures under \"test\" are of the test part of each experiment: they compare only where those are one text."
                .to_owned(),
        );
    }
    sentences
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
    notes
}
