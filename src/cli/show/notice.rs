//! What a run tells, in words.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use jiff::tz::TimeZone;

use super::lines;
use super::plan::{arithmetic, exclusions, only};
use crate::corpus::Stage;
use crate::experiment::Style;
use crate::plan::{TrialId, Warning};
use crate::runner::{Changes, Difference, Expected, Memory, Notice};
use crate::schedule::Summary;
use crate::words::{bytes, clock, counted, duration, first_few, harmless, listed, plural, thousands};

/// What is said where `run.slots` has no meaning.
const SLOTS_OF_GPUS: &str =
    "note        `run.slots` is for the processor: on a GPU one trial runs at a time, or as many as `run.per_device` says";
/// Remarks about configurations that are shown.
const REMARKS: usize = 8;

/// A line, or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    /// A sentence, which may be broken at words.
    Prose(String),
    /// What must stay as it is: a line of a file with what is wrong with it.
    AsIs(String),
}

/// The lines for a notice; `style` is how lines of a file are drawn.
pub(crate) fn lines_of(notice: &Notice<'_>, style: Style) -> Vec<Line> {
    match notice {
        Notice::File(problem) => vec![Line::AsIs(problem.render(style))],
        Notice::Warnings(warnings) => remarks(warnings, style),
        Notice::Planned(plan) => {
            let first = format!("{}: {}", plan.experiment, arithmetic(plan));
            let rules = exclusions(plan).into_iter().map(|rule| format!("  {rule}"));
            std::iter::once(first).chain(rules).map(Line::Prose).collect()
        }
        one => vec![Line::Prose(prose(one))],
    }
}

/// What the plan remarks. A remark that holds for many configurations is told once.
fn remarks(warnings: &[Warning], style: Style) -> Vec<Line> {
    let (mut lines, mut remarks, mut places) = (Vec::new(), Vec::<(&str, u64, &str)>::new(), HashMap::new());
    for warning in warnings {
        match warning {
            Warning::File(problem) => lines.push(Line::AsIs(problem.render(style))),
            Warning::Configuration { label, text } => {
                let place = *places.entry(text).or_insert(remarks.len());
                match remarks.get_mut(place) {
                    Some((_, count, _)) => *count += 1,
                    None => remarks.push((text, 1, label)),
                }
            }
        }
    }
    for (text, count, label) in remarks.iter().take(REMARKS) {
        let more = if *count > 1 { format!(" (and {} more)", thousands(count - 1)) } else { String::new() };
        lines.push(Line::Prose(format!("note: {label}{more}: {text}")));
    }
    if remarks.len() > REMARKS {
        let more = counted((remarks.len() - REMARKS) as u64, "remark");
        lines.push(Line::Prose(format!("note: {more} of this sort about other configurations")));
    }
    lines
}

fn overwritten(label: &str, files: &[&str]) -> String {
    let (files, were) = (listed(files), if files.len() == 1 { "was" } else { "were" });
    format!("note: {files} of {label} {were} overwritten after the trial had ended: it goes on from a checkpoint that fits")
}

