//! The verdicts of hand-made experiments, to be read aloud: each sentence has to be true.

use super::comparison::tests::tested;
use super::tests::night;
use crate::experiment::settings::ClipNorm;
use crate::plan::Plan;
use crate::random::Stream;
use crate::record::TrialState;
use crate::record::tests::{completed, ended, plan, waiting};
use crate::report::wording;
use crate::runs::Status;
use crate::terminal::Look;

const JSON: &str = r#"{"common_context": 32}"#;
const OFF: ClipNorm = ClipNorm::Off;

/// Results around these means, which scatter by so much; what a seed does to all alike is 0.05. In the order of the plan: a
/// configuration after the other, its seeds in order.
fn scattered(means: &[f64], seeds: usize, deviation: f64) -> Vec<TrialState> {
    let mut stream = Stream::new(16, "verdicts", &[means.len() as u64, seeds as u64]);
    let blocks: Vec<f64> = (0..seeds).map(|_| 0.05 * stream.normal()).collect();
    let mut one = |mean: f64, block: f64| {
        let loss = mean + block + deviation * stream.normal();
        completed(loss, Some(loss))
    };
    means.iter().flat_map(|mean| blocks.iter().map(|block| one(*mean, *block)).collect::<Vec<_>>()).collect()
}

/// What a person reads at the end of a night: the verdict, a sentence a line, and the notes under the table.
fn read(plan: &Plan, states: &[TrialState], json: &str) -> String {
    let report = night(plan, states, json).report();
    let notes: Vec<String> = super::verdict::notes(&report).iter().map(|note| format!("- {note}")).collect();
    let table = report.table(Look { width: Some(140), colour: false });
    let rows: Vec<&str> =
        table.lines().take_while(|line| !line.starts_with("Perplexity is")).take(16).map(str::trim_end).collect();
    format!("{}\n\n{}\n\n{}", super::verdict::sentences(&report).join("\n"), rows.join("\n"), notes.join("\n"))
}

#[test]
fn a_clear_winner() {
    let plan = plan(&[32, 64, 128], &[OFF, ClipNorm::At(0.5)], &[1, 2, 3]);
    insta::assert_snapshot!(read(&plan, &scattered(&[2.0, 2.02, 1.9, 1.93, 1.5, 1.6], 3, 0.005), JSON));
}

#[test]
fn a_tie() {
    let plan = plan(&[32, 64, 128, 256], &[OFF], &[1, 2, 3]);
    insta::assert_snapshot!(read(&plan, &scattered(&[1.5, 1.5, 1.501, 1.502], 3, 0.02), JSON));
}

#[test]
fn one_seed() {
    let plan = plan(&[32, 64, 128], &[OFF], &[1]);
    insta::assert_snapshot!(read(&plan, &scattered(&[1.6, 1.5, 1.4], 1, 0.02), JSON));
}

#[test]
fn two_seeds() {
    let plan = plan(&[32, 64, 128], &[OFF], &[1, 2]);
    insta::assert_snapshot!(read(&plan, &scattered(&[1.6, 1.5, 1.49], 2, 0.02), JSON));
}

#[test]
fn a_diverged_survivor() {
    let plan = plan(&[32, 64, 128], &[OFF], &[1, 2, 3]);
    let mut states = scattered(&[1.6, 1.5, 1.2], 3, 0.01);
    for state in &mut states[6..8] {
        *state = ended(Status::Diverged, "the loss is not finite at step 7", &[]);
    }
    insta::assert_snapshot!(read(&plan, &states, JSON));
}

/// Two seeds each: one of the lowest configuration diverged, and `second` is the second seed of the next one.
fn diverged_leader(second: TrialState) -> super::Report {
    let plan = plan(&[32, 64, 128], &[OFF], &[1, 2]);
    let diverged = ended(Status::Diverged, "the loss is not finite at step 7", &[]);
    let states = [tested(1.0, 1.1), diverged, tested(1.5, 1.75), second, tested(2.0, 2.2), tested(2.01, 2.21)];
    night(&plan, &states, JSON).report()
}

