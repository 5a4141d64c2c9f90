//! The report over experiment folders made by the recorder.

use std::path::PathBuf;

use super::comparison::tests::tested;
use super::*;
use crate::error::Kind;
use crate::experiment::settings::{ClipNorm, Tokenizer};
use crate::plan::{Plan, Trial};
use crate::random::Stream;
use crate::record::tests::{completed, ended, plan, waiting, write_states};
use crate::record::{ParquetRecorder, TrialState, write_plan, write_trials};
use crate::report::wording;
use crate::rows::{
    CheckpointKind, EvaluationRow, PositionBin, Positions, Protocol as Scored, Recorder, Sample, Sampling, ScoredPart, StepRow,
    TokenNll,
};
use crate::runs::{ExperimentFolder, Status};

pub(super) const NASTY: &str = "</script><img src=x onerror=alert(1)>";

pub(super) struct Night {
    _dir: tempfile::TempDir,
    pub(super) folder: ExperimentFolder,
}

pub(super) fn night(plan: &Plan, states: &[TrialState], json: &str) -> Night {
    let dir = tempfile::tempdir().unwrap();
    let folder = ExperimentFolder::at(&dir.path().join("night"));
    std::fs::create_dir_all(folder.path()).unwrap();
    std::fs::write(folder.experiment_json(), json).unwrap();
    write_plan(&folder.plan_parquet(), plan).unwrap();
    write_trials(&folder.trials_parquet(), plan, states).unwrap();
    write_states(&folder, plan, states);
    Night { _dir: dir, folder }
}

impl Night {
    pub(super) fn report(&self) -> Report {
        Report::read(&self.folder).unwrap()
    }

    fn train(&self, plan: &Plan, trial: usize, steps: i64) {
        let trial = &plan.trials[trial];
        let folder = self.folder.trial(&trial.id);
        std::fs::create_dir_all(folder.path()).unwrap();
        let mut recorder = ParquetRecorder::open(&folder, &trial.id).unwrap();
        for step in 1..=steps {
            recorder.step(&step_row(step)).unwrap();
        }
        for (step, kind) in [(steps / 2, CheckpointKind::Periodic), (steps, CheckpointKind::Final)] {
            recorder.evaluation(&evaluation(step, kind)).unwrap();
        }
        recorder.finish().unwrap();
    }

    /// Gives a trial the NLL of each of these tokens.
    fn score(&self, trial: &Trial, nll: Vec<f32>) {
        let folder = self.folder.trial(&trial.id);
        std::fs::create_dir_all(folder.path()).unwrap();
        let mut recorder = ParquetRecorder::open(&folder, &trial.id).unwrap();
        let scores = TokenNll {
            protocol: Scored::Common,
            context: 32,
            stride: 16,
            kind: CheckpointKind::Final,
            positions: (2..nll.len() as i64 + 2).collect(),
            tokens: vec![1; nll.len()],
            nll,
        };
        recorder.token_nll(&scores).unwrap();
        recorder.finish().unwrap();
    }

    pub(super) fn write_sample(&self, plan: &Plan, trial: usize, prompt: &str, text: &str) {
        let folder = self.folder.trial(&plan.trials[trial].id);
        std::fs::create_dir_all(folder.path()).unwrap();
        let sampling = Sampling { temperature: 0.8, top_k: 50 };
        let (prompt, text) = (prompt.to_owned(), text.to_owned());
        let sample = Sample { step: 40, prompt, text, tokens: 200, seed: plan.trials[trial].seed, sampling };
        durable::write_json(&folder.sample(), &sample).unwrap();
    }

    fn page(&self) -> String {
        let into = self.folder.report();
        self.report().write(&into).unwrap();
        std::fs::read_to_string(into.join("index.html")).unwrap()
    }
}

fn step_row(step: i64) -> StepRow {
    StepRow {
        attempt: 1,
        step,
        epoch: 1,
        tokens_seen: step * 64,
        loss: Some(1.0 + 3.0 / step as f64),
        grad_norm: Some(1.0),
        clip_coefficient: Some(1.0),
        clipped: false,
        learning_rate: 1e-3,
        step_seconds: 3.6,
        tokens_per_second: 1.0,
        time_utc: 0,
    }
}

fn evaluation(step: i64, kind: CheckpointKind) -> EvaluationRow {
    EvaluationRow {
        step,
        tokens_seen: step * 64,
        protocol: Scored::Common,
        kind,
        part: ScoredPart::Validation,
        context: 32,
        stride: 32,
        scored_tokens: 100,
        scored_bytes: 100,
        nll_sum: Some(150.0),
        seconds: 0.1,
        time_utc: 0,
    }
}

fn two_by_two() -> (Plan, Vec<TrialState>) {
    let plan = plan(&[32, 64], &[ClipNorm::Off, ClipNorm::At(0.5)], &[1, 2]);
    let losses = [2.0, 2.1, 1.8, 1.9, 1.0, 1.1, 1.5, 1.6];
    (plan, losses.iter().map(|&loss| completed(loss, Some(loss - 0.1))).collect())
}

/// The page without the plotting library and the data, which are not markup.
fn markup(page: &str) -> String {
    page.split("<script").map(|part| part.split_once("</script>").map_or(part, |(_, rest)| rest)).collect()
}

#[test]
fn the_verdict_names_the_best_and_what_it_was_measured_with() {
    let (plan, states) = two_by_two();
    let night = night(&plan, &states, r#"{"common_context": 32}"#);
    let verdict = night.report().verdict();
    assert!(
        verdict.starts_with(
            "Best of 4 configurations: length 64 · clip off. Perplexity 2.858 over 2 seeds (common context 32, final weights). It is \
             better than each of the 3 others, by more than chance explains: next is length 64 · clip 0.5, +64.9 % ("
        ),
        "{verdict}"
    );
    assert!(verdict.contains("An untrained model has 61, one for each token it could guess."), "{verdict}");
}

#[test]
fn one_seed_gets_no_spread_and_the_report_says_why() {
    let plan = plan(&[32, 64], &[ClipNorm::Off], &[1]);
    let night = night(&plan, &[completed(1.0, None), completed(1.2, None)], "{}");
    let report = night.report();
    let verdict = report.verdict();
    assert!(verdict.contains("Perplexity 2.718 with one seed (common context"), "{verdict}");
    let why =
        "Next is length 64 · clip off, +22.1 %. With one seed each nothing says how much another seed would change the figures";
    assert!(verdict.contains(why), "{verdict}");
    let table = report.table(Look { width: Some(120), colour: false });
    assert!(!table.contains('±') && !table.contains("have no spread"), "{table}");
}

#[test]
fn the_table_has_the_number_by_which_commands_call_a_configuration() {
    let plan = plan(&[32, 64], &[ClipNorm::Off], &[1]);
    let night = night(&plan, &[completed(1.2, None), completed(1.0, None)], "{}");
    let table = night.report().table(Look::PLAIN);
    let numbers: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().take(3).collect()).collect();
    assert!(numbers.contains(&vec!["1", "2", "64"]) && numbers.contains(&vec!["2", "1", "32"]), "{table}");
}

