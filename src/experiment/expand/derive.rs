//! Derived settings, and those that a folder to start from brings.

use figment::Figment;
use figment::value::Value;

use super::expanding::{Expanding, Row};
use crate::experiment::columns::Cell;
use crate::experiment::definition::Derive;
use crate::experiment::expression::{Datum, Trouble, Values};
use crate::experiment::problem::Problem;
use crate::experiment::read::{IMPLIED, derived_value};
use crate::experiment::settings::Settings;
use crate::experiment::surroundings::Folder;
use crate::experiment::{keys, layers, start, text};

impl Expanding<'_, '_> {
    /// The settings with those that a folder to start from (`model.from`) brings, and what else that folder says.
    fn brought(&mut self, mut settings: Settings, row: &Row<'_>) -> (Settings, Option<Folder>) {
        let Some(from) = &settings.model.from else { return (settings, None) };
        if !self.sets(keys::TOKENIZER, row) {
            settings.tokenizer = start::tokenizer(from);
        }
        // What a folder lacks is told with its place in the file, as a conflict.
        let folder =
            start::is_complete(&self.experiment.folder, from).then(|| self.surroundings.folder(&settings.model)).flatten();
        if let Some(folder) = &folder {
            settings.model.clone_from(&folder.model);
        }
        (settings, folder)
    }

    /// Computes derived settings, in the order in which they need each other. Also what a folder to start from says.
    pub(super) fn derive(
        &mut self,
        layers: Figment,
        settings: Settings,
        row: &Row<'_>,
        own: &[Datum],
        derived: &mut Vec<(usize, String)>,
    ) -> Result<(Settings, Option<Folder>), Box<Problem>> {
        let experiment = self.experiment;
        let (mut settings, folder) = self.brought(settings, row);
        if experiment.derives.is_empty() {
            return Ok((settings, folder));
        }
        let mut layers = layers;
        let mut columns = settings.columns();
        let mut waiting: Vec<(&Derive, String, Value)> = Vec::new();
        for derive in &experiment.derives {
            let stale = derive.program.settings().any(|name| {
                let key = keys::whole_setting(name.key());
                let follows = IMPLIED.iter().find(|(implied, _)| *implied == key).map(|(_, follows)| *follows);
                waiting.iter().any(|(_, done, _)| done == key || Some(done.as_str()) == follows)
            });
            if stale {
                (layers, settings) = merge(layers, &mut waiting, &columns, own)?;
                (settings, _) = self.brought(settings, row);
                columns = settings.columns();
            }
            match self.computed(derive, &settings, &columns, own)? {
                Some(datum) => {
                    derived.push((derive.target, datum.to_string()));
                    let (key, value) = derived_value(&derive.key, &datum);
                    waiting.push((derive, key, value));
                }
                None => derived.push((derive.target, String::new())),
            }
        }
        let (_, settings) = merge(layers, &mut waiting, &columns, own)?;
        Ok(self.brought(settings, row))
    }

    /// The value of a derived setting; `None` where it needs what is not known.
    fn computed(
        &mut self,
        derive: &Derive,
        settings: &Settings,
        columns: &[(&'static str, Cell)],
        own: &[Datum],
    ) -> Result<Option<Datum>, Box<Problem>> {
        let surroundings = &mut *self.surroundings;
        let mut full = || surroundings.windows(settings).map(|n| n as f64);
        let mut values = Values { columns, own, full: &mut full };
        let refuse = |message: String| Problem::error(message).key(&derive.key).at(&derive.place);
        match derive.program.evaluate(&mut values) {
            Ok(Datum::Number(n)) if layers::is_whole(&derive.key) && text::whole(n).is_none() && n.is_finite() => {
                let (program, datum) = (derive.program.text(), Datum::Number(n));
                let read = derive.program.context(&mut values);
                let message = format!("`{}` must be a whole number, and `{program}` is {datum}{read}", derive.key);
                Err(Box::new(refuse(message).help(format!("round it as you mean it: `floor({program})`"))))
            }
            Ok(datum) => Ok(Some(datum)),
            Err(Trouble::Unknown) => Ok(None),
            Err(Trouble::Failed(why)) => {
                let read = derive.program.context(&mut values);
                Err(Box::new(refuse(format!("`{}` cannot be derived{read}: {why}", derive.key))))
            }
        }
    }
}

/// Lays derived settings over the others, and parses all again.
fn merge(
    layers: Figment,
    waiting: &mut Vec<(&Derive, String, Value)>,
    columns: &[(&'static str, Cell)],
    own: &[Datum],
) -> Result<(Figment, Settings), Box<Problem>> {
    let set: Vec<(&str, &Value)> = waiting.iter().map(|(_, key, value)| (key.as_str(), value)).collect();
    let layers = layers::over(layers, "derive", &set);
    let misfit = match layers::extract(&layers) {
        Ok(settings) => {
            waiting.clear();
            return Ok((layers, settings));
        }
        Err(misfit) => misfit,
    };
    // One of them does not fit its setting: which, and from what it was computed.
    for (derive, key, value) in waiting.iter() {
        if let Err(misfit) = layers::alone(key, value) {
            let read = derive.program.context(&mut Values { columns, own, full: &mut || None });
            let problem = Problem::error(format!("`{}` {}{read}", derive.key, misfit.message));
            return Err(Box::new(problem.key(&derive.key).at(&derive.place).maybe_help(misfit.help)));
        }
    }
    let problem = Problem::error(format!("derived settings: one {}", misfit.message)).maybe_help(misfit.help);
    Err(Box::new(problem.maybe_at(waiting.first().map(|(derive, ..)| derive.place.clone()))))
}
