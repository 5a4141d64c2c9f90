//! The JSON Schema of an experiment file, for editors that complete and check YAML by one.
//!
//! It says of each key what the reader says, as far as a schema can: what settings must hold together (a width that is a multiple of
//! the heads, names under `let` that expressions use) only `votive check` knows. It is of draft 07, which editors' YAML servers read
//! best. Made by hand from the table rather than by `schemars`, which makes schemas from Rust types: the types here read their own
//! words from text (`off`, `2e6`), so that each of them would need a schema written beside it all the same.

use serde_json::{Map, Value, json};

use super::{Edge, Entry, TABLE, Takes};
use crate::experiment::keys;
use crate::experiment::text::LONGEST_SECONDS;

/// A number as text: the reader takes `20_000`, which is a text to YAML.
const NUMBER: &str = r"^[+-]?[0-9][0-9_]*(\.[0-9_]*)?([eE][+-]?[0-9]+)?$";
const WHOLE: &str = r"^[+]?[0-9][0-9_]*(\.0*)?([eE][+]?[0-9]+)?$";
const CLOCK: &str = r"^([0-9]|[01][0-9]|2[0-3]):[0-5][0-9]$";
const LENGTH: &str = r"^(?=[0-9])([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?$";
/// A name of one's own, which is no section's.
const OWN: &str = "^(?!(corpus|tokenizer|model|train|evaluate|checkpoint|run|report)$)[A-Za-z_][A-Za-z0-9_]*$";

/// The JSON Schema of an experiment file.
pub fn schema() -> Value {
    let mut definitions = Map::new();
    for entry in TABLE.iter().filter(|entry| entry.is_setting()) {
        definitions.insert(entry.key.to_owned(), described(entry, value(entry)));
    }
    definitions.insert("range".to_owned(), range());
    definitions.insert("expression".to_owned(), json!({"type": ["string", "number", "boolean"]}));
    let mut properties = Map::new();
    for entry in TABLE.iter().filter(|entry| !entry.is_setting()) {
        properties.insert(entry.key.to_owned(), described(entry, top(entry)));
    }
    for section in keys::SECTIONS.iter().filter(|section| **section != keys::TOKENIZER) {
        properties.insert((*section).to_owned(), self::section(section));
    }
    properties.insert(keys::TOKENIZER.to_owned(), reference(keys::TOKENIZER));
    let mut patterns = by_full_name(&|entry| reference(entry.key), &|_| true);
    patterns.insert(format!("^{}", keys::PASSED_OVER), json!(true));
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Votive experiment",
        "description": "One YAML file that describes a family of language-model trainings. `votive guide settings` has all keys.",
        "type": "object",
        "properties": properties,
        "patternProperties": patterns,
        "additionalProperties": false,
        "required": ["name"],
        "definitions": definitions,
    })
}

fn reference(key: &str) -> Value {
    json!({"$ref": format!("#/definitions/{key}")})
}

/// With what the table says beside it.
fn described(entry: &Entry, mut schema: Value) -> Value {
    let takes = entry.takes_words();
    schema["description"] = json!(format!(
        "{}\n\nTakes {takes}. Default: {}.\n\nExample: `{}`",
        entry.says,
        entry.default_words(),
        entry.example_line()
    ));
    schema
}

/// Settings by their full names, each exactly.
fn by_full_name(schema: &dyn Fn(&Entry) -> Value, which: &dyn Fn(&Entry) -> bool) -> Map<String, Value> {
    let settings = TABLE.iter().filter(|entry| entry.is_setting() && entry.key.contains('.') && which(entry));
    settings.map(|entry| (format!("^{}$", entry.key.replace('.', r"\.")), schema(entry))).collect()
}

