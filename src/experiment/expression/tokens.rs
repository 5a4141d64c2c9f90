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
