//! Plans and states that are made up, and what the tables say of them.

use super::*;
use crate::device::Device;
use crate::experiment::settings::{BatchSize, ClipNorm, Train};
use crate::plan::Numbers;
use crate::record::rows::tests::evaluation;
use crate::record::table::Value;
use crate::rows::{CheckpointKind, EvaluationRow, Protocol};
use crate::rows::{PROTOCOL, ScoredPart};
use crate::runs::{Attempt, Clipping, End, ExperimentFolder, Outcome, Status, begin_attempt, keep_probed_memory, write_outcome};

/// A plan over sequence length and clip norm with these numbers of configurations and seeds.
pub(crate) fn plan(lengths: &[usize], clips: &[ClipNorm], seeds: &[u64]) -> Plan {
    let mut trials = Vec::new();
    let mut configuration = 0;
    for &length in lengths {
        for &clip in clips {
            configuration += 1;
            for &seed in seeds {
                let train = Train { sequence_length: length, clip_norm: clip, ..Train::default() };
                let settings = Settings { train, ..Settings::default() };
                let clip = match clip {
                    ClipNorm::Off => "off".to_owned(),
                    ClipNorm::At(norm) => norm.to_string(),
                };
                trials.push(Trial {
                    id: TrialId::of(&format!("{length} {clip} {seed}")),
                    configuration,
                    seed,
                    values: vec![length.to_string(), clip],
                    facts: Facts { vocabulary: 61, steps: 100, ..blank(&empty()).facts },
                    settings,
                    from: None,
                });
            }
        }
    }
    Plan {
        swept: vec!["train.sequence_length".to_owned(), "train.clip_norm".to_owned()],
        configurations: configuration,
        seeds: seeds.to_vec(),
        common_context: lengths.iter().copied().min().unwrap_or(0),
        trials,
        ..empty()
    }
}

fn empty() -> Plan {
    Plan {
        experiment: "test".to_owned(),
        swept: Vec::new(),
        combinations: 0,
        excluded: Vec::new(),
        merged: 0,
        configurations: 0,
        seeds: Vec::new(),
        common_context: 0,
        trials: Vec::new(),
        numbers: Numbers::default(),
    }
}

/// A complete trial whose final weights have this mean loss under the common protocol.
pub(crate) fn completed(loss: f64, native: Option<f64>) -> TrialState {
    let score =
        |protocol, loss: f64| EvaluationRow { protocol, nll_sum: Some(loss * 1000.0), ..evaluation(100, CheckpointKind::Final) };
    let mut scores = vec![score(Protocol::Common, loss)];
    scores.extend(native.map(|loss| EvaluationRow { context: 64, ..score(Protocol::Native, loss) }));
    TrialState {
        status: Status::Completed,
        reason: None,
        attempts: vec![attempt(&[])],
        outcome: Some(Outcome {
            end: End::Completed,
            reason: None,
            steps: 100,
            tokens_seen: 6400,
            training_seconds: 3.2,
            peak_memory_bytes: 1 << 27,
            peak_device_memory_bytes: None,
            scores,
            protocol: 1,
            finished_utc: 1_700_000_100_000_000,
            program: "votive 0.1.0".to_owned(),
            arithmetic: None,
            processor: None,
            gpu: None,
            clipping: None,
            alias_of: None,
            files: Vec::new(),
        }),
        probed_memory_bytes: None,
    }
}

/// A trial that ended otherwise.
pub(crate) fn ended(status: Status, reason: &str, last_lines: &[&str]) -> TrialState {
    TrialState {
        status,
        reason: Some(reason.to_owned()),
        attempts: vec![attempt(last_lines)],
        outcome: None,
        probed_memory_bytes: None,
    }
}

/// A trial that nobody has started.
pub(crate) fn waiting() -> TrialState {
    TrialState::waiting()
}

