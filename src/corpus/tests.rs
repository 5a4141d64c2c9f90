//! The whole way from text to token files, with every kind of tokenizer.

use std::fs;
use std::path::{Path, PathBuf};

use super::tokenizer::as_used;
use super::*;
use crate::error::{Kind, Result};
use crate::experiment::settings::{self, Corpus, Join, Part as Held, Tokenizer as Kinds};

/// A folder with an experiment's files, its tokenizers and its cache.
struct Place {
    dir: tempfile::TempDir,
    corpus: Corpus,
}

impl Place {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let text = files.iter().map(|(name, _)| (*name).to_owned()).collect();
        Self { dir, corpus: Corpus { text, field: Some("text".to_owned()), ..Corpus::default() } }
    }

    fn keeper() -> Self {
        let mut place = Self::new(&[]);
        place.corpus.text = vec!["builtin:keeper".to_owned()];
        place
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn prepare(&self, kind: &settings::Tokenizer) -> Result<Prepared> {
        let (tokenizers, cache) = (self.path().join("tokenizers"), self.path().join("cache"));
        let request = self.request(kind, &tokenizers, &cache);
        prepare(&request, &|_| {})
    }

    fn request<'a>(&'a self, tokenizer: &'a settings::Tokenizer, tokenizers: &'a Path, cache: &'a Path) -> Request<'a> {
        Request { corpus: &self.corpus, tokenizer, base: self.path(), tokenizers, cache, scored_bytes: u64::MAX }
    }

    fn ready(&self, kind: &settings::Tokenizer) -> Prepared {
        self.prepare(kind).unwrap()
    }

    fn cached(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = fs::read_dir(self.path().join("cache")).unwrap().map(|f| f.unwrap().path()).collect();
        files.sort();
        files
    }
}

fn tokens(part: &PreparedPart) -> Vec<u32> {
    let file = TokenFile::open(&part.file).unwrap();
    let mut tokens = vec![0; file.len() as usize];
    file.read(0, &mut tokens);
    tokens
}

fn kinds() -> [settings::Tokenizer; 4] {
    [Kinds::Char, Kinds::Byte, Kinds::Word, Kinds::Bpe { vocab_size: 512 }]
}

fn keeper() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/data/keeper.txt")).unwrap()
}

#[test]
fn the_built_in_book_under_every_tokenizer() {
    let place = Place::keeper();
    let text = keeper();
    for (kind, vocabulary, lossless) in
        [(Kinds::Char, 69, true), (Kinds::Byte, 256, true), (Kinds::Word, 0, false), (Kinds::Bpe { vocab_size: 512 }, 512, true)]
    {
        let ready = place.ready(&kind);
        assert_eq!(ready.lossless, lossless, "{kind:?}");
        assert!(vocabulary == 0 || ready.vocabulary == vocabulary, "{kind:?}: {}", ready.vocabulary);
        assert_eq!(ready.end_of_text, None);
        assert_eq!(ready.text_bytes, text.len() as u64);
        let validation = ready.validation.as_ref().unwrap();
        assert_eq!(ready.text_tokens, ready.train.tokens + validation.tokens);
        assert_eq!(ready.train.bytes + validation.bytes, text.len() as u64);
        assert!((validation.bytes as f64 / text.len() as f64 - 0.1).abs() < 0.005);
        assert!(text[..ready.train.bytes as usize].ends_with("\n\n"), "cut at a paragraph");
        let all = [tokens(&ready.train), tokens(validation)].concat();
        assert!(all.iter().all(|&token| (token as usize) < ready.vocabulary));
        let tokenizer = Tokenizer::from_file(&ready.tokenizer_file).unwrap();
        assert_eq!(tokenizer.vocabulary(), ready.vocabulary);
        if lossless {
            assert_eq!(tokenizer.decode(&all).unwrap(), text);
            assert_eq!(ready.unknown_share, 0.0);
        } else {
            assert!(ready.unknown_share > 0.0 && ready.unknown_share < 0.2, "{}", ready.unknown_share);
        }
    }
}

#[test]
fn the_cat_sat_is_four_word_tokens() {
    let place = Place::new(&[("a.txt", "The cat sat.\n\nThe dog sat.\n")]);
    let ready = place.ready(&Kinds::Word);
    let tokenizer = Tokenizer::from_file(&ready.tokenizer_file).unwrap();
    assert_eq!(tokenizer.pieces("The cat sat.").unwrap(), ["The", "cat", "sat", "."]);
    assert_eq!(tokenizer.encode("The cat sat.").unwrap().len(), 4);
    assert_eq!(tokenizer.pieces("The zebra sat.").unwrap(), ["The", "<unk>", "sat", "."]);
}

