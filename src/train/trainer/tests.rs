//! The step loop on a backend whose results come some steps late: it must tell the same story as one that waits for each step.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::*;
use crate::corpus::{Request, Tokenizer, prepare};
use crate::error::{Error, Kind};
use crate::experiment::settings::{self, BatchSize, Budget, Corpus, Model, Precision, Settings, WhenDone};
use crate::model::gpu::Stamp;
use crate::model::plain::PlainModel;
use crate::model::{Sequences, initial_values};
use crate::plan::{EvaluationPlan, TrialId};
use crate::rows::{CheckpointKind, CheckpointRow, Positions, TokenNll};
use crate::runs::list_checkpoints;
use crate::train::backend::{CpuEngine, Lent};
use crate::train::{checkpoint, sample};

const STEPS: u64 = 46;

/// When somebody asks to stop.
#[derive(Debug, Clone, Default)]
struct Asks {
    flag: Arc<AtomicBool>,
    /// Within the step of this number.
    step: Option<u64>,
    /// Within the batch of windows of this number, from 1.
    batch: Option<usize>,
    /// Where the weights are read, to write a sample by them.
    sample: bool,
    /// Batches of windows so far.
    scored: Rc<Cell<usize>>,
}

/// The CPU engine, with results that are given out late.
struct Late {
    engine: CpuEngine,
    depth: usize,
    waiting: VecDeque<StepResult>,
    /// The step from which on nothing is finite.
    dead_from: Option<u64>,
    /// The step from which on losses are told that are far above guessing.
    high_from: Option<u64>,
    most: Rc<Cell<usize>>,
    asks: Asks,
    made_by: Option<Stamp>,
}

impl Late {
    fn assert_idle(&self) {
        assert!(self.waiting.is_empty(), "{} steps are in flight", self.waiting.len());
    }
}

impl Backend for Late {
    fn depth(&self) -> usize {
        self.depth
    }

    fn submit(&mut self, step: Step<'_>, stop: &AtomicBool) -> Result<bool> {
        if self.asks.step == Some(step.number) {
            self.asks.flag.store(true, Ordering::Release);
        }
        let is_from = |first: Option<u64>| first.is_some_and(|first| step.number >= first);
        let result = if is_from(self.dead_from) {
            StepResult { loss: f64::NAN, norm: 1.0, clip_coefficient: 1.0 }
        } else {
            if !self.engine.submit(step, stop)? {
                return Ok(false);
            }
            let made = self.engine.result()?;
            StepResult { loss: if is_from(self.high_from) { 100.0 } else { made.loss }, ..made }
        };
        self.waiting.push_back(result);
        assert!(self.waiting.len() <= self.depth);
        self.most.set(self.most.get().max(self.waiting.len()));
        Ok(true)
    }

    fn result(&mut self) -> Result<StepResult> {
        Ok(self.waiting.pop_front().expect("a step was submitted"))
    }

    fn drain(&mut self) -> Result<()> {
        self.waiting.clear();
        Ok(())
    }

    fn gradients(&mut self) -> Result<Vec<Vec<f32>>> {
        self.engine.gradients()
    }

    fn nll(&mut self, sequences: &Sequences<'_>, stop: &AtomicBool) -> Result<Option<Vec<f32>>> {
        self.assert_idle();
        let scored = &self.asks.scored;
        scored.set(scored.get() + 1);
        if self.asks.batch == Some(scored.get()) {
            self.asks.flag.store(true, Ordering::Release);
        }
        self.engine.nll(sequences, stop)
    }

    fn rows_are_prefixes(&self) -> bool {
        self.engine.rows_are_prefixes()
    }

    fn set_values(&mut self, values: &[Vec<f32>]) -> Result<()> {
        self.assert_idle();
        self.engine.set_values(values)
    }

