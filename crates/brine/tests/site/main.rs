//! A whole site of ours, as its users have it: master, minion and commands, each a process.
//!
//! Every example of Salt's event documentation that fires something is run here as it is printed
//! there, with the configuration's directory as the only addition.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says where it was"
)]

mod activation;
mod api;
mod api_examples;
mod audit;
mod cluster;
mod custom_module;
mod desk;
mod doctor;
mod documented;
mod firing;
mod keys;
mod login;
mod moving;
mod page;
mod pages;
mod positions;
mod reaction_trouble;
mod reactor;
mod remote;
mod salt_modules;
mod secrets;
mod site;
mod spool;
mod terminal;
mod trouble;
mod tutorials;