#[test]
fn the_test_figure_beside_a_diverged_leader_is_that_of_the_one_named_best() {
    let verdict = diverged_leader(tested(1.52, 1.75)).verdict();
    assert!(verdict.starts_with("Best of those that finished all their seeds: length 64"), "{verdict}");
    let test = wording::perplexity(1.75f64.exp());
    assert!(verdict.contains(&format!("perplexity {test} ± 0.000 over 2 seeds, of length 64 · clip off.")), "{verdict}");
    assert!(!verdict.contains(&wording::perplexity(1.1f64.exp())), "that of the diverged one: {verdict}");
}

#[test]
fn a_configuration_with_a_seed_that_waits_has_not_finished_all_its_seeds() {
    let report = diverged_leader(waiting());
    let verdict = report.verdict();
    assert!(verdict.starts_with("Best of those that finished all their seeds: length 128"), "{verdict}");
    assert_eq!(report.winner().unwrap().configuration, 3);
}

#[test]
fn two_builds() {
    let plan = plan(&[32, 64, 128], &[OFF], &[1, 2, 3]);
    let mut states = scattered(&[1.9, 1.7, 1.2], 3, 0.01);
    for (trial, state) in states.iter_mut().enumerate() {
        state.outcome.as_mut().unwrap().arithmetic = Some(if trial < 3 { 3 } else { 4 });
    }
    insta::assert_snapshot!(read(&plan, &states, JSON));
}

#[test]
fn twins() {
    let plan = plan(&[32, 64], &[OFF, ClipNorm::At(9.0)], &[1, 2, 3]);
    let mut states = scattered(&[1.9, 1.9, 1.5, 1.5], 3, 0.01);
    for trial in [3, 4, 5, 9, 10, 11] {
        states[trial] = states[trial - 3].clone();
    }
    insta::assert_snapshot!(read(&plan, &states, JSON));
}

