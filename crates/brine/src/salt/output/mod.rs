//! Salt's outputters: formats return values as `--out NAME` requests and writes them.
//!
//! Knows nothing of commands. Facts: Salt 3008.3; `tests` compares with it value by value.

mod colours;
mod highstate;
mod key;
mod nested;
mod pprint;
mod table;
#[cfg(test)]
mod tests;
mod textwrap;
mod txt;
mod yaml;

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use brine_wire::json::{self, Keys};
use brine_wire::{Map, Value};

use self::colours::Colours;
pub(super) use self::highstate::{StateOptions, Tabular};
pub(super) use self::table::TableOptions;
use self::yaml::Unescaped;
use super::python;

use crate::terminal;

/// The outputters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outputter {
    /// The default.
    Nested,
    Highstate,
    Table,
    Json,
    Yaml,
    Raw,
    Txt,
    Pprint,
    Key,
    NoReturn,
    /// As in 3006: each minion's value on its own line, without its id; a list's items likewise.
    NewlineValuesOnly,
    /// `quiet`, which 3006 has: nothing.
    Quiet,
}

impl Outputter {
    /// The outputter with a name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "" | "nested" | "grains" => Self::Nested,
            "highstate" => Self::Highstate,
            "table" => Self::Table,
            "json" => Self::Json,
            "yaml" => Self::Yaml,
            "raw" => Self::Raw,
            "txt" | "text" => Self::Txt,
            "pprint" => Self::Pprint,
            "key" => Self::Key,
            "no_return" => Self::NoReturn,
            "newline_values_only" => Self::NewlineValuesOnly,
            "quiet" => Self::Quiet,
            _ => return None,
        })
    }

    /// The outputter with a name, or the default with an error in the log.
    fn named_or_nested(name: &str) -> Self {
        Self::named(name).unwrap_or_else(|| {
            tracing::error!("Invalid outputter {name} specified, fall back to nested");
            Self::Nested
        })
    }

    /// The text of a value without trailing blanks; empty if nothing is printed.
    pub(super) fn show(self, value: &Value, style: Style<'_>) -> String {
        let or_nested = |shown: Option<String>| shown.unwrap_or_else(|| nested::show(value, style));
        let mut text = match self {
            Self::Nested => nested::show(value, style),
            Self::Highstate => or_nested(highstate::show(value, style)),
            Self::Table => or_nested(table::show(value, style)),
            Self::Json => in_json(value, style.indent),
            Self::Yaml => yaml::show(value, style.indent.of_yaml(), Unescaped::Libyaml),
            Self::Raw => python::str(value),
            Self::Txt => txt::show(value),
            Self::Pprint => pprint::show(value, style.indent.of_pprint()),
            Self::Key => or_nested(key::show(value, style.colours)),
            Self::NoReturn => nested::show_no_return(value, style.colours),
            Self::NewlineValuesOnly => or_nested(values_only(value)),
            Self::Quiet => String::new(),
        };
        text.truncate(text.trim_end_matches(python::is_space).len());
        text
    }
}

/// A value as a YAML document, as `--out yaml` writes it.
pub(crate) fn to_yaml(value: &Value) -> String {
    yaml::show(value, yaml::Layout::Block(2), Unescaped::Libyaml)
}

/// The same for people: invisible characters, and those that reverse a line, are escaped in quotes.
pub(crate) fn to_visible_yaml(value: &Value) -> String {
    yaml::show(value, yaml::Layout::Block(2), Unescaped::Visible)
}

/// The options of outputters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Style<'a> {
    colours: Colours,
    indent: Indent,
    /// The value is a failure's: `nested` prints it red.
    failed: bool,
    states: &'a StateOptions,
    table: &'a TableOptions,
}

/// `--out-indent`, or the option `output_indent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Indent {
    /// Each outputter's default.
    Unsaid,
    /// All on one line.
    None,
    Spaces(usize),
    /// JSON with sorted keys.
    Pretty,
}

impl Indent {
    fn of(value: &Value) -> Self {
        match value {
            Value::Int(number) => usize::try_from(*number).map_or(Self::None, Self::Spaces),
            Value::Str(text) if text == "pretty" => Self::Pretty,
            Value::Nil => Self::None,
            _ => Self::Unsaid,
        }
    }

    const fn of_yaml(self) -> yaml::Layout {
        match self {
            Self::Spaces(spaces) => yaml::Layout::Block(spaces),
            Self::Unsaid | Self::Pretty => yaml::Layout::Block(2),
            Self::None => yaml::Layout::Flow,
        }
    }

    const fn of_pprint(self) -> usize {
        match self {
            Self::Spaces(spaces) => spaces,
            _ => 1,
        }
    }
}

/// Prints return values.
#[derive(Debug)]
pub(super) struct Printer {
    /// `--out`, which overrides the outputter of a return value.
    wanted: Option<Outputter>,
    colours: Colours,
    indent: Indent,
    states: StateOptions,
    table: TableOptions,
    file: Option<PathBuf>,
}

