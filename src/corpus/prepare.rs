//! Preparing a corpus: everything from files of text to token files, each step done once and kept by content.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::pieces;
use super::remark::{self, Remark};
use super::spellings::Spellings;
use super::split::{Span, Split};
use super::stage::Stage;
use super::token_file::{self, TokenFile};
use super::tokenizer::{END_OF_TEXT, Tokenizer};
use super::tokenizer_files::{Given, kept};
use super::tokenizing::Tokenizing;
use super::word_count::count_words;
use super::{training, unknown};
use crate::durable;
use crate::error::{Error, Result};
use crate::experiment::settings::{self, Join};

/// What to prepare, and where the results are kept.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The text and its split.
    pub corpus: &'a settings::Corpus,
    /// How it becomes tokens.
    pub tokenizer: &'a settings::Tokenizer,
    /// Folder of the experiment file: what paths are relative to.
    pub base: &'a Path,
    /// Where tokenizers are kept, in a folder each.
    pub tokenizers: &'a Path,
    /// Where token files are kept.
    pub cache: &'a Path,
    /// How much of each held-out part is scored.
    pub scored_bytes: u64,
}

/// A corpus that is ready to be trained on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prepared {
    /// Content of all text and how it is split.
    pub text_hash: String,
    /// Content of the validation part and how it is joined, whatever is learned from; `None` where nothing is held out.
    #[serde(default)]
    pub validation_hash: Option<String>,
    /// Name of the tokenizer's folder: its kind, and what it was made from.
    pub tokenizer_key: String,
    /// Content of its `tokenizer.json`.
    pub tokenizer_hash: String,
    /// The `tokenizer.json`; a `tokenizer_config.json` lies beside it.
    pub tokenizer_file: PathBuf,
    /// Number of tokens in the vocabulary.
    pub vocabulary: usize,
    /// The token that stands between documents, where there are several and it is used.
    pub end_of_text: Option<u32>,
    /// Whether that is another one than `tokenizer.json` alone would give: its `tokenizer_config.json` names it.
    #[serde(default)]
    pub has_other_end_of_text: bool,
    /// Whether the training part names the end-of-text token, which is the token there: the tokenizer learned nothing from its letters.
    #[serde(default)]
    pub names_end_of_text: bool,
    /// Whether decoding gives the text of every part back, byte for byte, and no held-out token stands for something unknown:
    /// measured.
    pub lossless: bool,
    /// Share of held-out tokens (of all, where nothing is held out) that stand for something the vocabulary does not have.
    pub unknown_share: f64,
    /// How many tokens those are.
    #[serde(default)]
    pub unknown_tokens: u64,
    /// What the first of them stand for, each once; empty where nothing is held out.
    #[serde(default)]
    pub unknown_parts: Vec<String>,
    /// What the tokenizer's file asks for and is turned off, in words; the `tokenizer.json` that is kept is without it.
    #[serde(default)]
    pub turned_off: Vec<String>,
    /// Whether any file consists of rows, so that `corpus.field` is used. Known where the text was read.
    #[serde(skip)]
    pub has_rows: bool,
    /// What a person should know about the text and its tokens. Known where the text was read.
    #[serde(skip)]
    pub remarks: Vec<Remark>,
    /// Validation tokens that are scored, the first one (context only) included: as many as fit into the bytes asked for.
    #[serde(default)]
    pub scored_tokens: u64,
    /// Words of the scored text, as white space parts them; 0 where nothing is scored.
    #[serde(default)]
    pub scored_words: u64,
    /// As `scored_tokens`, of the test part.
    #[serde(default)]
    pub scored_test_tokens: u64,
    /// Tokens of the whole text, all parts cut from it.
    pub text_tokens: u64,
    /// Bytes of the whole text, all parts cut from it.
    pub text_bytes: u64,
    /// What is learned from.
    pub train: PreparedPart,
    /// What ranks.
    pub validation: Option<PreparedPart>,
    /// What is scored once at the end.
    pub test: Option<PreparedPart>,
}

/// One part of the text, as a token file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreparedPart {
    /// The token file; see [`TokenFile`].
    pub file: PathBuf,
    /// Number of tokens.
    pub tokens: u64,
    /// Bytes of text.
    pub bytes: u64,
}