#[test]
fn tuned() {
    let plan = plan(&[32, 64, 128], &[ClipNorm::At(0.25), ClipNorm::At(0.5), ClipNorm::At(1.0)], &[1, 2, 3]);
    let means = [1.9, 1.8, 1.85, 1.7, 1.65, 1.66, 1.64, 1.7, 1.8];
    insta::assert_snapshot!(read(&plan, &scattered(&means, 3, 0.01), r#"{"common_context": 32, "tune": ["train.clip_norm"]}"#));
}

/// Results with these losses, those of a configuration in a row.
fn of<const SEEDS: usize>(losses: &[[f64; SEEDS]]) -> Vec<TrialState> {
    losses.iter().flatten().map(|&loss| completed(loss, Some(loss))).collect()
}

/// The best one scatters too much to beat any other; the value beside it, which was not chosen, does.
#[test]
fn others_that_only_another_value_of_the_best_combination_beats_are_not_beaten_by_it() {
    let noisy = [1.2, 1.8, 1.45, 1.6, 1.45];
    let steady = |mean: f64, turned: usize| {
        let mut own = [0.0, 0.001, -0.001, 0.0005, -0.0005].map(|own| mean + own);
        own.rotate_left(turned);
        own
    };
    let verdict = |lengths: &[usize], losses: &[[f64; 5]]| {
        let plan = plan(lengths, &[ClipNorm::At(0.25), ClipNorm::At(0.5)], &[1, 2, 3, 4, 5]);
        let report = night(&plan, &of(losses), r#"{"common_context": 32, "tune": ["train.clip_norm"]}"#).report();
        let statistics = report.statistics.as_ref().unwrap();
        assert_eq!((statistics.best_set().unwrap(), statistics.sole_winner), (vec![1], None));
        report.verdict()
    };
    let said =
        verdict(&[32, 64, 128], &[noisy, steady(1.505, 0), steady(1.52, 1), steady(1.53, 2), steady(1.6, 3), steady(1.61, 4)]);
    assert!(said.contains("Each of the others is out, but not all by it: next is length 64 · clip 0.25, +2.0 % ("), "{said}");
    let said = verdict(&[32, 64], &[noisy, steady(1.505, 0), steady(1.52, 1), steady(1.53, 2)]);
    assert!(said.contains("The other one is out, but not by it: length 64 · clip 0.25, +2.0 % ("), "{said}");
    assert!(!said.contains("better than"), "{said}");
}

#[test]
fn missing_seeds() {
    let plan = plan(&[32, 64, 128], &[OFF], &[1, 2, 3]);
    let mut states = scattered(&[1.6, 1.5, 1.52], 3, 0.01);
    // Seed 1 is hard for all, and the last one was not trained with it.
    for trial in [0, 3] {
        let loss = states[trial].outcome.as_ref().unwrap().scores[0].nll_sum.unwrap() / 1000.0;
        states[trial] = completed(loss + 0.3, Some(loss + 0.3));
    }
    states[6] = ended(Status::Failed, "killed", &[]);
    insta::assert_snapshot!(read(&plan, &states, JSON));
}

#[test]
fn sixty_configurations() {
    let lengths: Vec<usize> = (1..=10).map(|n| 32 * n).collect();
    let clips: Vec<ClipNorm> = [0.1, 0.25, 0.5, 1.0, 2.0].map(ClipNorm::At).into_iter().chain([OFF]).collect();
    let plan = plan(&lengths, &clips, &[1, 2, 3]);
    let means: Vec<f64> = (0..60).map(|n| 1.5 + 0.02 * f64::from(n / 6) + 0.003 * f64::from(n % 6)).collect();
    insta::assert_snapshot!(read(&plan, &scattered(&means, 3, 0.01), JSON));
}

/// Spreads that differ thirtyfold, as in any sweep of learning rates: what loses clearly by its own seeds is out, however much others
/// scatter, and what others scatter decides on them.
#[test]
fn what_loses_by_its_own_seeds_is_out_however_much_others_scatter() {
    let plan = plan(&[32, 64, 128, 256, 512], &[OFF], &[1, 2, 3, 4]);
    let own = [
        [0.0, 0.01, -0.01, 0.0],
        [0.12, 0.13, 0.12, 0.13],
        [0.4, -0.3, 0.3, -0.1],
        [0.11, 0.11, 0.12, 0.12],
        [0.6, -0.2, 0.5, 0.1],
    ];
    let blocks = [0.0, 0.02, -0.01, 0.03];
    let losses = own.iter().flat_map(|own| own.iter().zip(blocks).map(|(own, block)| completed(1.5 + own + block, None)));
    let report = night(&plan, &losses.collect::<Vec<_>>(), JSON).report();
    let set = report.statistics.as_ref().unwrap().best_set().unwrap();
    assert!(set.contains(&1) && set.contains(&3), "{set:?}");
    assert!(!set.contains(&2) && !set.contains(&4), "{set:?}");
}

/// With one of ten tried values against nine of the other combination, all alike, the single one is not out more often for that.
#[test]
fn a_combination_with_fewer_tried_values_is_not_out_for_that() {
    let clips: Vec<ClipNorm> = (1..=9).map(|n| ClipNorm::At(f64::from(n))).collect();
    let plan = plan(&[32, 64], &clips, &[1, 2, 3]);
    let mut out = 0;
    for number in 0..12 {
        let mut stream = Stream::new(number, "unequal numbers of tried values", &[]);
        let states: Vec<TrialState> = (0..54)
            .map(|trial| match trial / 3 {
                1..=8 => ended(Status::Diverged, "the loss is not finite at step 7", &[]),
                _ => completed(1.5 + 0.01 * stream.normal(), None),
            })
            .collect();
        let report = night(&plan, &states, r#"{"common_context": 32, "tune": ["train.clip_norm"]}"#).report();
        let statistics = report.statistics.as_ref().unwrap();
        out += usize::from(!statistics.best_set().unwrap().contains(&1));
    }
    assert!(out <= 3, "{out} of 12");
}

/// A reach of a thousand per cent is nobody's: it is said what it means.
#[test]
fn a_reach_beyond_twice_the_perplexity_is_told_in_words() {
    let plan = plan(&[32, 64, 128], &[OFF], &[1, 2]);
    let verdict = night(&plan, &scattered(&[1.6, 1.5, 1.4], 2, 0.5), JSON).report().verdict();
    assert!(verdict.contains("With 2 seeds each not even half the perplexity would be found four times in five"), "{verdict}");
    assert!(!verdict.contains("can detect") && !verdict.contains("large leads"), "{verdict}");
}
