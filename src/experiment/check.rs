//! What settings must hold together; each by itself is already right when it has been parsed.

use super::settings::{Budget, Corpus, DeviceChoice, Family, Misfit, Model, On, Part, Run, Settings, Tokenizer};
use crate::device::Device;
use crate::words::thousands;

/// The 256 bytes and the end-of-text token.
const SMALLEST_BPE: usize = 257;
/// Most parameters of a model: a thousand times more than anybody trains, and few enough to be counted with.
const MOST_PARAMETERS: u64 = 1_000_000_000_000_000;

/// Settings that do not go together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Conflict {
    /// The settings concerned.
    pub(super) keys: &'static [&'static str],
    pub(super) message: String,
    pub(super) help: Option<String>,
}

/// Everything that is wrong with one configuration.
pub(super) fn conflicts(settings: &Settings) -> Vec<Conflict> {
    let mut found = of_heads(&settings.model);
    found.extend(of_size(settings));
    found.extend(of_course(settings));
    found.extend(of_corpus(&settings.corpus));
    found
}

/// Width and heads, and what only one of the families has.
fn of_heads(model: &Model) -> Vec<Conflict> {
    let mut found = Vec::new();
    let mut add = |keys, message: String, help: Option<String>| found.push(Conflict { keys, message, help });
    let (width, heads, kv_heads) = (model.width, model.heads, model.kv_heads());
    for misfit in Misfit::all(model.family, width, heads, kv_heads) {
        match misfit {
            Misfit::Heads => {
                let divides = |h: &usize| width.is_multiple_of(*h);
                let near = (1..=width.min(1024)).filter(divides).min_by_key(|h| h.abs_diff(heads)).unwrap_or(1);
                let message = format!("`model.width` {width} is not a multiple of `model.heads` {heads}");
                let help = format!("{near} heads would do, or a width of {}", width.div_ceil(heads) * heads);
                add(&["model.width", "model.heads"], message, Some(help));
            }
            Misfit::OddHead(head) => {
                let message = format!("a head of {head} is odd ({width} wide, {heads} heads): rotary positions need pairs");
                let help = "choose an even width of a head".to_owned();
                add(&["model.width", "model.heads", "model.family"], message, Some(help));
            }
            Misfit::KeyValueHeads => {
                let message = format!("`model.heads` {heads} is not a multiple of `model.kv_heads` {kv_heads}");
                add(&["model.heads", "model.kv_heads", "model.family"], message, None);
            }
        }
    }
    if model.family == Family::Gpt2 && kv_heads != heads {
        let message =
            format!("`model.kv_heads` {kv_heads} is only for `family: llama`: gpt2 has one for each of its {heads} heads");
        let help = "take `kv_heads` out, or exclude it with `when: family == gpt2 and kv_heads != heads`";
        add(&["model.kv_heads", "model.heads", "model.family"], message, Some(help.to_owned()));
    }
    if model.family == Family::Llama && model.dropout > 0.0 {
        let message = format!("`model.dropout` {} is only for `family: gpt2`: a llama has none", model.dropout);
        let help = "leave it at 0, or exclude it with `when: family == llama and dropout > 0`";
        add(&["model.dropout", "model.family"], message, Some(help.to_owned()));
    }
    found
}

/// The vocabulary, and the size of the whole model.
fn of_size(settings: &Settings) -> Vec<Conflict> {
    let model = &settings.model;
    let mut found = Vec::new();
    let mut add = |keys, message: String, help: String| found.push(Conflict { keys, message, help: Some(help) });
    let mut vocabulary = 0;
    if let Tokenizer::Bpe { vocab_size } = settings.tokenizer {
        vocabulary = vocab_size;
        if vocab_size < SMALLEST_BPE {
            let message = format!(
                "a `vocab_size` of {vocab_size} is too small: the 256 bytes and the end of text are {SMALLEST_BPE} tokens"
            );
            add(&["tokenizer"], message, format!("choose {SMALLEST_BPE} or more, or `kind: byte`"));
        }
    }
    let (layers, width) = (model.layers as f64, model.width as f64);
    let parameters = 12.0 * layers * width.powi(2) + vocabulary as f64 * width;
    if parameters > MOST_PARAMETERS as f64 {
        let message =
            format!("a model of about {parameters:.1e} parameters cannot be trained: at most {}", thousands(MOST_PARAMETERS));
        add(&["model.width", "model.layers", "tokenizer"], message, "make it narrower".to_owned());
    }
    found
}

