//! Whole files: what they mean, and what is said about wrong ones.

mod errors;
mod meaning;
mod properties;

use super::settings::Settings;
use super::*;

/// The beginning of every file of these tests.
const HEAD: &str = "name: x\ncorpus: {text: a.txt}\ntrain: {budget: {steps: 100}, sequence_length: 128}\n";

/// Surroundings that know this much: the number of windows, and what a folder says.
#[derive(Default)]
struct Knowing {
    windows: Option<u64>,
    folder: Option<Folder>,
    unfit: Vec<Unfit>,
}

impl Surroundings for Knowing {
    fn unfit(&mut self, _: &Settings) -> Vec<Unfit> {
        self.unfit.clone()
    }

    fn windows(&mut self, _: &Settings) -> Option<u64> {
        self.windows
    }

    fn folder(&mut self, model: &settings::Model) -> Option<Folder> {
        let folder = self.folder.clone()?;
        Some(Folder { model: settings::Model { from: model.from.clone(), dropout: model.dropout, ..folder.model }, ..folder })
    }
}

/// A file that begins with [`HEAD`].
fn experiment(rest: &str) -> Experiment {
    let text = format!("{HEAD}{rest}");
    match parse("x.yaml", &text, &Overrides::default()) {
        Ok((experiment, _)) => experiment,
        Err(problems) => panic!("{}", problems.render(Style::default())),
    }
}

fn expand(experiment: &Experiment) -> Expansion {
    match experiment.expand(10_000, &mut Knowing::default()) {
        Ok(expansion) => expansion,
        Err(problems) => panic!("{}", problems.render(Style::default())),
    }
}

/// Values of the configurations, a line each.
fn rows(expansion: &Expansion) -> Vec<String> {
    expansion.configurations.iter().map(|c| c.values.join(" ")).collect()
}
