//! A problem in an experiment file: what it is, where it stands, what to do about it; and how a person sees it.

use std::fmt;
use std::sync::Arc;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents};
use miette::{SourceCode, SourceSpan, SpanContents, ThemeCharacters, ThemeStyles};

use crate::error::{Error, Kind};

/// A text that settings came from: the file, a `--set`, an environment variable.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// What a person calls it.
    pub(super) name: String,
    /// All of it.
    pub(super) text: String,
}

/// Where something stands in a [`Source`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub(super) source: Arc<Source>,
    pub(super) offset: usize,
    pub(super) length: usize,
}

impl Place {
    /// Name of the file, or of the `--set` or environment variable.
    pub fn source(&self) -> &str {
        &self.source.name
    }

    /// Line, from 1.
    pub fn line(&self) -> usize {
        self.before().bytes().filter(|&b| b == b'\n').count() + 1
    }

    /// Column in characters, from 1.
    pub fn column(&self) -> usize {
        let before = self.before();
        before[before.rfind('\n').map_or(0, |end| end + 1)..].chars().count() + 1
    }

    fn before(&self) -> &str {
        self.source.text.get(..self.offset).unwrap_or_default()
    }

    /// A part of this place, by byte offsets from its beginning.
    pub(super) fn part(&self, part: std::ops::Range<usize>) -> Self {
        Self { source: self.source.clone(), offset: self.offset + part.start, length: part.end - part.start }
    }

    /// The text that stands here.
    pub(super) fn text(&self) -> &str {
        self.source.text.get(self.offset..self.offset + self.length).unwrap_or_default()
    }
}

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing can be started.
    Error,
    /// Probably not what was meant; the program goes on.
    Warning,
    /// Good to know.
    Note,
}

/// One problem.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    pub(super) severity: Severity,
    pub(super) message: String,
    pub(super) key: Option<Box<str>>,
    pub(super) place: Option<Place>,
    pub(super) label: Option<Box<str>>,
    // Boxed, as few problems have one and every result of a parse is as large as a problem.
    pub(super) also: Option<Box<(Place, String)>>,
    pub(super) help: Option<String>,
}

impl Problem {
    pub(super) fn new(severity: Severity, message: impl Into<String>) -> Self {
        Self { severity, message: message.into(), key: None, place: None, label: None, also: None, help: None }
    }

    pub(super) fn error(message: impl Into<String>) -> Self {
        Self::new(Severity::Error, message)
    }

    pub(super) fn warning(message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, message)
    }

    pub(super) fn note(message: impl Into<String>) -> Self {
        Self::new(Severity::Note, message)
    }

    pub(super) fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into().into_boxed_str());
        self
    }

    pub(super) fn at(mut self, place: &Place) -> Self {
        self.place = Some(place.clone());
        self
    }

    /// Words under the marked place.
    pub(super) fn maybe_at(mut self, place: Option<Place>) -> Self {
        self.place = place.or(self.place);
        self
    }

    pub(super) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into().into_boxed_str());
        self
    }

    /// A second place that belongs to it.
    pub(super) fn also(mut self, place: &Place, label: impl Into<String>) -> Self {
        self.also = Some(Box::new((place.clone(), label.into())));
        self
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(super) fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help.or(self.help);
        self
    }

    /// How bad it is.
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// What it is, in a sentence.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The setting concerned, by its full name.
    pub fn setting(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Where it stands.
    pub fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    /// What to do about it.
    pub fn help_text(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// The problem as a person reads it, with the line it stands in. Ends with a line break.
    pub fn render(&self, style: Style) -> String {
        let theme = GraphicalTheme {
            characters: if style.unicode { ThemeCharacters::unicode() } else { ThemeCharacters::ascii() },
            styles: if style.colour { ThemeStyles::ansi() } else { ThemeStyles::none() },
        };
        let handler = GraphicalReportHandler::new_themed(theme)
            .with_width(style.width.max(40))
            .with_context_lines(1)
            .with_links(false)
            .without_cause_chain();
        let mut text = String::new();
        if handler.render_report(&mut text, &Shown::of(self)).is_err() {
            // Writing into a string does not fail; should the renderer refuse all the same, the sentence is still told.
            text = format!("{self}\n");
        }
        text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{}:{}:{}: ", place.source(), place.line(), place.column())?;
        }
        f.write_str(&self.message)
    }
}

/// How problems are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// With terminal colours.
    pub colour: bool,
    /// With box-drawing characters.
    pub unicode: bool,
    /// Columns.
    pub width: usize,
}

impl Default for Style {
    fn default() -> Self {
        Self { colour: false, unicode: false, width: 100 }
    }
}

/// All problems of a file, at least one of them an error.
#[derive(Debug, Clone, PartialEq)]
pub struct Problems {
    pub(super) file: String,
    pub(super) list: Vec<Problem>,
}

impl Problems {
    pub(super) fn one(file: &str, problem: Problem) -> Self {
        Self { file: file.to_owned(), list: vec![problem] }
    }

    /// The problems, in the order of the file.
    pub fn list(&self) -> &[Problem] {
        &self.list
    }

    /// All of them as a person reads them, and how many there are.
    pub fn render(&self, style: Style) -> String {
        let mut text: String = self.list.iter().map(|p| p.render(style) + "\n").collect();
        text.push_str(&self.count());
        text.push('\n');
        text
    }

    fn count(&self) -> String {
        let errors = self.list.iter().filter(|p| p.severity == Severity::Error).count();
        format!("{errors} problem{} in {}", if errors == 1 { "" } else { "s" }, self.file)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.list.as_slice() {
            [only] => write!(f, "{only}"),
            _ => f.write_str(&self.count()),
        }
    }
}

