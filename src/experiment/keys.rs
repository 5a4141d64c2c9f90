//! What the settings are called, and what somebody may have meant who calls them otherwise.

use std::sync::LazyLock;

pub(super) use super::reference::SECTIONS;
use super::reference::TABLE;
use super::text::shown;

/// The keys at the top of a file that are no sections of settings.
pub(super) static TOP: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let top = TABLE.iter().filter(|entry| !entry.is_setting()).map(|entry| entry.key);
    top.chain(NOT_YET.iter().copied()).collect()
});

/// Keys at the top that are known, and refused with a sentence of their own.
const NOT_YET: &[&str] = &["confirm"];

/// What a key at the top begins with that is passed over: a place for YAML anchors.
pub(super) const PASSED_OVER: &str = "x-";

/// Sections that say nothing about a trial's result: they hold for the whole experiment.
const UNSWEPT: &[&str] = &["evaluate", "checkpoint", "run", "report"];

/// A section within a section, whose settings have names of three parts.
pub(super) const INNER_SECTION: &str = "run.slurm";

/// Settings that are a block: a later layer replaces them whole.
pub(super) const TOKENIZER: &str = "tokenizer";
/// The part of it that says which other parts there are.
pub(super) const TOKENIZER_KIND: &str = "tokenizer.kind";
/// The other block.
pub(super) const BUDGET: &str = "train.budget";

/// The keys inside `tokenizer`.
pub(super) const TOKENIZER_KEYS: &[&str] = &["kind", "vocab_size", "path"];
/// The units of `train.budget`.
pub(super) const BUDGET_UNITS: &[&str] = &["tokens", "bytes", "steps", "epochs", "minutes"];

/// The full name of every setting, blocks as one.
pub(super) static SETTINGS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let settings = TABLE.iter().filter(|entry| entry.is_setting() && block_part(entry.key).is_none());
    settings.map(|entry| entry.key.to_owned()).collect()
});

