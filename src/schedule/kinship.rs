//! Trials that differ in nothing but their clip norm: once one of them is trained, others may turn out to be the same. And twins:
//! trials that are the same under other names, as where two sizes of a vocabulary come to the same tokenizer.
//!
//! Where a clip norm never bound, every relative whose clip norm would not have bound either is the same to the bit, and is
//! recorded instead of trained ([`verdict`]). So one of a kin is started first (`off`, else the largest norm, by the order of all
//! trials; one that was begun before goes on), and its relatives wait for it, as long as there is something else to start
//! ([`first`]). A slot never stays empty for it. Of twins one is trained, whether its clip norm binds or not, and the others wait.

use std::collections::HashSet;

use super::Candidate;
use super::candidate::{Begun, Rank, Total};
use crate::runs::{End, Outcome};

/// A trial that may start now: its number in the queue, what is known of it, and what has become of it.
pub(super) type Ready<'a> = (usize, &'a Candidate, Begun);

/// Which of these, which come in the order of starts, is started first. `at_work` are the kin of which a trial runs, or will run
/// again after a pause (not one that failed): it may show that its relatives need not be trained, so they are started only where
/// there is nothing else, and then the one that is least likely to be the same comes first. Its twins are not started at all.
pub(super) fn first<'a>(ready: impl Iterator<Item = Ready<'a>>, at_work: &HashSet<usize>) -> Option<usize> {
    let mut waiting = Vec::new();
    for one @ (number, candidate, _) in ready {
        if candidate.twins.is_some_and(|number| at_work.contains(&number)) {
            continue;
        }
        if !relations(candidate).any(|number| at_work.contains(&number)) {
            return Some(number);
        }
        waiting.push(one);
    }
    waiting.into_iter().min_by_key(last_resort).map(|(number, _, _)| number)
}

/// As the order of all trials, but with the smallest clip norms first: those are the ones most likely to bind.
fn last_resort(&(number, candidate, begun): &Ready<'_>) -> (usize, Begun, Total, Rank) {
    (candidate.round, begun, Total(candidate.limit()), Rank::of(candidate, begun, number))
}

/// The numbers of its kin and of its twins.
pub(super) fn relations(candidate: &Candidate) -> impl Iterator<Item = usize> {
    candidate.kin.into_iter().chain(candidate.twins)
}

/// Whether both may turn out to be the same.
pub(super) fn are_related(a: &Candidate, b: &Candidate) -> bool {
    (a.kin.is_some() && a.kin == b.kin) || are_twins(a, b)
}

fn are_twins(a: &Candidate, b: &Candidate) -> bool {
    a.twins.is_some() && a.twins == b.twins
}

/// What the end of one trial says of a relative that has not been started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is the same to the bit.
    Same,
    /// Its own clip norm will bind: it is the same as none but its twins, and has no others to wait for.
    Different,
    /// Nothing: another relative may tell.
    Open,
}

/// What the end of a trial with the clip norm of `trained` says of `relative`.
///
/// A trial that diverged counts like a complete one: the same gradients diverge at the same step. Where a step was clipped, it
/// would have been with each smaller clip norm too, since up to the first such step all of them are equal.
pub(super) fn verdict(outcome: &Outcome, trained: &Candidate, relative: &Candidate) -> Verdict {
    let ended = matches!(outcome.end, End::Completed | End::Diverged);
    if ended && are_twins(trained, relative) {
        return Verdict::Same;
    }
    match outcome.clipping.filter(|_| ended) {
        None => Verdict::Open,
        Some(clipping) if clipping.never_binds(relative.clip_norm) => Verdict::Same,
        Some(clipping) if clipping.never_binds(trained.clip_norm) => Verdict::Different,
        Some(_) if relative.limit() <= trained.limit() => Verdict::Different,
        Some(_) => Verdict::Open,
    }
}

#[cfg(test)]
#[path = "kinship_tests.rs"]
mod tests;
