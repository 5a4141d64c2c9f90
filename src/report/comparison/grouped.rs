//! The trials grouped into configurations.

use std::collections::BTreeMap;

use polars::prelude::{Column, DataFrame};

use super::configuration::Configuration;
use super::means::Means;
use crate::error::Result;
use crate::experiment::settings::tokenizer_label;
use crate::record::swept_column;
use crate::report::content::contents;
use crate::report::frames::{integers, statuses, words, wrong};
use crate::report::protocol::Protocol;
use crate::runs::Status;

/// The configurations in file order, those that have means with these.
pub(super) fn grouped(frame: &DataFrame, protocol: &Protocol, means: &BTreeMap<i64, Means>) -> Result<Vec<Configuration>> {
    let number = integers(frame, "configuration")?;
    let status = statuses(frame)?;
    let (tokenizer, contents) = (words(frame, "tokenizer")?, contents(frame));
    let (parameters, vocabulary) = (integers(frame, "parameters")?, integers(frame, "vocabulary")?);
    // Tables of an earlier version lack them.
    let column = |name: &str| integers(frame, name).unwrap_or_else(|_| vec![None; frame.height()]);
    let (planned_memory, probed_memory) = (column("memory_bytes"), column("probed_memory_bytes"));
    let values: Vec<Vec<Option<String>>> =
        protocol.swept.iter().map(|key| words(frame, &swept_column(key))).collect::<Result<_>>()?;
    let (mut configurations, mut places) = (Vec::<Configuration>::new(), BTreeMap::new());
    for row in 0..frame.height() {
        let Some(number) = number[row] else { continue };
        let order = *places.entry(number).or_insert(configurations.len());
        if order < configurations.len() {
            count(&mut configurations[order], status[row]);
            configurations[order].probed_memory_bytes = configurations[order].probed_memory_bytes.max(probed_memory[row]);
            continue;
        }
        let means = means.get(&number).cloned().unwrap_or_default();
        let mut configuration = Configuration {
            number,
            order,
            values: values.iter().map(|column| column[row].clone().unwrap_or_default()).collect(),
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
            planned_memory_bytes: planned_memory[row],
            probed_memory_bytes: probed_memory[row],
            peak_memory_bytes: means.peak_memory_bytes,
            peak_device_memory_bytes: means.peak_device_memory_bytes,
            parameters: parameters[row],
            vocabulary: vocabulary[row],
            tokenizer: tokenizer[row].clone().unwrap_or_default(),
            content: contents[row].clone(),
            is_apart: false,
            got_worse: means.got_worse,
            tuned: None,
        };
        count(&mut configuration, status[row]);
        configurations.push(configuration);
    }
    Ok(configurations)
}

/// Counts a trial of this status.
fn count(configuration: &mut Configuration, status: Status) {
    *configuration.status.entry(status).or_default() += 1;
}

/// Adds the tokenizer's short label.
pub(super) fn with_tokenizer(frame: &DataFrame) -> Result<DataFrame> {
    let (kind, size) = (words(frame, "tokenizer_kind")?, integers(frame, "tokenizer_vocab_size")?);
    let path = words(frame, "tokenizer_path")?;
    let labels: Vec<String> = kind
        .into_iter()
        .zip(size)
        .zip(path)
        .map(|((kind, size), path)| tokenizer_label(&kind.unwrap_or_default(), size, path.as_deref()))
        .collect();
    let mut frame = frame.clone();
    frame.with_column(Column::new("tokenizer".into(), labels)).map_err(wrong)?;
    Ok(frame)
}