/// The command line's options about output.
#[derive(Debug, Default)]
pub(super) struct OutputOptions<'a> {
    pub(super) out: Option<&'a str>,
    pub(super) indent: Option<Value>,
    pub(super) file: Option<&'a str>,
    pub(super) append: bool,
    pub(super) no_color: bool,
    pub(super) force_color: bool,
    pub(super) states: StateOptions,
    pub(super) table: TableOptions,
}

impl Printer {
    /// A printer. Empties the output file unless it is appended to.
    pub(super) fn new(options: OutputOptions<'_>) -> anyhow::Result<Self> {
        let file = options.file.map(PathBuf::from);
        if let Some(path) = file.as_deref().filter(|_| !options.append) {
            std::fs::write(path, "").with_context(|| out_file(path))?;
        }
        let has_colours =
            options.force_color || !options.no_color && io::IsTerminal::is_terminal(&io::stdout());
        Ok(Self {
            // As in Salt, `--out highstate` leaves the outputter to the return.
            wanted: (options.out)
                .filter(|name| *name != "highstate")
                .map(Outputter::named_or_nested),
            colours: if has_colours {
                Colours::ALL
            } else {
                Colours::NONE
            },
            indent: options.indent.as_ref().map_or(Indent::Unsaid, Indent::of),
            states: options.states,
            table: options.table,
            file,
        })
    }

    /// Has a job's arguments `exclude=` and `terse=` count, which `highstate` with `state_output: filter` reads.
    pub(super) fn heed(&mut self, arguments: &[Value]) {
        let named = arguments.iter().filter_map(Value::as_map);
        for named in named.filter(|named| named.get("__kwarg__").is_some()) {
            if let Some(exclude) = named.get("exclude") {
                self.states.exclude = StateOptions::results(exclude);
            }
            if let Some(terse) = named.get("terse") {
                self.states.terse = StateOptions::results(terse);
            }
        }
    }

    /// The text of a value, by the outputter of the command line, or else by the named one.
    pub(super) fn text(&self, value: &Value, own: Option<&str>, retcode: i64) -> String {
        let outputter = self
            .wanted
            .unwrap_or_else(|| Outputter::named_or_nested(own.unwrap_or_default()));
        let style = Style {
            colours: self.colours,
            indent: self.indent,
            failed: retcode != 0,
            states: &self.states,
            table: &self.table,
        };
        outputter.show(value, style)
    }

    /// Prints a value with the outputter of the command line, or else with the named one.
    pub(super) fn print(
        &self,
        value: &Value,
        own: Option<&str>,
        retcode: i64,
    ) -> anyhow::Result<()> {
        let mut text = self.text(value, own, retcode);
        if text.is_empty() {
            return Ok(());
        }
        text.push('\n');
        match &self.file {
            None => {
                let mut stdout = terminal::stdout();
                stdout.write_all(text.as_bytes())?;
                stdout.flush()?;
            }
            Some(path) => {
                let mut options = OpenOptions::new();
                let opened = options.create(true).append(true).open(path);
                opened
                    .and_then(|mut file| file.write_all(text.as_bytes()))
                    .with_context(|| out_file(path))?;
            }
        }
        Ok(())
    }
}

fn out_file(path: &Path) -> String {
    format!("--out-file {}", path.display())
}

/// The values of a mapping, without its keys; `None` if the value is not a mapping.
fn values_only(value: &Value) -> Option<String> {
    let values = value.as_map()?.iter().flat_map(|(_, value)| match value {
        Value::Array(items) => items.as_slice(),
        other => std::slice::from_ref(other),
    });
    Some(values.map(python::str).collect::<Vec<_>>().join("\n"))
}

/// Python's `json.dumps`; an empty object if it fails.
fn in_json(value: &Value, indent: Indent) -> String {
    let mut text = String::new();
    let Some(value) = jsonable(value) else {
        return "{}".to_owned();
    };
    match indent {
        Indent::None => json::to_line(&value, &mut text),
        Indent::Unsaid => json::to_indented(&value, 4, Keys::AsGiven, &mut text),
        Indent::Spaces(width) => json::to_indented(&value, width, Keys::AsGiven, &mut text),
        Indent::Pretty => json::to_indented(&value, 4, Keys::Sorted, &mut text),
    }
    text
}

/// A value with Python's `repr` for types that JSON lacks; `None` if a key has such a type.
fn jsonable(value: &Value) -> Option<Value> {
    Some(match value {
        Value::Bin(_) => python::repr(value).into(),
        Value::Array(items) => Value::Array(items.iter().map(jsonable).collect::<Option<_>>()?),
        Value::Map(map) => {
            let pairs = map.iter().map(|(key, value)| match key {
                Value::Bin(_) | Value::Array(_) | Value::Map(_) => None,
                key => Some((key.clone(), jsonable(value)?)),
            });
            Value::Map(Map::from(pairs.collect::<Option<Vec<_>>>()?))
        }
        other => other.clone(),
    })
}
