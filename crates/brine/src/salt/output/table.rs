//! `table`: lists of mappings, lists or strings as tables.
//!
//! Facts: `salt.output.table_out` of Salt 3008.3 (3006.28's is the same), compared in `super::tests`. Where Salt's
//! code raises an error, this returns nothing, and the caller shows the value as `nested`, as Salt does.

use brine_wire::{Map, Value};

use super::Style;
use super::colours::Colours;
use crate::salt::python;

/// How tables look, and which are shown: the options `out.table.*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::salt) struct TableOptions {
    /// How far everything is indented.
    pub(in crate::salt) nested_indent: usize,
    /// The one key whose tables are shown.
    pub(in crate::salt) rows_key: Option<String>,
    /// The key, beside that of a table, whose value holds the names of its columns.
    pub(in crate::salt) labels_key: Option<String>,
    /// The heading of the tables of `rows_key`.
    pub(in crate::salt) title: Option<String>,
    /// Whether a line follows the names of columns where none is between rows.
    pub(in crate::salt) has_header: bool,
    /// What lines between rows are made of.
    pub(in crate::salt) row_delimiter: String,
    /// What is between columns.
    pub(in crate::salt) delim: String,
    /// `center`, `left` or `right`.
    pub(in crate::salt) justify: String,
    /// Whether there are lines between rows.
    pub(in crate::salt) separate_rows: bool,
    /// What is before a row, and behind it.
    pub(in crate::salt) prefix: String,
    pub(in crate::salt) suffix: String,
    /// Columns are as wide as this, or as their longest word.
    pub(in crate::salt) width: i64,
}

impl Default for TableOptions {
    fn default() -> Self {
        Self {
            nested_indent: 0,
            rows_key: None,
            labels_key: None,
            title: None,
            has_header: true,
            row_delimiter: "-".to_owned(),
            delim: " | ".to_owned(),
            justify: "center".to_owned(),
            separate_rows: true,
            prefix: "| ".to_owned(),
            suffix: " |".to_owned(),
            width: 50,
        }
    }
}

/// A table may be at most this many times as large as its cells' content; a larger one is shown as `nested`.
const MAX_BLANKS: usize = 256;
/// See [`MAX_BLANKS`]: any table may be so large, in bytes.
const BLANKS_OF_ANY: usize = 1 << 20;

/// The text of a value; `None` where Salt shows it as `nested`.
pub(super) fn show(value: &Value, style: Style<'_>) -> Option<String> {
    let options = style.table;
    let mut table = Table {
        lines: Vec::new(),
        colours: style.colours,
        options,
    };
    if let (Some(title), Some(_)) = (&options.title, &options.rows_key) {
        // As in Salt, the title is where its colour was meant to be.
        table.line(options.nested_indent, title, style.colours.white, "\n");
    }
    table.value(&decoded(value), options.nested_indent)?;
    Some(table.lines.join("\n"))
}

/// Bytes that are text as text.
fn decoded(value: &Value) -> Value {
    match value {
        Value::Bin(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.into(),
            Err(_) => value.clone(),
        },
        Value::Array(items) => Value::Array(items.iter().map(decoded).collect()),
        Value::Map(map) => {
            let pairs = map
                .iter()
                .map(|(key, value)| (decoded(key), decoded(value)));
            Map::from_pairs(pairs.collect()).into()
        }
        other => other.clone(),
    }
}

struct Table<'a> {
    lines: Vec<String>,
    colours: Colours,
    options: &'a TableOptions,
}