#[test]
fn scored_bytes_are_those_of_the_tokens_under_every_tokenizer() {
    let place = Place::keeper();
    for kind in kinds() {
        let ready = place.ready(&kind);
        let part = ready.validation.unwrap();
        let file = TokenFile::open(&part.file).unwrap();
        assert_eq!(file.bytes_between(0, file.len()), Some(part.bytes), "{kind:?}");
        let sum: u64 = (0..file.len()).map(|i| u64::from(file.byte_length(i).unwrap())).sum();
        assert_eq!(sum, part.bytes);
        if ready.lossless {
            let tokenizer = Tokenizer::from_file(&ready.tokenizer_file).unwrap();
            let all = tokens(&part);
            for (i, &token) in all.iter().enumerate().take(2_000) {
                let text = tokenizer.decode(&[token]).unwrap();
                if !text.contains('\u{FFFD}') {
                    assert_eq!(file.byte_length(i as u64), Some(text.len() as u32), "{kind:?} token {i} {text:?}");
                }
            }
        }
        let half = file.prefix_within(part.bytes / 2);
        assert!(file.bytes_between(0, half).unwrap() <= part.bytes / 2);
        assert!(file.bytes_between(0, half + 1).unwrap() > part.bytes / 2);
    }
}

#[test]
fn text_beyond_ascii_comes_back_and_is_counted_in_bytes() {
    let line = "Ünïcödé — “quotes”, 日本語, Ελληνικά, emoji 😀👩‍👩‍👧, tab\t, \u{FEFF}mark\r\n\r\n";
    let place = Place::new(&[("a.txt", &line.repeat(60))]);
    for kind in [Kinds::Char, Kinds::Byte, Kinds::Bpe { vocab_size: 300 }, Kinds::Bpe { vocab_size: 400 }] {
        let ready = place.ready(&kind);
        assert!(ready.lossless, "{kind:?}");
        let part = ready.validation.unwrap();
        let file = TokenFile::open(&part.file).unwrap();
        assert_eq!(file.bytes_between(0, file.len()), Some(part.bytes));
        let tokenizer = Tokenizer::from_file(&ready.tokenizer_file).unwrap();
        let all = [tokens(&ready.train), tokens(&part)].concat();
        assert_eq!(tokenizer.decode(&all).unwrap(), line.repeat(60));
    }
}

#[test]
fn the_scored_tokens_decode_to_the_bytes_of_the_validation_part_under_every_tokenizer() {
    let line = "“Naïve”, said the keeper: 日本語 — 12.5 %\r\n\r\n";
    let text = line.repeat(400);
    let place = Place::new(&[("a.txt", &text)]);
    let made = place.ready(&Kinds::Bpe { vocab_size: 290 });
    fs::copy(&made.tokenizer_file, place.path().join("own.json")).unwrap();
    let own = Kinds::File { path: "own.json".to_owned() };
    for kind in kinds().into_iter().chain([own]) {
        let ready = place.ready(&kind);
        let (part, tokenizer) = (ready.validation.unwrap(), Tokenizer::from_file(&ready.tokenizer_file).unwrap());
        let (file, all) = (TokenFile::open(&part.file).unwrap(), tokens(&part));
        let held_out = &text[text.len() - part.bytes as usize..];
        assert_eq!(ready.lossless, kind != Kinds::Word, "{kind:?}");
        assert_eq!(ready.scored_tokens, part.tokens);
        // The first token is context only; the others stand for what follows its bytes.
        let first = u64::from(file.byte_length(0).unwrap());
        assert_eq!(file.bytes_between(1, part.tokens).unwrap() + first, held_out.len() as u64, "{kind:?}");
        if ready.lossless {
            assert_eq!(tokenizer.decode(&all).unwrap(), held_out, "{kind:?}");
            let mut bytes = held_out.as_bytes();
            for (i, &token) in all.iter().enumerate() {
                let (own, rest) = bytes.split_at(file.byte_length(i as u64).unwrap() as usize);
                let text = tokenizer.decode(&[token]).unwrap();
                assert!(text.contains('\u{FFFD}') || text.as_bytes() == own, "{kind:?}, token {i}: {text:?}");
                bytes = rest;
            }
        }
        let words = held_out.split_whitespace().count() as u64;
        // Where the first token is a whole word, that word is not scored.
        assert!(ready.scored_words == words || ready.scored_words + 1 == words, "{kind:?}: {} of {words}", ready.scored_words);
    }
}

#[test]
fn a_tokenizer_is_lossless_only_where_it_gives_the_training_text_back_too() {
    // Lower case is all that is held out, so only the training part shows what is lost.
    let place = Place::new(&[("a.txt", &format!("{}{}", "Some WORDS here.\n\n".repeat(90), "more words here.\n\n".repeat(10)))]);
    let made = place.ready(&Kinds::Bpe { vocab_size: 260 });
    assert!(made.lossless);
    let json = fs::read_to_string(&made.tokenizer_file).unwrap();
    let lowered = json.replacen("\"normalizer\": null", "\"normalizer\": {\"type\": \"Lowercase\"}", 1);
    assert_ne!(json, lowered);
    fs::write(place.path().join("lower.json"), lowered).unwrap();
    let ready = place.ready(&Kinds::File { path: "lower.json".to_owned() });
    assert!(!ready.lossless);
    assert_eq!(ready.unknown_share, 0.0);
}

