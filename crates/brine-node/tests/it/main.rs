//! Masters and minions of ours, with each other and with real Salt's.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says where it was"
)]

mod audit;
mod cve_master;
mod deliveries;
mod detour;
mod documented;
mod files;
mod functions_python;
mod functions_salt;
mod functions_sync;
mod jobs_salt;
mod master_clear;
mod master_handle;
mod mine_salt;
mod minion_bus;
mod minion_options;
mod minion_signatures;
mod network_options;
mod open_bus;
mod oracle;
mod own_site;
mod rogue;
mod salt_clocks;
mod salt_masters;
mod salt_minions;
mod support;
mod targets_salt;
