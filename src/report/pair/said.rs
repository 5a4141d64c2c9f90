//! A comparison of two sides for people, and as JSON.

use serde_json::{Value, json};

use super::side::Side;
use super::{Finding, Pair};
use crate::report::confounding::listed;
use crate::report::controlled::Forbids;
use crate::report::statistics::Interval;
use crate::report::words;

const VERSION: u32 = 1;

/// What the two sides are called in the text.
const NAMES: [&str; 2] = ["A", "B"];

pub(super) fn text(pair: &Pair) -> String {
    let mut text = String::new();
    for (name, side) in NAMES.iter().zip([&pair.first, &pair.second]) {
        text += &format!("{name}  {}\n", described(side, pair));
    }
    let quantities = pair.also_changed.iter().map(|c| {
        let shown = |value| c.quantity.shown(value);
        (c.quantity.name.to_owned(), shown(c.low), shown(c.high))
    });
    let keys: Vec<String> = pair.settings.iter().map(|(key, _, _)| key.clone()).collect();
    let settings = words::keys(&keys).into_iter().zip(&pair.settings).map(|(key, (_, a, b))| (key, a.clone(), b.clone()));
    let forbids = pair.forbids.iter().map(|f| (f.name.to_owned(), f.first.clone(), f.second.clone()));
    let parts = [
        ("settings that differ", settings.collect::<Vec<_>>()),
        ("also changed: follows from them", quantities.collect()),
        ("not controlled", forbids.collect()),
    ];
    for (heading, rows) in parts.into_iter().filter(|(_, rows)| !rows.is_empty()) {
        text += &format!("\n{heading}\n{}", rows_in_line(&rows));
    }
    if pair.settings.is_empty() {
        text += "\nno setting differs\n";
    }
    text.push('\n');
    for sentence in sentences(pair) {
        text += &sentence;
        text.push('\n');
    }
    text
}

/// `stride#3  length 64 · stride 32  3 seeds  perplexity 5.812`.
fn described(side: &Side, pair: &Pair) -> String {
    let mean = side.mean(pair.by_bytes);
    let figure =
        if pair.by_bytes { format!("{mean:.4} bits per byte") } else { format!("perplexity {}", words::perplexity(mean.exp())) };
    let seeds: Vec<i64> = side.subjects.iter().filter_map(|s| s.seed).collect();
    let seeds = match (seeds.as_slice(), &side.trial) {
        ([seed], _) => format!("seed {seed}"),
        (_, Some(_)) => String::new(),
        (several, None) => words::count(several.len(), "seed"),
    };
    let place = match &side.trial {
        Some(id) => format!("{} trial {id}", side.experiment),
        None => format!("{}#{}", side.experiment, side.configuration),
    };
    let parts = [words::plain(&place), side.name.clone(), seeds, figure];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("  ")
}

/// Three columns, the first to the left, the others to the right where all are numbers.
fn rows_in_line(rows: &[(String, String, String)]) -> String {
    let width = |cells: &dyn Fn(&(String, String, String)) -> &String| rows.iter().map(|row| cells(row).chars().count()).max();
    let (first, second) = (width(&|row| &row.0).unwrap_or(0), width(&|row| &row.1).unwrap_or(0));
    let lines = rows.iter().map(|(name, a, b)| format!("  {name:<first$}  {:<second$}  {}\n", words::plain(a), words::plain(b)));
    lines.collect()
}

/// What there is to say, in sentences.
pub(super) fn sentences(pair: &Pair) -> Vec<String> {
    let mut sentences = vec![difference(pair)];
    sentences.extend(uncertainty(pair));
    sentences.push(conclusion(pair));
    sentences
        .push("Unadjusted: one pair looked at. Of many pairs some differ by chance, which the report allows for.".to_owned());
    sentences
}

fn difference(pair: &Pair) -> String {
    let size = pair.difference.abs();
    let towards = if pair.difference < 0.0 { "lower" } else { "higher" };
    let over = if pair.seeds.is_empty() {
        "mean of each side's own seeds".to_owned()
    } else if pair.forbids.iter().any(|f| f.what == "seeds") {
        "two trials of different seeds".to_owned()
    } else {
        let seeds: Vec<String> = pair.seeds.iter().map(i64::to_string).collect();
        format!("over the {} {} that both have", if seeds.len() == 1 { "seed" } else { "seeds" }, listed(&seeds))
    };
    let score = match pair.score {
        "common" => "common context, final weights",
        "native" => "each in its own context, final weights",
        "best_common" => "common context, best weights",
        _ => "each in its own context, best weights",
    };
    let scatter = pair.training.as_ref().map_or(0.0, |limits| limits.upper - limits.lower);
    if size == 0.0 && scatter == 0.0 && !pair.seeds.is_empty() {
        return format!("A and B have the very same results ({over}; {score}).");
    }
    if pair.by_bytes {
        let decimals = words::decimals(size, 4);
        return format!(
            "A needs {size:.decimals$} bits per byte {} than B ({over}; {score}).",
            if pair.difference < 0.0 { "less" } else { "more" }
        );
    }
    let ratio = pair.difference.exp();
    let [of_ratio, of_size] = [ratio - 1.0, size].map(|value| words::decimals(value, 4));
    format!(
        "The perplexity of A is {ratio:.of_ratio$} times that of B: loss {size:.of_size$} nats per token {towards} ({over}; {score})."
    )
}

/// The limits as people read them: a ratio of perplexities, or bits per byte.
fn limits(pair: &Pair, interval: Interval) -> String {
    if pair.by_bytes {
        return format!("{:+.4} to {:+.4} bits per byte", interval.lower, interval.upper);
    }
    format!("{:.4} to {:.4} times", interval.lower.exp(), interval.upper.exp())
}