/// Puts these states into the folders of the trials: what is read back from there is the same.
pub(crate) fn write_states(folder: &ExperimentFolder, plan: &Plan, states: &[TrialState]) {
    let probed = plan.trials.iter().zip(states).filter_map(|(trial, state)| Some((trial.id.clone(), state.probed_memory_bytes?)));
    std::fs::create_dir_all(folder.cache()).unwrap();
    let _ = std::fs::remove_file(folder.probed());
    keep_probed_memory(folder, probed.collect()).unwrap();
    for (trial, state) in plan.trials.iter().zip(states) {
        let folder = folder.trial(&trial.id);
        std::fs::create_dir_all(folder.path()).unwrap();
        for old in [folder.outcome(), folder.attempt(1)] {
            let _ = std::fs::remove_file(old);
        }
        for attempt in &state.attempts {
            begin_attempt(&folder, attempt).unwrap();
        }
        let end = match state.status {
            Status::Completed => Some(End::Completed),
            Status::Diverged => Some(End::Diverged),
            Status::DidNotFit => Some(End::DidNotFit),
            Status::Failed => Some(End::Failed),
            _ => None,
        };
        let example = |end| Outcome {
            reason: state.reason.clone(),
            finished_utc: 1_700_000_100_000_000,
            program: "votive 0.1.0".to_owned(),
            ..Outcome::example(end)
        };
        if let Some(outcome) = state.outcome.clone().or(end.map(example)) {
            write_outcome(&folder, &outcome).unwrap();
        }
    }
}

fn attempt(last_lines: &[&str]) -> Attempt {
    Attempt {
        attempt: 1,
        pid: 1,
        host: "night".to_owned(),
        boot: None,
        token: None,
        slot: 1,
        threads: 2,
        device: Device::Cpu,
        gpu: None,
        program: "votive 0.1.0".to_owned(),
        from_step: 0,
        started_utc: 1_700_000_000_000_000,
        ended_utc: None,
        ended: None,
        last_lines: last_lines.iter().map(|&line| line.to_owned()).collect(),
    }
}

#[test]
fn a_budget_in_minutes_leaves_open_how_long_a_trial_is() {
    let mut plan = plan(&[32], &[ClipNorm::Off], &[1]);
    plan.trials[0].facts.steps = 0;
    let cells = plan_cells(&plan, &plan.trials[0]);
    let of = |name: &str| cells.iter().find(|(column, ..)| column == name).map(|(_, _, value)| value.clone());
    for name in ["steps", "target_tokens"] {
        assert_eq!(of(name), Some(Value::Int64(None)), "{name}");
    }
    for name in ["views", "epochs", "flops"] {
        assert_eq!(of(name), Some(Value::Float64(None)), "{name}");
    }
    assert_eq!(of("vocabulary"), Some(Value::count(61)));
}

#[test]
fn the_plan_has_a_row_a_trial_with_settings_and_figures() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plan.parquet");
    let mut plan = plan(&[32, 64], &[ClipNorm::Off, ClipNorm::At(0.5)], &[1, 2]);
    plan.trials[0].settings.train.batch_size = BatchSize::Full;
    write_plan(&path, &plan).unwrap();
    let table = Table::read(&path, plan_schema(&plan)).unwrap();
    assert_eq!(table.rows(), 8);
    assert_eq!(table.int64("configuration"), [1, 1, 2, 2, 3, 3, 4, 4].map(Some));
    assert_eq!(table.int64("seed")[..4], [1, 2, 1, 2].map(Some));
    assert_eq!(table.text("swept_train_clip_norm")[1..3], ["off", "0.5"].map(|v| Some(v.to_owned())));
    assert_eq!(table.float64("train_clip_norm")[1..3], [None, Some(0.5)]);
    assert_eq!(table.bool("train_clip_norm_off")[1..3], [Some(true), Some(false)]);
    assert_eq!((table.int64("train_batch_size")[0], table.bool("train_batch_size_full")[0]), (None, Some(true)));
    assert_eq!(table.int64("vocabulary")[0], Some(61));
}