#[test]
fn nothing_is_dropped_what_was_not_seen_becomes_unknown() {
    let train = "plain old words here.\n\n".repeat(30);
    let place = Place::new(&[("a.txt", &format!("{train}newer wörds ☃.\n\n"))]);
    let place = Place { corpus: Corpus { validation: Held::Fraction(0.025), ..place.corpus.clone() }, ..place };
    let chars = place.ready(&Kinds::Char);
    let part = chars.validation.clone().unwrap();
    assert_eq!(part.tokens, "newer wörds ☃.\n\n".chars().count() as u64);
    assert!(!chars.lossless);
    assert_eq!(chars.unknown_share, 2.0 / part.tokens as f64);
    assert_eq!(part.bytes, "newer wörds ☃.\n\n".len() as u64);
    assert_eq!((chars.unknown_tokens, chars.unknown_parts), (2, vec!["ö".to_owned(), "☃".to_owned()]));
    let words = place.ready(&Kinds::Word);
    assert_eq!((words.validation.unwrap().tokens, words.unknown_share), (4, 3.0 / 4.0));
    assert_eq!((words.unknown_tokens, words.unknown_parts.join(" ")), (3, "newer wörds ☃".to_owned()));
    for kind in [Kinds::Byte, Kinds::Bpe { vocab_size: 300 }] {
        let ready = place.ready(&kind);
        assert!(ready.lossless && ready.unknown_share == 0.0, "{kind:?}");
    }
}

#[test]
fn the_tokenizer_learns_from_the_training_part_only() {
    let train = "aaa bbb.\n\n".repeat(40);
    let one = Place::new(&[("a.txt", &train), ("v.txt", "xyz")]);
    let two = Place::new(&[("a.txt", &train), ("v.txt", "quite another text")]);
    let with = |place: &Place| {
        let corpus =
            Corpus { text: vec!["a.txt".to_owned()], validation: Held::Path("v.txt".to_owned()), ..place.corpus.clone() };
        let (tokenizers, cache) = (place.path().join("t"), place.path().join("c"));
        let tokenizer = Kinds::Bpe { vocab_size: 300 };
        let request = Request {
            corpus: &corpus,
            tokenizer: &tokenizer,
            base: place.path(),
            tokenizers: &tokenizers,
            cache: &cache,
            scored_bytes: u64::MAX,
        };
        prepare(&request, &|_| {}).unwrap()
    };
    let (a, b) = (with(&one), with(&two));
    assert_eq!((&a.tokenizer_key, &a.tokenizer_hash), (&b.tokenizer_key, &b.tokenizer_hash));
    assert_ne!(a.text_hash, b.text_hash);
    assert_eq!(tokens(&a.train), tokens(&b.train));
    assert_eq!(a.text_tokens, a.train.tokens, "a file of its own is no part of the text");
}

#[test]
fn documents_are_joined_by_the_end_of_text_token() {
    let files = [("a.txt", "one two"), ("b.txt", "two, one"), ("c.txt", "one one")];
    let mut place = Place::new(&files);
    place.corpus.validation = Held::None;
    for (kind, vocabulary) in
        [(Kinds::Char, 7 + 2), (Kinds::Byte, 257), (Kinds::Word, 3 + 2), (Kinds::Bpe { vocab_size: 260 }, 260)]
    {
        let ready = place.ready(&kind);
        assert_eq!(ready.vocabulary, vocabulary, "{kind:?}");
        let end = ready.end_of_text.unwrap();
        let all = tokens(&ready.train);
        let documents: Vec<&[u32]> = all.split(|&token| token == end).collect();
        assert_eq!(documents.len(), 3);
        let tokenizer = Tokenizer::from_file(&ready.tokenizer_file).unwrap();
        for (document, (_, text)) in documents.iter().zip(files) {
            assert_eq!(*document, tokenizer.encode(text).unwrap());
        }
        assert_eq!((ready.text_bytes, ready.lossless), (22, kind != Kinds::Word), "{kind:?}: it stands for no byte");
    }
    place.corpus.join = Join::None;
    let ready = place.ready(&Kinds::Char);
    assert_eq!((ready.end_of_text, ready.train.tokens, ready.vocabulary), (None, 22, 8));
}

#[test]
fn rows_are_joined_too_and_their_lengths_sum_to_their_text() {
    let rows: String = (0..50).map(|i| format!("{{\"text\":\"row number {i} — ünd\",\"n\":{i}}}\n")).collect();
    let mut place = Place::new(&[("a.jsonl", &rows)]);
    place.corpus.test = Held::Fraction(0.1);
    for kind in kinds() {
        let ready = place.ready(&kind);
        let end = ready.end_of_text.unwrap();
        let count = |part: &PreparedPart| tokens(part).into_iter().filter(|&token| token == end).count();
        let (validation, test) = (ready.validation.unwrap(), ready.test.unwrap());
        assert_eq!((count(&ready.train), count(&validation), count(&test)), (39, 4, 4), "{kind:?}");
        for part in [&validation, &test] {
            let file = TokenFile::open(&part.file).unwrap();
            assert_eq!(file.bytes_between(0, file.len()), Some(part.bytes));
            let place = tokens(part).iter().position(|&token| token == end).unwrap();
            assert_eq!(file.byte_length(place as u64), Some(0));
        }
        let text: usize = (0..50).map(|i| format!("row number {i} — ünd").len()).sum();
        assert_eq!(ready.text_bytes, text as u64);
    }
}

