//! `summary.json`: everything that the report says, for programs; and for the commands that ask it for the best configuration.
//!
//! `version` (2: the statistics of 1 were others; keys are only ever added) · `name`, `description` · `verdict` (a list of sentences, the first can stand alone) ·
//! `protocol` {`rank_by`, `rank_at`, `margin` (a share: smaller differences are not worth a choice), `unit` (`perplexity` or `bits_per_byte`), `common_context`, `common_stride`, `scored_tokens`,
//! `scored_bytes`} · `status` {status: number of trials} · `wall_seconds`, `training_seconds` · `swept` (keys) · `best` (number of the best
//! configuration: the first of the ranking, or where a seed of it diverged the first of which all seeds finished; null where nothing is
//! ranked) · `configurations`, in the order of the ranking: {`place` (null where it is not ranked), `configuration`, `values` {key: value as written}, `seeds` (that count), `loss`,
//! `adjusted` (over all seeds, where some are missing), `perplexity`, `perplexity_spread` (null for one seed), `other_perplexity`, `other_perplexity_spread` (by the other context),
//! `bits_per_byte`, `bits_per_byte_spread` (null where tokenizers differ and this one is not known to give every text back), `test_perplexity`, `test_perplexity_spread`, `test_bits_per_byte`, `test_bits_per_byte_spread` (of the
//! test part, at the common context, by the weights that rank), `chosen` (among the values of tuned settings), `at_edge` (tuned keys whose chosen value is
//! the smallest or largest tried), `tokenizer` (its label), `tokenizer_hash`, `validation_hash` (of the held-out text), `vocabulary`, `parameters`, `tokens_per_second`, `training_seconds`,
//! `planned_memory_bytes`, `probed_memory_bytes` (of the host, or of a GPU where one was used), `peak_memory_bytes` (of the host), `peak_device_memory_bytes` (of a GPU), `status` {status: number of
//! trials}, `trials` (ids)} · `tune` (keys) · `statistics` (null where nothing is ranked; all of it in nats per token, or in bits per byte
//! where `by_bytes`): {`margin`, `scatter` {`deviation`, `degrees`, `blocks`, `seeds`, `compared`}, `no_set` (why there is no set of the
//! best), `leader`, `diverged` (whether a seed of it did), `sole_winner`, `fresh` (what fresh
//! seeds would probably give for the leader), `against`, a line for each ranked configuration: {`configuration`, `mean` (over all seeds, by
//! least squares), `seeds`, `difference` (to the leader), `standard_error`, `limits` (of that difference, by which is decided), `relation`
//! (`leader`, `same`, `worth_choosing`, `different`, `practically_same`, `open`), `in_best_set`, `beaten_by`}, `text` {`blocks`,
//! `block_tokens`, `tokens`, `configurations`}, `no_text` (why), `effects`: {`keys`, `over` (`chosen` or `all` values of tuned settings),
//! `levels`: {`value`, `mean`, `limits`, `in_best_set`}, `seeds`, `cells`, `all_cells`, `note`}, `interactions`: {`rows`, `columns`, `over`,
//! `row_values`, `column_values`, `means`, `note`}, `reach` {`lead` (over each of the others), `typical` (over a typical one), `from`, `to`, `seeds`, `configurations`, `seeds_to_separate`}} · `samples`, of the best configurations: {`configuration`, `trial`, `seed`, `prompt`,
//! `text`} · `confounding` {`also_changed` [{`quantity`, `name`, `low`, `high`}], `uncontrolled` [{`what`, `configurations`, `of`,
//! `values`}], `holds`} · `notes` · `damaged` (files) · `programs`, `machines` (host, device, kind of processor,
//! threads). What is not known is null.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::comparison::{Configuration, Figure};
use super::experiment::Report;
use super::{samples, verdict};
use crate::durable;
use crate::error::Result;
use crate::plan::TrialId;
use crate::runs::{ExperimentFolder, Status};

/// Its name in the folder of a report.
pub(super) const FILE: &str = "summary.json";

const VERSION: u32 = 2;

/// `summary.json`. What the commands of this program do not ask it for is only written: a [`Value`], or absent in a file that an
/// earlier version wrote.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SummaryFile {
    version: u32,
    name: String,
    description: Option<String>,
    verdict: Vec<String>,
    protocol: Value,
    status: BTreeMap<Status, usize>,
    wall_seconds: Option<f64>,
    training_seconds: f64,
    swept: Vec<String>,
    tune: Vec<String>,
    statistics: Value,
    /// Number of the best configuration; absent in a file of an earlier version.
    best: Option<i64>,
    configurations: Vec<SummaryLine>,
    samples: Vec<Value>,
    confounding: Value,
    notes: Vec<String>,
    damaged: Vec<String>,
    programs: Value,
    machines: Value,
}

/// What `summary.json` says of a configuration.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SummaryLine {
    place: Option<usize>,
    /// Its number, from 1.
    pub configuration: i64,
    values: Map<String, Value>,
    seeds: usize,
    loss: Option<f64>,
    adjusted: Option<f64>,
    perplexity: Option<f64>,
    perplexity_spread: Option<f64>,
    other_perplexity: Option<f64>,
    other_perplexity_spread: Option<f64>,
    bits_per_byte: Option<f64>,
    bits_per_byte_spread: Option<f64>,
    test_perplexity: Option<f64>,
    test_perplexity_spread: Option<f64>,
    test_bits_per_byte: Option<f64>,
    test_bits_per_byte_spread: Option<f64>,
    chosen: Option<bool>,
    at_edge: Value,
    tokenizer: String,
    tokenizer_hash: Option<String>,
    validation_hash: Option<String>,
    vocabulary: Option<i64>,
    parameters: Option<i64>,
    tokens_per_second: Option<f64>,
    training_seconds: Option<f64>,
    planned_memory_bytes: Option<i64>,
    probed_memory_bytes: Option<i64>,
    peak_memory_bytes: Option<f64>,
    peak_device_memory_bytes: Option<f64>,
    status: BTreeMap<Status, usize>,
    /// The ids of its trials.
    pub trials: Vec<TrialId>,
}