#[test]
fn a_lead_within_the_limits_is_called_chance_and_a_wide_one_is_not() {
    let plan = plan(&[32, 64], &[ClipNorm::Off], &[1, 2]);
    let close = [1.0, 1.2, 1.25, 1.05].map(|loss| completed(loss, None));
    let far = [1.0, 1.001, 2.0, 2.002].map(|loss| completed(loss, None));
    let verdict = night(&plan, &close, "{}").report().verdict();
    assert!(verdict.contains("The other one is statistically tied with it: length 64 · clip off, +5.1 % ("), "{verdict}");
    assert!(
        verdict.contains("With 2 seeds each not even half the perplexity would be found") && verdict.contains("take over 50"),
        "{verdict}"
    );
    let verdict = night(&plan, &far, "{}").report().verdict();
    assert!(verdict.contains("It is better than the other one, by more than chance explains: length 64"), "{verdict}");
}

/// Three lengths and three seeds: 64 and 128 are close, 32 is far behind.
fn three_lengths() -> (Plan, Vec<TrialState>) {
    let plan = plan(&[32, 64, 128], &[ClipNorm::Off], &[1, 2, 3]);
    let losses = [2.00, 2.11, 2.06, 1.50, 1.62, 1.55, 1.51, 1.60, 1.57];
    (plan, losses.iter().map(|&loss| completed(loss, None)).collect())
}

