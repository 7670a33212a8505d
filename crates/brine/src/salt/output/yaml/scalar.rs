//! Scalars for YAML: their text, and the quotes they need to be read back unchanged. Facts: libyaml 0.2.5 and PyYAML's resolver.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use brine_config::yaml::is_text_when_plain;
use brine_wire::Value;

use crate::salt::python;
use crate::terminal::acts;

/// A scalar to write.
#[derive(Debug)]
pub(super) struct Scalar<'a> {
    pub(super) text: Cow<'a, str>,
    pub(super) kind: Kind,
    form: Form,
}

/// The type that a reader must resolve it to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// Null, a boolean or a number: unquoted text.
    Plain,
    /// Bytes in base64.
    Binary,
}

/// How a scalar is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quotes {
    None,
    Single,
    Double,
}

/// The styles that a text allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Form {
    flow_plain: bool,
    block_plain: bool,
    single: bool,
    is_multiline: bool,
}

impl<'a> Scalar<'a> {
    pub(super) fn of(value: &'a Value, unescaped: Unescaped) -> Self {
        let (text, kind) = match value {
            Value::Str(text) => (Cow::Borrowed(text.as_str()), Kind::Text),
            Value::Bin(bytes) => (in_base64(bytes).into(), Kind::Binary),
            Value::Nil => ("null".into(), Kind::Plain),
            Value::Bool(true) => ("true".into(), Kind::Plain),
            Value::Bool(false) => ("false".into(), Kind::Plain),
            Value::Float(number) => (float(*number).into(), Kind::Plain),
            other => (python::repr(other).into(), Kind::Plain),
        };
        let form = Form::of(&text, unescaped);
        Self { text, kind, form }
    }

    pub(super) const fn is_multiline(&self) -> bool {
        self.form.is_multiline
    }

    /// Its length as a key.
    pub(super) fn key_bytes(&self) -> usize {
        let tag = if self.kind == Kind::Binary {
            "!!binary".len()
        } else {
            0
        };
        self.text.len() + tag
    }

    /// The plainest way to write it.
    pub(super) fn quotes(&self, is_in_flow: bool, is_simple_key: bool) -> Quotes {
        if is_simple_key && self.form.is_multiline {
            return Quotes::Double;
        }
        let may_be_plain = if is_in_flow {
            self.form.flow_plain
        } else {
            self.form.block_plain
        };
        let is_read_back = self.kind != Kind::Text || is_text(&self.text);
        let has_place = !self.text.is_empty() || !(is_in_flow || is_simple_key);
        if may_be_plain && is_read_back && has_place {
            Quotes::None
        } else if self.form.single {
            Quotes::Single
        } else {
            Quotes::Double
        }
    }
}

/// Whether a plain scalar is text under YAML 1.1. Salt reads dates as text, PyYAML does not.
fn is_text(text: &str) -> bool {
    is_text_when_plain(text) && !is_timestamp(text)
}

/// `2024-01-02`, or with one or two digits and a time of day.
fn is_timestamp(text: &str) -> bool {
    let mut rest = Rest(text);
    if !(rest.digits(4, 4) && rest.takes("-")) {
        return false;
    }
    let is_day = {
        let mut day = Rest(rest.0);
        day.digits(2, 2) && day.takes("-") && day.digits(2, 2) && day.0.is_empty()
    };
    is_day
        || rest.digits(1, 2)
            && rest.takes("-")
            && rest.digits(1, 2)
            && (rest.takes("T") || rest.takes("t") || rest.blanks())
            && rest.digits(1, 2)
            && rest.takes(":")
            && rest.digits(2, 2)
            && rest.takes(":")
            && rest.digits(2, 2)
            && rest.ends_as_time()
}

/// The rest of a text that is being parsed.
struct Rest<'a>(&'a str);

impl Rest<'_> {
    fn digits(&mut self, least: usize, most: usize) -> bool {
        let digits = self.0.bytes().take(most);
        let count = digits.take_while(u8::is_ascii_digit).count();
        self.0 = &self.0[count..];
        count >= least
    }

    fn takes(&mut self, text: &str) -> bool {
        match self.0.strip_prefix(text) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn blanks(&mut self) -> bool {
        let rest = self.0.trim_start_matches([' ', '\t']);
        let were_some = rest.len() < self.0.len();
        self.0 = rest;
        were_some
    }

    /// An optional fraction, an optional offset, and the end.
    fn ends_as_time(&mut self) -> bool {
        if self.takes(".") {
            self.digits(0, usize::MAX);
        }
        if self.0.is_empty() {
            return true;
        }
        self.blanks();
        if self.takes("Z") {
            return self.0.is_empty();
        }
        let has_offset = (self.takes("-") || self.takes("+")) && self.digits(1, 2);
        has_offset
            && (self.0.is_empty() || self.takes(":") && self.digits(2, 2) && self.0.is_empty())
    }
}

