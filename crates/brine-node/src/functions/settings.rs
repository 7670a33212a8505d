//! The minion's options that built-in functions use, read once, in one struct per subject.
//!
//! Nothing uses the map of all options, except functions that show it (`config.get`, `test.get_opts`, users'
//! `__opts__`): Salt's users expect it to hold every option, including their own
//! ([`FunctionsConfig`](super::FunctionsConfig)).

use std::collections::BTreeMap;
use std::path::PathBuf;

use brine_wire::matching::{MatchType, TagMatch};
use brine_wire::{Map, Value, python_text};

use super::FunctionsConfig;
use super::grains;

/// What built-in functions act on.
pub(crate) struct Settings {
    /// There is no master by configuration (`--local`).
    pub(super) is_local: bool,
    /// Events for the master reach one.
    pub(super) has_master: bool,
    /// `saltenv` and `pillarenv`, as events show them.
    pub(super) environments: [(&'static str, Value); 2],
    /// A missing pillar key is an error.
    pub(super) pillar_raise_on_missing: bool,
    /// The digest of `key.finger` and `test.random_hash` (`hash_type`).
    pub(super) hash_type: String,
    /// Where the minion's key and its master's are.
    pub(super) pki_dir: Option<PathBuf>,
    /// The file of the minion's own grains.
    pub(super) grains_file: Option<PathBuf>,
    pub(super) commands: CommandSettings,
    pub(super) sync: SyncSettings,
}

impl Settings {
    pub(super) fn new(config: &FunctionsConfig) -> Self {
        let option = |name, default| config.opts.get(name).cloned().unwrap_or(default);
        let is_local = config.is_local();
        Self {
            is_local,
            has_master: !is_local
                && (config.text("master_type") != Some("disable")
                    || config.is_set("use_master_when_local")),
            environments: [
                ("saltenv", option("saltenv", "base".into())),
                ("pillarenv", option("pillarenv", Value::Nil)),
            ],
            pillar_raise_on_missing: config.is_set("pillar_raise_on_missing"),
            hash_type: config.text("hash_type").unwrap_or("sha256").to_owned(),
            pki_dir: config.text("pki_dir").map(PathBuf::from),
            grains_file: grains::file(&config.opts),
            commands: CommandSettings::new(&config.opts),
            sync: SyncSettings::new(config),
        }
    }
}

/// Which commands `cmd.*` may run, and how.
pub(super) struct CommandSettings {
    /// Other functions' commands go through the shell too (`cmd_safe: False`).
    pub(super) always_uses_shell: bool,
    /// `cmd_blacklist_glob`; `None` for a pattern that cannot be read.
    forbidden: Vec<Option<TagMatch>>,
    /// `cmd_whitelist_glob`; if there are any, all others are forbidden.
    allowed: Vec<Option<TagMatch>>,
}

impl CommandSettings {
    fn new(opts: &Map) -> Self {
        let globs = |name| match opts.get(name) {
            Some(Value::Array(globs)) => {
                let globs = globs.iter().map(python_text::str);
                let compile = |glob| TagMatch::new(MatchType::Fnmatch, glob).ok();
                globs.map(compile).collect()
            }
            _ => Vec::new(),
        };
        Self {
            always_uses_shell: opts.get("cmd_safe") == Some(&false.into()),
            forbidden: globs("cmd_blacklist_glob"),
            allowed: globs("cmd_whitelist_glob"),
        }
    }

    /// Whether a job may run a command line. A pattern that cannot be read permits nothing.
    pub(super) fn permits(&self, line: &str) -> bool {
        let matches = |glob: &TagMatch| glob.matches(line);
        let is_forbidden = |glob: &Option<TagMatch>| glob.as_ref().is_none_or(matches);
        let is_allowed = |glob: &Option<TagMatch>| glob.as_ref().is_some_and(matches);
        !self.forbidden.iter().any(is_forbidden)
            && (self.allowed.is_empty() || self.allowed.iter().any(is_allowed))
    }
}

/// Where users' modules are synchronised from and to, and which.
pub(super) struct SyncSettings {
    pub(super) cachedir: Option<PathBuf>,
    /// `extension_modules`; by default below `cachedir`.
    pub(super) extension_modules: Option<PathBuf>,
    /// `saltenv`, if it is set.
    pub(super) environments: Option<Vec<String>>,
    /// `extmod_whitelist` and `extmod_blacklist`: names by kind of module.
    pub(super) whitelist: BTreeMap<String, Vec<String>>,
    pub(super) blacklist: BTreeMap<String, Vec<String>>,
    /// Modules that the master no longer has are removed (`clean_dynamic_modules`).
    pub(super) removes_old: bool,
    /// `file_roots` of the minion's own, which `--local` synchronises from.
    pub(super) file_roots: BTreeMap<String, Vec<PathBuf>>,
}

impl SyncSettings {
    fn new(config: &FunctionsConfig) -> Self {
        let opts = &config.opts;
        let cachedir = config.text("cachedir").map(PathBuf::from);
        let configured = (config.text("extension_modules")).filter(|dir| !dir.is_empty());
        Self {
            extension_modules: (configured.map(PathBuf::from))
                .or_else(|| Some(cachedir.as_ref()?.join("extmods"))),
            cachedir,
            environments: opts.get("saltenv").and_then(names),
            whitelist: by_key(opts.get("extmod_whitelist"), names),
            blacklist: by_key(opts.get("extmod_blacklist"), names),
            removes_old: opts.get("clean_dynamic_modules").is_none_or(Value::is_true),
            file_roots: by_key(opts.get("file_roots"), |roots| {
                let roots = roots.as_array()?.iter().filter_map(Value::as_str);
                Some(roots.map(PathBuf::from).collect())
            }),
        }
    }
}

/// An option that is a mapping, its values read.
fn by_key<T>(option: Option<&Value>, read: impl Fn(&Value) -> Option<T>) -> BTreeMap<String, T> {
    let pairs = option
        .and_then(Value::as_map)
        .into_iter()
        .flat_map(Map::iter);
    pairs
        .filter_map(|(key, value)| Some((key.as_str()?.to_owned(), read(value)?)))
        .collect()
}

/// A list of names, or one text with commas; `None` for nothing.
pub(super) fn names(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Str(text) if !text.is_empty() => Some(text.split(',').map(str::to_owned).collect()),
        Value::Array(names) => Some(names.iter().map(python_text::str).collect()),
        _ => None,
    }
}