impl std::error::Error for Problems {}

impl From<Problems> for Error {
    fn from(problems: Problems) -> Self {
        match problems.list.as_slice() {
            [only] => {
                let error = Error::new(Kind::Usage, only.to_string());
                match &only.help {
                    Some(help) => error.help(help.clone()),
                    None => error,
                }
            }
            list => {
                let all: Vec<String> = list.iter().map(Problem::to_string).collect();
                Error::new(Kind::Usage, problems.count()).caused_by(all.join("; "))
            }
        }
    }
}

/// What the renderer is given: the text with control characters replaced byte for byte, so that a file cannot
/// steer the terminal and places stay right.
struct Shown<'a> {
    problem: &'a Problem,
    source: Option<Lines>,
}

impl<'a> Shown<'a> {
    fn of(problem: &'a Problem) -> Self {
        let source = problem.place.as_ref().map(|p| Lines { name: tame(&p.source.name), text: tame(&p.source.text) });
        Self { problem, source }
    }
}

/// A source of which whole lines are shown: those of the marked places, and no others.
struct Lines {
    name: String,
    text: String,
}

impl SourceCode for Lines {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        _after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let bytes = self.text.as_bytes();
        let first = span.offset().min(bytes.len());
        let last = (first + span.len().saturating_sub(1)).min(bytes.len());
        let start = bytes[..first].iter().rposition(|&b| b == b'\n').map_or(0, |end| end + 1);
        let end = bytes[last..].iter().position(|&b| b == b'\n').map_or(bytes.len(), |length| last + length + 1);
        let line = |at: usize| bytes[..at].iter().filter(|&&b| b == b'\n').count();
        // Without context the renderer asks where the place itself is, to write line and column; else for what to show.
        let column = if before == 0 { String::from_utf8_lossy(&bytes[start..first]).chars().count() } else { 0 };
        let (name, lines) = (self.name.clone(), (start, end - start).into());
        let count = line(end) - line(start);
        Ok(Box::new(MietteSpanContents::new_named(name, &bytes[start..end], lines, line(start), column, count)))
    }
}

/// Replaces control characters by harmless ones of the same number of bytes.
fn tame(text: &str) -> String {
    let tamed = |c: char| match c {
        '\n' | '\t' => c,
        c if c.is_control() && c.len_utf8() == 1 => '?',
        c if c.is_control() => '\u{bf}',
        c => c,
    };
    text.chars().map(tamed).collect()
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(f)
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        write!(f, "{word}: {}", tame(&self.problem.message))
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.problem.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
            Severity::Note => miette::Severity::Advice,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.problem.help.as_ref().map(|help| Box::new(tame(help)) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|s| s as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let place = self.problem.place.as_ref()?;
        let end = place.source.text.len();
        // What goes over several lines (a whole block) is marked at its first line only.
        let first_line = |p: &Place| p.text().lines().next().unwrap_or_default().trim_end().len();
        let span = |p: &Place| (p.offset.min(end), first_line(p).min(end.saturating_sub(p.offset)));
        let mut labels = vec![LabeledSpan::new_primary_with_span(self.problem.label.as_deref().map(str::to_owned), span(place))];
        if let Some((also, words)) = self.problem.also.as_deref()
            && also.source == place.source
        {
            labels.insert(0, LabeledSpan::new_with_span(Some(words.clone()), span(also)));
        }
        Some(Box::new(labels.into_iter()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, offset: usize, length: usize) -> Place {
        Place { source: Arc::new(Source { name: "x.yaml".to_owned(), text: text.to_owned() }), offset, length }
    }

    #[test]
    fn lines_and_columns_count_from_one_and_in_characters() {
        let text = "a: 1\nbé: 2\n";
        for (offset, line, column) in [(0, 1, 1), (3, 1, 4), (5, 2, 1), (10, 2, 5)] {
            let place = place(text, offset, 1);
            assert_eq!((place.line(), place.column()), (line, column), "offset {offset}");
        }
    }

    #[test]
    fn a_file_cannot_steer_the_terminal() {
        let problem = Problem::error("bad \u{1b}[2J").at(&place("k: \u{1b}]52;x\u{9b}y\n", 3, 5)).help("\u{7}");
        let text = problem.render(Style::default());
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        assert_eq!(tame("\u{9b}é\t").len(), "\u{9b}é\t".len());
    }

    #[test]
    fn colour_and_unicode_are_only_used_when_asked_for() {
        let problem = Problem::error("bad").at(&place("key: value\n", 5, 5));
        let plain = problem.render(Style::default());
        assert!(plain.is_ascii() && plain.contains("x.yaml:1:6") && plain.contains("key: value"), "{plain}");
        assert!(problem.render(Style { colour: true, ..Style::default() }).contains('\u{1b}'));
        assert!(problem.render(Style { unicode: true, ..Style::default() }).contains('│'));
    }

    #[test]
    fn one_problem_is_told_whole_and_several_are_counted() {
        let one = Problems::one("x.yaml", Problem::error("bad").help("do good"));
        let error = Error::from(one.clone());
        assert_eq!((error.kind(), error.to_string().as_str(), error.help_text()), (Kind::Usage, "bad", Some("do good")));
        let list = vec![Problem::error("bad"), Problem::warning("odd"), Problem::error("worse")];
        let two = Problems { file: "x.yaml".to_owned(), list };
        assert_eq!(two.to_string(), "2 problems in x.yaml");
        assert!(two.render(Style::default()).ends_with("\n2 problems in x.yaml\n"));
    }
}
