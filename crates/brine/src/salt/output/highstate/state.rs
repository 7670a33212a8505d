//! One state's result: a block of lines, or one line.

use brine_wire::{Map, Value};

use super::changes::{self, Changes};
use super::{Tabular, format};
use crate::salt::output::{Style, textwrap};
use crate::salt::python;

/// Separates the parts of a state's key: module, id, name, function.
const SEPARATOR: &str = "_|-";

/// How far the second line of a comment and of changes is indented.
const INDENT: usize = 14;

/// A state's result.
pub(super) struct State<'a> {
    /// Module, id, name and function.
    parts: Vec<&'a str>,
    ret: &'a Map,
    pub(super) result: &'a Value,
    /// How many states it represents, with `state_compress_ids`.
    pub(super) count: usize,
    style: Style<'a>,
    level: usize,
}

/// What is shown of a state.
pub(super) struct Shown {
    pub(super) lines: Vec<String>,
    /// Whether its warnings are among the lines, and so counted.
    pub(super) has_warnings: bool,
}

impl<'a> State<'a> {
    pub(super) fn new(name: &'a str, ret: &'a Map, style: Style<'a>, level: usize) -> Option<Self> {
        let parts: Vec<_> = name.split(SEPARATOR).collect();
        let mut count = 1;
        if style.states.compress_ids && name.contains("_|-state_compressed_") {
            let [_, id, _, _] = parts.as_slice() else {
                return None;
            };
            count = number_in_parentheses(id).unwrap_or(1);
        }
        Some(Self {
            parts,
            ret,
            result: ret.get("result")?,
            count,
            style,
            level,
        })
    }

    /// What it changed. Outer `None`: the return has nothing about it, or what cannot be shown.
    pub(super) fn changes(&self) -> Option<Option<Changes>> {
        let changed = self.ret.get("changes")?;
        let name = self.ret.get("name").and_then(Value::as_str);
        if matches!(name, Some("state.orch" | "state.orchestrate" | "state.sls")) {
            return changes::orchestrated(changed, self.style, self.level).map(Some);
        }
        changes::show(changed, self.count, self.style).map(Some)
    }

    /// Whether the options have it left out.
    pub(super) fn is_left_out(&self, is_changed: bool) -> bool {
        let options = self.style.states;
        (options.diff || !options.verbose) && self.result.is_true() && !is_changed
    }

    /// Its lines; inner `None` if the option `state_output` leaves it out.
    pub(super) fn show(mut self, changes: &Changes) -> Option<Option<Shown>> {
        let options = self.style.states;
        let output = options.output.to_lowercase();
        if output.ends_with("_id") {
            let id = *self.parts.get(1)?;
            *self.parts.get_mut(2)? = id;
        }
        let has_failed = *self.result == Value::Bool(false);
        let is_terse = if output.starts_with("filter") {
            let result = python::str(self.result);
            let is_terse = options.terse.contains(&result);
            if !is_terse && options.exclude.contains(&result) {
                return Some(None);
            }
            is_terse
        } else {
            output.starts_with("terse")
                || output.starts_with("mixed") && !has_failed
                || output.starts_with("changes") && self.result.is_true() && !changes.is_changed
        };
        if is_terse {
            return Some(Some(Shown {
                lines: vec![self.line(changes)?],
                has_warnings: false,
            }));
        }
        self.block(changes).map(Some)
    }

