//! What a terminal can show: how wide it is and whether it has colours, prose that breaks at words, and tables that leave columns out
//! rather than break a number.

use std::os::fd::AsFd;

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table, TableStyle};
use unicode_width::UnicodeWidthStr;

/// Widths that are believed: narrower ones are drawn as if they were the first.
const NARROWEST: usize = 20;
/// Where somebody says that there is a terminal, but not how wide.
const UNKNOWN: usize = 80;
/// Words are cut to this before whole columns are left out, and to [`SHORTEST`] where there is no other way.
const SHORT: usize = 24;
const SHORTEST: usize = 8;
/// Prose gets at least this, or its column is left out.
const PROSE: usize = 20;

/// How something is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Columns of the terminal; `None` where there is none, and lines are as long as they need to be.
    pub width: Option<usize>,
    /// Whether it has colours.
    pub colour: bool,
}

impl Look {
    /// No terminal: nothing is cut, nothing is coloured.
    pub const PLAIN: Self = Self { width: None, colour: false };

    /// What suits this stream. `COLUMNS` goes before what the terminal says of itself; `NO_COLOR` and `TERM=dumb` take the colours.
    pub fn of(stream: impl AsFd) -> Self {
        let stream = stream.as_fd();
        if !rustix::termios::isatty(stream) {
            return Self::PLAIN;
        }
        let variable = |name: &str| std::env::var_os(name).and_then(|value| value.into_string().ok());
        let told = size_of(stream).map_or(0, |(columns, _)| usize::from(columns));
        Self {
            width: Some(width_from(variable("COLUMNS").as_deref(), told)),
            colour: has_colour(variable("NO_COLOR").as_deref(), variable("TERM").as_deref()),
        }
    }
}

/// Columns and rows of the terminal that this stream is, as it says itself.
pub fn size_of(stream: impl AsFd) -> Option<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}

fn width_from(columns: Option<&str>, told: usize) -> usize {
    let set = columns.and_then(|columns| columns.parse().ok()).filter(|&columns: &usize| columns > 0);
    let told = Some(told).filter(|&columns| columns > 0);
    set.or(told).unwrap_or(UNKNOWN).max(NARROWEST)
}

/// Whether a terminal has colours, by the variables of these names.
pub fn has_colour(no_color: Option<&str>, term: Option<&str>) -> bool {
    no_color.is_none_or(str::is_empty) && term != Some("dumb")
}

/// Columns that a text takes.
pub fn width_of(text: &str) -> usize {
    text.width()
}

/// The text, or its beginning and an ellipsis, in at most so many columns.
pub fn cut(text: &str, most: usize) -> String {
    if width_of(text) <= most {
        return text.to_owned();
    }
    let mut kept = String::new();
    for c in text.chars() {
        kept.push(c);
        if width_of(&kept) + 1 > most {
            kept.pop();
            break;
        }
    }
    kept.truncate(kept.trim_end().len());
    kept + "…"
}

/// Prose with every line broken at spaces so that it fits, the rest of a line as far in as its beginning. What is in backticks stays
/// whole where it fits into a line: it may be copied.
pub fn wrapped(text: &str, width: Option<usize>) -> String {
    let Some(width) = width else { return text.to_owned() };
    let lines = text.split('\n').map(|line| wrapped_line(line, width));
    lines.collect::<Vec<_>>().join("\n")
}

fn wrapped_line(line: &str, width: usize) -> String {
    if width_of(line) <= width {
        return line.to_owned();
    }
    let indent = &line[..line.len() - line.trim_start_matches(' ').len()];
    let indent = if width_of(indent) * 2 > width { "" } else { indent };
    let (mut text, mut used) = (String::new(), 0);
    // A gap stands before its word, so that it goes where the line is broken.
    for (gap, word) in words(line, width.saturating_sub(indent.len())) {
        let needed = gap.len() + width_of(word);
        if used > indent.len() && used + needed > width {
            text.push('\n');
            text.push_str(indent);
            text.push_str(word);
            used = indent.len() + width_of(word);
        } else {
            text.push_str(gap);
            text.push_str(word);
            used += needed;
        }
    }
    text
}

/// The words of a line, each with the spaces before it; a span in backticks of at most so many columns is one.
fn words(line: &str, most: usize) -> Vec<(&str, &str)> {
    let (mut words, mut rest) = (Vec::new(), line);
    while !rest.is_empty() {
        let gap = rest.len() - rest.trim_start_matches(' ').len();
        let (space, after) = rest.split_at(gap);
        let end = end_of_word(after, most);
        words.push((space, &after[..end]));
        rest = &after[end..];
    }
    words
}