/// `repr`, changed into a float of YAML 1.1, which needs a point.
fn float(number: f64) -> String {
    if number.is_nan() {
        return ".nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    let text = python::repr(&number.into());
    if text.contains('.') {
        text
    } else {
        text.replacen('e', ".0e", 1)
    }
}

/// Python's `base64.encodebytes`: lines of 76.
fn in_base64(bytes: &[u8]) -> String {
    const BYTES_PER_LINE: usize = 57;
    let mut text = String::new();
    for line in bytes.chunks(BYTES_PER_LINE) {
        STANDARD.encode_string(line, &mut text);
        text.push('\n');
    }
    text
}

impl Form {
    fn of(text: &str, unescaped: Unescaped) -> Self {
        if text.is_empty() {
            return Self {
                flow_plain: false,
                block_plain: true,
                single: true,
                is_multiline: false,
            };
        }
        let marks = Marks::of(text, unescaped);
        let blanks = Blanks::of(text);
        let is_quoted = blanks.at_an_end || blanks.break_space || marks.line_breaks;
        let is_escaped = blanks.space_break || marks.special;
        let is_plain = !is_quoted && !is_escaped;
        Self {
            flow_plain: is_plain && !marks.flow,
            block_plain: is_plain && !marks.block,
            single: !is_escaped && !blanks.break_space,
            is_multiline: marks.line_breaks,
        }
    }
}

/// Characters with a meaning in YAML.
#[derive(Debug, Default)]
struct Marks {
    /// In brackets and braces.
    flow: bool,
    /// Outside them.
    block: bool,
    line_breaks: bool,
    /// Characters to be escaped.
    special: bool,
}

impl Marks {
    fn of(text: &str, unescaped: Unescaped) -> Self {
        let is_marker = text.starts_with("---") || text.starts_with("...");
        let mut marks = Self {
            flow: is_marker,
            block: is_marker,
            ..Self::default()
        };
        let mut before = ' ';
        let mut chars = text.chars().peekable();
        let mut is_first = true;
        while let Some(c) = chars.next() {
            let is_followed_by_blank = chars.peek().is_none_or(|next| is_blank(*next));
            let (flow, block) = match c {
                '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"'
                | '%' | '@' | '`'
                    if is_first =>
                {
                    (true, true)
                }
                '?' if is_first => (true, is_followed_by_blank),
                '-' if is_first => (is_followed_by_blank, is_followed_by_blank),
                ':' => (true, is_followed_by_blank),
                ',' | '?' | '[' | ']' | '{' | '}' => (true, false),
                '#' => (is_blank(before), is_blank(before)),
                _ => (false, false),
            };
            marks.flow |= flow;
            marks.block |= block;
            marks.special |= !unescaped.contains(c);
            marks.line_breaks |= is_break(c);
            before = c;
            is_first = false;
        }
        marks
    }
}

/// Where spaces and line breaks are.
#[derive(Debug, Default)]
struct Blanks {
    /// The first or the last character is one.
    at_an_end: bool,
    break_space: bool,
    space_break: bool,
}

impl Blanks {
    fn of(text: &str) -> Self {
        let is_either = |c: char| c == ' ' || is_break(c);
        let mut blanks = Self {
            at_an_end: text.starts_with(is_either) || text.ends_with(is_either),
            ..Self::default()
        };
        let mut before = 'a';
        for c in text.chars() {
            blanks.break_space |= c == ' ' && is_break(before);
            blanks.space_break |= is_break(c) && before == ' ';
            before = c;
        }
        blanks
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, '\0' | ' ' | '\t') || is_break(c)
}

pub(super) const fn is_break(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// The characters that are written as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::salt::output) enum Unescaped {
    /// Those that libyaml writes so: none beyond the first plane.
    Libyaml,
    /// Of those, what a terminal shows. Others would be escaped by it where YAML reads no escapes.
    Visible,
}

impl Unescaped {
    pub(super) const fn contains(self, c: char) -> bool {
        let is_libyamls = matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{fffd}') && c != '\u{feff}';
        match self {
            Self::Libyaml => is_libyamls,
            Self::Visible => is_libyamls && !acts(c),
        }
    }
}
