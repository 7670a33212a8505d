//! A load generator for event buses: the engine of `brine bench` and of the comparison in
//! `benches/`.
//!
//! [`run`] puts one [`Load`] on one [`Target`] and returns a [`Report`]: rates, latencies, what
//! the bus process spent, and every event lost, repeated or reordered. Each event carries a
//! [stamp](mod@stamp) with its due time, send time, sequence and publisher, and every subscriber
//! checks every one, so a figure is never the figure of a bus that drops.
//!
//! ```no_run
//! use brine_bench::{Load, Pace, Target, run};
//! use brine_wire::compat::Compat;
//!
//! let target = Target::salt_in("/var/run/salt/master".as_ref(), Compat::NEWEST);
//! let load = Load { subscribers: 10, pace: Pace::Rate(1_000.0), ..Load::default() };
//! println!("{}", run(&target, &load)?.table());
//! # Ok::<(), brine_bench::BenchError>(())
//! ```
//!
//! The generator uses raw blocking sockets and few threads: one per publisher and one reader for
//! all subscribers, because on a small machine its own threads would otherwise be what is
//! measured. It must not know how any bus works inside; what a peer's protocol needs is a
//! [`Dialect`] of five entries.

mod case;
mod churn;
mod cut;
mod dialect;
mod event;
mod first;
pub mod fleet;
mod histogram;
mod ledger;
mod load;
mod process;
mod publish;
mod read;
mod report;
mod run;
mod shared;
pub mod stamp;
mod stuck_readers;
mod target;

pub use case::{CASES, Case, case};
pub use dialect::{Dialect, Hello, Skip};
pub use first::first_event;
pub use histogram::{Histogram, Percentiles};
pub use load::{Churn, ChurnOf, Load, Pace};
pub use process::{BusUse, raise_file_limit};
pub use report::{ChurnReport, Faults, GeneratorUse, Latency, Report};
pub use run::{BenchError, run};
pub use stuck_readers::{StuckReaders, StuckReadersReport, stuck_readers};
pub use target::{Endpoint, Target};
