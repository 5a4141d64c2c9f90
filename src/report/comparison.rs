//! Which configuration predicts the text best: trials grouped into configurations, by polars.
//!
//! **Figures over seeds.** A configuration's loss is the mean of its seeds' losses, and its perplexity exp of that: the geometric
//! mean of the seeds' perplexities, since it is the loss that is averaged over text as well. Its spread is the sample
//! standard deviation of the seeds' perplexities, and there is none for one seed. Only complete trials count, and only those that
//! were scored at the common context; a configuration of which some seeds diverged is ranked by the others and marked.
//!
//! **Where seeds are missing** a configuration is ranked by what it would have over all seeds, by least squares
//! ([`residual`](super::inference::residual)): a mean over easy seeds does not compare with one over hard ones.
//!
//! **Across tokenizers** perplexities do not compare: then bits per byte rank, and only tokenizers that give every text back. Which
//! tokenizers differ is said by their content, not by what they are called.
//!
//! **Across held-out texts** nothing compares: the text that most configurations were scored on is ranked, the others stand apart.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use polars::prelude::*;

use super::content::{self, Content, contents};
use super::frames::{integers, numbers, words, wrong};
use super::inference::residual::Fit;
use super::inference::results::Results;
use super::protocol::{Protocol, column_of};
use super::tuning::{self, Tuned};
use super::twins;
use crate::error::{Error, Result};

/// A trial as the report knows it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TrialLine {
    pub(super) id: String,
    pub(super) configuration: i64,
    pub(super) seed: Option<i64>,
    pub(super) status: String,
    pub(super) reason: Option<String>,
    pub(super) last_lines: Option<String>,
    pub(super) attempts: i64,
    /// Whether its figures count: complete, and scored at the context of the others.
    pub(super) counts: bool,
    /// The trial whose result it shares, where it was not trained itself.
    pub(super) alias_of: Option<String>,
    pub(super) perplexity: Option<f64>,
    pub(super) loss: Option<f64>,
    pub(super) bits_per_byte: Option<f64>,
    pub(super) started_utc: Option<i64>,
    pub(super) finished_utc: Option<i64>,
}

/// Mean and spread over seeds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Figure {
    pub(super) mean: f64,
    /// Sample standard deviation over the seeds; `None` for one seed.
    pub(super) spread: Option<f64>,
}

impl Figure {
    /// `5.812 ± 0.041`, without a spread for one seed; with as many decimals as the smallest figure of its column.
    pub(super) fn shown(self, smallest: f64) -> String {
        let spread = self.spread.map(|spread| format!(" ± {}", super::words::beside(spread, smallest)));
        format!("{}{}", super::words::beside(self.mean, smallest), spread.unwrap_or_default())
    }
}

/// One point of the grid and what its seeds came to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Configuration {
    /// The number by which commands call it.
    pub(super) number: i64,
    /// Place in the file, from 0.
    pub(super) order: usize,
    /// The values of the swept keys.
    pub(super) values: Vec<String>,
    /// Place in the ranking, from 1; `None` where it is not ranked.
    pub(super) place: Option<usize>,
    /// Seeds that count.
    pub(super) seeds: usize,
    /// Trials of each status.
    pub(super) status: BTreeMap<String, usize>,
    pub(super) loss: Option<f64>,
    /// Mean response (loss, or bits per byte where those rank) over all seeds of the experiment, by least squares; `None` where no
    /// seed is missing anywhere, so that it is the plain mean.
    pub(super) adjusted: Option<f64>,
    /// By the protocol that ranks.
    pub(super) perplexity: Option<Figure>,
    /// By the other context.
    pub(super) other_perplexity: Option<Figure>,
    /// `None` where tokenizers differ and its own is not known to give every text back.
    pub(super) bits_per_byte: Option<Figure>,
    /// On the test part, which ranks nothing: at the common context, by the weights that rank. `None` where a seed that counts has no
    /// score there.
    pub(super) test_perplexity: Option<Figure>,
    pub(super) test_bits_per_byte: Option<Figure>,
    pub(super) tokens_per_second: Option<f64>,
    pub(super) training_seconds: Option<f64>,
    /// What the plan and the probe expected of a trial: of the machine on the processor, of the device elsewhere.
    pub(super) planned_memory_bytes: Option<i64>,
    pub(super) probed_memory_bytes: Option<i64>,
    pub(super) peak_memory_bytes: Option<f64>,
    /// Of a GPU; `None` where none was used.
    pub(super) peak_device_memory_bytes: Option<f64>,
    pub(super) parameters: Option<i64>,
    pub(super) vocabulary: Option<i64>,
    /// What its tokenizer is called: `char`, `bpe-512` …
    pub(super) tokenizer: String,
    /// What it learned from and was scored on.
    pub(super) content: Content,
    /// Whether it was scored on another held-out text than those that are ranked: its figures compare with none of theirs.
    pub(super) is_apart: bool,
    /// Whether its perplexity was lower at an earlier step than at the end.
    pub(super) got_worse: bool,
    /// How it stands to those that differ in tuned settings only; `None` where nothing is tuned or there is no figure.
    pub(super) tuned: Option<Tuned>,
}

