//! Pairs in experiments made by the recorder.

use super::difference::{Finding, Over};
use super::*;
use crate::durable;
use crate::experiment::settings::{ClipNorm, Tokenizer};
use crate::plan::Plan;
use crate::record::tests::{completed, plan, waiting, write_states};
use crate::record::{ParquetRecorder, TrialState, write_plan, write_trials};
use crate::rows::{CheckpointKind, Protocol, Recorder, TokenNll};
use crate::runs::ExperimentFolder;

struct Night {
    _dir: tempfile::TempDir,
    folder: ExperimentFolder,
}

fn night(plan: &Plan, states: &[TrialState]) -> Night {
    let dir = tempfile::tempdir().unwrap();
    let folder = ExperimentFolder::at(&dir.path().join("night"));
    std::fs::create_dir_all(folder.path()).unwrap();
    std::fs::write(folder.experiment_json(), r#"{"name": "night"}"#).unwrap();
    write_plan(&folder.plan_parquet(), plan).unwrap();
    write_trials(&folder.trials_parquet(), plan, states).unwrap();
    write_states(&folder, plan, states);
    Night { _dir: dir, folder }
}

impl Night {
    fn named(&self, number: i64) -> Named {
        Named { folder: self.folder.clone(), which: Which::Configuration(number) }
    }

    fn pair(&self, first: i64, second: i64) -> Pair {
        Pair::read(&self.named(first), &self.named(second)).unwrap()
    }

    /// Gives a trial the NLL of each of these tokens.
    fn score(&self, plan: &Plan, trial: usize, nll: Vec<f32>) {
        let id = &plan.trials[trial].id;
        let folder = self.folder.trial(id);
        std::fs::create_dir_all(folder.path()).unwrap();
        let mut recorder = ParquetRecorder::open(&folder, id).unwrap();
        let scores = TokenNll {
            protocol: Protocol::Common,
            kind: CheckpointKind::Final,
            context: 32,
            stride: 16,
            positions: (2..nll.len() as i64 + 2).collect(),
            tokens: vec![7; nll.len()],
            nll,
        };
        recorder.token_nll(&scores).unwrap();
        recorder.finish().unwrap();
    }
}

#[test]
fn what_is_the_same_is_called_so_and_a_tiny_difference_is_shown() {
    let plan = plan(&[32], &[ClipNorm::Off, ClipNorm::At(9.0)], &[1, 2]);
    let pair = |losses: [f64; 4]| night(&plan, &losses.map(|loss| completed(loss, None))).pair(1, 2).text();
    let said = pair([2.0, 2.1, 2.0, 2.1]);
    assert!(said.contains("A and B have the very same results (over the seeds 1 and 2 that both have; common context"), "{said}");
    let said = pair([2.0, 2.1, 2.000_02, 2.100_02]);
    assert!(said.contains("The perplexity of A is 0.99998 times that of B: loss 0.00002 nats per token lower"), "{said}");
}

/// Two clip norms with three seeds each, the second better by 0.1, 0.2 and 0.3.
fn three_seeds() -> (Plan, Vec<TrialState>) {
    let plan = plan(&[32], &[ClipNorm::Off, ClipNorm::At(0.5)], &[1, 2, 3]);
    let losses = [2.0, 2.1, 2.2, 1.9, 1.9, 1.9];
    (plan, losses.map(|loss| completed(loss, None)).to_vec())
}

#[test]
fn the_difference_is_taken_seed_by_seed_with_a_t_interval() {
    let (plan, states) = three_seeds();
    let night = night(&plan, &states);
    let pair = night.pair(1, 2);
    assert!((pair.difference - 0.2).abs() < 1e-12);
    let interval = pair.limits().unwrap();
    // t(0.975, 2) = 4.30265, standard error 0.1 / √3.
    let half = 4.302_652_7 * 0.1 / 3f64.sqrt();
    assert!((interval.lower - (0.2 - half)).abs() < 1e-6 && (interval.upper - (0.2 + half)).abs() < 1e-6, "{interval:?}");
    assert_eq!(pair.settings, [("train.clip_norm".to_owned(), "off".to_owned(), "0.5".to_owned())]);
    assert_eq!((pair.seeds.as_slice(), pair.finding()), ([1, 2, 3].as_slice(), Finding::Alike));
    let back = night.pair(2, 1);
    assert_eq!((back.difference, back.limits().unwrap().upper), (-pair.difference, -interval.lower));
}

#[test]
fn a_difference_that_every_seed_shows_is_called_better_and_at_what() {
    let (plan, mut states) = three_seeds();
    for (state, loss) in states.iter_mut().zip([2.0, 2.1, 2.2, 1.9, 2.001, 2.099]) {
        *state = completed(loss, None);
    }
    let pair = night(&plan, &states).pair(1, 2);
    assert_eq!(pair.finding(), Finding::Second);
    let text = pair.text();
    assert!(
        text.contains("B is better than A at this budget (0 tokens) and at this learning rate (0.001, the same for all)."),
        "{text}"
    );
    assert!(text.contains("Unadjusted: one pair looked at."), "{text}");
}

#[test]
fn only_seeds_that_both_have_are_compared() {
    let (plan, mut states) = three_seeds();
    states[1] = waiting();
    let night = night(&plan, &states);
    let pair = night.pair(1, 2);
    assert_eq!(pair.seeds, [1, 3]);
    assert!((pair.difference - 0.2).abs() < 1e-12, "{}", pair.difference);
    let (mut states, alone) = (states, Which::Trial(plan.trials[0].id.clone()));
    let trial = Named { folder: night.folder.clone(), which: alone };
    let pair = Pair::read(&trial, &night.named(2)).unwrap();
    assert_eq!(pair.seeds, [1]);
    assert_eq!((pair.error.is_err(), pair.finding()), (true, Finding::Undecided));
    states[0] = waiting();
    states[2] = waiting();
    write_states(&night.folder, &plan, &states);
    let error = Pair::read(&trial, &night.named(2)).unwrap_err();
    assert!(error.to_string().contains("has no result to compare, and is waiting"), "{error}");
}

#[test]
fn a_swept_stride_is_a_setting_that_differs_also_where_it_is_the_length() {
    let mut plan = plan(&[32, 64], &[ClipNorm::Off], &[1]);
    plan.swept.push("train.stride".to_owned());
    for trial in &mut plan.trials {
        let length = trial.settings.train.sequence_length;
        trial.settings.train.stride = Some(length);
        trial.values.push(length.to_string());
    }
    let text = night(&plan, &[completed(2.0, None), completed(1.8, None)]).pair(1, 2).text();
    assert!(text.contains("settings that differ\n  sequence length  32  64\n  stride           32  64\n"), "{text}");
    assert_eq!(text.matches("stride  ").count(), 1, "{text}");
}

#[test]
fn one_seed_has_no_interval_and_the_text_says_why() {
    let plan = plan(&[32, 64], &[ClipNorm::Off], &[1]);
    let text = night(&plan, &[completed(2.0, None), completed(1.8, None)]).pair(1, 2).text();
    assert!(text.contains("There are no limits: with one seed nothing says how far another seed would move it."), "{text}");
    assert!(text.contains("Neither can be called better: the difference may be chance."), "{text}");
    assert!(!text.contains("is better than"), "{text}");
}

#[test]
fn the_noise_of_the_text_is_added_to_that_of_the_seeds() {
    let (plan, mut states) = three_seeds();
    for (state, loss) in states.iter_mut().zip([2.0, 2.1, 2.2, 1.9, 2.001, 2.099]) {
        *state = completed(loss, None);
    }
    let night = night(&plan, &states);
    let alone = night.pair(1, 2);
    assert!(alone.text().contains("seeds alone: the NLL of each token"), "{}", alone.text());
    let mut stream = crate::random::Stream::new(1, "test", &[]);
    for trial in 0..6 {
        // The first is worse by 0.1 in the mean, and far more or less from token to token.
        let mean = if trial < 3 { 2.0 } else { 1.9 };
        night.score(&plan, trial, (0..1_000).map(|_| mean + 8.0 * (stream.uniform() as f32 - 0.5)).collect());
    }
    let pair = night.pair(1, 2);
    let [by_seeds, both] = [&alone, &pair].map(|pair| pair.error.clone().unwrap().standard_error);
    // 8 / √12 on each side, over 3 seeds and 1,000 tokens.
    let by_text = 8.0 / 12f64.sqrt() * (2.0 / 3.0 / 1_000f64).sqrt();
    assert!((both / by_seeds.hypot(by_text) - 1.0).abs() < 0.15, "{both} {by_seeds} {by_text}");
    assert!(pair.text().contains("seeds and the noise of this one stretch of text together"), "{}", pair.text());
    assert!(pair.error.unwrap().degrees > 2.0);
}

/// Three clip norms with `byte` and one with `bpe`, of which a token has three bytes; three seeds each, the second better by 0.1.
fn two_tokenizers() -> (Plan, Vec<TrialState>) {
    let clips = [ClipNorm::Off, ClipNorm::At(0.5), ClipNorm::At(1.0), ClipNorm::At(2.0)];
    let mut plan = plan(&[32], &clips, &[1, 2, 3]);
    plan.swept.push("tokenizer.kind".to_owned());
    let losses = [2.0, 2.1, 2.2, 1.9, 2.001, 2.099, 2.3, 2.31, 2.33, 3.1, 3.2, 3.32];
    let mut states = losses.map(|loss| completed(loss, None));
    for (trial, (planned, state)) in plan.trials.iter_mut().zip(&mut states).enumerate() {
        let is_byte = trial < 9;
        planned.settings.tokenizer = if is_byte { Tokenizer::Byte } else { Tokenizer::Bpe { vocab_size: 512 } };
        planned.values.push(planned.settings.tokenizer.label());
        planned.facts.tokenizer_hash = planned.settings.tokenizer.label();
        let score = &mut state.outcome.as_mut().unwrap().scores[0];
        score.scored_bytes = if is_byte { score.scored_tokens } else { 3 * score.scored_tokens };
    }
    (plan, states.to_vec())
}

#[test]
fn two_of_one_tokenizer_are_compared_in_nats_also_where_the_experiment_ranks_by_bits_per_byte() {
    let (plan, states) = two_tokenizers();
    let night = night(&plan, &states);
    let pair = night.pair(1, 2);
    assert!(!pair.by_bytes && (pair.difference - 0.1).abs() < 1e-12, "{}", pair.difference);
    // The report's difference and error, in nats per token: a token of `byte` is a byte.
    let report = crate::report::Report::read(&night.folder).unwrap();
    let statistics = report.statistics.as_ref().unwrap();
    let (judged, error) = (statistics.difference(1, 2).unwrap(), pair.error.clone().unwrap());
    assert!(statistics.by_bytes && (judged.estimate * 2f64.ln() - 0.1).abs() < 1e-12, "{judged:?}");
    assert!((judged.variance.sqrt() * 2f64.ln() / error.standard_error - 1.0).abs() < 1e-12 && judged.degrees == error.degrees);
    let text = pair.text();
    assert!(text.contains("The perplexity of A is 1.1052 times that of B: loss 0.1000 nats per token higher"), "{text}");
    assert!(text.contains("seeds alone: no pair of trials has its NLL token by token)"), "the tokenizers are one: {text}");
    assert!(pair.in_best_set.is_some() && pair.json()["unit"] == "loss");

    // The noise of the text is that of the two, which the report cannot have.
    let mut stream = crate::random::Stream::new(1, "test", &[]);
    for trial in 0..6 {
        let mean = if trial < 3 { 2.1 } else { 2.0 };
        night.score(&plan, trial, (0..1_000).map(|_| mean + 8.0 * (stream.uniform() as f32 - 0.5)).collect());
    }
    let with_text = night.pair(1, 2);
    assert_eq!((with_text.difference, with_text.no_text.as_ref()), (pair.difference, None));
    assert!(with_text.error.unwrap().standard_error > 2.0 * error.standard_error);

    let apart = night.pair(1, 4);
    assert!(apart.by_bytes && apart.no_text.as_ref().is_some_and(|why| why.starts_with("tokenizers differ")), "{apart:?}");
    assert_eq!(apart.difference, statistics.difference(1, 4).unwrap().estimate, "in bits per byte it is the report's");
}

#[test]
fn a_configuration_that_another_one_stands_for_is_compared_as_that_one() {
    // Three sizes of a vocabulary, of which the first two come to one tokenizer: what was trained of one was recorded for the other.
    let mut plan = plan(&[1, 2, 3], &[ClipNorm::Off], &[1, 2]);
    plan.swept[0] = "tokenizer.vocab_size".to_owned();
    let mut states = [2.0, 2.1, 2.0, 2.1, 1.5, 1.61].map(|loss| completed(loss, None));
    let ids: Vec<String> = plan.trials.iter().map(|trial| trial.id.to_string()).collect();
    for (place, trial) in plan.trials.iter_mut().enumerate() {
        let vocab_size = [2_000, 8_000, 300][place / 2];
        trial.settings.tokenizer = Tokenizer::Bpe { vocab_size };
        trial.settings.train.sequence_length = 32;
        trial.values[0] = vocab_size.to_string();
        trial.facts.tokenizer_hash = if place / 2 < 2 { "a" } else { "b" }.to_owned();
        if place / 2 == 1 {
            states[place].outcome.as_mut().unwrap().alias_of = Some(crate::plan::TrialId::parse(&ids[place - 2]).unwrap());
        }
    }
    let night = night(&plan, &states);
    let pair = night.pair(2, 3);
    assert!(pair.by_bytes && pair.forbids.is_empty(), "{:?}", pair.forbids);
    assert!(pair.in_best_set.is_some() && pair.text().contains("night#2  vocab"), "{}", pair.text());
    assert_eq!(pair.difference, night.pair(1, 3).difference);
    assert!(night.pair(1, 2).text().contains("A and B have the very same results"), "{}", night.pair(1, 2).text());
}

#[test]
fn two_that_share_one_seed_are_judged_as_the_report_judges_them() {
    let lengths: Vec<usize> = (1..=8).map(|n| 32 * n).collect();
    let plan = plan(&lengths, &[ClipNorm::Off], &[1, 2]);
    let mut stream = crate::random::Stream::new(1, "one seed shared", &[]);
    let losses = (0..16).map(|trial| 1.5 + 0.1 * f64::from(trial / 2) + 0.01 * stream.normal());
    let mut states: Vec<TrialState> = losses.map(|loss| completed(loss, None)).collect();
    states[15] = waiting();
    let night = night(&plan, &states);
    let pair = night.pair(1, 8);
    let report = crate::report::Report::read(&night.folder).unwrap();
    let judged = report.statistics.as_ref().unwrap().difference(1, 8).unwrap();
    let error = pair.error.clone().unwrap();
    assert_eq!((pair.difference, error.standard_error, error.degrees), (judged.estimate, judged.variance.sqrt(), judged.degrees));
    assert_eq!((pair.over, pair.finding(), pair.set_agrees()), (Over::All, Finding::First, Some(true)));
    assert!(pair.text().contains("A is better than B at this budget"), "{}", pair.text());
}

#[test]
fn limits_that_exclude_no_difference_are_shown_so() {
    let (plan, mut states) = three_seeds();
    for (state, loss) in states.iter_mut().zip([2.0, 2.1, 2.2, 1.999_98, 2.099_97, 2.199_96]) {
        *state = completed(loss, None);
    }
    let night = night(&plan, &states);
    let text = night.pair(1, 2).text();
    assert!(text.contains("95 % limits: 1.00001 to 1.0001 times (t with 2 degrees of freedom"), "{text}");
    assert!(text.contains("B is better than A"), "{text}");
    let text = night.pair(2, 1).text();
    assert!(text.contains("95 % limits: 0.9999 to 0.99999 times ("), "{text}");
}

#[test]
fn where_least_squares_makes_up_for_a_seed_the_seeds_are_not_called_those_that_both_have() {
    let plan = plan(&[32, 64], &[ClipNorm::Off, ClipNorm::At(0.5)], &[1, 2, 3]);
    let losses = [2.0, 2.1, 2.5, 1.9, 2.01, 0.0, 2.2, 2.31, 2.7, 2.25, 2.34, 2.76];
    let mut states = losses.map(|loss| completed(loss, None));
    states[5] = waiting();
    let night = night(&plan, &states);
    let pair = night.pair(1, 2);
    assert_eq!((pair.over, pair.seeds.as_slice()), (Over::All, [1, 2].as_slice()));
    assert!(pair.text().contains("(over all seeds, by least squares; common context, final weights)"), "{}", pair.text());
    assert_eq!(pair.json()["over"], "all");
    let pair = night.pair(1, 3);
    assert_eq!(pair.over, Over::Shared);
    assert!(pair.text().contains("over the seeds 1, 2 and 3 that both have"), "{}", pair.text());
}

#[test]
fn it_says_better_without_a_condition_only_where_the_set_agrees() {
    // Ten configurations: the first two differ by what one pair alone would call better and ten do not.
    let lengths: Vec<usize> = (1..=10).map(|n| 32 * n).collect();
    let plan = plan(&lengths, &[ClipNorm::Off], &[1, 2, 3]);
    let mut stream = crate::random::Stream::new(1, "ten", &[]);
    let mut losses = Vec::new();
    for n in 0..10 {
        let scatter = [0.01 * stream.normal(), 0.01 * stream.normal(), 0.01 * stream.normal()];
        let mean = match n {
            0 => 1.5,
            1 => 1.5144,
            _ => 1.9,
        };
        losses.extend(scatter.map(|own| mean + own - scatter.iter().sum::<f64>() / 3.0));
    }
    let states: Vec<TrialState> = losses.iter().map(|&loss| completed(loss, None)).collect();
    let night = night(&plan, &states);
    let pair = night.pair(1, 2);
    assert_eq!((pair.finding(), pair.in_best_set, pair.set_agrees()), (Finding::First, Some((true, true)), Some(false)));
    let said = pair.text();
    assert!(
        said.contains("Looked at as one pair A would be better than B") && said.contains("of the 10 configurations"),
        "{said}"
    );
    assert!(!said.contains("A is better than B"), "{said}");
    assert_eq!(pair.json()["better"], serde_json::Value::Null);
    let pair = night.pair(1, 9);
    assert!(pair.text().contains("A is better than B at this budget"), "{}", pair.text());
    assert_eq!(pair.json()["better"], "a");
    // The very same difference and error as in the report.
    let report = crate::report::Report::read(&night.folder).unwrap();
    let line = report.statistics.as_ref().unwrap().of(9).unwrap().clone();
    assert_eq!((line.difference, line.standard_error), (-pair.difference, Some(pair.error.unwrap().standard_error)));
}

#[test]
fn the_word_better_is_refused_where_something_else_differs() {
    let (plan, mut states) = three_seeds();
    for (state, loss) in states.iter_mut().zip([2.0, 2.1, 2.2, 1.9, 2.001, 2.099]) {
        *state = completed(loss, None);
    }
    for state in &mut states[..3] {
        state.outcome.as_mut().unwrap().program = "votive 0.0.9".to_owned();
    }
    let pair = night(&plan, &states).pair(1, 2);
    assert_eq!(pair.finding(), Finding::Refused);
    let text = pair.text();
    assert!(
        text.contains("Neither is called better: they were trained by different programs, and that alone may make the"),
        "{text}"
    );
    assert!(!text.contains("is better than"), "{text}");
    assert_eq!(pair.json()["uncontrolled"][0]["a"], "votive 0.0.9");
}

#[test]
fn two_builds_of_one_arithmetic_compare_and_two_kinds_of_processor_do_not() {
    let (plan, mut states) = three_seeds();
    for (trial, (state, loss)) in states.iter_mut().zip([2.0, 2.1, 2.2, 1.9, 2.001, 2.099]).enumerate() {
        *state = completed(loss, None);
        let outcome = state.outcome.as_mut().unwrap();
        (outcome.arithmetic, outcome.processor) = (Some(4), Some("AMD EPYC 9R14 (AVX2)".to_owned()));
        if trial < 3 {
            outcome.program = "votive 0.0.9".to_owned();
        }
    }
    let pair = night(&plan, &states).pair(1, 2);
    assert!(pair.text().contains("B is better than A"), "{}", pair.text());
    let refused = |change: &dyn Fn(&mut crate::runs::Outcome)| {
        let mut states = states.clone();
        states[3..].iter_mut().for_each(|state| change(state.outcome.as_mut().unwrap()));
        let pair = night(&plan, &states).pair(1, 2);
        assert_eq!(pair.finding(), Finding::Refused);
        pair.text()
    };
    let text = refused(&|outcome| outcome.processor = Some("aarch64 (NEON)".to_owned()));
    assert!(text.contains("not controlled\n  processor  AMD EPYC 9R14 (AVX2)  aarch64 (NEON)\n"), "{text}");
    assert!(
        text.contains("Neither is called better: they were trained on different kinds of processor or GPU, and that"),
        "{text}"
    );
    let text = refused(&|outcome| outcome.arithmetic = Some(5));
    assert!(text.contains("not controlled\n  arithmetic  version 4  version 5\n"), "{text}");
    assert!(text.contains("they were trained by different versions of the arithmetic"), "{text}");
}

#[test]
fn experiments_on_other_text_are_told_apart_by_content_and_not_by_path() {
    let (plan, states) = three_seeds();
    let (one, mut elsewhere) = (night(&plan, &states), plan.clone());
    for trial in &mut elsewhere.trials {
        trial.settings.corpus.text = vec!["elsewhere.txt".to_owned()];
    }
    let other = night(&elsewhere, &states);
    let pair = Pair::read(&one.named(1), &other.named(2)).unwrap();
    assert_eq!(pair.forbids.iter().map(|f| f.what).collect::<Vec<_>>(), ["text"]);
    for (night, trial) in [(&one, 0), (&other, 3)] {
        let folder = night.folder.trial(&plan.trials[trial].id);
        std::fs::create_dir_all(folder.path()).unwrap();
        let json = serde_json::json!({ "corpus": { "text_hash": "same", "tokenizer_hash": "same" } });
        durable::write_json(&folder.job(), &json).unwrap();
    }
    assert!(Pair::read(&one.named(1), &other.named(2)).unwrap().forbids.is_empty());
}

#[test]
fn what_does_not_exist_is_said_with_what_does() {
    let (plan, states) = three_seeds();
    let night = night(&plan, &states);
    let error = Pair::read(&night.named(1), &night.named(9)).unwrap_err();
    assert!(error.to_string().starts_with("there is no configuration 9 in "), "{error}");
    assert_eq!(error.help_text(), Some("take a number from 1 to 2"));
    let best = Named { folder: night.folder.clone(), which: Which::Best };
    assert_eq!(Pair::read(&best, &night.named(1)).unwrap().first.configuration, 2);
}

#[test]
fn the_best_one_is_that_of_the_report_also_where_a_seed_of_the_first_diverged() {
    let (plan, mut states) = three_seeds();
    states[5] = crate::record::tests::ended(crate::runs::Status::Diverged, "the loss is not finite at step 7", &[]);
    let night = night(&plan, &states);
    let best = Named { folder: night.folder.clone(), which: Which::Best };
    assert_eq!(Pair::read(&best, &night.named(2)).unwrap().first.configuration, 1);
}

#[test]
fn a_comparison_in_words() {
    let mut plan = plan(&[32, 64], &[ClipNorm::Off], &[1, 2, 3]);
    for trial in &mut plan.trials {
        let long = trial.settings.train.sequence_length == 64;
        (trial.facts.steps, trial.facts.tokens_per_step) = if long { (195, 1024) } else { (391, 512) };
        (trial.facts.target_tokens, trial.facts.parameters) = (199_680, 804_096);
    }
    let losses = [2.0, 2.1, 2.2, 1.9, 1.99, 2.1];
    let states = losses.map(|loss| completed(loss, None));
    insta::assert_snapshot!(night(&plan, &states).pair(1, 2).text());
}