fn end_of_word(text: &str, most: usize) -> usize {
    let plain = text.find(' ').unwrap_or(text.len());
    let Some(open) = text[..plain].find('`') else { return plain };
    let Some(close) = text[open + 1..].find('`').map(|place| open + 1 + place) else { return plain };
    let end = text[close..].find(' ').map_or(text.len(), |place| close + place);
    if end > plain && width_of(&text[..end]) <= most { end } else { plain }
}

/// What the cells of a column are, which says how they may be made narrower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cells {
    /// Numbers: never broken, never cut, at the right.
    Numbers,
    /// Ids and such: never cut either.
    Whole,
    /// Names: cut where there is no other way.
    Words,
    /// Sentences: broken at words.
    Prose,
}

/// A column of a table.
#[derive(Debug, Clone)]
pub struct Column {
    /// What stands over it.
    pub heading: String,
    /// What its cells are.
    pub cells: Cells,
    /// Columns are left out from the smallest of these on; `None` stays whatever happens.
    pub keep: Option<u8>,
}

impl Column {
    /// A column that stays.
    pub fn new(heading: impl Into<String>, cells: Cells) -> Self {
        Self { heading: heading.into(), cells, keep: None }
    }

    /// The same, left out before those with a larger number.
    pub fn keep(self, keep: u8) -> Self {
        Self { keep: Some(keep), ..self }
    }
}

/// How a row stands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Not at all.
    Plain,
    /// The first.
    Good,
    /// One that something is wrong with.
    Bad,
}

/// A row: how it stands out, and a cell for each column.
pub type Row = (Tone, Vec<String>);

/// A table as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drawn {
    /// Its lines, without spaces at their ends, each ended by a line feed.
    pub text: String,
    /// Headings of the columns that there was no room for, in their order.
    pub left_out: Vec<String>,
}

impl Drawn {
    /// What was left out and where else it is, in a sentence; nothing where all is there.
    pub fn note(&self, width: Option<usize>, elsewhere: &str) -> Option<String> {
        let width = width?;
        (!self.left_out.is_empty()).then(|| {
            format!("Left out at {width} columns: {}. A wider terminal shows them, and {elsewhere}.", self.left_out.join(", "))
        })
    }
}

/// Draws a table in this style. Where it is too wide, headings are broken at words, then words are cut, then columns left out.
pub fn table(columns: &[Column], rows: &[Row], style: TableStyle, look: Look) -> Drawn {
    let mut kept: Vec<usize> = (0..columns.len()).collect();
    let draw = |kept: &[usize], fitted: Fitted| Sheet { columns, rows, kept, fitted, style, look }.draw();
    let Some(width) = look.width else {
        return Drawn { text: draw(&kept, Fitted::default()).unwrap_or_default(), left_out: Vec::new() };
    };
    let steps = [(false, None), (true, None), (true, Some(SHORT))];
    let fitted = |(broken, words)| Fitted { broken, words, width: Some(width) };
    let left_out = |kept: &[usize]| {
        let gone = (0..columns.len()).filter(|column| !kept.contains(column));
        gone.map(|column| columns[column].heading.clone()).collect()
    };
    loop {
        if let Some(text) = steps.into_iter().find_map(|step| draw(&kept, fitted(step))) {
            return Drawn { text, left_out: left_out(&kept) };
        }
        // Of equal ones the last goes first.
        let next = kept.iter().enumerate().filter_map(|(place, &column)| Some((columns[column].keep?, usize::MAX - place)));
        let Some((_, place)) = next.min() else { break };
        kept.remove(usize::MAX - place);
    }
    let least = Fitted { broken: true, words: Some(SHORTEST), width: Some(width) };
    let whole = || draw(&kept, Fitted { width: None, ..least });
    Drawn { text: draw(&kept, least).or_else(whole).unwrap_or_default(), left_out: left_out(&kept) }
}

/// How a table is made to fit.
#[derive(Debug, Clone, Copy, Default)]
struct Fitted {
    /// Whether headings are broken at words.
    broken: bool,
    /// Columns that a name may take.
    words: Option<usize>,
    /// Columns that there are; without, it is as wide as it is.
    width: Option<usize>,
}

struct Sheet<'a> {
    columns: &'a [Column],
    rows: &'a [Row],
    kept: &'a [usize],
    fitted: Fitted,
    style: TableStyle,
    look: Look,
}

