use std::time::Instant;

use super::*;
use crate::durable;
use crate::rows::Phase;
use crate::runs::{End, TrialLock, attempts, state_of};
use crate::schedule::{Cause, Failure, Needs, SystemClock};

/// Long enough for anything that happens at all on a busy machine.
const LONG: Duration = Duration::from_secs(30);

/// What the shell writes to be done.
const OUTCOME: &str = r#"{"end":"completed","reason":null,"steps":3,"tokens_seen":9,"training_seconds":0.5,"peak_memory_bytes":1,"scores":[],"finished_utc":1,"program":"sh"}"#;

/// An executor whose workers are this shell script: `$1` is the trial's folder, `$3` the attempt, `$5` slot, `$7` threads.
fn shell(dir: &Path, script: &str) -> LocalExecutor<'static> {
    shell_for(Work::Train, dir, script)
}

fn shell_for(work: Work, dir: &Path, script: &str) -> LocalExecutor<'static> {
    let script = script.replace("OUTCOME", OUTCOME);
    let settings = LocalSettings {
        program: "/bin/sh".into(),
        arguments: vec!["-c".into(), script.into(), "worker".into()],
        device: Device::Cpu,
        version: "votive test".to_owned(),
        work,
    };
    let experiment = ExperimentFolder::new(dir, "e");
    let prepare = {
        let experiment = experiment.clone();
        move |id: &TrialId| durable::create_folder(experiment.trial(id).path())
    };
    LocalExecutor::new(settings, experiment, Box::new(prepare))
}

fn start() -> Start {
    Start { trial: TrialId::of("t"), slot: 2, threads: 3, gpu: None, ample: false }
}

fn folder(dir: &Path) -> TrialFolder {
    ExperimentFolder::new(dir, "e").trial(&start().trial)
}

/// Starts one worker and waits for its end.
fn run(dir: &Path, script: &str) -> Exit {
    let mut executor = shell(dir, script);
    executor.start(&start()).unwrap();
    end_of(&mut executor)
}

fn end_of(executor: &mut LocalExecutor<'_>) -> Exit {
    let finished = executor.wait(LONG);
    assert_eq!(finished.len(), 1);
    assert_eq!(finished[0].trial, start().trial);
    finished[0].exit.clone()
}

/// Waits until the worker has made this file.
fn until_there(path: &Path) {
    let until = Instant::now() + LONG;
    while !path.exists() {
        assert!(Instant::now() < until, "{} never appeared", path.display());
        thread::sleep(Duration::from_millis(2));
    }
}

fn failure(exit: Exit) -> Failure {
    match exit {
        Exit::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_worker_gets_its_folder_its_numbers_and_its_threads() {
    let dir = tempfile::tempdir().unwrap();
    let exit = run(
        dir.path(),
        r#"echo "$@" > "$1/said"; echo $RAYON_NUM_THREADS $OMP_NUM_THREADS >> "$1/said"; echo 'OUTCOME' > "$1/outcome.json""#,
    );
    assert!(matches!(exit, Exit::Done(outcome) if outcome.end == End::Completed && outcome.steps == 3));
    let folder = folder(dir.path());
    let said = fs::read_to_string(folder.path().join("said")).unwrap();
    assert_eq!(said, format!("{} --attempt 1 --slot 2 --threads 3 --device cpu\n3 3\n", folder.path().display()));
}

#[test]
fn a_worker_on_a_gpu_sees_it_alone_and_its_attempt_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut executor = shell(dir.path(), r#"echo "$@" > "$1/said"; echo $CUDA_VISIBLE_DEVICES >> "$1/said"; exit 9"#);
    let gpu = crate::device::Gpu { number: 3, name: "NVIDIA H200".to_owned(), uuid: "GPU-0af3".to_owned() };
    executor.start(&Start { gpu: Some(gpu.clone()), ..start() }).unwrap();
    end_of(&mut executor);
    let said = fs::read_to_string(folder(dir.path()).path().join("said")).unwrap();
    let json = r#"{"number":3,"name":"NVIDIA H200","uuid":"GPU-0af3"}"#;
    assert!(said.ends_with(&format!(" --device cuda:0 --gpu {json}\nGPU-0af3\n")), "{said}");
    let attempt = attempts(&folder(dir.path())).unwrap().remove(0);
    assert_eq!((attempt.device, attempt.gpu), (Device::Cuda(3), Some(gpu)));
}

#[test]
fn each_start_is_an_attempt_with_a_number_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let mut executor = shell(dir.path(), "exit 9");
    for number in 1..=3 {
        assert_eq!(executor.start(&start()).unwrap(), number);
        assert_eq!(failure(end_of(&mut executor)).reason, "exit code 9");
    }
    assert_eq!(attempts(&folder(dir.path())).unwrap().len(), 3);
}

#[test]
fn a_crash_is_told_with_its_last_lines_and_written_into_the_attempt() {
    let dir = tempfile::tempdir().unwrap();
    let script =
        "i=0; while [ $i -lt 100 ]; do echo line $i >&2; i=$((i+1)); done; echo to stdout; printf 'no end' >&2; exit 101";
    let failure = failure(run(dir.path(), script));
    assert_eq!((failure.cause, failure.reason.as_str()), (Cause::Crash, "exit code 101 (panic)"));
    assert_eq!((failure.last_lines.len(), failure.last_lines[19].as_str()), (20, "no end"));
    let attempt = attempts(&folder(dir.path())).unwrap().remove(0);
    assert_eq!(attempt.ended.as_ref().map(ToString::to_string).as_deref(), Some("crashed: exit code 101 (panic)"));
    assert_eq!((attempt.slot, attempt.threads, attempt.device), (2, 3, Device::Cpu));
    assert_eq!(attempt.last_lines, failure.last_lines);
    assert!(attempt.ended_utc.is_some() && attempt.pid > 1);
}

#[test]
fn an_end_that_cannot_be_written_is_written_when_it_can() {
    for starts_again in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let mut executor = shell(dir.path(), "exit 9");
        executor.start(&start()).unwrap();
        // No attempt can be written, as on a full disk.
        let folder = folder(dir.path());
        fs::write(folder.attempts(), "").unwrap();
        end_of(&mut executor);
        let ended = now_utc();
        fs::remove_file(folder.attempts()).unwrap();
        if starts_again {
            assert_eq!(executor.start(&start()).unwrap(), 2, "the first one counts");
            end_of(&mut executor);
        }
        drop(executor);
        let attempts = attempts(&folder).unwrap();
        assert_eq!(attempts.len(), if starts_again { 2 } else { 1 });
        assert_eq!(attempts[0].ended.as_ref().map(ToString::to_string).as_deref(), Some("crashed: exit code 9"));
        assert!(attempts[0].ended_utc.unwrap() <= ended);
    }
}