    fn values(&self) -> Result<Vec<Lent<'_>>> {
        self.assert_idle();
        if self.asks.sample {
            self.asks.flag.store(true, Ordering::Release);
        }
        self.engine.values()
    }

    fn state(&self) -> Result<State<Lent<'_>>> {
        self.assert_idle();
        self.engine.state()
    }

    fn made_by(&self) -> Option<&Stamp> {
        self.made_by.as_ref()
    }
}

/// Everything that a trial told, without times; and how much it has told when the disk is full, for once.
#[derive(Debug, Default, Clone, PartialEq)]
struct Told(Vec<String>, Option<usize>);

impl Told {
    fn has_room(&mut self) -> Result<()> {
        let full = self.1.take_if(|at| *at == self.0.len());
        full.map_or(Ok(()), |_| Err(Error::new(Kind::DiskFull, "the disk is full")))
    }
}

impl Recorder for Told {
    fn starts_over(&mut self, why: &str) {
        self.0.push(format!("starts over: {why}"));
    }

    fn resume(&mut self, step: i64) -> Result<()> {
        self.0.push(format!("resume {step}"));
        Ok(())
    }

    fn step(&mut self, row: &StepRow) -> Result<()> {
        assert!(row.step_seconds > 0.0);
        self.0.push(format!("{:?}", StepRow { step_seconds: 0.0, tokens_per_second: 0.0, time_utc: 0, ..row.clone() }));
        Ok(())
    }

    fn evaluation(&mut self, row: &EvaluationRow) -> Result<()> {
        self.0.push(format!("{:?}", EvaluationRow { seconds: 0.0, time_utc: 0, ..row.clone() }));
        Ok(())
    }

    fn checkpoint(&mut self, row: &CheckpointRow) -> Result<()> {
        self.0.push(format!("{:?}", CheckpointRow { save_seconds: 0.0, time_utc: 0, ..row.clone() }));
        self.has_room()
    }

    fn checkpoint_deleted(&mut self, path: &str, _time_utc: i64) -> Result<()> {
        self.0.push(format!("deleted {path}"));
        Ok(())
    }

    fn token_nll(&mut self, scores: &TokenNll) -> Result<()> {
        self.0.push(format!("{:?}", scores.nll));
        Ok(())
    }

    fn positions(&mut self, positions: &Positions) -> Result<()> {
        self.0.push(format!("{positions:?}"));
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.has_room()
    }
}

/// A small trial on the built-in book.
struct Scene {
    folder: tempfile::TempDir,
    job: Job,
    dead_from: Option<u64>,
    high_from: Option<u64>,
    made_by: Option<Stamp>,
    /// How much was told when the disk is full.
    full_at: Option<usize>,
}

