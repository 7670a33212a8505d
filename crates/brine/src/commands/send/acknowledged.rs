//! `brine send --ack`: fires events over the bus's own socket, each answered with its position.
//!
//! Users whom Salt's socket does not admit, but Brine's does, also fire this way.

use std::collections::VecDeque;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use brine_bus::address::Endpoint;
use brine_bus::client::local::blocking::{FireStream, LocalClient};
use brine_bus::client::local::{Acknowledge, Fired, LocalError};
use brine_bus::client::{PublisherConfig, Wait};
use brine_view::text::counted;
use brine_wire::Map;

use super::super::late::{self, LATE};
use super::lines::{LineFault, Target};
use crate::bus_location::{self, BusLocation};
use crate::show;
use crate::terminal;

/// Events in flight: enough that there is always something to do while the disk works.
const MAX_IN_FLIGHT: usize = 10_000;

/// How long an answer may take: a disk may be slower than it is to find the bus.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// What is fired over the bus's own socket.
pub(super) struct Acknowledged {
    client: LocalClient,
    acknowledge: Acknowledge,
    timeout: Duration,
    /// Whether positions are printed.
    prints: bool,
}

impl Acknowledged {
    /// Connects within the time.
    pub(super) fn connect(
        location: &BusLocation,
        config: PublisherConfig,
        acknowledge: Acknowledge,
        timeout: Duration,
        prints: bool,
    ) -> anyhow::Result<Self> {
        let address = location
            .local_address()
            .context("nothing says where the bus's own socket is; add a configuration")?;
        let mut client = LocalClient::new(address, config);
        match client.connect(Some(timeout)) {
            Err(error) if error.is_absent() && prints => {
                return Err(bus_location::salts_own(location).unwrap_or_else(|| error.into()));
            }
            connected => connected?,
        }
        Ok(Self {
            client,
            acknowledge,
            timeout,
            prints,
        })
    }

    /// Fires one event.
    pub(super) fn fire(mut self, tag: &str, data: Map) -> anyhow::Result<ExitCode> {
        let event = (tag.to_owned(), data);
        let timeout = self.timeout.max(ANSWER_TIME);
        let acknowledge = self.acknowledge;
        let fired = late::ask(&mut self.client, timeout, |client| {
            client.fire([event], acknowledge, Some(timeout))
        });
        let fired = match fired {
            Err(error @ LocalError::TimedOut { .. }) => {
                bail!("{error}; the event may still come onto the bus")
            }
            fired => fired?,
        };
        let is_refused = fired.iter().any(|fired| !report(None, fired, self.prints));
        Ok(match is_refused {
            false => ExitCode::SUCCESS,
            true => ExitCode::FAILURE,
        })
    }

    /// Fires the events of stdin.
    pub(super) fn stream(self) -> anyhow::Result<AcknowledgedLines> {
        Ok(AcknowledgedLines {
            socket: self.client.address().path().to_owned(),
            stream: self
                .client
                .fire_stream(self.acknowledge, Some(self.timeout))?,
            prints: self.prints,
            lines: VecDeque::new(),
            refused: 0,
            is_late: false,
        })
    }
}

/// Lines whose events are fired over one request.
pub(super) struct AcknowledgedLines {
    socket: PathBuf,
    stream: FireStream,
    prints: bool,
    /// The lines whose events have no answer yet.
    lines: VecDeque<u64>,
    refused: u64,
    /// Whether the user knows that answers are late.
    is_late: bool,
}

impl AcknowledgedLines {
    /// Takes answers until at most this many events have none.
    fn wait(&mut self, in_flight: usize) -> anyhow::Result<()> {
        while self.lines.len() > in_flight {
            let Some(fired) = self.answer()? else {
                break;
            };
            let line = self.lines.pop_front();
            if !report(line, &fired, self.prints) {
                self.refused += 1;
            }
        }
        Ok(())
    }

    /// The next answer; `None` if nothing is in flight.
    fn answer(&mut self) -> anyhow::Result<Option<Fired>> {
        if let Some(fired) = self.stream.next(Wait::For(LATE))? {
            return Ok(Some(fired));
        }
        if self.stream.in_flight() > 0 && !std::mem::replace(&mut self.is_late, true) {
            show::complain(&late::waiting(&self.socket, Some(ANSWER_TIME)));
        }
        let answer = self.stream.next(Wait::For(ANSWER_TIME))?;
        if answer.is_none() && self.stream.in_flight() > 0 {
            let endpoint = Endpoint::Path(self.socket.clone());
            bail!(
                "{}. {} sent without an answer: they may or may not be on the bus",
                LocalError::TimedOut { endpoint },
                counted(self.stream.in_flight(), "event")
            );
        }
        Ok(answer)
    }
}

impl Target for AcknowledgedLines {
    fn queue(&mut self, line: u64, tag: &str, mut data: Map) -> Result<(), LineFault> {
        self.stream.fire(tag, &mut data)?;
        self.lines.push_back(line);
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.lines.len() >= MAX_IN_FLIGHT
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        // Events in flight are answered while more are read; their number is limited.
        let allowed = if self.is_full() { MAX_IN_FLIGHT / 2 } else { 0 };
        self.wait(allowed)?;
        Ok(terminal::stdout().flush()?)
    }

    fn refused(&self) -> u64 {
        self.refused
    }
}

/// Reports the result of an event; returns whether it was fired.
fn report(line: Option<u64>, fired: &Fired, prints: bool) -> bool {
    match (fired, line) {
        (Fired::At(position), _) => {
            if prints {
                // A reader that has gone is noticed when the output is flushed.
                let _ = writeln!(terminal::stdout(), "{position}");
            }
            true
        }
        (Fired::Refused { message, .. }, Some(line)) => {
            show::complain(&format_args!("line {line}: {message}"));
            false
        }
        (Fired::Refused { message, .. }, None) => {
            show::complain(message);
            false
        }
    }
}
