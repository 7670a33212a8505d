//! Output for people: colours, the one-line error, and text made safe for terminals.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write};

use crate::terminal;

/// When output is in colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Colour {
    /// On a terminal, unless `NO_COLOR` is set
    #[default]
    Auto,
    Always,
    Never,
}

impl Colour {
    /// Whether to colour what goes to stdout.
    pub(crate) fn on_stdout(self) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => io::stdout().is_terminal() && wants_colour(),
        }
    }
}

/// Whether the environment leaves colours on.
pub(crate) fn wants_colour() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Reports an error, or what the program is waiting for, on one line, or as many as a terminal needs.
pub(crate) fn complain(text: &dyn fmt::Display) {
    const NAME: &str = "brine: ";
    let mut stderr = terminal::stderr();
    let text = format!("{NAME}{text}");
    // If stderr cannot be written to, there is no other way to report.
    let _ = writeln!(stderr, "{}", stderr.wrapped(&text, NAME.len()));
}

/// An error and its causes on one line; the alternate form of anyhow would repeat them. Libraries name the cause in their own text
/// and give it as the source too; it is printed once.
pub(crate) fn one_line(error: &anyhow::Error) -> String {
    causes(error.as_ref())
}

/// Like [`one_line`], for an error that is not an `anyhow::Error`.
pub(crate) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = String::new();
    let causes = std::iter::successors(Some(error), |error| error.source());
    for cause in causes.map(ToString::to_string) {
        // Not always at the end: `cannot connect: refused; is a bus running there?`
        if line.contains(&cause) {
            continue;
        }
        // `configuration /etc/salt/master` and `/etc/salt/master: line 2: …` name one file; so does `/etc/salt/master,
        // line 2: …`.
        let subject = cause.split(": ").next().unwrap_or_default();
        let subject = match subject.split_once(", line ") {
            Some((file, _)) if line.ends_with(file) => file,
            _ => subject,
        };
        let rest = match subject.is_empty() || !line.ends_with(subject) {
            true => &cause[..],
            false => cause[subject.len()..].trim_start_matches(": "),
        };
        if !line.is_empty() && !rest.is_empty() && !rest.starts_with(", ") {
            line.push_str(": ");
        }
        line.push_str(rest);
    }
    line
}

/// A tag, or other text from outside, that is safe for a terminal and stays on one line, wherever it is printed.
pub(crate) fn visible(text: &str) -> std::borrow::Cow<'_, str> {
    let shown = terminal::shown(text);
    match shown.contains(['\n', '\t']) {
        true => shown.replace('\n', "\\n").replace('\t', "\\t").into(),
        false => shown,
    }
}

/// JSON in which the controls that JSON allows are escaped too.
pub(crate) fn escaped(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if matches!(c, '\u{7f}'..='\u{9f}') {
            // Writing to a String cannot fail.
            let _ = write!(escaped, "\\u{:04x}", u32::from(c));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// Seconds as an argument, more than none.
pub(crate) fn some_seconds(text: &str) -> Result<std::time::Duration, String> {
    match seconds(text)? {
        std::time::Duration::ZERO => Err("expected more than 0 seconds".to_owned()),
        some => Ok(some),
    }
}

/// Seconds as an argument: `5`, `0.2`.
pub(crate) fn seconds(text: &str) -> Result<std::time::Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds| std::time::Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "expected seconds, such as 5 or 0.2".to_owned())
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("/etc/salt/master: {source}")]
    struct InFile {
        source: std::num::ParseIntError,
    }

    #[test]
    fn repeated_causes_are_printed_once() {
        let source = "x".parse::<u8>().unwrap_err();
        let error = anyhow::Error::from(InFile { source });
        assert_eq!(
            one_line(&error),
            "/etc/salt/master: invalid digit found in string"
        );
        let error = error.context("configuration /etc/salt/master");
        assert_eq!(
            one_line(&error),
            "configuration /etc/salt/master: invalid digit found in string"
        );
        let error = anyhow!("/etc/salt/master, line 7: brine: no such option");
        assert_eq!(
            one_line(&error.context("configuration /etc/salt/master")),
            "configuration /etc/salt/master, line 7: brine: no such option"
        );
        let error = Err::<(), _>(anyhow!("inner")).context("outer").unwrap_err();
        assert_eq!(one_line(&error), "outer: inner");
        let advised = Err::<(), _>(anyhow!("refused"))
            .context("cannot connect: refused; is a bus running there?")
            .unwrap_err();
        assert_eq!(
            one_line(&advised),
            "cannot connect: refused; is a bus running there?"
        );
    }
}
