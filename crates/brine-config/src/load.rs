//! Reading a configuration from files, in Salt's order.
//!
//! Values that follow from others are in `resolve`, reading of single files is in `files`. Facts: Salt 3008.3 and
//! 3006.28, checked against both by `tests/it/opts.rs`.

use std::path::Path;

use brine_wire::{Map, Value};

use crate::brine::Brine;
use crate::environment::Environment;
use crate::error::{ConfigError, Warning};
use crate::files::{Absent, Includes, Notes, Place, read_main};
use crate::locate::{self, locate};
use crate::options::{self, OPTIONS};
use crate::opts::Opts;
use crate::paths;
use crate::resolve::resolve;
use crate::role::Role;
use crate::sinks::{self, FileOption, SinkOptions};
use crate::types::{Type, accepts, type_name};
use crate::unchecked;

/// A configuration with warnings about it.
#[derive(Debug)]
pub struct Loaded {
    /// Salt's options, defaults filled in.
    pub opts: Opts,
    /// The options under `brine:`.
    pub brine: Brine,
    /// Problems that do not prevent its use.
    pub warnings: Vec<Warning>,
    /// The files that were read.
    files: Vec<String>,
}

impl Loaded {
    /// Where the events of a master go: what `brine: {sinks: …}` says, and Salt's own options. Read only for a master
    /// of ours: beside a real one these options are that one's, and may name returners that are not here.
    ///
    /// # Errors
    /// An option that cannot be used.
    pub fn master_sinks(&self) -> Result<Vec<SinkOptions>, ConfigError> {
        let place = |error| locate(error, &self.files);
        let mut sinks = self.brine.sinks.clone();
        let mut more = sinks::of_salt(&self.opts).map_err(place)?;
        for sink in &mut more {
            sink.place = locate::place(&[&sink.option], &self.files);
            let files = sinks::file_options(sink).into_iter();
            let file = |[own, below, name]: [&'static str; 3]| {
                let option = format!("{below}.{name}");
                let alone = locate::place(&[&option], &self.files);
                FileOption {
                    name: own,
                    place: alone.or_else(|| locate::place(&[below, name], &self.files)),
                    option,
                }
            };
            sink.files = files.map(file).collect();
        }
        sinks::add(&mut sinks, more).map_err(place)?;
        Ok(sinks)
    }
}

impl Opts {
    /// Reads a configuration as Salt's daemons and commands do.
    ///
    /// `path` is the main file; when it is the role's default, `SALT_MASTER_CONFIG` or
    /// `SALT_MINION_CONFIG` of the environment, or else `SALT_CONFIG_DIR`, may name another. A
    /// missing file means the defaults. Then come `default_include` and `include`, relative to
    /// `path`; included files that cannot be used are left out with a warning.
    ///
    /// # Errors
    /// A main file that is not a configuration, a path or name that is not text, and anything that
    /// is not understood under `brine:`.
    pub fn load(role: Role, path: &Path, environment: &Environment) -> Result<Loaded, ConfigError> {
        let (mut errors, loaded) = Self::load_all(role, path, environment, 1)?;
        match errors.pop() {
            Some(error) => Err(error),
            None => Ok(loaded),
        }
    }

