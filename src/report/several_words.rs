//! Several experiments for people and for programs: on the terminal, as Markdown, a page, CSV and JSON.
//!
//! # `summary.json`
//!
//! `version` (1; keys are only ever added) · `experiments` (names) · `groups` [{`measured` {`text` (beginning of the hash of the
//! held-out text), `tokenizer` (its label), `tokenizer_hash`, `context`, `stride`, `scored_tokens`, `score`}, `differs` (from the first group; null for it),
//! `settings` (that vary), `uncontrolled`, `verdict`, `lines`, best first: {`place`, `experiment`, `configuration`, `values`
//! {key: value}, `loss`, `perplexity`, `perplexity_spread`, `other_perplexity`, `bits_per_byte`, `test_perplexity`, `test_perplexity_spread`,
//! `seeds`, `tokens_per_second`, `training_seconds`, `parameters`}}] · `unranked` (configurations without a figure) · `damaged`.

use minijinja::{AutoEscape, Environment, context};
use polars::prelude::{Column, CsvWriter, DataFrame, SerWriter};
use serde_json::{Map, Value, json};

use super::comparison::Figure;
use super::confounding::listed;
use super::files::{defused, escaped};
use super::several::{Group, Line, Several};
use super::table::{LINES, ROWS};
use super::{frames, words};
use crate::error::{Error, Result};
use crate::terminal::{self, Cells, Column as Drawn, Look, Tone};

const VERSION: u32 = 1;
const TEMPLATE: &str = include_str!("several.html");

/// A column: heading, whether it holds numbers, its cells.
struct Shown {
    heading: String,
    number: bool,
    cells: Vec<String>,
    /// Where a terminal is narrow: when it is left out.
    keep: Option<u8>,
}

impl Shown {
    fn keep(self, keep: u8) -> Self {
        Self { keep: Some(keep), ..self }
    }

    fn column(&self) -> Drawn {
        let cells = if self.number { Cells::Numbers } else { Cells::Words };
        Drawn { heading: self.heading.clone(), cells, keep: self.keep }
    }
}

fn columns(group: &Group) -> Vec<Shown> {
    let column = |heading: &str, number: bool, cell: &dyn Fn(usize, &Line) -> String| Shown {
        heading: heading.to_owned(),
        number,
        cells: group.lines.iter().enumerate().map(|(place, line)| cell(place, line)).collect(),
        keep: None,
    };
    let mut columns = vec![
        column("", true, &|place, _| (place + 1).to_string()),
        column("experiment", false, &|_, line| words::plain(&line.experiment)),
        column("#", true, &|_, line| line.configuration.number.to_string()),
    ];
    for (place, key) in words::keys(&group.settings).iter().enumerate() {
        let numeric = |line: &Line| line.values[place].parse::<f64>().is_ok() || ["off", "full"].contains(&&*line.values[place]);
        columns.push(column(key, group.lines.iter().all(numeric), &|_, line| words::plain(&line.values[place])).keep(9));
    }
    let of_test = |line: &Line| line.configuration.test_perplexity;
    columns.push(figures(group, "perplexity", |line| line.configuration.perplexity));
    if group.lines.iter().any(|line| of_test(line).is_some()) {
        columns.push(figures(group, "test", of_test).keep(4));
    }
    columns.push(column("seeds", true, &|_, line| line.configuration.seeds.to_string()).keep(3));
    columns.push(
        column("parameters", true, &|_, line| line.configuration.parameters.map_or_else(String::new, words::thousands)).keep(2),
    );
    columns.push(
        column("training", true, &|_, line| line.configuration.training_seconds.map_or_else(String::new, words::duration))
            .keep(1),
    );
    columns
}