/// The sentence for a notice that has one.
fn prose(notice: &Notice<'_>) -> String {
    match notice {
        Notice::File(_) | Notice::Warnings(_) | Notice::Planned(_) => String::new(),
        Notice::Preparing { tokenizer, stage } => preparing(tokenizer, *stage),
        Notice::Text(remark) => (*remark).to_owned(),
        Notice::Device(why) => format!("note        {why}"),
        Notice::Only { left, of } => only(*left, *of),
        Notice::Changed(changes) => changed(changes),
        Notice::DescriptionDamaged { error } => {
            format!("warning: {}: its device, its context and its numbers are taken from the trials' folders", error.chain())
        }
        Notice::CompleteNotRetried { labels } => complete(labels),
        Notice::SlotsOfGpus => SLOTS_OF_GPUS.to_owned(),
        Notice::FewerOnGpu { gpu, slots, asked, needed, memory } => {
            let (trials, device, needed) = (counted(*slots as u64, "trial"), gpu.device(), bytes(*needed));
            let there = bytes(*memory);
            format!(
                "note        {device} takes {trials} at a time, not {asked}: one needs {needed} of its memory, and there are {there}"
            )
        }
        Notice::SourceGone { label, source } => {
            format!("note: {label} was the same as trial {source}, which is gone: it is open again")
        }
        Notice::Overwritten { label, files } => overwritten(label, files),
        Notice::Aliased { label, source, outcome } => lines::alias(label, source, outcome),
        Notice::MoreAliased(more) => format!("{:<11} {more} more", ""),
        Notice::NotAliased { label, error } => {
            format!("warning: {label} is the same as a trained trial, but cannot be recorded: {}", error.chain())
        }
        Notice::Stale { trials, why, file } => stale(*trials, why, file),
        Notice::NothingToScore => "scoring     every finished trial is scored as this plan compares".to_owned(),
        Notice::ScoringAgain { trials, why } => {
            let trials = counted(*trials as u64, "finished trial");
            format!("scoring     {trials} again ({}): nothing is trained", reasons(why))
        }
        Notice::NotScored { left, all } => format!("note        {left} of {all} could not be scored again: not ranked"),
        Notice::DivergedBefore(ids) => diverged_before(ids),
        Notice::NothingToTrain { trials, lost } => nothing_to_train(*trials, *lost),
        Notice::NotProbed(error) => format!("probe       {}", error.chain()),
        Notice::Probing { done, all } => format!("probing     {done} of {all} shapes"),
        Notice::LittleMemory { slots, needed, free } => little_memory(*slots, *needed, *free),
        Notice::Probed { shapes, seconds, largest } => probed(*shapes, *seconds, *largest),
        Notice::Training { missing, trials, device, slots, threads, expected } => {
            let expected = expected.as_ref().map_or_else(String::new, |expected| ends(expected, &TimeZone::system()));
            training(*missing, *trials, device, *slots, *threads) + &expected
        }
        Notice::TimesOfOneKind { measured } => {
            format!("note        times were measured on {measured}: trials on the other kinds of GPU take others")
        }
        Notice::Stopping { trials: true } => "stopping: each trial saves and leaves (once more: kill)".to_owned(),
        Notice::Stopping { trials: false } => "stopping (once more: kill)".to_owned(),
        Notice::Killing => "killing the workers: they go on from their last checkpoints".to_owned(),
        Notice::NotReported(error) => {
            format!("warning: the report cannot be written now: {} (the trials go on, and it is tried again)", error.chain())
        }
        Notice::Cluster(words) => format!("slurm       {}", harmless(words)),
        Notice::NotLogged(error) => format!("warning: {}", error.chain()),
    }
}

fn complete(labels: &[String]) -> String {
    let are = if labels.len() == 1 { "is complete and is" } else { "are complete and are" };
    format!("note        {} {are} not trained again: remove a trial's folder to train it anew", first_few(labels))
}

fn preparing(tokenizer: &str, stage: Stage) -> String {
    let percent = |bytes: u64, of: u64| 100 * bytes / of.max(1);
    match stage {
        Stage::Finding { files } => format!("finding     {}", counted(files, "file")),
        Stage::Reading { bytes, of } => format!("reading     {}%", percent(bytes, of)),
        Stage::Learning { bytes, of } => format!("tokenizer   {tokenizer}: learning, {}%", percent(bytes, of)),
        Stage::Tokenizing { part, bytes, of } => format!("tokenizing  {part} part with {tokenizer}, {}%", percent(bytes, of)),
    }
}

fn stale(trials: usize, why: &BTreeSet<&Difference>, file: &Path) -> String {
    let (are, them) = if trials == 1 { ("is", "it") } else { ("are", "them") };
    format!(
        "note        {} {are} scored otherwise than this plan compares ({}), and not ranked: `votive run --rescore {}` scores {them} \
         again without training",
        counted(trials as u64, "finished trial"),
        reasons(why),
        file.display(),
    )
}

