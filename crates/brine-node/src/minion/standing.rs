//! What the masters last said about the minion's key. Callers that send an event are told, since nothing leaves the
//! queue before a master has accepted the key.

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

/// The standing with each uplink's masters.
#[derive(Debug)]
pub(super) struct Standings(watch::Sender<Vec<Standing>>);

impl Standings {
    pub(super) fn new(uplinks: usize) -> Self {
        Self(watch::Sender::new(vec![Standing::Good; uplinks]))
    }

    /// What the masters of an uplink said. Whether that is new.
    pub(super) fn set(&self, uplink: usize, standing: Standing) -> bool {
        self.0.send_if_modified(|known| {
            let known = known.get_mut(uplink);
            known.is_some_and(|known| std::mem::replace(known, standing) != standing)
        })
    }

    /// The best of all.
    pub(super) fn best(&self) -> Standing {
        let known = self.0.borrow();
        known.iter().copied().max().unwrap_or(Standing::Good)
    }

    /// Waits until the masters of an uplink have something against the key.
    pub(super) async fn until_bad(&self, uplink: usize) {
        let is_bad = |known: &Vec<Standing>| known.get(uplink) != Some(&Standing::Good);
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
}
