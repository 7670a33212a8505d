//! `pprint`: a value as Python's `pprint.pformat` lays it out in 80 columns.
//! Facts: CPython 3.11, compared in `super::tests`.

use brine_wire::python_text::class_name;
use brine_wire::{Map, Value};

use crate::salt::python;

/// The width of a line, in columns.
const WIDTH: isize = 80;

/// The layout of a value, with `indent` spaces per level.
pub(super) fn show(value: &Value, indent: usize) -> String {
    let mut layout = Layout {
        out: String::new(),
        step: indent,
    };
    layout.value(value, 0, 0, 0);
    layout.out
}

/// Python's `repr` with sorted mappings, as `pprint` writes what fits on a line.
fn repr(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", joined(items.iter().map(repr))),
        Value::Map(map) => {
            let members = by_key(map).into_iter();
            let members = members.map(|(key, value)| format!("{}: {}", repr(key), repr(value)));
            format!("{{{}}}", joined(members))
        }
        other => python::repr(other),
    }
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

/// The members in `pprint`'s order: kinds that cannot be compared by the names of their types.
fn by_key(map: &Map) -> Vec<&(Value, Value)> {
    let mut pairs: Vec<_> = map.iter().collect();
    pairs.sort_by(|(a, _), (b, _)| {
        python::compare(a, b).unwrap_or_else(|| class_name(a).cmp(class_name(b)))
    });
    pairs
}

struct Layout {
    out: String,
    step: usize,
}

impl Layout {
    /// Writes a value that begins in column `indent` and is followed by `allowance` more characters.
    fn value(&mut self, value: &Value, indent: usize, allowance: usize, level: usize) {
        let whole = repr(value);
        if count(&whole) <= WIDTH - signed(indent) - signed(allowance) {
            self.out.push_str(&whole);
            return;
        }
        match value {
            Value::Array(items) => self.list(items, indent, allowance + 1, level + 1),
            Value::Map(map) => self.map(map, indent, allowance + 1, level + 1),
            Value::Str(text) if !text.is_empty() => {
                self.in_parentheses(level, indent, allowance, |indent, allowance| {
                    text_chunks(text, indent, allowance)
                });
            }
            Value::Bin(bytes) if bytes.len() > 4 => {
                self.in_parentheses(level, indent, allowance, |indent, allowance| {
                    let chunks = byte_chunks(bytes, indent, allowance);
                    (chunks, true)
                });
            }
            _ => self.out.push_str(&whole),
        }
    }

    fn list(&mut self, items: &[Value], indent: usize, allowance: usize, level: usize) {
        let indent = self.open('[', indent);
        for (at, item) in items.iter().enumerate() {
            let is_last = at + 1 == items.len();
            let allowance = if is_last { allowance } else { 1 };
            self.value(item, indent, allowance, level);
            if !is_last {
                self.next_line(",", indent);
            }
        }
        self.out.push(']');
    }

    fn map(&mut self, map: &Map, indent: usize, allowance: usize, level: usize) {
        let indent = self.open('{', indent);
        for (at, (key, item)) in by_key(map).into_iter().enumerate() {
            let is_last = at + 1 == map.len();
            let key = repr(key);
            self.out.push_str(&key);
            self.out.push_str(": ");
            let allowance = if is_last { allowance } else { 1 };
            let column = indent + key.chars().count() + 2;
            self.value(item, column, allowance, level);
            if !is_last {
                self.next_line(",", indent);
            }
        }
        self.out.push('}');
    }

    /// Opens a container; returns the column of its items.
    fn open(&mut self, bracket: char, indent: usize) -> usize {
        self.out.push(bracket);
        let blanks = self.step.saturating_sub(1);
        self.out.extend(std::iter::repeat_n(' ', blanks));
        indent + self.step
    }

    fn next_line(&mut self, end: &str, indent: usize) {
        self.out.push_str(end);
        self.out.push('\n');
        self.out.extend(std::iter::repeat_n(' ', indent));
    }

    /// Writes chunks below each other, in parentheses unless a container encloses them.
    fn in_parentheses(
        &mut self,
        level: usize,
        indent: usize,
        allowance: usize,
        cut: impl FnOnce(usize, usize) -> (Vec<String>, bool),
    ) {
        let is_alone = level == 0;
        let (indent, allowance) = (
            indent + usize::from(is_alone),
            allowance + usize::from(is_alone),
        );
        let (chunks, is_marked) = cut(indent, allowance);
        let is_marked = is_alone && (is_marked || chunks.len() > 1);
        if is_marked {
            self.out.push('(');
        }
        for (at, chunk) in chunks.iter().enumerate() {
            if at > 0 {
                self.next_line("", indent);
            }
            self.out.push_str(chunk);
        }
        if is_marked {
            self.out.push(')');
        }
    }
}

/// Splits a text at its line ends and, where a line is too wide, after blanks; also whether a single chunk needs
/// parentheses too.
fn text_chunks(text: &str, indent: usize, allowance: usize) -> (Vec<String>, bool) {
    let lines = python::lines_with_ends(text);
    let width = WIDTH - signed(indent);
    let mut chunks = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let last_width = if at + 1 == lines.len() {
            width - signed(allowance)
        } else {
            width
        };
        let whole = python::repr(&(*line).into());
        if count(&whole) <= last_width {
            chunks.push(whole);
        } else {
            cut_line(line, width, last_width, &mut chunks);
        }
    }
    (chunks, false)
}

/// Splits one line into pieces no wider than `width`, the last no wider than `last_width`.
fn cut_line(line: &str, width: isize, last_width: isize, chunks: &mut Vec<String>) {
    let words = words_with_blanks(line);
    let mut current = String::new();
    for (at, word) in words.iter().enumerate() {
        let width = if at + 1 == words.len() {
            last_width
        } else {
            width
        };
        let mut longer = current.clone();
        longer.push_str(word);
        if count(&python::repr(&longer.as_str().into())) > width {
            if !current.is_empty() {
                chunks.push(python::repr(&current.into()));
            }
            current = (*word).to_owned();
        } else {
            current = longer;
        }
    }
    if !current.is_empty() {
        chunks.push(python::repr(&current.into()));
    }
}

/// A text as words, each with the blanks after it.
fn words_with_blanks(line: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        let blanks = rest.find(python::is_space).unwrap_or(rest.len());
        let after = &rest[blanks..];
        let end = after.find(|c| !python::is_space(c)).unwrap_or(after.len());
        let (word, others) = rest.split_at(blanks + end);
        words.push(word);
        rest = others;
    }
    words
}

fn byte_chunks(bytes: &[u8], indent: usize, allowance: usize) -> Vec<String> {
    const STEP: usize = 4;
    let repr = |bytes: &[u8]| python::repr(&Value::Bin(bytes.to_vec()));
    let mut width = WIDTH - signed(indent);
    let mut chunks = Vec::new();
    let (mut start, mut end) = (0, 0);
    let last = bytes.len() / STEP * STEP;
    for at in (0..bytes.len()).step_by(STEP) {
        let next = (at + STEP).min(bytes.len());
        if at == last {
            width -= signed(allowance);
        }
        if count(&repr(&bytes[start..next])) > width {
            if end > start {
                chunks.push(repr(&bytes[start..end]));
            }
            start = at;
        }
        end = next;
    }
    if end > start {
        chunks.push(repr(&bytes[start..end]));
    }
    chunks
}

fn count(text: &str) -> isize {
    isize::try_from(text.chars().count()).unwrap_or(isize::MAX)
}

fn signed(columns: usize) -> isize {
    isize::try_from(columns).unwrap_or(isize::MAX)
}
