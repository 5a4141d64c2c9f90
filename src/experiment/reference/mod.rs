//! What each key of an experiment file is: its type and range, its default, whether it is part of a trial's id, a sentence and
//! an example.
//!
//! The [`TABLE`] is the one place where this is written down. The names that are known, hints about wrong values, `votive
//! settings`, the guide's page and the JSON Schema ([`schema()`]) are made from it; defaults are those of
//! [`Settings`], and tests hold the table against what the file's reader does.

mod entry;
mod schema;
mod table;
mod takes;

use std::sync::LazyLock;

use serde_json::Value;

use super::keys;
use super::settings::Settings;
use super::show;
use crate::words::thousands;

pub(super) use entry::SECTIONS;
pub use entry::{Entry, Identity, Preset};
pub use schema::schema;
pub use table::TABLE;
pub use takes::{Edge, Takes};

impl Entry {
    /// What it may be, in words.
    pub fn takes_words(&self) -> String {
        takes::in_words(self.takes)
    }

    /// Its default in words; `required` where there is none.
    pub fn default_words(&self) -> String {
        match self.default {
            Preset::Value => {
                DEFAULTS.iter().find(|(key, _)| key == self.key).map_or_else(|| "none".to_owned(), |(_, default)| default.clone())
            }
            Preset::Required => "required".to_owned(),
            Preset::Follows(words) => words.to_owned(),
        }
    }

    /// Whether configurations may differ in it.
    pub fn can_be_swept(&self) -> bool {
        self.is_setting() && keys::can_be_swept(self.key) && !keys::is_held_out(self.key)
    }

    /// Whether configurations may differ in it, in words.
    pub fn sweep_words(&self) -> &'static str {
        match self.key {
            key if keys::is_held_out(key) => "no: each configuration would be scored on a text of its own",
            "corpus.text" | "corpus.field" | "corpus.join" | "corpus.max_bytes" => {
                "yes, where one file is held out for all configurations (`corpus.validation: held-out.txt`)"
            }
            _ if self.can_be_swept() => "yes: it may stand under `grid`",
            _ => "no: it holds for the whole experiment",
        }
    }

    /// The example as it stands in a file: `train: {stride: 64}`.
    pub fn example_line(&self) -> String {
        in_file(keys::whole_setting(self.key), self.example)
    }

    /// What other programs call it.
    pub fn other_names(&self) -> Vec<&'static str> {
        keys::other_words(self.key)
    }
}

/// A value as it stands in a file, on one line.
fn in_file(key: &str, value: &str) -> String {
    match key.split_once('.') {
        Some((section, rest)) => format!("{section}: {{{}}}", in_file(rest, value)),
        None => format!("{key}: {value}"),
    }
}

/// The entry of this full name.
pub fn entry(key: &str) -> Option<&'static Entry> {
    TABLE.iter().find(|entry| entry.key == key)
}

/// What is looked for by a part of a name, or by another program's word for it: the entry of that very name or last name, else all
/// whose names contain it.
///
/// # Errors
/// None is: the nearest name, if one is near.
pub fn find(word: &str) -> Result<Vec<&'static Entry>, Option<String>> {
    let wanted = word.trim().to_ascii_lowercase().replace('-', "_");
    let those = |right: &dyn Fn(&str) -> bool| TABLE.iter().filter(|entry| right(entry.key)).collect::<Vec<_>>();
    let exact = those(&|key| key == wanted);
    // A section is all that is in it.
    if keys::SECTIONS.contains(&wanted.as_str()) {
        return Ok(those(&|key| key == wanted || key.strip_prefix(&wanted).is_some_and(|rest| rest.starts_with('.'))));
    }
    for found in [exact, those(&|key| keys::last_name(key) == wanted), those(&|key| !wanted.is_empty() && key.contains(&wanted))]
    {
        if !found.is_empty() {
            return Ok(found);
        }
    }
    match keys::meant(&wanted) {
        Some(name) if keys::is_other_word(&wanted) => entry(&name).map(|entry| vec![entry]).ok_or(Some(name)),
        near => Err(near),
    }
}

/// What to do about a value that its setting does not take.
pub(super) fn hint(key: &str) -> Option<String> {
    let entry = entry(key)?;
    Some(format!("for example `{}`; more by `votive settings {key}`", entry.example_line()))
}

/// The defaults that are values, as a person writes them.
static DEFAULTS: LazyLock<Vec<(String, String)>> = LazyLock::new(|| {
    let values = serde_json::to_value(Settings::default()).unwrap_or_default();
    let mut defaults = Vec::new();
    collect(String::new(), &values, &mut defaults);
    let written = defaults.into_iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| {
        let (section, name) = key.split_once('.').unwrap_or((&key, ""));
        let text = show::value(section, name, value);
        // A large number is read more easily with its thousands apart.
        let grouped =
            text.parse::<u64>().ok().filter(|number| *number >= 10_000).map(|number| thousands(number).replace(',', "_"));
        (key, grouped.unwrap_or(text))
    });
    written.collect()
});

/// The settings among these values, by their full names: what the table knows, and what it does not know and is no section.
fn collect<'a>(key: String, value: &'a Value, into: &mut Vec<(String, &'a Value)>) {
    match value.as_object().filter(|_| entry(&key).is_none()) {
        Some(inner) => {
            for (name, value) in inner {
                collect(if key.is_empty() { name.clone() } else { format!("{key}.{name}") }, value, into);
            }
        }
        None => into.push((key, value)),
    }
}

#[cfg(test)]
mod tests;
