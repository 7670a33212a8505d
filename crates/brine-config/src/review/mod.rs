//! What is wrong, odd or dangerous in a configuration, on which line, and what to do: `brine check`.
//!
//! It looks only at the files; whether they fit the machine is not known here.

mod danger;
mod returners;
mod values;

use std::path::Path;

use brine_wire::Value;

use crate::brine_values::edit_distance;
use crate::environment::Environment;
use crate::error::{ConfigError, FileError, Warning};
use crate::files::Place;
use crate::load::Loaded;
use crate::options::{self, OPTIONS};
use crate::opts::Opts;
use crate::role::Role;
use crate::unchecked::{UNCHECKED, unchecked};

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know.
    Note,
    /// Works, but not as somebody may think, or not safely.
    Warning,
    /// Does not work.
    Error,
}

/// So many options that cannot be used are named.
const MOST_ERRORS: usize = 100;

/// Something to know of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// How bad it is.
    pub severity: Severity,
    /// A word for programs, such as `unknown-option`.
    pub kind: &'static str,
    /// Where it stands, if it stands somewhere.
    pub place: Option<Place>,
    /// What is wrong.
    pub text: String,
    /// What to do.
    pub remedy: String,
}

/// Reads the configuration of a role and says what there is to say, worst first; with it the configuration, without
/// what cannot be used below `brine:`, if the rest can be used.
#[must_use]
pub fn review(role: Role, path: &Path, environment: &Environment) -> (Vec<Remark>, Option<Loaded>) {
    let places = Opts::places(role, path, environment);
    let place = |option: &str| {
        places
            .iter()
            .rev()
            .find(|place| place.option == option)
            .cloned()
    };
    let mut remarks = Vec::new();
    let loaded = match Opts::load_all(role, path, environment, MOST_ERRORS) {
        Ok((errors, loaded)) => {
            remarks.extend(errors.iter().map(|error| unusable(error, &place)));
            Some(loaded)
        }
        Err(error) => {
            remarks.push(unusable(&error, &place));
            None
        }
    };
    if let Some(loaded) = &loaded {
        remarks.extend(
            loaded
                .warnings
                .iter()
                .filter_map(|warning| of_warning(warning, &place)),
        );
        remarks.extend(danger::remarks(role, loaded, &place));
        remarks.extend(clashes(role, &loaded.opts, &place));
        remarks.extend(values::remarks(role, &loaded.opts, &place));
        let sinks = match role {
            Role::Master => loaded.master_sinks().err(),
            Role::Minion | Role::Client => None,
        };
        remarks.extend(sinks.map(|error| unusable(&error, &place)));
    }
    remarks.extend(unknown(&places));
    remarks.extend(returners::misspelt(&places));
    remarks.extend(given_twice(&places));
    remarks.sort_by_key(|remark| std::cmp::Reverse(remark.severity));
    (remarks, loaded)
}

/// Finds where an option stands.
type Find<'a> = &'a dyn Fn(&str) -> Option<Place>;

fn unusable(error: &ConfigError, place: Find<'_>) -> Remark {
    let (place, error) = match error {
        ConfigError::At { file, line, error } => {
            let (option, file, line) = (String::new(), file.clone(), *line);
            (Some(Place { option, file, line }), &**error)
        }
        ConfigError::WrongType { option, .. } => (place(option), error),
        error => (place("brine"), error),
    };
    let (kind, remedy) = match error {
        ConfigError::File(error) => return of_file(error, Severity::Error),
        ConfigError::UnknownBrineKey { nearest, .. } => {
            let remedy =
                format!("write {nearest}, or remove the line: Brine does not start with it");
            ("unknown-option", remedy)
        }
        ConfigError::UnknownOption { .. } => {
            let remedy = "correct the name, or remove the line: Brine does not start with it";
            ("unknown-option", remedy.to_owned())
        }
        ConfigError::WrongType { expected, .. } | ConfigError::BadBrineValue { expected, .. } => {
            ("wrong-value", format!("write {expected}"))
        }
        ConfigError::BadOption { expected, .. } => ("wrong-value", format!("write {expected}")),
        ConfigError::At { .. } => ("wrong-value", String::new()),
    };
    Remark {
        severity: Severity::Error,
        kind,
        place,
        text: error.to_string(),
        remedy,
    }
}

fn of_file(error: &FileError, severity: Severity) -> Remark {
    let (kind, path, line, remedy) = match error {
        FileError::Read { path, .. } => (
            "unreadable-file",
            path,
            None,
            "give this user permission to read it",
        ),
        FileError::Yaml { path, source } => (
            "not-yaml",
            path,
            Some(source.line),
            "correct the line; Salt does not read the file either",
        ),
        FileError::NotAMapping { path, .. } => (
            "not-a-mapping",
            path,
            Some(1),
            "write `option: value` lines",
        ),
    };
    let place = line.map(|line| Place {
        option: String::new(),
        file: path.clone(),
        line,
    });
    Remark {
        severity,
        kind,
        place,
        text: error.to_string(),
        remedy: remedy.to_owned(),
    }
}