/// One at a time in a process; two processes may prepare the same at once, and the later rename wins with equal bytes.
static PREPARING: Mutex<()> = Mutex::new(());

/// Reads, splits and tokenizes a corpus. What is already there is not made again. Memory stays well under 2 GB whatever the
/// size of the text, and the tokens do not depend on the number of threads (those of the current rayon pool).
pub fn prepare(request: &Request, progress: &dyn Fn(Stage)) -> Result<Prepared> {
    let _one = PREPARING.lock().unwrap_or_else(PoisonError::into_inner);
    let corpus = request.corpus;
    let split = Split::new(corpus, request.base, progress)?;
    let text_hash = split.hash(corpus.join);
    durable::create_folder(request.cache)?;

    let joints = corpus.join == Join::EndOfText && split.has_joints();
    let names_end_of_text = names_end_of_text(request.tokenizer, &split, joints)?;
    let Chosen { key, file, tokenizer, turned_off } = tokenizer_of(request, &split, joints, names_end_of_text, progress)?;
    let bytes = fs::read(&file).map_err(|e| Error::io("read", &file, e))?;
    let end_of_text = tokenizer.end_of_text().filter(|_| joints);

    let spellings = Spellings::of(&tokenizer);
    let tokenizing = Tokenizing { tokenizer: &tokenizer, spellings, split: &split, end_of_text, progress };
    let content = format!("{}\n{text_hash}\n{key}", token_file::VERSION);
    let Parts { train, validation, test } = Parts::made(&tokenizing, request.cache, &content)?;

    // What was learned from tells nothing about what was not seen there, so held-out text is asked where there is some.
    let held_out: Vec<&TokenFile> = [&validation, &test].into_iter().flatten().map(|(_, file)| file).collect();
    let asked = if held_out.is_empty() { vec![&train.1] } else { held_out };
    let (unknown, tokens) = asked.iter().fold((0, 0), |(u, n), file| (u + file.unknown(), n + file.len()));
    let parts = [(&validation, &split.validation), (&test, &split.test)];
    let parts = parts.into_iter().filter_map(|(part, spans)| Some((&part.as_ref()?.1, spans.as_deref()?)));
    let unknown_parts = unknown_parts(&split, &tokenizer, parts)?;
    let mut remarks = remark::of(&split);
    remarks.extend(what_is_turned_off(request, &key, &turned_off));
    let (scored_tokens, scored_words) = match (&validation, &split.validation) {
        (Some((_, file)), Some(spans)) => scored(&split, spans, file, request.scored_bytes)?,
        _ => (0, 0),
    };
    let (v, t) = (cut_off(&corpus.validation, validation.as_ref()), cut_off(&corpus.test, test.as_ref()));
    Ok(Prepared {
        text_hash: text_hash.to_hex().to_string(),
        validation_hash: split.validation_hash(corpus.join).map(|hash| hash.to_hex().to_string()),
        tokenizer_key: key,
        tokenizer_hash: blake3::hash(&bytes).to_hex().to_string(),
        tokenizer_file: file,
        vocabulary: tokenizer.vocabulary(),
        end_of_text,
        has_other_end_of_text: end_of_text.is_some() && tokenizer.has_other_end_of_text(),
        names_end_of_text,
        lossless: unknown == 0 && train.1.round_trips() && asked.iter().all(|file| file.round_trips()),
        unknown_share: if tokens == 0 { 0.0 } else { unknown as f64 / tokens as f64 },
        unknown_tokens: unknown,
        unknown_parts,
        turned_off,
        has_rows: split.has_rows(),
        remarks,
        scored_tokens,
        scored_words,
        scored_test_tokens: test.as_ref().map_or(0, |(_, file)| file.prefix_within(request.scored_bytes)),
        text_tokens: train.0.tokens + v.0 + t.0,
        text_bytes: train.0.bytes + v.1 + t.1,
        train: train.0,
        validation: validation.map(|(part, _)| part),
        test: test.map(|(part, _)| part),
    })
}

/// A part with its open token file.
type Open = (PreparedPart, TokenFile);

