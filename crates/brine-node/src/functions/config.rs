//! The configuration and data of the minion that functions run in.

use std::path::{Path, PathBuf};

use brine_wire::compat::{Compat, Series};
use brine_wire::{Map, Value};

use crate::python::PythonConfig;

/// The minion's configuration, grains and pillar, and how its functions behave.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FunctionsConfig {
    /// Salt's options, `id` and `cachedir` among them; functions show them (`config.get`,
    /// `__opts__`).
    pub opts: Map,
    /// The minion's grains.
    pub grains: Map,
    /// The pillar from its master.
    pub pillar: Map,
    /// The Salt release that functions imitate (`test.version`), such as `3008.3`.
    pub salt_version: String,
    /// The release of Salt in whose form the minion's bus is read; of the newest if `None`.
    pub compat: Option<Compat>,
    /// The Python that runs users' modules; `python3` if `None`.
    pub python: Option<PathBuf>,
    /// The umask of functions; the process's own if `None`.
    pub umask: Option<u32>,
    /// The program that functions run in.
    pub caller: Caller,
}

/// Which program functions run in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Caller {
    /// A minion that serves jobs.
    #[default]
    Minion,
    /// `salt-call`, for one function.
    SaltCall,
}

impl FunctionsConfig {
    /// A configuration with these options, without grains and pillar.
    #[must_use]
    pub fn new(opts: Map) -> Self {
        Self {
            opts,
            salt_version: salt_release(Compat::NEWEST).into(),
            ..Self::default()
        }
    }

    /// The configuration of the Python beside the minion.
    pub(super) fn python_config(
        &self,
        builtins: impl Iterator<Item = &'static str>,
    ) -> PythonConfig {
        PythonConfig {
            program: self.python.clone().unwrap_or_else(|| "python3".into()),
            module_dirs: dirs(self, "modules"),
            utils_dirs: dirs(self, "utils"),
            opts: self.opts.clone(),
            builtins: builtins.map(Value::from).collect(),
            umask: self.umask,
            bus_framing: self.compat.unwrap_or(Compat::NEWEST).publish_framing(),
            // Only in a Python that was configured: otherwise every mistyped name would start one to look for Salt.
            offers_salt: self.python.is_some(),
        }
    }

    /// An option as text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.opts.get(name).and_then(Value::as_str)
    }

    /// Whether an option is there and Python takes it for true.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.opts.get(name).is_some_and(Value::is_true)
    }

    /// Whether there is no master by configuration: `--local`.
    pub(crate) fn is_local(&self) -> bool {
        let local = self.is_set("local") || self.text("file_client") == Some("local");
        local && !self.is_set("use_master_when_local")
    }
}

/// The release of a series that functions are compared with, and say they are of.
#[must_use]
pub const fn salt_release(compat: Compat) -> &'static str {
    match compat.series() {
        Series::S3006 => "3006.28",
        Series::S3007 => "3007.14",
        Series::S3008 => "3008.3",
    }
}

/// The directories of users' files of a kind: those of the option, then the synchronised ones.
fn dirs(config: &FunctionsConfig, kind: &str) -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    let option = format!(
        "{}_dirs",
        kind.trim_end_matches("ules").trim_end_matches('s')
    );
    let option = if kind == "modules" {
        "module_dirs"
    } else {
        option.as_str()
    };
    let own = config.opts.get(option);
    let synchronised = match config.opts.get("extension_modules") {
        Some(Value::Str(dir)) if !dir.is_empty() => Some(PathBuf::from(dir)),
        _ => config
            .text("cachedir")
            .map(|dir| Path::new(dir).join("extmods")),
    };
    // Salt looks into the option's directories before all others.
    if let Some(Value::Array(own)) = own {
        dirs.extend(own.iter().filter_map(Value::as_str).map(PathBuf::from));
    }
    dirs.extend(synchronised.map(|dir| dir.join(kind)));
    dirs
}
