//! Several experiments where seeds are missing or diverged.

use super::*;
use crate::experiment::settings::{ClipNorm, Tokenizer};
use crate::plan::Plan;
use crate::record::TrialState;
use crate::record::tests::{completed, ended, plan, waiting};
use crate::report::tests::{Night, night};
use crate::runs::Status;

/// Two lengths with three seeds each, the third one hard; the second length would be worse by 0.05 and lacks it.
fn hard_seed() -> (Plan, Vec<TrialState>) {
    let plan = plan(&[32, 64], &[ClipNorm::Off], &[1, 2, 3]);
    let mut states = [2.0, 2.1, 2.6, 2.05, 2.15, 0.0].map(|loss| completed(loss, None));
    states[5] = waiting();
    (plan, states.to_vec())
}

/// One length with these losses, a seed each from 1 on.
fn other(losses: &[f64]) -> Night {
    let seeds: Vec<u64> = (1..=losses.len() as u64).collect();
    let states: Vec<TrialState> = losses.iter().map(|&loss| completed(loss, None)).collect();
    night(&plan(&[32], &[ClipNorm::Off], &seeds), &states, r#"{"name": "other"}"#)
}

fn read(nights: &[&Night]) -> Several {
    Several::read(&nights.iter().map(|night| night.folder.clone()).collect::<Vec<_>>()).unwrap()
}

/// The lines of the first table, as `night#2`.
fn order(several: &Several) -> Vec<String> {
    let lines = several.groups[0].lines.iter();
    lines.map(|line| format!("{}#{}", line.experiment, line.configuration.number)).collect()
}

#[test]
fn where_a_seed_is_missing_the_order_is_that_of_the_report_of_each_experiment() {
    let (plan, states) = hard_seed();
    let one = night(&plan, &states, r#"{"name": "one"}"#);
    let several = read(&[&one, &other(&[2.3, 2.4, 2.9])]);
    assert_eq!(order(&several), ["one#1", "one#2", "other#1"], "the mean over the easy seeds alone would be first");
    assert_eq!(several.groups[0].best, 0);
    let table = several.table(Look { width: Some(160), colour: false });
    // exp(2.2333) and exp(2.2833), as the report of the experiment shows them.
    assert!(table.contains(" 9.331 ± ") && table.contains(" 9.809 ± "), "{table}");
    assert!(table.contains("2 completed, 1 waiting") && table.lines().next().unwrap().contains("status"), "{table}");
    assert!(table.contains("what a configuration would give over all seeds of its experiment, by least squares"), "{table}");
    assert!(!table.contains("results of different seeds"), "{table}");
    let line = &several.summary()["groups"][0]["lines"][1];
    assert!((line["adjusted_loss"].as_f64().unwrap() - (2.1 + 0.55 / 3.0)).abs() < 1e-9, "{line}");
    assert!((line["loss"].as_f64().unwrap() - 2.1).abs() < 1e-12 && line["status"]["waiting"] == 1, "{line}");
    let csv = files::leaderboard(&several).unwrap();
    assert!(csv.lines().next().unwrap().ends_with(",parameters,adjusted_loss,status"), "{csv}");
}

#[test]
fn what_is_adjusted_in_bits_per_byte_is_shown_in_perplexity() {
    let (mut plan, mut states) = hard_seed();
    let mut bpe = plan.trials[0].clone();
    (bpe.configuration, bpe.id) = (3, crate::plan::TrialId::of("bpe"));
    bpe.settings.tokenizer = Tokenizer::Bpe { vocab_size: 512 };
    for trial in &mut plan.trials {
        trial.settings.tokenizer = Tokenizer::Byte;
    }
    plan.trials.push(bpe);
    states.push(completed(2.0, None));
    for score in states.iter_mut().filter_map(|state| state.outcome.as_mut()).flat_map(|outcome| &mut outcome.scores) {
        score.scored_bytes = 2 * score.scored_tokens;
    }
    let one = night(&plan, &states, r#"{"name": "one"}"#);
    assert!(one.report().comparison.by_bytes);
    let several = read(&[&one]);
    assert_eq!(order(&several), ["one#1", "one#2"]);
    let figure = several.groups[0].lines[1].figure().unwrap().mean;
    assert!((figure.ln() - (2.1 + 0.55 / 3.0)).abs() < 1e-9, "{figure}");
}

#[test]
fn one_with_a_diverged_seed_is_not_named_before_one_that_finished_all() {
    let (plan, mut states) = hard_seed();
    states[5] = completed(2.65, None);
    states[2] = ended(Status::Diverged, "x", &[]);
    let one = night(&plan, &states, r#"{"name": "one"}"#);
    let several = read(&[&one, &other(&[2.3, 2.4, 2.9])]);
    assert_eq!((order(&several), several.groups[0].best), (["one#1", "one#2", "other#1"].map(str::to_owned).to_vec(), 1));
    let said = sentences::verdict(&several.groups[0]).join(" ");
    assert!(
        said.starts_with(
            "Lowest of those that finished all their seeds, of 3 configurations of 2 experiments: one#2. Perplexity 9.809 ± "
        ),
        "{said}"
    );
    assert!(said.contains(" one#1 has a lower one, 9.331, but 1 of its 3 seeds diverged."), "{said}");
    assert!(said.contains("Whether one#2 is better is for `votive compare one#2 other#1` to say."), "{said}");
    let page = files::html(&several).unwrap();
    assert_eq!(page.matches("<tr class=\"best\"><td class=\"number\">2</td>").count(), 1, "{page}");

    states[5] = ended(Status::Diverged, "x", &[]);
    let several = read(&[&night(&plan, &states, r#"{"name": "one"}"#)]);
    let said = sentences::verdict(&several.groups[0]).join(" ");
    assert!(said.starts_with("Lowest of 2 configurations of one experiment: one#1. "), "{said}");
    assert!(said.contains(" But 1 of its 3 seeds diverged, and no other configuration finished all its seeds."), "{said}");
}

#[test]
fn experiments_with_other_seeds_are_said_to_have_them() {
    let several = read(&[&other(&[2.0, 2.1, 2.6]), &other(&[2.05, 2.15])]);
    let said = sentences::verdict(&several.groups[0]).join(" ");
    assert!(said.contains("The experiments have results of different seeds, which these figures do not allow for."), "{said}");
    assert_eq!(several.groups[0].lines.iter().map(|line| line.adjusted_loss).collect::<Vec<_>>(), [None, None]);
}

#[test]
fn the_page_of_several_is_read_by_keyboard_and_by_ear() {
    let (plan, states) = hard_seed();
    let one = night(&plan, &states, r#"{"name": "one"}"#);
    let page = files::html(&read(&[&one, &other(&[2.3, 2.4, 2.9])])).unwrap();
    assert!(page.contains("<th scope=\"col\" class=\"number\">seeds</th>"), "{page}");
    assert!(page.contains("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Leaderboard\">"), "{page}");
}