fn little_memory(slots: usize, needed: u64, free: u64) -> String {
    let (who, they, less) = match slots {
        1 => ("a trial takes".to_owned(), "it", "stop other programs, or train smaller models"),
        _ => (format!("{slots} trials at a time take"), "they", "set a smaller `run.slots`"),
    };
    let (needed, free) = (bytes(needed), bytes(free));
    format!("note        {who} about {needed} of memory, and {free} are free here: {they} may be killed for it ({less})")
}

fn probed(shapes: usize, seconds: f64, largest: Memory) -> String {
    let memory = memory(largest).map_or_else(String::new, |memory| format!("; a trial takes at most {memory}"));
    format!("probed      {shapes} shape{} in {}{memory}", plural(shapes as u64), duration(seconds))
}

fn training(missing: usize, trials: usize, device: &str, slots: usize, threads: usize) -> String {
    let over = trials - missing;
    let done = if over > 0 { format!(" ({over} of {trials} are over already)") } else { String::new() };
    let (s, each) = (plural(missing as u64), plural(threads as u64));
    format!("training    {missing} trial{s}{done} on {device}: {slots} at a time, {threads} thread{each} each")
}

fn changed(changes: &Changes) -> String {
    let Changes { added, again, kept, gone, text, settings, files } = changes;
    let again = if *again > 0 { format!("{again} planned again that were trained earlier, ") } else { String::new() };
    let (s, no_longer) = (plural(*added as u64), gone.len());
    let mut lines =
        vec![format!("the experiment has changed: {added} trial{s} added, {again}{kept} kept, {no_longer} no longer planned")];
    if let Some((was, is)) = files {
        lines.push(format!(
            "  the folder was last run from {was}, and now from {is}: give one of them a `name` of its own to keep both reports"
        ));
    }
    if *text {
        lines.push(
            "  the text, or how it is split, is not what it was: what was trained on the old one does not count here".into(),
        );
    }
    if !settings.is_empty() {
        lines.push(format!("  another setting for all: {}", first_few(&settings.iter().map(String::as_str).collect::<Vec<_>>())));
    }
    let mut labels: Vec<&str> = gone.iter().map(String::as_str).collect();
    labels.dedup();
    if !labels.is_empty() {
        lines.push(format!("  on disk, but unranked: {}", first_few(&labels)));
    }
    lines.join("\n")
}

/// `context 64 instead of 32; not scored at all`.
fn reasons(why: &BTreeSet<&Difference>) -> String {
    why.iter().map(|difference| reason(**difference)).collect::<Vec<_>>().join("; ")
}

fn reason(difference: Difference) -> String {
    let tokens = |n: i64| thousands(n.max(0) as u64);
    match difference {
        Difference::NotScored => "not scored at all".to_owned(),
        Difference::Context { was, is } => format!("context {was} instead of {is}"),
        Difference::Stride { was, is } => format!("stride {was} instead of {is}"),
        Difference::Tokens { was, is } => format!("{} tokens instead of {}", tokens(was), tokens(is)),
        Difference::Protocol { was, is } => format!("protocol {was} instead of {is}"),
    }
}

/// `nothing to train: all 3 trials are over already, 2 of them diverged or did not fit (`--retry ID` trains one again)`.
fn nothing_to_train(trials: usize, lost: usize) -> String {
    let over = if trials == 1 { "the trial is over already".to_owned() } else { format!("all {trials} trials are over already") };
    let lost = match (lost, trials) {
        (0, _) => String::new(),
        (_, 1) => "; it diverged or did not fit (`--retry ID` trains it again)".to_owned(),
        (lost, _) => format!("; {lost} of them diverged or did not fit (`--retry ID` trains one again)"),
    };
    format!("nothing to train: {over}{lost}")
}

