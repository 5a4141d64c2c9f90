//! A plan in words.

use super::plan_table::{SHOWN, table};
use crate::corpus::Prepared;
use crate::durable;
use crate::error::Result;
use crate::experiment::settings::Family;
use crate::model::shape;
use crate::plan::Plan;
use crate::runner::alias::Kinships;
use crate::runner::{Forecast, Memory, Session, forecast};
use crate::terminal::{Look, wrapped};
use crate::words::{bytes, counted, duration, first_few, short, thousands};

/// The report: a page that carries the script of its figures, and the tables of the experiment. Bytes.
const REPORT: u64 = 5_000_000;

/// The plan's one line of arithmetic.
pub(super) fn arithmetic(plan: &Plan) -> String {
    let excluded: u64 = plan.excluded.iter().map(|e| e.count).sum();
    let mut text = counted(plan.combinations, "combination");
    if excluded > 0 {
        text += &format!(" − {} excluded", thousands(excluded));
    }
    if plan.merged > 0 {
        text += &format!(" − {} equal to another", thousands(plan.merged));
    }
    let (configurations, seeds) = (plan.configurations as u64, plan.seeds.len() as u64);
    let trials = counted(configurations * seeds, "trial");
    format!("{text} = {} × {} = {trials}", counted(configurations, "configuration"), counted(seeds, "seed"))
}

/// What was excluded and why, a line a rule.
pub(super) fn exclusions(plan: &Plan) -> Vec<String> {
    let rules = plan.excluded.iter().filter(|e| e.count > 0);
    rules
        .map(|e| match &e.why {
            Some(why) => format!("excluded {}: {why} (`{}`)", thousands(e.count), e.when),
            None => format!("excluded {} where `{}`", thousands(e.count), e.when),
        })
        .collect()
}

/// What `--only` leaves.
pub(super) fn only(left: usize, of: usize) -> String {
    format!("  `--only` leaves {left} of {of} trials")
}

/// What a plan comes to: its texts, its trials, and what they need in all.
pub(crate) fn text(session: &Session, look: Look) -> Result<String> {
    let plan = &session.plan;
    let mut lines = vec![format!("{}: {}", plan.experiment, arithmetic(plan))];
    lines.extend(exclusions(plan).into_iter().map(|line| format!("  {line}")));
    lines.extend(session.only().map(|(left, of)| only(left, of)));
    lines.extend(texts(session));
    if !session.device.is_cpu() {
        lines.push(format!("  on {}, {}", session.device_in_words(), at_a_time(session)));
    }
    lines.push(format!("  ranked in windows of {} tokens, the same for every configuration", plan.common_context));
    lines.extend(repeated(session)?);
    let forecast = forecast(session)?;
    lines.extend(not_finishing(&forecast.too_long));
    for line in &mut lines {
        *line = wrapped(line, look.width);
    }
    lines.push(table(plan, look)?);
    let after = lines.len();
    if plan.trials.len() > SHOWN {
        lines.push(format!("… and {} more: `--csv` lists all of them", plan.trials.len() - SHOWN));
    }
    lines.push(in_all(session));
    lines.push(time(&forecast, plan.trials.len()));
    lines.push(format!("evaluation: what scoring on the way costs, as a share of the training work{}", on_the_way(plan)?));
    lines.push(
        "windows: in the training part (in the whole text) · views: how often a token that is seen at all is learned from, on average"
            .to_owned(),
    );
    for line in &mut lines[after..] {
        *line = wrapped(line, look.width);
    }
    Ok(lines.join("\n") + "\n")
}

/// `one trial at a time`, `4 trials at a time`: on GPUs.
fn at_a_time(session: &Session) -> String {
    match session.slots(None, Memory::largest_planned(&session.plan.trials, session.device)) {
        Some(0 | 1) | None => "one trial at a time".to_owned(),
        Some(n) => format!("{n} trials at a time"),
    }
}

/// What the trials learn from and start from.
fn texts(session: &Session) -> Vec<String> {
    let mut lines = Vec::new();
    for (label, known) in session.texts() {
        let prepared = &known.prepared;
        let held_out = prepared.validation.as_ref().map_or(0, |part| part.tokens);
        lines.push(format!(
            "  text with {label}: {} tokens of {} kinds from {}: {} to train on, {} held out ({} scored)",
            thousands(prepared.text_tokens),
            thousands(prepared.vocabulary as u64),
            bytes(prepared.text_bytes),
            thousands(prepared.train.tokens),
            thousands(held_out),
            thousands(known.prepared.scored_tokens.saturating_sub(1)),
        ));
        lines.extend(unknown(prepared));
        if let Some(from) = &known.from {
            let config = &from.config;
            lines.push(format!(
                "  starting from {}: {} of {} and {}, {} wide, {} parameters",
                from.folder.display(),
                match config.family {
                    Family::Gpt2 => "gpt2",
                    Family::Llama => "llama",
                },
                counted(config.layers as u64, "layer"),
                counted(config.heads as u64, "head"),
                config.width,
                thousands(shape::parameter_count(config)),
            ));
        }
    }
    lines
}

