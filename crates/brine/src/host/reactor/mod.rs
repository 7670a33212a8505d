//! The reactor of a process: its configuration from Salt's options, the thread it runs on, and who makes its calls.
//!
//! It has its own thread, so that templates and reactions take no time from the bus or the node.

mod control;
mod execute;
mod http_query;
mod real_salt;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use brine_config::{Age, Brine, Loaded, Opts, ThrottleOption, glob_files};
use brine_log::Log;
use brine_log::history::History;
use brine_node::functions::{grains, salt_release};
use brine_reactor::Execute;
use brine_reactor::files::FilesConfig;
use brine_reactor::jinja::{STACK_BYTES, Surroundings};
use brine_reactor::rules::Rule;
use brine_reactor::run::{Opened, ReactorConfig, ThrottleConfig};
use brine_reactor::{
    Problem, ReactorHandle, check_files, check_throttles, check_workers, read_rules, rules_of,
    rules_of_file,
};
use brine_view::text::counted;
use brine_wire::compat::Compat;
use brine_wire::{Map, Value};
use tokio::sync::oneshot;

pub(crate) use control::{OwnReactor, WithReactor, WithStatus};
use execute::{BesideSalt, BuiltIn};
pub(crate) use execute::{MaybeSalt, NOTE, Nobody, OtherMaster, OwnMaster, OwnMinion};
use real_salt::RealSalt;

/// How long one call may take, unless the configuration says otherwise.
const TIMEOUT: Duration = Duration::from_secs(3600);
/// How many functions of one rule run at once, unless `reactor_worker_threads` says so.
const WORKERS: usize = 10;
/// How many reactions a rule may start per second.
const RATE: u32 = 1000;
/// How old an event may be after a restart.
const MAX_AGE: Duration = Duration::from_secs(3600);

/// Whose reactor it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    Master,
    /// Another's master, which is joined.
    OtherMaster,
    Minion,
}

/// A reactor's configuration, read and checked.
pub(crate) struct Prepared {
    config: ReactorConfig,
    whose: Whose,
    /// Real Salt, as far as something needs it.
    salt: Arc<MaybeSalt>,
}

/// A reactor that reacts to everything the log gets from now on, once it is started.
pub(crate) struct OpenedReactor {
    opened: Opened,
    /// Real Salt, as far as something needs it.
    salt: Arc<MaybeSalt>,
    rules: usize,
}

/// A running reactor. Dropping it ends it, and waits a moment for running reactions.
pub(crate) struct RunningReactor {
    pub(crate) handle: ReactorHandle,
    shutdown: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What is wrong with the rules and files of a node's reactor; nothing is run. For `brine check`.
pub(crate) fn check(loaded: &Loaded, whose: Whose) -> Vec<Problem> {
    let Some(reactor) = value(&loaded.opts) else {
        return Vec::new();
    };
    let sources = sources(&loaded.opts);
    let rules = match reactor.as_str() {
        Some(file) => rules_of_file(file, &sources),
        None => rules_of(reactor, &sources),
    };
    check_rules(loaded, whose, reactor, rules)
}

/// What is wrong with the rules of a file, as `brine attach --reactor` takes them beside a master, and with their files.
pub(crate) fn check_file(loaded: &Loaded, file: &Path) -> Vec<Problem> {
    let reactor = Value::from(file.to_string_lossy().into_owned());
    check_rules(loaded, Whose::OtherMaster, &reactor, read_rules(file))
}

fn check_rules(
    loaded: &Loaded,
    whose: Whose,
    reactor: &Value,
    rules: Result<Vec<Rule>, Vec<Problem>>,
) -> Vec<Problem> {
    let (opts, brine) = (&loaded.opts, &loaded.brine);
    let salt = Arc::new(salt(opts, brine, whose));
    let files = files(opts, &salt, whose);
    let sources = sources(opts);
    let (rules, mut problems) = match rules {
        Ok(rules) => (Some(rules), Vec::new()),
        Err(problems) => (None, problems),
    };
    let of_rules = sources_of_rules(reactor, sources.clone());
    problems.extend(check_files(
        rules.as_deref().unwrap_or_default(),
        &files,
        &of_rules,
    ));
    let fixed = rules.filter(|_| reactor.as_str().is_none());
    let throttles: Vec<_> = brine.reactor.throttle.iter().map(throttle).collect();
    problems.extend(check_throttles(&throttles, fixed.as_deref(), &sources));
    problems.extend(check_workers(workers(opts), &sources));
    problems
}

impl Prepared {
    /// Reads the configuration of a node's reactor; `None` if it has none. Rules that cannot be used are an error; files
    /// that cannot are logged. To be done before anything listens: asking real Salt what it has takes seconds.
    ///
    /// # Errors
    /// The first thing that is wrong with `reactor` or `brine: {reactor: …}`.
    pub(crate) fn of(loaded: &Loaded, whose: Whose) -> anyhow::Result<Option<Self>> {
        match value(&loaded.opts) {
            Some(Value::Str(file)) => {
                let rules = rules_of_file(file, &sources(&loaded.opts)).map_err(all)?;
                let file = Some(PathBuf::from(file));
                Self::new(&loaded.opts, &loaded.brine, rules, file, whose).map(Some)
            }
            Some(rules) => {
                let rules = rules_of(rules, &sources(&loaded.opts)).map_err(all)?;
                Self::new(&loaded.opts, &loaded.brine, rules, None, whose).map(Some)
            }
            None => Ok(None),
        }
    }