fn diverged_before(ids: &[&TrialId]) -> String {
    let more = ids.len().saturating_sub(1);
    let first = ids.first().map_or_else(String::new, ToString::to_string);
    let (were, them) = if more == 0 { ("trial was", "it") } else { ("trials were", "each") };
    let more = if more == 0 { String::new() } else { format!(" (and {more} more: see `votive status`)") };
    format!(
        "note        {} {were} stopped as diverged by an earlier version, by the mean of 20 losses alone, also where the loss had come \
         back: `--retry {first}` trains {them} on{more}",
        ids.len()
    )
}

/// When all is done, and how much of it before the deadline.
fn ends(expected: &Expected, zone: &TimeZone) -> String {
    let &Expected { seconds, now_utc: now, ends_utc: ends, cut_off_utc, ref too_long } = expected;
    let mut text = format!("; about {}, ends about {}", duration(seconds), clock(ends, now, zone));
    match cut_off_utc {
        Some(until) if until <= now => text += "\nnote        the deadline has come: nothing is started",
        Some(until) => {
            let share = (until - now) as f64 / (ends - now) as f64;
            text += &format!("\nnote        until {} about {:.0}% of that is reached", clock(until, now, zone), 100.0 * share);
            text += &too_long_in_words(too_long);
        }
        None => {}
    }
    text
}

/// `; 1 trial takes longer than that alone, comes last, and goes on next time: seed 2`; empty where none does.
fn too_long_in_words(labels: &[String]) -> String {
    let one = labels.len() == 1;
    let (takes, comes, goes) = if one { ("trial takes", "comes", "goes") } else { ("trials take", "come", "go") };
    match labels.len() {
        0 => String::new(),
        n => format!("; {n} {takes} longer than that alone, {comes} last, and {goes} on next time: {}", first_few(labels)),
    }
}

/// `3.10 GB of the GPU, 400 MB of the host`; `None` where no GPU is used.
fn memory(largest: Memory) -> Option<String> {
    let device = largest.device?;
    Some(format!("{} of the GPU, {} of the host", bytes(device), bytes(largest.host)))
}

/// What there is to say at the end of a run of so many aliases among all trials.
pub(crate) fn aliases(aliases: usize, trials: usize, equal_tokenizers: bool) -> Option<String> {
    let as_what = if equal_tokenizers {
        "the same as one whose tokenizer or clip norm comes to the same"
    } else {
        "the same, to the bit, as one with another clip norm"
    };
    let (was, it) = if aliases == 1 { ("was", "it is") } else { ("were", "each is") };
    (aliases > 0).then(|| format!("{aliases} of {trials} trials {was} not trained: {it} {as_what} (`--no-alias` trains all)"))
}

