//! The grammar of expressions, and their types.

use std::ops::Range;

use super::fault::Fault;
use super::tokens::{Token, tokens};
use super::value::{Datum, Kind};
use crate::experiment::keys;
use crate::experiment::names::{Name, Names};

/// All that can be called.
const FUNCTIONS: &[&str] = &["min", "max", "ceil", "floor", "round", "sqrt", "log2", "abs"];

/// What an atom of the expression stands for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Slot {
    Fixed(Datum),
    Full,
    Setting(Name),
    Own(usize),
}

/// A part of an expression: its type and its code.
struct Part {
    kind: Kind,
    code: String,
    at: Range<usize>,
    /// A bare word that is no name: only a comparison with a word setting can say what it means.
    bare: Option<String>,
    /// The word setting that stands here alone.
    setting: Option<Name>,
}

struct Parser<'a> {
    text: &'a str,
    tokens: &'a [(Token, Range<usize>)],
    next: usize,
    depth: usize,
    names: &'a Names,
    slots: Vec<Slot>,
}

/// Reads an expression: its type, its code for minijinja, and what the code's variables stand for.
pub(super) fn read(text: &str, names: &Names) -> Result<(Kind, String, Vec<Slot>), Fault> {
    let tokens = tokens(text)?;
    let mut parser = Parser { text, tokens: &tokens, next: 0, depth: 0, names, slots: Vec::new() };
    let result = parser.either()?;
    if let Some((token, at)) = parser.peek() {
        return Err(Fault { message: format!("`{token}` is not expected here"), help: None, at });
    }
    let result = parser.known(result)?;
    Ok((result.kind, result.code, parser.slots))
}

