//! A plan as a whole, in words.

use super::words::{counted, thousands};
use crate::plan::{self, Plan};

/// The plan's one line of arithmetic.
pub(crate) fn arithmetic(plan: &Plan) -> String {
    let excluded: u64 = plan.excluded.iter().map(|e| e.count).sum();
    let mut text = counted(plan.combinations, "combination");
    if excluded > 0 {
        text += &format!(" − {} excluded", thousands(excluded));
    }
    if plan.merged > 0 {
        text += &format!(" − {} equal to another", thousands(plan.merged));
    }
    let (configurations, seeds) = (plan.configurations as u64, plan.seeds.len() as u64);
    let trials = counted(configurations * seeds, "trial");
    format!("{text} = {} × {} = {trials}", counted(configurations, "configuration"), counted(seeds, "seed"))
}

/// What was excluded and why, a line a rule.
pub(crate) fn exclusions(plan: &Plan) -> Vec<String> {
    let rules = plan.excluded.iter().filter(|e| e.count > 0);
    rules
        .map(|e| match &e.why {
            Some(why) => format!("excluded {}: {why} (`{}`)", thousands(e.count), e.when),
            None => format!("excluded {} where `{}`", thousands(e.count), e.when),
        })
        .collect()
}

/// What `--only` leaves.
pub(crate) fn only(left: usize, of: usize) -> String {
    format!("  `--only` leaves {left} of {of} trials")
}

/// Short names of the swept keys, for the heads of columns.
pub(crate) fn heads(plan: &Plan) -> Vec<String> {
    plan.swept.iter().map(|key| plan::label_name(key)).collect()
}
