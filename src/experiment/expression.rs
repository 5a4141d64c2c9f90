//! Expressions of `derive`, `when` and `--only`.
//!
//! Every name and every type is checked before anything is evaluated: the text is read here, by a grammar that has numbers,
//! settings, words, arithmetic and comparisons and nothing else, and given to minijinja in a form where all values are
//! variables of ours. So no filter, attribute, string operation or global of the template language can be reached, and
//! no word reaches arithmetic.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use minijinja::value::{Object, Rest, Value};
use minijinja::{Environment, Expression};

use super::columns::Cell;
use super::keys;
use super::names::{Name, Names};
use super::text;

/// A value of an expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Datum {
    /// A number; `off` is +∞.
    Number(f64),
    /// True or false.
    Boolean(bool),
    /// A word.
    Word(String),
}

impl fmt::Display for Datum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(n) if *n == f64::INFINITY => f.write_str("off"),
            Self::Number(n) => f.write_str(&text::write_number(*n)),
            Self::Boolean(b) => write!(f, "{b}"),
            Self::Word(word) => f.write_str(word),
        }
    }
}

/// The type of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Number,
    Boolean,
    Word,
}

/// What is wrong with an expression, and where in its text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) help: Option<String>,
    pub(super) at: Range<usize>,
}

/// Why a right expression has no value for one configuration.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Trouble {
    /// It needs the number of training windows, which is not known.
    Unknown,
    /// A sentence.
    Failed(String),
}

/// What an atom of the expression stands for.
#[derive(Debug, Clone, PartialEq)]
enum Slot {
    Fixed(Datum),
    Full,
    Setting(Name),
    Own(usize),
}

/// A checked expression.
pub(super) struct Program {
    text: String,
    kind: Kind,
    slots: Vec<Slot>,
    compiled: Expression<'static, 'static>,
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Program").field(&self.text).finish()
    }
}

/// What the names of an expression stand for, in one configuration.
pub(super) struct Values<'a> {
    pub(super) columns: &'a [(&'static str, Cell)],
    pub(super) own: &'a [Datum],
    pub(super) full: &'a mut dyn FnMut() -> Option<f64>,
}

impl Program {
    /// Reads and checks an expression.
    pub(super) fn parse(text: &str, names: &Names) -> Result<Self, Fault> {
        let whole = 0..text.len();
        let fault = |message: &str| Fault { message: message.to_owned(), help: None, at: whole.clone() };
        if text.len() > 2_000 {
            return Err(fault("the expression is longer than 2,000 characters"));
        }
        let tokens = tokens(text)?;
        let mut parser = Parser { text, tokens: &tokens, next: 0, depth: 0, names, slots: Vec::new() };
        let result = parser.either()?;
        if let Some((token, at)) = parser.peek() {
            return Err(Fault { message: format!("`{token}` is not expected here"), help: None, at });
        }
        let result = parser.known(result)?;
        let slots = parser.slots;
        let compiled = ENVIRONMENT.compile_expression_owned(result.code).map_err(|_| Fault {
            help: Some("write it in fewer parts".to_owned()),
            ..fault("the expression is nested too deep")
        })?;
        Ok(Self { text: text.to_owned(), kind: result.kind, slots, compiled })
    }

    /// The text it was read from.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// The settings it reads.
    pub(super) fn settings(&self) -> impl Iterator<Item = &Name> {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Setting(name) => Some(name),
            _ => None,
        })
    }

    /// The names of one's own that it reads.
    pub(super) fn own(&self) -> impl Iterator<Item = usize> + '_ {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Own(index) => Some(*index),
            _ => None,
        })
    }

    /// Its value in one configuration.
    pub(super) fn evaluate(&self, values: &mut Values<'_>) -> Result<Datum, Trouble> {
        let mut numbers = Vec::with_capacity(self.slots.len());
        for slot in &self.slots {
            let datum = match slot {
                Slot::Fixed(datum) => datum.clone(),
                Slot::Own(index) => values.own[*index].clone(),
                Slot::Full => Datum::Number((values.full)().ok_or(Trouble::Unknown)?),
                Slot::Setting(name) => name.read(values.columns, values.full)?,
            };
            numbers.push(match datum {
                Datum::Number(n) => Value::from(n),
                Datum::Boolean(b) => Value::from(b),
                Datum::Word(word) => Value::from(word),
            });
        }
        let value = self.compiled.eval(Value::from_object(Variables(numbers))).map_err(|_| {
            let why = if self.text.contains('/') || self.text.contains('%') { "it divides by zero" } else { "it has no value" };
            Trouble::Failed(why.to_owned())
        })?;
        match self.kind {
            Kind::Boolean => Ok(Datum::Boolean(value.is_true())),
            Kind::Number => match f64::try_from(value) {
                Ok(number) if !number.is_nan() => Ok(Datum::Number(number)),
                _ => Err(Trouble::Failed("it has no value".to_owned())),
            },
            Kind::Word => value.as_str().map(|w| Datum::Word(w.to_owned())).ok_or(Trouble::Failed("it has no value".to_owned())),
        }
    }

    /// `sequence_length is 128 and stride is 64`: what it read, for a message.
    pub(super) fn read_values(&self, values: &mut Values<'_>) -> String {
        let mut parts: Vec<String> = Vec::new();
        for slot in &self.slots {
            let part = match slot {
                Slot::Setting(name) => match name.read(values.columns, values.full) {
                    Ok(datum) => format!("`{}` is {datum}", keys::last_name(name.key())),
                    Err(_) => continue,
                },
                _ => continue,
            };
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
        parts.join(" and ")
    }
}