/// The parts of a corpus.
struct Parts {
    train: Open,
    validation: Option<Open>,
    test: Option<Open>,
}

impl Parts {
    /// Those of a text whose content, and what makes tokens of it, `content` names.
    fn made(tokenizing: &Tokenizing<'_>, cache: &Path, content: &str) -> Result<Self> {
        let part = |name: &'static str, spans: &[Span]| {
            let description = format!("{content}\n{name}");
            let path = cache.join(format!("{}.tokens", &blake3::hash(description.as_bytes()).to_hex()[..32]));
            let held_out = name != "training";
            let tokens = tokenizing.token_file(&path, name, spans, held_out)?;
            // What a score by the byte rests on: no byte is lost and none is counted twice.
            if tokens.bytes() != spans.iter().map(|span| span.text.end - span.text.start).sum::<u64>() {
                return Err(Error::internal(format!("the bytes of the {name} part's tokens are not those of its text")));
            }
            Ok::<_, Error>((PreparedPart { file: path, tokens: tokens.len(), bytes: tokens.bytes() }, tokens))
        };
        let Split { train, validation, test, .. } = tokenizing.split;
        let train = part("training", train)?;
        let validation = validation.as_ref().map(|spans| part("validation", spans)).transpose()?;
        let test = test.as_ref().map(|spans| part("test", spans)).transpose()?;
        Ok(Self { train, validation, test })
    }
}

/// Tokens and bytes of a held-out part that was cut off the text, and is no text of its own.
fn cut_off(setting: &settings::Part, part: Option<&Open>) -> (u64, u64) {
    match (setting, part) {
        (settings::Part::Fraction(_), Some((part, _))) => (part.tokens, part.bytes),
        _ => (0, 0),
    }
}

/// What the unknown tokens of the first held-out part that has some stand for.
fn unknown_parts<'a>(
    split: &Split,
    tokenizer: &Tokenizer,
    held_out: impl Iterator<Item = (&'a TokenFile, &'a [Span])>,
) -> Result<Vec<String>> {
    let Some(token) = tokenizer.unknown() else { return Ok(Vec::new()) };
    for (file, spans) in held_out.filter(|(file, _)| file.unknown() > 0) {
        let parts = unknown::named(split, spans, file, token)?;
        if !parts.is_empty() {
            return Ok(parts);
        }
    }
    Ok(Vec::new())
}

/// That a tokenizer's file asks for something that is not done.
fn what_is_turned_off(request: &Request, key: &str, turned_off: &[String]) -> Option<Remark> {
    let name = if let settings::Tokenizer::File { path } = request.tokenizer { path } else { key };
    (!turned_off.is_empty()).then(|| {
        Remark::Note(format!(
            "{name} asks for {}: turned off, here and in the tokenizer that is kept, so that a text is the same tokens each time \
             and all of it is there",
            turned_off.join(" and ")
        ))
    })
}

/// Tokens of the validation part within `bytes`, and the words of those that are scored.
fn scored(split: &Split, spans: &[Span], file: &TokenFile, bytes: u64) -> Result<(u64, u64)> {
    let tokens = file.prefix_within(bytes);
    let missing = || Error::internal("a held-out part has no byte lengths");
    let first = file.byte_length(0).map_or(0, u64::from);
    let end = file.bytes_between(0, tokens).ok_or_else(missing)?;
    let words = if tokens > 1 { count_words(split, spans, &(first..end))? } else { 0 };
    Ok((tokens, words))
}

/// Whether the training part names the end-of-text token where a tokenizer that learns from it has it, and takes it for the token.
fn names_end_of_text(tokenizer: &settings::Tokenizer, split: &Split, joints: bool) -> Result<bool> {
    let has_token = match tokenizer {
        settings::Tokenizer::Bpe { .. } => true,
        settings::Tokenizer::Char | settings::Tokenizer::Word => joints,
        settings::Tokenizer::Byte | settings::Tokenizer::File { .. } => false,
    };
    if !has_token || !split.train.iter().any(|span| split.sources[span.source].may_name_end) {
        return Ok(false);
    }
    let mut named = false;
    pieces::for_each(&split.sources, &split.train, &mut |piece| {
        named |= piece.text.contains(END_OF_TEXT);
        Ok(())
    })?;
    Ok(named)
}