    /// The same with the rules of a file.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub(crate) fn with_file(
        opts: &Opts,
        brine: &Brine,
        file: &Path,
        whose: Whose,
    ) -> anyhow::Result<Self> {
        let rules = read_rules(file).map_err(all)?;
        Self::new(opts, brine, rules, Some(file.to_owned()), whose)
    }

    fn new(
        opts: &Opts,
        brine: &Brine,
        rules: Vec<Rule>,
        rules_file: Option<PathBuf>,
        whose: Whose,
    ) -> anyhow::Result<Self> {
        let own = &brine.reactor;
        let throttles: Vec<_> = own.throttle.iter().map(throttle).collect();
        let fixed = rules_file.is_none().then_some(&*rules);
        let sources = sources(opts);
        let mut problems = check_throttles(&throttles, fixed, &sources);
        problems.extend(check_workers(workers(opts), &sources));
        if !problems.is_empty() {
            return Err(all(problems));
        }
        let salt = Arc::new(salt(opts, brine, whose));
        let config = ReactorConfig {
            rules,
            rules_file,
            files: files(opts, &salt, whose),
            directory: directory(opts)?,
            workers: workers(opts).map_or(WORKERS, |workers| {
                usize::try_from(workers).unwrap_or(WORKERS)
            }),
            timeout: own.timeout.unwrap_or(TIMEOUT),
            rate: own.rate.unwrap_or(RATE),
            max_age: match own.max_age {
                Some(Age::Forever) => None,
                Some(Age::For(age)) => Some(age),
                None => Some(MAX_AGE),
            },
            throttle: throttles,
        };
        let sources = match &config.rules_file {
            Some(file) => text_of(file).into_iter().collect(),
            None => sources,
        };
        for problem in check_files(&config.rules, &config.files, &sources) {
            match problem.is_error {
                true => tracing::error!("reactor: {problem}"),
                false => tracing::warn!("reactor: {problem}"),
            }
        }
        Ok(Self {
            config,
            whose,
            salt,
        })
    }

    /// Opens the record over a log into which nobody can fire yet.
    ///
    /// # Errors
    /// The record cannot be opened.
    pub(crate) fn open(
        self,
        log: Arc<Log>,
        history: Option<History>,
    ) -> anyhow::Result<OpenedReactor> {
        if history.is_none() {
            let text = "there is no history, so the reactor does not react to what comes while this process is away";
            match self.whose {
                Whose::Minion => tracing::info!("{text}"), // which has none by default
                Whose::Master | Whose::OtherMaster => tracing::warn!("{text}"),
            }
        }
        let rules = self.config.rules.len();
        let directory = self.config.directory.clone();
        let opened = Opened::new(self.config, log, history);
        let opened =
            opened.with_context(|| format!("the reactor's record in {}", directory.display()))?;
        match opened.uncertain() {
            0 => {}
            left => tracing::warn!(
                "running when the last process ended: {}, which may or may not have done the work; see brine reactor history --outcome uncertain",
                counted(left, "reaction")
            ),
        }
        Ok(OpenedReactor {
            opened,
            salt: self.salt,
            rules,
        })
    }
}

/// Makes the built-in calls, and passes the others to real Salt.
pub(crate) fn beside_salt<T: BuiltIn>(own: T, salt: Arc<MaybeSalt>) -> BesideSalt<T> {
    BesideSalt { own, salt }
}

impl OpenedReactor {
    /// Starts it on a master, with whoever makes its calls.
    pub(crate) fn start_on_master(self, own: impl BuiltIn) -> anyhow::Result<RunningReactor> {
        let execute = beside_salt(own, Arc::clone(&self.salt));
        self.start(Arc::new(execute))
    }