impl Scene {
    fn new(budget: Budget) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings {
            corpus: Corpus { text: vec!["builtin:keeper".to_owned()], max_bytes: Some(8_000), ..Corpus::default() },
            tokenizer: settings::Tokenizer::Char,
            model: Model { layers: 1, heads: 2, width: 16, dropout: 0.1, ..Model::default() },
            ..Settings::default()
        };
        settings.train.sequence_length = 16;
        settings.train.batch_size = BatchSize::Windows(6);
        settings.train.budget = budget;
        settings.checkpoint.every = 0.25;
        let request = Request {
            corpus: &settings.corpus,
            tokenizer: &settings.tokenizer,
            base: folder.path(),
            tokenizers: &folder.path().join("tokenizers"),
            cache: &folder.path().join("cache"),
            scored_bytes: u64::MAX,
        };
        let corpus = prepare(&request, &|_| {}).unwrap();
        let evaluation =
            EvaluationPlan { common_context: 8, scored_tokens: 300, periodic_tokens: 200, every: 1.0 / 6.0, share: 0.0 };
        let steps = if let Budget::Steps(steps) = budget { steps } else { 0 };
        let (id, seed) = (TrialId::of("a trial"), 1);
        let job = Job { version: Job::VERSION, id, configuration: 1, seed, settings, steps, corpus, evaluation, from: None };
        Self { folder, job, dead_from: None, high_from: None, made_by: None, full_at: None }
    }

    /// One run in this folder, that is asked to stop within step `stop_at`; what it told, how it ended, and the most steps that
    /// were in flight.
    fn run(&self, name: &str, depth: usize, stop_at: Option<u64>) -> (Told, Ended, usize) {
        self.try_to_run(name, depth, stop_at).unwrap()
    }

    fn try_to_run(&self, name: &str, depth: usize, stop_at: Option<u64>) -> Result<(Told, Ended, usize)> {
        self.run_until(name, depth, &Asks { step: stop_at, ..Asks::default() })
    }

    fn run_until(&self, name: &str, depth: usize, asks: &Asks) -> Result<(Told, Ended, usize)> {
        let checkpoints = self.folder.path().join(name);
        let folders = Folders { experiment: self.folder.path(), checkpoints: &checkpoints, name: "checkpoints" };
        let (mut told, most) = (Told(Vec::new(), self.full_at), Rc::new(Cell::new(0)));
        let open = |config: &Config, state: &State| -> Result<Box<dyn Backend>> {
            let engine = CpuEngine::new(config, &self.job.settings.train, self.job.seed, 1, state)?;
            let (dead_from, high_from, most) = (self.dead_from, self.high_from, most.clone());
            let (waiting, made_by, asks) = (VecDeque::new(), self.made_by.clone(), asks.clone());
            Ok(Box::new(Late { engine, depth, waiting, dead_from, high_from, most, asks, made_by }))
        };
        let ended = run_on(&open, &self.job, folders, 1, &mut told, &asks.flag)?;
        Ok((told, without_times(ended), most.get()))
    }
}

fn without_times(ended: Ended) -> Ended {
    let summary = |summary: Trained| {
        let timeless = |row: EvaluationRow| EvaluationRow { seconds: 0.0, time_utc: 0, ..row };
        let scores = summary.scores.into_iter().map(timeless).collect();
        Trained { training_seconds: 0.0, scores, ..summary }
    };
    match ended {
        Ended::Completed(all) => Ended::Completed(summary(all)),
        Ended::Diverged { reason, summary: all } => Ended::Diverged { reason, summary: summary(all) },
        interrupted => interrupted,
    }
}

#[test]
fn late_results_change_no_row_no_checkpoint_and_no_score() {
    let scene = Scene::new(Budget::Steps(STEPS));
    let (told, ended, most) = scene.run("one", 1, None);
    assert_eq!(most, 1);
    assert!(matches!(&ended, Ended::Completed(summary) if summary.steps == STEPS && !summary.scores.is_empty()));
    for depth in [2, 4, 100] {
        let (late, late_ended, most) = scene.run(&format!("depth {depth}"), depth, None);
        // Something is due after every sixth of the steps, which are 8.
        assert_eq!(most, depth.min(8));
        assert_eq!(late, told, "depth {depth}");
        assert_eq!(late_ended, ended);
    }
}

#[test]
fn a_stop_saves_after_the_last_step_that_was_submitted_and_goes_on_from_there() {
    let scene = Scene::new(Budget::Steps(STEPS));
    let (whole, ended, _) = scene.run("whole", 1, None);
    for stop_at in [0, 1, 9, 10, 24, 45] {
        let stopped = |depth| {
            let name = format!("{stop_at} {depth}");
            let first = scene.run(&name, depth, Some(stop_at));
            (first, scene.run(&name, depth, None))
        };
        let ((told, interrupted, _), (rest, in_the_end, _)) = stopped(1);
        let ((late, late_interrupted, _), (late_rest, late_in_the_end, _)) = stopped(4);
        assert_eq!(interrupted, Ended::Interrupted { step: stop_at });
        assert_eq!((late, late_interrupted), (told, interrupted), "{stop_at}");
        assert_eq!((late_rest, &late_in_the_end), (rest, &in_the_end), "{stop_at}");
        assert_eq!(in_the_end, ended, "{stop_at}");
    }
    assert!(whole.0.len() > STEPS as usize);
}