#[test]
fn an_end_of_text_token_that_the_text_spells_out_is_that_token() {
    let text = "one<|endoftext|>two<|endoftext|>";
    let mut place = Place::new(&[("a.txt", text), ("b.txt", "three")]);
    place.corpus.validation = Held::None;
    for kind in [Kinds::Char, Kinds::Byte, Kinds::Bpe { vocab_size: 260 }] {
        let ready = place.ready(&kind);
        let end = ready.end_of_text.unwrap();
        assert_eq!(tokens(&ready.train).iter().filter(|&&token| token == end).count(), 3, "{kind:?}");
        assert!(ready.lossless);
        assert_eq!(ready.text_bytes, text.len() as u64 + 5);
    }
}

#[test]
fn nothing_is_made_twice_and_a_damaged_token_file_is_made_again() {
    let place = Place::keeper();
    let ready = place.ready(&Kinds::Char);
    let modified = |files: &[PathBuf]| files.iter().map(|f| fs::metadata(f).unwrap().modified().unwrap()).collect::<Vec<_>>();
    let files = place.cached();
    assert_eq!(files.len(), 2);
    let before = modified(&files);
    assert_eq!(place.ready(&Kinds::Char), ready);
    assert_eq!(modified(&files), before);
    for damage in [&b""[..], b"VOTIVETK"] {
        fs::write(&ready.train.file, damage).unwrap();
        assert_eq!(place.ready(&Kinds::Char), ready);
        assert_eq!(tokens(&ready.train).len() as u64, ready.train.tokens);
    }
    // A byte of a token in the middle: its length is that of the others.
    let good = fs::read(&ready.train.file).unwrap();
    let mut changed = good.clone();
    changed[good.len() / 2] ^= 1;
    fs::write(&ready.train.file, changed).unwrap();
    assert_eq!(place.ready(&Kinds::Char), ready);
    assert_eq!(fs::read(&ready.train.file).unwrap(), good);
    // Another tokenizer or split is another file; the same text elsewhere is the same one.
    place.ready(&Kinds::Byte);
    assert_eq!(place.cached().len(), 4);
}

/// A tokenizer that lay there was never looked at: every command failed until somebody deleted it.
#[test]
fn a_tokenizer_that_is_not_there_whole_is_made_again() {
    let place = Place::keeper();
    let own = place.path().join("own");
    fs::create_dir(&own).unwrap();
    fs::copy(place.ready(&Kinds::Byte).tokenizer_file, own.join("tokenizer.json")).unwrap();
    for kind in [Kinds::Char, Kinds::File { path: "own/tokenizer.json".to_owned() }] {
        let ready = place.ready(&kind);
        let files = ["tokenizer.json", "tokenizer_config.json"].map(|name| ready.tokenizer_file.with_file_name(name));
        let good = files.each_ref().map(|file| fs::read(file).unwrap());
        fs::write(&files[0], "{").unwrap();
        assert_eq!(place.ready(&kind), ready);
        fs::remove_file(&files[1]).unwrap();
        assert_eq!(place.ready(&kind), ready);
        assert_eq!(files.each_ref().map(|file| fs::read(file).unwrap()), good);
    }
}

/// Every command stopped with an internal error.
#[test]
fn held_out_documents_that_become_no_token_are_counted_with_the_others() {
    let rows = "{\"text\":\"one two\"}\n".repeat(40) + "{\"text\":\" \"}\n";
    let mut place = Place::new(&[("a.jsonl", &rows), ("blank.txt", " \n")]);
    place.corpus.text = vec!["a.jsonl".to_owned()];
    place.corpus.test = Held::Path("blank.txt".to_owned());
    for kind in kinds() {
        let ready = place.ready(&kind);
        let (validation, test) = (ready.validation.unwrap(), ready.test.unwrap());
        let file = TokenFile::open(&validation.file).unwrap();
        assert_eq!(file.bytes_between(0, file.len()), Some(validation.bytes), "{kind:?}");
        assert_eq!(validation.bytes % 7, 1, "the blank row is in it");
        assert_eq!((test.bytes, test.tokens == 0), (2, kind == Kinds::Word), "{kind:?}");
    }
}

#[test]
fn an_end_of_text_token_that_the_file_alone_would_not_give_is_known_as_such() {
    let place = Place::new(&[("a.txt", "one two</s>"), ("b.txt", "two one"), ("c.txt", "one one")]);
    let place = Place { corpus: Corpus { validation: Held::None, ..place.corpus.clone() }, ..place };
    let made = place.ready(&Kinds::Bpe { vocab_size: 260 });
    let json = fs::read_to_string(&made.tokenizer_file).unwrap();
    let ready = |eos: &str| {
        fs::write(place.path().join("tokenizer.json"), &json).unwrap();
        fs::write(place.path().join("tokenizer_config.json"), format!("{{\"eos_token\": {eos}}}")).unwrap();
        place.ready(&Kinds::File { path: "tokenizer.json".to_owned() })
    };
    assert!(!made.has_other_end_of_text);
    let (usual, other) = (ready("\"<|endoftext|>\""), ready("\"o\""));
    assert_eq!((usual.has_other_end_of_text, usual.end_of_text), (false, made.end_of_text));
    assert!(other.has_other_end_of_text && other.end_of_text != usual.end_of_text);
    assert!(!ready("null").has_other_end_of_text);
    assert_eq!(other.tokenizer_hash, usual.tokenizer_hash);
}

