//! A comparison of two sides for people, and as JSON.

use serde_json::{Value, json};

use super::difference::{Finding, Over, Pair};
use super::side::Side;
use crate::report::controlled::Forbids;
use crate::report::inference::effects::Interval;
use crate::report::wording;
use crate::terminal::width_of;
use crate::words;
use crate::words::listed;

const VERSION: u32 = 2;

/// What the two sides are called in the text.
const NAMES: [&str; 2] = ["A", "B"];

pub(super) fn text(pair: &Pair) -> String {
    let mut text = String::new();
    for (name, side) in NAMES.iter().zip([&pair.first, &pair.second]) {
        text += &format!("{name}  {}\n", described(side, pair));
    }
    let quantities = pair.also_changed.iter().map(|c| {
        let [a, b] = c.quantity.shown_apart([c.low, c.high]);
        (c.quantity.name.to_owned(), a, b)
    });
    let keys: Vec<String> = pair.settings.iter().map(|(key, _, _)| key.clone()).collect();
    let settings = wording::keys(&keys).into_iter().zip(&pair.settings).map(|(key, (_, a, b))| (key, a.clone(), b.clone()));
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
    let figure = if pair.by_bytes {
        format!("{mean:.4} bits per byte")
    } else {
        format!("perplexity {}", wording::perplexity(mean.exp()))
    };
    let seeds: Vec<i64> = side.subjects.iter().filter_map(|s| s.seed).collect();
    let seeds = match (seeds.as_slice(), &side.trial) {
        ([seed], _) => format!("seed {seed}"),
        (_, Some(_)) => String::new(),
        (several, None) => words::counted(several.len(), "seed"),
    };
    let place = match &side.trial {
        Some(id) => format!("{} trial {id}", side.experiment),
        None => format!("{}#{}", side.experiment, side.configuration),
    };
    let parts = [wording::plain(&place), side.name.clone(), seeds, figure];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("  ")
}

/// Three columns, the first to the left, the others to the right where all are numbers.
fn rows_in_line(rows: &[(String, String, String)]) -> String {
    let rows = rows.iter().map(|(name, a, b)| [name.clone(), wording::plain(a), wording::plain(b)]);
    let rows: Vec<[String; 3]> = rows.collect();
    let width = |column: usize| rows.iter().map(|row| width_of(&row[column])).max().unwrap_or(0);
    let (first, second) = (width(0), width(1));
    let padded = |text: &str, width: usize| format!("{text}{}", " ".repeat(width - width_of(text)));
    let line = |[name, a, b]: &[String; 3]| format!("  {}  {}  {b}\n", padded(name, first), padded(a, second));
    rows.iter().map(line).collect()
}

/// What there is to say, in sentences.
pub(super) fn sentences(pair: &Pair) -> Vec<String> {
    let mut sentences = vec![difference(pair)];
    sentences.push(uncertainty(pair));
    sentences.push(conclusion(pair));
    sentences.extend(worth(pair));
    sentences
        .push("Unadjusted: one pair looked at. Of many pairs some differ by chance, which the report allows for.".to_owned());
    sentences
}

fn difference(pair: &Pair) -> String {
    let size = pair.difference.abs();
    let towards = if pair.difference < 0.0 { "lower" } else { "higher" };
    let over = match pair.over {
        Over::All => "over all seeds, by least squares".to_owned(),
        Over::Own => "mean of each side's own seeds".to_owned(),
        Over::Shared if pair.forbids.iter().any(|f| f.what == "seeds") => "two trials of different seeds".to_owned(),
        Over::Shared => {
            let seeds: Vec<String> = pair.seeds.iter().map(i64::to_string).collect();
            format!("over the {} {} that both have", if seeds.len() == 1 { "seed" } else { "seeds" }, listed(&seeds))
        }
    };
    let score = match pair.score {
        "common" => "common context, final weights",
        "native" => "each in its own context, final weights",
        "best_common" => "common context, best weights",
        _ => "each in its own context, best weights",
    };
    let scatter = pair.error.as_ref().map_or(0.0, |error| error.standard_error);
    if size == 0.0 && scatter == 0.0 && !pair.seeds.is_empty() {
        return format!("A and B have the very same results ({over}; {score}).");
    }
    if pair.by_bytes {
        let decimals = wording::decimals(size, 4);
        return format!(
            "A needs {size:.decimals$} bits per byte {} than B ({over}; {score}).",
            if pair.difference < 0.0 { "less" } else { "more" }
        );
    }
    let ratio = pair.difference.exp();
    let [of_ratio, of_size] = [ratio - 1.0, size].map(|value| wording::decimals(value, 4));
    format!(
        "The perplexity of A is {ratio:.of_ratio$} times that of B: loss {size:.of_size$} nats per token {towards} ({over}; {score})."
    )
}

/// The limits as people read them: a ratio of perplexities, or bits per byte; each with the decimals that tell it from no difference.
fn limits(pair: &Pair, interval: Interval) -> String {
    let [lower, upper] = [interval.lower, interval.upper].map(|limit| {
        if pair.by_bytes {
            let decimals = wording::decimals(limit, 4);
            format!("{limit:+.decimals$}")
        } else {
            let decimals = wording::decimals(limit.exp_m1(), 4);
            format!("{:.decimals$}", limit.exp())
        }
    });
    format!("{lower} to {upper} {}", if pair.by_bytes { "bits per byte" } else { "times" })
}

