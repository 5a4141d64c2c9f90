//! Without Slurm: what it says is put in, and no command is called.

use std::cell::{Cell, RefCell};
use std::fs;
use std::rc::Rc;

use super::*;
use crate::experiment::settings::Slurm;
use crate::rows::Phase;
use crate::runs::{write_outcome, write_progress};
use crate::schedule::slurm::listing::read_queue;
use crate::schedule::{Exit, Failure};

/// An experiment of one trial.
struct Scene {
    _dir: tempfile::TempDir,
    experiment: ExperimentFolder,
    trial: TrialId,
    /// How often its folder was prepared.
    prepared: Rc<Cell<usize>>,
    told: Rc<RefCell<Vec<String>>>,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let experiment = ExperimentFolder::new(dir.path(), "e");
        let trial = TrialId::of("a");
        durable::create_folder(experiment.trial(&trial).path()).unwrap();
        Self { _dir: dir, experiment, trial, prepared: Rc::default(), told: Rc::default() }
    }

    /// A job of its trial that an earlier runner has submitted.
    fn submitted(&self, scores_again: bool) -> Submission {
        let task = Task { trial: self.trial.clone(), attempt: 1, from_step: 0 };
        let submission = Submission::new(&self.experiment, vec![task]);
        let submission = Submission { job: Some("12".to_owned()), scores_again, ..submission };
        submission.write(&self.experiment).unwrap();
        submission
    }

    /// A runner.
    fn executor(&self, work: Work) -> SlurmExecutor<'static> {
        let (prepared, told) = (Rc::clone(&self.prepared), Rc::clone(&self.told));
        let program = vec!["votive".to_owned()];
        let folder = self.experiment.path().to_string_lossy().into_owned();
        let (slurm, train) = (Slurm::default(), work == Work::Train);
        let settings = SlurmSettings {
            shared: Shared { slurm, patience: 30, program, arguments: Vec::new(), train, folder },
            device: Device::Cpu,
            version: String::new(),
            work,
            needed: Box::new(|_| Needed::default()),
            tell: Box::new(move |words| told.borrow_mut().push(words.to_owned())),
        };
        let prepare = Box::new(move |_: &TrialId| {
            prepared.set(prepared.get() + 1);
            Ok(())
        });
        let make_alias = Box::new(|_: &TrialId, _: &TrialId| Err(Error::internal("none is asked for")));
        SlurmExecutor::new(settings, self.experiment.clone(), prepare, make_alias).unwrap()
    }

    /// A runner that has taken its trial up.
    fn started(&self, work: Work) -> SlurmExecutor<'static> {
        let mut executor = self.executor(work);
        let trial = self.trial.clone();
        executor.start(&Start { trial, slot: 1, threads: 1, gpu: None, ample: false }).unwrap();
        executor
    }

    /// Its worker gives a sign of life.
    fn says(&self, attempt: u32, time_utc: i64) {
        let progress = Progress {
            attempt,
            phase: Phase::Training,
            step: 1,
            steps: 2,
            tokens_seen: 1,
            fraction: 0.5,
            loss: None,
            validation_loss: None,
            tokens_per_second: None,
            training_seconds: 1.0,
            starts_over: None,
            time_utc,
        };
        write_progress(&self.experiment.trial(&self.trial), &progress).unwrap();
    }

    fn ends(&self) -> Outcome {
        let outcome = Outcome::example(End::Completed);
        write_outcome(&self.experiment.trial(&self.trial), &outcome).unwrap();
        outcome
    }
}

impl SlurmExecutor<'_> {
    /// `squeue` lists the job in this state.
    fn lists(&mut self, submission: &Submission, state: &str) {
        let line = format!("{}|0|12|{state}|None\n", submission.name);
        self.on_queue(Instant::now(), Ok(read_queue(&line)));
    }

    /// So much time passes.
    fn passes(&mut self, trial: &TrialId, seconds: u64) {
        let job = self.jobs.get_mut(trial).unwrap();
        let before = |at: Instant| at.checked_sub(Duration::from_secs(seconds)).unwrap();
        job.heard.0 = before(job.heard.0);
        job.ended = job.ended.map(|(since, ending)| (before(since), ending));
    }
}