#[test]
fn no_column_name_is_used_twice() {
    let plan = plan(&[32], &[ClipNorm::Off], &[1]);
    let mut names: Vec<String> = trials_schema(&plan).columns.into_iter().map(|c| c.name).collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn trials_add_status_times_and_final_figures_to_the_plan() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trials.parquet");
    let plan = plan(&[32, 64], &[ClipNorm::Off], &[1, 2]);
    let states = [
        completed(2.0, None),
        ended(Status::Diverged, "the loss is not finite at step 7", &["a", "b"]),
        completed(1.5, Some(1.25)),
        waiting(),
    ];
    write_trials(&path, &plan, &states).unwrap();
    let table = Table::read(&path, trials_schema(&plan)).unwrap();
    let status: Vec<String> = table.text("status").into_iter().flatten().collect();
    assert_eq!(status, ["completed", "diverged", "completed", "waiting"]);
    assert_eq!(table.text("reason")[1].as_deref(), Some("the loss is not finite at step 7"));
    assert_eq!(table.text("last_lines")[1].as_deref(), Some("a\nb"));
    assert_eq!(table.float64("common_loss"), [Some(2.0), None, Some(1.5), None]);
    assert_eq!(table.float64("native_loss"), [Some(2.0), None, Some(1.25), None], "at the common context both are one");
    assert_eq!(table.float64("common_perplexity")[0], Some(2f64.exp()));
    assert_eq!(table.float64("tokens_per_second")[0], Some(2000.0));
    assert_eq!(table.int64("attempts"), [1, 1, 1, 0].map(Some));
    assert_eq!(table.int64("started_utc")[3], None);
    assert_eq!(table.int64("common_context"), [Some(32), None, Some(32), None]);
}

#[test]
fn best_weights_stand_beside_the_final_ones_and_are_those_where_only_they_were_scored() {
    let mut state = completed(2.0, None);
    let cell = |state: &TrialState, name: &str| {
        let plan = plan(&[32], &[ClipNorm::Off], &[1]);
        state_cells(Planned::of(&plan, &plan.trials[0]), state).into_iter().find(|(n, _, _)| n == name).unwrap().2
    };
    assert_eq!(cell(&state, "best_common_loss"), Value::Float64(Some(2.0)));
    let best = EvaluationRow { nll_sum: Some(1900.0), ..evaluation(60, CheckpointKind::Best) };
    state.outcome.as_mut().unwrap().scores.push(best);
    assert_eq!(cell(&state, "best_common_loss"), Value::Float64(Some(1.9)));
    assert_eq!(cell(&state, "best_step"), Value::Int64(Some(60)));
    assert_eq!(cell(&state, "common_loss"), Value::Float64(Some(2.0)));
}

#[test]
fn an_alias_names_its_source_and_took_no_time() {
    let plan = plan(&[32], &[ClipNorm::Off], &[1, 2]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trials.parquet");
    let clipping = Clipping::of(vec![1.0, 4.0, 2.0, 3.0], 1);
    let mut states = [completed(2.0, None), completed(2.0, None)];
    for state in &mut states {
        state.outcome.as_mut().unwrap().clipping = clipping;
    }
    states[1].outcome.as_mut().unwrap().alias_of = Some(plan.trials[0].id.clone());
    write_trials(&path, &plan, &states).unwrap();
    let table = Table::read(&path, trials_schema(&plan)).unwrap();
    assert_eq!(table.text("alias_of"), [None, Some(plan.trials[0].id.to_string())]);
    assert_eq!(table.float64("training_seconds"), [Some(3.2), None]);
    assert_eq!(table.float64("tokens_per_second"), [Some(2000.0), None]);
    assert_eq!(table.float64("common_loss"), [Some(2.0), Some(2.0)]);
    assert_eq!(table.float64("clipped_share"), [Some(0.25), Some(0.25)]);
    let quantiles = ["grad_norm_p50", "grad_norm_p90", "grad_norm_p99", "grad_norm_max"].map(|name| table.float64(name)[0]);
    assert_eq!(quantiles, [2.0, 4.0, 4.0, 4.0].map(Some));
}

#[test]
fn the_memory_of_a_gpu_stands_beside_the_hosts_where_one_was_used() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trials.parquet");
    let plan = plan(&[32], &[ClipNorm::Off], &[1, 2]);
    let mut states = [completed(2.0, None), completed(2.0, None)];
    states[1].outcome.as_mut().unwrap().peak_device_memory_bytes = Some(3_000_000_000);
    write_trials(&path, &plan, &states).unwrap();
    let table = Table::read(&path, trials_schema(&plan)).unwrap();
    assert_eq!(table.int64("peak_device_memory_bytes"), [None, Some(3_000_000_000)]);
    assert_eq!(table.int64("peak_memory_bytes"), [Some(1 << 27); 2]);
}

