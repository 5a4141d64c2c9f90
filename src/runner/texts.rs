//! The prepared texts of an experiment.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::deadline::before;
use super::notice::{Listener, Notice};
use super::signals::Asked;
use crate::corpus::{self, Prepared, Stage};
use crate::durable;
use crate::error::{Error, Kind, Result};
use crate::experiment::settings::{self, Settings};
use crate::experiment::{Experiment, Problems};
use crate::model::Pretrained;
use crate::plan::Known;
use crate::runs::ExperimentFolder;
use crate::schedule::Deadline;
use crate::train::pretrained;

/// Between two notices about the preparation of a text.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// The prepared texts, one for each distinct pair of corpus and tokenizer.
pub(super) struct Corpora {
    base: PathBuf,
    folder: ExperimentFolder,
    /// When preparation is given up.
    deadline: Deadline,
    /// Whether somebody asked to give it up.
    signalled: Asked,
    texts: RefCell<Vec<Text>>,
    folders: RefCell<HashMap<String, Pretrained>>,
}

/// A prepared text, and what it was prepared from.
struct Text {
    corpus: settings::Corpus,
    tokenizer: settings::Tokenizer,
    from: Option<String>,
    scored_bytes: u64,
    known: Rc<Known>,
}

impl Corpora {
    pub(super) fn new(base: PathBuf, folder: ExperimentFolder, deadline: Deadline, signalled: Asked) -> Self {
        Self { base, folder, deadline, signalled, texts: RefCell::default(), folders: RefCell::default() }
    }

    /// What is known of a folder to start from; each is read once, and wholly.
    ///
    /// # Errors
    /// Of kind [`Kind::Deadline`] where that has come before; where somebody asked to stop.
    pub(super) fn folder(&self, from: &str) -> Result<Pretrained> {
        self.folder_before(self.deadline, &self.signalled, from)
    }

    fn folder_before(&self, deadline: Deadline, signalled: &Asked, from: &str) -> Result<Pretrained> {
        let known = self.folders.borrow().get(from).cloned();
        let path = self.base.join(from);
        let found = match known {
            Some(found) => return Ok(found),
            None => before(deadline, signalled, move |_: &dyn Fn(())| pretrained::look(&path), &|()| {}),
        };
        if let Ok(found) = &found {
            self.folders.borrow_mut().insert(from.to_owned(), found.clone());
        }
        found.map_err(about_from)
    }

    /// The same. A tokenizer that is named beside it must be the folder's.
    fn look(&self, (deadline, signalled): (Deadline, &Asked), from: &str, tokenizer: &settings::Tokenizer) -> Result<Pretrained> {
        let folder = self.base.join(from);
        let found = self.folder_before(deadline, signalled, from).and_then(|found| {
            if let settings::Tokenizer::File { path } = tokenizer {
                let (path, own) = (self.base.join(path), folder.join("tokenizer.json"));
                let read = |path: &Path| std::fs::read(path).map_err(|e| Error::io("read", path, e));
                if path != own && read(&path)? != read(&own)? {
                    let message = format!("`tokenizer` names {}, which is not the tokenizer.json of `{from}`", path.display());
                    return Err(Error::usage(message).help("take `tokenizer` out: the folder brings its own"));
                }
            }
            Ok(found)
        });
        found.map_err(about_from)
    }

    /// Tells what a person should know about the texts, each remark once.
    pub(super) fn tell(&self, listener: &dyn Listener) {
        let mut told = HashSet::new();
        for text in self.texts.borrow().iter() {
            for remark in text.known.prepared.remarks.iter().map(ToString::to_string) {
                if !told.contains(&remark) {
                    listener.notice(&Notice::Text(&remark));
                    told.insert(remark);
                }
            }
        }
    }

    /// The `corpus.field` that is set, where no text has rows.
    pub(super) fn unused_field(&self) -> Option<String> {
        let texts = self.texts.borrow();
        let field = texts.iter().find_map(|text| text.corpus.field.clone())?;
        (!texts.iter().any(|text| text.known.prepared.has_rows)).then_some(field)
    }

    /// What is known of a configuration's text, which is prepared where it is not yet; then how far that is is told.
    ///
    /// # Errors
    /// Of kind [`Kind::Deadline`] where that has come before; where somebody asked to stop.
    pub(super) fn prepare(&self, settings: &Settings, listener: &dyn Listener) -> Result<Rc<Known>> {
        self.prepare_before(self.deadline, &self.signalled, settings, listener)
    }