#[test]
fn a_signal_is_told_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(failure(run(dir.path(), "ulimit -c 0; kill -SEGV $$")).reason, "signal 11 (segmentation fault)");
    assert_eq!(failure(run(dir.path(), "kill -KILL $$")).reason, "signal 9 (killed)");
}

#[test]
fn exit_codes_without_an_outcome_have_their_meanings() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(run(dir.path(), "exit 130"), Exit::Interrupted);
    assert_eq!(run(dir.path(), "exit 75"), Exit::HeldElsewhere);
    assert_eq!(failure(run(dir.path(), "exit 0")).reason, "no outcome was written");
}

#[test]
fn a_worker_saves_and_leaves_when_the_pipe_ends() {
    let dir = tempfile::tempdir().unwrap();
    let mut executor = shell(dir.path(), r#"touch "$1/up"; cat; touch "$1/saved"; exit 130"#);
    executor.start(&start()).unwrap();
    until_there(&folder(dir.path()).path().join("up"));
    assert!(executor.wait(Duration::from_millis(100)).is_empty(), "it works while the pipe is open");
    executor.ask_to_stop(&start().trial);
    executor.ask_to_stop(&start().trial);
    assert_eq!(end_of(&mut executor), Exit::Interrupted);
    assert!(folder(dir.path()).path().join("saved").exists());
    assert!(attempts(&folder(dir.path())).unwrap().is_empty(), "who saves and leaves writes its own attempt");
}

#[test]
fn a_worker_saves_and_leaves_when_the_runner_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let mut executor = shell(dir.path(), r#"touch "$1/up"; cat; touch "$1/saved"; exit 130"#);
    executor.start(&start()).unwrap();
    until_there(&folder(dir.path()).path().join("up"));
    drop(executor);
    until_there(&folder(dir.path()).path().join("saved"));
}

#[test]
fn one_worker_does_not_hold_the_pipe_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let mut executor = shell(dir.path(), r#"touch "$1/up"; cat; exit 130"#);
    let (a, b) = (start(), Start { trial: TrialId::of("u"), ..start() });
    for start in [&a, &b] {
        executor.start(start).unwrap();
        until_there(&executor.experiment.trial(&start.trial).path().join("up"));
    }
    executor.ask_to_stop(&a.trial);
    let finished = executor.wait(LONG);
    assert_eq!((finished.len(), &finished[0].trial), (1, &a.trial));
    executor.ask_to_stop(&b.trial);
    assert_eq!(executor.wait(LONG)[0].trial, b.trial);
}

#[test]
fn a_killed_worker_is_interrupted_and_its_children_go_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut executor = shell(dir.path(), r#"sleep 60 & echo $! > "$1/child.tmp"; mv "$1/child.tmp" "$1/child"; wait"#);
    executor.start(&start()).unwrap();
    let child = folder(dir.path()).path().join("child");
    until_there(&child);
    executor.kill(&start().trial, &Kill::Asked);
    assert_eq!(end_of(&mut executor), Exit::Interrupted);
    let attempt = attempts(&folder(dir.path())).unwrap().remove(0);
    assert_eq!(attempt.ended.as_ref().map(ToString::to_string).as_deref(), Some("killed"));
    let pid: i32 = fs::read_to_string(child).unwrap().trim().parse().unwrap();
    let until = Instant::now() + LONG;
    // Gone, or a zombie that nobody has reaped yet.
    let alive = || fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|s| !s.contains(") Z"));
    while alive() && Instant::now() < until {
        thread::sleep(Duration::from_millis(5));
    }
    assert!(!alive());
}

