//! `votive explain`: one configuration walked through the words of the program, with its own numbers.

mod learning;
mod numbers;
mod page;
mod steps;
mod text;
mod windows;

use crate::corpus::Windows;
use crate::error::{Error, Result};
use crate::experiment::settings::BatchSize;

pub use numbers::{Numbers, Sample};
use page::{Page, many, n};

pub(crate) use page::WIDTH;

/// The whole text, as wide as this, and at most 79 columns. Fails where there is no window, with the smallest text that would do.
pub fn explain(numbers: &Numbers, sample: Option<&Sample>, width: usize) -> Result<String> {
    let windows = windows_of(numbers)?;
    let mut page = Page::new(width);
    page.title(numbers);
    text::text(&mut page, numbers);
    text::token(&mut page, sample);
    page.blank();
    windows::window(&mut page, numbers, &windows);
    windows::targets(&mut page, &windows);
    page.blank();
    steps::batch(&mut page, numbers, &windows);
    steps::epoch(&mut page, numbers, &windows);
    page.blank();
    learning::learning(&mut page, numbers);
    Ok(page.text)
}

/// The windows of this configuration. Fails where there are none, or too many to be counted.
fn windows_of(numbers: &Numbers) -> Result<Windows> {
    let (length, stride) = (numbers.sequence_length, numbers.stride);
    if length == 0 || stride == 0 || numbers.batch_size == BatchSize::Windows(0) {
        return Err(Error::usage("sequence length, stride and batch size are at least 1").help("set each to 1 or more"));
    }
    let tokens = numbers.train_tokens.unwrap_or(numbers.text_tokens);
    let windows = Windows::new(tokens, length, stride);
    if windows.count() == 0 {
        let smallest = Windows::smallest_text(length);
        let which = if numbers.train_tokens.is_some() { "a training part" } else { "a text" };
        return Err(Error::usage(format!(
            "{which} of {} gives no window of {}: the smallest that does has {} tokens",
            many(tokens, "token"),
            n(length),
            n(smallest)
        ))
        .help(format!("use at least {} tokens, or a shorter sequence length", n(smallest))));
    }
    if windows.count().checked_mul(length as u64).is_none_or(|targets| i64::try_from(targets).is_err()) {
        let message = format!("{} of {} are more predictions than can be counted", many(windows.count(), "window"), n(length));
        return Err(Error::usage(message).help("take fewer tokens, a shorter sequence length or a longer stride"));
    }
    Ok(windows)
}

#[cfg(test)]
mod tests {
    use super::page::width;
    use super::*;
    use crate::corpus::Batches;
    use crate::experiment::settings::{Budget, ClipNorm, Precision};

    fn of(tokens: u64, length: usize, stride: usize, batch: usize) -> String {
        explain(&Numbers::of_text(tokens, length, stride, BatchSize::Windows(batch)), None, WIDTH).unwrap()
    }

