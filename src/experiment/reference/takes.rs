//! What a setting may be, in words.

use crate::experiment::text::{whole, write_number};
use crate::words::thousands;

/// One thing that a setting may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Takes {
    /// A whole number between these, both included.
    Whole(u64, u64),
    /// A number between these.
    Number(Edge, Edge),
    /// `true` or `false`.
    Flag,
    /// One of these words, each with what it means.
    Words(&'static [(&'static str, &'static str)]),
    /// A text that is this.
    Text(&'static str),
    /// A text that is this, or a list of such texts.
    Texts(&'static str),
    /// A time of the day.
    Clock,
    /// A length of time with its units.
    Length,
    /// A length of time as a bare number.
    Seconds,
    /// Something of a form of its own, which these words tell.
    Form(&'static str),
}

/// One end of a range of numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Edge {
    /// This number is in it.
    At(f64),
    /// Only what lies beyond it is.
    Beyond(f64),
    /// There is none that matters.
    Open,
}

impl Takes {
    fn words(&self) -> String {
        match self {
            Self::Whole(least, most) if *most > 1_000_000_000 => format!("a whole number from {least} up"),
            Self::Whole(least, most) => format!("a whole number from {least} to {}", thousands(*most)),
            Self::Number(least, most) => number(*least, *most),
            Self::Flag => "`true` or `false`".to_owned(),
            Self::Words(words) => listed(&words.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>()),
            Self::Text(what) | Self::Form(what) => (*what).to_owned(),
            Self::Texts(what) => format!("{what}, or a list"),
            Self::Clock => "a time of the day such as `07:00`".to_owned(),
            Self::Seconds => "a whole number of seconds".to_owned(),
            Self::Length => "a length of time such as `90s`, `30m`, `1h30m`".to_owned(),
        }
    }
}

fn number(least: Edge, most: Edge) -> String {
    let write = |number: f64| match whole(number).filter(|number| *number >= 10_000) {
        Some(number) => thousands(number),
        None => write_number(number),
    };
    match (least, most) {
        (Edge::At(least), Edge::At(most)) => format!("a number from {} to {}", write(least), write(most)),
        (Edge::At(least), Edge::Beyond(most)) => format!("a number from {} to below {}", write(least), write(most)),
        (Edge::Beyond(least), Edge::At(most)) => format!("a number above {}, at most {}", write(least), write(most)),
        (Edge::Beyond(least), Edge::Beyond(most)) => format!("a number between {} and {}", write(least), write(most)),
        (Edge::At(least), Edge::Open) => format!("a number from {} up", write(least)),
        (Edge::Beyond(least), Edge::Open) => format!("a number above {}", write(least)),
        (Edge::Open, _) => "a number".to_owned(),
    }
}

/// Several in a sentence: `a`, `a or b`, `a, b or c`.
fn listed(all: &[String]) -> String {
    match all {
        [] => String::new(),
        [one] => one.clone(),
        [before @ .., last] => format!("{} or {last}", before.join(", ")),
    }
}

/// What a setting may be that may be any of these.
pub(super) fn in_words(takes: &[Takes]) -> String {
    let all: Vec<String> = takes.iter().map(Takes::words).collect();
    match all.as_slice() {
        [before @ .., last] if !before.is_empty() => format!("{}, or {last}", before.join(", ")),
        _ => listed(&all),
    }
}