/// A tokenizer that is ready.
struct Chosen {
    /// Its folder's name.
    key: String,
    /// Its `tokenizer.json`.
    file: PathBuf,
    /// What lies there.
    tokenizer: Tokenizer,
    /// What the file that was given asks for, and this one does not.
    turned_off: Vec<String>,
}

/// The tokenizer's key and its `tokenizer.json`, made where it is not there yet, or not whole.
fn tokenizer_of(
    request: &Request,
    split: &Split,
    joints: bool,
    names_end_of_text: bool,
    progress: &dyn Fn(Stage),
) -> Result<Chosen> {
    use settings::Tokenizer::{Bpe, Byte, Char, File, Word};
    let given = match request.tokenizer {
        File { path } => Some(Given::read(&request.base.join(path))?),
        _ => None,
    };
    let learned = || split.spans_hash(&split.train);
    let (kind, made_of) = match request.tokenizer {
        Byte => ("byte".to_owned(), format!("{joints}")),
        Char => ("char".to_owned(), format!("{joints} {}", learned())),
        Word => ("word".to_owned(), format!("{joints} {}", learned())),
        Bpe { vocab_size } => (format!("bpe-{vocab_size}"), format!("{vocab_size} {}", learned())),
        File { .. } => {
            let hash = |bytes: &[u8]| blake3::hash(bytes).to_hex().to_string();
            let of = given.as_ref().map(|given| (hash(&given.json), given.config.as_deref().map(hash)));
            ("file".to_owned(), format!("{of:?}"))
        }
    };
    // Version 1 learned tokens from the letters of the end-of-text token, which no text ever becomes.
    let version = if names_end_of_text { 2 } else { 1 };
    let key = format!("{kind}-{}", &blake3::hash(format!("tokenizer v{version} {kind} {made_of}").as_bytes()).to_hex()[..12]);
    let folder = request.tokenizers.join(&key);
    let file = folder.join("tokenizer.json");
    let turned_off = given.as_ref().map(|given| given.turned_off.clone()).unwrap_or_default();
    if let Some(tokenizer) = kept(&folder)? {
        return Ok(Chosen { key, file, tokenizer, turned_off });
    }

    let (json, config) = made(request, given, split, joints, progress)?;
    // `tokenizer.json` last: where it lies, the folder was complete. Two processes write the same bytes.
    durable::create_folder(&folder)?;
    durable::write(&folder.join("tokenizer_config.json"), &config)?;
    durable::write(&file, &json)?;
    let tokenizer = Tokenizer::from_file(&file)?;
    Ok(Chosen { key, file, tokenizer, turned_off })
}

/// A `tokenizer.json` and its `tokenizer_config.json`: as they were given, or learned from the training part.
fn made(
    request: &Request,
    given: Option<Given>,
    split: &Split,
    joints: bool,
    progress: &dyn Fn(Stage),
) -> Result<(Vec<u8>, Vec<u8>)> {
    use settings::Tokenizer::{Bpe, Byte, Char, File, Word};
    let of = split.train.iter().map(|span| span.text.end - span.text.start).sum();
    let mut bytes = 0;
    let mut seen = |n: u64| {
        bytes += n;
        progress(Stage::Learning { bytes, of });
    };
    let (json, config) = match (request.tokenizer, given) {
        (_, Some(given)) => (given.json, given.config),
        (Byte, _) => (training::byte(joints)?, None),
        (Char, _) => (training::char(split, joints, &mut seen)?, None),
        (Word, _) => (training::word(split, joints, &mut seen)?, None),
        (Bpe { vocab_size }, _) => (training::bpe(split, *vocab_size, &mut seen)?, None),
        (File { .. }, None) => return Err(Error::internal("the tokenizer's file was not read")),
    };
    let config = match config {
        Some(config) => config,
        None => {
            let made = Tokenizer::from_bytes(&json, None)?;
            let end = made.end_of_text().map(|token| made.decode(&[token])).transpose()?;
            training::configuration(end.as_deref()).to_string().into_bytes()
        }
    };
    Ok((json, config))
}