#[test]
fn the_same_text_under_another_name_is_the_same_corpus() {
    let text = "some words here\n\n".repeat(50);
    let (one, two) = (Place::new(&[("a.txt", &text)]), Place::new(&[("other.md", &text)]));
    for kind in kinds() {
        let (a, b) = (one.ready(&kind), two.ready(&kind));
        assert_eq!((a.text_hash, a.tokenizer_key, a.tokenizer_hash), (b.text_hash, b.tokenizer_key, b.tokenizer_hash));
        assert_eq!(a.train.file.file_name(), b.train.file.file_name());
        assert_eq!(fs::read(a.train.file).unwrap(), fs::read(b.train.file).unwrap());
    }
}

#[test]
fn prepared_again_elsewhere_everything_has_the_same_bytes() {
    let (one, two) = (Place::keeper(), Place::keeper());
    for kind in kinds() {
        let (a, b) = (one.ready(&kind), two.ready(&kind));
        assert_eq!(fs::read(&a.tokenizer_file).unwrap(), fs::read(&b.tokenizer_file).unwrap(), "{kind:?}");
        assert_eq!(fs::read(a.train.file).unwrap(), fs::read(b.train.file).unwrap());
    }
}

#[test]
fn the_tokens_do_not_depend_on_the_number_of_threads() {
    let place = Place::new(&[("a.txt", &keeper().repeat(6))]);
    let kind = Kinds::Bpe { vocab_size: 400 };
    let mut files = Vec::new();
    for threads in [1, 2, 7] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let fresh = Place { dir: tempfile::tempdir().unwrap(), corpus: place.corpus.clone() };
        fs::copy(place.path().join("a.txt"), fresh.path().join("a.txt")).unwrap();
        let ready = pool.install(|| fresh.ready(&kind));
        files.push((fs::read(&ready.tokenizer_file).unwrap(), fs::read(&ready.train.file).unwrap()));
    }
    assert!(files.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn shortcuts_give_the_same_numbers_as_the_library() {
    let place = Place::new(&[("a.txt", "abc déf 日本\n\n"), ("b.txt", "x")]);
    for (kind, texts) in [
        (Kinds::Char, ["abc", "zzz ab☃é", "a<|endoftext|>b", "", "<unk>\n", "日\u{10FFFF}本"]),
        (Kinds::Byte, ["abc", "zzz ab☃é", "a<|endoftext|>b", "", "\0\u{7F}ÿ", "日\u{10FFFF}本"]),
    ] {
        let corpus = Corpus { validation: Held::None, ..place.corpus.clone() };
        let ready = Place { dir: tempfile::tempdir().unwrap(), corpus: corpus.clone() };
        for file in ["a.txt", "b.txt"] {
            fs::copy(place.path().join(file), ready.path().join(file)).unwrap();
        }
        let ready_file = ready.ready(&kind).tokenizer_file;
        let library = tokenizers::Tokenizer::from_file(&ready_file).unwrap();
        let ours = Tokenizer::from_file(&ready_file).unwrap();
        for text in texts {
            let expected = library.encode_fast(text, false).unwrap().get_ids().to_vec();
            assert_eq!(ours.encode(text).unwrap(), expected, "{kind:?} {text:?}");
            let with = ours.encode_piece(text, true).unwrap();
            assert_eq!((with.tokens, with.lengths.iter().sum::<u32>() as usize), (expected, text.len()));
        }
    }
}

#[test]
fn a_tokenizer_file_is_used_as_it_is() {
    let place = Place::keeper();
    let made = place.ready(&Kinds::Bpe { vocab_size: 400 });
    fs::copy(&made.tokenizer_file, place.path().join("mine.json")).unwrap();
    let ready = place.ready(&Kinds::File { path: "mine.json".to_owned() });
    assert_eq!((ready.vocabulary, ready.lossless, ready.tokenizer_hash), (400, true, made.tokenizer_hash));
    assert!(ready.tokenizer_key.starts_with("file-"));
    assert_eq!(tokens(&ready.train), tokens(&made.train));
    let error = place.prepare(&Kinds::File { path: "none.json".to_owned() }).unwrap_err();
    assert_eq!(error.kind(), Kind::Usage);
    assert!(error.chain().contains("none.json does not exist"), "{}", error.chain());
}

#[test]
fn a_tokenizer_that_changes_the_text_is_found_out() {
    // It lowers the case, drops what it does not know, and truncates: the last must not happen, the others must be seen.
    let vocabulary: serde_json::Map<String, serde_json::Value> =
        ('a'..='z').zip(0u32..).map(|(c, id)| (c.to_string(), id.into())).collect();
    let json = serde_json::json!({
        "version": "1.0", "truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
        "padding": null, "added_tokens": [], "normalizer": {"type": "Lowercase"}, "pre_tokenizer": null, "post_processor": null,
        "decoder": {"type": "Fuse"},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocabulary, "merges": []},
    });
    let place = Place::new(&[("a.txt", &"Words and Words.\n\n".repeat(40)), ("t.json", &json.to_string())]);
    let place = Place { corpus: Corpus { text: vec!["a.txt".to_owned()], ..place.corpus.clone() }, ..place };
    let ready = place.ready(&Kinds::File { path: "t.json".to_owned() });
    assert!(!ready.lossless);
    assert_eq!(ready.text_tokens, 40 * 13);
    let part = ready.validation.unwrap();
    let file = TokenFile::open(&part.file).unwrap();
    assert_eq!(file.bytes_between(0, file.len()), Some(part.bytes), "bytes are counted in full all the same");
}

