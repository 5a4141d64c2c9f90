//! How a trial begins: from its newest checkpoint where that can be gone on from, else from its first step.

use std::time::Instant;

use super::{Open, Trainer};
use crate::error::Result;
use crate::model::{Config, initial_values};
use crate::optimize::LearningRate;
use crate::rows::Recorder;
use crate::runs::list_checkpoints;
use crate::train::backend::{Backend, State};
use crate::train::checkpoint::{self, Loaded};
use crate::train::divergence::Losses;
use crate::train::evaluate::Predicted;
use crate::train::pretrained;
use crate::train::retention::Keeper;
use crate::train::scoring::HeldOut;
use crate::train::{Folders, Job};

/// What became of a trial's checkpoint.
enum Resumed {
    /// There was none.
    Nothing,
    /// This goes on from it.
    Here(Box<dyn Backend>),
    /// The trial starts over: why.
    Otherwise(String),
}

impl<'a> Trainer<'a> {
    /// Goes on from the newest checkpoint, or begins.
    pub(super) fn start(
        open: Open<'_>,
        job: &'a Job,
        folders: Folders<'a>,
        recorder: &'a mut dyn Recorder,
        attempt: u32,
    ) -> Result<Self> {
        let config = job.model()?;
        let newest = checkpoint::newest(folders.checkpoints, job, &config, recorder)?;
        let resumed = match &newest {
            Some(loaded) => Self::resumed(open, &config, loaded)?,
            None if list_checkpoints(folders.checkpoints)?.is_empty() => Resumed::Nothing,
            None => Resumed::Otherwise("none of its checkpoints can be gone on from (its log says why)".to_owned()),
        };
        let (backend, newest) = match resumed {
            Resumed::Here(backend) => (backend, newest),
            Resumed::Nothing => (Self::untrained(open, job, &config)?, None),
            Resumed::Otherwise(why) => {
                tracing::warn!("the trial starts over: {why}");
                recorder.starts_over(&why);
                (Self::untrained(open, job, &config)?, None)
            }
        };
        let (position, written) = match newest {
            // Where only the weights are left, the row tells what was written before the rest went.
            Some(Loaded { position, state, written }) => (Some(position), (!state.first.is_empty()).then_some(written)),
            None => (None, None),
        };
        let step = position.as_ref().map_or(0, |position| position.step);
        if position.is_some() {
            tracing::info!(step, attempt, "goes on from a checkpoint");
        }
        let held_out = HeldOut::open(job, folders)?;
        recorder.resume(step as i64)?;
        Ok(Self {
            job,
            config,
            folders,
            keeper: Keeper::reconciled(job, folders, position.as_ref(), written, recorder)?,
            recorder,
            backend,
            held_out,
            schedule: LearningRate::new(&job.settings.train),
            attempt,
            step,
            tokens_seen: position.as_ref().map_or(0, |position| position.tokens_seen),
            training_seconds: position.as_ref().map_or(0.0, |position| position.training_seconds),
            last_seconds: position.as_ref().and_then(|position| position.due_after).unwrap_or(0.0),
            is_due: position.as_ref().is_some_and(|position| position.due_after.is_some()),
            completed: Instant::now(),
            best: position.as_ref().and_then(|position| position.best),
            predicted: Predicted::default(),
            losses: Losses::new(job.corpus.vocabulary, position.as_ref().map_or(&[], |position| &position.recent_losses)),
        })
    }

    /// What begins with the first step: from the seed, or from the weights that the job names.
    fn untrained(open: Open<'_>, job: &Job, config: &Config) -> Result<Box<dyn Backend>> {
        let values = match &job.from {
            Some(from) => pretrained::start(from)?,
            None => config.parameters().iter().map(|p| initial_values(p, job.seed)).collect(),
        };
        open(config, &State::untrained(values))
    }

    /// What goes on from a checkpoint, or why it would not go on bit for bit.
    fn resumed(open: Open<'_>, config: &Config, loaded: &Loaded) -> Result<Resumed> {
        let backend = open(config, &loaded.state)?;
        Ok(match (loaded.position.made_by.as_ref(), backend.made_by()) {
            (before, now) if before == now => Resumed::Here(backend),
            (Some(before), Some(now)) => Resumed::Otherwise(now.unlike(before)),
            (Some(before), None) => Resumed::Otherwise(format!("its checkpoint was made on {before}, and this is none")),
            (None, now) => {
                let this = now.map_or_else(String::new, |now| format!(", and this is {now}"));
                Resumed::Otherwise(format!("its checkpoint does not say on which GPU it was made{this}"))
            }
        })
    }
}
