//! The columns of a trial's scores.

use super::cell::{NamedCell, float, int};
use super::planned::Planned;
use crate::rows::{CheckpointKind, EvaluationRow, Protocol};
use crate::rows::{PROTOCOL, ScoredPart};
use crate::runs::Outcome;

/// What a trial was scored with; each is `None` where it was not.
#[derive(Default)]
struct Scores<'a> {
    common: Option<&'a EvaluationRow>,
    native: Option<&'a EvaluationRow>,
    best: Option<&'a EvaluationRow>,
    best_native: Option<&'a EvaluationRow>,
    test: Option<&'a EvaluationRow>,
    best_test: Option<&'a EvaluationRow>,
}

impl<'a> Scores<'a> {
    fn of(planned: Planned, outcome: &'a Outcome) -> Self {
        let score = |protocol, kind| outcome.score(ScoredPart::Validation, protocol, kind);
        let common = score(Protocol::Common, CheckpointKind::Final);
        // Where the common context is the trial's own it is scored once.
        let same = planned.sequence_length == planned.common_context;
        let native = score(Protocol::Native, CheckpointKind::Final).or_else(|| common.filter(|_| same));
        let best = score(Protocol::Common, CheckpointKind::Best);
        let best_native = score(Protocol::Native, CheckpointKind::Best).or_else(|| best.filter(|_| same));
        let test_score = |kind| outcome.score(ScoredPart::Test, Protocol::Common, kind);
        let (test, best_test) = (test_score(CheckpointKind::Final), test_score(CheckpointKind::Best));
        // Where the final weights are the best ones they are scored once.
        let (best, best_native, best_test) = if best.is_none() { (common, native, test) } else { (best, best_native, best_test) };
        Self { common, native, best, best_native, test, best_test }
    }
}

/// The figures of each score, then what they were found from. What was scored on other tokens than planned, or by another version of the
/// protocol, is to be scored again and has no figure.
pub(super) fn score_cells(planned: Planned, outcome: Option<&Outcome>) -> Vec<NamedCell> {
    let scored = outcome.filter(|outcome| is_comparable(planned, outcome));
    let scores = scored.map(|outcome| Scores::of(planned, outcome)).unwrap_or_default();
    let Scores { common, native, best, best_native, test, best_test } = scores;
    let named = [
        ("common", common),
        ("native", native),
        ("best_common", best),
        ("best_native", best_native),
        ("test", test),
        ("best_test", best_test),
    ];
    let mut cells: Vec<NamedCell> = named.into_iter().flat_map(|(name, row)| figures(name, row)).collect();
    let words = planned.validation_words as f64;
    let word_perplexity = common.filter(|_| words > 0.0).and_then(|row| Some((row.nll_sum? / words).exp()));
    cells.extend([
        float("word_perplexity", word_perplexity),
        int("best_step", best.map(|row| row.step)),
        int("scored_tokens", common.map(|row| row.scored_tokens)),
        int("scored_bytes", common.map(|row| row.scored_bytes)),
        int("common_context", common.map(|row| row.context)),
        int("common_stride", common.map(|row| row.stride)),
        int("native_context", native.map(|row| row.context)),
        int("native_stride", native.map(|row| row.stride)),
    ]);
    cells
}

fn figures(name: &str, row: Option<&EvaluationRow>) -> [NamedCell; 3] {
    [
        float(&format!("{name}_loss"), row.and_then(EvaluationRow::loss)),
        float(&format!("{name}_perplexity"), row.and_then(EvaluationRow::perplexity)),
        float(&format!("{name}_bits_per_byte"), row.and_then(EvaluationRow::bits_per_byte)),
    ]
}

/// Whether a trial was scored on the tokens that the plan scores, and by this version of the protocol.
fn is_comparable(planned: Planned, outcome: &Outcome) -> bool {
    let same = |part, tokens: u64| {
        let row = outcome.score(part, Protocol::Common, CheckpointKind::Final);
        tokens == 0 || row.is_none_or(|row| row.scored_tokens as u64 + 1 == tokens)
    };
    let planned = [(ScoredPart::Validation, planned.validation_tokens), (ScoredPart::Test, planned.test_tokens)];
    outcome.protocol == PROTOCOL && planned.into_iter().all(|(part, tokens)| same(part, tokens))
}