#[test]
fn a_stop_within_any_batch_of_scoring_changes_nothing_of_the_end() {
    let scene = Scene::new(Budget::Steps(STEPS));
    let asks = Asks::default();
    let (whole, ended, _) = scene.run_until("whole", 1, &asks).unwrap();
    let (ended, batches) = (without_times(ended), asks.scored.get());
    assert!(batches > 6, "{batches}");
    for batch in 1..=batches {
        let (name, asks) = (format!("batch {batch}"), Asks { batch: Some(batch), ..Asks::default() });
        let (told, stopped, _) = scene.run_until(&name, 1, &asks).unwrap();
        let Ended::Interrupted { step } = stopped else { panic!("{batch}: {stopped:?}") };
        let (rest, in_the_end, _) = scene.run(&name, 1, None);
        assert_eq!(in_the_end, ended, "{batch}");
        // Rows of the step at which it was stopped stand in both; a row that is there is replaced.
        assert_eq!(rest.0[0], format!("resume {step}"));
        let steps = |told: &Told| told.0.iter().filter(|line| line.starts_with("StepRow")).cloned().collect::<Vec<_>>();
        assert_eq!([steps(&told), steps(&rest)].concat(), steps(&whole), "{batch}");
        for row in whole.0.iter().filter(|line| line.starts_with("EvaluationRow") || line.starts_with("CheckpointRow")) {
            assert!(told.0.contains(row) || rest.0.contains(row), "{batch}: {row}");
        }
    }
}

#[test]
fn where_the_disk_is_full_a_trial_goes_on_without_a_checkpoint_on_the_way_and_makes_the_best_and_the_final_one_later() {
    let mut scene = Scene::new(Budget::Steps(STEPS));
    let (told, ended, _) = scene.run("room", 1, None);
    let place = |kind: &str| told.0.iter().position(|line| line.starts_with("CheckpointRow") && line.contains(kind)).unwrap();
    scene.full_at = Some(place("Periodic"));
    let (without, ended_without, _) = scene.run("full", 1, None);
    assert_eq!(ended_without, ended);
    let steps = |told: &Told| told.0.iter().filter(|line| line.starts_with("StepRow")).count();
    let checkpoints = |told: &Told| told.0.iter().filter(|line| line.starts_with("CheckpointRow")).count();
    assert_eq!((steps(&without), checkpoints(&without)), (steps(&told), checkpoints(&told) - 1));
    for kind in ["Best", "Final"] {
        // Before it is written.
        scene.full_at = Some(place(kind));
        assert_eq!(scene.run(kind, 1, None), (told.clone(), ended.clone(), 1));
        // Before its row is.
        scene.full_at = Some(place(kind) + 1);
        let (mut again, in_the_end, _) = scene.run(&format!("row of {kind}"), 1, None);
        let row = again.0.remove(place(kind) + 1);
        assert_eq!((&row, &again, &in_the_end), (&told.0[place(kind)], &told, &ended), "the row is told twice");
    }
}

#[test]
fn a_checkpoint_whose_row_found_no_room_is_told_of_when_it_is_deleted() {
    let mut scene = Scene::new(Budget::Steps(STEPS));
    let (told, ended, _) = scene.run("room", 1, None);
    scene.full_at =
        told.0.iter().position(|line| line.starts_with("CheckpointRow") && line.contains("Periodic")).map(|at| at + 1);
    let (told, in_the_end, _) = scene.run("full", 1, None);
    assert_eq!(in_the_end, ended);
    let on_disk: Vec<String> = list_checkpoints(&scene.folder.path().join("full"))
        .unwrap()
        .iter()
        .map(|(_, folder)| format!("checkpoints/{}", folder.file_name().unwrap().display()))
        .collect();
    let rows = told.0.iter().filter(|line| line.starts_with("CheckpointRow")).map(|line| line.split('"').nth(1).unwrap());
    for path in rows {
        let is_deleted = told.0.contains(&format!("deleted {path}"));
        assert_eq!(is_deleted, !on_disk.iter().any(|there| there == path), "{path}: {told:#?}");
    }
}