    /// Starts it, with whoever makes its calls and renders its files.
    pub(crate) fn start(self, execute: Arc<dyn Execute>) -> anyhow::Result<RunningReactor> {
        let reactor = self.opened.with(execute);
        let handle = reactor.handle();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.context("cannot start the reactor's runtime")?;
        let (shutdown, ended) = oneshot::channel::<()>();
        let run = move || {
            runtime.block_on(reactor.run(async { drop(ended.await) }));
        };
        let thread = std::thread::Builder::new()
            .name("brine-reactor".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(run);
        tracing::info!("the reactor runs, with {}", counted(self.rules, "rule"));
        Ok(RunningReactor {
            handle,
            shutdown: Some(shutdown),
            thread: Some(thread.context("cannot start the reactor's thread")?),
        })
    }
}

impl Drop for RunningReactor {
    fn drop(&mut self) {
        drop(self.shutdown.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a panic there has been printed
        }
    }
}

/// Where a node's reactor records what it does.
pub(crate) fn directory(opts: &Opts) -> anyhow::Result<PathBuf> {
    Ok(Path::new(opts.text("cachedir")?).join("reactor"))
}

/// The value of `reactor`, if there are rules.
pub(crate) fn value(opts: &Opts) -> Option<&Value> {
    opts.get("reactor").filter(|value| value.is_true())
}

/// What files are read with.
pub(crate) fn files(opts: &Opts, salt: &Arc<MaybeSalt>, whose: Whose) -> FilesConfig {
    let all: Map = opts
        .iter()
        .map(|(name, value)| (name, value.clone()))
        .collect();
    let version = salt_release(Compat::NEWEST);
    let around = Surroundings {
        grains: grains::load(&all, version),
        opts: all,
        pillar: Map::new(),
        environment: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
    };
    let no_salt = match whose {
        Whose::Master | Whose::OtherMaster => salt.as_ref().as_ref().err().cloned(),
        Whose::Minion => Some("a minion's reactor has none beside it".to_owned()),
    };
    FilesConfig {
        around: Arc::new(around),
        roots: roots(opts),
        renderer: opts.text("renderer").unwrap_or("jinja|yaml").to_owned(),
        no_salt,
        functions: match whose {
            Whose::Master => execute::on_master(salt, true),
            Whose::OtherMaster => execute::on_master(salt, false),
            Whose::Minion => execute::on_minion(),
        },
    }
}

/// Looks for real Salt.
pub(crate) fn salt(opts: &Opts, brine: &Brine, whose: Whose) -> MaybeSalt {
    if whose == Whose::Minion {
        return Err("a minion's reactor has none beside it".to_owned());
    }
    let conf = opts.text("conf_file").map_err(|error| error.to_string())?;
    let directory = directory(opts).map_err(|error| error.to_string())?;
    RealSalt::find(brine.python.as_deref(), Path::new(conf), &directory)
}

/// The directories of `salt://` in the environment `base`.
fn roots(opts: &Opts) -> Vec<PathBuf> {
    let base = opts
        .get("file_roots")
        .and_then(Value::as_map)
        .and_then(|roots| roots.get("base"));
    let roots = base.and_then(Value::as_array).unwrap_or_default();
    roots
        .iter()
        .filter_map(Value::as_str)
        .map(PathBuf::from)
        .collect()
}

fn workers(opts: &Opts) -> Option<i64> {
    opts.int("reactor_worker_threads").ok()
}

/// The configuration files with their texts, the last one to count first.
fn sources(opts: &Opts) -> Vec<(String, String)> {
    let conf = opts.text("conf_file").unwrap_or_default().to_owned();
    let folder = Path::new(&conf)
        .parent()
        .unwrap_or(Path::new("/"))
        .to_owned();
    let mut files = vec![conf];
    for option in ["default_include", "include"] {
        let patterns = match opts.get(option) {
            Some(Value::Str(pattern)) => vec![pattern.clone()],
            Some(Value::Array(patterns)) => patterns
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            _ => Vec::new(),
        };
        for pattern in patterns {
            files.extend(glob_files(&folder.join(pattern).to_string_lossy()));
        }
    }
    let read = |file: String| text_of(Path::new(&file));
    files.into_iter().rev().filter_map(read).collect()
}

/// Where the rules are written: the configuration's files, or the one that the option names.
fn sources_of_rules(reactor: &Value, sources: Vec<(String, String)>) -> Vec<(String, String)> {
    match reactor.as_str() {
        Some(file) => text_of(Path::new(file)).into_iter().collect(),
        None => sources,
    }
}

/// A file with its text. Nobody waits for a pipe.
fn text_of(file: &Path) -> Option<(String, String)> {
    let text = file
        .is_file()
        .then(|| std::fs::read_to_string(file).ok())??;
    Some((file.display().to_string(), text))
}

fn throttle(option: &ThrottleOption) -> (String, ThrottleConfig) {
    let config = ThrottleConfig {
        is_last: option.is_last,
        within: option.within,
        key: option.key.clone(),
    };
    (option.glob.clone(), config)
}

/// All problems in one error.
#[allow(clippy::needless_pass_by_value)] // for `map_err`
fn all(problems: Vec<Problem>) -> anyhow::Error {
    let all: Vec<_> = problems.iter().map(ToString::to_string).collect();
    anyhow::Error::msg(all.join("\n"))
}