impl Sheet<'_> {
    /// The table's lines; `None` where they are too wide.
    fn draw(&self) -> Option<String> {
        let prose = self.kept.iter().copied().find(|&column| self.columns[column].cells == Cells::Prose);
        let mut text = self.lines(None);
        let Some(width) = self.fitted.width else { return Some(text) };
        if let Some(prose) = prose.filter(|_| widest(&text) > width) {
            // What the others leave is the prose's, as far as that is worth having.
            let own = self.width_of_column(prose);
            let room = (width + own).saturating_sub(widest(&text));
            if room < PROSE.min(own) {
                return None;
            }
            text = self.lines(Some((prose, room)));
        }
        (widest(&text) <= width).then_some(text)
    }

    fn width_of_column(&self, column: usize) -> usize {
        let cells = self.rows.iter().map(|(_, cells)| width_of(&cells[column]));
        cells.chain([width_of(&self.columns[column].heading)]).max().unwrap_or(0)
    }

    fn lines(&self, prose: Option<(usize, usize)>) -> String {
        let mut table = Table::new();
        table.load_style(self.style).set_content_arrangement(ContentArrangement::Disabled);
        if self.look.colour {
            table.enforce_styling()
        } else {
            table.force_no_tty()
        };
        let heading = |&column: &usize| Cell::new(self.heading(column)).add_attribute(Attribute::Bold);
        table.set_header(self.kept.iter().map(heading).collect::<Vec<_>>());
        for (tone, cells) in self.rows {
            let cell = |&column: &usize| {
                let text = match prose {
                    Some((prose, room)) if prose == column => wrapped(&cells[column], Some(room)),
                    _ => self.cell(column, &cells[column]),
                };
                match tone {
                    Tone::Plain => Cell::new(text),
                    Tone::Good => Cell::new(text).fg(Color::Green).add_attribute(Attribute::Bold),
                    Tone::Bad => Cell::new(text).fg(Color::Red),
                }
            };
            table.add_row(self.kept.iter().map(cell).collect::<Vec<_>>());
        }
        for (place, &column) in self.kept.iter().enumerate() {
            if self.columns[column].cells == Cells::Numbers
                && let Some(drawn) = table.column_mut(place)
            {
                drawn.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }

    /// The heading, broken at words where it is wider than what stands under it.
    fn heading(&self, column: usize) -> String {
        let heading = &self.columns[column].heading;
        if !self.fitted.broken {
            return heading.clone();
        }
        let cells = self.rows.iter().map(|(_, cells)| width_of(&self.cell(column, &cells[column])));
        let longest = heading.split(' ').map(width_of).max().unwrap_or(0);
        wrapped(heading, Some(cells.max().unwrap_or(0).max(longest)))
    }

    fn cell(&self, column: usize, text: &str) -> String {
        match self.fitted.words {
            Some(most) if self.columns[column].cells == Cells::Words => cut(text, most),
            _ => text.to_owned(),
        }
    }
}

/// Columns of the widest line, escape sequences aside.
fn widest(text: &str) -> usize {
    text.lines().map(|line| width_of(&without_escapes(line))).max().unwrap_or(0)
}

/// The text without the sequences that colour it (`ESC [ … m`).
fn without_escapes(text: &str) -> String {
    let mut parts = text.split('\u{1b}');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.split_once('m').map_or("", |(_, rest)| rest));
    }
    plain
}

#[cfg(test)]
mod tests {
    use comfy_table::presets::NOTHING;

    use super::*;

    fn look(width: usize) -> Look {
        Look { width: Some(width), colour: false }
    }

    /// A leaderboard as the report has it.
    fn leaderboard() -> (Vec<Column>, Vec<Row>) {
        let columns = vec![
            Column::new("", Cells::Numbers),
            Column::new("#", Cells::Numbers),
            Column::new("sequence length", Cells::Numbers).keep(9),
            Column::new("batch size", Cells::Numbers).keep(9),
            Column::new("perplexity", Cells::Numbers),
            Column::new("to the best", Cells::Numbers).keep(5),
            Column::new("tokens/s", Cells::Numbers).keep(2),
            Column::new("training", Cells::Numbers).keep(2),
            Column::new("status", Cells::Words).keep(1),
        ];
        let row = |place: usize| {
            let cells =
                [&place.to_string(), "12", "1_024", "full", "306,111.1 ± 12.3", "-0.26 % (-0.31 to 0.00)", "45,123", "3 min 5 s"];
            (Tone::Plain, cells.map(str::to_owned).into_iter().chain(["completed".to_owned()]).collect())
        };
        (columns, (1..=2).map(row).collect())
    }