/// A trial that learns so fast that its last weights are not its best, and of which this stays.
fn worse_at_last(when_done: WhenDone) -> Scene {
    let mut scene = Scene::new(Budget::Steps(STEPS));
    scene.job.settings.train.learning_rate = 1.0;
    scene.job.settings.checkpoint.when_done = when_done;
    scene
}

/// The scores of the best weights that a trial ended with.
fn of_best(ended: &Ended) -> Vec<EvaluationRow> {
    let Ended::Completed(summary) = ended else { panic!("{ended:?}") };
    assert_eq!(summary.steps, STEPS);
    summary.scores.iter().filter(|row| row.kind == CheckpointKind::Best).cloned().collect()
}

#[test]
fn a_trial_whose_best_weights_are_gone_since_it_was_scored_trains_nothing_again() {
    let scene = worse_at_last(WhenDone::Final);
    let (_, ended, _) = scene.run("done", 1, None);
    let best = of_best(&ended);
    assert!(!best.is_empty() && best.iter().all(|row| row.nll_sum.is_some()));
    // As it is opened again where its outcome was not written, or cannot be read. What was recorded is lost as well.
    let (told, in_the_end, _) = scene.run("done", 1, None);
    assert_eq!(told.0[0], format!("resume {STEPS}"));
    assert!(!told.0.iter().any(|line| line.starts_with("StepRow") || line.contains("kind: Best")));
    let without_figures: Vec<EvaluationRow> = of_best(&in_the_end);
    assert_eq!(without_figures.len(), best.len());
    assert!(without_figures.iter().zip(&best).all(|(row, best)| row.nll_sum.is_none() && row.step == best.step));
}

#[test]
fn damaged_best_weights_fail_no_trial() {
    let scene = worse_at_last(WhenDone::Weights);
    let (_, ended, _) = scene.run("done", 1, None);
    let best = of_best(&ended)[0].step;
    let weights = |name: &str| scene.folder.path().join(format!("{name}/step-{best:08}/model.safetensors"));
    std::fs::write(weights("done"), b"torn").unwrap();
    let (told, in_the_end, _) = scene.run("done", 1, None);
    assert_eq!(told.0[0], format!("resume {STEPS}"));
    assert!(of_best(&in_the_end).iter().all(|row| row.nll_sum.is_none()));
    assert!(told.0.contains(&format!("deleted checkpoints/step-{best:08}")) && !weights("done").exists());
    // Before they are scored they are needed.
    for (name, damage) in [("torn", Some(b"torn")), ("gone", None)] {
        scene.run(name, 1, Some(STEPS - 1));
        match damage {
            Some(bytes) => std::fs::write(weights(name), bytes).unwrap(),
            None => std::fs::remove_file(weights(name)).unwrap(),
        }
        assert_eq!(scene.run(name, 1, None).1, ended, "{name}");
    }
}

