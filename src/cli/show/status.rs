//! What `votive status` says: text and JSON of the states of an experiment's trials. Pure: the states are read elsewhere.

use std::collections::HashMap;

use comfy_table::presets;
use serde_json::{Value, json};

use super::lines::{final_perplexity, how_far, silent};
use crate::plan::TrialId;
use crate::runs::{Holder, Outcome, State, Status, rfc3339};
use crate::terminal::{self, Cells, Column, Look, Tone, wrapped};
use crate::words::{duration, harmless};

/// One trial.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Which trial it is.
    pub id: TrialId,
    /// Number of its configuration, from 1.
    pub configuration: usize,
    /// Its seed.
    pub seed: u64,
    /// What people call its configuration: the values of the swept settings.
    pub label: String,
    /// What it is doing.
    pub state: State,
    /// The number of the job that it waits for in a cluster's queue.
    pub job: Option<String>,
}

/// The order in which statuses are counted: what is well first, then what needs a person.
const ORDER: [Status; 8] = [
    Status::Completed,
    Status::Running,
    Status::Interrupted,
    Status::Waiting,
    Status::Diverged,
    Status::DidNotFit,
    Status::Failed,
    Status::Damaged,
];

/// From so many seconds on a worker's silence is told instead of how far it is.
const SILENT: u64 = 10;

/// How many trials have each status, without those that none has.
fn counts(rows: &[Row]) -> Vec<(Status, usize)> {
    let count = |status| (status, rows.iter().filter(|r| r.state.status == status).count());
    ORDER.into_iter().map(count).filter(|(_, n)| *n > 0).collect()
}

/// Seconds for which the worker of a running trial has given no sign of life at `now` (microseconds since 1970, UTC), where they are
/// worth a word: it gives one after each piece of its work, which are short.
fn silence(state: &State, now: i64) -> Option<u64> {
    let progress = state.progress.as_ref().filter(|_| state.status == Status::Running)?;
    let seconds = u64::try_from((now - progress.time_utc) / 1_000_000).ok()?;
    (seconds >= SILENT).then_some(seconds)
}

/// The status as text at `now` (microseconds since 1970, UTC): who runs it, how many trials stand how, and a row a trial. Ends with a line feed.
pub fn text(experiment: &str, runner: Option<&Holder>, rows: &[Row], now: i64, look: Look) -> String {
    let list: Vec<String> = counts(rows).into_iter().map(|(status, n)| format!("{n} {}", status.words())).collect();
    let who = runner.map_or_else(|| "nobody is running it".to_owned(), |r| format!("being run by {r}"));
    let total = match rows.len() {
        0 => "no trials".to_owned(),
        1 => format!("1 trial, {}", list.join(", ")),
        n => format!("{n} trials: {}", list.join(", ")),
    };
    let head = wrapped(&format!("{experiment}: {total}; {who}"), look.width);
    if rows.is_empty() {
        return format!("{head}\n");
    }
    let by_id: HashMap<&TrialId, &Row> = rows.iter().map(|row| (&row.id, row)).collect();
    let cells = |row: &Row| {
        let configuration = format!("{} {}", row.configuration, harmless(&row.label));
        let cells = [row.id.to_string(), configuration, row.seed.to_string(), row.state.status.words(), detail(row, &by_id, now)];
        (Tone::Plain, cells.to_vec())
    };
    let columns = [
        Column::new("trial", Cells::Whole).keep(3),
        Column::new("configuration", Cells::Words),
        Column::new("seed", Cells::Whole).keep(1),
        Column::new("status", Cells::Whole),
        Column::new("details", Cells::Prose).keep(2),
    ];
    let drawn = terminal::table(&columns, &rows.iter().map(cells).collect::<Vec<_>>(), presets::NOTHING, look);
    let note = drawn.note(look.width, "`--json` has them").map(|note| format!("{}\n", wrapped(&note, look.width)));
    format!("{head}\n{}{}", drawn.text, note.unwrap_or_default())
}

