//! A parser's place in the tokens of an expression, and the types of what it has read.

use std::ops::Range;

use super::fault::Fault;
use super::tokens::Token;
use super::value::{Datum, Kind};
use crate::experiment::keys;
use crate::experiment::names::{Name, Names};

/// What an atom of the expression stands for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Slot {
    Fixed(Datum),
    Full,
    Setting(Name),
    Own(usize),
}

/// A part of an expression: its type and its code.
pub(super) struct Term {
    pub(super) kind: Kind,
    pub(super) code: String,
    pub(super) at: Range<usize>,
    /// A bare word that is no name: only a comparison with a word setting can say what it means.
    pub(super) bare: Option<String>,
    /// The word setting that stands here alone.
    pub(super) setting: Option<Name>,
}

pub(super) struct Parser<'a> {
    pub(super) text: &'a str,
    pub(super) tokens: &'a [(Token, Range<usize>)],
    pub(super) next: usize,
    pub(super) depth: usize,
    pub(super) names: &'a Names,
    pub(super) slots: Vec<Slot>,
}

impl Parser<'_> {
    pub(super) fn peek(&self) -> Option<(&Token, Range<usize>)> {
        self.tokens.get(self.next).map(|(token, at)| (token, at.clone()))
    }

    pub(super) fn sign(&mut self, signs: &[&'static str]) -> Option<&'static str> {
        let found = match self.peek()?.0 {
            Token::Sign(sign) => signs.iter().find(|s| *s == sign).copied(),
            _ => None,
        };
        self.next += usize::from(found.is_some());
        found
    }

    pub(super) fn word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some((Token::Name(name), _)) if name == word);
        self.next += usize::from(found);
        found
    }

    pub(super) fn here(&self) -> Range<usize> {
        self.peek().map_or(self.text.len()..self.text.len(), |(_, at)| at)
    }

    pub(super) fn fault<T>(&self, message: impl Into<String>, at: Range<usize>) -> Result<T, Fault> {
        Err(Fault { message: message.into(), help: None, at })
    }

    pub(super) fn slot(&mut self, slot: Slot) -> String {
        self.slots.push(slot);
        format!("v{}", self.slots.len() - 1)
    }

    pub(super) fn made(kind: Kind, code: String, at: Range<usize>) -> Term {
        Term { kind, code, at, bare: None, setting: None }
    }

    /// Refuses a bare word that is no name.
    pub(super) fn known(&self, term: Term) -> Result<Term, Fault> {
        self.check_known(&term).map(|()| term)
    }

    pub(super) fn check_known(&self, term: &Term) -> Result<(), Fault> {
        match &term.bare {
            None => Ok(()),
            Some(word) => {
                let help = self.names.suggestion(word);
                Err(Fault { message: format!("there is no setting called `{word}`"), help, at: term.at.clone() })
            }
        }
    }

    pub(super) fn need(&self, term: Term, kind: Kind, sign: &str) -> Result<Term, Fault> {
        let term = self.known(term)?;
        if term.kind == kind {
            return Ok(term);
        }
        let what = &self.text[term.at.clone()];
        let message = match (term.kind, kind) {
            (Kind::Word, _) => format!("`{what}` is a word: it can only be compared with a word, not used with `{sign}`"),
            (Kind::Boolean, _) => format!("`{what}` is true or false, not a number: `{sign}` needs numbers"),
            (Kind::Number, _) => format!("`{what}` is a number: `{sign}` needs something that is true or false"),
        };
        self.fault(message, term.at)
    }

    pub(super) fn deeper(&mut self) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth > 40 {
            return self.fault("the expression is nested too deep", 0..self.text.len());
        }
        Ok(())
    }

    pub(super) fn pair(&mut self, left: &mut Term, sign: &str, right: Term) -> Result<Term, Fault> {
        let right = self.same(left, right)?;
        if left.kind != Kind::Number && !matches!(sign, "==" | "!=") {
            let what = &self.text[left.at.clone()];
            let fault = format!("`{what}` is no number: it can only be compared by `==`, `!=` and `in`");
            return self.fault(fault, left.at.clone());
        }
        Ok(right)
    }

    /// Both sides of a comparison: of one type, bare words read as what they are compared with.
    pub(super) fn same(&mut self, left: &mut Term, right: Term) -> Result<Term, Fault> {
        let right = match (left.bare.is_some(), right.bare.is_some()) {
            (false, true) if left.kind == Kind::Word => self.spell(&right, left.setting.as_ref())?,
            (true, false) if right.kind == Kind::Word => {
                *left = self.spell(left, right.setting.as_ref())?;
                right
            }
            _ => {
                self.check_known(left)?;
                self.known(right)?
            }
        };
        if left.kind == right.kind {
            return Ok(right);
        }
        let called = |term: &Term| {
            let kind = match term.kind {
                Kind::Number => "a number",
                Kind::Boolean => "true or false",
                Kind::Word => "a word",
            };
            format!("`{}` is {kind}", &self.text[term.at.clone()])
        };
        self.fault(format!("{}, but {}", called(left), called(&right)), left.at.start..right.at.end)
    }

    /// A bare word as one of the words of this setting.
    pub(super) fn spell(&mut self, term: &Term, setting: Option<&Name>) -> Result<Term, Fault> {
        let word = term.bare.clone().unwrap_or_default();
        if let Some(words) = setting.and_then(Name::words)
            && !words.contains(&word)
        {
            let help = keys::nearest(&word, words.iter().map(String::as_str));
            return Err(Fault {
                message: format!("`{}` is never `{word}`, it is one of {}", setting.map_or("", Name::key), words.join(", ")),
                help: help.map(|word| format!("did you mean `{word}`?")),
                at: term.at.clone(),
            });
        }
        let code = self.slot(Slot::Fixed(Datum::Word(word)));
        Ok(Self::made(Kind::Word, code, term.at.clone()))
    }
}
