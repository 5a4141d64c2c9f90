//! Markdown as a terminal shows it: the few forms that the guide has.

use comfy_table::presets::NOTHING;

use crate::terminal::{self, Cells, Column, Look, Tone, width_of, wrapped};

/// Lines of prose are no longer than this, however wide the terminal is.
const WIDEST: usize = 100;

/// The text as it is shown: as it is where there is no terminal.
pub fn rendered(text: &str, look: Look) -> String {
    let Some(width) = look.width else { return text.to_owned() };
    let page = Page { width: width.min(WIDEST), look: Look { width: Some(width.min(WIDEST)), ..look } };
    let mut blocks = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("```") {
            let code: Vec<String> =
                lines.by_ref().take_while(|line| !line.starts_with("```")).map(|line| format!("    {line}")).collect();
            blocks.push(code.join("\n"));
        } else if line.starts_with('|') {
            let mut rows = vec![line];
            while let Some(row) = lines.next_if(|line| line.starts_with('|')) {
                rows.push(row);
            }
            blocks.push(page.table(&rows));
        } else if let Some(heading) = line.strip_prefix('#') {
            blocks.push(page.bold(&plain(heading.trim_start_matches('#').trim())));
        } else if !line.trim().is_empty() {
            let (mark, first) = line.strip_prefix("* ").map_or(("", line), |first| ("* ", first));
            let mut prose = first.to_owned();
            while let Some(more) = lines.next_if(|line| continues(line)) {
                prose.push(' ');
                prose.push_str(more.trim());
            }
            blocks.push(page.prose(mark, &prose));
        }
    }
    // Items of a list stand together.
    let mut shown = String::new();
    for (place, block) in blocks.iter().enumerate() {
        let together = place > 0 && block.starts_with("* ") && blocks[place - 1].starts_with("* ");
        if place > 0 {
            shown.push_str(if together { "\n" } else { "\n\n" });
        }
        shown.push_str(block.trim_end());
    }
    shown + "\n"
}

/// Whether a line belongs to the paragraph or item before it.
fn continues(line: &str) -> bool {
    !line.trim().is_empty() && !line.starts_with(['#', '|', '`']) && !line.starts_with("* ")
        || line.starts_with('`') && !line.starts_with("```")
}

/// Without the signs of Markdown, but for backticks.
fn plain(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(open) = rest.find('[') {
        let link = rest[open..].find("](").map(|middle| open + middle);
        let Some((middle, end)) = link.and_then(|middle| Some((middle, middle + rest[middle..].find(')')?))) else { break };
        if rest[..open].matches('`').count() % 2 == 1 {
            break;
        }
        shown.push_str(&rest[..open]);
        shown.push_str(&rest[open + 1..middle]);
        rest = &rest[end + 1..];
    }
    shown.push_str(rest);
    // A star in backticks is a pattern or a product.
    let parts = shown.split('`').enumerate();
    parts
        .map(|(place, part)| if place % 2 == 0 { part.replace("**", "").replace('*', "") } else { part.to_owned() })
        .collect::<Vec<_>>()
        .join("`")
}

struct Page {
    width: usize,
    look: Look,
}

impl Page {
    fn bold(&self, text: &str) -> String {
        if self.look.colour { format!("\u{1b}[1m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    fn prose(&self, mark: &str, text: &str) -> String {
        let body = wrapped(&plain(text), Some(self.width.saturating_sub(mark.len())));
        format!("{mark}{}", body.replace('\n', &format!("\n{}", " ".repeat(mark.len()))))
    }

    /// A table where it fits, else a list of its rows.
    fn table(&self, lines: &[&str]) -> String {
        let cells = |line: &&str| line.trim_matches('|').split(" | ").map(|cell| plain(cell.trim())).collect::<Vec<_>>();
        let mut rows: Vec<Vec<String>> = lines.iter().filter(|line| !line.starts_with("| ---")).map(cells).collect();
        let heads = rows.remove(0);
        rows.iter_mut().for_each(|row| row.resize(heads.len(), String::new()));
        let widths = (0..heads.len()).map(|column| rows.iter().map(|row| width_of(&row[column])).max().unwrap_or(0));
        let widest = widths.enumerate().max_by_key(|(_, width)| *width).map_or(0, |(column, _)| column);
        let columns: Vec<Column> = heads
            .iter()
            .enumerate()
            .map(|(place, head)| Column::new(head.clone(), if place == widest { Cells::Prose } else { Cells::Whole }))
            .collect();
        let body: Vec<_> = rows.iter().map(|row| (Tone::Plain, row.clone())).collect();
        let drawn = terminal::table(&columns, &body, NOTHING, Look { colour: false, ..self.look });
        if drawn.text.lines().all(|line| width_of(line) <= self.width) {
            return drawn.text;
        }
        let mut list = String::new();
        for row in &rows {
            list.push_str(&wrapped(&row[0], Some(self.width)));
            list.push('\n');
            for (head, cell) in heads.iter().zip(row).skip(1).filter(|(_, cell)| !cell.is_empty()) {
                let text = if head.is_empty() { format!("    {cell}") } else { format!("    {head}: {cell}") };
                list.push_str(&wrapped(&text, Some(self.width)));
                list.push('\n');
            }
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guide::PAGES;

    #[test]
    fn prose_lists_tables_and_code_fit_the_terminal() {
        let text = "# Heading\n\nSome **bold** words and `a * b` in a paragraph\nof two lines, [linked](x.md).\n\n* one item\n  that goes on\n* another\n\n\
                    | word | meaning |\n| --- | --- |\n| token | the smallest unit of text that the model sees |\n\n```sh\nvotive run x.yaml\n```\n";
        assert_eq!(rendered(text, Look::PLAIN), text);
        insta::assert_snapshot!(rendered(text, Look { width: Some(40), colour: false }), @r"
        Heading

        Some bold words and `a * b` in a
        paragraph of two lines, linked.

        * one item that goes on
        * another

         word   meaning
         token  the smallest unit of text that
                the model sees

            votive run x.yaml
        ");
    }

    #[test]
    fn every_page_of_the_guide_fits_a_terminal() {
        for page in PAGES {
            let text = page.text();
            let code: Vec<String> =
                text.split("```").skip(1).step_by(2).flat_map(str::lines).map(|line| format!("    {line}")).collect();
            for width in [60, 80, 120] {
                for line in rendered(&text, Look { width: Some(width), colour: false }).lines() {
                    let is_code = code.iter().any(|code| code == line);
                    let word = line.split_whitespace().map(width_of).max().unwrap_or(0);
                    let copied = line.contains('`') || word + 8 > width;
                    assert!(width_of(line) <= width || is_code || copied, "{} at {width}: {line}", page.name);
                }
            }
        }
    }
}