#[test]
fn a_stopped_worker_that_is_killed_as_hung_says_so_in_its_attempt() {
    let dir = tempfile::tempdir().unwrap();
    let mut executor = shell(dir.path(), r#"touch "$1/up"; kill -STOP $$"#);
    executor.start(&start()).unwrap();
    until_there(&folder(dir.path()).path().join("up"));
    executor.kill(&start().trial, &Kill::Hung("silent for 130 s while scoring".to_owned()));
    let failure = failure(end_of(&mut executor));
    assert_eq!((failure.cause, failure.reason.as_str()), (Cause::Hang, "silent for 130 s while scoring"));
    let attempt = attempts(&folder(dir.path())).unwrap().remove(0);
    assert_eq!(attempt.ended.as_ref().map(ToString::to_string).as_deref(), Some("hung: silent for 130 s while scoring"));
}

#[test]
fn a_worker_has_a_process_group_of_its_own_and_goes_first_when_memory_runs_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut executor = shell(dir.path(), r#"touch "$1/up"; cat; exit 130"#);
    executor.start(&start()).unwrap();
    until_there(&folder(dir.path()).path().join("up"));
    let pid = executor.workers[&start().trial].child.id();
    let group = rustix::process::getpgid(Pid::from_raw(i32::try_from(pid).unwrap())).unwrap();
    assert_eq!(u32::try_from(group.as_raw_nonzero().get()).unwrap(), pid);
    if let Ok(score) = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")) {
        assert!(score.trim().parse::<i32>().unwrap() >= 500);
    }
}

#[test]
fn the_end_of_a_worker_is_seen_although_a_child_holds_its_standard_error() {
    let dir = tempfile::tempdir().unwrap();
    let begin = Instant::now();
    let failure = failure(run(dir.path(), "echo last words >&2; sleep 20 & exit 4"));
    assert!(begin.elapsed() < Duration::from_secs(15));
    assert_eq!((failure.reason.as_str(), failure.last_lines), ("exit code 4", vec!["last words".to_owned()]));
}

#[test]
fn a_program_that_is_not_there_is_an_error_of_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut executor = shell(dir.path(), "");
    executor.settings.program = dir.path().join("missing");
    let error = executor.start(&start()).unwrap_err();
    assert!(error.chain().contains("failed to start the worker"), "{}", error.chain());
    assert!(executor.workers.is_empty());
}

#[test]
fn progress_of_an_earlier_attempt_is_not_taken_for_this_one_s() {
    let dir = tempfile::tempdir().unwrap();
    let mut executor = shell(dir.path(), "cat; exit 130");
    let mut progress = Progress {
        attempt: 7,
        phase: Phase::Training,
        step: 1,
        steps: 2,
        tokens_seen: 1,
        fraction: 0.5,
        loss: None,
        validation_loss: None,
        tokens_per_second: None,
        training_seconds: 0.0,
        starts_over: None,
        // Later than its file.
        time_utc: i64::MAX,
    };
    executor.start(&start()).unwrap();
    crate::runs::write_progress(&folder(dir.path()), &progress).unwrap();
    assert_eq!(executor.progress(&start().trial), None);
    progress.attempt = 1;
    crate::runs::write_progress(&folder(dir.path()), &progress).unwrap();
    assert_eq!(executor.progress(&start().trial), Some(progress));
}

#[test]
fn a_trial_given_up_has_an_outcome_unless_somebody_else_is_at_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut executor = shell(dir.path(), "");
    let folder = folder(dir.path());
    let lock = TrialLock::take(&folder).unwrap().unwrap();
    executor.give_up(&start().trial, End::Failed, "exit code 3").unwrap();
    assert_eq!(executor.standing(&start().trial), Standing::HeldElsewhere);
    drop(lock);
    executor.give_up(&start().trial, End::Failed, "exit code 3").unwrap();
    let state = state_of(&folder);
    assert_eq!((executor.standing(&start().trial), state.reason.as_deref()), (Standing::Done(End::Failed), Some("exit code 3")));
}