/// All configurations, best first; those without a figure last.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Comparison {
    pub(super) configurations: Vec<Configuration>,
    pub(super) trials: Vec<TrialLine>,
    /// Notes on configurations that are one under several names.
    pub(super) twins: Vec<String>,
    /// Whether tokenizers differ, so that bits per byte rank.
    pub(super) by_bytes: bool,
    /// The common context of the trials that count.
    pub(super) common_context: Option<i64>,
    pub(super) common_stride: Option<i64>,
    pub(super) scored_tokens: Option<i64>,
    pub(super) scored_bytes: Option<i64>,
    /// Complete trials that were scored at another context and therefore do not count.
    pub(super) other_context: usize,
    pub(super) programs: Vec<String>,
    pub(super) machines: Vec<String>,
    pub(super) training_seconds: f64,
}

impl Comparison {
    /// Whether a configuration has a figure of the test part.
    pub(super) fn has_test(&self) -> bool {
        self.configurations.iter().any(|c| c.test_figure(self.by_bytes).is_some())
    }

    /// The first of the ranking; where a seed of it diverged the first of those that finished all of theirs, if any did. `None` where
    /// nothing is ranked.
    pub(super) fn best(&self) -> Option<&Configuration> {
        let mut ranked = self.configurations.iter().filter(|c| c.place.is_some());
        let first = ranked.next()?;
        if first.has_diverged() { ranked.find(|c| c.lost() == 0).or(Some(first)) } else { Some(first) }
    }

    /// The responses of the trials that count, of every configuration that has a figure: of the values of a tuned setting that were
    /// not chosen too.
    pub(super) fn results(&self) -> Results {
        results(&self.configurations, &self.trials, self.by_bytes)
    }
}

impl Configuration {
    /// Itself, where its figures may stand beside those of the others.
    pub(super) fn comparable(&self) -> Option<&Self> {
        (!self.is_apart).then_some(self)
    }

    /// Whether it has a result on the text that the others were scored on, whether or not that can be ranked.
    pub(super) fn has_result(&self) -> bool {
        self.comparable().is_some_and(|own| own.perplexity.is_some())
    }

    /// The figure that ranks; none where it would compare with no other: on another text, or of a tokenizer that loses text beside
    /// other tokenizers.
    pub(super) fn figure(&self, by_bytes: bool) -> Option<Figure> {
        let own = self.comparable()?;
        let plain = if by_bytes { own.bits_per_byte } else { own.perplexity };
        let adjusted = own.adjusted.map(|mean| if by_bytes { mean } else { mean.exp() });
        plain.map(|figure| Figure { mean: adjusted.unwrap_or(figure.mean), ..figure })
    }

    /// Whether a seed of it diverged.
    pub(super) fn has_diverged(&self) -> bool {
        self.status.contains_key("diverged")
    }

    /// Trials that ended without a result.
    pub(super) fn lost(&self) -> usize {
        ["diverged", "failed", "did_not_fit", "damaged"].iter().filter_map(|name| self.status.get(*name)).sum()
    }

    /// The figure of the test part, in the unit that ranks.
    pub(super) fn test_figure(&self, by_bytes: bool) -> Option<Figure> {
        let own = self.comparable()?;
        if by_bytes { own.test_bits_per_byte } else { own.test_perplexity }
    }
}