fn of_warning(warning: &Warning, place: Find<'_>) -> Option<Remark> {
    let text = warning.to_string();
    let (severity, kind, place, remedy) = match warning {
        // There is one that cannot be used, which is said already.
        Warning::GuessedId { .. } if place("id").is_some() => return None,
        Warning::Unreadable { .. } => (
            Severity::Error,
            "unreadable-file",
            None,
            "run this as the user who may read it: its options do not count now".to_owned(),
        ),
        Warning::IncludeSkipped(error) => return Some(of_file(error, Severity::Error)),
        Warning::IncludeMatchesNothing { .. } => (
            Severity::Warning,
            "include-matches-nothing",
            place("include"),
            "correct the path, or remove it".to_owned(),
        ),
        Warning::IncludeLoop { .. } => (
            Severity::Warning,
            "include-loop",
            place("include"),
            "remove the include".to_owned(),
        ),
        Warning::WrongType {
            option, expected, ..
        } => (
            Severity::Warning,
            "wrong-type",
            place(option),
            format!("write {expected}"),
        ),
        Warning::NotActedOn { option, means } => (
            match means {
                Some(_) => Severity::Warning,
                None => Severity::Note,
            },
            "ignored-option",
            place(option),
            "Brine's own master and minion ignore it; a real one beside brine attach does not"
                .to_owned(),
        ),
        Warning::Obsolete { option, instead } => (
            Severity::Warning,
            "obsolete-option",
            place(option),
            (*instead).to_owned(),
        ),
        Warning::NameIsNotText { .. } => (
            Severity::Warning,
            "unknown-option",
            None,
            "quote the name, or remove the line".to_owned(),
        ),
        Warning::GuessedId { .. } => (
            Severity::Note,
            "guessed-id",
            None,
            "set id, so that a new host name does not change it".to_owned(),
        ),
    };
    Some(Remark {
        severity,
        kind,
        place,
        text,
        remedy,
    })
}

fn is_known(name: &str) -> bool {
    options::known(name).is_some()
        || unchecked(name).is_some()
        || options::obsolete(name).is_some()
        // Modules read their options as `module.option`, and their defaults by a number of prefixes.
        || name.contains(['.', ':'])
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Options that neither Salt nor Brine has; most are misspelt, some are for modules of the site's own.
fn unknown(places: &[Place]) -> Vec<Remark> {
    let mut remarks = Vec::new();
    for place in places.iter().filter(|place| !is_known(&place.option)) {
        let known = OPTIONS
            .iter()
            .map(|option| option.name)
            .chain(UNCHECKED.iter().map(|option| option.name));
        let nearest = known
            .map(|name| (edit_distance(&place.option, name), name))
            .min()
            .filter(|(distance, name)| *distance <= 2 && *distance * 3 <= name.len());
        let (severity, remedy) = match nearest {
            Some((_, name)) => (
                Severity::Warning,
                format!("did you mean {name}? nothing reads it as it is"),
            ),
            None => (
                Severity::Note,
                "leave it if a module of your own reads it by config.get, else remove it"
                    .to_owned(),
            ),
        };
        remarks.push(Remark {
            severity,
            kind: "unknown-option",
            place: Some(place.clone()),
            text: format!("option {} is not one of Salt's or Brine's", place.option),
            remedy,
        });
    }
    remarks
}

/// Options that stand in several files: the last one counts, or they are merged.
fn given_twice(places: &[Place]) -> Vec<Remark> {
    let mut remarks = Vec::new();
    let outermost = places
        .iter()
        .filter(|place| !place.option.contains(':') && place.option != "include");
    let outermost: Vec<&Place> = outermost.collect();
    for (at, place) in outermost.iter().enumerate() {
        let earlier = outermost[..at]
            .iter()
            .rev()
            .find(|earlier| earlier.option == place.option);
        if let Some(earlier) = earlier.filter(|earlier| earlier.file != place.file) {
            remarks.push(Remark {
                severity: Severity::Note,
                kind: "given-twice",
                place: Some((*place).clone()),
                text: format!("option {} is also set at {earlier}", place.option),
                remedy: "the later one counts (of included files mappings and lists are merged); keep one".to_owned(),
            });
        }
    }
    remarks
}

/// Values that cannot both be.
fn clashes(role: Role, opts: &Opts, place: Find<'_>) -> Vec<Remark> {
    if role != Role::Master {
        return Vec::new();
    }
    let port = |name| {
        opts.get(name)
            .filter(|value| matches!(value, Value::Int(_)))
    };
    let mut remarks = Vec::new();
    if port("publish_port").is_some() && port("publish_port") == port("ret_port") {
        remarks.push(Remark {
            severity: Severity::Error,
            kind: "one-port-twice",
            place: place("ret_port").or_else(|| place("publish_port")),
            text: "publish_port and ret_port are the same port".to_owned(),
            remedy: "give each its own port; Salt's are 4505 and 4506".to_owned(),
        });
    }
    remarks
}

/// Names below which modules read options.
const PREFIXES: [&str; 12] = [
    "rest_",
    "ssh_",
    "gitfs_",
    "git_pillar_",
    "s3",
    "azurefs",
    "hgfs_",
    "svnfs_",
    "minionfs_",
    "winrepo_",
    "cluster_",
    "proxy",
];

#[cfg(test)]
mod tests;