#[test]
fn what_a_probe_said_of_a_trials_memory_stands_beside_what_it_took() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trials.parquet");
    let plan = plan(&[32], &[ClipNorm::Off], &[1, 2]);
    let states = [completed(2.0, None), TrialState { probed_memory_bytes: Some(130_000_000), ..completed(2.0, None) }];
    write_trials(&path, &plan, &states).unwrap();
    let table = Table::read(&path, trials_schema(&plan)).unwrap();
    assert_eq!(table.int64("probed_memory_bytes"), [None, Some(130_000_000)]);
    assert_eq!(table.int64("peak_memory_bytes"), [Some(1 << 27); 2]);
}

#[test]
fn what_trained_a_trial_is_null_where_an_earlier_version_did_not_say() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trials.parquet");
    let plan = plan(&[32], &[ClipNorm::Off], &[1, 2]);
    let mut states = [completed(2.0, None), completed(2.0, None)];
    let outcome = states[1].outcome.as_mut().unwrap();
    (outcome.arithmetic, outcome.processor) = (Some(4), Some("AMD EPYC 9R14 (AVX2)".to_owned()));
    let json = serde_json::to_string(states[0].outcome.as_ref().unwrap()).unwrap();
    assert!(!json.contains("arithmetic") && !json.contains("processor"), "{json}");
    write_trials(&path, &plan, &states).unwrap();
    let table = Table::read(&path, trials_schema(&plan)).unwrap();
    assert_eq!(table.int64("arithmetic"), [None, Some(4)]);
    assert_eq!(table.text("processor"), [None, Some("AMD EPYC 9R14 (AVX2)".to_owned())]);
}

#[test]
fn the_gpu_is_named_by_its_identity_that_of_an_alias_by_its_sources() {
    let plan = plan(&[32], &[ClipNorm::Off], &[1, 2, 3]);
    let gpu = |number| Some(crate::device::Gpu::example(number, "NVIDIA H200"));
    let mut states = [completed(2.0, None), completed(2.0, None), completed(2.0, None)];
    states[1].attempts[0].gpu = gpu(1);
    states[2].attempts.clear();
    states[2].outcome.as_mut().unwrap().gpu = gpu(2);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trials.parquet");
    write_trials(&path, &plan, &states).unwrap();
    let table = Table::read(&path, trials_schema(&plan)).unwrap();
    assert_eq!(table.text("gpu_uuid"), [None, Some("GPU-1".to_owned()), Some("GPU-2".to_owned())]);
}

#[test]
fn scores_of_the_test_part_rank_nothing() {
    let mut state = completed(2.0, None);
    let test = EvaluationRow { part: ScoredPart::Test, nll_sum: Some(1.0), ..evaluation(100, CheckpointKind::Final) };
    state.outcome.as_mut().unwrap().scores.push(test);
    let outcome = state.outcome.unwrap();
    assert_eq!(outcome.score(ScoredPart::Validation, Protocol::Common, CheckpointKind::Final).unwrap().nll_sum, Some(2000.0));
}