#[test]
fn a_stop_while_the_sample_is_written_gives_it_up() {
    let mut scene = Scene::new(Budget::Steps(STEPS));
    // Without evaluations on the way there are no best weights, and nothing is scored after the sample.
    scene.job.evaluation.periodic_tokens = 0;
    let (_, ended, _) = scene.run("whole", 1, None);
    assert!(matches!(&ended, Ended::Completed(summary) if summary.sample.is_some()));
    let (_, stopped, _) = scene.run_until("stopped", 1, &Asks { sample: true, ..Asks::default() }).unwrap();
    assert_eq!(stopped, Ended::Interrupted { step: STEPS });
    assert_eq!(scene.run("stopped", 1, None).1, ended);
    // Not after the last token.
    let (config, stop) = (scene.job.model().unwrap(), AtomicBool::new(false));
    let tokenizer = Tokenizer::from_file(&scene.folder.path().join(&scene.job.corpus.tokenizer_file)).unwrap();
    let values: Vec<Vec<f32>> = config.parameters().iter().map(|p| initial_values(p, 1)).collect();
    let model = PlainModel::new(&config, Precision::F32, &candle_core::Device::Cpu, &values).unwrap();
    let request = sample::Request { tokens: 50, sampling: sample::SAMPLING, seed: 1, end_of_text: None };
    let (prompt, mut pieces) = (sample::Prompt::of("e", &tokenizer, None).unwrap(), 0);
    let made = sample::go_on(&model, &tokenizer, &prompt, request, &stop, &mut |_| {
        pieces += 1;
        stop.store(pieces == 3, Ordering::Release);
        Ok(())
    });
    assert_eq!(made.unwrap(), 3);
}

#[test]
fn what_is_not_finite_ends_the_trial_at_its_step_and_later_steps_have_no_row() {
    let mut scene = Scene::new(Budget::Steps(STEPS));
    for dead_from in [0, 7, 8, 17, 45] {
        scene.dead_from = Some(dead_from);
        let (told, ended, _) = scene.run(&format!("one {dead_from}"), 1, None);
        let Ended::Diverged { reason, summary } = &ended else { panic!("{ended:?}") };
        assert_eq!(reason, &format!("the loss is NaN at step {}", dead_from + 1));
        assert_eq!(summary.steps, dead_from);
        let (late, late_ended, _) = scene.run(&format!("four {dead_from}"), 4, None);
        assert_eq!((late, late_ended), (told, ended), "{dead_from}");
    }
}

#[test]
fn a_trial_that_diverges_leaves_the_same_checkpoints_whether_it_was_stopped_before_or_not() {
    let mut scene = Scene::new(Budget::Steps(STEPS));
    scene.dead_from = Some(17);
    let left = |name: &str| list_checkpoints(&scene.folder.path().join(name)).unwrap().into_iter().map(|(step, _)| step);
    scene.run("whole", 1, None);
    let (_, stopped, _) = scene.run("stopped", 1, Some(14));
    assert_eq!(stopped, Ended::Interrupted { step: 14 });
    assert!(left("stopped").any(|step| step == 14));
    assert!(matches!(scene.run("stopped", 1, None).1, Ended::Diverged { .. }));
    assert_eq!(left("stopped").collect::<Vec<_>>(), left("whole").collect::<Vec<_>>());
}

#[test]
fn losses_far_above_guessing_end_the_trial_at_the_same_step() {
    let mut scene = Scene::new(Budget::Steps(STEPS));
    scene.high_from = Some(6);
    let (told, ended, _) = scene.run("one", 1, None);
    let Ended::Diverged { reason, summary } = &ended else { panic!("{ended:?}") };
    assert!(reason.ends_with("at step 26"), "{reason}");
    assert_eq!(summary.steps, 26);
    let (late, late_ended, _) = scene.run("four", 4, None);
    assert_eq!((late, late_ended), (told, ended));
}

#[test]
fn with_a_budget_in_minutes_each_step_is_waited_for() {
    let scene = Scene::new(Budget::Minutes(0.002));
    let (_, ended, most) = scene.run("four", 4, None);
    assert_eq!(most, 1);
    assert!(matches!(ended, Ended::Completed(_)));
}