impl Parser<'_> {
    fn peek(&self) -> Option<(&Token, Range<usize>)> {
        self.tokens.get(self.next).map(|(token, at)| (token, at.clone()))
    }

    fn sign(&mut self, signs: &[&'static str]) -> Option<&'static str> {
        let found = match self.peek()?.0 {
            Token::Sign(sign) => signs.iter().find(|s| *s == sign).copied(),
            _ => None,
        };
        self.next += usize::from(found.is_some());
        found
    }

    fn word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some((Token::Name(name), _)) if name == word);
        self.next += usize::from(found);
        found
    }

    fn here(&self) -> Range<usize> {
        self.peek().map_or(self.text.len()..self.text.len(), |(_, at)| at)
    }

    fn fault<T>(&self, message: impl Into<String>, at: Range<usize>) -> Result<T, Fault> {
        Err(Fault { message: message.into(), help: None, at })
    }

    fn slot(&mut self, slot: Slot) -> String {
        self.slots.push(slot);
        format!("v{}", self.slots.len() - 1)
    }

    fn made(kind: Kind, code: String, at: Range<usize>) -> Part {
        Part { kind, code, at, bare: None, setting: None }
    }

    /// Refuses a bare word that is no name.
    fn known(&self, part: Part) -> Result<Part, Fault> {
        self.check_known(&part).map(|()| part)
    }

    fn check_known(&self, part: &Part) -> Result<(), Fault> {
        match &part.bare {
            None => Ok(()),
            Some(word) => {
                let help = self.names.suggestion(word);
                Err(Fault { message: format!("there is no setting called `{word}`"), help, at: part.at.clone() })
            }
        }
    }

    fn need(&self, part: Part, kind: Kind, sign: &str) -> Result<Part, Fault> {
        let part = self.known(part)?;
        if part.kind == kind {
            return Ok(part);
        }
        let what = &self.text[part.at.clone()];
        let message = match (part.kind, kind) {
            (Kind::Word, _) => format!("`{what}` is a word: it can only be compared with a word, not used with `{sign}`"),
            (Kind::Boolean, _) => format!("`{what}` is true or false, not a number: `{sign}` needs numbers"),
            (Kind::Number, _) => format!("`{what}` is a number: `{sign}` needs something that is true or false"),
        };
        self.fault(message, part.at)
    }

    fn deeper(&mut self) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth > 40 {
            return self.fault("the expression is nested too deep", 0..self.text.len());
        }
        Ok(())
    }

    /// a or b
    fn either(&mut self) -> Result<Part, Fault> {
        self.deeper()?;
        let mut left = self.both()?;
        while self.word("or") {
            let right = self.both()?;
            left = self.join(left, "or", right, Kind::Boolean)?;
        }
        self.depth -= 1;
        Ok(left)
    }

    /// a and b
    fn both(&mut self) -> Result<Part, Fault> {
        let mut left = self.negation()?;
        while self.word("and") {
            let right = self.negation()?;
            left = self.join(left, "and", right, Kind::Boolean)?;
        }
        Ok(left)
    }

    fn join(&mut self, left: Part, sign: &str, right: Part, kind: Kind) -> Result<Part, Fault> {
        let (left, right) = (self.need(left, kind, sign)?, self.need(right, kind, sign)?);
        Ok(Self::made(kind, format!("({} {sign} {})", left.code, right.code), left.at.start..right.at.end))
    }

    /// not a
    fn negation(&mut self) -> Result<Part, Fault> {
        let start = self.here().start;
        if !self.word("not") {
            return self.comparison();
        }
        self.deeper()?;
        let part = self.negation()?;
        self.depth -= 1;
        let part = self.need(part, Kind::Boolean, "not")?;
        Ok(Self::made(Kind::Boolean, format!("(not {})", part.code), start..part.at.end))
    }

    /// a < b, a in [b, c], a < b < c
    fn comparison(&mut self) -> Result<Part, Fault> {
        let mut left = self.sum()?;
        let start = left.at.start;
        let mut code = String::new();
        loop {
            let before = self.here();
            if let Some(sign) = self.sign(&["==", "!=", "<=", ">=", "<", ">"]) {
                let right = self.sum()?;
                let right = self.pair(&mut left, sign, right)?;
                if code.is_empty() {
                    code.clone_from(&left.code);
                }
                code = format!("{code} {sign} {}", right.code);
                left = right;
                continue;
            }
            let negated = self.word("not");
            if self.word("in") {
                if !code.is_empty() {
                    return self.fault("`in` cannot follow another comparison", before);
                }
                return self.membership(left, if negated { "not in" } else { "in" });
            }
            if negated {
                return self.fault("`not` is not expected here", before);
            }
            break;
        }
        if code.is_empty() {
            return Ok(left);
        }
        Ok(Self::made(Kind::Boolean, format!("({code})"), start..left.at.end))
    }

    fn pair(&mut self, left: &mut Part, sign: &str, right: Part) -> Result<Part, Fault> {
        let right = self.same(left, right)?;
        if left.kind != Kind::Number && !matches!(sign, "==" | "!=") {
            let what = &self.text[left.at.clone()];
            let fault = format!("`{what}` is no number: it can only be compared by `==`, `!=` and `in`");
            return self.fault(fault, left.at.clone());
        }
        Ok(right)
    }

    fn membership(&mut self, mut left: Part, sign: &str) -> Result<Part, Fault> {
        let start = self.here().start;
        if self.sign(&["["]).is_none() {
            return Err(Fault {
                message: format!("`{sign}` needs a list"),
                help: Some("write the values in brackets: `in [64, 128]`".to_owned()),
                at: self.here(),
            });
        }
        let mut codes: Vec<String> = Vec::new();
        while self.sign(&["]"]).is_none() {
            let item = self.sum()?;
            codes.push(self.same(&mut left, item)?.code);
            if self.sign(&[","]).is_none() && !matches!(self.peek(), Some((Token::Sign("]"), _))) {
                return self.fault("a list is not closed by `]`", self.here());
            }
        }
        let end = self.tokens[self.next - 1].1.end;
        if codes.is_empty() {
            return self.fault("the list is empty", start..end);
        }
        Ok(Self::made(Kind::Boolean, format!("({} {sign} [{}])", left.code, codes.join(", ")), left.at.start..end))
    }

    /// Both sides of a comparison: of one type, bare words read as what they are compared with.
    fn same(&mut self, left: &mut Part, right: Part) -> Result<Part, Fault> {
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
        let called = |part: &Part| {
            let kind = match part.kind {
                Kind::Number => "a number",
                Kind::Boolean => "true or false",
                Kind::Word => "a word",
            };
            format!("`{}` is {kind}", &self.text[part.at.clone()])
        };
        self.fault(format!("{}, but {}", called(left), called(&right)), left.at.start..right.at.end)
    }

    /// A bare word as one of the words of this setting.
    fn spell(&mut self, part: &Part, setting: Option<&Name>) -> Result<Part, Fault> {
        let word = part.bare.clone().unwrap_or_default();
        if let Some(words) = setting.and_then(Name::words)
            && !words.contains(&word)
        {
            let help = keys::nearest(&word, words.iter().map(String::as_str));
            return Err(Fault {
                message: format!("`{}` is never `{word}`, it is one of {}", setting.map_or("", Name::key), words.join(", ")),
                help: help.map(|word| format!("did you mean `{word}`?")),
                at: part.at.clone(),
            });
        }
        let code = self.slot(Slot::Fixed(Datum::Word(word)));
        Ok(Self::made(Kind::Word, code, part.at.clone()))
    }

    /// a + b
    fn sum(&mut self) -> Result<Part, Fault> {
        let mut left = self.product()?;
        while let Some(sign) = self.sign(&["+", "-"]) {
            let right = self.product()?;
            left = self.join(left, sign, right, Kind::Number)?;
        }
        Ok(left)
    }

    /// a * b
    fn product(&mut self) -> Result<Part, Fault> {
        let mut left = self.minus()?;
        while let Some(sign) = self.sign(&["*", "/", "//", "%"]) {
            let right = self.minus()?;
            left = self.join(left, sign, right, Kind::Number)?;
        }
        Ok(left)
    }

    /// -a: binds weaker than `**`, as in mathematics.
    fn minus(&mut self) -> Result<Part, Fault> {
        let start = self.here().start;
        match self.sign(&["-", "+"]) {
            None => self.power(),
            Some(sign) => {
                self.deeper()?;
                let part = self.minus()?;
                self.depth -= 1;
                let part = self.need(part, Kind::Number, sign)?;
                let at = start..part.at.end;
                Ok(Self::made(Kind::Number, if sign == "-" { format!("(-{})", part.code) } else { part.code }, at))
            }
        }
    }

    /// a ** b, from the right.
    fn power(&mut self) -> Result<Part, Fault> {
        let left = self.atom()?;
        if self.sign(&["**"]).is_none() {
            return Ok(left);
        }
        self.deeper()?;
        let right = self.minus()?;
        self.depth -= 1;
        self.join(left, "**", right, Kind::Number)
    }

    fn atom(&mut self) -> Result<Part, Fault> {
        let Some((token, at)) = self.peek() else {
            return self.fault("the expression ends too early", self.here());
        };
        let token = token.clone();
        self.next += 1;
        match token {
            Token::Number(number) => {
                let code = self.slot(Slot::Fixed(Datum::Number(number)));
                Ok(Self::made(Kind::Number, code, at))
            }
            Token::Text(text) => {
                let code = self.slot(Slot::Fixed(Datum::Word(text)));
                Ok(Self::made(Kind::Word, code, at))
            }
            Token::Sign("(") => {
                let part = self.either()?;
                if self.sign(&[")"]).is_none() {
                    return self.fault("a parenthesis is not closed", at);
                }
                let end = self.tokens[self.next - 1].1.end;
                Ok(Part { at: at.start..end, ..part })
            }
            Token::Sign(sign) => self.fault(format!("`{sign}` is not expected here"), at),
            Token::Name(name) => {
                if matches!(self.peek(), Some((Token::Sign("("), _))) {
                    return self.call(&name, at);
                }
                self.name(name, at)
            }
        }
    }

    fn name(&mut self, name: String, at: Range<usize>) -> Result<Part, Fault> {
        let fixed = match name.as_str() {
            "true" => Some(Datum::Boolean(true)),
            "false" => Some(Datum::Boolean(false)),
            "off" => Some(Datum::Number(f64::INFINITY)),
            "and" | "or" | "not" | "in" | "is" | "if" | "else" => {
                return self.fault(format!("`{name}` is not expected here"), at);
            }
            _ => None,
        };
        if let Some(datum) = fixed {
            let kind = if matches!(datum, Datum::Boolean(_)) { Kind::Boolean } else { Kind::Number };
            let code = self.slot(Slot::Fixed(datum));
            return Ok(Self::made(kind, code, at));
        }
        if name == "full" {
            let code = self.slot(Slot::Full);
            return Ok(Self::made(Kind::Number, code, at));
        }
        if let Some((index, kind)) = self.names.own(&name) {
            let code = self.slot(Slot::Own(index));
            return Ok(Self::made(kind, code, at));
        }
        match Names::find(&name) {
            Ok(Some(setting)) => {
                let kind = setting.kind();
                let code = self.slot(Slot::Setting(setting.clone()));
                Ok(Part { kind, code, at, bare: None, setting: (kind == Kind::Word).then_some(setting) })
            }
            Ok(None) if name.contains('.') => {
                let help = self.names.suggestion(&name);
                Err(Fault { message: format!("there is no setting called `{name}`"), help, at })
            }
            Ok(None) => Ok(Part { kind: Kind::Word, code: String::new(), at, bare: Some(name), setting: None }),
            Err(several) => Err(Fault {
                message: format!("`{name}` is not clear: there are {}", several.join(" and ")),
                help: Some("write the full name".to_owned()),
                at,
            }),
        }
    }

    fn call(&mut self, name: &str, at: Range<usize>) -> Result<Part, Fault> {
        if !FUNCTIONS.contains(&name) {
            let help = match keys::nearest(name, FUNCTIONS.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are {}", FUNCTIONS.join(", ")),
            };
            return Err(Fault { message: format!("there is no function called `{name}`"), help: Some(help), at });
        }
        self.next += 1;
        let mut codes = Vec::new();
        if self.sign(&[")"]).is_none() {
            loop {
                let part = self.either()?;
                codes.push(self.need(part, Kind::Number, name)?.code);
                if self.sign(&[")"]).is_some() {
                    break;
                }
                if self.sign(&[","]).is_none() {
                    return self.fault(format!("`{name}(` is not closed"), at);
                }
            }
        }
        let end = self.tokens[self.next - 1].1.end;
        let many = matches!(name, "min" | "max");
        if codes.is_empty() || (!many && codes.len() > 1) {
            let takes = if many { "at least one number" } else { "one number" };
            return self.fault(format!("`{name}` takes {takes}"), at.start..end);
        }
        Ok(Self::made(Kind::Number, format!("{name}({})", codes.join(", ")), at.start..end))
    }
}
