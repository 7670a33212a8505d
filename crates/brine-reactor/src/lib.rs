//! The reactor: which events start which reactions, how their files are rendered, and how each reaction ended.
//!
//! - [`rules`] reads the `reactor` option: patterns of tags, and files.
//! - [`files`] finds and reads the files, [`jinja`] renders them, [`low`] turns the result into single reactions, and
//!   [`call`] turns those into calls. All of it together, for one event: [`react()`].
//! - [`run`] follows a log: one cursor per rule, so that a reaction that hangs delays only its own rule. [`journal`] records
//!   each reaction before it starts and when it has ended: after a crash nothing runs twice, and reactions that were
//!   running are listed as uncertain.
//! - [`rules_of()`], [`check_files()`] and [`check_throttles()`] find what is wrong with rules and files before anything starts.
//!
//! Calls go to the [`Execute`] that the caller passes in: this crate knows no master, no socket and no process.

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