#[test]
fn what_is_tied_with_the_best_is_named_and_marked_everywhere() {
    let (plan, states) = three_lengths();
    let night = night(&plan, &states, r#"{"common_context": 32}"#);
    let report = night.report();
    let verdict = report.verdict();
    let tied = "One of the 2 others is statistically tied with it: length 128 · clip off (+0.33 %). The other one is out.";
    assert!(verdict.contains(tied), "{verdict}");
    let statistics = report.statistics.as_ref().unwrap();
    assert_eq!((statistics.leader, statistics.best_set().unwrap()), (2, vec![2, 3]));
    let scatter = statistics.scatter.unwrap();
    assert_eq!((scatter.degrees, scatter.blocks, scatter.compared), (4, true, 3));
    assert_eq!(statistics.effects[0].levels.len(), 3);
    let table = report.table(Look { width: Some(150), colour: false });
    assert_eq!(table.lines().filter(|line| line.contains('●')).count(), 3, "two rows and the note: {table}");
    let csv = files::leaderboard(&report).unwrap();
    assert!(csv.contains(",difference_to_best,difference_lower,difference_upper,in_best_set,"), "{csv}");
    assert_eq!((csv.matches(",true,").count(), csv.matches(",false,").count()), (2, 1), "{csv}");
    let summary = report.summary();
    assert_eq!(summary["statistics"]["against"][0]["in_best_set"], true);
    assert_eq!(summary["statistics"]["scatter"]["degrees"], 4);
    assert!(summary["statistics"]["no_text"].as_str().unwrap().contains("is not on disk"), "{}", summary["statistics"]);
}

#[test]
fn a_name_of_ones_own_that_is_a_columns_too_makes_no_report_fail() {
    let (mut plan, states) = three_lengths();
    (plan.swept[0], plan.swept[1]) = ("parameters".to_owned(), "swept_parameters".to_owned());
    let night = night(&plan, &states, r#"{"swept": ["parameters", "swept_parameters"]}"#);
    let report = night.report();
    report.write(&night.folder.report()).unwrap();
    let csv = std::fs::read_to_string(night.folder.report().join("leaderboard.csv")).unwrap();
    let heading = csv.lines().next().unwrap();
    assert!(heading.starts_with("place,configuration,swept_swept_parameters,swept_parameters,perplexity,"), "{heading}");
    assert!(heading.contains(",parameters,") && csv.lines().nth(1).unwrap().starts_with("1,2,64,off,"), "{csv}");
}

#[test]
fn the_values_of_a_setting_are_judged_by_the_text_too_and_do_not_contradict_the_verdict() {
    let plan = plan(&[32, 64], &[ClipNorm::Off], &[1, 2, 3]);
    let states: Vec<TrialState> = [1.50, 1.60, 1.55, 1.51, 1.6101, 1.5599].map(|loss| completed(loss, None)).into();
    let night = night(&plan, &states, r#"{"common_context": 32}"#);
    let sets = |scatter: f32| {
        for trial in &plan.trials {
            let sign = if trial.configuration == 1 { -1.0 } else { 1.0 };
            let mut stream = Stream::new(1, "tokens", &[]);
            night.score(trial, (0..1000).map(|_| 1.6 + sign * scatter * stream.normal() as f32).collect());
        }
        let statistics = night.report().statistics.unwrap();
        let of_values: Vec<bool> = statistics.effects[0].levels.iter().map(|level| level.in_best_set.unwrap()).collect();
        (statistics.best_set().unwrap(), of_values)
    };
    assert_eq!(sets(0.001), (vec![1], vec![true, false]), "by seeds and by text");
    assert_eq!(sets(0.15), (vec![1, 2], vec![true, true]));
}

#[test]
fn the_one_that_the_verdict_names_is_the_one_that_stands_out() {
    let plan = plan(&[32, 64, 128], &[ClipNorm::Off], &[1, 2, 3]);
    let losses = [1.6, 1.61, 1.605, 1.5, 1.51, 1.505, 1.2, 1.2, 1.2];
    let mut states: Vec<TrialState> = losses.iter().map(|&loss| completed(loss, None)).collect();
    for state in &mut states[6..8] {
        *state = ended(Status::Diverged, "the loss is not finite at step 7", &[]);
    }
    let night = night(&plan, &states, r#"{"common_context": 32}"#);
    for trial in [0, 3, 8] {
        night.train(&plan, trial, 40);
    }
    let report = night.report();
    assert!(report.verdict().starts_with("Best of those that finished all their seeds: length 64"), "{}", report.verdict());
    let page = markup(&page::html(&report).unwrap());
    assert!(page.contains("<tr data-configuration=\"2\" class=\"first\">"), "{page}");
    assert_eq!(page.matches("class=\"first\"").count(), 1);
    let table = report.table(Look { width: Some(150), colour: true });
    let green: Vec<&str> = table.lines().filter(|line| line.contains("\u{1b}[38;5;10m")).collect();
    assert!(green.len() == 1 && green[0].contains("64"), "{table}");
    let svg = picture::svg(&report).unwrap();
    assert!(svg.contains("class=\"first\" text-anchor=\"start\">64 · off: "), "{svg}");
    assert!(svg.rfind("class=\"line best\"") > svg.rfind("class=\"line\""), "it lies on top");
}

#[test]
fn the_memory_of_a_gpu_is_shown_beside_the_hosts() {
    let (plan, mut states) = three_lengths();
    let host = night(&plan, &states, "{}").report();
    let page = page::html(&host).unwrap();
    assert!(page.contains("134 MB") && !page.contains("B of the GPU"), "on the processor nothing is said of a GPU");
    assert_eq!(host.summary()["configurations"][0]["peak_device_memory_bytes"], serde_json::Value::Null);
    for state in &mut states {
        state.outcome.as_mut().unwrap().peak_device_memory_bytes = Some(3_100_000_000);
    }
    let report = night(&plan, &states, "{}").report();
    assert!(page::html(&report).unwrap().contains("3.1 GB of the GPU, 134 MB of the host"));
    assert_eq!(report.summary()["configurations"][0]["peak_device_memory_bytes"], 3.1e9);
    let csv = files::leaderboard(&report).unwrap();
    assert!(csv.contains(",peak_memory_bytes,peak_device_memory_bytes,") && csv.contains("134217728.0,3100000000.0,"), "{csv}");
}

#[test]
fn what_plan_and_probe_expected_of_a_trials_memory_is_shown_beside_what_it_took() {
    let (mut plan, mut states) = three_lengths();
    for (trial, state) in plan.trials.iter_mut().zip(&mut states) {
        (trial.facts.memory_bytes, state.probed_memory_bytes) = (210_000_000, Some(140_000_000));
    }
    let report = night(&plan, &states, "{}").report();
    let page = page::html(&report).unwrap();
    assert!(page.contains("134 MB") && page.contains("210 MB by the plan, 140 MB by the probe"));
    let summary = report.summary();
    assert_eq!(summary["configurations"][0]["planned_memory_bytes"], 210_000_000);
    assert_eq!(summary["configurations"][0]["probed_memory_bytes"], 140_000_000);
    assert!(files::leaderboard(&report).unwrap().contains("210000000,140000000,134217728.0,"));
    states.iter_mut().for_each(|state| state.probed_memory_bytes = None);
    let page = page::html(&night(&plan, &states, "{}").report()).unwrap();
    assert!(page.contains("210 MB by the plan") && !page.contains("by the probe"), "where none was made");
}

#[test]
fn a_text_that_tells_two_apart_no_better_than_chance_ties_them_whatever_the_seeds_say() {
    let plan = plan(&[32, 64], &[ClipNorm::Off], &[1, 2, 3]);
    let states: Vec<TrialState> = [1.50, 1.62, 1.55, 1.60, 1.721, 1.65].map(|loss| completed(loss, None)).into();
    let night = night(&plan, &states, r#"{"common_context": 32}"#);
    let write = |scatter: f32| {
        for trial in &plan.trials {
            let (mut stream, sign) = (Stream::new(1, "tokens", &[]), if trial.configuration == 1 { -1.0 } else { 1.0 });
            let nll = (0..1000).map(|_| 1.6 + sign * (0.05 + scatter * stream.normal() as f32));
            night.score(trial, nll.collect());
        }
    };
    write(0.01);
    let report = night.report();
    let statistics = report.statistics.as_ref().unwrap();
    let text = statistics.text.unwrap();
    assert_eq!((text.tokens, text.configurations, statistics.no_text.as_deref()), (1000, 2, None));
    assert!(text.blocks >= 30, "{text:?}");
    assert_eq!(statistics.best_set().unwrap(), [1], "by seeds and by text");
    assert!(
        report
            .table(Look { width: Some(150), colour: false })
            .contains("The noise of this one stretch of held-out text is in the")
    );
    write(4.0);
    let report = night.report();
    assert_eq!(report.statistics.as_ref().unwrap().best_set().unwrap(), [1, 2]);
    std::fs::write(night.folder.trial(&plan.trials[0].id).token_nll(), b"torn").unwrap();
    let report = night.report();
    assert_eq!((report.damaged().len(), report.statistics.as_ref().unwrap().best_set().unwrap()), (1, vec![1]));
}

#[test]
fn a_trial_recorded_twice_counts_once_in_the_scatter() {
    let plan = plan(&[32, 64], &[ClipNorm::Off, ClipNorm::At(9.0)], &[1, 2, 3]);
    let losses = [1.50, 1.62, 1.55, 1.50, 1.62, 1.55, 1.61, 1.70, 1.67, 1.61, 1.70, 1.67];
    let states: Vec<TrialState> = losses.iter().map(|&loss| completed(loss, None)).collect();
    let report = night(&plan, &states, "{}").report();
    let statistics = report.statistics.as_ref().unwrap();
    assert_eq!(statistics.scatter.unwrap().degrees, 2, "of two configurations, not of four");
    let set = statistics.best_set().unwrap();
    assert!(set.contains(&1) && set.contains(&2), "what is the same is in the set together: {set:?}");
    assert_eq!(statistics.of(2).unwrap().difference, 0.0);
}

#[test]
fn configurations_with_the_very_same_results_are_called_the_same_and_not_beaten_by_nothing() {
    let plan = plan(&[32, 64], &[ClipNorm::Off, ClipNorm::At(9.0)], &[1]);
    // The last one is ahead of the first two by 0.004 %.
    let report = night(&plan, &[1.5, 1.5, 1.7, 1.499_96].map(|loss| completed(loss, None)), "{}").report();
    let table = report.table(Look { width: Some(160), colour: false });
    assert!(table.contains("#1 and #2 have the very same results: one configuration under two names."), "{table}");
    assert!(table.contains("+0.004 %") && !table.contains("0.00 %"), "{table}");
    let report = night(&plan, &[1.5, 1.5, 1.7, 1.6].map(|loss| completed(loss, None)), "{}").report();
    let table = report.table(Look { width: Some(160), colour: false });
    assert_eq!(table.lines().filter(|line| line.contains("  the same ")).count(), 1, "{table}");
    assert!(report.verdict().contains("Next is length 64 · clip 9, +10.5 %."), "{}", report.verdict());
}

#[test]
fn tuned_settings_show_what_was_chosen_and_where_it_lies_at_the_edge() {
    let plan = plan(&[32, 64], &[ClipNorm::At(0.5), ClipNorm::At(1.0)], &[1, 2]);
    let losses = [2.0, 2.1, 1.8, 1.95, 1.0, 1.12, 1.5, 1.6];
    let states: Vec<TrialState> = losses.iter().map(|&loss| completed(loss, None)).collect();
    let report = night(&plan, &states, r#"{"tune": ["train.clip_norm"]}"#).report();
    let verdict = report.verdict();
    assert!(
        verdict.starts_with("Best of 2 combinations, each at its best of 4 configurations tried: length 64 · clip 0.5."),
        "{verdict}"
    );
    assert_eq!(report.statistics.as_ref().unwrap().against.len(), 2, "only the chosen ones are compared");
    let table = report.table(Look { width: Some(200), colour: false });
    assert_eq!(table.matches("chosen, at the edge").count(), 2, "{table}");
    assert!(table.contains("chosen on the same text that ranks") && table.contains("In 2 of 2 combinations"), "{table}");
    let effects = &report.statistics.as_ref().unwrap().effects;
    assert_eq!(effects.len(), 2);
    assert!((effects[0].levels[1].mean.unwrap() - 1.06).abs() < 1e-12, "over the chosen ones");
    assert!((effects[1].levels[0].mean.unwrap() - (2.05 + 1.06) / 2.0).abs() < 1e-12, "over all");
}

#[test]
fn a_figure_is_of_chosen_configurations_or_of_all_and_says_which() {
    let plan = plan(&[32, 64], &[ClipNorm::At(0.5), ClipNorm::At(1.0), ClipNorm::At(2.0)], &[1]);
    let losses = [2.0, 1.8, 2.2, 1.0, 1.5, 1.7];
    let states: Vec<TrialState> = losses.iter().map(|&loss| completed(loss, None)).collect();
    let report = night(&plan, &states, r#"{"tune": ["train.clip_norm"]}"#).report();
    let sections = figures::sections(&report);
    let section = |id: &str| sections.iter().find(|section| section.id == id).unwrap();
    let by_setting = section("axes");
    let captions: Vec<&str> = by_setting.panels.iter().map(|panel| panel.caption.as_str()).collect();
    assert_eq!(captions, ["sequence length (each at its best clip norm)", "clip norm (every clip norm tried)"]);
    let points = |panel: usize| by_setting.data[panel]["points"].as_array().unwrap().len();
    assert_eq!([points(0), points(1)], [2, 6], "the points are those of the means");
    let rows = &by_setting.table.as_ref().unwrap().rows;
    let of = |value: &str| rows.iter().find(|row| row[1] == value).unwrap()[2..].join(" ");
    let perplexity = |loss: f64| wording::perplexity(loss.exp());
    assert_eq!(of("64"), format!("1 {0} {0} {0}", perplexity(1.0)));
    assert_eq!(
        of("2"),
        format!("2 {} {} {}", perplexity(1.95), perplexity(1.7), perplexity(2.2)),
        "no row with results is blank"
    );
    let pairs = section("pairs");
    assert_eq!(pairs.panels[0].caption, "sequence length × clip norm (every clip norm tried)");
    assert_eq!(pairs.table.as_ref().unwrap().rows.len(), 6);
}

#[test]
fn where_there_are_no_means_none_are_shown() {
    // No length has both clip norms.
    let plan = plan(&[32, 64], &[ClipNorm::Off, ClipNorm::At(0.5)], &[1]);
    let states = [completed(2.0, None), waiting(), waiting(), completed(1.5, None)];
    let sections = figures::sections(&night(&plan, &states, "{}").report());
    let section = sections.iter().find(|section| section.id == "axes").unwrap();
    for (panel, data) in section.panels.iter().zip(&section.data) {
        assert!(panel.note.contains("so there are no means"), "{}", panel.note);
        assert!(data["means"].as_array().unwrap().iter().all(serde_json::Value::is_null), "{data}");
        assert_eq!(data["points"].as_array().unwrap().len(), 2, "the trials are there");
    }
    assert!(section.table.as_ref().unwrap().rows.iter().all(|row| row[3].is_empty()), "nor in the numbers");
}

#[test]
fn what_was_scored_on_another_text_stands_in_no_table_with_the_rest() {
    let mut plan = plan(&[32, 64, 128], &[ClipNorm::Off], &[1]);
    for (trial, text) in plan.trials.iter_mut().zip(["hard", "easy", "hard"]) {
        trial.facts.validation_hash = Some(text.to_owned());
    }
    let night = night(&plan, &[completed(2.0, None), completed(0.5, None), completed(1.9, None)], "{}");
    let report = night.report();
    assert!(report.verdict().starts_with("Best of 2 configurations: length 128"), "{}", report.verdict());
    let table = report.table(Look::PLAIN);
    assert!(table.contains("1 configuration was scored on another held-out text than those that are ranked"), "{table}");
    assert!(table.contains("(perplexity: #2 1.649)"), "{table}");
    let row = table.lines().find(|line| line.contains("64")).unwrap();
    assert!(!row.contains("1.649"), "{row}");
    let csv = files::leaderboard(&report).unwrap();
    assert!(!csv.contains("1.6487"), "{csv}");
    let pair = Pair::read(
        &Named { folder: night.folder.clone(), which: Which::Configuration(1) },
        &Named { folder: night.folder.clone(), which: Which::Configuration(2) },
    );
    assert!(pair.unwrap().text().contains("Neither is called better: their texts differ"));
    let several = Several::read(&[night.folder.clone(), night.folder.clone()]).unwrap();
    assert_eq!(several.groups.iter().map(|group| group.lines.len()).collect::<Vec<_>>(), [4, 2], "a table a text");
}

#[test]
fn without_a_complete_trial_the_report_says_what_there_is() {
    let plan = plan(&[32, 64], &[ClipNorm::Off], &[1, 2]);
    let states = [ended(Status::Diverged, "the loss is not finite", &[]), waiting(), waiting(), waiting()];
    let night = night(&plan, &states, "{}");
    let report = night.report();
    assert!(report.is_empty());
    assert_eq!(report.verdict(), "No trial is complete: 1 diverged, 3 waiting.");
    let page = night.page();
    assert!(page.contains("No trial is complete: 1 diverged, 3 waiting.") && page.contains("the loss is not finite"));
}

#[test]
fn what_failed_last_before_the_run_was_stopped_is_named_with_its_reason() {
    let plan = plan(&[32, 64], &[ClipNorm::Off], &[1, 2]);
    let reason = "memory ran out: the GPU has no room";
    let mut left = ended(Status::Interrupted, reason, &[]);
    left.attempts[0].ended = Some(reason.to_owned().into());
    let night = night(&plan, &[left, ended(Status::Interrupted, "", &[]), waiting(), waiting()], "{}");
    let failures = files::failures(&night.report());
    let told: Vec<(&str, &str)> = failures.iter().map(|f| (f.status.as_str(), f.reason.as_str())).collect();
    assert_eq!(told, [("interrupted", reason)]);
}

#[test]
fn a_plan_alone_can_be_reported() {
    let (plan, states) = two_by_two();
    let night = night(&plan, &states, "{}");
    std::fs::remove_file(night.folder.trials_parquet()).unwrap();
    std::fs::remove_dir_all(night.folder.trials()).unwrap();
    assert_eq!(night.report().verdict(), "No trial is complete: 8 waiting.");
    assert!(night.page().contains("0 of 8 trials completed"));
}

#[test]
fn an_empty_folder_is_nothing_to_report() {
    let dir = tempfile::tempdir().unwrap();
    let error = Report::read(&ExperimentFolder::at(dir.path())).err().unwrap();
    assert_eq!(error.kind(), Kind::Nothing);
}

#[test]
fn how_trials_stand_is_asked_of_their_folders_and_not_of_a_table_that_is_older() {
    let (plan, states) = two_by_two();
    let before = vec![waiting(); states.len()];
    let night = night(&plan, &before, r#"{"common_context": 32}"#);
    assert_eq!(night.report().verdict(), "No trial is complete: 8 waiting.");
    write_states(&night.folder, &plan, &states);
    let now = night.report();
    assert!(now.verdict().starts_with("Best of 4 configurations: length 64 · clip off. Perplexity 2.858"), "{}", now.verdict());
    // What the folders say is what a run writes at its end.
    write_trials(&night.folder.trials_parquet(), &plan, &states).unwrap();
    std::fs::rename(night.folder.trials(), night.folder.path().join("away")).unwrap();
    let summary = |report: &Report| report.summary();
    assert_eq!(summary(&night.report()), summary(&now), "tables alone stand as they are");
    std::fs::rename(night.folder.path().join("away"), night.folder.trials()).unwrap();
    std::fs::remove_file(night.folder.trials_parquet()).unwrap();
    assert_eq!(summary(&night.report()), summary(&now));
}

#[test]
fn a_table_stands_where_the_plan_is_damaged_or_no_folder_is_there() {
    let (plan, states) = two_by_two();
    let night = night(&plan, &states, "{}");
    std::fs::write(night.folder.plan_parquet(), b"torn").unwrap();
    let report = night.report();
    assert!(!report.is_empty() && report.damaged().len() == 1);
    assert!(report.damaged()[0].contains("plan.parquet is damaged"), "{:?}", report.damaged());
    write_plan(&night.folder.plan_parquet(), &plan).unwrap();
    std::fs::remove_dir_all(night.folder.trials()).unwrap();
    std::fs::write(night.folder.trials_parquet(), b"torn").unwrap();
    let report = night.report();
    assert!(report.is_empty() && report.damaged()[0].contains("trials.parquet is damaged"), "{:?}", report.damaged());
}

#[test]
fn a_trial_of_one_is_reported() {
    let plan = plan(&[32], &[ClipNorm::Off], &[1]);
    let night = night(&plan, &[completed(1.0, None)], "{}");
    night.train(&plan, 0, 20);
    let report = night.report();
    assert!(report.verdict().starts_with("One configuration: length 32 · clip off. Perplexity 2.718"));
    assert_eq!(report.curves.len(), 1);
    assert!(!night.page().contains("axes-heading"), "nothing varies, so there is no figure by setting");
}

#[test]
fn curves_hold_training_and_periodic_validation_against_steps_tokens_and_hours() {
    let (plan, states) = two_by_two();
    let night = night(&plan, &states, r#"{"common_context": 32}"#);
    night.train(&plan, 4, 20);
    let report = night.report();
    let [curve] = report.curves.as_slice() else { panic!("{} curves", report.curves.len()) };
    assert_eq!((curve.configuration, curve.seed, curve.steps.len()), (3, Some(1), 20));
    assert_eq!((curve.steps[19], curve.tokens[19]), (20, 1280));
    assert!((curve.hours[19] - 0.02).abs() < 1e-12);
    assert_eq!(curve.validation.len(), 1, "the evaluation in full has another stride");
    assert_eq!((curve.validation[0].step, curve.validation[0].loss), (10, 1.5));
    assert!((curve.validation[0].hours - 0.01).abs() < 1e-12);
}

/// Trials of a byte, a BPE and a word tokenizer, with curves, and with losses by place of the final weights.
fn three_tokenizers() -> Night {
    let mut plan = plan(&[32, 64, 128], &[ClipNorm::Off], &[1]);
    for (trial, tokenizer) in plan.trials.iter_mut().zip([Tokenizer::Byte, Tokenizer::Bpe { vocab_size: 512 }, Tokenizer::Word]) {
        trial.settings.tokenizer = tokenizer;
        (trial.facts.train_bytes, trial.facts.train_tokens) = (4000, 1000);
    }
    let mut states = [1.5, 3.0, 0.5].map(|loss| completed(loss, None));
    for state in &mut states {
        state.outcome.as_mut().unwrap().scores[0].scored_bytes = 2000;
    }
    let night = night(&plan, &states, r#"{"common_context": 32}"#);
    for trial in 0..3 {
        night.train(&plan, trial, 20);
        let folder = night.folder.trial(&plan.trials[trial].id);
        let bin = |first: i64| PositionBin { first, last: first, tokens: 10, nll_sum: 20.0 };
        let (protocol, kind) = (Scored::Native, CheckpointKind::Final);
        let mut recorder = ParquetRecorder::open(&folder, &plan.trials[trial].id).unwrap();
        recorder.positions(&Positions { protocol, context: 32, kind, bins: vec![bin(1), bin(2)] }).unwrap();
    }
    night
}

#[test]
fn losses_of_several_tokenizers_are_drawn_in_bits_per_byte() {
    let night = three_tokenizers();
    let report = night.report();
    assert!(report.comparison.by_bytes);
    for curve in &report.curves {
        if curve.configuration == 3 {
            assert!(curve.validation.is_empty() && curve.loss.iter().all(|loss| loss.is_nan()), "its tokenizer loses text");
            assert!(curve.norm.iter().all(|norm| norm.is_finite()), "gradient norms are in no unit of text");
            continue;
        }
        assert!((curve.raw[0] - 4.0 / 4.0 / 2f64.ln()).abs() < 1e-12, "by the bytes of the training part");
        assert!((curve.validation[0].loss - 1.5 / 2f64.ln()).abs() < 1e-12, "by the bytes of the evaluation, a token each");
    }
    let numbers: Vec<i64> = report.positions.iter().map(|positions| positions.configuration).collect();
    assert_eq!((report.curves.len(), numbers), (3, vec![1, 2]));
    assert!((report.positions[0].bins[0].loss - 2.0 / 2.0 / 2f64.ln()).abs() < 1e-12, "by the bytes of the held-out part");
    let (picture, page) = (picture::svg(&report).unwrap(), night.page());
    assert!(picture.contains("held-out loss, bits per byte") && !picture.contains("nats"), "{picture}");
    assert!(page.contains(r#""loss_unit":"bits per byte""#));
    let said = markup(&page);
    assert!(said.contains("Losses are in bits per byte, since tokenizers differ; ") && said.contains("loses would cost no bits"));
}

#[test]
fn losses_of_one_tokenizer_are_drawn_as_they_were_recorded() {
    let (plan, states) = two_by_two();
    let night = night(&plan, &states, r#"{"common_context": 32}"#);
    night.train(&plan, 4, 20);
    assert!(picture::svg(&night.report()).unwrap().contains("held-out loss, nats per token"));
    let page = night.page();
    assert!(page.contains(r#""loss_unit":"nats per token""#) && !markup(&page).contains("Losses are in"));
}

#[test]
fn a_damaged_steps_file_is_listed_and_the_rest_is_reported() {
    let (plan, states) = two_by_two();
    let night = night(&plan, &states, "{}");
    night.train(&plan, 0, 20);
    night.train(&plan, 4, 20);
    let torn = night.folder.trial(&plan.trials[0].id).steps();
    let bytes = std::fs::read(&torn).unwrap();
    std::fs::write(&torn, &bytes[..bytes.len() / 2]).unwrap();
    let report = night.report();
    assert_eq!((report.curves.len(), report.damaged().len()), (1, 1));
    assert!(report.damaged()[0].contains("steps.parquet is damaged"));
    assert!(markup(&night.page()).contains("steps.parquet is damaged"));
}

#[test]
fn the_table_is_best_first_and_fits_a_narrow_terminal() {
    let (plan, states) = two_by_two();
    let report = night(&plan, &states, "{}").report();
    let wide = report.table(Look { width: Some(160), colour: false });
    let lines: Vec<&str> = wide.lines().collect();
    let row = lines.iter().position(|line| line.contains("2.858 ± 0.202")).unwrap();
    assert!(lines[row].contains("64") && lines[row].contains("off"), "{wide}");
    assert!(
        lines[0].contains("sequence length") && lines[0].contains("perplexity") && lines[0].contains("own context"),
        "{wide}"
    );
    assert!(!wide.contains('\u{1b}'), "no colours unless asked for");
    assert!(report.table(Look { width: Some(140), colour: true }).contains('\u{1b}'));
    for line in report.table(Look { width: Some(70), colour: false }).lines().take_while(|line| !line.starts_with("Perplexity")) {
        assert!(line.chars().count() <= 70, "{line}");
    }
}

#[test]
fn text_of_others_stays_text_on_the_page_and_in_markdown() {
    let (mut plan, mut states) = two_by_two();
    plan.trials.iter_mut().for_each(|trial| trial.values[1] = NASTY.to_owned());
    states[0] = ended(Status::Failed, NASTY, &[NASTY, "\u{1b}[2Jx"]);
    let json = serde_json::json!({ "name": NASTY, "description": NASTY, "text_hash": NASTY }).to_string();
    let night = night(&plan, &states, &json);
    night.train(&plan, 4, 20);
    night.write_sample(&plan, 4, NASTY, NASTY);
    let page = night.page();
    assert!(markup(&page).contains("&lt;img src=x onerror=alert(1)&gt;</span>"), "the sample is there");
    assert!(!page.contains("<img"), "an image came through");
    assert_eq!(page.matches("</script>").count(), 3, "a script element was ended by data");
    let picture = std::fs::read_to_string(night.folder.report().join("figure.svg")).unwrap();
    assert!(picture.contains("&lt;img") && !picture.contains("<img") && !picture.contains("</script"));
    let markdown = std::fs::read_to_string(night.folder.report().join("report.md")).unwrap();
    let (markdown, sample) = markdown.split_once("```text\n").unwrap();
    assert!(!markdown.contains("<img") && !markdown.contains("</script"));
    assert!(sample.starts_with(&format!("⟦{NASTY}⟧{NASTY}\n```\n")), "within a block, where it is text: {sample}");
    let table = night.report().table(Look { width: Some(200), colour: false });
    assert!(!table.contains('\u{1b}'));
}

#[test]
fn the_page_asks_for_nothing_and_is_about_five_megabytes() {
    let (plan, states) = two_by_two();
    let night = night(&plan, &states, "{}");
    night.train(&plan, 4, 20);
    let page = night.page();
    assert!(page.len() < 5_500_000, "{}", page.len());
    let markup = markup(&page);
    for request in ["src=", "href=", "url(", "@import", "http:", "https:"] {
        assert!(!markup.contains(request), "{request}");
    }
    let nonce = page.split("script-src 'nonce-").nth(1).unwrap().split('\'').next().unwrap();
    assert_eq!(page.matches(&format!("<script nonce=\"{nonce}\">")).count(), 2);
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn a_cell_that_a_spreadsheet_would_run_is_defused() {
    let (mut plan, states) = two_by_two();
    for (trial, value) in plan.trials.chunks_mut(2).zip(["=1+1", "-0.5", "@x", "+cmd"]) {
        trial.iter_mut().for_each(|t| t.values[1] = value.to_owned());
    }
    let night = night(&plan, &states, "{}");
    let csv = files::leaderboard(&night.report()).unwrap();
    assert!(csv.contains("'=1+1") && csv.contains("'@x") && csv.contains("'+cmd"), "{csv}");
    assert!(csv.contains(",-0.5,") && !csv.contains("'-0.5"), "numbers stay numbers: {csv}");
    assert_eq!(csv.lines().count(), 5);
    assert!(csv.starts_with("place,configuration,train.sequence_length,train.clip_norm,perplexity,perplexity_spread,seeds,"));
}

#[test]
fn the_summary_holds_what_the_page_says() {
    let (plan, states) = two_by_two();
    let night = night(&plan, &states, r#"{"name": "n", "common_context": 32}"#);
    let summary = night.report().summary();
    assert_eq!(summary["version"], 2);
    assert_eq!(summary["configurations"][0]["values"]["train.sequence_length"], "64");
    assert_eq!(summary["configurations"][0]["place"], 1);
    assert_eq!(summary["configurations"][0]["seeds"], 2);
    assert_eq!(summary["configurations"][0]["trials"].as_array().unwrap().len(), 2);
    assert_eq!(summary["protocol"]["common_context"], 32);
    assert_eq!(summary["status"]["completed"], 8);
    assert!((summary["configurations"][0]["perplexity"].as_f64().unwrap() - 1.05f64.exp()).abs() < 1e-12);
}

#[test]
fn every_file_of_the_report_is_written_whole() {
    let (plan, states) = two_by_two();
    let night = night(&plan, &states, "{}");
    night.train(&plan, 4, 20);
    night.page();
    let picture = std::fs::read_to_string(night.folder.report().join("figure.svg")).unwrap();
    assert!(picture.contains("class=\"line best\"") && picture.contains("64 · off: 2.858"), "{picture}");
    let mut names: Vec<PathBuf> =
        std::fs::read_dir(night.folder.report()).unwrap().map(|e| PathBuf::from(e.unwrap().file_name())).collect();
    names.sort();
    assert_eq!(names, ["figure.svg", "index.html", "leaderboard.csv", "report.md", "summary.json"].map(PathBuf::from));
}

#[test]
fn markdown_has_a_row_a_configuration_and_the_failures_with_their_reasons() {
    let (plan, mut states) = two_by_two();
    states[1] = ended(Status::Diverged, "the loss is 12, above 3 ln V", &[]);
    let markdown = files::markdown(&night(&plan, &states, r#"{"name": "n"}"#).report());
    assert!(markdown.starts_with("# n\n\n**Best of 4 configurations: length 64 · clip off."), "{markdown}");
    assert!(markdown.contains("1 completed, 1 diverged") && markdown.contains("the loss is 12, above 3 ln V"), "{markdown}");
    assert!(markdown.contains("1 configuration is ranked by the seeds that completed"), "{markdown}");
}

#[test]
fn the_winner_under_the_other_context_is_named_too() {
    let plan = plan(&[32, 64], &[ClipNorm::Off], &[1]);
    let night = night(&plan, &[completed(1.0, None), completed(1.1, Some(0.9))], r#"{"common_context": 32}"#);
    let verdict = night.report().verdict();
    assert!(verdict.contains("With each in its own context length 64 · clip off has the lowest, 2.460."), "{verdict}");
}

#[test]
fn the_test_part_stands_beside_the_winner_in_the_tables_and_in_the_files() {
    let plan = plan(&[32, 64], &[ClipNorm::Off], &[1, 2]);
    let states = [tested(1.5, 1.6), tested(1.52, 1.65), tested(1.0, 1.2), tested(1.1, 1.3)];
    let night = night(&plan, &states, r#"{"common_context": 32}"#);
    let report = night.report();
    let verdict = report.verdict();
    assert!(verdict.contains("On the test part, which chose nothing: perplexity 3.490 ± 0.247 over 2 seeds."), "{verdict}");
    let table = report.table(Look { width: Some(160), colour: false });
    assert!(table.lines().next().unwrap().contains(" test ") && table.contains("3.490 ± 0.247"), "{table}");
    assert!(files::markdown(&report).contains("| test |") && markup(&night.page()).contains(">3.490 ± 0.247</td>"));
    let csv = files::leaderboard(&report).unwrap();
    assert!(csv.contains(",bits_per_byte,test_perplexity,test_perplexity_spread,test_bits_per_byte,"), "{csv}");
    let summary = report.summary();
    assert!((summary["configurations"][0]["test_perplexity"].as_f64().unwrap() - 1.25f64.exp()).abs() < 1e-12);

    let several = Several::read(&[night.folder.clone(), night.folder.clone()]).unwrap();
    assert!(several.table(Look { width: Some(160), colour: false }).contains("3.490 ± 0.247"));
    assert_eq!(several.summary()["groups"][0]["lines"][0]["test_perplexity"], summary["configurations"][0]["test_perplexity"]);
}

#[test]
fn without_a_test_part_nothing_is_said_of_one() {
    let (plan, states) = two_by_two();
    let report = night(&plan, &states, "{}").report();
    assert!(!report.verdict().contains("test part") && !files::leaderboard(&report).unwrap().contains("test"));
    assert!(!report.table(Look::PLAIN).lines().next().unwrap().contains("test"));
}

#[test]
fn across_tokenizers_the_test_part_is_told_in_bits_per_byte() {
    let mut plan = plan(&[32, 64], &[ClipNorm::Off], &[1]);
    plan.trials[0].settings.tokenizer = Tokenizer::Byte;
    plan.trials[1].settings.tokenizer = Tokenizer::Bpe { vocab_size: 512 };
    let bits = 1.2 / 2f64.ln();
    // A token is a byte here.
    let report = night(&plan, &[tested(1.0, 1.2), tested(1.5, 1.6)], "{}").report();
    let verdict = report.verdict();
    assert!(
        verdict.contains(&format!("On the test part, which chose nothing: bits per byte {bits:.3} with one seed.")),
        "{verdict}"
    );
    assert!(report.table(Look { width: Some(160), colour: false }).contains(&format!("{bits:.3}")));
}

#[test]
fn a_tokenizer_that_loses_text_shows_its_perplexity_and_no_bits_per_byte() {
    let mut plan = plan(&[32, 64], &[ClipNorm::Off], &[1]);
    plan.trials[0].settings.tokenizer = Tokenizer::Byte;
    plan.trials[1].settings.tokenizer = Tokenizer::Word;
    let report = night(&plan, &[completed(1.5, None), completed(0.5, None)], "{}").report();
    let bits = format!("{:.3}", 0.5 / 2f64.ln());
    let table = report.table(Look { width: Some(160), colour: false });
    assert!(!table.contains(&bits) && table.contains("1.649"), "{table}");
    assert!(!files::markdown(&report).contains(&bits) && !files::leaderboard(&report).unwrap().contains("0.7213"));
    assert!(report.summary()["configurations"][1]["bits_per_byte"].is_null());

    plan.trials[0].settings.tokenizer = Tokenizer::Char;
    let report = night(&plan, &[completed(1.5, None), completed(0.5, None)], "{}").report();
    assert!(!report.is_empty());
    assert_eq!(report.verdict(), "No configuration can be ranked: no tokenizer here is known to give every text back.");
}

#[test]
fn configurations_that_got_worse_towards_the_end_are_counted() {
    let (plan, mut states) = two_by_two();
    for state in &mut states[..2] {
        let scores = &mut state.outcome.as_mut().unwrap().scores;
        scores.push(EvaluationRow { kind: CheckpointKind::Best, step: 60, nll_sum: Some(1_900.0), ..scores[0].clone() });
    }
    let verdict = night(&plan, &states, "{}").report().verdict();
    assert!(verdict.contains("1 of 4 was better at an earlier step than at the end of the budget."), "{verdict}");
}

#[test]
fn whether_a_configuration_got_worse_is_found_from_the_seeds_whose_best_weights_have_a_figure() {
    let plan = plan(&[32], &[ClipNorm::Off], &[1, 2]);
    // The best weights of the first seed are the final ones; those of the second are gone.
    let mut states = [completed(2.0, None), completed(2.4, None)];
    let scores = &mut states[1].outcome.as_mut().unwrap().scores;
    scores.push(EvaluationRow { kind: CheckpointKind::Best, step: 60, nll_sum: None, ..scores[0].clone() });
    let verdict = night(&plan, &states, "{}").report().verdict();
    assert!(!verdict.contains("better at an earlier step"), "{verdict}");
    // Where one seed says that it did, it is said.
    let scores = &mut states[0].outcome.as_mut().unwrap().scores;
    scores.push(EvaluationRow { kind: CheckpointKind::Best, step: 60, nll_sum: Some(1_900.0), ..scores[0].clone() });
    let verdict = night(&plan, &states, "{}").report().verdict();
    assert!(verdict.contains("1 of 1 was better at an earlier step"), "{verdict}");
}

#[test]
fn many_configurations_draw_the_best_and_say_so() {
    let lengths: Vec<usize> = (1..=60).map(|n| n * 8).collect();
    let plan = plan(&lengths, &[ClipNorm::Off], &[1]);
    let states: Vec<TrialState> = (0..60).map(|n| completed(1.0 + f64::from(n) * 0.01, None)).collect();
    let night = night(&plan, &states, "{}");
    night.train(&plan, 0, 10);
    night.train(&plan, 59, 10);
    let report = night.report();
    assert_eq!(report.curves.len(), 1, "steps of configurations that are not drawn are not read");
    let table = report.table(Look { width: Some(120), colour: false });
    assert!(table.contains("… and 20 more in leaderboard.csv"), "{table}");
    assert!(table.contains("Curves are those of the best 50; the files have all."), "{table}");
}

#[test]
fn the_best_three_show_what_they_write() {
    let plan = plan(&[32, 64, 128, 256], &[ClipNorm::Off], &[1, 2]);
    let losses = [2.0, 2.1, 1.8, 1.9, 1.0, 1.1, 1.5, 1.6];
    let states: Vec<TrialState> = losses.iter().map(|&loss| completed(loss, None)).collect();
    let night = night(&plan, &states, "{}");
    assert!(!night.page().contains("samples-heading"), "trials of older versions have none");
    for trial in [0, 2, 3, 5, 6, 7] {
        night.write_sample(&plan, trial, "The lamp ", &format!("was `````lit``.\n# By {trial}\n\u{1b}[2J"));
    }
    let report = night.report();
    let shown: Vec<_> = report.samples.iter().map(|s| (s.configuration, s.seed)).collect();
    assert_eq!(shown, [(3, Some(2)), (4, Some(1)), (2, Some(1))], "best first, the first seed that has one");
    let page = night.page();
    assert!(page.contains("<span class=\"prompt\">The lamp </span>was `````lit``.\n# By 5\n [2J</blockquote>"));
    let markdown = files::markdown(&report);
    assert!(markdown.contains("\n``````text\n⟦The lamp ⟧was `````lit``.\n# By 5\n [2J\n``````\n"), "{markdown}");
    let summary = report.summary();
    assert_eq!((&summary["samples"][0]["configuration"], &summary["samples"][0]["prompt"]), (&3.into(), &"The lamp ".into()));
    assert!(report.damaged().is_empty());

    std::fs::write(night.folder.trial(&plan.trials[5].id).sample(), b"{").unwrap();
    let report = night.report();
    assert_eq!((report.samples.len(), report.damaged().len()), (2, 1));
}