impl Table<'_> {
    fn value(&mut self, value: &Value, indent: usize) -> Option<()> {
        match value {
            Value::Map(map) => self.map(map, indent),
            Value::Array(rows) if self.options.rows_key.is_none() => self.rows(rows, None, indent),
            _ => Some(()),
        }
    }

    fn map(&mut self, map: &Map, indent: usize) -> Option<()> {
        let rows_key = self.options.rows_key.as_deref();
        let is_deeper = rows_key.is_some_and(|key| map.get(key).is_none());
        let labels_key = self.options.labels_key.as_deref();
        let labels = labels_key.and_then(|key| map.get(key));
        let grey = self.colours.dark_grey;
        for (key, value) in python::sorted(map)? {
            if is_deeper {
                self.value(value, indent)?;
                continue;
            }
            match rows_key {
                Some(wanted) if key.as_str() != Some(wanted) => continue,
                Some(_) => {}
                None => {
                    self.line(indent, grey, &python::str(key), ":");
                    self.line(indent, grey, "----------", "");
                }
            }
            match value {
                Value::Array(rows) => self.rows(rows, labels, indent)?,
                other => self.value(other, indent + 4)?,
            }
        }
        Some(())
    }

    /// A table, if all rows are of one kind.
    fn rows(&mut self, rows: &[Value], labels: Option<&Value>, indent: usize) -> Option<()> {
        let Some(first) = rows.first() else {
            return Some(());
        };
        let kind = std::mem::discriminant(first);
        if rows.iter().any(|row| std::mem::discriminant(row) != kind) {
            return Some(());
        }
        let mut labels = match labels {
            Some(labels) if labels.is_true() => texts(labels)?,
            _ => Vec::new(),
        };
        if let (Value::Map(first), true) = (first, labels.is_empty()) {
            let titled = |(key, _): &(Value, Value)| title(&python::str(key).replace('_', " "));
            labels = python::sorted(first)?.into_iter().map(titled).collect();
        }
        let has_labels = !labels.is_empty();
        let mut cells: Vec<_> = has_labels.then_some(labels).into_iter().collect();
        for row in rows {
            cells.push(match row {
                Value::Map(row) => {
                    let members = python::sorted(row)?.into_iter();
                    members.map(|(_, value)| python::str(value)).collect()
                }
                Value::Str(text) => vec![text.clone()],
                Value::Array(_) => texts(row)?,
                _ => return None,
            });
        }
        self.cells(&cells, self.options.has_header && has_labels, indent + 4)
    }

    fn cells(&mut self, rows: &[Vec<String>], has_header: bool, indent: usize) -> Option<()> {
        let options = self.options;
        let mut wrapped = Vec::new();
        for row in rows {
            wrapped.push(wrap_row(row, options.width)?);
        }
        let lines = || wrapped.iter().flatten();
        // As in Salt, a column that not all rows have is not shown.
        let columns = lines().map(Vec::len).min()?;
        let width_of = |at: usize| lines().map(|line| count(&line[at])).max().unwrap_or(0);
        let widths: Vec<_> = (0..columns).map(width_of).collect();
        let between = count(&options.delim) * columns.checked_sub(1)?;
        let around = count(&options.prefix) + count(&options.suffix);
        let separator = around + widths.iter().sum::<usize>() + between;
        // A minion that returns one long cell among many short ones would fill the memory with blanks.
        let cells: usize = lines().flatten().map(String::len).sum();
        let lines_of_table = 2 * lines().count() + 1;
        if lines_of_table.saturating_mul(separator) > MAX_BLANKS * cells + BLANKS_OF_ANY {
            return None;
        }
        let separator = options.row_delimiter.repeat(separator);
        let justify = match options.justify.to_lowercase().as_str() {
            "center" => centred,
            "left" => |text: &str, width: usize| text.to_owned() + &missing(text, width),
            "right" => |text: &str, width: usize| missing(text, width) + text,
            _ => return None,
        };
        let (grey, white) = (self.colours.light_grey, self.colours.white);
        if options.separate_rows {
            self.line(indent, grey, &separator, "");
        }
        for (at, row) in wrapped.iter().enumerate() {
            for line in row {
                let cells = line.iter().zip(&widths);
                let cells = cells.map(|(cell, width)| justify(cell, *width));
                let line = cells.collect::<Vec<_>>().join(&options.delim);
                let line = format!("{}{line}{}", options.prefix, options.suffix);
                self.line(indent, white, &line, "");
            }
            if options.separate_rows || has_header && at == 0 {
                self.line(indent, grey, &separator, "");
            }
        }
        Some(())
    }

    fn line(&mut self, indent: usize, colour: &str, text: &str, suffix: &str) {
        let end = self.colours.end;
        let blanks = blank(indent);
        let line = format!("{blanks}{colour}{text}{end}{suffix}");
        self.lines.push(line);
    }
}

/// The texts of a row or of labels; `None` where there is something else.
fn texts(row: &Value) -> Option<Vec<String>> {
    let text = |item: &Value| item.as_str().map(str::to_owned);
    match row {
        Value::Array(items) => items.iter().map(text).collect(),
        Value::Map(map) => (python::sorted(map)?.into_iter())
            .map(|(_, value)| text(value))
            .collect(),
        Value::Str(text) => Some(text.chars().map(String::from).collect()),
        _ => None,
    }
}

/// A row as lines of cells; `None` for a row without cells. As in Salt, it has as many lines as the cell with the
/// fewest, and the rest of the others is not shown.
fn wrap_row(row: &[String], width: i64) -> Option<Vec<Vec<String>>> {
    let cells: Vec<Vec<String>> = row.iter().map(|cell| wrap(cell, width)).collect();
    let lines = cells.iter().map(Vec::len).min()?;
    let line = |at: usize| cells.iter().map(|cell| cell[at].clone()).collect();
    Some((0..lines).map(line).collect())
}

/// The lines of a cell, divided at blanks.
fn wrap(text: &str, width: i64) -> Vec<String> {
    let mut words = text.split(' ');
    let mut all = words.next().unwrap_or_default().to_owned();
    for word in words {
        let last = all.rsplit('\n').next().unwrap_or_default();
        let first = word.split('\n').next().unwrap_or_default();
        let is_full = (count(last) + count(first)) as i64 >= width;
        all.push(if is_full { '\n' } else { ' ' });
        all.push_str(word);
    }
    all.split('\n').map(str::to_owned).collect()
}

fn count(text: &str) -> usize {
    text.chars().count()
}

/// Python's `text.center(width)`.
fn centred(text: &str, width: usize) -> String {
    let blanks = width.saturating_sub(count(text));
    let left = blanks / 2 + (blanks & width & 1);
    [&blank(left), text, &blank(blanks - left)].concat()
}

/// What a text lacks in width. (Rust's own formats pad to 65,535 at most, and panic beyond.)
fn missing(text: &str, width: usize) -> String {
    blank(width.saturating_sub(count(text)))
}

fn blank(width: usize) -> String {
    " ".repeat(width)
}

/// Python's `text.title()`.
fn title(text: &str) -> String {
    let mut out = String::new();
    let mut is_inside = false;
    for c in text.chars() {
        if is_inside {
            out.extend(c.to_lowercase());
        } else {
            out.extend(c.to_uppercase());
        }
        is_inside = c.is_lowercase() || c.is_uppercase();
    }
    out
}