fn uncertainty(pair: &Pair) -> Vec<String> {
    let training = match &pair.training {
        Ok(interval) => format!(
            "With other seeds: {} (95 %, t over {} pairs).",
            limits(pair, *interval),
            words::thousands(pair.seeds.len() as i64)
        ),
        Err(why) => format!("With other seeds: no interval; {why}."),
    };
    let text = match &pair.text {
        Ok(noise) => format!(
            "Over this one stretch of text: {} (95 %, t over {} blocks of {} tokens).",
            limits(pair, noise.interval()),
            words::thousands(noise.text.blocks as i64),
            words::thousands(noise.text.block_tokens as i64)
        ),
        Err(why) => format!("Over this one stretch of text: no interval; {why}."),
    };
    vec![training, text]
}

fn conclusion(pair: &Pair) -> String {
    let holds = if pair.labels.is_empty() { String::new() } else { format!(" {}", listed(&pair.labels)) };
    let wider = match pair.deciding() {
        Some(("text", _)) => " The wider interval, over text, decides.",
        Some(_) if pair.text.is_ok() => " The wider interval, over seeds, decides.",
        _ => "",
    };
    match pair.finding() {
        Finding::First => format!("A is better than B{holds}.{wider}"),
        Finding::Second => format!("B is better than A{holds}.{wider}"),
        Finding::Alike => format!("The two cannot be told apart{holds}.{wider}"),
        Finding::Undecided => "Neither can be called better: the difference may be chance.".to_owned(),
        Finding::Refused => {
            let what: Vec<String> = pair.forbids.iter().map(reason).collect();
            format!("Neither is called better: {}, and that alone may make the difference.", listed(&dedup(what)))
        }
    }
}

fn reason(forbids: &Forbids) -> String {
    match forbids.name {
        "program" => "they were trained by different programs",
        "arithmetic" => "they were trained by different versions of the arithmetic",
        "device" => "they were trained on different devices",
        "processor" => "they were trained on different kinds of processor",
        "tokenizer" => "their tokenizers differ",
        "text" => "their texts differ",
        "protocol" => "they were scored differently",
        "budget" => "their budgets differ",
        _ => "they have no seed in common",
    }
    .to_owned()
}

fn dedup(mut list: Vec<String>) -> Vec<String> {
    list.dedup();
    list
}

/// `version` (1; keys are only ever added) · `a`, `b` {`experiment`, `configuration`, `trial`, `name`, `seeds`, `loss`,
/// `perplexity`, `bits_per_byte`} · `settings` [{`key`, `a`, `b`}] · `also_changed` [{`quantity`, `name`, `a`, `b`}] ·
/// `uncontrolled` [{`what`, `a`, `b`}] · `seeds` (that both have) · `unit` (`loss` or `bits_per_byte`) · `score` · `difference` (A less
/// B) · `perplexity_ratio` · `training`, `text` {`lower`, `upper` (limits of the difference), `why` (there are none)}, the latter with
/// `blocks`, `block_tokens`, `tokens` · `decides` (`training` or `text`) · `finding` (`a`, `b`, `alike`, `undecided`, `refused`) · `holds` ·
/// `adjusted` (false) · `sentences` · `damaged`. What is not known is null.
pub(super) fn json(pair: &Pair) -> Value {
    let side = |side: &Side| {
        let loss = side.mean(false);
        json!({
            "experiment": side.experiment,
            "configuration": side.configuration,
            "trial": side.trial,
            "name": side.name,
            "seeds": side.subjects.iter().filter_map(|s| s.seed).collect::<Vec<_>>(),
            "loss": loss,
            "perplexity": loss.exp(),
            "bits_per_byte": side.mean(true),
        })
    };
    let training = match &pair.training {
        Ok(i) => json!({ "lower": i.lower, "upper": i.upper, "why": null }),
        Err(why) => json!({ "lower": null, "upper": null, "why": why }),
    };
    let text = match &pair.text {
        Ok(noise) => {
            let (interval, text) = (noise.interval(), noise.text);
            json!({ "lower": interval.lower, "upper": interval.upper, "why": null,
                "blocks": text.blocks, "block_tokens": text.block_tokens, "tokens": text.tokens })
        }
        Err(why) => json!({ "lower": null, "upper": null, "why": why, "blocks": null, "block_tokens": null, "tokens": null }),
    };
    let finding = match pair.finding() {
        Finding::First => "a",
        Finding::Second => "b",
        Finding::Alike => "alike",
        Finding::Undecided => "undecided",
        Finding::Refused => "refused",
    };
    json!({
        "version": VERSION,
        "a": side(&pair.first),
        "b": side(&pair.second),
        "settings": pair.settings.iter().map(|(key, a, b)| json!({ "key": key, "a": a, "b": b })).collect::<Vec<_>>(),
        "also_changed": pair.also_changed.iter().map(|c| c.json("a", "b")).collect::<Vec<_>>(),
        "uncontrolled": pair.forbids.iter().map(|f| json!({ "what": f.what, "a": f.first, "b": f.second })).collect::<Vec<_>>(),
        "seeds": pair.seeds,
        "unit": if pair.by_bytes { "bits_per_byte" } else { "loss" },
        "score": pair.score,
        "difference": pair.difference,
        "perplexity_ratio": (!pair.by_bytes).then(|| pair.difference.exp()),
        "training": training,
        "text": text,
        "decides": pair.deciding().map(|(what, _)| what),
        "finding": finding,
        "holds": pair.labels,
        "adjusted": false,
        "sentences": sentences(pair),
        "damaged": pair.damaged,
    })
}
