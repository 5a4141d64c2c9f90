//! The grammar of expressions: a function for each of its rules, those that bind weakest first.

use std::ops::Range;

use super::fault::Fault;
use super::parser::{Parser, Slot, Term};
use super::tokens::{Token, tokens};
use super::value::{Datum, Kind};
use crate::experiment::keys;
use crate::experiment::names::Names;

/// All that can be called.
const FUNCTIONS: &[&str] = &["min", "max", "ceil", "floor", "round", "sqrt", "log2", "abs"];

/// What the code puts around all arithmetic: a function that fails where the result is no number.
pub(super) const NUMBER: &str = "number";

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
    /// a or b
    fn either(&mut self) -> Result<Term, Fault> {
        self.deeper()?;
        let mut left = self.both()?;
        while self.word("or") {
            let right = self.both()?;
            left = self.joined(left, "or", right)?;
        }
        self.depth -= 1;
        Ok(left)
    }

    /// a and b
    fn both(&mut self) -> Result<Term, Fault> {
        let mut left = self.negation()?;
        while self.word("and") {
            let right = self.negation()?;
            left = self.joined(left, "and", right)?;
        }
        Ok(left)
    }

    /// not a
    fn negation(&mut self) -> Result<Term, Fault> {
        let start = self.here().start;
        if !self.word("not") {
            return self.comparison();
        }
        self.deeper()?;
        let term = self.negation()?;
        self.depth -= 1;
        let term = self.need(term, Kind::Boolean, "not")?;
        Ok(Self::made(Kind::Boolean, format!("(not {})", term.code), start..term.at.end))
    }

    /// a < b, a in [b, c], a < b < c
    fn comparison(&mut self) -> Result<Term, Fault> {
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

    fn membership(&mut self, mut left: Term, sign: &str) -> Result<Term, Fault> {
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

    /// a + b
    fn sum(&mut self) -> Result<Term, Fault> {
        let mut left = self.product()?;
        while let Some(sign) = self.sign(&["+", "-"]) {
            let right = self.product()?;
            left = self.computed(left, sign, right)?;
        }
        Ok(left)
    }

    /// a * b
    fn product(&mut self) -> Result<Term, Fault> {
        let mut left = self.minus()?;
        while let Some(sign) = self.sign(&["*", "/", "//", "%"]) {
            let right = self.minus()?;
            left = self.computed(left, sign, right)?;
        }
        Ok(left)
    }

    /// -a: binds weaker than `**`, as in mathematics.
    fn minus(&mut self) -> Result<Term, Fault> {
        let start = self.here().start;
        match self.sign(&["-", "+"]) {
            None => self.power(),
            Some(sign) => {
                self.deeper()?;
                let term = self.minus()?;
                self.depth -= 1;
                let term = self.need(term, Kind::Number, sign)?;
                let at = start..term.at.end;
                Ok(Self::made(Kind::Number, if sign == "-" { format!("(-{})", term.code) } else { term.code }, at))
            }
        }
    }

    /// a ** b, from the right.
    fn power(&mut self) -> Result<Term, Fault> {
        let left = self.atom()?;
        if self.sign(&["**"]).is_none() {
            return Ok(left);
        }
        self.deeper()?;
        let right = self.minus()?;
        self.depth -= 1;
        self.computed(left, "**", right)
    }

    /// Two conditions.
    fn joined(&self, left: Term, word: &str, right: Term) -> Result<Term, Fault> {
        let (left, right) = (self.need(left, Kind::Boolean, word)?, self.need(right, Kind::Boolean, word)?);
        Ok(Self::made(Kind::Boolean, format!("({} {word} {})", left.code, right.code), left.at.start..right.at.end))
    }

    /// Arithmetic with two numbers.
    fn computed(&self, left: Term, sign: &str, right: Term) -> Result<Term, Fault> {
        let (left, right) = (self.need(left, Kind::Number, sign)?, self.need(right, Kind::Number, sign)?);
        let code = format!("{NUMBER}({} {sign} {})", left.code, right.code);
        Ok(Self::made(Kind::Number, code, left.at.start..right.at.end))
    }

    fn atom(&mut self) -> Result<Term, Fault> {
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
                let term = self.either()?;
                if self.sign(&[")"]).is_none() {
                    return self.fault("a parenthesis is not closed", at);
                }
                let end = self.tokens[self.next - 1].1.end;
                Ok(Term { at: at.start..end, ..term })
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

    fn name(&mut self, name: String, at: Range<usize>) -> Result<Term, Fault> {
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
                Ok(Term { kind, code, at, bare: None, setting: (kind == Kind::Word).then_some(setting) })
            }
            Ok(None) if name.contains('.') => {
                let help = self.names.suggestion(&name);
                Err(Fault { message: format!("there is no setting called `{name}`"), help, at })
            }
            Ok(None) => Ok(Term { kind: Kind::Word, code: String::new(), at, bare: Some(name), setting: None }),
            Err(several) => Err(Fault {
                message: format!("`{name}` is not clear: there are {}", several.join(" and ")),
                help: Some("write the full name".to_owned()),
                at,
            }),
        }
    }

    fn call(&mut self, name: &str, at: Range<usize>) -> Result<Term, Fault> {
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
                let term = self.either()?;
                codes.push(self.need(term, Kind::Number, name)?.code);
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
        Ok(Self::made(Kind::Number, format!("{NUMBER}({name}({}))", codes.join(", ")), at.start..end))
    }
}
