//! Events that must be collected before the first can be printed: the newest of each tag, and what is printed newest
//! first.

use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;

use anyhow::{Context, bail};
use brine_bus::client::Wait;
use brine_bus::client::local::blocking::EventStream;
use brine_bus::client::local::{Delivery, Stored};
use brine_log::Position;

use super::{LOOK_EVERY, Printing};
use crate::commands::local_starts;

/// The most events that are kept in order to print them in reverse order.
const MAX_KEPT: usize = 1_000_000;

impl Printing<'_> {
    /// The newest event of each tag, oldest first, and where the log ended.
    pub(super) fn newest_of_each_tag(&mut self) -> anyhow::Result<(Vec<Stored>, Position)> {
        let mut newest: HashMap<String, Stored> = HashMap::new();
        let end = self.look_at_all(&mut |stored| {
            newest.insert(stored.event.tag().to_owned(), stored);
            newest.len()
        })?;
        let mut events: Vec<Stored> = newest.into_values().collect();
        events.sort_unstable_by_key(|stored| stored.position.seq);
        Ok((events, end))
    }

    /// The newest events, oldest first, and where the log ended.
    pub(super) fn newest(&mut self, count: Option<u64>) -> anyhow::Result<(Vec<Stored>, Position)> {
        let count = count.map_or(usize::MAX, |count| {
            usize::try_from(count).unwrap_or(usize::MAX)
        });
        let mut events = VecDeque::new();
        let end = self.look_at_all(&mut |stored| {
            if events.len() == count {
                events.pop_front();
            }
            events.push_back(stored);
            events.len()
        })?;
        Ok((events.into(), end))
    }

    /// Gives every event that is kept now to `keep`, which says how many it keeps.
    fn look_at_all(&mut self, keep: &mut dyn FnMut(Stored) -> usize) -> anyhow::Result<Position> {
        let end =
            local_starts::newest(&mut self.client)?.context("expected a position from the bus")?;
        let mut query = self.query();
        (query.limit, query.last) = (None, None);
        if self.wanted.start.is_none() {
            "earliest".clone_into(&mut query.from);
        }
        let mut stream: EventStream = self.client.history(query, Some(LOOK_EVERY))?;
        loop {
            match stream.next(Wait::For(LOOK_EVERY))? {
                None if self.interrupt.has_come() => bail!("interrupted"),
                None | Some(Delivery::Gap { .. }) => {}
                Some(Delivery::End) => return Ok(end),
                Some(Delivery::Event(stored)) if stored.position.seq > end.seq => return Ok(end),
                Some(Delivery::Event(stored)) => {
                    let is_wanted = self.is_wanted(stored.event.to_ref());
                    if is_wanted && keep(stored) > MAX_KEPT {
                        bail!(
                            "more than {MAX_KEPT} events would have to be kept; add --last N or a filter"
                        );
                    }
                }
            }
        }
    }

    /// Prints events that were kept, oldest first unless asked otherwise.
    pub(super) fn print_kept(
        &mut self,
        mut events: Vec<Stored>,
    ) -> anyhow::Result<ControlFlow<()>> {
        if self.wanted.reverse {
            events.reverse();
        }
        for stored in &events {
            if self.event(stored)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}
