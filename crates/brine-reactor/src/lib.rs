//! The reactor: which events start which reactions, how their files are rendered, and what became of each.
//!
//! - [`rules`] reads the `reactor` option: patterns of tags, and files.
//! - [`files`] finds and reads the files, [`jinja`] renders them, [`low`] makes single reactions of what they say, and
//!   [`call`] the calls that these make. All of it together, for one event: [`react()`].
//! - [`run`] follows a log: one cursor per rule, so that a reaction that hangs holds up its own rule alone. Before a
//!   reaction starts, [`journal`] has that it does, and afterwards what became of it: after a crash nothing is run twice,
//!   and what was under way is listed as uncertain.
//! - [`rules_of()`], [`check_files()`] and [`check_throttles()`] find what is wrong with rules and files before anything starts.
//!
//! Calls are made by whoever gives the reactor an [`Execute`]: this crate knows no master, no socket and no process.

pub mod call;
mod check;
mod counters;
pub mod files;
mod handle;
pub mod jinja;
pub mod journal;
mod lane;
pub mod low;
mod order;
mod pacer;
mod problem;
mod react;
mod rule_set;
pub mod rules;
pub mod run;
mod scan;
mod throttle;

pub use check::{check_files, check_throttles, check_workers, rules as rules_of, rules_of_file};
pub use handle::{Figures, ReactorHandle, Refused};
pub use problem::Problem;
pub use react::{Execute, Future, Reacted, Reaction, react};
pub use rule_set::read_rules;