    #[test]
    fn no_number_is_broken_at_any_width_and_what_is_left_out_is_said() {
        let (columns, rows) = leaderboard();
        for colour in [false, true] {
            for width in 40..=200 {
                let drawn = table(&columns, &rows, NOTHING, Look { width: Some(width), colour });
                assert!(widest(&drawn.text) <= width, "{width}:\n{}", drawn.text);
                let text = without_escapes(&drawn.text);
                let body: Vec<&str> = text.lines().filter(|line| line.contains("12")).collect();
                assert_eq!(body.len(), 2, "a row is one line at {width}:\n{text}");
                for (column, cell) in columns.iter().zip(&rows[0].1) {
                    assert!(
                        body[0].contains(cell.as_str()) || drawn.left_out.contains(&column.heading),
                        "{width} {cell}:\n{text}"
                    );
                }
            }
        }
        let left_out = |width: usize| table(&columns, &rows, NOTHING, look(width)).left_out;
        assert!(left_out(200).is_empty());
        assert!(left_out(100).is_empty(), "headings of two lines are enough");
        assert_eq!(left_out(90), ["status"]);
        assert_eq!(left_out(40), ["batch size", "to the best", "tokens/s", "training", "status"]);
    }

    #[test]
    fn headings_are_broken_before_columns_are_left_out() {
        let (columns, rows) = leaderboard();
        let text = table(&columns[..5], &rows, NOTHING, look(46)).text;
        assert_eq!(text.lines().next().unwrap().trim(), "#  sequence  batch        perplexity", "{text}");
        assert!(text.lines().nth(1).unwrap().contains("length   size"), "{text}");
    }

    #[test]
    fn prose_in_a_table_breaks_at_words_and_names_are_cut_last() {
        let details = Column::new("details", Cells::Prose).keep(1);
        let columns = [Column::new("trial", Cells::Words), Column::new("status", Cells::Words), details];
        let (name, prose) = ("length 128 · batch 16 · clip 0.5", "exit code 101: the device ran out of memory");
        let rows = [(Tone::Bad, [name, "failed", prose].map(str::to_owned).to_vec())];
        for (width, whole, with_prose) in
            [(100, true, true), (80, true, true), (60, false, true), (40, false, false), (24, false, false)]
        {
            let drawn = table(&columns, &rows, NOTHING, look(width));
            assert!(widest(&drawn.text) <= width, "{width}:\n{}", drawn.text);
            assert!(drawn.text.contains("failed"), "{width}:\n{}", drawn.text);
            assert_eq!(drawn.text.contains(name), whole, "{width}:\n{}", drawn.text);
            let has_all = prose.split(' ').all(|word| drawn.text.split_whitespace().any(|other| other == word));
            assert_eq!(has_all, with_prose, "{width}:\n{}", drawn.text);
            assert_eq!(drawn.left_out.is_empty(), with_prose, "{width}: {:?}", drawn.left_out);
        }
        let drawn = table(&columns, &rows, NOTHING, look(24));
        assert_eq!(
            drawn.note(Some(24), "`--json` has them").unwrap(),
            "Left out at 24 columns: details. A wider terminal shows them, and `--json` has them."
        );
        assert_eq!(drawn.note(None, ""), None);
    }

    #[test]
    fn prose_breaks_at_words_and_commands_stay_whole() {
        let text =
            "note: say which experiment is meant: `votive compare a#1 b#2` compares two.\n  excluded 12: it would skip half";
        assert_eq!(
            wrapped(text, Some(40)),
            "note: say which experiment is meant:\n`votive compare a#1 b#2` compares two.\n  excluded 12: it would skip half"
        );
        assert_eq!(wrapped("  one two three", Some(9)), "  one two\n  three");
        assert_eq!(wrapped("averylongwordthatdoesnotfit in", Some(8)), "averylongwordthatdoesnotfit\nin");
        assert_eq!(wrapped("`a command that is far too long`", Some(10)), "`a command\nthat is\nfar too\nlong`");
        assert_eq!(wrapped(text, None), text);
        for width in 20..120 {
            assert!(wrapped(text, Some(width)).lines().all(|line| width_of(line) <= width.max(24)), "{width}");
        }
    }

    #[test]
    fn texts_are_cut_by_what_they_take_on_the_screen() {
        assert_eq!([cut("length 64", 9), cut("length 64", 8), cut("length 64", 7)], ["length 64", "length…", "length…"]);
        assert_eq!(cut("汉字汉字", 5), "汉字…");
        assert_eq!([width_of("汉字"), width_of("●"), width_of("±")], [4, 1, 1]);
    }

    #[test]
    fn colours_and_widths_follow_the_surroundings() {
        assert!(has_colour(None, None) && has_colour(Some(""), Some("xterm-256color")));
        assert!(!has_colour(Some("1"), None) && !has_colour(None, Some("dumb")));
        assert_eq!(
            [width_from(None, 132), width_from(Some("60"), 132), width_from(Some("x"), 0), width_from(None, 3)],
            [132, 60, 80, 20]
        );
    }
}
