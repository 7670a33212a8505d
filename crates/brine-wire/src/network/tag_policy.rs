//! Which events a minion may have a master fire: those that speak for nobody but the minion itself.
//!
//! Listeners match tags by prefix, so the rules here are prefixes too, compared with the tag as a careless reader may
//! see it: lower case, without doubled slashes and invisible characters. What belongs to the master is refused; where
//! a tag names a minion, it must name the sender. Facts: `docs/protocol/network.md` §9; which tags minions of Salt
//! 3006 to 3008 fire.

/// Tags that belong to the master, with all that begins so.
const MASTERS: [&str; 9] = [
    "salt/auth",
    "salt/key",
    "salt/presence",
    "salt/run",
    "salt/wheel",
    "salt/cloud",
    "salt/cluster",
    "salt/stats",
    "brine/",
];

/// Of those, what minions say of the events that wait for their masters; see [`NAMING`].
const SPOOL: &str = "brine/spool/";

/// Of those, what a syndic passes on from its own minions.
const SYNDICS: [&str; 2] = ["salt/auth", "salt/presence"];

/// Under these a tag names a minion, as its second or first part: `salt/job/<jid>/prog/<id>`,
/// `salt/minion/<id>/start`, `minion/refresh/<id>`, `resource/refresh/<id>`, and ours, `brine/spool/<id>/dropped`.
const NAMING: [(&str, usize); 5] = [
    (SPOOL, 0),
    ("salt/job/", 2),
    ("salt/minion/", 0),
    ("minion/", 1),
    ("resource/", 1),
];

/// What follows a job's id in tags that belong to the master, and in returns, which have a request of their own.
const OF_JOBS: [&str; 5] = ["ret", "new", "publish", "return", "error"];

/// Who sends an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender<'a> {
    /// The authenticated id.
    pub id: &'a str,
    /// Whether the master serves syndics (`order_masters`): they pass on other minions' events.
    pub syndic: bool,
}

/// Whether a tag belongs to the master, however it is written.
#[must_use]
pub fn is_masters(tag: &str) -> bool {
    Start::of(tag).is_none_or(|seen| seen.is_masters())
}

/// Whether the sender may have the master fire this tag.
#[must_use]
pub fn permits(sender: Sender<'_>, tag: &str) -> bool {
    let Some(seen) = Start::of(tag) else {
        return false;
    };
    if seen.is_masters() {
        return sender.syndic && SYNDICS.iter().any(|prefix| seen.begins_with(prefix));
    }
    let naming = NAMING.iter().find(|(prefix, _)| seen.begins_with(prefix));
    let Some((prefix, at)) = naming else {
        return true;
    };
    // The rest of a tag that is meant to name a minion is compared as it is written.
    let Some(rest) = tag.strip_prefix(prefix) else {
        return false;
    };
    let mut parts = rest.split('/');
    if *prefix == "salt/job/"
        && parts
            .clone()
            .nth(1)
            .is_none_or(|what| OF_JOBS.contains(&what))
    {
        return false;
    }
    let named = parts.nth(*at);
    sender.syndic || named == Some(sender.id)
}

/// At least as many characters as the longest prefix above has.
const LONGEST: usize = 16;

/// A tag that hides its first characters among more than so many is nobody's.
const LOOKED_AT: usize = 256;

/// The start of a tag as a careless reader may see it. Looks at no more of a tag than it takes to tell its prefix, so
/// that judging one costs the same however long it is.
struct Start {
    seen: [char; LONGEST],
    length: usize,
}

impl Start {
    /// `None` if the start is hidden among characters that are not seen.
    fn of(tag: &str) -> Option<Self> {
        let mut start = Self {
            seen: ['\0'; LONGEST],
            length: 0,
        };
        for (at, c) in tag.chars().enumerate() {
            if start.length == LONGEST {
                break;
            }
            if at == LOOKED_AT {
                return None;
            }
            if is_invisible(c) || (c == '/' && start.last().is_none_or(|last| last == '/')) {
                continue;
            }
            for c in c.to_lowercase() {
                if let Some(place) = start.seen.get_mut(start.length) {
                    *place = c;
                    start.length += 1;
                }
            }
        }
        Some(start)
    }

    fn last(&self) -> Option<char> {
        self.seen[..self.length].last().copied()
    }

    fn begins_with(&self, prefix: &str) -> bool {
        let mut seen = self.seen[..self.length].iter();
        prefix.chars().all(|c| seen.next() == Some(&c))
    }