#[test]
fn this_program_starts_itself_as_a_worker() {
    let settings = LocalSettings::this_program(Device::Cpu, "votive", Work::Train).unwrap();
    assert!(settings.program.exists());
    assert_eq!(settings.arguments, ["worker"]);
}

#[test]
fn the_kernel_s_count_of_memory_kills_is_read_where_there_is_one() {
    assert_eq!(oom_kills().is_some(), fs::read_to_string("/proc/vmstat").is_ok_and(|t| t.contains("\noom_kill ")));
}

#[test]
fn a_queue_of_processes_is_driven_to_its_end_over_crashes() {
    use std::sync::atomic::AtomicU8;

    use crate::experiment::settings::ClipNorm;
    use crate::schedule::{Candidate, Event, Pace, Policy, Queue, drive};

    let dir = tempfile::tempdir().unwrap();
    // Slot 2 crashes at each trial's first attempt.
    let script = r#"
        mkdir -p "$1/attempts"
        echo '{"attempt":'$3',"pid":'$$',"host":"'$(uname -n)'","slot":'$5',"threads":1,"device":"cpu","program":"sh","from_step":0,"started_utc":1,"ended_utc":null,"ended":null,"last_lines":[]}' > "$1/attempts/000$3.json"
        if [ $3 = 1 ] && [ $5 = 2 ]; then echo boom >&2; ulimit -c 0; kill -ABRT $$; fi
        echo 'OUTCOME' > "$1/outcome.json""#;
    let mut executor = shell(dir.path(), script);
    let ids: Vec<TrialId> = (0..12).map(|n| TrialId::of(&n.to_string())).collect();
    let candidates = |executor: &mut LocalExecutor<'_>| -> Vec<Candidate> {
        let stand = |id: &TrialId| Candidate {
            id: id.clone(),
            round: 0,
            shape: 0,
            clip_norm: ClipNorm::Off,
            kin: None,
            twins: None,
            needs: Needs::default(),
            expected_seconds: None,
            standing: executor.standing(id),
        };
        ids.iter().map(stand).collect()
    };
    let policy = Policy { slots: 2, cores: 2, backoff_seconds: 0.01, same_failures: 100, ..Policy::default() };
    for expected_starts in [true, false] {
        let queue = Queue::new(candidates(&mut executor), policy.clone());
        let mut events = Vec::new();
        let mut sink = |event: &Event, _: i64| events.push(event.clone());
        let summary = drive(queue, &mut executor, &SystemClock, &mut [&mut sink], &AtomicU8::new(0), Pace::default());
        assert!(summary.all_completed(), "{summary:?}");
        assert_eq!(summary.nothing_was_to_do(), !expected_starts);
        let starts = events.iter().filter(|e| matches!(e, Event::Started { .. })).count();
        let crashes = events.iter().filter(|e| matches!(e, Event::Failed { .. })).count();
        assert_eq!(starts, if expected_starts { 12 + crashes } else { 0 });
        assert!(!expected_starts || crashes > 0);
    }
    for id in &ids {
        let attempts = attempts(&executor.experiment.trial(id)).unwrap();
        for attempt in &attempts[..attempts.len() - 1] {
            assert_eq!(
                (attempt.ended.as_ref().map(ToString::to_string).as_deref(), attempt.last_lines.as_slice()),
                (Some("crashed: signal 6 (abort)"), &["boom".to_owned()][..])
            );
            assert_eq!((attempt.program.as_str(), attempt.slot), ("sh", 2), "what the worker wrote stands");
        }
    }
}

#[test]
fn a_worker_that_scores_again_is_judged_by_its_exit_code_and_leaves_no_attempt() {
    let dir = tempfile::tempdir().unwrap();
    let place = folder(dir.path());
    durable::create_folder(place.path()).unwrap();
    durable::write(&place.outcome(), OUTCOME.as_bytes()).unwrap();
    let run = |script: &str| {
        let mut executor = shell_for(Work::ScoreAgain, dir.path(), script);
        executor.start(&start()).unwrap();
        let exit = end_of(&mut executor);
        executor.give_up(&start().trial, End::Failed, "it crashed").unwrap();
        exit
    };
    assert!(matches!(run("exit 0"), Exit::Done(_)));
    assert_eq!(run("exit 130"), Exit::Interrupted);
    let Exit::Failed(failure) = run("echo oh no >&2; exit 101") else { panic!() };
    assert_eq!((failure.cause, failure.last_lines), (Cause::Crash, vec!["oh no".to_owned()]));
    assert_eq!(attempts(&place).unwrap(), []);
    assert_eq!(std::fs::read_to_string(place.outcome()).unwrap(), OUTCOME, "it stays as finished as it was");
}