    /// Without line breaks and the blanks that they bring.
    fn flat(text: &str) -> String {
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn configuration() -> Numbers {
        Numbers {
            train_tokens: Some(118_712),
            vocabulary: Some(69),
            clip_norm: Some(ClipNorm::At(1.0)),
            precision: Precision::F32,
            budget: Some(Budget::Tokens(200_000)),
            steps: Some(98),
            ..Numbers::of_text(131_903, 128, 64, BatchSize::Windows(16))
        }
    }

    #[test]
    fn the_four_numbers_of_the_design() {
        let text = flat(&of(20_000, 512, 256, 8));
        for expected in [
            "floor((20,000 − 512 − 1) / 256) + 1 = 77 windows",
            "18,000 stay, and 69 of the 77 windows",
            "8 × 512 = 4,096 tokens a step",
            "77 windows make 10 steps an epoch: 9 full ones, and a last, partial batch of 5 (2,560 tokens), which is kept.",
            "19,968 of 20,000 tokens are one, 2 times an epoch, the 256 at both ends once: 77 × 512 = 39,424 predictions",
            "8 + 8 + 8 + 8 + 8 + 8 + 8 + 8 + 8 + 5 windows",
            "neighbours share 256",
            "31 tokens at the end are too few for one more",
        ] {
            assert!(text.contains(expected), "{expected:?} is not in\n{text}");
        }
        assert!(flat(&of(19_968, 512, 256, 8)).contains("= 76 windows"));
    }

    #[test]
    fn a_text_without_a_window_is_refused_with_the_smallest_that_has_one() {
        let error = explain(&Numbers::of_text(512, 512, 256, BatchSize::Windows(8)), None, WIDTH).unwrap_err();
        assert_eq!(error.kind(), crate::error::Kind::Usage);
        assert_eq!(error.to_string(), "a text of 512 tokens gives no window of 512: the smallest that does has 513 tokens");
        assert_eq!(error.help_text(), Some("use at least 513 tokens, or a shorter sequence length"));
        assert!(of(513, 512, 256, 8).contains("= 1 window\n"));
        let numbers = Numbers { train_tokens: Some(100), ..configuration() };
        assert!(explain(&numbers, None, WIDTH).unwrap_err().to_string().starts_with("a training part of 100 tokens"));
        assert!(explain(&Numbers::of_text(512, 512, 0, BatchSize::Windows(8)), None, WIDTH).is_err());
    }

    #[test]
    fn how_often_a_target_is_seen_is_said_for_every_stride() {
        for (tokens, length, stride, expected) in [
            (2_001, 100, 100, "2,000 of 2,001 tokens are one, each of them once an epoch:"),
            (2_000, 100, 200, "1,000 of 2,000 tokens are one, each of them once an epoch; 1,000 are skipped:"),
            (2_001, 100, 40, "2 or 3 times an epoch, the 40 at both ends once"),
            (2_001, 100, 20, "5 times an epoch, the 20 at both ends once"),
            (2_001, 100, 1, "100 times an epoch, the one at both ends once"),
            (101, 100, 50, "each of them once an epoch, since there is one window"),
            (102, 100, 1, "up to 2 times an epoch"),
        ] {
            let text = flat(&of(tokens, length, stride, 8));
            assert!(text.contains(expected), "{expected:?} is not in\n{text}");
        }
    }

    #[test]
    fn batches_are_told_whole_partial_full_and_too_large() {
        for (windows, size, expected) in [
            (80, BatchSize::Windows(8), "80 windows make 10 steps an epoch."),
            (81, BatchSize::Windows(8), "partial batch of 1 (10 tokens), which is kept; so small a batch has a noisy gradient."),
            (5, BatchSize::Windows(8), "(8 windows were asked for, there are 5): 5 × 10 = 50 tokens a step."),
            (5, BatchSize::Full, "(`full`: all 5 windows of the epoch): 5 × 10 = 50 tokens a step."),
            (1, BatchSize::Windows(1), "1 window makes 1 step an epoch."),
        ] {
            let text = flat(&explain(&Numbers::of_text(windows * 10 + 1, 10, 10, size), None, WIDTH).unwrap());
            assert!(text.contains(expected), "{expected:?} is not in\n{text}");
        }
    }

    #[test]
    fn a_configuration_is_told_with_its_own_figures() {
        let text = flat(&explain(&configuration(), None, WIDTH).unwrap());
        for expected in [
            "131,903 tokens. 13,191 of them are held out",
            "The whole text would give 2,059 windows, the training part gives 1,853.",
            "equally likely: its loss is ln 69 = 4.23, its perplexity 69.",
            "The budget (200,000 tokens) is 98 steps, 0.84 epochs.",
            "`clip_norm: 1`: where the norm",
            "AdamW then rescales",
        ] {
            assert!(text.contains(expected), "{expected:?} is not in\n{text}");
        }
        assert!(!text.contains("precision"), "{text}");
        let off = Numbers { clip_norm: Some(ClipNorm::Off), shuffle: false, precision: Precision::Bf16, ..configuration() };
        let text = flat(&explain(&off, None, WIDTH).unwrap());
        assert!(text.contains("`bf16`: the GPU multiplies numbers of 8 significant bits instead of 24"), "{text}");
        assert!(text.contains("`clip_norm: off`: the norm") && text.contains("Is off: windows come in the order of the text"));
    }

    #[test]
    fn the_tokens_of_a_sentence_are_numbered_from_one() {
        let sample = Sample {
            tokenizer: "word".to_owned(),
            text: "The cat sat.".to_owned(),
            pieces: ["The", "cat", "sat", "."].map(str::to_owned).to_vec(),
        };
        let text = explain(&configuration(), Some(&sample), WIDTH).unwrap();
        assert!(flat(&text).contains("the sentence “The cat sat.” is 4 tokens: 1 The 2 cat 3 sat 4 ."), "{text}");
        let pieces = [" cat", "\n", "s"].map(str::to_owned).to_vec();
        let text = explain(&configuration(), Some(&Sample { pieces, ..sample }), WIDTH).unwrap();
        assert!(text.contains("1 ␣cat   2 ⏎   3 s"));
    }

    #[test]
    fn the_order_shown_is_the_one_that_is_trained() {
        let text = flat(&of(20_000, 512, 256, 8));
        let mut batches = Batches::new(77, BatchSize::Windows(8), true, 1);
        let first = batches.batch(0).windows;
        let expected = format!("epoch 1 begins with windows {}, {},", first[0] + 1, first[1] + 1);
        assert!(text.contains(&expected), "{expected:?} is not in\n{text}");
    }

    #[test]
    fn nothing_is_wider_than_80_columns_or_longer_than_a_screen_and_a_half() {
        let sample = Sample {
            tokenizer: "char".to_owned(),
            text: "The harbour lamps were lit one after another.".to_owned(),
            pieces: "The harbour lamps were lit one after another.".chars().map(String::from).collect(),
        };
        for (length, stride) in [(1, 1), (8, 3), (128, 64), (512, 512), (512, 1), (64, 1_000), (100_000, 7)] {
            for size in [BatchSize::Windows(1), BatchSize::Windows(8), BatchSize::Windows(100_000), BatchSize::Full] {
                let numbers = Numbers { sequence_length: length, stride, batch_size: size, ..configuration() };
                for sample in [None, Some(&sample)] {
                    let text = explain(&numbers, sample, WIDTH).unwrap();
                    assert!(text.lines().all(|line| width(line) < 80), "{text}");
                    assert!(text.lines().count() <= 64, "{} lines\n{text}", text.lines().count());
                    assert!(text.lines().all(|line| line.trim_end() == line), "{text}");
                }
            }
        }
    }
}
