//! The native half of the Python package: `brine._native`.
//!
//! It converts values and errors and releases the interpreter lock. `brine-bus` and `brine-wire` know what a bus
//! means, the Python half knows Salt's names and defaults. No thread and no runtime, since users fork. Facts:
//! `docs/protocol/ipc.md` §4–§8.

mod address;
mod config;
mod decode;
mod encode;
mod filter;
mod jobs;
mod local;
mod publisher;
mod ret_load;
mod subscriber;
mod waiting;

/// The module.
#[pyo3::pymodule]
mod _native {
    #[pymodule_export]
    use super::config::{load_config, parse_texts};
    #[pymodule_export]
    use super::decode::loads;
    #[pymodule_export]
    use super::encode::{dumps, pack};
    #[pymodule_export]
    use super::filter::Filter;
    #[pymodule_export]
    use super::jobs::{Returns, without_nodegroups};
    #[pymodule_export]
    use super::local::{LocalClient, LocalStream, local_path};
    #[pymodule_export]
    use super::publisher::Publisher;
    #[pymodule_export]
    use super::ret_load::ret_load_events;
    #[pymodule_export]
    use super::subscriber::Subscriber;
    #[pymodule_export]
    use super::waiting::leave;
}