/// What there is to say of a trial beside its status.
fn detail(row: &Row, rows: &HashMap<&TrialId, &Row>, now: i64) -> String {
    let state = &row.state;
    let queued = row.job.as_ref().map(|job| format!("in the queue as job {job}")).unwrap_or_default();
    let attempts = match state.attempts.len() {
        0 | 1 => String::new(),
        n => format!("attempt {n}"),
    };
    let device = state.attempts.last().and_then(|attempt| attempt.gpu.as_ref()).map(|gpu| format!("on {}", gpu.device()));
    let what = match (state.status, &state.reason, &state.progress, &state.outcome) {
        (_, reason, _, Some(Outcome { alias_of: Some(source), .. })) => {
            let perplexity = state.outcome.as_ref().and_then(final_perplexity).map(|p| format!(", perplexity {p:.2}"));
            let rest = perplexity.or_else(|| reason.as_ref().map(|r| format!(": {}", harmless(r))));
            same_as(source, rows) + &rest.unwrap_or_default()
        }
        (Status::Completed, _, _, Some(outcome)) => {
            let took = duration(outcome.training_seconds);
            final_perplexity(outcome).map_or_else(|| took.clone(), |p| format!("perplexity {p:.2}, {took}"))
        }
        (Status::Running, _, Some(progress), _) => {
            silence(state, now).map_or_else(|| how_far(progress), |seconds| silent(progress.phase, seconds))
        }
        (Status::Interrupted, reason, Some(progress), _) => {
            let step = format!("at step {}", progress.step);
            reason.as_ref().map_or_else(|| step.clone(), |r| format!("{step}: {}", harmless(r)))
        }
        (_, Some(reason), _, _) => harmless(reason),
        _ => String::new(),
    };
    // Its lock does not reach here.
    let elsewhere = match state.attempts.last() {
        Some(attempt) if state.is_claimed_elsewhere() => {
            format!("begun on {}, where it may still run", harmless(&attempt.host))
        }
        _ => String::new(),
    };
    [what, elsewhere, queued, attempts, device.unwrap_or_default()]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(", ")
}

/// `the same as 0123456789ab (1 off)`.
fn same_as(source: &TrialId, rows: &HashMap<&TrialId, &Row>) -> String {
    let name = rows.get(source).map(|row| format!(" ({} {})", row.configuration, harmless(&row.label))).unwrap_or_default();
    format!("the same as {source}{name}")
}

