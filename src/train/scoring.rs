//! Scoring in full: what the final and the best weights of a trial are worth, and the same again when the protocol has changed.
//!
//! The validation part is scored in the common context and in the trial's own; the test part once, in the common context. The
//! final weights rank. The best ones on the way stand beside them: they were chosen on the validation part, so their validation
//! score flatters them, and only their test score does not.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::backend::{self, Backend, Hardware, State};
use super::checkpoint::{self, Best, Position};
use super::evaluate::{self, GROUP, Predicted, Scores, WindowLayout};
use super::{Folders, Job};
use crate::corpus::{PreparedPart, TokenFile};
use crate::error::{Error, Kind, Result};
use crate::model::Config;
use crate::plan::TrialId;
use crate::rows::{CheckpointKind, EvaluationRow, Positions, Protocol, Recorder, ScoredPart, TokenNll, now_utc};
use crate::runs::checkpoint_name;

/// The parts of a trial's text that are not learned from.
pub(super) struct HeldOut {
    pub(super) validation: Option<TokenFile>,
    test: Option<TokenFile>,
}

impl HeldOut {
    /// Maps what a job has of them.
    pub(super) fn open(job: &Job, folders: Folders<'_>) -> Result<Self> {
        let open = |part: &Option<PreparedPart>| match part {
            Some(part) => TokenFile::open(&folders.experiment.join(&part.file)).map(Some),
            None => Ok(None),
        };
        Ok(Self { validation: open(&job.corpus.validation)?, test: open(&job.corpus.test)? })
    }
}

/// Which weights are scored, and how much they had seen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weights {
    pub(super) kind: CheckpointKind,
    pub(super) step: u64,
    pub(super) tokens_seen: u64,
}

impl Weights {
    /// The row of an evaluation of these weights that began at `started`.
    pub(super) fn row(
        self,
        part: ScoredPart,
        protocol: Protocol,
        layout: WindowLayout,
        scores: &Scores,
        started: Instant,
    ) -> EvaluationRow {
        EvaluationRow {
            step: self.step as i64,
            tokens_seen: self.tokens_seen as i64,
            protocol,
            kind: self.kind,
            part,
            context: layout.context as i64,
            stride: layout.stride as i64,
            scored_tokens: scores.nll.len() as i64,
            scored_bytes: scores.bytes as i64,
            nll_sum: scores.sum,
            seconds: started.elapsed().as_secs_f64(),
            time_utc: now_utc(),
        }
    }
}

/// Scores weights in full: both protocols on the validation part, the common one on the test part. `None` where `stop` said so.
/// `predicted` is what these weights gave on the validation part already.
pub(super) fn in_full(
    (job, held_out): (&Job, &HeldOut),
    backend: &mut dyn Backend,
    predicted: &mut Predicted,
    weights: Weights,
    recorder: &mut dyn Recorder,
    stop: &AtomicBool,
) -> Result<Option<Vec<EvaluationRow>>> {
    let mut rows = Vec::new();
    let (common, native) = (job.evaluation.common_context, job.settings.train.sequence_length);
    if let Some(part) = &held_out.validation {
        // Where both contexts are one they are scored once and told twice. The longer windows first: some of the shorter ones are
        // the beginnings of them.
        let contexts = [(Protocol::Native, native), (Protocol::Common, common)];
        let mut found = Vec::new();
        for (protocol, context) in contexts.into_iter().skip(usize::from(common == native)) {
            let (started, layout) = (Instant::now(), WindowLayout::overlapping(context));
            let scores = evaluate::score(backend, part, job.evaluation.scored_tokens, layout, GROUP, predicted, stop)?;
            let Some(scores) = scores else { return Ok(None) };
            let row = weights.row(ScoredPart::Validation, protocol, layout, &scores, started);
            found.push((layout, scores, row));
        }
        for (layout, scores, row) in found.into_iter().rev() {
            let (protocol, context) = (row.protocol, layout.context);
            recorder.evaluation(&row)?;
            rows.push(row.clone());
            if common == native {
                let row = EvaluationRow { protocol: Protocol::Native, seconds: 0.0, ..row };
                recorder.evaluation(&row)?;
                rows.push(row);
            }
            if context == native {
                let (protocol, context, kind) = (Protocol::Native, context as i64, weights.kind);
                recorder.positions(&Positions { protocol, context, kind, bins: scores.bins })?;
            }
            recorder.token_nll(&token_nll(part, (protocol, layout, weights.kind), scores.nll))?;
        }
    }
    if let Some(part) = &held_out.test {
        let (started, layout) = (Instant::now(), WindowLayout::overlapping(common));
        let tokens = part.prefix_within(job.settings.evaluate.max_bytes);
        let scores = evaluate::score(backend, part, tokens, layout, GROUP, &mut Predicted::default(), stop)?;
        let Some(scores) = scores else { return Ok(None) };
        let row = weights.row(ScoredPart::Test, Protocol::Common, layout, &scores, started);
        recorder.evaluation(&row)?;
        rows.push(row);
    }
    Ok(Some(rows))
}

