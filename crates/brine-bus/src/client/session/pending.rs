//! The events that a session keeps because a subscription wants them, limited in bytes.

use std::collections::VecDeque;

use super::PendingFull;
use crate::client::event::Event;

/// Events kept for later calls, in order of arrival.
#[derive(Debug)]
pub(super) struct Pending {
    events: VecDeque<Event>,
    bytes: usize,
    max_bytes: usize,
}

impl Pending {
    pub(super) const fn new(max_bytes: usize) -> Self {
        Self {
            events: VecDeque::new(),
            bytes: 0,
            max_bytes,
        }
    }

    pub(super) fn push(&mut self, event: Event) -> Result<(), PendingFull> {
        let bytes = self.bytes.saturating_add(Self::cost(&event));
        if bytes > self.max_bytes {
            return Err(PendingFull {
                tag: event.tag().to_owned(),
                limit: self.max_bytes,
            });
        }
        self.bytes = bytes;
        self.events.push_back(event);
        Ok(())
    }

    pub(super) fn remove_first(&mut self, matches: impl Fn(&Event) -> bool) -> Option<Event> {
        let event = self.events.remove(self.events.iter().position(matches)?)?;
        self.bytes -= Self::cost(&event);
        Some(event)
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&Event) -> bool) {
        self.events.retain(|event| {
            let kept = keep(event);
            if !kept {
                self.bytes -= Self::cost(event);
            }
            kept
        });
    }

    pub(super) fn clear(&mut self) {
        self.events = VecDeque::new();
        self.bytes = 0;
    }

    /// Oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Event> {
        self.events.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// An event's bytes and what holding it costs, so that a million tiny events count too.
    fn cost(event: &Event) -> usize {
        event.as_bytes().len() + size_of::<Event>()
    }
}
