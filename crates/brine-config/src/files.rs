//! Configuration files: reads the main one and its includes, and merges their values.
//!
//! Knows no single options, except those that name files, and `id`, which is text whatever it looks like. Later files
//! override earlier ones; among included files, mappings are merged and lists appended.

use std::fs;
use std::io;
use std::path::Path;

use brine_wire::{Map, Value};

use crate::environment::Environment;
use crate::error::{FileError, Warning};
use crate::glob::glob;
use crate::types::type_name;
use crate::{paths, yaml};

/// What is found on the way through the files beside values.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) warnings: Vec<Warning>,
    /// Where each option stands, in the order of reading.
    pub(crate) places: Vec<Place>,
}

/// Where an option stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The option; below others with their names in front, such as `brine: history: max_age`.
    pub option: String,
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Reads a main file; a missing one is empty, and so is one this user may not read.
pub(crate) fn read_main(path: &str, notes: &mut Notes) -> Result<Map, FileError> {
    match read(path, notes) {
        Ok(mut options) => {
            options.insert("conf_file", path);
            Ok(options)
        }
        Err(FileError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(Map::new())
        }
        Err(FileError::Read { path, source })
            if source.kind() == io::ErrorKind::PermissionDenied =>
        {
            notes.warnings.push(Warning::Unreadable { path });
            Ok(Map::new())
        }
        Err(error) => Err(error),
    }
}

/// Whether a wildcard without matches causes a warning.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Absent {
    IsFine,
    IsToldOf,
}

/// Reads included files.
pub(crate) struct Includes<'a> {
    pub(crate) environment: &'a Environment,
    pub(crate) notes: &'a mut Notes,
    /// The files being read, outermost first.
    pub(crate) reading: Vec<String>,
    /// The files that have been read, the last one counts most.
    pub(crate) files: Vec<String>,
}

impl Includes<'_> {
    /// The merged options of the files that `include`, a text or a list of texts, names.
    ///
    /// Relative patterns start at the directory of `from`.
    pub(crate) fn read(&mut self, include: &Value, from: &str, absent: Absent) -> Map {
        let mut merged = Map::new();
        let patterns = match include {
            Value::Array(items) => items.as_slice(),
            one => std::slice::from_ref(one),
        };
        for pattern in patterns {
            let Value::Str(pattern) = pattern else {
                if *pattern != Value::Nil {
                    self.notes.warnings.push(Warning::WrongType {
                        option: "include".to_owned(),
                        expected: "text or a list of texts".to_owned(),
                        found: type_name(pattern),
                    });
                }
                continue;
            };
            if !pattern.is_empty() || matches!(include, Value::Array(_)) {
                self.read_pattern(pattern, from, absent, &mut merged);
            }
        }
        merged
    }

    fn read_pattern(&mut self, pattern: &str, from: &str, absent: Absent, merged: &mut Map) {
        let pattern = self.environment.expand_home(pattern);
        let pattern = paths::join(paths::directory(from), &pattern);
        let found = glob(&pattern);
        if found.is_empty() && absent == Absent::IsToldOf {
            self.notes
                .warnings
                .push(Warning::IncludeMatchesNothing { pattern });
        }
        for path in found {
            if self.reading.contains(&path) {
                self.notes.warnings.push(Warning::IncludeLoop { path });
                continue;
            }
            let options = self.read_file(&path, absent);
            replace_schedules(merged, &options);
            merge(merged, options);
        }
    }

    /// One file with what it includes, which overrides it.
    fn read_file(&mut self, path: &str, absent: Absent) -> Map {
        let mut options = match is_plain(path).and_then(|()| read(path, self.notes)) {
            Ok(options) => options,
            Err(error) => {
                self.notes.warnings.push(error.into());
                return Map::new();
            }
        };
        self.files.push(path.to_owned());
        if let Some(include) = options.get("include").cloned() {
            self.reading.push(path.to_owned());
            for (name, value) in self.read(&include, path, absent) {
                options.insert(name, value);
            }
            self.reading.pop();
        }
        options
    }
}

/// A pipe would be waited for, and a device may have no end.
fn is_plain(path: &str) -> Result<(), FileError> {
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() && !metadata.is_dir() => Err(FileError::Read {
            path: path.to_owned(),
            source: io::Error::other("not a regular file"),
        }),
        _ => Ok(()),
    }
}

fn read(path: &str, notes: &mut Notes) -> Result<Map, FileError> {
    let bytes = fs::read(Path::new(path)).map_err(|source| FileError::Read {
        path: path.to_owned(),
        source,
    })?;
    let (document, lines) = yaml::load_with_lines(&bytes).map_err(|source| FileError::Yaml {
        path: path.to_owned(),
        source,
    })?;
    notes
        .places
        .extend(lines.into_iter().map(|(option, line)| Place {
            option,
            file: path.to_owned(),
            line,
        }));
    let options = match document {
        Value::Map(options) => options,
        // As in Salt, a document that Python takes for false counts as an empty file.
        Value::Nil | Value::Bool(false) | Value::Int(0) => Map::new(),
        Value::Str(text) if text.is_empty() => Map::new(),
        Value::Array(items) if items.is_empty() => Map::new(),
        other => {
            return Err(FileError::NotAMapping {
                path: path.to_owned(),
                found: type_name(&other),
            });
        }
    };
    let mut named = Vec::with_capacity(options.len());
    for (name, value) in options {
        match name {
            Value::Str(name) if name == "id" => named.push((name.into(), id_as_text(value))),
            Value::Str(_) => named.push((name, value)),
            other => notes.warnings.push(Warning::NameIsNotText {
                path: path.to_owned(),
                found: format!("{other:?}"),
            }),
        }
    }
    Ok(Map::from(named))
}

/// A numeric id is allowed and means its text, as Python writes it.
fn id_as_text(id: Value) -> Value {
    match id {
        Value::Int(number) => Value::Str(number.to_string()),
        Value::Float(number) => Value::Str(format!("{number:?}")),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::Nil => "None".into(),
        other => other,
    }
}

/// Jobs of the schedule are not merged: the later file's job wins.
fn replace_schedules(merged: &mut Map, options: &Map) {
    let (Some(Value::Map(old)), Some(Value::Map(new))) =
        (merged.get("schedule"), options.get("schedule"))
    else {
        return;
    };
    let mut schedule = old.clone();
    for (name, job) in new {
        schedule.insert(name.clone(), job.clone());
    }
    merged.insert("schedule", schedule);
}

/// Merges mappings, appends lists without duplicates, replaces all else.
fn merge(into: &mut Map, from: Map) {
    for (key, value) in from {
        let old = into.iter().find(|(own, _)| *own == key).map(|(_, v)| v);
        let value = match (old, value) {
            (Some(Value::Map(old)), Value::Map(new)) => {
                let mut merged = old.clone();
                merge(&mut merged, new);
                Value::Map(merged)
            }
            (Some(Value::Array(old)), Value::Array(new)) => {
                let added = new.into_iter().filter(|item| !old.contains(item));
                Value::Array(old.iter().cloned().chain(added).collect())
            }
            (_, value) => value,
        };
        into.insert(key, value);
    }
}
