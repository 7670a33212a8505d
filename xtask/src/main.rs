//! Chores: checks, real Salt for the tests, fuzzing. `cargo xtask` alone lists them.
//!
//! People and CI run the same chores. This knows the project's
//! layout and its tools, nothing about Salt's formats, and is not part of the product.

// Chores speak to a terminal.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod book;
mod ci;
mod command;
mod deps;
mod from_index;
mod fuzz;
mod image;
mod licence;
mod mdbook;
mod measure;
mod metadata;
mod named_tests;
mod nats;
mod package;
mod parts;
mod salt;
mod source;
mod tally;
mod test;
mod tidy;
mod unused;
mod words;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::fuzz::Build;

const USAGE: &str = "\
usage: cargo xtask <chore>

  test                every test there is; makes the environments it needs
  ci                  the same, and formatting, lints, house rules, dependencies, fuzzing
  salt [VERSION...]   real Salt in virtual environments below .salt/ (all that tests use)
  nats                a nats-server below .salt/, for the tests of several masters
  package             packages for Debian and systems with RPM, and Python's wheels, below target/package
  package --static    the program without any library of the system, beside them
  book                the book of docs/, below target/book, without a dead link
  tidy                house rules: headings, crate arrows, documents that tell the truth
  deps                licences, sources, bans and doubles among the dependencies (deny.toml)
  measure [CHECKOUT]  figures about the code, to compare before and after a change
  fuzz                search every fuzz target for seconds, from its corpus, as ci does
  fuzz SECONDS [TARGET...]
                      search optimized targets for so long";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> anyhow::Result<()> {
    match arguments {
        ["test"] => {
            let start = Instant::now();
            let parts = test::run(Vec::new)?;
            parts::summary(&parts, start.elapsed()).conclude()
        }
        ["ci"] => ci::run().conclude(),
        ["salt"] => salt::make(&salt::VERSIONS),
        ["salt", versions @ ..] => salt::make(versions),
        ["nats"] => nats::make(),
        ["package"] => package::run(),
        ["package", "--static"] => package::without_libraries(),
        ["book"] => mdbook::run_and_check(),
        ["package", "--test"] => package::test()?.conclude(),
        ["tidy"] => tidy::run(),
        ["measure"] => measure::run(&command::root()),
        ["measure", checkout] => measure::run(Path::new(checkout)),
        ["deps"] => deps::run(),
        ["fuzz"] => fuzz::run(ci::FUZZ, &[], Build::Quick),
        ["fuzz", seconds, targets @ ..] => {
            let seconds = seconds
                .parse()
                .with_context(|| format!("expected seconds, found {seconds:?}"))?;
            fuzz::run(Duration::from_secs(seconds), targets, Build::Optimized)
        }
        _ => bail!("{USAGE}"),
    }
}