/// The keys directly inside a section or a block; a section within it whole.
fn inside(block: &str) -> Map<String, Value> {
    let mut keys = Map::new();
    let parts = TABLE.iter().filter_map(|entry| entry.key.strip_prefix(block)?.strip_prefix('.'));
    for name in parts.map(|rest| rest.split('.').next().unwrap_or(rest)) {
        let key = format!("{block}.{name}");
        let schema = || if super::entry(&key).is_some() { reference(&key) } else { section(&key) };
        keys.entry(name).or_insert_with(schema);
    }
    keys
}

/// A section of settings; `budget.steps` in it is as good as a block.
fn section(section: &str) -> Value {
    let deeper = |entry: &Entry| {
        let rest = entry.key.strip_prefix(section)?.strip_prefix('.')?;
        rest.contains('.').then(|| (format!("^{}$", rest.replace('.', r"\.")), reference(entry.key)))
    };
    let patterns: Map<String, Value> = TABLE.iter().filter_map(deeper).collect();
    json!({
        "type": ["object", "null"],
        "properties": inside(section),
        "patternProperties": patterns,
        "additionalProperties": false,
    })
}

/// What a setting may be.
fn value(entry: &Entry) -> Value {
    let parts = inside(entry.key);
    if parts.is_empty() {
        return any(entry.takes);
    }
    let whole = json!({"type": "object", "properties": parts, "additionalProperties": false});
    match entry.key {
        // One unit, and a kind that may stand alone.
        keys::BUDGET => with(whole, &json!({"minProperties": 1, "maxProperties": 1})),
        keys::TOKENIZER => json!({"anyOf": [with(whole, &json!({"required": ["kind"]})), {"enum": ["char", "byte", "word"]}]}),
        _ => whole,
    }
}

fn with(mut schema: Value, more: &Value) -> Value {
    for (key, value) in more.as_object().into_iter().flatten() {
        schema[key] = value.clone();
    }
    schema
}

fn any(takes: &[Takes]) -> Value {
    let mut all: Vec<Value> = takes.iter().flat_map(forms).collect();
    if all.len() == 1 { all.remove(0) } else { json!({"anyOf": all}) }
}

/// The forms of one thing that a setting may be: as YAML's own type, and as the text that the reader takes as well.
fn forms(takes: &Takes) -> Vec<Value> {
    let text = |pattern: &str| json!({"type": "string", "pattern": pattern});
    match takes {
        Takes::Whole(least, most) => vec![json!({"type": "integer", "minimum": least, "maximum": most}), text(WHOLE)],
        Takes::Number(least, most) => {
            let mut number = json!({"type": "number"});
            match least {
                Edge::At(least) => number["minimum"] = json!(least),
                Edge::Beyond(least) => number["exclusiveMinimum"] = json!(least),
                Edge::Open => {}
            }
            match most {
                Edge::At(most) => number["maximum"] = json!(most),
                Edge::Beyond(most) => number["exclusiveMaximum"] = json!(most),
                Edge::Open => {}
            }
            vec![number, text(NUMBER)]
        }
        Takes::Flag => vec![json!({"type": "boolean"}), text("^([Tt]rue|[Ff]alse|[Yy]es|[Nn]o|[Oo]n|[Oo]ff)$")],
        Takes::Words(words) => vec![json!({"enum": words.iter().map(|(word, _)| word).collect::<Vec<_>>()})],
        Takes::Text(_) => vec![json!({"type": "string", "minLength": 1})],
        Takes::Texts(_) => {
            vec![json!({"type": "string", "minLength": 1}), json!({"type": "array", "items": {"type": "string"}, "minItems": 1})]
        }
        Takes::Clock => vec![text(CLOCK)],
        Takes::Length => vec![text(LENGTH)],
        Takes::Seconds => vec![json!({"type": "integer", "minimum": 1, "maximum": LONGEST_SECONDS}), text(WHOLE)],
        // What has a form of its own has a schema of its own.
        Takes::Form(_) => vec![json!(true)],
    }
}