#[test]
fn a_job_that_is_requeued_waits_until_its_next_worker_gives_a_sign_of_life() {
    let scene = Scene::new();
    let submission = scene.submitted(false);
    let mut executor = scene.started(Work::Train);
    let trial = &scene.trial;
    executor.lists(&submission, "PENDING");
    assert!(executor.is_pending(trial) && scene.told.borrow().is_empty(), "it has not begun");
    scene.says(1, 77);
    assert_eq!(executor.end_of(trial), None);
    assert!(!executor.is_pending(trial), "its worker is seen before Slurm is asked again");
    executor.lists(&submission, "RUNNING");
    // It was told that its place is taken, has saved and left, and is queued again.
    fs::write(submission.exit(&scene.experiment, 0), "143\n").unwrap();
    for _ in 0..3 {
        executor.lists(&submission, "PENDING");
        executor.pace.ask = Instant::now() + Duration::from_secs(60);
        assert_eq!(executor.end_of(trial), None);
        assert!(executor.is_pending(trial), "what was said before is no sign of life");
        assert_eq!(executor.progress(trial), None);
        assert!(executor.pace.ask > Instant::now() + Duration::from_secs(30), "nothing is to be hurried");
    }
    assert_eq!(*scene.told.borrow(), ["job 12_0 was requeued, and waits again"]);
    fs::remove_file(submission.exit(&scene.experiment, 0)).unwrap();
    scene.says(2, 78);
    assert_eq!(executor.end_of(trial), None);
    assert!(!executor.is_pending(trial) && executor.progress(trial).is_some_and(|progress| progress.attempt == 2));
    // What it leaves is that of this one: how it ended is to be known soon.
    fs::write(submission.exit(&scene.experiment, 0), "0\n").unwrap();
    assert_eq!(executor.end_of(trial), None);
    assert!(executor.pace.ask < Instant::now() + Duration::from_secs(30));
}

#[test]
fn what_a_job_wrote_at_its_end_is_waited_for_until_it_would_be_seen() {
    for (code, state, seconds) in [
        (None, "COMPLETED", 90),
        (None, "FAILED", 90),
        // The outcome lies in another folder.
        (Some(0), "COMPLETED", 90),
        (Some(101), "FAILED", 0),
        (None, "CANCELLED", 3),
        (None, "NODE_FAIL", 3),
        (None, "OUT_OF_MEMORY", 3),
    ] {
        let scene = Scene::new();
        let submission = scene.submitted(false);
        let mut executor = scene.started(Work::Train);
        executor.lists(&submission, state);
        if let Some(code) = code {
            fs::write(submission.exit(&scene.experiment, 0), format!("{code}\n")).unwrap();
        }
        let mut passed = 0;
        while executor.end_of(&scene.trial).is_none() {
            assert!(passed < 200, "{state}: for ever");
            executor.passes(&scene.trial, 1);
            executor.lists(&submission, state);
            passed += 1;
        }
        assert_eq!(passed, seconds, "{code:?} {state}");
        if state == "COMPLETED" {
            let failed = executor.end_of(&scene.trial);
            assert!(matches!(failed, Some(Exit::Failed(Failure { reason, .. })) if reason == "no outcome was written"));
        }
        // Seen at last.
        let outcome = scene.ends();
        assert_eq!(executor.end_of(&scene.trial), Some(Exit::Done(Box::new(outcome))), "{code:?} {state}");
    }
}

#[test]
fn a_silence_before_its_end_does_not_hide_what_a_job_wrote() {
    let scene = Scene::new();
    let submission = scene.submitted(false);
    let mut executor = scene.started(Work::Train);
    executor.passes(&scene.trial, 600);
    executor.lists(&submission, "COMPLETED");
    assert_eq!(executor.end_of(&scene.trial), None);
    // Somebody waits for the end of one that is to stop, and its end is none of the trial's.
    executor.ask_to_stop(&scene.trial);
    assert_eq!(executor.end_of(&scene.trial), Some(Exit::Interrupted));
    executor.stops = false;
}

#[test]
fn a_job_that_trained_is_not_taken_for_one_that_scores_again() {
    let scene = Scene::new();
    let trained = scene.submitted(false);
    fs::write(trained.exit(&scene.experiment, 0), "0\n").unwrap();
    scene.ends();
    let mut executor = scene.started(Work::ScoreAgain);
    assert_eq!((scene.prepared.get(), executor.end_of(&scene.trial)), (1, None), "it is to be scored");
    assert!(!trained.intent(&scene.experiment).exists() && !trained.exit(&scene.experiment, 0).exists());
    executor.write_submissions();
    drop(executor);
    // The runner is killed and started again: its own job is taken up, whenever its trial's turn comes.
    let submitted = submissions(&scene.experiment).unwrap();
    assert!(matches!(&submitted[..], [submission] if submission.scores_again));
    let mut executor = scene.executor(Work::ScoreAgain);
    executor.look();
    let trial = scene.trial.clone();
    executor.start(&Start { trial, slot: 1, threads: 1, gpu: None, ample: false }).unwrap();
    assert_eq!(scene.prepared.get(), 1);
    assert_eq!(executor.jobs[&scene.trial].name, submitted[0].name);
    // And no training takes it up.
    drop(executor);
    drop(scene.started(Work::Train));
    assert_eq!((scene.prepared.get(), submissions(&scene.experiment).unwrap()), (2, Vec::new()));
}