/// Groups the table of trials.
pub(super) fn compare(frame: &DataFrame, protocol: &Protocol) -> Result<Comparison> {
    let frame = &with_tokenizer(frame)?;
    let completed = frame.clone().lazy().filter(col("status").eq(lit("completed")));
    let context = match protocol.common_context {
        Some(context) => Some(context),
        None => most_common(integers(&collect(completed.clone())?, "common_context")?.into_iter().flatten()),
    };
    let counted = match context {
        Some(context) => completed.clone().filter(col("common_context").is_null().or(col("common_context").eq(lit(context)))),
        None => completed.clone(),
    };
    let counted = collect(counted)?;
    let other_context = collect(completed)?.height() - counted.height();

    let figures = figures_by_configuration(&counted, protocol)?;
    let mut trials = trial_lines(frame, protocol, context)?;
    let (mut configurations, mut twins) = twins::fold(plain_configurations(frame, protocol)?, &trials, &protocol.swept);
    let with_figures = configurations.iter().filter(|c| figures.contains_key(&c.number));
    let text = most_common(with_figures.filter_map(|c| c.content.validation.as_ref())).cloned();
    for configuration in &mut configurations {
        configuration.is_apart = content::differ(configuration.content.validation.as_ref(), text.as_ref());
        if let Some(figures) = figures.get(&configuration.number) {
            figures.clone().put_into(configuration);
        }
    }
    let by_bytes = have_several_tokenizers(configurations.iter().filter_map(Configuration::comparable));
    let is_lossless = |c: &Configuration| protocol.is_lossless(&c.tokenizer, c.content.tokenizer.as_deref());
    // What a tokenizer did not keep costs no bits: beside the others such a figure would pass for a better one.
    for configuration in configurations.iter_mut().filter(|c| by_bytes && !is_lossless(c)) {
        (configuration.bits_per_byte, configuration.test_bits_per_byte) = (None, None);
    }
    adjust(&mut configurations, &trials, by_bytes);
    tuning::choose(&mut configurations, protocol, by_bytes);
    rank(&mut configurations, by_bytes);
    let apart: BTreeSet<i64> = configurations.iter().filter(|c| c.is_apart).map(|c| c.number).collect();
    for trial in &mut trials {
        trial.counts &= !apart.contains(&trial.configuration);
    }

    twins.extend(twins::same_results(&configurations, &trials));

    let of_ranked = |name: &str| {
        let rows = integers(&counted, name)?.into_iter().zip(integers(&counted, "configuration")?);
        let ranked = rows.filter(|(_, number)| number.is_none_or(|number| !apart.contains(&number)));
        Ok::<_, Error>(most_common(ranked.filter_map(|(value, _)| value)))
    };
    let (common_stride, scored_tokens) = (of_ranked("common_stride")?, of_ranked("scored_tokens")?);
    let scored_bytes = of_ranked("scored_bytes")?;

    Ok(Comparison {
        configurations,
        trials,
        twins,
        by_bytes,
        common_context: context,
        common_stride,
        scored_tokens,
        scored_bytes,
        other_context,
        programs: distinct(&words(frame, "program")?),
        machines: machines(frame)?,
        training_seconds: numbers(frame, "training_seconds")?.into_iter().flatten().sum(),
    })
}

/// Whether these configurations have different tokenizers: by content, or by what they are called where that is not known.
fn have_several_tokenizers<'a>(configurations: impl Iterator<Item = &'a Configuration>) -> bool {
    let (mut hashes, mut labels) = (BTreeSet::new(), BTreeSet::new());
    for configuration in configurations {
        hashes.extend(&configuration.content.tokenizer);
        labels.insert(&configuration.tokenizer);
    }
    if hashes.is_empty() { labels.len() > 1 } else { hashes.len() > 1 }
}

fn collect(frame: LazyFrame) -> Result<DataFrame> {
    frame.collect().map_err(wrong)
}

/// Adds the tokenizer's short label.
fn with_tokenizer(frame: &DataFrame) -> Result<DataFrame> {
    let (kind, size) = (words(frame, "tokenizer_kind")?, integers(frame, "tokenizer_vocab_size")?);
    let path = words(frame, "tokenizer_path")?;
    let labels: Vec<String> = kind
        .into_iter()
        .zip(size)
        .zip(path)
        .map(|((kind, size), path)| {
            let kind = kind.unwrap_or_default();
            match (size, path) {
                (Some(size), _) => format!("{kind}-{size}"),
                (None, Some(path)) => format!("{kind} {path}"),
                (None, None) => kind,
            }
        })
        .collect();
    let mut frame = frame.clone();
    frame.with_column(Column::new("tokenizer".into(), labels)).map_err(wrong)?;
    Ok(frame)
}

#[derive(Clone)]
struct Figures {
    seeds: usize,
    loss: Option<f64>,
    perplexity: Option<Figure>,
    other_perplexity: Option<Figure>,
    bits_per_byte: Option<Figure>,
    test_perplexity: Option<Figure>,
    test_bits_per_byte: Option<Figure>,
    tokens_per_second: Option<f64>,
    training_seconds: Option<f64>,
    peak_memory_bytes: Option<f64>,
    peak_device_memory_bytes: Option<f64>,
    got_worse: bool,
}

impl Figures {
    fn put_into(self, configuration: &mut Configuration) {
        configuration.seeds = self.seeds;
        configuration.loss = self.loss;
        configuration.perplexity = self.perplexity;
        configuration.other_perplexity = self.other_perplexity;
        configuration.bits_per_byte = self.bits_per_byte;
        configuration.test_perplexity = self.test_perplexity;
        configuration.test_bits_per_byte = self.test_bits_per_byte;
        configuration.tokens_per_second = self.tokens_per_second;
        configuration.training_seconds = self.training_seconds;
        configuration.peak_memory_bytes = self.peak_memory_bytes;
        configuration.peak_device_memory_bytes = self.peak_device_memory_bytes;
        configuration.got_worse = self.got_worse;
    }
}