/// The same with every time as text: in the files they are microseconds.
fn with_times_as_text(mut value: Value) -> Value {
    match &mut value {
        Value::Object(members) => {
            for (name, member) in members {
                *member = match member.as_i64() {
                    Some(micros) if name.ends_with("_utc") => rfc3339(micros).into(),
                    _ => with_times_as_text(member.take()),
                };
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = with_times_as_text(item.take())),
        _ => {}
    }
    value
}

/// The status as JSON: the same facts with the names that the files have, times as RFC 3339.
pub fn json(experiment: &str, runner: Option<&Holder>, rows: &[Row], now: i64) -> Value {
    let counts: serde_json::Map<String, Value> = counts(rows).into_iter().map(|(s, n)| (s.name().to_owned(), n.into())).collect();
    let trials: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "trial": row.id,
                "configuration": row.configuration,
                "seed": row.seed,
                "label": row.label,
                "status": row.state.status,
                "reason": row.state.reason,
                "alias_of": row.state.outcome.as_ref().and_then(|o| o.alias_of.as_ref()),
                "perplexity": row.state.outcome.as_ref().and_then(final_perplexity),
                "progress": row.state.progress,
                "job": row.job,
                "silent_seconds": silence(&row.state, now),
                "outcome": row.state.outcome,
                "attempts": row.state.attempts,
            })
        })
        .collect();
    with_times_as_text(json!({ "experiment": experiment, "runner": runner, "counts": counts, "trials": trials }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Device;
    use crate::rows::Phase;
    use crate::runs::{Attempt, AttemptEnd, End, Progress};

    fn row(n: u64, status: Status, reason: Option<&str>) -> Row {
        Row {
            id: TrialId::of(&n.to_string()),
            configuration: n as usize,
            seed: n,
            label: format!("{} off", 64 * n),
            state: State { status, progress: None, outcome: None, attempts: Vec::new(), reason: reason.map(str::to_owned) },
            job: None,
        }
    }

    fn progress() -> Progress {
        Progress {
            attempt: 1,
            phase: Phase::Training,
            step: 12,
            steps: 50,
            tokens_seen: 1,
            fraction: 0.25,
            loss: Some(3.2),
            validation_loss: None,
            tokens_per_second: Some(1000.0),
            training_seconds: 20.0,
            starts_over: None,
            time_utc: 0,
        }
    }

    fn attempt(number: u32) -> Attempt {
        Attempt {
            attempt: number,
            pid: 1,
            host: "rack".to_owned(),
            boot: None,
            token: None,
            slot: 1,
            threads: 1,
            device: Device::Cpu,
            gpu: None,
            program: "votive".to_owned(),
            from_step: 0,
            started_utc: 1,
            ended_utc: None,
            ended: None,
            last_lines: Vec::new(),
        }
    }

    fn completed() -> Row {
        let outcome = Outcome { training_seconds: 41.0, ..Outcome::example(End::Completed) };
        let mut row = row(1, Status::Completed, None);
        row.state.outcome = Some(outcome);
        row
    }

    fn all() -> Vec<Row> {
        let mut running = row(2, Status::Running, None);
        running.state.progress = Some(progress());
        running.state.attempts = vec![attempt(1), attempt(2)];
        let mut interrupted = row(3, Status::Interrupted, Some("crashed: signal 9 (killed)"));
        interrupted.state.progress = Some(progress());
        vec![
            completed(),
            running,
            interrupted,
            row(4, Status::Waiting, None),
            row(5, Status::Failed, Some("exit code 1")),
            row(6, Status::DidNotFit, Some("needs 9 GB, 2 GB are there")),
        ]
    }

    #[test]
    fn the_text_counts_statuses_and_has_a_row_a_trial() {
        let ids: Vec<TrialId> = (1..=6).map(|n: u64| TrialId::of(&n.to_string())).collect();
        let expected = format!(
            "night: 6 trials: 1 completed, 1 running, 1 interrupted, 1 waiting, 1 did not fit, 1 failed; nobody is running it\n\
             \x20trial         configuration  seed  status       details\n\
             \x20{}  1 64 off       1     completed    41 s\n\
             \x20{}  2 128 off      2     running      step 12 of 50, loss 3.200, 1,000 tokens/s, 60 s left, attempt 2\n\
             \x20{}  3 192 off      3     interrupted  at step 12: crashed: signal 9 (killed)\n\
             \x20{}  4 256 off      4     waiting\n\
             \x20{}  5 320 off      5     failed       exit code 1\n\
             \x20{}  6 384 off      6     did not fit  needs 9 GB, 2 GB are there\n",
            ids[0], ids[1], ids[2], ids[3], ids[4], ids[5]
        );
        assert_eq!(text("night", None, &all(), 0, Look::PLAIN), expected);
    }

    #[test]
    fn a_worker_that_is_silent_is_told_so_instead_of_a_rate_that_is_long_over() {
        let at = |seconds: i64| text("night", None, &all(), seconds * 1_000_000, Look::PLAIN);
        assert!(at(9).contains("1,000 tokens/s, 60 s left, attempt 2"), "{}", at(9));
        let said = at(70);
        assert!(said.contains("running      training, silent for 70 s, attempt 2\n") && !said.contains("tokens/s"), "{said}");
        assert!(said.contains("at step 12: crashed"), "what does not run is not silent: {said}");
        let value = json("night", None, &all(), 70_000_000);
        assert_eq!((&value["trials"][1]["silent_seconds"], &value["trials"][2]["silent_seconds"]), (&70.into(), &Value::Null));
    }

    #[test]
    fn what_another_machine_has_begun_and_did_not_end_may_still_run_there() {
        let mut interrupted = row(3, Status::Interrupted, None);
        interrupted.state.progress = Some(progress());
        interrupted.state.attempts = vec![Attempt { host: "node-7".to_owned(), boot: Some("another".to_owned()), ..attempt(1) }];
        let said = text("night", None, &[interrupted.clone()], 0, Look::PLAIN);
        assert!(said.contains(" interrupted  at step 12, begun on node-7, where it may still run\n"), "{said}");
        interrupted.state.attempts[0].ended = Some(AttemptEnd::Interrupted);
        assert!(!text("night", None, &[interrupted], 0, Look::PLAIN).contains("node-7"));
    }

    #[test]
    fn what_waits_in_a_clusters_queue_has_the_number_of_its_job() {
        let mut interrupted = row(3, Status::Interrupted, None);
        interrupted.state.progress = Some(progress());
        interrupted.state.attempts = vec![attempt(1)];
        let job = |row, job: &str| Row { job: Some(job.to_owned()), ..row };
        let rows = [job(row(4, Status::Waiting, None), "12_0"), job(interrupted, "12_1"), row(5, Status::Waiting, None)];
        let said = text("night", None, &rows, 0, Look::PLAIN);
        assert!(said.contains(" waiting      in the queue as job 12_0\n"), "{said}");
        assert!(said.contains(" interrupted  at step 12, in the queue as job 12_1\n"), "{said}");
        assert!(said.ends_with(" waiting\n"), "{said}");
        let value = json("night", None, &rows, 0);
        assert_eq!((&value["trials"][0]["job"], &value["trials"][2]["job"]), (&"12_0".into(), &Value::Null));
    }

    #[test]
    fn the_text_says_who_runs_it() {
        let holder = Holder { host: "rack".to_owned(), pid: 17, started_utc: 1_700_000_000_000_000 };
        let text = text("night", Some(&holder), &[completed()], 0, Look::PLAIN);
        assert!(text.starts_with("night: 1 trial, 1 completed; being run by process 17 on rack since 2023-11-1"), "{text}");
    }

    #[test]
    fn an_alias_says_which_trial_it_is_the_same_as() {
        let mut alias = completed();
        let source = row(4, Status::Completed, None);
        alias.state.outcome.as_mut().unwrap().alias_of = Some(source.id.clone());
        let rows = [source, alias];
        let said = text("night", None, &rows, 0, Look::PLAIN);
        assert!(said.contains(&format!("completed  the same as {} (4 256 off)\n", rows[0].id)), "{said}");
        assert_eq!(json("night", None, &rows, 0)["trials"][1]["alias_of"], rows[0].id.to_string());
        assert_eq!(json("night", None, &rows, 0)["trials"][0]["alias_of"], Value::Null);
    }

    #[test]
    fn a_narrow_terminal_breaks_no_id_and_no_status() {
        for width in 40..=200 {
            let text = text("night", None, &all(), 0, Look { width: Some(width), colour: false });
            assert!(text.lines().all(|line| crate::terminal::width_of(line) <= width), "{width}:\n{text}");
            for row in all() {
                assert!(text.contains(&row.state.status.words()), "{width}:\n{text}");
                assert!(text.contains(row.id.as_str()) || text.contains("columns: trial"), "{width}:\n{text}");
            }
        }
    }

    #[test]
    fn an_experiment_without_trials_says_so() {
        assert_eq!(text("night", None, &[], 0, Look::PLAIN), "night: no trials; nobody is running it\n");
    }

    #[test]
    fn a_reason_cannot_move_the_cursor() {
        let text = text("night", None, &[row(1, Status::Damaged, Some("bad \u{1b}[2J name"))], 0, Look::PLAIN);
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn the_json_has_the_same_facts() {
        let value = json("night", None, &all(), 0);
        assert_eq!(value["experiment"], "night");
        assert_eq!(value["runner"], Value::Null);
        assert_eq!(
            value["counts"],
            json!({"completed": 1, "running": 1, "interrupted": 1, "waiting": 1, "did_not_fit": 1, "failed": 1})
        );
        assert_eq!(value["trials"][1]["progress"]["step"], 12);
        assert_eq!(value["trials"][1]["attempts"][1]["attempt"], 2);
        assert_eq!(value["trials"][4]["reason"], "exit code 1");
        assert_eq!(value["trials"][5]["status"], "did_not_fit");
        assert_eq!(value["trials"][0]["trial"], TrialId::of("1").to_string());
        let holder = Holder { host: "rack".to_owned(), pid: 17, started_utc: 5 };
        let runner = &json("night", Some(&holder), &[], 0)["runner"];
        assert_eq!((&runner["pid"], &runner["started_utc"]), (&17.into(), &"1970-01-01T00:00:00.000005Z".into()));
        let trial = &value["trials"][1];
        assert_eq!(trial["attempts"][0]["started_utc"], "1970-01-01T00:00:00.000001Z");
        assert_eq!(
            (&trial["attempts"][0]["ended_utc"], &trial["progress"]["time_utc"]),
            (&Value::Null, &"1970-01-01T00:00:00Z".into())
        );
        assert_eq!(value["trials"][0]["outcome"]["finished_utc"], "1970-01-01T00:00:00.000001Z");
    }
}
