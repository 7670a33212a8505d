//! What a shell offers that depends on the site: names of minions, their keys and functions, for Salt's commands.
//!
//! The scripts ask for it (`brine completions --values -- WORDS`), so that all shells offer the same. What this user
//! may not read is not offered.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use brine_config::{Environment, Opts, Role};
use brine_node::{functions, runner};
use clap::{Arg, Command};

use crate::salt::Personality;

/// Directories of keys, below `pki_dir`.
const ACCEPTED: &str = "minions";
const ALL: &[&str] = &[
    ACCEPTED,
    "minions_pre",
    "minions_rejected",
    "minions_denied",
];

/// Names that fit the last of these words, sorted; `None` where no name is expected.
pub(super) fn fitting(words: &[String]) -> Option<BTreeSet<String>> {
    let (program, words) = words.split_first()?;
    let is_brine = Path::new(program).file_name() == Some("brine".as_ref());
    let (program, words) = match words.split_first() {
        Some((first, rest)) if is_brine => (first, rest),
        _ => (program, words),
    };
    let (typed, before) = words.split_last()?;
    let name = Path::new(program).file_name();
    let mut all = Personality::ALL.iter();
    let personality = all.find(|one| name == Some(one.name().as_ref()))?;
    let mut line = Line::read(&personality.manual(), before);
    // Bash passes an option and its value apart, other shells as one word, which is completed as a whole.
    let whole = typed
        .strip_prefix("--")
        .and_then(|word| word.split_once('='));
    let (start, value) = match whole.filter(|_| line.option.is_none()) {
        Some((name, value)) => {
            line.option = Some(name.to_owned());
            (format!("--{name}="), value)
        }
        None => (String::new(), typed.as_str()),
    };
    // It is an option.
    if line.option.is_none() && value.starts_with('-') {
        return None;
    }
    let names = line.names(*personality)?.into_iter();
    let fitting = names.filter(|name| name.starts_with(value));
    Some(fitting.map(|name| format!("{start}{name}")).collect())
}

/// The words before the one that is completed.
struct Line {
    /// The last option, if the word is its value.
    option: Option<String>,
    /// Arguments that are no options.
    arguments: Vec<String>,
    config_dir: Option<PathBuf>,
}

impl Line {
    fn read(syntax: &Command, words: &[String]) -> Self {
        let (mut arguments, mut config_dir) = (Vec::new(), None);
        let mut option: Option<String> = None;
        for word in words {
            if word == "=" && option.is_some() {
                // Bash's own word between an option and its value.
            } else if let Some(option) = option.take() {
                if ["c", "config-dir"].contains(&option.as_str()) {
                    config_dir = Some(word.into());
                }
            } else if let Some(name) = word.strip_prefix('-').filter(|name| !name.is_empty()) {
                let name = name.strip_prefix('-').unwrap_or(name);
                let glued = name.strip_prefix("config-dir=");
                let glued =
                    glued.or_else(|| word.strip_prefix("-c").filter(|rest| !rest.is_empty()));
                if let Some(directory) = glued {
                    config_dir = Some(directory.into());
                }
                let takes_value =
                    |arg: &Arg| is_named(arg, name) && arg.get_action().takes_values();
                option = (syntax.get_arguments().any(takes_value)).then(|| name.to_owned());
            } else {
                arguments.push(word.clone());
            }
        }
        Self {
            option,
            arguments,
            config_dir,
        }
    }

    fn names(&self, personality: Personality) -> Option<BTreeSet<String>> {
        let nth = self.arguments.len();
        Some(match (personality, self.option.as_deref()) {
            (Personality::Key, Some("l" | "list")) => states(),
            (Personality::Key, Some("a" | "accept")) => {
                self.keys(&["minions_pre", "minions_rejected", "minions_denied"])
            }
            (Personality::Key, Some("r" | "reject")) => self.keys(&["minions_pre", ACCEPTED]),
            (Personality::Key, Some("d" | "delete" | "p" | "print" | "f" | "finger")) => {
                self.keys(ALL)
            }
            (Personality::Local, None) if nth == 0 => self.keys(&[ACCEPTED]),
            (Personality::Local, None) if nth == 1 => owned(functions::names()),
            (Personality::Call, None) if nth == 0 => owned(functions::names()),
            (Personality::Run, None) if nth == 0 => {
                owned(runner::functions::FUNCTIONS.iter().map(|one| one.name))
            }
            _ => return None,
        })
    }

    /// The ids of keys in these states.
    fn keys(&self, states: &[&str]) -> BTreeSet<String> {
        let file = match &self.config_dir {
            Some(directory) => directory.join("master"),
            None => PathBuf::from(Role::Master.default_file()),
        };
        let file = std::path::absolute(&file).unwrap_or(file);
        let Ok(loaded) = Opts::load(Role::Master, &file, &Environment::current()) else {
            return BTreeSet::new();
        };
        let Ok(pki_dir) = loaded.opts.text("pki_dir") else {
            return BTreeSet::new();
        };
        let folders = states.iter().map(|state| Path::new(pki_dir).join(state));
        let files = folders.filter_map(|folder| fs::read_dir(folder).ok());
        let names = files.flatten().flatten();
        let names = names.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| !name.starts_with('.')).collect()
    }
}

/// What `salt-key --list` takes.
fn states() -> BTreeSet<String> {
    let states = [
        "acc",
        "accepted",
        "all",
        "den",
        "denied",
        "pre",
        "rej",
        "rejected",
        "un",
        "unaccepted",
    ];
    owned(states.into_iter())
}

fn owned(names: impl Iterator<Item = &'static str>) -> BTreeSet<String> {
    names.map(str::to_owned).collect()
}

/// Whether an option has this name, without its hyphens.
fn is_named(option: &Arg, name: &str) -> bool {
    let long = option.get_long_and_visible_aliases().unwrap_or_default();
    let short = option.get_short_and_visible_aliases().unwrap_or_default();
    long.contains(&name) || short.iter().any(|short| short.to_string() == name)
}
