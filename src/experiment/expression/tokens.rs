//! An expression in its smallest parts.

use std::fmt;
use std::ops::Range;

use super::fault::Fault;
use crate::experiment::text;

/// One of them.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
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

/// Cuts a text into them, each with its place.
pub(super) fn tokens(text: &str) -> Result<Vec<(Token, Range<usize>)>, Fault> {
    let bytes = text.as_bytes();
    let (mut tokens, mut start) = (Vec::new(), 0);
    while start < bytes.len() {
        if bytes[start].is_ascii_whitespace() {
            start += 1;
            continue;
        }
        let (token, length) =
            token(&text[start..]).map_err(|fault| Fault { at: start + fault.at.start..start + fault.at.end, ..fault })?;
        tokens.push((token, start..start + length));
        start += length;
    }
    Ok(tokens)
}

/// The first token of a text that begins with one, and its length in bytes; a fault's place counts from the text's beginning.
fn token(text: &str) -> Result<(Token, usize), Fault> {
    let bytes = text.as_bytes();
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let part = |at: usize| bytes.get(at).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    match bytes[0] {
        _ if is_digit(0) || (bytes[0] == b'.' && is_digit(1)) => {
            let exponent = |at: usize| at > 0 && matches!(bytes[at], b'+' | b'-') && matches!(bytes[at - 1], b'e' | b'E');
            let length = (0..bytes.len()).find(|&at| !(part(at) || bytes[at] == b'.' || exponent(at))).unwrap_or(bytes.len());
            let digits = &text[..length];
            match text::number(digits) {
                Some(number) => Ok((Token::Number(number), length)),
                None => Err(Fault { message: format!("`{digits}` is not a number"), help: None, at: 0..length }),
            }
        }
        byte if byte.is_ascii_alphabetic() || byte == b'_' => {
            let within = |at: usize| part(at) || (bytes[at] == b'.' && part(at + 1));
            let length = (0..bytes.len()).find(|&at| !within(at)).unwrap_or(bytes.len());
            Ok((Token::Name(text[..length].to_owned()), length))
        }
        quote @ (b'"' | b'\'') => match text[1..].find(char::from(quote)) {
            Some(end) => Ok((Token::Text(text[1..=end].to_owned()), end + 2)),
            None => Err(Fault { message: "a quote is not closed".to_owned(), help: None, at: 0..text.len() }),
        },
        _ => match SIGNS.iter().find(|sign| text.starts_with(**sign)) {
            Some(sign) => Ok((Token::Sign(sign), sign.len())),
            None => Err(no_sign(text)),
        },
    }
}

/// The fault of a text that begins with what is no sign here.
fn no_sign(text: &str) -> Fault {
    let length = text.chars().next().map_or(1, char::len_utf8);
    let other = OTHER_SIGNS.iter().find(|(sign, _)| text.starts_with(sign));
    let sign = other.map_or(&text[..length], |(sign, _)| sign);
    Fault {
        message: format!("`{sign}` has no meaning in an expression"),
        help: other.map(|(_, here)| format!("write `{here}`")),
        at: 0..sign.len(),
    }
}
