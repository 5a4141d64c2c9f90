//! Batches, steps and epochs.

use std::fmt::Write;

use super::numbers::Numbers;
use super::page::{Page, many, n};
use crate::corpus::{Batches, Windows};
use crate::experiment::settings::{BatchSize, Budget};

/// Windows of a batch that are named.
const SHOWN: usize = 6;

pub(super) fn batch(page: &mut Page, numbers: &Numbers, windows: &Windows) {
    let batches = Batches::new(windows.count(), numbers.batch_size, numbers.shuffle, numbers.seed);
    let epoch = batches.epoch();
    let (size, steps, partial) = (epoch.full_batch(), epoch.steps(), epoch.partial());
    let length = windows.length as u64;
    let asked = match numbers.batch_size {
        BatchSize::Full => format!("`full`: all {} windows of the epoch", n(size)),
        BatchSize::Windows(asked) if asked as u64 > windows.count() => {
            format!(
                "{} were asked for, there {}",
                many(asked as u64, "window"),
                if size == 1 { "is 1".to_owned() } else { format!("are {}", n(size)) }
            )
        }
        BatchSize::Windows(_) => many(size, "window"),
    };
    page.entry(
        "batch",
        &format!("The windows of one step ({asked}): {} × {} = {} tokens a step.", n(size), n(length), n(size * length)),
    );
    let full = windows.count() / size;
    let mut told = format!(
        "One update of the weights, from the gradients of one batch. {} {} ",
        many(windows.count(), "window"),
        if windows.count() == 1 { "makes" } else { "make" }
    );
    if partial == 0 || full == 0 {
        let _ = write!(told, "{} an epoch.", many(steps, "step"));
    } else {
        let _ = write!(
            told,
            "{} an epoch: {} full ones, and a last, partial batch of {} ({} tokens), which is kept{}",
            many(steps, "step"),
            n(full),
            n(partial),
            n(partial * length),
            if partial * 4 < size { "; so small a batch has a noisy gradient." } else { "." }
        );
    }
    page.entry("step", &told);
    if steps > 1 {
        let last = if partial == 0 { size } else { partial };
        let shown = if steps <= 12 {
            vec![n(size); steps as usize - 1]
        } else {
            vec![n(size), n(size), n(size), "…".to_owned(), n(size)]
        };
        page.line(&format!("{} + {} windows", shown.join(" + "), n(last)));
    }
}

pub(super) fn epoch(page: &mut Page, numbers: &Numbers, windows: &Windows) {
    let mut batches = Batches::new(windows.count(), numbers.batch_size, numbers.shuffle, numbers.seed);
    let steps = batches.epoch().steps();
    let mut told = "One pass over all windows. ".to_owned();
    if let (Some(budget), Some(total)) = (numbers.budget, numbers.steps) {
        let asked = match budget {
            Budget::Tokens(amount) => format!("{} tokens", n(amount)),
            Budget::Bytes(amount) => format!("{} bytes of text", n(amount)),
            Budget::Steps(amount) => many(amount, "step"),
            Budget::Epochs(amount) => format!("{amount} epochs"),
            Budget::Minutes(amount) => format!("{amount} minutes"),
        };
        let _ = write!(told, "The budget ({asked}) is {}, {:.2} epochs. ", many(total, "step"), total as f64 / steps as f64);
    }
    page.entry("epoch", told.trim_end());
    if !numbers.shuffle {
        page.entry("shuffling", "Is off: windows come in the order of the text, the same in every epoch.");
        return;
    }
    let mut first = |epoch: u64| {
        let windows = batches.beginning(epoch * steps, SHOWN + 1).windows;
        let some: Vec<String> = windows.iter().take(SHOWN).map(|w| n(w + 1)).collect();
        format!("{}{}", some.join(", "), if windows.len() > SHOWN { ", …" } else { "" })
    };
    let (one, two) = (first(0), first(1));
    page.entry(
        "shuffling",
        &format!(
            "A new order of the windows each epoch, from the seed and the epoch alone. With seed {} epoch 1 begins with windows \
             {one}; epoch 2 with {two}.",
            numbers.seed
        ),
    );
}