/// Too many open files, a server that is away: good checkpoints were deleted, and the trial began anew.
#[test]
fn a_checkpoint_that_cannot_be_read_just_now_ends_the_attempt_and_nothing_is_deleted() {
    let mut scene = Scene::new(Budget::Steps(STEPS));
    scene.job.settings.checkpoint.keep_last = 2;
    let (_, ended, _) = scene.run("whole", 1, None);
    scene.run("stopped", 1, Some(30));
    let folder = scene.folder.path().join("stopped");
    let left = list_checkpoints(&folder).unwrap();
    assert!(left.len() >= 2, "{left:?}");
    for file in ["manifest.json", "state.json", "model.safetensors"] {
        let path = left.last().unwrap().1.join(file);
        // A folder in its place: it is there, and no read of it succeeds.
        let aside = scene.folder.path().join(file);
        std::fs::rename(&path, &aside).unwrap();
        std::fs::create_dir(&path).unwrap();
        let error = scene.try_to_run("stopped", 1, None).unwrap_err();
        assert_eq!(error.kind(), Kind::Io, "{}", error.chain());
        assert!(error.to_string().contains(file), "{error}");
        assert_eq!(list_checkpoints(&folder).unwrap(), left);
        std::fs::remove_dir(&path).unwrap();
        std::fs::rename(&aside, &path).unwrap();
    }
    let (told, in_the_end, _) = scene.run("stopped", 1, None);
    assert_eq!((told.0[0].as_str(), in_the_end), ("resume 30", ended));
}

#[test]
fn final_weights_are_not_missing_where_they_cannot_be_read() {
    let scene = Scene::new(Budget::Steps(STEPS));
    scene.run("whole", 1, None);
    let (folder, trial) = (scene.folder.path().join("whole"), &scene.job.id);
    let found = || checkpoint::final_step(&folder, trial);
    assert_eq!(found().unwrap(), Some(STEPS));
    let state = list_checkpoints(&folder).unwrap().pop().unwrap().1.join("state.json");
    let text = std::fs::read_to_string(&state).unwrap();
    std::fs::write(&state, text.replace("\"version\": 1", "\"version\": 2")).unwrap();
    let error = found().unwrap_err();
    assert!(error.to_string().ends_with("has version 2, and this program reads up to 1"), "{error}");
    std::fs::remove_file(&state).unwrap();
    std::fs::create_dir(&state).unwrap();
    assert_eq!(found().unwrap_err().kind(), Kind::Io);
    assert_eq!(checkpoint::final_step(&scene.folder.path().join("none"), trial).unwrap(), None);
}

#[test]
fn what_another_device_made_is_not_gone_on_from() {
    let made_on = |gpu: &str| {
        let [gpu, kernels, algorithms] = [gpu, "k", "a"].map(str::to_owned);
        Some(Stamp { gpu, multiprocessors: 132, kernels, products: 130_101, algorithms })
    };
    let mut scene = Scene::new(Budget::Steps(STEPS));
    scene.made_by = made_on("NVIDIA H100");
    let (whole, ended, _) = scene.run("whole", 4, None);
    scene.run("stopped", 4, Some(20));
    let (rest, ..) = scene.run("stopped", 4, Some(10));
    assert_eq!(rest.0[0], "resume 20");
    for (stopped, other, why) in [
        (
            "stopped",
            made_on("NVIDIA H200"),
            "its checkpoint was made on an NVIDIA H100 with cuBLAS 13.1.1, and this is an NVIDIA H200 with cuBLAS 13.1.1",
        ),
        ("nowhere", None, "its checkpoint was made on an NVIDIA H100 with cuBLAS 13.1.1, and this is none"),
    ] {
        scene.made_by = made_on("NVIDIA H100");
        scene.run(stopped, 4, Some(10));
        scene.made_by = other;
        let (told, in_the_end, _) = scene.run(stopped, 4, None);
        let (first, rest) = told.0.split_first().unwrap();
        assert_eq!(first, &format!("starts over: {why}"));
        assert_eq!((rest, &in_the_end), (&whole.0[..], &ended));
    }
}