fn token_nll(part: &TokenFile, (protocol, layout, kind): (Protocol, WindowLayout, CheckpointKind), nll: Vec<f32>) -> TokenNll {
    let mut tokens = vec![0; nll.len()];
    part.read(1, &mut tokens);
    TokenNll {
        protocol,
        context: layout.context as i64,
        stride: layout.stride as i64,
        kind,
        positions: (2..nll.len() as i64 + 2).collect(),
        tokens,
        nll,
    }
}

/// The best weights of a trial and where they were made; `None` where they are gone or damaged.
pub(super) fn best_weights(best: Best, folders: Folders<'_>, config: &Config) -> Result<Option<(Position, Vec<Vec<f32>>)>> {
    match checkpoint::load_weights(&folders.checkpoints.join(checkpoint_name(best.step)), config) {
        Err(error) if error.kind() == Kind::Data => {
            tracing::warn!(step = best.step, error = error.chain(), "the best weights cannot be scored");
            Ok(None)
        }
        found => found.map(Some),
    }
}

/// Rows of best weights that are gone, for the outcome: what is recorded of them, else rows without a figure, for the final weights
/// must not be taken for the best. `last` are the rows of the final ones.
pub(super) fn without_weights(best: Best, last: &[EvaluationRow], recorded: &[EvaluationRow]) -> Vec<EvaluationRow> {
    let of_best = |row: &EvaluationRow| {
        let known = recorded.iter().find(|known| (known.part, known.protocol) == (row.part, row.protocol));
        let (kind, step) = (CheckpointKind::Best, best.step as i64);
        known.cloned().unwrap_or_else(|| EvaluationRow { kind, step, nll_sum: None, seconds: 0.0, ..row.clone() })
    };
    last.iter().map(of_best).collect()
}

/// Scores a finished trial again from the weights that `trained` left (itself, or the trial that it is the same as), by the
/// protocol of its job; nothing is trained and no checkpoint is touched. `folders` names the checkpoints of `trained`. The rows for
/// its outcome; `None` where `stop` said so.
///
/// Where the best weights are gone (`checkpoint.when_done: final`) they have a row without a figure, in the outcome only.
///
/// # Errors
/// Where the final weights are missing or not as they were written.
pub fn rescore(
    job: &Job,
    trained: &TrialId,
    folders: Folders<'_>,
    hardware: &Hardware,
    recorder: &mut dyn Recorder,
    stop: &AtomicBool,
) -> Result<Option<Vec<EvaluationRow>>> {
    let config = job.model()?;
    let held_out = HeldOut::open(job, folders)?;
    let Some(step) = checkpoint::final_step(folders.checkpoints, trained)? else {
        let message = format!("there are no final weights of trial {trained} in {}", folders.checkpoints.display());
        return Err(Error::data(message).help("they are needed to score it again; without them it must be trained again"));
    };
    let load = |step: u64| checkpoint::load(&folders.checkpoints.join(checkpoint_name(step)), &config);
    let last = load(step)?;
    let tokens_seen = last.position.tokens_seen;
    let (train, draws) = (&job.settings.train, (job.seed, job.batch()));
    let mut backend = backend::open(&config, train, draws, hardware, &State::untrained(last.state.values))?;
    let weights = Weights { kind: CheckpointKind::Final, step, tokens_seen };
    let mut nothing = Predicted::default();
    let Some(mut rows) = in_full((job, &held_out), &mut *backend, &mut nothing, weights, recorder, stop)? else {
        return Ok(None);
    };
    let Some(best) = last.position.best.filter(|best| best.step != step) else { return Ok(Some(rows)) };
    let Some((position, values)) = best_weights(best, folders, &config)? else {
        rows.extend(without_weights(best, &rows, &[]));
        return Ok(Some(rows));
    };
    let weights = Weights { kind: CheckpointKind::Best, step: best.step, tokens_seen: position.tokens_seen };
    backend.set_values(&values)?;
    let mut nothing = Predicted::default();
    let Some(of_best) = in_full((job, &held_out), &mut *backend, &mut nothing, weights, recorder, stop)? else {
        return Ok(None);
    };
    rows.extend(of_best);
    Ok(Some(rows))
}