fn figures_by_configuration(counted: &DataFrame, protocol: &Protocol) -> Result<BTreeMap<i64, Figures>> {
    let (score, other, test) = (protocol.score(), protocol.other_score(), protocol.test_score());
    let counted = &with_test(counted, test)?;
    let loss = format!("{score}_loss");
    let mean = |column: String, name: &str| col(column).mean().alias(name);
    let std = |column: String, name: &str| col(column).std(1).alias(name);
    let mut aggregates = vec![
        mean(loss.clone(), "loss"),
        col(loss).count().alias("seeds"),
        std(format!("{score}_perplexity"), "perplexity_spread"),
        mean(format!("{other}_loss"), "other_loss"),
        std(format!("{other}_perplexity"), "other_spread"),
        mean(format!("{score}_bits_per_byte"), "bits"),
        std(format!("{score}_bits_per_byte"), "bits_spread"),
        col(format!("{test}_loss")).count().alias("tested"),
        mean(format!("{test}_loss"), "test_loss"),
        std(format!("{test}_perplexity"), "test_spread"),
        mean(format!("{test}_bits_per_byte"), "test_bits"),
        std(format!("{test}_bits_per_byte"), "test_bits_spread"),
        mean("tokens_per_second".to_owned(), "rate"),
        mean("training_seconds".to_owned(), "training"),
        mean("peak_memory_bytes".to_owned(), "memory"),
        mean("common_loss".to_owned(), "final_loss"),
        mean("best_common_loss".to_owned(), "best_loss"),
    ];
    // A table of an earlier version lacks it.
    let of_device = "peak_device_memory_bytes";
    if counted.column(of_device).is_ok() {
        aggregates.push(mean(of_device.to_owned(), "device_memory"));
    }
    let ranked = counted.clone().lazy().filter(col(format!("{score}_loss")).is_not_null());
    let table = collect(ranked.group_by([col("configuration")]).agg(aggregates))?;
    let number = |name: &str| numbers(&table, name);
    let device_memory = number("device_memory").unwrap_or_else(|_| vec![None; table.height()]);
    let configuration = integers(&table, "configuration")?;
    let seeds_counted = integers(&table, "seeds")?;
    let (loss, perplexity_spread) = (number("loss")?, number("perplexity_spread")?);
    let (other_loss, other_spread) = (number("other_loss")?, number("other_spread")?);
    let (bits, bits_spread) = (number("bits")?, number("bits_spread")?);
    let tested = integers(&table, "tested")?;
    let (test_loss, test_spread) = (number("test_loss")?, number("test_spread")?);
    let (test_bits, test_bits_spread) = (number("test_bits")?, number("test_bits_spread")?);
    let (rate, training, memory) = (number("rate")?, number("training")?, number("memory")?);
    let (final_loss, best_loss) = (number("final_loss")?, number("best_loss")?);
    let mut figures = BTreeMap::new();
    for row in 0..table.height() {
        let Some(key) = configuration[row] else { continue };
        let seeds = usize::try_from(seeds_counted[row].unwrap_or(0)).unwrap_or(0);
        let figure = |mean: Option<f64>, spread: Option<f64>| {
            mean.filter(|m| m.is_finite()).map(|mean| Figure { mean, spread: spread.filter(|_| seeds > 1) })
        };
        // A mean over fewer seeds is not one to set beside that which ranks.
        let all_tested = |mean: Option<f64>| mean.filter(|_| tested[row] == seeds_counted[row]);
        figures.insert(
            key,
            Figures {
                seeds,
                loss: loss[row],
                perplexity: figure(loss[row].map(f64::exp), perplexity_spread[row]),
                other_perplexity: figure(other_loss[row].map(f64::exp), other_spread[row]),
                bits_per_byte: figure(bits[row], bits_spread[row]),
                test_perplexity: figure(all_tested(test_loss[row].map(f64::exp)), test_spread[row]),
                test_bits_per_byte: figure(all_tested(test_bits[row]), test_bits_spread[row]),
                tokens_per_second: rate[row],
                training_seconds: training[row],
                peak_memory_bytes: memory[row],
                peak_device_memory_bytes: device_memory[row],
                got_worse: best_loss[row].zip(final_loss[row]).is_some_and(|(best, last)| best < last),
            },
        );
    }
    Ok(figures)
}

/// These rows with the columns of the test part, empty where the table is of a version that had none.
fn with_test(frame: &DataFrame, test: &str) -> Result<DataFrame> {
    let mut frame = frame.clone();
    for unit in ["loss", "perplexity", "bits_per_byte"] {
        let name = format!("{test}_{unit}");
        if frame.column(&name).is_err() {
            let empty: Vec<Option<f64>> = vec![None; frame.height()];
            frame.with_column(Column::new(name.as_str().into(), empty)).map_err(wrong)?;
        }
    }
    Ok(frame)
}

