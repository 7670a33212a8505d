//! Salt's configuration files and argument syntax as plain data.
//!
//! The only crate that reads YAML. It prints nothing, reads neither its process's arguments nor,
//! except in [`Environment::current`], its surroundings, and imports nothing of ours but wire.
//!
//! - [`Opts::load`] reads a master's or minion's files with Salt's names, defaults and includes.
//!   Problems in them are returned as [`Warning`]s, the options under `brine:` as [`Brine`].
//! - [`review`] says what is wrong or dangerous in them, on which line, and what to do.
//! - [`parse_arguments`] reads the arguments of Salt's functions.
//! - [`yaml::load`] reads YAML 1.1 with Salt's changes.
//!
//! ```
//! use brine_config::{Environment, Opts, Role};
//!
//! let directory = tempfile::tempdir()?;
//! let file = directory.path().join("minion");
//! std::fs::write(&file, "id: web1\nroot_dir: /srv/salt-test\n")?;
//!
//! let loaded = Opts::load(Role::Minion, &file, &Environment::default())?;
//! assert_eq!(loaded.opts.text("id")?, "web1");
//! assert_eq!(loaded.opts.text("sock_dir")?, "/srv/salt-test/var/run/salt/minion");
//! assert_eq!(loaded.opts.int("max_event_size")?, 1_048_576);
//! for warning in &loaded.warnings {
//!     eprintln!("{warning}");
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod arguments;
mod brine;
mod brine_values;
mod environment;
mod error;
mod files;
mod glob;
mod history;
mod id;
mod load;
mod locate;
mod nats;
mod options;
mod opts;
mod paths;
mod reactor;
mod resolve;
mod review;
mod role;
mod sinks;
mod spool;
mod types;
mod unchecked;
pub mod yaml;

pub use arguments::{Arguments, parse_arguments, parse_value, split_keyword};
pub use brine::{ApiOptions, AuthOptions, Brine};
pub use environment::Environment;
pub use error::{ConfigError, FileError, Warning};
pub use files::Place;
pub use glob::glob as glob_files;
pub use history::{Age, HistoryOptions, SyncOption};
pub use load::Loaded;
pub use nats::{ClusterOptions, NatsOptions};
pub use options::SHOWN_TO_MINIONS;
pub use opts::Opts;
pub use reactor::{ReactorOptions, ThrottleOption};
pub use review::{Remark, Severity, review};
pub use role::Role;
pub use sinks::{
    DatabaseOptions, DatabaseTls, FileOption, FileSinkOptions, HttpSinkOptions, OtlpOptions,
    Schema, Secret, SinkKind, SinkOptions, WebhookOptions,
};
pub use spool::SpoolOptions;