/// Words of other programs, and what they are called here.
const OTHER_WORDS: &[(&str, &str)] = &[
    ("block_size", "train.sequence_length"),
    ("seq_len", "train.sequence_length"),
    ("seq_length", "train.sequence_length"),
    ("context_length", "train.sequence_length"),
    ("context_size", "train.sequence_length"),
    ("max_seq_len", "train.sequence_length"),
    ("max_seq_length", "train.sequence_length"),
    ("max_length", "train.sequence_length"),
    ("max_position_embeddings", "train.sequence_length"),
    ("n_ctx", "train.sequence_length"),
    ("n_positions", "train.sequence_length"),
    ("window", "train.sequence_length"),
    ("overlap", "train.stride"),
    ("step_size", "train.stride"),
    ("lr", "train.learning_rate"),
    ("max_lr", "train.learning_rate"),
    ("min_lr", "train.final_learning_rate"),
    ("end_lr", "train.final_learning_rate"),
    ("lr_scheduler_type", "train.schedule"),
    ("lr_schedule", "train.schedule"),
    ("scheduler", "train.schedule"),
    ("decay_lr", "train.schedule"),
    ("warmup_steps", "train.warmup"),
    ("warmup_iters", "train.warmup"),
    ("warmup_ratio", "train.warmup"),
    ("max_grad_norm", "train.clip_norm"),
    ("grad_clip", "train.clip_norm"),
    ("gradient_clip_val", "train.clip_norm"),
    ("gradient_clipping", "train.clip_norm"),
    ("clip", "train.clip_norm"),
    ("clip_grad_norm", "train.clip_norm"),
    ("max_norm", "train.clip_norm"),
    ("wd", "train.weight_decay"),
    ("adam_beta1", "train.beta1"),
    ("adam_beta2", "train.beta2"),
    ("adam_epsilon", "train.epsilon"),
    ("eps", "train.epsilon"),
    ("batch", "train.batch_size"),
    ("bs", "train.batch_size"),
    ("train_batch_size", "train.batch_size"),
    ("per_device_train_batch_size", "train.batch_size"),
    ("mini_batch_size", "train.batch_size"),
    ("micro_batch_size", "train.micro_batch"),
    ("gradient_accumulation_steps", "train.micro_batch"),
    ("gradient_accumulation", "train.micro_batch"),
    ("grad_accum", "train.micro_batch"),
    ("accumulation_steps", "train.micro_batch"),
    ("grad_accum_steps", "train.micro_batch"),
    ("accumulate_grad_batches", "train.micro_batch"),
    ("epochs", "train.budget"),
    ("num_epochs", "train.budget"),
    ("num_train_epochs", "train.budget"),
    ("max_epochs", "train.budget"),
    ("steps", "train.budget"),
    ("max_steps", "train.budget"),
    ("max_iters", "train.budget"),
    ("num_steps", "train.budget"),
    ("iterations", "train.budget"),
    ("tokens", "train.budget"),
    ("max_tokens", "train.budget"),
    ("minutes", "train.budget"),
    ("dtype", "train.precision"),
    ("fp16", "train.precision"),
    ("bf16", "train.precision"),
    ("tf32", "train.precision"),
    ("allow_tf32", "train.precision"),
    ("matmul_precision", "train.precision"),
    ("mixed_precision", "train.precision"),
    ("seed", "seeds"),
    ("random_seed", "seeds"),
    ("n_layer", "model.layers"),
    ("n_layers", "model.layers"),
    ("num_layers", "model.layers"),
    ("num_hidden_layers", "model.layers"),
    ("depth", "model.layers"),
    ("n_head", "model.heads"),
    ("n_heads", "model.heads"),
    ("num_heads", "model.heads"),
    ("num_attention_heads", "model.heads"),
    ("n_kv_head", "model.kv_heads"),
    ("num_key_value_heads", "model.kv_heads"),
    ("n_embd", "model.width"),
    ("d_model", "model.width"),
    ("dim", "model.width"),
    ("embed_dim", "model.width"),
    ("emb_dim", "model.width"),
    ("hidden_size", "model.width"),
    ("hidden_dim", "model.width"),
    ("drop_rate", "model.dropout"),
    ("resid_pdrop", "model.dropout"),
    ("qkv_bias", "model.bias"),
    ("tie_word_embeddings", "model.tied"),
    ("tie_weights", "model.tied"),
    ("hidden_act", "model.activation"),
    ("activation_function", "model.activation"),
    ("init_from", "model.from"),
    ("architecture", "model.family"),
    ("arch", "model.family"),
    ("model_type", "model.family"),
    ("vocab", "tokenizer.vocab_size"),
    ("type", "tokenizer.kind"),
    ("dataset", "corpus.text"),
    ("data", "corpus.text"),
    ("file", "corpus.text"),
    ("files", "corpus.text"),
    ("train_file", "corpus.text"),
    ("validation_split", "corpus.validation"),
    ("val_split", "corpus.validation"),
    ("val", "corpus.validation"),
    ("test_split", "corpus.test"),
    ("text_column", "corpus.field"),
    ("eval_interval", "evaluate.every"),
    ("eval_steps", "evaluate.every"),
    ("eval_every", "evaluate.every"),
    ("evaluation_interval", "evaluate.every"),
    ("interval", "evaluate.every"),
    ("save_steps", "checkpoint.every"),
    ("save_every", "checkpoint.every"),
    ("save_interval", "checkpoint.every"),
    ("checkpoint_interval", "checkpoint.every"),
    ("checkpoint_every", "checkpoint.every"),
    ("save_total_limit", "checkpoint.keep_last"),
    ("cuda_home", "run.cuda_libraries"),
    ("cuda_path", "run.cuda_libraries"),
    ("backend", "run.engine"),
    ("trials_per_gpu", "run.per_device"),
    ("jobs", "run.slots"),
    ("workers", "run.slots"),
    ("num_workers", "run.slots"),
    ("deadline", "run.until"),
    ("max_time", "run.time"),
    ("sweep", "grid"),
    ("matrix", "grid"),
    ("axes", "grid"),
    ("parameters", "grid"),
    ("params", "grid"),
    ("include", "points"),
    ("filter", "exclude"),
    ("constraints", "exclude"),
    ("title", "name"),
    ("base", "train"),
];