/// The configurations in file order with what does not need a figure.
fn plain_configurations(frame: &DataFrame, protocol: &Protocol) -> Result<Vec<Configuration>> {
    let number = integers(frame, "configuration")?;
    let status = words(frame, "status")?;
    let (tokenizer, contents) = (words(frame, "tokenizer")?, contents(frame));
    let (parameters, vocabulary) = (integers(frame, "parameters")?, integers(frame, "vocabulary")?);
    // Tables of an earlier version lack them.
    let column = |name: &str| integers(frame, name).unwrap_or_else(|_| vec![None; frame.height()]);
    let (planned_memory, probed_memory) = (column("memory_bytes"), column("probed_memory_bytes"));
    let values: Vec<Vec<Option<String>>> =
        protocol.swept.iter().map(|key| words(frame, &column_of(key))).collect::<Result<_>>()?;
    let (mut configurations, mut places) = (Vec::<Configuration>::new(), BTreeMap::new());
    for row in 0..frame.height() {
        let Some(number) = number[row] else { continue };
        let order = *places.entry(number).or_insert(configurations.len());
        if order < configurations.len() {
            count(&mut configurations[order], &status[row]);
            configurations[order].probed_memory_bytes = configurations[order].probed_memory_bytes.max(probed_memory[row]);
            continue;
        }
        let mut configuration = Configuration {
            number,
            order,
            values: values.iter().map(|column| column[row].clone().unwrap_or_default()).collect(),
            place: None,
            seeds: 0,
            status: BTreeMap::new(),
            loss: None,
            adjusted: None,
            perplexity: None,
            other_perplexity: None,
            bits_per_byte: None,
            test_perplexity: None,
            test_bits_per_byte: None,
            tokens_per_second: None,
            training_seconds: None,
            planned_memory_bytes: planned_memory[row],
            probed_memory_bytes: probed_memory[row],
            peak_memory_bytes: None,
            peak_device_memory_bytes: None,
            parameters: parameters[row],
            vocabulary: vocabulary[row],
            tokenizer: tokenizer[row].clone().unwrap_or_default(),
            content: contents[row].clone(),
            is_apart: false,
            got_worse: false,
            tuned: None,
        };
        count(&mut configuration, &status[row]);
        configurations.push(configuration);
    }
    Ok(configurations)
}

/// The responses of the trials that count, of these configurations.
fn results(configurations: &[Configuration], trials: &[TrialLine], by_bytes: bool) -> Results {
    let known: BTreeSet<i64> = configurations.iter().filter(|c| c.figure(by_bytes).is_some()).map(|c| c.number).collect();
    let counting = trials.iter().filter(|trial| trial.counts && known.contains(&trial.configuration));
    Results::new(counting.filter_map(|trial| {
        let response = if by_bytes { trial.bits_per_byte } else { trial.loss };
        Some((trial.configuration, trial.seed.unwrap_or_default(), response?))
    }))
}

/// Sets the means over all seeds where some are missing.
fn adjust(configurations: &mut [Configuration], trials: &[TrialLine], by_bytes: bool) {
    let results = results(configurations, trials, by_bytes);
    if results.is_complete() {
        return;
    }
    let twins = results.twins();
    let fit = Fit::new(&results.observations(&twins));
    for configuration in configurations {
        let place = twins.get(&configuration.number).and_then(|&number| fit.place(number));
        configuration.adjusted = place.map(|place| fit.mean(place));
    }
}

/// Counts a trial of this status.
fn count(configuration: &mut Configuration, status: &Option<String>) {
    *configuration.status.entry(status.clone().unwrap_or_default()).or_default() += 1;
}

/// Best first; then those that a tuned setting's better value stands for; then those whose tokenizer forbids a rank, by tokenizer and
/// perplexity, since that compares within one only; then those without a figure, in file order.
fn rank(configurations: &mut [Configuration], by_bytes: bool) {
    let ranked = |c: &Configuration| c.figure(by_bytes).is_some() && c.tuned.as_ref().is_none_or(|tuned| tuned.chosen);
    let mean = |figure: Option<Figure>| figure.map_or(f64::INFINITY, |f| f.mean);
    let key = |c: &Configuration| match c.figure(by_bytes) {
        Some(figure) => (usize::from(!ranked(c)), String::new(), figure.mean, c.order),
        None if c.has_result() => (2, c.tokenizer.clone(), mean(c.perplexity), c.order),
        None => (3, String::new(), f64::INFINITY, c.order),
    };
    configurations.sort_by(|a, b| {
        let ((a0, a1, a2, a3), (b0, b1, b2, b3)) = (key(a), key(b));
        a0.cmp(&b0).then(a1.cmp(&b1)).then(a2.total_cmp(&b2)).then(a3.cmp(&b3))
    });
    for (place, configuration) in configurations.iter_mut().enumerate() {
        configuration.place = ranked(configuration).then_some(place + 1);
    }
}