    /// The same, without what cannot be used below `brine:`, and what that is: at most so many.
    pub(crate) fn load_all(
        role: Role,
        path: &Path,
        environment: &Environment,
        most: usize,
    ) -> Result<(Vec<ConfigError>, Loaded), ConfigError> {
        let path = path.to_string_lossy();
        let mut notes = Notes::default();
        let (overrides, files) = overrides(role, &path, environment, &mut notes)?;
        let Notes { mut warnings, .. } = notes;
        let (errors, mut brine) = usable(&overrides, most);
        let errors = errors.into_iter().map(|error| locate(error, &files));
        let mut errors: Vec<ConfigError> = errors.collect();
        for sink in &mut brine.sinks {
            let keys: Vec<_> = sink.option.split(": ").collect();
            sink.place = locate::place(&keys, &files);
            let file = |name| FileOption {
                name,
                place: locate::place(&[&keys[..], &[name]].concat(), &files),
                option: format!("{}: {name}", sink.option),
            };
            sink.files = ["ca", "cert", "key"].map(file).into();
        }
        if let Some(cluster) = &mut brine.cluster {
            cluster.place = locate::place(&["brine", "cluster"], &files);
        }
        if brine.history.enabled == Some(false) {
            brine.history.place = locate::place(&["brine", "history"], &files);
        }
        remark_on(role, &overrides, &mut warnings);
        // Each option that others depend on and that is of a wrong type; the rest is looked at without it.
        let (mut given, before) = (overrides, warnings.len());
        let mut opts = loop {
            let mut opts = Self::defaults(role, environment);
            let resolved = resolve(role, &mut opts, given.clone(), environment, &mut warnings);
            match resolved {
                Ok(()) => break opts,
                Err(ConfigError::WrongType {
                    option,
                    expected,
                    found,
                }) if errors.len() + 1 < most && given.remove(&option).is_some() => {
                    warnings.truncate(before);
                    errors.push(ConfigError::WrongType {
                        option,
                        expected,
                        found,
                    });
                }
                Err(error) => return Err(error),
            }
        };
        if role == Role::Client {
            opts.apply_user_file(environment, &mut warnings)?;
        }
        let loaded = Loaded {
            opts,
            brine,
            warnings,
            files,
        };
        Ok((errors, loaded))
    }

    /// The same options, with Salt's default for one of them.
    #[must_use]
    pub fn with_default(&self, name: &str, role: Role, environment: &Environment) -> Option<Self> {
        let default = Self::defaults(role, environment).get(name)?.clone();
        let mut opts = self.clone();
        opts.set(name, default);
        Some(opts)
    }

    /// Where the options stand in the files that [`Opts::load`] reads, in the order of reading: of two places the
    /// later one counts. As far as the files can be read.
    #[must_use]
    pub fn places(role: Role, path: &Path, environment: &Environment) -> Vec<Place> {
        let mut notes = Notes::default();
        // What cannot be read is said by `load`.
        let _ = overrides(role, &path.to_string_lossy(), environment, &mut notes);
        notes.places
    }

    /// Salt's defaults for a role, before anything follows from anything.
    fn defaults(role: Role, environment: &Environment) -> Self {
        let mut opts = Self::default();
        for option in OPTIONS.iter() {
            if let Some(default) = option.default(role) {
                opts.set(option.name, default);
            }
        }
        opts.set("user", environment.user.as_str());
        opts.set("ipc_write_buffer", 0);
        opts
    }

    /// A command's last word: the user's own file, and an address that can be connected to.
    fn apply_user_file(
        &mut self,
        environment: &Environment,
        warnings: &mut Vec<Warning>,
    ) -> Result<(), ConfigError> {
        let own = user_file(environment);
        let path = match environment.variable("SALT_CLIENT_CONFIG") {
            Some(path) if Path::new(path).is_file() => path,
            _ => &own,
        };
        let mut notes = Notes::default();
        for (name, value) in read_main(path, &mut notes)? {
            if let Value::Str(name) = name {
                self.set(&name, value);
            }
        }
        warnings.append(&mut notes.warnings);
        match self.get("interface").and_then(Value::as_str) {
            Some("0.0.0.0") => self.set("interface", "127.0.0.1"),
            Some("::") => self.set("interface", "::1"),
            _ => {}
        }
        Ok(())
    }
}

/// What the files say, and which they are: the main one, then `default_include`, then `include`, key by key.
fn overrides(
    role: Role,
    path: &str,
    environment: &Environment,
    notes: &mut Notes,
) -> Result<(Map, Vec<String>), ConfigError> {
    let main = main_file(role, path, environment);
    let mut overrides = read_main(&main, notes)?;
    let default_include = match overrides.get("default_include") {
        Some(include) => include.clone(),
        None => options::known("default_include")
            .and_then(|option| option.default(role))
            .unwrap_or(Value::Nil),
    };
    let include = overrides.get("include").cloned().unwrap_or(Value::Nil);
    let mut includes = Includes {
        environment,
        notes,
        reading: vec![main.clone()],
        files: vec![main],
    };
    for (include, absent) in [
        (default_include, Absent::IsFine),
        (include, Absent::IsToldOf),
    ] {
        // Relative to the path asked for, even when a variable named another main file.
        for (name, value) in includes.read(&include, path, absent) {
            overrides.insert(name, value);
        }
    }
    Ok((overrides, includes.files))
}