/// Words for what there is not, and what there is instead.
const NOT_HERE: &[(&[&str], &str)] = &[
    (
        &["optimizer", "optim", "optimiser"],
        "the optimizer is AdamW; it is set by `train.learning_rate`, `weight_decay`, `beta1`, `beta2` and `epsilon`",
    ),
    (
        &["wandb", "tensorboard", "mlflow", "report_to", "logger", "logging", "tracker"],
        "nothing is sent anywhere: results are Parquet files and a page, under `runs/`",
    ),
    (
        &["early_stopping", "early_stop", "early_stopping_patience"],
        "each trial trains for its whole budget; `evaluate.rank_at: best` ranks the best weights on the way",
    ),
    (
        &["bayes", "bayesian", "optuna", "tpe", "hyperband", "asha", "method", "strategy", "algorithm"],
        "a search draws at random: `search: {random: 40, train.learning_rate: {from: 1e-4, to: 1e-2, log: true}}`",
    ),
    (
        &["gpus", "gpu", "num_gpus", "n_gpus", "accelerator"],
        "trials run on every GPU that can be used, each on one; `run.device` names one (`cuda:1`), `run.per_device` is how many run on one at a time",
    ),
    (&["notify"], "there is no such setting yet: take it out"),
];

/// Whether this name holds settings.
pub(super) fn is_section(key: &str) -> bool {
    SECTIONS.contains(&key) || key == INNER_SECTION
}

/// Whether this is a setting, a key inside a block included.
pub(super) fn exists(key: &str) -> bool {
    SETTINGS.iter().any(|k| k == key) || block_part(key).is_some()
}

/// `tokenizer.vocab_size` is a part of the block `tokenizer`, `train.budget.steps` of `train.budget`.
pub(super) fn block_part(key: &str) -> Option<(&'static str, &'static str)> {
    for (block, parts) in [(TOKENIZER, TOKENIZER_KEYS), (BUDGET, BUDGET_UNITS)] {
        if let Some(part) = key.strip_prefix(block).and_then(|rest| rest.strip_prefix('.')) {
            return parts.iter().find(|&&p| p == part).map(|&p| (block, p));
        }
    }
    None
}

/// The setting that `key` is, or is a part of.
pub(super) fn whole_setting(key: &str) -> &str {
    block_part(key).map_or(key, |(block, _)| block)
}

/// Whether it is a part of the tokenizer's block.
pub(super) fn is_part_of_tokenizer(key: &str) -> bool {
    block_part(key).is_some_and(|(block, _)| block == TOKENIZER)
}

/// Whether one of these says what the other says: the same setting, a block and a part of it, two units of the budget.
pub(super) fn overlap(one: &str, other: &str) -> bool {
    let whole = whole_setting(one);
    one == other || (whole == whole_setting(other) && (whole == BUDGET || [one, other].contains(&whole)))
}

/// Whether it says what is held out: configurations that differ in it would each be scored on a text of their own.
pub(super) fn is_held_out(key: &str) -> bool {
    ["corpus.validation", "corpus.test"].contains(&key)
}

/// Whether configurations may differ in it, as far as its name says; see [`is_held_out`] for those that are refused with all
/// configurations at hand.
pub(super) fn can_be_swept(key: &str) -> bool {
    !UNSWEPT.contains(&key.split('.').next().unwrap_or_default())
}

/// The last part of a dotted name.
pub(super) fn last_name(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

/// What is wrong with a key that is no setting.
pub(super) fn unknown(key: &str) -> String {
    match is_section(key) || TOP.contains(&key) {
        true => format!("`{key}` is not one setting"),
        false => format!("there is no setting called `{}`", shown(key)),
    }
}

/// The setting of a section that is meant where one value stands for the whole of it.
pub(super) fn only_setting(section: &str) -> Option<&'static str> {
    match section {
        "corpus" => Some("text"),
        "model" => Some("family"),
        "run" => Some("device"),
        "report" => Some("margin"),
        _ => None,
    }
}

