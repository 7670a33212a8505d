//! Events by kind of tag, and returns by function. Ids and job numbers are left out of tags, so that a job of a
//! thousand minions is one row.

use std::collections::HashMap;

/// The most kinds that are told apart; what comes later is counted as [`OTHERS`].
const MAX_KINDS: usize = 1000;
/// The kind of whatever is beyond the limit.
const OTHERS: &str = "(others)";
/// Rates are counted over so many parts …
const PARTS: usize = 6;
/// … of so many milliseconds: a minute.
const PART: u64 = 10_000;

/// How many there were of each kind: of tags, or of functions.
#[derive(Debug, Clone, Default)]
pub struct Tags {
    kinds: HashMap<String, Kind>,
}

#[derive(Debug, Clone, Default)]
struct Kind {
    events: u64,
    failures: u64,
    parts: [u32; PARTS],
    /// The number of the part that is being filled, since 1970.
    newest: u64,
}

impl Tags {
    pub(super) fn count(&mut self, shape: &str, at: u64, is_failure: bool) {
        let is_full = self.kinds.len() >= MAX_KINDS && !self.kinds.contains_key(shape);
        let shape = if is_full { OTHERS } else { shape };
        let kind = match self.kinds.get_mut(shape) {
            Some(kind) => kind,
            None => self.kinds.entry(shape.to_owned()).or_default(),
        };
        kind.events += 1;
        kind.failures += u64::from(is_failure);
        kind.go_to(at / PART);
        if kind.newest == at / PART {
            kind.parts[(kind.newest % PARTS as u64) as usize] += 1;
        }
    }

    /// Kind, events of the last minute, all events and failures; most of the last minute first.
    #[must_use]
    pub fn busiest(&self, now: u64) -> Vec<(&str, u64, u64, u64)> {
        let mut rows: Vec<_> = self
            .kinds
            .iter()
            .map(|(shape, kind)| {
                (
                    shape.as_str(),
                    kind.last_minute(now),
                    kind.events,
                    kind.failures,
                )
            })
            .collect();
        rows.sort_unstable_by(|a, b| (b.1, b.2, a.0).cmp(&(a.1, a.2, b.0)));
        rows
    }
}

impl Kind {
    fn go_to(&mut self, part: u64) {
        let ahead = part.saturating_sub(self.newest).min(PARTS as u64);
        for step in 1..=ahead {
            let cleared = part - ahead + step;
            self.parts[(cleared % PARTS as u64) as usize] = 0;
        }
        self.newest = self.newest.max(part);
    }

    fn last_minute(&self, now: u64) -> u64 {
        let mut kind = self.clone();
        kind.go_to(now / PART);
        kind.parts.iter().map(|part| u64::from(*part)).sum()
    }
}

/// A tag without what differs from job to job and from minion to minion: `salt/job/*/ret/*`.
#[must_use]
pub fn shape(tag: &str) -> String {
    /// Deeper levels are one.
    const DEPTH: usize = 6;
    let mut parts: Vec<&str> = tag.splitn(DEPTH, '/').collect();
    match parts.as_mut_slice() {
        ["salt", "job" | "state_result", jid, rest @ ..] => {
            *jid = "*";
            match rest {
                ["ret" | "start", id] => *id = "*",
                ["ret" | "start", id, more] => (*id, *more) = ("*", "*"),
                ["prog" | "sub", id, more @ ..] => {
                    *id = "*";
                    more.iter_mut().for_each(|part| *part = "*");
                }
                _ => {}
            }
        }
        ["salt", "minion" | "beacon" | "syndic" | "cloud", id, ..] => *id = "*",
        ["minion" | "resource", "refresh", id, ..] | ["salt", "stats", id] => *id = "*",
        ["syndic", id, ..] | ["cluster", "event", id, ..] => *id = "*",
        ["brine", "spool", id, ..] => *id = "*",
        [
            "__master_req_channel_payload" | "__master_req_channel_return",
            rest @ ..,
        ] => {
            rest.iter_mut().for_each(|part| *part = "*");
        }
        _ => {}
    }
    for part in &mut parts {
        let is_number = part.len() >= 4 && part.bytes().all(|byte| byte.is_ascii_digit());
        if is_number {
            *part = "*";
        }
    }
    let mut shape = parts.join("/");
    let end = (0..=shape.len().min(200))
        .rev()
        .find(|at| shape.is_char_boundary(*at));
    shape.truncate(end.unwrap_or(0));
    shape
}
