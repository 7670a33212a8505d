//! Prints a stream to its end: every event and gap, and what the user should know of the connection meanwhile.

use std::time::{Duration, Instant};

use anyhow::bail;
use brine_bus::address::Endpoint;
use brine_bus::client::local::blocking::EventStream;
use brine_bus::client::local::{ANSWER_TIME, Delivery, EventQuery, LocalError};
use brine_bus::client::{ConnectError, Wait};
use brine_log::{Position, Seq};
use brine_wire::Value;

use super::{End, LOOK_EVERY, Printing, SILENT, is_cut_off};
use crate::bus_location;
use crate::commands::event_output::{Missing, utc};
use crate::commands::late::{self, LATE, StopWatch};
use crate::commands::local_starts::{self, before};
use crate::remote::Remote;
use crate::show;

/// What is said while the bus that [`brine attach`](crate::commands::attach) has joined is away, and once it is back.
const CUT_OFF: &str = "the salt-master or salt-minion whose bus brine attach has joined is away: no events until it is back";
const BACK: &str = "the salt-master or salt-minion whose bus brine attach has joined is back";
/// What is said once there is no attach any longer: the bus itself may go on.
pub(crate) const ATTACH_ENDED: &str =
    "brine attach has ended: start it again, or run this anew, which then reads Salt's own socket";
/// How often it is looked whether it is.
const LOOK_AT_STATUS_EVERY: Duration = Duration::from_secs(2);

/// What is known of the connection, so that each change is told once.
struct Contact {
    /// Whether there is no bus, and the user knows that it is waited for.
    is_waiting: bool,
    /// Since when there is a connection without an answer, and whether the user knows.
    unanswered: Option<(Instant, bool)>,
    /// What was last heard of a bus of which the user knows that it is silent.
    silent_since: Option<Instant>,
    /// Whether `brine attach` beside another's bus is read.
    is_attach: bool,
    /// Looks whether the bus that was joined is stopped.
    stop_watch: Option<StopWatch>,
    /// Whether the bus that was joined is away.
    is_cut_off: bool,
    /// When to look for that again; never where no bus was joined.
    next_look: Option<Instant>,
    /// Why nothing comes from another machine.
    trouble: Option<String>,
}

impl Contact {
    fn new() -> Self {
        Self {
            is_waiting: false,
            unanswered: None,
            silent_since: None,
            is_attach: false,
            stop_watch: None,
            is_cut_off: false,
            next_look: Some(Instant::now()),
            trouble: None,
        }
    }
}