impl SummaryFile {
    /// Reads that of the last report on an experiment; `None` where there was none.
    pub fn read(experiment: &ExperimentFolder) -> Result<Option<Self>> {
        durable::read_json(&experiment.report().join(FILE))
    }

    /// The best configuration, as the report names it; in a file of an earlier version the one that is ranked first.
    pub fn best(&self) -> Option<&SummaryLine> {
        match self.best {
            Some(number) => self.configurations.iter().find(|line| line.configuration == number),
            None => self.configurations.first().filter(|first| first.place == Some(1)),
        }
    }

    pub(super) fn of(report: &Report) -> Self {
        let (comparison, protocol) = (&report.comparison, &report.design);
        Self {
            version: VERSION,
            name: protocol.name.clone(),
            description: protocol.description.clone(),
            verdict: verdict::sentences(report),
            protocol: json!({
                "rank_by": protocol.rank_by(),
                "rank_at": protocol.rank_at(),
                "margin": protocol.margin,
                "unit": if comparison.by_bytes { "bits_per_byte" } else { "perplexity" },
                "common_context": comparison.common_context,
                "common_stride": comparison.common_stride,
                "scored_tokens": comparison.scored_tokens,
                "scored_bytes": comparison.scored_bytes,
            }),
            status: report.status(),
            wall_seconds: report.wall_seconds(),
            training_seconds: comparison.training_seconds,
            swept: protocol.swept.clone(),
            tune: protocol.tune.clone(),
            statistics: json!(report.statistics),
            best: comparison.best().map(|best| best.number),
            configurations: comparison.configurations.iter().map(|c| SummaryLine::of(report, c)).collect(),
            samples: report.samples.iter().map(samples::json).collect(),
            confounding: report.confounding.json(),
            notes: verdict::notes(report),
            damaged: report.damaged.clone(),
            programs: json!(comparison.programs),
            machines: json!(comparison.machines),
        }
    }
}

impl SummaryLine {
    fn of(report: &Report, c: &Configuration) -> Self {
        let mean = |figure: Option<Figure>| figure.map(|figure| figure.mean);
        let spread = |figure: Option<Figure>| figure.and_then(|figure| figure.spread);
        let trials = report.comparison.trials.iter().filter(|trial| trial.configuration == c.number);
        Self {
            place: c.place,
            configuration: c.number,
            values: report.design.swept.iter().cloned().zip(c.values.iter().cloned().map(Value::String)).collect(),
            seeds: c.seeds,
            loss: c.loss,
            adjusted: c.adjusted,
            perplexity: mean(c.perplexity),
            perplexity_spread: spread(c.perplexity),
            other_perplexity: mean(c.other_perplexity),
            other_perplexity_spread: spread(c.other_perplexity),
            bits_per_byte: mean(c.bits_per_byte),
            bits_per_byte_spread: spread(c.bits_per_byte),
            test_perplexity: mean(c.test_perplexity),
            test_perplexity_spread: spread(c.test_perplexity),
            test_bits_per_byte: mean(c.test_bits_per_byte),
            test_bits_per_byte_spread: spread(c.test_bits_per_byte),
            chosen: c.tuned.as_ref().map(|tuned| tuned.chosen),
            at_edge: json!(c.tuned.as_ref().map(|tuned| &tuned.at_edge)),
            tokenizer: c.tokenizer.clone(),
            tokenizer_hash: c.content.tokenizer.clone(),
            validation_hash: c.content.validation.clone(),
            vocabulary: c.vocabulary,
            parameters: c.parameters,
            tokens_per_second: c.tokens_per_second,
            training_seconds: c.training_seconds,
            planned_memory_bytes: c.planned_memory_bytes,
            probed_memory_bytes: c.probed_memory_bytes,
            peak_memory_bytes: c.peak_memory_bytes,
            peak_device_memory_bytes: c.peak_device_memory_bytes,
            status: c.status.clone(),
            trials: trials.filter_map(|trial| TrialId::parse(&trial.id)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::settings::ClipNorm;
    use crate::record::tests::{completed, ended, plan};
    use crate::report::tests::night;

    #[test]
    fn the_best_one_is_that_of_the_report_and_in_an_older_file_the_first() {
        let plan = plan(&[32, 64], &[ClipNorm::Off], &[1, 2]);
        let diverged = ended(Status::Diverged, "the loss is not finite", &[]);
        let report = night(&plan, &[completed(1.0, None), diverged, completed(1.5, None), completed(1.6, None)], "{}").report();
        let best = |summary: &Value| {
            let file: SummaryFile = serde_json::from_value(summary.clone()).unwrap();
            file.best().map(|best| best.configuration)
        };
        let mut summary = report.summary();
        assert_eq!(summary["configurations"][0]["configuration"], 1, "the lowest, of which a seed diverged");
        assert_eq!((best(&summary), report.winner().unwrap().configuration), (Some(2), 2));
        summary.as_object_mut().unwrap().remove("best");
        assert_eq!(best(&summary), Some(1));
        assert_eq!(SummaryFile::default().best(), None);
    }
}
