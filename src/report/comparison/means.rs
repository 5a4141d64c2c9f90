//! Means and spreads over the seeds of each configuration, by polars.

use std::collections::BTreeMap;

use polars::prelude::*;

use super::configuration::Figure;
use crate::error::Result;
use crate::report::design::Design;
use crate::report::frames::{collect, integers, numbers, wrong};

/// What the seeds of a configuration that count came to.
#[derive(Debug, Clone, Default)]
pub(super) struct Means {
    pub(super) seeds: usize,
    pub(super) loss: Option<f64>,
    pub(super) perplexity: Option<Figure>,
    pub(super) other_perplexity: Option<Figure>,
    pub(super) bits_per_byte: Option<Figure>,
    pub(super) test_perplexity: Option<Figure>,
    pub(super) test_bits_per_byte: Option<Figure>,
    pub(super) tokens_per_second: Option<f64>,
    pub(super) training_seconds: Option<f64>,
    pub(super) peak_memory_bytes: Option<f64>,
    pub(super) peak_device_memory_bytes: Option<f64>,
    pub(super) got_worse: bool,
}

/// Those of each configuration that has a figure to rank by.
pub(super) fn means(counted: &DataFrame, design: &Design) -> Result<BTreeMap<i64, Means>> {
    let (score, test) = (design.score(), design.test_score());
    let counted = with_test(counted, test)?;
    let aggregates = aggregates(design, &counted);
    let ranked = counted.lazy().filter(col(format!("{score}_loss")).is_not_null());
    let table = collect(ranked.group_by([col("configuration")]).agg(aggregates))?;
    read(&table)
}

/// The means and spreads, under short names of their own, that [`read`] knows.
fn aggregates(design: &Design, counted: &DataFrame) -> Vec<Expr> {
    let (score, other, test) = (design.score(), design.other_score(), design.test_score());
    let mean = |column: &str, name: &str| col(column).mean().alias(name);
    let std = |column: &str, name: &str| col(column).std(1).alias(name);
    let loss = format!("{score}_loss");
    let mut aggregates = vec![
        mean(&loss, "loss"),
        col(loss).count().alias("seeds"),
        std(&format!("{score}_perplexity"), "perplexity_spread"),
        mean(&format!("{other}_loss"), "other_loss"),
        std(&format!("{other}_perplexity"), "other_spread"),
        mean(&format!("{score}_bits_per_byte"), "bits"),
        std(&format!("{score}_bits_per_byte"), "bits_spread"),
        col(format!("{test}_loss")).count().alias("tested"),
        mean(&format!("{test}_loss"), "test_loss"),
        std(&format!("{test}_perplexity"), "test_spread"),
        mean(&format!("{test}_bits_per_byte"), "test_bits"),
        std(&format!("{test}_bits_per_byte"), "test_bits_spread"),
        mean("tokens_per_second", "rate"),
        mean("training_seconds", "training"),
        mean("peak_memory_bytes", "memory"),
        // Of the seeds that have both: the best weights of others may be gone.
        (col("best_common_loss") - col("common_loss")).mean().alias("best_less_final"),
    ];
    // A table of an earlier version lacks it.
    let of_device = "peak_device_memory_bytes";
    if counted.column(of_device).is_ok() {
        aggregates.push(mean(of_device, "device_memory"));
    }
    aggregates
}

/// Reads the table of [`aggregates`], a row a configuration.
fn read(table: &DataFrame) -> Result<BTreeMap<i64, Means>> {
    let number = |name: &str| numbers(table, name);
    let (configuration, seeds_counted, tested) =
        (integers(table, "configuration")?, integers(table, "seeds")?, integers(table, "tested")?);
    let (loss, perplexity_spread) = (number("loss")?, number("perplexity_spread")?);
    let (other_loss, other_spread) = (number("other_loss")?, number("other_spread")?);
    let (bits, bits_spread) = (number("bits")?, number("bits_spread")?);
    let (test_loss, test_spread) = (number("test_loss")?, number("test_spread")?);
    let (test_bits, test_bits_spread) = (number("test_bits")?, number("test_bits_spread")?);
    let (rate, training, memory) = (number("rate")?, number("training")?, number("memory")?);
    let device_memory = number("device_memory").unwrap_or_else(|_| vec![None; table.height()]);
    let best_less_final = number("best_less_final")?;
    let of_row = |row: usize| {
        let seeds = usize::try_from(seeds_counted[row].unwrap_or(0)).unwrap_or(0);
        let figure = |mean: Option<f64>, spread: Option<f64>| {
            mean.filter(|m| m.is_finite()).map(|mean| Figure { mean, spread: spread.filter(|_| seeds > 1) })
        };
        // A mean over fewer seeds is not one to set beside that which ranks.
        let all_tested = |mean: Option<f64>| mean.filter(|_| tested[row] == seeds_counted[row]);
        Means {
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
            got_worse: best_less_final[row].is_some_and(|difference| difference < 0.0),
        }
    };
    Ok((0..table.height()).filter_map(|row| Some((configuration[row]?, of_row(row)))).collect())
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