/// How many tokens stand for something that the vocabulary does not have.
fn unknown(prepared: &Prepared) -> Option<String> {
    let nothing_held_out = prepared.validation.is_none() && prepared.test.is_none();
    let tokens = match (prepared.unknown_tokens, if nothing_held_out { "" } else { "held-out " }) {
        (0, _) => return None,
        (1, part) => format!("1 {part}token stands"),
        (n, part) => format!("{} {part}tokens stand", thousands(n)),
    };
    let parts: Vec<String> = prepared.unknown_parts.iter().map(|part| format!("`{}`", part.escape_debug())).collect();
    let named = if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) };
    let more = if parts.len() > 1 && prepared.unknown_tokens > parts.len() as u64 { " …" } else { "" };
    Some(format!("    {tokens} for something that its vocabulary does not have{named}{more}"))
}

/// Which trials are longer than the time that there is, as far as that is known.
fn not_finishing(labels: &[String]) -> Option<String> {
    let (takes, goes) = if labels.len() == 1 { ("takes", "goes") } else { ("take", "go") };
    let trials = counted(labels.len() as u64, "trial");
    (!labels.is_empty()).then(|| {
        let named = first_few(labels);
        format!(
            "  {trials} {takes} longer than the time that `run` gives, as measured before, and {goes} on in the next run: {named}"
        )
    })
}

/// How many trials are over, and how long the others take.
fn time(forecast: &Forecast, trials: usize) -> String {
    let over = trials - forecast.open;
    let done = if over > 0 { format!("{over} of {trials} trials are over already; ") } else { String::new() };
    match (forecast.open, forecast.seconds) {
        (0, _) => format!("all {trials} trials are over already"),
        (_, Some(seconds)) => format!("{done}about {} of training here, as measured before", duration(seconds)),
        (_, None) => format!("{done}time: `votive run` measures a step of each shape first, and says it"),
    }
}

/// `, on 1,803 of 80,046 held-out tokens; the end is scored on all of them`; empty where all of them are scored on the way too.
fn on_the_way(plan: &Plan) -> Result<String> {
    let mut parts = Vec::new();
    for trial in &plan.trials {
        let evaluation = trial.evaluation(plan.common_context)?;
        parts.push((evaluation.periodic_tokens, evaluation.scored_tokens.saturating_sub(1)));
    }
    let (Some(&least), Some(&most)) = (parts.iter().min(), parts.iter().max()) else { return Ok(String::new()) };
    if least.0 == 0 || least.0 >= least.1 {
        return Ok(String::new());
    }
    let range = if least.0 == most.0 { thousands(least.0) } else { format!("{} to {}", thousands(least.0), thousands(most.0)) };
    Ok(format!("; it scores {range} of {} held-out tokens, and the end all of them", thousands(most.1)))
}

/// How many trials are, or may turn out to be, the same as another.
fn repeated(session: &Session) -> Result<Vec<String>> {
    let (plan, mut lines) = (&session.plan, Vec::new());
    let kinships = Kinships::of(session, false, &[])?;
    let (certain, same) = (kinships.certain(&plan.trials) as u64, kinships.possible(&plan.trials) as u64);
    if certain > 0 {
        let (are, need) = if certain == 1 { ("is", "needs") } else { ("are", "need") };
        lines.push(format!(
            "  {} {are} the same as another and {need} no training: their tokenizers are equal",
            counted(certain, "trial")
        ));
    }
    if same > 0 {
        lines.push(format!(
            "  up to {} may turn out to be the same as another, to the bit, and need no training: where their clip norm never binds",
            counted(same, "trial")
        ));
    }
    Ok(lines)
}

/// What all trials need together.
fn in_all(session: &Session) -> String {
    let plan = &session.plan;
    let trials: u64 = plan.trials.iter().map(|t| t.facts.disk_bytes).sum();
    // Texts and tokenizers are prepared by now.
    let disk = trials + REPORT + durable::size(&session.folder.cache()) + durable::size(&session.folder.tokenizers());
    let flops: f64 = plan.trials.iter().map(|t| t.facts.flops).sum();
    let largest = plan.trials.iter().map(|t| t.facts.memory_bytes).max().unwrap_or(0);
    let memory = if session.device.is_cpu() { "memory" } else { "the device's memory" };
    // A budget in minutes says nothing of them.
    let work = if flops > 0.0 { format!("{}FLOP of training, ", short(flops)) } else { String::new() };
    format!("in all {work}at most about {} of {memory} a trial, at most about {} on disk when done", bytes(largest), bytes(disk))
}