/// What there is to say of trials that a run has left.
pub(crate) fn left(summary: &Summary) -> Option<String> {
    let (left, trials) = (summary.left, summary.trials);
    (left > 0).then(|| format!("{left} of {trials} trials are not done: the same command goes on where this one stopped"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_memory_is_said_with_both_figures() {
        let said = |slots| prose(&Notice::LittleMemory { slots, needed: 206_000_000, free: 8_000_000 });
        assert_eq!(
            said(1),
            "note        a trial takes about 206 MB of memory, and 8.00 MB are free here: it may be killed for it (stop other \
             programs, or train smaller models)"
        );
        assert!(said(4).contains("4 trials at a time take about 206 MB of memory"), "{}", said(4));
        assert!(said(4).ends_with("they may be killed for it (set a smaller `run.slots`)"));
    }

    #[test]
    fn what_is_not_tried_again_by_itself_is_said_where_nothing_is_to_train() {
        let said = |trials, lost| prose(&Notice::NothingToTrain { trials, lost });
        assert_eq!(said(1, 0), "nothing to train: the trial is over already");
        assert_eq!(
            said(3, 2),
            "nothing to train: all 3 trials are over already; 2 of them diverged or did not fit (`--retry ID` trains one again)"
        );
    }

    #[test]
    fn the_memory_of_a_gpu_is_said_beside_the_hosts() {
        let host = Memory { host: 400_000_000, device: None };
        assert_eq!(memory(host), None, "on the processor there is nothing beside it");
        let both = Memory { device: Some(3_100_000_000), ..host };
        assert_eq!(memory(both).unwrap(), "3.10 GB of the GPU, 400 MB of the host");
    }

    #[test]
    fn what_differs_is_said_once_each() {
        let (context, tokens) = (Difference::Context { was: 32, is: 16 }, Difference::Tokens { was: 1_000, is: 2_000 });
        let why = BTreeSet::from([&tokens, &context, &Difference::NotScored]);
        assert_eq!(reasons(&why), "1,000 tokens instead of 2,000; context 32 instead of 16; not scored at all");
    }

    #[test]
    fn what_an_edited_file_changes_is_said_with_its_reasons() {
        let changes = Changes { added: 1, kept: 2, ..Changes::default() };
        assert_eq!(changed(&changes), "the experiment has changed: 1 trial added, 2 kept, 0 no longer planned");
        let changes = Changes {
            again: 3,
            gone: vec!["the only one".to_owned()],
            text: true,
            settings: vec!["train.learning_rate: 3e-3 -> 1e-2".to_owned()],
            files: Some(("a.yaml".to_owned(), "b.yaml".to_owned())),
            ..Changes::default()
        };
        insta::assert_snapshot!(changed(&changes), @r"
        the experiment has changed: 0 trials added, 3 planned again that were trained earlier, 0 kept, 1 no longer planned
          the folder was last run from a.yaml, and now from b.yaml: give one of them a `name` of its own to keep both reports
          the text, or how it is split, is not what it was: what was trained on the old one does not count here
          another setting for all: train.learning_rate: 3e-3 -> 1e-2
          on disk, but unranked: the only one
        ");
    }

    #[test]
    fn labels_that_are_planned_no_longer_are_named_once_each_and_not_all() {
        let gone = (0..10).flat_map(|n| [format!("{n} off"), format!("{n} off")]).collect();
        let said = changed(&Changes { kept: 2, gone, ..Changes::default() });
        assert!(said.starts_with("the experiment has changed: 0 trials added, 2 kept, 20 no longer planned\n"), "{said}");
        assert!(said.ends_with("unranked: 0 off; 1 off; 2 off; 3 off; 4 off; 5 off; 6 off; 7 off; and 2 more"), "{said}");
    }

    #[test]
    fn what_the_deadline_cuts_off_is_said_with_when_all_would_end() {
        const SECOND: i64 = 1_000_000;
        // 20:00 UTC.
        let now = 1_795_464_000 * SECOND;
        let (seconds, ends_utc) = (7_200.0, now + 7_200 * SECOND);
        let open = Expected { seconds, now_utc: now, ends_utc, cut_off_utc: None, too_long: Vec::new() };
        assert_eq!(ends(&open, &TimeZone::UTC), "; about 2 h 00 min, ends about 22:00");
        let cut_off = Expected { cut_off_utc: Some(now + 3_600 * SECOND), too_long: vec!["width 8".to_owned()], ..open.clone() };
        assert_eq!(
            ends(&cut_off, &TimeZone::UTC),
            "; about 2 h 00 min, ends about 22:00\nnote        until 21:00 about 50% of that is reached; 1 trial takes longer than that \
             alone, comes last, and goes on next time: width 8"
        );
        let many = Expected { too_long: (0..10).map(|n| format!("width {n}")).collect(), ..cut_off };
        assert!(ends(&many, &TimeZone::UTC).ends_with("; width 7; and 2 more"), "{}", ends(&many, &TimeZone::UTC));
        let over = Expected { cut_off_utc: Some(now - SECOND), ..many };
        assert!(ends(&over, &TimeZone::UTC).ends_with("\nnote        the deadline has come: nothing is started"));
    }
}