impl Printing<'_> {
    pub(super) fn follow(&mut self, query: &EventQuery) -> anyhow::Result<End> {
        let mut stream = self.client.unconnected_events(query);
        let mut contact = Contact::new();
        loop {
            // All that has come, without waiting; then show it, and wait.
            let mut next = match contact.is_waiting {
                true => Ok(None),
                false => stream.next(Wait::For(Duration::ZERO)),
            };
            if matches!(next, Ok(None)) {
                self.out.flush()?;
                self.out.tick()?;
                self.began = self.began.or(stream.position());
                if let Some(end) = self.end_from_outside()? {
                    return Ok(end);
                }
                next = stream.next(Wait::For(self.longest_wait()));
            }
            let is_quiet = matches!(next, Ok(None));
            let end = match next {
                Ok(None) => None,
                Ok(Some(delivery)) => self.delivery(delivery)?,
                Err(LocalError::Connect(error)) if self.waits_after(&error) => {
                    self.tell_of_absence(&error, stream.position(), &mut contact)?;
                    self.end_from_outside()?
                }
                Err(error) => return Err(error.into()),
            };
            if let Some(end) = end {
                return Ok(end);
            }
            self.tell_of_contact(&stream, is_quiet, &mut contact)?;
        }
    }

    /// Prints what has come.
    fn delivery(&mut self, delivery: Delivery) -> anyhow::Result<Option<End>> {
        match delivery {
            Delivery::End => return Ok(Some(End::Complete)),
            Delivery::Gap {
                from,
                to,
                missed,
                reason,
            } => {
                // A gap with a reason is after the start.
                if self.start_may_be_gone && reason.is_none() {
                    self.say_what_is_there(from, to)?;
                    return Ok(Some(End::Gone));
                }
                if from.log != to.log {
                    (self.began, self.printed_before) = (Some(to), Some(self.printed));
                }
                self.gap(&Missing::new(from, to, missed, reason.as_deref()))?;
            }
            Delivery::Event(stored) => {
                self.start_may_be_gone = false;
                self.began = self.began.or(Some(before(stored.position)));
                if self.event(&stored)?.is_break() {
                    return Ok(Some(End::Complete));
                }
                if self.interrupt.has_come() {
                    return Ok(Some(End::Interrupted(self.counts())));
                }
                self.out.tick()?;
            }
        }
        Ok(None)
    }

    /// Whether a bus that cannot be reached is waited for.
    fn waits_after(&self, error: &ConnectError) -> bool {
        !self.wanted.no_wait && bus_location::may_come(error)
    }

    /// Tells the user what has changed in the connection, if anything has.
    fn tell_of_contact(
        &mut self,
        stream: &EventStream,
        is_quiet: bool,
        contact: &mut Contact,
    ) -> anyhow::Result<()> {
        let is_there = stream.is_answered();
        self.was_answered |= is_there;
        if is_there || stream.socket().is_none() {
            contact.unanswered = None;
        } else {
            self.tell_of_no_answer(contact)?;
        }
        if !is_there {
            contact.silent_since = None;
        } else if self.follows_a_bus() && (is_quiet || contact.silent_since.is_some()) {
            // Where something is still to be read, the bus is not the one that is late.
            self.tell_of_silence(stream.heard(), contact)?;
        }
        if is_there && !self.knows_what_is_hidden {
            self.tell_what_is_hidden(local_starts::ANSWER)?;
            self.knows_what_is_hidden = true;
        }
        if is_there && self.follows_a_bus() {
            self.tell_of_the_joined(contact)?;
            let change = contact.stop_watch.as_mut().and_then(StopWatch::look);
            if let Some(change) = change {
                self.complain(&change)?;
            }
        }
        if let Some(remote) = self.wanted.remote {
            self.tell_of_trouble(remote, contact)?;
        } else if contact.is_waiting && is_there {
            contact.is_waiting = false;
            self.complain("connected again")?;
        }
        Ok(())
    }

    /// Says once that there is no bus, and from where the stream will go on.
    fn tell_of_absence(
        &mut self,
        error: &ConnectError,
        position: Option<Position>,
        contact: &mut Contact,
    ) -> anyhow::Result<()> {
        if contact.is_waiting {
            return Ok(());
        }
        contact.is_waiting = true;
        let from = position.map_or_else(String::new, |from| format!(" after {from}"));
        let said = match contact.is_attach {
            true => ATTACH_ENDED.to_owned(),
            false => error.to_string(),
        };
        self.complain(&format!("{said}; waiting to continue{from}"))
    }

    /// Says once that the bus has taken the connection, and nothing else yet.
    ///
    /// # Errors
    /// It was waited for long enough.
    fn tell_of_no_answer(&mut self, contact: &mut Contact) -> anyhow::Result<()> {
        let (since, is_known) = contact.unanswered.get_or_insert((Instant::now(), false));
        if !*is_known && since.elapsed() >= LATE {
            *is_known = true;
            let limit = (!self.wanted.follows).then_some(ANSWER_TIME);
            self.complain(&late::waiting(self.client.address().path(), limit))
        } else if !self.wanted.follows && since.elapsed() >= ANSWER_TIME {
            let endpoint = Endpoint::Path(self.client.address().path().to_owned());
            Err(LocalError::TimedOut { endpoint }.into())
        } else {
            Ok(())
        }
    }

    /// Says once that nothing has come of the stream for a while, not even a heartbeat, and when something does again.
    fn tell_of_silence(
        &mut self,
        heard: Option<Instant>,
        contact: &mut Contact,
    ) -> anyhow::Result<()> {
        let bus = || late::bus_at(self.client.address().path());
        let said = match (heard, contact.silent_since) {
            (Some(heard), None) if heard.elapsed() >= SILENT => {
                contact.silent_since = Some(heard);
                let time = heard.elapsed().as_secs();
                format!("{} has said nothing for {time} s; waiting for it", bus())
            }
            (Some(heard), Some(since)) if heard != since => {
                contact.silent_since = None;
                format!("{} goes on", bus())
            }
            _ => return Ok(()),
        };
        self.complain(&said)
    }

    /// Says that the bus which was joined is away, and when it is back.
    fn tell_of_the_joined(&mut self, contact: &mut Contact) -> anyhow::Result<()> {
        let is_due = contact.next_look.is_some_and(|next| next <= Instant::now());
        if !is_due {
            return Ok(());
        }
        let Ok(Value::Map(status)) = self.client.status(Some(local_starts::ANSWER)) else {
            return Ok(());
        };
        let attach = status.get("attach");
        contact.is_attach = attach.is_some();
        if contact.is_attach && contact.stop_watch.is_none() {
            contact.stop_watch = self.wanted.address.cloned().map(StopWatch::new);
        }
        contact.next_look = attach.map(|_| Instant::now() + LOOK_AT_STATUS_EVERY);
        let is_away = attach.is_some_and(is_cut_off);
        let was_away = std::mem::replace(&mut contact.is_cut_off, is_away);
        match (is_away, was_away) {
            (true, false) => self.complain(CUT_OFF),
            (false, true) => self.complain(BACK),
            _ => Ok(()),
        }
    }

    /// Says why nothing comes from another machine, and when it does again.
    fn tell_of_trouble(&mut self, remote: &Remote, contact: &mut Contact) -> anyhow::Result<()> {
        let trouble = remote.trouble().get();
        let known = std::mem::replace(&mut contact.trouble, trouble.clone());
        match (trouble, known) {
            (Some(trouble), _) if self.wanted.no_wait => bail!("{}: {trouble}", remote.name),
            (Some(trouble), None) => {
                self.complain(&format!("{}: {trouble}; connecting again", remote.name))
            }
            (None, Some(_)) => self.complain("connected again"),
            _ => Ok(()),
        }
    }

    fn gap(&mut self, missing: &Missing<'_>) -> anyhow::Result<()> {
        match self.out.gap(missing)? {
            true => Ok(()),
            false => self.complain(&missing.to_string()),
        }
    }

    /// The start is gone: says what there is instead.
    fn say_what_is_there(&mut self, from: Position, to: Position) -> anyhow::Result<()> {
        self.out.flush()?;
        let asked = Position {
            seq: Seq(from.seq.0 + 1),
            ..from
        };
        let oldest = EventQuery {
            limit: Some(1),
            ..EventQuery::default()
        };
        let mut stream = self.client.history(oldest, Some(LOOK_EVERY))?;
        let oldest = loop {
            match stream.next(Wait::For(local_starts::ANSWER))? {
                Some(Delivery::Gap { .. }) => {}
                Some(Delivery::Event(stored)) => break Some(stored),
                Some(Delivery::End) | None => break None,
            }
        };
        let there = oldest.map_or_else(
            || "there is none".to_owned(),
            |stored| {
                let (seq, at) = (stored.position.seq, utc(stored.at));
                format!("the oldest is {seq}, of {at}; --allow-gap starts there")
            },
        );
        if from.log != to.log {
            show::complain(&format_args!(
                "position {from} is of another log; this one is {}; {there}",
                to.log
            ));
        } else if from.seq > to.seq {
            show::complain(&format_args!(
                "event {} is not there yet: the newest is {}",
                asked.seq, to.seq
            ));
        } else {
            show::complain(&format_args!("event {} is gone: {there}", asked.seq));
        }
        Ok(())
    }
}