/// Where trials run, and for how long.
fn of_course(settings: &Settings) -> Vec<Conflict> {
    let mut found = Vec::new();
    let mut add = |keys, message: &str, help: Option<&str>| {
        found.push(Conflict { keys, message: message.to_owned(), help: help.map(str::to_owned) });
    };
    let Run { on, device, slurm, .. } = &settings.run;
    let gpu = matches!(device, DeviceChoice::Cuda | DeviceChoice::This(Device::Cuda(_)));
    if *on == On::Slurm && gpu && slurm.gpus == 0 {
        let message = "`run.device` asks for a GPU, and `run.slurm.gpus` asks the cluster for none";
        add(&["run.device", "run.slurm.gpus"], message, Some("write `run.slurm: {gpus: 1}`"));
    }
    if *on == On::Slurm && *device == DeviceChoice::This(Device::Cpu) && slurm.gpus > 0 {
        let message = "`run.slurm.gpus` asks the cluster for a GPU, and `run.device: cpu` leaves it idle";
        add(&["run.slurm.gpus", "run.device"], message, Some("take one of the two out"));
    }
    let nothing = match settings.train.budget {
        Budget::Tokens(n) | Budget::Bytes(n) | Budget::Steps(n) => n == 0,
        Budget::Epochs(n) | Budget::Minutes(n) => n == 0.0,
    };
    if nothing {
        add(&["train.budget"], "`train.budget` is 0: nothing would be trained", None);
    }
    found
}

/// The text and its parts.
fn of_corpus(corpus: &Corpus) -> Vec<Conflict> {
    let mut found = Vec::new();
    let mut add = |keys, message: String, help: Option<String>| found.push(Conflict { keys, message, help });
    if let (Part::Fraction(validation), Part::Fraction(test)) = (&corpus.validation, &corpus.test)
        && validation + test >= 1.0
    {
        let message = format!("`corpus.validation` {validation} and `corpus.test` {test} leave nothing to train on");
        add(&["corpus.validation", "corpus.test"], message, None);
    }
    if corpus.text.is_empty() || corpus.text.iter().any(|path| path.trim().is_empty()) {
        add(&["corpus.text"], "`corpus.text` names no file".to_owned(), Some("`builtin:keeper` is the built-in book".to_owned()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn right() -> Settings {
        let mut settings = Settings::default();
        settings.corpus.text = vec!["a.txt".to_owned()];
        settings.train.budget = Budget::Steps(10);
        settings
    }

    #[test]
    fn settings_that_do_not_go_together_are_named_with_their_numbers() {
        assert_eq!(conflicts(&right()), []);
        type Change = fn(&mut Settings);
        let cases: &[(Change, &str)] = &[
            (|s| s.model.heads = 6, "`model.width` 128 is not a multiple of `model.heads` 6"),
            (
                |s| (s.model.family, s.model.width) = (Family::Llama, 132),
                "a head of 33 is odd (132 wide, 4 heads): rotary positions need pairs",
            ),
            (
                |s| (s.model.family, s.model.kv_heads) = (Family::Llama, Some(3)),
                "`model.heads` 4 is not a multiple of `model.kv_heads` 3",
            ),
            (
                |s| s.model.kv_heads = Some(2),
                "`model.kv_heads` 2 is only for `family: llama`: gpt2 has one for each of its 4 heads",
            ),
            (
                |s| s.tokenizer = Tokenizer::Bpe { vocab_size: 256 },
                "a `vocab_size` of 256 is too small: the 256 bytes and the end of text are 257 tokens",
            ),
            (
                |s| (s.model.family, s.model.dropout) = (Family::Llama, 0.1),
                "`model.dropout` 0.1 is only for `family: gpt2`: a llama has none",
            ),
            (
                |s| (s.model.width, s.model.layers) = (1_000_000_000, 1_000),
                "a model of about 1.2e22 parameters cannot be trained: at most 1,000,000,000,000,000",
            ),
            (
                |s| (s.run.on, s.run.device) = (On::Slurm, DeviceChoice::Cuda),
                "`run.device` asks for a GPU, and `run.slurm.gpus` asks the cluster for none",
            ),
            (
                |s| (s.run.on, s.run.device, s.run.slurm.gpus) = (On::Slurm, DeviceChoice::This(Device::Cpu), 1),
                "`run.slurm.gpus` asks the cluster for a GPU, and `run.device: cpu` leaves it idle",
            ),
            (|s| s.train.budget = Budget::Epochs(0.0), "`train.budget` is 0: nothing would be trained"),
            (
                |s| (s.corpus.validation, s.corpus.test) = (Part::Fraction(0.6), Part::Fraction(0.4)),
                "`corpus.validation` 0.6 and `corpus.test` 0.4 leave nothing to train on",
            ),
            (|s| s.corpus.text.clear(), "`corpus.text` names no file"),
        ];
        for (change, expected) in cases {
            let mut settings = right();
            change(&mut settings);
            let found: Vec<String> = conflicts(&settings).into_iter().map(|c| c.message).collect();
            assert_eq!(found, [*expected]);
        }
    }

    #[test]
    fn llama_takes_what_it_should() {
        let mut settings = right();
        settings.model.family = Family::Llama;
        settings.model.kv_heads = Some(2);
        assert_eq!(conflicts(&settings), []);
    }
}