#[test]
fn what_is_unknown_is_named_in_rows_too_and_in_the_test_part_where_the_validation_part_has_none() {
    let row = |text: &str| format!("{{\"text\":\"{text}\"}}\n");
    let rows = row("plain words of a row").repeat(80) + &row("plain words").repeat(10) + &row("plain wörds — w—rds").repeat(10);
    let mut place = Place::new(&[("a.jsonl", &rows)]);
    (place.corpus.validation, place.corpus.test) = (Held::Fraction(0.05), Held::Fraction(240.0 / 1950.0));
    let ready = place.ready(&Kinds::Char);
    assert_eq!(ready.unknown_tokens, 30);
    assert_eq!(ready.unknown_parts, ["ö", "—"]);
}

/// Three runs gave three numbers of tokens under one trial id.
#[test]
fn dropout_truncation_and_padding_of_a_tokenizer_file_are_turned_off_in_what_is_used_and_kept() {
    let place = Place::keeper();
    let made = place.ready(&Kinds::Bpe { vocab_size: 400 });
    let json = fs::read_to_string(&made.tokenizer_file).unwrap();
    let put = |name: &str, from: &str, to: &str| {
        let changed = json.replacen(from, to, 1);
        assert_ne!(changed, json);
        fs::write(place.path().join(name), changed).unwrap();
        place.ready(&Kinds::File { path: name.to_owned() })
    };
    let cut = r#""truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}"#;
    let filled = r#""padding": {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
        "pad_type_id": 0, "pad_token": "a"}"#;
    for (name, from, to, told) in [
        ("dropout.json", "\"dropout\": null", "\"dropout\": 0.3", "dropout 0.3"),
        ("truncation.json", "\"truncation\": null", cut, "truncation"),
        ("padding.json", "\"padding\": null", filled, "padding"),
    ] {
        let ready = put(name, from, to);
        assert_eq!(ready.turned_off, [told]);
        assert_eq!(tokens(&ready.train), tokens(&made.train), "{told}");
        let kept = fs::read(&ready.tokenizer_file).unwrap();
        assert_eq!(as_used(&kept).unwrap().turned_off, [] as [&str; 0], "what is kept, and exported, is what is used");
        assert_eq!(ready.tokenizer_hash, blake3::hash(&kept).to_hex().to_string());
        let [Remark::Note(note)] = ready.remarks.as_slice() else { panic!("{:?}", ready.remarks) };
        assert!(note.starts_with(&format!("{name} asks for {told}: turned off")), "{note}");
        // A checkpoint of an earlier version may have such a file.
        let old = Tokenizer::from_file(&place.path().join(name)).unwrap();
        let text = "The keeper lit the lamp.";
        assert!(
            (0..5)
                .all(|_| old.encode(text).unwrap() == Tokenizer::from_file(&made.tokenizer_file).unwrap().encode(text).unwrap())
        );
    }
    let ordinary = put("mine.json", "\"dropout\": null", "\"dropout\":  null");
    assert_eq!((ordinary.turned_off.len(), ordinary.remarks.len()), (0, 0));
    assert_eq!(fs::read(ordinary.tokenizer_file).unwrap(), fs::read(place.path().join("mine.json")).unwrap(), "to the byte");
}

/// A mark at the beginning of a held-out file was a character that training did not have, and cost `char` its place.
#[test]
fn byte_order_marks_are_no_text_in_any_part_and_the_bytes_are_those_of_the_text() {
    let (train, held) = ("Boats fell on watched.\n\n".repeat(40), "Boats on watched.\n\n".repeat(9));
    let prepared = |mark: &str| {
        let files =
            [("a.txt", format!("{mark}{train}")), ("v.txt", format!("{mark}{held}")), ("t.txt", format!("{mark}{held}s"))];
        let mut place = Place::new(&[]);
        for (name, text) in &files {
            fs::write(place.path().join(name), text).unwrap();
        }
        place.corpus.text = vec!["a.txt".to_owned()];
        (place.corpus.validation, place.corpus.test) = (Held::Path("v.txt".to_owned()), Held::Path("t.txt".to_owned()));
        kinds().map(|kind| {
            let ready = place.ready(&kind);
            let parts = [&ready.train, ready.validation.as_ref().unwrap(), ready.test.as_ref().unwrap()];
            let all = parts.map(|part| (part.bytes, tokens(part)));
            (ready.text_hash, ready.tokenizer_hash, ready.lossless, ready.unknown_tokens, ready.scored_words, all)
        })
    };
    let (marked, plain) = (prepared("\u{FEFF}"), prepared(""));
    assert_eq!(marked, plain);
    assert_eq!(marked[0].5.each_ref().map(|(bytes, _)| *bytes as usize), [train.len(), held.len(), held.len() + 1]);
    assert!(marked[0].2 && marked[0].3 == 0, "`char` knows every character");
}

