//! What the model reads: the text and its tokens.

use super::numbers::{Numbers, Sample};
use super::page::{INDENT, Page, many, n, width};
use crate::corpus::Windows;

pub(super) fn text(page: &mut Page, numbers: &Numbers) {
    let windows = |tokens| Windows::new(tokens, numbers.sequence_length, numbers.stride).count();
    let whole = windows(numbers.text_tokens);
    let told = match numbers.train_tokens {
        Some(train) => format!(
            "{}. {} of them are held out, to see how well the model predicts text it never saw; {} are learned from. The whole \
             text would give {}, the training part gives {}. All below is about the training part.",
            many(numbers.text_tokens, "token"),
            n(numbers.text_tokens.saturating_sub(train)),
            n(train),
            many(whole, "window"),
            n(windows(train)),
        ),
        None => {
            let left = numbers.text_tokens - numbers.text_tokens.div_ceil(10);
            format!(
                "{}, and all below is about the whole of them. In an experiment a tenth is held out, to see how well the model \
                 predicts text it never saw: {} stay, and {} of the {}.",
                many(numbers.text_tokens, "token"),
                n(left),
                n(windows(left)),
                many(whole, "window"),
            )
        }
    };
    page.entry("text", &told);
}

pub(super) fn token(page: &mut Page, sample: Option<&Sample>) {
    let Some(sample) = sample else {
        page.entry("token", "The smallest unit of text the model sees: a word, a part of one, a character or a byte.");
        return;
    };
    let shown = |piece: &str| piece.replace('\n', "⏎").replace('\t', "⇥").replace(' ', "␣");
    page.entry(
        "token",
        &format!(
            "The smallest unit of text the model sees. Under the tokenizer `{}` the sentence “{}” is {}:",
            sample.tokenizer,
            sample.text,
            many(sample.pieces.len() as u64, "token")
        ),
    );
    let mut line = String::new();
    for (i, piece) in sample.pieces.iter().enumerate() {
        let item = format!("{} {}   ", i + 1, shown(piece));
        if INDENT + 2 + width(&line) + width(item.trim_end()) > page.width {
            page.line(&format!("  {}", line.trim_end()));
            line.clear();
        }
        line.push_str(&item);
    }
    page.line(&format!("  {}", line.trim_end()));
}
