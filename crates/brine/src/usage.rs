//! Reports a wrong command line that parsed: mistakes that only the configuration, or two arguments together, reveal.

use std::error::Error as _;
use std::io::Write as _;
use std::num::{IntErrorKind, ParseFloatError, ParseIntError};

use clap::Command;
use clap::error::ErrorKind;

use crate::{show, terminal};

/// Ends the program as for any wrong command line: `text` and the usage on stderr, exit code 2.
pub(crate) fn wrong_usage(text: &str) -> ! {
    // The command's own, which is the first word that is not an option.
    let mut words = std::env::args().skip(1);
    let usage = match words.find(|word| !word.starts_with('-')) {
        Some(mut command) => {
            if ["consumer", "log"].contains(&command.as_str())
                && let Some(action) = words.find(|word| !word.starts_with('-'))
            {
                command = format!("{command} {action}");
            }
            format!("brine {command} [OPTIONS]; see brine {command} --help")
        }
        None => "brine [OPTIONS] <COMMAND>".to_owned(),
    };
    let error = Command::new("brine")
        .override_usage(usage)
        .error(ErrorKind::ArgumentConflict, text);
    complain(&error)
}

/// Ends the program over a wrong command line: what is wrong on stderr, as wide as the terminal if that is one.
pub(crate) fn complain(error: &clap::Error) -> ! {
    let text = error.render();
    let mut stderr = terminal::stderr();
    let mut text = match stderr.is_terminal() && show::wants_colour() {
        true => text.ansi().to_string(),
        false => text.to_string(),
    };
    if let Some((said, expected)) = error.source().and_then(expected_number) {
        text = text.replacen(&format!(": {said}"), &format!(": {expected}"), 1);
    }
    // If stderr cannot be written to, there is no other way to report.
    let _ = write!(stderr, "{}", stderr.wrapped(&text, 2));
    drop(stderr);
    std::process::exit(error.exit_code())
}

/// What libraries say of a text that is not the number asked for, such as `invalid digit found in string`, and what was
/// expected.
fn expected_number(error: &(dyn std::error::Error + 'static)) -> Option<(String, String)> {
    let said = error.to_string();
    let expected = if let Some(error) = error.downcast_ref::<ParseIntError>() {
        match error.kind() {
            IntErrorKind::PosOverflow => "expected a smaller number".to_owned(),
            IntErrorKind::NegOverflow => "expected a larger number".to_owned(),
            _ => "expected a whole number".to_owned(),
        }
    } else if error.is::<ParseFloatError>() {
        "expected a number, such as 5 or 0.2".to_owned()
    } else {
        let (_, bounds) = said.split_once(" is not in ")?;
        let (first, last) = bounds.split_once("..")?;
        let last = match last.strip_prefix('=') {
            Some(last) => last.parse::<i128>().ok()?,
            None => last.parse::<i128>().ok()? - 1,
        };
        match last >= i128::from(u64::MAX) - 1 || last == i128::from(i64::MAX) {
            true => format!("expected a whole number, {first} or more"),
            false => format!("expected a whole number from {first} to {last}"),
        }
    };
    Some((said, expected))
}

#[cfg(test)]
mod tests {
    use clap::{Arg, Command, value_parser};

    use super::*;

    #[test]
    fn what_is_no_number_is_told_what_was_expected() {
        let command = Command::new("x")
            .arg(Arg::new("u").long("u").value_parser(value_parser!(u64)))
            .arg(
                Arg::new("i")
                    .long("i")
                    .allow_hyphen_values(true)
                    .value_parser(value_parser!(i64)),
            )
            .arg(Arg::new("f").long("f").value_parser(value_parser!(f64)))
            .arg(
                Arg::new("n")
                    .long("n")
                    .value_parser(value_parser!(u64).range(1..)),
            )
            .arg(
                Arg::new("m")
                    .long("m")
                    .value_parser(value_parser!(u8).range(1..=16)),
            )
            .arg(Arg::new("p").long("p").value_parser(value_parser!(u16)));
        for (argument, expected) in [
            ("--u=x", "expected a whole number"),
            ("--u=99999999999999999999", "expected a smaller number"),
            ("--i=1.5", "expected a whole number"),
            ("--f=x", "expected a number, such as 5 or 0.2"),
            ("--n=0", "expected a whole number, 1 or more"),
            ("--m=17", "expected a whole number from 1 to 16"),
            ("--p=70000", "expected a whole number from 0 to 65535"),
        ] {
            let error = command
                .clone()
                .try_get_matches_from(["x", argument])
                .unwrap_err();
            let found = error.source().and_then(expected_number);
            let (said, found) = found.unwrap_or_else(|| panic!("{argument}: {error}"));
            assert_eq!(found, expected, "{argument}");
            assert!(
                error.to_string().contains(&format!(": {said}")),
                "{argument}"
            );
        }
    }
}