#[test]
fn short_files_that_are_held_out_whole_are_other_text_than_those_that_are_cut() {
    let files: Vec<(String, String)> = (0..20).map(|i| (format!("{i:02}.txt"), format!("the keeper lit lamp {i:02}"))).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let place = Place::new(&files);
    let ready = place.ready(&Kinds::Byte);
    let end = ready.end_of_text.unwrap();
    let held_out = tokens(ready.validation.as_ref().unwrap());
    let documents: Vec<&[u32]> = held_out.split(|&token| token == end).collect();
    let text = |document: &[u32]| String::from_utf8(document.iter().map(|&byte| byte as u8).collect()).unwrap();
    assert_eq!(documents.iter().map(|d| text(d)).collect::<Vec<_>>(), ["the keeper lit lamp 04", "the keeper lit lamp 14"]);
    assert_eq!((ready.train.bytes, ready.text_bytes), (18 * 22, 20 * 22));
}

#[test]
fn a_vocabulary_too_small_for_the_bytes_is_refused() {
    let error = Place::keeper().prepare(&Kinds::Bpe { vocab_size: 256 }).unwrap_err();
    assert_eq!(error.kind(), Kind::Usage);
    assert!(error.to_string().contains("`tokenizer.vocab_size` is 256"));
    assert_eq!(Place::keeper().ready(&Kinds::Bpe { vocab_size: 257 }).vocabulary, 257);
}

#[test]
fn a_vocabulary_larger_than_the_text_allows_is_as_large_as_it_can_be() {
    let place = Place::new(&[("a.txt", &"ab ab.\n\n".repeat(30))]);
    let ready = place.ready(&Kinds::Bpe { vocab_size: 5_000 });
    assert!((258..300).contains(&ready.vocabulary), "{}", ready.vocabulary);
}

#[test]
fn progress_is_told_in_order_and_ends_at_the_whole() {
    let place = Place::keeper();
    let told = std::cell::RefCell::new(Vec::new());
    let (tokenizers, cache) = (place.path().join("t"), place.path().join("c"));
    let request = Request {
        corpus: &place.corpus,
        tokenizer: &Kinds::Char,
        base: place.path(),
        tokenizers: &tokenizers,
        cache: &cache,
        scored_bytes: u64::MAX,
    };
    let ready = prepare(&request, &|stage| told.borrow_mut().push(stage)).unwrap();
    let told = told.into_inner();
    let bytes = ready.text_bytes;
    assert_eq!(told.first(), Some(&Stage::Reading { bytes, of: bytes }));
    assert!(told.contains(&Stage::Learning { bytes: ready.train.bytes, of: ready.train.bytes }));
    let of = ready.validation.unwrap().bytes;
    assert_eq!(told.last(), Some(&Stage::Tokenizing { part: "validation", bytes: of, of }));
}

#[test]
fn what_was_prepared_can_be_written_down_and_read_again() {
    let ready = Place::keeper().ready(&Kinds::Char);
    let text = serde_json::to_string(&ready).unwrap();
    assert_eq!(serde_json::from_str::<Prepared>(&text).unwrap(), ready);
}

