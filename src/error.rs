//! What went wrong, where, and what to do about it.
//!
//! One error type for the whole program: a [`Kind`] that decides the exit code and whether trying again can help, one
//! sentence that names the thing concerned, an optional `help` that is an action, and the cause underneath.
//! Sentences are lower case without a full stop, literals stand in backticks.

use std::error::Error as StdError;
use std::fmt;
use std::path::Path;

/// The program's result type.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What sort of thing went wrong; decides the exit code and whether a retry can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The command line or the experiment file asks for something that is not possible.
    Usage,
    /// A text, a tokenizer, a checkpoint or a Parquet file does not hold what it should.
    Data,
    /// The operating system refused to read or write.
    Io,
    /// The disk is full, or nearly so.
    DiskFull,
    /// Memory of the machine or of the device ran out.
    OutOfMemory,
    /// A device is missing or failed.
    Device,
    /// Another runner holds the experiment.
    Busy,
    /// Another worker has taken the trial over.
    TakenOver,
    /// There is nothing to report.
    Nothing,
    /// The time that was given is over.
    Deadline,
    /// Ctrl-C asked to stop.
    Interrupted,
    /// SIGTERM asked to stop.
    Terminated,
    /// A mistake in Votive itself.
    Internal,
}

/// An error: kind, sentence, optional help, optional cause.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    help: Option<String>,
    setting: Option<&'static str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// A new error of this kind. `message` is a lower-case sentence without a full stop.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), help: None, setting: None, source: None }
    }

    /// Something the user asked for that is not possible.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// A file that does not hold what it should.
    pub fn data(message: impl Into<String>) -> Self {
        Self::new(Kind::Data, message)
    }

    /// A mistake in Votive itself.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, message)
    }

    /// The same of the path `to`, where it was said of `from`: what was written under a temporary name is known by its own.
    pub(crate) fn of_path(mut self, from: &Path, to: &Path) -> Self {
        self.message = self.message.replace(&*from.to_string_lossy(), &to.to_string_lossy());
        self
    }

    /// A failed operation on a file: `failed to {action} {path}`, with the system's reason underneath.
    pub fn io(action: &str, path: &Path, source: std::io::Error) -> Self {
        let kind = match source.kind() {
            // The last: of a limit of this process, or of the file system.
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded | std::io::ErrorKind::FileTooLarge => {
                Kind::DiskFull
            }
            std::io::ErrorKind::OutOfMemory => Kind::OutOfMemory,
            _ => Kind::Io,
        };
        Self::new(kind, format!("failed to {action} {}", path.display())).caused_by(source)
    }

    /// Adds what to do about it: one action.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Says which setting it is about, by its full name: where the experiment file is at hand, its line is shown.
    #[must_use]
    pub fn about(mut self, setting: &'static str) -> Self {
        self.setting = Some(setting);
        self
    }

    /// Adds the cause underneath.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Puts a sentence above this error, keeping its kind, its help and its setting.
    #[must_use]
    pub fn context(mut self, message: impl Into<String>) -> Self {
        let help = self.help.take();
        Self { kind: self.kind, message: message.into(), help, setting: self.setting, source: Some(Box::new(self)) }
    }

    /// What sort of error this is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What to do about it, where that is known.
    pub fn help_text(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// The setting that it is about, where that is known.
    pub fn setting(&self) -> Option<&'static str> {
        self.setting
    }

    /// The sentence and all causes below it, joined by `: `.
    pub fn chain(&self) -> String {
        let mut text = self.message.clone();
        let mut next = self.source();
        while let Some(cause) = next {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|e| e as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_keeps_kind_help_and_causes() {
        let error = Error::io("read", Path::new("a.txt"), std::io::ErrorKind::StorageFull.into())
            .help("free some space")
            .about("corpus.text")
            .context("the checkpoint was not written");
        assert_eq!(error.kind(), Kind::DiskFull);
        assert_eq!((error.help_text(), error.setting()), (Some("free some space"), Some("corpus.text")));
        assert_eq!(error.chain(), "the checkpoint was not written: failed to read a.txt: no storage space");
    }
}
