//! The names that an expression may use: settings by their full or their last name, and names of one's own (`let`).

use std::sync::LazyLock;

use super::columns::Cell;
use super::expression::{Datum, Kind, Trouble};
use super::keys;
use super::settings::Settings;

/// A setting in an expression: which column of [`Settings::columns`] it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    key: &'static str,
    column: usize,
    kind: NameKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NameKind {
    Number,
    Boolean,
    Word,
    /// `train.budget.tokens`: the budget's amount where it is counted in tokens.
    Budget(&'static str),
}

impl Name {
    /// The full name.
    pub(super) fn key(&self) -> &'static str {
        self.key
    }

    pub(super) fn kind(&self) -> Kind {
        match self.kind {
            NameKind::Number | NameKind::Budget(_) => Kind::Number,
            NameKind::Boolean => Kind::Boolean,
            NameKind::Word => Kind::Word,
        }
    }

    /// The words that it can be, where they are few.
    pub(super) fn words(&self) -> Option<&'static [String]> {
        WORDS.iter().find(|(key, _)| *key == self.key).map(|(_, words)| words.as_slice())
    }

    /// Its value in one configuration.
    pub(super) fn read(&self, columns: &[(&'static str, Cell)], full: &mut dyn FnMut() -> Option<f64>) -> Result<Datum, Trouble> {
        if let NameKind::Budget(unit) = self.kind
            && columns.get(self.column - 1).is_some_and(|(_, cell)| *cell != Cell::Text(Some(unit.to_owned())))
        {
            return Err(Trouble::Failed("the budget is counted in another unit".to_owned()));
        }
        let set = |suffix: &str| {
            let name_matches = |name: &str| name.strip_prefix(columns[self.column].0).is_some_and(|rest| rest == suffix);
            columns.get(self.column + 1).is_some_and(|(name, cell)| name_matches(name) && *cell == Cell::Bool(Some(true)))
        };
        match &columns[self.column].1 {
            Cell::Bool(Some(flag)) => Ok(Datum::Boolean(*flag)),
            Cell::Int(Some(number)) => Ok(Datum::Number(*number as f64)),
            Cell::Float(Some(number)) => Ok(Datum::Number(*number)),
            Cell::Text(Some(word)) => Ok(Datum::Word(word.clone())),
            Cell::Text(None) => Ok(Datum::Word("none".to_owned())),
            Cell::Int(None) | Cell::Float(None) if set("_off") => Ok(Datum::Number(f64::INFINITY)),
            Cell::Int(None) | Cell::Float(None) if set("_full") => full().map(Datum::Number).ok_or(Trouble::Unknown),
            _ => Err(Trouble::Failed(format!("`{}` is not set there", self.key))),
        }
    }
}

/// All settings that an expression may name: those that make a trial what it is.
static NAMES: LazyLock<Vec<Name>> = LazyLock::new(|| {
    let columns = Settings::default().columns();
    let mut names = Vec::new();
    for (index, (column, cell)) in columns.iter().enumerate() {
        let flag = |suffix: &str| column.strip_suffix(suffix).is_some_and(|of| columns.iter().any(|(name, _)| *name == of));
        if flag("_off") || flag("_full") || flag("_unit") {
            continue;
        }
        let kind = match cell {
            Cell::Bool(_) => NameKind::Boolean,
            Cell::Int(_) | Cell::Float(_) => NameKind::Number,
            Cell::Text(_) => NameKind::Word,
        };
        let key: &'static str = column.replacen('_', ".", 1).leak();
        names.push(Name { key, column: index, kind });
        if key == keys::BUDGET {
            for unit in keys::BUDGET_UNITS.iter().copied() {
                let key: &'static str = format!("{}.{unit}", keys::BUDGET).leak();
                names.push(Name { key, column: index, kind: NameKind::Budget(unit) });
            }
        }
    }
    names
});

/// The settings that are one of a few words.
static WORDS: LazyLock<Vec<(&'static str, Vec<String>)>> = LazyLock::new(|| {
    let mut all = vec![("tokenizer.kind", ["char", "byte", "word", "bpe", "file"].map(str::to_owned).to_vec())];
    for name in NAMES.iter().filter(|name| name.kind == NameKind::Word) {
        if let Some(words) = super::layers::words_of(name.key) {
            all.push((name.key, words));
        }
    }
    all
});

/// The names of one experiment.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    own: Vec<(String, Kind)>,
}

impl Names {
    /// The settings, and these names of one's own.
    pub(super) fn with(own: Vec<(String, Kind)>) -> Self {
        Self { own }
    }

    /// A name of one's own: its number and its type.
    pub(super) fn own(&self, name: &str) -> Option<(usize, Kind)> {
        self.own.iter().position(|(own, _)| own == name).map(|index| (index, self.own[index].1))
    }

    /// A setting by its full name or its last one; several where the last one is not clear.
    #[expect(clippy::unused_self, reason = "settings are the same for all experiments, but a name belongs to one")]
    pub(super) fn find(&self, name: &str) -> Result<Option<Name>, Vec<String>> {
        if let Some(full) = NAMES.iter().find(|n| n.key == name) {
            return Ok(Some(full.clone()));
        }
        let same: Vec<&Name> = NAMES.iter().filter(|n| keys::last_name(n.key) == name).collect();
        match same.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some((*one).clone())),
            several => Err(several.iter().map(|n| format!("`{}`", n.key)).collect()),
        }
    }

    /// What somebody probably meant.
    pub(super) fn suggestion(&self, name: &str) -> Option<String> {
        let own = self.own.iter().map(|(own, _)| own.as_str());
        let last = NAMES.iter().map(|n| keys::last_name(n.key));
        match keys::nearest(name, own.chain(last)) {
            Some(near) if near != name => Some(format!("did you mean `{near}`?")),
            _ => keys::suggestion(name),
        }
    }
}