fn uncertainty(pair: &Pair) -> String {
    let what = match &pair.no_text {
        None => "seeds and the noise of this one stretch of text together".to_owned(),
        Some(why) => format!("seeds alone: {why}"),
    };
    match &pair.error {
        Ok(error) => format!(
            "95 % limits: {} (t with {} degrees of freedom; {what}).",
            limits(pair, error.limits(pair.difference)),
            format!("{:.1}", error.degrees).trim_end_matches(".0")
        ),
        Err(why) => format!("There are no limits: {why}."),
    }
}

fn conclusion(pair: &Pair) -> String {
    let holds = if pair.labels.is_empty() { String::new() } else { format!(" {}", listed(&pair.labels)) };
    let (better, worse) = match pair.finding() {
        Finding::First => ("A", "B"),
        Finding::Second => ("B", "A"),
        Finding::Alike => return format!("The two are statistically tied{holds}."),
        Finding::Undecided => return "Neither can be called better: the difference may be chance.".to_owned(),
        Finding::Refused => {
            let what: Vec<String> = pair.forbids.iter().map(reason).collect();
            return format!("Neither is called better: {}, and that alone may make the difference.", listed(&dedup(what)));
        }
    };
    match (pair.set_agrees(), pair.in_best_set) {
        (Some(true), _) => format!("{better} is better than {worse}{holds}."),
        (_, Some(found)) => {
            let stand = match found {
                (true, true) => "both are statistically tied with the best",
                (false, false) => "both are out",
                _ => "the report's set has them the other way round",
            };
            format!(
                "Looked at as one pair {better} would be better than {worse}{holds}, but of the {} configurations of the experiment {stand}: \
                 it is not called better.",
                words::thousands(pair.compared as i64)
            )
        }
        _ => format!("Looked at as one pair, {better} is better than {worse}{holds}."),
    }
}

/// Whether the difference is large enough to choose by.
fn worth(pair: &Pair) -> Option<String> {
    let limits = pair.limits().filter(|_| pair.forbids.is_empty())?;
    let margin = if pair.by_bytes { pair.margin * pair.second.mean(true) } else { pair.margin.ln_1p() };
    let percent = format!("{:.4}", 100.0 * pair.margin);
    let percent = percent.trim_end_matches('0').trim_end_matches('.');
    let nearest = if limits.lower > 0.0 { limits.lower } else { -limits.upper };
    if limits.lower > -margin && limits.upper < margin {
        Some(format!("They are practically the same: within {percent} % either way."))
    } else if nearest > 0.0 && nearest < margin {
        Some(format!("The difference may be under {percent} %, which is not worth a choice."))
    } else {
        None
    }
}

fn reason(forbids: &Forbids) -> String {
    match forbids.name {
        "program" => "they were trained by different programs",
        "arithmetic" => "they were trained by different versions of the arithmetic",
        "device" => "they were trained on different devices",
        "processor" => "they were trained on different kinds of processor or GPU",
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

/// `version` (2: in 1 the limits over seeds and over text stood apart; keys are only ever added) · `a`, `b` {`experiment`, `configuration`, `trial`, `name`, `seeds`, `loss`,
/// `perplexity`, `bits_per_byte`} · `settings` [{`key`, `a`, `b`}] · `also_changed` [{`quantity`, `name`, `a`, `b`}] ·
/// `uncontrolled` [{`what`, `a`, `b`}] · `seeds` (that both have) · `over` (`shared` seeds, each side's `own`, or `all` of the experiment by
/// least squares: what the difference is taken over) · `unit` (`loss` or `bits_per_byte`) · `score` · `difference` (A less
/// B) · `perplexity_ratio` · `standard_error` (of seeds and text together), `degrees` (of freedom), `lower`, `upper` (95 % limits of the
/// difference), `no_limits` (why there are none) · `no_text` (why the noise of the text is not in them) · `in_best_set` {`a`, `b`} (of two
/// configurations of one experiment that has a set) · `finding` (`a`, `b`, `alike`, `undecided`, `refused`), of this pair alone ·
/// `better` (`a` or `b`, where the set of the experiment agrees) · `holds` · `adjusted` (false) · `sentences` · `damaged`. What is not known
/// is null.
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
        "over": match pair.over {
            Over::Shared => "shared",
            Over::Own => "own",
            Over::All => "all",
        },
        "unit": if pair.by_bytes { "bits_per_byte" } else { "loss" },
        "score": pair.score,
        "difference": pair.difference,
        "perplexity_ratio": (!pair.by_bytes).then(|| pair.difference.exp()),
        "standard_error": pair.error.as_ref().ok().map(|error| error.standard_error),
        "degrees": pair.error.as_ref().ok().map(|error| error.degrees),
        "lower": pair.limits().map(|limits| limits.lower),
        "upper": pair.limits().map(|limits| limits.upper),
        "no_limits": pair.error.as_ref().err(),
        "no_text": pair.no_text,
        "in_best_set": pair.in_best_set.map(|(a, b)| json!({ "a": a, "b": b })),
        "finding": finding,
        "better": pair.set_agrees().filter(|agrees| *agrees && ["a", "b"].contains(&finding)).map(|_| finding),
        "holds": pair.labels,
        "adjusted": false,
        "sentences": sentences(pair),
        "damaged": pair.damaged,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_in_line_whatever_the_width_of_their_characters() {
        let rows = [("text", "汉字", "b"), ("clip norm", "off", "0.5")]
            .map(|(name, a, b)| (name.to_owned(), a.to_owned(), b.to_owned()));
        assert_eq!(rows_in_line(&rows), "  text       汉字  b\n  clip norm  off   0.5\n");
    }
}