/// What can be used of `brine:`, and what is wrong with the rest: at most so many.
fn usable(overrides: &Map, most: usize) -> (Vec<ConfigError>, Brine) {
    let mut value = overrides.get("brine").cloned();
    let mut errors: Vec<ConfigError> = Vec::new();
    while errors.len() < most {
        let error = match Brine::parse(value.as_ref()) {
            Ok(brine) => return (errors, brine),
            Err(error) => error,
        };
        value = value.and_then(|value| without(&value, error.keys().get(1..)?));
        // Where one that must be there cannot be used, it is not missing, too.
        if !errors.iter().any(|known| known.keys() == error.keys()) {
            errors.push(error);
        }
    }
    (errors, Brine::default())
}

/// The value without what these keys lead to, or as much of it as is there; `None` if nothing is left out.
fn without(value: &Value, keys: &[&str]) -> Option<Value> {
    let (key, deeper) = keys.split_first()?;
    let map = value.as_map()?;
    map.get(key)?;
    let mut rest = Map::new();
    for (name, inner) in map {
        let kept = match name.as_str() == Some(key) {
            true => without(inner, deeper),
            false => Some(inner.clone()),
        };
        if let Some(kept) = kept {
            rest.insert(name.clone(), kept);
        }
    }
    Some(rest.into())
}

/// The main file: `path`, unless that is the default and the environment names one that is there.
fn main_file(role: Role, path: &str, environment: &Environment) -> String {
    if path != role.default_file() {
        return path.to_owned();
    }
    let in_directory = || {
        let directory = environment.variable("SALT_CONFIG_DIR")?;
        Some(paths::join(directory, paths::file_name(path)))
    };
    let named = environment.variable(role.variable()).map(str::to_owned);
    named
        .or_else(in_directory)
        .filter(|named| Path::new(named).is_file())
        .unwrap_or_else(|| path.to_owned())
}

/// The user's own file: in the desktop's configuration directory when Salt has one there, else
/// in the home directory.
fn user_file(environment: &Environment) -> String {
    let config = environment
        .variable("XDG_CONFIG_HOME")
        .map_or_else(|| environment.expand_home("~/.config"), str::to_owned);
    let directory = paths::join(&config, "salt");
    if Path::new(&directory).is_dir() {
        paths::join(&directory, "saltrc")
    } else {
        environment.expand_home("~/.saltrc")
    }
}

/// Warns of values of unexpected types and of options that do nothing here.
fn remark_on(role: Role, overrides: &Map, warnings: &mut Vec<Warning>) {
    for (name, value) in overrides {
        let Value::Str(name) = name else { continue };
        if let Some(instead) = options::obsolete(name) {
            warnings.push(Warning::Obsolete {
                option: name.clone(),
                instead,
            });
        }
        let ignored = || Warning::NotActedOn {
            option: name.clone(),
            means: options::consequence(name, role),
        };
        let Some(known) = options::known(name) else {
            if unchecked::is_ignored(name, role) && value.is_true() {
                warnings.push(ignored());
            }
            continue;
        };
        let is_dynamic = name == "ipc_write_buffer" && value.as_str() == Some("dynamic");
        // Salt's check knows lists alone, its reactor reads the file that a text names.
        let is_file = name == "reactor" && value.as_str().is_some_and(|file| file.starts_with('/'));
        let is_special = is_dynamic || is_file;
        if !known.types.is_empty() && !is_special && !accepts(&known.types, value) {
            let expected: Vec<_> = known.types.iter().map(|one| Type::name(*one)).collect();
            warnings.push(Warning::WrongType {
                option: name.clone(),
                expected: expected.join(" or "),
                found: type_name(value),
            });
        }
        // An empty list asks for nothing; `False` does, where Salt's default is `True`.
        let is_empty = !value.is_true() && !matches!(value, Value::Bool(_) | Value::Int(_));
        let is_default = known.default(role).as_ref() == Some(value);
        if !known.is_acted_on(role) && !is_empty && !is_default {
            warnings.push(ignored());
        }
    }
}
