//! `votive explain`: one configuration walked through the words of the program, with its own numbers.

use std::fmt::Write;

use super::words::thousands;
use crate::corpus::{Batches, Windows};
use crate::error::{Error, Result};
use crate::experiment::settings::{BatchSize, Budget, ClipNorm, Precision};

/// Columns at most, and at least.
pub(crate) const WIDTH: usize = 79;
const NARROWEST: usize = 40;
const INDENT: usize = 12;
/// Columns of the picture of the windows, where there is room for all of it.
const PICTURE: usize = 38;
/// Windows of a batch that are named.
const SHOWN: usize = 6;

/// The figures of one configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Numbers {
    /// Tokens of the whole text.
    pub text_tokens: u64,
    /// Tokens of the training part, where the text is known. Without it everything is told of the whole text.
    pub train_tokens: Option<u64>,
    /// Tokens in the vocabulary, where the tokenizer is known.
    pub vocabulary: Option<u64>,
    /// L.
    pub sequence_length: usize,
    /// S.
    pub stride: usize,
    /// Windows in a step.
    pub batch_size: BatchSize,
    /// Whether each epoch has an order of its own.
    pub shuffle: bool,
    /// The seed whose order is shown.
    pub seed: u64,
    /// Largest gradient norm, where that is known.
    pub clip_norm: Option<ClipNorm>,
    /// What matrix products are made in.
    pub precision: Precision,
    /// How long it trains, where that is known.
    pub budget: Option<Budget>,
    /// Its optimizer steps, where they are known (not for a budget in minutes).
    pub steps: Option<u64>,
}

impl Numbers {
    /// From four numbers alone; for the rest the defaults are told.
    pub fn of_text(tokens: u64, sequence_length: usize, stride: usize, batch_size: BatchSize) -> Self {
        Self {
            text_tokens: tokens,
            train_tokens: None,
            vocabulary: None,
            sequence_length,
            stride,
            batch_size,
            shuffle: true,
            seed: 1,
            clip_norm: None,
            precision: Precision::F32,
            budget: None,
            steps: None,
        }
    }
}

/// A sentence, as the configuration's tokenizer sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The tokenizer's label, as `word` or `bpe-512`.
    pub tokenizer: String,
    /// The sentence.
    pub text: String,
    /// Its tokens, as people read them.
    pub pieces: Vec<String>,
}

/// The whole text, as wide as this, and at most 79 columns. Fails where there is no window, with the smallest text that would do.
pub fn explain(numbers: &Numbers, sample: Option<&Sample>, width: usize) -> Result<String> {
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
    let mut page = Page { text: String::new(), width: width.clamp(NARROWEST, WIDTH) };
    page.title(numbers);
    text(&mut page, numbers);
    token(&mut page, sample);
    page.blank();
    window(&mut page, numbers, &windows);
    targets(&mut page, &windows);
    page.blank();
    batch(&mut page, numbers, &windows);
    epoch(&mut page, numbers, &windows);
    page.blank();
    learning(&mut page, numbers);
    Ok(page.text)
}