/// What somebody probably meant who wrote `key`, as something to do.
pub(super) fn suggestion(key: &str) -> Option<String> {
    let last = last_name(key).to_ascii_lowercase();
    if is_section(key) {
        let inside = SETTINGS.iter().find(|name| name.strip_prefix(key).is_some_and(|rest| rest.starts_with('.')));
        return inside.map(|name| format!("`{key}` is a section: name one of its settings, such as `{name}`"));
    }
    if TOP.contains(&last.as_str()) {
        return Some(format!("`{last}` stands at the top of the file"));
    }
    if let Some((_, instead)) = NOT_HERE.iter().find(|(words, _)| words.contains(&last.as_str())) {
        return Some((*instead).to_owned());
    }
    meant(key).map(|name| match OTHER_WORDS.iter().find(|(word, _)| *word == last_name(key).to_ascii_lowercase()) {
        Some((word, _)) if !exists(key) => format!("`{word}` is called `{name}` here{}", remark(word)),
        _ => format!("did you mean `{name}`?"),
    })
}

/// The same, or where all names are.
pub(super) fn advice(key: &str) -> String {
    suggestion(key).unwrap_or_else(|| "`votive settings` lists all there are".to_owned())
}

fn remark(word: &str) -> &'static str {
    match word {
        "warmup_steps" | "warmup_iters" => ", a fraction of all steps",
        "min_lr" | "end_lr" => ", a fraction of the peak",
        "gradient_accumulation_steps" | "grad_accum_steps" | "accumulate_grad_batches" => {
            ", the sequences that go through the model at once; `train.batch_size` counts all of a step"
        }
        "epochs" | "num_epochs" | "num_train_epochs" | "max_epochs" => ": `budget: {epochs: 3}`",
        "steps" | "max_steps" | "max_iters" | "num_steps" | "iterations" => ": `budget: {steps: 1000}`",
        "tokens" | "max_tokens" => ": `budget: {tokens: 1_000_000}`",
        "minutes" => ": `budget: {minutes: 30}`",
        "eval_interval" | "eval_steps" | "eval_every" | "save_steps" | "save_every" | "checkpoint_interval" => {
            ", a fraction of all steps"
        }
        _ => "",
    }
}

/// What other programs call this setting.
pub(super) fn other_words(key: &str) -> Vec<&'static str> {
    OTHER_WORDS.iter().filter(|(_, name)| *name == key).map(|(word, _)| *word).collect()
}

/// Whether it is another program's word for something that there is here.
pub(super) fn is_other_word(word: &str) -> bool {
    OTHER_WORDS.iter().any(|(other, _)| *other == last_name(word))
}

/// The name of the key that `key` probably is.
pub(super) fn meant(key: &str) -> Option<String> {
    let lower = key.to_ascii_lowercase().replace('-', "_");
    let last = last_name(&lower);
    let names = || SETTINGS.iter().map(String::as_str).chain(PARTS.iter().map(String::as_str));
    // The right last name in the wrong place, if it is only in one.
    let mut same = names().filter(|name| last_name(name) == last);
    if let (Some(name), None) = (same.next(), same.next())
        && name != key
    {
        return Some(name.to_owned());
    }
    if let Some((_, name)) = OTHER_WORDS.iter().find(|(word, _)| *word == last) {
        return Some((*name).to_owned());
    }
    let top = SECTIONS.iter().chain(TOP.iter()).copied();
    let full = names().chain(top).map(|name| (name, strsim::damerau_levenshtein(&lower, name), name.len()));
    let short = names().map(|name| (name, strsim::damerau_levenshtein(last, last_name(name)), last_name(name).len()));
    let close = full.chain(short).filter(|&(_, distance, length)| 3 * distance <= length);
    close.min_by_key(|&(_, distance, _)| distance).map(|(name, ..)| name.to_owned())
}

static PARTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let tokenizer = TOKENIZER_KEYS.iter().map(|part| format!("{TOKENIZER}.{part}"));
    tokenizer.chain(BUDGET_UNITS.iter().map(|part| format!("{BUDGET}.{part}"))).collect()
});

