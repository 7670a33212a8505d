//! The `brine` program: Salt's event bus, native.
//!
//! Arguments come in here and go to one module per command; results leave as exit codes. This
//! crate is the only one that reads the command line and prints.

mod commands;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Salt's event bus, native.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the local bus alone, in the foreground.
    Bus(commands::bus::Arguments),
}

fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    let done = match command {
        Command::Bus(arguments) => commands::bus::run(&arguments),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            commands::report(&error);
            ExitCode::FAILURE
        }
    }
}
