//! Text becomes a split, tokens, windows and batches. The tokenizers crate lives only here.
//!
//! 1. [`files_of`] finds the files; they are read once from end to end, checked as UTF-8 and hashed. What is no plain text is
//!    named for what it is and refused. A byte order mark at the beginning of a file is no part of its text; all other bytes
//!    stay as they are: `\r\n` is text like any other.
//! 2. Each file is cut by bytes, before anything is tokenized: the test part at its very end, the validation part before it,
//!    each cut moved to a paragraph. Rows of a `.jsonl` file are documents and are never cut. Of files that are too short to be
//!    cut whole documents are held out.
//! 3. The tokenizer learns from the training part only, and is kept as a Hugging Face `tokenizer.json`.
//! 4. Each part becomes a token file. The token stream is *defined* over pieces of the text that are cut by one fixed rule,
//!    so a text of any size is tokenized in little memory, on all cores, with the same tokens whatever their number.
//!    Each held-out token knows its bytes of the text, those before it that became no token included; that these are all of it,
//!    each once, is checked, and so is whether decoding gives the text back.
//! 5. Workers map the token file ([`TokenFile`]), lay windows over it ([`Windows`]) and draw batches of them ([`Batches`]).
//!
//! Documents (files, rows) are joined by the tokenizer's end-of-text token. It stands for no byte of its own, so byte counts
//! stay those of the text. `char`, `byte` and `word` have such a token exactly when there are several documents to join: all
//! tokenizers of an experiment then predict the same document ends, and a single book wastes no entry of the vocabulary.

mod batches;
mod bpe;
mod cuts;
mod epoch;
mod formats;
mod held_out;
mod json_lines;
mod pairs;
mod patterns;
mod pieces;
mod places;
mod prepare;
mod references;
mod remark;
mod source;
mod spellings;
mod split;
mod stage;
mod text_stream;
mod token_file;
mod tokenizer;
mod tokenizer_files;
mod tokenizing;
mod training;
mod unknown;
mod windows;
mod word_count;

pub use batches::{Batch, Batches};
pub use epoch::Epoch;
pub use prepare::{Prepared, PreparedPart, Request, prepare};
pub use references::{Reference, References};
pub use remark::Remark;
pub use source::{files_of, is_for_rows};
pub use stage::Stage;
pub use text_stream::{TextStream, complete};
pub use token_file::TokenFile;
pub use tokenizer::Tokenizer;
pub use windows::Windows;

#[cfg(test)]
mod tests;