/// What stands at the top.
fn top(entry: &Entry) -> Value {
    let several = |item: Value| json!({"anyOf": [{"type": "array", "items": item.clone()}, item, {"type": "null"}]});
    match entry.key {
        "name" => json!({"type": ["string", "integer"], "pattern": "^[a-z0-9][a-z0-9._-]{0,63}$"}),
        "description" => json!({"type": ["string", "number", "boolean", "null"]}),
        "grid" => several(axes(&axis)),
        "zip" => {
            several(axes(&|one| json!({"anyOf": [{"type": "array", "items": one.clone()}, {"$ref": "#/definitions/range"}]})))
        }
        "points" => several(axes(&|one| one.clone())),
        "let" => own_names(&axis(&json!({"type": ["string", "number", "boolean"]}))),
        "derive" => axes(&|_| json!({"$ref": "#/definitions/expression"})),
        "exclude" => several(json!({"anyOf": [
            {"type": ["string", "boolean"]},
            {"type": "object", "properties": {"when": {"$ref": "#/definitions/expression"}, "why": {"type": "string"}},
             "additionalProperties": false, "required": ["when"]},
        ]})),
        "search" => {
            let mut drawn = axes(&axis);
            drawn["properties"]["random"] = json!({
                "description": "How many configurations are drawn.",
                "anyOf": forms(&Takes::Whole(1, i64::MAX as u64)),
            });
            drawn["properties"]["seed"] = json!({
                "description": "Another seed draws others. Default: 1.",
                "anyOf": forms(&Takes::Whole(0, i64::MAX as u64)),
            });
            with(drawn, &json!({"required": ["random"]}))
        }
        "tune" => several(json!({"type": "string"})),
        "seeds" => json!({"anyOf": [
            {"type": "integer", "minimum": 1, "maximum": 100_000}, {"type": "string", "pattern": WHOLE},
            {"type": "array", "minItems": 1, "items": {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": WHOLE}]}},
        ]}),
        _ => any(entry.takes),
    }
}

/// Values of one axis: one, a list, or a range.
fn axis(one: &Value) -> Value {
    json!({"anyOf": [{"type": "array", "items": one.clone()}, {"$ref": "#/definitions/range"}, one.clone()]})
}

/// Settings that configurations may differ in, each with this of its values; also grouped by section, and names of one's own.
fn axes(of: &dyn Fn(&Value) -> Value) -> Value {
    let swept = |entry: &Entry| entry.can_be_swept();
    let mut properties = Map::new();
    for entry in TABLE.iter().filter(|entry| swept(entry)) {
        properties.insert(entry.key.to_owned(), of(&reference(entry.key)));
    }
    for section in keys::SECTIONS.iter().filter(|section| keys::can_be_swept(section) && **section != keys::TOKENIZER) {
        let inner: Map<String, Value> = inside(section).into_iter().map(|(key, one)| (key, of(&one))).collect();
        properties.insert((*section).to_owned(), json!({"type": "object", "properties": inner}));
    }
    // A name that is no setting may be one of `let`.
    let mut schema = own_names(&of(&json!({"type": ["string", "number", "boolean"]})));
    schema["properties"] = Value::Object(properties);
    schema
}

fn own_names(value: &Value) -> Value {
    json!({"type": ["object", "null"], "patternProperties": {OWN: value}, "additionalProperties": false})
}

fn range() -> Value {
    let number = json!({"anyOf": [{"type": "number"}, {"type": "string", "pattern": NUMBER}]});
    json!({
        "description": "A range: `{from: 64, to: 1024, factor: 2}`, `{from: 0, to: 1, step: 0.25}` or `{from: 1e-5, to: 1e-3, log: 5}`; \
                        in a search also `{from: 1e-4, to: 1e-2, log: true}` and `{from: 0, to: 1}`",
        "type": "object",
        "properties": {
            "from": number, "to": number, "factor": number, "step": number,
            "log": {"anyOf": [number, {"type": "boolean"}]},
        },
        "additionalProperties": false,
        "required": ["from", "to"],
    })
}
