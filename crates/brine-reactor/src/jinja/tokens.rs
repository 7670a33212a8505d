//! Splits an expression in a template into tokens, as Jinja does.

/// One token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    Name(&'a str),
    Number(&'a str),
    /// With its quotes.
    Text(&'a str),
    /// `{ [ (`
    Open(char),
    /// `} ] )`
    Close(char),
    /// Everything else: `|`, `.`, `==`, …
    Sign(&'a str),
}

impl Token<'_> {
    /// Whether what follows an operand may follow it: a call, an index, an operator.
    pub(super) fn ends_operand(self) -> bool {
        match self {
            Self::Name(name) => !is_keyword(name),
            Self::Number(_) | Self::Text(_) | Self::Close(_) => true,
            Self::Open(_) | Self::Sign(_) => false,
        }
    }
}

fn is_keyword(name: &str) -> bool {
    matches!(
        name,
        "in" | "not"
            | "and"
            | "or"
            | "is"
            | "if"
            | "elif"
            | "else"
            | "for"
            | "set"
            | "do"
            | "recursive"
            | "call"
            | "filter"
            | "include"
            | "import"
            | "from"
            | "as"
            | "print"
    )
}

/// Cuts the next token off; its length in bytes includes the blanks before it. `None` at the end, and where no token
/// begins.
pub(super) fn next(text: &str) -> Option<(&str, Token<'_>, usize)> {
    let blank = text.len() - text.trim_start().len();
    let (space, rest) = text.split_at(blank);
    let first = rest.chars().next()?;
    let length = match first {
        '\'' | '"' => text_length(rest, first)?,
        c if c.is_alphabetic() || c == '_' => {
            let is_part = |c: char| c.is_alphanumeric() || c == '_';
            rest.find(|c| !is_part(c)).unwrap_or(rest.len())
        }
        c if c.is_ascii_digit() => number_length(rest),
        _ => {
            const TWO: [&str; 6] = ["==", "!=", "<=", ">=", "//", "**"];
            let is_two = TWO.iter().any(|two| rest.starts_with(two));
            if is_two { 2 } else { first.len_utf8() }
        }
    };
    let own = &rest[..length];
    let token = match first {
        '\'' | '"' => Token::Text(own),
        c if c.is_alphabetic() || c == '_' => Token::Name(own),
        c if c.is_ascii_digit() => Token::Number(own),
        '(' | '[' | '{' => Token::Open(first),
        ')' | ']' | '}' => Token::Close(first),
        _ => Token::Sign(own),
    };
    Some((space, token, blank + length))
}

/// The length of a text with its quotes; `None` if it does not end.
fn text_length(text: &str, quote: char) -> Option<usize> {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            c if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn number_length(text: &str) -> usize {
    let digits = |text: &str| {
        let is_digit = |c: char| c.is_ascii_alphanumeric() || c == '_';
        text.find(|c| !is_digit(c)).unwrap_or(text.len())
    };
    let whole = digits(text);
    match text[whole..].strip_prefix('.') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_digit()) => whole + 1 + digits(rest),
        _ => whole,
    }
}