#[test]
fn the_test_part_has_columns_of_its_own_for_final_and_best_weights() {
    let mut state = completed(2.0, None);
    let plan = plan(&[32], &[ClipNorm::Off], &[1]);
    let cell = |state: &TrialState, name: &str| {
        state_cells(Planned::of(&plan, &plan.trials[0]), state).into_iter().find(|(n, _, _)| n == name).unwrap().2
    };
    assert_eq!(cell(&state, "test_loss"), Value::Float64(None));
    let row = |kind, part: ScoredPart, sum| EvaluationRow { part, nll_sum: Some(sum), ..evaluation(100, kind) };
    let scores = &mut state.outcome.as_mut().unwrap().scores;
    scores.push(row(CheckpointKind::Final, ScoredPart::Test, 2_100.0));
    assert_eq!(cell(&state, "test_loss"), Value::Float64(Some(2.1)));
    assert_eq!(cell(&state, "best_test_loss"), Value::Float64(Some(2.1)), "the final weights are the best ones");
    let scores = &mut state.outcome.as_mut().unwrap().scores;
    scores.push(row(CheckpointKind::Best, ScoredPart::Validation, 1_900.0));
    scores.push(row(CheckpointKind::Best, ScoredPart::Test, 2_050.0));
    assert_eq!(cell(&state, "test_loss"), Value::Float64(Some(2.1)));
    assert_eq!(cell(&state, "best_test_loss"), Value::Float64(Some(2.05)));
    // The best weights are gone, and could not be scored again: the final ones are not taken for them.
    for row in state.outcome.as_mut().unwrap().scores.iter_mut().filter(|row| row.kind == CheckpointKind::Best) {
        row.nll_sum = None;
    }
    assert_eq!(cell(&state, "best_test_loss"), Value::Float64(None));
    assert_eq!(cell(&state, "best_common_loss"), Value::Float64(None));
}

#[test]
fn word_perplexity_is_that_of_the_scored_tokens_only() {
    let state = completed(2.0, None);
    let plan = plan(&[32], &[ClipNorm::Off], &[1]);
    let cell = |words: u64, tokens: u64| {
        let mut trial = plan.trials[0].clone();
        (trial.facts.validation_words, trial.facts.validation_tokens) = (words, tokens);
        state_cells(Planned::of(&plan, &trial), &state).into_iter().find(|(n, _, _)| n == "word_perplexity").unwrap().2
    };
    assert_eq!(cell(500, 1_001), Value::Float64(Some((2_000.0_f64 / 500.0).exp())));
    assert_eq!(cell(500, 2_001), Value::Float64(None), "scored on other tokens");
    assert_eq!(cell(0, 1_001), Value::Float64(None));
}

#[test]
fn what_was_scored_on_other_tokens_or_by_another_protocol_has_no_figure() {
    let mut plan = plan(&[32], &[ClipNorm::Off], &[1]);
    let loss = |plan: &Plan, state: &TrialState| {
        let cells = state_cells(Planned::of(plan, &plan.trials[0]), state);
        ["common_loss", "native_loss", "best_common_loss"].map(|name| cells.iter().find(|(n, _, _)| n == name).unwrap().2.clone())
    };
    let (there, none) = ([2.0; 3].map(|loss| Value::Float64(Some(loss))), [(); 3].map(|()| Value::Float64(None)));
    let mut state = completed(2.0, None);
    assert_eq!(loss(&plan, &state), there);
    plan.trials[0].facts.validation_tokens = 2_001;
    assert_eq!(loss(&plan, &state), none);
    plan.trials[0].facts.validation_tokens = 1_001;
    assert_eq!(loss(&plan, &state), there);
    let scores = &mut state.outcome.as_mut().unwrap().scores;
    scores.push(EvaluationRow { part: ScoredPart::Test, scored_tokens: 500, ..scores[0].clone() });
    for (tokens, expected) in [(0, &there), (501, &there), (401, &none)] {
        plan.trials[0].facts.test_tokens = tokens;
        assert_eq!(loss(&plan, &state), *expected, "{tokens} test tokens");
    }
    plan.trials[0].facts.test_tokens = 501;
    state.outcome.as_mut().unwrap().protocol = PROTOCOL + 1;
    assert_eq!(loss(&plan, &state), none);
}
