//! History: what is written is there again, whatever happens between.

#![allow(clippy::print_stderr)] // what was not run and why

mod crash;
mod damage;
mod expired;
mod full;
mod keep;
mod kill;
mod removed;
mod repeat;
mod replay;
mod support;
mod unused;
