//! A tokenizer's files: as somebody gave them, and as they are kept.

use std::path::Path;
use std::{fs, io};

use super::tokenizer::{Tokenizer, as_used};
use crate::error::{Error, Kind, Result};

/// A tokenizer's files as they were given.
pub(super) struct Given {
    /// Its `tokenizer.json`, as it is used.
    pub(super) json: Vec<u8>,
    /// The `tokenizer_config.json` beside it.
    pub(super) config: Option<Vec<u8>>,
    /// What the file asks for and is not done.
    pub(super) turned_off: Vec<String>,
}

impl Given {
    /// Reads a `tokenizer.json` and what lies beside it.
    pub(super) fn read(path: &Path) -> Result<Self> {
        // Read as a tokenizer first: a bad one is refused with its own name, and is not kept.
        Tokenizer::from_file(path)?;
        let beside = path.with_file_name("tokenizer_config.json");
        let config = match fs::read(&beside) {
            Ok(config) => Some(config),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(Error::io("read", &beside, e)),
        };
        let given = fs::read(path).map_err(|e| Error::io("read", path, e))?;
        let used = as_used(&given)?;
        Ok(Self { json: used.json.into_owned(), config, turned_off: used.turned_off })
    }
}

/// The tokenizer in a folder that was made before; `None` where it is not there whole: a part is missing or damaged.
pub(super) fn kept(folder: &Path) -> Result<Option<Tokenizer>> {
    let file = folder.join("tokenizer.json");
    if !file.is_file() || !folder.join("tokenizer_config.json").is_file() {
        return Ok(None);
    }
    match Tokenizer::from_file(&file) {
        Err(error) if error.kind() == Kind::Data => Ok(None),
        found => found.map(Some),
    }
}