    fn prepare_before(
        &self,
        deadline: Deadline,
        signalled: &Asked,
        settings: &Settings,
        listener: &dyn Listener,
    ) -> Result<Rc<Known>> {
        let (corpus, tokenizer, most) = (&settings.corpus, &settings.tokenizer, settings.evaluate.max_bytes);
        if let Some(known) = self.prepared(settings) {
            return Ok(known);
        }
        let from = settings.model.from.as_deref().map(|from| self.look((deadline, signalled), from, tokenizer)).transpose()?;
        let prepare = {
            let (corpus, tokenizer, base) = (corpus.clone(), tokenizer.clone(), self.base.clone());
            let (tokenizers, cache) = (self.folder.tokenizers(), self.folder.cache());
            move |say: &dyn Fn(Stage)| {
                let (corpus, tokenizer, base, tokenizers, cache) = (&corpus, &tokenizer, &*base, &*tokenizers, &*cache);
                let request = corpus::Request { corpus, tokenizer, base, tokenizers, cache, scored_bytes: most };
                let told = Progress::new();
                corpus::prepare(&request, &|stage| told.tell(stage, say))
            }
        };
        let label = tokenizer.label();
        let hear = |stage| listener.notice(&Notice::Preparing { tokenizer: &label, stage });
        let prepared = before(deadline, signalled, prepare, &hear).inspect_err(|error| self.sweep_after(error))?;
        let known = Rc::new(Known { prepared, from });
        let text = Text {
            corpus: corpus.clone(),
            tokenizer: tokenizer.clone(),
            from: settings.model.from.clone(),
            scored_bytes: most,
            known: known.clone(),
        };
        self.texts.borrow_mut().push(text);
        Ok(known)
    }

    /// Clears away what was begun, where it is given up.
    fn sweep_after(&self, error: &Error) {
        if matches!(error.kind(), Kind::Deadline | Kind::Interrupted | Kind::Terminated) {
            durable::sweep_abandoned(&self.folder.cache());
            durable::sweep_abandoned(&self.folder.tokenizers());
        }
    }

    /// What is known of a trial's text. With `model.from` its tokenizer is the one of that folder, which its configuration did not name:
    /// then the text is looked up anew, in files that are there already.
    pub(super) fn known(&self, settings: &Settings) -> Result<Rc<Known>> {
        struct Silent;
        impl Listener for Silent {
            fn notice(&self, _notice: &Notice<'_>) {}
        }
        self.prepare_before(Deadline::default(), &Asked::default(), settings, &Silent)
    }

    fn prepared(&self, settings: &Settings) -> Option<Rc<Known>> {
        let Settings { corpus, tokenizer, model, evaluate, .. } = settings;
        let texts = self.texts.borrow();
        let mut same = texts.iter().filter(|text| (&text.corpus, &text.tokenizer) == (corpus, tokenizer));
        let text = same.find(|text| (&text.from, text.scored_bytes) == (&model.from, evaluate.max_bytes))?;
        Some(text.known.clone())
    }

    pub(super) fn have_equal_tokenizers(&self) -> bool {
        let texts = self.texts.borrow();
        let content = |text: &Text| {
            let Prepared { text_hash, tokenizer_hash, end_of_text, .. } = &text.known.prepared;
            (text_hash.clone(), tokenizer_hash.clone(), *end_of_text)
        };
        let mut names = HashMap::new();
        texts.iter().any(|text| *names.entry(content(text)).or_insert(&text.tokenizer) != &text.tokenizer)
    }

    pub(super) fn all(&self) -> Vec<(String, Rc<Known>)> {
        self.texts.borrow().iter().map(|text| (text.tokenizer.label(), text.known.clone())).collect()
    }
}

/// Says of an error that it is about `model.from`, unless it is about the time that there was for it.
fn about_from(error: Error) -> Error {
    match error.kind() {
        Kind::Deadline | Kind::Interrupted | Kind::Terminated => error,
        _ => error.about("model.from"),
    }
}

/// Tells how far the preparation of a text is, where it takes more than a moment.
struct Progress {
    last: Cell<Instant>,
}

impl Progress {
    fn new() -> Self {
        Self { last: Cell::new(Instant::now()) }
    }

    fn tell(&self, stage: Stage, say: &dyn Fn(Stage)) {
        if self.last.get().elapsed() >= TELL_EVERY {
            self.last.set(Instant::now());
            say(stage);
        }
    }
}

/// What is wrong with a `corpus.field` where no file has rows.
pub fn unused_field(experiment: &Experiment, field: &str) -> Problems {
    let error = Error::usage(format!("`corpus.field` is `{field}`, and no file of the corpus has rows"))
        .help("give files of rows names that end in `.jsonl` (a JSON object a line), or take `field` out");
    experiment.problem_with("corpus.field", &error)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_folder_to_start_from_that_takes_too_long_to_read_is_given_up_at_the_deadline() {
        let dir = tempfile::tempdir().unwrap();
        // It is read until somebody writes into it, which nobody does.
        let fifo = Command::new("mkfifo").arg(dir.path().join("config.json")).status().unwrap();
        assert!(fifo.success());
        let past = Deadline { until_utc: Some(0), until_elapsed: None };
        let corpora =
            |signalled| Corpora::new(dir.path().to_owned(), ExperimentFolder::at(&dir.path().join("runs")), past, signalled);
        let error = corpora(Asked::default()).folder(".").unwrap_err();
        assert_eq!((error.kind(), error.setting()), (Kind::Deadline, None));
    }
}
