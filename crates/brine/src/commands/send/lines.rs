//! `brine send --stdin`: events as JSON lines.

use std::io::{self, BufRead, BufReader, Read};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use brine_bus::client::PublishError;
use brine_bus::client::blocking::Publisher;
use brine_bus::client::local::LocalError;
use brine_wire::Map;
use brine_wire::event::{FIRE_MASTER, fire_master_data};
use brine_wire::event_line::{self, LineError};

use super::Arguments;
use crate::show;

/// This much is written at once, in bytes.
const BATCH_BYTES: usize = 64 * 1024;
/// The longest line that is read, in bytes. Longer than any event that survives trimming is likely
/// to be.
const MAX_LINE_BYTES: u64 = 64 << 20;

/// Where the events of lines go.
pub(super) trait Target {
    /// Takes the event of a line.
    fn queue(&mut self, line: u64, tag: &str, data: Map) -> Result<(), LineFault>;
    /// Whether there is so much that it should be sent now.
    fn is_full(&self) -> bool;
    /// Sends what there is.
    fn flush(&mut self) -> anyhow::Result<()>;
    /// How many events were refused after they were sent.
    fn refused(&self) -> u64;
}

/// Events queued for Salt's socket.
pub(super) struct Queued {
    bus: Publisher,
    timeout: Duration,
}

impl Queued {
    pub(super) const fn new(arguments: &Arguments, bus: Publisher) -> Self {
        Self {
            bus,
            timeout: arguments.timeout,
        }
    }
}

impl Target for Queued {
    fn queue(&mut self, _line: u64, tag: &str, mut data: Map) -> Result<(), LineFault> {
        Ok(self.bus.queue_event(tag, &mut data)?)
    }

    fn is_full(&self) -> bool {
        self.bus.queued_bytes() >= BATCH_BYTES
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        Ok(self.bus.flush(Some(self.timeout))?)
    }

    fn refused(&self) -> u64 {
        0
    }
}

/// Fires the events of all lines.
pub(super) fn fire(arguments: &Arguments, mut target: impl Target) -> anyhow::Result<ExitCode> {
    let mut input = BufReader::with_capacity(BATCH_BYTES, io::stdin().lock());
    let mut line = Vec::new();
    let (mut number, mut refused) = (0_u64, 0_u64);
    loop {
        if !input.buffer().contains(&b'\n') || target.is_full() {
            target
                .flush()
                .with_context(|| format!("stopped after line {number}"))?;
        }
        line.clear();
        let Some(fits) = read_line(&mut input, &mut line).context("stdin")? else {
            break;
        };
        number += 1;
        if line.trim_ascii().is_empty() {
            continue;
        }
        let queued = match fits {
            true => queue(arguments, &mut target, number, &line),
            false => Err(LineFault::TooLong),
        };
        match queued {
            Ok(()) => {}
            Err(LineFault::Over(error)) => {
                return Err(error).with_context(|| format!("stopped at line {number}"));
            }
            Err(fault) => {
                show::complain(&format_args!("line {number}: {fault}"));
                refused += 1;
                if arguments.strict {
                    break;
                }
            }
        }
    }
    target
        .flush()
        .with_context(|| format!("stopped after line {number}"))?;
    Ok(if refused + target.refused() == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Reads a line; whether it fits the limit. Of one that does not, the rest is passed over, so that
/// the next line is the next line. `None` at the end.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
    let read = input
        .by_ref()
        .take(MAX_LINE_BYTES)
        .read_until(b'\n', line)?;
    if read == 0 {
        return Ok(None);
    }
    let fits = line.ends_with(b"\n") || (read as u64) < MAX_LINE_BYTES;
    if !fits {
        input.skip_until(b'\n')?;
    }
    Ok(Some(fits))
}

/// Queues the event of one line.
fn queue(
    arguments: &Arguments,
    target: &mut impl Target,
    number: u64,
    line: &[u8],
) -> Result<(), LineFault> {
    let (tag, data) = match event_line::parse(line) {
        Err(LineError::NoEvent) => return Ok(()),
        parsed => parsed?,
    };
    match arguments.to_master {
        true => target.queue(number, FIRE_MASTER, fire_master_data(&tag, data)),
        false => target.queue(number, &tag, data),
    }
}

/// Why the event of a line is not fired.
#[derive(Debug, thiserror::Error)]
pub(super) enum LineFault {
    #[error(transparent)]
    Line(#[from] LineError),
    #[error("over {} MiB", MAX_LINE_BYTES >> 20)]
    TooLong,
    #[error(transparent)]
    Event(#[from] PublishError),
    #[error(transparent)]
    Local(LocalError),
    /// Nothing more can be sent.
    #[error(transparent)]
    Over(LocalError),
}

impl From<LocalError> for LineFault {
    fn from(error: LocalError) -> Self {
        match error {
            LocalError::Event(_) => Self::Local(error),
            error => Self::Over(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_a_line_too_long_is_not_a_line_of_its_own() {
        let long = vec![b'x'; MAX_LINE_BYTES as usize + 10];
        let mut input = &[&long[..], b"\n{}\n"].concat()[..];
        let mut line = Vec::new();
        assert_eq!(read_line(&mut input, &mut line).unwrap(), Some(false));
        line.clear();
        assert_eq!(read_line(&mut input, &mut line).unwrap(), Some(true));
        assert_eq!(line, b"{}\n");
        assert_eq!(read_line(&mut input, &mut line).unwrap(), None);
    }
}