fn text(page: &mut Page, numbers: &Numbers) {
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

fn token(page: &mut Page, sample: Option<&Sample>) {
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

fn window(page: &mut Page, numbers: &Numbers, windows: &Windows) {
    let (length, stride) = (windows.length, windows.stride);
    let moved = match stride.cmp(&length) {
        std::cmp::Ordering::Less => format!("so that neighbours share {}", n(length - stride)),
        std::cmp::Ordering::Equal => "as much as a window is long: windows lie side by side".to_owned(),
        std::cmp::Ordering::Greater => {
            format!("more than a window is long: {} between two are skipped", many((stride - length) as u64, "token"))
        }
    };
    page.entry(
        "window",
        &format!(
            "One training sequence: the model looks at {} at once (the sequence length, or context) and learns to predict, \
             for each, the one that follows. The next window starts {} further on (the stride), {moved}.",
            many(length as u64, "token"),
            n(stride)
        ),
    );
    page.blank();
    for line in picture(windows, PICTURE.saturating_sub(WIDTH - page.width).max(4)) {
        page.line(&line);
    }
    if stride < length && windows.count() > 1 {
        match page.width {
            WIDTH => page.line("█ new   ░ also in the window before   · in no window"),
            _ => page.paragraph("█ new, ░ also in the window before, · in no window"),
        }
    }
    page.blank();
    page.line(&format!(
        "floor(({} − {} − 1) / {}) + 1 = {}",
        n(windows.tokens),
        n(length),
        n(stride),
        many(windows.count(), "window")
    ));
    if windows.unused_at_the_end() > 0 {
        page.paragraph(&format!(
            "{} at the end {} too few for one more.",
            many(windows.unused_at_the_end(), "token"),
            if windows.unused_at_the_end() == 1 { "is" } else { "are" }
        ));
    }
    if numbers.train_tokens.is_none() && windows.count() > 1 {
        // The off-by-one that people meet: a text that is a whole number of strides long loses its last window.
        page.paragraph(&format!("(The 1 is the target of the last token: {} tokens give no window.)", n(length)));
    }
}

/// The first windows and the last, as bars: dark where a token is new, light where the window before had it too.
fn picture(windows: &Windows, columns: usize) -> Vec<String> {
    let count = windows.count();
    let (length, stride) = (windows.length as u64, windows.stride as u64);
    let few = count <= 4;
    let shown: Vec<u64> = if few { (0..count).collect() } else { vec![0, 1, 2, count - 1] };
    // Tokens that the picture is wide: all of them, or three windows with some room after them.
    let span = if few { windows.tokens } else { (2 * stride + length + stride.min(length) / 2).min(windows.tokens) };
    let column = |token: u64, from: u64| ((token - from) as f64 / span as f64 * columns as f64).round() as usize;
    let range = |i: u64| (n(windows.start(i) + 1), n(windows.start(i) + length));
    let left = shown.iter().map(|&i| range(i).0.len()).max().unwrap_or(0);
    let right = shown.iter().map(|&i| range(i).1.len()).max().unwrap_or(0);
    let number = shown.iter().map(|&i| n(i + 1).len()).max().unwrap_or(0).max("window".len());

    let mut lines = vec![format!("{:>number$}   {:>w$}", "window", "looks at tokens", w = (left + right + 1).max(15))];
    for &i in &shown {
        let last = !few && i == count - 1;
        if last {
            lines.push(format!("{:>number$}", "⋮"));
        }
        let from = if last { windows.tokens - span } else { 0 };
        let start = windows.start(i);
        let seen = if i == 0 { start } else { (start - stride + length).clamp(start, start + length) };
        let (a, b, c) = (column(start, from), column(seen, from), column(start + length, from));
        let c = c.max(a + 1).min(columns.max(a + 1));
        let b = b.clamp(a, c);
        // The last one shows what is left of the text after it.
        let tail = if i == count - 1 { column(windows.tokens, from).saturating_sub(c) } else { 0 };
        let bar = format!("{}{}{}{}", " ".repeat(a), "░".repeat(b - a), "█".repeat(c - b), "·".repeat(tail));
        let (first, end) = range(i);
        let tokens = format!("{first:>left$}–{end:<right$}");
        lines.push(format!("{:>number$}   {tokens:>15}   {bar}", n(i + 1)).trim_end().to_owned());
    }
    lines
}

fn targets(page: &mut Page, windows: &Windows) {
    let (length, stride) = (windows.length as u64, windows.stride as u64);
    let (most, least) = (windows.most_views(), length / stride);
    let distinct = windows.distinct_targets();
    let how_often = if stride == length {
        "each of them once an epoch".to_owned()
    } else if stride > length {
        format!("each of them once an epoch; {} are skipped", n(windows.tokens - distinct))
    } else if windows.count() == 1 {
        "each of them once an epoch, since there is one window".to_owned()
    } else {
        let inside = if most == least { many(most, "time") } else { format!("{} or {} times", n(least), n(most)) };
        let between = if windows.count() >= most { inside } else { format!("up to {}", many(windows.count(), "time")) };
        format!(
            "{between} an epoch, {} at both ends once",
            if stride == 1 { "the one".to_owned() } else { format!("the {}", n(stride)) }
        )
    };
    page.entry(
        "target",
        &format!(
            "A token to be predicted. {} of {} are one, {how_often}: {} × {} = {} predictions an epoch, {:.2} for each on average.",
            n(distinct),
            many(windows.tokens, "token"),
            n(windows.count()),
            n(length),
            n(windows.targets()),
            windows.views(),
        ),
    );
}

fn batch(page: &mut Page, numbers: &Numbers, windows: &Windows) {
    let batches = Batches::new(windows.count(), numbers.batch_size, numbers.shuffle, numbers.seed);
    let (size, steps, partial) = (batches.batch_windows(), batches.steps_per_epoch(), batches.partial());
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

fn epoch(page: &mut Page, numbers: &Numbers, windows: &Windows) {
    let mut batches = Batches::new(windows.count(), numbers.batch_size, numbers.shuffle, numbers.seed);
    let steps = batches.steps_per_epoch();
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

fn learning(page: &mut Page, numbers: &Numbers) {
    let untrained = match numbers.vocabulary {
        Some(v) => format!(
            "A model that has learned nothing finds all {} tokens of the vocabulary equally likely: its loss is ln {} = {:.2}, its \
             perplexity {}.",
            n(v),
            n(v),
            (v as f64).ln(),
            n(v)
        ),
        None => "A model that has learned nothing finds all V tokens of the vocabulary equally likely: its loss is ln V, its \
                 perplexity V."
            .to_owned(),
    };
    page.entry("loss", &format!("The mean of −ln(probability given to the right token), in nats a token. {untrained}"));
    page.entry(
        "perplexity",
        "exp(loss): the model is as unsure as if it chose among so many equally likely tokens. Lower is better, and only \
         perplexities under the same tokenizer can be compared.",
    );
    let limit = match numbers.clip_norm {
        Some(ClipNorm::Off) => "`clip_norm: off`: the norm of all gradients together is measured, and nothing is scaled. \
                                With a limit C they would be scaled so that it is at most C."
            .to_owned(),
        Some(ClipNorm::At(c)) => {
            format!("`clip_norm: {c}`: where the norm of all gradients together is above {c}, all are scaled so that it is {c}.")
        }
        None => "`clip_norm: C`: where the norm of all gradients together is above C, all are scaled so that it is C.".to_owned(),
    };
    page.entry(
        "clipping",
        &format!(
            "{limit} It limits gradients, not steps: AdamW then rescales every weight's gradient by its own recent size. So a \
             limit matters when a batch stands out, and hardly where it cuts every step alike."
        ),
    );
    let products = match numbers.precision {
        Precision::F32 => None,
        Precision::Tf32 => Some("`tf32`: the GPU multiplies numbers of 11 significant bits instead of 24"),
        Precision::Bf16 => Some("`bf16`: the GPU multiplies numbers of 8 significant bits instead of 24"),
    };
    if let Some(products) = products {
        let told = format!("{products}, and adds in 32 bits. Weights, moments, norms, softmax and loss stay in 32 bits.");
        page.entry("precision", &told);
    }
    page.entry(
        "checkpoint",
        "Weights, optimizer state and position, saved on the way: a trial that was killed goes on as if nothing had happened.",
    );
}

/// The page as it grows: words on the left, what they mean here beside them.
struct Page {
    text: String,
    width: usize,
}

impl Page {
    fn title(&mut self, numbers: &Numbers) {
        let batch = match numbers.batch_size {
            BatchSize::Windows(size) => format!("batches of {}", n(size)),
            BatchSize::Full => "full batches".to_owned(),
        };
        let title = format!(
            "{}, sequence length {}, stride {}, {batch}",
            many(numbers.train_tokens.unwrap_or(numbers.text_tokens), "token"),
            n(numbers.sequence_length),
            n(numbers.stride)
        );
        let lines = wrap(&title, self.width);
        let longest = lines.iter().map(|line| width(line)).max().unwrap_or(0);
        self.text.push_str(&format!("{}\n{}\n", lines.join("\n"), "─".repeat(longest)));
    }

    fn entry(&mut self, word: &str, told: &str) {
        let mut label = word;
        for line in wrap(told, self.width - INDENT) {
            self.text.push_str(&format!("{label:<INDENT$}{line}\n"));
            label = "";
        }
    }

    fn paragraph(&mut self, told: &str) {
        self.entry("", told);
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(&format!("{}{line}\n", " ".repeat(INDENT)));
    }

    fn blank(&mut self) {
        self.text.push('\n');
    }
}

fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        if used > 0 && used + 1 + width(word) > columns {
            lines.push(String::new());
            used = 0;
        }
        if let Some(line) = lines.last_mut() {
            if used > 0 {
                line.push(' ');
                used += 1;
            }
            line.push_str(word);
            used += width(word);
        }
    }
    lines
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// A whole number with a comma between thousands.
fn n<T: TryInto<u64>>(number: T) -> String {
    number.try_into().map_or_else(|_| "?".to_owned(), thousands)
}

fn many(number: u64, thing: &str) -> String {
    format!("{} {thing}{}", n(number), if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn the_picture_shows_first_and_last_windows_and_what_they_share() {
        let lines = picture(&Windows::new(20_000, 512, 256), PICTURE);
        assert_eq!(lines.len(), 6, "a heading, three windows, a gap, the last");
        assert!(lines[1].contains("1–512") && !lines[1].contains('░'));
        assert!(lines[2].contains("257–768") && lines[2].contains("░█"));
        assert!(lines[5].contains("19,457–19,968"), "{}", lines[5]);
        let bars = |line: &str, bar: char| line.chars().filter(|&c| c == bar).count() as i64;
        assert!((bars(&lines[2], '░') - bars(&lines[2], '█')).abs() <= 1, "half is shared");
        let apart = picture(&Windows::new(2_000, 100, 200), PICTURE);
        assert!(apart.iter().all(|line| !line.contains('░')));
        assert_eq!(picture(&Windows::new(101, 100, 50), PICTURE).len(), 2);
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

    #[test]
    fn thousands_are_separated() {
        for (number, expected) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(n(number as u64), expected);
        }
    }
}