    fn colour(&self, changes: &Changes) -> &'static str {
        let colours = self.style.colours;
        match self.result {
            Value::Bool(false) => colours.red,
            Value::Nil => colours.light_yellow,
            _ if changes.is_changed => colours.cyan,
            _ => colours.green,
        }
    }

    fn block(&self, changes: &Changes) -> Option<Shown> {
        let (colour, end) = (self.colour(changes), self.style.colours.end);
        let [module, id, name, function, ..] = self.parts.as_slice() else {
            return None;
        };
        let line = |label: &str, text: &str| format!("    {colour}{label:>8}: {text}{end}");
        let mut lines = vec![
            format!("{colour}----------{end}"),
            line("ID", id),
            line("Function", &format!("{module}.{function}")),
        ];
        if id != name {
            lines.push(line("Name", name));
        }
        lines.push(line("Result", &python::str(self.result)));
        lines.push(line("Comment", &self.comment()?));
        if self.style.states.profile
            && let Some(started) = self.ret.get("start_time")
        {
            lines.push(line("Started", &python::str(started)));
            lines.push(line("Duration", &self.duration()));
        }
        lines.push(format!("{colour}     Changes:   {}{end}", changes.text));
        let has_warnings = self.ret.get("warnings").is_some();
        if has_warnings {
            let blanks = " ".repeat(INDENT);
            let warnings = textwrap::fill(&self.warnings()?, 80, &blanks);
            let warnings = warnings.trim_start_matches(python::is_space);
            let red = self.style.colours.light_red;
            lines.push(format!("   {red} Warnings: {warnings}{end}"));
        }
        Some(Shown {
            lines,
            has_warnings,
        })
    }

    fn duration(&self) -> String {
        match self.ret.get("duration") {
            None => String::new(),
            Some(Value::Str(text)) if text.is_empty() => String::new(),
            Some(duration) => format!("{} ms", python::str(duration)),
        }
    }

    fn comment(&self) -> Option<String> {
        let comment = python::str(self.ret.get("comment")?);
        let comment = comment.trim_matches(python::is_space);
        let mut comment = comment.replace('\n', &format!("\n{}", " ".repeat(INDENT)));
        match self.ret.get("data") {
            None => {}
            Some(Value::Array(items)) => {
                for item in items {
                    comment.push(' ');
                    comment.push_str(&python::str(item));
                }
            }
            Some(Value::Map(data)) => {
                for (key, value) in data {
                    let (key, value) = (python::str(key), python::str(value));
                    comment.push_str(&format!("\n\t\t{key}: {value}"));
                }
            }
            Some(other) => {
                comment.push(' ');
                comment.push_str(&python::str(other));
            }
        }
        Some(comment)
    }

    fn warnings(&self) -> Option<String> {
        let warnings = self.ret.get("warnings")?.as_array()?.iter();
        let warnings: Option<Vec<_>> = warnings.map(Value::as_str).collect();
        Some(warnings?.join("\n"))
    }

    /// All of it in one line.
    fn line(&self, changes: &Changes) -> Option<String> {
        let (colour, end) = (self.colour(changes), self.style.colours.end);
        let result = match self.result {
            Value::Bool(false) => "Failed",
            Value::Nil => "Differs",
            _ if self.ret.get("changes")?.is_true() => "Changed",
            _ => "Clean",
        };
        let (module, name, function) = (
            *self.parts.first()?,
            *self.parts.get(2)?,
            *self.parts.last()?,
        );
        let options = self.style.states;
        if let Tabular::Format(format) = &options.tabular {
            let texts = [colour, name, module, function, result, end];
            let mut arguments: Vec<Value> = texts.into_iter().map(Value::from).collect();
            arguments.push(self.ret.clone().into());
            return format::format(format, &arguments);
        }
        let mut line = String::new();
        if self.ret.get("warnings").is_some() {
            let red = self.style.colours.light_red;
            line = format!("{red}Warnings:\n{}{end}", self.warnings()?);
            if options.tabular == Tabular::Columns {
                line.push('\n');
            }
        }
        let profile = match self.ret.get("start_time").filter(|_| options.profile) {
            Some(started) => Some((python::str(started), python::str(self.ret.get("duration")?))),
            None => None,
        };
        if options.tabular == Tabular::Columns {
            line.push_str(colour);
            if let Some((started, duration)) = profile {
                line.push_str(&format!("{started} [{duration:>7} ms] "));
            }
            line.push_str(&format!(
                "{module:>10}.{function:<10} {result:7}   Name: {name}{end}"
            ));
        } else {
            line.push_str(&format!(
                " {colour} Name: {name} - Function: {module}.{function} - Result: {result}"
            ));
            if let Some((started, duration)) = profile {
                line.push_str(&format!(" - Started: {started} - Duration: {duration} ms"));
            }
            line.push_str(end);
        }
        Some(line)
    }
}

/// The number in a text that ends in `(12)`.
fn number_in_parentheses(text: &str) -> Option<usize> {
    let (_, number) = text.strip_suffix(')')?.rsplit_once('(')?;
    number.parse().ok()
}