/// A column of perplexities, all with as many decimals as the smallest one.
fn figures(group: &Group, heading: &str, figure: impl Fn(&Line) -> Option<Figure>) -> Shown {
    let smallest = group.lines.iter().filter_map(|line| Some(figure(line)?.mean)).fold(f64::INFINITY, f64::min);
    let cell = |line: &Line| figure(line).map_or_else(String::new, |figure| figure.shown(smallest));
    Shown { heading: heading.to_owned(), number: true, cells: group.lines.iter().map(cell).collect(), keep: None }
}

/// What may be said of a group, in sentences.
fn verdict(group: &Group) -> Vec<String> {
    let Some(best) = group.lines.first() else { return Vec::new() };
    let experiments = group.experiments();
    let of = format!(
        "{} of {}",
        words::count(group.lines.len(), "configuration"),
        if experiments.len() == 1 { "one experiment".to_owned() } else { format!("{} experiments", experiments.len()) }
    );
    let figure = best.configuration.perplexity;
    let perplexity = figure.map_or_else(String::new, |f| words::perplexity(f.mean));
    let seeds = match figure.and_then(|f| f.spread.map(|spread| words::spread(f.mean, spread))) {
        Some(spread) => format!(" ± {spread} over {}", words::count(best.configuration.seeds, "seed")),
        None => " with one seed".to_owned(),
    };
    let name = format!("{}#{}", words::plain(&best.experiment), best.configuration.number);
    let mut sentences = vec![format!("Lowest of {of}: {name}. Perplexity {perplexity}{seeds}.")];
    if !group.uncontrolled.is_empty() {
        sentences.push(format!(
            "It is not called better than lines that differ from it beside their settings, in {}.",
            group.uncontrolled.join(", in ")
        ));
    } else if let Some(next) = group.lines.get(1) {
        sentences.push(format!(
            "Whether it is better is for `votive compare {name} {}#{}` to say.",
            words::plain(&next.experiment),
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
fn measured(group: &Group) -> String {
    let number = |n: Option<i64>| n.map_or_else(|| "?".to_owned(), words::thousands);
    let m = &group.measured;
    format!(
        "{}: held-out text {}, tokenizer {}, {} tokens scored in windows of {} that move by {} ({}).",
        listed(&group.experiments().iter().map(|name| words::plain(name)).collect::<Vec<_>>()),
        if m.text.is_empty() { "unknown" } else { &m.text },
        words::plain(&m.tokenizer),
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
fn apart(several: &Several, place: usize) -> Option<String> {
    let (first, group) = (several.groups.first()?, several.groups.get(place)?);
    (place > 0).then(|| format!("Not comparable with the first table: another {}.", group.measured.differences(&first.measured)))
}

fn notes(several: &Several) -> Vec<String> {
    let mut notes = Vec::new();
    if several.unranked > 0 {
        let verb = if several.unranked == 1 { "has" } else { "have" };
        notes.push(format!("{} {verb} no figure and stand in no table.", words::count(several.unranked, "configuration")));
    }
    notes
}

pub(super) fn terminal(several: &Several, look: Look) -> String {
    let mut text = String::new();
    let wrapped = |line: &str| format!("{}\n", terminal::wrapped(line, look.width));
    for (place, group) in several.groups.iter().enumerate() {
        if let Some(why) = apart(several, place) {
            text += &format!("\n{}", wrapped(&why));
        }
        let columns = columns(group);
        let row = |row: usize| {
            let tone = if row == 0 { Tone::Good } else { Tone::Plain };
            (tone, columns.iter().map(|column| column.cells[row].clone()).collect())
        };
        let rows: Vec<terminal::Row> = (0..group.lines.len().min(ROWS)).map(row).collect();
        let drawn = terminal::table(&columns.iter().map(Shown::column).collect::<Vec<_>>(), &rows, LINES, look);
        text += &drawn.text;
        text.extend(drawn.note(look.width, "`--into DIR` writes them").as_deref().map(wrapped));
        if group.lines.len() > ROWS {
            text += &format!("… and {} more\n", words::thousands((group.lines.len() - ROWS) as i64));
        }
        text += &wrapped(&measured(group));
        text += &wrapped(&verdict(group).join(" "));
    }
    text.extend(notes(several).iter().map(|note| wrapped(note)));
    text
}

pub(super) fn markdown(several: &Several) -> String {
    let mut lines = vec![format!("# {}", escaped(&listed(&several.experiments))), String::new()];
    for (place, group) in several.groups.iter().enumerate() {
        if let Some(why) = apart(several, place) {
            lines.extend([format!("## Measured otherwise\n\n{}", escaped(&why)), String::new()]);
        }
        lines.extend([escaped(&verdict(group).join(" ")), String::new()]);
        let columns = columns(group);
        lines.push(format!("| {} |", columns.iter().map(|c| escaped(&c.heading)).collect::<Vec<_>>().join(" | ")));
        lines.push(format!("|{}|", columns.iter().map(|c| if c.number { "---:" } else { "---" }).collect::<Vec<_>>().join("|")));
        for row in 0..group.lines.len() {
            lines.push(format!("| {} |", columns.iter().map(|c| escaped(&c.cells[row])).collect::<Vec<_>>().join(" | ")));
        }
        lines.extend([String::new(), format!("- {}", escaped(&measured(group))), String::new()]);
    }
    lines.extend(notes(several).iter().map(|note| format!("- {}", escaped(note))));
    if !several.damaged.is_empty() {
        lines.extend(["## Damaged files".to_owned(), String::new()]);
        lines.extend(several.damaged.iter().map(|file| format!("- {}", escaped(file))));
    }
    format!("{}\n", lines.join("\n").trim_end())
}

/// One page of tables; it needs neither network nor script.
pub(super) fn html(several: &Several) -> Result<String> {
    let failed = |e: minijinja::Error| Error::internal("the page cannot be made").caused_by(e.to_string());
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_template("several", TEMPLATE).map_err(failed)?;
    let groups: Vec<minijinja::Value> = several
        .groups
        .iter()
        .enumerate()
        .map(|(place, group)| {
            let columns = columns(group);
            let cell = |column: &Shown, row: usize| context! { text => column.cells[row].clone(), number => column.number };
            let rows = (0..group.lines.len()).map(|row| columns.iter().map(|c| cell(c, row)).collect::<Vec<_>>());
            context! {
                apart => apart(several, place),
                verdict => verdict(group).join(" "),
                measured => measured(group),
                headings => columns.iter().map(|c| context! { text => c.heading.clone(), number => c.number }).collect::<Vec<_>>(),
                rows => rows.collect::<Vec<_>>(),
            }
        })
        .collect();
    let name = listed(&several.experiments);
    let template = environment.get_template("several").map_err(failed)?;
    template
        .render(context! { name => name, groups => groups, notes => notes(several), damaged => several.damaged.clone() })
        .map_err(failed)
}

pub(super) fn summary(several: &Several) -> Value {
    let groups = several.groups.iter().enumerate().map(|(place, group)| {
        let lines = group.lines.iter().enumerate().map(|(row, line)| {
            let c = &line.configuration;
            let values: Map<String, Value> =
                group.settings.iter().cloned().zip(line.values.iter().cloned().map(Value::String)).collect();
            json!({
                "place": row + 1,
                "experiment": line.experiment,
                "configuration": c.number,
                "values": values,
                "loss": c.loss,
                "perplexity": c.perplexity.map(|f| f.mean),
                "perplexity_spread": c.perplexity.and_then(|f| f.spread),
                "other_perplexity": c.other_perplexity.map(|f| f.mean),
                "bits_per_byte": c.bits_per_byte.map(|f| f.mean),
                "test_perplexity": c.test_perplexity.map(|f| f.mean),
                "test_perplexity_spread": c.test_perplexity.and_then(|f| f.spread),
                "seeds": c.seeds,
                "tokens_per_second": c.tokens_per_second,
                "training_seconds": c.training_seconds,
                "parameters": c.parameters,
            })
        });
        let m = &group.measured;
        json!({
            "measured": {
                "text": m.text,
                "tokenizer": m.tokenizer,
                "tokenizer_hash": m.tokenizer_hash,
                "context": m.context,
                "stride": m.stride,
                "scored_tokens": m.scored_tokens,
                "score": m.score,
            },
            "differs": (place > 0).then(|| m.differences(&several.groups[0].measured)),
            "settings": group.settings,
            "uncontrolled": group.uncontrolled,
            "verdict": verdict(group),
            "lines": lines.collect::<Vec<_>>(),
        })
    });
    json!({
        "version": VERSION,
        "experiments": several.experiments,
        "groups": groups.collect::<Vec<_>>(),
        "unranked": several.unranked,
        "damaged": several.damaged,
    })
}

/// A row of the table of all groups.
struct Row<'a> {
    group: usize,
    place: usize,
    line: &'a Line,
    settings: &'a [String],
}

/// All groups in one table; only lines of one group compare. Settings that vary in no group are left out.
pub(super) fn leaderboard(several: &Several) -> Result<String> {
    let rows: Vec<Row<'_>> = several
        .groups
        .iter()
        .enumerate()
        .flat_map(|(g, group)| {
            let rows = group.lines.iter().enumerate();
            rows.map(move |(place, line)| Row { group: g + 1, place: place + 1, line, settings: &group.settings })
        })
        .collect();
    let mut keys: Vec<&String> = Vec::new();
    for key in several.groups.iter().flat_map(|group| &group.settings) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let integers = |name: &str, value: &dyn Fn(&Row<'_>) -> Option<i64>| {
        Column::new(name.into(), rows.iter().map(value).collect::<Vec<_>>())
    };
    let numbers = |name: &str, value: &dyn Fn(&Line) -> Option<f64>| {
        Column::new(name.into(), rows.iter().map(|row| value(row.line)).collect::<Vec<_>>())
    };
    let mut columns = vec![
        integers("group", &|row| Some(row.group as i64)),
        integers("place", &|row| Some(row.place as i64)),
        Column::new("experiment".into(), rows.iter().map(|row| defused(&row.line.experiment)).collect::<Vec<_>>()),
        integers("configuration", &|row| Some(row.line.configuration.number)),
    ];
    for key in keys {
        let value = |row: &Row<'_>| {
            let place = row.settings.iter().position(|k| k == key);
            let written = place.map(|place| row.line.values[place].as_str()).or_else(|| row.line.setting(key));
            defused(written.unwrap_or_default())
        };
        columns.push(Column::new(defused(key).into(), rows.iter().map(value).collect::<Vec<_>>()));
    }
    columns.extend([
        numbers("perplexity", &|l| l.configuration.perplexity.map(|f| f.mean)),
        numbers("perplexity_spread", &|l| l.configuration.perplexity.and_then(|f| f.spread)),
        integers("seeds", &|row| Some(row.line.configuration.seeds as i64)),
        numbers("loss", &|l| l.configuration.loss),
        numbers("bits_per_byte", &|l| l.configuration.bits_per_byte.map(|f| f.mean)),
    ]);
    if rows.iter().any(|row| row.line.configuration.test_perplexity.is_some()) {
        columns.extend([
            numbers("test_perplexity", &|l| l.configuration.test_perplexity.map(|f| f.mean)),
            numbers("test_perplexity_spread", &|l| l.configuration.test_perplexity.and_then(|f| f.spread)),
        ]);
    }
    columns.extend([
        numbers("tokens_per_second", &|l| l.configuration.tokens_per_second),
        numbers("training_seconds", &|l| l.configuration.training_seconds),
        integers("parameters", &|row| row.line.configuration.parameters),
    ]);
    let mut frame = DataFrame::new(rows.len(), columns).map_err(frames::wrong)?;
    let mut bytes = Vec::new();
    CsvWriter::new(&mut bytes).finish(&mut frame).map_err(frames::wrong)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