/// The one of `names` that is nearest to `word`, if one is near.
pub(super) fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_ascii_lowercase();
    let near = names.into_iter().map(|name| (strsim::damerau_levenshtein(&lower, name), name));
    near.filter(|(distance, name)| 5 * distance <= 2 * name.len()).min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_known_by_its_full_name() {
        for key in
            ["corpus.text", "tokenizer", "model.kv_heads", "train.budget", "train.micro_batch", "run.until", "report.margin"]
        {
            assert!(exists(key), "{key}");
        }
        assert!(exists("tokenizer.vocab_size") && exists("train.budget.steps"));
        assert!(!exists("train.strides") && !exists("train.budget.hours") && !exists("corpus.validation.fraction"));
        assert_eq!(whole_setting("train.budget.steps"), "train.budget");
        assert!(exists("run.slurm.partition") && !exists("run.slurm") && is_section("run.slurm"));
        assert!(can_be_swept("tokenizer.vocab_size") && !can_be_swept("run.slots") && !can_be_swept("report.margin"));
    }

    #[test]
    fn every_other_word_leads_to_a_name_that_exists() {
        for (words, _) in NOT_HERE {
            // What a cluster is asked for has names of its own.
            let mut settings = SETTINGS.iter().filter(|key| !key.starts_with(INNER_SECTION));
            assert!(!settings.any(|key| words.contains(&last_name(key))), "{words:?}");
        }
        for (word, name) in OTHER_WORDS {
            assert!(exists(name) || TOP.contains(name) || SECTIONS.contains(name), "{word} -> {name}");
            assert!(!SETTINGS.iter().any(|key| key == word), "{word} is a setting itself");
        }
    }

    #[test]
    fn the_nearest_name_is_offered() {
        for (word, expected) in [
            ("train.block_size", "`block_size` is called `train.sequence_length` here"),
            ("train.lr", "`lr` is called `train.learning_rate` here"),
            ("model.n_layer", "`n_layer` is called `model.layers` here"),
            ("train.grad_clip", "`grad_clip` is called `train.clip_norm` here"),
            ("train.max_steps", "`max_steps` is called `train.budget` here: `budget: {steps: 1000}`"),
            ("train.strid", "did you mean `train.stride`?"),
            ("train.batchsize", "did you mean `train.batch_size`?"),
            ("batch_size", "did you mean `train.batch_size`?"),
            ("model.stride", "did you mean `train.stride`?"),
            ("tran", "did you mean `train`?"),
            ("grids", "did you mean `grid`?"),
            ("margin", "did you mean `report.margin`?"),
            ("report.margn", "did you mean `report.margin`?"),
            ("train.learning-rate", "did you mean `train.learning_rate`?"),
            ("TRAIN.LEARNING_RATE", "did you mean `train.learning_rate`?"),
        ] {
            assert_eq!(suggestion(word).as_deref(), Some(expected), "{word}");
        }
        for (word, expected) in [
            ("train", "`train` is a section: name one of its settings, such as `train.sequence_length`"),
            ("grid", "`grid` stands at the top of the file"),
            ("train.seeds", "`seeds` stands at the top of the file"),
            (
                "gpus",
                "trials run on every GPU that can be used, each on one; `run.device` names one (`cuda:1`), `run.per_device` is how many run on one at a time",
            ),
            ("run.notify", "there is no such setting yet: take it out"),
        ] {
            assert_eq!(suggestion(word).as_deref(), Some(expected), "{word}");
        }
        for word in ["optimizer", "train.grad_accum", "evaluate.eval_interval", "wandb", "early_stopping", "search.bayes"] {
            assert!(suggestion(word).is_some_and(|hint| !hint.starts_with("did you mean")), "{word}");
        }
        assert_eq!(suggestion("train.zzzzzzzz"), None);
        assert_eq!(nearest("bep", ["char", "bpe"]), Some("bpe"));
        assert_eq!(nearest("unigram", ["char", "bpe"]), None);
    }
}