    fn is_masters(&self) -> bool {
        MASTERS.iter().any(|prefix| self.begins_with(prefix)) && !self.begins_with(SPOOL)
    }
}

/// White space, control and format characters.
fn is_invisible(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINION: Sender<'_> = Sender {
        id: "m1",
        syndic: false,
    };
    const SYNDIC: Sender<'_> = Sender {
        id: "m1",
        syndic: true,
    };

    #[test]
    fn a_minion_fires_its_own_tags() {
        for tag in [
            "my/tag",
            "salt/beacon/m1/load/",
            "salt/engines/x",
            "salt/state_result/1/m1/x",
            "minion_start",
            "minion_ping",
            "salt/minion/m1/start",
            "minion/refresh/m1",
            "resource/refresh/m1",
            "brine/spool/m1/dropped",
            "salt/job/20260101000000000000/prog/m1/0",
            "salt/job/20260101000000000000/start/m1",
            "mykey/salt/key",
        ] {
            assert!(permits(MINION, tag), "{tag}");
        }
    }

    #[test]
    fn what_belongs_to_the_master_is_refused_however_it_is_written() {
        for tag in [
            "salt/auth",
            "salt/auth/creds",
            "salt/presence/change",
            "salt/presence",
            "salt/key",
            "salt/key/",
            "salt//key",
            "/salt/key",
            "Salt/Key",
            "SALT/AUTH",
            "salt/\u{200b}key",
            "sa\u{ad}lt/key",
            " salt/key",
            "salt/run/1/ret",
            "salt/wheel/1/new",
            "salt/cloud/x",
            "salt/cluster/x",
            "salt/stats/MWorker-0",
            "brine/minion/refused",
            "brine//gap",
            "brine/spool",
            "brine/spool/victim/dropped",
        ] {
            assert!(!permits(MINION, tag), "{tag:?}");
        }
    }

    #[test]
    fn a_minion_speaks_for_no_other_minion_and_for_no_job() {
        for tag in [
            "salt/minion/victim/start",
            "salt/minion/M1/start",
            "salt//minion/m1/start",
            "Salt/minion/m1/start",
            "salt/minion/victim\u{200b}/start",
            "salt/minion/",
            "minion/refresh/victim",
            "minion/refresh",
            "Minion/refresh/m1",
            "resource/refresh/victim",
            "salt/job/1/ret/m1",
            "salt/job/1/ret/victim",
            "salt/job/1/new",
            "salt/job/1/new/m1",
            "salt/job/1/error/m1",
            "salt/job/1/prog/victim/0",
            "salt/job/1",
            "salt/job/",
            "salt/job/1//ret/m1",
        ] {
            assert!(!permits(MINION, tag), "{tag:?}");
        }
    }

    #[test]
    fn a_tag_whose_start_is_hidden_is_nobodys() {
        assert!(MASTERS.iter().all(|prefix| prefix.len() <= LONGEST));
        assert!(NAMING.iter().all(|(prefix, _)| prefix.len() <= LONGEST));
        for (hidden, permitted) in [(LOOKED_AT - LONGEST, true), (LOOKED_AT, false)] {
            let tag = "\u{200b}".repeat(hidden) + "my/tag/that/is/long";
            assert_eq!(permits(MINION, &tag), permitted, "{hidden}");
            let key = "\u{200b}".repeat(hidden) + "salt/key";
            assert!(!permits(MINION, &key) && is_masters(&key), "{hidden}");
        }
        let slashes = "/".repeat(LOOKED_AT + 1);
        assert!(!permits(MINION, &slashes));
        assert!(permits(MINION, &"my/".repeat(LOOKED_AT)));
    }

    #[test]
    fn a_syndic_passes_on_what_its_minions_say() {
        for tag in [
            "salt/auth",
            "salt/presence/change",
            "salt/minion/other/start",
            "salt/job/1/prog/other/0",
        ] {
            assert!(permits(SYNDIC, tag), "{tag}");
        }
        for tag in ["salt/key", "salt/run/1/new", "salt/job/1/new", "brine/gap"] {
            assert!(!permits(SYNDIC, tag), "{tag}");
        }
    }

    #[test]
    fn a_minion_may_say_what_its_own_spool_has_dropped() {
        let sender = Sender {
            id: "m1",
            syndic: false,
        };
        assert!(permits(sender, "brine/spool/m1/dropped"));
        for tag in [
            "brine/spool/m2/dropped",
            "Brine/spool/m1/dropped",
            "brine/spools/m1",
            "brine//spool/m2/x",
        ] {
            assert!(!permits(sender, tag), "{tag}");
        }
    }
}
