//! The trials grouped into configurations.

use std::collections::BTreeMap;

use super::configuration::Configuration;
use super::means::Means;
use crate::error::Result;
use crate::report::design::Design;
use crate::report::trials::Trials;
use crate::runs::Status;

/// The configurations in file order, those that have means with these.
pub(super) fn grouped(trials: &Trials, design: &Design, means: &BTreeMap<i64, Means>) -> Result<Vec<Configuration>> {
    let (mut configurations, mut places) = (Vec::<Configuration>::new(), BTreeMap::new());
    for (row, values) in trials.rows().iter().zip(trials.swept(&design.swept)?) {
        let Some(number) = row.configuration else { continue };
        let order = *places.entry(number).or_insert(configurations.len());
        if let Some(known) = configurations.get_mut(order) {
            count(known, row.status);
            known.probed_memory_bytes = known.probed_memory_bytes.max(row.probed_memory_bytes);
            continue;
        }
        let means = means.get(&number).cloned().unwrap_or_default();
        let mut configuration = Configuration {
            number,
            order,
            values,
            place: None,
            seeds: means.seeds,
            status: BTreeMap::new(),
            loss: means.loss,
            adjusted: None,
            perplexity: means.perplexity,
            other_perplexity: means.other_perplexity,
            bits_per_byte: means.bits_per_byte,
            test_perplexity: means.test_perplexity,
            test_bits_per_byte: means.test_bits_per_byte,
            tokens_per_second: means.tokens_per_second,
            training_seconds: means.training_seconds,
            planned_memory_bytes: row.planned_memory_bytes,
            probed_memory_bytes: row.probed_memory_bytes,
            peak_memory_bytes: means.peak_memory_bytes,
            peak_device_memory_bytes: means.peak_device_memory_bytes,
            parameters: row.parameters,
            vocabulary: row.vocabulary,
            tokenizer: row.tokenizer.clone(),
            content: row.content.clone(),
            is_apart: false,
            got_worse: means.got_worse,
            tuned: None,
        };
        count(&mut configuration, row.status);
        configurations.push(configuration);
    }
    Ok(configurations)
}

/// Counts a trial of this status.
fn count(configuration: &mut Configuration, status: Status) {
    *configuration.status.entry(status).or_default() += 1;
}