#[test]
fn many_at_once_do_not_harm_each_other() {
    let place = Place::keeper();
    let all: Vec<Prepared> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6)
            .map(|i| {
                let place = &place;
                scope.spawn(move || place.ready(&kinds()[i % 2]))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!((&all[0], &all[1]), (&all[2], &all[3]));
    assert!(place.cached().iter().all(|f| f.extension().is_some_and(|e| e == "tokens")));
}

/// Twenty megabytes always; with `VOTIVE_LARGE_TEXT=FILE` that file instead (`scripts/make_text.py` makes one).
#[test]
fn a_large_text_is_tokenized_in_pieces_and_opened_at_once() {
    let mut place = Place::new(&[]);
    let large = std::env::var("VOTIVE_LARGE_TEXT").ok();
    let kind = match std::env::var("VOTIVE_LARGE_KIND").as_deref() {
        Ok("bpe") => Kinds::Bpe { vocab_size: 4_096 },
        Ok("word") => Kinds::Word,
        _ => Kinds::Char,
    };
    match large {
        Some(path) => place.corpus.text = vec![path],
        None => {
            fs::write(place.path().join("a.txt"), keeper().repeat(160)).unwrap();
            place.corpus.text = vec!["a.txt".to_owned()];
        }
    }
    let started = std::time::Instant::now();
    let ready = place.ready(&kind);
    let prepared = started.elapsed();
    assert_eq!(ready.train.bytes + ready.validation.as_ref().unwrap().bytes, ready.text_bytes);
    assert!(ready.text_bytes >= 20 << 20);
    let started = std::time::Instant::now();
    let file = TokenFile::open(&ready.train.file).unwrap();
    let windows = Windows::new(file.len(), 512, 256);
    let mut batches = Batches::new(windows.count(), settings::BatchSize::Windows(8), true, 1);
    let batch = batches.batch(3);
    let mut window = vec![0; 513];
    for &i in &batch.windows {
        file.read(windows.start(i), &mut window);
        assert!(window.iter().all(|&token| (token as usize) < ready.vocabulary));
    }
    let opened = started.elapsed();
    assert!(opened.as_secs_f64() < 1.0, "a worker waited {opened:?} for its first batch");
    use std::io::Write as _;
    let told = writeln!(
        std::io::stderr(),
        "{kind:?}: {} bytes, {} tokens, {} windows; prepared in {prepared:?}, first batch after {opened:?}, lossless {}",
        ready.text_bytes,
        ready.text_tokens,
        windows.count(),
        ready.lossless
    );
    told.unwrap();
}

#[test]
fn thousands_of_files_are_prepared_file_by_file_and_not_pair_by_pair() {
    let mut place = Place::new(&[]);
    for folder in ["text", "held"] {
        fs::create_dir(place.path().join(folder)).unwrap();
    }
    for number in 0..2_000 {
        fs::write(place.path().join(format!("text/{number:04}.txt")), format!("file {number:04}")).unwrap();
        fs::write(place.path().join(format!("held/{number:04}.txt")), "held out").unwrap();
    }
    place.corpus.text = vec!["text/*.txt".to_owned()];
    place.corpus.validation = Held::Path("held/*.txt".to_owned());
    let ready = place.ready(&Kinds::Byte);
    let joints = 1_999;
    assert_eq!((ready.train.tokens, ready.train.bytes), (2_000 * 9 + joints, 2_000 * 9));
    assert_eq!(ready.validation.unwrap().tokens, 2_000 * 8 + joints);
    let end = ready.end_of_text.unwrap();
    let text: Vec<u8> = tokens(&ready.train).iter().map(|&token| if token == end { b'|' } else { token as u8 }).collect();
    assert!(text.starts_with(b"file 0000|file 0001|") && text.ends_with(b"|file 1999"));
}

#[test]
fn the_subwords_of_the_built_in_book_are_the_same_ones_for_ever() {
    let ready = Place::keeper().ready(&Kinds::Bpe { vocab_size: 2_048 });
    assert_eq!(ready.tokenizer_hash, "d8060b3d2484a39511599728db3508554070566d7a52346617b0ff487788d2d4");
}

#[test]
fn nothing_is_learned_from_the_letters_of_an_end_of_text_token_in_the_text() {
    let text = "one two three<|endoftext|>one two four\n<|endoftext|> a < b |".repeat(40);
    let place = Place::new(&[("a.txt", &text), ("b.txt", &text)]);
    for kind in [Kinds::Char, Kinds::Word, Kinds::Bpe { vocab_size: 300 }] {
        let ready = place.ready(&kind);
        assert!(ready.names_end_of_text, "{kind:?}");
        let json: serde_json::Value = serde_json::from_slice(&fs::read(&ready.tokenizer_file).unwrap()).unwrap();
        let vocabulary = json["model"]["vocab"].as_object().unwrap();
        let named = |part: &str| vocabulary.keys().any(|token| token.contains(part));
        assert!(named("<|endoftext|>") && named("t"));
        match kind {
            Kinds::Char => assert!(!vocabulary.contains_key("x") && vocabulary.contains_key("<")),
            _ => assert!(
                !vocabulary.keys().any(|token| token != "<|endoftext|>" && (token.contains("nd") || token.contains("<|")))
            ),
        }
        let used: std::collections::BTreeSet<u32> = tokens(&ready.train).into_iter().collect();
        assert!(used.contains(&ready.end_of_text.unwrap()), "it stands for itself in the text");
    }
}

#[test]
fn only_texts_that_name_the_end_of_text_token_where_it_is_learned_from_have_another_tokenizer_than_before() {
    let words = "one two three\n\n".repeat(100);
    let held_out = format!("{words}{}", "<|endoftext|> one\n".repeat(5));
    // One document: `char` and `word` have no such token, and learn its letters as all others.
    let place = Place::new(&[("a.txt", "<|endoftext|> one two three\n\n".repeat(100).as_str())]);
    for (kind, named) in
        [(Kinds::Char, false), (Kinds::Word, false), (Kinds::Byte, false), (Kinds::Bpe { vocab_size: 300 }, true)]
    {
        assert_eq!(place.ready(&kind).names_end_of_text, named, "{kind:?}");
    }
    for text in [words.as_str(), held_out.as_str()] {
        let place = Place::new(&[("a.txt", text)]);
        for kind in kinds() {
            assert!(!place.ready(&kind).names_end_of_text, "{kind:?}");
        }
    }
    let ready = Place::keeper().ready(&Kinds::Bpe { vocab_size: 512 });
    assert_eq!(ready.tokenizer_key, "bpe-512-73651b31f432");
}