fn trial_lines(frame: &DataFrame, protocol: &Protocol, context: Option<i64>) -> Result<Vec<TrialLine>> {
    let score = protocol.score();
    let (id, status, reason) = (words(frame, "trial_id")?, words(frame, "status")?, words(frame, "reason")?);
    let (configuration, seed) = (integers(frame, "configuration")?, integers(frame, "seed")?);
    let (last_lines, attempts) = (words(frame, "last_lines")?, integers(frame, "attempts")?);
    let perplexity = numbers(frame, &format!("{score}_perplexity"))?;
    let (loss, bits) = (numbers(frame, &format!("{score}_loss"))?, numbers(frame, &format!("{score}_bits_per_byte"))?);
    let (started, finished) = (integers(frame, "started_utc")?, integers(frame, "finished_utc")?);
    let contexts = integers(frame, "common_context")?;
    // Tables of older versions know no aliases.
    let alias_of = words(frame, "alias_of").unwrap_or_else(|_| vec![None; frame.height()]);
    Ok((0..frame.height())
        .map(|row| TrialLine {
            id: id[row].clone().unwrap_or_default(),
            configuration: configuration[row].unwrap_or(0),
            seed: seed[row],
            status: status[row].clone().unwrap_or_default(),
            reason: reason[row].clone(),
            last_lines: last_lines[row].clone(),
            attempts: attempts[row].unwrap_or(0),
            counts: status[row].as_deref() == Some("completed")
                && loss[row].is_some()
                && (context.is_none() || contexts[row].is_none() || contexts[row] == context),
            alias_of: alias_of[row].clone(),
            perplexity: perplexity[row],
            loss: loss[row],
            bits_per_byte: bits[row],
            started_utc: started[row],
            finished_utc: finished[row],
        })
        .collect())
}

fn machines(frame: &DataFrame) -> Result<Vec<String>> {
    let (host, device, threads) = (words(frame, "host")?, words(frame, "device")?, integers(frame, "threads")?);
    // A table of an earlier version lacks it.
    let processor = words(frame, "processor").unwrap_or_else(|_| vec![None; frame.height()]);
    let names: Vec<Option<String>> = host
        .into_iter()
        .zip(device)
        .zip(processor)
        .zip(threads)
        .map(|(((host, device), processor), threads)| {
            let processor = processor.map_or_else(String::new, |name| format!("{name}, "));
            let threads = threads.map_or(String::new(), |n| super::words::count(usize::try_from(n).unwrap_or(0), "thread"));
            Some(format!("{}, {}, {processor}{threads}", host?, device.unwrap_or_default()))
        })
        .collect();
    Ok(distinct(&names))
}

fn distinct(values: &[Option<String>]) -> Vec<String> {
    let set: BTreeSet<&String> = values.iter().flatten().collect();
    set.into_iter().cloned().collect()
}

