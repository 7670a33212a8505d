//! What the masters last said about the minion's key. Callers that send an event are told, since nothing leaves the
//! queue before a master has accepted the key.

use std::time::SystemTime;

use tokio::sync::watch;

/// What the masters say about a minion's key. Later values are better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Each master said that it has rejected the key; perhaps in an unsigned answer.
    Rejected,
    /// No master has accepted it, and the answers of one at least are not trusted.
    Untrusted,
    /// No master has accepted it, and one at least has it waiting.
    Pending,
    /// Nothing is known against it.
    Good,
}

impl Standing {
    const ALL: [Self; 4] = [Self::Rejected, Self::Untrusted, Self::Pending, Self::Good];

    /// In one word, as `GET /status` of a minion has it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Untrusted => "untrusted",
            Self::Pending => "pending",
            Self::Good => "good",
        }
    }

    /// What a word says; `None` for a word of another release.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|standing| standing.word() == word)
    }

    /// What there is to say to who sends events; `None` if nothing.
    #[must_use]
    pub const fn notice(self) -> Option<&'static str> {
        match self {
            Self::Rejected => Some("not sent: the master has rejected this minion's key"),
            Self::Untrusted => {
                Some("kept: the master's answers are not trusted; the minion's log says why")
            }
            Self::Pending => {
                Some("kept for the master, which has not accepted this minion's key yet")
            }
            Self::Good => None,
        }
    }
}

/// A standing, and since when; the order is the standing's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Known {
    standing: Standing,
    /// Of a good one: when the minion last signed in. `None` where it did not.
    since: Option<SystemTime>,
}

/// The standing with each uplink's masters.
#[derive(Debug)]
pub(super) struct Standings(watch::Sender<Vec<Known>>);

impl Standings {
    pub(super) fn new(uplinks: usize) -> Self {
        let unknown = Known {
            standing: Standing::Good,
            since: None,
        };
        Self(watch::Sender::new(vec![unknown; uplinks]))
    }

    /// What the masters of an uplink said. Whether that is new.
    pub(super) fn set(&self, uplink: usize, standing: Standing) -> bool {
        self.0.send_if_modified(|known| {
            let known = known.get_mut(uplink);
            known.is_some_and(|known| {
                let is_new = known.standing != standing;
                if is_new {
                    let since = (standing != Standing::Good).then(SystemTime::now);
                    *known = Known { standing, since };
                }
                is_new
            })
        })
    }

    /// A master of an uplink has let the minion sign in.
    pub(super) fn signed_in(&self, uplink: usize) {
        self.0.send_modify(|known| {
            if let Some(known) = known.get_mut(uplink) {
                *known = Known {
                    standing: Standing::Good,
                    since: Some(SystemTime::now()),
                };
            }
        });
    }

    /// The best of all.
    pub(super) fn best(&self) -> Standing {
        self.best_since().0
    }

    /// The same, with the time since when; of a good one, when the minion last signed in.
    pub(super) fn best_since(&self) -> (Standing, Option<SystemTime>) {
        let known = self.0.borrow();
        let best = known.iter().copied().max();
        best.map_or((Standing::Good, None), |best| (best.standing, best.since))
    }

    /// Waits until the masters of an uplink have something against the key.
    pub(super) async fn until_bad(&self, uplink: usize) {
        let is_bad = |known: &Vec<Known>| {
            let known = known.get(uplink);
            known.is_none_or(|known| known.standing != Standing::Good)
        };
        // The sender is this one.
        let _ = self.0.subscribe().wait_for(is_bad).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_of_several_masters_counts() {
        let standings = Standings::new(2);
        assert_eq!(standings.best(), Standing::Good);
        assert!(standings.set(0, Standing::Rejected) && standings.set(1, Standing::Rejected));
        assert_eq!(standings.best(), Standing::Rejected);
        assert!(standings.set(1, Standing::Pending));
        assert!(!standings.set(1, Standing::Pending));
        assert_eq!(standings.best(), Standing::Pending);
        assert_eq!(Standings::new(0).best(), Standing::Good);
    }

    #[test]
    fn a_standing_has_the_time_since_when() {
        let standings = Standings::new(1);
        assert_eq!(standings.best_since(), (Standing::Good, None));
        standings.signed_in(0);
        let (standing, signed_in) = standings.best_since();
        assert!(standing == Standing::Good && signed_in.is_some());
        // An event that a master takes is no sign-in.
        assert!(!standings.set(0, Standing::Good));
        assert_eq!(standings.best_since().1, signed_in);
        assert!(standings.set(0, Standing::Rejected));
        let rejected = standings.best_since();
        assert!(rejected.1.is_some());
        assert!(!standings.set(0, Standing::Rejected));
        assert_eq!(standings.best_since(), rejected);
        assert!(standings.set(0, Standing::Good));
        assert_eq!(standings.best_since(), (Standing::Good, None));
    }
}
