//! A stream of events from a local socket, which goes on where it was when its connection is cut.

use std::io;
use std::thread::sleep;
use std::time::Instant;

use brine_log::{LogId, Millis, Position, Seq};
use brine_wire::record::{self, Record};

use super::http::{self, Body};
use super::{Connection, EventQuery, LocalAddress, LocalError, MAX_RECORD, refused};
use crate::client::Wait;
use crate::client::driver::Backoff;
use crate::client::event::{Event, EventRef};

/// What a stream gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// An event.
    Event {
        /// Where it is in the log.
        position: Position,
        /// When it arrived on the bus.
        at: Millis,
        /// The event.
        event: Event,
    },
    /// Events that cannot be had any more, or were never there for this reader.
    Gap {
        /// The last event before it.
        from: Position,
        /// The last event that is missing.
        to: Position,
        /// How many are missing, if that can be known.
        missed: Option<u64>,
        /// Why, in a few words, if that is known.
        reason: Option<String>,
    },
    /// The stream is complete: its limit, its end or what was there is reached.
    End,
}

/// Events from a local socket.
#[derive(Debug)]
pub struct EventStream {
    address: LocalAddress,
    target: String,
    /// Whether the stream ends by itself.
    ends: bool,
    /// How many events are still wanted.
    left: Option<u64>,
    connection: Option<(Connection, Body)>,
    /// Bytes of the body that are not used yet.
    body: Vec<u8>,
    used: usize,
    log: LogId,
    position: Option<Position>,
    backoff: Backoff,
    is_complete: bool,
}

impl EventStream {
    pub(super) fn open(address: LocalAddress, query: &EventQuery) -> Result<Self, LocalError> {
        let mut stream = Self {
            address,
            target: query.target(),
            ends: query.ends || !query.until.is_empty(),
            left: query.limit,
            connection: None,
            body: Vec::new(),
            used: 0,
            log: LogId(0),
            position: None,
            backoff: Backoff::default(),
            is_complete: false,
        };
        stream.connect(None)?;
        Ok(stream)
    }

    /// Where the stream is: every event up to here has been given or did not match. `None` before
    /// anything is known.
    #[must_use]
    pub const fn position(&self) -> Option<Position> {
        self.position
    }

    /// The next event or gap; `None` when the time is over.
    ///
    /// # Errors
    /// [`LocalError`] when the server refuses to go on. A connection that is cut is made again within
    /// the time; without a time that is for ever.
    pub fn next(&mut self, wait: Wait) -> Result<Option<Delivery>, LocalError> {
        let deadline = wait.deadline(Instant::now());
        loop {
            if self.is_complete || self.left == Some(0) {
                return Ok(Some(Delivery::End));
            }
            if let Some(delivery) = self.take()? {
                return Ok(Some(delivery));
            }
            match self.fill(deadline) {
                Ok(()) => {}
                Err(LocalError::Io(error)) if is_timeout(&error) => return Ok(None),
                Err(LocalError::Io(_) | LocalError::Connect { .. }) => {
                    self.connection = None;
                    self.body.clear();
                    self.used = 0;
                    let pause = self.backoff.next();
                    let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
                    sleep(left.map_or(pause, |left| pause.min(left)));
                    if deadline.is_some_and(|at| Instant::now() >= at) {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// What the bytes at hand hold.
    fn take(&mut self) -> Result<Option<Delivery>, LocalError> {
        while let Some((record, length)) = record::next(&self.body[self.used..], MAX_RECORD)? {
            let at = |log, seq| Position {
                log: LogId(log),
                seq: Seq(seq),
            };
            let delivery = match record {
                Record::Log { log } => {
                    self.log = LogId(log);
                    None
                }
                Record::Event {
                    sequence,
                    at: time,
                    event,
                } => {
                    let position = at(self.log.0, sequence);
                    self.position = Some(position);
                    self.left = self.left.map(|left| left.saturating_sub(1));
                    let event = EventRef::parse(event).map(EventRef::to_event);
                    event.map(|event| Delivery::Event {
                        position,
                        at: Millis(time),
                        event,
                    })
                }
                Record::Gap {
                    from,
                    to,
                    missed,
                    reason,
                } => {
                    let (from, to) = (at(from.0, from.1), at(to.0, to.1));
                    self.position = Some(to);
                    Some(Delivery::Gap {
                        from,
                        to,
                        missed,
                        reason,
                    })
                }
                Record::Heartbeat { sequence } => {
                    self.position = Some(at(self.log.0, sequence));
                    None
                }
                Record::Refused { code, message } => {
                    return Err(LocalError::Refused {
                        status: 200,
                        code,
                        message,
                    });
                }
                Record::Fired { .. } | Record::Fire { .. } => {
                    return Err(LocalError::Unexpected { expected: "events" });
                }
            };
            self.used += length;
            if delivery.is_some() {
                return Ok(delivery);
            }
        }
        self.body.drain(..self.used);
        self.used = 0;
        Ok(None)
    }

    /// Reads more of the body, connecting first where that is needed.
    fn fill(&mut self, deadline: Option<Instant>) -> Result<(), LocalError> {
        if self.connection.is_none() {
            self.connect(deadline)?;
        }
        let Some((connection, body)) = &mut self.connection else {
            return Ok(());
        };
        loop {
            let before = self.body.len();
            let used = body.take(&connection.read, &mut self.body)?;
            connection.read.drain(..used);
            if self.body.len() > before {
                self.backoff.reset();
                return Ok(());
            }
            if body.is_done() {
                // A server that ends closes streams that would go on; then there is more to come.
                if self.ends {
                    self.is_complete = true;
                    return Ok(());
                }
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            connection.fill(deadline)?;
        }
    }

    fn connect(&mut self, deadline: Option<Instant>) -> Result<(), LocalError> {
        let mut connection = Connection::open(&self.address)?;
        let token = connection.token.clone();
        let head = http::request("GET", &self.target, token.as_deref(), self.position, 0);
        connection.send(&head, &[], deadline)?;
        let head = connection.head(deadline)?;
        if head.status != 200 {
            let body = connection.body(head, deadline)?;
            return Err(refused(head.status, &body));
        }
        self.connection = Some((connection, Body::new(head.body)));
        Ok(())
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}