/// The most frequent value; of several the one that comes first.
fn most_common<T: Ord>(values: impl Iterator<Item = T>) -> Option<T> {
    let mut counts: BTreeMap<T, (usize, Reverse<usize>)> = BTreeMap::new();
    for (place, value) in values.enumerate() {
        counts.entry(value).or_insert((0, Reverse(place))).0 += 1;
    }
    counts.into_iter().max_by_key(|(_, frequency)| *frequency).map(|(value, _)| value)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::experiment::settings::{ClipNorm, Tokenizer};
    use crate::plan::Plan;
    use crate::record::tests::{completed, ended, plan, waiting};
    use crate::record::{TrialState, write_trials};
    use crate::runs::{ExperimentFolder, Status};
    use crate::train::recorder::{CheckpointKind, EvaluationRow};

    pub(in crate::report) fn compared_as(plan: &Plan, states: &[TrialState], json: &str) -> Comparison {
        let dir = tempfile::tempdir().unwrap();
        let folder = ExperimentFolder::at(dir.path());
        std::fs::write(folder.experiment_json(), json).unwrap();
        write_trials(&folder.trials_parquet(), plan, states).unwrap();
        let frame = crate::report::frames::read(&folder.trials_parquet(), None).unwrap();
        let columns: Vec<String> = frame.get_column_names().iter().map(|n| n.to_string()).collect();
        compare(&frame, &Protocol::read(&folder, &columns).unwrap()).unwrap()
    }

    fn compared(plan: &Plan, states: &[TrialState]) -> Comparison {
        compared_as(plan, states, "{}")
    }

    pub(in crate::report) fn order(comparison: &Comparison) -> Vec<(i64, Option<usize>)> {
        comparison.configurations.iter().map(|c| (c.number, c.place)).collect()
    }

    #[test]
    fn perplexity_is_exp_of_the_mean_loss_and_spread_is_over_the_seeds() {
        let plan = plan(&[32], &[ClipNorm::Off], &[1, 2]);
        let comparison = compared(&plan, &[completed(1.0, None), completed(2.0, None)]);
        let figure = comparison.configurations[0].perplexity.unwrap();
        assert!((figure.mean - 1.5f64.exp()).abs() < 1e-12);
        let (a, b) = (1f64.exp(), 2f64.exp());
        assert!((figure.spread.unwrap() - (b - a) / 2f64.sqrt()).abs() < 1e-12);
        assert_eq!(comparison.configurations[0].seeds, 2);
    }

    /// A complete trial whose final weights have this mean loss on both parts.
    pub(in crate::report) fn tested(loss: f64, test: f64) -> TrialState {
        let mut state = completed(loss, None);
        let scores = &mut state.outcome.as_mut().unwrap().scores;
        scores.push(EvaluationRow { part: "test".to_owned(), nll_sum: Some(1000.0 * test), ..scores[0].clone() });
        state
    }

    #[test]
    fn the_test_part_has_a_figure_where_every_seed_that_counts_was_scored_on_it() {
        let plan = plan(&[32, 64, 128], &[ClipNorm::Off], &[1, 2]);
        let diverged = ended(Status::Diverged, "x", &[]);
        let states = [tested(1.0, 1.2), tested(1.1, 1.3), tested(1.4, 1.5), diverged, tested(2.0, 2.1), completed(2.0, None)];
        let comparison = compared(&plan, &states);
        let test = |place: usize| comparison.configurations[place].test_figure(false);
        let figure = test(0).unwrap();
        assert!((figure.mean - 1.25f64.exp()).abs() < 1e-12, "exp of the mean loss: {figure:?}");
        assert!((figure.spread.unwrap() - (1.3f64.exp() - 1.2f64.exp()) / 2f64.sqrt()).abs() < 1e-12, "{figure:?}");
        assert_eq!(test(1), Some(Figure { mean: 1.5f64.exp(), spread: None }), "of the seed that counts");
        assert_eq!(test(2), None, "a mean over another set of seeds is not shown");
        assert!((comparison.configurations[0].test_figure(true).unwrap().mean - 1.25 / 2f64.ln()).abs() < 1e-12);
        assert!(
            comparison.has_test() && !compared(&plan, &[1.0, 1.1, 1.2, 1.3, 1.4, 1.5].map(|l| completed(l, None))).has_test()
        );
    }

    #[test]
    fn the_test_part_is_that_of_the_weights_that_rank() {
        let plan = plan(&[32], &[ClipNorm::Off], &[1]);
        let mut state = tested(2.0, 2.2);
        let scores = &mut state.outcome.as_mut().unwrap().scores;
        let best = |part: &str, loss: f64| EvaluationRow {
            kind: CheckpointKind::Best,
            part: part.to_owned(),
            nll_sum: Some(1000.0 * loss),
            ..scores[0].clone()
        };
        let rows = [best("validation", 1.9), best("test", 2.05)];
        scores.extend(rows);
        let mean = |json: &str| compared_as(&plan, &[state.clone()], json).configurations[0].test_perplexity.unwrap().mean;
        assert_eq!(mean("{}"), 2.2f64.exp());
        assert_eq!(mean(r#"{"evaluate": {"rank_at": "best"}}"#), 2.05f64.exp());
    }

    #[test]
    fn one_seed_has_no_spread() {
        let comparison = compared(&plan(&[32], &[ClipNorm::Off], &[1]), &[completed(1.0, None)]);
        assert_eq!(comparison.configurations[0].perplexity, Some(Figure { mean: 1f64.exp(), spread: None }));
    }

    #[test]
    fn the_lowest_loss_is_first_and_those_without_a_figure_are_last() {
        let plan = plan(&[32, 64, 128, 256], &[ClipNorm::Off], &[1]);
        let states =
            [ended(Status::Diverged, "the loss is not finite", &[]), completed(2.0, None), waiting(), completed(1.5, None)];
        let comparison = compared(&plan, &states);
        assert_eq!(order(&comparison), [(4, Some(1)), (2, Some(2)), (1, None), (3, None)]);
        assert_eq!(comparison.configurations[2].status, BTreeMap::from([("diverged".to_owned(), 1)]));
    }

    #[test]
    fn configurations_without_a_figure_stand_in_the_order_of_the_file_and_not_of_their_numbers() {
        let mut plan = plan(&[32, 64, 128], &[ClipNorm::Off], &[1]);
        for (trial, number) in plan.trials.iter_mut().zip([5, 1, 3]) {
            trial.configuration = number;
        }
        let comparison = compared(&plan, &[waiting(), completed(2.0, None), waiting()]);
        assert_eq!(order(&comparison), [(1, Some(1)), (5, None), (3, None)]);
    }

    #[test]
    fn seeds_that_diverged_are_counted_but_not_averaged() {
        let plan = plan(&[32], &[ClipNorm::Off], &[1, 2, 3]);
        let states = [completed(1.0, None), ended(Status::Diverged, "x", &[]), completed(1.0, None)];
        let comparison = compared(&plan, &states);
        let configuration = &comparison.configurations[0];
        assert_eq!((configuration.seeds, configuration.perplexity.unwrap().spread), (2, Some(0.0)));
        assert_eq!(configuration.status["diverged"], 1);
    }

    #[test]
    fn the_experiment_says_which_context_ranks() {
        let plan = plan(&[32, 64], &[ClipNorm::Off], &[1]);
        let states = [completed(1.4, None), completed(1.5, Some(1.2))];
        assert_eq!(order(&compared(&plan, &states))[0].0, 1);
        let native = compared_as(&plan, &states, r#"{"evaluate": {"rank_by": "native"}}"#);
        assert_eq!(order(&native)[0].0, 2);
        assert_eq!(native.configurations[0].other_perplexity.unwrap().mean, 1.5f64.exp());
    }

    #[test]
    fn trials_scored_at_another_context_are_left_out_and_counted() {
        let plan = plan(&[32, 64], &[ClipNorm::Off], &[1]);
        let mut other = completed(1.0, None);
        other.outcome.as_mut().unwrap().scores[0].context = 16;
        let comparison = compared_as(&plan, &[completed(2.0, None), other], r#"{"common_context": 32}"#);
        assert_eq!((order(&comparison), comparison.other_context), (vec![(1, Some(1)), (2, None)], 1));
    }

    #[test]
    fn different_tokenizers_are_ranked_by_bits_per_byte_and_only_lossless_ones() {
        let mut plan = plan(&[32, 64, 128], &[ClipNorm::Off], &[1]);
        plan.trials[0].settings.tokenizer = Tokenizer::Byte;
        plan.trials[1].settings.tokenizer = Tokenizer::Bpe { vocab_size: 512 };
        plan.trials[2].settings.tokenizer = Tokenizer::Word;
        let mut bpe = completed(3.0, None);
        bpe.outcome.as_mut().unwrap().scores[0].scored_bytes = 4000;
        let comparison = compared(&plan, &[completed(1.5, None), bpe, completed(0.5, None)]);
        assert!(comparison.by_bytes);
        assert_eq!(order(&comparison), [(2, Some(1)), (1, Some(2)), (3, None)]);
        assert_eq!(comparison.configurations[0].tokenizer, "bpe-512");
        let word = &comparison.configurations[2];
        assert_eq!((word.bits_per_byte, word.figure(true), word.has_result()), (None, None, true), "0.7 bits would seem to lead");
        assert_eq!(word.perplexity.unwrap().mean, 0.5f64.exp());
    }

    #[test]
    fn tokenizers_that_lose_text_stand_behind_the_others_each_by_perplexity() {
        let mut plan = plan(&[32, 64, 128, 256, 512], &[ClipNorm::Off], &[1]);
        let file = || Tokenizer::File { path: "t.json".to_owned() };
        for (trial, kind) in plan.trials.iter_mut().zip([Tokenizer::Word, file(), Tokenizer::Byte, file(), Tokenizer::Word]) {
            trial.settings.tokenizer = kind;
        }
        let states = [2.0, 0.5, 1.5, 0.4, 1.9].map(|loss| completed(loss, None));
        assert_eq!(order(&compared(&plan, &states)), [(3, Some(1)), (4, None), (2, None), (5, None), (1, None)]);
    }

    #[test]
    fn tokenizers_are_told_apart_by_content_and_not_by_label() {
        let mut plan = plan(&[32, 64], &[ClipNorm::Off], &[1]);
        let mut with = |hashes: [&str; 2], kinds: [Tokenizer; 2]| {
            for ((trial, hash), kind) in plan.trials.iter_mut().zip(hashes).zip(kinds) {
                (trial.facts.tokenizer_hash, trial.settings.tokenizer) = (hash.to_owned(), kind);
            }
            compared(&plan, &[completed(1.5, None), completed(1.4, None)]).by_bytes
        };
        let bpe = |vocab_size| Tokenizer::Bpe { vocab_size };
        assert!(with(["a", "b"], [Tokenizer::Char, Tokenizer::Char]), "`char` over two texts has two vocabularies");
        assert!(!with(["a", "a"], [bpe(2000), bpe(8000)]), "one vocabulary under two labels is one");
    }

    #[test]
    fn what_was_scored_on_another_text_is_not_ranked() {
        let mut plan = plan(&[32, 64, 128], &[ClipNorm::Off], &[1]);
        for (trial, text) in plan.trials.iter_mut().zip(["easy", "hard", "hard"]) {
            trial.facts.validation_hash = Some(text.to_owned());
        }
        let comparison = compared(&plan, &[completed(0.5, None), completed(1.5, None), completed(1.4, None)]);
        assert_eq!(order(&comparison), [(3, Some(1)), (2, Some(2)), (1, None)], "the text that most have is ranked");
        let apart = &comparison.configurations[2];
        assert_eq!((apart.is_apart, apart.figure(false)), (true, None));
        assert!(!comparison.trials[0].counts && comparison.trials[1].counts);
        // With one of each the first of the file is.
        plan.trials.truncate(2);
        assert_eq!(order(&compared(&plan, &[completed(1.5, None), completed(0.5, None)])), [(1, Some(1)), (2, None)]);
    }

    #[test]
    fn machines_and_programs_are_listed_once() {
        let plan = plan(&[32], &[ClipNorm::Off], &[1, 2]);
        let comparison = compared(&plan, &[completed(1.0, None), completed(1.0, None)]);
        assert_eq!(comparison.machines, ["night, cpu, 2 threads"]);
        assert_eq!(comparison.programs, ["votive 0.1.0"]);
        assert!((comparison.training_seconds - 6.4).abs() < 1e-12);
    }
}
