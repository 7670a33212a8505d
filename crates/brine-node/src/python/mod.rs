//! Users' execution modules, run by Python processes beside the minion.
//!
//! One warm Python per minion ([`parent`]) forks a child for each job; [`job`] talks to the child. A module that
//! crashes or hangs affects only its own job: the parent is restarted when it dies, and imports no module that a
//! child has not imported before. The Python side is `python/worker`.

mod frame;
mod job;
mod output;
mod parent;

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use brine_wire::frame::Framing;
use brine_wire::{Map, Value, msgpack};

use crate::call::Failure;
use parent::{Parent, Start};

pub(crate) use frame::fuzz_frame;
pub(crate) use job::{Answer, Request};

/// How Python is started and what its modules see.
pub(crate) struct PythonConfig {
    /// The interpreter.
    pub(crate) program: PathBuf,
    /// Directories of users' execution modules; the first one with a module wins.
    pub(crate) module_dirs: Vec<PathBuf>,
    /// Directories of users' utility modules.
    pub(crate) utils_dirs: Vec<PathBuf>,
    /// The minion's options (`__opts__`).
    pub(crate) opts: Map,
    /// The names of built-in functions, which the minion runs for a module that calls them.
    pub(crate) builtins: Vec<Value>,
    /// Whether Salt's own execution modules may be used, if that Python has Salt.
    pub(crate) offers_salt: bool,
    /// The umask of modules; the minion's own if `None`.
    pub(crate) umask: Option<u32>,
    /// How the minion's bus is read, which Salt's own modules do.
    pub(crate) bus_framing: Framing,
}

/// The Python beside a minion.
pub(crate) struct Python {
    program: PathBuf,
    module_dirs: Vec<PathBuf>,
    offers_salt: bool,
    /// The constant part of a job, packed once: the options and the names of built-in functions.
    fixed: Map,
    /// Locked to start a parent and to give it a job, never across a wait.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    parent: Option<Parent>,
    /// The grains and pillar that the parent has.
    given: Option<(Arc<Map>, Arc<Map>)>,
    /// Modules that children have imported.
    imported: BTreeSet<PathBuf>,
    /// Modules that the parent has not imported yet.
    new: BTreeSet<PathBuf>,
    /// Modules the parent was asked to import since a job last started: if it dies, one of them is the cause.
    suspected: BTreeSet<PathBuf>,
    /// Modules that killed a parent.
    harmful: BTreeSet<PathBuf>,
}

impl Python {
    /// The Python that `config` describes. Nothing is started.
    pub(crate) fn new(config: PythonConfig) -> Self {
        let mut fixed = Map::new();
        fixed.insert("opts", config.opts);
        fixed.insert("builtins", config.builtins);
        fixed.insert("module_dirs", texts(&config.module_dirs));
        fixed.insert("utils_dirs", texts(&config.utils_dirs));
        fixed.insert("salt", config.offers_salt);
        let is_prefixed = config.bus_framing == Framing::Prefixed;
        fixed.insert("bus_is_prefixed", is_prefixed);
        if let Some(umask) = config.umask {
            fixed.insert("umask", i64::from(umask));
        }
        Self {
            program: config.program,
            module_dirs: config.module_dirs,
            offers_salt: config.offers_salt,
            fixed,
            state: Mutex::default(),
        }
    }

    /// Whether a user's file has the name of a module, and so replaces a built-in one.
    pub(crate) fn has_file(&self, module: &str) -> bool {
        let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        if module.is_empty() || module.starts_with('_') || !module.chars().all(is_name) {
            return false;
        }
        self.module_dirs.iter().any(|dir| {
            dir.join(format!("{module}.py")).is_file()
                || dir.join(module).join("__init__.py").is_file()
        })
    }

    /// Whether Salt's own modules may be used.
    pub(crate) const fn offers_salt(&self) -> bool {
        self.offers_salt
    }

    /// Whether there can be any functions: a user's, or Salt's.
    pub(crate) fn has_modules(&self) -> bool {
        self.offers_salt || self.module_dirs.iter().any(|dir| has_python(dir))
    }

    /// Passes the child's end of a job's connection to the parent, which is started if necessary.
    fn start_job(
        &self,
        socket: OwnedFd,
        grains: Arc<Map>,
        pillar: Arc<Map>,
    ) -> Result<Parent, Failure> {
        let mut state = self.state();
        if state.parent.as_ref().is_none_or(Parent::is_gone) {
            state.forget_suspects();
            state.parent = Some(Parent::start(&self.program)?);
            state.given = None;
            state.new = state.imported.clone();
        }
        let data = self.news(&mut state, grains, pillar);
        let Some(parent) = &state.parent else {
            return Err(worker("no Python runs".into())); // cannot happen: set above
        };
        parent.send(Start { data, socket })?;
        Ok(parent.clone())
    }

    /// The grains, pillar and modules that the parent lacks, packed; empty if it has them all.
    fn news(&self, state: &mut State, grains: Arc<Map>, pillar: Arc<Map>) -> Option<Vec<u8>> {
        let known = state.given.as_ref();
        let is_known = known.is_some_and(|(old_grains, old_pillar)| {
            Arc::ptr_eq(old_grains, &grains) && Arc::ptr_eq(old_pillar, &pillar)
        });
        if is_known && state.new.is_empty() {
            return None;
        }
        let mut data = Map::new();
        if known.is_none() {
            data = self.fixed.clone();
        }
        if !is_known {
            data.insert("grains", grains.as_ref().clone());
            data.insert("pillar", pillar.as_ref().clone());
            state.given = Some((grains, pillar));
        }
        let new: Vec<_> = std::mem::take(&mut state.new).into_iter().collect();
        data.insert("preload", texts(&new));
        state.suspected.extend(new);
        let mut packed = Vec::new();
        msgpack::encode_map(&data, &mut packed);
        Some(packed)
    }

    /// A job started: the parent has survived its imports.
    fn job_began(&self) {
        self.state().suspected.clear();
    }

    /// From now on the parent imports these modules for its children.
    fn imported(&self, paths: Vec<PathBuf>) {
        let mut state = self.state();
        for path in paths {
            // A child imported it again: it has changed on disk, or the parent could not import it.
            if !state.harmful.contains(&path) {
                state.imported.insert(path.clone());
                state.new.insert(path);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is usable even after a panic: a missing parent is started again.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget_suspects(&mut self) {
        for path in std::mem::take(&mut self.suspected) {
            self.imported.remove(&path);
            self.harmful.insert(path);
        }
    }
}

fn has_python(dir: &Path) -> bool {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| {
        path.extension().is_some_and(|end| end == "py") || path.join("__init__.py").is_file()
    })
}

fn texts(paths: &[PathBuf]) -> Vec<Value> {
    let text = |path: &PathBuf| path.to_string_lossy().into_owned();
    paths.iter().map(|path| text(path).into()).collect()
}

fn worker(message: String) -> Failure {
    Failure::Worker { message }
}

/// A connection: the minion's end and the child's end.
fn connection() -> std::io::Result<(tokio::net::UnixStream, OwnedFd)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((tokio::net::UnixStream::from_std(ours)?, theirs.into()))
}
