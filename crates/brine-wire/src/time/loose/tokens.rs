//! The words, numbers and signs of a text, and the numbers' values.

use alloc::string::String;
use alloc::vec::Vec;

/// What the characters of a token so far make it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Word,
    Number,
    /// Words with dots, or numbers with dots: read on, and split afterwards where that is no fraction.
    Words,
    Numbers,
}

/// Splits a text of ASCII characters.
pub(super) fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.bytes().next() {
        let (length, state) = match first {
            first if first.is_ascii_alphabetic() => token(rest, State::Word),
            first if first.is_ascii_digit() => token(rest, State::Number),
            _ => (1, None),
        };
        let (token, after) = rest.split_at(length);
        rest = after;
        match state {
            Some(state @ (State::Words | State::Numbers)) => {
                // A letter that the text ends with does not count.
                let before = &token[..length - usize::from(rest.is_empty())];
                let has_letters = before.bytes().any(|byte| byte.is_ascii_alphabetic());
                split_dots(token, state, has_letters, &mut tokens);
            }
            _ if first.is_ascii_whitespace() || first == 0x0b => tokens.push(" ".into()),
            _ => tokens.push(token.into()),
        }
    }
    tokens
}

/// The length of the token that a text begins with, and what it is.
fn token(text: &str, first: State) -> (usize, Option<State>) {
    let (mut state, mut last) = (first, 0);
    for (at, byte) in text.bytes().enumerate() {
        let is_after_dot = last == b'.';
        let next = match (state, byte) {
            (State::Word, b'.') => Some(State::Words),
            (State::Word, byte) if byte.is_ascii_alphabetic() => Some(State::Word),
            (State::Number, b'.') => Some(State::Numbers),
            (State::Number, b',') if at >= 2 => Some(State::Numbers),
            (State::Number, byte) if byte.is_ascii_digit() => Some(State::Number),
            (State::Words, b'.') => Some(State::Words),
            (State::Words, byte) if byte.is_ascii_alphabetic() => Some(State::Words),
            (State::Words, byte) if byte.is_ascii_digit() && is_after_dot => Some(State::Numbers),
            (State::Numbers, b'.') => Some(State::Numbers),
            (State::Numbers, byte) if byte.is_ascii_digit() => Some(State::Numbers),
            (State::Numbers, byte) if byte.is_ascii_alphabetic() && is_after_dot => {
                Some(State::Words)
            }
            _ => None,
        };
        let Some(next) = next else {
            return (at, Some(state));
        };
        (state, last) = (next, byte);
    }
    (text.len(), Some(state))
}

/// `Sep.20.2009` is five tokens, `30.25` and `30,25` are one.
fn split_dots(token: &str, state: State, has_letters: bool, tokens: &mut Vec<String>) {
    let dots = token.bytes().filter(|byte| *byte == b'.').count();
    if !has_letters && dots <= 1 && !token.ends_with(['.', ',']) {
        return tokens.push(match (state, dots) {
            (State::Numbers, 0) => token.replace(',', "."),
            _ => token.into(),
        });
    }
    for piece in token.split_inclusive(['.', ',']) {
        let (word, sign) = match piece.strip_suffix(['.', ',']) {
            Some(word) => (word, &piece[word.len()..]),
            None => (piece, ""),
        };
        let parts = [word, sign].into_iter().filter(|part| !part.is_empty());
        tokens.extend(parts.map(String::from));
    }
}

/// A number, exact to six digits after the point.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number {
    pub(super) whole: u32,
    pub(super) millionths: u32,
}

impl Number {
    pub(super) fn parse(token: &str) -> Option<Self> {
        let (whole, fraction) = token.split_once('.').unwrap_or((token, "0"));
        if !super::super::is_digits(whole) || !super::super::is_digits(fraction) {
            return None;
        }
        // Numbers too large for any part of a time stand for one that is.
        let whole = whole.parse().unwrap_or(u32::MAX);
        let padded = fraction.bytes().chain(core::iter::repeat(b'0')).take(6);
        let millionths = padded.fold(0, |number, digit| {
            number * 10 + u32::from(digit.wrapping_sub(b'0') % 10)
        });
        Some(Self { whole, millionths })
    }

    /// What is after the point, in sixtieths.
    pub(super) const fn sixtieths(self) -> u32 {
        self.millionths * 60 / 1_000_000
    }
}
