//! `table`: lists of mappings, lists or texts as tables.
//!
//! Facts: `salt.output.table_out` of Salt 3008.3 (3006.28's is the same), compared in `super::tests`. Where Salt's code
//! raises an error, this gives nothing, and the caller shows the value as `nested`, as Salt does.

use brine_wire::{Map, Value};

use super::Style;
use super::colours::Colours;
use crate::salt::python;

/// Columns are as wide as this, or as their longest word.
const WIDTH: usize = 50;

/// The text of a value; `None` where Salt shows it as `nested`.
pub(super) fn show(value: &Value, style: Style<'_>) -> Option<String> {
    let mut table = Table {
        lines: Vec::new(),
        colours: style.colours,
    };
    table.value(&decoded(value), 0)?;
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

struct Table {
    lines: Vec<String>,
    colours: Colours,
}

impl Table {
    fn value(&mut self, value: &Value, indent: usize) -> Option<()> {
        match value {
            Value::Map(map) => {
                let grey = self.colours.dark_grey;
                for (key, value) in python::sorted(map)? {
                    self.line(indent, grey, &python::str(key), ":");
                    self.line(indent, grey, "----------", "");
                    match value {
                        Value::Array(rows) => self.rows(rows, indent + 4)?,
                        other => self.value(other, indent + 4)?,
                    }
                }
                Some(())
            }
            Value::Array(rows) => self.rows(rows, indent + 4),
            _ => Some(()),
        }
    }

    /// A table, if all rows are of one kind.
    fn rows(&mut self, rows: &[Value], indent: usize) -> Option<()> {
        let Some(first) = rows.first() else {
            return Some(());
        };
        let kind = std::mem::discriminant(first);
        if rows.iter().any(|row| std::mem::discriminant(row) != kind) {
            return Some(());
        }
        let mut cells = Vec::new();
        if let Value::Map(first) = first {
            let labels = python::sorted(first)?;
            if !labels.is_empty() {
                let titled = |(key, _): &(Value, Value)| title(&python::str(key).replace('_', " "));
                cells.push(labels.into_iter().map(titled).collect());
            }
        }
        for row in rows {
            cells.push(match row {
                Value::Map(row) => {
                    let members = python::sorted(row)?.into_iter();
                    members.map(|(_, value)| python::str(value)).collect()
                }
                Value::Str(text) => vec![text.clone()],
                Value::Array(items) => {
                    let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
                    texts.collect::<Option<Vec<_>>>()?
                }
                _ => return None,
            });
        }
        self.cells(&cells, indent)
    }

    fn cells(&mut self, rows: &[Vec<String>], indent: usize) -> Option<()> {
        let mut wrapped = Vec::new();
        for row in rows {
            wrapped.push(wrap_row(row)?);
        }
        let lines = || wrapped.iter().flatten();
        // As in Salt, a column that not all rows have is not shown.
        let columns = lines().map(Vec::len).min()?;
        let width_of = |at: usize| lines().map(|line| count(&line[at])).max().unwrap_or(0);
        let widths: Vec<_> = (0..columns).map(width_of).collect();
        let separator = "-".repeat(4 + widths.iter().sum::<usize>() + 3 * columns - 3);
        let (grey, white) = (self.colours.light_grey, self.colours.white);
        self.line(indent, grey, &separator, "");
        for row in &wrapped {
            for line in row {
                let cells = line.iter().zip(&widths);
                let cells = cells.map(|(cell, width)| centred(cell, *width));
                let line = format!("| {} |", cells.collect::<Vec<_>>().join(" | "));
                self.line(indent, white, &line, "");
            }
            self.line(indent, grey, &separator, "");
        }
        Some(())
    }

    fn line(&mut self, indent: usize, colour: &str, text: &str, suffix: &str) {
        let end = self.colours.end;
        let line = format!("{:indent$}{colour}{text}{end}{suffix}", "");
        self.lines.push(line);
    }
}

/// A row as lines of cells; `None` for a row without cells. As in Salt, it has as many lines as the cell with the
/// fewest, and the rest of the others is not shown.
fn wrap_row(row: &[String]) -> Option<Vec<Vec<String>>> {
    let cells: Vec<Vec<String>> = row.iter().map(|cell| wrap(cell)).collect();
    let lines = cells.iter().map(Vec::len).min()?;
    let line = |at: usize| cells.iter().map(|cell| cell[at].clone()).collect();
    Some((0..lines).map(line).collect())
}

/// The lines of a cell, divided at blanks.
fn wrap(text: &str) -> Vec<String> {
    let mut words = text.split(' ');
    let mut all = words.next().unwrap_or_default().to_owned();
    for word in words {
        let last = all.rsplit('\n').next().unwrap_or_default();
        let first = word.split('\n').next().unwrap_or_default();
        let is_full = count(last) + count(first) >= WIDTH;
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
    format!("{:left$}{text}{:right$}", "", "", right = blanks - left)
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