/// The variables `v0`, `v1`, … of a compiled expression.
#[derive(Debug)]
struct Variables(Vec<Value>);

impl Object for Variables {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        self.0.get(key.strip_prefix('v')?.parse::<usize>().ok()?).cloned()
    }
}

const FUNCTIONS: &[&str] = &["min", "max", "ceil", "floor", "round", "sqrt", "log2", "abs"];

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::empty();
    environment.add_function("min", |all: Rest<f64>| all.iter().copied().fold(f64::INFINITY, f64::min));
    environment.add_function("max", |all: Rest<f64>| all.iter().copied().fold(f64::NEG_INFINITY, f64::max));
    environment.add_function("ceil", f64::ceil);
    environment.add_function("floor", f64::floor);
    environment.add_function("round", f64::round);
    environment.add_function("sqrt", f64::sqrt);
    environment.add_function("log2", f64::log2);
    environment.add_function("abs", f64::abs);
    environment
});

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Number(f64),
    Name(String),
    Text(String),
    Sign(&'static str),
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(n) => f.write_str(&text::write_number(*n)),
            Self::Name(name) => f.write_str(name),
            Self::Text(text) => write!(f, "\"{text}\""),
            Self::Sign(sign) => f.write_str(sign),
        }
    }
}

const SIGNS: &[&str] = &["**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "<", ">", "(", ")", "[", "]", ","];

/// Signs of other languages, and what they are here.
const OTHER_SIGNS: &[(&str, &str)] =
    &[("&&", "and"), ("||", "or"), ("&", "and"), ("|", "or"), ("!", "not"), ("^", "**"), ("=", "==")];

fn tokens(text: &str) -> Result<Vec<(Token, Range<usize>)>, Fault> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        let rest = &text[at..];
        let token = match bytes[at] {
            byte if byte.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            byte if byte.is_ascii_digit() || (byte == b'.' && bytes.get(at + 1).is_some_and(u8::is_ascii_digit)) => {
                let mut end = at;
                while end < bytes.len() {
                    let exponent = matches!(bytes[end], b'+' | b'-') && matches!(bytes[end - 1], b'e' | b'E') && end > at;
                    if !(bytes[end].is_ascii_alphanumeric() || matches!(bytes[end], b'_' | b'.') || exponent) {
                        break;
                    }
                    end += 1;
                }
                at = end;
                let digits = &text[start..end];
                match text::number(digits) {
                    Some(number) => Token::Number(number),
                    None => {
                        return Err(Fault { message: format!("`{digits}` is not a number"), help: None, at: start..end });
                    }
                }
            }
            byte if byte.is_ascii_alphabetic() || byte == b'_' => {
                let part = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
                while at < bytes.len() && (part(&bytes[at]) || (bytes[at] == b'.' && bytes.get(at + 1).is_some_and(part))) {
                    at += 1;
                }
                Token::Name(text[start..at].to_owned())
            }
            quote @ (b'"' | b'\'') => {
                let Some(end) = rest[1..].find(char::from(quote)) else {
                    return Err(Fault { message: "a quote is not closed".to_owned(), help: None, at: start..text.len() });
                };
                at += end + 2;
                Token::Text(rest[1..=end].to_owned())
            }
            _ => match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
                Some(sign) => {
                    at += sign.len();
                    Token::Sign(sign)
                }
                None => {
                    let length = rest.chars().next().map_or(1, char::len_utf8);
                    let other = OTHER_SIGNS.iter().find(|(sign, _)| rest.starts_with(sign));
                    let sign = other.map_or(&rest[..length], |(sign, _)| sign);
                    return Err(Fault {
                        message: format!("`{sign}` has no meaning in an expression"),
                        help: other.map(|(_, here)| format!("write `{here}`")),
                        at: start..start + sign.len(),
                    });
                }
            },
        };
        tokens.push((token, start..at));
    }
    Ok(tokens)
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
            && !words.iter().any(|w| *w == word)
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
        match self.names.find(&name) {
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
