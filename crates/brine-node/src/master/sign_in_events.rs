//! Limits the events `salt/auth` that peers can cause without a key that the master has accepted.
//!
//! Anybody on the network can send sign-ins, even with the id and the public key of an accepted minion, which are not
//! secret. If each caused an event, strangers could push other events out of the log. So only these are always fired:
//! the first sign-in of an id, while the number of pending keys is below its limit, and one acceptance per minion and
//! second. All others share a limit; those from addresses of minions have a separate one. Events that are left out
//! are counted and reported.
//!
//! Pure except for the clock.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use brine_wire::network::MinionId;

/// The tag of the event that says how many were left out. Minions cannot fire it.
pub(super) const TAG: &str = "brine/auth/left_out";

/// The time between two reports.
const BETWEEN: Duration = Duration::from_secs(60);

/// The most events of one lane in a second: as many as a thousand minions make that wait for their keys to be accepted.
const PER_SECOND: u32 = 100;

/// The time in which one minion's acceptance is always fired once.
const ACCEPTED_AGAIN: Duration = Duration::from_secs(1);

/// How many minions are remembered before those that have been quiet are forgotten.
const MOST: usize = 16_384;

/// What has been fired recently.
#[derive(Debug, Default)]
pub(super) struct SignInEvents(Mutex<State>);

/// Locked for a look-up.
#[derive(Debug, Default)]
struct State {
    /// Of addresses of minions, and of all others.
    lanes: [Option<(Instant, u32)>; 2],
    /// The last event of each accepted minion.
    accepted: HashMap<MinionId, Instant>,
    reported: Option<Instant>,
    unreported: u64,
}

/// A sign-in that was decided on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt<'a> {
    /// Whether it comes from an address of minions.
    pub(super) is_known: bool,
    /// The minion that was accepted.
    pub(super) accepted: Option<&'a MinionId>,
    /// Whether its id was not known before.
    pub(super) is_new: bool,
}

/// What to do with its event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Fire it.
    Fire,
    /// Leave it out.
    LeaveOut,
    /// Leave it out, and report that this many were left out.
    Report(u64),
}

impl SignInEvents {
    pub(super) fn judge(&self, attempt: Attempt<'_>) -> Verdict {
        self.judge_at(attempt, Instant::now())
    }

    fn judge_at(&self, attempt: Attempt<'_>, now: Instant) -> Verdict {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if attempt.is_new || state.is_due(attempt.accepted, now) || state.has_room(attempt, now) {
            return Verdict::Fire;
        }
        state.unreported += 1;
        if (state.reported).is_some_and(|reported| now.duration_since(reported) < BETWEEN) {
            return Verdict::LeaveOut;
        }
        state.reported = Some(now);
        Verdict::Report(std::mem::take(&mut state.unreported))
    }
}

impl State {
    fn is_due(&mut self, accepted: Option<&MinionId>, now: Instant) -> bool {
        let Some(id) = accepted else { return false };
        match self.accepted.get_mut(id) {
            Some(last) if now.duration_since(*last) < ACCEPTED_AGAIN => false,
            Some(last) => {
                *last = now;
                true
            }
            None => {
                // Those that have been quiet since need no entry.
                if self.accepted.len() >= MOST {
                    let is_recent = |last: &Instant| now.duration_since(*last) < ACCEPTED_AGAIN;
                    self.accepted.retain(|_, last| is_recent(last));
                }
                self.accepted.insert(id.clone(), now);
                true
            }
        }
    }

    fn has_room(&mut self, attempt: Attempt<'_>, now: Instant) -> bool {
        let lane = &mut self.lanes[usize::from(attempt.is_known)];
        let (since, count) = lane.get_or_insert((now, 0));
        if now.duration_since(*since) >= Duration::from_secs(1) {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count <= PER_SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRANGER: Attempt<'_> = Attempt {
        is_known: false,
        accepted: None,
        is_new: false,
    };

    fn fired(events: &SignInEvents, attempt: Attempt<'_>, at: Instant, of: usize) -> usize {
        let is_fired = |_: &usize| events.judge_at(attempt, at) == Verdict::Fire;
        (0..of).filter(is_fired).count()
    }

    #[test]
    fn strangers_fire_so_many_events_and_take_no_room_from_others() {
        let events = SignInEvents::default();
        let now = Instant::now();
        assert_eq!(fired(&events, STRANGER, now, 5000), 100);
        let known = Attempt {
            is_known: true,
            ..STRANGER
        };
        assert_eq!(fired(&events, known, now, 5000), 100);
        let is_new = Attempt {
            is_new: true,
            ..STRANGER
        };
        assert_eq!(fired(&events, is_new, now, 5000), 5000);
        let later = now + Duration::from_secs(1);
        assert_eq!(fired(&events, STRANGER, later, 5000), 100);
    }

    #[test]
    fn every_minion_that_is_accepted_is_reported_but_not_without_end() {
        let events = SignInEvents::default();
        let now = Instant::now();
        fired(&events, STRANGER, now, 5000);
        for id in (0..1000).map(|n| MinionId::parse(&format!("m{n}")).unwrap()) {
            let accepted = Attempt {
                accepted: Some(&id),
                ..STRANGER
            };
            assert_eq!(fired(&events, accepted, now, 10), 1);
        }
    }

    #[test]
    fn what_is_left_out_is_reported_once_a_minute() {
        let events = SignInEvents::default();
        let now = Instant::now();
        let mut reports = Vec::new();
        for second in [0, 1, 59, 60, 61] {
            let at = now + Duration::from_secs(second);
            for _ in 0..101 {
                if let Verdict::Report(count) = events.judge_at(STRANGER, at) {
                    reports.push((second, count));
                }
            }
        }
        assert_eq!(reports, [(0, 1), (60, 3)]);
    }
}
